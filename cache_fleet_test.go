// Copyright 2026 The authsec Authors
// SPDX-License-Identifier: Apache-2.0

package authsec_test

import (
	"context"
	"fmt"
	"net/http"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/authsec-go/authsec"
)

func TestFleetAsksOnceAtAColdStart(t *testing.T) {
	fleetBubble(t, func(t *testing.T, x *fleet) {
		x.delegate("first", time.Hour)
		x.srv.SetLatency(300 * time.Millisecond)
		x.add(1000)
		began := time.Now()
		x.all("first")
		if took := time.Since(began); took > 2*time.Second {
			t.Errorf("all have the token after %v, want 2s at most", took)
		}
		x.wantRequests(1)
		hits, misses := uint64(0), uint64(0)
		for _, pod := range x.pods {
			s := pod.Stats()
			hits, misses = hits+s.Cache.Hits, misses+s.Cache.Misses
			if s.Cache.Failures+s.Cache.Rejects != 0 || s.Expiry.IsZero() || s.Fetches != s.Cache.Misses {
				t.Errorf("got stats %+v", s)
			}
		}
		if hits != 999 || misses != 1 {
			t.Errorf("%d hits and %d misses, want 999 and 1", hits, misses)
		}
		x.pod() // and one that comes later
		x.want("first")
		x.wantRequests(1)
	})
}

// Without leases, processes that start later still get the token from the cache.
func TestFleetWithoutLeases(t *testing.T) {
	fleetBubble(t, func(t *testing.T, x *fleet) {
		x.warm(10, func(c *authsec.Config) { c.Cache.Store = &x.cache.plainCache })
		asked := x.srv.Fetches()
		if asked > 10 {
			t.Errorf("%d requests, want 10 at most", asked)
		}
		x.add(100, func(c *authsec.Config) { c.Cache.Store = &x.cache.plainCache })
		x.all("first")
		x.wantRequests(asked)
		x.sleep(30 * time.Minute)
		x.delegate("second", time.Hour)
		x.run(30*time.Minute - time.Second)
		x.all("second")
		if n := x.srv.Fetches() - asked; n > 10 {
			t.Errorf("%d requests for the renewal, want few", n)
		}
	})
}

func TestFleetRenewsOnce(t *testing.T) {
	fleetBubble(t, func(t *testing.T, x *fleet) {
		x.delegate("0", time.Hour)
		x.add(100)
		x.all("0")
		x.run(9 * time.Minute)
		for i := 1; i <= 3; i++ {
			x.run(41 * time.Minute)
			x.delegate(fmt.Sprint(i), time.Hour)
			x.run(9 * time.Minute)
			x.all(fmt.Sprint(i))
			x.wantRequests(1 + i)
		}
	})
}

// While the server returns the same token, the fleet asks as often as one process
// does, about ten times in a window. The same is true while there is no token.
func TestFleetAsksAsOneProcessDoes(t *testing.T) {
	fleetBubble(t, func(t *testing.T, x *fleet) {
		x.delegate("only", time.Hour)
		x.add(100)
		x.run(time.Hour - time.Second)
		if n := x.srv.Fetches(); n < 5 || n > 21 {
			t.Errorf("%d requests in a token's life, want about 11", n)
		}
		before := x.srv.Fetches()
		x.run(10 * time.Minute)
		if n := x.srv.Fetches() - before; n < 10 || n > 30 {
			t.Errorf("%d requests in 10 minutes without a delegation, want about 16", n)
		}
		before = x.srv.Fetches()
		x.delegate("next", time.Hour)
		x.run(100 * time.Second)
		x.all("next")
		if n := x.srv.Fetches() - before; n != 1 {
			t.Errorf("%d requests for the new delegation, want 1", n)
		}
	})
}

// In an outage the fleet asks as often as one process does. New processes get the
// token that the others have.
func TestFleetInAnOutage(t *testing.T) {
	fleetBubble(t, func(t *testing.T, x *fleet) {
		x.delegate("first", time.Hour)
		x.add(50, once)
		x.run(54 * time.Minute)
		x.srv.Fail(sourceUnavailable)
		asked := x.srv.Fetches()
		x.run(5 * time.Minute)
		x.add(50, once)
		x.all("first")
		if n := x.srv.Fetches() - asked; n < 5 || n > 20 {
			t.Errorf("%d requests with a token in hand, want about 10", n)
		}
		x.run(time.Minute)
		asked = x.srv.Fetches()
		x.run(5 * time.Minute)
		if n := x.srv.Fetches() - asked; n < 3 || n > 20 {
			t.Errorf("%d requests in 5 minutes without a token, want about 6", n)
		}
		x.delegate("second", time.Hour)
		x.srv.Fail(nil)
		asked = x.srv.Fetches()
		x.run(2 * time.Minute)
		x.all("second")
		x.wantRequests(asked + 1)
	})
}

