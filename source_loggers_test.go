// Copyright 2026 The authsec Authors
// SPDX-License-Identifier: Apache-2.0

package authsec_test

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/authsec-go/authsec"
	"github.com/authsec-go/authsec/authsectest"
)

// A Logger asks for a token while a failure of the cache is logged. That is logged
// when the fetch has landed, so the Logger gets one at once.
func TestLoggerMayAskForATokenAboutTheCache(t *testing.T) {
	bubble(t, func(t *testing.T) {
		var src *authsec.Source
		logged := 0
		src = endpointSource(t, authsectest.Answer(200, `{"token":"opaque","ttl_seconds":3600}`), func(c *authsec.Config) {
			c.Cache = &authsec.CacheConfig{Store: badStore{errors.New("down")}, InsecurePlaintext: true}
			c.Logger = slog.New(badLogger{slog.NewTextHandler(io.Discard, nil), func() {
				logged++
				if _, err := src.Token(); err != nil {
					t.Errorf("Token in the Logger: got %v", err)
				}
			}})
		})
		began := time.Now()
		if _, err := src.Token(); err != nil || time.Since(began) > time.Second || logged < 2 {
			t.Errorf("got %v after %v with %d records, want a token at once, and the cache's failures logged", err, time.Since(began), logged)
		}
	})
}

// A Logger asks for a token while a cached failure is logged again.
func TestLoggerMayAskForATokenAboutACachedFailure(t *testing.T) {
	bubble(t, func(t *testing.T) {
		var src *authsec.Source
		logged := 0
		src = endpointSource(t, authsectest.Answer(503, "", "Retry-After", "300"), func(c *authsec.Config) {
			c.Logger = slog.New(badLogger{slog.NewTextHandler(io.Discard, nil), func() {
				logged++
				if _, err := src.Token(); err == nil {
					t.Error("Token in the Logger: got no error")
				}
			}})
		})
		src.Token()
		time.Sleep(10 * time.Second)
		src.Refresh(t.Context()) // the same failure, cached until 310 s have passed
		time.Sleep(295 * time.Second)
		fetches := src.Stats().Fetches
		src.Token()
		if got := src.Stats().Fetches; logged != 2 || got != fetches {
			t.Errorf("got %d records and %d fetches, want 2 records, the last of them without a fetch", logged, got-fetches)
		}
	})
}

// A Logger that hangs holds up the call that logs, and none of those that wait for
// the same fetch.
func TestLoggerThatHangsHoldsUpOneCall(t *testing.T) {
	bubble(t, func(t *testing.T) {
		end := make(chan struct{})
		src := endpointSource(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			time.Sleep(time.Second)
			authsectest.Answer(200, `{"token":"opaque","ttl_seconds":3600}`).ServeHTTP(w, r)
		}), func(c *authsec.Config) {
			c.Logger = slog.New(badLogger{slog.NewTextHandler(io.Discard, nil), func() { <-end }})
		})
		var done atomic.Int32
		for range 10 {
			go func() { src.Token(); done.Add(1) }()
		}
		time.Sleep(2 * time.Second)
		synctest.Wait()
		if got := done.Load(); got != 9 {
			t.Errorf("%d of 10 calls have returned, want 9", got)
		}
		close(end)
		synctest.Wait()
		if got := done.Load(); got != 10 {
			t.Errorf("then %d of 10 calls have returned, want 10", got)
		}
	})
}

// Without an answer, the reason tells causes apart.
func TestNoTokenIsLoggedAgainForAnotherReason(t *testing.T) {
	bubble(t, func(t *testing.T) {
		reason := "dial tcp 127.0.0.1:40001: connection refused"
		logs := new(sourceLog)
		cfg := goodConfig()
		cfg.Retry.MaxAttempts, cfg.Logger = 1, slog.New(logs)
		cfg.HTTPClient = &http.Client{Transport: baseFunc(func(*http.Request) (*http.Response, error) { return nil, errors.New(reason) })}
		src, err := authsec.NewSource(cfg)
		if err != nil {
			t.Fatal(err)
		}
		for _, next := range []string{"dial tcp 127.0.0.1:40002: connection refused", "tls: certificate has expired", ""} {
			src.Token()
			reason = next
			time.Sleep(time.Minute)
		}
		if got := len(logs.take()); got != 2 {
			t.Errorf("got %d records, want 2: a port is no other reason, a certificate is", got)
		}
	})
}

// The loss of a token is logged each time that there was one in between.
func TestEachLossOfATokenIsLogged(t *testing.T) {
	sourceBubble(t, func(t *testing.T, x *sourceFixture) {
		x.start()
		for i := range 3 {
			x.delegate(fmt.Sprint("token ", i), 10*time.Second)
			if _, err := x.src.Refresh(t.Context()); err != nil {
				t.Fatal(err)
			}
			x.srv.Revoke(authsectest.ClientID)
			x.sleep(12 * time.Second)
			x.wantError(authsec.ErrNotDelegated)
			lost := 0
			for _, e := range x.log.take() {
				if e.msg == "no token" {
					lost++
				}
			}
			if lost != 1 {
				t.Errorf("loss %d: logged %d times, want once", i, lost)
			}
		}
	})
}

// A Logger panics in the caller's goroutine, too.
func TestLoggerThatPanicsInARequestDoesNoHarm(t *testing.T) {
	tr := to(staticSource(), statuses(200), func(tr *authsec.Transport) {
		tr.Logger = slog.New(badLogger{slog.NewTextHandler(io.Discard, nil), func() { panic("a Logger") }})
	})
	if _, err := tr.RoundTrip(get(t, "https://other.example.com/")); err != nil {
		t.Errorf("got %v, want an answer", err)
	}
}
