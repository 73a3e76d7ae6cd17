// Copyright 2026 The authsec Authors
// SPDX-License-Identifier: Apache-2.0

package hosts

import (
	"net/http"
	"net/netip"
	"net/url"
	"regexp"
	"strings"
	"testing"
)

// FuzzHostPattern: a pattern that parses covers the host that it spells. The
// verdict is the oracle's, also for hand-made URLs. Plain HTTP that a proxy is
// sent with the token asks it for the URL's host.
func FuzzHostPattern(f *testing.F) {
	for _, s := range []string{"api.example.com", "api.example.com:8443", "*.example.com", "[2001:db8::1]:8443", "http://orders.prod.svc:8080", "*", "https://*.example.com:1", "HTTP://a/b", "ftp://a",
		"API.example.com.", "192.0.2.1", "*.192.0.2.1", "[::ffff:127.0.0.1]", "http://*.svc:1", "user:pw@host", "a..b", "\u212a.example", "127.1", "http://", "[", "x:0", "[::1%25lo]"} {
		f.Add(s, "https://api.example.com/", "", "", "", true)
		f.Add(s, "http://ORDERS.prod.svc.:8080/x", "", "", "orders.prod.svc:8080", false)
		f.Add(s, "https://[2001:db8::1]:8443/", "", "", "", false)
		f.Add(s, "http://x", "a@b.example.com", "@evil", "evil", false)
		f.Add(s, "http://x", "orders.prod.svc:8080", "@evil:80/x", "", false)
		f.Add(s, "http://localhost", "", "", "[::1", true)
	}
	f.Fuzz(func(t *testing.T, s, rawURL, urlHost, urlPath, reqHost string, isDirect bool) {
		l, err := Parse([]string{s})
		if err != nil {
			if l != nil || !strings.Contains(err.Error(), `: write "`) {
				t.Fatalf("Parse(%q) = %v, %v, want no list and an error that says what to write", s, l, err)
			}
			if strings.ContainsAny(s, "@?#") && !strings.HasPrefix(err.Error(), "entry 0 ") {
				t.Fatalf("Parse(%q) = %v, want an error without the pattern", s, err)
			}
			return
		}
		scheme, bare, ok := strings.Cut(s, "://")
		if !ok {
			scheme, bare = "https", s
		}
		if bare != "*" {
			own := scheme + "://" + strings.Replace(bare, "*.", "x.", 1)
			if got := l.Check(hostRequest(t, own), viaProxy); got != Send {
				t.Fatalf("Hosts %q: Check(%s) = %s, want Send", s, own, got.name())
			}
			if parent, wildcard := strings.CutPrefix(bare, "*."); wildcard {
				if got := l.Check(hostRequest(t, scheme+"://"+parent), viaProxy); got != Withhold {
					t.Fatalf("Hosts %q: Check(%s), the wildcard's parent, = %s, want Withhold", s, parent, got.name())
				}
			}
		}
		u, err := url.Parse(rawURL)
		if err != nil {
			return
		}
		if urlHost != "" {
			u.Host = urlHost
		}
		if urlPath != "" {
			u.Path, u.RawPath = urlPath, ""
		}
		req := &http.Request{Method: http.MethodGet, URL: u, Host: reqHost}
		got := l.Check(req, func(*http.Request) bool { return isDirect })
		if want := oracle([]string{s}, []*url.URL{u}, req, isDirect); got != want {
			t.Fatalf("Hosts %q: Check(%+v, Host %q), direct %t, = %s, want %s", s, u, reqHost, isDirect, got.name(), want.name())
		}
		if u.Scheme != "http" || isDirect || got != Send {
			return
		}
		var line strings.Builder
		if err := req.WriteProxy(&line); err != nil {
			return // nothing is sent
		}
		target, err := url.Parse(strings.Fields(line.String())[1])
		if err != nil || target.User != nil || oracleHost(target) != strings.Split(oracleHost(u), "%")[0] || oraclePort(target) != oraclePort(u) {
			t.Fatalf("Hosts %q: Check(%+v, Host %q) = Send, and a proxy is asked for %v (%v)", s, u, reqHost, target, err)
		}
	})
}

