// Copyright 2026 The authsec Authors
// SPDX-License-Identifier: Apache-2.0

package wire

import (
	"encoding/base64"
	"encoding/json"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

// encode is an unsigned JWT.
func encode(header, claims string) string {
	e := base64.RawURLEncoding.EncodeToString
	return e([]byte(header)) + "." + e([]byte(claims)) + "."
}

// observed is a token response as protocol.md has it, but for its token.
const observed = `{"audience":["authsec-api"],"client_id":"9b477e30-3989-4c12-926c-3945a59f761f",
 "expires_at":"2026-11-23T09:31:33.86507Z","issued_at":"2026-11-23T08:31:33.865888Z",
 "permissions":["billing:read","users:read"],
 "spiffe_id":"spiffe://example.org/tenants/11111111-2222-3333-4444-555555555555/agents/crewai/9b477e30-3989-4c12-926c-3945a59f761f",
 "status":"active","tenant_id":"11111111-2222-3333-4444-555555555555",
 "token":"TOKEN","ttl_seconds":3600,"updated_at":"2026-11-23T08:31:33.865888Z"}`

func TestObservedTokenResponseIsReadInFull(t *testing.T) {
	token := encode(`{"alg":"RS256","typ":"JWT"}`, `{"iss":"spiffe://1","exp":1795426293}`) + "c2ln"
	text := strings.Replace(observed, "TOKEN", token, 1)
	got, err := (&Reply{Status: 200, Body: []byte(text)}).ParseTokenResponse()
	if err != nil {
		t.Fatal(err)
	}
	var values map[string]any
	if err := json.Unmarshal([]byte(text), &values); err != nil {
		t.Fatal(err)
	}
	want := &TokenResponse{
		Token:       token,
		ClientID:    "9b477e30-3989-4c12-926c-3945a59f761f",
		SPIFFEID:    "spiffe://example.org/tenants/11111111-2222-3333-4444-555555555555/agents/crewai/9b477e30-3989-4c12-926c-3945a59f761f",
		TenantID:    "11111111-2222-3333-4444-555555555555",
		Status:      "active",
		Permissions: []string{"billing:read", "users:read"},
		Audience:    []string{"authsec-api"},
		UpdatedAt:   time.Date(2026, 11, 23, 8, 31, 33, 865888000, time.UTC),
		ExpiresAt:   time.Date(2026, 11, 23, 9, 31, 33, 865070000, time.UTC),
		TTL:         time.Hour,
		Values:      values,
		Claims:      jwt.MapClaims{"iss": "spiffe://1", "exp": 1795426293.},
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v, want %+v", got, want)
	}
}

func TestTokenResponsesFields(t *testing.T) {
	type response = TokenResponse
	for _, c := range []struct {
		name, body string
		want       response // but for Values
		err        string
	}{
		{"documented", `{"token":"t","expires_at":"2026-05-21T07:25:36Z"}`, response{Token: "t", ExpiresAt: time.Date(2026, 5, 21, 7, 25, 36, 0, time.UTC)}, ""},
		{"null lists", `{"token":"t","permissions":null,"audience":null}`, response{Token: "t", Permissions: []string{}, Audience: []string{}}, ""},
		{"a newer server's workspace", `{"token":"t","workspace_id":"w"}`, response{Token: "t", TenantID: "w"}, ""},
		{"both", `{"token":"t","workspace_id":"w","tenant_id":"x"}`, response{Token: "t", TenantID: "x"}, ""},
		{"an empty tenant", `{"token":"t","workspace_id":"w","tenant_id":""}`, response{Token: "t", TenantID: "w"}, ""},
		{"a string for seconds", `{"token":"t","ttl_seconds":"3600"}`, response{Token: "t", TTL: time.Hour}, ""},
		{"Go's zero time", `{"token":"t","expires_at":"0001-01-01T00:00:00Z"}`, response{Token: "t", ExpiresAt: time.Unix(0, 0)}, ""},
		{"an empty expiry", `{"token":"t","expires_at":""}`, response{Token: "t"}, ""},
		{"issued_at is another time", `{"token":"t","issued_at":"2026-11-20T08:00:00Z","updated_at":"2026-11-23T08:00:00Z"}`, response{Token: "t", UpdatedAt: time.Date(2026, 11, 23, 8, 0, 0, 0, time.UTC)}, ""},
		{"nothing", `{}`, response{}, ""},
		{"what only informs has another type", `{"token":"t","spiffe_id":1,"tenant_id":2,"workspace_id":"w","issued_at":3,"updated_at":"x"}`, response{Token: "t", TenantID: "w"}, ""},
		{"token", `{"token":1}`, response{}, "its token is not a string"},
		{"client_id", `{"client_id":1}`, response{}, "its client_id is not a string"},
		{"status", `{"status":1}`, response{}, "its status is not a string"},
		{"permissions", `{"permissions":1}`, response{}, "its permissions is not a list"},
		{"audience", `{"audience":[1]}`, response{}, "its audience is not a list of strings"},
		{"expires_at", `{"expires_at":"soon"}`, response{}, "its expires_at is not a time (RFC 3339)"},
		{"ttl_seconds", `{"ttl_seconds":"x"}`, response{}, "its ttl_seconds is not a number"},
		{"the first fault", `{"token":1,"status":1,"updated_at":1}`, response{}, "its token is not a string"},
		{"no object", `[]`, response{}, "it is not a JSON object"},
	} {
		got, err := (&Reply{Status: 200, Body: []byte(c.body)}).ParseTokenResponse()
		if text(err) != c.err || (err == nil) != (got != nil) {
			t.Errorf("%s: got %v, %v, want the error %q", c.name, got, err, c.err)
		}
		if err != nil {
			continue
		}
		got.Values = nil
		if !reflect.DeepEqual(*got, c.want) {
			t.Errorf("%s: got %+v, want %+v", c.name, *got, c.want)
		}
	}
}

func TestEveryFieldIsKeptAndListsAreNeverNull(t *testing.T) {
	got, err := (&Reply{Body: []byte(`{"token":"t","permissions":null,"audience":null,"new":{"a":[1]},"status":null}`)}).ParseTokenResponse()
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]any{"token": "t", "permissions": []any{}, "audience": []any{}, "new": map[string]any{"a": []any{1.}}, "status": nil}
	if !reflect.DeepEqual(got.Values, want) {
		t.Errorf("got %v, want %v", got.Values, want)
	}
}

