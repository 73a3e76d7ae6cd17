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

// Errors of a [Cache]. Wrapped ones count as well.
var (
	// ErrCacheMiss is what [Cache].Get returns if there is no entry.
	ErrCacheMiss = errors.New("authsec: cache miss")

	// ErrLeaseHeld is what [Leaser].Lease returns while another process has the lease.
	ErrLeaseHeld = errors.New("authsec: lease held by another process")
)

// Cache is a store that an agent's processes share, such as a directory (package
// dircache) or Redis (package rediscache). A Source looks for a token in its
// memory, then in the Cache, then asks the server. It checks what the Cache
// returns as strictly as what the network returns. It stores the server's latest
// answer, good or bad, encrypted with [CacheConfig.Keys].
//
// A key is 64 hexadecimal digits, from which nobody can read agent or server. An
// entry has 1 to 4 kB as a rule, and at most 4 MiB. An implementation must be safe
// for concurrent use, must return when its context ends, and must let no reader
// see half an entry. Losing entries is safe. A failing Cache adds a bounded delay
// and causes no error: it is logged, and the server is asked.
type Cache interface {
	// Get returns the entry of key, or ErrCacheMiss.
	Get(ctx context.Context, key string) ([]byte, error)

	// Put stores data as the entry of key, in place of an older one, for ttl, which
	// is over 0. It must not change or keep data.
	Put(ctx context.Context, key string, data []byte, ttl time.Duration) error

	// Delete removes the entry of key. A missing entry is no error.
	Delete(ctx context.Context, key string) error
}

// Leaser is a Cache that can also choose one process of many. That one asks the
// server, and the others wait for its result, at most half of
// [Config.FetchTimeout]. Without leases, all that find no entry ask.
type Leaser interface {
	Cache

	// Lease takes the lease of key, or fails at once with ErrLeaseHeld. The lease
	// ends by itself after ttl, which is a sixth of FetchTimeout. Leases do not
	// touch entries. release ends this lease, and no other that was taken since; it
	// is called once.
	Lease(ctx context.Context, key string, ttl time.Duration) (release func(context.Context) error, err error)
}

// CacheConfig says how an agent's processes share the server's answers. Store is
// required, and either Keys or InsecurePlaintext.
type CacheConfig struct {
	// Store holds the entries.
	Store Cache

	// Keys encrypt what goes into Store, with AES-256-GCM, bound to server and
	// client ID. They are the same in all processes. Whoever has a key and can read
	// Store has the token. The first key encrypts, all decrypt. To rotate: add the new key at the end everywhere, then move it to the front
	// everywhere, then drop the old one once the token was renewed.
	Keys CacheKeys

	// InsecurePlaintext stores the token as it is, in place of Keys: all who can
	// read Store have it, and all who can write to Store can choose the token that
	// is sent.
	InsecurePlaintext bool

	// Timeout bounds each use of Store. A Store that does not answer adds it once
	// to a fetch, and is left alone then: 1 s at first, up to 1 minute, ±50 %
	// jitter. A slow one can add up to five times this. 0: 1 s.
	Timeout time.Duration
}

// CacheKeys are secret keys. No way of printing shows them. The zero value has none.
type CacheKeys struct{ list func() [][]byte }

// NewCacheKeys returns keys of 32 random bytes each. It copies them. A key of
// another length is an error of [NewSource].
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
