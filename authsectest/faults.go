// Copyright 2026 The authsec Authors
// SPDX-License-Identifier: Apache-2.0

package authsectest

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"
)

// SetLatency delays each answer of the endpoint by d.
func (s *Server) SetLatency(d time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.latency = d
}

// FailNext makes h answer the next n requests to the endpoint, in place of the server:
// they do not count for [Server.LimitRate].
func (s *Server) FailNext(n int, h http.Handler) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.faults = append(s.faults, slices.Repeat([]http.Handler{h}, max(0, n))...)
}

// Fail makes h answer all requests to the endpoint, in place of the server: they do not
// count for [Server.LimitRate]. nil ends that.
func (s *Server) Fail(h http.Handler) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.fault, s.faults = h, nil
}

// disturb counts a request to the endpoint, delays it, and reports whether a fault
// has answered it.
func (s *Server) disturb(w http.ResponseWriter, r *http.Request) bool {
	s.mu.Lock()
	s.fetches++
	latency, fault := s.latency, s.fault
	if len(s.faults) > 0 {
		fault, s.faults = s.faults[0], s.faults[1:]
	}
	s.mu.Unlock()
	if latency > 0 {
		select {
		case <-time.After(latency):
		case <-r.Context().Done():
			return true
		}
	}
	if fault != nil {
		fault.ServeHTTP(w, r)
	}
	return fault != nil
}

// Answer returns a handler that always gives this answer. The content type is JSON
// if the body begins with a brace, and HTML otherwise. headers are names and values
// in turn.
func Answer(status int, body string, headers ...string) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		contentType := "text/html; charset=utf-8"
		if strings.HasPrefix(body, "{") {
			contentType = "application/json; charset=utf-8"
		}
		w.Header().Set("Content-Type", contentType)
		for pair := range slices.Chunk(headers, 2) {
			w.Header().Set(pair[0], pair[len(pair)-1])
		}
		w.WriteHeader(status)
		fmt.Fprint(w, body)
	})
}

// Unauthorized returns a handler that answers 401 as the newer generation does, with
// its challenge. Two messages are for Fail and FailNext only: "session has been
// revoked", and "session is no longer valid for this workspace". A server also sends
// the second one while its database is down.
func Unauthorized(message string) http.Handler {
	code, description := "invalid_token", message
	switch message {
	case "authorization header required", "invalid authorization header format":
		code, description = "invalid_request", "missing or malformed bearer token"
	case "Invalid or expired token":
		description = "token is expired or invalid"
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("WWW-Authenticate", fmt.Sprintf(`Bearer realm="authsec", error=%q, error_description=%q`, code, description))
		writeJSON(w, http.StatusUnauthorized, map[string]any{"error": message})
	})
}
