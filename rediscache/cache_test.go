// Copyright 2026 The authsec Authors
// SPDX-License-Identifier: Apache-2.0

//go:build unix

package rediscache_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/authsec-go/authsec"
	"github.com/authsec-go/authsec/rediscache"
	"github.com/authsec-go/authsec/rediscache/internal/redistest"
	"github.com/redis/go-redis/v9"
)

const (
	key   = "00000000000000000000000000000000000000000000000000000000000000aa"
	other = "00000000000000000000000000000000000000000000000000000000000000bb"

	// patience is how long a busy machine may take for something that must happen.
	patience = 15 * time.Second
)

func TestCacheKeepsWhatItIsGiven(t *testing.T) {
	t.Parallel()
	srv := redistest.Start(t)
	a, b := newCache(t, connect(t, srv.Addr)), newCache(t, connect(t, srv.Addr))
	mustWork(t, a, b, key)
	if err := a.Delete(t.Context(), key); err != nil {
		t.Errorf("Delete without an entry: %v", err)
	}
	mustPut(t, a, key, "mine", time.Minute)
	mustMiss(t, a, other)
	every := make([]byte, 256<<10)
	for i := range every {
		every[i] = byte(i)
	}
	for _, data := range [][]byte{{}, {0}, every} {
		given := bytes.Clone(data)
		if err := a.Put(t.Context(), other, given, time.Minute); err != nil {
			t.Fatalf("Put: %v", err)
		}
		if !bytes.Equal(given, data) {
			t.Error("Put changed its data")
		}
		if got, err := b.Get(t.Context(), other); err != nil || !bytes.Equal(got, data) {
			t.Errorf("Get = %d bytes, %v; want the %d that were put", len(got), err, len(data))
		}
	}
	mustGet(t, b, key, "mine")
}

func TestKeysInRedis(t *testing.T) {
	t.Parallel()
	srv := redistest.Start(t)
	client := connect(t, srv.Addr)
	for prefix, want := range map[string]string{"": "authsec:", "team-a:authsec/": "team-a:authsec/"} {
		c, err := rediscache.New(client, &rediscache.Options{Prefix: prefix})
		if err != nil {
			t.Fatal(err)
		}
		mustPut(t, c, key, "data", 90*time.Second)
		release := mustLease(t, c, key, 5*time.Second)
		names := []string{want + "{" + key + "}:entry", want + "{" + key + "}:lease"}
		got := client.Keys(t.Context(), "*").Val()
		slices.Sort(got)
		if !slices.Equal(got, names) {
			t.Errorf("Prefix %q: keys = %q, want %q", prefix, got, names)
		}
		for i, ttl := range []time.Duration{90 * time.Second, 5 * time.Second} {
			if got := client.PTTL(t.Context(), names[i]).Val(); got <= 0 || got > ttl {
				t.Errorf("ttl of %s = %v, want %v or a little less", names[i], got, ttl)
			}
		}
		release()
		client.FlushDB(t.Context())
	}
}

func TestEntryEndsWithItsTTL(t *testing.T) {
	t.Parallel()
	srv := redistest.Start(t)
	client := connect(t, srv.Addr)
	c := newCache(t, client)
	mustPut(t, c, key, "data", 50*time.Millisecond)
	eventually(t, "the entry's end", func() bool {
		_, err := c.Get(t.Context(), key)
		return errors.Is(err, authsec.ErrCacheMiss)
	})
	// A ttl that is not in whole milliseconds, or too long for Redis, is no error, and
	// the entry still has a ttl.
	for _, ttl := range []time.Duration{1, time.Millisecond + 1, 1<<63 - 1} {
		mustPut(t, c, key, "data", ttl)
		if got := client.PTTL(t.Context(), "authsec:{"+key+"}:entry").Val(); got == -1 {
			t.Errorf("with a ttl of %v the entry has none", ttl)
		}
		mustPut(t, c, key, "data", time.Minute) // replaces the first one's ttl
		mustGet(t, c, key, "data")
	}
	for _, ttl := range []time.Duration{0, -1, -time.Hour} {
		if err := c.Put(t.Context(), other, []byte("data"), ttl); err == nil {
			t.Errorf("Put with a ttl of %v: got no error, want one", ttl)
		}
		if _, err := c.Lease(t.Context(), other, ttl); err == nil || errors.Is(err, authsec.ErrLeaseHeld) {
			t.Errorf("Lease with a ttl of %v: got error %v, want one about the ttl", ttl, err)
		}
		mustMiss(t, c, other)
	}
}

