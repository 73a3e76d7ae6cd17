// Copyright 2026 The authsec Authors
// SPDX-License-Identifier: Apache-2.0

package authsec_test

import (
	"context"
	"errors"
	"net/http"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/authsec-go/authsec"
	"github.com/authsec-go/authsec/authsectest"
	"golang.org/x/oauth2"
)

func patient(c *authsec.Config) { c.FailFast = false }

// limited refuses for exactly 100 s.
var limited = authsectest.Answer(http.StatusTooManyRequests, `{"error":"Rate limit exceeded"}`, "Retry-After", "100")

func TestPatientCallersShareTheNextFetch(t *testing.T) {
	sourceBubble(t, func(t *testing.T, x *sourceFixture) {
		x.start(patient)
		x.delegate("first", time.Hour)
		x.srv.FailNext(3, limited)
		began := time.Now()
		var wg sync.WaitGroup
		for i := range 1000 {
			wg.Go(func() {
				time.Sleep(time.Duration(i) * 200 * time.Millisecond) // some come in each of the waits
				if token, err := x.src.Token(); x.name(token) != "first" {
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

func TestPatienceIsTheContexts(t *testing.T) {
	for _, c := range []struct {
		name   string
		within time.Duration // the context's; 0: it has no end
		edit   func(*authsec.Config)
		want   error // nil: the token
		took   time.Duration
	}{
		{"no deadline", 0, patient, nil, 100 * time.Second},
		{"a later deadline", 101 * time.Second, patient, nil, 100 * time.Second},
		{"an earlier deadline", 99 * time.Second, patient, authsec.ErrRateLimited, 0},
		{"FailFast", 0, func(c *authsec.Config) { c.FailFast = true }, authsec.ErrRateLimited, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			for _, first := range []bool{true, false} { // the one that asks, and one that finds it remembered
				sourceBubble(t, func(t *testing.T, x *sourceFixture) {
					x.start(c.edit)
					x.delegate("first", time.Hour)
					x.srv.FailNext(1, limited)
					if !first {
						if _, err := x.src.Renew(t.Context(), nil); !errors.Is(err, authsec.ErrRateLimited) {
							t.Fatalf("Renew: got %v, want ErrRateLimited", err)
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

func TestPatienceEnds(t *testing.T) {
	for _, c := range []struct {
		name string
		end  func(x *sourceFixture, cancel func())
		want error
	}{
		{"with the context", func(_ *sourceFixture, cancel func()) { cancel() }, context.Canceled},
		{"with a token that Renew brought", func(x *sourceFixture, _ func()) {
			x.srv.Fail(nil)
			if _, err := x.src.Renew(x.Context(), nil); err != nil {
				x.Error(err)
			}
		}, nil},
		{"with another failure", func(x *sourceFixture, _ func()) {
			x.srv.Fail(nil)
			x.srv.Revoke(authsectest.ClientID)
			if _, err := x.src.Renew(x.Context(), nil); !errors.Is(err, authsec.ErrNotDelegated) {
				x.Errorf("Renew: got %v, want ErrNotDelegated", err)
			}
		}, authsec.ErrNotDelegated},
	} {
		t.Run(c.name, func(t *testing.T) {
			sourceBubble(t, func(t *testing.T, x *sourceFixture) {
				x.start(patient)
				x.delegate("first", time.Hour)
				x.srv.Fail(limited)
				ctx, cancel := context.WithCancel(t.Context())
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
		})
	}
}

func TestPatienceIsForRateLimitsOnly(t *testing.T) {
	sourceBubble(t, func(t *testing.T, x *sourceFixture) {
		x.start(patient)
		x.srv.Fail(authsectest.Answer(http.StatusNotFound, `{"error":"No active delegation token found"}`))
		began := time.Now()
		for range 2 {
			if _, err := x.src.Token(); !errors.Is(err, authsec.ErrNotDelegated) {
				t.Errorf("got %v, want ErrNotDelegated", err)
			}
		}
		if took := time.Since(began); took != 0 {
			t.Errorf("it took %v, want no time", took)
		}
	})
}

// A request without a deadline waits, in the Transport as well.
func TestPatienceOfARequest(t *testing.T) {
	sourceBubble(t, func(t *testing.T, x *sourceFixture) {
		x.start(patient)
		x.delegate("first", time.Hour)
		x.srv.FailNext(1, limited)
		client := &http.Client{Transport: to(x.src, statuses(200))}
		began := time.Now()
		resp, err := client.Get(api)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if took := time.Since(began); took != 100*time.Second {
			t.Errorf("it took %v, want 100s", took)
		}
	})
}

// Twice as many processes as the server's limit allows a minute, behind one
// address, all at once: none fails, and the second time the limit holds.
func TestPatientFleet(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const processes, limit = 200, 100
		srv := authsectest.NewInMemoryServer()
		srv.Delegate(authsectest.ClientID, authsectest.Delegation{TTL: time.Hour})
		srv.LimitRate(limit, time.Minute)
		var mu sync.Mutex
		answers := map[int]int{} // by status
		count := sourceRoundTripper(func(req *http.Request) (*http.Response, error) {
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
				if token, err = src.Token(); err != nil || !token.Valid() {
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

// Who has an API's 401 in hand, or an admin's word, is told at once.
func TestRenewIsNotPatient(t *testing.T) {
	sourceBubble(t, func(t *testing.T, x *sourceFixture) {
		x.start(patient)
		x.delegate("first", time.Hour)
		refused, err := x.src.Token()
		if err != nil {
			t.Fatal(err)
		}
		x.srv.Revoke(authsectest.ClientID)
		if _, err := x.src.Renew(t.Context(), refused); !errors.Is(err, authsec.ErrNotDelegated) {
			t.Fatalf("Renew of a revoked token: got %v, want ErrNotDelegated", err)
		}
		x.srv.Fail(limited)
		began := time.Now()
		for _, rejected := range []*oauth2.Token{nil, nil, refused} {
			if _, err := x.src.Renew(t.Context(), rejected); !errors.Is(err, authsec.ErrRateLimited) {
				t.Errorf("Renew(%t): got %v, want ErrRateLimited", rejected != nil, err)
			}
		}
		if took := time.Since(began); took != 0 {
			t.Errorf("it took %v, want no time", took)
		}
	})
}

// The server's wish outlasts a fault on the way, and so does the patience.
func TestPatienceOutlastsAFaultOnTheWay(t *testing.T) {
	sourceBubble(t, func(t *testing.T, x *sourceFixture) {
		x.start(patient, func(c *authsec.Config) { c.Retry.MaxAttempts = 1 })
		x.delegate("first", time.Hour)
		x.srv.FailNext(1, limited)
		began := time.Now()
		var wg sync.WaitGroup
		for i := range 3 { // before the fault and after it
			wg.Go(func() {
				time.Sleep(time.Duration(i) * 9 * time.Second)
				if token, err := x.src.Token(); x.name(token) != "first" {
					t.Errorf("got %s, %v, want the first", x.name(token), err)
				}
				if took := time.Since(began); took != 100*time.Second {
					t.Errorf("got the token after %v, want 100s", took)
				}
			})
		}
		time.Sleep(10 * time.Second)
		x.srv.FailNext(1, authsectest.Answer(http.StatusServiceUnavailable, ""))
		if _, err := x.src.Renew(t.Context(), nil); err == nil || errors.Is(err, authsec.ErrRateLimited) {
			t.Errorf("Renew: got %v, want the 503's error", err)
		}
		wg.Wait()
	})
}
