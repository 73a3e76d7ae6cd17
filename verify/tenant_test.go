// Copyright 2026 The authsec Authors
// SPDX-License-Identifier: Apache-2.0

package verify_test

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"testing"

	"github.com/authsec-go/authsec/verify"
	"github.com/golang-jwt/jwt/v5"
)

var isUUID = regexp.MustCompile(`^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$`)

// workspaces is a newer server's key endpoint: it knows workspace_id only.
func workspaces(w http.ResponseWriter, r *http.Request) {
	fail := func(status int) {
		w.WriteHeader(status)
		json.NewEncoder(w).Encode(object{"error": object{"code": "x", "message": "x"}})
	}
	switch id := r.URL.Query().Get("workspace_id"); {
	case r.URL.Path != "/authsec/spiresvc/v1/jwt/bundle" || id != "" && id != tenant:
		fail(http.StatusNotFound)
	case !isUUID.MatchString(id):
		fail(http.StatusBadRequest)
	default:
		json.NewEncoder(w).Encode(object{"keys": []object{jwk(&key().PublicKey)}})
	}
}

func TestNewerServersKnowWorkspaces(t *testing.T) {
	srv := httptest.NewServer(http.HandlerFunc(workspaces))
	defer srv.Close()
	if resp, err := http.Get(srv.URL + "/authsec/spiresvc/v1/jwt/bundle?tenant_id=" + tenant); err != nil || resp.StatusCode != 400 {
		t.Fatalf("tenant_id alone: answer = %v, %v, want 400", resp, err)
	}
	v, err := verify.New(verify.Config{BaseURL: srv.URL, Tenants: []string{tenant}, Audience: audience})
	if err != nil {
		t.Fatal(err)
	}
	claims, err := v.Verify(t.Context(), token(object{"tenant_id": nil, "workspace_id": tenant}))
	if err != nil || claims.TenantID != tenant {
		t.Errorf("claims = %v, %v, want those of the workspace", claims, err)
	}
	check(t, "another workspace's ID", v, token(object{"tenant_id": nil, "workspace_id": neighbor}), jwt.ErrTokenInvalidIssuer)
}

// The server writes UUIDs in lower case. It would make a new key for one in upper
// case; and handlers that keep data by tenant would see two tenants.
func TestUUIDsOfTenantsAreComparedAsSuch(t *testing.T) {
	upper := strings.ToUpper(neighbor)
	for name, configured := range map[string]string{"lower case": neighbor, "upper case": upper, "white space": "\t" + upper + "\n", "no hyphens": strings.ReplaceAll(upper, "-", "")} {
		for _, replaced := range []object{
			{"iss": "spiffe://" + neighbor, "tenant_id": neighbor}, {"iss": "spiffe://" + upper, "tenant_id": upper}, {"iss": "spiffe://" + upper, "tenant_id": neighbor},
			{"iss": "spiffe://" + neighbor, "tenant_id": upper}, {"iss": "spiffe://" + upper, "tenant_id": nil, "workspace_id": upper},
		} {
			a := newAuthority()
			v := a.verifier(t, func(c *verify.Config) { c.Tenants = []string{configured} })
			token := sign(jwt.SigningMethodRS256, nextKey(), header(), claims(replaced))
			got, err := v.Verify(t.Context(), token)
			if err != nil {
				t.Errorf("%s: a token of %v: %v, want claims", name, replaced, err)
				continue
			}
			if got.Issuer != "spiffe://"+neighbor || got.TenantID != neighbor {
				t.Errorf("%s: a token of %v: iss = %q and tenant = %q, want lower case", name, replaced, got.Issuer, got.TenantID)
			}
			if a.count(neighbor) != 1 || len(a.fetches) != 1 {
				t.Errorf("%s: keys were fetched for %v, want %s alone", name, a.fetches, neighbor)
			}
		}
	}
}

// Names that are no UUIDs are case-sensitive on the server.
func TestNamesOfTenantsAreExact(t *testing.T) {
	a := newAuthority()
	a.publish("acme", jwk(&key().PublicKey))
	v := a.verifier(t, func(c *verify.Config) { c.Tenants = []string{"acme"} })
	check(t, "its name", v, token(object{"iss": "spiffe://acme", "tenant_id": "acme"}), nil)
	check(t, "another case", v, token(object{"iss": "spiffe://ACME", "tenant_id": nil}), jwt.ErrTokenInvalidIssuer)
	check(t, "another case of tenant_id", v, token(object{"iss": "spiffe://acme", "tenant_id": "Acme"}), jwt.ErrTokenInvalidIssuer)
}

func TestTheAudienceIsTrimmed(t *testing.T) {
	v := newAuthority().verifier(t, func(c *verify.Config) { c.Audience = " " + audience + "\r\n" })
	check(t, "a token", v, token(), nil)
	check(t, "a token with white space", v, token(object{"aud": audience + "\n"}), jwt.ErrTokenInvalidAudience)
	c := newCourt()
	check(t, "a token", c.verifier(t, func(cfg *verify.Config) { cfg.Audience = audience + "\n" }), token(), nil)
	if got := c.requests()[0].body["audience"]; got != audience {
		t.Errorf("the check is for %q, want %q", got, audience)
	}
}
