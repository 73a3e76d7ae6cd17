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
	maxEntry = 4 << 20 // bytes of an entry; an answer is shorter

	minPoll = 100 * time.Millisecond // between two looks for another process's result; grows
	maxPoll = 500 * time.Millisecond // up to this, with ±50 % jitter
)

// Options make a Cache.
type Options struct {
	Store   Store
	Keys    [][]byte      // none: entries are plaintext
	Server  string        // entries are bound to it,
	Agent   string        // and to this client ID
	Timeout time.Duration // of one use of the store
	Lease   time.Duration // how long a lease lasts
	Miss    error         // the store's error for no entry
	Held    error         // the store's error for a lease that another process has

	// Report gets each use that failed, with its name ("get", "put", "lease",
	// "release") and what may be shown of its fault; "": it worked. An entry that
	// does not decrypt is "open".
	Report func(op, fault string)
}

// Cache is one agent's entry in a store. It is safe for concurrent use. No call
// waits for the store longer than a time-out, whatever the store does.
type Cache struct {
	guard  guard  // holds the store
	leaser Leaser // nil: the store has no leases
	key    string
	sealer *sealer
}

// New makes a Cache. Its error names a key that is not one.
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

// Await hands the entry to take, now and whenever it has changed, until take
// accepts it. It returns false if this process is to ask the server: it has the
// lease, nobody can have it, or others have had it for patience. release ends a
// lease that was taken; the caller calls it once, in any case.
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
		if r == worked { // the entry may have come just before
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

// looker returns a func that reads the entry and hands it to take, unless it has
// seen the same one before. The entry is empty if there is none that decrypts.
// ok is false if the store failed.
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

// Read returns the entry, or an empty one. ok is false if there is one that can't
// be read, or does not decrypt.
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

// takeLease takes the lease, and returns what ends it. A lease that comes too
// late is ended at once; one that is not ended ends by itself.
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

// WithBudget returns a context in which all uses together take no longer than one
// use may.
func (c *Cache) WithBudget(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeoutCause(ctx, c.guard.Timeout, errBudget)
}

// Write stores e for ttl, if that is not over. What can't be replaced is deleted,
// so that no older answer outlives a newer one; but not for the sake of a failure
// that would have left it.
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
