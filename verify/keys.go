// Copyright 2026 The authsec Authors
// SPDX-License-Identifier: Apache-2.0

package verify

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/authsec-go/authsec/internal/flight"
	"github.com/authsec-go/authsec/internal/wire"
	"github.com/golang-jwt/jwt/v5"
)

const (
	fetchTimeout = 10 * time.Second // of one fetch of a key set, with its body
	maxAnswer    = 1 << 20          // bytes of a key set

	refreshAfter = 10 * time.Minute // age of keys that are due for renewal, ±50 %
	missStep     = 30 * time.Second // between two fetches because no key fits; after a failure, between any two

	minBackoff = time.Second // how long the first failure with no keys in hand is cached; it doubles with each, ±50 %
	maxBackoff = time.Minute

	maxLeft   = 4                // calls of HTTPClient, and of Logger, that may be left behind because they do not return
	leftEvery = 10 * time.Minute // after which there may be one more
)

// keyring holds the key sets of the configured tenants. It is immutable.
type keyring struct {
	sets       map[string]*keySet // by iss
	algorithms []string
}

func newKeyring(cfg Config, base *url.URL) *keyring {
	client := &http.Client{
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	timeout := fetchTimeout
	if c := cfg.HTTPClient; c != nil {
		client.Transport = c.Transport
		if c.Timeout > 0 {
			timeout = min(c.Timeout, fetchTimeout)
		}
	}
	server := wire.NewServer(base)
	r := &keyring{sets: map[string]*keySet{}, algorithms: slices.Clone(cfg.Algorithms)}
	for _, tenant := range cfg.Tenants {
		r.sets[issuer(tenant)] = &keySet{
			tenant: tenant, url: server.KeySet(tenant).String(), client: client, timeout: timeout, algorithms: r.algorithms, log: cfg.Logger,
			fetches: flight.Left{Max: maxLeft, Every: leftEvery}, logs: flight.Left{Max: maxLeft, Every: leftEvery},
		}
	}
	return r
}

// find returns the key that signed a token. The token is parsed, but not verified
// yet. Only keys of the tenant in its iss count. It is a jwt.Keyfunc with a context.
func (r *keyring) find(ctx context.Context, token *jwt.Token) (jwt.VerificationKey, error) {
	if token == nil || token.Method == nil || token.Claims == nil {
		return nil, invalid(jwt.ErrTokenMalformed, "it was not parsed")
	}
	if !slices.Contains(r.algorithms, token.Method.Alg()) {
		return nil, invalid(jwt.ErrTokenUnverifiable, "its alg is not allowed")
	}
	if err := checkHeader(token.Header); err != nil {
		return nil, err
	}
	iss, _ := token.Claims.GetIssuer()
	set := r.sets[iss]
	if set == nil {
		return nil, invalid(jwt.ErrTokenInvalidIssuer, "no configured tenant's")
	}
	k, err := set.get(ctx)
	for ; err == nil && k != nil; k, err = set.newer(ctx, k) {
		if key := k.fitting(token); key != nil {
			return key, nil
		}
	}
	if err != nil {
		return nil, err
	}
	return nil, invalid(jwt.ErrTokenSignatureInvalid, "no key of its tenant fits")
}

// keySet holds one tenant's keys, and fetches them on demand.
type keySet struct {
	tenant, url string
	client      *http.Client
	timeout     time.Duration // of one fetch
	algorithms  []string
	log         *slog.Logger // nil: silent
	fetches     flight.Left
	logs        flight.Left

	current atomic.Pointer[keys] // in hand; swapped whole, with mu held. nil: none yet

	mu       sync.Mutex              // guards what follows; not held while code that is not ours runs
	flight   *flight.Flight[fetched] // the fetch under way; nil: none
	failure  *outage                 // of the last fetch; nil: it brought keys
	streak   int                     // failures in a row
	nextMiss time.Time               // the earliest time of the next fetch because no key fits
}

// fetched is what came of a fetch: keys or an error.
type fetched struct {
	keys *keys
	err  error
}

// outage is a failure to fetch a tenant's keys. It is immutable.
type outage struct {
	text string
	next time.Time // until when it is cached
}

func (o *outage) Error() string        { return o.text }
func (o *outage) Is(target error) bool { return target == ErrUnavailable }

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
		if failure := s.failure; failure != nil && now.Before(failure.next) {
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
	return wait(ctx, f)
}

// newer returns keys newer than k, for a token that no key of k fits. It waits for
// a fetch. All callers together start one fetch per missStep. In between, newer
// returns nil, or the last fetch's failure.
func (s *keySet) newer(ctx context.Context, k *keys) (*keys, error) {
	s.mu.Lock()
	if c := s.current.Load(); c != k {
		s.mu.Unlock()
		return c, nil
	}
	if s.flight == nil {
		now := time.Now()
		if now.Before(s.nextMiss) {
			defer s.mu.Unlock()
			if s.failure != nil {
				return nil, s.failure
			}
			return nil, nil
		}
		s.nextMiss = now.Add(missStep)
		s.begin()
	}
	f := s.flight
	s.mu.Unlock()
	return wait(ctx, f)
}

func wait(ctx context.Context, f *flight.Flight[fetched]) (*keys, error) {
	r, err := f.Wait(ctx)
	if err != nil {
		return nil, fmt.Errorf("%w: waiting for them: %w", ErrUnavailable, err)
	}
	return r.keys, r.err
}

// begin starts a fetch. mu is held, and no fetch is under way.
func (s *keySet) begin() {
	s.flight = flight.Start(context.Background(), s.timeout, &s.fetches, s.fetch, s.land)
}

// land records what came of a fetch. err says that HTTPClient did not return.
func (s *keySet) land(r fetched, err error) fetched {
	switch {
	case errors.Is(err, context.DeadlineExceeded):
		r.err = errors.New("no answer within " + s.timeout.String())
	case err != nil:
		r.err = errors.New("Config.HTTPClient " + err.Error())
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.flight = nil
	now := time.Now()
	if r.err == nil {
		r.keys.due = now.Add(jitter(refreshAfter))
		s.failure, s.streak = nil, 0
		s.current.Store(r.keys)
		s.tell(slog.LevelDebug, "keys fetched", "usable", r.keys.usable, "ignored", r.keys.ignored)
		return r
	}
	cached := jitter(min(minBackoff<<min(s.streak, 10), maxBackoff))
	inHand := s.current.Load() != nil
	if inHand {
		s.nextMiss = now.Add(missStep)
		cached = missStep + rand.N(missStep)
	}
	s.streak++
	s.failure = &outage{fmt.Sprintf("%v: tenant %s: %v", ErrUnavailable, s.tenant, r.err), now.Add(cached)}
	s.tell(slog.LevelWarn, "no keys", "error", r.err.Error(), "in_hand", inHand)
	return fetched{err: s.failure}
}

// tell logs in the background: a Logger may hang or panic.
func (s *keySet) tell(level slog.Level, msg string, args ...any) {
	if s.log == nil {
		return
	}
	flight.Start(context.Background(), s.timeout, &s.logs, func(context.Context) (any, error) {
		s.log.With("tenant", s.tenant).Log(context.Background(), level, msg, args...)
		return nil, nil
	}, func(any, error) any { return nil })
}

// jitter returns d ±50 %, so that a fleet does not ask all at once.
func jitter(d time.Duration) time.Duration { return d/2 + rand.N(d) }

// fetch gets the key set. Its error is ctx's end. Any other is in its result, as
// plain text: foreign errors give their text here, where no lock is held.
func (s *keySet) fetch(ctx context.Context) (fetched, error) {
	k, err := s.ask(ctx)
	switch {
	case err == nil:
		return fetched{keys: k}, nil
	case ctx.Err() != nil: // whoever notices it first, the failure has one text
		return fetched{}, ctx.Err()
	}
	return fetched{err: errors.New("GET " + s.url + ": " + err.Error())}, nil
}

func (s *keySet) ask(ctx context.Context) (*keys, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, s.url, nil)
	if err != nil {
		return nil, err
	}
	req.Header.Set("Accept", "application/json")
	resp, err := s.client.Do(req)
	if err != nil {
		return nil, cmp.Or(errors.Unwrap(err), err) // what is in a *url.Error
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return nil, errors.New(strings.TrimSpace(fmt.Sprint(resp.StatusCode, " ", http.StatusText(resp.StatusCode))))
	}
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer+1))
	if err != nil {
		return nil, err
	}
	if len(body) > maxAnswer {
		return nil, fmt.Errorf("the answer is longer than %d bytes", maxAnswer)
	}
	return parseKeys(body, s.algorithms)
}
