// Copyright 2026 The authsec Authors
// SPDX-License-Identifier: Apache-2.0

package lifecycle

import "time"

// Token is what the rules know of a token. It is immutable. Durations count from
// the moment at which it was received.
type Token struct {
	ID       ID
	Life     time.Duration // until it expires
	NotAfter time.Time     // its expiry on the server's clock; zero: the server told a lifetime only

	received Moment
	window   time.Duration // how long before its expiry renewal begins
	first    time.Duration // the first attempt to renew: somewhere in the first half of the window
	renewAt  time.Duration // the next attempt to renew; never while one is under way
	drift    time.Duration // how far the wall clock has run ahead since, as far as that was acted upon
	doubt    bool          // after the machine slept, the wall clock says that the token has expired
}

// New makes a Token that was received at a moment. renewBefore is the renewal
// window, capped at life; 0 is a fifth of life, at most MaxWindow. u is from [0, 1).
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

// Fresh reports whether the token may be served and there is nothing to decide.
// It is the test that each request makes.
func (t *Token) Fresh(now Moment) bool {
	age := t.age(now)
	return age < t.renewAt && age < t.Life && !t.doubt && t.jump(now) == 0
}

// Left is how much longer the token may be served.
func (t *Token) Left(now Moment) time.Duration { return t.Life - t.age(now) }

// Expiry is when the token expires, on the local wall clock as it is now.
func (t *Token) Expiry() time.Duration { return t.received.Wall + t.drift + t.Life }

// Window is how long before its expiry renewal begins.
func (t *Token) Window() time.Duration { return t.window }

// Step is the time between two attempts to renew, before jitter: a tenth of the window.
func (t *Token) Step() time.Duration { return max(t.window/10, minStep) }

func (t *Token) age(now Moment) time.Duration { return now.Mono - t.received.Mono }

// ahead is how far the wall clock has run ahead of the monotonic clock since the
// token was received.
func (t *Token) ahead(now Moment) time.Duration { return now.Wall - t.received.Wall - t.age(now) }

// apart reports whether clocks that differ by d have drifted apart.
func apart(d time.Duration) bool { return d > maxDrift || d < -maxDrift }

// jump is how far the wall clock has jumped, as far as that was not acted upon.
// It is 0 for a small drift.
func (t *Token) jump(now Moment) time.Duration {
	if d := t.ahead(now) - t.drift; apart(d) {
		return d
	}
	return 0
}

// due reports whether an attempt to renew is due: it is time, or a clock stepped.
func (t *Token) due(now Moment) bool { return t.age(now) >= t.renewAt || t.jump(now) != 0 }

// doubted reports whether a good token may have expired while the monotonic clock
// stood still: the wall clock has jumped past its expiry, and no fetch that began
// since has ended. A call waits for a fetch then, and gets the token only if that
// fails.
func (t *Token) doubted(now Moment) bool {
	return t.doubt || t.age(now)+t.jump(now) >= t.Life
}

// turns are the moments, on the monotonic clock, at which a good token becomes
// due, doubted and expired, if no clock steps until then.
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

// renewing is the token while its renewal is under way.
func (t Token) renewing(now Moment) Token {
	t.doubt = t.doubted(now)
	t.drift += t.jump(now)
	t.renewAt = never
	return t
}

// kept is the token after a clock stepped, if it proves good by the wall clock.
// The machine may have slept: a jump ahead counts as part of its life.
func (t Token) kept(now Moment) Token {
	if jump := t.jump(now); jump > 0 {
		t.received.Mono -= jump
	} else {
		t.drift += jump
	}
	return t
}

// again is the token after an attempt to renew it that brought nothing new: the
// next attempt is a tenth of the window later, and not before the server accepts
// requests.
func (t Token) again(now Moment, wait time.Duration, u float64) Token {
	t.doubt = false
	t.renewAt = t.age(now) + max(spread(t.Step(), u), wait)
	if !apart(t.drift) { // else its expiry is uncertain, and is asked for before the window
		t.renewAt = max(t.renewAt, t.first)
	}
	return t
}

// confirmed is the token after the server gave it out again. What is known of
// its expiry stands, unless the server names another, or the clocks drifted apart.
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

// sameExpiry reports whether the server names the expiry that is known. A lifetime
// does not start again: it names another expiry only if that is sooner.
func (t Token) sameExpiry(newer Token) bool {
	if t.NotAfter.IsZero() && newer.NotAfter.IsZero() {
		return newer.received.Mono+newer.Life > t.received.Mono+t.Life
	}
	return newer.NotAfter.Equal(t.NotAfter)
}

// ended reports whether a failed fetch proves that the token's life is over
// before its expiry.
func (t Token) ended(f Fetch, r Result, now Moment) bool {
	switch {
	case r.Expired.ID == t.ID: // the server gave it out as expired
		return !t.sameExpiry(r.Expired) || apart(t.ahead(now))
	case !r.NoDelegate:
		return false
	case f.Rejected == t.ID: // an API rejected it, and the server has no delegation
		return true
	}
	// The wall clock agrees: the token expired while the machine slept.
	ahead := t.ahead(now)
	return ahead > maxDrift && t.age(now)+ahead >= t.Life
}
