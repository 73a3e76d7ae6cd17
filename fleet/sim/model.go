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
	call    kind = iota // the caller asks for a token, or its wait for the server's permission is over
	attempt             // a request is sent
	land                // a fetch ends

	get      // the uses of the cache, as they take effect
	lease    //
	getAgain // with the lease
	getOld   // before a failure is stored
	put      //
	release  //
	poll     // a use is begun
)

const never = time.Duration(1<<63 - 1)

// process is one Source and its one caller.
type process struct {
	base time.Duration // a call that returned at once; the next are so many pauses later

	token    int16 // the delegation's number, from 1; 0: none
	expiry   time.Duration
	received time.Duration
	window   time.Duration
	draw     time.Duration
	due      time.Duration // the next attempt to renew

	failed   bool // heldTill counts
	limited  bool // wishTill is a 429's
	streak   int8
	heldTill time.Duration
	wishTill time.Duration

	known  time.Duration // when the server gave the last answer that is known; -1: none is
	flight *flight       // with a cache: the last

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

// jitter draws evenly from [0, d).
func (m *model) jitter(d time.Duration) time.Duration {
	return time.Duration(m.rand.Int64N(max(1, int64(d))))
}

func (m *model) push(i int, at time.Duration, k kind) {
	m.queue.push(event{at: at, process: int32(i), kind: k})
}

func (p *process) good(now time.Duration) bool { return p.token != 0 && now < p.expiry }

// tick is the first call from that moment on, if all before it return at once.
func (m *model) tick(p *process, from time.Duration) time.Duration {
	if from <= p.base {
		return p.base
	}
	return p.base + (from-p.base+m.Every-1)/m.Every*m.Every
}

// call is Source.get. Calls that do no more than return the token in service
// are no events.
func (m *model) call(i int, p *process, now time.Duration) {
	if p.good(now) {
		if p.base = now; now >= p.due {
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

// wait is Source.wait, with no flight under way.
func (m *model) wait(i int, p *process, now time.Duration) {
	switch {
	case !p.failed || now >= p.heldTill:
		m.begin(i, p, now)
	case m.patient(p, now):
		m.push(i, p.heldTill, call)
	default:
		m.answered(i, p, now, true)
	}
}

// patient reports whether a call waits for what the server wants.
func (m *model) patient(p *process, now time.Duration) bool {
	return !m.FailFast && p.limited && now < p.wishTill
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

// next pushes the next call that does more than return at once what is known.
func (m *model) next(i int, p *process, now time.Duration) {
	switch {
	case p.good(now):
		m.push(i, m.tick(p, max(min(p.due, p.expiry), now+1)), call)
	case p.failed && now < p.heldTill && !m.patient(p, now):
		// The calls until then fail.
		at := m.tick(p, p.heldTill)
		n := int((m.tick(p, min(p.heldTill, m.Length))-p.base)/m.Every) - 1
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
	if passing := a.status == 0 || a.status >= 500; passing && n < m.rules.attempts {
		wait := m.jitter(m.rules.minBackoff << (n - 1))
		m.queue.push(event{at: done + wait, process: int32(i), kind: attempt, attempt: int8(n + 1)})
		return
	}
	m.queue.push(event{at: done, process: int32(i), kind: land, status: int16(a.status), token: int16(a.token)})
}

// land ends a fetch.
func (m *model) land(i int, p *process, now time.Duration, a answer) {
	if p.asking == never { // its caller may have come upon the token's end meanwhile
		if at := m.tick(p, max(p.expiry, p.base+1)); p.token != 0 && at <= now {
			p.asking = at
			if p.without == never {
				p.without = at
			}
		} else {
			p.base = m.tick(p, now+1) - m.Every
		}
	}
	old := p.good(now)
	if a.token != 0 {
		m.succeed(p, now, a.token, old)
	} else {
		m.fail(p, now, a.status, old)
	}
	if f := p.flight; f != nil && !f.taken {
		if a.status != 0 {
			p.known = now
		}
		m.share(i, p, f, now, a)
	}
	switch {
	case p.asking == never:
		m.next(i, p, now)
	case a.token != 0:
		m.answered(i, p, now, false)
	case m.patient(p, now):
		m.wait(i, p, now)
	default:
		m.answered(i, p, now, true)
	}
}

// succeed is Source.succeed.
func (m *model) succeed(p *process, now time.Duration, token int, old bool) {
	p.failed, p.heldTill, p.wishTill, p.streak = false, 0, 0, 0
	if old && int(p.token) == token {
		m.again(p, now, 0)
		return
	}
	p.token, p.received, p.expiry = int16(token), now, m.Delegations[token-1].end()
	life := p.expiry - now
	p.window = min(life/m.rules.windowShare, m.rules.maxWindow)
	if m.RenewBefore > 0 {
		p.window = min(m.RenewBefore, life)
	}
	p.draw = m.jitter(p.window / m.rules.drawShare)
	p.due = p.expiry - p.window + p.draw
}

// again is record.again.
func (m *model) again(p *process, now, asked time.Duration) {
	step := max(p.window/m.rules.stepShare, m.rules.minStep)
	step = max(step/2+m.jitter(step), asked)
	p.due = max(now+step, p.expiry-p.window+p.draw)
}

// fail is Source.fail and Source.remember.
func (m *model) fail(p *process, now time.Duration, status int, old bool) {
	shared := p.flight != nil && p.flight.taken // another process was told
	switch {
	case shared && p.flight.retryAfter > 0:
		p.limited, p.wishTill = status == 429, now+p.flight.retryAfter
	case status == 429 && !shared:
		p.limited, p.wishTill = true, now+m.Window
		if m.rules.limitedTwice {
			p.wishTill += m.jitter(m.Window)
		}
	case status != 0 && status < 500:
		p.wishTill = 0
	}
	asked := max(0, p.wishTill-now)
	if old {
		p.failed, p.heldTill = asked > 0, p.wishTill
		m.again(p, now, asked)
		return
	}
	hold := min(m.rules.minHold<<min(p.streak, 10), m.rules.maxHold)
	hold = hold/2 + m.jitter(hold)
	switch {
	case status == 429:
		hold = asked
	case shared && p.flight.held > 0:
		hold = p.flight.held
	}
	p.token = 0
	p.streak = min(p.streak+1, 100)
	p.failed, p.heldTill = true, now+max(hold, asked)
}

// server is the endpoint, with its limit and its outage.
type server struct {
	Scenario
	since time.Duration // when the window at hand began
	n     int           // requests in it; 0: there is none yet
}

// answer is what comes of a request.
type answer struct {
	status int // 0: there was no connection
	token  int // the number of the delegation, counted from 1; 0: none
}

// ask makes a request.
func (s *server) ask(now time.Duration) answer {
	if s.Outage.From <= now && now < s.Outage.To {
		return answer{status: s.Outage.Status}
	}
	if s.Limit > 0 && now >= s.Unlimited {
		if s.n == 0 || now-s.since >= s.Window {
			s.since, s.n = now, 0
		}
		if s.n++; s.n > s.Limit {
			return answer{status: 429}
		}
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
