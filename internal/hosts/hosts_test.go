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

func (v Verdict) name() string {
	return map[Verdict]string{Withhold: "Withhold", Send: "Send", Insecure: "Insecure"}[v]
}

// hostRequest is a GET of a URL, of which a user info is left in.
func hostRequest(t testing.TB, rawURL string) *http.Request {
	t.Helper()
	u, err := url.Parse(rawURL)
	if err != nil {
		t.Fatalf("url.Parse(%q): %v", rawURL, err)
	}
	return &http.Request{Method: http.MethodGet, URL: u, Header: http.Header{}}
}

// hostChain is the last request of a chain of redirects, as http.Client links
// it. An empty URL is a hop of which nothing is known.
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

func TestParseAcceptsEveryDocumentedForm(t *testing.T) {
	for _, s := range []string{
		"api.example.com", "api.example.com:8443", "*.example.com", "*.example.com:8443", "*",
		"[2001:db8::1]:8443", "[2001:db8::1]", "[::ffff:192.0.2.1]", "192.0.2.1", "192.0.2.1:8443",
		"http://orders.prod.svc:8080", "http://orders", "http://[2001:db8::1]:8080", "http://*.prod.svc",
		"API.Example.COM", "api.example.com.", "api.example.com.:8443", "192.0.2.1.",
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
		"https://api.example.com", "HTTP://api.example.com", "http://", "http://*", "ftp://api.example.com", "//api.example.com",
		"api.example.com/", "api.example.com/v1", "http://api.example.com/", "api.example.com?x", "api.example.com#x",
		"user@api.example.com", "user:hunter2@api.example.com", "http://user:hunter2@api.example.com",
		" api.example.com", "api.example.com ", "api example.com", "api.example.com,other.example.com", "api\n.example.com",
		"api.example.com:", "api.example.com:0", "api.example.com:65536", "api.example.com:08443", "api.example.com:+1", "api.example.com:-1", "api.example.com:https", "api.example.com:1:2", ":443",
		"api..example.com", ".example.com", "api.example.com..", strings.Repeat("a", 254), "api%2eexample.com", "[", "[]", "]",
		"2001:db8::1", "[2001:db8::1", "[2001:db8::1]x", "[2001:db8::1]:", "[2001:db8::1]8443", "[192.0.2.1]", "[fe80::1%eth0]", "[api.example.com]",
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
		// Wildcards: any depth, not the apex.
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
		if got := l.Check(&http.Request{Method: http.MethodGet, URL: u}); got != tt.want {
			t.Errorf("Hosts %q: Check(%s) = %s, want %s", tt.patterns, tt.url, got.name(), tt.want.name())
		}
	}
}

func TestCheckGoesByTheURLAndNotByRequestHost(t *testing.T) {
	l := hostList(t, "api.example.com")
	req := hostRequest(t, "https://evil.example/")
	req.Host = "api.example.com"
	if got := l.Check(req); got != Withhold {
		t.Errorf("URL elsewhere, Host listed: Check = %s, want Withhold", got.name())
	}
	req = hostRequest(t, "https://api.example.com/")
	req.Host = "evil.example"
	if got := l.Check(req); got != Send {
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
			if got := hostList(t, patterns).Check(req); got != tt.want {
				t.Errorf("Hosts %q, method %q: Check = %s, want %s", patterns, tt.method, got.name(), tt.want.name())
			}
		}
	}
}

