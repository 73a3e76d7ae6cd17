// Copyright 2026 The authsec Authors
// SPDX-License-Identifier: Apache-2.0

package sim

import "time"

// rules are the numbers by which a Source acts, as package authsec has them.
type rules struct {
	windowShare  time.Duration // of a token's life, that its window is by default: one in so many
	maxWindow    time.Duration // of the default
	drawShare    time.Duration // of the window, in which the first renewal is drawn: one in so many
	stepShare    time.Duration // of the window, that lies between attempts to renew: one in so many
	minStep      time.Duration
	minHold      time.Duration // for which a failure is remembered, at first
	maxHold      time.Duration // and in the end
	attempts     int           // of a fetch
	minBackoff   time.Duration // the ceiling of the first wait between them
	limitedTwice bool          // a 429 is followed by one to two windows, not by exactly one

	minPoll    time.Duration // of another process's result, at first
	maxPoll    time.Duration // and in the end
	patience   time.Duration // for it, which may be half as long again
	leaseTTL   time.Duration
	holdSpread time.Duration // in which the processes that share a failure begin again
}

var sourceRules = rules{
	windowShare: 5, maxWindow: 5 * time.Minute, drawShare: 2,
	stepShare: 10, minStep: time.Second,
	minHold: time.Second, maxHold: time.Minute,
	attempts: 4, minBackoff: 200 * time.Millisecond,
	limitedTwice: true,
	minPoll:      100 * time.Millisecond, maxPoll: 500 * time.Millisecond,
	patience: 10 * time.Second, leaseTTL: 5 * time.Second, holdSpread: time.Second,
}
