// Copyright 2026 The authsec Authors
// SPDX-License-Identifier: Apache-2.0

package faults

import (
	"context"
	"flag"
	"fmt"
	"maps"
	mathrand "math/rand/v2"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/authsec-go/authsec"
	"github.com/authsec-go/authsec/authsectest"
)

var (
	soakTime = flag.Duration("soak", 5*time.Second, "how long TestSoak runs")
	soakSeed = flag.Uint64("seed", 0, "the seed of TestSoak's random choices; 0: a new one")
)

const (
	soakLife    = 6 * time.Second // of a delegation; the admin delegates again after each third
	soakWorkers = 2               // for each Transport
	// soakFetchTimeout is longer than a fetch without a fault takes on a busy machine.
	soakFetchTimeout = 8 * time.Second
	calmEvery        = 10 * time.Second
	soakHeapGrowth   = 8 * MiB // of what is in use after a collection
	// authsectest.Server keeps each delegation's token, of 1.3 KiB.
	soakDelegation = 4 * KiB
	// A Source's fetches: renewals and cached failures are at least half a second
	// apart, and rejections cause less than one fetch a second.
	maxFetchRate = 4.0 // a second
)

// TestSoak sends a mixed load through random faults, over both wires at the same time.
func TestSoak(t *testing.T) {
	seed := *soakSeed
	if seed == 0 {
		seed = mathrand.Uint64()
	}
	t.Logf("for the same random choices: go test -race -run TestSoak -v -soak=%v -seed=%d", *soakTime, seed)
	before := len(goroutines())
	t.Run("servers", func(t *testing.T) {
		var soaks []*soak
		for i, w := range wires {
			soaks = append(soaks, newSoak(t, w, seed, uint64(i)))
		}
		run(t, soaks)
	})
	if left := waitForGoroutines(before); left != "" {
		t.Errorf("seed %d: after the soak, %s", seed, left)
	}
}

// soak is one wire's servers, with relays in front of them.
type soak struct {
	*stack
	seed, stream uint64
	began        time.Time
	toAPI        *relay
	toEndpoint   *relay
	delegations  atomic.Int64

	// faulty is read-locked during a fault, and loaded during a request. Code that wants
	// neither write-locks it.
	faulty, loaded sync.RWMutex

	mu       sync.Mutex // guards what follows
	inForce  map[string]string
	injected map[string]int
	outcomes map[string]int
	retries  int
	revoked  map[string]bool // agents
	streaks  map[*authsec.Source]uint64
}

// agents are a soak's agents. Each has a Source, and two Transports over it.
var agents = []string{authsectest.ClientID, otherID}

func newSoak(t *testing.T, w wire, seed, stream uint64) *soak {
	t.Helper()
	k := &soak{
		stack: newStack(t, w), seed: seed, stream: stream, began: time.Now(),
		inForce: map[string]string{}, injected: map[string]int{}, outcomes: map[string]int{},
		revoked: map[string]bool{}, streaks: map[*authsec.Source]uint64{},
	}
	k.ledger.inForce = k.state
	open := func(target *host) *relay {
		r, err := newRelay(target.addr)
		if err != nil {
			t.Fatalf("starting a relay: %v", err)
		}
		t.Cleanup(r.close)
		return r
	}
	k.toAPI, k.toEndpoint = open(k.api), open(k.endpoint)
	for _, agent := range agents {
		k.delegate(agent)
		first := k.newCaller(func(cfg *callerConfig) {
			cfg.ClientID, cfg.api, cfg.endpoint = agent, k.toAPI.addr(), k.toEndpoint.addr()
			cfg.RenewBefore = soakLife / 2
			cfg.FetchTimeout = soakFetchTimeout
		})
		k.newCaller(func(cfg *callerConfig) {
			cfg.source, cfg.api, cfg.retry = first, k.toAPI.addr(), authsec.RetryPolicy{}
		})
		first.mustAnswer(call{})
	}
	return k
}

