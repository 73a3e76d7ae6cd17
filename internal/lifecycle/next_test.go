// Copyright 2026 The authsec Authors
// SPDX-License-Identifier: Apache-2.0

package lifecycle

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

const (
	startMono = 90 * time.Second            // when the tables' token is received
	startWall = 1_764_000_000 * time.Second // in 2025

	hour    = time.Hour
	window  = 5 * time.Minute  // of a token that lives for an hour
	renewal = 55 * time.Minute // its first attempt, with u = 0
	step    = 30 * time.Second // and from one attempt to the next, with u = 0.5
	ns      = time.Nanosecond
)

var (
	idA, idB, idOld = NewID("A"), NewID("B"), NewID("old")
	actionNames     = []string{"Serve", "Renew", "Start", "Join", "Pause", "FailCached"}
	eventNames      = []string{"Fetched", "Renewed", "Unchanged", "Kept", "RenewalFailed", "NoToken"}
)

// fault is an error whose text nobody may ask for.
type fault struct{ name string }

func (*fault) Error() string { panic("Error was called") }

var errA, errB = &fault{"A"}, &fault{"B"}

// cause shows a fault.
func cause(err error) string {
	if err == nil {
		return "no failure"
	}
	return "failure " + err.(*fault).name
}

// text shows an ID.
func text(id ID) string {
	if id == none {
		return "none"
	}
	for _, token := range []string{"A", "B", "old"} {
		if id == NewID(token) {
			return token
		}
	}
	return string(id)
}

// at is the moment d after the start.
func at(d time.Duration) Moment { return stepped(d, 0) }

// stepped is the moment d after the start, when the wall clock has jumped.
func stepped(d, jump time.Duration) Moment {
	return Moment{Mono: startMono + d, Wall: startWall + d + jump}
}

// issued is a token received at a moment, whose expiry the server names.
func issued(id ID, received Moment, life time.Duration) Token {
	return New(id, received, life, time.Unix(0, int64(received.Wall+life)), 0, 0)
}

// holding has token A, which lives for an hour from the start.
func holding() State { return State{Token: issued(idA, at(0), hour)} }

// after is the state after a fetch for c that begins and lands at one moment.
func (s State) after(now Moment, c Call, r Result) State {
	s, _ = s.Begin(now, c).Land(now, r, 0.5)
	return s
}

func failed() Result { return Result{Err: errA} }
func limited(after time.Duration) Result {
	return Result{Err: errA, Answered: true, Limited: true, RetryAfter: after}
}

