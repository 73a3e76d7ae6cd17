// Copyright 2026 The authsec Authors
// SPDX-License-Identifier: Apache-2.0

package authsectest

import (
	"cmp"
	"crypto/rsa"
	"fmt"
	"slices"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

const (
	maxTTL     = 24 * time.Hour       // of the newer generation's delegations
	renewedTTL = maxTTL - time.Second // from iat to exp of a token from jwt/renew, as real servers write them
)

// Delegation is what an admin delegates to an agent.
type Delegation struct {
	Permissions []string      // resource:action; nil: the answer and the token have null
	Audience    []string      // nil: the answer has null, and the token has "authsec-api"
	TTL         time.Duration // of the token; 0: one hour; negative: it has expired. The newer generation's limit is 24 hours.
}

// agent is a registered agent and its latest delegation.
type agent struct {
	id        string // in lower case with hyphens
	given     Delegation
	token     string    // "": none is active
	first     time.Time // when the agent was first delegated to; zero: never
	updated   time.Time // when it was last delegated to
	expiry    time.Time
	unrevoked []string // tokens of all delegations since the last revocation
}

func (a *agent) spiffeID() string {
	return fmt.Sprintf("spiffe://example.org/tenants/%s/agents/test/%s", TenantID, a.id)
}

// Register adds an agent without a delegation.
func (s *Server) Register(clientID string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.agent(clientID)
}

// agent returns the agent, and registers it first if it is unknown. mu is held.
func (s *Server) agent(clientID string) *agent {
	id := canonicalID(clientID)
	if s.agents[id] == nil {
		s.agents[id] = &agent{id: id}
	}
	return s.agents[id]
}

// canonicalID is a client ID as the server stores it.
func canonicalID(clientID string) string {
	if id, ok := parseUUID(clientID); ok {
		return id
	}
	return clientID
}

// Delegate gives the agent a delegation, in place of an earlier one, and returns
// its token.
//
// On the older generation, earlier tokens stay good until they expire or are
// revoked. On the newer, they are invalid at once.
func (s *Server) Delegate(clientID string, d Delegation) (token string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	d.TTL = cmp.Or(d.TTL, time.Hour)
	if s.newer() {
		d.TTL = min(d.TTL, maxTTL)
	}
	d.Permissions, d.Audience = slices.Clone(d.Permissions), slices.Clone(d.Audience)
	a := s.agent(clientID)
	now := time.Now().UTC().Truncate(time.Microsecond) // as the server's database stores it
	a.given, a.updated, a.expiry = d, now, now.Add(d.TTL)
	if a.first.IsZero() {
		a.first = now
	}
	audience := d.Audience
	if audience == nil {
		audience = []string{"authsec-api"}
	}
	a.token = sign(s.keys[TenantID], now, a.expiry, jwt.MapClaims{
		"iss": "spiffe://" + TenantID, "sub": a.spiffeID(), "aud": audience,
		"user_id": "user-1", s.tenantField(): TenantID, "email": "admin@example.org", "agent_type": "test",
		"permissions": d.Permissions, "client_id": a.id,
	})
	a.unrevoked = append(a.unrevoked, a.token)
	return a.token
}

// Revoke ends the agent's delegation. From then on [Server.API] rejects all its
// tokens. An unknown agent stays unknown.
func (s *Server) Revoke(clientID string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	a := s.agents[canonicalID(clientID)]
	if a == nil {
		return
	}
	for _, token := range a.unrevoked {
		s.revoked[token] = true
	}
	a.token, a.unrevoked = "", nil
}

// sign returns a token with the claims and the times, which are in whole seconds. So
// exp may lie up to 1 s before the delegation's expiry.
func sign(key *rsa.PrivateKey, now, expiry time.Time, claims jwt.MapClaims) string {
	claims["iat"], claims["nbf"], claims["exp"], claims["jti"] = now.Unix(), now.Unix(), expiry.Unix(), newUUID()
	// Signing fails only for claims that have no JSON, and these have.
	token, _ := jwt.NewWithClaims(jwt.SigningMethodRS256, claims).SignedString(key)
	return token
}

// active reports whether the token is its agent's active one. mu is held.
func (s *Server) active(clientID, token string) bool {
	a := s.agents[clientID]
	return a != nil && a.token == token && time.Now().Before(a.expiry)
}

// newer reports whether the server is of the newer generation. mu is held.
func (s *Server) newer() bool { return s.credential != "" }

// tenantField is the name of the tenant in answers, tokens and queries. mu is held.
func (s *Server) tenantField() string {
	if s.newer() {
		return "workspace_id"
	}
	return "tenant_id"
}
