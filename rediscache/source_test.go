// Copyright 2026 The authsec Authors
// SPDX-License-Identifier: Apache-2.0

//go:build unix

package rediscache_test

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/authsec-go/authsec"
	"github.com/authsec-go/authsec/authsectest"
	"github.com/authsec-go/authsec/rediscache"
	"github.com/authsec-go/authsec/rediscache/internal/redistest"
)

func TestColdStartIsOneRequest(t *testing.T) {
	t.Parallel()
	srv := redistest.Start(t)
	w := newWorld(t)
	w.auth.SetLatency(50 * time.Millisecond)
	pods := repeat(many, func() *authsec.Source { return w.podAt(srv.Addr) })
	slowest := w.mustServe(patience, pods...)
	w.mustAsk(0, 1, 1)
	hits := uint64(0)
	for _, src := range pods {
		hits += src.Stats().CacheHits
	}
	if hits != many-1 {
		t.Errorf("CacheHits of all = %d, want %d", hits, many-1)
	}
	t.Logf("%d pods had the token after %v at most", many, slowest.Round(time.Millisecond))

	// What is stored is sealed, and its name tells nothing.
	client := connect(t, srv.Addr)
	name := w.awaitEntry(client)
	stored := client.Get(t.Context(), name).Val()
	for _, secret := range []string{w.token(), w.token()[:20], authsectest.ClientID, authsectest.ClientID[:8], "billing"} {
		if strings.Contains(stored, secret) || strings.Contains(name, secret) {
			t.Error("Redis has a token or a client ID in the clear")
		}
	}
	if ttl := client.TTL(t.Context(), name).Val(); ttl <= 0 || ttl > time.Hour {
		t.Errorf("the entry's ttl = %v, want the token's life, an hour", ttl)
	}
}

func TestRefusedTokenIsReplacedByOneRequest(t *testing.T) {
	t.Parallel()
	srv := redistest.Start(t)
	w := newWorld(t)
	api := httptest.NewServer(w.auth.API(nil))
	t.Cleanup(api.Close)
	for round := range 2 { // with pods that have seen no refusal: a Source acts on one each second at first
		clients := make([]*http.Client, many)
		for i := range clients {
			clients[i] = &http.Client{Transport: &authsec.Transport{
				Source: w.podAt(srv.Addr), Base: api.Client().Transport, Hosts: []string{strings.TrimPrefix(api.URL, "http://")},
			}}
		}
		call := func() {
			t.Helper()
			var refused atomic.Int64
			var done sync.WaitGroup
			for _, client := range clients {
				done.Go(func() {
					resp, err := client.Get(api.URL)
					if err != nil {
						t.Errorf("Get: %v", err)
						return
					}
					resp.Body.Close()
					if resp.StatusCode != http.StatusOK {
						refused.Add(1)
					}
				})
			}
			done.Wait()
			if n := refused.Load(); n > 0 {
				t.Errorf("round %d: the API refused %d of %d pods, want none", round, n, many)
			}
		}
		before := w.auth.Fetches()
		call()
		w.mustAsk(before, 1-round, 1-round)
		before = w.auth.Fetches()
		w.auth.Revoke(authsectest.ClientID)
		w.delegate()
		began := time.Now()
		call()
		w.mustAsk(before, 1, 2)
		if took := time.Since(began); took > lease-time.Second {
			t.Errorf("round %d: it took %v, as if the lease before had not been ended", round, took)
		}
		t.Logf("round %d: %d requests for the refused tokens of %d pods", round, w.auth.Fetches()-before, many)
	}
}

