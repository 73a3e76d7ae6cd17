// Copyright 2026 The authsec Authors
// SPDX-License-Identifier: Apache-2.0

// Package hosts decides where a bearer token may go. It parses the host
// patterns of authsec.Transport and base URLs, and checks requests, with the
// redirects that led to them.
package hosts

import (
	"net/http"
	"net/url"
	"strings"
)

// Verdict is what Check returns.
type Verdict int

const (
	Withhold Verdict = iota // send the request without the token
	Send                    // send it with the token
	Insecure                // the token belongs there, but others could read it on the way
)

// List is a list of host patterns. It is immutable.
type List struct {
	patterns []pattern
	any      bool // the list has "*"
}

// Check reports whether the token may go with req. It calls direct only for
// plain HTTP. direct reports whether the request takes no proxy; see Direct.
func (l *List) Check(req *http.Request, direct func(*http.Request) bool) Verdict {
	u := req.URL
	tls := u.Scheme == "https"
	if !tls && u.Scheme != "http" {
		return Withhold
	}
	// A server echoes the header of a TRACE, and a CONNECT addresses a proxy
	// (RFC 9110, sections 9.3.8 and 9.3.6).
	if strings.EqualFold(req.Method, http.MethodTrace) || strings.EqualFold(req.Method, http.MethodConnect) {
		return Withhold
	}
	if !rooted(u) {
		return Withhold
	}
	if tls && l.spells(u.Host) { // the usual case, in a fraction of the time
		return Send
	}
	h, err := hostOf(u)
	if err != nil {
		return Withhold
	}
	named, plain := l.match(h, u)
	if !named && !(l.any && sameOrigin(req)) {
		return Withhold
	}
	if tls {
		return Send
	}
	if u.Opaque != "" || leftTLS(req) {
		return Withhold
	}
	isDirect := direct(req)
	switch {
	case !isDirect && diverted(req, h):
		return Withhold
	case plain, isDirect && Loopback(u.Hostname()):
		return Send
	}
	return Insecure
}

// spells reports whether a pattern has exactly this spelling of host.
func (l *List) spells(host string) bool {
	for i := range l.patterns {
		if l.patterns[i].url == host && host != "" {
			return true
		}
	}
	return false
}

// rooted reports whether u's path is empty or begins with a slash. When net/http
// asks a forward proxy, it writes the path right after the host. So a path of
// "@evil.example" would lead to another host.
func rooted(u *url.URL) bool {
	return (u.Path == "" || u.Path[0] == '/') && (u.RawPath == "" || u.RawPath[0] == '/')
}

// match reports whether a pattern names h with u's port, and whether such a
// pattern permits plain HTTP.
func (l *List) match(h host, u *url.URL) (named, plain bool) {
	port := portOf(u)
	for i := range l.patterns {
		p := &l.patterns[i]
		if p.plain && u.Scheme != "http" || effectivePort(u.Scheme, p.port) != port {
			continue
		}
		if p.sub && h.below(p.host) || !p.sub && h.same(p.host) {
			named, plain = true, plain || p.plain
		}
	}
	return named, plain
}

// diverted reports whether Request.Host names another place than the URL, whose
// host is h. A forward proxy goes where Request.Host says.
func diverted(req *http.Request, h host) bool {
	if req.Host == "" {
		return false
	}
	to := &url.URL{Scheme: req.URL.Scheme, Host: req.Host}
	other, err := hostOf(to)
	return err != nil || !other.same(h) || portOf(to) != portOf(req.URL)
}

// Loopback reports whether host, without a port, is this machine: localhost
// or a loopback address. An address with a trailing dot is not one: the
// resolver reads it as a name.
func Loopback(host string) bool {
	// The comparison of lengths keeps out Unicode letters that fold to ASCII.
	if name := strings.TrimSuffix(host, "."); len(name) == len("localhost") && strings.EqualFold(name, "localhost") {
		return true
	}
	return parseAddr(host).IsLoopback()
}

// Direct returns a function that reports whether base sends a plain HTTP
// request without a proxy. An http.Transport's Proxy decides. Another
// RoundTripper may have a proxy of its own, most likely the environment's, so
// only hosts that http.ProxyFromEnvironment always exempts are direct. That function
// compares the spelling: it exempts localhost, but not LOCALHOST or "localhost.".
// A nil base is http.DefaultTransport.
func Direct(base http.RoundTripper) func(*http.Request) bool {
	if base == nil {
		base = http.DefaultTransport
	}
	t, ok := base.(*http.Transport)
	if !ok {
		return func(req *http.Request) bool {
			host := req.URL.Hostname()
			return host == "localhost" || parseAddr(host).IsLoopback()
		}
	}
	return func(req *http.Request) bool {
		defer func() { _ = recover() }() // Proxy is not our code; after a panic the result is false
		if t.Proxy == nil {
			return true
		}
		proxy, err := t.Proxy(req)
		return proxy == nil && err == nil
	}
}

// Local reports whether plain HTTP to u stays on this machine: its host is
// loopback, and base takes no proxy.
func Local(u *url.URL, base http.RoundTripper) bool {
	return Loopback(u.Hostname()) &&
		Direct(base)(&http.Request{Method: http.MethodGet, URL: u, Host: u.Host, Header: http.Header{}})
}

// Place returns u's host, and its port if that is not the scheme's default, in one
// spelling, so that places can be compared.
func Place(u *url.URL) string {
	place := strings.ToLower(strings.TrimSuffix(u.Hostname(), "."))
	if port := portOf(u); port != effectivePort(u.Scheme, "") {
		place += ":" + port
	}
	return place
}
