// Copyright 2026 The authsec Authors
// SPDX-License-Identifier: Apache-2.0

package authsec_test

import (
	"fmt"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/authsec-go/authsec"
	"github.com/authsec-go/authsec/authsectest"
	"golang.org/x/oauth2"
)

func TestRefreshAsksWhateverIsCached(t *testing.T) {
	tests := []struct {
		name   string
		fault  http.Handler
		target error
	}{
		{"404", sourceNoDelegation, authsec.ErrNotDelegated},
		{"429", sourceLimited, authsec.ErrRateLimited},
		{"503 with Retry-After", authsectest.Answer(503, "", "Retry-After", "200"), nil},
	}
	for _, tt := range tests {
		inSourceBubble(t, tt.name, func(t *testing.T, x *sourceFixture) {
			x.start()
			x.srv.Fail(tt.fault)
			x.wantError(tt.target)
			x.srv.Fail(nil)
			x.delegate("A", time.Hour)
			x.wantError(tt.target)
			x.wantRequests(1)
			x.wantRefresh("A")
			x.want("A")
			x.wantRequests(2)
		})
	}
}

func TestRefreshBringsTokenDelegatedAnew(t *testing.T) {
	sourceBubble(t, func(t *testing.T, x *sourceFixture) {
		x.startWith("A", time.Hour)
		x.delegate("B", time.Hour)
		x.want("A")
		x.wantRefresh("B")
	})
}

func TestRefreshAsksOnceASecondAtMost(t *testing.T) {
	for _, delegated := range []bool{true, false} {
		inSourceBubble(t, fmt.Sprint("delegated: ", delegated), func(t *testing.T, x *sourceFixture) {
			x.start()
			if delegated {
				x.delegate("A", time.Hour)
			} else {
				x.srv.Fail(sourceLimited)
			}
			for range 200 {
				token, err := x.src.Refresh(t.Context())
				if (err == nil) != delegated {
					t.Fatalf("Refresh: got %s and error %v, want success: %t", x.name(token), err, delegated)
				}
				x.sleep(50 * time.Millisecond)
			}
			x.wantRequests(10)
		})
	}
}

func TestCallThatJoinsEarlierFetchAsksAgain(t *testing.T) {
	tests := []struct {
		name   string
		reject bool // the token, rather than nil
	}{
		{"Refresh", false},
		{"Renew", true},
	}
	for _, tt := range tests {
		inSourceBubble(t, tt.name, func(t *testing.T, x *sourceFixture) {
			var latency atomic.Int64
			x.start(delayed(&latency))
			var rejected *oauth2.Token
			if tt.reject {
				x.delegate("A", time.Hour)
				rejected = x.want("A")
				x.sleep(58 * time.Minute)
			}
			latency.Store(int64(2 * time.Second))
			var wg sync.WaitGroup
			wg.Go(func() { x.src.Token() }) // has an answer without B under way
			x.sleep(time.Second)
			x.delegate("B", time.Hour)
			var token *oauth2.Token
			var err error
			if tt.reject {
				token, err = x.src.Renew(t.Context(), rejected)
			} else {
				token, err = x.src.Refresh(t.Context())
			}
			if err != nil {
				t.Fatalf("got error %v, want token B", err)
			}
			x.wantToken(token, "B")
			wg.Wait()
		})
	}
}

// Refresh asks in spite of a Retry-After. If it fails for another reason, the other
// calls still wait for the end of that time.
func TestRefreshThatFailsKeepsRetryAfter(t *testing.T) {
	for _, life := range []time.Duration{0, 30 * time.Minute} { // of the token in service; 0: none
		inSourceBubble(t, life.String(), func(t *testing.T, x *sourceFixture) {
			x.start(func(c *authsec.Config) { c.RenewBefore, c.Retry.MaxAttempts = life, 1 })
			if life > 0 {
				x.delegate("A", life)
				x.want("A")
			}
			x.srv.Fail(limited)
			x.src.Refresh(t.Context())
			until := time.Now().Add(100 * time.Second)
			x.sleep(2 * time.Second)
			x.srv.Fail(sourceServerError)
			x.src.Refresh(t.Context())
			asked := x.srv.Fetches()
			x.sleep(time.Until(until) - time.Nanosecond)
			x.src.Token()
			synctest.Wait()
			x.wantRequests(asked)
			if next := x.src.Stats().NextFetch; next.Before(until) {
				t.Errorf("NextFetch: got %v before the end of Retry-After, want none", until.Sub(next))
			}
		})
	}
}

// Another answer of the server ends its earlier Retry-After.
func TestAnotherAnswerEndsRetryAfter(t *testing.T) {
	sourceBubble(t, func(t *testing.T, x *sourceFixture) {
		x.start()
		x.srv.Fail(limited)
		x.src.Refresh(t.Context())
		x.sleep(2 * time.Second)
		x.srv.Fail(sourceNoDelegation)
		x.src.Refresh(t.Context())
		if next, most := time.Until(x.src.Stats().NextFetch), 3*time.Second; next > most {
			t.Errorf("NextFetch after a 429 and then a 404: got %v from now, want %v at most", next, most)
		}
	})
}
