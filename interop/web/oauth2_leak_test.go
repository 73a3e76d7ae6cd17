// Copyright 2026 The authsec Authors
// SPDX-License-Identifier: Apache-2.0

package web

import (
	"context"
	"net/http"
	"testing"

	"github.com/authsec-go/authsec"
	"github.com/authsec-go/authsec/interop/internal/itest"
	"golang.org/x/oauth2"
)

// inPlace puts a Transport in the place of the oauth2.Transport of a client that
// oauth2.NewClient made.
func inPlace(cfg authsec.Config, client *http.Client) error {
	// docs: begin oauth2-in-place
	transport, err := authsec.NewTransport(cfg)
	if err != nil {
		return err
	}
	client.Transport = transport // and nothing of x/oauth2 around it, or in its Base
	// docs: end oauth2-in-place
	return nil
}

// Where an oauth2.Transport is in the chain, the token goes to every host, over plain
// HTTP, too. A Transport inside it refuses these requests.
func TestOAuth2TransportLeaks(t *testing.T) {
	for name, tc := range map[string]struct {
		client func(cfg authsec.Config, src *authsec.Source) *http.Client
		leaks  bool
		refuse bool // the Transport returns an error
	}{
		"alone": {func(_ authsec.Config, src *authsec.Source) *http.Client {
			return oauth2.NewClient(t.Context(), src)
		}, true, false},
		"alone, without a cache": {func(_ authsec.Config, src *authsec.Source) *http.Client {
			return &http.Client{Transport: &oauth2.Transport{Source: src}}
		}, true, false},
		"around, by the context": {func(cfg authsec.Config, src *authsec.Source) *http.Client {
			ours := &http.Client{Transport: &authsec.Transport{Source: src, Hosts: cfg.Hosts}}
			return oauth2.NewClient(context.WithValue(t.Context(), oauth2.HTTPClient, ours), src)
		}, false, true},
		"in place": {func(cfg authsec.Config, src *authsec.Source) *http.Client {
			client := oauth2.NewClient(t.Context(), src)
			if err := inPlace(cfg, client); err != nil {
				t.Fatal(err)
			}
			return client
		}, false, false},
	} {
		t.Run(name, func(t *testing.T) {
			stack := itest.New(t)
			requests, tokens := stack.Stray(t, func(cfg authsec.Config, url string) {
				src, err := authsec.NewSource(cfg)
				if err != nil {
					t.Fatal(err)
				}
				if err := post(t, tc.client(cfg, src), url); (err != nil) != tc.refuse {
					t.Errorf("got %v, want an error: %t", err, tc.refuse)
				}
			})
			want, with := 4, 0
			if tc.leaks {
				with = 4
			} else if tc.refuse {
				want = 0
			}
			if requests != want || tokens != with {
				t.Errorf("%d of %d requests to other hosts have a token, want %d of %d", tokens, requests, with, want)
			}
		})
	}
}

// The client in place replaces rejected tokens, and has the delegation's errors.
func TestInPlaceOfOAuth2(t *testing.T) {
	stack := itest.New(t)
	api := stack.API(t, http.HandlerFunc(repeat), itest.Permissions...)
	newClient := func() *http.Client {
		client := oauth2.NewClient(t.Context(), oauth2.StaticTokenSource(nil)) // with nil, it is http.DefaultClient
		if err := inPlace(stack.Config(api.URL), client); err != nil {
			t.Fatal(err)
		}
		return client
	}
	client := newClient()
	rejected, without := stack.Live(t, itest.SourceOf(client), func() error { return post(t, client, api.URL) })
	if rejected != statusError(http.StatusUnauthorized) {
		t.Errorf("after the revocation: %v, want the API's 401", rejected)
	}
	stack.CheckNotDelegated(t, without)
	client = newClient()
	stack.Replace(t, func() error { return post(t, client, api.URL) })
}
