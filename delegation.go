// Copyright 2026 The authsec Authors
// SPDX-License-Identifier: Apache-2.0

package authsec

import (
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

// Delegation is what a token stands for: who may do what, until when. What the
// server's answer leaves out is taken from the token's claims. Times are on the
// server's clock. It is the caller's own copy.
//
// Printed or logged, it shows the client ID's first 8 characters only; its
// fields, and so its JSON, hold it in full.
//
// It is what the server said. Only with [Config.Keyfunc] has the token in it
// been verified; an API decides by the token, not by this.
type Delegation struct {
	SPIFFEID    string    // the agent's SPIFFE ID, spiffe://...
	Permissions []string  // resource:action; empty, not nil, if there are none
	Audience    []string  // the APIs it is meant for; empty, not nil, if there are none
	ClientID    string    // the agent's client ID
	TenantID    string    // the tenant's ID; the workspace's, on newer servers
	Status      string    // "active", or "" if the server did not say
	IssuedAt    time.Time // zero if not told
	UpdatedAt   time.Time // zero if not told
	ExpiresAt   time.Time // the earliest expiry that answer and token name; zero if they name only a time to live

	// Behind a func, where no way of formatting prints the token.
	claims func() (*Claims, error)
}

// HasPermission reports whether the permission is delegated, by its exact name.
func (d *Delegation) HasPermission(permission string) bool {
	return d != nil && slices.Contains(d.Permissions, permission)
}

// HasAnyPermission reports whether at least one of the permissions is delegated.
func (d *Delegation) HasAnyPermission(permissions ...string) bool {
	return slices.ContainsFunc(permissions, d.HasPermission)
}

// HasAllPermissions reports whether each of the permissions is delegated. So it
// is true for none.
func (d *Delegation) HasAllPermissions(permissions ...string) bool {
	for _, permission := range permissions {
		if !d.HasPermission(permission) {
			return false
		}
	}
	return true
}

// Claims returns the claims of the token (RFC 7519, section 4). It fails if the
// token is no JWT.
func (d *Delegation) Claims() (*Claims, error) {
	if d == nil || d.claims == nil {
		return nil, errors.New("authsec: no token to read claims from")
	}
	return d.claims()
}

// clone returns a copy that shares nothing with d that can be changed.
func (d *Delegation) clone() *Delegation {
	c := *d
	c.Permissions = slices.Clone(d.Permissions)
	c.Audience = slices.Clone(d.Audience)
	return &c
}

// String tells the delegation with the client ID shortened.
func (d Delegation) String() string {
	return fmt.Sprintf("authsec.Delegation{SPIFFEID:%s Permissions:%q Audience:%q ClientID:%s TenantID:%s Status:%s ExpiresAt:%s}",
		shorten(d.SPIFFEID, d.ClientID), d.Permissions, d.Audience, shortID(d.ClientID), d.TenantID, d.Status, d.ExpiresAt.Format(time.RFC3339))
}

// Format prints what String tells, for every verb.
func (d Delegation) Format(f fmt.State, _ rune) { fmt.Fprint(f, d.String()) }

// LogValue gives slog what String tells.
func (d Delegation) LogValue() slog.Value { return slog.StringValue(d.String()) }

// Claims are a delegation token's claims. They hold the client ID in full.
type Claims struct {
	jwt.RegisteredClaims          // iss, sub, aud, exp, nbf, iat, jti
	TenantID             string   `json:"tenant_id,omitempty"`
	UserID               string   `json:"user_id,omitempty"`
	Email                string   `json:"email,omitempty"`
	AgentType            string   `json:"agent_type,omitempty"`
	ClientID             string   `json:"client_id,omitempty"`
	Permissions          []string `json:"permissions,omitempty"`

	// Verified: the signature was verified by Config.Keyfunc. Where it is
	// false, anybody can have written these claims.
	Verified bool `json:"-"`
}

// parseClaims reads a JWT's claims without verifying it. An algorithm that is
// not known is no reason to know nothing of the token.
func parseClaims(token string) (*Claims, error) {
	m := jwt.MapClaims{}
	if _, _, err := jwt.NewParser().ParseUnverified(token, m); err != nil && !errors.Is(err, jwt.ErrTokenUnverifiable) {
		return nil, errors.New("authsec: the token is not a JWT that can be read")
	}
	return newClaims(m), nil
}

// newClaims types claims, each for itself: one that is not of its type reads as
// absent, and leaves the others what they are.
func newClaims(m jwt.MapClaims) *Claims {
	f := fieldReader{fields: m}
	c := &Claims{
		RegisteredClaims: jwt.RegisteredClaims{
			Issuer:  f.text("iss"),
			Subject: f.text("sub"),
			ID:      f.text("jti"),
		},
		TenantID:    f.text("tenant_id"),
		UserID:      f.text("user_id"),
		Email:       f.text("email"),
		AgentType:   f.text("agent_type"),
		ClientID:    f.text("client_id"),
		Permissions: f.list("permissions"),
	}
	c.Audience, _ = m.GetAudience()
	c.ExpiresAt, _ = m.GetExpirationTime()
	c.NotBefore, _ = m.GetNotBefore()
	c.IssuedAt, _ = m.GetIssuedAt()
	return c
}
