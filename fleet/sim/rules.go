// Copyright 2026 The authsec Authors
// SPDX-License-Identifier: Apache-2.0

package sim

import "time"

// rules are the numbers of a Source's rules, as package authsec and its internal
// packages have them.
type rules struct {
	windowShare  time.Duration // the default window is the token's life divided by this,
	maxWindow    time.Duration // at most this
	firstShare   time.Duration // the first attempt to renew is in the window's first part: the window divided by this
	stepShare    time.Duration // the time between attempts to renew is the window divided by this,
	minStep      time.Duration // at least this
	minHold      time.Duration // how long the first failure is cached
	maxHold      time.Duration // how long a failure is cached at most
	holdSteps    bool          // a failed renewal is shared until the next attempt; if not, like a failure without a token
	attempts     int           // of a fetch
	minBackoff   time.Duration // the ceiling of the first wait between them
	limitedTwice bool          // after a 429 the wait is one to two windows; if not, exactly one

	minPoll    time.Duration // between the first two looks for another process's result
	maxPoll    time.Duration // between two looks at most
	patience   time.Duration // how long a process waits for it, plus up to half of that
	leaseTTL   time.Duration
	holdSpread time.Duration // the processes that share a failure ask again within this time
}

var sourceRules = rules{
	windowShare: 5, maxWindow: 5 * time.Minute, firstShare: 2,
	stepShare: 10, minStep: time.Second,
	minHold: time.Second, maxHold: time.Minute,
	holdSteps: true,
	attempts:  4, minBackoff: 200 * time.Millisecond,
	limitedTwice: true,
	minPoll:      100 * time.Millisecond, maxPoll: 500 * time.Millisecond,
	patience: 10 * time.Second, leaseTTL: 5 * time.Second, holdSpread: time.Second,
}
