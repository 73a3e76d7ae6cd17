// Copyright 2026 The authsec Authors
// SPDX-License-Identifier: Apache-2.0

package faults

import (
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"time"

	"github.com/authsec-go/authsec"
	"github.com/authsec-go/authsec/authsectest"
)

// cache is an HTTP cache in front of the endpoint.
type cache struct {
	upstream   http.HandlerFunc
	age        time.Duration // it makes every answer this much older
	noAge      bool          // it sends no Age header
	queryBlind bool          // it gives every agent the same answer
	mu         sync.Mutex    // guards stored
	stored     map[string]*cached
}

type cached struct {
	at     time.Time
	answer *httptest.ResponseRecorder
}

// ServeHTTP asks upstream once for each query, and keeps the answer for ever.
func (c *cache) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	key := r.URL.RawQuery
	if c.queryBlind {
		key = ""
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	entry := c.stored[key]
	if entry == nil {
		entry = &cached{at: time.Now(), answer: httptest.NewRecorder()}
		c.upstream(entry.answer, r)
		c.stored[key] = entry
	}
	age := time.Since(entry.at) + c.age
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Date", time.Now().Add(-age).UTC().Format(http.TimeFormat))
	if !c.noAge {
		w.Header().Set("Age", fmt.Sprint(int(age.Seconds())))
	}
	w.WriteHeader(entry.answer.Code)
	w.Write(entry.answer.Body.Bytes()) // fails only if the client has gone
}

func (s *stack) newCache(c *cache) *cache {
	c.upstream, c.stored = s.auth.Handler().ServeHTTP, map[string]*cached{}
	s.setFront(c.ServeHTTP)
	return c
}

// TestCacheThatAgesAnswers: a cache gives out an answer that is 30 minutes old, for ever.
func TestCacheThatAgesAnswers(t *testing.T) {
	t.Parallel()
	for _, w := range wires {
		t.Run(w.name+"/with Age", func(t *testing.T) {
			t.Parallel()
			const life = 4 * time.Second
			s := newStack(t, w)
			s.newCache(&cache{age: 30 * time.Minute})
			delegated := time.Now()
			s.auth.Delegate(authsectest.ClientID, authsectest.Delegation{TTL: life})
			c := s.newCaller()
			c.mustAnswer(call{})
			if left, most := time.Until(c.src.Stats().Expiry), life-time.Since(delegated)+50*time.Millisecond; left > most || left < most-3*time.Second {
				t.Errorf("the token lives for %v more, want %v, or up to 3 s less", left, most)
			}
			// The cache still gives it out. For up to 3 s the server may have just done so.
			time.Sleep(time.Until(delegated.Add(life + 3*time.Second)))
			before := s.ledger.arrivals.Load()
			if o := c.do(call{}); !errors.Is(o.err, authsec.ErrInvalidResponse) {
				t.Errorf("after its expiry: got error %v, want one that is ErrInvalidResponse", o.err)
			}
			if got := s.ledger.arrivals.Load() - before; got != 0 {
				t.Errorf("%d requests reached the API with an expired token, want 0", got)
			}
		})
		// An old Date without an Age looks like a clock that is behind: the token is used
		// too long. Then the caller gets the API's 401.
		t.Run(w.name+"/without Age", func(t *testing.T) {
			t.Parallel()
			const life = 5 * time.Second // less up to 1 s: a JWT's exp has whole seconds
			s := newStack(t, w)
			a := newAliases(s)
			old := s.newCache(&cache{age: 30 * time.Minute, noAge: true})
			old.upstream = s.rewritten(func(fields map[string]any, _ http.Header) { a.conceal(fields) })
			delegated := time.Now()
			s.auth.Delegate(authsectest.ClientID, authsectest.Delegation{TTL: life})
			c := s.newCaller()
			c.mustAnswer(call{})
			time.Sleep(time.Until(delegated.Add(life)))
			fetches, began := c.src.Stats().Fetches, time.Now()
			for range 5 {
				o := c.do(call{method: http.MethodPost, send: KiB})
				if o.status != http.StatusUnauthorized || o.arrivals != 1 {
					t.Errorf("got status %d, %d arrivals, error %v; want 401, 1", o.status, o.arrivals, o.err)
				}
			}
			// One at once, and then at most one a second.
			if got, most := c.src.Stats().Fetches-fetches, 2+uint64(time.Since(began)/time.Second); got > most {
				t.Errorf("5 rejections caused %d fetches, want at most %d", got, most)
			}
		})
	}
}

// TestCacheThatIgnoresQueries: a cache gives a second agent the first one's token.
func TestCacheThatIgnoresQueries(t *testing.T) {
	t.Parallel()
	for _, w := range wires {
		t.Run(w.name, func(t *testing.T) {
			t.Parallel()
			s := newStack(t, w)
			s.newCache(&cache{queryBlind: true})
			s.auth.Delegate(otherID, authsectest.Delegation{})
			first := s.newCaller()
			second := s.newCaller(func(cfg *callerConfig) { cfg.ClientID = otherID })
			first.mustAnswer(call{})
			for _, k := range calls {
				o := second.do(k)
				if !errors.Is(o.err, authsec.ErrInvalidResponse) || o.arrivals != 0 {
					t.Errorf("%v of the second agent: got error %v, %d arrivals; want one that is ErrInvalidResponse, 0", k, o.err, o.arrivals)
				}
			}
			s.setFront(nil)
			second.mustRecover(second.src.Stats().Failures)
		})
	}
}
