// Copyright 2026 The authsec Authors
// SPDX-License-Identifier: Apache-2.0

package authsectest

import (
	"fmt"
	"net/http"
	"regexp"
	"strings"
	"time"
)

// RequireCredential makes the server one of the newer generation. "" makes it one
// of the older generation again. The newer generation
//   - wants the caller's credential at the endpoint, as a bearer token, and answers
//     401 with a challenge if it is missing or another;
//   - says workspace_id in place of tenant_id;
//   - answers the same 404 for an unknown agent as for one without a delegation;
//   - lets a token live for 24 hours at most, and makes it invalid as soon as there
//     is a newer one;
//   - has a key set for its own workspace only.
func (s *Server) RequireCredential(token string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.credential = token
}

// Fetches returns how many requests the endpoint got, also those without an answer.
func (s *Server) Fetches() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.fetches
}

func (s *Server) serveToken(w http.ResponseWriter, r *http.Request) {
	if message := s.challenge(r.Header.Get("Authorization")); message != "" {
		Unauthorized(message).ServeHTTP(w, r)
		return
	}
	id := r.URL.Query().Get("client_id")
	if id == "" {
		id = r.Header.Get("X-Client-ID")
	}
	status, body := s.token(id)
	writeJSON(w, status, body)
}

// challenge returns what is wrong with a request's Authorization header, or "".
func (s *Server) challenge(header string) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	scheme, token, ok := strings.Cut(header, " ")
	switch {
	case !s.newer():
		return ""
	case header == "":
		return "authorization header required"
	case !ok || scheme != "Bearer":
		return "invalid authorization header format"
	case token != s.credential:
		return "Invalid or expired token"
	}
	return ""
}

// token returns the endpoint's answer for a client ID.
func (s *Server) token(id string) (status int, body map[string]any) {
	const delegate = "POST /uflow/admin/agents/:id/delegate-token" // with a literal :id
	if id == "" {
		return http.StatusBadRequest, map[string]any{"error": "client_id is required (query param or X-Client-ID header)"}
	}
	canonical, ok := parseUUID(id)
	if !ok {
		return http.StatusBadRequest, map[string]any{"error": "Invalid client_id format"}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	a := s.agents[canonical]
	switch {
	case a == nil && !s.newer():
		return http.StatusNotFound, map[string]any{"error": "Client not found", "details": fmt.Sprintf("client_id %s not found in tenant_mappings", id)}
	case a == nil || a.token == "" || id != canonical: // the server compares texts
		return http.StatusNotFound, map[string]any{
			"error":   "No active delegation token found",
			"details": "An admin must delegate a token first via " + delegate,
		}
	case time.Now().After(a.expiry):
		a.token = "" // later requests get the 404
		return http.StatusGone, map[string]any{
			"error": "Delegation token has expired", "expired_at": a.expiry,
			"details": "Admin must re-delegate via " + delegate,
		}
	}
	return http.StatusOK, map[string]any{
		"audience": a.given.Audience, "client_id": a.id, "expires_at": a.expiry, "issued_at": a.first,
		"permissions": a.given.Permissions, "spiffe_id": a.spiffeID(), "status": "active", s.tenantField(): TenantID,
		"token": a.token, "ttl_seconds": int(a.given.TTL.Seconds()), "updated_at": a.updated,
	}
}

var uuid = regexp.MustCompile(`^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$`)

// parseUUID returns the UUID in lower case with hyphens. It reads what the server's
// parser reads: upper case, {…}, urn:uuid:… and 32 digits, too.
func parseUUID(s string) (id string, ok bool) {
	s = strings.ToLower(s)
	switch len(s) {
	case 32:
		s = s[:8] + "-" + s[8:12] + "-" + s[12:16] + "-" + s[16:20] + "-" + s[20:]
	case 38:
		s = s[1:37] // the parser skips any two characters
	default:
		s = strings.TrimPrefix(s, "urn:uuid:")
	}
	return s, uuid.MatchString(s)
}
