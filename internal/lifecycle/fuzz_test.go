// Copyright 2026 The authsec Authors
// SPDX-License-Identifier: Apache-2.0

package lifecycle

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"
)

// FuzzLifecycle walks random calls, fetches and clocks through a State, as a Source
// does, and holds it to what oracle knows.
func FuzzLifecycle(f *testing.F) {
	for seed := range uint64(200) {
		b, r := make([]byte, 1500), rand.New(rand.NewPCG(seed, 1))
		for i := range b {
			b[i] = byte(r.Uint32())
		}
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		w := &walk{t: t, bytes: b, now: Moment{Wall: pick(&walk{bytes: b}, walls)}}
		w.oracle.world = startWall
		w.renewBefore = pick(w, windows)
		for len(w.bytes) > 0 && !t.Failed() && w.now.Mono < 100*year {
			w.step()
		}
		w.finish()
	})
}

var (
	walls   = []time.Duration{startWall, 0, 100 * year}
	windows = []time.Duration{0, 0, 1, time.Second, time.Minute, hour, 48 * hour, 200 * year}
	lives   = []time.Duration{-hour, 0, 1, 3 * time.Second, 10 * time.Second, 11 * time.Second, time.Minute, 26 * time.Minute, hour, hour, 24 * hour, 100 * year}
	pauses  = []time.Duration{0, 1, time.Millisecond, 400 * time.Millisecond, time.Second, 5 * time.Second, 31 * time.Second, time.Minute, 10 * time.Minute, hour}
	jumps   = []time.Duration{time.Second, maxDrift, maxDrift + 1, 11 * time.Second, time.Minute, hour, 50 * year}
	waits   = []time.Duration{0, 0, time.Second, 7 * time.Second, 61 * time.Second, 5 * time.Minute}
)

// walk is a Source without its locks: a state, a fetch and calls that wait.
type walk struct {
	t           *testing.T
	bytes       []byte // the choices that are left
	now         Moment
	renewBefore time.Duration
	state       State
	waiting     []*waiter
	budget      Budget
	issued      int // tokens, which are named T1, T2 …
	ttl         bool
	history     []func(State) State // what has happened to state
	trace       []string
	oracle
}

type waiter struct {
	Call
	rounds int
}

func (w *walk) choose(n int) int {
	if len(w.bytes) == 0 {
		return 0
	}
	i := int(w.bytes[0]) % n
	w.bytes = w.bytes[1:]
	return i
}

func pick[T any](w *walk, from []T) T { return from[w.choose(len(from))] }

func (w *walk) u() float64 {
	return pick(w, []float64{0, 0.5, nearlyOne, float64(w.choose(256)) / 256})
}

func (w *walk) log(format string, args ...any) {
	w.trace = append(w.trace, fmt.Sprintf("%v  ", w.now.Mono)+fmt.Sprintf(format, args...))
}

func (w *walk) fail(format string, args ...any) {
	if !w.t.Failed() {
		w.t.Errorf("%s\n%s", fmt.Sprintf(format, args...), strings.Join(w.trace[max(0, len(w.trace)-40):], "\n"))
	}
}

func (w *walk) step() {
	switch w.choose(10) {
	case 0:
		w.pass(pick(w, pauses))
	case 1, 2: // to a moment at which something changes, or next to it
		_, _, expiry := w.state.Token.turns(w.now)
		moment := pick(w, []time.Duration{w.state.NextFetch(w.now), w.state.RetryAt(), w.accepts, expiry, w.state.Token.received.Mono + w.state.Token.first})
		w.pass(max(0, moment-w.now.Mono+time.Duration(w.choose(3)-1)))
	case 3:
		w.jump(pick(w, jumps))
	case 4, 5, 6:
		w.call()
	default:
		if w.state.Fetching {
			w.land()
		} else {
			w.call()
		}
	}
	w.checkNextFetch()
}

func (w *walk) pass(d time.Duration) {
	w.now.Mono += d
	w.now.Wall += d
	w.world += d
}

// jump lets the machine sleep, or sets its wall clock.
func (w *walk) jump(d time.Duration) {
	slept := w.choose(2) == 0 && w.world < 100*year // within what a time can hold
	if slept {
		w.world += d
	} else {
		d *= time.Duration(1 - 2*w.choose(2))
	}
	if wall := w.now.Wall + d; wall < 0 || wall > 150*year {
		slept, d = false, startWall-w.now.Wall
	}
	w.log("wall clock jumps by %v, the machine sleeps: %t", d, slept)
	w.now.Wall += d
	w.unseen += d
	w.disturbed, w.set = true, w.set || !slept
}

