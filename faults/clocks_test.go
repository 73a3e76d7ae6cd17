// Copyright 2026 The authsec Authors
// SPDX-License-Identifier: Apache-2.0

package faults

import (
	"cmp"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/authsec-go/authsec"
	"github.com/authsec-go/authsec/authsectest"
)

// aliases gives out opaque tokens, and makes the API accept them as the real ones: a
// test can't change the exp in a JWT.
type aliases struct {
	mu   sync.Mutex
	real map[string]string
}

func newAliases(s *stack) *aliases {
	a := &aliases{real: map[string]string{}}
	s.setAPIFront(func(w http.ResponseWriter, r *http.Request) {
		alias := strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer ")
		a.mu.Lock()
		r.Header.Set("Authorization", "Bearer "+a.real[alias])
		a.mu.Unlock()
		s.serveAuthorized(w, r)
	})
	return a
}

// conceal replaces an answer's token with its alias.
func (a *aliases) conceal(fields map[string]any) {
	token, ok := fields["token"].(string)
	if !ok {
		return
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	alias := fmt.Sprint("opaque-", len(a.real))
	for name, real := range a.real {
		if real == token {
			alias = name
		}
	}
	a.real[alias], fields["token"] = token, alias
}

// TestWrongClocks: the clocks of server and client differ by 3 hours, or the server's
// Date is far from any clock. (Only the difference matters, so the test moves the
// server's.) A token is used as long as it lives, and no longer.
func TestWrongClocks(t *testing.T) {
	t.Parallel()
	clocks := []struct {
		name string
		skew time.Duration
		date string // in place of the time
	}{
		{name: "right"},
		{name: "server ahead", skew: 3 * time.Hour},
		{name: "server behind", skew: -3 * time.Hour},
		{name: "Date in the year 1000", date: "Wed, 31 Dec 1000 23:59:59 GMT"},
		{name: "Date in the year 9999", date: "Fri, 31 Dec 9999 23:59:59 GMT"},
	}
	for _, w := range wires {
		for _, clock := range clocks {
			t.Run(w.name+"/"+clock.name, func(t *testing.T) {
				t.Parallel()
				const life = 8 * time.Second
				s := newStack(t, w)
				a := newAliases(s)
				delegated := time.Now()
				s.auth.Delegate(authsectest.ClientID, authsectest.Delegation{TTL: life})
				s.setFront(s.rewritten(func(fields map[string]any, header http.Header) {
					header.Set("Date", cmp.Or(clock.date, time.Now().Add(clock.skew).UTC().Format(http.TimeFormat)))
					if at, ok := fields["expires_at"].(string); ok {
						expiry, err := time.Parse(time.RFC3339Nano, at)
						if err != nil {
							t.Errorf("expires_at: %v", err)
						}
						fields["expires_at"] = expiry.Add(clock.skew).Format(time.RFC3339Nano)
						a.conceal(fields)
					}
				}))
				c := s.newCaller(func(cfg *callerConfig) { cfg.RenewBefore = time.Nanosecond })
				fresh := 0 // requests within the token's life, for certain
				for time.Since(delegated) < life/8 {
					c.mustAnswer(call{method: http.MethodPost, send: KiB, want: KiB})
					fresh++
					time.Sleep(20 * time.Millisecond)
				}
				if got := s.auth.Fetches(); got != 1 {
					t.Errorf("the endpoint was asked %d times for %d requests, want 1", got, fresh)
				}
				// Date has whole seconds. The library assumes the shortest life that is possible.
				left := time.Until(c.src.Stats().Expiry)
				if most := life - time.Since(delegated) + 50*time.Millisecond; left > most || left < most-2*time.Second {
					t.Errorf("the token lives for %v more, want %v, or up to 2 s less", left, most)
				}
				// After that it goes nowhere.
				time.Sleep(time.Until(delegated.Add(life)))
				rejected := s.ledger.rejections.Load()
				if o := c.do(call{}); !errors.Is(o.err, authsec.ErrNotDelegated) || o.arrivals != 0 {
					t.Errorf("after its expiry: got error %v, %d arrivals; want one that is ErrNotDelegated, 0", o.err, o.arrivals)
				}
				if got := s.ledger.rejections.Load() - rejected; got != 0 {
					t.Errorf("the API rejected %d requests with the expired token, want 0", got)
				}
			})
		}
	}
}