func TestLeaseEndsWithItsTTL(t *testing.T) {
	t.Parallel()
	srv := redistest.Start(t)
	client := connect(t, srv.Addr)
	a, b := newCache(t, client), newCache(t, connect(t, srv.Addr))
	began := time.Now()
	const ttl = 300 * time.Millisecond
	lateRelease := mustLease(t, a, key, ttl)
	var release func(context.Context) error
	eventually(t, "the lease's end", func() (ok bool) {
		var err error
		release, err = b.Lease(t.Context(), key, time.Minute)
		return err == nil
	})
	if took := time.Since(began); took < ttl-time.Millisecond { // Redis decides when it starts
		t.Errorf("the lease ended after %v, want %v", took, ttl)
	}

	// The first holder's late release leaves the second's lease.
	lateRelease()
	mustBeHeld(t, a, key)
	if err := release(t.Context()); err != nil {
		t.Errorf("release: %v", err)
	}
	mustLease(t, a, key, time.Minute)()
	if err := release(t.Context()); err != nil {
		t.Errorf("release of a lease that has ended: %v", err)
	}
}

// TestOneOfManyGetsTheLease: many goroutines of several clients try to take one lease
// again and again.
func TestOneOfManyGetsTheLease(t *testing.T) {
	t.Parallel()
	const clients, goroutines, rounds = 4, 8, 50
	srv := redistest.Start(t)
	var holders, taken atomic.Int64
	var done sync.WaitGroup
	for range clients {
		c := newCache(t, connect(t, srv.Addr))
		for range goroutines {
			done.Go(func() {
				for range rounds {
					release, err := c.Lease(t.Context(), key, time.Minute)
					if errors.Is(err, authsec.ErrLeaseHeld) {
						continue
					}
					if err != nil {
						t.Errorf("Lease: %v", err)
						return
					}
					taken.Add(1)
					if n := holders.Add(1); n != 1 {
						t.Errorf("%d have the lease, want 1", n)
					}
					holders.Add(-1)
					if err := release(t.Context()); err != nil {
						t.Errorf("release: %v", err)
					}
				}
			})
		}
	}
	done.Wait()
	if taken.Load() == 0 {
		t.Error("no call got the lease")
	}
	t.Logf("%d of %d calls got the lease", taken.Load(), clients*goroutines*rounds)
}

func TestExactlyOneGetsAFreeLease(t *testing.T) {
	t.Parallel()
	const clients, rounds = 16, 20
	srv := redistest.Start(t)
	caches := make([]*rediscache.Cache, clients)
	for i := range caches {
		caches[i] = newCache(t, connect(t, srv.Addr))
	}
	for round := range rounds {
		var won atomic.Int64
		var done sync.WaitGroup
		for _, c := range caches {
			done.Go(func() {
				_, err := c.Lease(t.Context(), fmt.Sprintf("%064x", round), time.Minute)
				if err == nil {
					won.Add(1)
				} else if !errors.Is(err, authsec.ErrLeaseHeld) {
					t.Errorf("Lease: %v", err)
				}
			})
		}
		done.Wait()
		if won.Load() != 1 {
			t.Errorf("%d of %d got a free lease, want 1", won.Load(), clients)
		}
	}
}

// TestLostAnswer: the command is sent again because its answer was lost. The
// lease that the first one took counts as the caller's.
func TestLostAnswer(t *testing.T) {
	t.Parallel()
	srv := redistest.Start(t)
	direct := connect(t, srv.Addr)
	r := newRelay(t, srv.Addr)
	c := newCache(t, connect(t, r.addr))
	mustMiss(t, c, key) // make a connection
	mustLease(t, c, other, time.Minute)()

	r.set(func() { r.mute = 1 })
	release, err := c.Lease(t.Context(), key, time.Minute)
	if err != nil {
		t.Fatalf("Lease: got error %v, want none: the first try took it", err)
	}
	r.set(func() {
		if r.mute != 0 {
			t.Error("no answer was lost")
		}
	})
	if err := release(t.Context()); err != nil {
		t.Errorf("release: %v", err)
	}
	if got := direct.Exists(t.Context(), "authsec:{"+key+"}:lease").Val(); got != 0 {
		t.Error("the lease is still there after its release")
	}
}

func TestLeaseSurvivesForgottenScripts(t *testing.T) {
	t.Parallel()
	srv := redistest.Start(t)
	c := newCache(t, connect(t, srv.Addr))
	for range 3 {
		release := mustLease(t, c, key, time.Minute)
		srv.CLI("script", "flush")
		mustBeHeld(t, c, key)
		srv.CLI("script", "flush")
		release()
	}
	srv.Restart()
	mustLease(t, c, key, time.Minute)()
}