func TestCheckOfARedirectedRequest(t *testing.T) {
	for _, tt := range []struct {
		claim    string
		patterns string
		chain    []string
		want     Verdict
	}{
		{"a listed host counts as ever", "a.example b.example", []string{"https://a.example", "https://b.example"}, Send},
		{"a listed host counts after one that is not", "a.example", []string{"https://evil.example", "https://a.example"}, Send},
		{"a host that is not listed gets nothing", "a.example", []string{"https://a.example", "https://evil.example"}, Withhold},
		{"a listed host counts whatever is not known", "a.example", []string{"", "https://a.example"}, Send},

		{"any: the same host and port", "*", []string{"https://a.example/1", "https://a.example/2", "https://a.example/3"}, Send},
		{"any: the same, spelled otherwise", "*", []string{"https://a.example", "https://A.EXAMPLE.:443/"}, Send},
		{"any: a subdomain of the first", "*", []string{"https://a.example", "https://x.y.a.example"}, Send},
		{"any: from a subdomain of the first back to it", "*", []string{"https://a.example", "https://x.a.example", "https://a.example"}, Send},
		{"any: between subdomains of the first", "*", []string{"https://a.example", "https://x.a.example", "https://y.a.example"}, Send},
		{"any: the parent of the first", "*", []string{"https://x.a.example", "https://a.example"}, Withhold},
		{"any: a sibling of the first", "*", []string{"https://x.a.example", "https://y.a.example"}, Withhold},
		{"any: a subdomain of a later one is judged by the first", "*", []string{"https://x.a.example", "https://z.x.a.example", "https://y.a.example"}, Withhold},
		{"any: a name that only ends alike", "*", []string{"https://a.example", "https://evila.example"}, Withhold},
		{"any: another host", "*", []string{"https://a.example", "https://evil.example"}, Withhold},
		{"any: another port", "*", []string{"https://a.example", "https://a.example:8443"}, Withhold},
		{"any: a subdomain on another port", "*", []string{"https://a.example", "https://x.a.example:8443"}, Withhold},
		{"any: once off stays off", "*", []string{"https://a.example", "https://evil.example", "https://a.example"}, Withhold},
		{"any: once off stays off, many hops later", "*", []string{"https://a.example", "https://evil.example", "https://a.example", "https://a.example/2", "https://a.example/3"}, Withhold},
		{"any: off by its port stays off", "*", []string{"https://a.example", "https://a.example:8443", "https://a.example"}, Withhold},
		{"any: the Kelvin sign is no k", "*", []string{"https://k.example", "https://\u212a.example"}, Withhold},
		{"any: what a proxy would say of an address", "*", []string{"https://192.0.2.1", "https://x.192.0.2.1"}, Withhold},
		{"any: an address again", "*", []string{"https://192.0.2.1", "https://192.0.2.1/2"}, Send},
		{"any: what came before is not known", "*", []string{"", "https://a.example"}, Withhold},
		{"any: what came first is not known", "*", []string{"", "https://a.example", "https://a.example"}, Withhold},

		{"any and a listed host: the listed host gets it on any path", "* b.example", []string{"https://a.example", "https://evil.example", "https://b.example"}, Send},
		{"any and a listed host: the others do not", "* b.example", []string{"https://a.example", "https://b.example", "https://a.example"}, Withhold},

		{"down from TLS to a listed host", "a.example", []string{"https://a.example", "http://a.example"}, Withhold},
		{"down from TLS to an http:// host", "a.example http://b.example", []string{"https://a.example", "http://b.example"}, Withhold},
		{"down from TLS to loopback", "localhost *", []string{"https://a.example", "http://localhost"}, Withhold},
		{"down from TLS on loopback", "localhost:1", []string{"https://localhost:1", "http://localhost:1"}, Withhold},
		{"down from TLS under any", "*", []string{"https://localhost:1", "http://localhost:1"}, Withhold},
		{"down from TLS two hops ago", "http://b.example", []string{"https://a.example", "http://b.example", "http://b.example/2"}, Withhold},
		{"up to TLS and down again", "http://b.example", []string{"http://b.example", "https://a.example", "http://b.example"}, Withhold},
		{"plain HTTP after what is not known", "http://b.example", []string{"", "http://b.example"}, Withhold},
		{"plain HTTP all the way", "http://b.example", []string{"http://b.example", "http://b.example/2"}, Send},
		{"plain HTTP all the way, on loopback", "localhost", []string{"http://localhost", "http://localhost/2"}, Send},
		{"plain HTTP all the way, not permitted", "a.example", []string{"http://c.example", "http://a.example"}, Insecure},
		{"up to TLS", "a.example", []string{"http://a.example", "https://a.example"}, Send},
		{"up to TLS under any is another port", "*", []string{"http://a.example", "https://a.example"}, Withhold},
	} {
		if got := hostList(t, strings.Fields(tt.patterns)...).Check(hostChain(t, tt.chain...)); got != tt.want {
			t.Errorf("%s: Hosts %q: Check(%q) = %s, want %s", tt.claim, tt.patterns, tt.chain, got.name(), tt.want.name())
		}
	}
}

