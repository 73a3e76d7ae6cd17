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
	// A connection that received nothing for pingAfter gets an HTTP/2 ping, and is
	// closed if pingTimeout passes without an answer. If a NAT or load balancer has
	// forgotten a pooled connection, net/http without pings uses it for about 15 more
	// minutes, although new ones work (golang.org/issue/59690). The sum is less than the
	// 10 s of a request to the AuthSec server, so at most one of these is lost.
	pingAfter   = 5 * time.Second
	pingTimeout = 4 * time.Second
)

// Shared returns the transport for this module's requests to APIs if the caller names
// none: one copy of http.DefaultTransport, which notices dead connections. If
// http.DefaultTransport is not an *http.Transport, Shared returns that itself.
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
