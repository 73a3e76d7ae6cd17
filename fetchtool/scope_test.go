// Copyright 2026 The authsec Authors
// SPDX-License-Identifier: Apache-2.0

package fetchtool_test

import (
	"net/url"
	"strings"
	"testing"
	"unicode"

	"golang.org/x/text/unicode/norm"

	"github.com/authsec-go/authsec/fetchtool"
)

// TestPermittedURLsAreSentInOneForm has URLs that are permitted, and what is
// sent for them.
func TestPermittedURLsAreSentInOneForm(t *testing.T) {
	const ipv6 = "https://[2001:db8::1]:8443/v1"
	for _, c := range []struct{ root, input, want string }{
		{"https://api.example.com/v1", "https://api.example.com/v1", "https://api.example.com/v1"},
		{"https://api.example.com/v1", "https://api.example.com/v1/", "https://api.example.com/v1/"},
		{"https://api.example.com/v1/", "https://api.example.com/v1", "https://api.example.com/v1"},
		{"https://api.example.com/v1", "https://api.example.com/v1/x", "https://api.example.com/v1/x"},
		{"https://api.example.com/v1", "https://api.example.com/v1?q=1", "https://api.example.com/v1?q=1"},
		{"https://api.example.com/v1", "https://api.example.com/v1/x?q=https://evil.test/%2e%2e/&r=a@b", "https://api.example.com/v1/x?q=https://evil.test/%2e%2e/&r=a@b"},
		{"https://api.example.com/v1", "https://api.example.com/v1/x?", "https://api.example.com/v1/x?"},
		{"https://api.example.com/v1", "https://api.example.com/v1/x?q=é", "https://api.example.com/v1/x?q=%C3%A9"},
		{"https://api.example.com/v1", "https://api.example.com/v1/x#y", "https://api.example.com/v1/x"},
		{"https://api.example.com/v1", "https://api.example.com/v1#@evil.test/", "https://api.example.com/v1"},
		// Equal URLs are equal.
		{"https://api.example.com/v1", "HTTPS://API.Example.COM:443/v1/x", "https://api.example.com/v1/x"},
		{"https://API.example.com.:443/v1", "https://api.example.com/v1/x", "https://api.example.com/v1/x"},
		{"https://api.example.com/v1", "https://api.example.com:/v1/x", "https://api.example.com/v1/x"},
		{"https://api.example.com/v1", "https://api.example.com./v1/x", "https://api.example.com/v1/x"},
		{"https://api.example.com:8443/v1", "https://api.example.com:8443/v1/x", "https://api.example.com:8443/v1/x"},
		{"https://xn--bcher-kva.example/v1", "https://XN--bcher-kva.example/v1/x", "https://xn--bcher-kva.example/v1/x"},
		{ipv6, "https://[2001:DB8:0:0::1]:8443/v1/x", "https://[2001:db8::1]:8443/v1/x"},
		{"https://[::1]/v1", "https://[0:0::1]:443/v1/x", "https://[::1]/v1/x"},
		{"https://192.0.2.1/v1", "https://192.0.2.1/v1/x", "https://192.0.2.1/v1/x"},
		{"http://localhost:80/v1", "http://LOCALHOST/v1/x", "http://localhost/v1/x"},
		// Dots and empty segments are resolved.
		{"https://api.example.com/v1", "https://api.example.com/v1/x/../y", "https://api.example.com/v1/y"},
		{"https://api.example.com/v1", "https://api.example.com/v1/./x//y/", "https://api.example.com/v1/x/y/"},
		{"https://api.example.com/v1", "https://api.example.com/v1/x/..", "https://api.example.com/v1/"},
		{"https://api.example.com/v1", "https://api.example.com//v1///x", "https://api.example.com/v1/x"},
		{"https://api.example.com/v1", "https://api.example.com/admin/../v1/x", "https://api.example.com/v1/x"},
		// Needless escapes are undone, and needed ones stay.
		{"https://api.example.com/v1", "https://api.example.com/%76%31/%7Euser/a%3bb;c=d", "https://api.example.com/v1/~user/a%3Bb;c=d"},
		{"https://api.example.com/v1", "https://api.example.com/v1/Müller%20%3f%23%5bx%5d|", "https://api.example.com/v1/M%C3%BCller%20%3F%23%5Bx%5D%7C"},
		{"https://api.example.com/v1", "https://api.example.com/v1/a.b/.well-known/..x/x..", "https://api.example.com/v1/a.b/.well-known/..x/x.."},
		{"https://api.example.com/a%20b;c", "https://api.example.com/a%20b;c/x", "https://api.example.com/a%20b;c/x"},
		// Paths count from the only permitted URL.
		{"https://api.example.com/v1", "/customers/42", "https://api.example.com/v1/customers/42"},
		{"https://api.example.com/v1", "customers/42", "https://api.example.com/v1/customers/42"},
		{"https://api.example.com/v1/", "customers/42", "https://api.example.com/v1/customers/42"},
		{"https://api.example.com/v1", "v1", "https://api.example.com/v1/v1"},
		{"https://api.example.com/v1", "/v10", "https://api.example.com/v1/v10"},
		{"https://api.example.com/v1", "/", "https://api.example.com/v1/"},
		{"https://api.example.com/v1", "?page=2", "https://api.example.com/v1?page=2"},
		{"https://api.example.com/v1", "x?at=10:30", "https://api.example.com/v1/x?at=10:30"},
		{"https://api.example.com/v1", "customers/a:b", "https://api.example.com/v1/customers/a:b"},
		{"https://api.example.com", "/customers/42", "https://api.example.com/customers/42"},
		{"https://api.example.com", "https://api.example.com", "https://api.example.com/"},
		{"https://api.example.com", "evil.test/x", "https://api.example.com/evil.test/x"},
	} {
		base := new(ledger)
		s := newStack(t, base, func(cfg *fetchtool.Config) { cfg.DownstreamURLs = []string{c.root} })
		result, err := s.tool.Fetch(callContext(t), fetchtool.Request{URL: c.input})
		if err != nil {
			t.Errorf("%q below %s: got %v, want %s", c.input, c.root, err, c.want)
			continue
		}
		// RequestURI, which is what is sent, has a slash for an empty path.
		if got := base.requests()[0]; got != "GET "+c.want || result.URL != c.want {
			t.Errorf("%q below %s: got the request %q and the URL %q, want %s", c.input, c.root, got, result.URL, c.want)
		}
		if base.auth[0] != "Bearer "+s.token {
			t.Errorf("%q: the request lacks the token", c.input)
		}
	}
}