// Each row is a state and a moment, each column a call.
func TestNext(t *testing.T) {
	calls := []Call{
		{},
		{Deadline: startMono + 100*hour},
		{Rejected: idA, MayFetch: true},
		{Rejected: idA},
		{Rejected: idOld, MayFetch: true},
		{Refresh: true},
		{Rejected: idA, Widen: true, MayFetch: true},
		{Rejected: idA, Widen: true},
		{Rejected: idOld, Widen: true, MayFetch: true},
	}
	good, unrenewed := holding(), holding().after(at(0), Call{}, failed())
	refreshed := holding().after(at(0), Call{Refresh: true}, failed())
	cold := State{}.after(at(0), Call{}, failed()) // for 1 s
	coldLimited := State{}.after(at(0), Call{}, limited(time.Minute))
	unavailable := State{}.after(at(0), Call{}, Result{Err: errA, RetryAfter: time.Minute})
	goodLimited := good.after(at(renewal), Call{}, limited(time.Minute))
	expiring := good.after(at(hour-time.Second), Call{}, limited(time.Minute))
	fetching, first := good.Begin(at(renewal), Call{}), State{}.Begin(at(0), Call{})
	doubting := good.Begin(stepped(time.Minute, 2*hour), Call{})
	again := good.after(stepped(time.Minute, 2*hour), Call{}, failed()) // served, since the fetch failed
	for _, tt := range []struct {
		name  string
		state State
		now   Moment
		want  string
	}{
		//                                                     ordinary   deadline   rejected   no budget  other      refresh  widen no budget other
		{"no token", State{}, at(0), "Start      Start      Start      Start      Start      Start Serve Serve Serve"},
		{"first fetch under way", first, at(0), "Join       Join       Join       Join       Join       Join  Serve Serve Serve"},
		{"cached failure", cold, at(time.Second - ns), "FailCached FailCached FailCached FailCached FailCached Start Serve Serve Serve"},
		{"cached failure that ends", cold, at(time.Second), "Start      Start      Start      Start      Start      Start Serve Serve Serve"},
		{"rate limited", coldLimited, at(time.Minute - ns), "FailCached Pause      FailCached FailCached FailCached Start Serve Serve Serve"},
		{"rate limit that ends", coldLimited, at(time.Minute), "Start      Start      Start      Start      Start      Start Serve Serve Serve"},
		{"503 with Retry-After", unavailable, at(time.Minute - ns), "FailCached FailCached FailCached FailCached FailCached Start Serve Serve Serve"},
		{"fresh token", good, at(0), "Serve      Serve      Start      Serve      Serve      Start Renew Serve Serve"},
		{"before the window", good, at(renewal - ns), "Serve      Serve      Start      Serve      Serve      Start Renew Serve Serve"},
		{"in the window", good, at(renewal), "Renew      Renew      Start      Serve      Serve      Start Renew Serve Serve"},
		{"last moment", good, at(hour - ns), "Renew      Renew      Start      Serve      Serve      Start Renew Serve Serve"},
		{"expired", good, at(hour), "Start      Start      Start      Start      Start      Start Serve Serve Serve"},
		{"refreshed just now", refreshed, at(time.Second - ns), "Serve      Serve      Start      Serve      Serve      Serve Renew Serve Serve"},
		{"refreshed a second ago", refreshed, at(time.Second), "Serve      Serve      Start      Serve      Serve      Start Renew Serve Serve"},
		{"renewal under way", fetching, at(renewal), "Serve      Serve      Join       Join       Serve      Join  Serve Serve Serve"},
		{"expired during renewal", fetching, at(hour), "Join       Join       Join       Join       Join       Join  Serve Serve Serve"},
		{"renewal failed", unrenewed, at(0), "Serve      Serve      Start      Serve      Serve      Start Renew Serve Serve"},
		{"rate limited with a token", goodLimited, at(renewal + time.Minute - ns), "Serve      Serve      Serve      Serve      Serve      Start Serve Serve Serve"},
		{"and no more", goodLimited, at(renewal + time.Minute), "Renew      Renew      Start      Serve      Serve      Start Renew Serve Serve"},
		{"expired while rate limited", expiring, at(hour), "FailCached Pause      FailCached FailCached FailCached Start Serve Serve Serve"},
		{"clock stepped", good, stepped(time.Minute, -hour), "Renew      Renew      Start      Serve      Serve      Start Renew Serve Serve"},
		{"clock stepped while rate limited", goodLimited, stepped(renewal, -hour), "Serve      Serve      Serve      Serve      Serve      Start Serve Serve Serve"},
		{"doubted", good, stepped(time.Minute, 2*hour), "Start      Start      Start      Serve      Serve      Start Renew Serve Serve"},
		{"doubted while rate limited", goodLimited, stepped(renewal, 2*hour), "Start      Start      Serve      Serve      Serve      Start Serve Serve Serve"},
		{"doubted during its fetch", doubting, stepped(time.Minute, 2*hour), "Join       Join       Join       Join       Serve      Join  Serve Serve Serve"},
		{"doubted during a renewal", fetching, stepped(renewal, 2*hour), "Join       Join       Join       Join       Serve      Join  Serve Serve Serve"},
		{"no more doubted", again, stepped(time.Minute, 2*hour), "Serve      Serve      Start      Serve      Serve      Start Renew Serve Serve"},
	} {
		for i, want := range strings.Fields(tt.want) {
			if got := actionNames[tt.state.Next(tt.now, calls[i])]; got != want {
				t.Errorf("%s: %+v: got %s, want %s", tt.name, calls[i], got, want)
			}
		}
	}
}

