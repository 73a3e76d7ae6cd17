// Copyright 2026 The authsec Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"crypto/rand"
	"fmt"
	"net/http"
	"os"
	"slices"
	"time"

	"github.com/authsec-go/authsec/authsectest"
	"github.com/authsec-go/authsec/fleet/internal/agent"
)

const (
	// notice is the time from the order to the moment at which all agents begin.
	notice = 300 * time.Millisecond

	// lead is the time from a new delegation to the first moment of renewals. It is over
	// a second, because exp is in whole seconds: renewals may begin a second earlier.
	lead = 1500 * time.Millisecond

	// spare is how much longer than planned a measurement may take before it is aborted.
	spare = 30 * time.Second
)

// scale is the size and the speed of a measurement.
type scale struct {
	agents   int
	limit    int           // requests that the server allows
	window   time.Duration // within this time
	life     time.Duration // how long after its delegation a shared token is renewed
	renewals int           // of a shared token
	together bool          // all peers are measured at the same time
}

// contest is one peer's measurement.
type contest struct {
	peer     string
	renewals int
	early    time.Duration // how long before a token's expiry its renewal may begin
	life     time.Duration // of a token until then
	settle   time.Duration // how long after the last delegation all have its token
	shares   bool          // the agents share a cache
}

// contests are the peers, each with the settings that suit it best. Those that share
// nothing renew the token when the server's limit has recovered from the start.
// authsec does so early enough that random moments in the first half of the window
// stay below the limit.
func (s scale) contests() []contest {
	alone := 2*s.window + s.window/10 + 2*time.Second
	return []contest{
		{peer: agent.ByRedis, renewals: s.renewals, life: s.life, early: s.life / 2, settle: s.life / 2, shares: true},
		{peer: agent.ByDir, renewals: s.renewals, life: s.life, early: s.life / 2, settle: s.life / 2, shares: true},
		{peer: agent.Alone, renewals: 1, life: alone, early: 5 * s.window, settle: 5 * s.window},
		{peer: agent.OAuth2, renewals: 1, life: alone, early: s.window / 6, settle: 3 * s.window},
		{peer: agent.Loop, renewals: 1, life: alone, settle: 3 * s.window},
	}
}

// phase is the part of a measurement that belongs to one delegation.
type phase struct {
	given, limited, other int // the server's answers: 200, 429, and others
	holders               int // agents that had its token
}

// outcome is a measurement's result.
type outcome struct {
	contest
	size      scale
	all       time.Duration // from the beginning until all had a token
	spread    time.Duration // from the server's first good answer until then
	without   int           // agents that never had a token
	phases    []phase       // the start, and each renewal
	back      int           // times that an agent got an older token than before
	failures  int           // calls that failed
	failure   string        // the last one's error
	longest   time.Duration // the longest time that an agent had no token
	exceeded  int           // windows in which the server answered 429
	exceedRow int           // the most of them in a row

	cacheFailures uint64 // uses of the cache that failed
	cacheError    string // of the last of them
}

// measure runs a fleet through a start and its renewals.
func (s scale) measure(ctx context.Context, c contest) (*outcome, error) {
	whole := notice + time.Duration(c.renewals)*c.life + c.settle + 2*spare
	ctx, cancel := context.WithTimeout(ctx, whole)
	defer cancel()
	job := agent.Job{Peer: c.peer, Early: c.early, Limit: whole, Key: make([]byte, 32)}
	rand.Read(job.Key) // crypto/rand does not fail
	switch c.peer {
	case agent.ByRedis:
		redis, err := startRedis(ctx)
		if err != nil {
			return nil, err
		}
		defer redis.stop()
		job.Redis = redis.socket
	case agent.ByDir:
		dir, err := os.MkdirTemp("", "fleet-dir-")
		if err != nil {
			return nil, err
		}
		defer os.RemoveAll(dir)
		job.Dir = dir
	}
	srv := newServer(s.limit, s.window)
	defer srv.close()
	job.BaseURL = srv.http.URL

	h, err := newHerd(ctx, s.agents, job)
	if err != nil {
		return nil, err
	}
	defer h.close()

	var delegated []time.Time
	var hashes []string
	delegate := func() {
		ttl := c.life + c.early
		if len(delegated) == c.renewals { // the last: no agent renews it before all have it
			ttl += c.settle
		}
		delegated = append(delegated, time.Now())
		hashes = append(hashes, agent.Hash(srv.Delegate(authsectest.ClientID, authsectest.Delegation{TTL: ttl})))
	}
	delegate()
	begin := time.Now().Add(notice)
	if err := h.order(begin); err != nil {
		return nil, err
	}
	for k := range c.renewals {
		next := delegated[k].Add(c.life - lead)
		if err := h.listen(ctx, next, nil); err != nil {
			return nil, err
		}
		delegate()
	}
	newest := hashes[c.renewals]
	err = h.listen(ctx, time.Now().Add(c.settle+lead+spare/3), func(p *process) bool {
		return len(p.tokens) > 0 && p.tokens[len(p.tokens)-1].hash == newest
	})
	if err != nil {
		return nil, err
	}
	if err := h.end(ctx); err != nil {
		return nil, err
	}
	return s.judge(c, h.agents, srv.asked(), begin, delegated, hashes)
}

// judge makes an outcome of the agents' reports and the server's requests.
func (s scale) judge(c contest, agents []*process, asked []request, begin time.Time, delegated []time.Time, hashes []string) (*outcome, error) {
	o := &outcome{contest: c, size: s, phases: make([]phase, len(delegated))}
	for k, p := range o.phases {
		to := time.Now()
		if k+1 < len(delegated) {
			to = delegated[k+1]
		}
		part := between(asked, delegated[k], to)
		p.given, p.limited = count(part, http.StatusOK), count(part, http.StatusTooManyRequests)
		p.other = len(part) - p.given - p.limited
		o.phases[k] = p
	}
	var last time.Time // when the last agent had its first token
	for _, p := range agents {
		o.failures += len(p.failures)
		if p.failure != "" {
			o.failure = p.failure
		}
		o.longest = max(o.longest, p.end.Longest)
		if p.end.CacheFailures > 0 {
			o.cacheFailures += p.end.CacheFailures
			o.cacheError = p.end.CacheError
		}
		if len(p.tokens) == 0 {
			o.without++
			continue
		}
		if p.tokens[0].at.After(last) {
			last = p.tokens[0].at
		}
		newest := -1
		for _, t := range p.tokens {
			k := slices.Index(hashes, t.hash)
			switch {
			case k < 0:
				return nil, fmt.Errorf("%s: an agent has a token that was never delegated", c.peer)
			case k < newest:
				o.back++
			case k > newest:
				newest = k
				o.phases[k].holders++
			}
		}
	}
	if first := slices.IndexFunc(asked, func(r request) bool { return r.status == http.StatusOK }); first >= 0 && o.without == 0 {
		o.all, o.spread = last.Sub(begin), last.Sub(asked[first].answered)
	}
	o.exceeded, o.exceedRow = windows(asked, s.window)
	return o, nil
}