func TestCheckDoesNotTrustAnIncompleteChain(t *testing.T) {
	for name, response := range map[string]*http.Response{
		"no request":     {},
		"request no URL": {Request: &http.Request{}},
	} {
		for _, tt := range []struct {
			patterns, url string
			want          Verdict
		}{
			{"*", "https://a.example", Withhold},
			{"*", "http://localhost", Withhold},
			{"localhost", "http://localhost", Withhold},
			{"a.example", "https://a.example", Send},
		} {
			req := hostRequest(t, tt.url)
			req.Response = response
			if got := hostList(t, tt.patterns).Check(req); got != tt.want {
				t.Errorf("%s: Hosts %q: Check(%s) = %s, want %s", name, tt.patterns, tt.url, got.name(), tt.want.name())
			}
		}
	}
}

func TestCheckEndsOnACycleAndOnAnEndlessChain(t *testing.T) {
	cycle := func(rawURL string) *http.Request {
		a, b := hostRequest(t, rawURL), hostRequest(t, rawURL)
		a.Response, b.Response = &http.Response{Request: b}, &http.Response{Request: a}
		return a
	}
	long := func(rawURL string, n int) *http.Request {
		urls := make([]string, n)
		for i := range urls {
			urls[i] = rawURL
		}
		return hostChain(t, urls...)
	}
	for _, tt := range []struct {
		claim    string
		patterns string
		req      *http.Request
		want     Verdict
	}{
		{"cycle under any", "*", cycle("https://a.example"), Withhold},
		{"cycle of plain HTTP", "localhost", cycle("http://localhost"), Withhold},
		{"cycle to a listed host", "a.example", cycle("https://a.example"), Send},
		{"ten redirects under any", "*", long("https://a.example", 11), Send},
		{"a thousand redirects under any", "*", long("https://a.example", 1001), Withhold},
		{"a thousand redirects of plain HTTP", "localhost", long("http://localhost", 1001), Withhold},
	} {
		if got := hostList(t, tt.patterns).Check(tt.req); got != tt.want {
			t.Errorf("%s: Check = %s, want %s", tt.claim, got.name(), tt.want.name())
		}
	}
}

func TestLoopbackIsThisMachineOnly(t *testing.T) {
	for host, want := range map[string]bool{
		"localhost": true, "LocalHost": true, "localhost.": true, "127.0.0.1": true, "127.255.0.9": true, "::1": true, "0:0::1": true, "::ffff:127.0.0.1": true,
		"": false, ".": false, "localhost..": false, "x.localhost": false, "localhost.example.com": false, "loca1host": false, "127.0.0.1.example.com": false,
		"127.1": false, "0.0.0.0": false, "::": false, "10.0.0.1": false, "[::1]": false, "loca\u017fhost": false,
	} {
		if got := Loopback(host); got != want {
			t.Errorf("Loopback(%q) = %t, want %t", host, got, want)
		}
	}
}

