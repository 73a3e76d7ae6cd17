// Copyright 2026 The authsec Authors
// SPDX-License-Identifier: Apache-2.0

package authsec

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/authsec-go/authsec/internal/flight"
	"github.com/authsec-go/authsec/internal/lifecycle"
	"golang.org/x/oauth2"
)

const (
	// maxAbandoned fetches that outlast their time-out may still run, because code
	// in them does not return. Beyond that there is one more each abandonedEvery:
	// 144 goroutines a day if none ever returns.
	maxAbandoned   = 4
	abandonedEvery = 10 * time.Minute
)

// contextSource is a TokenSource whose waits end with a context.
type contextSource interface {
	TokenContext(context.Context) (*oauth2.Token, error)
}

// renewer is a TokenSource that can replace a token that an API rejected.
type renewer interface {
	Renew(ctx context.Context, rejected *oauth2.Token) (*oauth2.Token, error)
}

// Source gets an agent's delegation token and keeps it. It is an
// [oauth2.TokenSource]. Make one with [NewSource]. It is safe for concurrent use,
// and there is nothing to close: no goroutine runs while no call is made.
//
// While the token is good, every call returns it at once. In the last part of its
// life ([Config.RenewBefore]), calls start its renewal, one at a time, and do not
// wait for it. A renewal that fails is tried again, and the token is served until
// it expires. Without a good token, all callers wait for one shared fetch, each as
// long as its context allows.
//
// A failure is cached: for 1 s at first, doubling to 1 minute with ±50 % jitter,
// or as long as the server says. Until then calls fail with the same error. After
// a 429, a call whose context has a deadline beyond the next permitted fetch
// waits for that one. A call without a deadline fails at once with
// [ErrRateLimited].
//
// Expiry is judged by the server's clock, as its answer shows it, and from then on
// by the monotonic clock. A local clock that is wrong or steps does no harm. Only
// the age of a token from [Config.Cache] is by the local clock.
type Source struct {
	fetcher     fetcher
	server      *server // which the fetcher asks in the end
	renewBefore time.Duration
	timeout     time.Duration // of one fetch, the cache included
	epoch       time.Time     // the origin of lifecycle.Moment's monotonic clock
	log         *slog.Logger  // nil: silent
	left        flight.Left

	current atomic.Pointer[served] // the token in service, swapped whole with mu held; nil: none
	state                          // what changes
}

// served is a token in service, as requests take it. It is immutable.
type served struct {
	lifecycle.Token
	*grant
	authorization string // the Authorization header's value
}

// NewSource returns a Source for cfg. It makes no request yet. Its error joins all
// faults of cfg.
func NewSource(cfg Config) (*Source, error) {
	cfg, base, err := cfg.validate()
	if err != nil {
		return nil, err
	}
	srv := newServer(cfg, base)
	s := &Source{
		fetcher:     srv,
		server:      srv,
		renewBefore: cfg.RenewBefore,
		timeout:     cfg.FetchTimeout,
		epoch:       time.Now(),
		log:         cfg.Logger,
		left:        flight.Left{Max: maxAbandoned, Every: abandonedEvery},
	}
	if cfg.Cache != nil {
		c, err := newShared(srv, *cfg.Cache, s.write)
		if err != nil {
			return nil, err
		}
		s.fetcher, s.timeout = c, c.timeout()
	}
	return s, nil
}

// Token returns the token in service, or waits for one: at most
// [Config.FetchTimeout]; with a Cache half as long again, and what
// [CacheConfig.Timeout] adds. The token is the caller's own copy. Its Expiry is on
// the local clock. Its Extra method gives every field of the token response; the
// lists in it are shared and must not be changed. Errors are [*Error].
func (s *Source) Token() (*oauth2.Token, error) {
	return s.TokenContext(context.Background())
}

// TokenContext is [Source.Token] for a caller that waits no longer than ctx. A
// fetch goes on without its callers. It runs with the values of the context that
// started it, such as a trace.
func (s *Source) TokenContext(ctx context.Context) (*oauth2.Token, error) {
	c, err := s.get(ctx)
	if err != nil {
		return nil, err
	}
	return c.copy(), nil
}

