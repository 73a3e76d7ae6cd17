// Copyright 2026 The authsec Authors
// SPDX-License-Identifier: Apache-2.0

package verify

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/authsec-go/authsec/internal/flight"
	"github.com/golang-jwt/jwt/v5"
)

const refreshAfter = 10 * time.Minute // age of keys that are due for renewal, ±50 %

// keyring holds the key sets of the configured tenants. It is immutable.
type keyring struct {
	sets       map[string]*keySet // by iss
	algorithms []string
}

func newKeyring(cfg Config, server *remote) *keyring {
	r := &keyring{sets: map[string]*keySet{}, algorithms: slices.Clone(cfg.Algorithms)}
	for _, tenant := range cfg.Tenants {
		r.sets[issuer(tenant)] = &keySet{
			tenant: tenant, server: server, algorithms: r.algorithms, fetches: flight.Left{Max: maxLeft, Every: leftEvery},
		}
	}
	return r
}

// found is a key, and where it was found.
type found struct {
	key jwt.VerificationKey
	in  *keys
	set *keySet
}

// find returns the key that signed a token. The token is parsed, but not verified
// yet. Only keys of the tenant in its iss count.
func (r *keyring) find(ctx context.Context, token *jwt.Token) (found, error) {
	if token == nil || token.Method == nil || token.Claims == nil {
		return found{}, invalid(jwt.ErrTokenMalformed, "it was not parsed")
	}
	if !slices.Contains(r.algorithms, token.Method.Alg()) {
		return found{}, invalid(jwt.ErrTokenUnverifiable, "its alg is not allowed")
	}
	if err := checkHeader(token.Header); err != nil {
		return found{}, err
	}
	iss, _ := token.Claims.GetIssuer()
	set := r.sets[canonicalIssuer(iss)]
	if set == nil {
		return found{}, invalid(jwt.ErrTokenInvalidIssuer, "no configured tenant's")
	}
	k, err := set.get(ctx)
	for ; err == nil && k != nil; k, err = set.newer(ctx, k) {
		if key := k.fitting(token); key != nil {
			return found{key, k, set}, nil
		}
	}
	if err != nil {
		return found{}, err
	}
	return found{}, invalid(jwt.ErrTokenSignatureInvalid, "no key of its tenant fits")
}

// keySet holds one tenant's keys, and fetches them on demand.
type keySet struct {
	tenant     string
	server     *remote
	algorithms []string
	fetches    flight.Left

	current atomic.Pointer[keys] // in hand; swapped whole, with mu held. nil: none yet

	mu      sync.Mutex               // guards what follows; not held while code that is not ours runs
	flight  *flight.Flight[struct{}] // the fetch under way; nil: none
	failure *outage                  // of the last fetch; nil: it brought keys
	streak  int                      // failures in a row
	misses  misses
}

// get returns the keys in hand. If they are due, it starts their renewal and does
// not wait for it. With no keys in hand it waits for them.
func (s *keySet) get(ctx context.Context) (*keys, error) {
	k := s.current.Load()
	now := time.Now()
	if k != nil && now.Before(k.due) {
		return k, nil
	}
	s.mu.Lock()
	k = s.current.Load()
	if k != nil && now.Before(k.due) {
		s.mu.Unlock()
		return k, nil
	}
	if s.flight == nil {
		if failure := s.blocked(now); failure != nil {
			s.mu.Unlock()
			if k != nil {
				return k, nil
			}
			return nil, failure
		}
		s.begin()
	}
	f := s.flight
	s.mu.Unlock()
	if k != nil {
		return k, nil
	}
	return s.wait(ctx, f)
}

