// Copyright 2026 The authsec Authors
// SPDX-License-Identifier: Apache-2.0

package wire

import (
	"cmp"
	"errors"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

// TokenResponse is the body of a 200.
type TokenResponse struct {
	Token       string
	ClientID    string // "" if not named
	SPIFFEID    string
	TenantID    string // the workspace's, on newer servers
	Status      string
	Permissions []string // nil if not named
	Audience    []string // nil if not named
	UpdatedAt   time.Time
	ExpiresAt   time.Time     // zero if not named
	TTL         time.Duration // 0 if not named

	Values map[string]any // every field; permissions and audience are never null
	Claims jwt.MapClaims  // the token's claims, not verified; nil if it is not a JWT
}

// ParseTokenResponse reads the body of a 200. A field of another type is an error. But
// spiffe_id, tenant_id, workspace_id and updated_at of another type read as absent.
func (r *Reply) ParseTokenResponse() (*TokenResponse, error) {
	f, err := r.object()
	if err != nil {
		return nil, err
	}
	lenient := Fields{Values: f.Values}
	t := &TokenResponse{
		Token:       f.Text("token"),
		ClientID:    f.Text("client_id"),
		SPIFFEID:    lenient.Text("spiffe_id"),
		TenantID:    cmp.Or(lenient.Text("tenant_id"), lenient.Text("workspace_id")),
		Status:      f.Text("status"),
		Permissions: f.List("permissions"),
		Audience:    f.List("audience"),
		UpdatedAt:   lenient.Time("updated_at"),
		ExpiresAt:   f.Time("expires_at"),
		TTL:         f.Seconds("ttl_seconds"),
		Values:      f.Values,
	}
	if t.ExpiresAt.IsZero() && f.Text("expires_at") != "" {
		t.ExpiresAt = time.Unix(0, 0) // the year 1, which a Go server sends for a zero time, is past
	}
	if f.Fault != "" {
		return nil, errors.New("its " + f.Fault)
	}
	for _, name := range []string{"permissions", "audience"} {
		if v, ok := f.Values[name]; ok && v == nil {
			f.Values[name] = []any{}
		}
	}
	t.Claims, _ = ParseClaims(t.Token)
	return t, nil
}

// ParseClaims reads the claims of a JWT (RFC 7519) without verifying it. The algorithm
// may be unknown.
func ParseClaims(token string) (jwt.MapClaims, error) {
	m := jwt.MapClaims{}
	if _, _, err := jwt.NewParser().ParseUnverified(token, m); err != nil && !errors.Is(err, jwt.ErrTokenUnverifiable) {
		return nil, errors.New("the token is not a JWT that can be read")
	}
	return m, nil
}
