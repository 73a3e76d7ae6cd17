// Copyright 2026 The authsec Authors
// SPDX-License-Identifier: Apache-2.0

package authsec_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/authsec-go/authsec"
	"github.com/golang-jwt/jwt/v5"
)

// Printed values show no token, no control character and only the beginning of the
// client ID, whatever the server's texts have in them.
func TestPrintedDelegationAndClaimsShowNoSecret(t *testing.T) {
	bubble(t, func(t *testing.T) {
		bare := strings.ReplaceAll(ourID, "-", "")
		token := unverified(t, jwt.MapClaims{
			"exp": time.Now().Add(time.Hour).Unix(), "client_id": ourID, "sub": "spiffe://example.org/" + strings.ToUpper(ourID),
			"workspace_id": bare, "permissions": []string{"a:" + ourID, "b\n\x1b[31m"}, "email": "someone@example.com", "user_id": "user-7", "iss": "spiffe://" + ourID,
		})
		src := endpointSource(t, answerJSON(t, map[string]any{
			"token": token, "spiffe_id": "spiffe://example.org/" + token, "tenant_id": "t\n\x1b[2J" + bare, "permissions": []string{token, "a\r\nb", "{" + ourID + "}"}, "audience": []string{token},
		}))
		d, err := src.Delegation(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		claims, err := d.Claims()
		if err != nil {
			t.Fatal(err)
		}
		if claims.TenantID != bare {
			t.Errorf("TenantID: got %q, want the workspace's", claims.TenantID)
		}
		secrets := map[string]string{"token": token, "client ID": ourID, "client ID without hyphens": bare, "an escape sequence": "\x1b", "a carriage return": "\r", "the email": "someone@example.com", "the user ID": "user-7"}
		for name, v := range map[string]any{"Delegation": *d, "*Delegation": d, "Claims": *claims, "*Claims": claims} {
			checkFormats(t, name, v, secrets)
			if text := fmt.Sprint(v); strings.Contains(text, "\n") || !strings.Contains(text, ourID[:8]+"…") {
				t.Errorf("%s: got %q, want one line with the client ID's beginning", name, text)
			}
		}
		if d.ClientID != ourID || claims.ClientID != ourID || d.Permissions[0] != token {
			t.Error("the fields are not as the server sent them")
		}
	})
}

// The server returns the same token with other permissions. Extra and Delegation have
// the new permissions.
func TestSameTokenWithOtherPermissions(t *testing.T) {
	bubble(t, func(t *testing.T) {
		permission := "a:read"
		src := endpointSource(t, answering200(func() map[string]any {
			return map[string]any{"token": opaque, "ttl_seconds": 3600, "permissions": []string{permission}}
		}))
		check := func() {
			t.Helper()
			token, err := src.Token()
			if err != nil {
				t.Fatal(err)
			}
			d, err := src.Delegation(t.Context())
			if err != nil || !d.HasPermission(permission) {
				t.Errorf("Delegation: got %v, %v, want %s", d, err, permission)
			}
			if list, _ := token.Extra("permissions").([]any); len(list) != 1 || list[0] != permission {
				t.Errorf("Extra: got %v, want %s", list, permission)
			}
		}
		check()
		permission = "a:write"
		if _, err := src.Refresh(t.Context()); err != nil {
			t.Fatal(err)
		}
		check()
	})
}

func TestStatsStringHasTheFigures(t *testing.T) {
	at := time.Date(2026, 11, 23, 8, 31, 33, 0, time.UTC)
	s := authsec.Stats{Fetches: 1, Failures: 2, Renewals: 3, Rejections: 4, Expiry: at, Cache: authsec.CacheStats{Hits: 5, Misses: 6, Rejects: 7, Failures: 8}, LastError: authsec.ErrRateLimited}
	const want = `fetches=1 failures=2 renewals=3 rejections=4 expiry=2026-11-23T08:31:33Z cache_hits=5 cache_misses=6 cache_rejects=7 cache_failures=8 last_error="authsec: rate limited"`
	if got := s.String(); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

// answering200 answers with the fields as they are at each request.
func answering200(fields func() map[string]any) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		json.NewEncoder(w).Encode(fields())
	})
}