// FuzzRedirectChain: for chains of redirects among hosts that look alike, the
// verdict is the oracle's, which goes through the chain from its beginning.
func FuzzRedirectChain(f *testing.F) {
	f.Add([]byte{0}, []byte{0}, byte(0))
	f.Add([]byte{1, 2, 3}, []byte{0, 17, 34, 51}, byte(0))
	f.Add([]byte{5}, []byte{0, 1, 0}, byte(0))
	f.Add([]byte{5}, []byte{0, 90, 0}, byte(1))
	f.Add([]byte{4, 6}, []byte{2, 3, 200, 17}, byte(2))
	f.Add([]byte{5, 4, 9}, []byte{254, 3, 255, 17}, byte(3))
	f.Add([]byte{7, 8}, []byte{24, 25, 24}, byte(0))

	patterns := []string{"a.example", "https://*.a.example", "a.example:8443", "http://a.example", "http://b.svc:8080", "*", "localhost", "localhost:8443",
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
		var chain []*url.URL // nil: an unknown hop
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
		for _, isDirect := range []bool{true, false} {
			got := hostList(t, hosts...).Check(req, func(*http.Request) bool { return isDirect })
			if want := oracle(hosts, chain, req, isDirect); got != want {
				t.Fatalf("Hosts %q, %q %v, direct %t: Check = %s, want %s", hosts, req.Method, chain, isDirect, got.name(), want.name())
			}
		}
	})
}

// oracle returns the right verdict, by the documented rules, in another way than
// Check. req is the last request of the chain. A nil in it is an unknown hop.
func oracle(patterns []string, chain []*url.URL, req *http.Request, isDirect bool) Verdict {
	last := chain[len(chain)-1]
	if m := strings.ToUpper(req.Method); m == "TRACE" || m == "CONNECT" || last.Scheme != "https" && last.Scheme != "http" {
		return Withhold
	}
	if !oracleValid(last.Host) || !strings.HasPrefix(last.Path+"/", "/") || !strings.HasPrefix(last.RawPath+"/", "/") {
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
		if scheme, rest, ok := strings.Cut(p, "://"); ok && strings.ToLower(scheme) == "https" {
			p = rest
		} else if ok {
			p = "http://" + rest
		}
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
	if gap || last.Opaque != "" {
		return Withhold
	}
	for _, u := range chain {
		if u.Scheme == "https" {
			return Withhold
		}
	}
	if to := (&url.URL{Scheme: "http", Host: req.Host}); !isDirect && req.Host != "" &&
		(!oracleValid(req.Host) || oraclePort(to) != oraclePort(last) || !oracleSame(oracleHost(to), oracleHost(last))) {
		return Withhold
	}
	addr, err := netip.ParseAddr(last.Hostname())
	if plain || isDirect && (oracleHost(last) == "localhost" || err == nil && addr.Unmap().IsLoopback()) {
		return Send
	}
	return Insecure
}

var (
	oracleName     = regexp.MustCompile(`^[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)*\.?(:[0-9]*)?$`)
	oracleBrackets = regexp.MustCompile(`^\[([0-9A-Fa-f:.]*)(%[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)*)?\](:[0-9]*)?$`)
)

// oracleValid reports whether a URL's host is well formed.
func oracleValid(hostport string) bool {
	if m := oracleBrackets.FindStringSubmatch(hostport); m != nil {
		addr, err := netip.ParseAddr(m[1] + m[2])
		return err == nil && addr.Is6() && len(m[2]) < 255
	}
	host, _, _ := strings.Cut(hostport, ":")
	return oracleName.MatchString(hostport) && len(strings.TrimSuffix(host, ".")) <= 253
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

// oracleWithin reports whether host is parent or, if that is a name, below it.
func oracleWithin(host, parent string) bool {
	if oracleSame(host, parent) {
		return true
	}
	if _, err := netip.ParseAddr(parent); err == nil || parent == "" {
		return false
	}
	below, ok := strings.CutSuffix(host, "."+parent)
	return ok && below != "" && !strings.HasPrefix(below, ".")
}
