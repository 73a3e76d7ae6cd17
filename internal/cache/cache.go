// Copyright 2026 The authsec Authors
// SPDX-License-Identifier: Apache-2.0

// Package cache is what an agent's processes share: the server's last word on
// their delegation, sealed, in a store that may be slow, down, full or lying.
package cache

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"
)

const (
	maxEntry = 4 << 20 // bytes of an entry; an answer is shorter

	minPoll = 100 * time.Millisecond // between two looks for another process's result, at first
	maxPoll = 500 * time.Millisecond

	minRest = time.Second // for which a store that did not answer is left alone, at first
	maxRest = time.Minute

	// maxStuck is how many uses may be left behind that outlast their time-out.
	// While there are so many the store is left alone.
	maxStuck = 4
)

// ErrMiss and ErrLeaseHeld are the root package's ErrCacheMiss and ErrLeaseHeld.
var (
	ErrMiss      = errors.New("authsec: cache miss")
	ErrLeaseHeld = errors.New("authsec: lease held by another")
)

// ErrTimeout is a use that outlasted its time-out.
var ErrTimeout = errors.New("no answer within")

// errResting: the store did not answer a while ago, and is left alone.
var errResting = errors.New("the cache is left alone for a while")

// Store is the root package's Cache.
type Store interface {
	Get(ctx context.Context, key string) ([]byte, error)
	Put(ctx context.Context, key string, data []byte, ttl time.Duration) error
	Delete(ctx context.Context, key string) error
}

// Leaser is the root package's Leaser.
type Leaser interface {
	Lease(ctx context.Context, key string, ttl time.Duration) (release func(context.Context) error, err error)
}

// Options make a Cache.
type Options struct {
	Store   Store
	Keys    [][]byte // none: entries are not sealed
	Server  string   // and
	Agent   string   // what entries are bound to
	Timeout time.Duration
	Lease   time.Duration // how long a lease lasts
	// Report hears of each use that failed, with what was done ("get", "put",
	// "lease", "release"), of entries that don't open ("open"), and with
	// nil of each use that did not fail. It must not block.
	Report func(op string, err error)
}

// Cache is one agent's part of a store. It is safe for concurrent use. No call
// waits for the store longer than a time-out, whatever the store does.
type Cache struct {
	Options
	leaser Leaser // nil: the store has no leases
	sealer *sealer
	key    string

	mu    sync.Mutex
	rest  time.Time      // until when the store is left alone
	fails map[string]int // time-outs in a row, by use
	stuck int            // uses that outlast their time-out
}

// New makes a Cache. Its error names a key that can't be one.
func New(o Options) (*Cache, error) {
	bound, key := binding(o.Server, o.Agent)
	s, err := newSealer(o.Keys, bound)
	if err != nil {
		return nil, err
	}
	o.Keys = nil
	leaser, _ := o.Store.(Leaser)
	return &Cache{Options: o, leaser: leaser, sealer: s, key: key, fails: map[string]int{}}, nil
}

// Await hands the entry to take, as it is and whenever it is another, until that
// accepts it. It returns false if this process is to ask the server: it has the
// lease, nobody can have it, or others have had it for patience. In any case
// release ends a lease that was taken; it is to be called once.
func (c *Cache) Await(ctx context.Context, patience time.Duration, take func(Entry) bool) (taken bool, release func()) {
	release = func() {}
	look := c.looker(take)
	began := time.Now()
	for wait := minPoll; ; wait = min(wait*3/2, maxPoll) {
		taken, err := look(ctx)
		if taken || err != nil || c.leaser == nil {
			return taken, release
		}
		free, err := c.lease(ctx)
		if err == nil { // what was missing may have come just before
			taken, _ = look(ctx)
			return taken, free
		}
		left := patience - time.Since(began)
		if !errors.Is(err, ErrLeaseHeld) || left <= 0 || !sleep(ctx, min(wait/2+rand.N(wait), left)) {
			return false, release
		}
	}
}

// looker returns a func that reads the entry, and hands it to take unless it has
// done so before: an empty one where there is none that opens. Its error is of the
// store.
func (c *Cache) looker(take func(Entry) bool) func(context.Context) (taken bool, err error) {
	last, looked := "", false
	return func(ctx context.Context) (bool, error) {
		stored, err := c.get(ctx)
		if err != nil && !errors.Is(err, ErrMiss) {
			return false, err
		}
		if looked && string(stored) == last {
			return false, nil
		}
		last, looked = string(stored), true
		var e Entry
		if err == nil {
			if e, err = c.open(stored); err != nil {
				c.Report("open", err)
			}
		}
		return take(e), nil
	}
}

func (c *Cache) get(ctx context.Context) ([]byte, error) {
	return use(ctx, c, "get", func(ctx context.Context) ([]byte, error) { return c.Store.Get(ctx, c.key) }, nil)
}

