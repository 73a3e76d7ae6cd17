// Copyright 2026 The authsec Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"strings"
	"testing"
	"time"

	"github.com/authsec-go/authsec/fleet/sim"
)

func TestKeepKeepsWhatTheOtherCommandWrote(t *testing.T) {
	const text = "new " + beginMark + "\n" + endMark + " new"
	for old, want := range map[string]string{
		"": text,
		"old " + beginMark + "\nmeasured\n" + endMark + " old": "new " + beginMark + "\nmeasured\n" + endMark + " new",
		"old " + beginMark + " with no end":                    text,
	} {
		if got, err := keep(text, old); err != nil || got != want {
			t.Errorf("keep(text, %q): got %q, %v, want %q", old, got, err, want)
		}
	}
	if got, err := keep("no marks", ""); err == nil {
		t.Errorf("a template without marks: got %q, want an error", got)
	}
}

func TestPageHasAllTables(t *testing.T) {
	f := &findings{results: map[key]*sim.Result{}}
	for _, size := range []int{1000, 10_000} {
		f.sizes = append(f.sizes, size)
		for _, story := range sim.Stories {
			for _, sharing := range []sim.Sharing{sim.Nothing, sim.Entries, sim.Leases} {
				s := key{story, sharing, size}.scenario()
				s.Processes = 10 // for the sake of time
				f.results[key{story, sharing, size}] = sim.Run(s)
			}
		}
	}
	text, err := f.page()
	if err != nil {
		t.Fatal(err)
	}
	for _, line := range strings.Split(text, "\n") {
		if strings.Contains(line, "<no value>") || strings.Contains(line, "{{") {
			t.Errorf("a hole in the page: %s", line)
		}
	}
	if got, want := strings.Count(text, "| 10,000 | cache with leases |"), len(sim.Stories); got != want {
		t.Errorf("got %d tables of stories, want %d", got, want)
	}
}

func TestCountAndSpan(t *testing.T) {
	for n, want := range map[int]string{0: "0", 999: "999", 1000: "1,000", 1234567: "1,234,567"} {
		if got := count(n); got != want {
			t.Errorf("count(%d): got %s, want %s", n, got, want)
		}
	}
	for d, want := range map[time.Duration]string{21 * time.Millisecond: "21 ms", 1300 * time.Millisecond: "1.3 s", 654 * time.Second: "10.9 min", 3 * time.Hour: "3.0 h"} {
		if got := span(d); got != want {
			t.Errorf("span(%d): got %s, want %s", d, got, want)
		}
	}
}

func TestLargest(t *testing.T) {
	for _, c := range []struct {
		limit, most, want int
		bounded           bool
	}{
		{3, 1000, 3, true},
		{99, 1000, 98, true}, // in two digits, and within a fiftieth
		{440, 1000, 440, true},
		{5000, 1000, 1000, false},
		{900, 1000, 900, true},
	} {
		got, bounded := largest(c.most, func(n int) bool { return n <= c.limit })
		if bounded != c.bounded || got > c.limit || got < c.want-c.want/25 {
			t.Errorf("largest up to %d of what does up to %d: got %d, %t, want about %d, %t", c.most, c.limit, got, bounded, c.want, c.bounded)
		}
	}
}
