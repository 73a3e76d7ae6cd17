// Copyright 2026 The authsec Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/authsec-go/authsec"
)

// maxReplay is the largest request body, in bytes, that is kept so that it can be
// sent again.
const maxReplay = 64 << 10

// problem is an answer of the proxy itself. It has fixed words, so no secret.
type problem struct {
	status int
	Code   string `json:"error"`
	Do     string `json:"do"`
}

var (
	badMethod  = problem{http.StatusMethodNotAllowed, "method_not_allowed", "CONNECT and TRACE are not served: ask for the API's path, with the method that the API wants"}
	badForm    = problem{http.StatusBadRequest, "not_a_forward_proxy", "ask for a path, not for a URL: use this proxy's address in place of the API's, and do not set HTTP_PROXY to it"}
	badHost    = problem{http.StatusMisdirectedRequest, "wrong_host", "use the proxy's own address, or add the Host to its -host"}
	webPage    = problem{http.StatusForbidden, "web_page", "requests of web pages are not served: do not send Origin or Sec-Fetch-Site"}
	dotSegment = problem{http.StatusBadRequest, "dot_segment", "write the path without the segments . and .."}
	brokenBody = problem{http.StatusBadRequest, "broken_body", "send the whole body that Content-Length announces"}
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

// replayable makes a short body one that can be sent again. It does not wait for a
// body of unknown length: that can be sent again once it was read to its end.
func replayable(r *http.Request) *problem {
	switch n := r.ContentLength; {
	case n == 0 || n > maxReplay:
	case n < 0:
		rec := &recorder{ReadCloser: r.Body}
		r.Body, r.GetBody = rec, rec.again
	default:
		body := make([]byte, n)
		if _, err := io.ReadFull(r.Body, body); err != nil {
			return &brokenBody
		}
		r.GetBody = func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(body)), nil }
		r.Body, _ = r.GetBody()
	}
	return nil
}

// recorder keeps what is read through it, up to maxReplay bytes.
type recorder struct {
	io.ReadCloser
	mu    sync.Mutex // guards what follows
	kept  []byte
	long  bool
	ended bool
}

func (c *recorder) Read(b []byte) (int, error) {
	n, err := c.ReadCloser.Read(b)
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.long = c.long || len(c.kept)+n > maxReplay; c.long {
		c.kept = nil
	} else {
		c.kept = append(c.kept, b[:n]...)
	}
	c.ended = c.ended || err == io.EOF
	return n, err
}

// again is the request's GetBody.
func (c *recorder) again() (io.ReadCloser, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.long || !c.ended {
		return nil, errors.New("the body was not kept")
	}
	return io.NopCloser(bytes.NewReader(c.kept)), nil
}

// diagnose returns the answer to an error of the transport, and whether the
// upstream caused the error.
func diagnose(err error) (p problem, ofUpstream bool) {
	var e *authsec.Error
	timeout := errors.Is(err, context.DeadlineExceeded)
	if t := interface{ Timeout() bool }(nil); errors.As(err, &t) {
		timeout = timeout || t.Timeout()
	}
	switch {
	case errors.Is(err, authsec.ErrNotDelegated):
		return problem{http.StatusServiceUnavailable, "not_delegated", advice(err)}, false
	case errors.Is(err, authsec.ErrRateLimited):
		return problem{http.StatusServiceUnavailable, "rate_limited", advice(err)}, false
	case errors.Is(err, authsec.ErrUnauthorized):
		return problem{http.StatusBadGateway, "unauthorized", advice(err)}, false
	case errors.Is(err, authsec.ErrInvalidClientID):
		return problem{http.StatusBadGateway, "invalid_client_id", advice(err)}, false
	case errors.Is(err, authsec.ErrInvalidResponse):
		return problem{http.StatusBadGateway, "invalid_response", advice(err)}, false
	case errors.As(err, &e) && timeout:
		return problem{http.StatusGatewayTimeout, "authsec_timeout", "the AuthSec server did not answer in time: check AUTHSEC_BASE_URL, and whether the server can be reached from here"}, false
	case errors.As(err, &e):
		return problem{http.StatusServiceUnavailable, "authsec_unavailable", "the AuthSec server gave no token: check AUTHSEC_BASE_URL, and whether the server can be reached from here"}, false
	case timeout:
		return problem{http.StatusGatewayTimeout, "upstream_timeout", "the API did not answer in time: check -upstream, and whether the API can be reached from here"}, true
	}
	return problem{http.StatusBadGateway, "upstream_failed", "the API could not be reached, or its answer broke off: check -upstream, and whether the API can be reached from here"}, true
}

// retryAfter is the time until a token can be expected; 0: unknown.
func retryAfter(err error, nextFetch time.Time) time.Duration {
	if !nextFetch.IsZero() {
		return max(0, time.Until(nextFetch))
	}
	if e := (*authsec.Error)(nil); errors.As(err, &e) {
		return e.RetryAfter
	}
	return 0
}

// describe returns what may be logged about a failure of the upstream. Only some
// errors are known to quote no bytes of the upstream, which may contain the token.
// Of all others it returns the type.
func describe(err error) string {
	op, dns, cert := (*net.OpError)(nil), (*net.DNSError)(nil), (*tls.CertificateVerificationError)(nil)
	switch {
	case errors.As(err, &cert):
		return cert.Error()
	case errors.As(err, &op):
		return op.Error()
	case errors.As(err, &dns):
		return dns.Error()
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return "it closed the connection without an answer"
	}
	return fmt.Sprintf("%T", err)
}

func writeJSON(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	w.WriteHeader(status)
	json.NewEncoder(w).Encode(v) // fails only if the client has gone
}
