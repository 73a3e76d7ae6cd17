// Copyright 2026 The authsec Authors
// SPDX-License-Identifier: Apache-2.0

package hosts

import (
	"net/http"
	"net/url"
	"strings"
	"testing"
)

func (v Verdict) name() string {
	return map[Verdict]string{Withhold: "Withhold", Send: "Send", Insecure: "Insecure"}[v]
}

// hostRequest returns a GET of a URL, which keeps its userinfo.
func hostRequest(t testing.TB, rawURL string) *http.Request {
	t.Helper()
	u, err := url.Parse(rawURL)
	if err != nil {
		t.Fatalf("url.Parse(%q): %v", rawURL, err)
	}
	return &http.Request{Method: http.MethodGet, URL: u, Header: http.Header{}}
}

// hostChain returns the last request of a chain of redirects, linked as
// http.Client links it. An empty URL stands for an unknown hop.
func hostChain(t testing.TB, urls ...string) *http.Request {
	t.Helper()
	var req *http.Request
	for i, s := range urls {
		if s == "" {
			req = nil
			continue
		}
		next := hostRequest(t, s)
		if i > 0 {
			next.Response = &http.Response{Request: req}
		}
		req = next
	}
	return req
}

func hostList(t testing.TB, patterns ...string) *List {
	t.Helper()
	l, err := Parse(patterns)
	if err != nil {
		t.Fatalf("Parse(%q): %v", patterns, err)
	}
	return l
}

// viaNone and viaProxy stand for what Direct returns.
func viaNone(*http.Request) bool  { return true }
func viaProxy(*http.Request) bool { return false }

