// Copyright 2026 The authsec Authors
// SPDX-License-Identifier: Apache-2.0

package lifecycle

import (
	"testing"
	"time"
)

// The window is a fifth of a token's life, 5 minutes at most, or RenewBefore. The
// first attempt to renew is in its first half. The next is a tenth of it later, and
// 1 s at least, both with ±50 % jitter.
func TestWindow(t *testing.T) {
	const s, m = time.Second, time.Minute
	for _, tt := range []struct {
		life, renewBefore, window, step time.Duration
	}{
		{10 * s, 0, 2 * s, s},
		{m, 0, 12 * s, 1200 * time.Millisecond},
		{25 * m, 0, 5 * m, 30 * s},
		{26 * m, 0, 5 * m, 30 * s},
		{24 * hour, 0, 5 * m, 30 * s},
		{hour, 20 * m, 20 * m, 2 * m},
		{hour, hour, hour, 6 * m},
		{hour, 48 * hour, hour, 6 * m},
		{hour, 1, 1, s},
		{hour, 10 * s, 10 * s, s},
		{hour, 20 * s, 20 * s, 2 * s},
		{4, 0, 0, s}, // too short for a window
		{100 * 365 * 24 * hour, 0, 5 * m, 30 * s},
		{100 * 365 * 24 * hour, never, 100 * 365 * 24 * hour, 10 * 365 * 24 * hour},
		{0, 0, 0, s},
		{-hour, 0, 0, s},
		{-hour, hour, 0, s},
	} {
		for _, u := range []float64{0, 0.5, nearlyOne} {
			token := New(idA, at(0), tt.life, time.Time{}, tt.renewBefore, u)
			if token.Window() != tt.window || token.Step() != tt.step {
				t.Errorf("life %v, RenewBefore %v: got window %v, step %v; want %v, %v", tt.life, tt.renewBefore, token.Window(), token.Step(), tt.window, tt.step)
			}
			first := tt.life - tt.window + time.Duration(u*float64(tt.window/2))
			if diff := token.renewAt - first; diff < -ns || diff > ns || token.renewAt > tt.life {
				t.Errorf("life %v, RenewBefore %v, u = %v: got the first attempt at %v, want %v", tt.life, tt.renewBefore, u, token.renewAt, first)
			}
			if tt.life <= 0 && (token.Good(at(0)) || token.Fresh(at(0))) {
				t.Errorf("life %v: got a good token, want none", tt.life)
			}
			if tt.life < s {
				continue
			}
			state := State{Token: token}
			now := Moment{state.NextFetch(at(0)), 0}
			now.Wall = startWall + now.Mono - startMono
			if now.Mono == 0 { // due at once
				now = at(0)
			}
			state, _ = state.Begin(now, Call{}).Land(now, failed(), u)
			want := min(now.Mono+tt.step/2+time.Duration(u*float64(tt.step)), startMono+tt.life)
			if got := state.NextFetch(now); got < want-ns || got > want+ns {
				t.Errorf("life %v, RenewBefore %v, u = %v: got the second attempt at %v, want %v", tt.life, tt.renewBefore, u, got-startMono, want-startMono)
			}
		}
	}
}

// A token that a Refresh or a rejection asked for again is renewed no earlier.
func TestAttemptsBeforeTheWindowDoNotBringItForward(t *testing.T) {
	for name, r := range map[string]Result{"failed": failed(), "unchanged": {Token: issued(idA, at(0), hour)}} {
		s := holding().after(at(time.Minute), Call{Refresh: true}, r)
		if got := s.NextFetch(at(time.Minute)); got != startMono+renewal {
			t.Errorf("%s: got the next attempt at %v, want %v", name, got-startMono, renewal)
		}
	}
}

