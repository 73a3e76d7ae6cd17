// Copyright 2026 The authsec Authors
// SPDX-License-Identifier: Apache-2.0

package verify

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/golang-lru/v2/simplelru"
)

func TestWindowGrowsWithAnswersAndStartsAnewAfterA429(t *testing.T) {
	// Steps: +n joins n checks; a is an answer to the oldest check that asks, f its
	// fault, l a 429; w is the end of the oldest check that waits.
	for _, tc := range []struct {
		steps                 string
		size, asking, waiting int
	}{
		{"", 4, 0, 0},
		{"+3", 4, 3, 0},
		{"+4", 4, 4, 0},
		{"+5", 4, 4, 1},
		{"+5 a", 5, 4, 0},
		{"+3 a a a", 4, 0, 0}, // nobody waited
		{"+20 a a a", 7, 7, 10},
		{"+20 f f f", 4, 4, 13},
		{"+20 w w", 4, 4, 14},
		{"+20 a a l", 1, 5, 12}, // no new one asks before these have ended
		{"+20 a a l f f f f", 1, 1, 12},
		{"+20 l f f f a a a", 4, 4, 9},
		{"+3 l f f +2", 1, 1, 1},
		{"+200", 4, 4, 96},
		{"+200 a +1", 5, 5, 95},
	} {
		w := window{size: firstWindow}
		var turns []chan struct{}
		isTurn := func(c chan struct{}) bool {
			select {
			case <-c:
				return true
			default:
				return false
			}
		}
		for _, step := range strings.Fields(tc.steps) {
			var n int
			if _, err := fmt.Sscanf(step, "+%d", &n); err == nil {
				for range n {
					if turn := w.join(); turn != nil {
						turns = append(turns, turn)
					}
				}
				continue
			}
			i := slices.IndexFunc(turns, func(c chan struct{}) bool { return isTurn(c) == (step != "w") })
			turn := turns[i]
			turns = slices.Delete(turns, i, i+1)
			w.leave(turn, step == "a", step == "l")
		}
		asking := 0
		for i, turn := range turns {
			if isTurn(turn) {
				if asking++; asking != i+1 {
					t.Errorf("%q: check %d asks before an older one", tc.steps, i)
				}
			}
		}
		if w.size != tc.size || w.asking != tc.asking || len(w.line) != tc.waiting || asking != tc.asking || len(turns) != tc.asking+tc.waiting {
			t.Errorf("%q: size %d, %d ask (%d know it) and %d wait, want size %d, %d and %d", tc.steps, w.size, w.asking, asking, len(w.line), tc.size, tc.asking, tc.waiting)
		}
	}
}

func TestBuckets(t *testing.T) {
	type try struct {
		at   time.Duration
		sub  string
		rest int
		next time.Duration // 0: it may
	}
	const s = time.Second
	for name, tries := range map[string][]try{
		"4 at once, and then one each 10 s": {{0, "a", 0, 0}, {0, "a", 0, 0}, {0, "a", 0, 0}, {0, "a", 0, 0}, {0, "a", 0, 10 * s},
			{9 * s, "a", 0, 10 * s}, {10 * s, "a", 0, 0}, {10 * s, "a", 0, 20 * s}, {40 * s, "a", 0, 0}, {40 * s, "a", 0, 0}, {40 * s, "a", 0, 0}, {40 * s, "a", 0, 50 * s}},
		"what is full stays so":     {{0, "a", 0, 0}, {1000 * s, "a", 0, 0}, {1000 * s, "a", 0, 0}, {1000 * s, "a", 0, 0}, {1000 * s, "a", 0, 0}, {1000 * s, "a", 0, 1010 * s}},
		"each agent has its own":    {{0, "a", 0, 0}, {0, "a", 0, 0}, {0, "a", 0, 0}, {0, "a", 0, 0}, {0, "b", 0, 0}, {0, "a", 0, 10 * s}},
		"what is spare":             {{0, "a", 3, 0}, {0, "a", 3, 10 * s}, {0, "a", 0, 0}, {0, "a", 0, 0}, {0, "a", 0, 0}, {0, "a", 0, 10 * s}, {0, "a", 3, 40 * s}, {39 * s, "a", 3, 40 * s}, {40 * s, "a", 3, 0}},
		"few agents are remembered": {{0, "a", 3, 0}, {0, "b", 3, 0}, {0, "a", 3, 10 * s}, {0, "c", 3, 0}, {0, "a", 3, 10 * s}, {0, "b", 3, 0}},
	} {
		full, err := simplelru.NewLRU[agent, time.Time](2, nil)
		if err != nil {
			t.Fatal(err)
		}
		b, start := buckets{10 * s, full}, time.Now()
		for i, try := range tries {
			next, ok := b.take(agent{"iss", try.sub}, try.rest, start.Add(try.at))
			if want := max(try.at, try.next); ok != (try.next == 0) || next.Sub(start) != want {
				t.Errorf("%s: try %d: %t, next %v, want %v", name, i, ok, next.Sub(start), want)
			}
		}
	}
}

// The times of the fetches if tokens that no key fits come every second.
func TestMissesAreRareWhileTheKeysAreTheSame(t *testing.T) {
	const s = time.Second
	for name, tc := range map[string]struct {
		fetch func(m *misses, now time.Time, i int)
		quiet time.Duration // after 1,000 s
		want  []time.Duration
	}{
		"the same":   {func(m *misses, now time.Time, _ int) { m.fetched(now, true) }, 0, []time.Duration{0, 30 * s, 90 * s, 210 * s, 450 * s, 750 * s, 1050 * s}},
		"others":     {func(m *misses, now time.Time, _ int) { m.fetched(now, false) }, 0, []time.Duration{0, 30 * s, 60 * s, 90 * s, 120 * s, 150 * s, 180 * s}},
		"none":       {func(m *misses, now time.Time, _ int) { m.failed(now) }, 0, []time.Duration{0, 30 * s, 60 * s, 90 * s, 120 * s, 150 * s, 180 * s}},
		"once other": {func(m *misses, now time.Time, i int) { m.fetched(now, i != 3) }, 0, []time.Duration{0, 30 * s, 90 * s, 210 * s, 240 * s, 270 * s, 330 * s}},
		"a pause":    {func(m *misses, now time.Time, _ int) { m.fetched(now, true) }, 400 * s, []time.Duration{0, 30 * s, 90 * s, 210 * s, 450 * s, 750 * s, 1400 * s, 1430 * s}},
	} {
		var m misses
		var got []time.Duration
		start := time.Now()
		for at := time.Duration(0); len(got) < len(tc.want) && at < 10_000*s; at += s {
			if at == 1000*s {
				at += tc.quiet
			}
			if now := start.Add(at); !now.Before(m.next) {
				m.take(now)
				tc.fetch(&m, now, len(got))
				got = append(got, at)
			}
		}
		if !slices.Equal(got, tc.want) {
			t.Errorf("%s: fetches at %v, want %v", name, got, tc.want)
		}
	}
}
