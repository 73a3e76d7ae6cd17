// Copyright 2026 The authsec Authors
// SPDX-License-Identifier: Apache-2.0

// Package sim is the traffic that a fleet of processes, all of one agent and
// behind one address, makes at its AuthSec server. It is a model in virtual time:
// deterministic, and quick enough for a million processes. Its rules are those
// of authsec.Source; its tests hold it against the real code, in a bubble of
// testing/synctest, for as many processes as that carries.
package sim

import (
	"fmt"
	"time"
)

// Sharing is what the processes of a fleet share.
type Sharing int

const (
	Nothing Sharing = iota // each asks the server for itself
	Entries                // a Cache that is no Leaser
	Leases                 // a Leaser
)

func (s Sharing) String() string {
	switch s {
	case Nothing:
		return "no cache"
	case Entries:
		return "cache"
	case Leases:
		return "cache with leases"
	}
	return fmt.Sprintf("Sharing(%d)", int(s))
}

// Delegation is what an admin does at a moment.
type Delegation struct {
	At   time.Duration // since the beginning, in whole seconds
	Life time.Duration // the same
}

func (d Delegation) end() time.Duration { return d.At + d.Life }

// Outage is a time in which the server gives no answer of its own.
type Outage struct {
	From, To time.Duration
	Status   int // that a proxy in front of it answers; 0: there is no connection
}

// Scenario is what happens to a fleet. Moments are durations since its beginning.
type Scenario struct {
	Processes int
	Seed      uint64
	Length    time.Duration // of what is looked at
	Spread    time.Duration // the processes begin in, each at a moment drawn evenly
	Every     time.Duration // the pause between the calls of a process's one caller

	Delegations []Delegation // in their order
	Outage      Outage

	Limit     int           // requests a window that the server allows; 0: any number
	Window    time.Duration // which begins with the first request after the last one
	Unlimited time.Duration // the limit counts only from then on: for a fleet that has grown slowly
	Latency   time.Duration // of the server, and of being told that there is no connection

	RenewBefore  time.Duration // Config.RenewBefore
	FailFast     bool          // Config.FailFast
	Sharing      Sharing
	CacheLatency time.Duration // of each use of the cache
}

// Result is what came of a Scenario.
type Result struct {
	PerSecond []int // attempts to reach the server that began in each second

	Requests int // attempts, those that found no connection included
	Limited  int // answers of 429
	Failed   int // answers of another kind but 200, and attempts without one

	CachePerSecond []int // that began in each second

	Calls       int           // that waited or failed; all others had a good token at once
	FailedCalls int           // of these, those that returned an error
	LongestWait time.Duration // of a call
	Unserved    int           // processes that wait, or whose last call failed, when the scenario ends
	Without     time.Duration // in which processes that asked for a token had none, together
	LastWithout time.Duration // when the last of these times was over; Length if one was not
}

// Peak is the greatest number of attempts in one second.
func (r *Result) Peak() int { return Greatest(r.PerSecond) }

// Greatest is the greatest of the numbers, such as those of a Result's seconds.
func Greatest(list []int) int {
	most := 0
	for _, n := range list {
		most = max(most, n)
	}
	return most
}

// note counts an attempt and its answer; status 0 is none.
func (r *Result) note(at time.Duration, status int) {
	r.Requests++
	if i := int(at / time.Second); i < len(r.PerSecond) {
		r.PerSecond[i]++
	}
	switch status {
	case 200:
	case 429:
		r.Limited++
	default:
		r.Failed++
	}
}

// waited counts a call from its beginning to its end that had no token at once.
func (r *Result) waited(from, to time.Duration, failed bool) {
	r.Calls++
	if failed {
		r.FailedCalls++
	}
	r.LongestWait = max(r.LongestWait, to-from)
}

// had counts a time without a token that is over.
func (r *Result) had(from, to time.Duration) {
	r.Without += to - from
	r.LastWithout = max(r.LastWithout, to)
}

// lacks counts a time without a token that the scenario's end cuts off.
func (r *Result) lacks(from, end time.Duration) {
	r.Unserved++
	r.had(from, end)
}

// Figures are what the real code made of a trial of the tests, once, and the model.
type Figures struct {
	Story       Story
	Sharing     Sharing
	Processes   int
	Code, Model *Result
	Took        time.Duration // by the real code
}
