// Copyright 2026 The authsec Authors
// SPDX-License-Identifier: Apache-2.0

package authsec

import (
	"context"
	"net/http"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/oauth2"
)

func TestSourceLeavesFewFetchesBehind(t *testing.T) {
	clockBubble(t, func(t *testing.T, x *clockFixture) {
		release := make(chan struct{})
		var calls atomic.Int64
		x.src.timeout = time.Second
		x.src.server.credential = tokenFunc(func() (*oauth2.Token, error) {
			calls.Add(1)
			<-release
			return &oauth2.Token{AccessToken: "caller"}, nil
		})
		start := time.Now()
		for range 20 {
			began := time.Now()
			if _, err := x.src.Token(); err == nil {
				t.Fatal("Token: got no error, want one")
			}
			if took := time.Since(began); took > time.Second {
				t.Errorf("Token: took %v, want 1s at most", took)
			}
			time.Sleep(2 * time.Minute) // longer than any failure is cached
		}
		// Then one more every 10 minutes, for the Credential may have recovered.
		most := maxAbandoned + int64(time.Since(start)/abandonedEvery)
		if got := calls.Load(); got > most || got <= maxAbandoned {
			t.Errorf("calls of the Credential that never returned: got %d, want more than %d and %d at most", got, maxAbandoned, most)
		}
		close(release)
		synctest.Wait()
		x.token, x.expiry = "B", time.Now().Add(clockTTL)
		x.want("B")
		if x.src.left.Running() != 0 {
			t.Errorf("fetches that have not returned: got %d, want 0", x.src.left.Running())
		}
	})
}

func TestSourceDropsAnswerThatComesAfterFetchTimeout(t *testing.T) {
	clockBubble(t, func(t *testing.T, x *clockFixture) {
		x.src.timeout = 5 * time.Second
		late := 8 * time.Second
		x.src.server.transport = clockRoundTripper(func(req *http.Request) (*http.Response, error) {
			time.Sleep(late) // whatever the context says
			return x.RoundTrip(req)
		})
		began := time.Now()
		x.wantTimeout()
		if took := time.Since(began); took != 5*time.Second {
			t.Errorf("Token: took %v, want 5s", took)
		}
		time.Sleep(4 * time.Second)
		if stats := x.src.Stats(); stats.Fetches != 1 || stats.Failures != 1 || !stats.Expiry.IsZero() {
			t.Errorf("Stats: got %d fetches, %d failures, Expiry %v, want 1, 1 and none", stats.Fetches, stats.Failures, stats.Expiry)
		}
		late = 0
		x.want("A")
		x.wantFetches(2)
	})
}

func TestSourceEndsFetchsContext(t *testing.T) {
	clockBubble(t, func(t *testing.T, x *clockFixture) {
		var ctx context.Context
		x.src.server.transport = clockRoundTripper(func(req *http.Request) (*http.Response, error) {
			ctx = req.Context()
			if deadline, ok := ctx.Deadline(); !ok || time.Until(deadline) != attemptTimeout {
				t.Errorf("an attempt's deadline: got %v from now (%t), want %v", time.Until(deadline), ok, attemptTimeout)
			}
			return x.RoundTrip(req)
		})
		x.want("A")
		if ctx.Err() == nil {
			t.Error("the context of a fetch that is over: got no end, want one")
		}
	})
}
