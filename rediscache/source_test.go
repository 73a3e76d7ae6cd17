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
		hits += src.Stats().Cache.Hits
	}
	if hits != many-1 {
		t.Errorf("Cache.Hits of all = %d, want %d", hits, many-1)
	}
	t.Logf("%d pods had the token after %v at most", many, slowest.Round(time.Millisecond))

	// The entry is encrypted, and its name has nothing secret in it.
	client := connect(t, srv.Addr)
	name := w.mustHaveEntry(client)
	stored := client.Get(t.Context(), name).Val()
	for _, secret := range []string{w.token(), w.token()[:20], authsectest.ClientID, authsectest.ClientID[:8], "billing"} {
		if strings.Contains(stored, secret) || strings.Contains(name, secret) {
			t.Error("Redis has a token or a client ID that can be read")
		}
	}
	if ttl := client.TTL(t.Context(), name).Val(); ttl <= 0 || ttl > time.Hour {
		t.Errorf("the entry's ttl = %v, want the token's lifetime, an hour", ttl)
	}
}

func TestRejectedTokenIsReplacedByOneRequest(t *testing.T) {
	t.Parallel()
	srv := redistest.Start(t)
	w := newWorld(t)
	api := httptest.NewServer(w.auth.API(nil))
	t.Cleanup(api.Close)
	for round := range 2 { // each with new pods: a Source asks for another token at most once a second at first
		clients := make([]*http.Client, many)
		for i := range clients {
			clients[i] = &http.Client{Transport: &authsec.Transport{
				Source: w.podAt(srv.Addr), Base: api.Client().Transport, Hosts: []string{strings.TrimPrefix(api.URL, "http://")},
			}}
		}
		call := func() {
			t.Helper()
			var rejected atomic.Int64
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
						rejected.Add(1)
					}
				})
			}
			done.Wait()
			if n := rejected.Load(); n > 0 {
				t.Errorf("round %d: the API rejected %d of %d pods, want none", round, n, many)
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
			t.Errorf("round %d: it took %v, as if the first lease had not been ended", round, took)
		}
		t.Logf("round %d: %d requests for the rejected tokens of %d pods", round, w.auth.Fetches()-before, many)
	}
}

func TestCorruptEntries(t *testing.T) {
	t.Parallel()
	srv := redistest.Start(t)
	client := connect(t, srv.Addr)
	w := newWorld(t)
	c := newCache(t, client)
	w.mustServe(patience, w.pod(c))
	name := w.mustHaveEntry(client)
	entry := client.Get(t.Context(), name).Val()

	// Entries of another agent, of another server, and with another key.
	const stranger = "0b5e9c34-6f0e-4b7c-8c1d-2f3a4b5c6d7e"
	strange := func(auth *authsectest.Server, clientID string, change func(*authsec.Config)) string {
		client.FlushDB(t.Context())
		w.mu.Lock()
		w.secrets = slices.Insert(w.secrets, 0, auth.Delegate(clientID, authsectest.Delegation{}))
		w.mu.Unlock()
		cfg := auth.Config(clientID)
		cfg.Cache = &authsec.CacheConfig{Store: c, Keys: authsec.NewCacheKeys(w.keys...), Timeout: ample}
		change(&cfg)
		src, err := authsec.NewSource(cfg)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := src.Token(); err != nil {
			t.Fatal(err)
		}
		return client.Get(t.Context(), w.mustHaveEntry(client)).Val()
	}
	elsewhere := authsectest.NewServer()
	t.Cleanup(elsewhere.Close)
	corrupt := map[string]string{
		"empty":          "",
		"one byte":       "\x01",
		"garbage":        strings.Repeat("\xff", len(entry)),
		"plaintext":      "\x00" + `{"answer":{"token":"eyJhbGciOiJub25lIn0.e30.","expires_at":"2999-01-01T00:00:00Z"},"answered":"2026-01-01T00:00:00Z"}`,
		"longer":         entry + "\x00",
		"doubled":        entry + entry,
		"too long":       strings.Repeat("\x01", 5<<20),
		"another agent":  strange(w.auth, stranger, func(*authsec.Config) {}),
		"another server": strange(elsewhere, authsectest.ClientID, func(*authsec.Config) {}),
		"another key":    strange(elsewhere, authsectest.ClientID, func(cfg *authsec.Config) { cfg.Cache.Keys = authsec.NewCacheKeys(newKey()) }),
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
		rejects := uint64(1)
		if what == "too long" { // the cache returns none of it
			rejects = 0
		}
		if got := src.Stats().Cache.Rejects; got != rejects {
			t.Errorf("%s: Cache.Rejects = %d, want %d", what, got, rejects)
		}
		w.mustHaveEntry(client)
		if client.Get(t.Context(), name).Val() == stored {
			t.Errorf("%s: it is still there, want the server's answer in its place", what)
		}
	}
	w.mustHaveLogged("cache entry ignored")
	t.Logf("%d corrupt entries", len(corrupt))

	// A value of another type is replaced, too.
	client.Del(t.Context(), name)
	client.LPush(t.Context(), name, "item")
	before := w.auth.Fetches()
	w.mustServe(patience, w.pod(c))
	w.mustAsk(before, 1, 1)
}

// TestKeysAreRotated follows the three steps that CacheConfig.Keys describes. Pods
// before and after a step run side by side.
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
			w.keys = [][]byte{old, new} // the secrets to look for in the log
			with := func(step int) func() *authsec.Source {
				return func() *authsec.Source {
					return w.podAt(srv.Addr, func(cfg *authsec.Config) { cfg.Cache.Keys = authsec.NewCacheKeys(steps[step]...) })
				}
			}
			w.mustServe(patience, with(0)())
			w.mustHaveEntry(client)
			for step := range steps[1:] {
				before, want := w.auth.Fetches(), 0
				if step+1 == len(steps)-1 {
					if tc.renewed {
						if _, err := with(step)().Refresh(t.Context()); err != nil {
							t.Fatal(err)
						}
						before = w.auth.Fetches()
					}
					want = tc.want
				}
				// Pods of the step before that are not replaced yet may restart, too.
				w.mustServe(patience, repeat(5, with(step))...)
				w.mustServe(patience, repeat(5, with(step+1))...)
				w.mustServe(patience, repeat(5, with(step))...)
				w.mustAsk(before, want, want)
			}
		})
	}
}

// TestLeaseHolderIsKilled: whoever has the lease never ends it.
func TestLeaseHolderIsKilled(t *testing.T) {
	t.Parallel()
	const left = 1500 * time.Millisecond // of the lease
	srv := redistest.Start(t)
	client := connect(t, srv.Addr)
	w := newWorld(t)
	w.mustServe(patience, w.podAt(srv.Addr))
	name := w.mustHaveEntry(client)
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
		t.Errorf("all had the token after %v, before the lease of %v ended: they did not wait for it", took, left)
	}
	t.Logf("the lease had %v left: %v at most", left, slowest.Round(time.Millisecond))
}

// lyingCache always says that another has the lease.
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
