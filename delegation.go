// Copyright 2026 The authsec Authors
// SPDX-License-Identifier: Apache-2.0

package authsec

import (
	"cmp"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"time"

	"github.com/authsec-go/authsec/internal/redact"
	"github.com/authsec-go/authsec/internal/wire"
	"github.com/golang-jwt/jwt/v5"
)

// Delegation says who may do what, and until when. It has the fields of the token
// response. Fields that the response leaves out come from the token's claims. Times
// are on the server's clock. A Delegation is the caller's own copy.
//
// The token is verified only with [Config.Keyfunc]. An API decides by the token
// itself.
//
// Printed and logged, a Delegation shows only the first 8 characters of the client
// ID. Its field ClientID and its JSON have the whole client ID.
type Delegation struct {
	SPIFFEID    string    // the agent's SPIFFE ID, spiffe://...
	Permissions []string  // resource:action; empty, not nil, if there are none
	Audience    []string  // the APIs that the token is for; empty, not nil, if there are none
	ClientID    string    // the agent's client ID
	TenantID    string    // the tenant's ID; on newer servers the workspace's
	Status      string    // "active"; "" if the server did not say
	IssuedAt    time.Time // the token's iat claim; UpdatedAt if it has none
	UpdatedAt   time.Time // when the delegation was made or changed; zero if unknown
	ExpiresAt   time.Time // the earlier of the response's expiry and the token's; zero if there is only a lifetime

	token    func() string // a func, so that printing does not show the token; nil: no token
	verified bool
}

// HasPermission reports whether the permission is delegated. Names must be equal:
// there are no wildcards.
func (d *Delegation) HasPermission(permission string) bool {
	return d != nil && slices.Contains(d.Permissions, permission)
}

// HasAnyPermission reports whether at least one of the permissions is delegated. For
// no permissions it returns false.
func (d *Delegation) HasAnyPermission(permissions ...string) bool {
	return slices.ContainsFunc(permissions, d.HasPermission)
}

// HasAllPermissions reports whether all of the permissions are delegated. For no
// permissions it returns true.
func (d *Delegation) HasAllPermissions(permissions ...string) bool {
	return !slices.ContainsFunc(permissions, func(p string) bool { return !d.HasPermission(p) })
}

// Claims returns the claims of the token (RFC 7519, section 4). It fails if the
// token is not a JWT.
func (d *Delegation) Claims() (*Claims, error) {
	if d == nil || d.token == nil {
		return nil, errors.New("authsec: no token to read claims from")
	}
	m, err := wire.ParseClaims(d.token())
	if err != nil {
		return nil, fmt.Errorf("authsec: %w", err)
	}
	c := newClaims(m)
	c.Verified, c.agent = d.verified, d.ClientID
	return c, nil
}

// newDelegation returns the Delegation of a token response. Its token has these claims
// and expires at expiry.
func newDelegation(r *wire.TokenResponse, c *Claims, clientID string, expiry time.Time, verified bool) *Delegation {
	token := r.Token // so that the Delegation does not keep all of r
	d := &Delegation{
		SPIFFEID:    r.SPIFFEID,
		Permissions: append([]string{}, r.Permissions...),
		Audience:    append([]string{}, r.Audience...),
		ClientID:    cmp.Or(r.ClientID, c.ClientID, clientID),
		TenantID:    cmp.Or(r.TenantID, c.TenantID),
		Status:      r.Status,
		IssuedAt:    r.UpdatedAt, // the response's issued_at is when the agent was first delegated to
		UpdatedAt:   r.UpdatedAt,
		ExpiresAt:   expiry,
		token:       func() string { return token },
		verified:    verified,
	}
	if c.IssuedAt != nil {
		d.IssuedAt = c.IssuedAt.Time
	}
	if d.SPIFFEID == "" && strings.HasPrefix(c.Subject, "spiffe://") {
		d.SPIFFEID = c.Subject
	}
	if r.Permissions == nil {
		d.Permissions = append(d.Permissions, c.Permissions...)
	}
	if r.Audience == nil {
		d.Audience = append(d.Audience, c.Audience...)
	}
	return d
}

