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

// maxTTL is more than any entry's or lease's, and rounds up without overflow.
const maxTTL = 365 * 24 * time.Hour

// Each script touches one key, and may run twice: go-redis sends a command again
// whose answer it did not get.
var (
	// takeScript takes the lease KEYS[1] with the token ARGV[1] for ARGV[2]
	// milliseconds. The lease that the first of two runs took is the second's, too.
	takeScript = redis.NewScript(`
if redis.call("SET", KEYS[1], ARGV[1], "NX", "PX", ARGV[2]) or redis.call("GET", KEYS[1]) == ARGV[1] then
	return 1
end
return 0`)

	// endScript ends the lease KEYS[1] if its token is ARGV[1].
	endScript = redis.NewScript(`
if redis.call("GET", KEYS[1]) == ARGV[1] then
	return redis.call("DEL", KEYS[1])
end
return 0`)
)

var _ authsec.Leaser = (*Cache)(nil)

// Cache is an [authsec.Cache], and an [authsec.Leaser], in Redis. Make one with
// [New]. It is safe for concurrent use, and any number of Sources may share it.
type Cache struct {
	client redis.UniversalClient
	prefix string
}

// Options are what [New] may be told. The zero value of each field works.
type Options struct {
	// Prefix begins the name of each key. It may have no braces. "": "authsec:".
	Prefix string
}

// New returns a Cache over client, which remains the caller's to close. A nil o
// is the zero Options.
//
// The client's option ContextTimeoutEnabled must be set; New's error says so
// where it can see that it is not. Without it go-redis waits for an answer as
// long as its ReadTimeout (5 s by default), and keeps a connection for that,
// though the context has a nearer deadline.
func New(client redis.UniversalClient, o *Options) (*Cache, error) {
	honours := true
	switch client := client.(type) {
	case nil:
		return nil, errNilClient
	case *redis.Client:
		if client == nil {
			return nil, errNilClient
		}
		honours = client.Options().ContextTimeoutEnabled
	case *redis.ClusterClient:
		if client == nil {
			return nil, errNilClient
		}
		honours = client.Options().ContextTimeoutEnabled
	case *redis.Ring:
		if client == nil {
			return nil, errNilClient
		}
		honours = client.Options().ContextTimeoutEnabled
	}
	if !honours {
		return nil, errors.New("rediscache: the client's option ContextTimeoutEnabled is not set: without it, uses outlast their context")
	}
	prefix := "authsec:"
	if o != nil && o.Prefix != "" {
		prefix = o.Prefix
	}
	if strings.ContainsAny(prefix, "{}") {
		return nil, fmt.Errorf("rediscache: Options.Prefix %q has a brace in it: what is in braces chooses a key's node", prefix)
	}
	return &Cache{client: client, prefix: prefix}, nil
}

var errNilClient = errors.New("rediscache: the client is nil")

// entry and lease name a key's two keys in Redis. The braces keep both on one
// node of a cluster.
func (c *Cache) entry(key string) string { return c.prefix + "{" + key + "}:entry" }
func (c *Cache) lease(key string) string { return c.prefix + "{" + key + "}:lease" }

// Get returns the entry of key, or [authsec.ErrCacheMiss].
func (c *Cache) Get(ctx context.Context, key string) ([]byte, error) {
	data, err := c.client.Get(ctx, c.entry(key)).Bytes()
	if errors.Is(err, redis.Nil) {
		return nil, authsec.ErrCacheMiss
	}
	return data, wrap("getting an entry", err)
}

// Put stores data as the entry of key for ttl, which is over 0 and rounded up to
// a millisecond.
func (c *Cache) Put(ctx context.Context, key string, data []byte, ttl time.Duration) error {
	ttl, err := roundUp(ttl)
	if err == nil {
		err = c.client.Set(ctx, c.entry(key), data, ttl).Err()
	}
	return wrap("storing an entry", err)
}

// Delete removes the entry of key. That there is none is no error.
func (c *Cache) Delete(ctx context.Context, key string) error {
	return wrap("deleting an entry", c.client.Del(ctx, c.entry(key)).Err())
}

// Lease takes the lease of key for ttl, which is over 0 and rounded up to a
// millisecond, or fails with [authsec.ErrLeaseHeld]. release ends it, and no
// lease that another has taken since.
func (c *Cache) Lease(ctx context.Context, key string, ttl time.Duration) (release func(context.Context) error, err error) {
	keys, token := []string{c.lease(key)}, rand.Text()
	ttl, err = roundUp(ttl)
	if err != nil {
		return nil, wrap("taking a lease", err)
	}
	taken, err := takeScript.Run(ctx, c.client, keys, token, ttl.Milliseconds()).Bool()
	if err != nil {
		return nil, wrap("taking a lease", err)
	}
	if !taken {
		return nil, authsec.ErrLeaseHeld
	}
	return func(ctx context.Context) error {
		return wrap("ending a lease", endScript.Run(ctx, c.client, keys, token).Err())
	}, nil
}

// roundUp returns ttl in whole milliseconds. To Redis and go-redis, one that is
// not over 0 means other things.
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
