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

	Values map[string]any // every field; lists are never null
	Claims jwt.MapClaims  // the token's, not verified; nil if it is no JWT
}

// ParseTokenResponse reads the body of a 200. A field that matters and has
// another type is an error; one that only informs reads as absent.
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
		t.ExpiresAt = time.Unix(0, 0) // the year 1, as Go writes a time that was not set, is past
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

// ParseClaims reads a JWT's claims without verifying it (RFC 7519). An unknown
// algorithm is no reason to know nothing of the token.
func ParseClaims(token string) (jwt.MapClaims, error) {
	m := jwt.MapClaims{}
	if _, _, err := jwt.NewParser().ParseUnverified(token, m); err != nil && !errors.Is(err, jwt.ErrTokenUnverifiable) {
		return nil, errors.New("the token is not a JWT that can be read")
	}
	return m, nil
}
