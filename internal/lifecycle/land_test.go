// Copyright 2026 The authsec Authors
// SPDX-License-Identifier: Apache-2.0

package lifecycle

import (
	"testing"
	"time"
)

const nearlyOne = 1 - 1.0/(1<<53) // the greatest number below 1

func noDelegate() Result { return Result{Err: errA, NoDelegate: true, Answered: true} }

// A fetch leads to an event, and leaves a token in service or none.
func TestLand(t *testing.T) {
	good, rejected := holding(), Call{Rejected: idA, MayFetch: true}
	givesA := Result{Token: issued(idA, at(0), hour)}
	givesB := Result{Token: issued(idB, at(time.Minute), hour)}
	expired := func(id ID, notAfter time.Duration) Result {
		return Result{Err: errA, Answered: true, Expired: New(id, at(time.Minute), -time.Second, time.Unix(0, int64(startWall+notAfter)), 0, 0)}
	}
	ttl := State{Token: New(idA, at(0), hour, time.Time{}, 0, 0)}
	for _, tt := range []struct {
		name  string
		state State
		call  Call
		lands Moment
		res   Result
		event Event
		token ID
	}{
		{"first token", State{}, Call{}, at(time.Minute), givesA, Fetched, idA},
		{"another", good, Call{}, at(time.Minute), givesB, Renewed, idB},
		{"the same", good, Call{}, at(time.Minute), givesA, Unchanged, idA},
		{"another, the old one expired meanwhile", good, Call{}, at(hour), givesB, Fetched, idB},
		{"the same, extended, it expired meanwhile", good, Call{}, at(hour), Result{Token: issued(idA, at(hour), hour)}, Fetched, idA},
		{"failed", good, Call{}, at(time.Minute), failed(), RenewalFailed, idA},
		{"failed, last moment", good, Call{}, at(hour - ns), failed(), RenewalFailed, idA},
		{"failed, expired meanwhile", good, Call{}, at(hour), failed(), NoToken, none},
		{"failed without a token", State{}, Call{}, at(0), failed(), NoToken, none},
		{"429", good, Call{}, at(0), limited(time.Minute), RenewalFailed, idA},
		{"rejected, failed", good, rejected, at(time.Minute), failed(), RenewalFailed, idA},
		{"rejected, no delegation", good, rejected, at(time.Minute), noDelegate(), NoToken, none},
		{"another rejected, no delegation", good, Call{Rejected: idOld, MayFetch: true}, at(time.Minute), noDelegate(), RenewalFailed, idA},
		{"none rejected, no delegation", good, Call{}, at(time.Minute), noDelegate(), RenewalFailed, idA},
		{"refresh, no delegation", good, Call{Refresh: true}, at(time.Minute), noDelegate(), RenewalFailed, idA},
		{"widen, no delegation", good, Call{Rejected: idA, Widen: true, MayFetch: true}, at(time.Minute), noDelegate(), RenewalFailed, idA},
		{"no delegation, the wall clock agrees", good, Call{}, stepped(time.Minute, 59*time.Minute), noDelegate(), NoToken, none},
		{"no delegation, the wall clock does not", good, Call{}, stepped(time.Minute, 59*time.Minute-ns), noDelegate(), RenewalFailed, idA},
		{"no delegation, a small drift", good, Call{}, stepped(hour-5*time.Second, maxDrift), noDelegate(), RenewalFailed, idA},
		{"no delegation, more than that", good, Call{}, stepped(hour-5*time.Second, maxDrift+ns), noDelegate(), NoToken, none},
		{"failed, the wall clock says expired", good, Call{}, stepped(time.Minute, 2*hour), failed(), RenewalFailed, idA},
		{"given out as expired, another expiry", good, Call{}, at(time.Minute), expired(idA, 59*time.Second), NoToken, none},
		{"given out as expired, the known expiry", good, Call{}, at(time.Minute), expired(idA, hour), RenewalFailed, idA},
		{"given out as expired, clock stepped", good, Call{}, stepped(time.Minute, -hour), expired(idA, hour), NoToken, none},
		{"another given out as expired", good, Call{}, at(time.Minute), expired(idB, 59*time.Second), RenewalFailed, idA},
		{"its lifetime is over", ttl, Call{}, at(time.Minute), Result{Err: errA, Expired: New(idA, at(time.Minute), -time.Second, time.Time{}, 0, 0)}, NoToken, none},
	} {
		s, event := tt.state.Begin(at(0), tt.call).Land(tt.lands, tt.res, 0.5)
		if event != tt.event || s.Token.ID != tt.token || s.Fetching || s.Fetch != (Fetch{}) {
			t.Errorf("%s: got %s, token %s, fetching %t, %+v; want %s, %s, false, none", tt.name, eventNames[event], text(s.Token.ID), s.Fetching, s.Fetch, eventNames[tt.event], text(tt.token))
		}
		cached := tt.res.Err != nil && (tt.event == NoToken || tt.res.RetryAfter > 0)
		if got := s.Failure == errA; got != cached {
			t.Errorf("%s: the failure is cached: got %t, want %t", tt.name, got, cached)
		}
	}
}

