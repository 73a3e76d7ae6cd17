// Copyright 2026 The authsec Authors
// SPDX-License-Identifier: Apache-2.0

package verify

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"strings"
	"sync"
	"time"

	"github.com/authsec-go/authsec/internal/flight"
	"github.com/authsec-go/authsec/internal/wire"
	"github.com/golang-jwt/jwt/v5"
	"github.com/hashicorp/golang-lru/v2/simplelru"
)

const (
	minInterval = time.Second // of Config.RevocationCheck
	trusted     = 3           // intervals for which an answer counts

	maxRemembered = 4096        // tokens; then the least recently used is dropped
	warnEvery     = time.Minute // between two records of failed checks
)

var errRevoked = fmt.Errorf("%w: the AuthSec server calls it invalid: it was revoked or replaced", ErrInvalidToken)

// revocations asks the server whether tokens were revoked, and keeps its answers.
type revocations struct {
	server   *remote
	interval time.Duration
	audience string
	calls    flight.Left

	mu     sync.Mutex                       // guards what follows, and verdicts; not held while code that is not ours runs
	known  *simplelru.LRU[string, *verdict] // by token
	agents buckets                          // of the tokens that are not known to be good
	window window
	warned time.Time // when the last failure was logged
}

// verdict is what is known of a token whose signature was verified.
type verdict struct {
	flight  *flight.Flight[struct{}] // the check under way; nil: none
	due     time.Time                // of the next check
	told    time.Time                // when the server was asked for the last answer; zero: there was none
	revoked bool                     // by that answer
	failure *outage                  // of the last check; nil: it was answered
	streak  int                      // failures in a row
}

// newRevocations returns nil if revocation is not checked.
func newRevocations(cfg Config, server *remote) (*revocations, error) {
	if cfg.RevocationCheck == 0 {
		return nil, nil
	}
	known, err := simplelru.NewLRU[string, *verdict](maxRemembered, nil)
	if err != nil {
		return nil, err
	}
	full, err := simplelru.NewLRU[agent, time.Time](maxAgents, nil)
	if err != nil {
		return nil, err
	}
	interval := min(cfg.RevocationCheck, wire.MaxTTL)
	return &revocations{
		server: server, interval: interval, audience: cfg.Audience,
		calls: flight.Left{Max: maxLeft, Every: leftEvery}, known: known,
		agents: buckets{min(interval, agentEvery), full}, window: window{size: firstWindow},
	}, nil
}

// check returns nil for a token that the server called valid lately. Without an answer
// it waits for one. A nil r checks nothing.
func (r *revocations) check(ctx context.Context, token string, t *verified) error {
	if r == nil {
		return nil
	}
	now := time.Now()
	r.mu.Lock()
	defer r.mu.Unlock()
	v, failure := r.remember(token, t, now)
	if failure != nil {
		return failure
	}
	for { // usually twice at most: a check that begins after now has an answer that counts
		if v.flight == nil && !now.Before(v.due) {
			r.begin(v, token, t)
		}
		f := v.flight
		if f == nil || v.revoked || r.counts(v, now) {
			return r.judge(v, now)
		}
		r.mu.Unlock()
		err := await(ctx, f)
		r.mu.Lock()
		if err != nil {
			return &outage{text: "verify: revocation check unavailable: waiting for it: " + err.Error(), cause: err}
		}
	}
}

// counts reports whether a verdict rests on an answer that is recent enough. mu is held.
func (r *revocations) counts(v *verdict, now time.Time) bool {
	return !v.told.IsZero() && now.Sub(v.told)/trusted < r.interval
}

// judge returns what a verdict means. A revoked token stays revoked until the server calls
// it valid again. mu is held.
func (r *revocations) judge(v *verdict, now time.Time) error {
	switch {
	case v.revoked:
		return errRevoked
	case r.counts(v, now):
		return nil
	}
	return v.failure
}

// remember returns a token's verdict, and makes it the most recently used. An unknown
// token costs its agent one of its checks. If the agent has none left, the token is not
// kept, so that it takes no other token's place. mu is held.
func (r *revocations) remember(token string, t *verified, now time.Time) (*verdict, *outage) {
	if v, ok := r.known.Get(token); ok {
		return v, nil
	}
	if next, ok := r.agents.take(t.agent(), 0, now); !ok {
		return nil, unchecked(t, "too many tokens of this agent", next)
	}
	v := new(verdict)
	r.known.Add(strings.Clone(token), v) // a copy: it may be a part of a longer text
	return v, nil
}

// agent returns the token's agent.
func (t *verified) agent() agent { return agent{t.claims.Issuer, t.claims.Subject} }

// tenant returns the ID of the token's tenant.
func (t *verified) tenant() string { return strings.TrimPrefix(t.claims.Issuer, scheme) }

// unchecked says why there is no answer about a token, and when the server can be asked.
func unchecked(t *verified, why string, next time.Time) *outage {
	return &outage{text: "verify: revocation check unavailable: tenant " + t.tenant() + ": " + why, next: next}
}

