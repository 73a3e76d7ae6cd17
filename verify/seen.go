// Copyright 2026 The authsec Authors
// SPDX-License-Identifier: Apache-2.0

package verify

import (
	"context"
	"slices"
	"strings"

	"github.com/authsec-go/authsec"
	"github.com/golang-jwt/jwt/v5"
	lru "github.com/hashicorp/golang-lru/v2"
)

const defaultCacheSize = 4096 // tokens

// seen keeps tokens whose signatures were verified, and that were good then. A nil seen
// keeps none.
type seen struct {
	tokens *lru.Cache[string, *verified]
}

// newSeen returns nil if size is negative.
func newSeen(size int) (*seen, error) {
	if size < 0 {
		return nil, nil
	}
	tokens, err := lru.New[string, *verified](size)
	if err != nil {
		return nil, err
	}
	return &seen{tokens}, nil
}

// verified is what a token with a good signature says. It is immutable.
type verified struct {
	claims  *authsec.Claims
	decoded jwt.MapClaims
	by      found // the key
}

// get returns what is known of a token; nil: its signature must be verified, because
// the token is new, or because its tenant's keys have changed. The keys are known, so
// get never waits.
func (s *seen) get(ctx context.Context, token string) *verified {
	if s == nil {
		return nil
	}
	t, ok := s.tokens.Get(token)
	if !ok {
		return nil
	}
	if k, err := t.by.set.get(ctx); err != nil || k.source != t.by.in.source {
		s.drop(token)
		return nil
	}
	return t
}

// drop removes a token that is no longer good, so that it takes no other token's place.
func (s *seen) drop(token string) {
	if s != nil {
		s.tokens.Remove(token)
	}
}

// add keeps a good token. The text is copied: it may be a part of a longer one.
func (s *seen) add(token string, t *verified) {
	if s != nil {
		s.tokens.Add(strings.Clone(token), t)
	}
}

// own returns a copy of the claims for one caller.
func (t *verified) own() *authsec.Claims {
	c := &struct { // in one allocation
		claims        authsec.Claims
		exp, nbf, iat jwt.NumericDate
	}{claims: *t.claims}
	lists := slices.Concat(t.claims.Audience, t.claims.Permissions) // in another
	n := len(t.claims.Audience)
	c.claims.Audience = lists[:n:n]
	if t.claims.Permissions != nil {
		c.claims.Permissions = lists[n:]
	}
	for _, date := range []struct {
		field **jwt.NumericDate
		own   *jwt.NumericDate
	}{{&c.claims.ExpiresAt, &c.exp}, {&c.claims.NotBefore, &c.nbf}, {&c.claims.IssuedAt, &c.iat}} {
		if *date.field != nil {
			*date.own = **date.field
			*date.field = date.own
		}
	}
	return &c.claims
}
