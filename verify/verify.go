// Copyright 2026 The authsec Authors
// SPDX-License-Identifier: Apache-2.0

package verify

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"time"

	"github.com/authsec-go/authsec"
	"github.com/golang-jwt/jwt/v5"
)

// Test for these with [errors.Is].
var (
	// ErrInvalidToken means that the token is not good. Except for a revoked token, the
	// error is also one of jwt's, such as [jwt.ErrTokenExpired]. Its text quotes nothing
	// of the token. It is for the service's own log. Do not return it to the caller: it
	// would help an attacker.
	ErrInvalidToken = errors.New("verify: invalid token")

	// ErrUnavailable means that there are no keys to verify the token with, or that
	// the server can't be asked whether it was revoked. The token may be good.
	ErrUnavailable = errors.New("verify: keys unavailable")
)

const maxToken = 16 << 10 // bytes; servers commonly reject longer headers

// Verifier verifies tokens. Make one with [New]. It is safe for concurrent use, and
// there is nothing to close.
type Verifier struct {
	keys        *keyring
	parser      *jwt.Parser
	validator   *jwt.Validator
	maxLifetime time.Duration // 0: no limit
	revocations *revocations  // nil: not checked
	seen        *seen         // nil: none are kept
	metadata    string        // Config.ResourceMetadata
	log         *slog.Logger  // nil: silent
	shown       string        // what may be shown of its Config
}

// New returns a Verifier for cfg. It makes no request yet. Its error joins all
// faults of cfg.
func New(cfg Config) (*Verifier, error) {
	cfg, base, err := cfg.validate()
	if err := errors.Join(err, cfg.checkAudience()); err != nil {
		return nil, err
	}
	server := newRemote(cfg, base)
	revocations, err := newRevocations(cfg, server)
	if err != nil {
		return nil, err
	}
	seen, err := newSeen(cfg.CacheSize)
	if err != nil {
		return nil, err
	}
	return &Verifier{
		keys:   newKeyring(cfg, server),
		parser: jwt.NewParser(jwt.WithStrictDecoding()),
		validator: jwt.NewValidator(jwt.WithExpirationRequired(), jwt.WithIssuedAt(),
			jwt.WithLeeway(cfg.Leeway), jwt.WithAudience(cfg.Audience)),
		maxLifetime: cfg.MaxLifetime,
		revocations: revocations,
		seen:        seen,
		metadata:    cfg.ResourceMetadata,
		log:         cfg.Logger,
		shown:       cfg.String(),
	}, nil
}

// Keyfunc returns an [authsec.Config.Keyfunc]. It verifies a client's own tokens
// with the keys of these tenants on the client's server:
//
//	cfg.Keyfunc, err = verify.Keyfunc(cfg, "11111111-2222-3333-4444-555555555555")
//
// It uses cfg's BaseURL, HTTPClient, AllowHTTP and Logger, and accepts RS256. The
// client checks times and audience itself.
func Keyfunc(cfg authsec.Config, tenants ...string) (jwt.Keyfunc, error) {
	c, base, err := Config{
		BaseURL: cfg.BaseURL, Tenants: tenants, HTTPClient: cfg.HTTPClient, AllowHTTP: cfg.AllowHTTP, Logger: cfg.Logger,
	}.validate()
	if err != nil {
		return nil, err
	}
	keys := newKeyring(c, newRemote(c, base))
	return func(token *jwt.Token) (any, error) {
		by, err := keys.find(context.Background(), token)
		return by.key, err
	}, nil
}

// Verify verifies a token, the text after "Bearer ". If the token is good, it
// returns a copy of the claims, with Verified set. Otherwise its error is an
// ErrInvalidToken or an ErrUnavailable. It may wait for the tenant's keys, and for
// the first check whether the token was revoked, until ctx ends.
func (v *Verifier) Verify(ctx context.Context, token string) (*authsec.Claims, error) {
	if v == nil || v.keys == nil {
		return nil, fmt.Errorf("%w: a Verifier is made by New", ErrUnavailable)
	}
	t := v.seen.get(ctx, token)
	fresh := t == nil
	var parsed *jwt.Token
	if fresh {
		var err error
		if parsed, t, err = v.read(token); err != nil {
			return nil, err
		}
	}
	// The claims are checked first, so that a token with bad claims costs neither a
	// signature check nor a fetch.
	if err := v.validator.Validate(t.claims); err != nil {
		v.seen.drop(token)
		return nil, fmt.Errorf("%w: %w", ErrInvalidToken, err)
	}
	if err := checkLifetime(t.decoded, v.maxLifetime); err != nil {
		return nil, err
	}
	if fresh {
		var err error
		if t.by, err = v.keys.find(ctx, parsed); err != nil {
			return nil, err
		}
	}
	if err := v.revocations.check(ctx, token, t); err != nil {
		return nil, err
	}
	if fresh {
		v.seen.add(token, t)
	}
	return t.own(), nil
}

