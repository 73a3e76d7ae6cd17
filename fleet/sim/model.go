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
	base time.Duration // a call that returned at once; later calls follow every Scenario.Every

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
		m.push(i, p.base, call)
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

func (m *model) push(i int, at time.Duration, k kind) {
	m.queue.push(event{at: at, process: int32(i), kind: k})
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
		m.push(i, p.failUntil, call)
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
		m.push(i, m.tick(p, max(min(p.renewAt, p.expiry), now+1)), call)
	case p.failed && now < p.failUntil && !m.pauses(p, now):
		// The calls until then fail.
		at := m.tick(p, p.failUntil)
		n := int((m.tick(p, min(p.failUntil, m.Length))-p.base)/m.Every) - 1
		m.result.Calls, m.result.FailedCalls = m.result.Calls+n, m.result.FailedCalls+n
		m.push(i, at, call)
	default:
		m.push(i, m.tick(p, now+1), call)
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

// land ends a fetch.
func (m *model) land(i int, p *process, now time.Duration, a answer) {
	if p.asking == never { // the token may have expired since, and the caller waits
		if at := m.tick(p, max(p.expiry, p.base+1)); p.token != 0 && at <= now {
			p.asking = at
			if p.without == never {
				p.without = at
			}
		} else {
			p.base = m.tick(p, now+1) - m.Every
		}
	}
	good := p.good(now)
	if a.token != 0 {
		m.succeed(p, now, a.token, good)
	} else {
		m.fail(p, now, a.status, good)
	}
	switch {
	case p.asking == never:
		m.next(i, p, now)
	case a.token != 0:
		m.answered(i, p, now, false)
	case m.pauses(p, now):
		m.wait(i, p, now)
	default:
		m.answered(i, p, now, true)
	}
}

// succeed is lifecycle.State.Land after a success.
func (m *model) succeed(p *process, now time.Duration, token int, good bool) {
	p.failed, p.failUntil, p.notBefore, p.failures = false, 0, 0, 0
	if good && int(p.token) == token {
		m.again(p, now, 0)
		return
	}
	p.token, p.expiry = int16(token), m.Delegations[token-1].end()
	life := p.expiry - now
	p.window = min(life/m.rules.windowShare, m.rules.maxWindow)
	if m.RenewBefore > 0 {
		p.window = min(m.RenewBefore, life)
	}
	p.first = p.expiry - p.window + m.jitter(p.window/m.rules.firstShare)
	p.renewAt = p.first
}

// step is the time between two attempts to renew, before jitter.
func (m *model) step(p *process) time.Duration {
	return max(p.window/m.rules.stepShare, m.rules.minStep)
}

// again is lifecycle.Token's method of that name.
func (m *model) again(p *process, now, wait time.Duration) {
	p.renewAt = max(now+max(m.spread(m.step(p)), wait), p.first)
}

// coldHold is how long a failure is cached while there is no token.
func (m *model) coldHold(p *process) time.Duration {
	return m.spread(min(m.rules.minHold<<min(p.failures, 10), m.rules.maxHold))
}

// limit is how long after a 429 the server is not asked.
func (m *model) limit() time.Duration {
	if m.rules.limitedTwice {
		return m.Window + m.jitter(m.Window)
	}
	return m.Window
}

// fail is lifecycle.State.Land after a failure.
func (m *model) fail(p *process, now time.Duration, status int, good bool) {
	var retryAfter, hold time.Duration // hold is another process's
	switch f := p.flight; {
	case f != nil:
		retryAfter, hold = f.retryAfter, f.hold
		if !f.taken {
			hold = 0
		}
	case status == 429:
		retryAfter = m.limit()
	}
	switch {
	case retryAfter > 0:
		p.limited, p.notBefore = status == 429, now+retryAfter
	case status != 0 && status < 500:
		p.notBefore = 0
	}
	wait := max(0, p.notBefore-now)
	if good {
		p.failed, p.failUntil = wait > 0, p.notBefore
		m.again(p, now, wait)
		return
	}
	switch {
	case retryAfter > 0:
		hold = 0
	case hold == 0:
		hold = m.coldHold(p)
	}
	p.token = 0
	p.failures = min(p.failures+1, 100)
	p.failed, p.failUntil = true, now+max(hold, wait)
}

// server is the endpoint, with its limit and its outage.
type server struct {
	Scenario
	served []time.Duration // the requests of the last window that were not refused
}

// answer is what a request brings.
type answer struct {
	status int // 0: there was no connection
	token  int // the delegation's number, from 1; 0: none
}

// ask makes a request.
func (s *server) ask(now time.Duration) answer {
	if s.Outage.From <= now && now < s.Outage.To {
		return answer{status: s.Outage.Status}
	}
	if s.Limit > 0 && now >= s.Unlimited {
		for len(s.served) > 0 && now-s.served[0] >= s.Window {
			s.served = s.served[1:]
		}
		if len(s.served) >= s.Limit {
			return answer{status: 429}
		}
		s.served = append(s.served, now)
	}
	last := 0
	for i, d := range s.Delegations {
		if d.At <= now {
			last = i + 1
		}
	}
	if last == 0 || now >= s.Delegations[last-1].end() {
		return answer{status: 404}
	}
	return answer{200, last}
}
