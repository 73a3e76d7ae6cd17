// Copyright 2026 The authsec Authors
// SPDX-License-Identifier: Apache-2.0

package verify_test

import (
	"net/http"
	"net/http/httptest"
	"slices"
	"testing"
	"time"

	"github.com/authsec-go/authsec"
	"github.com/golang-jwt/jwt/v5"
)

// BenchmarkVerify measures a good token, and golang-jwt with the key in hand, which
// checks the same algorithm, audience and times.
func BenchmarkVerify(b *testing.B) {
	v := newAuthority().verifier(b)
	token := token()
	parse := func() error {
		_, err := jwt.ParseWithClaims(token, new(authsec.Claims), func(*jwt.Token) (any, error) { return &key().PublicKey, nil },
			jwt.WithValidMethods([]string{"RS256"}), jwt.WithAudience(audience), jwt.WithIssuer("spiffe://"+tenant),
			jwt.WithExpirationRequired(), jwt.WithIssuedAt(), jwt.WithLeeway(leeway))
		return err
	}
	verify := func() error { _, err := v.Verify(b.Context(), token); return err }
	for _, c := range []struct {
		name string
		op   func() error
	}{{"golang-jwt", parse}, {"verify", verify}} {
		b.Run(c.name, func(b *testing.B) {
			if err := c.op(); err != nil {
				b.Fatal(err)
			}
			b.ReportAllocs()
			for b.Loop() {
				if err := c.op(); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
	// One after the other, so that other load on the machine affects both.
	b.Run("ratio", func(b *testing.B) {
		var of [2][]time.Duration
		for b.Loop() {
			for i, op := range []func() error{parse, verify} {
				start := time.Now()
				if err := op(); err != nil {
					b.Fatal(err)
				}
				of[i] = append(of[i], time.Since(start))
			}
		}
		slices.Sort(of[0])
		slices.Sort(of[1])
		b.ReportMetric(float64(of[1][b.N/2])/float64(of[0][b.N/2]), "verify/golang-jwt")
	})
}

// BenchmarkHandler is a whole request, with a permission required.
func BenchmarkHandler(b *testing.B) {
	h := protected(newAuthority().verifier(b))
	w := httptest.NewRecorder()
	r := httptest.NewRequest(http.MethodGet, "/", nil)
	r.Header.Set("Authorization", "Bearer "+token())
	b.ReportAllocs()
	for b.Loop() {
		h.ServeHTTP(w, r)
	}
	if w.Code != http.StatusOK {
		b.Errorf("answer = %d, want 200", w.Code)
	}
}