// state is what is printed with a violation.
func (k *soak) state() string {
	k.mu.Lock()
	defer k.mu.Unlock()
	return fmt.Sprintf("seed %d, %s, %v after the start, in force: %v", k.seed, k.wire.name, time.Since(k.began).Round(time.Millisecond), k.inForce)
}

func (k *soak) delegate(agent string) {
	k.auth.Delegate(agent, authsectest.Delegation{TTL: soakLife})
	k.delegations.Add(1)
}

func (k *soak) random(what uint64) *mathrand.Rand {
	return mathrand.New(mathrand.NewPCG(k.seed, k.stream<<32|what))
}

func run(t *testing.T, soaks []*soak) {
	heapStart := heap()
	ctx, cancel := context.WithTimeout(context.Background(), *soakTime)
	defer cancel()
	stopped := make(chan struct{}) // ends watch and administer, once everything has recovered
	var load, background sync.WaitGroup
	peak, heapMiddle := 0, uint64(0)
	for _, k := range soaks {
		background.Go(func() { k.administer(stopped) })
		background.Go(func() { k.watch(stopped) })
		load.Go(func() { k.inject(ctx, k.random(1), "API", k.apiFault) })
		load.Go(func() { k.inject(ctx, k.random(2), "endpoint", k.endpointFault) })
		for i, c := range k.callers {
			for j := range soakWorkers {
				load.Go(func() { k.work(ctx, c, k.random(uint64(100+10*i+j))) })
			}
		}
	}
	background.Go(func() {
		for {
			peak = max(peak, runtime.NumGoroutine())
			if slices.ContainsFunc(soaks, func(k *soak) bool { return len(k.ledger.faults()) > 0 }) {
				cancel()
			}
			if !wait(stopped, 50*time.Millisecond) {
				return
			}
		}
	})
	load.Go(func() {
		if !wait(ctx.Done(), *soakTime/2) {
			return
		}
		for _, k := range soaks {
			k.faulty.Lock()
			k.loaded.Lock()
		}
		heapMiddle = heap()
		for _, k := range soaks {
			k.loaded.Unlock()
			k.faulty.Unlock()
		}
	})
	for round := 1; wait(ctx.Done(), calmEvery); round++ {
		for _, k := range soaks {
			k.calm(round%2 == 0)
		}
	}
	load.Wait()
	for _, k := range soaks {
		k.calm(false)
		k.calm(true)
	}
	close(stopped)
	background.Wait()
	for _, k := range soaks {
		for name, h := range map[string]*host{"API": k.api, "endpoint": k.endpoint, "stranger": k.stranger} {
			if !k.idle(h) {
				t.Errorf("seed %d: the %s has %d open connections after the soak, want 0", k.seed, name, h.open.Load())
			}
		}
	}
	heapEnd := heap()
	limit := heapStart + soakHeapGrowth
	for _, k := range soaks {
		limit += uint64(k.delegations.Load()) * soakDelegation
	}
	if heapEnd > limit {
		t.Errorf("seed %d: the heap grew from %d to %d bytes, want at most %d", soaks[0].seed, heapStart, heapEnd, limit)
	}
	for _, k := range soaks {
		k.report()
	}
	t.Logf("goroutines at the peak: %d; heap in use at the start, in the middle, at the end: %.1f, %.1f, %.1f MiB",
		peak, float64(heapStart)/MiB, float64(heapMiddle)/MiB, float64(heapEnd)/MiB)
}

// administer delegates to the agents again and again, unless they are revoked.
func (k *soak) administer(stopped <-chan struct{}) {
	for wait(stopped, soakLife/3) {
		for _, agent := range agents {
			k.mu.Lock()
			if !k.revoked[agent] {
				k.delegate(agent)
			}
			k.mu.Unlock()
		}
	}
}