// A failure without a token is cached for 1 s, doubling to a minute with ±50 %
// jitter, until a fetch succeeds.
func TestCachedFailuresGrow(t *testing.T) {
	for _, tt := range []struct {
		u    float64
		want []time.Duration
	}{
		{0, []time.Duration{500 * time.Millisecond, time.Second, 2 * time.Second, 4 * time.Second, 8 * time.Second, 16 * time.Second, 30 * time.Second, 30 * time.Second}},
		{0.5, []time.Duration{time.Second, 2 * time.Second, 4 * time.Second, 8 * time.Second, 16 * time.Second, 32 * time.Second, time.Minute, time.Minute}},
		{nearlyOne, []time.Duration{1500 * time.Millisecond, 3 * time.Second, 6 * time.Second, 12 * time.Second, 24 * time.Second, 48 * time.Second, 90 * time.Second, 90 * time.Second}},
	} {
		s, now := State{}, at(0)
		fail := func(want time.Duration) {
			t.Helper()
			promised := s.Hold(now, tt.u)
			s, _ = s.Begin(now, Call{}).Land(now, failed(), tt.u)
			got := s.RetryAt() - now.Mono
			if diff := got - want; diff < -ns || diff > ns || got != promised {
				t.Errorf("u = %v: got %v, and Hold %v; want %v", tt.u, got, promised, want)
			}
			now = Moment{s.RetryAt(), now.Wall + got}
		}
		for _, want := range tt.want {
			fail(want)
		}
		for range 100 { // far beyond what a shift can hold
			fail(tt.want[len(tt.want)-1])
		}
		s = s.after(now, Call{}, Result{Token: issued(idA, now, time.Second)})
		now = Moment{now.Mono + time.Second, now.Wall + time.Second}
		fail(tt.want[0])
	}
}

// With a good token, other processes cache the failure for a step.
func TestHoldOfAGoodToken(t *testing.T) {
	s := holding()
	for u, want := range map[float64]time.Duration{0: step / 2, 0.5: step, nearlyOne: step * 3 / 2} {
		if got := s.Hold(at(0), u); got < want-ns || got > want {
			t.Errorf("u = %v: got %v, want %v", u, got, want)
		}
	}
}

