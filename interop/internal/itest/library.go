// Copyright 2026 The authsec Authors
// SPDX-License-Identifier: Apache-2.0

package itest

import (
	"context"
	"net/http"
	"testing"
	"time"

	"github.com/authsec-go/authsec"
)

// Library is a library that takes an http.Client.
type Library struct {
	// API answers what the calls want. Down is an API that is down; nil: it answers 503.
	API, Down http.Handler

	// Connect makes a client of authsec.NewClient, and a client of the library on it for
	// the API at url. It returns the calls by name.
	Connect func(cfg authsec.Config, url string) (*http.Client, map[string]func(context.Context) error, error)

	// Rejected reports whether err is what the library makes of an API's 401.
	Rejected func(err error) bool

	// Attempts are how many requests a call sends to an API that is down: with the
	// retries of the Transport, and with MaxAttempts 1.
	Attempts map[string][2]int

	// FollowsNoRedirects is set for libraries that return an error for a redirect.
	FollowsNoRedirects bool
}

// connect returns the client, and the call with this name.
func (l Library) connect(t testing.TB, cfg authsec.Config, url, name string) (*authsec.Transport, func(context.Context) error) {
	t.Helper()
	client, calls, err := l.Connect(cfg, url)
	if err != nil {
		t.Fatal(err)
	}
	if len(calls) != len(l.Attempts) || calls[name] == nil {
		t.Fatalf("no call %q, or one without Attempts", name)
	}
	return client.Transport.(*authsec.Transport), calls[name]
}

// Test takes each call through the life of a delegation. It counts the requests to an API
// that is down, and checks that no token goes to another host.
func (l Library) Test(t *testing.T) {
	for name := range l.Attempts {
		t.Run(name, func(t *testing.T) {
			ctx, s := Timely(t), New(t)
			api := s.API(t, l.API, Permissions...)
			transport, call := l.connect(t, s.Config(api.URL), api.URL, name)
			rejected, without := s.Live(t, transport.Source.(*authsec.Source), func() error { return call(ctx) })
			if !l.Rejected(rejected) {
				t.Errorf("after the revocation: %T: %v, want the library's own error of a 401", rejected, rejected)
			}
			s.CheckNotDelegated(t, without)
			_, call = l.connect(t, s.Config(api.URL), api.URL, name)
			s.Replace(t, func() error { return call(ctx) })

			l.attempts(t, s, name)
			requests, tokens := s.Stray(t, func(cfg authsec.Config, url string) {
				_, call := l.connect(t, cfg, url, name)
				call(ctx)
			})
			if want := map[bool]int{true: 2, false: 4}[l.FollowsNoRedirects]; requests != want || tokens != 0 {
				t.Errorf("%d requests went to other hosts, %d of them with a token; want %d, and none with a token", requests, tokens, want)
			}
		})
	}
}

// attempts counts the requests to an API that is down.
func (l Library) attempts(t *testing.T, s *Stack, name string) {
	t.Helper()
	down := l.Down
	if down == nil {
		down = http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			http.Error(w, "unavailable", http.StatusServiceUnavailable)
		})
	}
	api := s.API(t, down)
	var got [2]int
	for i, policy := range []authsec.RetryPolicy{
		{MinBackoff: time.Millisecond, MaxBackoff: time.Millisecond}, // short, to save time
		{MaxAttempts: 1},
	} {
		transport, call := l.connect(t, s.Config(api.URL), api.URL, name)
		transport.Retry = policy
		before := s.Requests()
		err := call(Timely(t))
		if err == nil {
			t.Error("no error, though the API always answers 503")
		} else {
			s.CheckNoToken(t, err.Error())
		}
		got[i] = s.Requests() - before
	}
	if got != l.Attempts[name] {
		t.Errorf("attempts: %v, want %v", got, l.Attempts[name])
	}
}
