// Copyright 2026 The authsec Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"net/http"
	"net/http/httputil"
	"strings"
	"sync"
	"time"

	"github.com/authsec-go/authsec/internal/conn"
)

const (
	maxIdle   = 256      // idle connections to the upstream
	copyBytes = 32 << 10 // of the buffer for an answer; httputil uses the same size
)

// upstreamTransport returns the transport to the upstream. It does not change
// answers: compressed ones stay compressed. headerTimeout limits the wait for an
// answer's header after the request is sent. 0: no limit.
func upstreamTransport(headerTimeout time.Duration) *http.Transport {
	t := conn.New()
	t.DisableCompression = true
	t.ResponseHeaderTimeout = headerTimeout
	t.MaxIdleConns, t.MaxIdleConnsPerHost = maxIdle, maxIdle
	return t
}

// grpcTransport is for gRPC over plain HTTP. It speaks HTTP/2 only: net/http cannot
// find out without TLS whether a server does.
func grpcTransport(headerTimeout time.Duration) *http.Transport {
	t := upstreamTransport(headerTimeout)
	t.Protocols = new(http.Protocols)
	t.Protocols.SetUnencryptedHTTP2(true)
	return t
}

// timed is a transport that measures its round trips.
type timed struct {
	http.RoundTripper
	grpc    http.RoundTripper
	metrics *metrics
}

func (t *timed) RoundTrip(req *http.Request) (*http.Response, error) {
	base := t.RoundTripper
	if req.URL.Scheme == "http" && req.ProtoMajor == 2 && isGRPC(req.Header.Get("Content-Type")) {
		base = t.grpc
	}
	began := time.Now()
	resp, err := base.RoundTrip(req)
	took := time.Since(began)
	t.metrics.upstream.Observe(took.Seconds())
	if x, ok := req.Context().Value(exchangeKey{}).(*exchange); ok {
		x.sent, x.took = x.sent+1, took
	}
	return resp, err
}

// isGRPC reports whether a Content-Type is that of gRPC, as in application/grpc+proto.
// That of gRPC-Web, application/grpc-web, is not: its servers may speak HTTP/1.1 only.
func isGRPC(contentType string) bool {
	rest, ok := strings.CutPrefix(contentType, "application/grpc")
	return ok && (rest == "" || rest[0] == '+' || rest[0] == ';')
}

// rewrite makes the request that the upstream gets.
func (s *sidecar) rewrite(r *httputil.ProxyRequest) {
	r.SetURL(s.upstream)
	r.Out.URL.RawQuery = r.In.URL.RawQuery // unchanged, well formed or not
	for name := range r.Out.Header {
		if strings.HasPrefix(name, "X-Forwarded-") {
			r.Out.Header.Del(name)
		}
	}
	r.Out.Header.Del("Authorization")
	r.Out.Header.Del("Proxy-Authorization")
	// The requests after an upgrade to HTTP/2 would have no token. A server may ignore
	// Upgrade (RFC 9110, section 7.8). Java's client sends it with every request.
	for protocol := range strings.SplitSeq(r.Out.Header.Get("Upgrade"), ",") {
		if strings.HasPrefix(strings.ToLower(strings.TrimSpace(protocol)), "h2") {
			r.Out.Header.Del("Upgrade")
			r.Out.Header.Del("Connection")
			break
		}
	}
	r.Out.Header.Del("Http2-Settings")
	// ReverseProxy would announce the trailers and then send none. An intermediary
	// may drop them (RFC 9110, section 6.5.1).
	r.Out.Trailer = nil
}

// buffers is an httputil.BufferPool.
type buffers struct{ pool sync.Pool }

func (b *buffers) Get() []byte {
	if buf, ok := b.pool.Get().(*[]byte); ok {
		return *buf
	}
	return make([]byte, copyBytes)
}

func (b *buffers) Put(buf []byte) { b.pool.Put(&buf) }
