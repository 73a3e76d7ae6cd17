// Copyright 2026 The authsec Authors
// SPDX-License-Identifier: Apache-2.0

package docs_test

import (
	"log"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/authsec-go/authsec"
	"github.com/authsec-go/authsec/authsectest"
)

func TestReadmeFirstClient(t *testing.T) {
	srv := authsectest.NewServer()
	defer srv.Close()
	srv.Delegate(authsectest.ClientID, authsectest.Delegation{})
	t.Setenv("AUTHSEC_BASE_URL", srv.URL)
	t.Setenv("AUTHSEC_AGENT_CLIENT_ID", authsectest.ClientID)
	t.Setenv("DOWNSTREAM_URL", "https://billing.example.com")

	// The host does not exist.
	transport := http.DefaultTransport
	defer func() { http.DefaultTransport = transport }()
	http.DefaultTransport = answer(func(req *http.Request) int {
		if req.Header.Get("Authorization") == "" {
			return http.StatusUnauthorized
		}
		return http.StatusOK
	})

	cfg, err := authsec.ConfigFromEnv() // AUTHSEC_BASE_URL, AUTHSEC_AGENT_CLIENT_ID, DOWNSTREAM_URL
	if err != nil {
		log.Fatal(err)
	}
	client, err := authsec.NewClient(cfg) // a plain *http.Client
	if err != nil {
		log.Fatal(err)
	}
	resp, err := client.Get("https://billing.example.com/customers/42")
	if err != nil || resp.StatusCode != http.StatusOK {
		t.Fatalf("got %v, %v, want 200", resp, err)
	}
}

// answer is a transport that answers with a status.
type answer func(*http.Request) int

func (a answer) RoundTrip(req *http.Request) (*http.Response, error) {
	return &http.Response{StatusCode: a(req), Header: http.Header{}, Body: http.NoBody, Request: req}, nil
}

func TestReadmeTest(t *testing.T) {
	srv := authsectest.NewServer()
	defer srv.Close()
	srv.Delegate(authsectest.ClientID, authsectest.Delegation{Permissions: []string{"billing:read"}})
	api := httptest.NewServer(srv.API(nil, "billing:read"))
	defer api.Close()

	client, err := authsec.NewClient(srv.Config(authsectest.ClientID, api.URL))
	if err != nil {
		t.Fatal(err)
	}
	resp, err := client.Get(api.URL)
	if err != nil || resp.StatusCode != http.StatusOK {
		t.Fatalf("got %v, %v, want 200", resp, err)
	}
	resp.Body.Close()
}
