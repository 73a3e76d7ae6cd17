// Copyright 2026 The authsec Authors
// SPDX-License-Identifier: Apache-2.0

package verify_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"net/http"
	"net/http/httptest"

	"github.com/authsec-go/authsec"
	"github.com/authsec-go/authsec/authsectest"
	"github.com/authsec-go/authsec/verify"
)

// A service that lets agents read invoices, and an agent that does.
func Example() {
	srv := authsectest.NewServer() // in place of https://authsec.example.com
	defer srv.Close()
	srv.Delegate(authsectest.ClientID, authsectest.Delegation{
		Permissions: []string{"billing:read"},
		Audience:    []string{"billing-api"},
	})

	v, err := verify.New(verify.Config{
		BaseURL:  srv.URL,
		Tenants:  []string{authsectest.TenantID},
		Audience: "billing-api",
	})
	if err != nil {
		log.Fatal(err)
	}
	invoices := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		claims, _ := verify.FromContext(r.Context())
		fmt.Fprintln(w, "invoices for", claims.Email)
	})
	mux := http.NewServeMux()
	mux.Handle("GET /invoices", v.Handler(verify.RequirePermissions("billing:read")(invoices)))
	mux.Handle("POST /invoices", v.Handler(verify.RequirePermissions("billing:write")(invoices)))
	api := httptest.NewServer(mux)
	defer api.Close()

	client, err := authsec.NewClient(srv.Config(authsectest.ClientID, api.URL))
	if err != nil {
		log.Fatal(err)
	}
	for _, method := range []string{"GET", "POST"} {
		req, err := http.NewRequest(method, api.URL+"/invoices", nil)
		if err != nil {
			log.Fatal(err)
		}
		resp, err := client.Do(req)
		if err != nil {
			log.Fatal(err)
		}
		resp.Body.Close()
		fmt.Printf("%s: %s\n%s", method, resp.Status, resp.Header.Get("WWW-Authenticate"))
	}
	// Output:
	// GET: 200 OK
	// POST: 403 Forbidden
	// Bearer realm="authsec", error="insufficient_scope", scope="billing:write"
}

// Code that is no net/http handler, such as a gRPC interceptor, calls Verify itself.
func ExampleVerifier_Verify() {
	srv := authsectest.NewServer()
	defer srv.Close()
	token := srv.Delegate(authsectest.ClientID, authsectest.Delegation{Audience: []string{"billing-api"}})

	v, err := verify.New(verify.Config{BaseURL: srv.URL, Tenants: []string{authsectest.TenantID}, Audience: "orders-api"})
	if err != nil {
		log.Fatal(err)
	}
	_, err = v.Verify(context.Background(), token)
	switch {
	case errors.Is(err, verify.ErrInvalidToken):
		fmt.Println("Unauthenticated;", err)
	case err != nil:
		fmt.Println("Unavailable;", err)
	}
	// Output: Unauthenticated; verify: invalid token: token has invalid audience
}

// A client verifies the tokens that it gets, too.
func ExampleKeyfunc() {
	srv := authsectest.NewServer()
	defer srv.Close()
	srv.Delegate(authsectest.ClientID, authsectest.Delegation{})
	cfg := srv.Config(authsectest.ClientID) // cfg, err := authsec.ConfigFromEnv()

	var err error
	cfg.Keyfunc, err = verify.Keyfunc(cfg, authsectest.TenantID)
	if err != nil {
		log.Fatal(err)
	}
	src, err := authsec.NewSource(cfg)
	if err != nil {
		log.Fatal(err)
	}
	d, err := src.Delegation(context.Background())
	if err != nil {
		log.Fatal(err)
	}
	claims, err := d.Claims()
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println("verified:", claims.Verified)
	// Output: verified: true
}
