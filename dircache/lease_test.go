// Copyright 2026 The authsec Authors
// SPDX-License-Identifier: Apache-2.0

//go:build darwin || dragonfly || freebsd || illumos || linux || netbsd || openbsd

package dircache

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/authsec-go/authsec"
)

func lease(t *testing.T, c *Cache, key string, ttl time.Duration) (release func(context.Context) error) {
	t.Helper()
	release, err := c.Lease(t.Context(), key, ttl)
	if err != nil {
		t.Fatal(err)
	}
	return release
}

func held(t *testing.T, c *Cache, key string) {
	t.Helper()
	if _, err := c.Lease(t.Context(), key, time.Minute); err != authsec.ErrLeaseHeld {
		t.Errorf("Lease: %v, want ErrLeaseHeld", err)
	}
}

func TestLeasesOfOneProcessExcludeEachOther(t *testing.T) {
	c := newCache(t)
	other, err := New(c.dir)
	if err != nil {
		t.Fatal(err)
	}
	release := lease(t, c, keyA, time.Hour)
	held(t, c, keyA)
	held(t, other, keyA)
	lease(t, other, keyB, time.Hour)(t.Context())
	put(t, c, keyA, "leases are apart from entries")
	if err := c.Delete(t.Context(), keyA); err != nil {
		t.Error(err)
	}
	held(t, c, keyA)

	if err := release(t.Context()); err != nil {
		t.Errorf("release: %v", err)
	}
	next := lease(t, other, keyA, time.Hour)
	if err := release(t.Context()); err != nil { // ends no other's
		t.Errorf("release again: %v", err)
	}
	held(t, c, keyA)
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if err := next(ended); err != nil {
		t.Errorf("release with a context that ended: %v", err)
	}
	lease(t, c, keyA, time.Hour)(t.Context())
	if _, err := c.Lease(ended, keyA, time.Hour); !errors.Is(err, context.Canceled) {
		t.Errorf("Lease with a context that ended: %v, want context.Canceled", err)
	}
	if _, err := c.Lease(t.Context(), "../x", time.Hour); err == nil {
		t.Error("Lease took a key that is none")
	}
}

func TestLeaseEndsAfterItsTimeAndThenEndsNoOther(t *testing.T) {
	dir := t.TempDir() + "/authsec"
	synctest.Test(t, func(t *testing.T) {
		c, err := New(dir)
		if err != nil {
			t.Fatal(err)
		}
		release := lease(t, c, keyA, 5*time.Second)
		time.Sleep(5*time.Second - time.Nanosecond)
		synctest.Wait()
		held(t, c, keyA)
		time.Sleep(time.Nanosecond)
		synctest.Wait()
		next := lease(t, c, keyA, time.Hour)
		if err := release(t.Context()); err != nil {
			t.Errorf("release of a lease that has ended: %v", err)
		}
		held(t, c, keyA)
		next(t.Context())
	})
}

func TestOneOfManyGetsTheLease(t *testing.T) {
	c := newCache(t)
	var holders, most, got atomic.Int32
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 200 {
				release, err := c.Lease(t.Context(), keyA, time.Minute)
				if err == authsec.ErrLeaseHeld {
					continue
				}
				if err != nil {
					t.Error(err)
					return
				}
				got.Add(1)
				most.Store(max(most.Load(), holders.Add(1)))
				holders.Add(-1)
				if err := release(t.Context()); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	if most.Load() != 1 || got.Load() == 0 {
		t.Errorf("%d held it at once, %d in turn, want 1 and some", most.Load(), got.Load())
	}
}
