// Copyright 2026 The authsec Authors
// SPDX-License-Identifier: Apache-2.0

package share

import (
	"testing"
	"time"
)

var t0 = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

// at is a moment, in seconds. In these tests it is now at(100).
func at(s float64) time.Time { return t0.Add(time.Duration(s * float64(time.Second))) }

var (
	cold         = Want{}
	coldRejected = Want{Known: at(50), Rejected: "old"}
	renewal      = Want{Known: at(50), Token: "old", Within: 30 * time.Second}
	rejection    = Want{Known: at(50), Token: "old", Rejected: "old", Cause: "old", Within: time.Second}
	replaced     = Want{Known: at(50), Token: "new", Rejected: "old", Within: 30 * time.Second}
	refresh      = Want{Known: at(50), Token: "old", Within: 30 * time.Second, Refresh: true}
)

func TestWhichTokenIsTheResult(t *testing.T) {
	for _, c := range []struct {
		name     string
		w        Want
		waited   int     // s
		answered float64 // s
		token    string
		want     bool
	}{
		{"cold: any token", cold, 0, 10, "old", true},
		{"cold: the rejected token, as it was", coldRejected, 0, 40, "old", false},
		{"cold: the rejected token, given out since", coldRejected, 0, 99, "old", true},
		{"cold: another token, older than what is known", coldRejected, 0, 40, "new", true},
		{"renewal: nothing new", renewal, 0, 50, "old", false},
		{"renewal: another token that is older", renewal, 0, 40, "new", false},
		{"renewal: another token, as old as what is known", renewal, 0, 50, "new", false},
		{"renewal: another token", renewal, 0, 51, "new", true},
		{"renewal: confirmed lately", renewal, 0, 80, "old", true},
		{"renewal: confirmed just lately enough", renewal, 0, 70, "old", true},
		{"renewal: confirmed too long ago", renewal, 0, 69.9, "old", false},
		{"renewal: confirmed while waiting", renewal, 15, 60, "old", true},
		{"renewal: confirmed within the slack of clocks", renewal, 0, 101.9, "old", true},
		{"renewal: confirmed at the slack's end", renewal, 0, 102, "old", false},
		{"renewal: confirmed in the future", renewal, 15, 103, "old", false},
		{"renewal: the token that was rejected before it", replaced, 0, 60, "old", false},
		{"renewal: the token that was rejected before it, confirmed lately", replaced, 0, 80, "old", true},
		{"rejection: nothing new", rejection, 0, 50, "old", false},
		{"rejection: another token", rejection, 0, 51, "new", true},
		{"rejection: confirmed lately", rejection, 0, 99, "old", true},
		{"rejection: confirmed before", rejection, 0, 98, "old", false},
		{"rejection: confirmed while waiting", rejection, 5, 96, "old", true},
		{"rejection: older than what is known", rejection, 15, 40, "older", false},
		{"refresh, with no token: what there is", Want{Known: at(50), Refresh: true}, 0, 40, "new", false},
		{"refresh, with no token: given out while waiting", Want{Known: at(50), Refresh: true}, 5, 95, "new", true},
		{"refresh: another token", refresh, 5, 94, "new", false},
		{"refresh: anything while waiting", refresh, 5, 95, "old", true},
	} {
		w := c.w
		w.Look(at(100), time.Duration(c.waited)*time.Second)
		if got := w.Accepts(Entry{Answered: at(c.answered)}, c.token); got != c.want {
			t.Errorf("%s: got %t, want %t", c.name, got, c.want)
		}
	}
}

func TestWhichFailureIsTheResult(t *testing.T) {
	for _, c := range []struct {
		name              string
		w                 Want
		waited            int
		told, hold, retry float64 // s; told 0: no failure
		want              bool
	}{
		{"no failure", cold, 0, 0, 0, 0, false},
		{"cold: held", cold, 0, 90, 20, 0, true},
		{"cold: over", cold, 0, 90, 10, 0, false},
		{"cold: held for longer than a minute", cold, 0, 30, 200, 0, false},
		{"cold: held for longer, for less than a minute", cold, 0, 41, 200, 0, true},
		{"cold: rate limited for longer than a minute", cold, 0, 30, 0, 71, true},
		{"cold: the rate limit is over", cold, 0, 30, 0, 70, false},
		{"known", renewal, 0, 50, 200, 200, false},
		{"before the token", cold, 0, 9, 200, 200, false},
		{"as old as the token", cold, 0, 10, 200, 200, true},
		{"renewal: held", renewal, 0, 90, 20, 0, true},
		{"renewal: over", renewal, 0, 90, 10, 0, false},
		{"renewal: held for longer than a minute", Want{Token: "old"}, 0, 30, 200, 0, true},
		{"rejection: held, but told before", rejection, 0, 90, 20, 0, false},
		{"rejection: told just now", rejection, 0, 99, 20, 0, true},
		{"rejection: rate limited", rejection, 0, 90, 20, 20, true},
		{"rejection: told while waiting", rejection, 10, 90, 1, 0, true},
		{"rejection of a token that is dropped", Want{Cause: "old"}, 0, 90, 20, 0, false},
		{"refresh: held", refresh, 0, 90, 20, 20, false},
		{"refresh: told while waiting", refresh, 10, 90, 1, 0, true},
	} {
		w := c.w
		w.Look(at(100), time.Duration(c.waited)*time.Second)
		e := Entry{Answered: at(10)}
		if c.told != 0 {
			e.Failure = &Failure{Told: at(c.told), Hold: at(c.hold).Sub(t0), RetryAfter: at(c.retry).Sub(t0)}
		}
		if got := w.Fails(e, at(100)); got != c.want {
			t.Errorf("%s: got %t, want %t", c.name, got, c.want)
		}
	}
}

// The two clocks differ: an entry from the future says that the local one is behind.
func TestFailuresAgeCountsOnTheEntrysClock(t *testing.T) {
	w := Want{}
	w.Look(at(100), 0)
	e := Entry{Failure: &Failure{Told: at(130), Hold: 10 * time.Second}}
	for now, want := range map[float64]bool{130: true, 139: true, 140: false} {
		if got := w.Fails(e, at(now)); got != want {
			t.Errorf("at %v s: got %t, want %t", now, got, want)
		}
	}
}

func TestLastIsTheLaterOfAnswerAndFailure(t *testing.T) {
	for _, c := range []struct {
		name string
		e    Entry
		want time.Time
	}{
		{"nothing", Entry{}, time.Time{}},
		{"an answer", Entry{Answered: at(1)}, at(1)},
		{"a failure", Entry{Failure: &Failure{Told: at(2)}}, at(2)},
		{"a failure since", Entry{Answered: at(1), Failure: &Failure{Told: at(2)}}, at(2)},
		{"an answer since", Entry{Answered: at(3), Failure: &Failure{Told: at(2)}}, at(3)},
	} {
		if got := c.e.Last(); !got.Equal(c.want) {
			t.Errorf("%s: got %v, want %v", c.name, got, c.want)
		}
	}
}
