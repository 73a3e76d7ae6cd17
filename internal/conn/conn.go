// Copyright 2026 The authsec Authors
// SPDX-License-Identifier: Apache-2.0

// Package conn makes the http.Transports that this module uses where the caller
// gives none.
package conn

import (
	"net/http"
	"sync"
	"time"
)

const (
	// A connection on which nothing came for pingAfter gets an HTTP/2 ping, and is
	// closed if pingTimeout passes without an answer. Without pings, net/http uses a
	// pooled connection that a NAT or load balancer has forgotten for about 15
	// minutes, though new ones work (golang.org/issue/59690).
	pingAfter   = 10 * time.Second
	pingTimeout = 5 * time.Second
)

// Shared is what this module's clients send their requests to APIs with, if the
// caller names no transport: one that notices dead connections in place of
// http.DefaultTransport. What the caller has put in its place is left alone.
func Shared() http.RoundTripper {
	if _, ok := http.DefaultTransport.(*http.Transport); !ok {
		return http.DefaultTransport
	}
	return shared()
}

var shared = sync.OnceValue(New)

// New returns a copy of http.DefaultTransport that notices dead connections. If
// that is not an *http.Transport, it returns one with the proxy of the environment.
func New() *http.Transport {
	t, ok := http.DefaultTransport.(*http.Transport)
	if ok {
		t = t.Clone()
	} else {
		t = &http.Transport{
			Proxy:               http.ProxyFromEnvironment,
			ForceAttemptHTTP2:   true,
			MaxIdleConns:        100,
			IdleConnTimeout:     90 * time.Second,
			TLSHandshakeTimeout: 10 * time.Second,
		}
	}
	if t.HTTP2 == nil {
		t.HTTP2 = new(http.HTTP2Config)
	}
	t.HTTP2.SendPingTimeout, t.HTTP2.PingTimeout = pingAfter, pingTimeout
	return t
}
