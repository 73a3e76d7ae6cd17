// Copyright 2026 The authsec Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"sync"
	"time"
)

// outagePause is the time from a logged failure of the upstream to the next one, at
// least. An upstream with one path that fails may fail many times a second.
const outagePause = 10 * time.Second

// outage decides which failures of the upstream are logged, and which answers after
// them.
type outage struct {
	open     bool      // a failure was logged, and no answer has come since
	last     time.Time // when a failure was logged last; zero: never
	unlogged int       // failures since the last record
}

// next returns the state after a failure or an answer, and whether that is logged. The
// first failure is logged at once, and an answer only after a logged failure.
func (o outage) next(now time.Time, failed bool) (after outage, logged bool) {
	switch {
	case failed && (o.open || !o.last.IsZero() && now.Sub(o.last) < outagePause):
		o.unlogged++
		return o, false
	case failed:
		return outage{open: true, last: now}, true
	case o.open:
		return outage{last: o.last}, true
	}
	return o, false
}

// outages is the outage of a running proxy.
type outages struct {
	mu    sync.Mutex // guards state
	state outage
}

// note notes a failure or an answer. It returns whether that is logged, with the state
// before it.
func (o *outages) note(now time.Time, failed bool) (before outage, logged bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	before = o.state
	o.state, logged = before.next(now, failed)
	return before, logged
}
