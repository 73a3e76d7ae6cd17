// Copyright 2026 The authsec Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"net/http"
	"sync"
	"time"

	"github.com/authsec-go/authsec/cmd/authsec/internal/answers"
)

const (
	// readyTimeout is how long readyz waits for a token.
	readyTimeout = 3 * time.Second

	// The upstream rejects every token if its last answers, at least rejectedTimes
	// within at least rejectedFor, were all 401. After rejectedLast without another
	// one, readyz lets the programs try again.
	rejectedTimes = 3
	rejectedFor   = 5 * time.Second
	rejectedLast  = time.Minute
)

// allRejected is what readyz says if the upstream rejects every token.
var allRejected = problem{Code: "token_rejected", Do: "the API answers 401 to every token: compare what it expects (issuer, audience, keys, clock) with the token (authsec token --json); a restart does not help"}

// rejections notes whether the upstream accepts tokens.
type rejections struct {
	mu          sync.Mutex // guards what follows
	times       int        // answers with 401 since the upstream accepted a token
	first, last time.Time  // the first and the last of them
}

// answered notes an answer of the upstream. One with 5xx does not say whether the
// token was accepted.
func (r *rejections) answered(now time.Time, status int) {
	if status >= 500 {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	switch {
	case status != http.StatusUnauthorized:
		r.times = 0
	case r.times == 0 || now.Sub(r.last) >= rejectedLast:
		r.times, r.first, r.last = 1, now, now
	default:
		r.times, r.last = r.times+1, now
	}
}

// all reports whether the upstream rejects every token.
func (r *rejections) all(now time.Time) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.times >= rejectedTimes && r.last.Sub(r.first) >= rejectedFor && now.Sub(r.last) < rejectedLast
}

// healthHandler serves probes and metrics. It gives no access to the upstream.
func (s *sidecar) healthHandler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, r *http.Request) {
		answers.WriteJSON(w, http.StatusOK, map[string]bool{"ok": true})
	})
	mux.HandleFunc("GET /readyz", s.ready)
	mux.Handle("GET /metrics", s.metrics.handler())
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		forgo(w, r) // nothing here reads a body
		mux.ServeHTTP(w, r)
	})
}

// ready answers 200 if there is a good token. It gets one if there is none.
func (s *sidecar) ready(w http.ResponseWriter, r *http.Request) {
	if s.draining.Load() {
		answers.WriteJSON(w, http.StatusServiceUnavailable, problem{Code: "shutting_down", Do: "use another instance"})
		return
	}
	ctx, cancel := context.WithTimeout(r.Context(), readyTimeout)
	defer cancel()
	if _, err := s.src.TokenContext(ctx); err != nil {
		p := problem{Code: "authsec_timeout", Do: "the AuthSec server has not answered yet: check AUTHSEC_BASE_URL, and whether the server can be reached from here"}
		if ctx.Err() == nil {
			p, _ = diagnose(err)
			p, _ = again(p, err, s.src.Stats().NextFetch)
		}
		answers.WriteJSON(w, http.StatusServiceUnavailable, p)
		return
	}
	if s.rejections.all(time.Now()) {
		answers.WriteJSON(w, http.StatusServiceUnavailable, allRejected)
		return
	}
	answers.WriteJSON(w, http.StatusOK, map[string]bool{"ok": true})
}
