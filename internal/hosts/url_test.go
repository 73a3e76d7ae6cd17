// Copyright 2026 The authsec Authors
// SPDX-License-Identifier: Apache-2.0

package hosts

import (
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"testing"
)

func TestParseBaseSaysWhatIsWrong(t *testing.T) {
	const example = "https://authsec.example.com"
	for _, tt := range []struct{ base, want string }{
		{"", "is empty: write one like " + example},
		{" \t\n", "is empty: write one like " + example},
		{"authsec.example.com", `has no https:// before its host: "authsec.example.com"`},
		{"//authsec.example.com", "has no https:// before its host: "},
		{"localhost:8080", "has no https:// before its host: "},
		{"wss://authsec.example.com", "has no https:// before its host: "},
		{"10.0.0.1:8080", "is not a URL like " + example + `: parse "10.0.0.1:8080": `},
		{"https://authsec example.com", "is not a URL like " + example + ": parse "},
		{"https://authsec.example.com/%zz", "is not a URL"},
		{"https://authsec.example.com/\x00", "is not a URL"},
		{"https://authsec.example.com:port", "is not a URL"},
		{"https://[2001:db8::1", "is not a URL"},
		{"https://authsec.example.com:0", `has no valid port: "https://authsec.example.com:0"`},
		{"https://authsec.example.com:65536", "has no valid port: "},
		{"https:authsec.example.com", "has no host name"},
		{"https://", "has no host name"},
		{"https:///path", "has no host name"},
		{"https://:8443", "has no host name"},
		{"https://authsec..example.com", "empty label"},
		{"https://*.example.com", `has a character in its host that no host name has: "https://*.example.com"`},
		{"https://b\u00fccher.example", "is not ASCII (international names are written as xn--...)"},
		{"https://" + strings.Repeat("a", 254), "is longer than a host name can be"},
		{"https://bob@authsec.example.com", "has a user name or password in it"},
		{"https://bob:hunter2@authsec.example.com", "has a user name or password in it"},
		{"https://:hunter2@", "has a user name or password in it"},
		{"https://bob:hunter2@authsec example.com", "is not a URL like " + example},
		{"https://bob:hunter2%zz@authsec.example.com", "is not a URL like " + example},
		{"bob:hunter2@authsec.example.com", "has no https:// before its host"},
		{"https://hunter2*/@authsec.example.com", "has a character in its host that no host name has"},
		{"https://bob:1/hunter2@authsec.example.com", "has an @ after its host"},
		{"https://bob:1/hunter2%40authsec.example.com", "has an @ after its host"},
		{"https://authsec.example.com?key=hunter2", "has a query"},
		{"https://authsec.example.com:0?key=hunter2", "has no valid port"},
		{"https://authsec.example.com/?", "has a query"},
		{"https://authsec.example.com/#hunter2", "has a fragment"},
		{"https://authsec.example.com/#", "has a fragment"},
	} {
		u, err := ParseBase(tt.base)
		if err == nil || u != nil {
			t.Errorf("ParseBase(%q) = %v, %v, want an error", tt.base, u, err)
			continue
		}
		if got := err.Error(); !strings.Contains(got, tt.want) {
			t.Errorf("ParseBase(%q): error is %q, want %q in it", tt.base, got, tt.want)
		}
		if strings.Contains(err.Error(), "hunter2") {
			t.Errorf("ParseBase of a URL with a secret (wanted: %q): the error shows it", tt.want)
		}
	}
}

func TestParseBaseAcceptsEveryUsualURL(t *testing.T) {
	for base, want := range map[string]string{
		"https://authsec.example.com":              "https://authsec.example.com",
		"https://authsec.example.com///":           "https://authsec.example.com///",
		"HTTPS://authsec.example.com:8443/a/":      "https://authsec.example.com:8443/a/",
		"\n https://[2001:db8::1]:8443/a%2Fb \r\n": "https://[2001:db8::1]:8443/a%2Fb",
		"http://LOCALHOST.":                        "http://LOCALHOST.",
		"http://10.0.0.1:8080/prefix":              "http://10.0.0.1:8080/prefix",
	} {
		if u, err := ParseBase(base); err != nil || u.String() != want {
			t.Errorf("ParseBase(%q) = %v, %v, want %s", base, u, err, want)
		}
	}
}

