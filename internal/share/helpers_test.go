// Copyright 2026 The authsec Authors
// SPDX-License-Identifier: Apache-2.0

package share

import (
	"context"
	"errors"
	"slices"
	"sync"
	"testing"
	"time"
)

const (
	server = "https://authsec.example.com"
	agent  = "9b477e30-3989-4c12-926c-3945a59f761f"
)

var (
	errMiss = errors.New("miss")
	errHeld = errors.New("held")
)

// fakeStore holds one entry in memory, has leases, and does what fault says.
type fakeStore struct {
	fault func(ctx context.Context, op string) error // nil: no faults

	mu       sync.Mutex
	data     []byte // nil: no entry
	leased   bool
	ops      []string
	key      string        // of the latest use
	ttl      time.Duration // of the latest put
	leaseTTL time.Duration // of the latest lease
}

func (s *fakeStore) use(ctx context.Context, op string, f func() error) error {
	s.mu.Lock()
	s.ops = append(s.ops, op)
	s.mu.Unlock()
	if s.fault != nil {
		if err := s.fault(ctx, op); err != nil {
			return err
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return f()
}

func (s *fakeStore) Get(ctx context.Context, key string) (data []byte, err error) {
	err = s.use(ctx, "get", func() error {
		s.key, data = key, s.data
		if data == nil {
			return errMiss
		}
		return nil
	})
	return data, err
}

func (s *fakeStore) Put(ctx context.Context, key string, data []byte, ttl time.Duration) error {
	return s.use(ctx, "put", func() error {
		s.key, s.data, s.ttl = key, data, ttl
		return nil
	})
}

func (s *fakeStore) Delete(ctx context.Context, key string) error {
	return s.use(ctx, "delete", func() error {
		s.key, s.data = key, nil
		return nil
	})
}

func (s *fakeStore) Lease(ctx context.Context, key string, ttl time.Duration) (release func(context.Context) error, err error) {
	err = s.use(ctx, "lease", func() error {
		if s.leased {
			return errHeld
		}
		s.key, s.leased, s.leaseTTL = key, true, ttl
		return nil
	})
	if err != nil {
		return nil, err
	}
	return func(ctx context.Context) error {
		return s.use(ctx, "release", func() error {
			s.leased = false
			return nil
		})
	}, nil
}

// took returns the uses since it was called last.
func (s *fakeStore) took() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	ops := s.ops
	s.ops = nil
	return ops
}

// set changes the entry as another process does.
func (s *fakeStore) set(data []byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.data = data
}

// count is how many uses were op.
func count(ops []string, op string) int {
	return len(slices.DeleteFunc(slices.Clone(ops), func(o string) bool { return o != op }))
}

// reports notes what a Cache reports of faults.
type reports struct {
	mu     sync.Mutex
	said   []string
	worked []string // uses
	also   func()   // called by each report
}

func (r *reports) report(op, fault string) {
	r.mu.Lock()
	if fault == "" {
		r.worked = append(r.worked, op)
	} else {
		r.said = append(r.said, op+": "+fault)
	}
	also := r.also
	r.mu.Unlock()
	if also != nil {
		also()
	}
}

func (r *reports) all() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.said)
}

// newCache makes a Cache with a time-out of 1 s. Without keys, entries are plaintext.
func newCache(t testing.TB, store Store, keys ...[]byte) (*Cache, *reports) {
	r := new(reports)
	c, err := New(Options{
		Store: store, Keys: keys, Server: server, Agent: agent, Timeout: time.Second, Lease: 5 * time.Second,
		Miss: errMiss, Held: errHeld, Report: r.report,
	})
	if err != nil {
		t.Fatal(err)
	}
	return c, r
}

func nothing(Entry) bool { return false }

func anything(Entry) bool { return true }

func wantStrings(t *testing.T, what string, got []string, want ...string) {
	t.Helper()
	if !slices.Equal(got, want) {
		t.Errorf("%s: got %q, want %q", what, got, want)
	}
}
