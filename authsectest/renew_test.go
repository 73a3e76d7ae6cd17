// Copyright 2026 The authsec Authors
// SPDX-License-Identifier: Apache-2.0

package authsectest_test

import (
	"encoding/json"
	"net/http"
	"reflect"
	"testing"
	"testing/synctest"
	"time"

	"github.com/authsec-go/authsec/authsectest"
)

const (
	renewPath    = "/authsec/spiresvc/v1/jwt/renew"
	validatePath = "/authsec/spiresvc/v1/jwt/validate"
)

// post sends fields, names and values in turn, as JSON.
func post(t *testing.T, srv *authsectest.Server, path string, fields ...string) answer {
	t.Helper()
	body := map[string]string{}
	for i := 0; i < len(fields); i += 2 {
		body[fields[i]] = fields[i+1]
	}
	text, err := json.Marshal(body)
	if err != nil {
		t.Fatal(err)
	}
	return send(t, srv.Client(), http.MethodPost, srv.URL+path, string(text))
}

// generations calls f with a server of each generation.
func generations(t *testing.T, f func(t *testing.T, srv *authsectest.Server, newer bool, tenant ...string)) {
	for name, credential := range map[string]string{"older": "", "newer": "c"} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				srv := authsectest.NewInMemoryServer()
				srv.RequireCredential(credential)
				if credential != "" {
					f(t, srv, true)
					return
				}
				f(t, srv, false, "tenant_id", authsectest.TenantID)
			})
		})
	}
}

func TestRenewalGivesADay(t *testing.T) {
	generations(t, func(t *testing.T, srv *authsectest.Server, newer bool, tenant ...string) {
		token := srv.Delegate(authsectest.ClientID, authsectest.Delegation{Permissions: []string{"a:r"}, TTL: time.Minute})
		time.Sleep(30 * time.Second)
		got := post(t, srv, renewPath, append(tenant, "token", token)...)
		if got.status != 200 || len(got.body) != 3 || got.body["expires_at"] != "2000-01-02T00:00:29Z" {
			t.Fatalf("got %d with expires_at %v, want 200 with 2000-01-02T00:00:29Z", got.status, got.body["expires_at"])
		}
		before, after := claims(t, token), claims(t, got.body["token"])
		if got.body["spiffe_id"] != before["sub"] {
			t.Errorf("spiffe_id = %v, want %v", got.body["spiffe_id"], before["sub"])
		}
		if life := after["exp"].(float64) - after["iat"].(float64); life != 86399 || after["iat"] != before["iat"].(float64)+30 || after["jti"] == before["jti"] {
			t.Errorf("exp less iat = %v, iat = %v, jti = %v, want another token for 86399 s from now", life, after["iat"], after["jti"])
		}
		for _, name := range []string{"exp", "iat", "nbf", "jti"} {
			delete(before, name)
			delete(after, name)
		}
		if !reflect.DeepEqual(before, after) {
			t.Errorf("claims = %v, want %v", after, before)
		}
		if ask := ask(t, srv, "Authorization", "Bearer c"); ask.body["token"] != token {
			t.Error("the endpoint gives the renewed token, want the delegated one")
		}

		// An API that looks at the signature alone accepts it; AuthSec's own does not
		// on the newer generation.
		api := send(t, &http.Client{Transport: authsectest.RoundTripper(srv.API(nil))}, "GET", "https://api.test/", "", "Authorization", "Bearer "+got.body["token"].(string))
		if want := map[bool]int{false: 200, true: 401}[newer]; api.status != want {
			t.Errorf("the API answers %d to the renewed token, want %d", api.status, want)
		}
	})
}