func TestClaimsAreReadWithoutVerification(t *testing.T) {
	const alg = `{"alg":"RS256"}`
	for _, c := range []struct {
		name, token string
		want        jwt.MapClaims // nil: an error
	}{
		{"signed", encode(alg, `{"a":1}`) + "c2ln", jwt.MapClaims{"a": 1.}},
		{"unsigned", encode(`{"alg":"none"}`, `{"a":1}`), jwt.MapClaims{"a": 1.}},
		{"an unknown algorithm", encode(`{"alg":"ES999"}`, `{"a":1}`), jwt.MapClaims{"a": 1.}},
		{"no algorithm", encode(`{}`, `{"a":1}`), jwt.MapClaims{"a": 1.}},
		{"no claims", encode(alg, `{}`), jwt.MapClaims{}},
		{"null claims", encode(alg, `null`), jwt.MapClaims{}},
		{"a list of claims", encode(alg, `[]`), nil},
		{"no JSON", encode(alg, `{`), nil},
		{"a header that is no JSON", encode(`{`, `{}`), nil},
		{"not base64", "a.b.c", nil},
		{"two parts", "a.b", nil},
		{"an opaque token", "opaque", nil},
		{"nothing", "", nil},
	} {
		got, err := ParseClaims(c.token)
		if !reflect.DeepEqual(got, c.want) || (err == nil) != (c.want != nil) {
			t.Errorf("%s: got %v, %v, want %v", c.name, got, err, c.want)
		}
		if err != nil && err.Error() != "the token is not a JWT that can be read" {
			t.Errorf("%s: got %q, want nothing of the token", c.name, err)
		}
	}
}

func FuzzParseTokenResponse(f *testing.F) {
	f.Add([]byte(strings.Replace(observed, "TOKEN", encode(`{"alg":"none"}`, `{"exp":1}`), 1)))
	for _, s := range []string{``, `null`, `{}{}`, `{"permissions":null,"ttl_seconds":"1e9"}`, `{"expires_at":"0001-01-01T00:00:00Z"}`, `{"token":"eyJhbGciOiJub25lIn0.bnVsbA."}`} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		r, err := (&Reply{Status: 200, Body: body}).ParseTokenResponse()
		if (err == nil) != (r != nil) {
			t.Fatalf("got %v, %v, want one of them", r, err)
		}
		if err != nil {
			return
		}
		if r.TTL < 0 || r.TTL > MaxTTL {
			t.Errorf("TTL is %v, want between 0 and %v", r.TTL, MaxTTL)
		}
		for name, list := range map[string][]string{"permissions": r.Permissions, "audience": r.Audience} {
			if v, ok := r.Values[name]; ok != (list != nil) || ok && v == nil {
				t.Errorf("%s: got %v of %v, want a list if it is named", name, list, v)
			}
		}
		if token, _ := r.Values["token"].(string); token != r.Token {
			t.Errorf("the token is %q in Values, and %q", token, r.Token)
		}
		if expires, _ := r.Values["expires_at"].(string); (expires == "") != r.ExpiresAt.IsZero() {
			t.Errorf("expires_at %q: got %v", expires, r.ExpiresAt)
		}
		if _, err := json.Marshal(r.Values); err != nil {
			t.Errorf("Values can't be written: %v", err)
		}
	})
}
