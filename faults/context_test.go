// Copyright 2026 The authsec Authors
// SPDX-License-Identifier: Apache-2.0

package faults

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/authsec-go/authsec"
	"github.com/authsec-go/authsec/authsectest"
)

// TestContextEndsEveryWait: a request would wait for a token, and before a retry, much
// longer than its context allows.
func TestContextEndsEveryWait(t *testing.T) {
	t.Parallel()
	const patience = time.Second
	for _, w := range wires {
		for _, cancelled := range []bool{false, true} {
			ended := context.DeadlineExceeded
			if cancelled {
				ended = context.Canceled
			}
			t.Run(fmt.Sprintf("%s/%v/for a token", w.name, ended), func(t *testing.T) {
				t.Parallel()
				s := newStack(t, w)
				p := s.newProxy(s.endpoint)
				p.set(`{"type":"timeout","stream":"downstream","attributes":{"timeout":0}}`)
				c := s.newCaller(func(cfg *callerConfig) { cfg.endpoint = p.addr })
				for _, k := range calls {
					k.timeout, k.cancelled = patience, cancelled
					if o := c.do(k); !errors.Is(o.err, ended) || o.arrivals != 0 {
						t.Errorf("%v: got error %v, %d arrivals; want %v, 0", k, o.err, o.arrivals, ended)
					}
				}
			})
			t.Run(fmt.Sprintf("%s/%v/before a retry", w.name, ended), func(t *testing.T) {
				t.Parallel()
				s := newStack(t, w)
				c := s.newCaller(func(cfg *callerConfig) { cfg.retry = authsec.RetryPolicy{} })
				c.mustAnswer(call{}) // gets a token, and makes a connection
				s.setAPIFront(func(w http.ResponseWriter, r *http.Request) {
					authsectest.Answer(http.StatusServiceUnavailable, strings.Repeat("x", 100*KiB), "Retry-After", "9").ServeHTTP(w, r)
				})
				for _, k := range calls {
					k.timeout, k.cancelled = patience, cancelled
					o := c.do(k)
					// A wait that would outlast the deadline is not begun: the caller gets the 503.
					if got := errors.Is(o.err, ended); got != (cancelled && k.repeatable()) || !got && o.status != http.StatusServiceUnavailable || o.arrivals != 1 {
						t.Errorf("%v: got status %d, error %v, %d arrivals; want 503, or %v where it waits to retry, 1", k, o.status, o.err, o.arrivals, ended)
					}
				}
			})
		}
	}
}

// TestFetchOutlivesItsCaller: the first of many callers gives up. The others get the
// token of the fetch that it began.
func TestFetchOutlivesItsCaller(t *testing.T) {
	t.Parallel()
	for _, w := range wires {
		t.Run(w.name, func(t *testing.T) {
			t.Parallel()
			s := newStack(t, w)
			s.auth.SetLatency(500 * time.Millisecond)
			c := s.newCaller()
			if o := c.do(call{timeout: 50 * time.Millisecond, cancelled: true}); !errors.Is(o.err, context.Canceled) {
				t.Errorf("the first: got error %v, want %v", o.err, context.Canceled)
			}
			var others sync.WaitGroup
			for range 8 {
				others.Go(func() { c.mustAnswer(call{method: http.MethodPost, send: KiB}) })
			}
			others.Wait()
			if got := s.auth.Fetches(); got != 1 {
				t.Errorf("the endpoint was asked %d times, want 1", got)
			}
		})
	}
}
