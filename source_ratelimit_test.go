// Copyright 2026 The authsec Authors
// SPDX-License-Identifier: Apache-2.0

package authsec_test

import (
	"context"
	"errors"
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/authsec-go/authsec"
	"github.com/authsec-go/authsec/authsectest"
	"golang.org/x/oauth2"
)

func TestSourceObeysRetryAfterWhileTokenIsGood(t *testing.T) {
	sourceBubble(t, func(t *testing.T, x *sourceFixture) {
		x.startWith("A", time.Hour)
		x.sleep(57*time.Minute + 30*time.Second)
		x.srv.Fail(limited)
		for range 99 {
			x.want("A")
			x.sleep(time.Second)
		}
		x.wantRequests(2)
		x.want("A")
		x.sleep(2 * time.Second)
		x.want("A")
		x.wantRequests(3)
	})
}

func TestCallersThatWaitOutARateLimitShareTheNextFetch(t *testing.T) {
	sourceBubble(t, func(t *testing.T, x *sourceFixture) {
		x.start()
		x.delegate("first", time.Hour)
		x.srv.FailNext(3, limited)
		ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
		defer cancel()
		began := time.Now()
		var wg sync.WaitGroup
		for i := range 1000 {
			wg.Go(func() {
				time.Sleep(time.Duration(i) * 200 * time.Millisecond) // some come in each of the waits
				if token, err := x.src.TokenContext(ctx); x.name(token) != "first" {
					t.Errorf("got %s, %v, want the first", x.name(token), err)
				} else if took := time.Since(began); took < 5*time.Minute || took >= 5*time.Minute+time.Second {
					t.Errorf("got the token after %v, want it after the three waits of 100s", took)
				}
			})
		}
		wg.Wait()
		if len(x.asked) != 4 {
			t.Errorf("the server was asked %d times, want 4", len(x.asked))
		}
	})
}

func TestOnlyACallWithALaterDeadlineWaitsOutARateLimit(t *testing.T) {
	for _, c := range []struct {
		name   string
		within time.Duration // the context's; 0: it has no end
		want   error         // nil: the token
		took   time.Duration
	}{
		{"no deadline", 0, authsec.ErrRateLimited, 0},
		{"a later deadline", 101 * time.Second, nil, 100 * time.Second},
		{"an earlier deadline", 99 * time.Second, authsec.ErrRateLimited, 0},
		{"the same deadline", 100 * time.Second, authsec.ErrRateLimited, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			for _, first := range []bool{true, false} { // the call that asks, or one that finds it cached
				sourceBubble(t, func(t *testing.T, x *sourceFixture) {
					x.start()
					x.delegate("first", time.Hour)
					x.srv.FailNext(1, limited)
					if !first {
						if _, err := x.src.Refresh(t.Context()); !errors.Is(err, authsec.ErrRateLimited) {
							t.Fatalf("Refresh: got %v, want ErrRateLimited", err)
						}
					}
					ctx := t.Context()
					if c.within > 0 {
						var cancel context.CancelFunc
						ctx, cancel = context.WithTimeout(ctx, c.within)
						defer cancel()
					}
					began := time.Now()
					token, err := x.src.TokenContext(ctx)
					if !errors.Is(err, c.want) || (err == nil) != (x.name(token) == "first") {
						t.Errorf("first %t: got %s, %v, want %v", first, x.name(token), err, c.want)
					}
					if took := time.Since(began); took != c.took {
						t.Errorf("first %t: it took %v, want %v", first, took, c.took)
					}
				})
			}
		})
	}
}