// A call waits out a rate limit only if its deadline is later.
func TestOnlyALaterDeadlineWaitsOutARateLimit(t *testing.T) {
	byWindow := State{}.after(at(0), Call{}, limited(time.Minute))
	byZero := State{}.after(at(0), Call{}, limited(0)) // cached for 1 s
	fault503 := byWindow.after(at(59*time.Second), Call{Refresh: true}, failed())
	goodThenNone := holding().after(at(hour-time.Second), Call{}, limited(time.Minute))
	old := byWindow.after(at(time.Minute), Call{}, failed()) // the limit has ended: this is no 429
	for _, tt := range []struct {
		name     string
		state    State
		now      time.Duration
		deadline time.Duration
		want     Action
	}{
		{"no deadline", byWindow, 0, -startMono, FailCached},
		{"before", byWindow, 0, time.Minute - ns, FailCached},
		{"equal", byWindow, 0, time.Minute, FailCached},
		{"after", byWindow, 0, time.Minute + ns, Pause},
		{"Retry-After 0, equal", byZero, 0, time.Second, FailCached},
		{"Retry-After 0, after", byZero, 0, time.Second + ns, Pause},
		{"a later fault is cached for longer, before its end", fault503, 59 * time.Second, 61 * time.Second, FailCached},
		{"and after", fault503, 59 * time.Second, 61*time.Second + ns, Pause},
		{"expired since, equal", goodThenNone, hour, hour + 59*time.Second, FailCached},
		{"expired since, after", goodThenNone, hour, hour + 59*time.Second + ns, Pause},
		{"fault after the limit", old, time.Minute, 100 * hour, FailCached},
	} {
		if got := tt.state.Next(at(tt.now), Call{Deadline: startMono + tt.deadline}); got != tt.want {
			t.Errorf("%s: got %s, want %s", tt.name, actionNames[got], actionNames[tt.want])
		}
	}
}

func TestAnswers(t *testing.T) {
	ordinary, rejected, refresh := Call{Began: hour}, Call{Began: hour, Rejected: idA}, Call{Began: hour, Refresh: true}
	stepped := holding().Begin(stepped(hour-renewal, hour), Call{}).Fetch
	stepped.Began = hour
	if stepped.keep.ID == none {
		t.Fatal("the fetch for a stepped clock has no token to keep")
	}
	for _, tt := range []struct {
		name  string
		call  Call
		fetch Fetch
		got   ID
		want  bool
	}{
		{"ordinary, began since", ordinary, Fetch{Began: hour}, idA, true},
		{"ordinary, began before", ordinary, Fetch{Began: hour - ns}, idA, true},
		{"ordinary, began before, failed", ordinary, Fetch{Began: hour - ns}, none, true},
		{"ordinary, stepped clock", ordinary, stepped, idA, true},
		{"rejected, began since", rejected, Fetch{Began: hour}, idA, true},
		{"rejected, began since, failed", rejected, Fetch{Began: hour}, none, true},
		{"rejected, began before", rejected, Fetch{Began: hour - ns}, idA, false},
		{"rejected, began before, failed", rejected, Fetch{Began: hour - ns}, none, false},
		{"rejected, began before, another token", rejected, Fetch{Began: hour - ns}, idB, true},
		{"rejected, began before, same rejection", rejected, Fetch{Began: hour - ns, Rejected: idA}, idA, true},
		{"rejected, began before, same rejection, failed", rejected, Fetch{Began: hour - ns, Rejected: idA}, none, true},
		{"rejected, began before, other rejection", rejected, Fetch{Began: hour - ns, Rejected: idB}, idA, false},
		{"rejected, stepped clock", rejected, stepped, idA, false},
		{"rejected, stepped clock, another token", rejected, stepped, idB, true},
		{"refresh, began since", refresh, Fetch{Began: hour}, idA, true},
		{"refresh, began since, failed", refresh, Fetch{Began: hour}, none, true},
		{"refresh, began before", refresh, Fetch{Began: hour - ns}, idB, false},
		{"refresh, stepped clock", refresh, stepped, idA, false},
	} {
		if got := tt.call.Answers(tt.fetch, tt.got); got != tt.want {
			t.Errorf("%s: got %t, want %t", tt.name, got, tt.want)
		}
	}
}

