// Copyright 2026 The authsec Authors
// SPDX-License-Identifier: Apache-2.0

package faults

import (
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// ledger is what the servers and the callers know of the requests.
type ledger struct {
	mu         sync.Mutex // guards the fields up to inForce, and the entries
	flying     map[string]*entry
	ended      [4096]*entry // the latest to end: a request may arrive after its caller has given up
	next       int
	wrong      []string
	inForce    func() string // what else to print with a violation; nil: nothing
	arrivals   atomic.Int64
	rejections atomic.Int64
	bodies     atomic.Int64 // of requests, opened, and neither closed nor passed to Base
}

// entry is one request. Its counts are guarded by the ledger.
type entry struct {
	id       string
	once     bool // it is not idempotent
	buffered bool // the Transport reads its body, and closes it, before it sends
	began    time.Time
	arrivals int // at the API
	rejected int // of them, with a 401

	mu       sync.Mutex   // guards what follows
	attempts int          // that the Transport made
	body     *requestBody // opened last; nil: none
	history  []string
}

const (
	maxHistory    = 40 // events of one request that are printed
	maxViolations = 20
)

// handOver notes that Base has the body that was opened last, and must close it.
func (e *entry) handOver() {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.body != nil {
		e.body.handOver()
	}
}

func (e *entry) note(format string, args ...any) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if len(e.history) < maxHistory {
		e.history = append(e.history, fmt.Sprintf("%v ", time.Since(e.began).Round(time.Millisecond))+fmt.Sprintf(format, args...))
	}
}

func (l *ledger) begin(e *entry) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.flying[e.id] = e
}

// end forgets a request. It keeps the counts of the latest ones.
func (l *ledger) end(e *entry) {
	e.mu.Lock()
	e.history = nil
	e.mu.Unlock()
	l.mu.Lock()
	defer l.mu.Unlock()
	if old := l.ended[l.next]; old != nil {
		delete(l.flying, old.id)
	}
	l.ended[l.next] = e
	l.next = (l.next + 1) % len(l.ended)
}

func (l *ledger) find(id string) *entry {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.flying[id]
}

func (l *ledger) arrived(id string) *entry {
	l.arrivals.Add(1)
	l.mu.Lock()
	e := l.flying[id]
	if e == nil {
		l.mu.Unlock()
		return &entry{id: id, began: time.Now()} // it ended long before
	}
	e.arrivals++
	twice := e.once && e.arrivals-e.rejected > 1
	arrivals, rejected := e.arrivals, e.rejected
	l.mu.Unlock()
	e.note("arrived at the API")
	if twice {
		l.violate(e, "a request that is not idempotent arrived %d times, %d of them rejected with a 401: want at most 1 more", arrivals, rejected)
	}
	return e
}

func (l *ledger) reject(e *entry) {
	l.rejections.Add(1)
	l.mu.Lock()
	defer l.mu.Unlock()
	e.rejected++
}

func (l *ledger) violate(e *entry, format string, args ...any) {
	text := fmt.Sprintf(format, args...)
	if e != nil {
		e.mu.Lock()
		text += fmt.Sprintf("\n\trequest %s, begun at %s: %s", e.id, e.began.Format("15:04:05.000"), strings.Join(e.history, "; "))
		e.mu.Unlock()
	}
	if l.inForce != nil {
		text += "\n\t" + l.inForce()
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.wrong) < maxViolations {
		l.wrong = append(l.wrong, text)
	}
}

func (l *ledger) faults() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return append([]string(nil), l.wrong...)
}
