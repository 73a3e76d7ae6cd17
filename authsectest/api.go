// Copyright 2026 The authsec Authors
// SPDX-License-Identifier: Apache-2.0

package authsectest

import (
	"net/http"
	"slices"
	"strings"

	"github.com/authsec-go/authsec"
	"github.com/golang-jwt/jwt/v5"
)

// signature is what every token must satisfy.
var signature = []jwt.ParserOption{jwt.WithValidMethods([]string{"RS256"}), jwt.WithExpirationRequired()}

// API returns the handler of a protected API. It verifies the bearer token. It
// answers 401 if the token is missing, invalid, expired or revoked, and 403 if it
// lacks a permission (RFC 6750, section 3.1). All other requests go to next. nil: a
// handler that answers 200 with a little JSON.
//
// If the server is of the newer generation, only an agent's latest token is valid.
func (s *Server) API(next http.Handler, permissions ...string) http.Handler {
	if next == nil {
		next = Answer(http.StatusOK, `{"ok":true}`)
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		token, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
		if !ok {
			w.Header().Set("WWW-Authenticate", "Bearer")
			writeJSON(w, http.StatusUnauthorized, map[string]any{"error": "unauthorized"})
			return
		}
		claims := new(authsec.Claims)
		_, err := jwt.ParseWithClaims(token, claims, s.Keyfunc, signature...)
		if err != nil || !s.accepts(claims.ClientID, token) {
			w.Header().Set("WWW-Authenticate", `Bearer error="invalid_token"`)
			writeJSON(w, http.StatusUnauthorized, map[string]any{"error": "invalid_token"})
			return
		}
		for _, permission := range permissions {
			if !slices.Contains(claims.Permissions, permission) {
				w.Header().Set("WWW-Authenticate", `Bearer error="insufficient_scope"`)
				writeJSON(w, http.StatusForbidden, map[string]any{"error": "insufficient_scope"})
				return
			}
		}
		s.mu.Lock()
		s.apiCalls++
		s.mu.Unlock()
		next.ServeHTTP(w, r)
	})
}

// accepts reports whether the API accepts a token that verifies.
func (s *Server) accepts(clientID, token string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.newer() {
		return s.active(clientID, token)
	}
	return !s.revoked[token]
}

// APICalls returns how many requests the handlers of [Server.API] accepted.
func (s *Server) APICalls() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.apiCalls
}
