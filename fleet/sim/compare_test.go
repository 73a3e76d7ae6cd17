// Copyright 2026 The authsec Authors
// SPDX-License-Identifier: Apache-2.0

package sim

import (
	"fmt"
	"math"
	"sync"
	"testing"
	"time"
)

// A trial is a scenario that both play: with lives of 10 minutes, so that a
// window is 2 minutes long, and until shortly after most have a token again.
type trial struct {
	story     Story
	sharing   Sharing
	processes int
}

// trials are all stories at 10 and 100 processes, and at 1,000 those in which a
// fleet meets the limit or waits for a lease: the real code takes a while.
func trials() (list []trial) {
	for _, story := range Stories {
		for _, sharing := range []Sharing{Nothing, Entries, Leases} {
			list = append(list, trial{story, sharing, 10}, trial{story, sharing, 100})
		}
	}
	return append(list,
		trial{ColdStart, Nothing, 1000}, trial{ColdStart, Leases, 1000},
		trial{Renewal, Nothing, 1000}, trial{Renewal, Leases, 1000},
		trial{Unavailable, Nothing, 1000}, trial{Unavailable, Leases, 1000},
		trial{NoConnection, Leases, 1000})
}

func (c trial) String() string { return fmt.Sprintf("%s/%v/%d", c.story, c.sharing, c.processes) }

func (c trial) scenario(seed int) Scenario {
	s := c.story.Tell(c.processes, 10*time.Minute)
	s.Length = 16 * time.Minute
	if c.story == ColdStart {
		s = c.story.Tell(c.processes, time.Hour) // which does not end meanwhile
		s.Length = time.Duration(c.processes/100+4) * time.Minute
	}
	s.Sharing, s.Seed = c.sharing, uint64(seed)
	if c.processes >= 100 {
		s.Every = 5 * time.Second // each call is work for the real code, and none for the model
	}
	return s
}

// seeds are how often the real code plays it, and the model.
func (c trial) seeds() (real, model int) {
	switch {
	case c.processes >= 1000:
		return 2, 20
	case c.processes >= 100 && raceDetector:
		return 1, 40
	case c.processes >= 100:
		return 4, 40
	}
	return 8, 100
}

// raceDetector: it makes the real code ten times as slow.
var raceDetector bool

func (c trial) skipIfLong(t *testing.T) {
	if c.processes >= 1000 && (testing.Short() || raceDetector) {
		t.Skip("the real code takes a while for that")
	}
}

// metrics are what is compared.
var metrics = []struct {
	name  string
	least float64 // a difference that is none: one request, or what events at one moment may be swapped for
	of    func(*Result) float64
}{
	{"requests", 1, func(r *Result) float64 { return float64(r.Requests) }},
	{"429s", 1, func(r *Result) float64 { return float64(r.Limited) }},
	{"other failures", 1, func(r *Result) float64 { return float64(r.Failed) }},
	{"peak per second", 1, func(r *Result) float64 { return float64(r.Peak()) }},
	{"mean second of a request", 0.1, func(r *Result) float64 {
		sum := 0
		for second, n := range r.PerSecond {
			sum += second * n
		}
		return float64(sum) / float64(max(1, r.Requests))
	}},
	{"calls that waited or failed", 1, func(r *Result) float64 { return float64(r.Calls) }},
	{"seconds until all have a token", 0.1, func(r *Result) float64 { return r.LastWithout.Seconds() }},
	{"seconds without a token", 0.1, func(r *Result) float64 { return r.Without.Seconds() }},
	{"seconds of the longest wait", 0.1, func(r *Result) float64 { return r.LongestWait.Seconds() }},
}

