// Copyright 2026 The authsec Authors
// SPDX-License-Identifier: Apache-2.0

package authsec_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"time"

	"github.com/authsec-go/authsec"
	"github.com/authsec-go/authsec/authsectest"
	"golang.org/x/oauth2"
)

// The examples run against a server and a protected API in this process. In a
// program of your own, authsec.ConfigFromEnv replaces exampleConfig.
func exampleConfig() (cfg authsec.Config, apiURL string, stop func()) {
	srv := authsectest.NewServer()
	srv.Delegate(authsectest.ClientID, authsectest.Delegation{Permissions: []string{"billing:read"}})
	api := httptest.NewServer(srv.API(authsectest.Answer(200, `{"customer":42}`), "billing:read"))
	return srv.Config(authsectest.ClientID, api.URL), api.URL, func() { api.Close(); srv.Close() }
}

func ExampleNewClient() {
	cfg, apiURL, stop := exampleConfig() // cfg, err := authsec.ConfigFromEnv()
	defer stop()

	client, err := authsec.NewClient(cfg)
	if err != nil {
		log.Fatal(err)
	}
	resp, err := client.Get(apiURL + "/customers/42")
	if err != nil {
		log.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(resp.Status, string(body))
	// Output: 200 OK {"customer":42}
}

// A Transport wraps the transport of a client that exists already. The client
// keeps its time-out and cookies.
func ExampleTransport() {
	cfg, apiURL, stop := exampleConfig()
	defer stop()
	client := &http.Client{Timeout: 10 * time.Second}

	src, err := authsec.NewSource(cfg)
	if err != nil {
		log.Fatal(err)
	}
	client.Transport = &authsec.Transport{
		Source: src,
		Base:   client.Transport, // nil means http.DefaultTransport here, too
		Hosts:  cfg.Hosts,        // such as "billing.example.com"
	}
	resp, err := client.Get(apiURL)
	if err != nil {
		log.Fatal(err)
	}
	defer resp.Body.Close()
	fmt.Println(resp.Status)
	// Output: 200 OK
}

// A Source is an oauth2.TokenSource, which many libraries take. The library then
// decides where the token goes.
func ExampleNewSource() {
	cfg, apiURL, stop := exampleConfig()
	defer stop()

	src, err := authsec.NewSource(cfg)
	if err != nil {
		log.Fatal(err)
	}
	client := oauth2.NewClient(context.Background(), src)
	resp, err := client.Get(apiURL)
	if err != nil {
		log.Fatal(err)
	}
	defer resp.Body.Close()
	fmt.Println(resp.Status)
	// Output: 200 OK
}

// Permissions can be checked before a call that would fail.
func ExampleSource_Delegation() {
	cfg, _, stop := exampleConfig()
	defer stop()

	src, err := authsec.NewSource(cfg)
	if err != nil {
		log.Fatal(err)
	}
	delegation, err := src.Delegation(context.Background())
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println("may read: ", delegation.HasPermission("billing:read"))
	fmt.Println("may write:", delegation.HasPermission("billing:write"))
	// Output:
	// may read:  true
	// may write: false
}

// Test for errors with errors.Is and errors.As, also where http.Client wraps them.
func ExampleError() {
	srv := authsectest.NewServer()
	defer srv.Close()
	srv.Register(authsectest.ClientID) // and no delegation

	client, err := authsec.NewClient(srv.Config(authsectest.ClientID, "https://billing.example.com"))
	if err != nil {
		log.Fatal(err)
	}
	_, err = client.Get("https://billing.example.com/customers/42")

	var e *authsec.Error
	switch {
	case errors.Is(err, authsec.ErrNotDelegated):
		fmt.Println("ask an admin for a delegation")
	case errors.As(err, &e) && e.RetryAfter > 0:
		fmt.Println("try again in", e.RetryAfter)
	}
	if errors.As(err, &e) {
		fmt.Println(e.StatusCode, e.Message)
	}
	// Output:
	// ask an admin for a delegation
	// 404 No active delegation token found
}

// After an admin has delegated, Refresh asks the server at once, although a failure
// is cached.
func ExampleSource_Refresh() {
	srv := authsectest.NewServer()
	defer srv.Close()
	srv.Register(authsectest.ClientID)
	ctx := context.Background()

	src, err := authsec.NewSource(srv.Config(authsectest.ClientID))
	if err != nil {
		log.Fatal(err)
	}
	_, err = src.TokenContext(ctx)
	fmt.Println("delegated:", err == nil)

	srv.Delegate(authsectest.ClientID, authsectest.Delegation{})
	_, err = src.Refresh(ctx)
	fmt.Println("delegated:", err == nil)
	// Output:
	// delegated: false
	// delegated: true
}

// Test your own code with authsectest. Here, an admin revokes the delegation and
// delegates again, and no call fails.
func Example_testing() {
	srv := authsectest.NewServer()
	defer srv.Close()
	api := httptest.NewServer(srv.API(nil))
	defer api.Close()
	srv.Delegate(authsectest.ClientID, authsectest.Delegation{})

	client, err := authsec.NewClient(srv.Config(authsectest.ClientID, api.URL))
	if err != nil {
		log.Fatal(err)
	}
	for range 2 {
		resp, err := client.Get(api.URL)
		if err != nil {
			log.Fatal(err)
		}
		resp.Body.Close()
		fmt.Println(resp.StatusCode)

		srv.Revoke(authsectest.ClientID)
		srv.Delegate(authsectest.ClientID, authsectest.Delegation{})
	}
	fmt.Println("fetches:", srv.Fetches())
	// Output:
	// 200
	// 200
	// fetches: 2
}
