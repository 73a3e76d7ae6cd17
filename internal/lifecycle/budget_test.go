// Copyright 2026 The authsec Authors
// SPDX-License-Identifier: Apache-2.0

package lifecycle

import (
	"testing"
	"time"
)

// An API rejects a token at each moment of the table. The budget allows some of the
// fetches, and each that it allows is made.
func TestBudget(t *testing.T) {
	const s = time.Second
	type rejection struct {
		at    time.Duration
		fetch bool
		step  time.Duration
	}
	for name, rejections := range map[string][]rejection{
		"one at once, then 1 s, 2 s, doubling to 30 s": {
			{0, true, s}, {s - ns, false, s}, {s, true, 2 * s}, {3*s - ns, false, 2 * s}, {3 * s, true, 4 * s}, {7 * s, true, 8 * s},
			{15 * s, true, 16 * s}, {31 * s, true, 30 * s}, {61*s - ns, false, 30 * s}, {61 * s, true, 30 * s}, {91*s - ns, false, 30 * s}, {91 * s, true, 30 * s},
		},
		"a pause does not reset it": {{0, true, s}, {s, true, 2 * s}, {60 * s, true, 4 * s}, {120*s - ns, true, 8 * s}},
		"a minute without a rejection does": {
			{0, true, s}, {s, true, 2 * s}, {61 * s, true, s}, {62*s - ns, false, s}, {122*s - ns, true, s},
		},
		"a rejection that causes no fetch counts": {
			{0, true, s}, {s, true, 2 * s}, {2 * s, false, 2 * s}, {62*s - ns, true, 4 * s},
		},
	} {
		var b Budget
		for _, r := range rejections {
			now := at(r.at)
			b = b.Reject(now)
			if got := b.Allows(now); got != r.fetch {
				t.Errorf("%s: after %v: got allowed %t, want %t", name, r.at, got, r.fetch)
			}
			if r.fetch {
				b = b.Spend(now)
			}
			if b.Step() != r.step {
				t.Errorf("%s: after %v: got step %v, want %v", name, r.at, b.Step(), r.step)
			}
		}
	}
}

// The wait counts from the fetch, which may begin later than the rejection: once
// another fetch has landed.
func TestBudgetCountsFromTheFetch(t *testing.T) {
	b := Budget{}.Reject(at(0)).Spend(at(5 * time.Second))
	if b.Allows(at(6*time.Second-ns)) || !b.Allows(at(6*time.Second)) {
		t.Errorf("got %+v, want a fetch allowed 1s after the one before", b)
	}
}

// An idle budget is as good as a new one: it may be forgotten.
func TestIdleBudget(t *testing.T) {
	unspent := Budget{}.Reject(at(0))
	spent := unspent.Spend(at(0))
	for _, tt := range []struct {
		name   string
		budget Budget
		now    Moment
		want   bool
	}{
		{"new", Budget{}, at(0), true},
		{"at the origin of the clock", Budget{}, Moment{}, true},
		{"rejected, no fetch", unspent, at(0), true},
		{"rejected and fetched", spent, at(0), false},
		{"within a minute", spent, at(time.Minute - ns), false},
		{"a minute later", spent, at(time.Minute), true},
		{"a minute after the last of two", spent.Reject(at(time.Second)), at(time.Minute), false},
	} {
		if got := tt.budget.Idle(tt.now); got != tt.want {
			t.Errorf("%s: got idle %t, want %t", tt.name, got, tt.want)
		}
		b := tt.budget.Reject(tt.now)
		if got := b.Allows(tt.now) && b.Spend(tt.now).Step() == minBudgetStep; tt.want && !got {
			t.Errorf("%s: idle, but not as good as new", tt.name)
		}
	}
}

// However often an API rejects, its fetches are 6 in the first minute and 2
// in each one that follows.
func TestBudgetBoundsFetches(t *testing.T) {
	var b Budget
	perMinute := [10]int{}
	for d := time.Duration(0); d < 10*time.Minute; d += 100 * time.Millisecond {
		if b = b.Reject(at(d)); b.Allows(at(d)) {
			b = b.Spend(at(d))
			perMinute[d/time.Minute]++
		}
	}
	if want := [10]int{6, 2, 2, 2, 2, 2, 2, 2, 2, 2}; perMinute != want {
		t.Errorf("got %d fetches in each minute, want %d", perMinute, want)
	}
}
