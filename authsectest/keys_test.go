// Copyright 2026 The authsec Authors
// SPDX-License-Identifier: Apache-2.0

package authsectest_test

import (
	"crypto/rsa"
	"encoding/base64"
	"math/big"
	"net/url"
	"strings"
	"testing"

	"github.com/authsec-go/authsec/authsectest"
	"github.com/golang-jwt/jwt/v5"
)

func TestTokensVerifyAgainstTheKeySet(t *testing.T) {
	srv := authsectest.NewTLSServer()
	defer srv.Close()
	for range 2 {
		token := srv.Delegate(authsectest.ClientID, authsectest.Delegation{})
		body := get(t, srv, authsectest.KeySetPath+"?tenant_id="+authsectest.TenantID).body
		key := body["keys"].([]any)[0].(map[string]any)
		n, err := base64.RawURLEncoding.DecodeString(key["n"].(string))
		if err != nil {
			t.Fatal(err)
		}
		public := &rsa.PublicKey{N: new(big.Int).SetBytes(n), E: 65537}
		parsed, err := jwt.Parse(token, func(*jwt.Token) (any, error) { return public, nil }, jwt.WithValidMethods([]string{"RS256"}))
		if err != nil {
			t.Fatalf("the key set does not verify the token: %v", err)
		}
		if kid, ok := parsed.Header["kid"]; ok {
			t.Errorf("kid = %v, want none", kid)
		}
		srv.RotateKey()
		if _, err := jwt.Parse(token, srv.Keyfunc); err == nil {
			t.Error("after RotateKey the earlier token still verifies")
		}
	}
}

func TestOlderGenerationMakesAKeyForAnyTenant(t *testing.T) {
	srv := authsectest.NewInMemoryServer()
	seen := map[string]string{} // tenants by key
	for _, tenant := range []string{authsectest.TenantID, "x", "X", "another", "one more than the process has keys"} {
		query := authsectest.KeySetPath + "?workspace_id=" + authsectest.TenantID + "&tenant_id=" + url.QueryEscape(tenant)
		first, again := get(t, srv, query), get(t, srv, query)
		if first.status != 200 || first.text != again.text {
			t.Errorf("%s: got %d, then another key, want 200 and the same key", tenant, first.status)
		}
		if other, ok := seen[first.text]; ok {
			t.Errorf("%s: the key is that of %s, want a key of its own", tenant, other)
		}
		seen[first.text] = tenant
	}
	if got, want := get(t, srv, authsectest.KeySetPath+"?workspace_id="+authsectest.TenantID), `{"error":{"code":"BAD_REQUEST","message":"tenant_id query parameter is required"}}`; got.status != 400 || got.text != want {
		t.Errorf("without tenant_id: got %d %s, want 400 %s", got.status, got.text, want)
	}
}

func TestNewerGenerationHasItsWorkspacesKeysOnly(t *testing.T) {
	srv := authsectest.NewInMemoryServer()
	old := get(t, srv, authsectest.KeySetPath+"?tenant_id="+authsectest.TenantID).text
	srv.RequireCredential("c")
	for _, tc := range []struct {
		query  string
		status int
		text   string
	}{
		{"workspace_id=" + authsectest.TenantID, 200, old},
		{"tenant_id=x&workspace_id=" + authsectest.TenantID, 200, old},
		{"", 400, `{"error":{"code":"BAD_REQUEST","message":"workspace_id cannot be empty"}}`},
		{"tenant_id=" + authsectest.TenantID, 400, `{"error":{"code":"BAD_REQUEST","message":"workspace_id cannot be empty"}}`},
		{"workspace_id=x", 400, `{"error":{"code":"BAD_REQUEST","message":"workspace_id is not a valid UUID: \"x\""}}`},
		{"workspace_id=" + authsectest.ClientID, 404, `{"error":{"code":"NOT_FOUND","message":"Workspace not found"}}`},
	} {
		contentType := "application/json; charset=utf-8"
		if tc.status == 200 {
			contentType = "application/json"
		}
		got := get(t, srv, authsectest.KeySetPath+"?"+tc.query)
		if got.status != tc.status || got.text != tc.text || got.header.Get("Content-Type") != contentType {
			t.Errorf("%q: got %d, %s, %s, want %d, %s, %s", tc.query, got.status, got.header.Get("Content-Type"), got.text, tc.status, contentType, tc.text)
		}
	}
}

func TestKeySetNeedsNoCredential(t *testing.T) {
	srv := authsectest.NewInMemoryServer()
	srv.RequireCredential("c")
	if got := get(t, srv, authsectest.KeySetPath+"?workspace_id="+authsectest.TenantID); got.status != 200 || !strings.Contains(got.text, `"kid":"default"`) {
		t.Errorf("got %d %s, want 200 and a key", got.status, got.text)
	}
}

// As on a real server, an old key never comes back, however often the key changes.
func TestOldKeysDoNotComeBack(t *testing.T) {
	srv := authsectest.NewInMemoryServer()
	seen := map[string]int{} // rotations by key set
	for i := range 30 {
		set := get(t, srv, authsectest.KeySetPath+"?tenant_id="+authsectest.TenantID).text
		if before, ok := seen[set]; ok {
			t.Errorf("rotation %d: the key is that of rotation %d, want a new one", i, before)
		}
		seen[set] = i
		token := srv.Delegate(authsectest.ClientID, authsectest.Delegation{})
		if got := call(t, srv.API(nil), "Bearer "+token); got != 200 {
			t.Errorf("rotation %d: answer = %d, want 200", i, got)
		}
		srv.RotateKey()
	}
}
