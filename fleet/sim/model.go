// Copyright 2026 The authsec Authors
// SPDX-License-Identifier: Apache-2.0

package sim

import (
	"math/rand/v2"
	"time"
)

// kind is what an event does.
type kind uint8

const (
	call    kind = iota // the caller asks for a token, or stops waiting for a rate limit
	attempt             // a request is sent
	reply               // with a cache: the server's last answer to a fetch comes
	land                // a fetch ends

	get      // the uses of the cache, at their end
	lease    //
	getAgain // with the lease
	getOld   // before a failure is stored
	put      //
	release  //
	poll     // the start of the next get
)

const never = time.Duration(1<<63 - 1)

// process is one Source and its one caller. Its fields are named as in
// internal/lifecycle.
type process struct {
	base time.Duration // when a call returned at once; later calls follow it every Scenario.Every

	token   int16 // the delegation's number, from 1; 0: none
	expiry  time.Duration
	window  time.Duration
	first   time.Duration // the first attempt to renew
	renewAt time.Duration // the next one

	failed    bool // failUntil counts
	limited   bool // notBefore is a 429's
	failures  int8
	failUntil time.Duration
	notBefore time.Duration

	known  time.Duration // when the latest answer that it knows was asked for; -1: none
	flight *flight       // with a cache: the latest

	asking  time.Duration // since when its caller waits; never: it does not
	without time.Duration // since when its calls get no token; never: they do
}

// model runs a Scenario.
type model struct {
	Scenario
	rules  rules
	rand   *rand.Rand
	queue  *queue
	server server
	store  store
	fleet  []process
	result *Result
}

// Run plays a scenario. The same scenario has the same result.
func Run(s Scenario) *Result { return run(s, sourceRules) }

func run(s Scenario, r rules) *Result {
	m := &model{
		Scenario: s,
		rules:    r,
		rand:     rand.New(rand.NewPCG(s.Seed, uint64(s.Processes))),
		queue:    newQueue(s.Length),
		server:   server{Scenario: s},
		fleet:    make([]process, s.Processes),
		result:   &Result{PerSecond: make([]int, (s.Length+time.Second-1)/time.Second)},
	}
	if s.Sharing != Nothing {
		m.result.CachePerSecond = make([]int, len(m.result.PerSecond))
	}
	for i := range m.fleet {
		p := &m.fleet[i]
		p.asking, p.without, p.known = never, never, -1
		p.base = m.jitter(s.Spread)
		m.push(i, p.base)
	}
	for {
		e, ok := m.queue.pop()
		if !ok {
			break
		}
		switch i, p := int(e.process), &m.fleet[e.process]; e.kind {
		case call:
			m.call(i, p, e.at)
		case attempt:
			m.attempt(i, e.at, int(e.attempt))
		case reply:
			m.share(i, p, e.at, answer{int(e.status), int(e.token)})
		case land:
			m.land(i, p, e.at, answer{int(e.status), int(e.token)})
		default:
			m.used(i, p, e.flight, e.at, e.kind)
		}
	}
	for i := range m.fleet {
		if p := &m.fleet[i]; p.without != never {
			m.result.lacks(p.without, s.Length)
		}
	}
	return m.result
}

// jitter is random in [0, d).
func (m *model) jitter(d time.Duration) time.Duration {
	return time.Duration(m.rand.Int64N(max(1, int64(d))))
}

// spread is d with ±50 % jitter.
func (m *model) spread(d time.Duration) time.Duration { return d/2 + m.jitter(d) }

// push adds a call of process i at a time.
func (m *model) push(i int, at time.Duration) {
	m.queue.push(event{at: at, process: int32(i), kind: call})
}

func (p *process) good(now time.Duration) bool { return p.token != 0 && now < p.expiry }

// tick is the first call at or after from, if all calls before it return at once.
func (m *model) tick(p *process, from time.Duration) time.Duration {
	if from <= p.base {
		return p.base
	}
	return p.base + (from-p.base+m.Every-1)/m.Every*m.Every
}

// call is Source.get. Calls that only return the token in service are no events.
func (m *model) call(i int, p *process, now time.Duration) {
	if p.good(now) {
		if p.base = now; now >= p.renewAt {
			m.begin(i, p, now)
			return
		}
		m.next(i, p, now)
		return
	}
	if p.asking == never {
		p.asking = now
	}
	if p.without == never {
		p.without = now
	}
	m.wait(i, p, now)
}

// wait is what a call without a token does while no fetch is under way.
func (m *model) wait(i int, p *process, now time.Duration) {
	switch {
	case !p.failed || now >= p.failUntil:
		m.begin(i, p, now)
	case m.pauses(p, now):
		m.push(i, p.failUntil)
	default:
		m.answered(i, p, now, true)
	}
}

// pauses reports whether a call waits out a rate limit.
func (m *model) pauses(p *process, now time.Duration) bool {
	return m.Deadlines && p.limited && now < p.notBefore
}

// answered ends a call that has waited.
func (m *model) answered(i int, p *process, now time.Duration, failed bool) {
	m.result.waited(p.asking, now, failed)
	if !failed {
		m.result.had(p.without, now)
		p.without = never
	}
	p.asking, p.base = never, now
	m.next(i, p, now)
}

// next pushes the next call that does more than return a good token or a cached
// failure.
func (m *model) next(i int, p *process, now time.Duration) {
	switch {
	case p.good(now):
		m.push(i, m.tick(p, max(min(p.renewAt, p.expiry), now+1)))
	case p.failed && now < p.failUntil && !m.pauses(p, now):
		// The calls until then fail.
		at := m.tick(p, p.failUntil)
		n := int((m.tick(p, min(p.failUntil, m.Length))-p.base)/m.Every) - 1
		m.result.Calls, m.result.FailedCalls = m.result.Calls+n, m.result.FailedCalls+n
		m.push(i, at)
	default:
		m.push(i, m.tick(p, now+1))
	}
}

// begin starts a fetch.
func (m *model) begin(i int, p *process, now time.Duration) {
	if m.Sharing != Nothing {
		m.beginShared(i, p, now)
		return
	}
	m.attempt(i, now, 1)
}

// attempt makes one request, and repeats it as authsec.RetryPolicy says.
func (m *model) attempt(i int, now time.Duration, n int) {
	a := m.server.ask(now)
	m.result.note(now, a.status)
	done := now + m.Latency
	if transient := a.status == 0 || a.status >= 500; transient && n < m.rules.attempts {
		wait := m.jitter(m.rules.minBackoff << (n - 1))
		m.queue.push(event{at: done + wait, process: int32(i), kind: attempt, attempt: int8(n + 1)})
		return
	}
	k := land
	if m.Sharing != Nothing {
		k = reply
	}
	m.queue.push(event{at: done, process: int32(i), kind: k, status: int16(a.status), token: int16(a.token)})
}