func TestFleetSharesARateLimit(t *testing.T) {
	fleetBubble(t, func(t *testing.T, x *fleet) {
		x.delegate("first", time.Hour)
		x.srv.FailNext(1, limited)
		x.add(200)
		ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
		defer cancel()
		began := time.Now()
		var sum atomic.Int64
		x.each(func(pod *authsec.Source) {
			if token, err := pod.TokenContext(ctx); x.name(token) != "first" {
				t.Errorf("got %s, %v, want the first", x.name(token), err)
			}
			sum.Add(int64(time.Since(began)))
		})
		if took := time.Since(began); took < 100*time.Second || took > 103*time.Second {
			t.Errorf("all have the token after %v, want 100s", took)
		}
		x.wantWithin("the mean wait", time.Duration(sum.Load()/200), 100200*time.Millisecond, 101*time.Second) // not all at once
		x.wantRequests(2)
		for _, pod := range x.pods {
			if failures := pod.Stats().Failures; failures != 1 {
				t.Errorf("%d failures, want the server's one", failures)
			}
		}
	})
}

// The processes' clocks are ahead of the server's.
func TestFleetWaitsOutARateLimitWithAWrongClock(t *testing.T) {
	fleetBubble(t, func(t *testing.T, x *fleet) {
		x.srv.SetLatency(200 * time.Millisecond)
		x.srv.FailNext(1, limited)
		x.delegate("first", time.Hour)
		x.add(20, clockAhead(-5*time.Minute))
		ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
		defer cancel()
		x.each(func(pod *authsec.Source) {
			if token, err := pod.TokenContext(ctx); x.name(token) != "first" {
				t.Errorf("got %s, %v, want the first", x.name(token), err)
			}
		})
		if n := x.srv.Fetches(); n > 40 {
			t.Errorf("%d requests, want 40 at most", n)
		}
	})
}

// A process that waited for another has all of FetchTimeout left.
func TestFleetWaitsForASlowServer(t *testing.T) {
	fleetBubble(t, func(t *testing.T, x *fleet) {
		x.delegate("first", time.Hour)
		x.srv.SetLatency(2200 * time.Millisecond)
		x.add(20, func(c *authsec.Config) { c.FetchTimeout = 3 * time.Second })
		x.all("first")
	})
}

// If a process dies with the lease, the others wait until the lease ends.
func TestLeaseOfADeadProcessEnds(t *testing.T) {
	fleetBubble(t, func(t *testing.T, x *fleet) {
		x.delegate("first", time.Hour)
		dead := x.pod(through(func(req *http.Request, _ http.RoundTripper) (*http.Response, error) {
			<-req.Context().Done()
			return nil, req.Context().Err()
		}))
		x.pods = nil
		go dead.Token()
		synctest.Wait()
		x.add(50)
		began := time.Now()
		x.all("first")
		if took := time.Since(began); took < 4*time.Second || took > 6*time.Second {
			t.Errorf("the others have the token after %v, want about 5s", took)
		}
		x.wantRequests(1)
	})
}

// A process with a token renews it rarely. A failure of that renewal is cached more
// briefly for processes without a token.
func TestFailureOfARenewalIsCachedBrieflyForOthers(t *testing.T) {
	fleetBubble(t, func(t *testing.T, x *fleet) {
		early := func(c *authsec.Config) { c.Retry.MaxAttempts, c.RenewBefore = 1, 4*time.Hour }
		x.delegate("first", 8*time.Hour)
		warm := x.pod(early)
		x.want("first")
		x.cache.restore(nil) // the store began anew
		x.srv.Fail(sourceUnavailable)
		asked := x.srv.Fetches()
		for x.srv.Fetches() == asked {
			x.sleep(time.Second)
			warm.Token()
			synctest.Wait()
		}
		x.srv.Fail(nil) // a hiccup
		x.pods = nil
		x.pod(early)
		began := time.Now()
		for {
			token, err := x.src.Token()
			if err == nil {
				x.wantToken(token, "first")
				break
			}
			x.sleep(time.Second)
		}
		if took := time.Since(began); took > 65*time.Second {
			t.Errorf("a pod that began after the hiccup had its token after %v, want a minute at most", took)
		}
	})
}

// A program may end once it has its token: the next one finds it in the cache.
func TestTokenIsStoredBeforeItIsReturned(t *testing.T) {
	for _, takes := range []time.Duration{0, 500 * time.Millisecond} {
		fleetBubble(t, func(t *testing.T, x *fleet) {
			x.cache.fault = on(hangs(takes), "put")
			x.delegate("first", time.Hour)
			x.pod()
			began := time.Now()
			x.src.Token()
			if took := time.Since(began); took != takes || len(x.cache.all()) != 1 || len(x.cache.leases) != 0 {
				t.Errorf("after %v: %d entries and %d leases, want 1 and 0 after %v", took, len(x.cache.all()), len(x.cache.leases), takes)
			}
		})
	}
}
