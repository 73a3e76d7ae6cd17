// Copyright 2026 The authsec Authors
// SPDX-License-Identifier: Apache-2.0

package authsectest_test

import (
	"reflect"
	"testing"
	"testing/synctest"
	"time"

	"github.com/authsec-go/authsec/authsectest"
)

func TestLimitIsASlidingWindow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		srv := authsectest.NewInMemoryServer()
		srv.Delegate(authsectest.ClientID, authsectest.Delegation{})
		srv.LimitRate(2, time.Minute)
		for i, want := range []struct {
			after  time.Duration
			status int
		}{
			{0, 200},
			{40 * time.Second, 200},
			{0, 429},
			{19 * time.Second, 429},
			{time.Second, 200}, // the first is a minute ago, and the refused ones don't count
			{0, 429},
			{39 * time.Second, 429},
			{time.Second, 200},
			{0, 429},
		} {
			time.Sleep(want.after)
			if got := ask(t, srv); got.status != want.status {
				t.Errorf("request %d: got %d, want %d", i, got.status, want.status)
			}
		}
	})
}

func TestLimitedAnswer(t *testing.T) {
	srv := authsectest.NewInMemoryServer()
	srv.LimitRate(0, 0)
	ask(t, srv).check(t, 404, "Client not found")
	srv.LimitRate(1, time.Minute)
	ask(t, srv)
	got := ask(t, srv)
	got.check(t, 429, "Rate limit exceeded")
	if want := (map[string]any{
		"error": "Rate limit exceeded", "limit": 1., "window": "1m0s",
		"message": "Too many requests. Maximum 1 requests per 1m0s allowed. Please try again later.",
	}); !reflect.DeepEqual(got.body, want) {
		t.Errorf("429: got %v, want %v", got.body, want)
	}
	if wait, ok := got.header["Retry-After"]; ok {
		t.Errorf("Retry-After = %q, want none", wait)
	}
}

func TestLimitIsOneForAllPaths(t *testing.T) {
	srv := authsectest.NewInMemoryServer()
	for _, path := range []string{ours, authsectest.KeySetPath + "?tenant_id=" + authsectest.TenantID, "/", authsectest.EndpointPath + "/"} {
		srv.LimitRate(1, time.Minute)
		get(t, srv, path)
		ask(t, srv).check(t, 429, "Rate limit exceeded")
		srv.LimitRate(1, time.Minute)
		ask(t, srv)
		get(t, srv, path).check(t, 429, "Rate limit exceeded")
	}
}

func TestAnswersOfFaultsDoNotCountForTheLimit(t *testing.T) {
	srv := authsectest.NewInMemoryServer()
	srv.LimitRate(1, time.Minute)
	srv.FailNext(1, authsectest.Answer(502, "<html>"))
	ask(t, srv).check(t, 502, "")
	ask(t, srv).check(t, 404, "Client not found")
	srv.Fail(authsectest.Answer(502, "<html>"))
	ask(t, srv).check(t, 502, "")
	srv.Fail(nil)
	ask(t, srv).check(t, 429, "Rate limit exceeded")
}

func TestOlderGenerationBelievesForwardedFor(t *testing.T) {
	for credential, want := range map[string]int{"": 404, "c": 429} {
		srv := authsectest.NewInMemoryServer()
		srv.RequireCredential(credential)
		srv.LimitRate(1, time.Minute)
		ask(t, srv, "X-Forwarded-For", "198.51.100.1, 203.0.113.9")
		if got := ask(t, srv, "X-Forwarded-For", "198.51.100.2, 203.0.113.9"); got.status != want {
			t.Errorf("credential %q: from another address: got %d, want %d", credential, got.status, want)
		}
		if got := ask(t, srv, "X-Forwarded-For", "198.51.100.1"); got.status != 429 {
			t.Errorf("credential %q: from the first address: got %d, want 429", credential, got.status)
		}
	}
}

func TestRenewalHasAStricterLimit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		srv := authsectest.NewInMemoryServer()
		srv.LimitRate(100, time.Minute)
		for i, want := range []int{400, 400, 400, 400, 400, 429, 400, 429} {
			if i == 6 {
				time.Sleep(6 * time.Second)
			}
			path := renewPath
			if i%2 == 1 {
				path = validatePath // shares the limit
			}
			got := send(t, srv.Client(), "POST", srv.URL+path, "{")
			if got.status != want {
				t.Errorf("request %d: got %d, want %d", i, got.status, want)
			}
			if want == 429 && (got.header.Get("Retry-After") != "60" || got.text != `{"error":{"code":"RATE_LIMITED","message":"Too many requests. Please try again later."}}`) {
				t.Errorf("429: got %s with Retry-After %q, want RATE_LIMITED and 60", got.text, got.header.Get("Retry-After"))
			}
		}
		ask(t, srv).check(t, 404, "Client not found")
	})
}
