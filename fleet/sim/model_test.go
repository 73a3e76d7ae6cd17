// Copyright 2026 The authsec Authors
// SPDX-License-Identifier: Apache-2.0

package sim

import (
	"reflect"
	"testing"
	"time"
)

func TestRunIsDeterministic(t *testing.T) {
	for _, sharing := range []Sharing{Nothing, Entries, Leases} {
		s := NoConnection.Scenario(300, 10*time.Minute)
		s.Sharing = sharing
		if !reflect.DeepEqual(Run(s), Run(s)) {
			t.Errorf("%v: two runs differ", sharing)
		}
		again := s
		again.Seed = 1
		if reflect.DeepEqual(Run(s), Run(again)) {
			t.Errorf("%v: another seed makes no difference", sharing)
		}
	}
}

// The page says this of a fleet without a cache.
func TestRealCallersThatWaitGetAToken(t *testing.T) {
	for _, c := range []struct {
		processes int
		within    time.Duration // the last one
	}{
		{100, 11 * time.Second},
		{200, 2*time.Minute + 11*time.Second},
	} {
		s := ColdStart.Scenario(c.processes, 10*time.Minute)
		s.Length = 5 * time.Minute // before the renewals
		r := play(t, s)
		if r.FailedCalls > 0 || r.Unserved > 0 {
			t.Errorf("%d processes: %d calls failed, %d processes had no token in the end", c.processes, r.FailedCalls, r.Unserved)
		}
		if want := c.processes - 100; r.Limited != want {
			t.Errorf("%d processes: %d answers of 429, want %d: none gets a second one", c.processes, r.Limited, want)
		}
		if r.LastWithout > c.within {
			t.Errorf("%d processes: the last got its token after %v, want it within %v", c.processes, r.LastWithout, c.within)
		}
	}
}

func TestQueueIsInOrder(t *testing.T) {
	q := newQueue(time.Minute)
	want := 0
	push := func(at time.Duration) {
		q.push(event{at: at})
		if at < time.Minute { // later ones are dropped
			want++
		}
	}
	for i := range 1000 {
		push(time.Duration(i*7919%61000) * time.Millisecond)
	}
	var last event
	n := 0
	for e, ok := q.pop(); ok; e, ok = q.pop() {
		if n++; e.at < last.at || e.at == last.at && e.order < last.order {
			t.Fatalf("%v came after %v", e.at, last.at)
		}
		if last = e; n < 500 && n%3 == 0 { // also between pops
			push(e.at + time.Duration(n)*time.Millisecond)
		}
	}
	if n != want {
		t.Errorf("got %d events, want %d", n, want)
	}
}