// compare says where the real code and the model differ. Their means are held
// against each other; they may be apart by 5 standard errors, which the spread of
// the model's own runs tells. By chance that is exceeded once in a million
// comparisons, if the means are about normal. 1 % is for figures that
// hardly spread.
func compare(real, model []*Result) (faults []string) {
	for _, m := range metrics {
		got, _ := moments(real, m.of)
		want, deviation := moments(model, m.of)
		err := deviation * math.Sqrt(1/float64(len(real))+1/float64(len(model)))
		if tolerance := 5*err + 0.01*want + m.least; math.Abs(got-want) > tolerance {
			faults = append(faults, fmt.Sprintf("%s: the code has %.1f, the model %.1f, give or take %.1f", m.name, got, want, tolerance))
		}
	}
	return faults
}

func moments(list []*Result, of func(*Result) float64) (mean, deviation float64) {
	for _, r := range list {
		mean += of(r) / float64(len(list))
	}
	for _, r := range list {
		deviation += (of(r) - mean) * (of(r) - mean) / float64(len(list)-1)
	}
	return mean, math.Sqrt(deviation)
}

// played has what the real code made of each trial.
var played sync.Map // of trial to func() []*Result

func (c trial) real(t *testing.T) []*Result {
	t.Helper()
	once, _ := played.LoadOrStore(c, &realRuns{})
	runs := once.(*realRuns)
	runs.once.Do(func() {
		n, _ := c.seeds()
		for seed := range n {
			runs.list = append(runs.list, play(t, c.scenario(seed)))
		}
	})
	if runs.list == nil {
		t.Fatal("the real code did not play it")
	}
	return runs.list
}

type realRuns struct {
	once sync.Once
	list []*Result
}

func (c trial) model(r rules) (list []*Result) {
	_, n := c.seeds()
	for seed := range n {
		list = append(list, run(c.scenario(1000+seed), r))
	}
	return list
}

func TestModelDoesWhatTheCodeDoes(t *testing.T) {
	for _, c := range trials() {
		t.Run(c.String(), func(t *testing.T) {
			t.Parallel()
			c.skipIfLong(t)
			for _, fault := range compare(c.real(t), c.model(sourceRules)) {
				t.Error(fault)
			}
		})
	}
}

// A comparison that passes for a model with a wrong rule would show nothing.
func TestComparisonNoticesAWrongRule(t *testing.T) {
	if raceDetector {
		t.Skip("under the race detector there are too few runs of the real code for that")
	}
	for _, c := range []struct {
		name  string
		trial trial
		spoil func(*rules)
	}{
		{"the first renewal is drawn in all of the window", trial{Renewal, Nothing, 100}, func(r *rules) { r.drawShare = 1 }},
		{"the window is a tenth of the life", trial{Renewal, Nothing, 100}, func(r *rules) { r.windowShare = 10 }},
		{"the next attempt to renew is a fifth of the window later", trial{RenewalLate, Nothing, 100}, func(r *rules) { r.stepShare = 5 }},
		{"a 429 is followed by one window", trial{ColdStart, Nothing, 1000}, func(r *rules) { r.limitedTwice = false }},
		{"a fetch has three attempts", trial{Unavailable, Nothing, 100}, func(r *rules) { r.attempts = 3 }},
		{"its waits are twice as long", trial{Unavailable, Nothing, 100}, func(r *rules) { r.minBackoff *= 2 }},
		{"a failure is remembered for 10 s at first", trial{AfterExpiry, Nothing, 10}, func(r *rules) { r.minHold = 10 * time.Second }},
		{"and for 2 min in the end", trial{Unavailable, Nothing, 100}, func(r *rules) { r.maxHold = 2 * time.Minute }},
		{"another's result is waited for in steps of 5 s", trial{NoConnection, Leases, 100}, func(r *rules) { r.minPoll, r.maxPoll = 5*time.Second, 5*time.Second }},
		{"a lease is waited for no longer than 1 s", trial{NoConnection, Leases, 100}, func(r *rules) { r.patience = time.Second }},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			c.trial.skipIfLong(t)
			wrong := sourceRules
			c.spoil(&wrong)
			faults := compare(c.trial.real(t), c.trial.model(wrong))
			if len(faults) == 0 {
				t.Errorf("%v: no difference was found", c.trial)
			}
			for _, fault := range faults {
				t.Log(fault)
			}
		})
	}
}
