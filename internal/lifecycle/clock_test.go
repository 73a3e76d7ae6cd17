// Copyright 2026 The authsec Authors
// SPDX-License-Identifier: Apache-2.0

package lifecycle

import (
	"testing"
	"time"
)

const year = 365 * 24 * hour

// The wall clock jumps while token A is in service, and a call comes. If the token
// proves good by the wall clock, it is kept and the server is not asked: a jump
// ahead counts as part of its life.
func TestClockSteps(t *testing.T) {
	const m = time.Minute
	for _, tt := range []struct {
		name   string
		after  time.Duration // since the start
		jump   time.Duration
		want   Action
		kept   bool          // there is no other cause for a fetch
		expiry time.Duration // if it is kept, since the start
		shown  time.Duration // Expiry, by the wall clock, since its start
	}{
		{"ahead by a small drift", m, maxDrift, Serve, false, 0, hour},
		{"ahead", m, maxDrift + ns, Renew, true, hour - maxDrift - ns, hour},
		{"back by a small drift", m, -maxDrift, Serve, false, 0, hour},
		{"back", m, -maxDrift - ns, Renew, true, hour, hour - maxDrift - ns},
		{"back to 1970", m, -startWall, Renew, true, hour, hour - startWall},
		{"ahead within its life", 10 * m, 49 * m, Renew, true, 11 * m, hour},
		{"to the last moment", 10 * m, 50*m - ns, Renew, true, 10*m + ns, hour},
		{"to its expiry", 10 * m, 50 * m, Start, true, 10 * m, hour},
		{"far beyond", 10 * m, 200 * year, Start, true, 10*m - 200*year + 50*m, hour},
		{"back in its window", renewal, -hour, Renew, false, 0, 0},
		{"ahead in its window", renewal, 2 * m, Renew, false, 0, 0},
		{"beyond its expiry in its window", renewal, 5 * m, Start, false, 0, 0},
		{"a small drift beyond its expiry", hour - 5*time.Second, maxDrift, Renew, false, 0, 0},
		{"more than that", hour - 5*time.Second, maxDrift + ns, Start, false, 0, 0},
	} {
		s, now := holding(), stepped(tt.after, tt.jump)
		if got := s.Next(now, Call{}); got != tt.want {
			t.Errorf("%s: got %s, want %s", tt.name, actionNames[got], actionNames[tt.want])
		}
		if got := s.Token.Fresh(now); got != (tt.want == Serve) {
			t.Errorf("%s: got fresh %t, want it if there is nothing to decide", tt.name, got)
		}
		if tt.want == Serve {
			continue
		}
		if got := s.MayKeep(now, Call{}); got != tt.kept {
			t.Errorf("%s: got MayKeep %t, want %t", tt.name, got, tt.kept)
		}
		for _, c := range []Call{{Refresh: true}, {Rejected: idA, MayFetch: true}, {Rejected: idA, MayFetch: true, Widen: true}} {
			if s.MayKeep(now, c) {
				t.Errorf("%s: %+v: got MayKeep, want the server asked", tt.name, c)
			}
		}
		if !tt.kept {
			continue
		}
		begun := s.Begin(now, Call{})
		kept, event := begun.Land(now, Result{Kept: true}, 0.5)
		if event != Kept {
			t.Errorf("%s: got %s, want Kept", tt.name, eventNames[event])
		}
		if got := kept.Token.Left(now) + tt.after; got != tt.expiry {
			t.Errorf("%s: got the expiry %v after the start, want %v", tt.name, got, tt.expiry)
		}
		if got := kept.Token.Expiry() - startWall; got != tt.shown {
			t.Errorf("%s: got Expiry %v, want %v", tt.name, got, tt.shown)
		}
		if tt.want == Renew {
			if got := kept.Next(now, Call{}); got != Serve && tt.expiry-tt.after > window {
				t.Errorf("%s: after it was kept: got %s, want Serve", tt.name, actionNames[got])
			}
			if got, want := kept.NextFetch(now), startMono+tt.expiry-window; got != max(0, want) && want > now.Mono {
				t.Errorf("%s: after it was kept: got the first attempt at %v, want %v", tt.name, got-startMono, want-startMono)
			}
		}
	}
}

// A fetch after a step that fails leaves the token in service until its expiry by
// the monotonic clock. The expiry is uncertain, so it is asked for again a step
// later, even before the window.
func TestFailedFetchAfterClockStep(t *testing.T) {
	for _, jump := range []time.Duration{-hour, time.Minute, 2 * hour, 50 * year, -startWall} {
		now := stepped(10*time.Minute, jump)
		begun := holding().Begin(now, Call{})
		if got := begun.Next(now, Call{}); (got == Join) != (jump >= 50*time.Minute) {
			t.Errorf("%v: during the fetch: got %s, want Join only if the token is past its expiry by the wall clock", jump, actionNames[got])
		}
		if got := begun.Token.Fresh(now); got == (jump >= 50*time.Minute) {
			t.Errorf("%v: during the fetch: got fresh %t, want it unless the token is past its expiry by the wall clock", jump, got)
		}
		s, event := begun.Land(now, failed(), 0.5)
		if got := s.Next(now, Call{}); event != RenewalFailed || got != Serve {
			t.Errorf("%v: got %s and then %s, want RenewalFailed, Serve", jump, eventNames[event], actionNames[got])
		}
		if got := s.NextFetch(now) - now.Mono; got != step {
			t.Errorf("%v: got the next attempt after %v, want %v", jump, got, step)
		}
		if s.MayKeep(stepped(10*time.Minute+step, jump), Call{}) {
			t.Errorf("%v: the next attempt may keep the token, want the server asked", jump)
		}
		if got, want := s.Token.Expiry(), startWall+hour+jump; got != want {
			t.Errorf("%v: got Expiry %v after the true one, want 0s", jump, got-want)
		}
		if !s.Token.Good(stepped(hour-ns, jump)) || s.Token.Good(stepped(hour, jump)) {
			t.Errorf("%v: want the token good until its expiry by the monotonic clock", jump)
		}
		back := stepped(20*time.Minute, 0) // the wall clock is set right again
		s = s.after(back, Call{}, Result{Token: issued(idA, back, 40*time.Minute)})
		if got := s.NextFetch(back); got != startMono+renewal || s.Token.Expiry() != startWall+hour {
			t.Errorf("%v: confirmed: got the next attempt at %v, Expiry %v; want %v, %v", jump, got-startMono, s.Token.Expiry()-startWall, renewal, hour)
		}
	}
}

