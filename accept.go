// Copyright 2026 The authsec Authors
// SPDX-License-Identifier: Apache-2.0

package authsec

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/authsec-go/authsec/internal/lifecycle"
	"github.com/authsec-go/authsec/internal/redact"
	"github.com/authsec-go/authsec/internal/wire"
	"github.com/golang-jwt/jwt/v5"
	"golang.org/x/oauth2"
)

const (
	maxToken  = 16 << 10 // bytes; servers commonly reject longer headers
	nbfLeeway = 5 * time.Second

	// justExpired separates an expired delegation from an invalid response. The server
	// returns a token for up to 1 s after its expiry, and its Date has whole seconds.
	justExpired = 2 * time.Second
)

// asymmetric are the signature algorithms whose verification key can't sign (RFC
// 7518, section 3.1; RFC 8037).
var asymmetric = []string{"RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA"}

// grant is a token response that was accepted. It is immutable.
type grant struct {
	token      *oauth2.Token // each caller gets a copy
	bearer     *string       // the Authorization header's value, which contains the token's text; a pointer, so that printing shows an address
	delegation *Delegation
	received   time.Time     // with its monotonic reading
	life       time.Duration // from received on
	notAfter   time.Time     // its expiry on the server's clock; zero: the server named only a lifetime
	asked      time.Time     // when the request was sent, on the server's clock
	shared     bool          // it is from the cache
}

func (g *grant) id() lifecycle.ID { return lifecycle.NewID(g.token.AccessToken) }

// acceptance is what a token response must satisfy.
type acceptance struct {
	clientID string
	audience string      // "": not checked
	keyfunc  jwt.Keyfunc // nil: signatures are not verified
}

// accept checks a 200. Its error has no secrets, and its text follows "can't be used: ".
// If the token has expired, accept returns the grant and an errExpired.
func (a acceptance) accept(r *wire.Reply, secrets ...string) (*grant, error) {
	t, err := r.ParseTokenResponse()
	if err != nil {
		return nil, fmt.Errorf("%w; check the base URL", err)
	}
	show := shower(a.clientID, append(secrets, t.Token)...)
	switch {
	case t.Token == "":
		return nil, errors.New("it has no token")
	case len(t.Token) > maxToken:
		return nil, fmt.Errorf("its token is longer than %d bytes", maxToken)
	case !wire.IsToken(t.Token):
		return nil, errors.New("its token has characters that no bearer token has (RFC 6750, section 2.1)")
	case t.Status != "" && t.Status != "active":
		return nil, fmt.Errorf("its status is %q, not active", redact.Cut(show(t.Status), 40))
	}
	claims, err := a.claims(t, r.Now())
	if err != nil {
		return nil, errors.New(show(err.Error()))
	}
	for _, other := range []string{t.ClientID, claims.ClientID} {
		if other != "" && wire.CanonicalID(other) != a.clientID && !strings.EqualFold(other, a.clientID) {
			return nil, fmt.Errorf("it is for another agent, %s (is there a cache in between that ignores queries?)", redact.ShortID(show(other)))
		}
	}

	g := &grant{received: r.Received, notAfter: t.ExpiresAt, asked: r.Asked()}
	if exp := claims.ExpiresAt; exp != nil && (g.notAfter.IsZero() || exp.Before(g.notAfter)) {
		g.notAfter = exp.Time // in whole seconds, so up to 1 s before expires_at
	}
	switch {
	case !g.notAfter.IsZero():
		g.life = g.notAfter.Sub(r.Now())
	case t.TTL > 0:
		g.life = t.TTL - r.Age - r.Received.Sub(r.Sent)
	default:
		return nil, errors.New("neither it nor its token names an expiry")
	}
	g.life = min(g.life, wire.MaxTTL)
	bearer := "Bearer " + t.Token // one text for the header, the token and its Extra
	t.Token = bearer[len("Bearer "):]
	g.bearer = &bearer
	t.Values["token"] = t.Token
	g.token = (&oauth2.Token{AccessToken: t.Token, TokenType: "Bearer"}).WithExtra(t.Values)
	g.delegation = newDelegation(t, claims, a.clientID, g.notAfter, a.keyfunc != nil)
	if g.life <= 0 {
		return g, errExpired{g.life}
	}
	return g, nil
}

// errExpired says that a token has expired.
type errExpired struct{ life time.Duration } // 0 or negative

func (e errExpired) Error() string {
	return fmt.Sprintf("its token expired %v ago, by the server's clock", -max(e.life, -wire.MaxTTL).Round(time.Second))
}

// claims returns the claims of a token, verified if there is a Keyfunc, and
// checks the audience.
func (a acceptance) claims(t *wire.TokenResponse, now time.Time) (*Claims, error) {
	if a.keyfunc != nil {
		return a.verify(t.Token, now)
	}
	if t.Claims == nil { // an opaque token
		if a.audience != "" {
			return nil, fmt.Errorf("its token is not a JWT, so it can't name the audience %q", a.audience)
		}
		return new(Claims), nil
	}
	claims := newClaims(t.Claims)
	if a.audience != "" && !slices.Contains(claims.Audience, a.audience) {
		return nil, fmt.Errorf("its token is not for the audience %q", a.audience)
	}
	return claims, nil
}

// verify checks a token's signature, times and audience. now is on the server's clock.
func (a acceptance) verify(token string, now time.Time) (*Claims, error) {
	options := []jwt.ParserOption{
		jwt.WithValidMethods(asymmetric),
		jwt.WithExpirationRequired(),
		jwt.WithLeeway(nbfLeeway),
		jwt.WithTimeFunc(func() time.Time { return now }),
	}
	if a.audience != "" {
		options = append(options, jwt.WithAudience(a.audience))
	}
	m := jwt.MapClaims{}
	if _, err := jwt.ParseWithClaims(token, m, a.keyfunc, options...); err != nil {
		return nil, errors.New("its token does not verify: " + redact.Error(err))
	}
	return newClaims(m), nil
}
