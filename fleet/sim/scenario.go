// Copyright 2026 The authsec Authors
// SPDX-License-Identifier: Apache-2.0

// Package sim simulates the requests that a fleet of processes sends to its AuthSec
// server. All processes are of one agent and behind one address. It is a model in
// virtual time: deterministic, and fast enough for a million processes. Its rules are
// those of authsec.Source. Its tests compare it with the real code, which runs in a
// testing/synctest bubble, for up to 1,000 processes.
package sim

import (
	"fmt"
	"time"
)

// Sharing is what the processes of a fleet share.
type Sharing int

const (
	Nothing Sharing = iota // each asks the server itself
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

// Delegation is an admin's delegation to the agent.
type Delegation struct {
	At   time.Duration // since the beginning, in whole seconds
	Life time.Duration // in whole seconds
}

func (d Delegation) end() time.Duration { return d.At + d.Life }

// Outage is a time in which the server does not answer.
type Outage struct {
	From, To time.Duration
	Status   int // a proxy's answer in its place; 0: there is no connection
}

// Scenario is what happens to a fleet. Moments count from its beginning.
type Scenario struct {
	Processes int
	Seed      uint64
	Length    time.Duration // how long it is observed
	Spread    time.Duration // the processes begin within this time, each at a random moment
	Every     time.Duration // the pause between the calls of a process's one caller
	Deadlines bool          // calls have a deadline, far away, and so wait out rate limits

	Delegations []Delegation // in order
	Outage      Outage

	Limit     int           // how many requests the server allows in a window; 0: any number
	Window    time.Duration // slides; a 429 does not count in it
	Unlimited time.Duration // until then there is no limit: as for a fleet that has grown slowly
	Latency   time.Duration // of an answer, and of a failure to connect

	RenewBefore  time.Duration // Config.RenewBefore
	Sharing      Sharing
	CacheLatency time.Duration // of each use of the cache
}

// Result is the result of a Scenario.
type Result struct {
	PerSecond []int // attempts to reach the server that began in each second

	Requests int // attempts, also those without a connection
	Limited  int // answers of 429
	Failed   int // other answers than 200, and attempts without an answer

	CachePerSecond []int // uses of the cache that began in each second

	Calls       int           // calls that waited or failed; all others got a good token at once
	FailedCalls int           // those of them that returned an error
	LongestWait time.Duration // of one call
	Unserved    int           // processes that wait at the end, or whose last call failed
	Without     time.Duration // how long processes that asked for a token had none, summed up
	LastWithout time.Duration // when the last of these times ended; Length if one did not
}

// Peak is the highest number of attempts in one second.
func (r *Result) Peak() int { return Greatest(r.PerSecond) }

// Greatest is the greatest number of a list, such as a Result's PerSecond.
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

// waited counts a call that got no token at once.
func (r *Result) waited(from, to time.Duration, failed bool) {
	r.Calls++
	if failed {
		r.FailedCalls++
	}
	r.LongestWait = max(r.LongestWait, to-from)
}

// had counts a time without a token that has ended.
func (r *Result) had(from, to time.Duration) {
	r.Without += to - from
	r.LastWithout = max(r.LastWithout, to)
}

// lacks counts a time without a token that lasts until the scenario's end.
func (r *Result) lacks(from, end time.Duration) {
	r.Unserved++
	r.had(from, end)
}

// Figures are the results of one run of a trial, with the real code and the model.
type Figures struct {
	Story       Story
	Sharing     Sharing
	Processes   int
	Code, Model *Result
	Took        time.Duration // how long the real code's run took
}
