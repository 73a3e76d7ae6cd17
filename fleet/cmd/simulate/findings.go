// Copyright 2026 The authsec Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"time"

	"github.com/authsec-go/authsec/fleet/sim"
	"golang.org/x/sync/errgroup"
)

const (
	life = time.Hour // of a delegation

	mostServed = 10_000 // the largest fleet that is played until all have a token

	// Larger fleets take long and show nothing new.
	mostEntries = 100_000
	mostCutOff  = 10_000 // without a connection
)

// findings has the results of all runs.
type findings struct {
	sizes   []int
	results map[key]*sim.Result

	choices []choice
	starts  []start
	figures []sim.Figures
}

type key struct {
	story   sim.Story
	sharing sim.Sharing
	size    int
}

// scenario is the scenario of a story. It lasts until all have a token, if that does
// not take too long to play.
func (k key) scenario() sim.Scenario {
	s := k.story.Scenario(k.size, life)
	s.Sharing, s.Seed = k.sharing, 1
	queue := time.Duration(k.size) * s.Window / time.Duration(s.Limit) // until the limit has let all through
	rest := 20 * time.Minute                                           // after the first expiry
	switch {
	case k.size > 100_000:
		queue, rest = 5*time.Minute, 10*time.Minute
	case k.size > mostServed:
		queue = 30 * time.Minute
	}
	if k.sharing != sim.Nothing {
		queue = 0
	}
	if s.Length = life + max(rest, queue+rest/2); k.story == sim.ColdStart {
		s.Length = max(5*time.Minute, queue*3/2)
	}
	// The admin goes on delegating at the same interval.
	first, second := s.Delegations[0], s.Delegations[1]
	for at := 2*second.At - first.At; at < s.Length; at += second.At - first.At {
		s.Delegations = append(s.Delegations, sim.Delegation{At: at, Life: life})
	}
	return s
}

func (k key) played() bool {
	return (k.sharing != sim.Entries || k.size <= mostEntries) && (k.story != sim.NoConnection || k.size <= mostCutOff)
}

func play(sizes []int, quick bool) *findings {
	f := &findings{sizes: sizes, results: map[key]*sim.Result{}}
	var keys []key
	for i := len(sizes) - 1; i >= 0; i-- { // the slow ones first
		for _, story := range sim.Stories {
			for _, sharing := range []sim.Sharing{sim.Nothing, sim.Entries, sim.Leases} {
				if k := (key{story, sharing, sizes[i]}); k.played() {
					keys = append(keys, k)
				}
			}
		}
	}
	results := make([]*sim.Result, len(keys))
	var all errgroup.Group
	all.SetLimit(min(2, runtime.GOMAXPROCS(0))) // each of a million takes about 300 MB
	for i, k := range keys {
		all.Go(func() error {
			results[i] = sim.Run(k.scenario())
			return nil
		})
	}
	all.Wait()
	for i, k := range keys {
		f.results[k] = results[i]
	}
	f.choices, f.starts = choices(quick), starts()
	return f
}

// choice is a way to run a fleet, and the size up to which it works.
type choice struct {
	way, admin string
	most       int  // the most processes of which none waited for a renewed token; two digits
	bounded    bool // more do not work
}

// choices finds the size up to which each way to run a fleet works.
func choices(quick bool) (list []choice) {
	for _, c := range []struct {
		way, admin string
		edit       func(*sim.Scenario)
	}{
		{"the default", "10 min before the expiry", func(s *sim.Scenario) {}},
		{"the default", "2 min 30 s before it, in the window", func(s *sim.Scenario) { s.Delegations[1].At = life - 150*time.Second }},
		{"`RenewBefore: 15 * time.Minute`", "20 min before", func(s *sim.Scenario) { s.RenewBefore, s.Delegations[1].At = 15*time.Minute, life-20*time.Minute }},
		{"`RenewBefore: 30 * time.Minute`", "40 min before", func(s *sim.Scenario) { s.RenewBefore, s.Delegations[1].At = 30*time.Minute, life-40*time.Minute }},
		{"`RenewBefore: 30 * time.Minute`", "10 min before, in the window", func(s *sim.Scenario) { s.RenewBefore = 30 * time.Minute }},
		{"a `Cache` with no leases", "10 min before", func(s *sim.Scenario) { s.Sharing = sim.Entries }},
		{"a `Cache` with leases", "10 min before", func(s *sim.Scenario) { s.Sharing = sim.Leases }},
		{"a `Cache` with leases", "2 min 30 s before, in the window", func(s *sim.Scenario) { s.Sharing, s.Delegations[1].At = sim.Leases, life-150*time.Second }},
	} {
		most := 100_000
		if quick {
			most = 1000
		}
		n, bounded := largest(most, func(processes int) bool {
			for seed := range uint64(3) {
				s := sim.Renewal.Scenario(processes, life)
				s.Seed = seed
				c.edit(&s)
				s.Length = life + 10*time.Minute
				if sim.Run(s).Calls > processes { // each process's first call waits
					return false
				}
			}
			return true
		})
		list = append(list, choice{c.way, c.admin, n, bounded})
	}
	return list
}

// largest returns about the greatest number up to most for which does is true, in two
// digits. bounded: it is false for greater ones.
func largest(most int, does func(int) bool) (n int, bounded bool) {
	low, high := 0, 16
	for high <= most && does(high) {
		low, high = high, 2*high
	}
	if high > most {
		if does(most) {
			return most, false
		}
		high = most
	}
	for high-low > max(1, low/50) {
		if middle := (low + high) / 2; does(middle) {
			low = middle
		} else {
			high = middle
		}
	}
	digit := 1
	for low >= 100*digit {
		digit *= 10
	}
	return low / digit * digit, true
}

// start is a way to start 1,000 processes.
type start struct {
	way    string
	result *sim.Result
}

func starts() (list []start) {
	for _, c := range []struct {
		way  string
		edit func(*sim.Scenario)
	}{
		{"all within 10 s", func(*sim.Scenario) {}},
		{"all within 10 s, calls without a deadline", func(s *sim.Scenario) { s.Deadlines = false }},
		{"over 5 min", func(s *sim.Scenario) { s.Spread = 5 * time.Minute }},
		{"over 11 min, 91 a minute", func(s *sim.Scenario) { s.Spread = 11 * time.Minute }},
		{"all within 10 s, a `Cache` with leases", func(s *sim.Scenario) { s.Sharing = sim.Leases }},
	} {
		s := sim.ColdStart.Scenario(1000, life)
		s.Length = 30 * time.Minute
		c.edit(&s)
		list = append(list, start{c.way, sim.Run(s)})
	}
	return list
}

// playFigures gets the real code's results from the tests of package sim.
func playFigures() ([]sim.Figures, error) {
	tmp, err := os.MkdirTemp("", "authsec-simulate-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(tmp)
	file := filepath.Join(tmp, "figures.json")
	cmd := exec.Command("go", "test", "-count=1", "-run=^TestFigures$", "./sim", "-figures="+file)
	if out, err := cmd.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("go test ./sim: %w\n%s", err, out)
	}
	data, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	var list []sim.Figures
	return list, json.Unmarshal(data, &list)
}
