// Copyright 2026 The authsec Authors
// SPDX-License-Identifier: Apache-2.0

package sim

import "time"

// Story is what happens to a fleet of any size.
type Story string

// The stories. In all but the first the whole fleet has the first delegation's
// token before the limit counts.
const (
	ColdStart    Story = "cold start"            // all processes begin within 10 s
	Renewal      Story = "renewal"               // an admin delegates anew, two default windows before the expiry
	RenewalLate  Story = "renewal in the window" // an admin delegates anew in the middle of the default window
	AfterExpiry  Story = "after expiry"          // an admin delegates anew half of the default window after the expiry
	Unavailable  Story = "503"                   // the server is away for two default windows, in the middle of which the token expires
	NoConnection Story = "no connection"         // the same, and nothing is in front of it
)

// Stories are all of them.
var Stories = []Story{ColdStart, Renewal, RenewalLate, AfterExpiry, Unavailable, NoConnection}

// Tell makes the story a scenario, with delegations of that life, in whole
// minutes, and with what AuthSec's servers have for a limit.
func (y Story) Tell(processes int, life time.Duration) Scenario {
	s := Scenario{
		Processes:    processes,
		Spread:       10 * time.Second,
		Unlimited:    11 * time.Second,
		Every:        time.Second,
		Delegations:  []Delegation{{0, life}},
		Limit:        100,
		Window:       time.Minute,
		Latency:      20 * time.Millisecond,
		CacheLatency: time.Millisecond,
	}
	window := min(life/sourceRules.windowShare, sourceRules.maxWindow)
	again := life - 2*window // before the window
	switch y {
	case ColdStart:
		s.Unlimited = 0
	case RenewalLate:
		again = life - window/2
	case AfterExpiry:
		again = life + window/2
	case Unavailable:
		s.Outage = Outage{life - window, life + window, 503}
	case NoConnection:
		s.Outage = Outage{life - window, life + window, 0}
	}
	s.Delegations = append(s.Delegations, Delegation{again, life})
	s.Length = again + life
	return s
}
