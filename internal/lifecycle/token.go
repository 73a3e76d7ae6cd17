// Copyright 2026 The authsec Authors
// SPDX-License-Identifier: Apache-2.0

package lifecycle

import "time"

// Token is what the rules know about a token. It is immutable. Its age counts from
// when it was received.
type Token struct {
	ID       ID
	Life     time.Duration // from when it was received until it expires
	NotAfter time.Time     // its expiry on the server's clock; zero: the server named only a lifetime

	received Moment
	window   time.Duration // how long before its expiry renewal begins
	first    time.Duration // the age at the first renewal attempt: random, in the first half of the window
	renewAt  time.Duration // the age at the next renewal attempt; never: one is under way
	drift    time.Duration // how far the wall clock was ahead of the monotonic clock at the last step that was handled
	doubt    bool          // by the wall clock the token has expired: the machine may have been suspended
}

// New returns a Token that was received at this moment. renewBefore is the renewal
// window, capped at life; 0: a fifth of life, at most MaxWindow. u is from [0, 1).
func New(id ID, received Moment, life time.Duration, notAfter time.Time, renewBefore time.Duration, u float64) Token {
	t := Token{ID: id, Life: life, NotAfter: notAfter, received: received}
	if renewBefore == 0 {
		renewBefore = min(life/5, MaxWindow)
	}
	t.setWindow(renewBefore, u)
	return t
}

func (t *Token) setWindow(window time.Duration, u float64) {
	t.window = max(0, min(window, t.Life))
	t.first = t.Life - t.window + time.Duration(u*float64(t.window)/2)
	t.renewAt = t.first
}

// Good reports whether the token may be served.
func (t *Token) Good(now Moment) bool { return t.ID != none && t.age(now) < t.Life }

// Fresh reports whether the token may be served without any other action.
func (t *Token) Fresh(now Moment) bool { return t.FreshBy(now.Mono) && t.jump(now) == 0 }

// FreshBy is Fresh if no clock has stepped. Every request calls it.
func (t *Token) FreshBy(mono time.Duration) bool {
	age := mono - t.received.Mono
	return age < t.renewAt && age < t.Life && !t.doubt
}

// Left returns how much longer the token may be served.
func (t *Token) Left(now Moment) time.Duration { return t.Life - t.age(now) }

// Expiry returns when the token expires on the local wall clock.
func (t *Token) Expiry() time.Duration { return t.received.Wall + t.drift + t.Life }

// Window returns the renewal window.
func (t *Token) Window() time.Duration { return t.window }

// Step returns the time between two renewal attempts, before jitter: a tenth of the
// window, at least 1 s.
func (t *Token) Step() time.Duration { return max(t.window/10, minStep) }

func (t *Token) age(now Moment) time.Duration { return now.Mono - t.received.Mono }

// ahead returns how far the wall clock has run ahead of the monotonic clock since the
// token was received.
func (t *Token) ahead(now Moment) time.Duration { return now.Wall - t.received.Wall - t.age(now) }

// apart reports whether a difference of two clocks is more than a small drift.
func apart(d time.Duration) bool { return d > maxDrift || d < -maxDrift }

// jump returns how far the wall clock has stepped since the last step that was handled,
// or 0 for a small drift.
func (t *Token) jump(now Moment) time.Duration {
	if d := t.ahead(now) - t.drift; apart(d) {
		return d
	}
	return 0
}

// due reports whether a renewal attempt is due: it is time, or a clock stepped.
func (t *Token) due(now Moment) bool { return t.age(now) >= t.renewAt || t.jump(now) != 0 }

// doubted reports whether a good token may have expired while the monotonic clock
// stood still: the wall clock has stepped past its expiry, and no fetch has ended that
// began after the step. Calls then wait for a fetch, and get the token only if the
// fetch fails.
func (t *Token) doubted(now Moment) bool {
	return t.doubt || t.age(now)+t.jump(now) >= t.Life
}

// turns returns the moments, on the monotonic clock, at which a good token becomes
// due, doubted and expired if no clock steps before.
func (t *Token) turns(now Moment) (due, doubt, expiry time.Duration) {
	due, doubt, expiry = t.received.Mono+t.renewAt, never, t.received.Mono+t.Life
	jump := t.jump(now)
	if jump != 0 {
		due = now.Mono
	}
	if jump > 0 {
		doubt = expiry - jump
	}
	return due, doubt, expiry
}

// renewing returns the token for while its renewal is under way.
func (t Token) renewing(now Moment) Token {
	t.doubt = t.doubted(now)
	t.drift += t.jump(now)
	t.renewAt = never
	return t
}

// kept returns the token after a clock step, if it is good by the wall clock. The
// machine may have been suspended, so a step ahead counts as part of the token's life.
func (t Token) kept(now Moment) Token {
	if jump := t.jump(now); jump > 0 {
		t.received.Mono -= jump
	} else {
		t.drift += jump
	}
	return t
}

// again returns the token after a renewal attempt that brought no other token. The
// next attempt is a tenth of the window later, with jitter, and at least wait later.
func (t Token) again(now Moment, wait time.Duration, u float64) Token {
	t.doubt = false
	t.renewAt = t.age(now) + max(spread(t.Step(), u), wait)
	if !apart(t.drift) { // otherwise the expiry is uncertain: attempts begin before the window
		t.renewAt = max(t.renewAt, t.first)
	}
	return t
}

// confirmed returns the token after the server returned it again, as newer. The known
// expiry stays unless the server names another or the clocks have drifted apart.
func (t Token) confirmed(newer Token, now Moment, u float64) Token {
	switch same := t.sameExpiry(newer); {
	case same && !apart(t.ahead(now)):
		return t.again(now, 0, u)
	case same && newer.Life < t.window:
		newer.setWindow(newer.Life, u)
	case same: // the window stays where it was
		newer.window, newer.first = t.window, newer.Life-(t.Life-t.first)
	}
	return newer.again(now, 0, u)
}

// sameExpiry reports whether newer has the known expiry. If the server names only a
// lifetime, the lifetime does not start again: newer has another expiry only if its
// expiry is earlier.
func (t Token) sameExpiry(newer Token) bool {
	if t.NotAfter.IsZero() && newer.NotAfter.IsZero() {
		return newer.received.Mono+newer.Life > t.received.Mono+t.Life
	}
	return newer.NotAfter.Equal(t.NotAfter)
}

// ended reports whether a failed fetch proves that the token has ended before its
// expiry.
func (t Token) ended(f Fetch, r Result, now Moment) bool {
	switch {
	case r.Expired.ID == t.ID: // the server returned the token, expired
		return !t.sameExpiry(r.Expired) || apart(t.ahead(now))
	case !r.NoDelegate:
		return false
	case f.Rejected == t.ID: // an API rejected it, and the server has no delegation
		return true
	}
	// The token has also expired by the wall clock, while the machine was suspended.
	ahead := t.ahead(now)
	return ahead > maxDrift && t.age(now)+ahead >= t.Life
}
