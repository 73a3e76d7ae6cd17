// Copyright 2026 The authsec Authors
// SPDX-License-Identifier: Apache-2.0

package authsec_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/authsec-go/authsec"
	"github.com/authsec-go/authsec/authsectest"
)

// A failing cache adds a bounded delay, and no call fails.
func TestBadCacheAddsABoundedDelay(t *testing.T) {
	down := errors.New("connection refused: a-secret-of-the-store")
	hang := func(ops ...string) func(string) error { return on(hangs(20*time.Second), ops...) }
	fail := func(ops ...string) func(string) error { return on(fails(down), ops...) }
	all := []string{"get", "put", "delete", "lease", "release"}
	for _, c := range []struct {
		name   string
		fault  func(op string) error
		took   time.Duration // at most
		logged int           // "cache failed", in one fetch of one process
	}{
		{"down", fail(all...), 0, 2},
		{"hangs", hang(all...), time.Second, 1},
		{"slow", on(hangs(990*time.Millisecond), all...), 5 * time.Second, 0},
		{"full", fail("put", "lease"), 0, 2},
		{"full, but for leases", fail("put"), 0, 1},
		{"cannot lease", hang("lease"), time.Second, 1},
		{"cannot release", fail("release"), 0, 1},
		{"cannot store in time", hang("put"), time.Second, 1},
		{"says that the lease is held", on(fails(authsec.ErrLeaseHeld), "lease"), 16 * time.Second, 0},
		{"loses entries", on(fails(authsec.ErrCacheMiss), "get"), 0, 0},
		{"panics", func(op string) error { panic(op) }, 0, 2},
	} {
		inFleetBubble(t, c.name, func(t *testing.T, x *fleet) {
			x.delegate("first", 20*time.Minute)
			x.cache.fault = c.fault
			x.pod()
			began := time.Now()
			x.all("first")
			x.wantWithin("time until all had it", time.Since(began), 0, c.took)
			x.wantRequests(1)
			x.sleep(30 * time.Second)
			if n := x.logged("cache failed"); n != c.logged {
				t.Errorf("%d failures were logged, want %d", n, c.logged)
			}
			if s := x.src.Stats(); (s.Cache.Failures > 0) != (c.logged > 0) || (s.Cache.LastError == nil) != (c.logged == 0) {
				t.Errorf("got stats %+v", s)
			}
			x.sleep(5 * time.Minute)
			x.add(9)
			x.all("first")
			x.run(20 * time.Minute) // past the expiry
			x.delegate("second", time.Hour)
			x.run(2 * time.Minute)
			x.all("second")
		})
	}
}

func TestCacheThatWorksAgainIsUsedAgain(t *testing.T) {
	fleetBubble(t, func(t *testing.T, x *fleet) {
		x.cache.fault = func(string) error { return errors.New("down") }
		x.delegate("first", 10*time.Minute)
		x.add(2)
		x.all("first")
		x.wantRequests(2)
		x.cache.fault = nil
		x.run(9 * time.Minute)
		x.delegate("second", 10*time.Minute)
		asked := x.srv.Fetches()
		x.run(time.Minute)
		x.all("second")
		x.wantRequests(asked + 1)
		// One process puts, and so only that one sees that it works again.
		count := map[string]int{}
		for _, e := range x.log.all() {
			if op, ok := e.attrs["op"]; ok {
				count[fmt.Sprint(e.msg, ": ", op)]++
			}
		}
		if count["cache failed: get"] != 2 || count["cache works again: get"] != 2 || count["cache failed: put"] != 2 || count["cache works again: put"] == 0 {
			t.Errorf("logged %v, want both failures of both processes, and their ends", count)
		}
	})
}

// A slow cache that has another process's token adds four times its Timeout: to
// look, to take the lease, to look again, and to release the lease.
func TestSlowCacheAddsABoundedDelay(t *testing.T) {
	fleetBubble(t, func(t *testing.T, x *fleet) {
		x.warm(1)
		entries := x.cache.all()
		x.cache.restore(nil)
		gets := 0
		x.cache.fault = func(op string) error {
			time.Sleep(990 * time.Millisecond)
			if op == "get" {
				if gets++; gets == 2 { // another process has just stored its token
					x.cache.restore(entries)
				}
			}
			return nil
		}
		x.pod()
		began := time.Now()
		x.all("first")
		x.wantWithin("time until both had it", time.Since(began), 0, 4*time.Second)
	})
}