// clone returns a copy whose lists are its own.
func (d *Delegation) clone() *Delegation {
	c := *d
	c.Permissions = slices.Clone(d.Permissions)
	c.Audience = slices.Clone(d.Audience)
	return &c
}

// String returns the delegation without secrets.
func (d Delegation) String() string {
	secret := ""
	if d.token != nil {
		secret = d.token()
	}
	show := shower(d.ClientID, secret)
	return fmt.Sprintf("authsec.Delegation{SPIFFEID:%s Permissions:%s Audience:%s ClientID:%s TenantID:%s Status:%s ExpiresAt:%s}",
		show(d.SPIFFEID), show(d.Permissions...), show(d.Audience...), redact.ShortID(d.ClientID), show(d.TenantID), show(d.Status), d.ExpiresAt.Format(time.RFC3339))
}

// Format prints String for every verb.
func (d Delegation) Format(f fmt.State, _ rune) { fmt.Fprint(f, d.String()) }

// LogValue returns String for slog.
func (d Delegation) LogValue() slog.Value { return slog.StringValue(d.String()) }

// Claims are a delegation token's claims (RFC 7519, section 4, and AuthSec's own).
//
// Printed and logged, Claims show only the first 8 characters of the client ID, and
// no user ID or email. Their fields and their JSON have these in full.
type Claims struct {
	jwt.RegisteredClaims          // iss, sub, aud, exp, nbf, iat, jti
	TenantID             string   `json:"tenant_id,omitempty"` // workspace_id if the token has no tenant_id
	UserID               string   `json:"user_id,omitempty"`
	Email                string   `json:"email,omitempty"`
	AgentType            string   `json:"agent_type,omitempty"`
	ClientID             string   `json:"client_id,omitempty"`
	Permissions          []string `json:"permissions,omitempty"`

	// Verified is true if [Config.Keyfunc] verified the signature. If it is false,
	// anybody may have written these claims.
	Verified bool `json:"-"`

	agent string // the client ID; String shortens it, even if no claim has it
}

// newClaims reads claims. It ignores a claim of a wrong type.
func newClaims(m jwt.MapClaims) *Claims {
	f := wire.Fields{Values: m}
	c := &Claims{
		RegisteredClaims: jwt.RegisteredClaims{
			Issuer:  f.Text("iss"),
			Subject: f.Text("sub"),
			ID:      f.Text("jti"),
		},
		TenantID:    cmp.Or(f.Text("tenant_id"), f.Text("workspace_id")),
		UserID:      f.Text("user_id"),
		Email:       f.Text("email"),
		AgentType:   f.Text("agent_type"),
		ClientID:    f.Text("client_id"),
		Permissions: f.List("permissions"),
	}
	c.Audience, _ = m.GetAudience()
	c.ExpiresAt, _ = m.GetExpirationTime()
	c.NotBefore, _ = m.GetNotBefore()
	c.IssuedAt, _ = m.GetIssuedAt()
	return c
}

// String returns the claims without secrets.
func (c Claims) String() string {
	show := shower(cmp.Or(c.ClientID, c.agent))
	expiry := ""
	if c.ExpiresAt != nil {
		expiry = c.ExpiresAt.Format(time.RFC3339)
	}
	return fmt.Sprintf("authsec.Claims{Issuer:%s Subject:%s Audience:%s ClientID:%s TenantID:%s AgentType:%s Permissions:%s ExpiresAt:%s Verified:%t}",
		show(c.Issuer), show(c.Subject), show(c.Audience...), redact.ShortID(c.ClientID), show(c.TenantID), show(c.AgentType), show(c.Permissions...), expiry, c.Verified)
}

// Format prints String for every verb.
func (c Claims) Format(f fmt.State, _ rune) { fmt.Fprint(f, c.String()) }

// LogValue returns String for slog.
func (c Claims) LogValue() slog.Value { return slog.StringValue(c.String()) }
