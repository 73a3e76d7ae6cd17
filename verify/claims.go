// Copyright 2026 The authsec Authors
// SPDX-License-Identifier: Apache-2.0

package verify

import (
	"strings"
	"time"

	"github.com/authsec-go/authsec"
	"github.com/authsec-go/authsec/internal/wire"
	"github.com/golang-jwt/jwt/v5"
)

const (
	maxDepth = 16 // of a token's JSON; AuthSec's has 2

	// lastDate is the end of the year 9999 in seconds since 1970: the last date that RFC
	// 3339 can write. Much later dates overflow in arithmetic.
	lastDate = 253402300799
)

// typedClaims reads claims that are not verified yet. A claim of another type makes
// the token invalid: to a handler, it would look absent.
func typedClaims(m jwt.MapClaims) (*authsec.Claims, error) {
	r := claimReader{wire.Fields{Values: m}}
	c := &authsec.Claims{
		RegisteredClaims: jwt.RegisteredClaims{
			Issuer:    r.Text("iss"),
			Subject:   r.Text("sub"),
			ID:        r.Text("jti"),
			Audience:  r.audience(),
			ExpiresAt: r.date("exp"),
			NotBefore: r.date("nbf"),
			IssuedAt:  r.date("iat"),
		},
		UserID:      r.Text("user_id"),
		Email:       r.Text("email"),
		AgentType:   r.Text("agent_type"),
		ClientID:    r.Text("client_id"),
		Permissions: r.List("permissions"),
	}
	c.Issuer = canonicalIssuer(c.Issuer)
	for _, name := range []string{"tenant_id", "workspace_id"} { // newer servers call a tenant a workspace
		if id := r.Text(name); m[name] != nil {
			c.TenantID = canonicalID(id)
			if r.Fault == "" && issuer(c.TenantID) != c.Issuer {
				return nil, invalid(jwt.ErrTokenInvalidIssuer, name+" is another's")
			}
		}
	}
	if r.Fault != "" {
		return nil, invalid(jwt.ErrTokenInvalidClaims, r.Fault)
	}
	return c, nil
}

// checkLifetime rejects claims whose exp is more than limit after iat. 0: no limit.
func checkLifetime(m jwt.MapClaims, limit time.Duration) error {
	f := wire.Fields{Values: m}
	switch {
	case limit == 0:
		return nil
	case m["iat"] == nil:
		return invalid(jwt.ErrTokenRequiredClaimMissing, "iat, which Config.MaxLifetime needs")
	case f.Number("exp")-f.Number("iat") > limit.Seconds():
		return invalid(jwt.ErrTokenInvalidClaims, "exp is more than Config.MaxLifetime after iat")
	}
	return nil
}

const scheme = "spiffe://"

// issuer is the iss in a tenant's tokens.
func issuer(tenant string) string { return scheme + tenant }

// canonicalIssuer is an iss with its tenant's ID as canonicalID writes it.
func canonicalIssuer(iss string) string {
	id, ok := strings.CutPrefix(iss, scheme)
	if canonical := canonicalID(id); ok && canonical != id {
		return issuer(canonical)
	}
	return iss
}

// canonicalID is a tenant's ID in a token as the server writes it: a UUID in lower
// case. Other spellings of a UUID than the one with hyphens are other IDs.
func canonicalID(id string) string {
	if lower := strings.ToLower(id); lower != id && wire.CanonicalID(id) == lower {
		return lower
	}
	return id
}

// claimReader reads typed claims.
type claimReader struct{ wire.Fields }

// audience may be one string in place of a list (RFC 7519, section 4.1.3).
func (r *claimReader) audience() jwt.ClaimStrings {
	if one, ok := r.Values["aud"].(string); ok {
		return jwt.ClaimStrings{one}
	}
	return r.List("aud")
}

// date reads a NumericDate (RFC 7519, section 2), without its fraction.
func (r *claimReader) date(name string) *jwt.NumericDate {
	n := r.Number(name)
	if n < 0 || n > lastDate {
		r.Fault = name + " is not a date"
	}
	if r.Fault != "" || r.Values[name] == nil {
		return nil
	}
	return jwt.NewNumericDate(time.Unix(int64(n), 0))
}

// members counts the members of the JSON object in text, and reports whether it
// nests no deeper than maxDepth. If text is not JSON, the count has no meaning.
func members(text []byte) (n int, flat bool) {
	depth := 0
	for i := 0; i < len(text); i++ {
		switch text[i] {
		case '"':
			i += inString(text[i+1:]) + 1
		case '{', '[':
			if depth++; depth > maxDepth {
				return 0, false
			}
		case '}', ']':
			depth--
		case ':':
			if depth == 1 {
				n++
			}
		}
	}
	return n, true
}

// inString returns the end of the JSON string in which text begins.
func inString(text []byte) int {
	for i := 0; i < len(text); i++ {
		switch text[i] {
		case '\\':
			i++
		case '"':
			return i
		}
	}
	return len(text)
}
