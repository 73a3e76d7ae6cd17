// Copyright 2026 The authsec Authors
// SPDX-License-Identifier: Apache-2.0

package docs_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/authsec-go/authsec/authsectest"
	"github.com/authsec-go/authsec/verify"
)

// cors lets pages of an origin call the API with a token.
func cors(origin string, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("Access-Control-Allow-Origin", origin)
		h.Set("Access-Control-Expose-Headers", "WWW-Authenticate, Retry-After")
		if r.Method == http.MethodOptions && r.Header.Get("Access-Control-Request-Method") != "" { // a preflight
			h.Set("Access-Control-Allow-Headers", "Authorization")
			h.Set("Access-Control-Allow-Methods", "GET, POST")
			w.WriteHeader(http.StatusNoContent)
			return
		}
		next.ServeHTTP(w, r)
	})
}

func TestProtectedPreflight(t *testing.T) {
	srv := authsectest.NewServer()
	defer srv.Close()
	api, err := newBillingAPI(srv.URL, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	inside := api
	api = cors("https://app.example.com", api) // outside v.Handler: a preflight has no token
	token := srv.Delegate(authsectest.ClientID, authsectest.Delegation{Permissions: []string{"billing:read"}, Audience: []string{"billing-api"}})
	send := func(api http.Handler, method, authorization string) *http.Response {
		served := httptest.NewServer(api)
		defer served.Close()
		req, err := http.NewRequest(method, served.URL+"/invoices", nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Origin", "https://app.example.com")
		if method == http.MethodOptions {
			req.Header.Set("Access-Control-Request-Method", "GET")
			req.Header.Set("Access-Control-Request-Headers", "authorization")
		} else if authorization != "" {
			req.Header.Set("Authorization", authorization)
		}
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		return resp
	}
	for _, test := range []struct {
		what, method, authorization string
		want                        int
	}{
		{"the preflight", "OPTIONS", "", 204},
		{"the request", "GET", "Bearer " + token, 200},
		{"a request without a token", "GET", "", 401},
	} {
		resp := send(api, test.method, test.authorization)
		if got := resp.Header.Get("Access-Control-Allow-Origin"); resp.StatusCode != test.want || got != "https://app.example.com" {
			t.Errorf("%s: got %d for the origin %q, want %d", test.what, resp.StatusCode, got, test.want)
		}
	}
	if resp := send(inside, "OPTIONS", ""); resp.StatusCode != 401 {
		t.Errorf("a preflight without cors outside: got %d, want 401", resp.StatusCode)
	}
}

// newer is srv with a newer server's endpoint that says whether a token was revoked.
func newer(t *testing.T, srv *authsectest.Server, revoked *atomic.Bool) string {
	base, err := url.Parse(srv.URL)
	if err != nil {
		t.Fatal(err)
	}
	mux := http.NewServeMux()
	mux.Handle("/", httputil.NewSingleHostReverseProxy(base))
	mux.HandleFunc("POST /authsec/spiresvc/v1/jwt/validate", func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprintf(w, `{"valid":%t}`, !revoked.Load())
	})
	served := httptest.NewServer(mux)
	t.Cleanup(served.Close)
	return served.URL
}

func TestProtectedRevocationAndLifetime(t *testing.T) {
	srv := authsectest.NewServer()
	defer srv.Close()
	var revoked atomic.Bool
	baseURL := newer(t, srv, &revoked)
	v, err := verify.New(verify.Config{
		BaseURL: baseURL, Tenants: tenants, Audience: "billing-api",
		RevocationCheck: time.Minute, // of each token in use
	})
	if err != nil {
		t.Fatal(err)
	}
	api := v.Handler(http.HandlerFunc(listInvoices))
	for name, test := range map[string]struct {
		ttl     time.Duration
		revoked bool
		want    int
	}{"in force": {time.Hour, false, 200}, "revoked": {30 * time.Minute, true, 401}} {
		revoked.Store(test.revoked)
		token := srv.Delegate(authsectest.ClientID, authsectest.Delegation{Audience: []string{"billing-api"}, TTL: test.ttl})
		if rec := ask(api, "GET", "Bearer "+token); rec.Code != test.want {
			t.Errorf("%s: got %d, want %d", name, rec.Code, test.want)
		}
	}

	limited, err := newBillingAPI(srv.URL, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	for ttl, want := range map[time.Duration]int{time.Hour: 200, 24 * time.Hour: 401} {
		token := srv.Delegate(authsectest.ClientID, authsectest.Delegation{Permissions: []string{"billing:read"}, Audience: []string{"billing-api"}, TTL: ttl})
		if rec := ask(limited, "GET", "Bearer "+token); rec.Code != want {
			t.Errorf("a token of %v: got %d, want %d", ttl, rec.Code, want)
		}
	}
}

// newMCP is an MCP server that tells its clients where its metadata is.
func newMCP(publicURL, baseURL string, server http.Handler) (http.Handler, error) {
	const metadataPath = "/.well-known/oauth-protected-resource/mcp" // which ends in the path of Resource
	metadata, err := verify.MetadataHandler(verify.Metadata{
		Resource: publicURL + "/mcp", // this service, as its clients write it
		Scopes:   []string{"billing:read", "billing:write"},
		Name:     "Billing",
	})
	if err != nil {
		return nil, err
	}
	v, err := verify.New(verify.Config{
		BaseURL: baseURL, Tenants: tenants, Audience: "billing-api",
		ResourceMetadata: publicURL + metadataPath,
	})
	if err != nil {
		return nil, err
	}
	mux := http.NewServeMux()
	mux.Handle(metadataPath, metadata)
	mux.Handle("/mcp", v.Handler(server))
	return mux, nil
}

func TestProtectedMetadata(t *testing.T) {
	api, err := newMCP("https://billing.example.com", "https://authsec.example.com", http.NotFoundHandler())
	if err != nil {
		t.Fatal(err)
	}
	get := func(path string) *httptest.ResponseRecorder {
		rec := httptest.NewRecorder()
		api.ServeHTTP(rec, httptest.NewRequest("GET", path, nil))
		return rec
	}
	rec := get("/mcp")
	want := `Bearer realm="authsec", resource_metadata="https://billing.example.com/.well-known/oauth-protected-resource/mcp"`
	if got := rec.Header().Get("WWW-Authenticate"); rec.Code != 401 || got != want {
		t.Errorf("without a token: got %d and %s, want 401 and %s", rec.Code, got, want)
	}
	rec = get("/.well-known/oauth-protected-resource/mcp")
	if rec.Code != 200 || !strings.Contains(rec.Body.String(), `"resource":"https://billing.example.com/mcp"`) {
		t.Errorf("the metadata: got %d and %s, want the resource", rec.Code, rec.Body)
	}
}
