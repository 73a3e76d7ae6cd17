// Copyright 2026 The authsec Authors
// SPDX-License-Identifier: Apache-2.0

package authsec_test

import (
	"context"
	"fmt"
	"reflect"
	"slices"
	"testing"
	"time"

	"github.com/authsec-go/authsec"
	"github.com/authsec-go/authsec/authsectest"
	"github.com/golang-jwt/jwt/v5"
)

func TestDelegationHasTheFieldsOfTheTokenResponse(t *testing.T) {
	bubble(t, func(t *testing.T) {
		now := time.Now().Truncate(time.Second)
		stamp := func(d time.Duration) string { return now.Add(d).UTC().Format(time.RFC3339Nano) }
		exp := now.Add(time.Hour)
		full := map[string]any{
			"token":  unverified(t, jwt.MapClaims{"sub": "spiffe://token/sub", "tenant_id": "token-tenant", "client_id": ourID, "permissions": []string{"token:p"}, "aud": []string{"token-aud"}, "iat": now.Unix(), "exp": exp.Unix()}),
			"status": "active", "spiffe_id": "spiffe://answer", "client_id": ourID, "tenant_id": "answer-tenant", "workspace_id": "answer-workspace", "permissions": []string{"a:r", "b:w"}, "audience": []string{"answer-aud"},
			"issued_at": stamp(-time.Minute), "updated_at": stamp(-time.Second), "expires_at": stamp(2 * time.Hour),
		}
		for _, tt := range []struct {
			claim  string
			fields map[string]any
			want   authsec.Delegation
		}{
			{"all fields", full, authsec.Delegation{SPIFFEID: "spiffe://answer", Permissions: []string{"a:r", "b:w"}, Audience: []string{"answer-aud"}, ClientID: ourID, TenantID: "answer-tenant", Status: "active",
				IssuedAt: now, UpdatedAt: now.Add(-time.Second), ExpiresAt: exp}},
			{"newer server", without(full, "tenant_id"), authsec.Delegation{SPIFFEID: "spiffe://answer", Permissions: []string{"a:r", "b:w"}, Audience: []string{"answer-aud"}, ClientID: ourID, TenantID: "answer-workspace", Status: "active",
				IssuedAt: now, UpdatedAt: now.Add(-time.Second), ExpiresAt: exp}},
			{"the documented minimum", map[string]any{"token": full["token"], "expires_at": full["expires_at"]}, authsec.Delegation{SPIFFEID: "spiffe://token/sub", Permissions: []string{"token:p"}, Audience: []string{"token-aud"}, ClientID: ourID, TenantID: "token-tenant",
				IssuedAt: now, ExpiresAt: exp}},
			{"an opaque token", map[string]any{"token": opaque, "ttl_seconds": 60}, authsec.Delegation{ClientID: ourID, Permissions: []string{}, Audience: []string{}}},
		} {
			got, err := endpointSource(t, answerJSON(t, tt.fields)).Delegation(context.Background())
			if err != nil {
				t.Fatalf("%s: %v", tt.claim, err)
			}
			for _, d := range []*authsec.Delegation{got, &tt.want} {
				d.IssuedAt, d.UpdatedAt, d.ExpiresAt = d.IssuedAt.UTC(), d.UpdatedAt.UTC(), d.ExpiresAt.UTC()
			}
			same := authsec.Delegation{SPIFFEID: got.SPIFFEID, Permissions: got.Permissions, Audience: got.Audience, ClientID: got.ClientID, TenantID: got.TenantID, Status: got.Status, IssuedAt: got.IssuedAt, UpdatedAt: got.UpdatedAt, ExpiresAt: got.ExpiresAt}
			if !reflect.DeepEqual(same, tt.want) {
				t.Errorf("%s: Delegation is %v, want %v", tt.claim, got, tt.want)
			}
		}
	})
}

func TestPermissionsAreMatchedExactly(t *testing.T) {
	d := &authsec.Delegation{Permissions: []string{"billing:read", "users:write"}}
	for _, tt := range []struct {
		ask      []string
		any, all bool
	}{
		{nil, false, true},
		{[]string{"billing:read"}, true, true},
		{[]string{"billing:read", "users:write"}, true, true},
		{[]string{"billing:read", "users:read"}, true, false},
		{[]string{"users:read"}, false, false},
		{[]string{"Billing:Read"}, false, false},
		{[]string{"billing"}, false, false},
		{[]string{"billing:*"}, false, false},
		{[]string{""}, false, false},
	} {
		if got := d.HasAnyPermission(tt.ask...); got != tt.any {
			t.Errorf("HasAnyPermission(%q) = %t, want %t", tt.ask, got, tt.any)
		}
		if got := d.HasAllPermissions(tt.ask...); got != tt.all {
			t.Errorf("HasAllPermissions(%q) = %t, want %t", tt.ask, got, tt.all)
		}
		if len(tt.ask) == 1 {
			if got := d.HasPermission(tt.ask[0]); got != tt.any {
				t.Errorf("HasPermission(%q) = %t, want %t", tt.ask[0], got, tt.any)
			}
		}
	}
	var none *authsec.Delegation
	if none.HasPermission("billing:read") || none.HasAnyPermission("billing:read") || none.HasAllPermissions("billing:read") {
		t.Error("a nil Delegation has permissions, want none")
	}
}

func TestClaimsSayWhetherTheyWereVerified(t *testing.T) {
	for _, verify := range []bool{false, true} {
		inBubble(t, fmt.Sprint("Keyfunc ", verify), func(t *testing.T) {
			srv := authsectest.NewInMemoryServer()
			srv.Delegate(ourID, authsectest.Delegation{Permissions: []string{"a:r"}})
			cfg := srv.Config(ourID)
			if verify {
				cfg.Keyfunc = srv.Keyfunc
			}
			src := newSource(t, cfg)
			d, err := src.Delegation(context.Background())
			if err != nil {
				t.Fatal(err)
			}
			c, err := d.Claims()
			if err != nil {
				t.Fatal(err)
			}
			if c.Verified != verify {
				t.Errorf("Verified is %t, want %t", c.Verified, verify)
			}
			if c.UserID != "user-1" || c.TenantID != authsectest.TenantID || c.Email != "admin@example.org" || c.AgentType != "test" || c.ClientID != ourID ||
				!slices.Equal(c.Permissions, []string{"a:r"}) || !slices.Equal(c.Audience, []string{"authsec-api"}) || c.Subject != d.SPIFFEID || c.Issuer != "spiffe://"+authsectest.TenantID || c.ExpiresAt == nil || c.ID == "" {
				t.Error("Claims lack a claim of the token")
			}
		})
	}
}

func TestClaimsOfAnOpaqueTokenAreAnError(t *testing.T) {
	bubble(t, func(t *testing.T) {
		d, err := endpointSource(t, answerJSON(t, hourFields())).Delegation(context.Background())
		if err != nil {
			t.Fatal(err)
		}
		var none *authsec.Delegation
		for name, d := range map[string]*authsec.Delegation{"opaque": d, "nil": none, "made by hand": {}} {
			if c, err := d.Claims(); err == nil || c != nil {
				t.Errorf("%s: Claims: claims: %t, error %v, want none and an error", name, c != nil, err)
			}
		}
	})
}
