// Copyright 2026 The authsec Authors
// SPDX-License-Identifier: Apache-2.0

package share

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"
)

const (
	maxEntry = 4 << 20 // bytes; longer entries are not used

	minPoll = 100 * time.Millisecond // the first wait before the entry is read again; grows
	maxPoll = 500 * time.Millisecond // up to this, with ±50 % jitter
)

// Options make a Cache.
type Options struct {
	Store   Store
	Keys    [][]byte      // none: entries are plaintext
	Server  string        // the URL that entries are bound to
	Agent   string        // the client ID that entries are bound to
	Timeout time.Duration // of one use of the store
	Lease   time.Duration // how long a lease lasts
	Miss    error         // the store's error for no entry
	Held    error         // the store's error for a lease that another process has

	// Report is called after a use of the store: op is "get", "put", "lease" or
	// "release". fault is what may be shown of its failure; "": it worked. For an
	// entry that can't be read, op is "open".
	Report func(op, fault string)
}

// Cache is one agent's entry in a store. It is safe for concurrent use. No use of the
// store takes longer than Timeout, whatever the store does.
type Cache struct {
	guard  guard  // holds the store
	leaser Leaser // nil: the store has no leases
	key    string
	sealer *sealer
}

// New returns a Cache. Its error names a key of a wrong length.
func New(o Options) (*Cache, error) {
	bound, key := binding(o.Server, o.Agent)
	s, err := newSealer(o.Keys, bound)
	if err != nil {
		return nil, err
	}
	leaser, _ := o.Store.(Leaser)
	c := &Cache{leaser: leaser, key: key, sealer: s, guard: guard{Options: o, plaintext: len(o.Keys) == 0, timeouts: map[string]int{}}}
	c.guard.Keys = nil
	return c, nil
}

// Await calls take with the entry, now and after each change, until take returns true.
// taken is false if this process must ask the server: it has the lease, the store has
// no leases or fails, or other processes have had the lease for as long as patience. The
// caller must always call release once. It ends the lease, if there is one.
func (c *Cache) Await(ctx context.Context, patience time.Duration, take func(Entry) bool) (taken bool, release func(context.Context)) {
	release = func(context.Context) {}
	look := c.looker(take)
	began := time.Now()
	for wait := minPoll; ; wait = min(wait*3/2, maxPoll) {
		taken, ok := look(ctx)
		if taken || !ok || c.leaser == nil {
			return taken, release
		}
		free, r := c.takeLease(ctx)
		if r == worked { // another process may have stored its result just before
			taken, _ = look(ctx)
			return taken, free
		}
		left := patience - time.Since(began)
		if r != absent || left <= 0 {
			return false, release
		}
		pause, cancel := context.WithTimeout(ctx, min(wait/2+rand.N(wait), left))
		<-pause.Done()
		cancel()
	}
}

// looker returns a func that reads the entry and calls take with it, unless the entry
// is the same as the last time. take gets an empty entry if there is none, or none
// that can be read. ok is false if the store failed.
func (c *Cache) looker(take func(Entry) bool) func(context.Context) (taken, ok bool) {
	last, looked := "", false
	return func(ctx context.Context) (taken, ok bool) {
		stored, r := c.get(ctx)
		if r == failed {
			return false, false
		}
		if looked && string(stored) == last {
			return false, true
		}
		last, looked = string(stored), true
		var e Entry
		if r == worked {
			var err error
			if e, err = c.open(stored); err != nil {
				c.guard.Report("open", err.Error())
			}
		}
		return take(e), true
	}
}

func (c *Cache) get(ctx context.Context) ([]byte, result) {
	return use(ctx, &c.guard, "get", func(ctx context.Context) ([]byte, error) { return c.guard.Store.Get(ctx, c.key) }, nil)
}

// Read returns the entry, or an empty one if there is none. ok is false if the store
// failed, or if the entry can't be read.
func (c *Cache) Read(ctx context.Context) (e Entry, ok bool) {
	stored, r := c.get(ctx)
	if r != worked {
		return Entry{}, r == absent
	}
	e, err := c.open(stored)
	return e, err == nil
}

func (c *Cache) open(stored []byte) (e Entry, err error) {
	if len(stored) > maxEntry {
		return Entry{}, fmt.Errorf("it is longer than %d bytes", maxEntry)
	}
	data, err := c.sealer.open(stored)
	if err == nil && json.Unmarshal(data, &e) != nil {
		return Entry{}, errors.New("what it holds can't be read")
	}
	return e, err
}

// takeLease takes the lease, and returns a func that ends it. A lease that the store
// gives after the time-out is ended at once.
func (c *Cache) takeLease(ctx context.Context) (release func(context.Context), r result) {
	f, r := use(ctx, &c.guard, "lease", func(ctx context.Context) (func(context.Context) error, error) {
		f, err := c.leaser.Lease(ctx, c.key, c.guard.Lease)
		if err == nil && f == nil {
			err = errors.New("it returned no release")
		}
		return f, err
	}, func(f func(context.Context) error) { c.guard.tidy(context.WithoutCancel(ctx), "release", f) })
	return func(ctx context.Context) { c.guard.tidy(ctx, "release", f) }, r
}

// WithBudget returns a context in which all uses of the store together take no longer
// than one Timeout.
func (c *Cache) WithBudget(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeoutCause(ctx, c.guard.Timeout, errBudget)
}

// Write stores e for ttl, if ttl is over 0. If the store fails, Write deletes the
// stored entry, so that an older answer does not outlive a newer one. But it leaves
// the entry if e only adds a failure to its answer.
func (c *Cache) Write(ctx context.Context, e Entry, ttl time.Duration) {
	if ttl <= 0 {
		return
	}
	_, r := use(ctx, &c.guard, "put", func(ctx context.Context) (struct{}, error) {
		data, err := json.Marshal(e)
		if err == nil {
			err = c.guard.Store.Put(ctx, c.key, c.sealer.seal(data), ttl)
		}
		return struct{}{}, err
	}, nil)
	if r == failed && (e.Failure == nil || e.Answer == nil) {
		c.Delete(ctx)
	}
}

// Delete removes the entry.
func (c *Cache) Delete(ctx context.Context) {
	c.guard.tidy(ctx, "delete", func(ctx context.Context) error { return c.guard.Store.Delete(ctx, c.key) })
}
