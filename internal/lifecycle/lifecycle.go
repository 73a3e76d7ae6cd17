// Copyright 2026 The authsec Authors
// SPDX-License-Identifier: Apache-2.0

// Package lifecycle has the rules of a token's life: when it is served, when it
// is renewed, how a failure is cached, and what ends it.
//
// They are plain functions of a state, a moment and an event. Nothing here
// starts a goroutine, takes a lock, does I/O, reads a clock or draws a random
// number: the caller passes the moment, and a number from [0, 1) for jitter.
//
//	no token ──fetch──► fresh ──RenewBefore──► in its window ──expiry──► no token
//	                      ▲                          │
//	                      └───── another token ◄─────┘
package lifecycle

import (
	"time"
	"unique"
)

const (
	// MaxWindow caps the default renewal window, a fifth of a token's life.
	MaxWindow = 5 * time.Minute

	// minStep is the least time between two attempts to renew, before jitter.
	minStep = time.Second

	// minHold is how long the first failure is cached while there is no token. It
	// doubles with each failure in a row, up to maxHold.
	minHold = time.Second
	maxHold = time.Minute

	// minRefresh is the least time between two fetches that Refresh causes.
	minRefresh = time.Second

	// maxDrift is how far the wall clock and the monotonic clock may drift apart
	// before one of them counts as stepped, or the machine as suspended.
	maxDrift = 10 * time.Second

	never = time.Duration(1<<63 - 1)
)

var none ID

// ID is an access token's text, to be compared. Printed, it is an address: states
// hold no secret that can be printed. The zero ID is none.
type ID = unique.Handle[string]

// NewID returns the ID of an access token.
func NewID(token string) ID {
	if token == "" {
		return ID{}
	}
	return unique.Make(token)
}

// Moment is a reading of the two local clocks.
type Moment struct {
	Mono time.Duration // monotonic, from any fixed origin; may stand still while the machine sleeps
	Wall time.Duration // wall clock, since 1970; may be wrong and may step
}

// State is all that the rules need to know. The zero value has no token.
type State struct {
	Token    Token // in service; its ID is zero if there is none
	Fetching bool  // a fetch is under way, as Fetch describes
	Fetch    Fetch
	Failure  error // the cached failure; its methods are never called here

	failUntil time.Duration // until then Failure is the result while there is no token
	notBefore time.Duration // the server accepts no request before: its Retry-After
	limited   bool          // because of a 429
	failures  int           // in a row, without a token
	refreshed time.Duration // when Refresh last caused a fetch
	everFresh bool          // refreshed is set
}

// Fetch is a fetch that is under way.
type Fetch struct {
	Began    time.Duration // monotonic
	Rejected ID            // the token whose rejection caused it; zero: none did
	keep     Token         // with MayKeep: the token if it proves good by the wall clock
}

// Action is what a call does next.
type Action int

const (
	Serve      Action = iota // return the token in service
	Renew                    // start a fetch, and return the token in service
	Start                    // start a fetch, and wait for it
	Join                     // wait for the fetch under way, then ask again
	Pause                    // wait until RetryAt, then ask again
	FailCached               // return Failure
)

// Call is one call for a token.
type Call struct {
	Began    time.Duration // monotonic
	Deadline time.Duration // monotonic; 0: none. Only a call with a deadline waits out a rate limit
	Rejected ID            // the token that an API rejected; zero: none
	Refresh  bool          // the caller wants the server to be asked now
	Widen    bool          // with Rejected: the API wants permissions that the token has not, which is renewed behind the call
	MayFetch bool          // with Rejected and Widen: the API's budget allows a fetch
}

// Next says what a call does at this moment.
func (s *State) Next(now Moment, c Call) Action {
	good := s.Token.Good(now)
	switch {
	case c.Refresh:
		if s.Fetching {
			return Join
		}
		if !s.everFresh || now.Mono-s.refreshed >= minRefresh {
			return Start
		}
	case c.Widen:
		if good && s.Token.ID == c.Rejected && c.MayFetch && !s.Fetching && now.Mono >= s.notBefore {
			return Renew
		}
		return Serve
	case c.Rejected != none && good && s.Token.ID != c.Rejected:
		return Serve
	case c.Rejected != none && good && s.Fetching:
		return Join
	case c.Rejected != none && good:
		if c.MayFetch && now.Mono >= s.notBefore {
			return Start
		}
		return Serve
	}
	switch {
	case good && !s.Token.doubted(now):
		if s.Fetching || !s.Token.due(now) || now.Mono < s.notBefore {
			return Serve
		}
		return Renew
	case s.Fetching:
		return Join
	case good: // doubted: notBefore does not count, its clock stood still while the machine slept
		return Start
	case s.Failure != nil && now.Mono < s.failUntil:
		if s.limited && now.Mono < s.notBefore && c.Deadline > s.failUntil {
			return Pause
		}
		return FailCached
	}
	return Start
}

// Answers reports whether the outcome of fetch f settles a call that waited for
// it. A fetch that began before the call may have been answered before the
// delegation that the call hopes for, and one for a stepped clock may have asked
// nobody: then only another token settles it.
func (c Call) Answers(f Fetch, got ID) bool {
	switch {
	case f.Began >= c.Began && f.keep.ID == none:
		return true
	case c.Rejected != none:
		return f.Rejected == c.Rejected || got != none && got != c.Rejected
	}
	return !c.Refresh
}