func TestRedisKilledAndRestarted(t *testing.T) {
	t.Parallel()
	const timeout = time.Second
	srv := redistest.Start(t)
	w := newWorld(t)
	pod := func() *authsec.Source { return w.podAt(srv.Addr, cacheTimeout(timeout)) }
	old := pod()
	w.mustServe(patience, old)
	w.awaitEntry(connect(t, srv.Addr))

	srv.Stop()
	before := w.auth.Fetches()
	pods := repeat(10, pod)
	slowest := w.mustServe(2*timeout, pods...)
	w.mustAsk(before, 10, 10)
	t.Logf("without Redis: %v at most", slowest.Round(time.Millisecond))
	if _, err := old.Renew(t.Context(), nil); err != nil {
		t.Errorf("Renew without Redis: %v", err)
	}
	w.mustHaveLogged("cache failed")
	w.flush(append(pods, old)...)

	srv.Restart() // empty
	before = w.auth.Fetches()
	w.mustServe(patience, repeat(10, func() *authsec.Source { return w.podAt(srv.Addr) })...)
	w.mustAsk(before, 1, 1)
	eventually(t, "the old pod uses the cache again", func() bool {
		old.Renew(t.Context(), nil)
		return strings.Contains(w.logs.String(), "cache works again")
	})
}

