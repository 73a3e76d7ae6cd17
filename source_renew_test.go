// Copyright 2026 The authsec Authors
// SPDX-License-Identifier: Apache-2.0

package authsec_test

import (
	"io"
	"net/http"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/authsec-go/authsec"
	"github.com/authsec-go/authsec/authsectest"
)

func TestSourceFirstRenewalIsInFirstHalfOfWindow(t *testing.T) {
	const draws = 60
	tests := []struct {
		name                     string
		ttl, renewBefore, window time.Duration
	}{
		{"a fifth of the life", 10 * time.Minute, 0, 2 * time.Minute},
		{"5 minutes at most", 10 * time.Hour, 0, 5 * time.Minute},
		{"as configured", time.Hour, 20 * time.Minute, 20 * time.Minute},
		{"all the life", 10 * time.Minute, time.Hour, 10 * time.Minute},
	}
	for _, tt := range tests {
		inSourceBubble(t, tt.name, func(t *testing.T, x *sourceFixture) {
			step := tt.window / 200
			var least, greatest time.Duration = tt.window, 0
			for range draws {
				x.delegate("A", tt.ttl)
				x.start(func(c *authsec.Config) { c.RenewBefore = tt.renewBefore })
				x.want("A")
				begin := time.Now().Add(tt.ttl - tt.window)
				x.sleep(time.Until(begin) - time.Nanosecond)
				x.want("A")
				x.wantFetches(1)
				x.gap(step, tt.ttl)
				first := time.Since(begin)
				x.wantWithin("first attempt in the window", first, 0, tt.window/2+step)
				least, greatest = min(least, first), max(greatest, first)
			}
			// Drawn evenly: all in three quarters of the range has a chance of 3e-8.
			if least > tt.window/8 || greatest < tt.window*3/8 {
				t.Errorf("first attempts: got %v to %v, want them all over 0s to %v", least, greatest, tt.window/2)
			}
		})
	}
}

func TestSourceRenewalAttemptsAreSpacedAndBounded(t *testing.T) {
	const windows = 20
	tests := []struct {
		name         string
		fault        http.Handler // nil: the same token again
		ttl          time.Duration
		step         time.Duration // between attempts, with ±50 % jitter
		least, great float64       // attempts in a window, on average
	}{
		{"same token", nil, 10 * time.Minute, 12 * time.Second, 6.5, 12},
		{"no delegation", sourceNoDelegation, 10 * time.Minute, 12 * time.Second, 6.5, 12},
		{"a second at least", nil, 10 * time.Second, time.Second, 1, 4},
	}
	for _, tt := range tests {
		inSourceBubble(t, tt.name, func(t *testing.T, x *sourceFixture) {
			window := tt.ttl / 5
			poll := window / 1000
			total := 0
			var gaps []time.Duration
			for range windows {
				x.srv.Fail(nil)
				x.delegate("A", tt.ttl)
				x.start()
				x.want("A")
				x.srv.Fail(tt.fault)
				before := len(x.moments())
				end := time.Now().Add(tt.ttl)
				time.Sleep(tt.ttl - window)
				for time.Until(end) > poll {
					x.want("A")
					x.want("A")
					time.Sleep(poll)
				}
				made := x.moments()[before:]
				if len(made) > 20 {
					t.Errorf("attempts in one window: got %d, want 20 at most", len(made))
				}
				for i := 1; i < len(made); i++ {
					gap := made[i].Sub(made[i-1])
					x.wantWithin("between attempts", gap, tt.step/2, tt.step*3/2+poll)
					gaps = append(gaps, gap)
				}
				total += len(made)
				time.Sleep(time.Second)
			}
			if mean := float64(total) / windows; mean < tt.least || mean > tt.great {
				t.Errorf("attempts in a window: got %.1f on average, want %.1f to %.1f", mean, tt.least, tt.great)
			}
			// By chance, of the fewest gaps that there are: 2e-5.
			if least, greatest := slices.Min(gaps), slices.Max(gaps); least > tt.step*7/10 && greatest < tt.step*13/10 {
				t.Errorf("between attempts: got %v to %v, want them all over %v to %v", least, greatest, tt.step/2, tt.step*3/2)
			}
		})
	}
}

