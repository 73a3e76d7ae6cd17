// Copyright 2026 The authsec Authors
// SPDX-License-Identifier: Apache-2.0

package lifecycle

import "time"

// oracle is what FuzzLifecycle knows of a walk by simpler means than the rules.
type oracle struct {
	world time.Duration // the server's clock, which is right and goes on while the machine sleeps
	ends  time.Duration // when the latest token expires, on that clock
	keeps bool          // the token in service proved good by the wall clock when the fetch began

	// Of the token in service.
	id        ID
	expiry    time.Duration // monotonic: not served from then on
	notAfter  time.Time
	attempts  int           // to renew it
	disturbed bool          // a clock was set, or the machine slept
	set       bool          // and its wall clock is not to be trusted
	trueEnd   time.Duration // its expiry on the server's clock
	unseen    time.Duration // how far the wall clock has jumped since the last fetch began
	acted     time.Duration // what the fetch under way acts upon
	drift     time.Duration // what earlier ones did, and did not count as part of its life
	doubtful  bool          // it expired while the machine slept, and the fetch under way is to tell

	fetching  bool
	keepable  int           // fetches that the server may not have been asked in
	accepts   time.Duration // monotonic: the server accepts no request before
	limited   bool          // because of a 429
	refreshed time.Duration
	everFresh bool
}

func (w *walk) good() bool { return w.id != none && w.now.Mono < w.expiry }

// overslept reports whether the token expired while the machine slept, as its wall
// clock shows.
func (w *walk) overslept() bool {
	return !w.set && w.unseen > maxDrift && w.world-w.drift >= w.trueEnd
}

// checkAction: a call is served, waits or fails as it should.
func (w *walk) checkAction(c Call, action Action) {
	now := w.now.Mono
	serves, fetches := action == Serve || action == Renew, action == Start || action == Renew
	ordinary := c.Rejected == none && !c.Refresh
	doubted := w.disturbed && w.state.Token.doubted(w.now)
	refreshes := c.Refresh && (!w.everFresh || now-w.refreshed >= time.Second)
	switch {
	case serves && !w.good() && !(c.Widen && action == Serve):
		w.fail("served a token %v past its expiry", now-w.expiry)
	case ordinary && w.good() && !doubted && !serves:
		w.fail("got %s while a token is good, want it served", actionNames[action])
	case w.good() && (action == FailCached || action == Pause):
		w.fail("got %s while a token is good", actionNames[action])
	case ordinary && serves && (w.overslept() || w.doubtful):
		w.fail("served a token that expired %v ago, while the machine slept", w.world-w.trueEnd)
	case fetches && w.fetching:
		w.fail("a second fetch at once")
	case action == Join && !w.fetching:
		w.fail("joined a fetch, and there is none")
	case fetches && now < w.accepts && !refreshes && !(w.good() && doubted):
		w.fail("a fetch began %v before the server accepts requests", w.accepts-now)
	case refreshes && !fetches && !w.fetching:
		w.fail("Refresh: got %s, want a fetch", actionNames[action])
	case c.Rejected != none && w.good() && c.Rejected != w.id && action != Serve:
		w.fail("another token than the rejected one is in service: got %s, want Serve", actionNames[action])
	case c.Rejected != none && w.good() && fetches && !c.MayFetch:
		w.fail("a rejection caused a fetch beyond the budget")
	case action == Pause && (c.Deadline <= w.state.RetryAt() || !w.limited || w.state.RetryAt() <= now):
		w.fail("paused until %v, deadline %v, rate limited %t", w.state.RetryAt(), c.Deadline, w.limited)
	case action == FailCached && w.state.Failure == nil:
		w.fail("failed without a failure")
	case w.state.Token.Fresh(w.now) && ordinary && action != Serve:
		w.fail("got %s for a token that is Fresh", actionNames[action])
	}
	if ordinary && action == Renew && !w.disturbed {
		if w.attempts++; w.attempts > 20 {
			w.fail("attempt %d to renew a token, want 20 at most", w.attempts)
		}
	}
}

// checkRounds: a call waits for the fetch under way and for one of its own, and for
// those that asked nobody.
func (w *walk) checkRounds(c *waiter) {
	if c.rounds > 2+w.keepable {
		w.fail("%+v waits for fetch %d", c.Call, c.rounds+1)
	}
}

func (w *walk) fetchBegins(c Call) {
	w.fetching, w.doubtful = true, w.good() && w.overslept()
	if w.acted = 0; apart(w.unseen) {
		w.acted, w.unseen = w.unseen, 0
		w.drift += w.acted
	}
	if c.Refresh {
		w.refreshed, w.everFresh = w.now.Mono, true
	}
	if w.state.Fetch.keep.ID != none {
		if w.keepable++; !w.disturbed {
			w.fail("a fetch may keep the token, though no clock was set")
		}
	}
}

// checkAnswer: who wants the server asked is content with nothing less.
func (w *walk) checkAnswer(c Call, f Fetch, got ID, r Result) {
	asked := f.Began >= c.Began && !r.Kept
	if c.Refresh && !asked {
		w.fail("Refresh: the server was not asked since")
	}
	if c.Rejected != none && !asked && f.Rejected != c.Rejected && (got == none || got == c.Rejected) {
		w.fail("the server was not asked for another token than the rejected one")
	}
}

