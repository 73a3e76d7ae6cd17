// Copyright 2026 The authsec Authors
// SPDX-License-Identifier: Apache-2.0

package verify_test

import (
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/authsec-go/authsec/verify"
)

// RFC 9728, section 5.1.
func TestEveryChallengeHasTheMetadata(t *testing.T) {
	const url = "https://api.example.com/.well-known/oauth-protected-resource/mcp"
	v := newAuthority().verifier(t, func(c *verify.Config) { c.ResourceMetadata = " " + url + "\n" })
	h := v.Handler(verify.RequirePermissions("billing:write")(http.NotFoundHandler()))
	for name, tc := range map[string]struct {
		header []string
		want   answer
	}{
		"no token":     {nil, noToken},
		"malformed":    {[]string{"Bearer"}, badRequest},
		"invalid":      {[]string{"Bearer " + garbage()}, badToken},
		"insufficient": {[]string{"Bearer " + token()}, answer{403, realm + `, error="insufficient_scope", scope="billing:write"`, `{"error":"insufficient_scope","status":403}`}},
	} {
		tc.want.challenge += `, resource_metadata="` + url + `"`
		checkAnswer(t, name, ask(h, tc.header...), tc.want)
	}
	none := newAuthority().verifier(t, func(c *verify.Config) { c.ResourceMetadata = " " })
	checkAnswer(t, "without ResourceMetadata", ask(protected(none)), noToken)
}

// What an MCP client does: it calls, follows the challenge, and finds the service.
func TestMetadataIsFoundByTheChallenge(t *testing.T) {
	mux := http.NewServeMux()
	srv := httptest.NewServer(mux)
	defer srv.Close()
	metadata, err := verify.MetadataHandler(verify.Metadata{
		Resource: srv.URL + "/mcp", AuthorizationServers: []string{"https://authsec.example.com/oauth"}, Scopes: []string{"billing:read"},
		Name: "Billing", Documentation: "https://docs.example.com/",
	})
	if err != nil {
		t.Fatal(err)
	}
	const path = "/.well-known/oauth-protected-resource/mcp"
	v := newAuthority().verifier(t, func(c *verify.Config) { c.ResourceMetadata = srv.URL + path })
	mux.Handle("/mcp", protected(v))
	mux.Handle(path, metadata)

	resp, err := http.Get(srv.URL + "/mcp")
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	_, url, _ := strings.Cut(resp.Header.Get("WWW-Authenticate"), `resource_metadata="`)
	if resp, err = http.Get(strings.TrimSuffix(url, `"`)); err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, _ := io.ReadAll(resp.Body)
	want := `{"resource":"` + srv.URL + `/mcp","authorization_servers":["https://authsec.example.com/oauth"],"scopes_supported":["billing:read"],` +
		`"resource_name":"Billing","resource_documentation":"https://docs.example.com/","bearer_methods_supported":["header"]}`
	if resp.StatusCode != 200 || resp.Header.Get("Content-Type") != "application/json" || string(body) != want {
		t.Errorf("metadata = %d %q %s, want %s", resp.StatusCode, resp.Header.Get("Content-Type"), body, want)
	}
}

func TestMetadataIsReadOnly(t *testing.T) {
	scopes := []string{"a:b"}
	h, err := verify.MetadataHandler(verify.Metadata{Resource: "https://api.example.com", Scopes: scopes})
	if err != nil {
		t.Fatal(err)
	}
	scopes[0] = "c:d"
	for method, want := range map[string]int{"GET": 200, "HEAD": 200, "POST": 405, "DELETE": 405, "OPTIONS": 405} {
		w := httptest.NewRecorder()
		h.ServeHTTP(w, httptest.NewRequest(method, "/", nil))
		if w.Code != want || (w.Header().Get("Allow") != "") != (want == 405) {
			t.Errorf("%s: answer = %d with Allow %q, want %d", method, w.Code, w.Header().Get("Allow"), want)
		}
		if got, want := w.Body.String(), `{"resource":"https://api.example.com","scopes_supported":["a:b"],"bearer_methods_supported":["header"]}`; method == "GET" && got != want {
			t.Errorf("metadata = %s, want %s", got, want)
		}
	}
}

func TestMetadataNamesEveryFault(t *testing.T) {
	for name, tc := range map[string]struct {
		metadata verify.Metadata
		want     []string
	}{
		"nothing":    {verify.Metadata{}, []string{"verify: Metadata.Resource is empty: write one like https://api.example.com"}},
		"everything": {verify.Metadata{Resource: "http://a.test", AuthorizationServers: []string{"https://a.test", "b"}, Scopes: []string{"a b"}, Documentation: "c"}, []string{"Resource has", "AuthorizationServers has", `Scopes: "a b"`, "Documentation has"}},
		"a fragment": {verify.Metadata{Resource: "https://a.test/#b"}, []string{"Resource has a fragment"}},
	} {
		h, err := verify.MetadataHandler(tc.metadata)
		for _, want := range tc.want {
			if h != nil || err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("%s: error = %v, want %q in it", name, err, want)
			}
		}
	}
}
