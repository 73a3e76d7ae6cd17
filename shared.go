// Copyright 2026 The authsec Authors
// SPDX-License-Identifier: Apache-2.0

package authsec

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"sync"
	"time"

	"github.com/authsec-go/authsec/internal/share"
	"github.com/authsec-go/authsec/internal/wire"
)

const (
	maxSharedHold = time.Minute // the longest time to cache another process's failure, without Retry-After
	minSharedHold = time.Second // the shortest time to share a failure
)

// shared is a fetcher in front of the server. It uses the server's answer to another
// process, waits while another process asks, or asks the server itself. It stores
// the server's answer before it returns.
type shared struct {
	server *server
	cache  *share.Cache
	slow   time.Duration // the most that a slow cache adds to a fetch

	mu      sync.Mutex      // guards what follows; held for a few instructions only
	known   time.Time       // when the latest answer in use was asked for, on the server's clock; zero: none
	updated time.Time       // updated_at of the latest token response in use
	ahead   time.Duration   // an estimate of how far the server's clock is ahead of the local one
	failing map[string]bool // by use of the cache, such as "get": whether its failure was logged
	stats   CacheStats
	records []record // to be logged when the fetch has landed
}

func newShared(srv *server, cfg CacheConfig) (*shared, error) {
	s := &shared{server: srv, slow: 5 * cfg.Timeout, failing: map[string]bool{}}
	var err error
	s.cache, err = share.New(share.Options{
		Store:   cfg.Store,
		Keys:    cfg.Keys.all(),
		Server:  srv.endpoint.String(),
		Agent:   srv.clientID,
		Timeout: cfg.Timeout,
		Lease:   srv.timeout / 6,
		Miss:    ErrCacheMiss,
		Held:    ErrLeaseHeld,
		Report:  s.used,
	})
	return s, err
}

// timeout bounds a fetch: the wait for another process, the server, and the cache.
func (s *shared) timeout() time.Duration { return s.server.timeout*3/2 + s.slow + time.Second }

func (s *shared) fetch(ctx context.Context, q query) (out fetched) {
	var save func(context.Context) // stores the result; nil: there is nothing to store
	want := s.want(q)
	taken, release := s.cache.Await(ctx, s.server.timeout/3+rand.N(max(1, s.server.timeout/6)), func(e share.Entry) bool {
		own, now := s.serverNow(e)
		g, _ := s.open(e, now)
		want.Look(own, time.Since(q.began))
		switch {
		case g != nil && want.Accepts(e, string(g.id())):
			g.shared = true
			out = fetched{grant: g}
			s.learn(g, g.asked)
		case want.Fails(e, now) && s.concernsAll(e.Failure.Status):
			out = s.failureOfAnother(e.Failure, now.Sub(e.Failure.Told))
			s.learn(nil, e.Failure.Told)
			if out.noDelegation && g != nil && g.id() == q.rejected { // the failure proves that the cached token is revoked
				failure := *e.Failure
				save = func(ctx context.Context) {
					s.cache.Write(ctx, share.Entry{Failure: &failure}, max(failure.Hold, minSharedHold))
				}
			}
		default:
			return false
		}
		return true
	})
	defer func() { // also if code that is not ours panics
		ctx := context.WithoutCancel(ctx)
		if save != nil {
			budget, cancel := s.cache.WithBudget(ctx)
			save(budget)
			cancel()
		}
		release(ctx)
	}()
	s.count(taken)
	if taken {
		return out
	}
	out = s.server.fetch(ctx, q)
	if out.err != nil && !forAll(out) {
		return out
	}
	s.answered(out)
	save = func(ctx context.Context) { s.store(ctx, q, out) }
	return out
}

// want returns what makes an entry the result of a fetch.
func (s *shared) want(q query) share.Want {
	s.mu.Lock()
	defer s.mu.Unlock()
	return share.Want{Known: s.known, Token: string(q.token), Rejected: string(q.rejected), Cause: string(q.cause), Refresh: q.refresh, Within: q.within}
}

func (s *shared) count(hit bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if hit {
		s.stats.Hits++
	} else {
		s.stats.Misses++
	}
}

func (s *shared) statsNow() CacheStats {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.stats
}

// serverNow returns two estimates of the time on the server's clock. own does not use
// the entry, now does. An entry from the future shows that the local clock is behind.
func (s *shared) serverNow(e share.Entry) (own, now time.Time) {
	local := time.Now().Round(0)
	s.mu.Lock()
	defer s.mu.Unlock()
	own = local.Add(s.ahead)
	s.ahead = max(s.ahead, e.Last().Sub(local))
	return own, local.Add(s.ahead)
}

// open checks the token response in an entry as if it came from the server. The grant
// is nil if there is no response, or if its token has expired. An error says why the
// response can't be used.
func (s *shared) open(e share.Entry, now time.Time) (*grant, error) {
	if len(e.Answer) == 0 {
		return nil, nil
	}
	received := time.Now()
	g, err := s.server.accept(&wire.Reply{
		Status: http.StatusOK, Body: e.Answer, Sent: received, Received: received,
		Ahead: now.Sub(received.Round(0)), Age: now.Sub(e.Answered),
	})
	if g != nil && err != nil { // expired
		return nil, nil
	}
	if err == nil {
		s.mu.Lock()
		updated := g.delegation.UpdatedAt
		replayed := !updated.IsZero() && updated.Before(s.updated)
		s.mu.Unlock()
		if !replayed {
			return g, nil
		}
		err = errors.New("its token is older than one that the server has given out")
	}
	s.used("open", err.Error())
	return nil, err
}

