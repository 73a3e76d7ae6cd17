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
	// notice is how long after they are told the agents begin, all at once.
	notice = 300 * time.Millisecond

	// lead is how long before renewals may begin the admin delegates anew. It is
	// over a second, because exp is in whole seconds, so that they may begin a second sooner.
	lead = 1500 * time.Millisecond

	// spare is what a peer may take longer than it should, before its measurement
	// is broken off.
	spare = 30 * time.Second
)

// scale is how large and how fast a fleet is.
type scale struct {
	agents   int
	limit    int           // requests that the server allows
	window   time.Duration // in so long
	life     time.Duration // of a shared token before its renewal
	renewals int           // of a shared token
	together bool          // all peers are measured at once
}

// contest is what one peer is measured in.
type contest struct {
	peer     string
	renewals int
	early    time.Duration // how long before a token's expiry its renewal may begin
	life     time.Duration // of a token before that
	settle   time.Duration // after the last delegation all have its token
	shares   bool          // the agents share a cache
}

// contests are the peers with what gives each of them the best it can do: those
// that share nothing have the token renewed when the server's limit has
// recovered from the start, and authsec has it early enough that a moment drawn
// in the first half of that time does not exceed the limit.
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

// phase is a part of a measurement: what came of one delegation.
type phase struct {
	given, refused, other int // answers of the server: 200, 429, and others
	holders               int // agents that had its token
}

// outcome is what was measured.
type outcome struct {
	contest
	size      scale
	all       time.Duration // from the beginning until all had a token
	spread    time.Duration // from the server's first good answer until then
	without   int           // agents that never had one
	phases    []phase       // the start, and each renewal
	back      int           // times an agent had an older token than before
	failures  int           // calls that failed
	failure   string        // the last of them
	longest   time.Duration // for which an agent wanted a token and had none
	exceeded  int           // windows in which the server refused requests
	exceedRow int           // of them in a row at most

	cacheFailures uint64 // uses of the cache that failed
	cacheError    string // the last of them
}

// measure has a fleet go through a start and its renewals.
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
		if len(delegated) == c.renewals { // the last: the first to have it are not to renew it before the others have it
			ttl += c.settle
		}
		delegated = append(delegated, time.Now())
		hashes = append(hashes, agent.Hash(srv.Delegate(authsectest.ClientID, authsectest.Delegation{TTL: ttl})))
	}
	delegate()
	begin := time.Now().Add(notice)
	if err := h.tell(begin); err != nil {
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

// judge makes an outcome of what the agents have reported and the server was asked.
func (s scale) judge(c contest, agents []*process, asked []request, begin time.Time, delegated []time.Time, hashes []string) (*outcome, error) {
	o := &outcome{contest: c, size: s, phases: make([]phase, len(delegated))}
	for k, p := range o.phases {
		to := time.Now()
		if k+1 < len(delegated) {
			to = delegated[k+1]
		}
		part := between(asked, delegated[k], to)
		p.given, p.refused = count(part, http.StatusOK), count(part, http.StatusTooManyRequests)
		p.other = len(part) - p.given - p.refused
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