// begin starts a check, unless there are too many. A check of a revoked token starts
// only if its agent's bucket is full, and costs one of the bucket even if there are too
// many. mu is held, and no check of the token is under way.
func (r *revocations) begin(v *verdict, token string, t *verified) {
	now := time.Now()
	if until, limited := r.server.limitedUntil(now); limited {
		v.postpone(t, limitedText, r.resume(until))
		return
	}
	if v.revoked {
		next, ok := r.agents.take(t.agent(), agentBurst-1, now)
		if v.due = next; !ok {
			return
		}
	}
	turn := r.window.join()
	if turn == nil {
		v.postpone(t, fmt.Sprintf("%d checks are under way", maxChecks), now.Add(jitter(minBackoff)))
		return
	}
	v.flight = flight.Start(context.Background(), r.server.timeout, &r.calls,
		func(ctx context.Context) (answer, error) { return r.ask(ctx, turn, token, t) },
		func(a answer, err error) (none struct{}) {
			if err != nil {
				a.fault = r.server.unanswered(err)
			}
			r.land(v, t, turn, a)
			return none
		}, nil)
}

// postpone records that there is no answer, and when to ask next. mu is held.
func (v *verdict) postpone(t *verified, why string, next time.Time) {
	v.due = next
	v.failure = unchecked(t, why, next)
}

// resume returns when to check a token that a rate limit has stopped. The time is
// random, so that not all tokens are checked at the same moment.
func (r *revocations) resume(until time.Time) time.Time {
	return until.Add(rand.N(min(r.interval, limitedFor)))
}

// answer is the result of a check: the server's answer, or a fault.
type answer struct {
	asked time.Time
	valid bool
	fault *fault
}

// land records the result of a check.
func (r *revocations) land(v *verdict, t *verified, turn chan struct{}, a answer) {
	var log *slog.Logger // nil: silent
	r.mu.Lock()
	now := time.Now()
	until, limited := r.server.limitedUntil(now)
	r.window.leave(turn, a.fault == nil, limited)
	v.flight = nil
	switch {
	case a.fault == nil:
		v.told, v.revoked, v.due = a.asked, !a.valid, a.asked.Add(jitter(r.interval))
		v.failure, v.streak = nil, 0
	case limited:
		v.postpone(t, a.fault.text, r.resume(until))
	default:
		v.postpone(t, a.fault.text, now.Add(backoff(v.streak)))
		v.streak++
	}
	if a.fault != nil && (r.warned.IsZero() || now.Sub(r.warned) >= warnEvery) {
		r.warned, log = now, r.server.log
	}
	r.mu.Unlock()
	if a.fault != nil {
		record{slog.LevelWarn, "revocation check failed", []any{"tenant", t.tenant(), "error", a.fault.text}}.writeTo(context.Background(), log)
	}
}

// ask waits for its turn, and then asks the server about a token. It waits for at most
// half of its time, and leaves the other half to the server. Its error is ctx's end.
func (r *revocations) ask(ctx context.Context, turn chan struct{}, token string, t *verified) (a answer, err error) {
	select {
	case <-turn:
	case <-time.After(r.server.timeout / 2):
		a.fault = &fault{text: "too many checks are waiting"}
		return a, nil
	case <-ctx.Done():
		return a, ctx.Err()
	}
	a.asked = time.Now()
	if _, limited := r.server.limitedUntil(a.asked); limited { // since it began to wait
		a.fault = &fault{text: limitedText}
		return a, nil
	}
	body, err := json.Marshal(map[string]string{"tenant_id": t.tenant(), "workspace_id": t.tenant(), "token": token, "audience": r.audience})
	if err != nil {
		return a, err
	}
	u := r.server.KeySet(t.tenant()).JoinPath("../validate")
	u.RawQuery = ""
	a.fault, err = r.server.ask(ctx, u, body, token, func(body []byte) (err error) {
		a.valid, err = parseAnswer(body, t.decoded)
		return err
	})
	return a, err
}

// parseAnswer reads what the server says of the token with these claims.
func parseAnswer(body []byte, claims jwt.MapClaims) (valid bool, err error) {
	var m map[string]any
	if json.Unmarshal(body, &m) != nil || m == nil {
		return false, errors.New("the answer is not a JSON object")
	}
	valid, ok := m["valid"].(bool)
	if !ok {
		return false, errors.New("the answer does not say whether the token is valid")
	}
	about, _ := m["claims"].(map[string]any)
	if differ[string](about, claims, "jti") || differ[string](about, claims, "sub") ||
		differ[float64](about, claims, "exp") || differ[float64](about, claims, "iat") {
		return false, errors.New("the answer is about another token (is there a cache in between?)")
	}
	return valid, nil
}

// differ reports whether two sets of claims have different values of a claim.
func differ[T comparable](a, b map[string]any, name string) bool {
	x, inA := a[name].(T)
	y, inB := b[name].(T)
	return inA && inB && x != y
}