func TestCheckOfAFirstRequest(t *testing.T) {
	for _, tt := range []struct {
		patterns string // separated by spaces
		url      string
		want     Verdict
	}{
		// A name, on the scheme's default port.
		{"api.example.com", "https://api.example.com/v1", Send},
		{"api.example.com", "https://api.example.com:443/", Send},
		{"api.example.com", "https://api.example.com:8443/", Withhold},
		{"api.example.com", "https://api.example.com:80/", Withhold},
		{"api.example.com", "https://api.example.com:0443/", Withhold},
		{"api.example.com", "https://api.example.com:/", Send},
		{"api.example.com", "https://example.com/", Withhold},
		{"api.example.com", "https://x.api.example.com/", Withhold},
		{"api.example.com", "https://api.example.com.evil.example/", Withhold},
		{"api.example.com", "https://evilapi.example.com/", Withhold},
		{"api.example.com", "https://api.example.com@evil.example/", Withhold},
		{"api.example.com", "https://evil.example/@api.example.com", Withhold},
		{"api.example.com", "https://evil.example/?api.example.com#api.example.com", Withhold},
		{"api.example.com", "https://user:pw@api.example.com/", Send},
		// A name and a port.
		{"api.example.com:8443", "https://api.example.com:8443/", Send},
		{"api.example.com:8443", "https://api.example.com/", Withhold},
		{"api.example.com:443", "https://api.example.com/", Send},
		// A wildcard: any depth, but not the parent.
		{"*.example.com", "https://api.example.com/", Send},
		{"*.example.com", "https://a.b.c.example.com/", Send},
		{"*.example.com", "https://example.com/", Withhold},
		{"*.example.com", "https://.example.com/", Withhold},
		{"*.example.com", "https://evilexample.com/", Withhold},
		{"*.example.com", "https://example.com.evil.example/", Withhold},
		{"*.example.com", "https://api.example.com:8443/", Withhold},
		{"*.example.com:8443", "https://api.example.com:8443/", Send},
		{"*.example.com example.com", "https://example.com/", Send},
		// Case, the trailing dot, and nothing but ASCII.
		{"API.Example.com", "https://api.eXAMPLE.COM/", Send},
		{"api.example.com.", "https://api.example.com/", Send},
		{"api.example.com", "https://api.example.com./", Send},
		{"api.example.com", "https://api.example.com.:443/", Send},
		{"api.example.com", "https://api.example.com../", Withhold},
		{"*.example.com", "https://api.example.com./", Send},
		{"kube.example.com", "https://\u212aube.example.com/", Withhold},
		{"*.kube.example.com", "https://api.\u212aube.example.com/", Withhold},
		{"service.example.com", "https://\u017fervice.example.com/", Withhold},
		{"a_b.example.com", "https://a\x7fb.example.com/", Withhold},
		// IP addresses, in every spelling.
		{"[2001:db8::1]:8443", "https://[2001:db8::1]:8443/", Send},
		{"[2001:db8::1]:8443", "https://[2001:DB8:0:0::1]:8443/", Send},
		{"[2001:db8::1]:8443", "https://[2001:db8::1]/", Withhold},
		{"[2001:db8::1]:8443", "https://[2001:db8::2]:8443/", Withhold},
		{"[2001:db8::1]", "https://[2001:db8::1]/", Send},
		{"[2001:0db8:0000::1]", "https://[2001:db8::1]/", Send},
		{"[fe80::1]", "https://[fe80::1%25eth0]/", Withhold},
		{"192.0.2.1", "https://192.0.2.1/", Send},
		{"192.0.2.1", "https://192.0.2.1./", Send},
		{"192.0.2.1", "https://192.0.2.10/", Withhold},
		{"192.0.2.1", "https://[::ffff:192.0.2.1]/", Withhold},
		// Plain HTTP where it was not asked for.
		{"api.example.com", "http://api.example.com/", Insecure},
		{"api.example.com:8443", "http://api.example.com:8443/", Insecure},
		{"*.example.com", "http://api.example.com/", Insecure},
		{"[2001:db8::1]", "http://[2001:db8::1]/", Insecure},
		{"api.example.com", "http://other.example.com/", Withhold},
		{"api.example.com", "http://api.example.com:8080/", Withhold},
		// http:// patterns: plain HTTP, and that only.
		{"http://orders.prod.svc:8080", "http://orders.prod.svc:8080/", Send},
		{"http://orders.prod.svc:8080", "http://ORDERS.prod.svc.:8080/", Send},
		{"http://orders.prod.svc:8080", "https://orders.prod.svc:8080/", Withhold},
		{"http://orders.prod.svc:8080", "http://orders.prod.svc/", Withhold},
		{"http://orders.prod.svc", "http://orders.prod.svc/", Send},
		{"http://orders.prod.svc", "http://orders.prod.svc:80/", Send},
		{"http://orders.prod.svc", "https://orders.prod.svc/", Withhold},
		{"http://*.prod.svc", "http://orders.prod.svc/", Send},
		{"http://*.prod.svc", "http://prod.svc/", Withhold},
		{"http://orders.prod.svc orders.prod.svc", "https://orders.prod.svc/", Send},
		{"orders.prod.svc http://orders.prod.svc", "http://orders.prod.svc/", Send},
		// Loopback, where it matches.
		{"localhost:8080", "http://localhost:8080/", Send},
		{"localhost:8080", "http://LOCALHOST.:8080/", Send},
		{"localhost:8080", "http://localhost:8081/", Withhold},
		{"127.0.0.1", "http://127.0.0.1/", Send},
		{"127.8.9.10", "http://127.8.9.10/", Send},
		{"[::1]", "http://[::1]/", Send},
		{"[::ffff:127.0.0.1]", "http://[::ffff:127.0.0.1]/", Send},
		{"api.localhost", "http://api.localhost/", Insecure},
		{"localhost.example.com", "http://localhost.example.com/", Insecure},
		{"0.0.0.0", "http://0.0.0.0/", Insecure},
		{"api.example.com", "http://localhost/", Withhold},
		// "*": wherever the caller goes, over TLS.
		{"*", "https://anything.example/", Send},
		{"*", "https://anything.example:8443/", Send},
		{"*", "https://[2001:db8::1]/", Send},
		{"*", "http://anything.example/", Insecure},
		{"*", "http://localhost:8080/", Send},
		{"*", "http://127.0.0.1:8080/", Send},
		{"* http://orders.prod.svc", "http://orders.prod.svc/", Send},
		{"http://orders.prod.svc *", "https://orders.prod.svc/", Send},
		// https:// is the same as no scheme.
		{"https://api.example.com", "https://api.example.com/", Send},
		{"https://api.example.com", "https://api.example.com:8443/", Withhold},
		{"https://api.example.com", "http://api.example.com/", Insecure},
		// "*" has no invalid host.
		{"*", "https://b\u00fccher.example/", Withhold},
		{"*", "https://api.example.com../", Withhold},
		{"*", "https://[fe80::1%25eth0]/", Send},
		{"*", "https://[fe80::1%25a@b]/", Withhold},
		// Other schemes.
		{"*", "ws://anything.example/", Withhold},
		{"*", "wss://anything.example/", Withhold},
		{"api.example.com", "ftp://api.example.com/", Withhold},
		{"*", "/no/host", Withhold},
	} {
		u, err := url.Parse(tt.url)
		if err != nil {
			continue // no client can ask for it
		}
		l := hostList(t, strings.Fields(tt.patterns)...)
		if got := l.Check(&http.Request{Method: http.MethodGet, URL: u}, viaNone); got != tt.want {
			t.Errorf("Hosts %q: Check(%s) = %s, want %s", tt.patterns, tt.url, got.name(), tt.want.name())
		}
	}
}

