// Copyright 2026 The authsec Authors
// SPDX-License-Identifier: Apache-2.0

package hosts

import (
	"errors"
	"fmt"
	"net/url"
	"strconv"
	"strings"
)

// Syntax lists the forms of a host pattern, for error messages.
const Syntax = `write "api.example.com", "api.example.com:8443", "*.example.com", "[2001:db8::1]:8443", "http://orders.prod.svc:8080" (plain HTTP) or "*" (any host, over TLS)`

type pattern struct {
	host
	sub   bool   // "*.": the subdomains of host, not host itself
	port  string // "": the scheme's default
	plain bool   // "http://": plain HTTP, and nothing else
	url   string // a URL.Host that matches for certain over TLS; "": none
}

// Parse parses host patterns. Its error joins one fault for each malformed
// pattern, and says what to write.
func Parse(patterns []string) (*List, error) {
	if len(patterns) == 0 {
		return nil, errors.New("empty, so the token may go nowhere: " + Syntax)
	}
	l := new(List)
	var faults []error
	for i, s := range patterns {
		if err := l.add(s); err != nil {
			shown := fmt.Sprintf("%.100q", s)
			if unfit(s) {
				shown = "entry " + strconv.Itoa(i)
			}
			faults = append(faults, fmt.Errorf("%s %w", shown, err))
		}
	}
	if err := errors.Join(faults...); err != nil {
		return nil, err
	}
	return l, nil
}

// Shown returns the patterns for printing. It replaces those that may hold a secret.
func Shown(patterns []string) []string {
	shown := make([]string, len(patterns))
	for i, s := range patterns {
		if shown[i] = s; unfit(s) {
			shown[i] = "[redacted]"
		}
	}
	return shown
}

// add parses s and adds it to l. Its errors go after the pattern.
func (l *List) add(s string) error {
	if strings.Contains(s, "@") {
		return errors.New("has an @ in it: a user name or password does not belong there: " + Syntax)
	}
	scheme, host, ok := strings.Cut(s, "://")
	if !ok || strings.ContainsAny(scheme, "/?#") {
		scheme, host = "https", s
	}
	part := ""
	if i := strings.IndexAny(host, "/?#"); i >= 0 {
		part = map[byte]string{'/': "path", '?': "query", '#': "fragment"}[host[i]]
		host = host[:i]
	}
	p, write := pattern{}, host
	switch strings.ToLower(scheme) {
	case "https":
	case "http":
		p.plain, write = true, "http://"+host
	default:
		return errors.New("has a scheme other than https and http: " + Syntax)
	}
	if write != "*" {
		if err := p.parse(host); err != nil {
			return fmt.Errorf("%w: %s", err, Syntax)
		}
	}
	if part != "" {
		return fmt.Errorf("has a %s: write %q", part, write)
	}
	if write == "*" {
		l.any = true
	} else {
		if !p.sub && !p.plain {
			p.url = host
		}
		l.patterns = append(l.patterns, p)
	}
	return nil
}

// parse fills p from a pattern without its scheme.
func (p *pattern) parse(s string) (err error) {
	s, p.sub = strings.CutPrefix(s, "*.")
	u := &url.URL{Host: s}
	if p.host, err = hostOf(u); err != nil {
		return err
	}
	p.port = u.Port()
	last := p.name[strings.LastIndexByte(p.name, '.')+1:]
	switch {
	case !validPort(p.port) || strings.HasSuffix(s, ":"):
		return errors.New("has no valid port")
	case p.addr.Zone() != "":
		return errors.New("has a zone in its IPv6 address")
	case p.sub && p.addr.IsValid():
		return errors.New("has a wildcard before an IP address")
	case p.name != "" && strings.Trim(last, "0123456789") == "":
		return errors.New("ends like an IP address but is none")
	}
	return nil
}