// checkLanding: a fetch has changed what it should. The oracle learns from it.
func (w *walk) checkLanding(before State, f Fetch, r Result, event Event) {
	now, s, good := w.now.Mono, &w.state, w.good()
	earlier := max(0, w.accepts-now) // of the server's wait
	w.fetching, w.doubtful = false, false
	defer func() { w.checkService() }()
	switch {
	case r.Kept:
		if event != Kept {
			w.fail("got %s, want Kept", eventNames[event])
		}
		if w.acted > 0 {
			w.drift -= w.acted
			w.expiry -= w.acted
		}
		return
	case r.Err == nil:
		w.accepts, w.limited = 0, false
		want := Fetched
		if good && r.Token.ID == w.id {
			want = Unchanged
		} else if good {
			want = Renewed
		}
		if event != want || s.Failure != nil {
			w.fail("got %s, failure cached %t; want %s, false", eventNames[event], s.Failure != nil, eventNames[want])
		}
		w.adopt(r.Token, event)
		return
	}
	if r.Answered {
		w.accepts, w.limited = 0, r.Limited
	}
	if until := now + r.RetryAfter; until > w.accepts && r.RetryAfter > 0 {
		w.accepts, w.limited = until, r.Limited
	}
	wait := max(0, w.accepts-now)
	rejected := r.NoDelegate && f.Rejected != none && f.Rejected == w.id
	ended := rejected || r.Expired.ID == w.id || r.NoDelegate && w.disturbed
	switch {
	case !good && event != NoToken || good && event != RenewalFailed && !ended:
		w.fail("got %s after a failure; a token was good: %t", eventNames[event], good)
	case good && rejected && event != NoToken:
		w.fail("got %s after a rejection that the server confirms, want NoToken", eventNames[event])
	case event == NoToken && s.Token != Token{}, event == RenewalFailed && s.Token.ID != w.id:
		w.fail("%s: got token %s", eventNames[event], text(s.Token.ID))
	case event == NoToken && (s.Failure != r.Err || s.RetryAt() <= now || s.RetryAt()-now > max(90*time.Second, wait, r.Hold)):
		w.fail("a failure is cached for %v: %t; want at most 1m30s, the server's wait of %v, or %v", s.RetryAt()-now, s.Failure == r.Err, wait, r.Hold)
	case s.Failure != nil && s.RetryAt()-now < max(r.RetryAfter, min(earlier, wait)):
		w.fail("a failure is cached for %v, which is less than the server's wait of %v", s.RetryAt()-now, wait)
	case event == RenewalFailed && s.NextFetch(w.now)-now > max(s.Token.received.Mono+s.Token.Life-s.Token.Window()/2-now, s.Token.Step()*3/2, wait):
		w.fail("the next attempt is %v away, step %v", s.NextFetch(w.now)-now, s.Token.Step())
	}
	if event == NoToken {
		w.id = none
		if w.limited && wait == 0 && r.Limited { // a 429 with Retry-After: 0
			w.accepts = s.RetryAt()
		}
	}
}

// adopt takes a token response into the oracle. The same expiry said again moves
// nothing, as far as the clocks have not drifted apart.
func (w *walk) adopt(t Token, event Event) {
	expiry := w.now.Mono + t.Life
	same := event == Unchanged && (t.NotAfter.IsZero() && w.notAfter.IsZero() && expiry > w.expiry || !t.NotAfter.IsZero() && t.NotAfter.Equal(w.notAfter))
	if same && !apart(w.drift+w.unseen) {
		return
	}
	w.id, w.expiry, w.notAfter, w.trueEnd = t.ID, expiry, t.NotAfter, w.ends
	w.attempts, w.disturbed, w.set, w.unseen, w.drift = 0, false, false, 0, 0
}

// checkService: what the state says of the token in service is true.
func (w *walk) checkService() {
	t := &w.state.Token
	if t.ID != w.id {
		w.fail("in service: got %s, want %s", text(t.ID), text(w.id))
	}
	if t.ID == none {
		return
	}
	if got := w.now.Mono + t.Left(w.now); got != w.expiry {
		w.fail("the token expires at %v, want %v", got, w.expiry)
	}
	if off := t.Expiry() - w.now.Wall - t.Left(w.now); t.jump(w.now) == 0 && apart(off) {
		w.fail("Expiry is %v off", off)
	}
	if t.doubt || t.renewAt == never {
		w.fail("the token is still as it was during the fetch")
	}
}

// checkNextFetch: a call at NextFetch starts a fetch, and none does before.
func (w *walk) checkNextFetch() {
	starts := func(now Moment) bool {
		action := w.state.Next(now, Call{})
		return action == Start || action == Renew
	}
	next := w.state.NextFetch(w.now)
	switch then := (Moment{next, w.now.Wall + next - w.now.Mono}); {
	case w.state.Fetching && next != 0 || next != 0 && next <= w.now.Mono:
		w.fail("NextFetch: got %v, fetching %t", next, w.state.Fetching)
	case w.state.Fetching:
	case next == 0 && !starts(w.now):
		w.fail("NextFetch is 0, but a call starts no fetch")
	case next != 0 && (starts(w.now) || starts(Moment{then.Mono - 1, then.Wall - 1})):
		w.fail("a call starts a fetch before NextFetch, %v from now", next-w.now.Mono)
	case next != 0 && !starts(then):
		w.fail("a call at NextFetch, %v from now, starts no fetch: %s", next-w.now.Mono, actionNames[w.state.Next(then, Call{})])
	}
}
