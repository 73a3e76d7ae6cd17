// Copyright 2026 The authsec Authors
// SPDX-License-Identifier: Apache-2.0

package authsectest_test

import (
	"fmt"
	"reflect"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/authsec-go/authsec/authsectest"
	"github.com/golang-jwt/jwt/v5"
)

const noDelegation = "No active delegation token found"

func TestAnswersToClientIDs(t *testing.T) {
	const id = authsectest.ClientID
	bare := strings.ReplaceAll(id, "-", "")
	for _, tc := range []struct {
		id         string
		old, newer int
		message    string
		oldMessage string // if not as message
	}{
		{"", 400, 400, "client_id is required (query param or X-Client-ID header)", ""},
		{"x", 400, 400, "Invalid client_id format", ""},
		{id[:35], 400, 400, "Invalid client_id format", ""},
		{id + "0", 400, 400, "Invalid client_id format", ""},
		{strings.ReplaceAll(id, "-", "_"), 400, 400, "Invalid client_id format", ""},
		{"urn:guid:" + id, 400, 400, "Invalid client_id format", ""},
		{bare[:31] + "g", 400, 400, "Invalid client_id format", ""},
		{id, 200, 200, "", ""},
		{strings.ToUpper(id), 404, 404, noDelegation, ""},
		{"9B" + id[2:], 404, 404, noDelegation, ""},
		{"{" + id + "}", 404, 404, noDelegation, ""},
		{bare, 404, 404, noDelegation, ""},
		{"urn:uuid:" + id, 404, 404, noDelegation, ""},
		{"0b5e9c34-6f0e-4b7c-8c1d-2f3a4b5c6d7e", 404, 404, noDelegation, "Client not found"},
	} {
		srv := authsectest.NewInMemoryServer()
		srv.Delegate(id, authsectest.Delegation{})
		message := tc.message
		if tc.oldMessage != "" {
			message = tc.oldMessage
		}
		get(t, srv, authsectest.EndpointPath+"?client_id="+tc.id).check(t, tc.old, message)
		get(t, srv, authsectest.EndpointPath, "X-Client-ID", tc.id).check(t, tc.old, message)
		srv.RequireCredential("c")
		get(t, srv, authsectest.EndpointPath+"?client_id="+tc.id, "Authorization", "Bearer c").check(t, tc.newer, tc.message)
		get(t, srv, authsectest.EndpointPath, "X-Client-ID", tc.id, "Authorization", "Bearer c").check(t, tc.newer, tc.message)
	}
}

func TestDetailsOf404(t *testing.T) {
	srv := authsectest.NewInMemoryServer()
	if got, want := ask(t, srv).body["details"], "client_id "+authsectest.ClientID+" not found in tenant_mappings"; got != want {
		t.Errorf("unknown agent: details = %q, want %q", got, want)
	}
	const delegate = "An admin must delegate a token first via POST /uflow/admin/agents/:id/delegate-token"
	srv.Register(authsectest.ClientID)
	registered := ask(t, srv)
	srv.Delegate(authsectest.ClientID, authsectest.Delegation{})
	srv.Revoke(authsectest.ClientID)
	revoked := ask(t, srv)
	for name, got := range map[string]answer{"registered": registered, "revoked": revoked} {
		got.check(t, 404, noDelegation)
		if got.body["details"] != delegate {
			t.Errorf("%s: details = %q, want %q", name, got.body["details"], delegate)
		}
	}
}

func TestRevokingDoesNotRegister(t *testing.T) {
	srv := authsectest.NewInMemoryServer()
	srv.Revoke(authsectest.ClientID)
	ask(t, srv).check(t, 404, "Client not found")
	srv.Delegate(authsectest.ClientID, authsectest.Delegation{})
	srv.Revoke("urn:uuid:" + strings.ToUpper(authsectest.ClientID)) // in any spelling that the server reads
	ask(t, srv).check(t, 404, noDelegation)
}

// claims reads a token's claims.
func claims(t *testing.T, token any) jwt.MapClaims {
	t.Helper()
	m := jwt.MapClaims{}
	if _, _, err := jwt.NewParser().ParseUnverified(fmt.Sprint(token), m); err != nil {
		t.Fatal(err)
	}
	return m
}