// A kept token keeps its schedule: a step of the clock is no reason to ask a server
// sooner that has just failed, or accepts no request.
func TestKeptTokenKeepsItsSchedule(t *testing.T) {
	const nearly = renewal - 15*time.Second
	for _, tt := range []struct {
		name  string
		after time.Duration // the failure
		res   Result
		jump  time.Duration
		want  time.Duration // the next attempt
	}{
		{"failed, back", renewal, failed(), -hour, renewal + step},
		{"failed, ahead", nearly, failed(), 11 * time.Second, nearly + step - 11*time.Second},
		{"rate limited, back", renewal, limited(2 * time.Minute), -hour, renewal + 2*time.Minute},
		{"rate limited, ahead", nearly, limited(2 * time.Minute), 11 * time.Second, nearly + 2*time.Minute},
	} {
		now := stepped(tt.after, tt.jump)
		s := holding().after(at(tt.after), Call{Refresh: true}, tt.res)
		if s = s.Begin(now, Call{}); s.Fetch.keep.ID == none {
			t.Fatalf("%s: the token may not be kept", tt.name)
		}
		s, _ = s.Land(now, Result{Kept: true}, 0.5)
		if got := s.NextFetch(now) - startMono; got != tt.want {
			t.Errorf("%s: got the next attempt at %v, want %v", tt.name, got, tt.want)
		}
	}
}

// The wall clock goes back and comes forward again, over and over. Each jump ahead
// may be a suspend and shortens the token's life. The server's answer restores it.
func TestClockThatSwings(t *testing.T) {
	s := holding()
	for i := range 6 {
		jump := time.Duration(i%2-1) * time.Minute // back, ahead, ...
		now := stepped(time.Minute, jump)
		s = s.after(now, Call{}, Result{Kept: true})
		if got, want := s.Token.Left(now), 59*time.Minute-time.Duration((i+1)/2)*time.Minute; got != want {
			t.Errorf("step %d: got %v left, want %v", i, got, want)
		}
	}
	now := at(2 * time.Minute)
	s = s.after(now, Call{Refresh: true}, Result{Token: issued(idA, now, 58*time.Minute)})
	if got := s.Token.Left(now); got != 58*time.Minute {
		t.Errorf("confirmed: got %v left, want 58m", got)
	}
}

// A jump while a fetch is under way is noticed once it has landed.
func TestClockStepDuringFetch(t *testing.T) {
	for _, jump := range []time.Duration{-hour, 11 * time.Second, 2 * hour} {
		now := stepped(renewal, jump)
		s, _ := holding().Begin(at(renewal), Call{}).Land(now, failed(), 0.5)
		want := Renew
		if jump == 2*hour {
			want = Start // the fetch that failed began before
		}
		if got := s.Next(now, Call{}); got != want {
			t.Errorf("%v: failed: got %s, want %s", jump, actionNames[got], actionNames[want])
		}
		s, _ = holding().Begin(at(renewal), Call{}).Land(now, Result{Token: issued(idB, now, hour)}, 0.5)
		if got := s.Next(now, Call{}); got != Serve {
			t.Errorf("%v: renewed: got %s, want Serve", jump, actionNames[got])
		}
	}
}

// Drift that builds up slowly counts as a step once it exceeds 10 s.
func TestSlowDrift(t *testing.T) {
	s, steps := holding(), 0
	for i := range 50 {
		now := stepped(time.Duration(i)*time.Minute, time.Duration(i)*time.Second)
		if s.Next(now, Call{}) == Renew {
			s = s.after(now, Call{}, Result{Kept: true})
			steps++
		}
	}
	if steps != 4 {
		t.Errorf("got %d steps in 49s of drift, want one each 11s: 4", steps)
	}
}

// A token for 100 years, received when the wall clock reads 1970, lives for 100
// years, and its Expiry is right once the clock is.
func TestLongLifeAndWrongClock(t *testing.T) {
	received := Moment{Mono: 0, Wall: 0}
	s := State{Token: New(idA, received, 100*year, time.Unix(0, int64(startWall)).Add(100*year), 0, nearlyOne)}
	now := Moment{Mono: time.Minute, Wall: startWall + time.Minute}
	if got := s.Next(now, Call{}); got != Renew {
		t.Errorf("the clock is set right: got %s, want Renew", actionNames[got])
	}
	s = s.after(now, Call{}, failed())
	if got := s.Token.Expiry(); got != startWall+100*year {
		t.Errorf("got Expiry %v after the true one, want 0s", got-startWall-100*year)
	}
	now = Moment{Mono: 100*year - ns, Wall: startWall + 100*year - ns}
	if got := s.Next(now, Call{}); got != Renew || !s.Token.Good(now) || s.Token.Left(now) != ns {
		t.Errorf("in its last moment: got %s, %v left; want Renew, 1ns", actionNames[got], s.Token.Left(now))
	}
}
