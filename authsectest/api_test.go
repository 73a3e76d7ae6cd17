// Copyright 2026 The authsec Authors
// SPDX-License-Identifier: Apache-2.0

package authsectest_test

import (
	"net/http"
	"testing"
	"time"

	"github.com/authsec-go/authsec/authsectest"
)

// call calls an API with an Authorization header.
func call(t *testing.T, api http.Handler, authorization string) int {
	t.Helper()
	return send(t, &http.Client{Transport: authsectest.RoundTripper(api)}, "GET", "https://api.test/", "", "Authorization", authorization).status
}

func TestAPIRejectsBadTokens(t *testing.T) {
	srv := authsectest.NewInMemoryServer()
	api := srv.API(nil, "billing:read")
	const other = "0b5e9c34-6f0e-4b7c-8c1d-2f3a4b5c6d7e"
	good := srv.Delegate(authsectest.ClientID, authsectest.Delegation{Permissions: []string{"billing:read"}})
	weak := srv.Delegate(other, authsectest.Delegation{})
	const gone = "1b5e9c34-6f0e-4b7c-8c1d-2f3a4b5c6d7e"
	revoked := srv.Delegate(gone, authsectest.Delegation{Permissions: []string{"billing:read"}})
	srv.Revoke(gone)
	expired := srv.Delegate(gone, authsectest.Delegation{Permissions: []string{"billing:read"}, TTL: -time.Second})

	for _, tc := range []struct {
		name, authorization string
		want                int
	}{
		{"good", "Bearer " + good, 200},
		{"none", "", 401},
		{"not a token", "Bearer x", 401},
		{"tampered", "Bearer " + good[:len(good)-8] + "AAAAAAAA", 401},
		{"revoked", "Bearer " + revoked, 401},
		{"expired", "Bearer " + expired, 401},
		{"lacks a permission", "Bearer " + weak, 403},
	} {
		if status := call(t, api, tc.authorization); status != tc.want {
			t.Errorf("%s: %d, want %d", tc.name, status, tc.want)
		}
	}
	if got := srv.APICalls(); got != 1 {
		t.Errorf("APICalls = %d, want 1", got)
	}
}

func TestReplacedTokenIsGoodOnTheOlderGenerationOnly(t *testing.T) {
	for credential, want := range map[string]int{"": 200, "c": 401} {
		srv := authsectest.NewInMemoryServer()
		srv.RequireCredential(credential)
		first := srv.Delegate(authsectest.ClientID, authsectest.Delegation{})
		if got := call(t, srv.API(nil), "Bearer "+first); got != 200 {
			t.Errorf("credential %q: alone: %d, want 200", credential, got)
		}
		second := srv.Delegate(authsectest.ClientID, authsectest.Delegation{})
		if got := call(t, srv.API(nil), "Bearer "+first); got != want {
			t.Errorf("credential %q: replaced: %d, want %d", credential, got, want)
		}
		if got := call(t, srv.API(nil), "Bearer "+second); got != 200 {
			t.Errorf("credential %q: the latest: %d, want 200", credential, got)
		}
		srv.Revoke(authsectest.ClientID)
		for _, token := range []string{first, second} {
			if got := call(t, srv.API(nil), "Bearer "+token); got != 401 {
				t.Errorf("credential %q: revoked: %d, want 401", credential, got)
			}
		}
	}
}

func TestAnotherServersTokenIsRejected(t *testing.T) {
	a := authsectest.NewInMemoryServer()
	api := a.API(nil)
	for i := range 8 {
		b := authsectest.NewInMemoryServer()
		token := b.Delegate(authsectest.ClientID, authsectest.Delegation{})
		if status := call(t, api, "Bearer "+token); status != 401 {
			t.Errorf("server %d: answer = %d, want 401", i, status)
		}
	}
}
