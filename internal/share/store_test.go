// Copyright 2026 The authsec Authors
// SPDX-License-Identifier: Apache-2.0

package share

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"
)

// badError is an error whose methods do what they are told to; nil: nothing.
type badError struct{ text, is, as, unwrap func() }

func (e *badError) Error() string { call(e.text); return "bad" }
func (e *badError) Is(error) bool { call(e.is); return false }
func (e *badError) As(any) bool   { call(e.as); return false }
func (e *badError) Unwrap() error { call(e.unwrap); return nil }

func call(f func()) {
	if f != nil {
		f()
	}
}

// nilError is an error whose Error method panics if it is nil.
type nilError struct{ text string }

func (e *nilError) Error() string { return e.text }

func panics() { panic("a secret") }

// Whatever a use does, it takes no longer than the time-out, and the next ones work.
func TestBadStoreCostsOneTimeout(t *testing.T) {
	fails := func(err error) func(context.Context) error { return func(context.Context) error { return err } }
	const late = "no answer within 1s"
	for _, c := range []struct {
		name string
		do   func(ctx context.Context) error
		took time.Duration
		said string
	}{
		{"fails", fails(errors.New("down")), 0, "down"},
		{"panics", func(context.Context) error { panic("a secret") }, 0, "panicked: string"},
		{"panics with nil", func(context.Context) error { panic(nil) }, 0, "panicked: panic called with nil argument"},
		{"exits", func(context.Context) error { runtime.Goexit(); return nil }, 0, "ended its goroutine"},
		{"waits for its context", func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() }, time.Second, late},
		{"hangs", func(context.Context) error { time.Sleep(time.Hour); return nil }, time.Second, late},
		{"panics late", func(context.Context) error { time.Sleep(time.Hour); panic("a secret") }, time.Second, late},
		{"error is a typed nil", fails((*nilError)(nil)), 0, "a *share.nilError whose Error method panicked"},
		{"Error panics", fails(&badError{text: panics}), 0, "a *share.badError whose Error method panicked"},
		{"Error exits", fails(&badError{text: runtime.Goexit}), 0, "ended its goroutine"},
		{"Error hangs", fails(&badError{text: func() { time.Sleep(time.Hour) }}), time.Second, late},
		{"error shows the client ID and a token", fails(errors.New(agent + " eyJhbGciOi.eyJz")), 0, "9b477e30… [redacted]"},
	} {
		for _, op := range []string{"get", "lease", "release", "put", "delete"} {
			t.Run(c.name+" at "+op, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					store := &fakeStore{fault: func(ctx context.Context, now string) error {
						if now == op {
							return c.do(ctx)
						}
						return nil
					}}
					cache, said := newCache(t, store, newKey())
					began := time.Now()
					taken, release := cache.Await(t.Context(), 10*time.Second, nothing)
					if op == "put" || op == "delete" {
						cache.Write(t.Context(), Entry{}, time.Hour)
						cache.Delete(t.Context())
					}
					release(t.Context())
					if took := time.Since(began); taken || took != c.took {
						t.Errorf("got %t after %v, want false after %v", taken, took, c.took)
					}
					want := []string{op + ": " + c.said}
					if op == "delete" { // follows what was reported
						want = nil
					}
					wantStrings(t, "reported", said.all(), want...)
					time.Sleep(2 * time.Hour)
					synctest.Wait()
					store.fault = nil
					store.leased = false
					store.took()
					_, release = cache.Await(t.Context(), 0, nothing)
					release(t.Context())
					wantStrings(t, "uses by the next fetch", store.took(), "get", "lease", "get", "release")
				})
			})
		}
	}
}

// Is and Unwrap are called at a get and a lease only.
func TestErrorsThatPanicWhenTheyAreComparedAreFailures(t *testing.T) {
	for name, err := range map[string]error{
		"Is":           &badError{is: panics},
		"Unwrap":       fmt.Errorf("down: %w", &badError{unwrap: panics}),
		"Is, of a nil": (*badError)(nil),
	} {
		c, said := newCache(t, &fakeStore{fault: func(context.Context, string) error { return err }}, newKey())
		if _, ok := c.Read(t.Context()); ok {
			t.Errorf("%s: got an entry, or none, of a store that failed", name)
		}
		if got := strings.Join(said.all(), "; "); !strings.HasPrefix(got, "get: panicked: ") {
			t.Errorf("%s: reported %q, want a panic of get", name, got)
		}
	}
}

