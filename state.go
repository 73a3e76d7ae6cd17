// Copyright 2026 The authsec Authors
// SPDX-License-Identifier: Apache-2.0

package authsec

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/http/httptrace"
	"slices"
	"sync"
	"time"

	"github.com/authsec-go/authsec/internal/flight"
	"github.com/authsec-go/authsec/internal/lifecycle"
	"github.com/authsec-go/authsec/internal/redact"
	"golang.org/x/oauth2"
)

// state is the part of a Source that changes. Package lifecycle decides what
// happens, and this file does it. Code that is not ours runs without the lock: the
// Credential and the like in flights, the Logger in write.
type state struct {
	mu       sync.Mutex // guards what follows; held for a few instructions only
	life     lifecycle.State
	grant    *grant                      // of life.Token
	flight   *flight.Flight[landed]      // the fetch under way, if life.Fetching
	given    [8]lifecycle.ID             // the last tokens in service, the newest first
	rejected lifecycle.ID                // the latest token in service that an API rejected
	budgets  map[string]lifecycle.Budget // by the API's host
	landing  chan struct{}               // closed when the next fetch lands; nil: nobody waits for it
	loss     loss
	stats    Stats
}

// call is one call for a token. host is the API that rejected a token; "": none, or
// Source.Renew was called.
type call struct {
	lifecycle.Call
	host string
}

// turn is what a call does next.
type turn struct {
	lifecycle.Action
	started bool                   // this call started the fetch that it waits for
	served  *served                // for Serve and Renew
	flight  *flight.Flight[landed] // for Start and Join
	pause   time.Duration          // for Pause
	landing <-chan struct{}        // for Pause: ends it early
	failure error                  // for FailCached
	records []record               // to be logged
}

// landed is the outcome of a fetch, for the calls that wait for it.
type landed struct {
	fetch   lifecycle.Fetch
	served  *served // in service after it; nil: none
	err     error
	records []record // to be logged
}

// await returns a token, or waits for one as lifecycle says.
func (s *Source) await(ctx context.Context, c call) (*served, error) {
	ended := ctx.Err() != nil
	s.note(&c)
	var failure error // of the fetch that the call waited for
	for {
		t := s.next(ctx, c, !ended && failure == nil)
		s.write(t.records...)
		switch {
		case t.Action == lifecycle.Serve || t.Action == lifecycle.Renew:
			return t.served, nil
		case ended:
			return nil, contextError(ctx, "waiting for a token")
		case t.Action == lifecycle.Pause:
			if !sleep(ctx, t.pause, t.landing) {
				return nil, contextError(ctx, "waiting for a server that accepts no more requests for now")
			}
			failure = nil
			continue
		case failure != nil && t.served != nil && t.served.Good(s.now()): // a clock stepped meanwhile
			return t.served, nil
		case failure != nil:
			return nil, failure
		case t.Action == lifecycle.FailCached:
			return nil, t.failure
		}
		l, err := t.flight.Wait(ctx)
		if t.started && err == nil {
			t.flight.Settle(ctx) // the fetch's records are logged before this call returns; other calls do not wait for that
		}
		switch {
		case errors.Is(err, flight.ErrCycle):
			return nil, errors.New("authsec: Config.HTTPClient or Config.Credential waits for this Source, which waits for it")
		case err != nil && ctx.Err() != nil:
			return nil, contextError(ctx, "waiting for a token")
		case err != nil || !c.Answers(l.fetch, l.id()): // err: the result of the fetch is unknown
		case l.err == nil && (l.served == nil || !l.served.Good(s.now())):
			return nil, newError(s.server.agent, "the new token expired before it could be used", ErrInvalidResponse)
		case l.err == nil:
			return l.served, nil
		case c.Rejected != noID || c.Refresh:
			return nil, l.err
		default:
			failure = l.err // the result, unless there is a token or the call waits out a rate limit
		}
	}
}

// next decides what a call does next. If that is a new fetch, next starts it, unless
// mayStart is false.
func (s *Source) next(ctx context.Context, c call, mayStart bool) turn {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.now()
	c.MayFetch = s.mayFetch(now, c)
	t := turn{Action: s.life.Next(now, c.Call)}
	switch t.Action {
	case lifecycle.Start, lifecycle.Renew:
		if mayStart {
			s.begin(ctx, now, c)
			t.started = true
		}
	case lifecycle.Pause:
		if s.landing == nil {
			s.landing = make(chan struct{})
		}
		t.pause, t.landing = s.life.RetryAt()-now.Mono, s.landing
	case lifecycle.FailCached:
		t.failure, t.records = s.life.Failure, s.loss.records(s, now, s.life.Failure, false)
	}
	t.served, t.flight = s.current.Load(), s.flight
	return t
}

const noID lifecycle.ID = ""

func (l landed) id() lifecycle.ID {
	if l.err != nil || l.served == nil {
		return noID
	}
	return l.served.ID
}

