// Copyright 2026 The authsec Authors
// SPDX-License-Identifier: Apache-2.0

package rediscache

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/authsec-go/authsec"
	"github.com/redis/go-redis/v9"
)

// maxTTL is longer than any entry or lease lasts. Rounding it up does not overflow.
const maxTTL = 365 * 24 * time.Hour

// Each script uses one key. It may run twice: send sends a command again if it got no
// answer.
const (
	// takeScript takes the lease KEYS[1] with the value ARGV[1] for ARGV[2]
	// milliseconds. If it runs twice, the second run finds the first one's lease, and
	// succeeds as well.
	takeScript = `
if redis.call("SET", KEYS[1], ARGV[1], "NX", "PX", ARGV[2]) or redis.call("GET", KEYS[1]) == ARGV[1] then
	return 1
end
return 0`

	// endScript ends the lease KEYS[1] if its value is ARGV[1].
	endScript = `
if redis.call("GET", KEYS[1]) == ARGV[1] then
	return redis.call("DEL", KEYS[1])
end
return 0`

	// deleteScript deletes KEYS[1]. In a cluster, go-redis replaces a command DEL by one
	// whose answer it does not bound.
	deleteScript = `return redis.call("DEL", KEYS[1])`
)

var _ authsec.Leaser = (*Cache)(nil)

// Cache is an [authsec.Cache], and an [authsec.Leaser], in Redis. Make one with
// [New]. It is safe for concurrent use, and any number of Sources may share it.
type Cache struct {
	client redis.UniversalClient
	prefix string
}

// Options are for [New]. The zero value of each field works.
type Options struct {
	// Prefix is the start of each key's name. It has no braces. "": "authsec:".
	Prefix string
}

// New returns a Cache that uses client. The caller closes client. A nil o is the
// zero Options.
//
// The client's option ContextTimeoutEnabled must be set. New returns an error if it
// can see that it is not. Without this option go-redis ignores the context's
// deadline: it waits for its ReadTimeout (5 s by default), and keeps a connection
// busy that long.
func New(client redis.UniversalClient, o *Options) (*Cache, error) {
	obeys := true
	switch client := client.(type) {
	case nil:
		return nil, errNilClient
	case *redis.Client:
		if client == nil {
			return nil, errNilClient
		}
		obeys = client.Options().ContextTimeoutEnabled
	case *redis.ClusterClient:
		if client == nil {
			return nil, errNilClient
		}
		obeys = client.Options().ContextTimeoutEnabled
	case *redis.Ring:
		if client == nil {
			return nil, errNilClient
		}
		obeys = client.Options().ContextTimeoutEnabled
	}
	if !obeys {
		return nil, errors.New("rediscache: the client's option ContextTimeoutEnabled is not set: without it, calls go on after their context has ended")
	}
	prefix := "authsec:"
	if o != nil && o.Prefix != "" {
		prefix = o.Prefix
	}
	if strings.ContainsAny(prefix, "{}") {
		return nil, fmt.Errorf("rediscache: Options.Prefix %q has a brace in it: Cluster chooses a key's node by the text in braces", prefix)
	}
	return &Cache{client: client, prefix: prefix}, nil
}

var errNilClient = errors.New("rediscache: the client is nil")

// entry and lease return the names in Redis that belong to a key. The braces keep
// both on one node of a cluster.
func (c *Cache) entry(key string) string { return c.prefix + "{" + key + "}:entry" }
func (c *Cache) lease(key string) string { return c.prefix + "{" + key + "}:lease" }

// Get returns the entry of key, or [authsec.ErrCacheMiss]. An entry over 4 MiB is a
// miss: Get does not read it, and closes the connection, since the entry would follow.
func (c *Cache) Get(ctx context.Context, key string) ([]byte, error) {
	var r reply
	err := c.send(ctx, &r, "get", c.entry(key))
	if errors.Is(err, redis.Nil) || errors.Is(err, errTooLong) {
		return nil, authsec.ErrCacheMiss
	}
	if err != nil {
		return nil, wrap("getting an entry", err)
	}
	return r.buf.Bytes()[:r.size:r.size], nil
}

// Put stores data, at most 4 MiB, as the entry of key for ttl, which must be over 0
// and is rounded up to a millisecond.
func (c *Cache) Put(ctx context.Context, key string, data []byte, ttl time.Duration) error {
	ttl, err := roundUp(ttl)
	if len(data) > maxEntry {
		err = errTooLong
	}
	if err == nil {
		err = c.send(ctx, &reply{short: true}, "set", c.entry(key), data, "px", ttl.Milliseconds())
	}
	return wrap("storing an entry", err)
}

// Delete removes the entry of key. A missing entry is no error.
func (c *Cache) Delete(ctx context.Context, key string) error {
	return wrap("deleting an entry", c.send(ctx, &reply{short: true}, "eval", deleteScript, 1, c.entry(key)))
}

// Lease takes the lease of key for ttl, which must be over 0 and is rounded up to a
// millisecond. It fails with [authsec.ErrLeaseHeld] if another has the lease.
// release ends this lease, and no other that was taken since.
func (c *Cache) Lease(ctx context.Context, key string, ttl time.Duration) (release func(context.Context) error, err error) {
	name, value := c.lease(key), rand.Text()
	ttl, err = roundUp(ttl)
	if err != nil {
		return nil, wrap("taking a lease", err)
	}
	taken := reply{short: true}
	if err := c.send(ctx, &taken, "eval", takeScript, 1, name, value, ttl.Milliseconds()); err != nil {
		return nil, wrap("taking a lease", err)
	}
	if taken.line != ":1" {
		return nil, authsec.ErrLeaseHeld
	}
	return func(ctx context.Context) error {
		return wrap("ending a lease", c.send(ctx, &reply{short: true}, "eval", endScript, 1, name, value))
	}, nil
}

// send sends a command and takes its answer. It sends the command again if the
// connection broke: go-redis does so by default, but not for this type of command.
func (c *Cache) send(ctx context.Context, r *reply, args ...any) (err error) {
	for attempt := range attempts {
		if attempt > 0 && !pause(ctx, attemptPause<<attempt) {
			break
		}
		*r = reply{short: r.short}
		err = c.client.Process(ctx, redis.NewRawWriteToCmd(ctx, r, args...))
		if err == nil {
			err = r.complete()
		}
		if !broken(ctx, err) {
			break
		}
	}
	return err
}

// roundUp returns ttl in whole milliseconds. To Redis and go-redis, 0 and negative
// values mean other things.
func roundUp(ttl time.Duration) (time.Duration, error) {
	if ttl <= 0 {
		return 0, fmt.Errorf("a ttl of %v is not over 0", ttl)
	}
	return (min(ttl, maxTTL) + time.Millisecond - 1).Truncate(time.Millisecond), nil
}

func wrap(doing string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("rediscache: %s: %w", doing, err)
}
