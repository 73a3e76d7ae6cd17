// Copyright 2026 The authsec Authors
// SPDX-License-Identifier: Apache-2.0

package authsec

import (
	"fmt"
	"sync"
	"testing"
	"time"
)

// After a clock step, the server is asked once if the token has expired by the wall
// clock, and otherwise not.
func TestSourceServesGoodTokenThroughClockStep(t *testing.T) {
	for _, d := range []time.Duration{3 * time.Hour, -3 * time.Hour, 11 * time.Second, -11 * time.Second} {
		t.Run(d.String(), func(t *testing.T) {
			clockBubble(t, func(t *testing.T, x *clockFixture) {
				x.want("A")
				time.Sleep(10 * time.Minute)
				x.want("A")
				x.step(d)
				for range 600 {
					x.want("A")
					time.Sleep(time.Second)
				}
				fetches, life := uint64(1), x.expiry
				if d > clockTTL {
					fetches = 2
				} else if d > 0 { // the machine may have slept
					life = life.Add(-d)
				}
				x.wantFetches(fetches)
				x.status, x.body = 404, clockNoDelegation
				x.sleepUntil(life, time.Second)
				x.want("A")
				time.Sleep(time.Until(life) + time.Second)
				x.wantError(ErrNotDelegated)
			})
		})
	}
}

func TestSourceServesGoodTokenThroughClockStepAndFailures(t *testing.T) {
	for _, d := range []time.Duration{3 * time.Hour, -3 * time.Hour} {
		for _, tt := range []struct {
			status int
			body   string
		}{
			{404, clockNoClient},
			{500, ""},
		} {
			t.Run(fmt.Sprint(d, " ", tt.status), func(t *testing.T) {
				clockBubble(t, func(t *testing.T, x *clockFixture) {
					x.want("A")
					time.Sleep(10 * time.Minute)
					x.step(d)
					x.status, x.body = tt.status, tt.body
					x.src.Token() // waits for a fetch if the wall clock says that the token has expired
					for time.Until(x.expiry) > time.Second {
						x.want("A")
						time.Sleep(time.Second)
					}
					if got, most := x.src.Stats().Fetches, uint64(clockTTL/(clockWindow/20)); got > most {
						t.Errorf("fetches: got %d, want %d at most", got, most)
					}
					x.sleepUntil(x.expiry, 0)
					got := x.want("A")
					if !got.Expiry.Equal(x.expiry) { // on the clock as it is now
						t.Errorf("Expiry: got %v after the true one, want 0s", got.Expiry.Sub(x.expiry))
					}
					time.Sleep(time.Nanosecond)
					if got, err := x.src.Token(); err == nil {
						t.Errorf("Token: got token %s, want an error", got.AccessToken)
					}
				})
			})
		}
	}
}

func TestSourceIgnoresSmallDrift(t *testing.T) {
	for _, d := range []time.Duration{9 * time.Second, -9 * time.Second} {
		t.Run(d.String(), func(t *testing.T) {
			clockBubble(t, func(t *testing.T, x *clockFixture) {
				x.want("A")
				x.step(d)
				for range 600 {
					x.want("A")
					time.Sleep(time.Second)
				}
				x.wantFetches(1)
			})
		})
	}
}

// The machine sleeps past the token's expiry. The first call waits for a fetch. If the
// fetch fails without proof that the token has ended, the call gets the token.
func TestSourceWaitsForFetchAfterSuspendPastExpiry(t *testing.T) {
	for _, tt := range []struct {
		name   string
		status int
		body   string
		token  string // that the server has now; "": the same one, past its expiry
		want   string // "": an error
		target error
	}{
		{"410", 410, clockExpired, "", "", ErrDelegationExpired},
		{"404", 404, clockNoDelegation, "", "", ErrNotDelegated},
		{"the same token", 0, "", "", "", ErrInvalidResponse},
		{"another token", 0, "", "B", "B", nil},
		{"404 no client", 404, clockNoClient, "", "A", nil}, // which does not show that it has ended
		{"501", 501, "", "", "A", nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			clockBubble(t, func(t *testing.T, x *clockFixture) {
				x.want("A")
				time.Sleep(10 * time.Minute)
				x.want("A")
				x.suspend(3 * time.Hour)
				x.status, x.body = tt.status, tt.body
				if tt.token != "" {
					x.token, x.expiry = tt.token, time.Now().Add(clockTTL)
				}
				if tt.want == "" {
					x.wantError(tt.target)
				} else {
					x.want(tt.want)
				}
				x.wantFetches(2)
			})
		})
	}
}

// Calls that follow each other closely compare the clocks only now and then.
func TestSuspendIsNoticedWithin10Milliseconds(t *testing.T) {
	clockBubble(t, func(t *testing.T, x *clockFixture) {
		x.want("A")
		time.Sleep(time.Minute)
		x.want("A") // compares the clocks
		x.suspendNow(2 * clockTTL)
		x.status, x.body = 410, clockExpired
		for range 9 {
			time.Sleep(time.Millisecond)
			x.want("A")
		}
		time.Sleep(time.Millisecond)
		x.wantError(ErrDelegationExpired)
	})
}

// All calls wait for the same fetch, and none gets the token before it fails.
func TestAllCallsWaitForFetchAfterSuspend(t *testing.T) {
	clockBubble(t, func(t *testing.T, x *clockFixture) {
		x.want("A")
		x.suspend(3 * time.Hour)
		x.latency = 5 * time.Second
		x.status, x.body = 501, ""
		began := time.Now()
		var wg sync.WaitGroup
		for i := range 10 {
			wg.Go(func() {
				time.Sleep(time.Duration(i) * 100 * time.Millisecond)
				token, err := x.src.Token()
				if took := time.Since(began); err != nil || token.AccessToken != "A" || took != x.latency {
					t.Errorf("call %d: got %v after %v, want token A after %v", i, err, took, x.latency)
				}
			})
		}
		wg.Wait()
		x.wantFetches(2)
	})
}

// The network is often not back when a machine wakes.
func TestSourceAsksAgainWhenFetchAfterSuspendFailed(t *testing.T) {
	clockBubble(t, func(t *testing.T, x *clockFixture) {
		x.want("A")
		time.Sleep(10 * time.Minute)
		x.suspend(3 * time.Hour)
		x.status, x.body = 404, clockNoClient
		x.want("A")
		x.wantFetches(2)
		x.status, x.body = 410, clockExpired
		const most = clockWindow / 10 * 3 / 2 // until a further attempt
		time.Sleep(most + time.Second)
		x.want("A")
		x.wantFetches(3)
		x.wantError(ErrDelegationExpired)
	})
}

// The machine sleeps for a part of the token's life. That costs no fetch.
func TestSourceCountsSuspendAsPartOfTokensLife(t *testing.T) {
	clockBubble(t, func(t *testing.T, x *clockFixture) {
		x.want("A")
		time.Sleep(10 * time.Minute)
		x.suspend(30 * time.Minute)
		x.want("A")
		if got := x.want("A").Expiry; !got.Equal(x.expiry) {
			t.Errorf("Expiry: got %v after the true one, want 0s", got.Sub(x.expiry))
		}
		x.wantFetches(1)
		x.status, x.body = 404, clockNoClient
		x.sleepUntil(x.expiry, 0)
		x.want("A")
		time.Sleep(time.Nanosecond)
		x.wantError(ErrNotDelegated)
	})
}