// FuzzHostPattern: a pattern that parses covers the host that it spells, and
// nothing that a plain comparison would not.
func FuzzHostPattern(f *testing.F) {
	for _, s := range []string{"api.example.com", "api.example.com:8443", "*.example.com", "[2001:db8::1]:8443", "http://orders.prod.svc:8080", "*",
		"API.example.com.", "192.0.2.1", "*.192.0.2.1", "[::ffff:127.0.0.1]", "http://*.svc:1", "user:pw@host", "a..b", "\u212a.example", "127.1", "http://", "[", "x:0", "[::1%25lo]"} {
		f.Add(s, "https://api.example.com/")
		f.Add(s, "http://ORDERS.prod.svc.:8080/x")
		f.Add(s, "https://[2001:db8::1]:8443/")
	}
	f.Fuzz(func(t *testing.T, s, rawURL string) {
		l, err := Parse([]string{s})
		if err != nil {
			if l != nil || !strings.Contains(err.Error(), Syntax) {
				t.Fatalf("Parse(%q) = %v, %v, want no list and an error that says what to write", s, l, err)
			}
			return
		}
		if s != "*" {
			own := strings.Replace(s, "*.", "x.", 1)
			want := Send
			if !strings.HasPrefix(own, "http://") {
				own = "https://" + own
			}
			if got := l.Check(hostRequest(t, own)); got != want {
				t.Fatalf("Hosts %q: Check(%s) = %s, want %s", s, own, got.name(), want.name())
			}
			if i := strings.Index(s, "*."); i >= 0 {
				apex := strings.Replace(own, "x.", "", 1)
				if got := l.Check(hostRequest(t, apex)); got != Withhold {
					t.Fatalf("Hosts %q: Check(%s), the apex, = %s, want Withhold", s, apex, got.name())
				}
			}
		}
		u, err := url.Parse(rawURL)
		if err != nil {
			return
		}
		got := l.Check(&http.Request{Method: http.MethodGet, URL: u})
		want := oracle([]string{s}, []*url.URL{u}, http.MethodGet)
		if u.Scheme == "http" && u.Opaque != "" {
			want = Withhold // a proxy would go where that says
		}
		if got != want {
			t.Fatalf("Hosts %q: Check(%q) = %s, want %s", s, rawURL, got.name(), want.name())
		}
	})
}

// FuzzRedirectChain: for chains of redirects among hosts that are easily taken
// for one another, the verdict is the oracle's, which goes through the chain
// from its beginning.
func FuzzRedirectChain(f *testing.F) {
	f.Add([]byte{0}, []byte{0}, byte(0))
	f.Add([]byte{1, 2, 3}, []byte{0, 17, 34, 51}, byte(0))
	f.Add([]byte{5}, []byte{0, 1, 0}, byte(0))
	f.Add([]byte{5}, []byte{0, 90, 0}, byte(1))
	f.Add([]byte{4, 6}, []byte{2, 3, 200, 17}, byte(2))
	f.Add([]byte{5, 4, 9}, []byte{254, 3, 255, 17}, byte(3))
	f.Add([]byte{7, 8}, []byte{24, 25, 24}, byte(0))

	patterns := []string{"a.example", "*.a.example", "a.example:8443", "http://a.example", "http://b.svc:8080", "*", "localhost", "localhost:8443",
		"127.0.0.1", "[::1]:8443", "*.example", "x.a.example", "http://*.a.example", "192.0.2.1"}
	schemes := []string{"https", "http"}
	names := []string{"a.example", "A.Example.", "x.a.example", "y.x.a.example", "evila.example", "a.example.evil.example", "b.svc", "localhost", "127.0.0.1", "[::1]", "192.0.2.1", "x.192.0.2.1", "evil.example"}
	ports := []string{"", ":443", ":80", ":8443", ":8080"}
	methods := []string{"GET", "POST", "", "TRACE", "CONNECT", "trace"}

	f.Fuzz(func(t *testing.T, list, hops []byte, method byte) {
		if len(list) == 0 || len(list) > 8 || len(hops) == 0 || len(hops) > 30 {
			return
		}
		var hosts []string
		for _, b := range list {
			hosts = append(hosts, patterns[int(b)%len(patterns)])
		}
		var req *http.Request
		var chain []*url.URL // nil: not known
		for i, b := range hops {
			n := int(b)
			if n == 255 && i+1 < len(hops) {
				req, chain = nil, append(chain, nil)
				continue
			}
			u, err := url.Parse(schemes[n%2] + "://" + names[n/2%len(names)] + ports[n/(2*len(names))%len(ports)])
			if err != nil {
				t.Fatal(err)
			}
			next := &http.Request{Method: http.MethodGet, URL: u}
			if i > 0 {
				next.Response = &http.Response{Request: req}
			}
			req, chain = next, append(chain, u)
		}
		req.Method = methods[int(method)%len(methods)]
		got := hostList(t, hosts...).Check(req)
		if want := oracle(hosts, chain, req.Method); got != want {
			t.Fatalf("Hosts %q, %q %v: Check = %s, want %s", hosts, req.Method, chain, got.name(), want.name())
		}
	})
}