func TestBegin(t *testing.T) {
	good := holding()
	for _, tt := range []struct {
		name     string
		call     Call
		rejected ID
		limit    bool // of Refresh
	}{
		{"ordinary", Call{}, none, false},
		{"rejected", Call{Rejected: idA}, idA, false},
		{"widen", Call{Rejected: idA, Widen: true}, none, false},
		{"refresh", Call{Refresh: true}, none, true},
	} {
		s := good.Begin(at(time.Minute), tt.call)
		if !s.Fetching || s.Fetch.Began != startMono+time.Minute || s.Fetch.Rejected != tt.rejected {
			t.Errorf("%s: got fetching %t, %+v; want true, began after 1m, rejected %v", tt.name, s.Fetching, s.Fetch, tt.rejected)
		}
		if s.Token.ID != idA || !s.Token.Fresh(at(hour-ns)) || s.Token.Fresh(at(hour)) {
			t.Errorf("%s: want token A fresh until its expiry: nothing is to decide while it is renewed", tt.name)
		}
		s, _ = s.Land(at(time.Minute), failed(), 0.5)
		if got := s.Next(at(time.Minute), Call{Refresh: true}) == Serve; got != tt.limit {
			t.Errorf("%s: a Refresh at the same moment starts no fetch: got %t, want %t", tt.name, got, tt.limit)
		}
	}
	if good.Fetching || good != holding() {
		t.Error("Begin changed the state that it was given")
	}
}

// A Source whose monotonic clock reads 0 may refresh at once.
func TestFirstRefreshIsNotLimited(t *testing.T) {
	s := State{Token: issued(idA, Moment{}, hour)}
	if got := s.Next(Moment{}, Call{Refresh: true}); got != Start {
		t.Errorf("got %s, want Start", actionNames[got])
	}
}

func TestNextFetch(t *testing.T) {
	good := holding()
	for _, tt := range []struct {
		name  string
		state State
		now   Moment
		want  time.Duration // since the start; 0: the next call, or never
	}{
		{"no token", State{}, at(0), 0},
		{"under way", State{}.Begin(at(0), Call{}), at(0), 0},
		{"renewal under way", good.Begin(at(renewal), Call{}), at(renewal), 0},
		{"fresh", good, at(time.Minute), renewal},
		{"due", good, at(renewal), 0},
		{"cached failure", State{}.after(at(0), Call{}, failed()), at(0), time.Second},
		{"cached failure that ends", State{}.after(at(0), Call{}, failed()), at(time.Second), 0},
		{"renewal failed", good.after(at(renewal), Call{}, failed()), at(renewal), renewal + step},
		{"renewal failed, expires before the next", good.after(at(hour-time.Second), Call{}, failed()), at(hour - time.Second), hour},
		{"rate limited", good.after(at(renewal), Call{}, limited(time.Minute)), at(renewal), renewal + time.Minute},
		{"rate limited beyond its expiry", good.after(at(hour-time.Second), Call{}, limited(time.Minute)), at(hour - time.Second), hour + 59*time.Second},
		{"clock stepped", good, stepped(time.Minute, -hour), 0},
		{"doubted", good, stepped(time.Minute, hour), 0},
		{"rate limited, clock stepped back", good.after(at(renewal), Call{}, limited(time.Minute)), stepped(renewal, -hour), renewal + time.Minute},
		{"rate limited, doubted in 1 s", good.after(at(renewal), Call{}, limited(time.Minute)), stepped(renewal, window-time.Second), renewal + time.Second},
	} {
		if got := tt.state.NextFetch(tt.now); got != tt.want && got != tt.want+startMono {
			t.Errorf("%s: got %v after the start, want %v", tt.name, got-startMono, tt.want)
		}
	}
}

// States hold no secret that a log can show.
func TestStatesPrintNoSecret(t *testing.T) {
	const secret = "s3cret-token"
	s := State{Token: issued(NewID(secret), at(0), hour)}.Begin(stepped(0, -hour), Call{})
	s.Fetch.Rejected = NewID(secret)
	for _, format := range []string{"%v", "%+v", "%#v", "%s"} {
		if got := fmt.Sprintf(format, s); strings.Contains(got, secret) {
			t.Errorf("%s: got %s, want no token in it", format, got)
		}
	}
}
