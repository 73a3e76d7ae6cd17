// Copyright 2026 The authsec Authors
// SPDX-License-Identifier: Apache-2.0

package faults

import (
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/authsec-go/authsec"
	"github.com/authsec-go/authsec/authsectest"
)

// TestAPIAnswers: an API rejects requests and fails.
func TestAPIAnswers(t *testing.T) {
	t.Parallel()
	const unauthorized, unavailable = http.StatusUnauthorized, http.StatusServiceUnavailable
	tests := []struct {
		name     string
		statuses []int // of the first answers; the API's own follow
		repeated int   // the status of requests that can be retried
		attempts int
	}{
		{name: "one 503", statuses: []int{unavailable}, repeated: http.StatusOK, attempts: 2},
		{name: "three 503s", statuses: []int{unavailable, unavailable, unavailable}, repeated: http.StatusOK, attempts: 4},
		{name: "endless 503s", statuses: []int{unavailable, unavailable, unavailable, unavailable, unavailable}, repeated: unavailable, attempts: 4},
	}
	for _, w := range wires {
		for _, test := range tests {
			for _, k := range calls {
				t.Run(fmt.Sprintf("%s/%s/%v", w.name, test.name, k), func(t *testing.T) {
					t.Parallel()
					s := newStack(t, w)
					c := s.newCaller()
					var n atomic.Int64
					s.setAPIFront(func(w http.ResponseWriter, r *http.Request) {
						if i := int(n.Add(1)); i <= len(test.statuses) {
							authsectest.Answer(test.statuses[i-1], strings.Repeat("x", 100*KiB)).ServeHTTP(w, r)
							return
						}
						s.serveAuthorized(w, r)
					})
					status, attempts := test.repeated, test.attempts
					if !k.repeatable() {
						status, attempts = unavailable, 1
					}
					k.want = KiB
					if o := c.do(k); o.status != status || o.arrivals != attempts || o.err != nil {
						t.Errorf("got status %d, %d arrivals, error %v; want %d, %d, none", o.status, o.arrivals, o.err, status, attempts)
					}
				})
			}
		}
		// A rejected token is replaced, and the request is sent again, whatever its
		// method, if its body can be sent again.
		t.Run(w.name+"/401", func(t *testing.T) {
			t.Parallel()
			for _, k := range calls {
				s := newStack(t, w)
				c := s.newCaller()
				c.mustAnswer(call{})
				s.auth.Revoke(authsectest.ClientID)
				s.auth.Delegate(authsectest.ClientID, authsectest.Delegation{})
				k.want = KiB
				status, arrivals := http.StatusOK, 2
				if !k.replayable() {
					status, arrivals = unauthorized, 1
				}
				if o := c.do(k); o.status != status || o.arrivals != arrivals || o.err != nil {
					t.Errorf("%v: got status %d, %d arrivals, error %v; want %d, %d, none", k, o.status, o.arrivals, o.err, status, arrivals)
				}
				c.mustAnswer(k) // with the new token
				if got := s.auth.Fetches(); got != 2 {
					t.Errorf("%v: the endpoint was asked %d times, want 2", k, got)
				}
			}
		})
		// After a revocation the token is dropped, and no request is sent.
		t.Run(w.name+"/revoked", func(t *testing.T) {
			t.Parallel()
			s := newStack(t, w)
			c := s.newCaller()
			c.mustAnswer(call{})
			s.auth.Revoke(authsectest.ClientID)
			if o := c.do(call{method: http.MethodPost, send: KiB}); o.status != unauthorized || o.arrivals != 1 {
				t.Errorf("got status %d, %d arrivals, error %v; want 401, 1", o.status, o.arrivals, o.err)
			}
			if o := c.do(call{}); !errors.Is(o.err, authsec.ErrNotDelegated) || o.arrivals != 0 {
				t.Errorf("got error %v, %d arrivals; want one that is ErrNotDelegated, 0", o.err, o.arrivals)
			}
			s.auth.Delegate(authsectest.ClientID, authsectest.Delegation{})
			c.mustRecover(c.src.Stats().Failures)
		})
	}
}

// TestTokenIsReplacedOncePerRequest: an API rejects one request twice, with a retry after
// a 503 in between. There would be another token each time.
func TestTokenIsReplacedOncePerRequest(t *testing.T) {
	t.Parallel()
	for _, w := range wires {
		t.Run(w.name, func(t *testing.T) {
			t.Parallel()
			s := newStack(t, w)
			c := s.newCaller(func(cfg *callerConfig) { cfg.retry = authsec.RetryPolicy{} })
			c.mustAnswer(call{})
			var n atomic.Int64
			s.setAPIFront(func(w http.ResponseWriter, r *http.Request) {
				switch n.Add(1) {
				case 1, 3:
					s.auth.Delegate(authsectest.ClientID, authsectest.Delegation{})
					authsectest.Answer(http.StatusUnauthorized, `{"error":"invalid_token"}`).ServeHTTP(w, r)
				case 2: // a retry in 2 s, when another rejection may cause another fetch
					authsectest.Answer(http.StatusServiceUnavailable, page, "Retry-After", "2").ServeHTTP(w, r)
				default:
					s.serveAuthorized(w, r)
				}
			})
			if o := c.do(call{}); o.status != http.StatusUnauthorized || o.arrivals != 3 || o.err != nil {
				t.Errorf("got status %d, %d arrivals, error %v; want 401, 3, none", o.status, o.arrivals, o.err)
			}
			if got := s.auth.Fetches(); got != 2 {
				t.Errorf("the endpoint was asked %d times, want 2", got)
			}
		})
	}
}
