// Copyright 2026 The authsec Authors
// SPDX-License-Identifier: Apache-2.0

package authsec_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"fmt"
	"maps"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/authsec-go/authsec"
	"github.com/authsec-go/authsec/authsectest"
	"github.com/authsec-go/authsec/internal/share"
)

// plainCache is a Cache without leases, in memory.
type plainCache struct {
	mu      sync.Mutex
	entries map[string]plainEntry

	fault func(op string) error // before each use; nil: none
}

func (c *plainCache) fails(op string) error {
	if c.fault == nil {
		return nil
	}
	return c.fault(op)
}

func (c *plainCache) Get(_ context.Context, key string) ([]byte, error) {
	if err := c.fails("get"); err != nil {
		return nil, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	e := c.entries[key]
	if !time.Now().Before(e.till) {
		return nil, authsec.ErrCacheMiss
	}
	return e.data, nil
}

func (c *plainCache) Put(_ context.Context, key string, data []byte, ttl time.Duration) error {
	if err := c.fails("put"); err != nil {
		return err
	}
	if ttl <= 0 {
		return fmt.Errorf("a time to live of %v", ttl)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.entries == nil {
		c.entries = map[string]plainEntry{}
	}
	c.entries[key] = plainEntry{bytes.Clone(data), time.Now().Add(ttl)}
	return nil
}

func (c *plainCache) Delete(_ context.Context, key string) error {
	if err := c.fails("delete"); err != nil {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.entries, key)
	return nil
}

// all returns what is stored now, and restore puts it back.
func (c *plainCache) all() map[string]plainEntry {
	c.mu.Lock()
	defer c.mu.Unlock()
	return maps.Clone(c.entries)
}

func (c *plainCache) restore(entries map[string]plainEntry) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.entries = maps.Clone(entries)
}

type plainEntry struct {
	data []byte
	till time.Time
}

// leaseCache is a Cache with leases, in memory.
type leaseCache struct {
	plainCache
	leases map[string]lease
	taken  int
}

func (c *leaseCache) Lease(_ context.Context, key string, ttl time.Duration) (func(context.Context) error, error) {
	if err := c.fails("lease"); err != nil {
		return nil, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if time.Now().Before(c.leases[key].till) {
		return nil, authsec.ErrLeaseHeld
	}
	if c.leases == nil {
		c.leases = map[string]lease{}
	}
	c.taken++
	mine := lease{time.Now().Add(ttl), c.taken}
	c.leases[key] = mine
	return func(context.Context) error {
		if err := c.fails("release"); err != nil {
			return err
		}
		c.mu.Lock()
		defer c.mu.Unlock()
		if c.leases[key] == mine {
			delete(c.leases, key)
		}
		return nil
	}, nil
}

type lease struct {
	till   time.Time
	serial int
}

// on is a fault of these uses of a cache: f says what they do.
func on(f func() error, ops ...string) func(op string) error {
	return func(op string) error {
		if slices.Contains(ops, op) {
			return f()
		}
		return nil
	}
}

// fails and hangs are what a bad cache may do.
func fails(err error) func() error       { return func() error { return err } }
func hangs(d time.Duration) func() error { return func() error { time.Sleep(d); return nil } }

func cacheKey() []byte {
	key := make([]byte, 32)
	rand.Read(key)
	return key
}

// fleet is a server, a cache, and processes of one agent that share it, in a
// bubble of testing/synctest.
type fleet struct {
	*sourceFixture
	cache *leaseCache
	key   []byte
	pods  []*authsec.Source
}

// pod adds a process.
func (x *fleet) pod(changes ...func(*authsec.Config)) *authsec.Source {
	x.Helper()
	x.start(append([]func(*authsec.Config){func(c *authsec.Config) {
		c.Cache = &authsec.CacheConfig{Store: x.cache, Keys: authsec.NewCacheKeys(x.key)}
	}}, changes...)...)
	x.pods = append(x.pods, x.src)
	return x.src
}

func (x *fleet) add(n int, changes ...func(*authsec.Config)) {
	for range n {
		x.pod(changes...)
	}
}

// warm adds n processes, which have the first token.
func (x *fleet) warm(n int, changes ...func(*authsec.Config)) {
	x.Helper()
	x.delegate("first", time.Hour)
	x.add(n, changes...)
	x.all("first")
	synctest.Wait()
}

// each calls f for all pods at once, and waits for all.
func (x *fleet) each(f func(pod *authsec.Source)) {
	var wg sync.WaitGroup
	for _, pod := range x.pods {
		wg.Go(func() { f(pod) })
	}
	wg.Wait()
}

// all calls Token in all pods at once, and all must get the token of that name.
func (x *fleet) all(name string) {
	x.Helper()
	x.each(func(pod *authsec.Source) {
		if token, err := pod.Token(); x.name(token) != name {
			x.Errorf("got %s, %v, want %s", x.name(token), err, name)
		}
	})
}

// run has all pods ask for the token each second, for d.
func (x *fleet) run(d time.Duration) {
	for end := time.Now().Add(d); time.Now().Before(end); time.Sleep(time.Second) {
		for _, pod := range x.pods {
			pod.Token()
		}
	}
	synctest.Wait()
}

// stored returns the agent's part of the cache, to be read and written past a Source.
func (x *fleet) stored() *share.Cache {
	c, err := share.New(share.Options{
		Store: x.cache, Keys: [][]byte{x.key}, Server: x.srv.URL + authsectest.EndpointPath, Agent: authsectest.ClientID,
		Timeout: time.Second, Lease: time.Second, Miss: authsec.ErrCacheMiss, Held: authsec.ErrLeaseHeld, Report: func(string, string) {},
	})
	if err != nil {
		x.Fatal(err)
	}
	return c
}

// storeAnswer puts an answer into the cache, encrypted as it should be.
func (x *fleet) storeAnswer(said time.Time, body string) {
	x.stored().Write(x.Context(), share.Entry{Answer: []byte(body), Answered: said}, time.Hour)
}

func fleetBubble(t *testing.T, test func(t *testing.T, x *fleet)) {
	t.Helper()
	sourceBubble(t, func(t *testing.T, x *sourceFixture) {
		test(t, &fleet{sourceFixture: x, cache: new(leaseCache), key: cacheKey()})
	})
}

// inFleetBubble is fleetBubble as a sub-test.
func inFleetBubble(t *testing.T, name string, test func(t *testing.T, x *fleet)) {
	t.Helper()
	t.Run(name, func(t *testing.T) { fleetBubble(t, test) })
}
