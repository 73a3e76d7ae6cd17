// Copyright 2026 The authsec Authors
// SPDX-License-Identifier: Apache-2.0

package itest

import (
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/authsec-go/authsec/authsectest"
	"github.com/authsec-go/authsec/verify"
)

// Verifier returns a verifier with the server's keys. It does not know of revocations:
// see Revoked.
func (s *Stack) Verifier(t testing.TB) *verify.Verifier {
	t.Helper()
	v, err := verify.New(verify.Config{
		BaseURL: s.URL, Tenants: []string{authsectest.TenantID}, Audience: Audience[0],
	})
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// Saw counts a request, with its token, to a server that Serve did not start.
func (s *Stack) Saw(token string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.seen = append(s.seen, token)
}

// Revoked reports whether the server's own APIs reject the token.
func (s *Stack) Revoked(token string) bool {
	w := httptest.NewRecorder()
	r := httptest.NewRequest(http.MethodGet, "https://api.test/", nil)
	r.Header.Set("Authorization", "Bearer "+token)
	s.Server.API(nil).ServeHTTP(w, r)
	return w.Code == http.StatusUnauthorized
}
