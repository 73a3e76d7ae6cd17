// Copyright 2026 The authsec Authors
// SPDX-License-Identifier: Apache-2.0

// Package billing_test tests code that calls a protected API, with an AuthSec server
// in the test's process. The code under test is the function invoices.
package billing_test

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"testing"
	"testing/synctest"
	"time"

	"github.com/authsec-go/authsec"
	"github.com/authsec-go/authsec/authsectest"
)

// invoices is the code under test: it takes a client, and knows nothing of tokens.
func invoices(client *http.Client, api string) (string, error) {
	resp, err := client.Get(api + "/invoices")
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return "", fmt.Errorf("the API answered %s", resp.Status)
	}
	body, err := io.ReadAll(resp.Body)
	return string(body), err
}

func TestInvoices(t *testing.T) {
	srv := authsectest.NewServer()
	defer srv.Close()
	srv.Delegate(authsectest.ClientID, authsectest.Delegation{Permissions: []string{"billing:read"}})
	api := httptest.NewServer(srv.API(authsectest.Answer(http.StatusOK, "3 invoices"), "billing:read"))
	defer api.Close()

	client, err := authsec.NewClient(srv.Config(authsectest.ClientID, api.URL))
	if err != nil {
		t.Fatal(err)
	}
	got, err := invoices(client, api.URL)
	if got != "3 invoices" || err != nil {
		t.Errorf("got %q, %v, want 3 invoices", got, err)
	}

	srv.Revoke(authsectest.ClientID)
	if _, err := invoices(client, api.URL); err == nil { // the API's 401
		t.Error("got no error, want the API to reject the revoked token")
	}
	if _, err := invoices(client, api.URL); !errors.Is(err, authsec.ErrNotDelegated) {
		t.Errorf("got %v, want ErrNotDelegated", err)
	}
}

// TestADelegationThatLastsOneHour uses a fake clock, and no network.
func TestADelegationThatLastsOneHour(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const api = "https://billing.example.com"
		srv := authsectest.NewInMemoryServer()
		srv.Delegate(authsectest.ClientID, authsectest.Delegation{TTL: time.Hour})
		transport, err := authsec.NewTransport(srv.Config(authsectest.ClientID, api))
		if err != nil {
			t.Fatal(err)
		}
		transport.Base = authsectest.RoundTripper(srv.API(authsectest.Answer(http.StatusOK, "3 invoices")))
		client := &http.Client{Transport: transport}

		if _, err := invoices(client, api); err != nil {
			t.Errorf("got %v, want no error at the start", err)
		}
		time.Sleep(2 * time.Hour)
		if _, err := invoices(client, api); !errors.Is(err, authsec.ErrNotDelegated) {
			t.Errorf("got %v, want ErrNotDelegated after an hour", err)
		}
	})
}
