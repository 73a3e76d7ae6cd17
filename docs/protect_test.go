// Copyright 2026 The authsec Authors
// SPDX-License-Identifier: Apache-2.0

package docs_test

import (
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/authsec-go/authsec"
	"github.com/authsec-go/authsec/authsectest"
	"github.com/authsec-go/authsec/verify"
)

var tenants = []string{authsectest.TenantID, "99999999-8888-7777-6666-555555555555"}

// newBillingAPI is a service that lets agents read invoices, and make them.
func newBillingAPI(baseURL string, keys http.RoundTripper, logger *slog.Logger) (http.Handler, error) {
	v, err := verify.New(verify.Config{
		BaseURL:    baseURL,                       // the AuthSec server's root
		Tenants:    tenants,                       // whose agents may call
		Audience:   "billing-api",                 // this service, as the tokens' aud names it
		Logger:     logger,                        // gets the reason if a request is not accepted
		HTTPClient: &http.Client{Transport: keys}, // asks the AuthSec server; nil for the usual one

		MaxLifetime: time.Hour + time.Minute, // the longest delegation here, with a minute to spare
	})
	if err != nil {
		return nil, err
	}
	mayRead := verify.RequirePermissions("billing:read")
	mayWrite := verify.RequirePermissions("billing:read", "billing:write")
	mux := http.NewServeMux()
	mux.Handle("GET /invoices", mayRead(http.HandlerFunc(listInvoices)))
	mux.Handle("POST /invoices", mayWrite(http.HandlerFunc(makeInvoice)))
	return v.Handler(mux), nil
}

func listInvoices(w http.ResponseWriter, r *http.Request) {
	claims, ok := verify.FromContext(r.Context())
	if !ok {
		http.Error(w, "no verify.Verifier in front", http.StatusInternalServerError)
		return
	}
	tenant := strings.TrimPrefix(claims.Issuer, "spiffe://") // one of Config.Tenants
	fmt.Fprintf(w, "invoices of %s for %s", tenant, claims.Subject)
}

func makeInvoice(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusCreated) }

// ask sends a request with an Authorization header, or without one if it is "".
func ask(api http.Handler, method, authorization string) *httptest.ResponseRecorder {
	req := httptest.NewRequest(method, "/invoices", nil)
	if authorization != "" {
		req.Header.Set("Authorization", authorization)
	}
	rec := httptest.NewRecorder()
	api.ServeHTTP(rec, req)
	return rec
}

