// Copyright 2026 The authsec Authors
// SPDX-License-Identifier: Apache-2.0

package share

import (
	"context"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// A store that does not answer is asked less and less, and again once it does.
func TestStoreThatDoesNotAnswerIsLeftAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var answers atomic.Bool
		store := &fakeStore{fault: func(ctx context.Context, _ string) error {
			if answers.Load() {
				return nil
			}
			<-ctx.Done()
			return ctx.Err()
		}}
		c, _ := newCache(t, store)
		fetch := func() {
			_, release := c.Await(t.Context(), time.Second, nothing)
			release(t.Context())
		}
		var waited time.Duration
		for range 600 {
			began := time.Now()
			fetch()
			waited += time.Since(began)
			time.Sleep(time.Second)
		}
		if n := count(store.took(), "get"); n < 10 || n > 30 || waited != time.Duration(n)*time.Second {
			t.Errorf("in 10 minutes it was asked %d times, and waited for %v: want about 20", n, waited)
		}
		answers.Store(true)
		time.Sleep(2 * time.Minute)
		for range 10 {
			fetch()
		}
		if n := count(store.took(), "get"); n != 20 { // before the lease is taken, and after
			t.Errorf("once it answers, it was asked %d times in 10 fetches, want 20", n)
		}
		answers.Store(false)
		fetch()
		if rest := time.Until(c.guard.rest); rest < minRest/2 || rest >= minRest*3/2 {
			t.Errorf("after it has answered, it is left alone for %v, want 0.5 s to 1.5 s: time-outs in a row count", rest)
		}
	})
}

func TestRestDoublesUpToAMinute(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := &fakeStore{fault: func(ctx context.Context, _ string) error { <-ctx.Done(); return ctx.Err() }}
		c, _ := newCache(t, store)
		rests := map[time.Duration]bool{}
		for i := range 80 {
			c.Read(t.Context())
			want, rest := min(time.Second<<min(i, 6), time.Minute), time.Until(c.guard.rest)
			if rest < want/2 || rest >= want*3/2 {
				t.Errorf("time-out %d: left alone for %v, want %v ±50 %%", i+1, rest, want)
			}
			rests[rest] = true
			time.Sleep(rest - 1)
			c.Read(t.Context())
			time.Sleep(time.Nanosecond)
			if n := len(store.took()); n != 1 {
				t.Fatalf("time-out %d: used %d times, want 1", i+1, n)
			}
		}
		if len(rests) < 70 {
			t.Errorf("%d different rests of 80, want a random part", len(rests))
		}
	})
}

// One use's time-outs do not add to another's.
func TestTimeoutsInARowAreOfOneUse(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, _ := newCache(t, &fakeStore{data: []byte("\x00{}"), fault: func(ctx context.Context, op string) error {
			if op == "put" {
				<-ctx.Done()
			}
			return ctx.Err()
		}})
		for range 10 {
			c.Read(t.Context())
			c.Write(t.Context(), Entry{}, time.Hour)
			time.Sleep(2 * time.Minute)
		}
		synctest.Wait()
		if n := c.guard.timeouts["put"]; n != 10 {
			t.Errorf("%d time-outs of put in a row, want 10, whatever get does", n)
		}
	})
}

// Uses that never return are bounded.
func TestStuckUsesAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		end := make(chan struct{})
		store := &fakeStore{fault: func(context.Context, string) error { <-end; return errMiss }}
		c, _ := newCache(t, store)
		var all []string
		for range 1000 {
			c.Await(t.Context(), time.Second, nothing)
			c.Delete(t.Context())
			time.Sleep(time.Minute)
			all = append(all, store.took()...)
		}
		if len(all) != maxStuck {
			t.Errorf("%d uses hang, want %d", len(all), maxStuck)
		}
		close(end)
		time.Sleep(2 * time.Minute)
		if c.Read(t.Context()); len(store.took()) != 1 {
			t.Error("the store is left alone although all uses have returned")
		}
	})
}

// A lease that comes too late is given back, also while the store is left alone.
func TestLateLeaseIsReleased(t *testing.T) {
	for _, late := range []time.Duration{time.Second + 1, time.Minute} {
		synctest.Test(t, func(t *testing.T) {
			store := new(fakeStore)
			store.fault = func(_ context.Context, op string) error {
				if op == "lease" {
					time.Sleep(late)
				}
				return nil
			}
			c, _ := newCache(t, store)
			taken, release := c.Await(t.Context(), time.Minute, nothing)
			if release(t.Context()); taken {
				t.Error("taken")
			}
			time.Sleep(late - time.Second)
			synctest.Wait()
			if store.leased || count(store.took(), "release") != 1 {
				t.Errorf("after %v: the lease was not released once", late)
			}
		})
	}
}