func TestSourceServesUntilExpiryThroughFailures(t *testing.T) {
	tests := []struct {
		name   string
		fault  http.Handler // nil: no answer
		target error        // of the failure in the end
	}{
		{"404 no delegation", sourceNoDelegation, authsec.ErrNotDelegated},
		{"404 no client", sourceNoClient, authsec.ErrNotDelegated},
		{"404 of another server", authsectest.Answer(404, "<html>Not Found</html>"), authsec.ErrInvalidResponse},
		{"410", sourceExpired, authsec.ErrDelegationExpired},
		{"401", authsectest.Answer(401, `{"error":"unauthorized"}`), authsec.ErrUnauthorized},
		{"429", sourceLimited, authsec.ErrRateLimited},
		{"500", sourceServerError, nil},
		{"502", sourceBadGateway, nil},
		{"503 with Retry-After", authsectest.Answer(503, "<html></html>", "Retry-After", "20"), nil},
		{"redirect", authsectest.Answer(302, "", "Location", "https://elsewhere.test/"), authsec.ErrInvalidResponse},
		{"200 that is no JSON", authsectest.Answer(200, "<html></html>"), authsec.ErrInvalidResponse},
		{"200 without a token", authsectest.Answer(200, `{}`), authsec.ErrInvalidResponse},
		{"connection lost", nil, nil},
	}
	for _, tt := range tests {
		inSourceBubble(t, tt.name, func(t *testing.T, x *sourceFixture) {
			var broken atomic.Bool
			x.start(func(c *authsec.Config) {
				base := c.HTTPClient.Transport
				c.HTTPClient.Transport = baseFunc(func(req *http.Request) (*http.Response, error) {
					if broken.Load() {
						return nil, io.ErrUnexpectedEOF
					}
					return base.RoundTrip(req)
				})
			})
			x.delegate("A", 10*time.Minute)
			x.want("A")
			end := time.Now().Add(10 * time.Minute)
			broken.Store(tt.fault == nil)
			x.srv.Fail(tt.fault)
			time.Sleep(8 * time.Minute)
			for time.Until(end) > time.Second {
				x.want("A")
				time.Sleep(time.Second)
			}
			x.sleep(time.Until(end) - time.Nanosecond)
			x.want("A")
			if got := x.src.Stats().Failures; got == 0 {
				t.Errorf("failures: got %d, want some", got)
			}
			x.sleep(time.Nanosecond)
			x.wantError(tt.target)
		})
	}
}

func TestSourceRenewsOnDemandOnly(t *testing.T) {
	sourceBubble(t, func(t *testing.T, x *sourceFixture) {
		x.startWith("A", time.Hour)
		x.sleep(3 * time.Hour) // through the window, and past it
		x.wantRequests(1)
	})
}

func TestSourceDoesNotWaitForRenewal(t *testing.T) {
	sourceBubble(t, func(t *testing.T, x *sourceFixture) {
		x.startWith("A", time.Hour)
		x.sleep(58 * time.Minute) // past the window's first half
		x.delegate("B", time.Hour)
		x.srv.SetLatency(5 * time.Second)
		for range 49 {
			x.want("A")
			x.sleep(100 * time.Millisecond)
		}
		x.wantFetches(2)
		x.sleep(100 * time.Millisecond)
		x.want("B")
		x.wantFetches(2)
	})
}

func TestSourceWaitsForRenewalUnderWayOnceTokenHasExpired(t *testing.T) {
	sourceBubble(t, func(t *testing.T, x *sourceFixture) {
		x.startWith("A", time.Hour)
		x.sleep(time.Hour - time.Second)
		x.delegate("B", time.Hour)
		x.srv.SetLatency(5 * time.Second)
		x.want("A")
		x.sleep(time.Second)
		token, err := x.src.Token()
		if err != nil {
			t.Fatalf("Token: got error %v, want token B", err)
		}
		x.wantToken(token, "B")
		x.wantFetches(2)
	})
}

// The server changes the expiry of the token in service. Its renewal begins in the
// first half of the window that it has then.
func TestSourceRenewsByTheLatestExpiry(t *testing.T) {
	for _, c := range []struct {
		name        string
		first       time.Duration
		lives       []time.Duration // one after the other
		least, most time.Duration   // before the expiry
	}{
		{"shortened", time.Hour, []time.Duration{10 * time.Minute}, 5 * time.Minute, 10 * time.Minute},
		{"shortened and extended", 2 * time.Hour, []time.Duration{10 * time.Second, 3 * time.Hour}, 30 * time.Minute, time.Hour + time.Second},
	} {
		t.Run(c.name, func(t *testing.T) {
			drawn := map[time.Duration]bool{}
			for range 20 {
				sourceBubble(t, func(t *testing.T, x *sourceFixture) {
					srv := &sourceSkewedServer{expiry: time.Now().Add(c.first)}
					x.names["opaque"] = "A"
					x.start(answeredBy(srv), func(c *authsec.Config) { c.RenewBefore = time.Hour })
					x.want("A")
					for _, life := range c.lives {
						x.sleep(time.Second)
						srv.expiry = time.Now().Add(life)
						x.src.Refresh(t.Context())
					}
					ahead := srv.expiry.Sub(x.src.Stats().NextFetch)
					x.wantWithin("NextFetch, before the expiry", ahead, c.least, c.most)
					drawn[ahead] = true
				})
			}
			if len(drawn) < 10 {
				t.Errorf("moments: got %d of 20 Sources, want nearly as many", len(drawn))
			}
		})
	}
}