// newer returns keys newer than k, for a token that no key of k fits. It waits for
// a fetch. All callers together start as many as misses allows. In between, newer
// returns nil, or the last fetch's failure.
func (s *keySet) newer(ctx context.Context, k *keys) (*keys, error) {
	s.mu.Lock()
	if c := s.current.Load(); c != k {
		s.mu.Unlock()
		return c, nil
	}
	if s.flight == nil {
		now := time.Now()
		if now.Before(s.misses.next) {
			defer s.mu.Unlock()
			if s.failure != nil {
				return nil, s.failure
			}
			return nil, nil
		}
		if until, limited := s.server.limitedUntil(now); limited {
			s.mu.Unlock()
			return nil, s.outage(limitedText, until)
		}
		s.misses.take(now)
		s.begin()
	}
	f := s.flight
	s.mu.Unlock()
	return s.wait(ctx, f)
}

// blocked returns why no fetch may begin now; nil: one may. mu is held.
func (s *keySet) blocked(now time.Time) *outage {
	if s.failure != nil && now.Before(s.failure.next) {
		return s.failure
	}
	if until, limited := s.server.limitedUntil(now); limited {
		return s.outage(limitedText, until)
	}
	return nil
}

func (s *keySet) outage(why string, next time.Time) *outage {
	return &outage{text: fmt.Sprintf("%v: tenant %s: %s", ErrUnavailable, s.tenant, why), next: next}
}

// wait returns the result of a fetch. It reads the stored keys, because a Logger may
// end the fetch's goroutine after they are stored.
func (s *keySet) wait(ctx context.Context, f *flight.Flight[struct{}]) (*keys, error) {
	if err := await(ctx, f); err != nil {
		return nil, fmt.Errorf("%w: waiting for them: %w", ErrUnavailable, err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.failure != nil {
		return nil, s.failure
	}
	return s.current.Load(), nil
}

// await waits for a flight. It is no error if a Logger ended the flight's goroutine.
func await(ctx context.Context, f *flight.Flight[struct{}]) error {
	_, err := f.Wait(ctx)
	if errors.Is(err, flight.ErrExited) {
		return nil
	}
	return err
}

// begin starts a fetch. mu is held, and no fetch is under way.
func (s *keySet) begin() {
	s.flight = flight.Start(context.Background(), s.server.timeout, &s.fetches, s.fetch, s.land, nil)
}

// fetched is the result of a fetch: keys or a fault.
type fetched struct {
	keys  *keys
	fault *fault
}

// fetch gets the key set. Its error is ctx's end.
func (s *keySet) fetch(ctx context.Context) (r fetched, err error) {
	r.fault, err = s.server.ask(ctx, s.server.KeySet(s.tenant), nil, "", func(body []byte) (err error) {
		r.keys, err = parseKeys(body, s.algorithms)
		return err
	})
	return r, err
}

// land records the result of a fetch. err is set if HTTPClient did not return.
func (s *keySet) land(r fetched, err error) (none struct{}) {
	if err != nil {
		r.fault = s.server.unanswered(err)
	}
	s.mu.Lock()
	s.flight = nil
	now, old := time.Now(), s.current.Load()
	inHand := old != nil
	done := record{slog.LevelWarn, "no keys", []any{"tenant", s.tenant, "in_hand", inHand}}
	if r.fault == nil {
		r.keys.due = now.Add(jitter(refreshAfter))
		s.failure, s.streak = nil, 0
		s.misses.fetched(now, inHand && old.source == r.keys.source)
		s.current.Store(r.keys)
		done = record{slog.LevelDebug, "keys fetched", []any{"tenant", s.tenant, "usable", r.keys.usable, "ignored", r.keys.ignored}}
	} else {
		cached := backoff(s.streak)
		if inHand {
			s.misses.failed(now)
			cached = missStep + rand.N(missStep)
		}
		s.streak++
		until, _ := s.server.limitedUntil(now)
		s.failure = s.outage(r.fault.text, later(now.Add(cached), until))
		done.attrs = append(done.attrs, "error", r.fault.text)
	}
	s.mu.Unlock()
	done.writeTo(context.Background(), s.server.log)
	return none
}