// TestWhatUnicodeMakesOfAPathIsRefused has each character that becomes, by itself
// or with others, one that leads elsewhere.
func TestWhatUnicodeMakesOfAPathIsRefused(t *testing.T) {
	base := new(ledger)
	s := newStack(t, base, nil)
	n := 0
	for r := rune(0x80); r <= unicode.MaxRune; r++ {
		if strings.ContainsAny(norm.NFKD.String(string(r)), `./\%`) {
			n++
			for _, path := range []string{string(r), url.PathEscape(string(r)), "x" + string(r) + "y"} {
				s.fail(t, fetchtool.Request{URL: path}, fetchtool.URLRefused)
			}
		}
	}
	if sent := base.requests(); n < 30 || len(sent) > 0 {
		t.Errorf("got %d characters, want 30 at least; got the requests %q, want none", n, sent)
	}
	// What becomes another letter is sent as it is.
	for path, want := range map[string]string{"ﬁ²": "%EF%AC%81%C2%B2", "e\u0301": "e%CC%81", "什么？": "%E4%BB%80%E4%B9%88%EF%BC%9F", "½": "%C2%BD"} {
		if result, err := s.tool.Fetch(callContext(t), fetchtool.Request{URL: path}); err != nil || result.URL != "https://api.example.com/v1/"+want {
			t.Errorf("%s: got %+v, %v, want it sent as %s", path, result, err, want)
		}
	}
}

func TestSeveralDownstreamURLs(t *testing.T) {
	base := new(ledger)
	s := newStack(t, base, func(c *fetchtool.Config) {
		c.DownstreamURLs = []string{"https://a.example.com/v1", "https://b.example.com", "https://a.example.com/v3/x"}
	})
	for _, url := range []string{"https://a.example.com/v1/x", "https://b.example.com/any/where", "https://a.example.com/v3/x/y"} {
		if _, err := s.tool.Fetch(callContext(t), fetchtool.Request{URL: url}); err != nil {
			t.Errorf("%s: got %v, want it permitted", url, err)
		}
	}
	for _, url := range []string{"https://a.example.com/v3", "https://a.example.com/any/where", "https://c.example.com/v1", "customers/42", "/customers/42", "?x"} {
		e := s.fail(t, fetchtool.Request{URL: url}, fetchtool.URLRefused)
		wantIn(t, e.Advice, "https://a.example.com/v1", "https://b.example.com", "https://a.example.com/v3/x")
	}
	if got := len(base.requests()); got != 3 {
		t.Errorf("got %d requests, want 3", got)
	}
}

