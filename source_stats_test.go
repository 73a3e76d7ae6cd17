// Copyright 2026 The authsec Authors
// SPDX-License-Identifier: Apache-2.0

package authsec_test

import (
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/authsec-go/authsec"
	"github.com/authsec-go/authsec/authsectest"
)

func TestSourceStats(t *testing.T) {
	sourceBubble(t, func(t *testing.T, x *sourceFixture) {
		x.start()
		check := func(when string, want authsec.Stats) {
			t.Helper()
			got := x.src.Stats()
			if got.Fetches != want.Fetches || got.Failures != want.Failures || got.Renewals != want.Renewals || got.Rejections != want.Rejections {
				t.Errorf("%s: got fetches %d, failures %d, renewals %d, rejections %d, want %d, %d, %d, %d", when,
					got.Fetches, got.Failures, got.Renewals, got.Rejections, want.Fetches, want.Failures, want.Renewals, want.Rejections)
			}
			if !got.Expiry.Equal(want.Expiry) {
				t.Errorf("%s: got Expiry %v, want %v", when, got.Expiry, want.Expiry)
			}
			if !got.LastSuccess.Equal(want.LastSuccess) {
				t.Errorf("%s: got LastSuccess %v, want %v", when, got.LastSuccess, want.LastSuccess)
			}
			if (got.LastError == nil) != (want.LastError == nil) || !errors.Is(got.LastError, want.LastError) {
				t.Errorf("%s: got LastError %v, want %v", when, got.LastError, want.LastError)
			}
		}
		next := func(when string, least, greatest time.Duration) {
			t.Helper()
			x.wantWithin(when+": NextFetch from now", time.Until(x.src.Stats().NextFetch), least, greatest)
		}
		var want authsec.Stats
		check("before any call", want)
		if got := x.src.Stats().NextFetch; !got.IsZero() {
			t.Errorf("before any call: got NextFetch %v, want none", got)
		}

		x.wantError(authsec.ErrNotDelegated)
		x.wantError(authsec.ErrNotDelegated)
		want.Fetches, want.Failures, want.LastError = 1, 1, authsec.ErrNotDelegated
		check("after a failure", want)
		next("after a failure", 500*time.Millisecond, 1500*time.Millisecond)
		x.sleep(2 * time.Second)
		if got := x.src.Stats().NextFetch; !got.IsZero() {
			t.Errorf("when the cached failure ends: got NextFetch %v, want none", got)
		}

		x.delegate("A", time.Hour)
		x.want("A")
		want.Fetches, want.LastError, want.LastSuccess, want.Expiry = 2, nil, time.Now(), time.Now().Add(time.Hour)
		check("with a token", want)
		next("with a token", 55*time.Minute, 57*time.Minute+30*time.Second)

		if _, err := x.src.Renew(t.Context(), x.want("A")); err != nil {
			t.Fatalf("Renew: got error %v, want none", err)
		}
		want.Fetches, want.Rejections = 3, 1
		check("after a rejection that brought the same token", want)
		next("after a rejection that brought the same token", 55*time.Minute, 57*time.Minute+30*time.Second)

		x.sleep(58 * time.Minute)
		x.srv.FailNext(1, sourceNoClient)
		x.want("A")
		want.Fetches, want.Failures, want.LastError = 4, 2, authsec.ErrNotDelegated
		check("after a renewal that failed", want)
		next("after a renewal that failed", 15*time.Second, 45*time.Second)

		x.sleep(45 * time.Second)
		x.delegate("B", time.Hour)
		x.srv.SetLatency(time.Second)
		x.want("A")
		want.Fetches++
		check("while a renewal is under way", want)
		if got := x.src.Stats().NextFetch; !got.IsZero() {
			t.Errorf("while a renewal is under way: got NextFetch %v, want none", got)
		}
		want.Expiry = time.Now().Add(time.Hour)
		x.sleep(time.Second)
		want.Renewals, want.LastError, want.LastSuccess = 1, nil, time.Now()
		check("after a renewal", want)

		x.sleep(time.Hour)
		want.Expiry = time.Time{}
		check("past the expiry", want)
	})
}