func TestRevokedAndReplacedTokens(t *testing.T) {
	for name, end := range map[string]func(*authsectest.Server){
		"revoked":  func(s *authsectest.Server) { s.Revoke(authsectest.ClientID) },
		"replaced": func(s *authsectest.Server) { s.Delegate(authsectest.ClientID, authsectest.Delegation{}) },
	} {
		generations(t, func(t *testing.T, srv *authsectest.Server, newer bool, tenant ...string) {
			token := srv.Delegate(authsectest.ClientID, authsectest.Delegation{})
			if got := post(t, srv, validatePath, append(tenant, "token", token)...); got.body["valid"] != true {
				t.Errorf("%s: before: valid = %v, want true", name, got.body["valid"])
			}
			end(srv)
			if got := post(t, srv, validatePath, append(tenant, "token", token)...); got.status != 200 || got.body["valid"] != !newer {
				t.Errorf("%s: got %d with valid = %v, want 200 with %v", name, got.status, got.body["valid"], !newer)
			}
			got := post(t, srv, renewPath, append(tenant, "token", token)...)
			if want := map[bool]int{false: 200, true: 401}[newer]; got.status != want {
				t.Errorf("%s: jwt/renew: got %d, want %d", name, got.status, want)
			}
		})
	}
}

func TestValidation(t *testing.T) {
	generations(t, func(t *testing.T, srv *authsectest.Server, newer bool, tenant ...string) {
		tenantField, invalid := "tenant_id", `{"claims":null,"spiffe_id":"","valid":false}`
		if newer {
			tenantField, invalid = "workspace_id", `{"spiffe_id":"","valid":false}`
		}
		token := srv.Delegate(authsectest.ClientID, authsectest.Delegation{Permissions: []string{"a:r"}, Audience: []string{"x"}, TTL: time.Minute})
		m := claims(t, token)
		got := post(t, srv, validatePath, append(tenant, "token", token, "audience", "x")...)
		if want := (map[string]any{
			"valid": true, "spiffe_id": m["sub"], "sub": m["sub"], "claims": map[string]any(m), tenantField: authsectest.TenantID,
			"permissions": []any{"a:r"}, "audience": []any{"x"}, "expires_at": m["exp"], "issued_at": m["iat"],
		}); got.status != 200 || !reflect.DeepEqual(got.body, want) {
			t.Errorf("valid: got %d %v, want 200 %v", got.status, got.body, want)
		}
		got = post(t, srv, validatePath, append(tenant, "token", token, "audience", "y")...)
		if got.body["valid"] != false || got.body["spiffe_id"] != m["sub"] || got.body["sub"] != nil {
			t.Errorf("another audience: got %s, want valid false and a spiffe_id", got.text)
		}
		for name, fields := range map[string][]string{
			"not a token":    append(tenant, "token", "x"),
			"no token":       tenant,
			"tampered":       append(tenant, "token", token[:len(token)-8]+"AAAAAAAA"),
			"another tenant": {tenantField, authsectest.ClientID, "token", token},
		} {
			if got := post(t, srv, validatePath, fields...); got.status != 200 || got.text != invalid {
				t.Errorf("%s: got %d %s, want 200 %s", name, got.status, got.text, invalid)
			}
		}
		time.Sleep(time.Minute)
		if got := post(t, srv, validatePath, append(tenant, "token", token)...); got.text != invalid {
			t.Errorf("expired: got %s, want %s", got.text, invalid)
		}
	})
}

func TestErrorsOfRenewal(t *testing.T) {
	generations(t, func(t *testing.T, srv *authsectest.Server, newer bool, tenant ...string) {
		missing := "tenant_id and token are required"
		if newer {
			missing = "token is required"
		}
		for _, tc := range []struct {
			fields        []string
			status        int
			code, message string
		}{
			{tenant, 400, "BAD_REQUEST", missing},
			{append(tenant, "token", "x"), 401, "UNAUTHORIZED", "Token is invalid or expired - cannot renew"},
		} {
			want := `{"error":{"code":"` + tc.code + `","message":"` + tc.message + `"}}`
			if got := post(t, srv, renewPath, tc.fields...); got.status != tc.status || got.text != want {
				t.Errorf("%q: got %d %s, want %d %s", tc.fields, got.status, got.text, tc.status, want)
			}
		}
		if got := send(t, srv.Client(), "POST", srv.URL+renewPath, "{"); got.status != 400 || got.text != `{"error":{"code":"BAD_REQUEST","message":"Invalid request body"}}` {
			t.Errorf("no JSON: got %d %s, want 400 and Invalid request body", got.status, got.text)
		}
	})
}