func TestCheckGoesByTheURLAndNotByRequestHost(t *testing.T) {
	l := hostList(t, "api.example.com")
	req := hostRequest(t, "https://evil.example/")
	req.Host = "api.example.com"
	if got := l.Check(req, viaNone); got != Withhold {
		t.Errorf("URL elsewhere, Host listed: Check = %s, want Withhold", got.name())
	}
	req = hostRequest(t, "https://api.example.com/")
	req.Host = "evil.example"
	if got := l.Check(req, viaNone); got != Send {
		t.Errorf("URL listed, Host elsewhere: Check = %s, want Send", got.name())
	}
}

func TestCheckNeverSendsWithTraceAndConnect(t *testing.T) {
	for _, tt := range []struct {
		method string
		want   Verdict
	}{
		{"", Send}, {"GET", Send}, {"POST", Send}, {"PURGE", Send}, {"OPTIONS", Send},
		{"TRACE", Withhold}, {"CONNECT", Withhold}, {"trace", Withhold}, {"Connect", Withhold},
	} {
		for _, patterns := range []string{"*", "api.example.com"} {
			req := hostRequest(t, "https://api.example.com/")
			req.Method = tt.method
			if got := hostList(t, patterns).Check(req, viaNone); got != tt.want {
				t.Errorf("Hosts %q, method %q: Check = %s, want %s", patterns, tt.method, got.name(), tt.want.name())
			}
		}
	}
}

func TestCheckWithholdsFromMalformedURLs(t *testing.T) {
	const host = "orders.example.com:8080"
	for _, tt := range []struct {
		claim string
		url   url.URL
		want  Verdict
	}{
		{"no path", url.URL{Host: host}, Send},
		{"a path", url.URL{Host: host, Path: "/@evil:80/x", RawPath: "/%40evil:80/x"}, Send},
		{"a path that begins with an @", url.URL{Host: host, Path: "@evil:80/x"}, Withhold},
		{"a path that begins with a dot", url.URL{Host: host, Path: ".evil.example/x"}, Withhold},
		{"the path of OPTIONS *", url.URL{Host: host, Path: "*"}, Withhold},
		{"an escaped slash", url.URL{Host: host, Path: "/x", RawPath: "%2Fx"}, Withhold},
		{"a raw path that differs", url.URL{Host: host, Path: "/x", RawPath: "@evil/x"}, Withhold},
		{"no host", url.URL{}, Withhold},
		{"no name", url.URL{Host: ":8080"}, Withhold},
		{"a slash before a listed suffix", url.URL{Host: "evil.com/x.example.com:8080"}, Withhold},
		{"an @ before a listed suffix", url.URL{Host: "a@b.example.com:8080"}, Withhold},
		{"a password before a listed suffix", url.URL{Host: "a:80@b.example.com:8080"}, Withhold},
		{"a question mark before a listed suffix", url.URL{Host: "evil.com?.example.com:8080"}, Withhold},
		{"a number sign before a listed suffix", url.URL{Host: "evil.com#.example.com:8080"}, Withhold},
		{"a backslash before a listed suffix", url.URL{Host: `evil.com\.example.com:8080`}, Withhold},
		{"a percent sign", url.URL{Host: "evil.com%2f.example.com:8080"}, Withhold},
		{"white space", url.URL{Host: "evil.com .example.com:8080"}, Withhold},
		{"an empty label", url.URL{Host: "a..example.com:8080"}, Withhold},
		{"a name too long", url.URL{Host: strings.Repeat("a.", 130) + "example.com:8080"}, Withhold},
		{"a second port", url.URL{Host: "a.example.com:80:8080"}, Withhold},
		{"a name in brackets", url.URL{Host: "[a.example.com]:8080"}, Withhold},
		{"brackets around an IPv4 address", url.URL{Host: "[192.0.2.1]:8080"}, Withhold},
		{"a zone that is no name", url.URL{Host: "[fe80::1%a@b.example.com]:8080"}, Withhold},
		{"an open bracket", url.URL{Host: "[2001:db8::1:8080"}, Withhold},
		{"an IPv6 address without brackets", url.URL{Host: "2001:db8::abcd"}, Withhold},
	} {
		for _, scheme := range []string{"https", "http"} {
			tt.url.Scheme = scheme
			for _, patterns := range []string{"*.example.com:8080 http://*.example.com:8080", "* http://*.example.com:8080"} {
				if got := hostList(t, strings.Fields(patterns)...).Check(&http.Request{URL: &tt.url}, viaNone); got != tt.want {
					t.Errorf("%s: Hosts %q: Check(%+v) = %s, want %s", tt.claim, patterns, tt.url, got.name(), tt.want.name())
				}
			}
		}
	}
}