func TestParseURLAcceptsQueriesAndShowsItsExample(t *testing.T) {
	const example = "https://api.example.com/v1"
	for _, s := range []string{"https://api.example.com/v1?x=1#y", "https://api.example.com/@me", "http://api.example.com?"} {
		if u, err := ParseURL(s, example); err != nil || u.String() != s {
			t.Errorf("ParseURL(%q) = %v, %v, want the same URL", s, u, err)
		}
	}
	for _, s := range []string{"", "https://a b"} {
		if _, err := ParseURL(s, example); err == nil || !strings.Contains(err.Error(), "like "+example) {
			t.Errorf("ParseURL(%q): error is %v, want the example in it", s, err)
		}
	}
}

func TestErrorsOfURLsAreShort(t *testing.T) {
	for _, s := range []string{strings.Repeat("x", 10000), "https://" + strings.Repeat("x", 10000), "https://x:" + strings.Repeat("x", 10000)} {
		if _, err := ParseURL(s, ""); err == nil || len(err.Error()) > 300 {
			t.Errorf("ParseURL of %d bytes: error is %.400v, want one of 300 bytes at most", len(s), err)
		}
		if _, err := Parse([]string{s}); err == nil || len(err.Error()) > 400 {
			t.Errorf("Parse of %d bytes: error is %.500v, want one of 400 bytes at most", len(s), err)
		}
	}
}

// FuzzBaseURL: what ParseBase accepts is a URL of the host that it names, has
// no secret, and is Local only if it is this machine. Errors hold no secret.
func FuzzBaseURL(f *testing.F) {
	for _, s := range []string{"https://authsec.example.com", "https://authsec.example.com/a%2Fb//", "http://localhost:8080/x", "http://127.1", "http://[::1]:80/..", "https://[fe80::1%25lo]/",
		"https://bob:hunter2@authsec.example.com", "https://bob:hunter2@a b", "https://a?key=hunter2", "https://a/?", "https://a/#", "https://a/../../b", "HTTP://LOCALHOST.", "//a", "a:1", "", " https://a/ ",
		"https://a:", "https://a:0", "https://a/%", "https://a\\@b", "https://b\u00fccher.example", "http://localhost@evil.example", "https://a;b/c;d", "https://hunter2*/@a"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		u, err := ParseBase(s)
		if err != nil {
			if strings.ContainsAny(s, "@?#") && strings.Contains(err.Error(), "hunter2") {
				t.Fatalf("ParseBase(%q): the error shows a secret", s)
			}
			if text := err.Error(); !strings.HasPrefix(text, "is ") && !strings.HasPrefix(text, "has ") {
				t.Fatalf("ParseBase(%q): error is %q, want a phrase that goes after a field's name", s, err)
			}
			return
		}
		want, err := url.Parse(strings.TrimSpace(s))
		if err != nil || u.String() != want.String() {
			t.Fatalf("ParseBase(%q) = %v, want %v (%v)", s, u, want, err)
		}
		if u.Scheme != "https" && u.Scheme != "http" || u.Opaque != "" || u.User != nil || u.RawQuery != "" || u.Fragment != "" || strings.Contains(u.String(), "@") || !oracleValid(u.Host) {
			t.Fatalf("ParseBase accepts %q", s)
		}
		req, err := http.NewRequest(http.MethodGet, u.String(), nil)
		if err != nil || req.URL.Host != strings.TrimSuffix(u.Host, ":") {
			t.Fatalf("ParseBase(%q) = %s, and a request to it goes to %v (%v)", s, u, req, err)
		}
		addr, err := netip.ParseAddr(u.Hostname())
		exempt := u.Hostname() == "localhost" || err == nil && addr.Unmap().IsLoopback()
		if got := Local(u, foreign{}); got != exempt {
			t.Fatalf("Local(%s) = %t, want %t", u, got, exempt)
		}
	})
}
