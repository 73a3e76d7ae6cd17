// Copyright 2026 The authsec Authors
// SPDX-License-Identifier: Apache-2.0

package dev

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/authsec-go/authsec"
	"github.com/authsec-go/authsec/authsectest"
	"github.com/authsec-go/authsec/cmd/authsec/internal/answers"
	"github.com/authsec-go/authsec/internal/wire"
	"github.com/golang-jwt/jwt/v5"
)

// agentsPath is the server's admin path, before an agent's client ID.
const agentsPath = "/authsec/uflow/admin/agents/"

const maxRequest = 64 << 10 // bytes of a request to delegate

// delegate delegates to the agent and returns the token and its claims.
func (s *server) delegate(d authsectest.Delegation) (token string, claims authsec.Claims) {
	s.mu.Lock()
	defer s.mu.Unlock()
	token = s.double.Delegate(s.opts.clientID, d)
	jwt.NewParser().ParseUnverified(token, &claims) // the double's tokens have these claims
	s.expires = claims.ExpiresAt.Time
	return token, claims
}

// revoke ends the agent's delegation. It reports whether there was an active one.
func (s *server) revoke() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.double.Revoke(s.opts.clientID)
	active := time.Now().Before(s.expires)
	s.expires = time.Time{}
	return active
}

// serveAdmin answers a request to one of the agent's admin paths. It reports whether
// it was one. A real server wants an admin's session there.
func (s *server) serveAdmin(w http.ResponseWriter, r *http.Request) bool {
	rest, ok := strings.CutPrefix(r.URL.Path, agentsPath)
	id, action, _ := strings.Cut(rest, "/")
	if !ok || r.Method != http.MethodPost || action != "delegate-token" && action != "revoke-token" {
		return false
	}
	switch id = wire.CanonicalID(id); {
	case !isUUID(id):
		answers.WriteJSON(w, http.StatusBadRequest, problem("Invalid agent ID"))
	case id != s.opts.clientID:
		answers.WriteJSON(w, http.StatusNotFound, problem("Agent not found"))
	case action == "delegate-token":
		s.serveDelegate(w, r)
	default:
		s.serveRevoke(w, r)
	}
	return true
}

func (s *server) serveDelegate(w http.ResponseWriter, r *http.Request) {
	d, ignored, err := s.readDelegation(w, r)
	if err != nil {
		answers.WriteJSON(w, http.StatusBadRequest, problem("Invalid request: "+err.Error()))
		return
	}
	token, claims := s.delegate(d)
	note := fmt.Sprintf("delegated %s, for %s, audience %s", list(d.Permissions), short(d.TTL), list(claims.Audience))
	if len(ignored) > 0 {
		note += "; ignored " + list(ignored)
	}
	noteFor(r.Context(), note)
	answers.WriteJSON(w, http.StatusOK, map[string]any{
		"token": token, "spiffe_id": claims.Subject, "expires_at": claims.ExpiresAt.UTC(),
		"permissions": d.Permissions, "audience": d.Audience, "ttl_seconds": int(d.TTL.Seconds()),
	})
}

// readDelegation returns what a request delegates, and the names of settings that it
// ignores.
func (s *server) readDelegation(w http.ResponseWriter, r *http.Request) (d authsectest.Delegation, ignored []string, err error) {
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxRequest))
	if err != nil {
		return d, nil, fmt.Errorf("the body can't be read, or has more than %d bytes", maxRequest)
	}
	settings, err := readSettings(body, r.URL.RawQuery)
	if err != nil {
		return d, nil, err
	}
	d, ignored, err = settings.apply(s.opts.delegation())
	if err == nil {
		if err = checkLifetime(d.TTL, s.opts.generation); err != nil {
			err = fmt.Errorf("ttl %w", err)
		}
	}
	return d, ignored, err
}

func (s *server) serveRevoke(w http.ResponseWriter, r *http.Request) {
	if !s.revoke() {
		answers.WriteJSON(w, http.StatusNotFound, problem("No active delegation token found for this agent"))
		return
	}
	noteFor(r.Context(), "revoked; the API rejects all earlier tokens")
	answers.WriteJSON(w, http.StatusOK, map[string]any{
		"status": "revoked", "client_id": s.opts.clientID, "message": "Delegation token revoked successfully",
	})
}

func problem(text string) map[string]any { return map[string]any{"error": text} }

// list returns words in a line.
func list(words []string) string {
	if len(words) == 0 {
		return "(none)"
	}
	return strings.Join(words, " ")
}
