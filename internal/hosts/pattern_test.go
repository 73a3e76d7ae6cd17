// Copyright 2026 The authsec Authors
// SPDX-License-Identifier: Apache-2.0

package hosts

import (
	"reflect"
	"slices"
	"strings"
	"testing"
)

func TestParseAcceptsEveryDocumentedForm(t *testing.T) {
	for _, s := range []string{
		"api.example.com", "api.example.com:8443", "*.example.com", "*.example.com:8443", "*",
		"[2001:db8::1]:8443", "[2001:db8::1]", "[::ffff:192.0.2.1]", "192.0.2.1", "192.0.2.1:8443",
		"http://orders.prod.svc:8080", "http://orders", "http://[2001:db8::1]:8080", "http://*.prod.svc",
		"API.Example.COM", "api.example.com.", "api.example.com.:8443", "192.0.2.1.",
		"https://api.example.com", "HTTPS://api.example.com:8443", "https://*.example.com", "https://[2001:db8::1]:8443", "https://*", "HTTP://orders",
		"localhost", "localhost:1", "api:65535", "xn--bcher-kva.example", "under_score.svc", "a-b", "3com.example",
	} {
		if _, err := Parse([]string{s}); err != nil {
			t.Errorf("Parse(%q) = %v, want no error", s, err)
		}
	}
}

func TestParseRefusesWhatIsNoHostPattern(t *testing.T) {
	for _, s := range []string{
		"", " ", ".", "..", "*.", "**", "*.*.example.com", "a.*.example.com", "*example.com", "example.*",
		"http://", "https://", "http://*", "http://*/", "ftp://api.example.com", "ws://api.example.com", "wss://*", "://api.example.com", "httpſ://api.example.com",
		"//api.example.com", "https:///v1", "https:api.example.com", "https:/api.example.com", "https://https://api.example.com", "/v1", "?", "#", "a..b/v1",
		"user@api.example.com", "user:hunter2@api.example.com", "http://user:hunter2@api.example.com",
		" api.example.com", "api.example.com ", "api example.com", "api.example.com,other.example.com", "api\n.example.com",
		"api.example.com:", "api.example.com:0", "api.example.com:65536", "api.example.com:08443", "api.example.com:+1", "api.example.com:-1", "api.example.com:https", "api.example.com:1:2", ":443",
		"api..example.com", ".example.com", "api.example.com..", strings.Repeat("a", 254), "api%2eexample.com", "[", "[]", "]",
		"2001:db8::1", "[2001:db8::1", "[2001:db8::1]x", "[2001:db8::1]:", "[2001:db8::1]8443", "[192.0.2.1]", "[fe80::1%eth0]", "[api.example.com]", "[::ffff:127.0.0.1%a]",
		"127.1", "1.2.3", "256.1.1.1", "1.2.3.4.5", "0177.0.0.1", "2130706433", "api.example.1",
		"*.192.0.2.1", "*.[2001:db8::1]",
		"\u212aube.example.com", "bücher.example", "api.example\u3002com", "ａpi.example.com",
	} {
		_, err := Parse([]string{s})
		if err == nil {
			t.Errorf("Parse(%q) = nil, want an error", s)
			continue
		}
		if !strings.Contains(err.Error(), Syntax) {
			t.Errorf("Parse(%q) = %q, want an error that says what to write", s, err)
		}
		if strings.Contains(err.Error(), "hunter2") {
			t.Errorf("Parse of a pattern with a password: the error shows it")
		}
	}
}

func TestParseSaysWhatToWriteForAURL(t *testing.T) {
	for _, tt := range []struct{ pattern, want string }{
		{"https://api.example.com/v1", `"https://api.example.com/v1" has a path: write "api.example.com"`},
		{"https://api.example.com/", `"https://api.example.com/" has a path: write "api.example.com"`},
		{"api.example.com/", `"api.example.com/" has a path: write "api.example.com"`},
		{"api.example.com/v1?x#y", `entry 0 has a path: write "api.example.com"`},
		{"api.example.com:8443/v1", `"api.example.com:8443/v1" has a path: write "api.example.com:8443"`},
		{"HTTPS://*.example.com:8443/v1", `"HTTPS://*.example.com:8443/v1" has a path: write "*.example.com:8443"`},
		{"https://[2001:db8::1]/", `"https://[2001:db8::1]/" has a path: write "[2001:db8::1]"`},
		{"HTTP://orders.prod.svc:8080/v1", `"HTTP://orders.prod.svc:8080/v1" has a path: write "http://orders.prod.svc:8080"`},
		{"*/", `"*/" has a path: write "*"`},
		{"https://api.example.com?key=hunter2", `entry 0 has a query: write "api.example.com"`},
		{"api.example.com?next=https://x/", `entry 0 has a query: write "api.example.com"`},
		{"api.example.com/https://x", `"api.example.com/https://x" has a path: write "api.example.com"`},
		{"https://api.example.com#hunter2", `entry 0 has a fragment: write "api.example.com"`},
		{"ftp://api.example.com", `"ftp://api.example.com" has a scheme other than https and http: ` + Syntax},
		{"https://user:hunter2@api.example.com", "entry 0 has an @ in it: a user name or password does not belong there: " + Syntax},
		{"https://user:hunter2/3@api.example.com/v1", "entry 0 has an @ in it: a user name or password does not belong there: " + Syntax},
		{"https://a..b/v1", `"https://a..b/v1" has no host name, or an empty label in it: ` + Syntax},
	} {
		if _, err := Parse([]string{tt.pattern}); err == nil || err.Error() != tt.want {
			t.Errorf("Parse(%q) = %v, want %s", tt.pattern, err, tt.want)
		}
	}
}

func TestHTTPSPatternMeansItsHost(t *testing.T) {
	for with, without := range map[string]string{
		"https://api.example.com": "api.example.com", "https://api.example.com:8443": "api.example.com:8443",
		"HTTPS://*.example.com": "*.example.com", "https://[2001:db8::1]:8443": "[2001:db8::1]:8443", "https://*": "*",
	} {
		if got, want := hostList(t, with), hostList(t, without); !reflect.DeepEqual(got, want) {
			t.Errorf("Parse(%q) = %+v, want %+v as of %q", with, got, want, without)
		}
	}
}

func TestShownHasNoSecret(t *testing.T) {
	got := Shown([]string{"api.example.com", "u:hunter2@host", "https://a?key=hunter2", "a#hunter2", "*"})
	want := []string{"api.example.com", "[redacted]", "[redacted]", "[redacted]", "*"}
	if !slices.Equal(got, want) {
		t.Errorf("Shown = %q, want %q", got, want)
	}
}

func TestParseRefusesAnEmptyList(t *testing.T) {
	for _, list := range [][]string{nil, {}} {
		if _, err := Parse(list); err == nil || !strings.Contains(err.Error(), Syntax) {
			t.Errorf("Parse(%#v) = %v, want an error that says what to write", list, err)
		}
	}
}

func TestParseNamesAllFaults(t *testing.T) {
	_, err := Parse([]string{"good.example.com", "bad/one", "*", "u:hunter2@two", "bad three"})
	if err == nil {
		t.Fatal("Parse = nil, want an error")
	}
	for _, want := range []string{`"bad/one"`, "entry 3", `"bad three"`} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("error is %q, want it to name %s", err, want)
		}
	}
	if strings.Contains(err.Error(), "good.example.com") || strings.Contains(err.Error(), "hunter2") {
		t.Errorf("error is %q, want neither the good entry nor a password in it", err)
	}
}