// oracle says by the documented rules, told in another way than Check's, what
// is right. A nil in the chain is a hop of which nothing is known.
func oracle(patterns []string, chain []*url.URL, method string) Verdict {
	last := chain[len(chain)-1]
	if m := strings.ToUpper(method); m == "TRACE" || m == "CONNECT" || last.Scheme != "https" && last.Scheme != "http" {
		return Withhold
	}
	// What can be known ends at the last gap.
	gap := false
	for i := len(chain) - 1; i >= 0; i-- {
		if chain[i] == nil {
			gap, chain = true, chain[i+1:]
			break
		}
	}
	allowed, plain := false, false
	for _, p := range patterns {
		if p == "*" {
			straight := !gap
			for _, u := range chain {
				straight = straight && oraclePort(u) == oraclePort(chain[0]) && oracleWithin(oracleHost(u), oracleHost(chain[0]))
			}
			allowed = allowed || straight
			continue
		}
		isPlain := strings.HasPrefix(p, "http://")
		if isPlain && last.Scheme != "http" {
			continue
		}
		// As a URL of the request's scheme, the pattern has host and port where that has them.
		pu, err := url.Parse(last.Scheme + "://" + strings.TrimPrefix(p, "http://"))
		if err != nil || oraclePort(pu) != oraclePort(last) {
			continue
		}
		want, host := oracleHost(pu), oracleHost(last)
		parent, wildcard := strings.CutPrefix(want, "*.")
		if wildcard && host != parent && oracleWithin(host, parent) || !wildcard && oracleSame(host, want) {
			allowed, plain = true, plain || isPlain
		}
	}
	if !allowed {
		return Withhold
	}
	if last.Scheme == "https" {
		return Send
	}
	if gap {
		return Withhold
	}
	for _, u := range chain {
		if u.Scheme == "https" {
			return Withhold
		}
	}
	addr, err := netip.ParseAddr(oracleHost(last))
	if plain || oracleHost(last) == "localhost" || err == nil && addr.Unmap().IsLoopback() {
		return Send
	}
	return Insecure
}

func oracleHost(u *url.URL) string {
	lower := func(r rune) rune {
		if 'A' <= r && r <= 'Z' {
			return r + 'a' - 'A'
		}
		return r
	}
	return strings.TrimSuffix(strings.Map(lower, u.Hostname()), ".")
}

func oraclePort(u *url.URL) string {
	if p := u.Port(); p != "" {
		return p
	}
	return map[string]string{"https": "443", "http": "80"}[u.Scheme]
}

func oracleSame(a, b string) bool {
	x, errX := netip.ParseAddr(a)
	y, errY := netip.ParseAddr(b)
	if errX == nil && errY == nil {
		return x == y
	}
	return a == b
}

// oracleWithin: host is parent or, if that is a name, lies below it.
func oracleWithin(host, parent string) bool {
	if host == parent {
		return true
	}
	if _, err := netip.ParseAddr(parent); err == nil || parent == "" {
		return false
	}
	below, ok := strings.CutSuffix(host, "."+parent)
	return ok && below != "" && !strings.HasPrefix(below, ".")
}
