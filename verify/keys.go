// Copyright 2026 The authsec Authors
// SPDX-License-Identifier: Apache-2.0

package verify

import (
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

	"github.com/golang-jwt/jwt/v5"
)

const (
	bundlePath   = "authsec/spiresvc/v1/jwt/bundle"
	fetchTimeout = 10 * time.Second // at most, for one fetch of a key set, its body included
	maxAnswer    = 1 << 20          // bytes of a key set

	refreshAfter = 10 * time.Minute // that keys are in hand, give or take half
	missStep     = 30 * time.Second // between two fetches because no key fits; after a failure, for any reason

	minRemembered = time.Second // how long a failure with no keys in hand is remembered at first
	maxRemembered = time.Minute // and in the end
)

// keyring has the key sets of the configured tenants. It is immutable.
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
	r := &keyring{sets: map[string]*keySet{}, algorithms: slices.Clone(cfg.Algorithms)}
	for _, tenant := range cfg.Tenants {
		u := base.JoinPath(bundlePath)
		u.RawQuery = url.Values{"tenant_id": {tenant}}.Encode()
		r.sets[issuer(tenant)] = &keySet{
			tenant: tenant, url: u.String(), client: client, timeout: timeout, algorithms: r.algorithms, log: cfg.Logger,
		}
	}
	return r
}

// find returns the key that signed a token which was parsed and not verified:
// one of the tenant that its iss names. It is a jwt.Keyfunc with a context.
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

// keySet has one tenant's keys, and fetches them when they are asked for.
type keySet struct {
	tenant     string
	url        string
	client     *http.Client
	timeout    time.Duration // of one fetch
	algorithms []string
	log        *slog.Logger // nil: silent

	current atomic.Pointer[keys] // in hand; swapped whole, with mu held. nil: none yet

	mu       sync.Mutex // guards what follows; never held while anything is waited for
	flight   *flight    // the fetch under way; nil: none
	failure  *outage    // of the last fetch; nil: it brought keys
	streak   int        // failures in a row
	nextMiss time.Time  // until then no fetch because no key fits
}

// flight is one fetch, for any number of waiters.
type flight struct {
	done chan struct{} // closed when keys and err are set
	keys *keys
	err  error
}

// outage is a failure to fetch a tenant's keys. It is immutable.
type outage struct {
	text string
	next time.Time // until when it is remembered
}

func (o *outage) Error() string        { return o.text }
func (o *outage) Is(target error) bool { return target == ErrUnavailable }

// get returns the keys in hand, and has them renewed behind the call where that
// is due. With none in hand it waits for them.
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
	return f.wait(ctx)
}

// newer returns keys that came after k, none of which fits a token. It asks for
// them, at most once in missStep for all callers, and returns nil if it may not:
// then k decides, unless the last fetch failed.
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
	return f.wait(ctx)
}

func (f *flight) wait(ctx context.Context) (*keys, error) {
	select {
	case <-f.done:
		return f.keys, f.err
	case <-ctx.Done():
		return nil, fmt.Errorf("%w: waiting for them: %w", ErrUnavailable, ctx.Err())
	}
}

// begin starts a fetch. mu is held, and no fetch is under way.
func (s *keySet) begin() {
	f := &flight{done: make(chan struct{})}
	s.flight = f
	ctx, cancel := context.WithTimeout(context.Background(), s.timeout)
	go s.fly(ctx, cancel, f)
}

// fly makes the fetch. HTTPClient's transport is foreign code, which may panic,
// end the goroutine, or not return: the flight lands all the same.
func (s *keySet) fly(ctx context.Context, cancel context.CancelFunc, f *flight) {
	stop := context.AfterFunc(ctx, func() { s.land(f, nil, errors.New("no answer within "+s.timeout.String())) })
	var k *keys
	err := errors.New("Config.HTTPClient ended the fetch's goroutine")
	defer func() {
		if v := recover(); v != nil {
			err = fmt.Errorf("Config.HTTPClient panicked with a %T", v)
		}
		stop()
		cancel()
		s.land(f, k, err)
	}()
	k, err = s.fetch(ctx)
}

// land ends a flight, once: the fetch and its time-out both call it.
func (s *keySet) land(f *flight, k *keys, err error) {
	s.mu.Lock()
	if s.flight != f {
		s.mu.Unlock()
		return
	}
	s.flight = nil
	now := time.Now()
	if err == nil {
		k.due = now.Add(jitter(refreshAfter))
		s.failure, s.streak = nil, 0
		s.current.Store(k)
		f.keys = k
	} else {
		remembered := jitter(min(minRemembered<<min(s.streak, 10), maxRemembered))
		if s.current.Load() != nil {
			s.nextMiss = now.Add(missStep)
			remembered = missStep + rand.N(missStep)
		}
		s.streak++
		s.failure = &outage{fmt.Sprintf("%v: tenant %s: %v", ErrUnavailable, s.tenant, err), now.Add(remembered)}
		f.err = s.failure
	}
	close(f.done)
	s.mu.Unlock()
	if s.log == nil {
		return
	}
	if err != nil {
		s.log.Warn("no keys", "tenant", s.tenant, "error", err.Error(), "in_hand", s.current.Load() != nil)
		return
	}
	s.log.Debug("keys fetched", "tenant", s.tenant, "usable", k.usable, "ignored", k.ignored)
}

// jitter draws from d, give or take half: a fleet does not ask all at once.
func jitter(d time.Duration) time.Duration { return d/2 + rand.N(d) }

// fetch asks for the key set.
func (s *keySet) fetch(ctx context.Context) (*keys, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, s.url, nil)
	if err != nil {
		return nil, err
	}
	req.Header.Set("Accept", "application/json")
	resp, err := s.client.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("GET %s: %s", s.url, strings.TrimSpace(fmt.Sprint(resp.StatusCode, " ", http.StatusText(resp.StatusCode))))
	}
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer+1))
	if err != nil {
		return nil, fmt.Errorf("GET %s: %w", s.url, err)
	}
	if len(body) > maxAnswer {
		return nil, fmt.Errorf("GET %s: the answer is longer than %d bytes", s.url, maxAnswer)
	}
	k, err := parseKeys(body, s.algorithms)
	if err != nil {
		return nil, fmt.Errorf("GET %s: %w", s.url, err)
	}
	return k, nil
}
