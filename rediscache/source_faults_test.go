// Copyright 2026 The authsec Authors
// SPDX-License-Identifier: Apache-2.0

//go:build unix

package rediscache_test

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/authsec-go/authsec"
	"github.com/authsec-go/authsec/rediscache/internal/redistest"
)

func TestRedisKilledAndRestarted(t *testing.T) {
	t.Parallel()
	const timeout = time.Second
	srv := redistest.Start(t)
	w := newWorld(t)
	pod := func() *authsec.Source { return w.podAt(srv.Addr, cacheTimeout(timeout)) }
	old := pod()
	w.mustServe(patience, old)
	w.mustHaveEntry(connect(t, srv.Addr))

	srv.Stop()
	before := w.auth.Fetches()
	slowest := w.mustServe(2*timeout, repeat(10, pod)...)
	w.mustAsk(before, 10, 10)
	t.Logf("without Redis: %v at most", slowest.Round(time.Millisecond))
	if _, err := old.Refresh(t.Context()); err != nil {
		t.Errorf("Refresh without Redis: %v", err)
	}
	w.mustHaveLogged("cache failed")
	awaitDeletes(timeout)

	srv.Restart() // empty
	before = w.auth.Fetches()
	w.mustServe(patience, repeat(10, func() *authsec.Source { return w.podAt(srv.Addr) })...)
	w.mustAsk(before, 1, 1)
	eventually(t, "the old pod uses the cache again", func() bool {
		old.Refresh(t.Context())
		return strings.Contains(w.logs.String(), "cache works again")
	})
}

func TestRedisPaused(t *testing.T) {
	t.Parallel()
	const timeout = time.Second
	srv := redistest.Start(t)
	w := newWorld(t)
	pod := func() *authsec.Source { return w.podAt(srv.Addr, cacheTimeout(timeout)) }

	// From the start: each waits for one use of the cache. Where the machine is so busy
	// that a request takes longer than the cache is left alone, storing is a second one.
	srv.Pause()
	pods := repeat(10, pod)
	slowest := w.mustServe(2*timeout+timeout/2, pods...)
	w.mustAsk(0, 10, 10)
	for _, src := range pods {
		if err := src.Stats().Cache.LastError; err == nil {
			t.Error("Cache.LastError = nil, want a time-out")
		}
	}
	t.Logf("paused: %v at most", slowest.Round(time.Millisecond))
	srv.Resume()

	// While the server is asked: the caller waits for storing the answer, at most timeout.
	srv.CLI("flushall")
	const latency = 500 * time.Millisecond
	w.auth.SetLatency(latency)
	before := w.auth.Fetches()
	src := pod()
	took := make(chan time.Duration, 1)
	go func() { took <- w.mustServe(latency+timeout+timeout/2, src) }()
	eventually(t, "the server is asked", func() bool { return w.auth.Fetches() > before })
	srv.Pause()
	t.Logf("paused while the server was asked, which takes %v: %v", latency, (<-took).Round(time.Millisecond))
	srv.Resume()
}

func TestNetworkFaults(t *testing.T) {
	t.Parallel()
	const timeout = time.Second
	for _, tc := range []struct {
		name       string
		timeouts   int // that a call waits for the cache at most
		begin, end func(*relay)
	}{
		{"partitioned", 1, func(r *relay) { r.partition() }, func(r *relay) { r.restore() }},
		{"slow", 5, func(r *relay) { r.set(func() { r.latency = 200 * time.Millisecond }) }, func(r *relay) { r.set(func() { r.latency = 0 }) }},
		{"cut", 1, func(r *relay) { r.set(func() { r.closed = true }); r.cut() }, func(r *relay) { r.set(func() { r.closed = false }) }},
		{"answers lost", 1, func(r *relay) { r.set(func() { r.mute = 1 << 30 }) }, func(r *relay) { r.set(func() { r.mute = 0 }) }},
	} {
		t.Run(tc.name, func(t *testing.T) {
			srv := redistest.Start(t)
			w := newWorld(t)
			r := newRelay(t, srv.Addr)
			// One that has connections, and pods that have none.
			warm := newCache(t, connect(t, r.addr))
			w.mustServe(patience, w.pod(warm))
			w.mustHaveEntry(connect(t, srv.Addr))
			tc.begin(r)
			before := w.auth.Fetches()
			pods := append(repeat(8, func() *authsec.Source { return w.podAt(r.addr, cacheTimeout(timeout)) }), w.pod(warm, cacheTimeout(timeout)))
			slowest := w.mustServe(time.Duration(tc.timeouts+1)*timeout+timeout/2, pods...)
			t.Logf("%v at most, and %d requests for %d pods", slowest.Round(time.Millisecond), w.auth.Fetches()-before, len(pods))
			awaitDeletes(timeout)
			tc.end(r)
			r.cut()
			srv.CLI("flushall")
			before = w.auth.Fetches()
			w.mustServe(patience, repeat(8, func() *authsec.Source { return w.podAt(r.addr) })...)
			w.mustAsk(before, 1, 1)
		})
	}
}

