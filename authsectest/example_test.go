// Copyright 2026 The authsec Authors
// SPDX-License-Identifier: Apache-2.0

package authsectest_test

import (
	"fmt"
	"io"
	"log"
	"net/http"
	"time"

	"github.com/authsec-go/authsec"
	"github.com/authsec-go/authsec/authsectest"
	"golang.org/x/oauth2"
)

// A client calls a protected API. Then the agent loses its delegation.
func Example() {
	srv := authsectest.NewInMemoryServer()
	srv.Delegate(authsectest.ClientID, authsectest.Delegation{Permissions: []string{"billing:read"}})

	client, err := authsec.NewClient(srv.Config(authsectest.ClientID, "https://billing.test"))
	if err != nil {
		log.Fatal(err)
	}
	client.Transport.(*authsec.Transport).Base = authsectest.RoundTripper(srv.API(nil, "billing:read"))

	for range 2 {
		resp, err := client.Get("https://billing.test/customers/42")
		if err != nil {
			log.Fatal(err)
		}
		resp.Body.Close()
		fmt.Println(resp.Status, "with", srv.Fetches(), "fetch")
	}
	srv.Revoke(authsectest.ClientID)
	resp, err := client.Get("https://billing.test/customers/42")
	if err != nil {
		log.Fatal(err)
	}
	resp.Body.Close()
	fmt.Println(resp.Status)
	// Output:
	// 200 OK with 1 fetch
	// 200 OK with 1 fetch
	// 401 Unauthorized
}

// An API asks for a permission that the agent does not have.
func ExampleServer_API() {
	srv := authsectest.NewInMemoryServer()
	api := &http.Client{Transport: authsectest.RoundTripper(srv.API(nil, "billing:write"))}

	token := srv.Delegate(authsectest.ClientID, authsectest.Delegation{Permissions: []string{"billing:read"}})
	req, err := http.NewRequest("GET", "https://billing.test/", nil)
	if err != nil {
		log.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+token)
	resp, err := api.Do(req)
	if err != nil {
		log.Fatal(err)
	}
	defer resp.Body.Close()
	fmt.Println(resp.Status, resp.Header.Get("WWW-Authenticate"))
	// Output:
	// 403 Forbidden Bearer error="insufficient_scope"
}

// A server of the newer generation wants the caller's credential.
func ExampleServer_RequireCredential() {
	srv := authsectest.NewInMemoryServer()
	srv.RequireCredential("session")
	srv.Delegate(authsectest.ClientID, authsectest.Delegation{})

	cfg := srv.Config(authsectest.ClientID)
	for _, credential := range []string{"another", "session"} {
		cfg.Credential = oauth2.StaticTokenSource(&oauth2.Token{AccessToken: credential})
		src, err := authsec.NewSource(cfg)
		if err != nil {
			log.Fatal(err)
		}
		_, err = src.Token()
		fmt.Println(credential, "gets a token:", err == nil)
	}
	// Output:
	// another gets a token: false
	// session gets a token: true
}

// The limit counts all requests from one address.
func ExampleServer_LimitRate() {
	srv := authsectest.NewInMemoryServer()
	srv.LimitRate(1, time.Minute)
	for range 2 {
		resp, err := srv.Client().Get(srv.URL + authsectest.EndpointPath)
		if err != nil {
			log.Fatal(err)
		}
		body, err := io.ReadAll(resp.Body)
		if err != nil {
			log.Fatal(err)
		}
		fmt.Printf("%d %s\n", resp.StatusCode, body)
	}
	// Output:
	// 400 {"error":"client_id is required (query param or X-Client-ID header)"}
	// 429 {"error":"Rate limit exceeded","limit":1,"message":"Too many requests. Maximum 1 requests per 1m0s allowed. Please try again later.","window":"1m0s"}
}

// A proxy in front of the server answers twice, and the session ends while its
// database is away.
func ExampleServer_FailNext() {
	srv := authsectest.NewInMemoryServer()
	srv.FailNext(2, authsectest.Answer(503, "<html>", "Retry-After", "1"))
	srv.FailNext(1, authsectest.Unauthorized("session is no longer valid for this workspace"))
	for range 4 {
		resp, err := srv.Client().Get(srv.URL + authsectest.EndpointPath + "?client_id=" + authsectest.ClientID)
		if err != nil {
			log.Fatal(err)
		}
		resp.Body.Close()
		fmt.Println(resp.Status)
	}
	// Output:
	// 503 Service Unavailable
	// 503 Service Unavailable
	// 401 Unauthorized
	// 404 Not Found
}
