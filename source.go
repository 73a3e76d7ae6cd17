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
	// A fetch is abandoned if it outlasts its time-out: code in it that is not ours does
	// not return. While maxAbandoned such fetches still run, one more is started only
	// every abandonedEvery: at most 144 goroutines a day.
	maxAbandoned   = 4
	abandonedEvery = 10 * time.Minute
)

// contextSource is a TokenSource whose wait ends with a context.
type contextSource interface {
	TokenContext(context.Context) (*oauth2.Token, error)
}

// renewer is a TokenSource that can replace a token that an API rejected.
type renewer interface {
	Renew(ctx context.Context, rejected *oauth2.Token) (*oauth2.Token, error)
}

// Source gets an agent's delegation token and keeps it. It is an
// [oauth2.TokenSource]. Make one with [NewSource]. It is safe for concurrent use.
// There is nothing to close: only calls start fetches, and no other goroutine runs.
//
// While the token is good, every call returns it at once. In the last part of its
// life ([Config.RenewBefore]), calls start a renewal, one at a time, and do not wait
// for it. A failed renewal is tried again, and calls get the token until it expires.
// Without a good token, all callers wait for one shared fetch, each as long as its
// context allows.
//
// While there is no token, a failure is cached: for 1 s at first, doubling to 1
// minute with ±50 % jitter, or for the server's Retry-After (see [Error.RetryAfter]).
// Calls fail with the cached error until then. But after a 429, a call whose context
// has a deadline after the next permitted fetch waits for that fetch. Other calls
// fail at once with [ErrRateLimited].
//
// The server's clock, as the Date of its answer shows it, decides how long a token
// lives. From then on the monotonic clock counts, so a local clock that is wrong or
// steps does no harm. For a token from [Config.Cache], the local clock decides its
// age until this process has asked the server. If the machine may have been suspended
// until after the token's expiry, calls wait for a fetch. They get the token only if
// the fetch fails without proof that the token has ended. Calls compare the clocks at
// most every 10 ms, so they may notice a suspend that much later.
type Source struct {
	fetcher     fetcher
	server      *server // asked by fetcher, or fetcher itself
	renewBefore time.Duration
	timeout     time.Duration // of one fetch, the cache included
	epoch       time.Time     // where lifecycle.Moment's monotonic clock begins
	log         *slog.Logger  // nil: silent
	left        flight.Left

	current atomic.Pointer[served] // the token in service, swapped whole with mu held; nil: none
	state
}

// served is the token in service, ready for requests. Only compared changes.
type served struct {
	lifecycle.Token
	*grant
	compared atomic.Int64 // when the two clocks were last compared, in ns of the monotonic one
}

// compareEvery is how often requests compare the wall clock with the monotonic clock.
// Reading both takes twice as long, and that is most of the time of a call. So for this
// long after a suspend, a request may get an expired token.
const compareEvery = 10 * time.Millisecond

// fresh reports whether the token may be served without any other action.
func (s *Source) fresh(c *served) bool {
	mono := time.Since(s.epoch)
	if ago := mono - time.Duration(c.compared.Load()); ago >= 0 && ago < compareEvery {
		return c.FreshBy(mono)
	}
	now := s.now()
	if !c.Fresh(now) {
		return false
	}
	c.compared.Store(int64(now.Mono))
	return true
}

// NewSource returns a Source for cfg. It makes no request. Its error joins all faults
// of cfg.
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
		c, err := newShared(srv, *cfg.Cache)
		if err != nil {
			return nil, err
		}
		s.fetcher, s.timeout = c, c.timeout()
	}
	return s, nil
}

// Token returns the token in service, or waits for one. It waits at most
// [Config.FetchTimeout], or with a Cache 1.5 times FetchTimeout, five times
// [CacheConfig.Timeout] and 1 s. A failure to get a token is an [*Error].
//
// The token is the caller's own copy. Its Expiry is on the local clock. Its Extra
// method returns the fields of the token response. Callers share the lists in these
// fields and must not change them.
func (s *Source) Token() (*oauth2.Token, error) {
	return s.TokenContext(context.Background())
}

// TokenContext is like [Source.Token], but its wait ends with ctx. If ctx has a
// deadline, it may wait out a rate limit. A fetch goes on after its callers leave. The
// fetch has the values of the context that started it, such as a trace.
func (s *Source) TokenContext(ctx context.Context) (*oauth2.Token, error) {
	c, err := s.get(ctx)
	if err != nil {
		return nil, err
	}
	return c.copy(), nil
}

// Delegation returns the delegation of the token in service, or waits for a token as
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
// If another token is in service already, Renew returns that token at once. Otherwise
// it asks the server, with one fetch for all callers. Meanwhile all other calls get
// the rejected token, because other APIs may still accept it. If the server returns
// the same token again, Renew returns it. If the fetch fails, Renew returns the error,
// and the token stays in service, unless the server says that the agent has no
// delegation (its 410, or its 404 "No active delegation token found"). If no token is
// in service, Renew is like [Source.TokenContext], but does not wait out a rate limit.
//
// Rejections cause a bounded number of fetches: one at once, the next after 1 s, then
// after 2 s, doubling to 30 s. A minute without a rejection resets this budget.
// Between these fetches, and until a Retry-After is over, Renew returns the token in
// service. All callers of Renew share one budget. A [Transport] has its own budget
// for each API, up to 32 budgets; further APIs share Renew's.
//
// A fetch that began before the call may have an answer that is too old. Renew waits
// for that fetch, and may then start its own. So it waits at most twice as long as
// [Source.Token].
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

// Refresh asks the server now, even if a token or a failure is cached or the server
// is rate limited, and returns the token in service after that. Call it after an
// admin has delegated. All callers together cause at most one fetch a second; in between,
// Refresh is like [Source.TokenContext], but it does not wait out a rate limit. If the
// fetch fails, Refresh returns the error, and a good token stays in service. Like
// [Source.Renew], it may wait twice as long as [Source.Token].
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
	if c := s.current.Load(); c != nil && s.fresh(c) {
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

// widen starts a renewal in the background, because the API at host requires
// permissions that token does not have.
func (s *Source) widen(ctx context.Context, token, host string) {
	s.await(ctx, call{lifecycle.Call{Rejected: lifecycle.NewID(token), Widen: true}, host})
}

// now reads the local clocks.
func (s *Source) now() lifecycle.Moment { return s.moment(time.Now()) }

func (s *Source) moment(t time.Time) lifecycle.Moment {
	return lifecycle.Moment{Mono: t.Sub(s.epoch), Wall: time.Duration(t.UnixNano())}
}

// copy returns a copy for one caller. An oauth2.ReuseTokenSource, for example, writes
// into the token that it gets.
func (c *served) copy() *oauth2.Token {
	t := *c.token
	t.Expiry = time.Unix(0, int64(c.Expiry()))
	return &t
}

// String returns the agent and the server, without secrets.
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
