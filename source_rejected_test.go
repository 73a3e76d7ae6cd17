// Copyright 2026 The authsec Authors
// SPDX-License-Identifier: Apache-2.0

package authsec_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/authsec-go/authsec"
	"github.com/authsec-go/authsec/authsectest"
	"golang.org/x/oauth2"
)

func TestRenewReturnsNewerTokenAtOnce(t *testing.T) {
	sourceBubble(t, func(t *testing.T, x *sourceFixture) {
		rejected := x.startWith("A", time.Hour)
		x.delegate("B", time.Hour)
		x.srv.SetLatency(time.Second)
		x.wantRenew(rejected, "B")
		x.want("B")
		began := time.Now()
		x.wantRenew(rejected, "B")
		x.wantWithin("time that took", time.Since(began), 0, 0)
		x.wantFetches(2)
	})
}

func TestRenewSharesOneFetchWhileOthersGoOn(t *testing.T) {
	tests := []struct {
		name  string
		fault http.Handler
		anew  bool   // an admin has delegated
		want  string // of Renew, and in service afterwards
	}{
		{"another token", nil, true, "B"},
		{"the same token", nil, false, "A"},
		{"a failure", sourceNoClient, false, "an error"},
	}
	for _, tt := range tests {
		inSourceBubble(t, tt.name, func(t *testing.T, x *sourceFixture) {
			rejected := x.startWith("A", time.Hour)
			if tt.anew {
				x.delegate("B", time.Hour)
			}
			x.srv.SetLatency(800 * time.Millisecond)
			x.srv.Fail(tt.fault)
			var wg sync.WaitGroup
			for range 256 {
				wg.Go(func() {
					token, err := x.src.Renew(t.Context(), rejected)
					got := x.name(token)
					if err != nil {
						got = "an error"
					}
					if got != tt.want {
						t.Errorf("Renew: got %s (%v), want %s", got, err, tt.want)
					}
				})
			}
			synctest.Wait()
			x.want("A") // at once, while the fetch is under way
			wg.Wait()
			x.wantFetches(2)
			if tt.anew {
				x.want("B")
			} else {
				x.want("A")
			}
			if got := x.src.Stats().Rejections; got != 256 {
				t.Errorf("Stats.Rejections: got %d, want 256", got)
			}
		})
	}
}

// A slow fetch outlasts the budget's first step, and is still the only one.
func TestRejectionsDuringSlowFetchShareIt(t *testing.T) {
	for _, anew := range []bool{false, true} {
		sourceBubble(t, func(t *testing.T, x *sourceFixture) {
			rejected := x.startWith("A", time.Hour)
			want := "A"
			if anew {
				x.delegate("B", time.Hour)
				want = "B"
			}
			x.srv.SetLatency(5 * time.Second)
			var wg sync.WaitGroup
			for i := range 40 {
				wg.Go(func() {
					time.Sleep(time.Duration(i) * 100 * time.Millisecond)
					token, err := x.src.Renew(t.Context(), rejected)
					if got := x.name(token); err != nil || got != want {
						t.Errorf("Renew: got %s and error %v, want %s", got, err, want)
					}
				})
			}
			wg.Wait()
			x.wantFetches(2)
		})
	}
}

// The fetch under way began before the rejections, so its result answers none of them.
func TestRejectionsThatWaitedForEarlierFetchShareNext(t *testing.T) {
	for range 20 { // which of the calls goes on first is up to the scheduler
		sourceBubble(t, func(t *testing.T, x *sourceFixture) {
			rejected := x.startWith("A", time.Hour)
			x.srv.Fail(sourceUnavailable)
			x.srv.SetLatency(10 * time.Second)
			go x.src.Refresh(t.Context())
			x.sleep(time.Second)
			x.srv.Fail(sourceNoClient)
			x.srv.SetLatency(0)
			for range 1000 {
				go x.src.Renew(t.Context(), rejected)
			}
			x.sleep(30 * time.Second)
			x.wantFetches(3) // for Token, Refresh, and all of Renew
		})
	}
}