func TestLateLeaseIsReleasedAfterTheCallersEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := new(fakeStore)
		store.fault = func(ctx context.Context, op string) error {
			switch op {
			case "lease":
				time.Sleep(time.Minute)
			case "release":
				time.Sleep(900 * time.Millisecond)
				return ctx.Err()
			}
			return nil
		}
		c, _ := newCache(t, store)
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute+time.Millisecond) // while the lease is released
		defer cancel()
		c.Await(ctx, time.Minute, nothing)
		time.Sleep(2 * time.Minute)
		synctest.Wait()
		if store.leased {
			t.Error("the lease was not released")
		}
	})
}

func TestLeaseThatFailsLateIsNotReleased(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, said := newCache(t, &fakeStore{fault: func(_ context.Context, op string) error {
			if op == "lease" {
				time.Sleep(time.Minute)
				return errHeld
			}
			return nil
		}})
		c.Await(t.Context(), time.Minute, nothing)
		time.Sleep(2 * time.Minute)
		wantStrings(t, "reported", said.all(), "lease: no answer within 1s")
	})
}

// While the store is left alone a lease is released all the same, but nobody waits.
func TestLeaseIsReleasedInTheBackgroundWhileTheStoreIsLeftAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		gets := 0
		store := &fakeStore{fault: func(ctx context.Context, op string) error {
			if op == "release" {
				time.Sleep(900 * time.Millisecond)
			}
			if op != "get" {
				return nil
			}
			if gets++; gets == 2 {
				<-ctx.Done()
			}
			return ctx.Err()
		}}
		c, said := newCache(t, store)
		_, release := c.Await(t.Context(), time.Minute, nothing)
		began := time.Now()
		if release(t.Context()); time.Since(began) != 0 {
			t.Errorf("release took %v, want no time", time.Since(began))
		}
		time.Sleep(time.Second)
		synctest.Wait()
		if store.leased {
			t.Error("the lease was not released")
		}
		wantStrings(t, "reported", said.all(), "get: no answer within 1s")
	})
}

func TestCallersEndIsNotTheStoresFault(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := &fakeStore{fault: func(ctx context.Context, _ string) error { <-ctx.Done(); return ctx.Err() }}
		c, said := newCache(t, store)
		for range 10 {
			ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
			began := time.Now()
			c.Await(ctx, time.Minute, nothing)
			c.Read(ctx) // it has ended already
			if took := time.Since(began); took != 100*time.Millisecond {
				t.Errorf("it took %v, want 100ms", took)
			}
			cancel()
		}
		wantStrings(t, "reported", said.all())
		if n := len(store.took()); c.guard.resting() || n != 10 {
			t.Errorf("left alone: %t, after %d uses, want false after 10", c.guard.resting(), n)
		}
	})
}

func TestUsesWithinABudgetTakeNoLongerThanOne(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := new(fakeStore)
		store.fault = func(ctx context.Context, op string) error {
			if op == "delete" {
				return nil
			}
			select {
			case <-time.After(600 * time.Millisecond):
				return nil
			case <-ctx.Done():
				return ctx.Err()
			}
		}
		c, said := newCache(t, store)
		began := time.Now()
		ctx, cancel := c.WithBudget(t.Context())
		defer cancel()
		c.Read(ctx)
		c.Write(ctx, Entry{}, time.Hour)
		if took := time.Since(began); took != time.Second {
			t.Errorf("it took %v, want 1s", took)
		}
		synctest.Wait()
		wantStrings(t, "uses", store.took(), "get", "put", "delete")
		wantStrings(t, "reported", said.all(), "put: no answer within 1s")
		if !c.guard.resting() {
			t.Error("a budget's end is not the store's time-out")
		}
	})
}

func TestCallersEndWithinABudgetIsNotTheStoresFault(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, said := newCache(t, &fakeStore{fault: func(ctx context.Context, _ string) error { <-ctx.Done(); return ctx.Err() }})
		caller, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
		defer cancel()
		ctx, stop := c.WithBudget(caller)
		defer stop()
		c.Read(ctx)
		wantStrings(t, "reported", said.all())
		if c.guard.resting() {
			t.Error("the caller's end is the store's time-out")
		}
	})
}
