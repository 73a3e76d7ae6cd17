// Copyright 2026 The authsec Authors
// SPDX-License-Identifier: Apache-2.0

// Package hosts decides where a bearer token may be sent: it parses the host
// patterns of authsec.Transport and holds a request, with the redirects that
// led to it, against them.
package hosts

import (
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
)

// Syntax says what a host pattern may look like, for error messages.
const Syntax = `write "api.example.com", "api.example.com:8443", "*.example.com", "[2001:db8::1]:8443", "http://orders.prod.svc:8080" (plain HTTP) or "*" (any host, over TLS)`

// maxHops bounds how many redirects are followed back to the first request.
// net/http stops at 10 by default; a longer chain than this is not trusted.
const maxHops = 100

// Verdict is what a List says of a request.
type Verdict int

const (
	Withhold Verdict = iota // the token does not belong there
	Send                    // the token belongs there
	Insecure                // the token would go there, but in plain text
)

// List is a parsed, immutable list of host patterns.
type List struct {
	patterns []pattern
	any      bool // the list holds "*"
}

type pattern struct {
	name  string     // lower case, without a trailing dot; "" where addr is set
	addr  netip.Addr // the host, where it is an IP address
	sub   bool       // "*.": the subdomains of name, not name itself
	port  string     // "": the scheme's default
	plain bool       // "http://": plain HTTP, and only that
}

// Parse parses patterns. Its error joins one fault for each that is malformed.
func Parse(patterns []string) (*List, error) {
	if len(patterns) == 0 {
		return nil, errors.New("empty, so the token may go nowhere: " + Syntax)
	}
	l := new(List)
	var faults []error
	for i, s := range patterns {
		if s == "*" {
			l.any = true
			continue
		}
		p, err := parse(s)
		if err != nil {
			// Whatever has an @ in it may hold a password.
			shown := strconv.Quote(s)
			if strings.Contains(s, "@") {
				shown = "entry " + strconv.Itoa(i)
			}
			faults = append(faults, fmt.Errorf("%s %w: %s", shown, err, Syntax))
			continue
		}
		l.patterns = append(l.patterns, p)
	}
	if err := errors.Join(faults...); err != nil {
		return nil, err
	}
	return l, nil
}

func parse(s string) (pattern, error) {
	var p pattern
	s, p.plain = strings.CutPrefix(s, "http://")
	s, p.sub = strings.CutPrefix(s, "*.")

	host, port := s, ""
	if strings.HasPrefix(s, "[") {
		end := strings.IndexByte(s, ']')
		if end < 0 {
			return p, errors.New("lacks a closing bracket")
		}
		host, port = s[1:end], s[end+1:]
		addr, err := netip.ParseAddr(host)
		if err != nil || !addr.Is6() || addr.Zone() != "" {
			return p, errors.New("has no IPv6 address in its brackets")
		}
		p.addr = addr
	} else if i := strings.IndexByte(s, ':'); i >= 0 {
		host, port = s[:i], s[i:]
		if strings.Count(s, ":") > 1 {
			return p, errors.New("has more than one colon, and IPv6 addresses are written in brackets")
		}
	}
	if port != "" {
		n, err := strconv.ParseUint(strings.TrimPrefix(port, ":"), 10, 16)
		if err != nil || n == 0 || port != ":"+strconv.FormatUint(n, 10) {
			return p, errors.New("has no valid port")
		}
		p.port = port[1:]
	}
	if !p.addr.IsValid() {
		if err := checkName(strings.TrimSuffix(host, ".")); err != nil {
			return p, err
		}
		p.name = strings.ToLower(strings.TrimSuffix(host, "."))
		if addr, err := netip.ParseAddr(p.name); err == nil {
			p.name, p.addr = "", addr
		} else if last := p.name[strings.LastIndexByte(p.name, '.')+1:]; strings.Trim(last, "0123456789") == "" {
			return p, errors.New("ends like an IP address but is none")
		}
	}
	if p.sub && p.addr.IsValid() {
		return p, errors.New("has a wildcard before an IP address")
	}
	return p, nil
}

// checkName accepts what names in DNS and in container networks are made of.
func checkName(host string) error {
	if len(host) > 253 {
		return errors.New("is longer than a host name can be")
	}
	for label := range strings.SplitSeq(host, ".") {
		if label == "" {
			return errors.New("has no host name, or an empty label in it")
		}
	}
	for _, c := range []byte(host) {
		switch {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9', c == '-', c == '.', c == '_':
		case c >= 0x80:
			return errors.New("is not ASCII (international names are written as xn--...)")
		default:
			return fmt.Errorf("has a %q in it, which no host name has", c)
		}
	}
	return nil
}