func TestRenewThatFailsKeepsToken(t *testing.T) {
	tests := []struct {
		name   string
		fault  http.Handler
		target error
	}{
		{"404 no client", sourceNoClient, authsec.ErrNotDelegated},
		{"404 of another server", authsectest.Answer(404, "<html>No active delegation token found</html>"), authsec.ErrInvalidResponse},
		{"404 with other words", authsectest.Answer(404, `{"error":"no route"}`), authsec.ErrInvalidResponse},
		{"410 of another server", authsectest.Answer(410, "<html>Gone</html>"), authsec.ErrInvalidResponse},
		{"401", authsectest.Answer(401, `{"error":"unauthorized"}`), authsec.ErrUnauthorized},
		{"429", sourceLimited, authsec.ErrRateLimited},
		{"500", sourceServerError, nil},
		{"502", sourceBadGateway, nil},
		{"200 without a token", authsectest.Answer(200, "{}"), authsec.ErrInvalidResponse},
	}
	for _, tt := range tests {
		inSourceBubble(t, tt.name, func(t *testing.T, x *sourceFixture) {
			rejected := x.startWith("A", time.Hour)
			end := time.Now().Add(time.Hour)
			x.srv.Fail(tt.fault)
			token, err := x.src.Renew(t.Context(), rejected)
			x.checkError(token, err, tt.target)
			x.want("A")
			x.sleep(time.Until(end) - time.Nanosecond)
			x.want("A")
		})
	}
}

func TestRenewDropsRevokedToken(t *testing.T) {
	for name, fault := range map[string]http.Handler{"404": sourceNoDelegation, "410": sourceExpired} {
		inSourceBubble(t, name, func(t *testing.T, x *sourceFixture) {
			rejected := x.startWith("A", time.Hour)
			x.srv.Fail(fault)
			var wg sync.WaitGroup
			for range 16 {
				wg.Go(func() {
					token, err := x.src.Renew(t.Context(), rejected)
					if !errors.Is(err, authsec.ErrNotDelegated) {
						t.Errorf("Renew: got %s and error %v, want one that is %v", x.name(token), err, authsec.ErrNotDelegated)
					}
				})
			}
			wg.Wait()
			for range 10 {
				x.wantError(authsec.ErrNotDelegated)
			}
			x.wantFetches(2)
			if stats := x.src.Stats(); !stats.Expiry.IsZero() {
				t.Errorf("Stats.Expiry: got %v, want none", stats.Expiry)
			}
			if n := x.logged("no token"); n != 1 {
				t.Errorf("logs of %q: got %d, want 1", "no token", n)
			}
			x.srv.Fail(nil)
			x.delegate("B", time.Hour)
			x.gap(100*time.Millisecond, 3*time.Second)
			x.want("B")
		})
	}
}

func TestRenewDropsRevokedTokenAfterItsCallerLeft(t *testing.T) {
	sourceBubble(t, func(t *testing.T, x *sourceFixture) {
		rejected := x.startWith("A", time.Hour)
		x.srv.Fail(sourceNoDelegation)
		x.srv.SetLatency(2 * time.Second)
		x.leave(func(ctx context.Context) (*oauth2.Token, error) { return x.src.Renew(ctx, rejected) })
		x.sleep(time.Second)
		x.wantError(authsec.ErrNotDelegated)
		x.wantFetches(2)
	})
}

func TestRenewIgnoresNoDelegationOfEarlierFetch(t *testing.T) {
	sourceBubble(t, func(t *testing.T, x *sourceFixture) {
		var latency atomic.Int64
		rejected := x.startWith("A", time.Hour, delayed(&latency))
		x.sleep(58 * time.Minute)
		latency.Store(int64(2 * time.Second))
		x.srv.FailNext(1, sourceNoDelegation)
		x.want("A") // begins a fetch, which is answered now
		x.sleep(time.Second)
		x.wantRenew(rejected, "A")
		x.want("A")
	})
}

