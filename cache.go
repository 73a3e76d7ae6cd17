// Copyright 2026 The authsec Authors
// SPDX-License-Identifier: Apache-2.0

package authsec

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/authsec-go/authsec/internal/share"
)

// Errors of a [Cache]. An implementation may wrap them.
var (
	// ErrCacheMiss means that [Cache].Get found no entry.
	ErrCacheMiss = errors.New("authsec: cache miss")

	// ErrLeaseHeld means that another process has the lease that [Leaser].Lease wanted.
	ErrLeaseHeld = errors.New("authsec: lease held by another process")
)

// Cache is a store that an agent's processes share, such as a directory (package
// dircache) or Redis (package rediscache). A Source looks for a token in its memory,
// then in the Cache, then asks the server. The Source checks a cached token as strictly
// as one from the network. It stores the latest token response, and the latest failure
// that concerns all processes, encrypted with [CacheConfig.Keys].
//
// A key is 64 hexadecimal digits, a hash of agent and server. An entry usually has 1
// to 4 kB; entries over 4 MiB are ignored. An implementation must be safe for
// concurrent use, must return when its context ends, and must never return a part of
// an entry. Losing entries is safe. A failing Cache adds a bounded delay and causes
// no error: the Source logs the failure and asks the server.
//
// A type that wraps a Cache must have the method Lease, too, if that Cache is a
// [Leaser]. A struct that embeds the interface Cache does not have it.
type Cache interface {
	// Get returns the entry of key, or ErrCacheMiss if there is none.
	Get(ctx context.Context, key string) ([]byte, error)

	// Put stores data as the entry of key for ttl, and replaces an older entry. ttl
	// is over 0. Put must not change data, and must not keep it after it returns.
	Put(ctx context.Context, key string, data []byte, ttl time.Duration) error

	// Delete removes the entry of key. A missing entry is no error.
	Delete(ctx context.Context, key string) error
}

// Leaser is a Cache that can also give a lease to one process. That process asks the
// server, and the others wait for its result, for at most half of
// [Config.FetchTimeout]. Without leases, every process that finds no entry asks. So a
// type that wraps a Leaser must pass Lease on: embed Leaser, and not only Cache.
type Leaser interface {
	Cache

	// Lease takes the lease of key. If another process has it, Lease returns
	// ErrLeaseHeld at once. The lease ends by itself after ttl, a sixth of
	// FetchTimeout. Leases do not affect entries. release ends this lease, but not a
	// later one. It is called at most once.
	Lease(ctx context.Context, key string, ttl time.Duration) (release func(context.Context) error, err error)
}

// CacheConfig says how an agent's processes share the server's answers. Store and
// either Keys or InsecurePlaintext are required.
type CacheConfig struct {
	// Store holds the entries.
	Store Cache

	// Keys encrypt the entries with AES-256-GCM, bound to server and client ID. All
	// processes have the same keys. Anyone who has a key and can read Store has the
	// token. The first key encrypts, and all keys decrypt.
	//
	// To rotate keys: append the new key in all processes, then move it to the front
	// in all processes, then, after the next renewal, remove the old key.
	Keys CacheKeys

	// InsecurePlaintext stores entries without encryption. Anyone who can read Store
	// has the token, and anyone who can write to Store can choose the token that is
	// sent.
	InsecurePlaintext bool

	// Timeout bounds each use of Store. A Store that does not answer delays a fetch by
	// one Timeout, or two if the server is slow. The Store is then not used for 1 s at
	// first, doubling to 1 minute, with ±50 % jitter. A slow Store can delay a fetch by
	// up to five times Timeout. 0: 1 s.
	Timeout time.Duration
}

// CacheKeys is a list of secret keys. Printing it does not show them. The zero value
// has no keys.
type CacheKeys struct{ list func() [][]byte }

// NewCacheKeys returns a copy of keys. Each key is 32 random bytes: [NewSource]
// reports a key of another length.
func NewCacheKeys(keys ...[]byte) CacheKeys {
	list := make([][]byte, len(keys))
	for i, key := range keys {
		list[i] = bytes.Clone(key)
	}
	return CacheKeys{func() [][]byte { return list }}
}

func (k CacheKeys) all() [][]byte {
	if k.list == nil {
		return nil
	}
	return k.list()
}

func (c CacheConfig) withDefaults() CacheConfig {
	if c.Timeout == 0 {
		c.Timeout = time.Second
	}
	c.Timeout = min(c.Timeout, maxTimeout)
	return c
}

func (c CacheConfig) validate() error {
	var faults []error
	fault := func(format string, args ...any) {
		faults = append(faults, fmt.Errorf("authsec: Config.Cache."+format, args...))
	}
	if c.Store == nil {
		fault("Store is nil: set one (package dircache or rediscache), or leave Cache nil")
	}
	if c.Timeout < 0 {
		fault("Timeout: %v is negative", c.Timeout)
	}
	keys := c.Keys.all()
	for i, key := range keys {
		if len(key) != share.KeySize {
			fault("Keys: key %d has %d bytes, not %d", i, len(key), share.KeySize)
		}
	}
	switch {
	case len(keys) == 0 && !c.InsecurePlaintext:
		fault("Keys is empty: what goes into Store is a secret: give a key of %d random bytes", share.KeySize)
	case len(keys) > 0 && c.InsecurePlaintext:
		fault("Keys and InsecurePlaintext are both set: set one of them")
	}
	return errors.Join(faults...)
}

// String returns the settings without the keys.
func (c CacheConfig) String() string {
	return fmt.Sprintf("authsec.CacheConfig{Store:%T Keys:%d InsecurePlaintext:%t Timeout:%v}", c.Store, len(c.Keys.all()), c.InsecurePlaintext, c.Timeout)
}

// Format prints String for every verb.
func (c CacheConfig) Format(f fmt.State, _ rune) { fmt.Fprint(f, c.String()) }

// LogValue returns String for slog.
func (c CacheConfig) LogValue() slog.Value { return slog.StringValue(c.String()) }