// MayKeep reports whether a fetch for c has no other cause than a clock that
// stepped. Then the token in service may prove good by the wall clock, and the
// server need not be asked.
func (s *State) MayKeep(now Moment, c Call) bool {
	return !c.Refresh && c.Rejected == none && s.Token.Good(now) && s.Token.age(now) < s.Token.renewAt
}

// Hold is how long a failure of a fetch that begins now is cached: until the next
// attempt to renew, or while there is no token from 1 s up to 1 minute. u is from [0, 1).
func (s *State) Hold(now Moment, u float64) time.Duration {
	if s.Token.Good(now) {
		return spread(s.Token.Step(), u)
	}
	return s.coldHold(u)
}

func (s *State) coldHold(u float64) time.Duration {
	return spread(min(minHold<<min(s.failures, 10), maxHold), u)
}

// Begin is the state once a fetch for c has begun.
func (s State) Begin(now Moment, c Call) State {
	keep := Token{}
	if s.MayKeep(now, c) {
		keep = s.Token.kept(now)
	}
	s.Fetching, s.Fetch = true, Fetch{Began: now.Mono, Rejected: c.Rejected, keep: keep}
	if c.Widen {
		s.Fetch.Rejected = none
	}
	if c.Refresh {
		s.refreshed, s.everFresh = now.Mono, true
	}
	if s.Token.Good(now) {
		s.Token = s.Token.renewing(now)
	}
	return s
}

// Event is what a fetch led to.
type Event int

const (
	Fetched       Event = iota // a token where there was none
	Renewed                    // another token in place of a good one
	Unchanged                  // the same token again
	Kept                       // the server was not asked: the token proved good by the wall clock
	RenewalFailed              // no new token; the one in service stays
	NoToken                    // no token, and none in service
)

// Result is what a fetch brought.
type Result struct {
	Kept       bool          // the token in service proved good by the wall clock
	Token      Token         // as New made it; zero after a failure
	Expired    Token         // with a failure: the token that the server gave out, past its expiry
	Err        error         // the failure; opaque here
	NoDelegate bool          // the server says that the agent has no delegation (its 410, or its own 404)
	Answered   bool          // the server answered, with a status below 500
	Limited    bool          // the failure is a 429
	RetryAfter time.Duration // how long the server accepts no request; 0: it did not say
	Hold       time.Duration // how long another process caches this failure; 0: it is this process's own
}

// Land is the state after a fetch, and what the fetch led to. u is from [0, 1).
func (s State) Land(now Moment, r Result, u float64) (State, Event) {
	fetch := s.Fetch
	s.Fetching, s.Fetch = false, Fetch{}
	good := s.Token.Good(now)
	if r.Kept {
		s.Token = fetch.keep
		return s, Kept
	}
	if r.Err == nil {
		event := Fetched
		switch {
		case good && s.Token.ID == r.Token.ID:
			event, s.Token = Unchanged, s.Token.confirmed(r.Token, now, u)
		case good:
			event, s.Token = Renewed, r.Token
		default:
			s.Token = r.Token
		}
		s.Failure, s.failUntil, s.notBefore, s.limited, s.failures = nil, 0, 0, false, 0
		return s, event
	}
	if r.Answered {
		s.notBefore, s.limited = 0, r.Limited
	}
	if until := now.Mono + r.RetryAfter; r.RetryAfter > 0 && until > s.notBefore {
		s.notBefore, s.limited = until, r.Limited
	}
	wait := max(0, s.notBefore-now.Mono)
	if good && !s.Token.ended(fetch, r, now) {
		s.Token = s.Token.again(now, wait, u)
		s.Failure, s.failUntil = nil, 0
		if wait > 0 { // also the result should the token expire before the server accepts requests
			s.Failure, s.failUntil = r.Err, s.notBefore
		}
		return s, RenewalFailed
	}
	hold := wait
	switch {
	case r.RetryAfter > 0:
	case r.Hold > 0:
		hold = max(wait, r.Hold)
	default:
		hold = max(wait, s.coldHold(u))
	}
	if r.Limited { // also with Retry-After: 0
		s.notBefore = now.Mono + hold
	}
	s.Token, s.Failure, s.failUntil = Token{}, r.Err, now.Mono+hold
	s.failures++
	return s, NoToken
}

// NextFetch is the earliest moment, on the monotonic clock, at which an ordinary
// call starts a fetch, if no clock steps until then. It is 0 if the next call
// starts one, or one is under way.
func (s *State) NextFetch(now Moment) time.Duration {
	next := s.failUntil
	if s.Token.Good(now) {
		due, doubt, expiry := s.Token.turns(now)
		next = min(max(due, s.notBefore), doubt, max(expiry, s.failUntil))
	}
	if s.Fetching || next <= now.Mono {
		return 0
	}
	return next
}

// RetryAt is when the cached failure ends, on the monotonic clock.
func (s *State) RetryAt() time.Duration { return s.failUntil }

// spread is d with ±50 % jitter.
func spread(d time.Duration, u float64) time.Duration { return d/2 + time.Duration(u*float64(d)) }