func TestWaitForARateLimitEnds(t *testing.T) {
	for _, c := range []struct {
		name string
		end  func(x *sourceFixture, cancel func())
		want error
	}{
		{"with the context", func(_ *sourceFixture, cancel func()) { cancel() }, context.Canceled},
		{"with a token that Refresh gets", func(x *sourceFixture, _ func()) {
			x.srv.Fail(nil)
			if _, err := x.src.Refresh(x.Context()); err != nil {
				x.Error(err)
			}
		}, nil},
		{"with another failure", func(x *sourceFixture, _ func()) {
			x.srv.Fail(nil)
			x.srv.Revoke(authsectest.ClientID)
			if _, err := x.src.Refresh(x.Context()); !errors.Is(err, authsec.ErrNotDelegated) {
				x.Errorf("Refresh: got %v, want ErrNotDelegated", err)
			}
		}, authsec.ErrNotDelegated},
	} {
		inSourceBubble(t, c.name, func(t *testing.T, x *sourceFixture) {
			x.start()
			x.delegate("first", time.Hour)
			x.srv.Fail(limited)
			ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
			defer cancel()
			began := time.Now()
			got := make(chan error)
			go func() {
				_, err := x.src.TokenContext(ctx)
				got <- err
			}()
			time.Sleep(10 * time.Second)
			c.end(x, cancel)
			if err := <-got; !errors.Is(err, c.want) {
				t.Errorf("got %v, want %v", err, c.want)
			}
			if took := time.Since(began); took != 10*time.Second {
				t.Errorf("it took %v, want 10s", took)
			}
		})
	}
}

func TestNoOtherFailureIsWaitedOut(t *testing.T) {
	sourceBubble(t, func(t *testing.T, x *sourceFixture) {
		x.start()
		ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
		defer cancel()
		for _, fault := range []http.Handler{sourceNoDelegation, authsectest.Answer(503, "", "Retry-After", "100")} {
			x.srv.Fail(fault)
			x.src.Refresh(t.Context())
			began := time.Now()
			for _, ctx := range []context.Context{t.Context(), ctx} {
				if token, err := x.src.TokenContext(ctx); err == nil || errors.Is(err, authsec.ErrRateLimited) {
					t.Errorf("got %s, %v, want the server's failure", x.name(token), err)
				}
			}
			if took := time.Since(began); took != 0 {
				t.Errorf("it took %v, want no time", took)
			}
			x.sleep(time.Second) // Refresh asks once a second
		}
	})
}

// A request also waits out a rate limit, if its context's deadline permits.
func TestRequestWaitsOutARateLimitWithinItsDeadline(t *testing.T) {
	for deadline, want := range map[time.Duration]time.Duration{0: 0, time.Minute: 0, time.Hour: 100 * time.Second} {
		sourceBubble(t, func(t *testing.T, x *sourceFixture) {
			x.start()
			x.delegate("first", time.Hour)
			x.srv.FailNext(1, limited)
			client := &http.Client{Transport: to(x.src, statuses(200)), Timeout: deadline}
			began := time.Now()
			resp, err := client.Get(api)
			if err == nil {
				resp.Body.Close()
			}
			if took := time.Since(began); took != want || (err == nil) != (want > 0) {
				t.Errorf("time-out %v: got %v after %v, want it after %v", deadline, err, took, want)
			}
		})
	}
}

// Without a deadline, each call fails at once while the 429s last.
func TestLastingRateLimitHoldsNoCallUp(t *testing.T) {
	sourceBubble(t, func(t *testing.T, x *sourceFixture) {
		x.start()
		x.srv.Fail(limited)
		const calls, step = 24 * 60, time.Minute
		for range calls {
			began := time.Now()
			e := x.wantError(authsec.ErrRateLimited)
			if took := time.Since(began); took != 0 || e.RetryAfter != 100*time.Second {
				t.Fatalf("it took %v, with RetryAfter %v, want no time and 100s", took, e.RetryAfter)
			}
			time.Sleep(step)
		}
		if got, most := len(x.moments()), int(calls*step/(100*time.Second))+1; got > most {
			t.Errorf("the server was asked %d times, want %d at most", got, most)
		}
	})
}

