// Copyright 2026 The authsec Authors
// SPDX-License-Identifier: Apache-2.0

package verify

import (
	"slices"
	"time"

	"github.com/hashicorp/golang-lru/v2/simplelru"
)

// This file decides what the server may be asked. Its types take no lock, do no I/O and
// read no clock. Their owner passes the time, and guards them.

const (
	maxChecks   = 100 // that ask or wait in line; the server permits as many requests in a minute
	firstWindow = 4   // checks at once; the server permits 5 at once, and then one in 6 s

	agentBurst = 4           // of an agent's unknown tokens, at once
	agentEvery = time.Minute // for another one; Config.RevocationCheck, if that is shorter
	maxAgents  = 4096        // then the least recently seen one is dropped

	missStep    = 30 * time.Second // between two fetches because no key fits; after a failure, between any two
	maxMissStep = 5 * time.Minute
)

// window is how many checks ask the server at once. The others wait in line. All that
// ask from the same address share the server's rate limit. So the window starts small,
// grows with each answer while others wait, and is 1 after a 429.
type window struct {
	size   int
	asking int
	line   []chan struct{} // each is closed when its check may ask
}

// join adds a check. It returns a channel that is closed when the check may ask; nil:
// there are too many.
func (w *window) join() chan struct{} {
	if w.asking+len(w.line) >= maxChecks {
		return nil
	}
	turn := make(chan struct{})
	w.line = append(w.line, turn)
	w.advance()
	return turn
}

// leave removes a check that has ended, also one that did not ask. limited says that
// the server accepts no more requests.
func (w *window) leave(turn chan struct{}, answered, limited bool) {
	if i := slices.Index(w.line, turn); i >= 0 {
		w.line = slices.Delete(w.line, i, i+1)
	} else {
		w.asking--
	}
	switch {
	case limited:
		w.size = 1
	case answered && len(w.line) > 0:
		w.size++
	}
	w.advance()
}

func (w *window) advance() {
	for ; w.asking < w.size && len(w.line) > 0; w.asking++ {
		close(w.line[0])
		w.line = w.line[1:]
	}
}

// agent identifies the agent of a token.
type agent struct{ iss, sub string }

// buckets limit, for each agent, how many tokens are checked that are not known to be
// good. So one agent's tokens don't use up the server's rate limit.
type buckets struct {
	every time.Duration                    // an agent gets one more
	full  *simplelru.LRU[agent, time.Time] // when an agent has agentBurst; missing: it has them
}

// take takes one from an agent's bucket if at least rest are left after that. Otherwise
// it returns false, and when it will succeed.
func (b buckets) take(a agent, rest int, now time.Time) (next time.Time, ok bool) {
	full, _ := b.full.Get(a)
	full = later(full, now).Add(b.every)
	if next = full.Add(-time.Duration(agentBurst-rest) * b.every); next.After(now) {
		return next, false
	}
	b.full.Add(a, full)
	return now, true
}

// misses limits the fetches that start because no key fits a token. While they bring
// the same keys, the time to the next one doubles.
type misses struct {
	step time.Duration
	next time.Time // the earliest time of the next one
}

// take records a fetch that begins now, which is not before next. After a step
// without a fetch, the steps start again at missStep.
func (m *misses) take(now time.Time) {
	if now.Sub(m.next) >= m.step {
		m.step = missStep
	}
	m.next = now.Add(m.step)
}

// fetched records that a fetch brought keys: the same ones, or others.
func (m *misses) fetched(now time.Time, same bool) {
	if same {
		m.step = min(2*m.step, maxMissStep)
		return
	}
	m.step = missStep
	if soon := now.Add(missStep); soon.Before(m.next) {
		m.next = soon
	}
}

// failed records that a fetch brought no keys.
func (m *misses) failed(now time.Time) { m.next = later(m.next, now.Add(missStep)) }
