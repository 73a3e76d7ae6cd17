// Copyright 2026 The authsec Authors
// SPDX-License-Identifier: Apache-2.0

//go:build unix

package rediscache_test

import (
	"errors"
	"os"
	"testing"
	"time"

	"github.com/authsec-go/authsec"
	"github.com/authsec-go/authsec/rediscache"
	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/logging"
)

func TestMain(m *testing.M) {
	logging.Disable() // go-redis' own log, which has each failure to connect
	os.Exit(m.Run())
}

// connect returns a client for addr. It is closed at the test's end.
func connect(t testing.TB, addr string, change ...func(*redis.Options)) *redis.Client {
	t.Helper()
	o := &redis.Options{Addr: addr, ContextTimeoutEnabled: true}
	for _, c := range change {
		c(o)
	}
	client := redis.NewClient(o)
	t.Cleanup(func() { client.Close() })
	return client
}

func newCache(t testing.TB, client redis.UniversalClient) *rediscache.Cache {
	t.Helper()
	c, err := rediscache.New(client, nil)
	if err != nil {
		t.Fatalf("New: %v", err)
	}
	return c
}

// eventually waits until condition is true.
func eventually(t testing.TB, what string, condition func() bool) {
	t.Helper()
	for deadline := time.Now().Add(patience); !condition(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("waited %v for: %s", patience, what)
		}
	}
}

func mustPut(t testing.TB, c authsec.Cache, key, data string, ttl time.Duration) {
	t.Helper()
	if err := c.Put(t.Context(), key, []byte(data), ttl); err != nil {
		t.Fatalf("Put: %v", err)
	}
}

func mustGet(t testing.TB, c authsec.Cache, key, want string) {
	t.Helper()
	if got, err := c.Get(t.Context(), key); err != nil || string(got) != want {
		t.Errorf("Get = %q, %v; want %q", got, err, want)
	}
}

func mustMiss(t testing.TB, c authsec.Cache, key string) {
	t.Helper()
	if got, err := c.Get(t.Context(), key); !errors.Is(err, authsec.ErrCacheMiss) {
		t.Errorf("Get = %q, %v; want ErrCacheMiss", got, err)
	}
}

func mustLease(t testing.TB, c authsec.Leaser, key string, ttl time.Duration) (release func()) {
	t.Helper()
	free, err := c.Lease(t.Context(), key, ttl)
	if err != nil {
		t.Fatalf("Lease: %v", err)
	}
	return func() {
		t.Helper()
		if err := free(t.Context()); err != nil {
			t.Errorf("release: %v", err)
		}
	}
}

func mustBeHeld(t testing.TB, c authsec.Leaser, key string) {
	t.Helper()
	if _, err := c.Lease(t.Context(), key, time.Minute); !errors.Is(err, authsec.ErrLeaseHeld) {
		t.Errorf("Lease: got error %v, want ErrLeaseHeld", err)
	}
}

// mustWork checks that two clients share an entry and a lease.
func mustWork(t testing.TB, a, b *rediscache.Cache, key string) {
	t.Helper()
	mustMiss(t, a, key)
	mustPut(t, a, key, "one", time.Minute)
	mustGet(t, b, key, "one")
	mustPut(t, b, key, "two", time.Minute)
	mustGet(t, a, key, "two")
	if err := b.Delete(t.Context(), key); err != nil {
		t.Errorf("Delete: %v", err)
	}
	mustMiss(t, a, key)
	release := mustLease(t, a, key, time.Minute)
	mustBeHeld(t, b, key)
	release()
	mustLease(t, b, key, time.Minute)()
}
