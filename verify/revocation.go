// Copyright 2026 The authsec Authors
// SPDX-License-Identifier: Apache-2.0

package verify

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
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

	maxRemembered = 4096        // tokens; the least recently used goes
	maxChecks     = 100         // under way; the server permits as many requests in a minute
	warnEvery     = time.Minute // between two records of failed checks
)

var errRevoked = fmt.Errorf("%w: the AuthSec server calls it invalid: it was revoked or replaced", ErrInvalidToken)

// revocations asks the server whether tokens were revoked, and remembers what it said.
type revocations struct {
	server   *remote
	interval time.Duration
	audience string
	calls    flight.Left

	mu     sync.Mutex                       // guards what follows, and verdicts; not held while code that is not ours runs
	known  *simplelru.LRU[string, *verdict] // by token
	checks int                              // under way
	warned time.Time                        // when the last failure was logged
}

// verdict is what is known of a token whose signature was verified.
type verdict struct {
	flight  *flight.Flight[struct{}] // the check under way; nil: none
	due     time.Time                // of the next check
	told    time.Time                // when the last answer came; zero: there was none
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
	return &revocations{
		server: server, interval: min(cfg.RevocationCheck, wire.MaxTTL), audience: cfg.Audience,
		calls: flight.Left{Max: maxLeft, Every: leftEvery}, known: known,
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
	v := r.remember(token)
	if v.flight == nil && !now.Before(v.due) {
		r.begin(v, now, token, strings.TrimPrefix(t.claims.Issuer, scheme), t.decoded)
	}
	f := v.flight
	if f == nil || r.counts(v, now) {
		defer r.mu.Unlock()
		return r.judge(v, now)
	}
	r.mu.Unlock()
	if err := await(ctx, f); err != nil {
		return &outage{text: "verify: revocation check unavailable: waiting for it: " + err.Error(), cause: err}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.judge(v, now)
}

// counts reports whether a verdict rests on an answer that is recent enough. mu is held.
func (r *revocations) counts(v *verdict, now time.Time) bool {
	return !v.told.IsZero() && now.Sub(v.told)/trusted < r.interval
}

// judge returns what a verdict means. A revoked token stays so until the server calls
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

// remember returns a token's verdict, and makes it the most recently used. mu is held.
func (r *revocations) remember(token string) *verdict {
	v, ok := r.known.Get(token)
	if !ok {
		v = new(verdict)
		r.known.Add(strings.Clone(token), v) // a copy: it may be a part of a longer text
	}
	return v
}

// begin starts a check, unless there are too many. mu is held, and none is under way.
func (r *revocations) begin(v *verdict, now time.Time, token, tenant string, claims jwt.MapClaims) {
	switch until, limited := r.server.limitedUntil(now); {
	case limited:
		v.postpone(tenant, limitedText, until)
		return
	case r.checks >= maxChecks:
		v.postpone(tenant, fmt.Sprintf("%d checks are under way", r.checks), now.Add(minBackoff))
		return
	}
	r.checks++
	v.flight = flight.Start(context.Background(), r.server.timeout, &r.calls,
		func(ctx context.Context) (answer, error) { return r.ask(ctx, token, tenant, claims) },
		func(a answer, err error) (none struct{}) {
			if err != nil {
				a.fault = r.server.unanswered(err)
			}
			r.land(v, tenant, a)
			return none
		}, nil)
}

// postpone records that there is no answer, and when to ask next. mu is held.
func (v *verdict) postpone(tenant, why string, next time.Time) {
	v.due = next
	v.failure = &outage{text: "verify: revocation check unavailable: tenant " + tenant + ": " + why, next: next}
}

// answer is the result of a check: the server's answer, or a fault.
type answer struct {
	valid bool
	fault *fault
}

// land records the result of a check.
func (r *revocations) land(v *verdict, tenant string, a answer) {
	var log *slog.Logger // nil: silent
	r.mu.Lock()
	r.checks--
	v.flight = nil
	now := time.Now()
	if a.fault == nil {
		v.told, v.revoked, v.due = now, !a.valid, now.Add(jitter(r.interval))
		v.failure, v.streak = nil, 0
	} else {
		until, _ := r.server.limitedUntil(now)
		v.postpone(tenant, a.fault.text, later(now.Add(backoff(v.streak)), until))
		v.streak++
		if r.warned.IsZero() || now.Sub(r.warned) >= warnEvery {
			r.warned, log = now, r.server.log
		}
	}
	r.mu.Unlock()
	if a.fault != nil {
		record{slog.LevelWarn, "revocation check failed", []any{"tenant", tenant, "error", a.fault.text}}.writeTo(context.Background(), log)
	}
}

// ask asks the server about a token. Its error is ctx's end.
func (r *revocations) ask(ctx context.Context, token, tenant string, claims jwt.MapClaims) (a answer, err error) {
	body, err := json.Marshal(map[string]string{"tenant_id": tenant, "workspace_id": tenant, "token": token, "audience": r.audience})
	if err != nil {
		return a, err
	}
	u := r.server.KeySet(tenant).JoinPath("../validate")
	u.RawQuery = ""
	a.fault, err = r.server.ask(ctx, u, body, token, func(body []byte) (err error) {
		a.valid, err = parseAnswer(body, claims)
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