// The server gives out the same token again. The table tells when the first answer
// came, what it said, and what the second one says, a minute later.
func TestConfirmedToken(t *testing.T) {
	const m = time.Minute
	named := func(life time.Duration) func(Moment) Token { // NotAfter and life agree
		return func(now Moment) Token { return issued(idA, now, life) }
	}
	known := func(life time.Duration) func(Moment) Token { // the known NotAfter, and another life
		return func(now Moment) Token {
			return New(idA, now, life, time.Unix(0, int64(startWall+hour)), 0, 0)
		}
	}
	lifetime := func(life time.Duration) func(Moment) Token {
		return func(now Moment) Token { return New(idA, now, life, time.Time{}, 0, 0) }
	}
	for _, tt := range []struct {
		name          string
		first, second func(Moment) Token
		jump          time.Duration // of the wall clock in between
		expiry        time.Duration // since the start
		next          time.Duration // the next attempt
	}{
		{"same expiry", named(hour), named(59 * m), 0, hour, renewal},
		{"same expiry, by another estimate", named(hour), known(50 * m), 0, hour, renewal},
		{"same expiry, small drift", named(hour), known(50 * m), maxDrift, hour, renewal},
		{"same expiry, clock stepped", named(hour), known(50 * m), maxDrift + ns, 51 * m, 46 * m},
		{"same expiry, clock stepped back", named(hour), known(59 * m), -hour, hour, renewal},
		{"same expiry, clock stepped, in the window", named(hour), known(2 * m), hour, 3 * m, 90 * time.Second},
		{"shortened", named(hour), named(10 * m), 0, 11 * m, 9 * m},
		{"extended", named(hour), named(2 * hour), 0, 2*hour + m, 2*hour - 4*m},
		{"expiry in place of a lifetime", lifetime(hour), named(2 * hour), 0, 2*hour + m, 2*hour - 4*m},
		{"lifetime in place of an expiry", named(hour), lifetime(2 * hour), 0, 2*hour + m, 2*hour - 4*m},
		{"lifetime", lifetime(hour), lifetime(hour), 0, hour, renewal},
		{"lifetime that counts down", lifetime(hour), lifetime(59 * m), 0, hour, renewal},
		{"shortened lifetime", lifetime(hour), lifetime(10 * m), 0, 11 * m, 9 * m},
		{"lifetime, clock stepped: it starts again", lifetime(hour), lifetime(hour), hour, hour + m, 56 * m},
	} {
		s := State{Token: tt.first(at(0))}
		now := stepped(m, tt.jump)
		s = s.after(now, Call{Refresh: true}, Result{Token: tt.second(now)})
		s = State{Token: s.Token}
		if got := s.Token.Left(now) + m; got != tt.expiry {
			t.Errorf("%s: got the expiry %v after the start, want %v", tt.name, got, tt.expiry)
		}
		if got := s.NextFetch(now) - startMono; got != tt.next {
			t.Errorf("%s: got the next attempt at %v, want %v", tt.name, got, tt.next)
		}
		if good := s.Token.Good(stepped(tt.expiry-ns, tt.jump)); !good || s.Token.Good(stepped(tt.expiry, tt.jump)) {
			t.Errorf("%s: want the token good until %v, and no longer", tt.name, tt.expiry)
		}
		if got, want := s.Token.Expiry(), now.Wall+tt.expiry-m; got != want && (got-want > maxDrift || want-got > maxDrift) {
			t.Errorf("%s: got Expiry %v after the true one on the wall clock, want at most %v", tt.name, got-want, maxDrift)
		}
	}
}

// A life that was shortened and then extended has the window of any other.
func TestExtendedTokenHasItsWindowBack(t *testing.T) {
	s := State{Token: New(idA, at(0), 2*hour, time.Unix(1, 0), hour, 0)}
	s = s.after(at(time.Second), Call{Refresh: true}, Result{Token: New(idA, at(time.Second), 10*time.Second, time.Unix(2, 0), hour, 0)})
	if got := s.Token.Window(); got != 10*time.Second {
		t.Errorf("shortened to 10s: got window %v, want all of it", got)
	}
	s = s.after(at(2*time.Second), Call{Refresh: true}, Result{Token: New(idA, at(2*time.Second), 3*hour, time.Unix(3, 0), hour, 0)})
	if got, want := s.NextFetch(at(2*time.Second)), startMono+2*time.Second+2*hour; s.Token.Window() != hour || got != want {
		t.Errorf("extended to 3h: got window %v, first attempt at %v; want %v, %v", s.Token.Window(), got, hour, want)
	}
}

// Where the expiry was estimated too late, the attempts keep their part of the window.
func TestWindowOfACorrectedExpiry(t *testing.T) {
	received := New(idA, at(0), hour, time.Unix(1, 0), 20*time.Minute, 0.5) // first: 15 minutes before its expiry
	for _, tt := range []struct{ left, window, next time.Duration }{
		{40 * time.Minute, 20 * time.Minute, 25 * time.Minute},
		{20 * time.Minute, 20 * time.Minute, 5 * time.Minute},
		{10 * time.Minute, 10 * time.Minute, 150 * time.Second},
	} {
		now := stepped(time.Minute, hour)
		s := State{Token: received}.after(now, Call{}, Result{Token: New(idA, now, tt.left, time.Unix(1, 0), 20*time.Minute, 0)})
		if got := s.NextFetch(now) - now.Mono; got != tt.next || s.Token.Window() != tt.window {
			t.Errorf("%v left: got window %v, next attempt after %v; want %v, %v", tt.left, s.Token.Window(), got, tt.window, tt.next)
		}
	}
}