// answered records the server's answer to this process.
func (s *shared) answered(out fetched) {
	s.mu.Lock()
	s.ahead = out.reply.Ahead
	s.mu.Unlock()
	s.learn(out.grant, out.reply.Asked())
}

// learn records an answer that this process uses, and when it was asked for on the
// server's clock. g is nil for a failure.
func (s *shared) learn(g *grant, asked time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.known = asked
	if g != nil && !g.delegation.UpdatedAt.IsZero() {
		s.updated = g.delegation.UpdatedAt
	}
}

// forAll reports whether a failure is about the agent or about the server. A rejected
// credential, or the answer of another service, may concern only this process.
func forAll(out fetched) bool {
	return out.reply != nil &&
		(out.err.StatusCode >= 500 || errors.Is(out.err, ErrNotDelegated) || errors.Is(out.err, ErrRateLimited))
}

// concernsAll reports whether a failure with this status concerns all processes. With
// a Credential, a 404 may mean only that its owner can't see the delegation.
func (s *shared) concernsAll(status int) bool {
	return status != http.StatusNotFound || s.server.credential == nil
}

// failureOfAnother returns the result of a fetch for a failure that another process
// got this long ago. Its waits are longer than the other process's, by a random time
// up to 1 s, so that not all processes ask at once.
func (s *shared) failureOfAnother(f *share.Failure, ago time.Duration) fetched {
	body, _ := json.Marshal(map[string]string{"error": f.Message, "details": f.Details})
	reply := &wire.Reply{Status: f.Status, Body: body, Header: http.Header{"X-Request-Id": {f.RequestID}}}
	out := s.server.read(reply, "")
	out.reply = nil
	out.err.reason += " (cached answer from another process)"
	out.err.RetryAfter = 0
	spread := rand.N(time.Second)
	if left := f.RetryAfter - ago; left > 0 {
		out.err.RetryAfter = min(left, wire.MaxRetryAfter-spread) + spread
	}
	if left := f.Hold - ago; left > 0 {
		out.hold = min(left, maxSharedHold-spread) + spread
	}
	return out
}

// store shares the server's answer. A failure leaves the stored token, unless an API
// rejected that token and the server says that the agent has no delegation.
func (s *shared) store(ctx context.Context, q query, out fetched) {
	if out.err == nil {
		s.cache.Write(ctx, share.Entry{Answer: out.reply.Body, Answered: out.reply.Asked()}, out.grant.life-time.Since(out.grant.received))
		return
	}
	// Another process may have stored a token since. An entry that this process can't
	// read or use stays, because others may use it.
	old, ok := s.cache.Read(ctx)
	if !ok {
		return
	}
	_, now := s.serverNow(old)
	g, err := s.open(old, now)
	if err != nil {
		return
	}
	kept := g != nil && !(out.noDelegation && g.id() == q.rejected)
	if !s.concernsAll(out.err.StatusCode) {
		if g != nil && !kept {
			s.cache.Delete(ctx)
		}
		return
	}
	hold := max(q.hold, out.err.RetryAfter, minSharedHold)
	if out.noDelegation && q.cause != noID { // the token ends, and this process asks again soon
		hold = max(out.err.RetryAfter, minSharedHold)
	}
	failure := &share.Failure{
		Told: out.reply.Asked(), Status: out.err.StatusCode, Message: out.err.Message, Details: out.err.Details,
		RequestID: out.err.RequestID, Hold: hold, RetryAfter: out.err.RetryAfter,
	}
	if failure.Status == http.StatusOK { // a token that has just expired: within a second the server says so itself
		failure.Status, failure.Message = http.StatusGone, "Delegation token has expired"
	}
	entry, ttl := share.Entry{Failure: failure}, hold
	if kept {
		entry.Answer, entry.Answered = old.Answer, old.Answered
		ttl = max(ttl, g.life-time.Since(g.received))
	}
	s.cache.Write(ctx, entry, ttl)
}

// used counts failed uses of the cache, and entries that can't be used. It runs within
// a fetch, and its records are logged when the fetch has landed.
func (s *shared) used(op, fault string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	failing := s.failing[op]
	switch {
	case op == "open":
		s.stats.Rejects++
		s.records = append(s.records, record{slog.LevelWarn, "cache entry ignored", []any{"error", fault}})
		return
	case fault != "":
		s.stats.Failures++
		s.stats.LastError = errors.New("authsec: the cache failed to " + op + ": " + fault)
		if !failing {
			s.records = append(s.records, record{slog.LevelWarn, "cache failed", []any{"op", op, "error", fault}})
		}
	case failing:
		s.records = append(s.records, record{slog.LevelInfo, "cache works again", []any{"op", op}})
	}
	s.failing[op] = fault != ""
}

func (s *shared) takeRecords() []record {
	s.mu.Lock()
	defer s.mu.Unlock()
	records := s.records
	s.records = nil
	return records
}
