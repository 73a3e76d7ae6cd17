// Copyright 2026 The authsec Authors
// SPDX-License-Identifier: Apache-2.0

package sim

import (
	"time"
)

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
