// Copyright 2026 The authsec Authors
// SPDX-License-Identifier: Apache-2.0

package hosts

import (
	"net/http"
	"strings"
	"testing"
)

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
		if got := hostList(t, strings.Fields(tt.patterns)...).Check(hostChain(t, tt.chain...), viaNone); got != tt.want {
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
			if got := hostList(t, tt.patterns).Check(req, viaNone); got != tt.want {
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
		if got := hostList(t, tt.patterns).Check(tt.req, viaNone); got != tt.want {
			t.Errorf("%s: Check = %s, want %s", tt.claim, got.name(), tt.want.name())
		}
	}
}