func (w *walk) call() {
	c := &waiter{Call: Call{Began: w.now.Mono}}
	if w.choose(2) == 0 {
		c.Deadline = w.now.Mono + pick(w, waits)
	}
	switch w.choose(6) {
	case 0:
		c.Refresh, c.Deadline = true, 0
	case 1, 2:
		c.Deadline = 0
		c.Rejected = pick(w, []ID{w.state.Token.ID, w.state.Token.ID, NewID(fmt.Sprint("T", w.choose(w.issued+1)))})
		c.Widen = c.Rejected != none && w.choose(4) == 0
	}
	if c.Rejected != none {
		w.budget = w.budget.Reject(w.now)
		c.MayFetch = w.budget.Allows(w.now)
	}
	w.ask(c)
}

// ask does what Next says.
func (w *walk) ask(c *waiter) {
	before := w.state
	action := w.state.Next(w.now, c.Call)
	w.log("%+v: %s", c.Call, actionNames[action])
	w.checkAction(c.Call, action)
	w.checkRounds(c)
	if before != w.state {
		w.fail("Next changed the state")
	}
	if action == Start || action == Renew {
		w.begin(c.Call)
	}
	if action == Start || action == Join {
		w.waiting = append(w.waiting, c)
	}
}

func (w *walk) begin(c Call) {
	t := w.state.Token
	w.keeps = w.state.MayKeep(w.now, c) && t.Expiry()-t.Window() >= w.now.Wall // as an oauth2.ReuseTokenSource has it
	if t.Good(w.now) && c.Rejected != none {
		w.budget = w.budget.Spend(w.now)
	}
	now := w.now
	w.apply(func(s State) State { return s.Begin(now, c) })
	w.fetchBegins(c)
}

func (w *walk) apply(change func(State) State) {
	w.history = append(w.history, change)
	w.state = change(w.state)
}

// result is what the server says.
func (w *walk) result() Result {
	switch kind := w.choose(12); {
	case w.keeps:
		return Result{Kept: true}
	case kind < 3 || w.issued == 0: // another token
		w.issued++
		w.ends, w.ttl = w.world+pick(w, lives), w.choose(4) == 0
		return Result{Token: w.token()}
	case kind < 6: // the latest one, perhaps for another time
		if w.choose(4) == 0 {
			w.ends = w.world + pick(w, lives)
		}
		if w.ends <= w.world && w.ends > 0 {
			return Result{Err: errA, Answered: true, Expired: w.token()}
		}
		return Result{Token: w.token()}
	case kind < 8:
		return Result{Err: errA, Answered: true, NoDelegate: true, Hold: pick(w, waits)}
	case kind < 9:
		return Result{Err: errA, Answered: true, Limited: true, RetryAfter: pick(w, waits)}
	case kind < 10:
		return Result{Err: errB, Answered: w.choose(2) == 0, RetryAfter: pick(w, waits)}
	}
	return Result{Err: errB, Hold: pick(w, waits)}
}

func (w *walk) token() Token {
	notAfter := time.Unix(0, int64(w.ends))
	if w.ttl {
		notAfter = time.Time{}
	}
	return New(NewID(fmt.Sprint("T", w.issued)), w.now, w.ends-w.world, notAfter, w.renewBefore, w.u())
}

func (w *walk) land() {
	now, r, u, fetch := w.now, w.result(), w.u(), w.state.Fetch
	before := w.state
	var event Event
	w.apply(func(s State) State { s, event = s.Land(now, r, u); return s })
	w.log("landed: %s, %+v", eventNames[event], struct {
		Life, RetryAfter, Hold               time.Duration
		NoDelegate, Expired, Limited, Failed bool
	}{r.Token.Life, r.RetryAfter, r.Hold, r.NoDelegate, r.Expired.ID != none, r.Limited, r.Err != nil})
	w.checkLanding(before, fetch, r, event)
	got := none
	if r.Err == nil {
		got = w.state.Token.ID
	}
	waiting := w.waiting
	w.waiting = nil
	for _, c := range waiting {
		c.rounds++
		if c.Answers(fetch, got) {
			w.checkAnswer(c.Call, fetch, got, r)
		} else {
			w.ask(c)
		}
	}
}

// finish lands what is under way, and checks that the state recovers, and that its
// history alone has made it.
func (w *walk) finish() {
	for w.state.Fetching {
		w.land()
	}
	var again State
	for _, change := range w.history {
		again = change(again)
	}
	if again != w.state {
		w.fail("a second run of the same events: got %+v, want %+v", again, w.state)
	}
	if w.now.Mono = max(w.now.Mono, w.state.RetryAt()); w.state.Token.Good(w.now) {
		return
	}
	if got := w.state.Next(w.now, Call{}); got != Start {
		w.fail("without a token, once the cached failure has ended: got %s, want Start", actionNames[got])
	}
}
