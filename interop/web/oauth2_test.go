// Copyright 2026 The authsec Authors
// SPDX-License-Identifier: Apache-2.0

package web

import (
	"context"
	"net/http"
	"strings"
	"testing"

	"github.com/authsec-go/authsec"
	"github.com/authsec-go/authsec/interop/internal/itest"
	"golang.org/x/oauth2"
)

// oauth2Client returns x/oauth2's own client, for code that accepts no other.
func oauth2Client(ctx context.Context, cfg authsec.Config) (*http.Client, *authsec.Source, error) {
	// It sends the token to every host: see TestOAuth2TransportLeaks.
	src, err := authsec.NewSource(cfg)
	if err != nil {
		return nil, nil, err
	}
	client := oauth2.NewClient(ctx, src)
	return client, src, nil
}

// post sends a body. Its error is a statusError if the answer is no 200.
func post(t *testing.T, client *http.Client, url string) error {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, url, strings.NewReader("hello"))
	if err != nil {
		t.Fatal(err)
	}
	resp, err := client.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return statusError(resp.StatusCode)
	}
	return nil
}

// x/oauth2 caches a token until 10 s before it expires. So it goes on using a rejected
// one, even if the source has another.
func TestOAuth2ClientKeepsARejectedToken(t *testing.T) {
	stack := itest.New(t)
	api := stack.API(t, http.HandlerFunc(repeat), itest.Permissions...)
	client, src, err := oauth2Client(t.Context(), stack.Config(api.URL))
	if err != nil {
		t.Fatal(err)
	}
	if err := post(t, client, api.URL); err != nil {
		t.Fatal(err)
	}
	stack.CheckSeen(t)
	stack.Revoke()
	for range 2 {
		if err := post(t, client, api.URL); err != statusError(http.StatusUnauthorized) {
			t.Errorf("after the revocation: %v, want the API's 401", err)
		}
	}
	stack.Redelegate(t, src)
	if err := post(t, client, api.URL); err != statusError(http.StatusUnauthorized) {
		t.Errorf("with another token in the source: %v, want the API's 401", err)
	}
	client = oauth2.NewClient(t.Context(), src)
	if err := post(t, client, api.URL); err != nil {
		t.Errorf("a new client: %v", err)
	}
	stack.CheckSeen(t)
}

func TestOAuth2ClientKeepsErrors(t *testing.T) {
	stack := itest.New(t)
	stack.Revoke()
	api := stack.API(t, nil)
	client, _, err := oauth2Client(t.Context(), stack.Config(api.URL))
	if err != nil {
		t.Fatal(err)
	}
	stack.CheckNotDelegated(t, post(t, client, api.URL))
}

// x/oauth2's Transport does not cache tokens, so it follows the Source; the cache that
// oauth2.NewClient puts in between does not. It sends the token to every host.
func TestOAuth2TransportFollowsTheSource(t *testing.T) {
	stack := itest.New(t)
	api := stack.API(t, http.HandlerFunc(repeat), itest.Permissions...)
	src, err := authsec.NewSource(stack.Config(api.URL))
	if err != nil {
		t.Fatal(err)
	}
	client := &http.Client{Transport: &oauth2.Transport{Source: src}}
	rejected, without := stack.Live(t, src, func() error { return post(t, client, api.URL) })
	for _, err := range []error{rejected, without} {
		if err != statusError(http.StatusUnauthorized) {
			t.Errorf("after the revocation: %v, want the API's 401", err)
		}
	}
}