// TestUsesEndWithTheirDeadline: the server does not answer, or the network drops
// everything.
func TestUsesEndWithTheirDeadline(t *testing.T) {
	t.Parallel()
	srv := redistest.Start(t)
	r := newRelay(t, srv.Addr)
	for name, fault := range map[string]struct{ begin, end func() }{
		"paused":      {srv.Pause, srv.Resume},
		"partitioned": {r.partition, r.restore},
	} {
		const timeout = 100 * time.Millisecond
		srv.CLI("flushall")
		client := connect(t, r.addr, func(o *redis.Options) { o.PoolSize = 4 })
		c := newCache(t, client)
		release, err := c.Lease(t.Context(), key, time.Minute)
		if err != nil {
			t.Fatalf("Lease: %v", err)
		}
		fault.begin()
		for op, use := range map[string]func(context.Context) error{
			"Get":     func(ctx context.Context) error { _, err := c.Get(ctx, key); return err },
			"Put":     func(ctx context.Context) error { return c.Put(ctx, key, []byte("data"), time.Minute) },
			"Delete":  func(ctx context.Context) error { return c.Delete(ctx, key) },
			"Lease":   func(ctx context.Context) error { _, err := c.Lease(ctx, key, time.Minute); return err },
			"release": func(ctx context.Context) error { return release(ctx) },
		} {
			for range 3 {
				ctx, cancel := context.WithTimeout(t.Context(), timeout)
				began := time.Now()
				err := use(ctx)
				took := time.Since(began)
				cancel()
				var netErr net.Error
				if !errors.Is(err, context.DeadlineExceeded) && !(errors.As(err, &netErr) && netErr.Timeout()) {
					t.Errorf("%s, %s: got error %v, want a time-out", name, op, err)
				}
				if limit := timeout + time.Second; took > limit {
					t.Errorf("%s, %s: took %v with a deadline of %v", name, op, took, timeout)
				}
			}
		}
		if got := client.PoolStats().TotalConns; got > 4 {
			t.Errorf("%s: %d connections are open, want no more than PoolSize, 4", name, got)
		}
		fault.end()
		eventually(t, "the cache works again", func() bool {
			return c.Put(t.Context(), key, []byte("data"), time.Minute) == nil
		})
		mustGet(t, c, key, "data")
		client.Close()
		eventually(t, "no connection is left", func() bool { return r.open() == 0 })
	}
}

// TestRefusedConnection checks what doc.go says of DialerRetries.
func TestRefusedConnection(t *testing.T) {
	t.Parallel()
	srv := redistest.Start(t)
	srv.Stop()
	c := newCache(t, connect(t, srv.Addr, func(o *redis.Options) { o.DialerRetries = 1 }))
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	began := time.Now()
	_, err := c.Get(ctx, key)
	if !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("Get: got error %v, want that the connection was refused", err)
	}
	t.Logf("failed after %v", time.Since(began).Round(time.Millisecond))
}

func TestNewRejectsClientsAndOptionsThatCantWork(t *testing.T) {
	t.Parallel()
	plain := redis.NewClient(&redis.Options{})
	defer plain.Close()
	sentinel := redis.NewFailoverClient(&redis.FailoverOptions{})
	defer sentinel.Close()
	cluster := redis.NewClusterClient(&redis.ClusterOptions{})
	defer cluster.Close()
	ring := redis.NewRing(&redis.RingOptions{})
	defer ring.Close()
	good := connect(t, "127.0.0.1:1")
	for _, tc := range []struct {
		name   string
		client redis.UniversalClient
		o      *rediscache.Options
		want   string
	}{
		{"no client", nil, nil, "client is nil"},
		{"nil client", (*redis.Client)(nil), nil, "client is nil"},
		{"nil cluster", (*redis.ClusterClient)(nil), nil, "client is nil"},
		{"nil ring", (*redis.Ring)(nil), nil, "client is nil"},
		{"plain", plain, nil, "ContextTimeoutEnabled"},
		{"sentinel", sentinel, nil, "ContextTimeoutEnabled"},
		{"cluster", cluster, nil, "ContextTimeoutEnabled"},
		{"ring", ring, nil, "ContextTimeoutEnabled"},
		{"braces", good, &rediscache.Options{Prefix: "a{b}:"}, "Options.Prefix"},
		{"good", good, &rediscache.Options{Prefix: "a:"}, ""},
	} {
		c, err := rediscache.New(tc.client, tc.o)
		if tc.want == "" {
			if err != nil || c == nil {
				t.Errorf("%s: got %v, error %v; want a Cache", tc.name, c, err)
			}
			continue
		}
		if err == nil || !strings.HasPrefix(err.Error(), "rediscache: ") || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%s: got error %v, want one with %q", tc.name, err, tc.want)
		}
	}
}