func TestProtectedService(t *testing.T) {
	srv := authsectest.NewServer()
	defer srv.Close()
	api, err := newBillingAPI(srv.URL, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	ours := []string{"billing-api"}
	for name, test := range map[string]struct {
		delegation authsectest.Delegation
		want       int
	}{
		"both permissions": {authsectest.Delegation{Permissions: []string{"billing:read", "billing:write"}, Audience: ours}, 201},
		"one permission":   {authsectest.Delegation{Permissions: []string{"billing:write"}, Audience: ours}, 403},
		"another audience": {authsectest.Delegation{Permissions: []string{"billing:read", "billing:write"}}, 401},
		"expired":          {authsectest.Delegation{Audience: ours, TTL: -time.Minute}, 401},
	} {
		token := srv.Delegate(authsectest.ClientID, test.delegation)
		req := httptest.NewRequest("POST", "/invoices", nil)
		req.Header.Set("Authorization", "Bearer "+token)
		rec := httptest.NewRecorder()
		api.ServeHTTP(rec, req)
		if rec.Code != test.want {
			t.Errorf("%s: got %d, want %d", name, rec.Code, test.want)
		}
	}
}

// The table of answers.
func TestProtectedAnswers(t *testing.T) {
	srv := authsectest.NewServer()
	defer srv.Close()
	api, err := newBillingAPI(srv.URL, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	token := srv.Delegate(authsectest.ClientID, authsectest.Delegation{Permissions: []string{"billing:read"}, Audience: []string{"billing-api"}})
	for _, test := range []struct {
		method, authorization string
		status                int
		challenge, body       string
	}{
		{"GET", "Bearer " + token, 200, "", "invoices of " + authsectest.TenantID + " for spiffe://"},
		{"GET", "", 401, `Bearer realm="authsec"`, `{"status":401}`},
		{"GET", "Basic YTpi", 401, `Bearer realm="authsec"`, `{"status":401}`},
		{"GET", "Bearer", 400, `Bearer realm="authsec", error="invalid_request"`, `{"error":"invalid_request","status":400}`},
		{"GET", "Bearer x", 401, `Bearer realm="authsec", error="invalid_token"`, `{"error":"invalid_token","status":401}`},
		{"POST", "Bearer " + token, 403, `Bearer realm="authsec", error="insufficient_scope", scope="billing:read billing:write"`, `{"error":"insufficient_scope","status":403}`},
	} {
		rec := ask(api, test.method, test.authorization)
		if got := rec.Header().Get("WWW-Authenticate"); rec.Code != test.status || got != test.challenge || !strings.HasPrefix(rec.Body.String(), test.body) {
			t.Errorf("%s, want %d: got %d, %q, %q", test.method, test.status, rec.Code, got, rec.Body)
		}
	}

	// This service does not learn that a delegation was revoked.
	srv.Revoke(authsectest.ClientID)
	if rec := ask(api, "GET", "Bearer "+token); rec.Code != 200 {
		t.Errorf("revoked: got %d, want 200", rec.Code)
	}
}

// outOfOrder is a transport that fails while it is down.
type outOfOrder struct{ down atomic.Bool }

func (o *outOfOrder) RoundTrip(req *http.Request) (*http.Response, error) {
	if o.down.Load() {
		return nil, errors.New("down")
	}
	return http.DefaultTransport.RoundTrip(req)
}

func TestProtectedRotationAndOutage(t *testing.T) {
	srv := authsectest.NewServer()
	defer srv.Close()
	delegate := func() string {
		return "Bearer " + srv.Delegate(authsectest.ClientID, authsectest.Delegation{Permissions: []string{"billing:read"}, Audience: []string{"billing-api"}})
	}
	keys := new(outOfOrder)
	keys.down.Store(true)
	api, err := newBillingAPI(srv.URL, keys, nil)
	if err != nil {
		t.Fatal(err)
	}
	first := delegate()
	rec := ask(api, "GET", first)
	if rec.Code != 503 || rec.Header().Get("Retry-After") == "" || rec.Header().Get("WWW-Authenticate") != "" {
		t.Errorf("no keys: got %d, %v, want 503 with a Retry-After and no challenge", rec.Code, rec.Header())
	}

	keys.down.Store(false)
	api, err = newBillingAPI(srv.URL, keys, nil)
	if err != nil {
		t.Fatal(err)
	}
	check := func(what, authorization string, want int) {
		t.Helper()
		if rec := ask(api, "GET", authorization); rec.Code != want {
			t.Errorf("%s: got %d, want %d", what, rec.Code, want)
		}
	}
	check("the first token", first, 200)
	srv.RotateKey()
	check("after a rotation, the first token", first, 200) // by the key in hand
	second := delegate()
	check("after a rotation, a token of the new key", second, 200)
	check("with the new keys in hand, the first token", first, 401)
	keys.down.Store(true)
	check("without a key server, keys in hand", second, 200)
}

func TestProtectedSeenByClient(t *testing.T) {
	elsewhere := authsectest.Delegation{Audience: []string{"orders-api"}}
	reading := authsectest.Delegation{Permissions: []string{"billing:read"}, Audience: []string{"billing-api"}}
	for name, test := range map[string]struct {
		method      string
		first, then authsectest.Delegation
		status      int
	}{
		"another token in place of the rejected one": {"GET", elsewhere, reading, 200},
		"no better token": {"GET", elsewhere, elsewhere, 401},
		"a missing permission; renewed in the background": {"POST", reading, reading, 403},
	} {
		synctest.Test(t, func(t *testing.T) {
			srv := authsectest.NewInMemoryServer()
			api, err := newBillingAPI(srv.URL, srv.Client().Transport, nil)
			if err != nil {
				t.Fatal(err)
			}
			srv.Delegate(authsectest.ClientID, test.first)
			src, err := authsec.NewSource(srv.Config(authsectest.ClientID))
			if err != nil {
				t.Fatal(err)
			}
			if _, err := src.TokenContext(t.Context()); err != nil {
				t.Fatal(err)
			}
			srv.Delegate(authsectest.ClientID, test.then)
			req, err := http.NewRequest(test.method, "https://billing.example.com/invoices", nil)
			if err != nil {
				t.Fatal(err)
			}
			transport := &authsec.Transport{Source: src, Base: authsectest.RoundTripper(api), Hosts: []string{"billing.example.com"}}
			resp, err := transport.RoundTrip(req)
			if err != nil {
				t.Fatal(err)
			}
			resp.Body.Close()
			synctest.Wait()
			if got := srv.Fetches(); resp.StatusCode != test.status || got != 2 {
				t.Errorf("%s: got %d and %d fetches, want %d and 2", name, resp.StatusCode, got, test.status)
			}
		})
	}
}

// noKeys is a transport to a server whose key set can't be fetched.
type noKeys struct{}

func (noKeys) RoundTrip(req *http.Request) (*http.Response, error) {
	if req.URL.Path == authsectest.KeySetPath {
		return nil, errors.New("down")
	}
	return http.DefaultTransport.RoundTrip(req)
}

func TestProtectedClientVerifies(t *testing.T) {
	srv := authsectest.NewServer()
	defer srv.Close()
	srv.Delegate(authsectest.ClientID, authsectest.Delegation{})
	for base, want := range map[http.RoundTripper]error{nil: nil, noKeys{}: authsec.ErrInvalidResponse} {
		cfg := srv.Config(authsectest.ClientID)
		cfg.HTTPClient = &http.Client{Transport: base}
		var err error
		if cfg.Keyfunc, err = verify.Keyfunc(cfg, authsectest.TenantID); err != nil {
			t.Fatal(err)
		}
		src, err := authsec.NewSource(cfg)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := src.Token(); !errors.Is(err, want) {
			t.Errorf("got %v, want %v", err, want)
		}
	}
}
