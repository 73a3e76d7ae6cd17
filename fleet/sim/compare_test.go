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

// A trial is a scenario for both the real code and the model. Tokens live for 10
// minutes, so that a window has 2 minutes, and it ends shortly after most processes
// have a token again.
type trial struct {
	story     Story
	sharing   Sharing
	processes int
	hurried   bool // calls have no deadline
}

// trials has all stories with 10 and 100 processes. With 1,000 it has only those in
// which a fleet reaches the limit or waits for a lease, because the real code is slow.
func trials() (list []trial) {
	for _, story := range Stories {
		for _, sharing := range []Sharing{Nothing, Entries, Leases} {
			list = append(list, trial{story, sharing, 10, false}, trial{story, sharing, 100, false})
		}
	}
	return append(list,
		trial{ColdStart, Nothing, 200, true}, trial{Unavailable, Nothing, 200, true},
		trial{ColdStart, Nothing, 1000, false}, trial{ColdStart, Leases, 1000, false},
		trial{Renewal, Nothing, 1000, false}, trial{Renewal, Leases, 1000, false},
		trial{Unavailable, Nothing, 1000, false}, trial{Unavailable, Leases, 1000, false},
		trial{NoConnection, Leases, 1000, false})
}

func (c trial) String() string {
	name := fmt.Sprintf("%s/%v/%d", c.story, c.sharing, c.processes)
	if c.hurried {
		name += "/no deadline"
	}
	return name
}

func (c trial) scenario(seed int) Scenario {
	s := c.story.Scenario(c.processes, 10*time.Minute)
	s.Length = 16 * time.Minute
	if c.story == ColdStart {
		s = c.story.Scenario(c.processes, time.Hour) // longer than the trial
		s.Length = time.Duration(c.processes/100+4) * time.Minute
	}
	s.Sharing, s.Seed, s.Deadlines = c.sharing, uint64(seed), !c.hurried
	if c.processes >= 100 {
		s.Every = 5 * time.Second // calls cost the real code time, and the model none
	}
	return s
}

// seeds is how many runs the real code and the model make.
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

// raceDetector is set under the race detector, which makes the real code ten times
// as slow.
var raceDetector bool

func (c trial) skipIfLong(t *testing.T) {
	if c.processes >= 1000 && (testing.Short() || raceDetector) {
		t.Skip("the real code is too slow for that")
	}
}

// metrics are the figures that are compared.
var metrics = []struct {
	name  string
	least float64 // a difference that always may be: one request, or the order of events at one moment
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

// compare says where the real code and the model differ. Their means may differ by 5
// standard errors, estimated from the model's runs. Chance exceeds that once in a
// million comparisons, if the means are about normal. The 1 % is for figures that
// hardly vary.
func compare(real, model []*Result) (faults []string) {
	for _, m := range metrics {
		got, _ := moments(real, m.of)
		want, deviation := moments(model, m.of)
		err := deviation * math.Sqrt(1/float64(len(real))+1/float64(len(model)))
		if tolerance := 5*err + 0.01*want + m.least; math.Abs(got-want) > tolerance {
			faults = append(faults, fmt.Sprintf("%s: the code has %.1f, the model %.1f ± %.1f", m.name, got, want, tolerance))
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

// played has the real code's results of each trial.
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

// A comparison that a model with a wrong rule passes would prove nothing.
func TestComparisonNoticesAWrongRule(t *testing.T) {
	if raceDetector {
		t.Skip("under the race detector the real code makes too few runs for that")
	}
	for _, c := range []struct {
		name  string
		trial trial
		spoil func(*rules)
	}{
		{"the first attempt to renew is anywhere in the window", trial{Renewal, Nothing, 100, false}, func(r *rules) { r.firstShare = 1 }},
		{"the window is a tenth of the life", trial{Renewal, Nothing, 100, false}, func(r *rules) { r.windowShare = 10 }},
		{"the next attempt to renew is a fifth of the window later", trial{RenewalLate, Nothing, 100, false}, func(r *rules) { r.stepShare = 5 }},
		{"the wait after a 429 is exactly one window", trial{ColdStart, Nothing, 1000, false}, func(r *rules) { r.limitedTwice = false }},
		{"a fetch has three attempts", trial{Unavailable, Nothing, 100, false}, func(r *rules) { r.attempts = 3 }},
		{"the waits between attempts are twice as long", trial{Unavailable, Nothing, 100, false}, func(r *rules) { r.minBackoff *= 2 }},
		{"the first failure is cached for 10 s", trial{AfterExpiry, Nothing, 10, false}, func(r *rules) { r.minHold = 10 * time.Second }},
		{"a failed renewal is shared like a failure without a token", trial{Unavailable, Leases, 100, false}, func(r *rules) { r.holdSteps = false }},
		{"a failure is cached for up to 2 min", trial{Unavailable, Nothing, 100, false}, func(r *rules) { r.maxHold = 2 * time.Minute }},
		{"a process looks for another's result every 5 s", trial{Unavailable, Leases, 100, false}, func(r *rules) { r.minPoll, r.maxPoll = 5*time.Second, 5*time.Second }},
		{"a process waits for another's result no longer than 1 s", trial{NoConnection, Leases, 100, false}, func(r *rules) { r.patience = time.Second }},
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