func TestAnswerAndTokenByGeneration(t *testing.T) {
	for tenantField, credential := range map[string]string{"tenant_id": "", "workspace_id": "c"} {
		srv := authsectest.NewInMemoryServer()
		srv.RequireCredential(credential)
		token := srv.Delegate(strings.ToUpper(authsectest.ClientID), authsectest.Delegation{Permissions: []string{"a:r"}, Audience: []string{"x"}, TTL: 90 * time.Second})
		got := ask(t, srv, "Authorization", "Bearer c").body
		m := claims(t, token)
		spiffeID := "spiffe://example.org/tenants/" + authsectest.TenantID + "/agents/test/" + authsectest.ClientID
		for name, want := range map[string]any{
			"audience": []any{"x"}, "client_id": authsectest.ClientID, "permissions": []any{"a:r"}, "spiffe_id": spiffeID,
			"status": "active", tenantField: authsectest.TenantID, "token": token, "ttl_seconds": 90.,
		} {
			if !reflect.DeepEqual(got[name], want) {
				t.Errorf("%s: %s = %v, want %v", tenantField, name, got[name], want)
			}
		}
		if len(got) != 11 {
			t.Errorf("%s: fields = %q, want 11", tenantField, keys(got))
		}
		for name, want := range map[string]any{
			"iss": "spiffe://" + authsectest.TenantID, "sub": spiffeID, "aud": []any{"x"}, "permissions": []any{"a:r"},
			tenantField: authsectest.TenantID, "client_id": authsectest.ClientID, "nbf": m["iat"],
		} {
			if !reflect.DeepEqual(m[name], want) {
				t.Errorf("%s: claim %s = %v, want %v", tenantField, name, m[name], want)
			}
		}
		if len(m) != 13 {
			t.Errorf("%s: claims = %q, want 13", tenantField, keys(m))
		}
	}
}

func TestNilListsAreNull(t *testing.T) {
	srv := authsectest.NewInMemoryServer()
	m := claims(t, srv.Delegate(authsectest.ClientID, authsectest.Delegation{}))
	got := ask(t, srv).body
	for _, name := range []string{"permissions", "audience"} {
		if v, ok := got[name]; !ok || v != nil {
			t.Errorf("%s = %v, want null", name, v)
		}
	}
	if v, ok := m["permissions"]; !ok || v != nil || !reflect.DeepEqual(m["aud"], []any{"authsec-api"}) {
		t.Errorf("the token's permissions = %v and aud = %v, want null and authsec-api", v, m["aud"])
	}
	srv.Delegate(authsectest.ClientID, authsectest.Delegation{Permissions: []string{}, Audience: []string{}})
	if got := ask(t, srv).body; !reflect.DeepEqual(got["permissions"], []any{}) || !reflect.DeepEqual(got["audience"], []any{}) {
		t.Errorf("permissions = %v and audience = %v, want empty lists", got["permissions"], got["audience"])
	}
}

func TestTimes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		time.Sleep(865_888_999 * time.Nanosecond)
		srv := authsectest.NewInMemoryServer()
		for i, want := range []struct {
			expires, issued, updated string
			iat                      int64
		}{
			{"2000-01-01T00:01:00.865888Z", "2000-01-01T00:00:00.865888Z", "2000-01-01T00:00:00.865888Z", 0},
			{"2000-01-01T00:01:10.865888Z", "2000-01-01T00:00:00.865888Z", "2000-01-01T00:00:10.865888Z", 10},
			{"2000-01-01T00:01:20.865888Z", "2000-01-01T00:00:00.865888Z", "2000-01-01T00:00:20.865888Z", 20},
		} {
			m := claims(t, srv.Delegate(authsectest.ClientID, authsectest.Delegation{TTL: time.Minute}))
			got := ask(t, srv).body
			if got["expires_at"] != want.expires || got["issued_at"] != want.issued || got["updated_at"] != want.updated {
				t.Errorf("%d: expires_at, issued_at, updated_at = %v, %v, %v, want %v", i, got["expires_at"], got["issued_at"], got["updated_at"], want)
			}
			y2k := time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC).Unix()
			if m["iat"] != float64(y2k+want.iat) || m["exp"] != float64(y2k+want.iat+60) {
				t.Errorf("%d: iat, exp = %v, %v, want whole seconds", i, m["iat"], m["exp"])
			}
			if i == 1 {
				srv.Revoke(authsectest.ClientID) // issued_at stays
			}
			time.Sleep(10 * time.Second)
		}
	})
}

