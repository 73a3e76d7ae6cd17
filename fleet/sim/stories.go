// Copyright 2026 The authsec Authors
// SPDX-License-Identifier: Apache-2.0

package sim

import "time"

// Story is what happens to a fleet of any size.
type Story string

// The stories. In all except the first, the whole fleet has the first delegation's
// token before there is a limit.
const (
	ColdStart    Story = "cold start"            // all processes begin within 10 s
	Renewal      Story = "renewal"               // an admin delegates again, two default windows before the expiry
	RenewalLate  Story = "renewal in the window" // an admin delegates again in the middle of the default window
	AfterExpiry  Story = "after expiry"          // an admin delegates again half a default window after the expiry
	Unavailable  Story = "503"                   // the server is down for two default windows; the token expires halfway
	NoConnection Story = "no connection"         // the same, without a proxy that answers
)

// Stories has all of them.
var Stories = []Story{ColdStart, Renewal, RenewalLate, AfterExpiry, Unavailable, NoConnection}

// Scenario makes a scenario of the story, with delegations that live for life, in
// whole minutes, and with the limit of AuthSec's servers. Calls have deadlines.
func (y Story) Scenario(processes int, life time.Duration) Scenario {
	s := Scenario{
		Processes:    processes,
		Spread:       10 * time.Second,
		Unlimited:    11 * time.Second,
		Every:        time.Second,
		Deadlines:    true,
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
