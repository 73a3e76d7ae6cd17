// Copyright 2026 The authsec Authors
// SPDX-License-Identifier: Apache-2.0

package wire

import (
	"context"
	"net/http"
	"net/url"
	"reflect"
	"strings"
	"testing"
)

const id = "9b477e30-3989-4c12-926c-3945a59f761f"

func parse(t testing.TB, s string) *url.URL {
	u, err := url.Parse(s)
	if err != nil {
		t.Fatal(err)
	}
	return u
}

func TestEndpointsFollowTheBaseURL(t *testing.T) {
	const host = "https://authsec.example.com"
	for _, c := range []struct{ base, root string }{ // root: what /uflow and /spiresvc follow
		{"", "/authsec"},
		{"/", "/authsec"},
		{"///", "/authsec"},
		{":8443", ":8443/authsec"},
		{"/authsec", "/authsec"},
		{"/authsec/", "/authsec"},
		{"/authsec/uflow", "/authsec"},
		{"/authsec/uflow//", "/authsec"},
		{"//authsec//uflow", "/authsec"},
		{"/uflow", ""},
		{"/uflow/", ""},
		{"/gateway", "/gateway/authsec"},
		{"/gateway/authsec", "/gateway/authsec"},
		{"/gateway/authsec/uflow/", "/gateway/authsec"},
		{"/gateway/uflow", "/gateway"},
		{"/uflow/authsec", "/uflow/authsec"},
		{"/uflow/uflow", "/uflow"},
		{"/xuflow", "/xuflow/authsec"},
		{"/uflowx", "/uflowx/authsec"},
		{"/xauthsec", "/xauthsec/authsec"},
		{"/authsecx", "/authsecx/authsec"},
		{"/UFLOW", "/UFLOW/authsec"},
		{"/a%20b", "/a%20b/authsec"},
		{"/a%2Fb/", "/a%2Fb/authsec"},
		{"/a%2Fb/uflow", "/a%2Fb"},
		{"/a%2Fb/authsec/uflow", "/a%2Fb/authsec"},
		{"/a%2Fuflow", "/a%2Fuflow/authsec"},
		{"/a%2Fauthsec", "/a%2Fauthsec/authsec"},
		{"/a/../b", "/b/authsec"},
	} {
		base := parse(t, host+c.base)
		s := NewServer(base)
		if got, want := s.TokenEndpoint().String(), host+c.root+"/uflow/sdk/delegation-token"; got != want {
			t.Errorf("%q: got %s, want %s", c.base, got, want)
		}
		if got, want := s.KeySet("t").String(), host+c.root+"/spiresvc/v1/jwt/bundle?tenant_id=t&workspace_id=t"; got != want {
			t.Errorf("%q: got %s, want %s", c.base, got, want)
		}
		if path := s.TokenEndpoint().Path; path[0] != '/' {
			t.Errorf("%q: got the path %q, want an absolute one", c.base, path)
		}
		if base.String() != host+c.base {
			t.Errorf("%q: the base URL was changed to %s", c.base, base)
		}
	}
}

func TestKeySetEscapesTheTenant(t *testing.T) {
	for _, tenant := range []string{"11111111-2222-3333-4444-555555555555", "", "a b", "a&tenant_id=b", "../x?#%", "ü"} {
		u := parse(t, NewServer(parse(t, "http://localhost")).KeySet(tenant).String())
		if want := (url.Values{"tenant_id": {tenant}, "workspace_id": {tenant}}); !reflect.DeepEqual(u.Query(), want) || u.Path != "/authsec/spiresvc/v1/jwt/bundle" {
			t.Errorf("%q: got %s, want the query %v", tenant, u, want)
		}
	}
}