// Two fetches land at the start and 10 s later. The table tells how long the
// second one's failure is cached, and how long the server accepts no request.
func TestWaitsOfTheServer(t *testing.T) {
	const s, m = time.Second, time.Minute
	for _, tt := range []struct {
		name          string
		first, second Result
		cached        time.Duration // from the second on, without a token
		renewed       time.Duration // the next attempt, with a good token
		wait          time.Duration // a rejection causes no fetch, with a good token
		limited       bool          // calls with a deadline wait, without a token
	}{
		{"fault", failed(), failed(), 2 * s, step, 0, false},
		{"429", failed(), limited(m), m, m, m, true},
		{"429, shorter than a step", failed(), limited(5 * s), 5 * s, step, 5 * s, true},
		{"429, then a fault", limited(m), failed(), 50 * s, 50 * s, 50 * s, true},
		{"429, then a fault at its end", limited(10 * s), failed(), 2 * s, step, 0, false},
		{"429, then 503 with a shorter Retry-After", limited(m), Result{Err: errA, RetryAfter: 7 * s}, 50 * s, 50 * s, 50 * s, true},
		{"429, then 503 with a longer Retry-After", limited(m), Result{Err: errA, RetryAfter: 2 * m}, 2 * m, 2 * m, 2 * m, false},
		{"429, then an answer", limited(m), Result{Err: errA, Answered: true}, 2 * s, step, 0, false},
		{"429, then a shorter one", limited(m), limited(7 * s), 7 * s, step, 7 * s, true},
		{"429, then one with Retry-After 0", limited(m), limited(0), 2 * s, step, 0, true},
		{"429 with Retry-After 0", failed(), limited(0), 2 * s, step, 0, true},
		{"503 with Retry-After", failed(), Result{Err: errA, RetryAfter: m}, m, m, m, false},
		{"another process's failure", failed(), Result{Err: errA, Hold: 20 * s}, 20 * s, step, 0, false},
		{"429, then another process's shorter one", limited(m), Result{Err: errA, Hold: 20 * s}, 50 * s, 50 * s, 50 * s, true},
		{"another process's 429", failed(), Result{Err: errA, Answered: true, Limited: true, RetryAfter: m, Hold: 2 * m}, m, m, m, true},
		{"another process's 429 that ends", failed(), Result{Err: errA, Answered: true, Limited: true, Hold: 3 * s}, 3 * s, step, 0, true},
	} {
		second := at(10 * s)
		cold := State{}.after(at(0), Call{}, tt.first).after(second, Call{Refresh: true}, tt.second)
		if got := cold.RetryAt() - second.Mono; got != tt.cached || cold.Failure != tt.second.Err {
			t.Errorf("%s: without a token: got %s cached for %v, want %v", tt.name, cause(cold.Failure), got, tt.cached)
		}
		if got := cold.Next(second, Call{Deadline: 100 * hour}) == Pause; got != tt.limited {
			t.Errorf("%s: without a token, a call with a deadline waits: got %t, want %t", tt.name, got, tt.limited)
		}
		tokenAt := at(10*s - renewal) // both are in its window
		warm := State{Token: issued(idA, tokenAt, hour)}.after(at(0), Call{}, tt.first).after(second, Call{Refresh: true}, tt.second)
		if got := warm.NextFetch(second) - second.Mono; got != tt.renewed {
			t.Errorf("%s: with a token: got the next attempt after %v, want %v", tt.name, got, tt.renewed)
		}
		if fresh := warm.Token.Fresh(at(10*s + tt.renewed - ns)); !fresh || warm.Token.Fresh(at(10*s+tt.renewed)) {
			t.Errorf("%s: with a token: want it fresh until the next attempt: nothing is to decide before", tt.name)
		}
		if got := warm.Failure != nil; got != (tt.wait > 0) || got && warm.RetryAt() != second.Mono+tt.wait {
			t.Errorf("%s: with a token: got %s cached until %v, want it for as long as the server's wait, %v", tt.name, cause(warm.Failure), warm.RetryAt()-second.Mono, tt.wait)
		}
		for _, c := range []Call{{Rejected: idA, MayFetch: true}, {Rejected: idA, MayFetch: true, Widen: true}} {
			if tt.wait > 0 {
				if got := warm.Next(at(10*s+tt.wait-ns), c); got != Serve {
					t.Errorf("%s: %+v before the wait ends: got %s, want Serve", tt.name, c, actionNames[got])
				}
			}
			if got := warm.Next(at(10*s+tt.wait), c); got == Serve {
				t.Errorf("%s: %+v after the wait: got Serve, want a fetch", tt.name, c)
			}
		}
	}
}

// A success ends what is known of failures.
func TestSuccessEndsFailures(t *testing.T) {
	for _, id := range []ID{idA, idB} { // the same token, another
		failing := holding().after(at(renewal), Call{}, limited(4*time.Minute))
		s := failing.after(at(renewal), Call{Refresh: true}, Result{Token: issued(id, at(0), hour)})
		if s.Failure != nil || s.RetryAt() != 0 || s.NextFetch(at(renewal)) > startMono+renewal+step {
			t.Errorf("%s: got %s until %v, next fetch %v; want none, 0, and no wait", text(id), cause(s.Failure), s.RetryAt(), s.NextFetch(at(renewal))-startMono)
		}
		if got := s.Next(at(renewal), Call{Rejected: id, MayFetch: true}); got != Start {
			t.Errorf("%s: rejected at once: got %s, want Start", text(id), actionNames[got])
		}
		s = s.after(at(hour), Call{}, failed())
		if got := s.RetryAt() - at(hour).Mono; got != time.Second {
			t.Errorf("%s: the next failure is cached for %v, want 1s", text(id), got)
		}
	}
}

// The failure that is cached is the last one.
func TestLastFailureIsCached(t *testing.T) {
	s := holding().after(at(hour-time.Minute), Call{}, limited(4*time.Minute))
	s = s.after(at(hour-time.Minute), Call{Refresh: true}, Result{Err: errB})
	if s.Failure != errB || s.RetryAt() != startMono+hour+3*time.Minute {
		t.Errorf("got %s until %v, want the last one until the server's wait ends", cause(s.Failure), s.RetryAt()-startMono)
	}
}

// A rejection and the server's word end a token: the failure is cached as briefly
// as a first one, since its 404 may be a transient fault.
func TestEndOfARejectedTokenIsCachedBriefly(t *testing.T) {
	s := holding().after(at(time.Minute), Call{Rejected: idA, MayFetch: true}, noDelegate())
	if got := s.RetryAt() - at(time.Minute).Mono; got != time.Second {
		t.Errorf("got %v, want 1s", got)
	}
}