// TestTheHostIsNoPath: a model left out the scheme.
func TestTheHostIsNoPath(t *testing.T) {
	for _, c := range []struct{ root, text string }{
		{"https://api.example.com/v1", "api.example.com/v1/x"},
		{"https://api.example.com/v1", "API.example.COM/v1/x"},
		{"https://api.example.com/v1", "api.example.com./v1/x"},
		{"https://api.example.com/v1", "api.example.com"},
		{"https://api.example.com/v1", "api.example.com?q"},
		{"https://api.example.com/v1", "api.example.com#x"},
		{"https://api.example.com:8443/v1", "api.example.com/v1/x"},
		{"http://localhost:8080", "localhost/x"},
	} {
		base := new(ledger)
		s := newStack(t, base, func(cfg *fetchtool.Config) { cfg.DownstreamURLs = []string{c.root} })
		e := s.fail(t, fetchtool.Request{URL: c.text}, fetchtool.URLRefused)
		wantIn(t, e.Advice, "The URL has no https:// before its host: write the whole URL. Permitted: GET below "+c.root)
		if _, err := s.tool.Fetch(callContext(t), fetchtool.Request{URL: "/" + c.text}); err != nil { // that is a path
			t.Errorf("/%s: got error %v, want none", c.text, err)
		}
		if sent := base.requests(); len(sent) != 1 {
			t.Errorf("%s: got the requests %q, want one", c.text, sent)
		}
	}
}

// TestInvisibleCharactersAreRefused: two URLs that look the same must not differ.
func TestInvisibleCharactersAreRefused(t *testing.T) {
	base := new(ledger)
	s := newStack(t, base, nil)
	for _, r := range "\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b\u180e\u200b\u200d\u2060\u2065\u2800\u3164\ufe00\ufe0f\ufeff\uffa0\ufff0\U000e0001\U000e0100\U000e0fff" {
		for _, text := range []string{"x" + string(r), "x" + string(r) + "y", "x?q=" + string(r) + "y"} {
			e := s.fail(t, fetchtool.Request{URL: text}, fetchtool.URLRefused)
			wantIn(t, e.Advice, "invisible character in it: leave it out")
		}
		s.fail(t, fetchtool.Request{URL: url.PathEscape("x" + string(r) + "y")}, fetchtool.URLRefused)
	}
	if sent := base.requests(); len(sent) > 0 {
		t.Errorf("got the requests %q, want none", sent)
	}
}

// TestPermittedURLsOfAnIPHostAreNotOthers guards the comparison of addresses.
func TestPermittedURLsOfAnIPHostAreNotOthers(t *testing.T) {
	base := new(ledger)
	s := newStack(t, base, func(c *fetchtool.Config) {
		c.DownstreamURLs = []string{"https://[::ffff:192.0.2.1]/v1", "https://192.0.2.1:8443/v1"}
	})
	for _, url := range []string{"https://192.0.2.1/v1", "https://[::ffff:192.0.2.1]:8443/v1", "https://192.0.2.01:8443/v1", "https://3221225985:8443/v1", "https://0xc0.0.2.1:8443/v1"} {
		s.fail(t, fetchtool.Request{URL: url}, fetchtool.URLRefused)
	}
	if sent := base.requests(); len(sent) > 0 {
		t.Errorf("got the requests %q, want none", sent)
	}
}

func TestLongURLIsRefused(t *testing.T) {
	base := new(ledger)
	s := newStack(t, base, nil)
	at := "https://api.example.com/v1/"
	if _, err := s.tool.Fetch(callContext(t), fetchtool.Request{URL: at + strings.Repeat("x", 8<<10-len(at))}); err != nil {
		t.Errorf("8 KiB: got %v, want it permitted", err)
	}
	s.fail(t, fetchtool.Request{URL: at + strings.Repeat("x", 8<<10-len(at)+1)}, fetchtool.URLRefused)
}
