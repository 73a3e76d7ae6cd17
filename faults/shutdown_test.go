// Copyright 2026 The authsec Authors
// SPDX-License-Identifier: Apache-2.0

package faults

import (
	"context"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/authsec-go/authsec"
)

// TestServerKilledUnderLoad kills a server during requests, and starts it again on its
// port.
func TestServerKilledUnderLoad(t *testing.T) {
	t.Parallel()
	for _, w := range wires {
		t.Run(w.name+"/API", func(t *testing.T) {
			t.Parallel()
			s := newStack(t, w)
			c := s.newCaller(func(cfg *callerConfig) { cfg.retry = authsec.RetryPolicy{} })
			underLoad(c, nil, func() {
				for range 3 {
					s.api.kill()
					if err := s.api.start(); err != nil {
						t.Fatalf("starting the API again: %v", err)
					}
				}
			})
			c.mustAnswer(call{}) // an API's failures are not cached
		})
		t.Run(w.name+"/endpoint", func(t *testing.T) {
			t.Parallel()
			s := newStack(t, w)
			c := s.newCaller()
			s.endpoint.kill()
			if o := c.do(call{}); o.err == nil || o.arrivals != 0 {
				t.Errorf("with no endpoint: got error %v, %d arrivals; want an error, 0", o.err, o.arrivals)
			}
			if err := s.endpoint.start(); err != nil {
				t.Fatalf("starting the endpoint again: %v", err)
			}
			c.mustRecover(c.src.Stats().Failures)

			// With a good token in service the endpoint is not needed.
			s.endpoint.kill()
			underLoad(c, func(k call, o outcome) {
				if !o.ok() {
					t.Errorf("%v with a good token: got status %d, error %v; want an answer", k, o.status, o.err)
				}
			}, func() {
				if _, err := c.src.Refresh(context.Background()); err == nil {
					t.Error("Refresh: got no error, want one: there is no endpoint")
				}
			})
			if err := s.endpoint.start(); err != nil {
				t.Fatalf("starting the endpoint again: %v", err)
			}
		})
	}
}

// underLoad makes all kinds of requests, in 4 goroutines, while act runs, and once more
// after it. It calls check, if that is not nil, with each outcome.
func underLoad(c *caller, check func(call, outcome), act func()) {
	var done atomic.Bool
	var load, arrived sync.WaitGroup
	for range 4 {
		arrived.Add(1)
		load.Go(func() {
			for round := 0; ; round++ {
				last := done.Load()
				for _, k := range calls {
					k.want = 8*KiB + 1
					o := c.do(k)
					if check != nil {
						check(k, o)
					}
				}
				if round == 0 {
					arrived.Done()
				}
				if last {
					return
				}
			}
		})
	}
	arrived.Wait()
	defer func() { // also if act fails the test
		done.Store(true)
		load.Wait()
	}()
	act()
}

// TestGoAwayUnderLoad replaces a server that shuts down gracefully: over HTTP/2 it sends
// GOAWAY. Requests that can be repeated succeed, and none that arrived is lost.
func TestGoAwayUnderLoad(t *testing.T) {
	t.Parallel()
	for _, w := range wires {
		t.Run(w.name, func(t *testing.T) {
			t.Parallel()
			s := newStack(t, w)
			c := s.newCaller(func(cfg *callerConfig) { cfg.retry = authsec.RetryPolicy{} })
			underLoad(c, func(k call, o outcome) {
				if k.repeatable() && !o.ok() {
					t.Errorf("%v: got status %d, error %v; want an answer", k, o.status, o.err)
				}
			}, func() {
				for range 3 {
					ended, err := s.api.retire()
					if err != nil {
						t.Fatalf("starting the next server: %v", err)
					}
					if err := <-ended; err != nil {
						t.Errorf("the old server's end: got error %v, want none", err)
					}
				}
			})
			c.mustAnswer(call{})
		})
	}
}