// Twice as many processes ask at once as the server allows requests a minute. None
// fails, and the rate-limited ones ask again at different times.
func TestProcessesBehindOneRateLimit(t *testing.T) {
	bubble(t, func(t *testing.T) {
		const processes, limit = 200, 100
		srv := authsectest.NewInMemoryServer()
		srv.Delegate(authsectest.ClientID, authsectest.Delegation{TTL: time.Hour})
		srv.LimitRate(limit, time.Minute)
		var mu sync.Mutex
		answers := map[int]int{} // by status
		count := baseFunc(func(req *http.Request) (*http.Response, error) {
			resp, err := srv.Client().Transport.RoundTrip(req)
			if err == nil {
				mu.Lock()
				answers[resp.StatusCode]++
				mu.Unlock()
			}
			return resp, err
		})
		began := time.Now()
		var wg sync.WaitGroup
		for range processes {
			wg.Go(func() {
				cfg := srv.Config(authsectest.ClientID)
				cfg.HTTPClient = &http.Client{Transport: count}
				src, err := authsec.NewSource(cfg)
				if err != nil {
					t.Error(err)
					return
				}
				var token *oauth2.Token
				ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
				defer cancel()
				if token, err = src.TokenContext(ctx); err != nil || !token.Valid() {
					t.Errorf("a process got no token: %v", err)
				}
			})
		}
		wg.Wait()
		t.Logf("all have a token after %v; answers by status: %v", time.Since(began).Round(time.Second), answers)
		if answers[http.StatusOK] != processes || answers[http.StatusTooManyRequests] != processes-limit {
			t.Errorf("answers by status: got %v, want %d of 200 and %d of 429", answers, processes, processes-limit)
		}
		if took := time.Since(began); took > 2*time.Minute {
			t.Errorf("the last had its token after %v, want 2m at most", took)
		}
	})
}

// Callers of Renew and Refresh get their result at once.
func TestRenewAndRefreshDoNotWaitOutARateLimit(t *testing.T) {
	sourceBubble(t, func(t *testing.T, x *sourceFixture) {
		rejected := x.startWith("first", time.Hour)
		x.srv.Revoke(authsectest.ClientID)
		if _, err := x.src.Renew(t.Context(), rejected); !errors.Is(err, authsec.ErrNotDelegated) {
			t.Fatalf("Renew of a revoked token: got %v, want ErrNotDelegated", err)
		}
		x.srv.Fail(limited)
		began := time.Now()
		ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
		defer cancel()
		for range 2 {
			if _, err := x.src.Refresh(ctx); !errors.Is(err, authsec.ErrRateLimited) {
				t.Errorf("Refresh: got %v, want ErrRateLimited", err)
			}
		}
		if _, err := x.src.Renew(ctx, rejected); !errors.Is(err, authsec.ErrRateLimited) {
			t.Errorf("Renew: got %v, want ErrRateLimited", err)
		}
		if took := time.Since(began); took != 0 {
			t.Errorf("it took %v, want no time", took)
		}
	})
}

func TestRenewObeysRetryAfter(t *testing.T) {
	sourceBubble(t, func(t *testing.T, x *sourceFixture) {
		rejected := x.startWith("A", time.Hour)
		x.srv.FailNext(1, limited)
		token, err := x.src.Renew(t.Context(), rejected)
		x.checkError(token, err, authsec.ErrRateLimited)
		for range 99 {
			x.sleep(time.Second)
			x.wantRenew(rejected, "A")
		}
		x.wantRequests(2)
	})
}

// Refresh asks during a rate limit, and gets a 503. The others wait for the end of
// the rate limit all the same.
func TestRateLimitOutlastsATransientFault(t *testing.T) {
	sourceBubble(t, func(t *testing.T, x *sourceFixture) {
		x.start(once)
		x.delegate("first", time.Hour)
		x.srv.FailNext(1, limited)
		ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
		defer cancel()
		began := time.Now()
		var wg sync.WaitGroup
		for i := range 3 { // before the fault and after it
			wg.Go(func() {
				time.Sleep(time.Duration(i) * 9 * time.Second)
				if token, err := x.src.TokenContext(ctx); x.name(token) != "first" {
					t.Errorf("got %s, %v, want the first", x.name(token), err)
				}
				if took := time.Since(began); took != 100*time.Second {
					t.Errorf("got the token after %v, want 100s", took)
				}
			})
		}
		time.Sleep(10 * time.Second)
		x.srv.FailNext(1, authsectest.Answer(http.StatusServiceUnavailable, ""))
		if _, err := x.src.Refresh(t.Context()); err == nil || errors.Is(err, authsec.ErrRateLimited) {
			t.Errorf("Refresh: got %v, want the 503's error", err)
		}
		wg.Wait()
	})
}