func TestExpiry(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		srv := authsectest.NewInMemoryServer()
		time.Sleep(700 * time.Millisecond)
		srv.Delegate(authsectest.ClientID, authsectest.Delegation{TTL: time.Minute})
		time.Sleep(time.Minute - 500*time.Millisecond)
		got := ask(t, srv)
		got.check(t, 200, "")
		if exp := int64(claims(t, got.body["token"])["exp"].(float64)); time.Now().Before(time.Unix(exp, 0)) {
			t.Error("in the last second: the token's exp is ahead, want past")
		}
		time.Sleep(500 * time.Millisecond)
		ask(t, srv).check(t, 200, "") // at expires_at
		time.Sleep(time.Microsecond)
		gone := ask(t, srv)
		gone.check(t, 410, "Delegation token has expired")
		if want := (map[string]any{
			"error": "Delegation token has expired", "expired_at": "2000-01-01T00:01:00.7Z",
			"details": "Admin must re-delegate via POST /uflow/admin/agents/:id/delegate-token",
		}); !reflect.DeepEqual(gone.body, want) {
			t.Errorf("410: got %v, want %v", gone.body, want)
		}
		for range 2 {
			ask(t, srv).check(t, 404, noDelegation)
		}
		srv.Delegate(authsectest.ClientID, authsectest.Delegation{TTL: -time.Second})
		ask(t, srv).check(t, 410, "Delegation token has expired")
	})
}

func TestNewerGenerationsTokensLiveForADay(t *testing.T) {
	srv := authsectest.NewInMemoryServer()
	for credential, want := range map[string]float64{"": 48 * 3600, "c": 24 * 3600} {
		srv.RequireCredential(credential)
		m := claims(t, srv.Delegate(authsectest.ClientID, authsectest.Delegation{TTL: 48 * time.Hour}))
		if got := m["exp"].(float64) - m["iat"].(float64); got != want {
			t.Errorf("credential %q: life = %v s, want %v", credential, got, want)
		}
	}
}

func TestChallenges(t *testing.T) {
	const challenge = `Bearer realm="authsec", error=`
	for _, tc := range []struct {
		authorization, message, challenge string
	}{
		{"", "authorization header required", `"invalid_request", error_description="missing or malformed bearer token"`},
		{"c", "invalid authorization header format", `"invalid_request", error_description="missing or malformed bearer token"`},
		{"bearer c", "invalid authorization header format", `"invalid_request", error_description="missing or malformed bearer token"`},
		{"Bearer d", "Invalid or expired token", `"invalid_token", error_description="token is expired or invalid"`},
	} {
		srv := authsectest.NewInMemoryServer()
		srv.RequireCredential("c")
		got := get(t, srv, authsectest.EndpointPath, "Authorization", tc.authorization)
		got.check(t, 401, tc.message)
		if got := got.header.Get("WWW-Authenticate"); got != challenge+tc.challenge {
			t.Errorf("%q: WWW-Authenticate = %s, want %s", tc.authorization, got, challenge+tc.challenge)
		}
	}
	for _, message := range []string{"session has been revoked", "session is no longer valid for this workspace"} {
		srv := authsectest.NewInMemoryServer()
		srv.FailNext(1, authsectest.Unauthorized(message))
		got := ask(t, srv)
		got.check(t, 401, message)
		if got, want := got.header.Get("WWW-Authenticate"), challenge+`"invalid_token", error_description="`+message+`"`; got != want {
			t.Errorf("WWW-Authenticate = %s, want %s", got, want)
		}
	}
}