// A store that hangs in one of its uses is not used for longer each time.
func TestCacheThatHangsIsUsedLessOften(t *testing.T) {
	fleetBubble(t, func(t *testing.T, x *fleet) {
		x.cache.fault = on(hangs(1100*time.Millisecond), "lease")
		x.pod()
		slow := 0
		for range 30 {
			began := time.Now()
			x.src.Refresh(t.Context()) // 404
			if time.Since(began) >= time.Second {
				slow++
			}
			x.sleep(5 * time.Second)
		}
		if slow > 15 {
			t.Errorf("%d of 30 fetches within 3 minutes took a second for the cache, want few", slow)
		}
	})
}

// hungCache answers nothing, and ends with its context, as it should.
type hungCache struct{}

func (hungCache) Get(ctx context.Context, _ string) ([]byte, error) {
	<-ctx.Done()
	return nil, ctx.Err()
}

func (hungCache) Put(ctx context.Context, _ string, _ []byte, _ time.Duration) error {
	<-ctx.Done()
	return ctx.Err()
}

func (hungCache) Delete(ctx context.Context, _ string) error { <-ctx.Done(); return ctx.Err() }

// The delay of a cache leaves the server all of FetchTimeout.
func TestHungCacheWithShortFetchTimeout(t *testing.T) {
	for _, timeout := range []time.Duration{time.Second, 1200 * time.Millisecond} {
		inFleetBubble(t, timeout.String(), func(t *testing.T, x *fleet) {
			x.delegate("first", time.Hour)
			x.srv.SetLatency(300 * time.Millisecond)
			x.pod(func(c *authsec.Config) { c.Cache.Store, c.FetchTimeout = hungCache{}, timeout })
			for i := range 3 {
				if token, err := x.src.Token(); err != nil {
					t.Errorf("call %d: got %s, %v, want the first", i, x.name(token), err)
				}
				x.sleep(2 * time.Minute)
			}
		})
	}
}

// An older answer must not outlive a newer one, even if the store accepts no new entry
// or is slow.
func TestEntryThatCannotBeReplacedIsRemoved(t *testing.T) {
	gone := func(x *fleet) {
		x.Helper()
		x.sleep(time.Minute)
		if n := len(x.cache.all()); n != 0 {
			x.Errorf("entries that are left: got %d, want none", n)
		}
		x.pods = nil
		x.pod()
	}
	inFleetBubble(t, "full", func(t *testing.T, x *fleet) {
		x.warm(2)
		x.cache.fault = on(fails(errors.New("full")), "put")
		x.delegate("second", time.Hour)
		x.wantRefresh("second")
		gone(x)
		x.all("second")
	})
	inFleetBubble(t, "late", func(t *testing.T, x *fleet) {
		x.warm(2)
		x.cache.fault = on(lateFailure, "put")
		x.srv.Revoke(authsectest.ClientID)
		x.reject("first", anyOutcome)
		gone(x)
		if token, err := x.src.Token(); err == nil {
			t.Errorf("a new process: got %s, want an error: it is revoked", x.name(token))
		}
	})
}

// If the store does not accept a failure, it keeps the token that others need.
func TestFailureThatCannotBeStoredDeletesNoToken(t *testing.T) {
	for name, put := range map[string]func() error{"full": fails(errors.New("full")), "late": lateFailure} {
		inFleetBubble(t, name, func(t *testing.T, x *fleet) {
			x.warm(1)
			x.cache.fault = on(put, "put")
			x.srv.Fail(sourceUnavailable)
			x.src.Refresh(t.Context())
			x.sleep(30 * time.Second)
			x.pod()
			if token, err := x.src.Token(); err != nil {
				t.Errorf("a new process: got %s, %v, want the first, from the cache", x.name(token), err)
			}
		})
	}
}

func lateFailure() error {
	time.Sleep(20 * time.Second)
	return errors.New("late")
}