func TestCheckAsksForTheProxyOverPlainHTTPOnly(t *testing.T) {
	for rawURL, want := range map[string]int{
		"https://api.example.com/": 0, "http://api.example.com/": 1, "http://other.example/": 0, "ws://api.example.com/": 0, "http:api.example.com": 0,
	} {
		asked := 0
		hostList(t, "api.example.com").Check(hostRequest(t, rawURL), func(*http.Request) bool { asked++; return true })
		if asked != want {
			t.Errorf("Check(%s) called direct %d times, want %d", rawURL, asked, want)
		}
	}
}

func TestCheckDoesNotAllocate(t *testing.T) {
	for _, tt := range []struct{ patterns, url string }{
		{"api.example.com", "https://api.example.com/v1"},
		{"[2001:db8::1] 192.0.2.1 *.svc:8443 *.example.com", "https://API.example.com/v1"},
		{"[2001:db8::1]:8443", "https://[2001:db8::1]:8443/v1"},
		{"*", "https://3com.example.com/v1"},
		{"*", "https://orders1/v1"},
		{"http://orders.prod.svc:8080", "http://orders.prod.svc:8080/v1"},
		{"* localhost:8080", "http://127.0.0.1:8080/v1"},
	} {
		l, direct := hostList(t, strings.Fields(tt.patterns)...), Direct(new(http.Transport))
		req, err := http.NewRequest(http.MethodGet, tt.url, nil)
		if err != nil {
			t.Fatal(err)
		}
		if l.Check(req, direct) != Send {
			t.Errorf("Hosts %q: Check(%s) is not Send", tt.patterns, tt.url)
		}
		if n := testing.AllocsPerRun(100, func() { l.Check(req, direct) }); n != 0 {
			t.Errorf("Hosts %q: Check(%s) makes %v allocations, want 0", tt.patterns, tt.url, n)
		}
	}
}

// The fast path takes over TLS only what a pattern names over TLS.
func TestSpelledHostsAreThoseOfTLS(t *testing.T) {
	for _, c := range []struct{ pattern, url string }{
		{"http://orders.prod.svc:8080", "https://orders.prod.svc:8080/"},
		{"*.example.com", "https://*.example.com/"},
		{"http://*.example.com", "https://*.example.com/"},
	} {
		req := &http.Request{Method: "GET", URL: &url.URL{Scheme: "https", Host: strings.Split(c.url, "/")[2], Path: "/"}}
		if got := hostList(t, c.pattern).Check(req, Direct(nil)); got != Withhold {
			t.Errorf("%s, listed %s: got verdict %v, want it withheld", c.url, c.pattern, got)
		}
	}
}