// read reads a token that is not verified yet.
func (v *Verifier) read(token string) (*jwt.Token, *verified, error) {
	parsed, m, err := v.parse(token)
	if err != nil {
		return nil, nil, err
	}
	claims, err := typedClaims(m)
	if err != nil {
		return nil, nil, err
	}
	claims.Verified = true // no caller sees them before they are verified
	return parsed, &verified{claims: claims, decoded: m}, nil
}

// parse parses a token without verifying it. Its errors quote nothing of the token;
// jwt's own might.
func (v *Verifier) parse(token string) (*jwt.Token, jwt.MapClaims, error) {
	malformed := func(what string) (*jwt.Token, jwt.MapClaims, error) {
		return nil, nil, invalid(jwt.ErrTokenMalformed, what)
	}
	if len(token) > maxToken {
		return malformed("too long")
	}
	if strings.ContainsAny(token, "\r\n") { // base64 decoders skip them
		return malformed("white space")
	}
	header, rest, _ := strings.Cut(token, ".")
	payload, _, _ := strings.Cut(rest, ".")
	inHeader, flatHeader := v.members(header)
	inPayload, flatPayload := v.members(payload)
	if !flatHeader || !flatPayload {
		return malformed("nested too deep")
	}
	m := jwt.MapClaims{}
	parsed, _, err := v.parser.ParseUnverified(token, m)
	switch {
	case errors.Is(err, jwt.ErrTokenUnverifiable):
		return nil, nil, invalid(jwt.ErrTokenUnverifiable, "no known alg")
	case err != nil:
		return malformed("no JWT")
	case len(parsed.Header) != inHeader || len(m) != inPayload:
		return malformed("a name occurs twice")
	}
	return parsed, m, nil
}

// members calls members for a part of a token. If the part is not base64url, the
// parser reports that.
func (v *Verifier) members(part string) (n int, flat bool) {
	text, _ := v.parser.DecodeSegment(part)
	return members(text)
}

// checkHeader rejects headers that ask for something that Verify does not do.
func checkHeader(header map[string]any) error {
	if _, ok := header["crit"]; ok { // RFC 7515, section 4.1.11
		return invalid(jwt.ErrTokenUnverifiable, "it has a crit header")
	}
	if b64, ok := header["b64"]; ok && b64 != true { // RFC 7797, section 7
		return invalid(jwt.ErrTokenUnverifiable, "its payload is not encoded")
	}
	if kid, ok := header["kid"]; ok {
		if _, ok := kid.(string); !ok {
			return invalid(jwt.ErrTokenUnverifiable, "its kid is no string")
		}
	}
	if typ, ok := header["typ"]; ok {
		s, _ := typ.(string)
		if !strings.EqualFold(s, "JWT") && !strings.EqualFold(s, "application/jwt") { // RFC 7519, section 5.1
			return invalid(jwt.ErrTokenUnverifiable, "it has another typ than JWT")
		}
	}
	return nil
}

// invalid is ErrInvalidToken because of one of jwt's errors.
func invalid(cause error, what string) error {
	return fmt.Errorf("%w: %w: %s", ErrInvalidToken, cause, what)
}

// Format prints String for every verb.
func (v *Verifier) Format(f fmt.State, _ rune) { fmt.Fprint(f, v.String()) }

// String returns the Verifier's config without secrets.
func (v *Verifier) String() string {
	if v == nil {
		return "verify.Verifier{}"
	}
	return "verify.Verifier{" + v.shown + "}"
}

// LogValue returns String for slog.
func (v *Verifier) LogValue() slog.Value { return slog.StringValue(v.String()) }
