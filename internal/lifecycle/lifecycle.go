// Copyright 2026 The authsec Authors
// SPDX-License-Identifier: Apache-2.0

// Package lifecycle has the rules of a token's life: when the token is served, when it
// is renewed, how long a failure is cached, and what ends the token.
//
// The rules are plain functions of a state, a moment and an event. Nothing here starts
// a goroutine, takes a lock, does I/O, reads a clock or makes a random number: the
// caller passes the moment, and a random number u from [0, 1) for jitter.
//
//	no token ──fetch──► fresh ──RenewBefore──► in its window ──expiry──► no token
//	                      ▲                          │
//	                      └───── another token ◄─────┘
package lifecycle

import (
	"crypto/sha256"
	"encoding/hex"
	"time"
)

const (
	// MaxWindow caps the default renewal window, a fifth of a token's life.
	MaxWindow = 5 * time.Minute

	// minStep is the least time between two attempts to renew, before jitter.
	minStep = time.Second

	// minHold is how long the first failure is cached while there is no token, before
	// jitter. It doubles with each failure in a row, up to maxHold.
	minHold = time.Second
	maxHold = time.Minute

	// minRefresh is the least time between two fetches that Refresh causes.
	minRefresh = time.Second

	// maxDrift is how far the wall clock and the monotonic clock may differ before the
	// wall clock counts as stepped, or the machine as suspended.
	maxDrift = 10 * time.Second

	never = time.Duration(1<<63 - 1)
)

// none is the ID of no token.
const none ID = ""

// ID identifies an access token without holding it: its SHA-256, in hexadecimal. The
// zero ID is no token.
type ID string

// NewID returns the ID of an access token.
func NewID(token string) ID {
	if token == "" {
		return none
	}
	sum := sha256.Sum256([]byte(token))
	return ID(hex.EncodeToString(sum[:]))
}

// Moment is a reading of the two local clocks.
type Moment struct {
	Mono time.Duration // monotonic, from any fixed origin; may stand still while the machine is suspended
	Wall time.Duration // wall clock, since 1970; may be wrong and may step
}

// State is all that the rules need to know about a Source. The zero value has no token.
type State struct {
	Token    Token // in service; its ID is zero if there is none
	Fetching bool  // a fetch is under way
	Fetch    Fetch // that fetch
	Failure  error // the cached failure; its methods are never called here

	failUntil time.Duration // until then Failure is the result while there is no token
	notBefore time.Duration // the end of the server's Retry-After
	limited   bool          // notBefore is from a 429
	failures  int           // in a row, without a token
	refreshed time.Duration // when Refresh last caused a fetch
	everFresh bool          // refreshed is set
}

// Fetch is a fetch that is under way.
type Fetch struct {
	Began    time.Duration // monotonic
	Rejected ID            // the token whose rejection caused it; zero: none did
	keep     Token         // if MayKeep: the token to keep if it is good by the wall clock
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

// Call is one request of a caller for a token.
type Call struct {
	Began    time.Duration // monotonic
	Deadline time.Duration // monotonic; 0: none. Only a call with a deadline waits out a rate limit
	Rejected ID            // the token that an API rejected; zero: none
	Refresh  bool          // the server must be asked now
	Widen    bool          // the API requires permissions that Rejected does not have: renew it in the background
	MayFetch bool          // with Rejected: the API's budget allows a fetch
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
	case good: // doubted. The monotonic clock may have stood still, so notBefore does not count
		return Start
	case s.Failure != nil && now.Mono < s.failUntil:
		if s.limited && now.Mono < s.notBefore && c.Deadline > s.failUntil {
			return Pause
		}
		return FailCached
	}
	return Start
}

// Answers reports whether c, which waited for fetch f, returns the result of f. got is
// the token that f brought. If f began before c, its answer may be too old for c. If a
// clock step caused f, f may not have asked the server. In both cases an ordinary call
// returns the result, and Refresh does not. A call with a rejected token does if f has
// the same cause or brought another token.
func (c Call) Answers(f Fetch, got ID) bool {
	switch {
	case f.Began >= c.Began && f.keep.ID == none:
		return true
	case c.Rejected != none:
		return f.Rejected == c.Rejected || got != none && got != c.Rejected
	}
	return !c.Refresh
}

// MayKeep reports whether a clock step is the only cause of a fetch for c. If the token
// in service is then good by the wall clock, the server is not asked.
func (s *State) MayKeep(now Moment, c Call) bool {
	return !c.Refresh && c.Rejected == none && s.Token.Good(now) && s.Token.age(now) < s.Token.renewAt
}

// Hold returns how long a failure of a fetch that begins now is cached: until the next
// renewal attempt, or, without a good token, 1 s to 1 minute before jitter.
func (s *State) Hold(now Moment, u float64) time.Duration {
	if s.Token.Good(now) {
		return spread(s.Token.Step(), u)
	}
	return s.coldHold(u)
}

func (s *State) coldHold(u float64) time.Duration {
	return spread(min(minHold<<min(s.failures, 10), maxHold), u)
}

// Begin returns the state after a fetch for c has begun.
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

// Event is the effect of a fetch.
type Event int

const (
	Fetched       Event = iota // a token where there was none
	Renewed                    // another token in place of a good one
	Unchanged                  // the same token again
	Kept                       // the token is good by the wall clock, and the server was not asked
	RenewalFailed              // no new token; the one in service stays
	NoToken                    // no token, and none in service
)

// Result is the result of a fetch.
type Result struct {
	Kept       bool          // the token in service is good by the wall clock
	Token      Token         // as New made it; zero after a failure
	Expired    Token         // with a failure: an expired token that the server returned
	Err        error         // the failure; opaque here
	NoDelegate bool          // the server says that the agent has no delegation (its 410, or its own 404)
	Answered   bool          // the server answered, with a status below 500
	Limited    bool          // the failure is a 429
	RetryAfter time.Duration // how long the server accepts no request; 0: it did not say
	Hold       time.Duration // how long another process caches this failure; 0: this process got it
}

// Land returns the state after a fetch with this result, and the fetch's effect.
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
		if wait > 0 { // calls return it if the token expires before notBefore
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

// NextFetch returns the earliest moment, on the monotonic clock, at which an ordinary
// call starts a fetch if no clock steps before. It returns 0 if the next call starts a
// fetch, or if a fetch is under way.
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

// RetryAt returns when the cached failure ends, on the monotonic clock.
func (s *State) RetryAt() time.Duration { return s.failUntil }

// spread returns d with ±50 % jitter.
func spread(d time.Duration, u float64) time.Duration { return d/2 + time.Duration(u*float64(d)) }