// Delegation returns what the token in service stands for, or waits for one as
// [Source.TokenContext] does.
func (s *Source) Delegation(ctx context.Context) (*Delegation, error) {
	c, err := s.get(ctx)
	if err != nil {
		return nil, err
	}
	return c.delegation.clone(), nil
}

// Renew returns a token in place of one that an API rejected.
//
// If another token is in service already, it returns that at once. Otherwise it
// asks the server, with one fetch for all callers, while everyone else goes on
// with the token in service: other APIs may still accept it. If the server gives
// out the same token, Renew returns that. If the fetch fails, it returns the
// error, and the token stays in service, unless the server says that the agent has
// no delegation (its 410, or its 404 "No active delegation token found").
//
// Rejections cause a bounded number of fetches: one at once, the next after 1 s,
// then 2 s, doubling to 30 s, until there was no rejection for a minute. In between
// Renew returns the token in service. A [Transport] has such a budget for each
// API; all callers of Renew share one.
//
// A fetch that began earlier for another reason may have been answered too early.
// Renew waits for it, and may then start its own: twice the time of
// [Source.Token] at most. It does not wait out a rate limit.
func (s *Source) Renew(ctx context.Context, rejected *oauth2.Token) (*oauth2.Token, error) {
	if rejected == nil || rejected.AccessToken == "" {
		return nil, errors.New("authsec: Renew: the rejected token is nil or empty (Refresh asks the server without one)")
	}
	c, err := s.renew(ctx, rejected.AccessToken, "")
	if err != nil {
		return nil, err
	}
	return c.copy(), nil
}

// Refresh asks the server now, whatever is cached, and returns the token in service
// then: for the moment after an admin has delegated. It asks at most once a second,
// and otherwise returns what [Source.TokenContext] does. If the fetch fails, it
// returns the error, and a good token stays in service.
func (s *Source) Refresh(ctx context.Context) (*oauth2.Token, error) {
	if !s.made() {
		return nil, errNotMade
	}
	c, err := s.await(ctx, call{Call: lifecycle.Call{Refresh: true}})
	if err != nil {
		return nil, err
	}
	return c.copy(), nil
}

var errNotMade = errors.New("authsec: this Source was not made by NewSource")

func (s *Source) made() bool { return s != nil && s.fetcher != nil }

// get returns the token in service, or waits for one.
func (s *Source) get(ctx context.Context) (*served, error) {
	if !s.made() {
		return nil, errNotMade
	}
	if c := s.current.Load(); c != nil && c.Fresh(s.now()) {
		return c, nil
	}
	var c call
	if deadline, ok := ctx.Deadline(); ok {
		c.Deadline = deadline.Sub(s.epoch)
	}
	return s.await(ctx, c)
}

// renew is Renew for the API at host.
func (s *Source) renew(ctx context.Context, rejected, host string) (*served, error) {
	if !s.made() {
		return nil, errNotMade
	}
	return s.await(ctx, call{lifecycle.Call{Rejected: lifecycle.NewID(rejected)}, host})
}

// widen has the token renewed behind the call, because the API at host wants
// permissions that this one has not.
func (s *Source) widen(ctx context.Context, token, host string) {
	s.await(ctx, call{lifecycle.Call{Rejected: lifecycle.NewID(token), Widen: true}, host})
}

// now reads the local clocks.
func (s *Source) now() lifecycle.Moment { return s.moment(time.Now()) }

func (s *Source) moment(t time.Time) lifecycle.Moment {
	return lifecycle.Moment{Mono: t.Sub(s.epoch), Wall: time.Duration(t.UnixNano())}
}

// copy returns the token for a caller to keep. That may be another
// oauth2.ReuseTokenSource, which writes into it.
func (c *served) copy() *oauth2.Token {
	t := *c.token
	t.Expiry = time.Unix(0, int64(c.Expiry()))
	return &t
}

// String names the agent and the server, and no secret.
func (s *Source) String() string {
	if !s.made() {
		return "authsec.Source{}"
	}
	return fmt.Sprintf("authsec.Source{%s at %s}", s.server.agent, s.server.shown)
}

// Format prints String for every verb.
func (s *Source) Format(f fmt.State, _ rune) { fmt.Fprint(f, s.String()) }

// LogValue returns String for slog.
func (s *Source) LogValue() slog.Value { return slog.StringValue(s.String()) }