// watch records for each Source how many fetches in a row can have failed. This is an
// upper bound, because it looks only every 20 ms.
func (k *soak) watch(stopped <-chan struct{}) {
	type seen struct {
		success  time.Time
		failures uint64 // just before it
		latest   uint64
	}
	seens := map[*authsec.Source]*seen{}
	for _, c := range k.callers {
		seens[c.src] = new(seen)
	}
	for wait(stopped, 20*time.Millisecond) {
		for src, s := range seens {
			stats := src.Stats()
			if !stats.LastSuccess.Equal(s.success) {
				s.success, s.failures = stats.LastSuccess, s.latest
			}
			s.latest = stats.Failures
			if most := time.Now().Add(soakLife + time.Second); stats.Expiry.After(most) {
				k.ledger.violate(nil, "a Source has a token that expires at %v, want a delegated one: %v at most", stats.Expiry, most)
			}
			k.mu.Lock()
			k.streaks[src] = s.latest - s.failures
			k.mu.Unlock()
		}
	}
}

// calm waits until there is no fault, and checks that every caller recovers in time.
// With refresh, it calls Refresh first, and they must recover at once.
func (k *soak) calm(refresh bool) {
	k.faulty.Lock()
	defer k.faulty.Unlock()
	var all sync.WaitGroup
	asked := map[*authsec.Source]bool{}
	for _, c := range k.callers {
		if refresh && !asked[c.src] {
			asked[c.src] = true
			ctx, cancel := context.WithTimeout(context.Background(), callTimeout)
			if _, err := c.src.Refresh(ctx); err != nil {
				k.ledger.violate(nil, "Refresh after all faults: got error %v, want a token", err)
			}
			cancel()
		}
		k.mu.Lock()
		// watch may have missed one failure. A revoked token whose rejections have
		// caused many fetches already may be served until it expires.
		limit := max(maxHold(k.streaks[c.src]+1), soakLife)
		k.mu.Unlock()
		if refresh {
			limit = 0
		}
		limit += c.fetchTimeout + schedulingAllowance
		all.Go(func() {
			began := time.Now()
			for {
				o := c.do(call{want: KiB})
				if took := time.Since(began); o.ok() {
					return
				} else if took > limit || refresh {
					k.ledger.violate(nil, "%v after all faults (Refresh called: %t): got status %d, error %v; want 200 within %v", took, refresh, o.status, o.err, limit)
					return
				}
				time.Sleep(10 * time.Millisecond)
			}
		})
	}
	all.Wait()
}

// report logs a summary, and checks the rate of fetches.
func (k *soak) report() {
	var fetches, failures uint64
	asked := map[*authsec.Source]bool{}
	for _, c := range k.callers {
		if stats := c.src.Stats(); !asked[c.src] {
			asked[c.src] = true
			fetches, failures = fetches+stats.Fetches, failures+stats.Failures
			if limit := 10 + maxFetchRate*time.Since(k.began).Seconds(); float64(stats.Fetches) > limit {
				k.Errorf("seed %d: a Source fetched %d times in %v, want at most %.0f", k.seed, stats.Fetches, time.Since(k.began), limit)
			}
		}
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	total := 0
	for _, n := range k.outcomes {
		total += n
	}
	if k.outcomes["answered"] == 0 {
		k.Errorf("seed %d: none of %d requests succeeded", k.seed, total)
	}
	k.Logf("%s: %d requests: %s", k.wire.name, total, counts(k.outcomes))
	k.Logf("%s: faults: %s", k.wire.name, counts(k.injected))
	k.Logf("%s: %d fetches (%d failed), %d requests at the endpoint, %d arrivals at the API (%d answered 401), %d more attempts than requests; connections opened: %d to the API, %d to the endpoint, %d to the stranger",
		k.wire.name, fetches, failures, k.auth.Fetches(), k.ledger.arrivals.Load(), k.ledger.rejections.Load(), k.retries,
		k.api.opened.Load(), k.endpoint.opened.Load(), k.stranger.opened.Load())
}

func counts(m map[string]int) string {
	var list []string
	for _, name := range slices.Sorted(maps.Keys(m)) {
		list = append(list, fmt.Sprintf("%s %d", name, m[name]))
	}
	return strings.Join(list, ", ")
}
