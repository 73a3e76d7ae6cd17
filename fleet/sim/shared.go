// Copyright 2026 The authsec Authors
// SPDX-License-Identifier: Apache-2.0

package sim

import "time"

// store is the cache that the processes share.
type store struct {
	entry   entry
	version int           // of the entry: each Put makes another
	until   time.Duration // when the entry ends
	holder  *flight       // of the lease; nil: it is free
	held    time.Duration // until when
}

// entry is what the server last said, as internal/cache has it.
type entry struct {
	token    int16 // of the last good answer; 0: none
	answered time.Duration

	failed     bool // what follows counts
	status     int16
	told       time.Duration
	hold       time.Duration
	retryAfter time.Duration
}

// flight is one fetch of a process that has a cache.
type flight struct {
	began    time.Duration
	patience time.Duration
	pause    time.Duration // the ceiling of the next one, as in cache.Await
	leased   bool
	seen     int   // the version that was looked at
	kept     entry // the good answer that was seen

	// What it wants, as cache.Want has it.
	token  int16
	within time.Duration

	// What it ends with, if the cache had it.
	taken      bool
	held       time.Duration
	retryAfter time.Duration

	put *entry // what it stores once it has landed; nil: nothing
	ttl time.Duration
}

// beginShared is the beginning of Source.fetchShared.
func (m *model) beginShared(i int, p *process, now time.Duration) {
	f := &flight{began: now, patience: m.rules.patience + m.jitter(m.rules.patience/2), pause: m.rules.minPoll}
	if p.good(now) {
		f.token, f.within = p.token, max(p.window/m.rules.stepShare, m.rules.minStep)
	}
	p.flight = f
	m.use(i, f, now, get)
}

// use makes a use of the cache, whose effect comes at its end.
func (m *model) use(i int, f *flight, now time.Duration, k kind) {
	if i := int(now / time.Second); i < len(m.result.CachePerSecond) {
		m.result.CachePerSecond[i]++
	}
	m.queue.push(event{at: now + m.CacheLatency, process: int32(i), kind: k, flight: f})
}

// used has the effect of a use of the cache.
func (m *model) used(i int, p *process, f *flight, now time.Duration, k kind) {
	switch k {
	case get:
		switch {
		case m.look(i, p, f, now):
		case m.Sharing == Leases:
			m.use(i, f, now, lease)
		default:
			m.attempt(i, now, 1)
		}
	case lease:
		if m.store.holder == nil || now >= m.store.held {
			m.store.holder, m.store.held = f, now+m.rules.leaseTTL
			f.leased = true
			m.use(i, f, now, getAgain)
			return
		}
		if now-f.began >= f.patience {
			m.attempt(i, now, 1)
			return
		}
		wait := f.pause/2 + m.jitter(f.pause)
		f.pause = min(f.pause*3/2, m.rules.maxPoll)
		m.queue.push(event{at: now + wait, process: int32(i), kind: poll, flight: f})
	case poll:
		m.use(i, f, now, get)
	case getAgain:
		if !m.look(i, p, f, now) {
			m.attempt(i, now, 1)
		}
	case getOld:
		m.keep(f, now)
		if f.put != nil {
			m.use(i, f, now, put)
		} else if f.leased {
			m.use(i, f, now, release)
		}
	case put:
		m.store.entry, m.store.until = *f.put, now+f.ttl
		m.store.version++
		if f.leased {
			m.use(i, f, now, release)
		}
	case release:
		if m.store.holder == f {
			m.store.holder = nil
		}
		if f.taken { // which waits for it
			m.landTaken(i, f, now)
		}
	}
}

// look judges the entry, if it is new to the flight, and reports whether it is
// the flight's result.
func (m *model) look(i int, p *process, f *flight, now time.Duration) bool {
	s := &m.store
	if s.version == 0 || s.version == f.seen || now >= s.until {
		return false
	}
	f.seen = s.version
	e := &s.entry
	f.kept = entry{}
	if e.token != 0 && now < m.Delegations[e.token-1].end() {
		f.kept = entry{token: e.token, answered: e.answered}
	}
	switch {
	case f.kept.token != 0 && m.accepts(p, f, e, now):
		p.known = e.answered
	case m.fails(p, f, e, now):
		p.known = e.told
		spread := m.jitter(m.rules.holdSpread)
		if left := e.retryAfter - (now - e.told); left > 0 {
			f.retryAfter = left + spread
		}
		if left := e.hold - (now - e.told); left > 0 {
			f.held = left + spread
		}
		f.kept = entry{status: e.status}
	default:
		return false
	}
	f.taken = true
	if f.leased {
		m.use(i, f, now, release)
	} else {
		m.landTaken(i, f, now)
	}
	return true
}

func (m *model) landTaken(i int, f *flight, now time.Duration) {
	e := event{at: now, process: int32(i), kind: land, token: f.kept.token, status: 200, flight: f}
	if e.token == 0 {
		e.status = f.kept.status
	}
	m.queue.push(e)
}

// accepts is cache.Want.Accepts.
func (m *model) accepts(p *process, f *flight, e *entry, now time.Duration) bool {
	switch {
	case e.answered <= p.known:
		return f.token == 0
	case f.token == 0:
		return true
	}
	return e.token != f.token || now-e.answered <= f.within+now-f.began
}

// fails is cache.Want.Fails.
func (m *model) fails(p *process, f *flight, e *entry, now time.Duration) bool {
	if !e.failed || e.told <= p.known || e.told < e.answered {
		return false
	}
	hold := e.hold
	if f.token == 0 {
		hold = min(hold, m.rules.maxHold)
	}
	age := now - e.told
	return age < e.retryAfter || age < hold
}

// share is Source.store: what the server said is for all.
func (m *model) share(i int, p *process, f *flight, now time.Duration, a answer) {
	switch {
	case a.token != 0:
		f.put = &entry{token: int16(a.token), answered: now}
		f.ttl = p.expiry - now
	case a.status != 0:
		next := p.heldTill
		if p.good(now) {
			next = p.due
		}
		e := &entry{failed: true, status: int16(a.status), told: now, hold: max(next-now, m.rules.minHold)}
		if a.status == 429 {
			e.retryAfter = p.wishTill - now
		}
		f.put, f.ttl = e, e.hold
		m.use(i, f, now, getOld)
		return
	}
	if f.put != nil {
		m.use(i, f, now, put)
	} else if f.leased {
		m.use(i, f, now, release)
	}
}

// keep has the failure that is to be stored leave the token that is there, and be
// dropped for one that was given out since.
func (m *model) keep(f *flight, now time.Duration) {
	old := &m.store.entry
	if m.store.version == 0 || now >= m.store.until || old.token == 0 {
		return
	}
	if old.answered > f.put.told {
		f.put = nil
		return
	}
	if end := m.Delegations[old.token-1].end(); now < end {
		f.put.token, f.put.answered = old.token, old.answered
		f.ttl = max(f.ttl, end-now)
	}
}
