// Copyright 2026 The authsec Authors
// SPDX-License-Identifier: Apache-2.0

package lifecycle

import "time"

const (
	minBudgetStep = time.Second      // after the first fetch that a rejection caused; doubles with each
	maxBudgetStep = 30 * time.Second // up to this
	budgetReset   = time.Minute      // without a rejection
)

// Budget bounds the fetches that one API's rejections cause: one at once, the
// next after 1 s, then 2 s, doubling to 30 s, until the API has rejected nothing
// for a minute. The zero value allows a fetch.
type Budget struct {
	last time.Duration // the moment of the latest rejection
	step time.Duration // the wait after the latest fetch; 0: there was no fetch
	next time.Duration // the earliest moment of the next fetch
}

// Reject returns the budget after a rejection.
func (b Budget) Reject(now Moment) Budget {
	if b.Idle(now) {
		b = Budget{}
	}
	b.last = now.Mono
	return b
}

// Allows reports whether a rejection may cause a fetch now.
func (b Budget) Allows(now Moment) bool { return now.Mono >= b.next }

// Spend returns the budget after a rejection caused a fetch.
func (b Budget) Spend(now Moment) Budget {
	b.step = min(max(minBudgetStep, 2*b.step), maxBudgetStep)
	b.next = now.Mono + b.step
	return b
}

// Step returns how long after the latest fetch the next one may begin.
func (b Budget) Step() time.Duration { return b.step }

// Idle reports whether b counts as new: it has no fetch, or no rejection for a minute.
func (b Budget) Idle(now Moment) bool { return b.step == 0 || now.Mono-b.last >= budgetReset }
