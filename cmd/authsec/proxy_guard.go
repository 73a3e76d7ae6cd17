// Copyright 2026 The authsec Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"net"
	"net/http"
	"strings"

	"github.com/authsec-go/authsec/internal/urlpath"
)

var (
	badMethod  = problem{http.StatusMethodNotAllowed, "method_not_allowed", "CONNECT and TRACE are not served: ask for the API's path, with the method that the API wants"}
	badForm    = problem{http.StatusBadRequest, "not_a_forward_proxy", "ask for a path, not for a URL: use this proxy's address in place of the API's, and do not set HTTP_PROXY to it"}
	badHost    = problem{http.StatusMisdirectedRequest, "wrong_host", "use the proxy's own address, or add the Host to its --host"}
	webPage    = problem{http.StatusForbidden, "web_page", "requests of web pages are not served: do not send Origin or Sec-Fetch-Site"}
	dotSegment = problem{http.StatusBadRequest, "dot_segment", "write the path without the segments . and .."}
	overloaded = problem{http.StatusServiceUnavailable, "overloaded", "send fewer requests at once over HTTP/2, or raise --max-connections and the proxy's memory"}
	oddPath    = problem{http.StatusBadRequest, "ambiguous_path", "write the path so that servers cannot read it in several ways: no %25, %2E or %5C, no invalid escape, no invisible character"}
)

// ownNames returns the Host headers that the proxy accepts.
func ownNames(listen string, addr net.Addr, extra []string) map[string]bool {
	own := map[string]bool{}
	_, port, _ := net.SplitHostPort(addr.String())
	add := func(host string) {
		own[strings.ToLower(net.JoinHostPort(host, port))] = true
		if port == "80" { // clients leave it out
			own[strings.ToLower(strings.TrimSuffix(net.JoinHostPort(host, port), ":80"))] = true
		}
	}
	add("localhost")
	add("127.0.0.1")
	add("::1")
	// 0.0.0.0 and :: are no names: browsers take them for this machine.
	if host, _, err := net.SplitHostPort(listen); err == nil && host != "" && !net.ParseIP(host).IsUnspecified() {
		add(host)
	}
	for _, name := range extra {
		own[strings.ToLower(name)] = true
		if _, _, err := net.SplitHostPort(name); err != nil {
			add(strings.Trim(name, "[]"))
		}
	}
	return own
}

// guard says why a request is not served. nil: it is served.
//
// A web page can also send requests to this machine. After DNS rebinding, its
// requests have the page's own name in Host. Otherwise they have an Origin or a
// Sec-Fetch-Site. http.CrossOriginProtection would let those pass with GET.
func (s *sidecar) guard(r *http.Request) *problem {
	switch {
	case strings.EqualFold(r.Method, http.MethodConnect) || strings.EqualFold(r.Method, http.MethodTrace):
		return &badMethod
	case !strings.HasPrefix(r.RequestURI, "/"):
		return &badForm
	case !s.names[strings.ToLower(r.Host)]:
		return &badHost
	case len(r.Header["Origin"]) > 0:
		return &webPage
	case strings.Trim(s.upstream.Path, "/") != "" && hasDotSegment(r.URL.Path):
		return &dotSegment // the path may leave the upstream's path
	case strings.Trim(s.upstream.Path, "/") != "" && ambiguous(r.URL.EscapedPath()):
		return &oddPath
	}
	for _, site := range r.Header["Sec-Fetch-Site"] {
		if site != "none" {
			return &webPage
		}
	}
	return nil
}

// hasDotSegment reports whether a decoded path has a segment . or .. in it. Some
// servers drop what follows a semicolon first.
func hasDotSegment(path string) bool {
	for segment := range strings.FieldsFuncSeq(path, func(r rune) bool { return r == '/' || r == '\\' }) {
		if segment, _, _ = strings.Cut(segment, ";"); segment == "." || segment == ".." {
			return true
		}
	}
	return false
}

// ambiguous reports whether servers may read an escaped path as one with other
// segments. A slash may be escaped: what it divides is checked either way.
func ambiguous(path string) bool {
	_, err := urlpath.Clean(strings.NewReplacer("%2F", "/", "%2f", "/").Replace(path))
	return err != nil
}