func TestMemoryFull(t *testing.T) {
	t.Parallel()
	srv := redistest.Start(t, "maxmemory 100kb", "maxmemory-policy noeviction")
	w := newWorld(t)
	pods := repeat(10, func() *authsec.Source { return w.podAt(srv.Addr) })
	slowest := w.mustServe(patience, pods...)
	w.mustAsk(0, 10, 10)
	for _, src := range pods {
		if stats := src.Stats().Cache; stats.Failures == 0 || !strings.Contains(fmt.Sprint(stats.LastError), "OOM") {
			t.Errorf("Cache.Failures = %d, Cache.LastError = %v; want an OOM of Redis", stats.Failures, stats.LastError)
		}
	}
	w.mustHaveLogged("cache failed")
	t.Logf("memory full: %v at most", slowest.Round(time.Millisecond))

	srv.CLI("config", "set", "maxmemory", "0")
	before := w.auth.Fetches()
	w.mustServe(patience, repeat(10, func() *authsec.Source { return w.podAt(srv.Addr) })...)
	w.mustAsk(before, 1, 1)
}

func TestFollowerIsPromoted(t *testing.T) {
	t.Parallel()
	f := startFailover(t)
	w := newWorld(t)
	pod := func() *authsec.Source { return w.pod(newCache(t, f.connect(t)), cacheTimeout(time.Second)) }
	w.mustServe(patience, repeat(10, pod)...)
	w.mustAsk(0, 1, 2)
	w.mustHaveEntry(connect(t, f.master.Addr))
	f.master.WaitForReplicas(1)

	f.master.Stop()
	w.mustServe(3*time.Second, repeat(3, pod)...) // with no master at all
	promoted := newCache(t, f.connect(t))
	eventually(t, "the follower is promoted", func() bool {
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		return promoted.Put(ctx, other, []byte("data"), time.Minute) == nil
	})
	before := w.auth.Fetches()
	w.mustServe(patience, repeat(10, func() *authsec.Source { return w.pod(newCache(t, f.connect(t))) })...)
	w.mustAsk(before, 0, 0) // it has the entry
}

// TestRedisUnderFire starts pods again and again while Redis is killed, restarted
// and paused.
func TestRedisUnderFire(t *testing.T) {
	t.Parallel()
	const (
		timeout = 500 * time.Millisecond
		limit   = 5*timeout + 2*time.Second
	)
	srv := redistest.Start(t)
	w := newWorld(t)
	end := make(chan struct{})
	var started sync.WaitGroup
	var mu sync.Mutex // guards what follows
	var starts int
	var slowest time.Duration
	for range 4 {
		client := newCache(t, connect(t, srv.Addr))
		started.Go(func() {
			for {
				select {
				case <-end:
					return
				case <-time.After(20 * time.Millisecond):
				}
				took := w.mustServe(limit, w.pod(client, cacheTimeout(timeout)))
				mu.Lock()
				starts++
				slowest = max(slowest, took)
				mu.Unlock()
			}
		})
	}
	for range 3 {
		time.Sleep(200 * time.Millisecond)
		srv.Pause()
		time.Sleep(300 * time.Millisecond)
		srv.Resume()
		time.Sleep(200 * time.Millisecond)
		srv.Stop()
		time.Sleep(300 * time.Millisecond)
		srv.Restart()
	}
	close(end)
	started.Wait()
	t.Logf("%d starts, %d requests, %v at most", starts, w.auth.Fetches(), slowest.Round(time.Millisecond))
}
