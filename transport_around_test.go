// Copyright 2026 The authsec Authors
// SPDX-License-Identifier: Apache-2.0

package authsec_test

import (
	"context"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/authsec-go/authsec"
	"github.com/authsec-go/authsec/authsectest"
	"golang.org/x/oauth2"
)

// An oauth2.Transport in a Transport would overwrite the header, and send the token to
// every host.
func TestOAuth2TransportAsBaseIsAnError(t *testing.T) {
	base := statuses(200)
	tr := &authsec.Transport{Source: staticSource(), Hosts: []string{"api.example.com"}, Base: &oauth2.Transport{Source: staticSource(), Base: base}}
	resp, err := tr.RoundTrip(get(t, api))
	if err == nil || resp != nil || !strings.Contains(err.Error(), "Transport.Base is an *oauth2.Transport") {
		t.Errorf("got %v, %v, want an error that names Base", resp, err)
	}
	if len(base.calls) != 0 {
		t.Errorf("%d requests were sent, want none", len(base.calls))
	}
}

// What is around a Transport may add the token to a request for another host. Such a
// request fails before it is sent, and its error does not show the token.
func TestATokenThatSomethingElseAddedGoesToNoOtherHost(t *testing.T) {
	bubble(t, func(t *testing.T) {
		srv := authsectest.NewInMemoryServer()
		token := srv.Delegate(authsectest.ClientID, authsectest.Delegation{})
		src, err := authsec.NewSource(srv.Config(authsectest.ClientID))
		if err != nil {
			t.Fatal(err)
		}
		base := statuses(200)
		tr := &authsec.Transport{Source: src, Hosts: []string{"api.example.com"}, Base: base}
		ctx := context.WithValue(t.Context(), oauth2.HTTPClient, &http.Client{Transport: tr})
		client := oauth2.NewClient(ctx, src)

		for _, url := range []string{"https://elsewhere.example.com/", "http://elsewhere.example.com/"} {
			_, err := client.Get(url)
			if err == nil || !strings.Contains(err.Error(), "elsewhere.example.com, which must not get the token") || strings.Contains(err.Error(), token) {
				t.Errorf("%s: got %v, want an error that names the host", url, err)
			}
		}
		// x/oauth2 keeps the token that the Source has replaced since.
		srv.Delegate(authsectest.ClientID, authsectest.Delegation{})
		if _, err := src.Refresh(t.Context()); err != nil {
			t.Fatal(err)
		}
		if _, err := client.Get("https://elsewhere.example.com/"); err == nil || !strings.Contains(err.Error(), "must not get the token") {
			t.Errorf("with a replaced token: got %v, want an error", err)
		}
		srv.Revoke(authsectest.ClientID)
		time.Sleep(2 * time.Second) // Refresh asks at most once a second
		if _, err := src.Refresh(t.Context()); err == nil {
			t.Fatal("got no error of Refresh, want ErrNotDelegated")
		}
		if _, err := client.Get("https://elsewhere.example.com/"); err == nil || !strings.Contains(err.Error(), "must not get the token") {
			t.Errorf("without a token in service: got %v, want an error", err)
		}

		if len(base.calls) != 0 {
			t.Fatalf("%d requests were sent, want none", len(base.calls))
		}

		// Another host's own credential passes.
		req := get(t, "https://elsewhere.example.com/")
		req.Header.Set("Authorization", "Bearer another")
		if _, err := tr.RoundTrip(req); err != nil {
			t.Errorf("with another token: got %v, want no error", err)
		}
	})
}