func TestLeaseWithoutAReleaseIsAFailure(t *testing.T) {
	c, said := newCache(t, noRelease{new(fakeStore)}, newKey())
	taken, release := c.Await(t.Context(), time.Minute, nothing)
	release(t.Context())
	if taken {
		t.Error("got true, want false")
	}
	wantStrings(t, "reported", said.all(), "lease: it returned no release")
}

type noRelease struct{ *fakeStore }

func (noRelease) Lease(context.Context, string, time.Duration) (func(context.Context) error, error) {
	return nil, nil
}

// An error that means something at one use is a failure at another.
func TestMissIsOfAGetAndHeldOfALease(t *testing.T) {
	for _, err := range []error{errMiss, errHeld, fmt.Errorf("wrapped: %w", errMiss), fmt.Errorf("wrapped: %w", errHeld)} {
		for _, op := range []string{"get", "lease", "release", "put"} {
			store := &fakeStore{fault: func(_ context.Context, now string) error {
				if now == op {
					return err
				}
				return nil
			}}
			c, said := newCache(t, store, newKey())
			_, release := c.Await(t.Context(), 0, nothing)
			c.Write(t.Context(), Entry{}, time.Hour)
			release(t.Context())
			want := []string{op + ": " + err.Error()}
			if op == "get" && errors.Is(err, errMiss) || op == "lease" && errors.Is(err, errHeld) {
				want = nil
			}
			wantStrings(t, fmt.Sprintf("%v from %s", err, op), said.all(), want...)
			if deletes := count(store.took(), "delete"); deletes != count([]string{op}, "put") {
				t.Errorf("%v from %s: %d deletes", err, op, deletes)
			}
		}
	}
}

// The text of a plaintext store's error may hold the entry.
func TestErrorsOfAPlaintextStoreAreNotShown(t *testing.T) {
	const hidden = ", whose text is not shown, since entries are not encrypted"
	for _, c := range []struct {
		name string
		err  error
		want string
	}{
		{"an error", errors.New("can't write secret"), "a *errors.errorString" + hidden},
		{"one that wraps", fmt.Errorf("can't write secret: %w", errors.New("down")), "a *fmt.wrapError" + hidden},
		{"the system's", fmt.Errorf("can't write secret: %w", syscall.ENOSPC), "no space left on device"},
		{"one that is never asked for its text", &badError{text: panics}, "a *share.badError" + hidden},
		{"one whose As panics", &badError{as: panics}, "panicked: string"},
		{"one whose Unwrap panics", &badError{unwrap: panics}, "panicked: string"},
	} {
		cache, said := newCache(t, &fakeStore{fault: func(context.Context, string) error { return c.err }})
		cache.Write(t.Context(), Entry{}, time.Hour)
		wantStrings(t, c.name, said.all(), "put: "+c.want)
	}
}

// The store, its errors and Report may use the Cache.
func TestNoLockIsHeldWhileOtherCodeRuns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := new(fakeStore)
		c, said := newCache(t, store, newKey())
		var depth atomic.Int64
		var works atomic.Bool
		calls := 0
		again := func() {
			if !c.guard.mu.TryLock() {
				t.Error("the lock is held")
				return
			}
			c.guard.mu.Unlock()
			if depth.Add(1) == 1 {
				calls++
				c.Read(t.Context())
				_, release := c.Await(t.Context(), 0, nothing)
				c.Write(t.Context(), Entry{}, time.Hour)
				c.Delete(t.Context())
				release(t.Context())
			}
			depth.Add(-1)
		}
		said.also = again
		store.fault = func(ctx context.Context, op string) error {
			again()
			if works.Load() {
				return nil
			}
			if op == "lease" {
				<-ctx.Done()
			}
			return &badError{text: again, is: again, as: again, unwrap: again}
		}
		for round := range 3 {
			works.Store(round == 2)
			c.Read(t.Context())
			c.Await(t.Context(), 0, nothing)
			c.Write(t.Context(), Entry{}, time.Hour)
			c.Delete(t.Context())
			time.Sleep(5 * time.Minute)
		}
		if calls < 10 {
			t.Errorf("other code called back %d times, want more", calls)
		}
	})
}

func TestCacheIsSafeForConcurrentUse(t *testing.T) {
	c, said := newCache(t, new(fakeStore), newKey())
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 20 {
				_, release := c.Await(t.Context(), 0, nothing)
				c.Write(t.Context(), Entry{}, time.Hour)
				c.Read(t.Context())
				release(t.Context())
				c.Delete(t.Context())
			}
		})
	}
	wg.Wait()
	if got := strings.Join(said.all(), "; "); got != "" {
		t.Errorf("reported %q, want nothing", got)
	}
}
