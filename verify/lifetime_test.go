// Copyright 2026 The authsec Authors
// SPDX-License-Identifier: Apache-2.0

package verify_test

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/authsec-go/authsec/verify"
	"github.com/golang-jwt/jwt/v5"
)

func TestMaxLifetime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newAuthority()
		limited := a.verifier(t, func(c *verify.Config) { c.MaxLifetime = time.Hour })
		second := a.verifier(t, func(c *verify.Config) { c.MaxLifetime = 1500 * time.Millisecond })
		unlimited := a.verifier(t)
		now := time.Now().Unix()
		for _, tc := range []struct {
			name   string
			v      *verify.Verifier
			claims object
			want   error
		}{
			{"an hour", limited, object{"iat": now, "exp": now + 3600}, nil},
			{"a second more", limited, object{"iat": now, "exp": now + 3601}, jwt.ErrTokenInvalidClaims},
			{"a fraction more", limited, object{"iat": now, "exp": float64(now) + 3600.5}, jwt.ErrTokenInvalidClaims},
			{"an hour of fractions", limited, object{"iat": float64(now) - 0.5, "exp": float64(now) + 3599.5}, nil},
			{"prolonged to 24 h", limited, object{"iat": now - 1, "exp": now - 1 + 86399}, jwt.ErrTokenInvalidClaims},
			{"prolonged long ago", limited, object{"iat": now - 86390, "exp": now + 9}, jwt.ErrTokenInvalidClaims},
			{"iat of the future, within the leeway", limited, object{"iat": now + 5, "exp": now + 3606}, jwt.ErrTokenInvalidClaims},
			{"a late nbf is no iat", limited, object{"iat": now - 3600, "nbf": now, "exp": now + 60}, jwt.ErrTokenInvalidClaims},
			{"no iat", limited, object{"iat": nil, "exp": now + 60}, jwt.ErrTokenRequiredClaimMissing},
			{"iat of 0", limited, object{"iat": 0, "exp": now + 60}, jwt.ErrTokenInvalidClaims},
			{"1 s", second, object{"iat": now, "exp": now + 1}, nil},
			{"2 s", second, object{"iat": now, "exp": now + 2}, jwt.ErrTokenInvalidClaims},
			{"24 h, no limit", unlimited, object{"iat": now, "exp": now + 86400}, nil},
			{"no iat, no limit", unlimited, object{"iat": nil}, nil},
		} {
			want := tc.want
			if want != nil {
				check(t, tc.name, tc.v, token(tc.claims), verify.ErrInvalidToken)
			}
			check(t, tc.name, tc.v, token(tc.claims), want)
		}
		checkFetches(t, "three Verifiers", a, 3)
	})
}
