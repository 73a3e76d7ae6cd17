// Copyright 2026 The authsec Authors
// SPDX-License-Identifier: Apache-2.0

package sim

import "time"

// store is the cache that the processes share.
type store struct {
	entry   entry
	version int           // of the entry; each Put makes another
	until   time.Duration // when the entry ends
	holder  *flight       // of the lease; nil: it is free
	held    time.Duration // until when
}

// entry is share.Entry: what the server said last.
type entry struct {
	token    int16 // of its last 200; 0: none
	answered time.Duration

	failed     bool // the fields that follow count
	status     int16
	told       time.Duration
	hold       time.Duration
	retryAfter time.Duration
}

// flight is one fetch of a process that has a cache.
type flight struct {
	began    time.Duration
	patience time.Duration
	pause    time.Duration // the ceiling of the next one, as in share.Cache.Await
	leased   bool
	seen     int   // the version that it looked at last
	kept     entry // the token in that version, if it has not expired

	// What it wants, as in share.Want.
	token  int16
	within time.Duration

	// Its outcome. taken: it is another process's.
	taken      bool
	answer     answer
	hold       time.Duration // how long the failure is cached
	retryAfter time.Duration

	put *entry // what it stores
	ttl time.Duration
}

// beginShared begins a fetch, as shared.fetch does.
func (m *model) beginShared(i int, p *process, now time.Duration) {
	f := &flight{began: now, patience: m.rules.patience + m.jitter(m.rules.patience/2), pause: m.rules.minPoll}
	if p.good(now) {
		f.token, f.within = p.token, m.step(p)
	}
	if f.hold = m.coldHold(p); p.good(now) && m.rules.holdSteps {
		f.hold = m.spread(m.step(p))
	}
	p.flight = f
	m.use(i, f, now, get)
}

// use begins a use of the cache. It takes effect at its end.
func (m *model) use(i int, f *flight, now time.Duration, k kind) {
	if i := int(now / time.Second); i < len(m.result.CachePerSecond) {
		m.result.CachePerSecond[i]++
	}
	m.queue.push(event{at: now + m.CacheLatency, process: int32(i), kind: k, flight: f})
}

// used ends a use of the cache.
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
		left := f.patience - (now - f.began)
		if left <= 0 {
			m.attempt(i, now, 1)
			return
		}
		wait := min(m.spread(f.pause), left)
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
		m.use(i, f, now, put)
	case put:
		m.store.entry, m.store.until = *f.put, now+f.ttl
		m.store.version++
		m.end(i, f, now)
	case release:
		if m.store.holder == f {
			m.store.holder = nil
		}
		f.leased = false
		m.end(i, f, now)
	}
}

// look judges the entry, unless the flight has seen it before. It reports whether
// the entry is the flight's result.
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
		f.answer = answer{200, int(e.token)}
	case m.fails(p, f, e, now):
		p.known = e.told
		f.answer, f.hold = answer{status: int(e.status)}, 0
		spread := m.jitter(m.rules.holdSpread)
		if left := e.retryAfter - (now - e.told); left > 0 {
			f.retryAfter = left + spread
		}
		if left := e.hold - (now - e.told); left > 0 {
			f.hold = min(left+spread, m.rules.maxHold)
		}
	default:
		return false
	}
	f.taken = true
	m.end(i, f, now)
	return true
}

// end releases the lease, and then lands the flight.
func (m *model) end(i int, f *flight, now time.Duration) {
	if f.leased {
		m.use(i, f, now, release)
		return
	}
	m.queue.push(event{at: now, process: int32(i), kind: land, status: int16(f.answer.status), token: int16(f.answer.token)})
}

// accepts is share.Want.Accepts.
func (m *model) accepts(p *process, f *flight, e *entry, now time.Duration) bool {
	switch {
	case e.answered <= p.known:
		return f.token == 0
	case f.token == 0:
		return true
	}
	return e.token != f.token || now-e.answered <= f.within+now-f.began
}

// fails is share.Want.Fails.
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

// share is shared.store: it stores the server's answer, before the fetch ends.
func (m *model) share(i int, p *process, now time.Duration, a answer) {
	f := p.flight
	f.answer = a
	asked := now - m.Latency
	if a.status != 0 {
		p.known = asked
	}
	switch {
	case a.token != 0:
		f.put = &entry{token: int16(a.token), answered: asked}
		f.ttl = m.Delegations[a.token-1].end() - now
		m.use(i, f, now, put)
	case a.status != 0:
		if a.status == 429 {
			f.retryAfter = m.limit()
		}
		f.ttl = max(f.hold, f.retryAfter, m.rules.minHold)
		f.put = &entry{failed: true, status: int16(a.status), told: asked, hold: f.ttl, retryAfter: f.retryAfter}
		m.use(i, f, now, getOld)
	default:
		m.end(i, f, now)
	}
}

// keep puts the stored token into the entry of the failure that is stored next.
func (m *model) keep(f *flight, now time.Duration) {
	old := &m.store.entry
	if m.store.version == 0 || now >= m.store.until || old.token == 0 {
		return
	}
	if end := m.Delegations[old.token-1].end(); now < end {
		f.put.token, f.put.answered = old.token, old.answered
		f.ttl = max(f.ttl, end-now)
	}
}