func TestRenewOfOlderTokenKeepsNewerOne(t *testing.T) {
	sourceBubble(t, func(t *testing.T, x *sourceFixture) {
		older := x.startWith("A", time.Hour)
		x.delegate("B", time.Hour)
		x.wantRefresh("B")
		x.srv.Fail(sourceNoDelegation)
		x.wantRenew(older, "B")
		x.want("B")
	})
}

func TestRenewFetchesAreBounded(t *testing.T) {
	for _, anew := range []bool{false, true} {
		inSourceBubble(t, fmt.Sprint("new token each time: ", anew), func(t *testing.T, x *sourceFixture) {
			x.startWith("A", 10*time.Hour, through(func(req *http.Request, next http.RoundTripper) (*http.Response, error) {
				if anew {
					x.delegateNow("A", 10*time.Hour)
				}
				return next.RoundTrip(req)
			}))
			reject := func(d time.Duration) []time.Duration {
				t.Helper()
				before, began := len(x.moments()), time.Now()
				for time.Since(began) < d {
					x.wantRenew(x.want("A"), "A")
					x.sleep(100 * time.Millisecond)
				}
				var after []time.Duration
				for _, moment := range x.moments()[before:] {
					after = append(after, moment.Sub(began))
				}
				return after
			}
			seconds := func(list ...time.Duration) []time.Duration {
				for i := range list {
					list[i] *= time.Second
				}
				return list
			}
			if got, want := reject(125*time.Second), seconds(0, 1, 3, 7, 15, 31, 61, 91, 121); !slices.Equal(got, want) {
				t.Errorf("fetches: got %v, want %v", got, want)
			}
			x.sleep(59 * time.Second) // the last rejection was 100 ms before
			if got, want := reject(35*time.Second), seconds(0, 30); !slices.Equal(got, want) {
				t.Errorf("after less than a minute of rest: got fetches %v, want %v", got, want)
			}
			x.sleep(60 * time.Second)
			if got, want := reject(4*time.Second), seconds(0, 1, 3); !slices.Equal(got, want) {
				t.Errorf("after a minute of rest: got fetches %v, want %v", got, want)
			}
		})
	}
}

func TestRenewWithoutTokenWaitsLikeToken(t *testing.T) {
	sourceBubble(t, func(t *testing.T, x *sourceFixture) {
		x.start()
		x.delegate("A", time.Hour)
		x.wantRenew(&oauth2.Token{AccessToken: "another source's"}, "A")
		token := x.want("A")
		x.sleep(2 * time.Hour)
		_, err := x.src.Renew(t.Context(), token)
		if !errors.Is(err, authsec.ErrDelegationExpired) {
			t.Errorf("Renew of an expired token: got error %v, want one that is %v", err, authsec.ErrDelegationExpired)
		}
		x.wantFetches(2)
	})
}

func TestRenewWaiterLeavesWithItsContextAlone(t *testing.T) {
	sourceBubble(t, func(t *testing.T, x *sourceFixture) {
		rejected := x.startWith("A", time.Hour)
		x.delegate("B", time.Hour)
		x.srv.SetLatency(5 * time.Second)
		x.leave(func(ctx context.Context) (*oauth2.Token, error) { return x.src.Renew(ctx, rejected) })
		x.want("A")
		x.sleep(4 * time.Second)
		x.want("B")
		x.wantFetches(2)
	})
}

func TestRenewOfEmptyTokenIsError(t *testing.T) {
	sourceBubble(t, func(t *testing.T, x *sourceFixture) {
		x.start()
		x.delegate("A", time.Hour)
		for _, token := range []*oauth2.Token{nil, {}} {
			if _, err := x.src.Renew(t.Context(), token); err == nil {
				t.Errorf("Renew of a token that is nil (%t) or empty: got no error, want one", token == nil)
			}
		}
		x.wantFetches(0)
	})
}