// begin starts a fetch. mu is held, and no fetch is under way.
func (s *Source) begin(ctx context.Context, now lifecycle.Moment, c call) {
	q := query{began: time.Now(), rejected: s.rejected, refresh: c.Refresh, hold: s.life.Hold(now, rand.Float64())}
	var hand *oauth2.Token
	if s.life.Token.Good(now) {
		q.token, q.within = s.life.Token.ID, s.life.Token.Step()
		if s.life.MayKeep(now, c.Call) {
			hand = s.current.Load().copy()
		}
		if c.Rejected != noID {
			key := s.budgetOf(now, c.budget())
			s.budgets[key] = s.budgets[key].Spend(now)
			q.within = s.budgets[key].Step()
		}
	}
	early := s.life.Token.Window()
	s.life = s.life.Begin(now, c.Call)
	q.cause = s.life.Fetch.Rejected
	s.publish()
	s.flight = flight.Start(untraced{ctx}, s.timeout, &s.left, func(ctx context.Context) (fetched, error) {
		return fetchThrough(ctx, hand, early, s.fetcher, q), nil
	}, func(out fetched, err error) landed {
		if err != nil {
			out = fetched{err: s.broken(err)}
		}
		return s.land(out)
	}, func(l landed) { s.write(l.records...) })
}

// untraced is a context without its httptrace hooks: these would see the client ID
// and the Credential in a fetch's headers.
type untraced struct{ context.Context }

func (c untraced) Value(key any) any {
	v := c.Context.Value(key)
	if _, ok := v.(*httptrace.ClientTrace); ok {
		return nil
	}
	return v
}

// publish puts life.Token into service. mu is held.
func (s *Source) publish() {
	if s.life.Token.ID == noID {
		s.grant = nil
		s.current.Store(nil)
		return
	}
	if s.given[0] != s.life.Token.ID {
		copy(s.given[1:], s.given[:])
		s.given[0] = s.life.Token.ID
	}
	s.current.Store(&served{Token: s.life.Token, grant: s.grant})
}

// gave reports whether token is one of the last tokens in service.
func (s *Source) gave(token string) bool {
	id := lifecycle.NewID(token)
	s.mu.Lock()
	defer s.mu.Unlock()
	return id != noID && slices.Contains(s.given[:], id)
}

// land changes the state by the result of a fetch, and returns what to log.
func (s *Source) land(out fetched) landed {
	result := s.result(out)
	s.mu.Lock()
	now := s.now()
	fetch := s.life.Fetch
	var event lifecycle.Event
	s.life, event = s.life.Land(now, result, rand.Float64())
	err := out.err
	switch event {
	case lifecycle.Kept:
	case lifecycle.NoToken, lifecycle.RenewalFailed:
		s.stats.Failures++
		if event == lifecycle.RenewalFailed {
			err = err.duringRenewal()
		}
		s.stats.LastError = err
	default:
		s.grant = out.grant
		s.stats.LastSuccess, s.stats.LastError = time.Now(), nil
		if event == lifecycle.Renewed {
			s.stats.Renewals++
		}
	}
	s.publish()
	s.flight = nil
	l := landed{fetch: fetch, served: s.current.Load()}
	if err != nil {
		l.err = err
	}
	l.records = s.landRecords(now, event, out, err)
	landing := s.landing
	s.landing = nil
	s.mu.Unlock()
	if landing != nil {
		close(landing)
	}
	if c, ok := s.fetcher.(*shared); ok {
		l.records = append(c.takeRecords(), l.records...)
	}
	return l
}

// result converts the result of a fetch for package lifecycle.
func (s *Source) result(out fetched) lifecycle.Result {
	token := func(g *grant) lifecycle.Token {
		if g == nil {
			return lifecycle.Token{}
		}
		return lifecycle.New(g.id(), s.moment(g.received), g.life, g.notAfter, s.renewBefore, rand.Float64())
	}
	if out.err == nil {
		return lifecycle.Result{Kept: out.kept, Token: token(out.grant)}
	}
	status := out.err.StatusCode
	return lifecycle.Result{
		Expired: token(out.expired), Err: out.err, NoDelegate: out.noDelegation,
		Answered: status != 0 && status < 500, Limited: status == http.StatusTooManyRequests,
		RetryAfter: out.err.RetryAfter, Hold: out.hold,
	}
}

// broken returns the Error of a fetch that did not return in time, panicked or ended
// its goroutine. Code that is not ours causes all three.
func (s *Source) broken(err error) *Error {
	const blame = "Config.Credential, Config.HTTPClient or Config.Keyfunc"
	var reason string
	switch {
	case errors.Is(err, context.DeadlineExceeded):
		reason = fmt.Sprintf("%s or Config.Credential did not answer within %v", s.server.shown, s.server.timeout)
	case errors.Is(err, flight.ErrExited):
		reason = "the fetch's goroutine was ended by " + blame
	default:
		reason = blame + ": " + redact.Error(err)
	}
	e := newError(s.server.agent, reason)
	e.timeout = errors.Is(err, context.DeadlineExceeded)
	return e
}