func TestTokenRequestHasTheDocumentedForm(t *testing.T) {
	type key struct{}
	ctx := context.WithValue(t.Context(), key{}, "v")
	for _, c := range []struct{ endpoint, clientID, authorization, url string }{
		{"https://h/authsec/uflow/sdk/delegation-token", id, "", "https://h/authsec/uflow/sdk/delegation-token?client_id=" + id},
		{"https://h:1/a%2Fb?x=y", id, "Bearer t", "https://h:1/a%2Fb?client_id=" + id},
		{"https://h/", "a b&c=d#e/ü", "", "https://h/?client_id=a+b%26c%3Dd%23e%2F%C3%BC"},
	} {
		endpoint := parse(t, c.endpoint)
		req, err := NewTokenRequest(ctx, endpoint, c.clientID, c.authorization, "agent/1")
		if err != nil {
			t.Fatal(err)
		}
		if req.Method != http.MethodGet || req.URL.String() != c.url || req.Body != nil || req.Context().Value(key{}) != "v" {
			t.Errorf("got %s %s, body %v, want GET %s with the caller's context", req.Method, req.URL, req.Body, c.url)
		}
		want := http.Header{"Accept": {"application/json"}, "Cache-Control": {"no-cache, no-store"}, "User-Agent": {"agent/1"}, "X-Client-Id": {c.clientID}}
		if c.authorization != "" {
			want["Authorization"] = []string{c.authorization}
		}
		if !reflect.DeepEqual(req.Header, want) {
			t.Errorf("got the header %v, want %v", req.Header, want)
		}
		if endpoint.String() != c.endpoint {
			t.Errorf("the endpoint was changed to %s", endpoint)
		}
	}
	if _, err := NewTokenRequest(ctx, &url.URL{Scheme: "http", Host: "a b"}, "secret-id", "", ""); err == nil || strings.Contains(err.Error(), "secret-id") {
		t.Errorf("got %v, want an error without the client ID", err)
	}
}

func TestCanonicalID(t *testing.T) {
	digits := strings.ReplaceAll(id, "-", "")
	for _, c := range []struct{ in, want string }{
		{id, id},
		{strings.ToUpper(id), id},
		{digits, id},
		{strings.ToUpper(digits), id},
		{"{" + id + "}", id},
		{"{" + strings.ToUpper(digits) + "}", id},
		{"urn:uuid:" + id, id},
		{"URN:UUID:" + strings.ToUpper(id), id},
		{digits[:8] + "-" + digits[8:], id},
		{"{" + id, "{" + id},
		{id + "}", id + "}"},
		{"{{" + id + "}}", "{{" + id + "}}"},
		{"urn:uuid:{" + id + "}", "urn:uuid:{" + id + "}"},
		{"urn:uuid:" + id + "}", "urn:uuid:" + id + "}"},
		{digits[:31], digits[:31]},
		{digits + "0", digits + "0"},
		{id[:35] + "g", id[:35] + "g"},
		{id[:35] + "é", id[:35] + "é"},
		{"x" + id[1:], "x" + id[1:]},
		{digits[:4] + "-" + digits[4:], digits[:4] + "-" + digits[4:]},
		{digits + "-", digits + "-"},
		{"-" + id, "-" + id},
		{" " + id, " " + id},
		{id + "\n", id + "\n"},
		{"My-Agent", "My-Agent"},
		{"{}", "{}"},
		{"", ""},
	} {
		if got := CanonicalID(c.in); got != c.want {
			t.Errorf("%q: got %q, want %q", c.in, got, c.want)
		}
	}
}

func TestBearerTokensAndHeaderValues(t *testing.T) {
	for _, c := range []struct {
		s                 string
		token, headerSafe bool
	}{
		{"", false, false},
		{"a", true, true},
		{"azAZ09-._~+/", true, true},
		{"a=", true, true},
		{"a===", true, true},
		{"=", false, true},
		{"===", false, true},
		{"=a", false, true},
		{"a=b", false, true},
		{"a b", false, false},
		{" a", false, false},
		{"a ", false, false},
		{"a\n", false, false},
		{"a\x00", false, false},
		{"a\x7f", false, false},
		{"\t", false, false},
		{"é", false, false},
		{"\xff", false, false},
		{"!", false, true},
		{"a~!b", false, true},
		{`{"a":1}`, false, true},
	} {
		if got := IsToken(c.s); got != c.token {
			t.Errorf("IsToken(%q): got %t, want %t", c.s, got, c.token)
		}
		if got := IsHeaderSafe(c.s); got != c.headerSafe {
			t.Errorf("IsHeaderSafe(%q): got %t, want %t", c.s, got, c.headerSafe)
		}
	}
	for b := range 256 {
		s := string([]byte{byte(b)})
		if want := strings.Contains("0123456789-._~+/ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz", s); IsToken(s) != want {
			t.Errorf("IsToken(%q): got %t, want %t", s, !want, want)
		}
		if want := b > ' ' && b < 0x7f; IsHeaderSafe(s) != want {
			t.Errorf("IsHeaderSafe(%q): got %t, want %t", s, !want, want)
		}
	}
}
