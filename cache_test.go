// Copyright 2026 The authsec Authors
// SPDX-License-Identifier: Apache-2.0

package authsec_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/authsec-go/authsec"
	"github.com/authsec-go/authsec/authsectest"
	"github.com/authsec-go/authsec/internal/cache"
	"github.com/golang-jwt/jwt/v5"
	"golang.org/x/oauth2"
)

// plainCache is a Cache without leases, in memory.
type plainCache struct {
	mu      sync.Mutex
	entries map[string]plainEntry

	fault func(op string) error // before each use; nil: none
}

type plainEntry struct {
	data []byte
	till time.Time
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

// leaseCache is a Cache with leases, in memory.
type leaseCache struct {
	plainCache
	leases map[string]lease
	taken  int
}

type lease struct {
	till   time.Time
	serial int
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

func fleetBubble(t *testing.T, test func(t *testing.T, x *fleet)) {
	t.Helper()
	sourceBubble(t, func(t *testing.T, x *sourceFixture) {
		test(t, &fleet{sourceFixture: x, cache: new(leaseCache), key: cacheKey()})
	})
}

// pod adds a process.
func (x *fleet) pod(changes ...func(*authsec.Config)) *authsec.Source {
	x.Helper()
	x.start(append([]func(*authsec.Config){func(c *authsec.Config) {
		c.Cache, c.CacheKeys = x.cache, [][]byte{x.key}
	}}, changes...)...)
	x.pods = append(x.pods, x.src)
	return x.src
}

func (x *fleet) add(n int, changes ...func(*authsec.Config)) {
	for range n {
		x.pod(changes...)
	}
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

func (x *fleet) logged(msg string) (n int) {
	for _, e := range x.log.all() {
		if e.msg == msg {
			n++
		}
	}
	return n
}

func TestFleetAsksOnceAtAColdStart(t *testing.T) {
	fleetBubble(t, func(t *testing.T, x *fleet) {
		x.delegate("first", time.Hour)
		x.srv.SetLatency(300 * time.Millisecond)
		x.add(1000)
		began := time.Now()
		x.all("first")
		if took := time.Since(began); took > 2*time.Second {
			t.Errorf("all have the token after %v, want 2s at most", took)
		}
		x.wantRequests(1)
		hits, misses := uint64(0), uint64(0)
		for _, pod := range x.pods {
			s := pod.Stats()
			hits, misses = hits+s.CacheHits, misses+s.CacheMisses
			if s.CacheFailures+s.CacheRejects != 0 || s.Expiry.IsZero() || s.Fetches != s.CacheMisses {
				t.Errorf("got stats %+v", s)
			}
		}
		if hits != 999 || misses != 1 {
			t.Errorf("%d hits and %d misses, want 999 and 1", hits, misses)
		}
		x.pod() // and one that comes later
		x.want("first")
		x.wantRequests(1)
	})
}

// Without leases the cache is of use as well: for all that come later.
func TestFleetWithoutLeases(t *testing.T) {
	fleetBubble(t, func(t *testing.T, x *fleet) {
		x.delegate("first", time.Hour)
		x.add(10, func(c *authsec.Config) { c.Cache = &x.cache.plainCache })
		x.all("first")
		asked := x.srv.Fetches()
		if asked > 10 {
			t.Errorf("%d requests, want 10 at most", asked)
		}
		x.add(100, func(c *authsec.Config) { c.Cache = &x.cache.plainCache })
		x.all("first")
		x.wantRequests(asked)
		x.sleep(30 * time.Minute)
		x.delegate("second", time.Hour)
		x.run(30*time.Minute - time.Second)
		x.all("second")
		if n := x.srv.Fetches() - asked; n > 10 {
			t.Errorf("%d requests for the renewal, want few", n)
		}
	})
}

func TestFleetRenewsOnce(t *testing.T) {
	fleetBubble(t, func(t *testing.T, x *fleet) {
		x.delegate("0", time.Hour)
		x.add(100)
		x.all("0")
		x.run(9 * time.Minute)
		for i := 1; i <= 3; i++ {
			x.run(41 * time.Minute)
			x.delegate(fmt.Sprint(i), time.Hour)
			x.run(9 * time.Minute)
			x.all(fmt.Sprint(i))
			x.wantRequests(1 + i)
		}
	})
}

// While the server gives out the same token, the fleet asks as often as one
// process does, about ten times in a window; and again while there is none.
func TestFleetAsksAsOneProcessDoes(t *testing.T) {
	fleetBubble(t, func(t *testing.T, x *fleet) {
		x.delegate("only", time.Hour)
		x.add(100)
		x.run(time.Hour - time.Second)
		if n := x.srv.Fetches(); n < 5 || n > 21 {
			t.Errorf("%d requests in a token's life, want about 11", n)
		}
		before := x.srv.Fetches()
		x.run(10 * time.Minute)
		if n := x.srv.Fetches() - before; n < 10 || n > 30 {
			t.Errorf("%d requests in 10 minutes without a delegation, want about 16", n)
		}
		before = x.srv.Fetches()
		x.delegate("next", time.Hour)
		x.run(100 * time.Second)
		x.all("next")
		if n := x.srv.Fetches() - before; n != 1 {
			t.Errorf("%d requests for the new delegation, want 1", n)
		}
	})
}

// refuse has all pods be refused the token of that name within a second, and
// renew it.
func (x *fleet) refuse(name string, check func(token *oauth2.Token, err error)) {
	x.Helper()
	x.mu.Lock()
	var refused *oauth2.Token
	for token, n := range x.names {
		if n == name {
			refused = &oauth2.Token{AccessToken: token}
		}
	}
	x.mu.Unlock()
	var wg sync.WaitGroup
	for i, pod := range x.pods {
		wg.Go(func() {
			time.Sleep(time.Duration(i) * time.Second / time.Duration(len(x.pods)))
			token, err := pod.Renew(x.Context(), refused)
			check(token, err)
		})
	}
	wg.Wait()
}

func TestRefusedTokenIsRenewedForAllByOne(t *testing.T) {
	fleetBubble(t, func(t *testing.T, x *fleet) {
		x.delegate("first", time.Hour)
		x.add(100)
		x.all("first")
		x.sleep(time.Minute)
		x.srv.SetLatency(100 * time.Millisecond)
		asked := x.srv.Fetches()
		x.refuse("first", func(token *oauth2.Token, err error) { // which the server gives out all the same
			if x.name(token) != "first" {
				t.Errorf("Renew: got %s, %v, want the first", x.name(token), err)
			}
		})
		x.wantRequests(asked + 1)

		x.sleep(time.Minute)
		x.srv.Revoke(authsectest.ClientID)
		x.delegate("second", time.Hour)
		x.refuse("first", func(token *oauth2.Token, err error) {
			if x.name(token) != "second" {
				t.Errorf("Renew: got %s, %v, want the second", x.name(token), err)
			}
		})
		x.all("second")
		x.wantRequests(asked + 2)

		x.sleep(time.Minute)
		x.srv.Revoke(authsectest.ClientID)
		x.refuse("second", func(token *oauth2.Token, err error) {
			if !errors.Is(err, authsec.ErrNotDelegated) {
				t.Errorf("Renew: got %s, %v, want ErrNotDelegated", x.name(token), err)
			}
		})
		x.wantRequests(asked + 3)
		x.pod()
		x.each(func(pod *authsec.Source) {
			if token, err := pod.Token(); !errors.Is(err, authsec.ErrNotDelegated) {
				t.Errorf("after the revocation: got %s, %v, want ErrNotDelegated", x.name(token), err)
			}
		})
	})
}

// What was said before a refusal is no answer to it.
func TestRefusalAsksAnew(t *testing.T) {
	t.Run("right after the token came", func(t *testing.T) {
		fleetBubble(t, func(t *testing.T, x *fleet) {
			x.delegate("first", time.Hour)
			x.add(1)
			x.all("first")
			x.srv.Revoke(authsectest.ClientID)
			x.delegateNow("second", time.Hour)
			x.refuse("first", func(*oauth2.Token, error) {})
			x.all("second")
		})
	})
	t.Run("a while after it was confirmed to another", func(t *testing.T) {
		fleetBubble(t, func(t *testing.T, x *fleet) {
			x.delegate("first", time.Hour)
			x.add(2)
			x.all("first")
			x.sleep(time.Minute)
			if _, err := x.pods[0].Renew(t.Context(), nil); err != nil {
				t.Fatal(err)
			}
			x.sleep(5 * time.Second)
			x.srv.Revoke(authsectest.ClientID)
			x.delegateNow("second", time.Hour)
			x.pods = x.pods[1:]
			x.refuse("first", func(*oauth2.Token, error) {})
			x.all("second")
		})
	})
	t.Run("a failure answers one refusal", func(t *testing.T) {
		fleetBubble(t, func(t *testing.T, x *fleet) {
			x.delegate("first", time.Hour)
			x.add(2, func(c *authsec.Config) { c.Retry.MaxAttempts = 1 })
			x.all("first")
			x.sleep(time.Minute)
			x.srv.FailNext(1, sourceUnavailable)
			asked := x.srv.Fetches()
			var failed atomic.Int64
			x.refuse("first", func(_ *oauth2.Token, err error) {
				if err != nil {
					failed.Add(1)
				}
			})
			x.wantRequests(asked + 1)
			if failed.Load() == 0 {
				t.Error("no refusal met the failure")
			}
			x.srv.Revoke(authsectest.ClientID)
			x.delegateNow("second", time.Hour)
			x.sleep(time.Second)
			x.refuse("first", func(*oauth2.Token, error) {})
			x.all("second")
		})
	})
}

// A refusal counts for more than an entry: who knows no better asks the server.
func TestEntryThatEqualsARefusedTokenIsAMiss(t *testing.T) {
	fleetBubble(t, func(t *testing.T, x *fleet) {
		x.delegate("first", time.Hour)
		x.add(2)
		x.all("first")
		old := x.cache.all()
		x.sleep(time.Minute)
		x.srv.Revoke(authsectest.ClientID)
		x.refuse("first", func(*oauth2.Token, error) {})
		x.sleep(2 * time.Minute)
		x.delegate("second", time.Hour)
		x.cache.restore(old) // by someone who can write to it
		x.all("second")
		if got := x.pods[0].Stats().CacheMisses + x.pods[1].Stats().CacheMisses; got < 2 {
			t.Errorf("%d misses", got)
		}
	})
}

func TestReplayedEntryIsAMiss(t *testing.T) {
	fleetBubble(t, func(t *testing.T, x *fleet) {
		x.delegate("first", time.Hour)
		x.add(2)
		x.all("first")
		old := x.cache.all()
		x.sleep(55 * time.Minute)
		x.delegate("second", 4*time.Minute)
		x.run(3 * time.Minute) // within which the renewal comes
		x.all("second")
		x.sleep(70 * time.Second) // by now the second has expired, and the first not yet
		x.cache.restore(old)
		asked := x.srv.Fetches()
		for _, pod := range x.pods {
			if token, err := pod.Token(); err == nil {
				t.Errorf("got %s, want the server's word", x.name(token))
			}
		}
		if x.srv.Fetches() == asked {
			t.Error("the server was not asked")
		}
		if n := x.logged("cache entry ignored"); n == 0 {
			t.Error("nothing was logged")
		}
	})
}

// What goes wrong with a cache costs a stated time, and no call fails.
func TestBadCacheCostsAStatedTime(t *testing.T) {
	down := errors.New("connection refused: a-secret-of-the-store")
	hang := func(ops ...string) func(string) error {
		return func(op string) error {
			if slices.Contains(ops, op) {
				time.Sleep(20 * time.Second)
			}
			return nil
		}
	}
	fail := func(ops ...string) func(string) error {
		return func(op string) error {
			if slices.Contains(ops, op) {
				return down
			}
			return nil
		}
	}
	for _, c := range []struct {
		name   string
		fault  func(op string) error
		took   time.Duration // at most
		logged int           // "cache failed", in one fetch of one process
	}{
		{"down", fail("get", "put", "delete", "lease", "release"), 0, 2},
		{"hangs", hang("get", "put", "delete", "lease", "release"), time.Second, 1},
		{"slow", func(string) error { time.Sleep(990 * time.Millisecond); return nil }, 3 * time.Second, 0},
		{"full", fail("put", "lease"), 0, 2},
		{"full, but for leases", fail("put"), 0, 1},
		{"cannot lease", hang("lease"), time.Second, 1},
		{"cannot release", fail("release"), 0, 1},
		{"cannot store in time", hang("put"), 0, 1},
		{"lies: the lease is always held", func(op string) error {
			if op == "lease" {
				return authsec.ErrLeaseHeld
			}
			return nil
		}, 16 * time.Second, 0},
		{"forgets", func(op string) error {
			if op == "get" {
				return authsec.ErrCacheMiss
			}
			return nil
		}, 0, 0},
		{"panics", func(op string) error { panic(op) }, 0, 2},
	} {
		t.Run(c.name, func(t *testing.T) {
			fleetBubble(t, func(t *testing.T, x *fleet) {
				x.delegate("first", time.Hour)
				x.cache.fault = c.fault
				x.pod()
				began := time.Now()
				x.all("first")
				if took := time.Since(began); took > c.took {
					t.Errorf("it took %v, want %v at most", took, c.took)
				}
				x.wantRequests(1)
				x.sleep(30 * time.Second)
				if n := x.logged("cache failed"); n != c.logged {
					t.Errorf("%d failures were logged, want %d", n, c.logged)
				}
				if s := x.src.Stats(); (s.CacheFailures > 0) != (c.logged > 0) || (s.LastCacheError == nil) != (c.logged == 0) {
					t.Errorf("got stats %+v", s)
				}
				x.sleep(5 * time.Minute)
				x.add(9)
				x.all("first")
				x.run(2 * time.Hour) // past the expiry
				x.delegate("second", time.Hour)
				x.run(2 * time.Minute)
				x.all("second")
			})
		})
	}
}

func TestCacheThatWorksAgainIsUsedAgain(t *testing.T) {
	fleetBubble(t, func(t *testing.T, x *fleet) {
		var down atomic.Bool
		x.cache.fault = func(string) error {
			if down.Load() {
				return errors.New("down")
			}
			return nil
		}
		down.Store(true)
		x.delegate("first", 10*time.Minute)
		x.add(2)
		x.all("first")
		x.wantRequests(2)
		synctest.Wait() // what is stored is stored later
		down.Store(false)
		x.run(9 * time.Minute)
		x.delegate("second", 10*time.Minute)
		asked := x.srv.Fetches()
		x.run(time.Minute)
		x.all("second")
		x.wantRequests(asked + 1)
		// Whether a put works shows to the one that puts.
		count := map[string]int{}
		for _, e := range x.log.all() {
			if op, ok := e.attrs["op"]; ok {
				count[fmt.Sprint(e.msg, ": ", op)]++
			}
		}
		if count["cache failed: get"] != 2 || count["cache works again: get"] != 2 || count["cache failed: put"] != 2 || count["cache works again: put"] == 0 {
			t.Errorf("logged %v, want both failures of both processes, and that they are over", count)
		}
	})
}

// What can't be replaced in a full store is removed: an older answer must not
// outlive a newer one.
func TestEntryThatCannotBeReplacedIsRemoved(t *testing.T) {
	fleetBubble(t, func(t *testing.T, x *fleet) {
		x.delegate("first", time.Hour)
		x.add(2)
		x.all("first")
		x.cache.fault = func(op string) error {
			if op == "put" {
				return errors.New("full")
			}
			return nil
		}
		x.delegate("second", time.Hour)
		if _, err := x.src.Renew(t.Context(), nil); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if n := len(x.cache.all()); n != 0 {
			t.Errorf("%d entries are left, want none", n)
		}
		x.pods = nil
		x.pod()
		x.all("second")
	})
}

func TestFlushWaitsForTheStoring(t *testing.T) {
	fleetBubble(t, func(t *testing.T, x *fleet) {
		x.cache.fault = func(op string) error {
			if op == "put" {
				time.Sleep(500 * time.Millisecond)
			}
			return nil
		}
		x.delegate("first", time.Hour)
		x.pod()
		if err := x.src.Flush(t.Context()); err != nil {
			t.Errorf("with nothing to store: got %v", err)
		}
		began := time.Now()
		x.src.Token()
		if took := time.Since(began); took != 0 || len(x.cache.all()) != 0 {
			t.Errorf("the token took %v, want it before it is stored", took)
		}
	})
	for _, patience := range []time.Duration{time.Hour, 100 * time.Millisecond} {
		fleetBubble(t, func(t *testing.T, x *fleet) {
			x.cache.fault = func(op string) error {
				if op == "put" {
					time.Sleep(500 * time.Millisecond)
				}
				return nil
			}
			x.delegate("first", time.Hour)
			x.pod()
			if _, err := x.src.Token(); err != nil {
				t.Fatal(err)
			}
			ctx, cancel := context.WithTimeout(t.Context(), patience)
			defer cancel()
			began := time.Now()
			err := x.src.Flush(ctx)
			if took := time.Since(began); took != min(patience, 500*time.Millisecond) {
				t.Errorf("it took %v", took)
			}
			if stored := len(x.cache.all()) == 1; stored != (err == nil) || errors.Is(err, context.DeadlineExceeded) == stored {
				t.Errorf("got %v, stored %t", err, stored)
			}
		})
	}
}

// A process that died with the lease in hand costs the others its rest.
func TestLeaseOfADeadProcessEnds(t *testing.T) {
	fleetBubble(t, func(t *testing.T, x *fleet) {
		x.delegate("first", time.Hour)
		dead := x.pod(func(c *authsec.Config) {
			c.HTTPClient = &http.Client{Transport: sourceRoundTripper(func(req *http.Request) (*http.Response, error) {
				<-req.Context().Done()
				return nil, req.Context().Err()
			})}
		})
		x.pods = nil
		go dead.Token()
		synctest.Wait()
		x.add(50)
		began := time.Now()
		x.all("first")
		if took := time.Since(began); took < 4*time.Second || took > 6*time.Second {
			t.Errorf("the others have the token after %v, want about 5s", took)
		}
		x.wantRequests(1)
	})
}

func TestRateLimitIsEverybodys(t *testing.T) {
	fleetBubble(t, func(t *testing.T, x *fleet) {
		x.delegate("first", time.Hour)
		x.srv.FailNext(1, limited)
		x.add(200, patient)
		began := time.Now()
		var sum atomic.Int64
		x.each(func(pod *authsec.Source) {
			if token, err := pod.Token(); x.name(token) != "first" {
				t.Errorf("got %s, %v, want the first", x.name(token), err)
			}
			sum.Add(int64(time.Since(began)))
		})
		if took := time.Since(began); took < 100*time.Second || took > 103*time.Second {
			t.Errorf("all have the token after %v, want 100s", took)
		}
		x.wantWithin("the mean wait", time.Duration(sum.Load()/200), 100200*time.Millisecond, 101*time.Second) // not all at once
		x.wantRequests(2)
		for _, pod := range x.pods {
			if failures := pod.Stats().Failures; failures != 1 {
				t.Errorf("%d failures, want the server's one", failures)
			}
		}
	})
}

// In an outage the fleet asks as often as one process does, and those that begin
// then get the token that the others have.
func TestFleetInAnOutage(t *testing.T) {
	fleetBubble(t, func(t *testing.T, x *fleet) {
		once := func(c *authsec.Config) { c.Retry.MaxAttempts = 1 }
		x.delegate("first", time.Hour)
		x.add(50, once)
		x.run(54 * time.Minute)
		x.srv.Fail(sourceUnavailable)
		asked := x.srv.Fetches()
		x.run(5 * time.Minute)
		x.add(50, once)
		x.all("first")
		if n := x.srv.Fetches() - asked; n < 5 || n > 20 {
			t.Errorf("%d requests with a token in hand, want about 10", n)
		}
		x.run(time.Minute)
		asked = x.srv.Fetches()
		x.run(5 * time.Minute)
		if n := x.srv.Fetches() - asked; n < 3 || n > 20 {
			t.Errorf("%d requests in 5 minutes without a token, want about 6", n)
		}
		x.delegate("second", time.Hour)
		x.srv.Fail(nil)
		asked = x.srv.Fetches()
		x.run(2 * time.Minute)
		x.all("second")
		x.wantRequests(asked + 1)
	})
}

// A failure that is stored late leaves the token that another process was given.
func TestLateFailureLeavesTheNewerToken(t *testing.T) {
	for _, order := range []string{"told before", "told after"} {
		fleetBubble(t, func(t *testing.T, x *fleet) {
			x.delegate("first", time.Hour)
			x.srv.FailNext(1, authsectest.Answer(429, `{"error":"Rate limit exceeded"}`, "Retry-After", "100"))
			gate := make(chan struct{})
			late := x.pod(func(c *authsec.Config) {
				c.Cache = &x.cache.plainCache
				c.HTTPClient = &http.Client{Transport: sourceRoundTripper(func(req *http.Request) (*http.Response, error) {
					if order == "told after" {
						<-gate
					}
					resp, err := x.srv.Client().Transport.RoundTrip(req)
					if order == "told before" {
						<-gate
					}
					return resp, err
				})}
			})
			go late.Token()
			synctest.Wait()
			if order == "told after" {
				x.srv.Fail(nil)
			}
			x.pod(func(c *authsec.Config) { c.Cache = &x.cache.plainCache })
			x.want("first")
			if order == "told after" {
				x.srv.FailNext(1, authsectest.Answer(429, `{"error":"Rate limit exceeded"}`, "Retry-After", "100"))
			}
			x.sleep(time.Second)
			close(gate)
			x.sleep(time.Second)
			asked := x.srv.Fetches()
			x.pod()
			x.want("first")
			x.wantRequests(asked)
		})
	}
}

// What may be one process's own trouble is not taken for that of all.
func TestOwnFailuresAreNotShared(t *testing.T) {
	for _, c := range []struct {
		name string
		edit func(c *authsec.Config)
		want error
	}{
		{"its credential is refused", func(c *authsec.Config) {
			c.Credential = oauth2.StaticTokenSource(&oauth2.Token{AccessToken: "bad"})
		}, authsec.ErrUnauthorized},
		{"it does not reach the server", func(c *authsec.Config) {
			c.HTTPClient = &http.Client{Transport: sourceRoundTripper(func(*http.Request) (*http.Response, error) { return nil, errors.New("no route") })}
		}, nil},
		{"it reaches another", func(c *authsec.Config) {
			c.HTTPClient = &http.Client{Transport: authsectest.RoundTripper(authsectest.Answer(404, "<html>"))}
		}, authsec.ErrInvalidResponse},
		{"its key does not verify", func(c *authsec.Config) {
			c.Keyfunc = func(*jwt.Token) (any, error) { return nil, errors.New("no key") }
		}, authsec.ErrInvalidResponse},
	} {
		t.Run(c.name, func(t *testing.T) {
			fleetBubble(t, func(t *testing.T, x *fleet) {
				x.srv.RequireCredential("good")
				good := func(c *authsec.Config) {
					c.Credential = oauth2.StaticTokenSource(&oauth2.Token{AccessToken: "good"})
				}
				x.delegate("first", time.Hour)
				x.pod(good, c.edit)
				x.wantError(c.want)
				x.pods = nil
				x.pod(good)
				x.want("first")
			})
		})
	}
}

// An entry passes the checks that an answer passes, or is a miss.
func TestEntriesAreCheckedAsAnswersAre(t *testing.T) {
	otherServer := authsectest.NewInMemoryServer()
	for _, c := range []struct {
		name   string
		edit   func(c *authsec.Config) // of the process that reads
		lie    string                  // what is stored, sealed as it should be; "": the truth
		reject bool
	}{
		{"good", nil, "", false},
		{"signed by another", func(c *authsec.Config) { c.Keyfunc = otherServer.Keyfunc }, "", true},
		{"not for the audience", func(c *authsec.Config) { c.Audience = "another" }, "", true},
		{"no header can hold it", nil, `{"token":"a\r\nb","expires_at":"2100-01-01T00:00:00Z"}`, true},
		{"of another agent", nil, `{"token":"a","client_id":"11111111-2222-3333-4444-555555555555","expires_at":"2100-01-01T00:00:00Z"}`, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			fleetBubble(t, func(t *testing.T, x *fleet) {
				x.delegate("first", time.Hour)
				x.pod()
				x.want("first")
				if c.lie != "" {
					x.storeAnswer(time.Now(), c.lie)
				}
				asked := x.srv.Fetches()
				reader := x.pod(func(cfg *authsec.Config) {
					if c.edit != nil {
						c.edit(cfg)
					}
				})
				reader.Token()
				if got := reader.Stats().CacheRejects > 0; got != c.reject || (x.srv.Fetches() > asked) != c.reject {
					t.Errorf("rejected: got %t, %d requests, want %t", got, x.srv.Fetches()-asked, c.reject)
				}
			})
		})
	}
}

func TestAnotherAgentsEntryIsAMiss(t *testing.T) {
	fleetBubble(t, func(t *testing.T, x *fleet) {
		const other = "11111111-2222-4333-8444-555555555555"
		x.delegate("first", time.Hour)
		x.srv.Delegate(other, authsectest.Delegation{TTL: time.Hour})
		x.pod()
		x.want("first")
		x.pod(func(c *authsec.Config) { c.ClientID = other })
		if _, err := x.src.Token(); err != nil {
			t.Fatal(err)
		}
		x.src.Flush(t.Context())
		entries := x.cache.all()
		if len(entries) != 2 {
			t.Fatalf("%d entries, want 2", len(entries))
		}
		keys := slices.Sorted(maps.Keys(entries))
		entries[keys[0]], entries[keys[1]] = entries[keys[1]], entries[keys[0]]
		x.cache.restore(entries)
		x.pod()
		x.want("first")
		if s := x.src.Stats(); s.CacheRejects != 1 || s.CacheHits != 0 {
			t.Errorf("got stats %+v, want one reject", s)
		}
	})
}

func TestKeysRotateWithoutAMiss(t *testing.T) {
	fleetBubble(t, func(t *testing.T, x *fleet) {
		x.delegate("first", time.Hour)
		older, newer := cacheKey(), cacheKey()
		keys := func(keys ...[]byte) func(*authsec.Config) {
			return func(c *authsec.Config) { c.CacheKeys = keys }
		}
		x.pod(keys(older))
		x.want("first")
		for _, step := range [][][]byte{{older, newer}, {older}, {newer, older}, {older, newer}, {newer}} {
			// As a new process of each step writes, those of the step before read.
			x.pod(keys(step...))
			x.want("first")
			if len(step) == 2 && &step[0][0] == &newer[0] {
				if _, err := x.src.Renew(t.Context(), nil); err != nil {
					t.Fatal(err)
				}
			}
		}
		for _, pod := range x.pods {
			if n := pod.Stats().CacheRejects; n > 0 && pod != x.pods[2] {
				t.Errorf("%d entries were rejected, want none", n)
			}
		}
	})
}

func TestStoredTokensAreSealed(t *testing.T) {
	for _, unsealed := range []bool{false, true} {
		fleetBubble(t, func(t *testing.T, x *fleet) {
			x.delegate("first", time.Hour)
			x.pod(func(c *authsec.Config) {
				if unsealed {
					c.CacheKeys, c.StoreTokensUnsealed = nil, true
				}
			})
			token := x.want("first").AccessToken
			for key, e := range x.cache.all() {
				if strings.Contains(key, authsectest.ClientID[:8]) {
					t.Error("the entry's key has the client ID in it")
				}
				shown := bytes.Contains(e.data, []byte(token)) || bytes.Contains(e.data, []byte(authsectest.ClientID)) ||
					bytes.Contains(e.data, []byte(base64.StdEncoding.EncodeToString([]byte(token))[:40]))
				if shown != unsealed {
					t.Errorf("unsealed %t: a secret can be read in the cache: %t", unsealed, shown)
				}
			}
			x.pod() // which has a key
			x.want("first")
			if hits := x.src.Stats().CacheHits; (hits == 1) == unsealed {
				t.Errorf("unsealed %t: a process with a key took the entry: %t", unsealed, hits == 1)
			}
		})
	}
}

// stored returns the agent's part of the cache, to be read and written past a Source.
func (x *fleet) stored() *cache.Cache {
	c, err := cache.New(cache.Options{
		Store: x.cache, Keys: [][]byte{x.key}, Server: x.srv.URL + authsectest.EndpointPath, Agent: authsectest.ClientID,
		Timeout: time.Second, Lease: time.Second, Report: func(string, error) {},
	})
	if err != nil {
		x.Fatal(err)
	}
	return c
}

// storeAnswer puts an answer into the cache, sealed as it should be.
func (x *fleet) storeAnswer(said time.Time, body string) {
	x.stored().Write(x.Context(), cache.Entry{Answer: []byte(body), Answered: said}, time.Hour)
}

// The local clock of a process may be wrong: what it takes from the cache it
// judges by the server's clock, as far as it knows that.
func TestClocksApart(t *testing.T) {
	for _, c := range []struct {
		name  string
		ahead time.Duration // of the local clock is the server's
		age   time.Duration // of the entry
		want  time.Duration // for which the token is taken to be good
	}{
		{"together", 0, 30 * time.Minute, 30 * time.Minute},
		{"the local one is ahead", -10 * time.Minute, 30 * time.Minute, 20 * time.Minute},
		{"the local one is behind, as a new entry shows", 10 * time.Minute, 0, time.Hour},
		{"the local one is behind, which an old entry hides", 10 * time.Minute, 30 * time.Minute, 40 * time.Minute},
		{"the local one is far behind, as even an old entry shows", 24 * time.Hour, 30 * time.Minute, time.Hour},
	} {
		t.Run(c.name, func(t *testing.T) {
			fleetBubble(t, func(t *testing.T, x *fleet) {
				said := time.Now().Add(c.ahead - c.age).UTC()
				x.storeAnswer(said, fmt.Sprintf(`{"token":"opaque","expires_at":%q}`, said.Add(time.Hour).Format(time.RFC3339Nano)))
				x.pod()
				token, err := x.src.Token()
				if err != nil {
					t.Fatal(err)
				}
				if got := time.Until(token.Expiry); got != c.want {
					t.Errorf("good for %v, want %v", got, c.want)
				}
				x.wantRequests(0)
			})
		})
	}
}

// What the server's own answer told of the clocks holds for entries, too.
func TestClocksApartAsTheServerTold(t *testing.T) {
	fleetBubble(t, func(t *testing.T, x *fleet) {
		const ahead = 10 * time.Minute
		x.delegate("first", ahead+time.Minute)
		x.pod(func(c *authsec.Config) {
			c.HTTPClient = &http.Client{Transport: sourceRoundTripper(func(req *http.Request) (*http.Response, error) {
				resp, err := x.srv.Client().Transport.RoundTrip(req)
				if err == nil {
					resp.Header.Set("Date", time.Now().Add(ahead).UTC().Format(http.TimeFormat))
				}
				return resp, err
			})}
		})
		x.want("first")
		x.sleep(2 * time.Minute)
		said := time.Now().Add(ahead - 30*time.Minute).UTC()
		x.storeAnswer(said, fmt.Sprintf(`{"token":"opaque","expires_at":%q}`, said.Add(time.Hour).Format(time.RFC3339Nano)))
		token, err := x.src.Token()
		if err != nil {
			t.Fatal(err)
		}
		x.wantWithin("good for", time.Until(token.Expiry), 30*time.Minute-2*time.Second, 30*time.Minute)
	})
}

// Of a time to live, what has passed since the answer is gone.
func TestTimeToLiveDoesNotBeginAnew(t *testing.T) {
	fleetBubble(t, func(t *testing.T, x *fleet) {
		x.storeAnswer(time.Now().Add(-30*time.Minute), `{"token":"opaque","ttl_seconds":3600}`)
		x.pod()
		token, err := x.src.Token()
		if err != nil {
			t.Fatal(err)
		}
		if got := time.Until(token.Expiry); got != 30*time.Minute {
			t.Errorf("good for %v, want 30m", got)
		}
	})
}

func TestNewSourceNamesFaultsOfTheCache(t *testing.T) {
	for _, c := range []struct {
		name string
		edit func(*authsec.Config)
		want string // "": no fault
	}{
		{"no key", func(c *authsec.Config) { c.CacheKeys = nil }, "Config.CacheKeys is empty"},
		{"a short key", func(c *authsec.Config) { c.CacheKeys = append(c.CacheKeys, make([]byte, 16)) }, "Config.CacheKeys: key 1 has 16 bytes, not 32"},
		{"keys alone", func(c *authsec.Config) { c.Cache = nil }, "Config.CacheKeys are set, but Cache is not"},
		{"unsealed alone", func(c *authsec.Config) { c.Cache, c.CacheKeys, c.StoreTokensUnsealed = nil, nil, true }, "Config.StoreTokensUnsealed is set, but Cache is not"},
		{"both", func(c *authsec.Config) { c.StoreTokensUnsealed = true }, "Config.CacheKeys and StoreTokensUnsealed are both set"},
		{"a negative time-out", func(c *authsec.Config) { c.CacheTimeout = -1 }, "Config.CacheTimeout: -1ns is negative"},
		{"sealed", func(*authsec.Config) {}, ""},
		{"unsealed", func(c *authsec.Config) { c.CacheKeys, c.StoreTokensUnsealed = nil, true }, ""},
	} {
		cfg := goodConfig()
		cfg.Cache, cfg.CacheKeys = new(leaseCache), [][]byte{cacheKey()}
		c.edit(&cfg)
		_, err := authsec.NewSource(cfg)
		if (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: got %v, want %q", c.name, err, c.want)
		}
	}
}

func TestCacheKeysAreNotPrinted(t *testing.T) {
	key := []byte("0123456789abcdefghijklmnopqrstuv")
	cfg := goodConfig()
	cfg.Cache, cfg.CacheKeys = new(leaseCache), [][]byte{key}
	src, err := authsec.NewSource(cfg)
	if err != nil {
		t.Fatal(err)
	}
	secrets := map[string]string{"the key": string(key), "the key in numbers": "48 49 50 51 52", "the key in hex": "30313233"}
	checkFormats(t, "Config", cfg, secrets)
	checkFormats(t, "Source", src, secrets)
	var log bytes.Buffer
	slog.New(slog.NewTextHandler(&log, nil)).Info("x", "cfg", cfg, "src", src)
	checkSecrets(t, "log", log.String(), secrets)
}
