// Copyright 2026 The authsec Authors
// SPDX-License-Identifier: Apache-2.0

package verify

import (
	"slices"
	"time"

	"github.com/hashicorp/golang-lru/v2/simplelru"
)

// This file decides what the server may be asked. Its types know no lock and no network,
// and are told the time. Whoever has one guards it.

const (
	maxChecks   = 100 // that ask or wait in line; the server permits as many requests in a minute
	firstWindow = 4   // checks at once; the server permits 5 at once, and then one in 6 s

	agentBurst = 4           // of an agent's unknown tokens, at once
	agentEvery = time.Minute // for another one; Config.RevocationCheck, if that is shorter
	maxAgents  = 4096        // the one that was not seen for longest goes

	missStep    = 30 * time.Second // between two fetches because no key fits; after a failure, between any two
	maxMissStep = 5 * time.Minute
)

// window is how many checks ask the server at once. The others wait in line. A check
// that the server refuses counts for all that ask it from the same address. So the
// window starts small, grows with each answer for which others wait, and is 1 after
// a 429.
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

// leave removes a check that has ended, asked or not. limited says that the server
// accepts no more requests.
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

// agent is to whom a token was delegated.
type agent struct{ iss, sub string }

// buckets limit how many tokens of each agent are checked that are not known to be
// good. So one agent's tokens don't use up what the server permits to all.
type buckets struct {
	every time.Duration                    // an agent gets one more
	full  *simplelru.LRU[agent, time.Time] // when an agent has agentBurst; missing: it has them
}

// take takes one from an agent's bucket if then at least rest are left. Otherwise it
// returns false, and when it would be true.
func (b buckets) take(a agent, rest int, now time.Time) (next time.Time, ok bool) {
	full, _ := b.full.Get(a)
	full = later(full, now).Add(b.every)
	if next = full.Add(-time.Duration(agentBurst-rest) * b.every); next.After(now) {
		return next, false
	}
	b.full.Add(a, full)
	return now, true
}

// misses are the fetches because no key fits a token. While they bring the same keys,
// each is twice as long after the one before.
type misses struct {
	step time.Duration
	next time.Time // the earliest time of the next one
}

// take records a fetch that begins now, which is not before next. After a step
// without any, the steps begin anew.
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
