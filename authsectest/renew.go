// Copyright 2026 The authsec Authors
// SPDX-License-Identifier: Apache-2.0

package authsectest

import (
	"encoding/json"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

// tokenRequest is the body of a request to jwt/renew or jwt/validate.
type tokenRequest struct {
	TenantID    string `json:"tenant_id"`    // the older generation's
	WorkspaceID string `json:"workspace_id"` // the newer generation's
	Token       string `json:"token"`
	Audience    string `json:"audience"` // jwt/validate only
}

// readTokenRequest reads the body. If it returns false, it has answered.
func (s *Server) readTokenRequest(w http.ResponseWriter, r *http.Request) (req tokenRequest, ok bool) {
	if s.overStrictLimit(w, r) {
		return req, false
	}
	if json.NewDecoder(r.Body).Decode(&req) != nil {
		writeJSON(w, http.StatusBadRequest, nestedError("BAD_REQUEST", "Invalid request body"))
		return req, false
	}
	return req, true
}

// serveRenewal gives the holder of a token another one that lives for 24 hours, less
// a second. The older generation does so even after a revocation.
func (s *Server) serveRenewal(w http.ResponseWriter, r *http.Request) {
	req, ok := s.readTokenRequest(w, r)
	if !ok {
		return
	}
	s.mu.Lock()
	status, body := s.renewal(req)
	s.mu.Unlock()
	writeJSON(w, status, body)
}

// renewal returns the answer of jwt/renew. mu is held.
func (s *Server) renewal(req tokenRequest) (status int, body map[string]any) {
	switch {
	case s.newer() && req.Token == "":
		return http.StatusBadRequest, nestedError("BAD_REQUEST", "token is required")
	case !s.newer() && (req.Token == "" || req.TenantID == ""):
		return http.StatusBadRequest, nestedError("BAD_REQUEST", "tenant_id and token are required")
	}
	claims := s.validate(req)
	if claims == nil {
		return http.StatusUnauthorized, nestedError("UNAUTHORIZED", "Token is invalid or expired - cannot renew")
	}
	now := time.Now().UTC()
	expiry := now.Add(renewedTTL)
	token := sign(s.key(issuer(claims)), now, expiry, claims)
	return http.StatusOK, map[string]any{"spiffe_id": claims["sub"], "token": token, "expires_at": expiry.Format(time.RFC3339)}
}

// serveValidation says whether a token is valid. The older generation calls it valid
// even after a revocation.
func (s *Server) serveValidation(w http.ResponseWriter, r *http.Request) {
	req, ok := s.readTokenRequest(w, r)
	if !ok {
		return
	}
	s.mu.Lock()
	body := s.validation(req)
	s.mu.Unlock()
	writeJSON(w, http.StatusOK, body)
}

// validation returns the answer of jwt/validate. mu is held.
func (s *Server) validation(req tokenRequest) map[string]any {
	body := map[string]any{"valid": false, "spiffe_id": ""}
	if !s.newer() {
		body["claims"] = nil
	}
	claims := s.validate(req)
	if claims == nil {
		return body
	}
	body["spiffe_id"] = claims["sub"]
	if audience, _ := claims.GetAudience(); req.Audience != "" && !slices.Contains(audience, req.Audience) {
		return body
	}
	body["valid"], body["claims"], body[s.tenantField()] = true, claims, issuer(claims)
	for name, claim := range map[string]string{"sub": "sub", "permissions": "permissions", "audience": "aud", "expires_at": "exp", "issued_at": "iat"} {
		body[name] = claims[claim]
	}
	return body
}

// validate returns the token's claims, or nil if it is not valid. The newer
// generation takes the tenant from the token, and only the agent's active token is
// valid. mu is held.
func (s *Server) validate(req tokenRequest) jwt.MapClaims {
	claims := jwt.MapClaims{}
	tenant := req.TenantID
	if s.newer() {
		if _, _, err := jwt.NewParser().ParseUnverified(req.Token, claims); err != nil {
			return nil
		}
		tenant = issuer(claims)
		if tenant != TenantID || req.WorkspaceID != "" && req.WorkspaceID != tenant {
			return nil
		}
	}
	key := &s.key(tenant).PublicKey
	clear(claims)
	_, err := jwt.ParseWithClaims(req.Token, claims, func(*jwt.Token) (any, error) { return key, nil }, signature...)
	if err != nil {
		return nil
	}
	if clientID, _ := claims["client_id"].(string); s.newer() && !s.active(clientID, req.Token) {
		return nil
	}
	return claims
}

// issuer returns the tenant that a token's iss names.
func issuer(claims jwt.MapClaims) string {
	iss, _ := claims.GetIssuer()
	return strings.TrimPrefix(iss, "spiffe://")
}