// Read returns the entry as it is now, or an empty one. It fails if there is one
// that can't be had, or does not open.
func (c *Cache) Read(ctx context.Context) (Entry, error) {
	stored, err := c.get(ctx)
	if errors.Is(err, ErrMiss) {
		return Entry{}, nil
	}
	if err != nil {
		return Entry{}, err
	}
	return c.open(stored)
}

// Sealed reports whether entries are.
func (c *Cache) Sealed() bool { return len(c.sealer.aeads) > 0 }

func (c *Cache) open(stored []byte) (Entry, error) {
	if len(stored) > maxEntry {
		return Entry{}, fmt.Errorf("it is longer than %d bytes", maxEntry)
	}
	data, err := c.sealer.open(stored)
	if err != nil {
		return Entry{}, err
	}
	return decode(data)
}

// lease takes the lease, and returns what ends it.
func (c *Cache) lease(ctx context.Context) (release func(), err error) {
	end := func(free func(context.Context) error) {
		// The caller's context may have ended. A lease that is not ended ends by itself.
		use(context.Background(), c, "release", func(ctx context.Context) (struct{}, error) { return struct{}{}, free(ctx) }, nil)
	}
	free, err := use(ctx, c, "lease", func(ctx context.Context) (func(context.Context) error, error) {
		free, err := c.leaser.Lease(ctx, c.key, c.Lease)
		if err == nil && free == nil {
			err = errors.New("it returned no release")
		}
		return free, err
	}, end)
	if err != nil {
		return nil, err
	}
	return func() { end(free) }, nil
}

// Write stores e for ttl. What can't be replaced is deleted, so that no older
// answer outlives a newer one; but not for a failure that would leave it.
func (c *Cache) Write(ctx context.Context, e Entry, ttl time.Duration) {
	data, err := e.encode()
	if err != nil {
		c.Report("put", err)
		return
	}
	stored := c.sealer.seal(data)
	_, err = use(ctx, c, "put", func(ctx context.Context) (struct{}, error) {
		return struct{}{}, c.Store.Put(ctx, c.key, stored, ttl)
	}, nil)
	if err != nil && (e.Failure == nil || e.Answer == nil) {
		c.Delete(ctx)
	}
}

// Delete removes the entry.
func (c *Cache) Delete(ctx context.Context) {
	use(ctx, c, "delete", func(ctx context.Context) (struct{}, error) { return struct{}{}, c.Store.Delete(ctx, c.key) }, nil)
}

// use calls f, which is the store's code and may fail, hang or panic, and waits
// for it no longer than the time-out. late is given what comes after that.
func use[T any](ctx context.Context, c *Cache, op string, f func(context.Context) (T, error), late func(T)) (T, error) {
	type result struct {
		v   T
		err error
	}
	var none T
	if !c.mayUse(op) {
		return none, errResting
	}
	limited, cancel := context.WithTimeout(ctx, c.Timeout)
	results := make(chan result, 1)
	abandoned := false // guarded by c.mu
	go func() {
		defer cancel()
		r := result{err: errors.New("it ended its goroutine")}
		defer func() {
			if p := recover(); p != nil {
				r = result{err: fmt.Errorf("it panicked: %T", p)}
			}
			results <- r
			c.mu.Lock()
			gone := abandoned
			if gone {
				c.stuck--
			}
			c.mu.Unlock()
			if gone && r.err == nil && late != nil {
				late(r.v)
			}
		}()
		r.v, r.err = f(limited)
	}()
	var r result
	select {
	case r = <-results:
	case <-limited.Done():
		c.mu.Lock()
		select {
		case r = <-results:
		default:
			abandoned, r.err = true, limited.Err()
			c.stuck++
		}
		c.mu.Unlock()
	}
	c.used(op, r.err, ctx.Err() != nil, errors.Is(limited.Err(), context.DeadlineExceeded))
	return r.v, r.err
}

// mayUse reports whether the store may be used now. A delete is tried at once after
// a put that failed.
func (c *Cache) mayUse(op string) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.stuck < maxStuck && (op == "delete" || !time.Now().Before(c.rest))
}

// used takes account of a use: the caller may have ended it, or the time-out.
func (c *Cache) used(op string, err error, ended, timedOut bool) {
	if err == nil || errors.Is(err, ErrMiss) || errors.Is(err, ErrLeaseHeld) {
		c.mu.Lock()
		delete(c.fails, op)
		c.mu.Unlock()
		c.report(op, nil)
		return
	}
	if ended {
		return
	}
	if timedOut {
		err = fmt.Errorf("%w %v", ErrTimeout, c.Timeout)
		c.mu.Lock()
		rest := min(minRest<<min(c.fails[op], 10), maxRest)
		c.fails[op]++
		c.rest = time.Now().Add(rest/2 + rand.N(rest))
		c.mu.Unlock()
	}
	c.report(op, err)
}

func (c *Cache) report(op string, err error) {
	if op != "delete" { // which follows upon a put that failed
		c.Report(op, err)
	}
}

// sleep waits for d, and reports whether ctx lasts.
func sleep(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}