func TestRedisPaused(t *testing.T) {
	t.Parallel()
	const timeout = time.Second
	srv := redistest.Start(t)
	w := newWorld(t)
	pod := func() *authsec.Source { return w.podAt(srv.Addr, cacheTimeout(timeout)) }

	// From the start: each waits for one use of the cache.
	srv.Pause()
	pods := repeat(10, pod)
	slowest := w.mustServe(2*timeout, pods...)
	w.mustAsk(0, 10, 10)
	for _, src := range pods {
		if err := src.Stats().LastCacheError; err == nil {
			t.Error("LastCacheError = nil, want a time-out")
		}
	}
	t.Logf("paused: %v at most", slowest.Round(time.Millisecond))
	srv.Resume()

	// While the server is asked: the caller waits for no use of the cache.
	srv.CLI("flushall")
	const latency = 500 * time.Millisecond
	w.auth.SetLatency(latency)
	before := w.auth.Fetches()
	src := pod()
	took := make(chan time.Duration, 1)
	go func() { took <- w.mustServe(latency+timeout/2, src) }()
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
		uses       int // of the cache that a call waits for at most
		begin, end func(*relay)
	}{
		{"partitioned", 1, func(r *relay) { r.partition() }, func(r *relay) { r.restore() }},
		{"slow", 3, func(r *relay) { r.set(func() { r.latency = 200 * time.Millisecond }) }, func(r *relay) { r.set(func() { r.latency = 0 }) }},
		{"cut", 1, func(r *relay) { r.set(func() { r.refuse = true }); r.cut() }, func(r *relay) { r.set(func() { r.refuse = false }) }},
		{"answers lost", 1, func(r *relay) { r.set(func() { r.mute = 1 << 30 }) }, func(r *relay) { r.set(func() { r.mute = 0 }) }},
	} {
		t.Run(tc.name, func(t *testing.T) {
			srv := redistest.Start(t)
			w := newWorld(t)
			r := newRelay(t, srv.Addr)
			// One that has connections, and pods that have none.
			warm := newCache(t, connect(t, r.addr))
			w.mustServe(patience, w.pod(warm))
			w.awaitEntry(connect(t, srv.Addr))
			tc.begin(r)
			before := w.auth.Fetches()
			pods := append(repeat(8, func() *authsec.Source { return w.podAt(r.addr, cacheTimeout(timeout)) }), w.pod(warm, cacheTimeout(timeout)))
			slowest := w.mustServe(time.Duration(tc.uses+1)*timeout, pods...)
			t.Logf("%v at most, and %d requests for %d pods", slowest.Round(time.Millisecond), w.auth.Fetches()-before, len(pods))
			w.flush(pods...)
			tc.end(r)
			r.cut()
			srv.CLI("flushall")
			before = w.auth.Fetches()
			w.mustServe(patience, repeat(8, func() *authsec.Source { return w.podAt(r.addr) })...)
			w.mustAsk(before, 0, 1) // none if what was told during the fault is stored late
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
		if stats := src.Stats(); stats.CacheFailures == 0 || !strings.Contains(fmt.Sprint(stats.LastCacheError), "OOM") {
			t.Errorf("CacheFailures = %d, LastCacheError = %v; want an OOM of Redis", stats.CacheFailures, stats.LastCacheError)
		}
	}
	w.mustHaveLogged("cache failed")
	t.Logf("memory full: %v at most", slowest.Round(time.Millisecond))

	w.flush(pods...)
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
	w.awaitEntry(connect(t, f.master.Addr))
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

func TestCorruptEntries(t *testing.T) {
	t.Parallel()
	srv := redistest.Start(t)
	client := connect(t, srv.Addr)
	w := newWorld(t)
	c := newCache(t, client)
	w.mustServe(patience, w.pod(c))
	name := w.awaitEntry(client)
	entry := client.Get(t.Context(), name).Val()

	// Entries that are good for another agent, server or key.
	const stranger = "0b5e9c34-6f0e-4b7c-8c1d-2f3a4b5c6d7e"
	strange := func(auth *authsectest.Server, clientID string, change func(*authsec.Config)) string {
		client.FlushDB(t.Context())
		w.mu.Lock()
		w.secrets = slices.Insert(w.secrets, 0, auth.Delegate(clientID, authsectest.Delegation{}))
		w.mu.Unlock()
		cfg := auth.Config(clientID)
		cfg.Cache, cfg.CacheKeys, cfg.CacheTimeout = c, w.keys, ample
		change(&cfg)
		src, err := authsec.NewSource(cfg)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := src.Token(); err != nil {
			t.Fatal(err)
		}
		return client.Get(t.Context(), w.awaitEntry(client)).Val()
	}
	elsewhere := authsectest.NewServer()
	t.Cleanup(elsewhere.Close)
	corrupt := map[string]string{
		"empty":          "",
		"one byte":       "\x01",
		"garbage":        strings.Repeat("\xff", len(entry)),
		"unsealed":       "\x00" + `{"answer":{"token":"eyJhbGciOiJub25lIn0.e30.","expires_at":"2999-01-01T00:00:00Z"},"answered":"2026-01-01T00:00:00Z"}`,
		"longer":         entry + "\x00",
		"doubled":        entry + entry,
		"too long":       strings.Repeat("\x01", 5<<20),
		"another agent":  strange(w.auth, stranger, func(*authsec.Config) {}),
		"another server": strange(elsewhere, authsectest.ClientID, func(*authsec.Config) {}),
		"another key":    strange(elsewhere, authsectest.ClientID, func(cfg *authsec.Config) { cfg.CacheKeys = [][]byte{newKey()} }),
	}
	for at := range len(entry) {
		if at < 16 || at >= len(entry)-20 || at%41 == 0 { // version, nonce, tag, and the ciphertext in between
			changed := []byte(entry)
			changed[at] ^= 1 << (at % 8)
			corrupt[fmt.Sprintf("byte %d of %d", at, len(entry))] = string(changed)
			corrupt[fmt.Sprintf("cut to %d bytes of %d", at, len(entry))] = entry[:at]
		}
	}
	client.FlushDB(t.Context())
	for what, stored := range corrupt {
		if err := client.Set(t.Context(), name, stored, time.Hour).Err(); err != nil {
			t.Fatal(err)
		}
		before, src := w.auth.Fetches(), w.pod(c)
		w.mustServe(patience, src)
		if got := w.auth.Fetches() - before; got != 1 {
			t.Errorf("%s: the server got %d requests, want 1", what, got)
		}
		if got := src.Stats().CacheRejects; got != 1 {
			t.Errorf("%s: CacheRejects = %d, want 1", what, got)
		}
		eventually(t, what+" is replaced", func() bool { return client.Get(t.Context(), name).Val() != stored })
		w.awaitEntry(client)
	}
	w.mustHaveLogged("cache entry ignored")
	t.Logf("%d corrupt entries", len(corrupt))

	// What is no string at all is replaced, too.
	client.Del(t.Context(), name)
	client.LPush(t.Context(), name, "item")
	before := w.auth.Fetches()
	w.mustServe(patience, w.pod(c))
	w.mustAsk(before, 1, 1)
}

// TestKeysAreRotated follows the three steps of Config.CacheKeys, with pods
// before and after each step side by side.
func TestKeysAreRotated(t *testing.T) {
	t.Parallel()
	old, new := newKey(), newKey()
	steps := [][][]byte{{old}, {old, new}, {new, old}, {new}}
	for _, tc := range []struct {
		name    string
		renewed bool // between the last two steps
		want    int  // requests after the last step
	}{
		{"entry renewed before the old key is dropped", true, 0},
		{"entry not renewed", false, 1},
	} {
		t.Run(tc.name, func(t *testing.T) {
			srv := redistest.Start(t)
			client := connect(t, srv.Addr)
			w := newWorld(t)
			w.keys = [][]byte{old, new} // no secret may be told
			with := func(step int) func() *authsec.Source {
				return func() *authsec.Source {
					return w.podAt(srv.Addr, func(cfg *authsec.Config) { cfg.CacheKeys = steps[step] })
				}
			}
			w.mustServe(patience, with(0)())
			w.awaitEntry(client)
			for step := range steps[1:] {
				before, want := w.auth.Fetches(), 0
				if step+1 == len(steps)-1 {
					if tc.renewed {
						name := w.awaitEntry(client)
						was := client.Get(t.Context(), name).Val()
						if _, err := with(step)().Renew(t.Context(), nil); err != nil {
							t.Fatal(err)
						}
						eventually(t, "the entry is renewed", func() bool { return client.Get(t.Context(), name).Val() != was })
						w.awaitEntry(client)
						before = w.auth.Fetches()
					}
					want = tc.want
				}
				// The pods of the step before that are yet to be replaced start anew, too.
				w.mustServe(patience, repeat(5, with(step))...)
				w.mustServe(patience, repeat(5, with(step+1))...)
				w.mustServe(patience, repeat(5, with(step))...)
				w.mustAsk(before, want, want)
			}
		})
	}
}

// TestLeaseHolderIsKilled has the lease taken by one that never ends it.
func TestLeaseHolderIsKilled(t *testing.T) {
	t.Parallel()
	const left = 1500 * time.Millisecond // of the lease
	srv := redistest.Start(t)
	client := connect(t, srv.Addr)
	w := newWorld(t)
	w.mustServe(patience, w.podAt(srv.Addr))
	name := w.awaitEntry(client)
	client.Del(t.Context(), name)
	key := strings.TrimSuffix(strings.TrimPrefix(name, "authsec:{"), "}:entry")
	if _, err := newCache(t, client).Lease(t.Context(), key, left); err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	before := w.auth.Fetches()
	slowest := w.mustServe(patience, repeat(20, func() *authsec.Source { return w.podAt(srv.Addr) })...)
	w.mustAsk(before, 1, 1)
	if took := time.Since(began); took < left-100*time.Millisecond {
		t.Errorf("all had the token after %v, within the lease of %v: it was not waited for", took, left)
	}
	t.Logf("the lease had %v left: %v at most", left, slowest.Round(time.Millisecond))
}

// lyingCache says that another holds the lease, always.
type lyingCache struct{ *rediscache.Cache }

func (lyingCache) Lease(context.Context, string, time.Duration) (func(context.Context) error, error) {
	return nil, authsec.ErrLeaseHeld
}

func TestLeaseIsAlwaysHeld(t *testing.T) {
	t.Parallel()
	const fetchTimeout = 3 * time.Second
	srv := redistest.Start(t)
	w := newWorld(t)
	pods := repeat(20, func() *authsec.Source {
		return w.pod(lyingCache{newCache(t, connect(t, srv.Addr))}, func(cfg *authsec.Config) { cfg.FetchTimeout = fetchTimeout })
	})
	slowest := w.mustServe(fetchTimeout/2+time.Second, pods...)
	w.mustAsk(0, 1, len(pods))
	t.Logf("with a FetchTimeout of %v: %v at most, and %d requests for %d pods", fetchTimeout, slowest.Round(time.Millisecond), w.auth.Fetches(), len(pods))
}

// TestRedisUnderFire has pods start again and again while Redis is killed,
// restarted and paused.
func TestRedisUnderFire(t *testing.T) {
	t.Parallel()
	const (
		timeout = 500 * time.Millisecond
		limit   = 3*timeout + 2*time.Second
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