func TestSourceLogsEachEvent(t *testing.T) {
	sourceBubble(t, func(t *testing.T, x *sourceFixture) {
		x.start()
		check := func(when string, level slog.Level, want ...string) []sourceLogEntry {
			t.Helper()
			got := x.log.take()
			var msgs []string
			for _, e := range got {
				msgs = append(msgs, e.msg)
				if e.level != level {
					t.Errorf("%s: got %q at %v, want %v", when, e.msg, e.level, level)
				}
			}
			if !slices.Equal(msgs, want) {
				t.Fatalf("%s: got logs %q, want %q", when, msgs, want)
			}
			return got
		}
		x.wantError(authsec.ErrNotDelegated)
		check("at the first failure", slog.LevelError, "no token")
		last := func(d time.Duration) {
			for range d / time.Second {
				x.sleep(time.Second)
				x.wantError(authsec.ErrNotDelegated)
			}
		}
		last(5*time.Minute - time.Second)
		check("while that lasts", 0)
		last(time.Minute)
		e := check("after 5 minutes", slog.LevelError, "no token")[0]
		if next, _ := e.attrs["next_attempt"].(time.Time); e.attrs["status"] != int64(404) || !next.After(time.Now().Add(-time.Minute)) || e.attrs["request_id"] == nil {
			t.Errorf("no token: got %v, want status 404, a next_attempt and a request ID", e.attrs)
		}
		x.srv.Fail(authsectest.Answer(410, `{"error":"Delegation token has expired"}`, "X-Request-Id", "req-7"))
		last(2 * time.Minute)
		if e := check("when the cause changes", slog.LevelError, "no token")[0]; e.attrs["status"] != int64(410) || e.attrs["request_id"] != "req-7" {
			t.Errorf("no token: got %v, want status 410 and the request ID", e.attrs)
		}
		x.srv.Fail(nil)

		x.delegate("A", time.Hour)
		if _, err := x.src.Refresh(t.Context()); err != nil {
			t.Fatalf("Refresh: got error %v, want none", err)
		}
		e = check("when a token comes", slog.LevelInfo, "token fetched")[0]
		if got, want := e.attrs["expires_in"], any(time.Hour); got != want {
			t.Errorf("token fetched: got expires_in %v, want %v", got, want)
		}

		x.sleep(58 * time.Minute)
		x.srv.FailNext(1, sourceNoClient)
		x.want("A")
		e = check("when a renewal fails", slog.LevelWarn, "renewal failed")[0]
		if text := fmt.Sprint(e.attrs["error"]); !strings.HasPrefix(text, "authsec: no new token for agent") {
			t.Errorf("renewal failed: got error %q, want it to say that there is no new token", text)
		}
		if got, want := fmt.Sprint(e.attrs["status"]), "404"; got != want {
			t.Errorf("renewal failed: got status %v, want %v", got, want)
		}
		if got, want := e.attrs["expires_in"], any(2*time.Minute); got != want {
			t.Errorf("renewal failed: got expires_in %v, want %v", got, want)
		}
		if got, want := e.attrs["next_attempt"], x.src.Stats().NextFetch; fmt.Sprint(got) != fmt.Sprint(want) {
			t.Errorf("renewal failed: got next_attempt %v, want %v", got, want)
		}

		x.sleep(46 * time.Second)
		x.want("A")
		check("when the same token comes again", 0)
		x.sleep(46 * time.Second)
		x.delegate("B", 10*time.Second)
		x.want("A")
		check("when another token comes", slog.LevelInfo, "token renewed")

		x.sleep(10 * time.Second)
		x.wantError(authsec.ErrDelegationExpired)
		x.sleep(2 * time.Second)
		x.wantError(authsec.ErrNotDelegated)
		check("when it expires, and the server says so once", slog.LevelError, "no token", "no token")
	})
}

// During a rate limit the token expires without a fetch. Its loss is logged all the same.
func TestLossOfTokenIsLoggedDuringARateLimit(t *testing.T) {
	sourceBubble(t, func(t *testing.T, x *sourceFixture) {
		x.startWith("A", time.Minute)
		x.srv.Fail(authsectest.Answer(429, `{"error":"Rate limit exceeded","window":"5m0s"}`))
		for range 90 {
			time.Sleep(time.Second)
			x.src.Token()
			synctest.Wait()
		}
		var logged []string
		for _, e := range x.log.take() {
			logged = append(logged, e.msg)
		}
		if want := []string{"token fetched", "renewal failed", "no token"}; !slices.Equal(logged, want) {
			t.Errorf("logs: got %q, want %q", logged, want)
		}
	})
}
