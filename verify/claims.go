// Copyright 2026 The authsec Authors
// SPDX-License-Identifier: Apache-2.0

package verify

import (
	"bytes"
	"time"

	"github.com/authsec-go/authsec"
	"github.com/golang-jwt/jwt/v5"
)

const (
	maxDepth = 16 // of a token's JSON; AuthSec's has 2

	// lastDate is the end of the year 9999, the last that RFC 3339 can write, in
	// seconds since 1970. Far later ones overflow in arithmetic.
	lastDate = 253402300799
)

// typedClaims types claims that are not verified yet. One that is not of its
// type makes the token invalid: to read it as absent could mislead a handler.
func typedClaims(m jwt.MapClaims) (*authsec.Claims, error) {
	r := claimReader{claims: m}
	c := &authsec.Claims{
		RegisteredClaims: jwt.RegisteredClaims{
			Issuer:    r.text("iss"),
			Subject:   r.text("sub"),
			ID:        r.text("jti"),
			Audience:  r.audience(),
			ExpiresAt: r.date("exp"),
			NotBefore: r.date("nbf"),
			IssuedAt:  r.date("iat"),
		},
		TenantID:    r.text("tenant_id"),
		UserID:      r.text("user_id"),
		Email:       r.text("email"),
		AgentType:   r.text("agent_type"),
		ClientID:    r.text("client_id"),
		Permissions: r.list("permissions"),
	}
	if r.wrong != "" {
		return nil, invalid(jwt.ErrTokenInvalidClaims, r.wrong+" is not of its type")
	}
	if m["tenant_id"] != nil && issuer(c.TenantID) != c.Issuer {
		return nil, invalid(jwt.ErrTokenInvalidIssuer, "tenant_id is another's")
	}
	return c, nil
}

// issuer is the iss of a tenant's tokens.
func issuer(tenant string) string { return "spiffe://" + tenant }

// claimReader reads typed claims. One that is absent or null reads as zero; the
// last that has another type is wrong.
type claimReader struct {
	claims jwt.MapClaims
	wrong  string
}

func claim[T any](r *claimReader, name string) (v T) {
	v, ok := r.claims[name].(T)
	if !ok && r.claims[name] != nil {
		r.wrong = name
	}
	return v
}

func (r *claimReader) text(name string) string { return claim[string](r, name) }

func (r *claimReader) list(name string) []string {
	var list []string
	for _, v := range claim[[]any](r, name) {
		s, ok := v.(string)
		if !ok {
			r.wrong = name
		}
		list = append(list, s)
	}
	return list
}

// audience may be one string in place of a list (RFC 7519, section 4.1.3).
func (r *claimReader) audience() jwt.ClaimStrings {
	if one, ok := r.claims["aud"].(string); ok {
		return jwt.ClaimStrings{one}
	}
	return r.list("aud")
}

// date reads a NumericDate (RFC 7519, section 2), without its fraction.
func (r *claimReader) date(name string) *jwt.NumericDate {
	n := claim[float64](r, name)
	if n < 0 || n > lastDate {
		r.wrong = name
	}
	if r.wrong != "" || r.claims[name] == nil {
		return nil
	}
	return jwt.NewNumericDate(time.Unix(int64(n), 0))
}

// members counts the members of the JSON object that text is, and reports
// whether it nests no deeper than maxDepth. If it is no JSON at all, the count
// means nothing.
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

// inString returns where the JSON string ends that text begins in.
func inString(text []byte) int {
	for i := 0; ; {
		end := bytes.IndexByte(text[i:], '"')
		if end < 0 {
			return len(text)
		}
		escape := bytes.IndexByte(text[i:i+end], '\\')
		if escape < 0 {
			return i + end
		}
		if i += escape + 2; i > len(text) {
			return len(text)
		}
	}
}