// Check says whether the token may go with req. It reads req.URL, req.Method
// and, back through req.Response, the requests that were redirected to it.
func (l *List) Check(req *http.Request) Verdict {
	u := req.URL
	tls := u.Scheme == "https"
	if !tls && u.Scheme != "http" {
		return Withhold
	}
	// TRACE echoes the header; CONNECT addresses a proxy (RFC 9110, 9.3.6, 9.3.8).
	if strings.EqualFold(req.Method, http.MethodTrace) || strings.EqualFold(req.Method, http.MethodConnect) {
		return Withhold
	}
	host, port := split(u)
	named, plain := l.match(host, port, u.Scheme)
	if !named && !(l.any && sameOrigin(req)) {
		return Withhold
	}
	if tls {
		return Send
	}
	if req.Response != nil && leftTLS(req) {
		return Withhold
	}
	if u.Opaque != "" || !Loopback(host) && diverted(req) {
		return Withhold
	}
	if plain || Loopback(host) {
		return Send
	}
	return Insecure
}

// diverted reports whether req.Host names another place than req.URL.Host. Over
// plain HTTP a forward proxy is told that one, and goes there.
func diverted(req *http.Request) bool {
	if req.Host == "" {
		return false
	}
	host, port := split(&url.URL{Scheme: req.URL.Scheme, Host: req.Host})
	wantHost, wantPort := split(req.URL)
	return port != wantPort || !equalFold(host, wantHost)
}

// match reports whether a pattern names the host, and whether one of those
// that do permits plain HTTP.
func (l *List) match(host, port, scheme string) (named, plain bool) {
	for i := range l.patterns {
		p := &l.patterns[i]
		if p.plain && scheme != "http" || port != effectivePort(scheme, p.port) || !p.matches(host) {
			continue
		}
		named, plain = true, plain || p.plain
	}
	return named, plain
}

func (p *pattern) matches(host string) bool {
	if p.addr.IsValid() {
		addr, err := netip.ParseAddr(host)
		return err == nil && addr == p.addr
	}
	if p.sub {
		return subdomain(host, p.name)
	}
	return equalFold(host, p.name)
}

// Loopback reports whether host, without a port, is this machine: localhost
// or a loopback address.
func Loopback(host string) bool {
	host = strings.TrimSuffix(host, ".")
	if equalFold(host, "localhost") {
		return true
	}
	addr, err := netip.ParseAddr(host)
	return err == nil && addr.Unmap().IsLoopback()
}

// split returns the parts of u.Host that net/http dials by, the port with the
// scheme's default filled in.
func split(u *url.URL) (host, port string) {
	return strings.TrimSuffix(u.Hostname(), "."), effectivePort(u.Scheme, u.Port())
}

func effectivePort(scheme, port string) string {
	switch {
	case port != "":
		return port
	case scheme == "https":
		return "443"
	default:
		return "80"
	}
}

// sameOrigin reports whether every hop of the redirects that led to req had
// the first one's host and port, or a subdomain of that host.
func sameOrigin(req *http.Request) bool {
	if req.Response == nil {
		return true
	}
	first := req
	for n := 0; first.Response != nil; n++ {
		if first = previous(first); first == nil || n == maxHops {
			return false
		}
	}
	host, port := split(first.URL)
	_, err := netip.ParseAddr(host)
	isName := err != nil
	for r := req; r != first; r = previous(r) {
		h, p := split(r.URL)
		if p != port || !equalFold(h, host) && !(isName && subdomain(h, host)) {
			return false
		}
	}
	return true
}

// leftTLS reports whether a hop before req used TLS, or may have.
func leftTLS(req *http.Request) bool {
	for n := 0; req.Response != nil; n++ {
		if req = previous(req); req == nil || n == maxHops || req.URL.Scheme == "https" {
			return true
		}
	}
	return false
}

// previous returns the request whose redirect led to req, or nil if that is
// not known.
func previous(req *http.Request) *http.Request {
	if req.Response == nil || req.Response.Request == nil || req.Response.Request.URL == nil {
		return nil
	}
	return req.Response.Request
}

// subdomain reports whether host lies below parent.
func subdomain(host, parent string) bool {
	i := len(host) - len(parent) - 1
	return i > 0 && parent != "" && host[i] == '.' && host[0] != '.' && equalFold(host[i+1:], parent)
}

// equalFold is strings.EqualFold for ASCII alone: no Unicode letter folds into
// one that a host name has (the Kelvin sign would, into k).
func equalFold(a, b string) bool {
	if len(a) != len(b) {
		return false
	}
	for i := range len(a) {
		x, y := a[i], b[i]
		if x == y {
			continue
		}
		if x|0x20 != y|0x20 || x|0x20 < 'a' || x|0x20 > 'z' {
			return false
		}
	}
	return true
}
