// Copyright 2026 The authsec Authors
// SPDX-License-Identifier: Apache-2.0

package authsec

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"math/rand/v2"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/authsec-go/authsec/internal/cache"
	"golang.org/x/oauth2"
)

const (
	maxRenewBefore = 5 * time.Minute // of the default
	minRenewStep   = time.Second     // between two attempts to renew, before jitter

	minRemembered = time.Second // how long a failure with no token is remembered at first
	maxRemembered = time.Minute // and in the end

	minRefusalStep = time.Second      // between two fetches that refusals caused, at first
	maxRefusalStep = 30 * time.Second // and in the end
	refusalRest    = time.Minute      // without a refusal, after which it is anew

	// clockDrift is by how much wall and monotonic clock may drift apart before
	// one is taken to have stepped, or the machine to have been suspended.
	clockDrift = 10 * time.Second

	// lookEvery is how often a token in use is held against the wall clock.
	lookEvery = time.Second

	// maxAbandoned is how many fetches may be left behind that outlast their
	// time-out, because foreign code in them does not return. Beyond it there is
	// one more each abandonedRest: 144 goroutines a day if none ever returns.
	maxAbandoned  = 4
	abandonedRest = 10 * time.Minute

	// logPatience is how long callers wait for a Logger before a fetch's result.
	logPatience = 100 * time.Millisecond

	never = time.Duration(math.MaxInt64)
)

// contextSource is a TokenSource whose waits end with a context.
type contextSource interface {
	TokenContext(context.Context) (*oauth2.Token, error)
}

// renewer is a TokenSource that can be told of a refused token.
type renewer interface {
	Renew(ctx context.Context, rejected *oauth2.Token) (*oauth2.Token, error)
}

// Source gets an agent's delegation token and keeps it. It is an
// [oauth2.TokenSource]. Make one with [NewSource]; it is safe for concurrent
// use, and there is nothing to close.
//
// While the token is good, every call returns at once. In the last part of its
// life ([Config.RenewBefore]) calls start its renewal, one at a time, and do
// not wait for it; a renewal that fails is tried again, and the token serves
// until its true expiry. With no good token, all callers wait for one shared
// fetch, each as long as its context allows. Its failure is remembered for a
// while, in which calls fail with the same error without asking again: 1 s,
// doubling to 1 minute, or as long as the server says. But a call waits where the
// server allows no more requests for now (its 429), if its context lasts longer
// than that ([Config.FailFast]): then the source asks again when it may.
//
// Expiry is judged by the server's clock as its answer told it, and from then
// on by the monotonic clock: a local clock that is wrong or steps does no harm. But
// of a token that [Config.Cache] had it tells the age, until this process has asked
// the server itself.
type Source struct {
	endpoint     *endpoint
	renewBefore  time.Duration // 0: a fifth of the life
	fetchTimeout time.Duration
	failFast     bool         // calls do not wait for a server that wants not to be asked
	cache        *cache.Cache // nil: none
	log          *slog.Logger // nil: silent

	// current is the token in service: immutable, and swapped whole, with mu
	// held. nil: none.
	current atomic.Pointer[record]

	mu       sync.Mutex // guards what follows; never held while anything is waited for
	flight   *flight    // the fetch under way; nil: none
	flying   int        // fetches that have not returned, those given up on included
	took     time.Time  // when the last of them began
	failure  error      // of the last fetch; with a token, only if the server wants not to be asked
	heldTill time.Time  // until then failure is the answer where there is no token
	wishTill time.Time  // until then the server wants not to be asked, whether there is a token or not
	limited  bool       // and that is a 429's wish
	streak   int        // failures in a row that left no token
	mourned  bool       // "no token" was logged, and no token has come since
	forced   time.Time  // when Renew last asked whatever was remembered
	refusals refusals
	landing  chan struct{} // closed when the next flight lands; nil: nobody waits for that
	storing  int           // flights that have landed and are not done with the cache
	stored   chan struct{} // closed when there are none; nil: nobody waits for that
	shared   shared
	stats    Stats
}

// shared is what a Source knows for judging what Cache has. Times are on the
// server's clock.
type shared struct {
	known   time.Time       // the server's last word that was taken; zero: none
	updated time.Time       // the latest updated_at
	refused string          // the last token that an API refused
	ahead   time.Duration   // of the local clock is the server's, as far as is known
	failing map[string]bool // uses of the cache that fail, as was logged
}

// Stats tells what a [Source] has done so far and what it holds.
type Stats struct {
	Fetches     uint64    // times the endpoint was asked, retries within one fetch not counted
	Failures    uint64    // fetches that brought no usable token
	Renewals    uint64    // times another token took the place of one that was still good
	Refusals    uint64    // tokens that APIs refused, as Renew was told
	Expiry      time.Time // of the token in service, on the local clock; zero: no token
	LastSuccess time.Time // when a fetch last brought a usable token; zero: never
	LastError   error     // of the latest fetch; nil: it succeeded, or there was none
	NextFetch   time.Time // before which no call starts a fetch, but after a refusal; zero: one is under way, or the next call starts it

	CacheHits      uint64 // fetches whose result Config.Cache had, so that the endpoint was not asked
	CacheMisses    uint64 // fetches whose result it did not have
	CacheRejects   uint64 // entries that were not used: they don't open, don't pass the checks of an answer, or have an older updated_at than one seen
	CacheFailures  uint64 // uses of the cache that failed, or took longer than Config.CacheTimeout
	LastCacheError error  // of the latest of these; nil: there was none
}

// record is a token in service. It is immutable.
type record struct {
	grant
	header []string // the Authorization header's value, shared by all requests

	// Moments are durations since received, on the monotonic clock.
	window time.Duration // how long before the end of its life renewal begins
	draw   time.Duration // how far into the window its first attempt lies
	due    time.Duration // the next attempt to renew; never: one is under way
	look   *atomic.Int64 // when to see whether one is due, in ns; it alone changes

	wall  int64         // the wall clock at received, in ns since 1970
	drift time.Duration // by how much the wall clock has run ahead since, as far as it was acted upon
}

// flight is one fetch, for any number of waiters.
type flight struct {
	began   time.Time
	refused string        // the token whose refusal caused it; "": none did
	want    cache.Want    // for its goroutine alone, as is
	share   func()        // what it leaves to be done once it has landed; nil: nothing
	done    chan struct{} // closed when rec and err are set
	rec     *record       // the token in service after it
	err     error
}

// NewSource returns a Source for cfg. It makes no request yet. Its error joins
// all faults of cfg.
func NewSource(cfg Config) (*Source, error) {
	cfg, base, err := cfg.validate()
	if err != nil {
		return nil, err
	}
	s := &Source{
		endpoint:     newEndpoint(cfg, base),
		renewBefore:  cfg.RenewBefore,
		fetchTimeout: cfg.FetchTimeout,
		failFast:     cfg.FailFast,
		log:          cfg.Logger,
	}
	if cfg.Cache == nil {
		return s, nil
	}
	s.shared.failing = map[string]bool{}
	s.cache, err = cache.New(cache.Options{
		Store:   cfg.Cache,
		Keys:    cfg.CacheKeys,
		Server:  base.JoinPath(endpointPath).String(),
		Agent:   strings.ToLower(cfg.ClientID),
		Timeout: cfg.CacheTimeout,
		Lease:   cfg.FetchTimeout / 6,
		Report:  s.cacheUsed,
	})
	return s, err
}

// Token returns the token in service, or waits for one: as long as
// [Config.FetchTimeout] at most, with a Cache half as long again and three times
// [Config.CacheTimeout], and beyond that while the server allows no more
// requests, unless [Config.FailFast] is set. The token is the caller's own copy; its Expiry
// is on the local clock, and its Extra method gives every field of the
// server's answer, of which the lists are shared and not to be changed. Errors
// are [*Error].
func (s *Source) Token() (*oauth2.Token, error) {
	return s.TokenContext(context.Background())
}

// TokenContext is [Source.Token] for a caller that waits no longer than ctx, and
// not at all for a server whose 429 outlasts it.
// The end of ctx does not end a fetch that others may be waiting for.
func (s *Source) TokenContext(ctx context.Context) (*oauth2.Token, error) {
	r, err := s.get(ctx)
	if err != nil {
		return nil, err
	}
	return r.copy(), nil
}

// Delegation returns what the token in service stands for, or waits for one as
// TokenContext does.
func (s *Source) Delegation(ctx context.Context) (*Delegation, error) {
	r, err := s.get(ctx)
	if err != nil {
		return nil, err
	}
	return r.delegation.clone(), nil
}

// get returns the token in service, or waits for one.
func (s *Source) get(ctx context.Context) (*record, error) {
	if s == nil || s.endpoint == nil {
		return nil, errors.New("authsec: this Source was not made by NewSource")
	}
	r := s.current.Load()
	if r == nil {
		return s.wait(ctx, !s.failFast)
	}
	elapsed := time.Since(r.received) // the monotonic clock alone: half the price of time.Now
	if elapsed >= r.life {
		return s.wait(ctx, !s.failFast)
	}
	if elapsed >= time.Duration(r.look.Load()) {
		return s.lookAt(r), nil
	}
	return r, nil
}

// lookAt starts the renewal of a good token, if it is due, and does not wait
// for it. It returns the token in service.
func (s *Source) lookAt(r *record) *record {
	now := time.Now()
	elapsed := now.Sub(r.received)
	if elapsed < r.due && !r.stepped(now, elapsed) {
		r.look.Store(int64(min(r.due, elapsed+lookEvery)))
		return r
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.current.Load() == r && s.flight == nil {
		s.begin(now, "", false)
	}
	if r := s.good(now); r != nil {
		return r
	}
	return r
}

// wait is get where there is no good token: all callers share one fetch. A
// patient one waits for the next if the server allows none now.
func (s *Source) wait(ctx context.Context, patient bool) (*record, error) {
	if err := s.mayWait(ctx); err != nil {
		return nil, err
	}
	for {
		s.mu.Lock()
		now := time.Now()
		if r := s.good(now); r != nil {
			s.mu.Unlock()
			return r, nil
		}
		if s.flight == nil {
			if s.failure != nil && now.Before(s.heldTill) {
				err, event := s.failure, s.noToken(s.failure)
				landing, pause := s.turn(ctx, now)
				s.mu.Unlock()
				s.tell(event)
				if !patient || landing == nil {
					return nil, err
				}
				if !sleep(ctx, pause, landing) {
					return nil, contextError(ctx, "waiting for a server that allows no more requests for now")
				}
				continue
			}
			s.begin(now, "", false)
		}
		f := s.flight
		s.mu.Unlock()

		r, err := f.wait(ctx)
		if err != nil && patient && ctx.Err() == nil && s.isLimited() {
			continue // to the wait for the next fetch, or to what is remembered
		}
		if err != nil {
			return nil, err
		}
		if r == nil || time.Since(r.received) >= r.life {
			return nil, newError("authsec: no token for agent "+s.endpoint.agent+": the one that came expired at once", ErrInvalidResponse)
		}
		return r, nil
	}
}

// turn returns how long it is until the server, which has been asked too often,
// may be asked again, and a channel that is closed if something comes of a fetch
// before that; no channel if that is not to be waited for. mu is held.
func (s *Source) turn(ctx context.Context, now time.Time) (landing chan struct{}, pause time.Duration) {
	if !s.limited || !now.Before(s.wishTill) {
		return nil, 0
	}
	if deadline, ok := ctx.Deadline(); ok && !deadline.After(s.heldTill) {
		return nil, 0
	}
	if s.landing == nil {
		s.landing = make(chan struct{})
	}
	return s.landing, s.heldTill.Sub(now)
}

// isLimited reports whether a 429 keeps the server from being asked.
func (s *Source) isLimited() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.limited && time.Now().Before(s.wishTill)
}

// sleep waits for the end of pause or for landing, and reports whether ctx lasts.
func sleep(ctx context.Context, pause time.Duration, landing chan struct{}) bool {
	timer := time.NewTimer(pause)
	defer timer.Stop()
	select {
	case <-landing:
	case <-timer.C:
	case <-ctx.Done():
		return false
	}
	return true
}

// Renew returns a token in place of one that an API refused.
//
// If another than rejected is in service already, it returns that at once.
// Otherwise it asks the server, with one fetch for all callers, while everyone
// else goes on with the token in service: one API's refusal does not take it
// from the others. If the server gives out the same token still, Renew returns
// that, without an error. If the fetch fails, it returns the error; only where
// the server says that the agent has no delegation any more (its 410, or its
// 404 "No active delegation token found") the token ends.
//
// Refusals cause a bounded number of fetches: one at once, the next 1 s later,
// then 2 s, doubling to 30 s, until there was none for a minute. In between
// Renew returns the token in service.
//
// Renew(ctx, nil) asks the server now, whatever is remembered, at most once a
// second: for the moment after an admin has delegated.
//
// Where a fetch is under way that began before the call, for another reason,
// Renew waits for that one and may then begin its own: for twice
// [Config.FetchTimeout] at most, and what a Cache costs each of them. It does not wait
// for a server that allows no more requests: its caller has the API's answer in hand.
func (s *Source) Renew(ctx context.Context, rejected *oauth2.Token) (*oauth2.Token, error) {
	refused := ""
	if rejected != nil {
		if refused = rejected.AccessToken; refused == "" {
			return nil, errors.New("authsec: Renew: the rejected token is empty")
		}
	}
	r, err := s.renew(ctx, refused)
	if err != nil {
		return nil, err
	}
	return r.copy(), nil
}

// renew is Renew with the text of the refused token, or "".
func (s *Source) renew(ctx context.Context, refused string) (*record, error) {
	if s == nil || s.endpoint == nil {
		return s.get(ctx)
	}
	if err := s.mayWait(ctx); err != nil {
		return nil, err
	}
	s.mu.Lock()
	called := time.Now()
	if refused != "" {
		s.stats.Refusals++
		s.refusals.note(called)
		s.shared.refused = refused
	}
	for {
		now := time.Now()
		r := s.good(now)
		if r == nil && refused != "" {
			s.mu.Unlock()
			return s.wait(ctx, false)
		}
		if refused != "" && r.token.AccessToken != refused {
			s.mu.Unlock()
			return r, nil
		}
		if s.flight == nil {
			if !s.mayForce(now, refused) {
				s.mu.Unlock()
				if r != nil {
					return r, nil
				}
				return s.wait(ctx, false)
			}
			s.begin(now, refused, refused == "")
		}
		f := s.flight
		s.mu.Unlock()
		newer, err := f.wait(ctx)
		if ctx.Err() != nil && err != nil {
			return nil, err
		}

		// A fetch that began before this call, for another reason, may have been
		// answered before the delegation that it hopes for: what it did not bring
		// says nothing.
		shared := refused != "" && f.refused == refused
		another := refused != "" && err == nil && newer.token.AccessToken != refused
		if shared || another || !f.began.Before(called) {
			return newer, err
		}
		s.mu.Lock()
	}
}

// mayForce reports whether a fetch may begin for a refusal, or for a call of
// Renew without one. mu is held.
func (s *Source) mayForce(now time.Time, refused string) bool {
	if refused == "" {
		if !s.forced.IsZero() && now.Sub(s.forced) < time.Second {
			return false
		}
		s.forced = now
		return true
	}
	if now.Before(s.wishTill) {
		return false
	}
	return s.refusals.allow(now)
}

// refusals bounds the fetches that refused tokens cause.
type refusals struct {
	last time.Time     // refusal
	step time.Duration // between the last fetch and the next; 0: the next is the first
	next time.Time     // no fetch before
}

// note takes account of a refusal.
func (b *refusals) note(now time.Time) {
	if now.Sub(b.last) >= refusalRest {
		b.step, b.next = 0, time.Time{}
	}
	b.last = now
}

// allow reports whether a refusal may cause a fetch now, and counts it if so.
func (b *refusals) allow(now time.Time) bool {
	if now.Before(b.next) {
		return false
	}
	b.step = min(max(minRefusalStep, 2*b.step), maxRefusalStep)
	b.next = now.Add(b.step)
	return true
}

// flightKey marks the context of a fetch with the Source that it is for.
type flightKey struct{}

// mayWait reports why a call must not wait for a fetch: its context has ended,
// or it was made by that very fetch.
func (s *Source) mayWait(ctx context.Context) error {
	if ctx.Err() != nil {
		return contextError(ctx, "waiting for a token")
	}
	if ctx.Value(flightKey{}) == s {
		return errors.New("authsec: Config.HTTPClient or Config.Credential leads back to the Source that it serves")
	}
	return nil
}

// good returns the token in service, if it has not expired.
func (s *Source) good(now time.Time) *record {
	r := s.current.Load()
	if r == nil || now.Sub(r.received) >= r.life {
		return nil
	}
	return r
}

// begin starts a fetch, because of a refused token, because the server is to be
// asked in any case, or for another reason. mu is held, and no fetch is under way.
func (s *Source) begin(now time.Time, refused string, forced bool) {
	f := &flight{began: now, refused: refused, done: make(chan struct{})}
	s.flight = f
	if s.cache != nil {
		f.want = s.wanted(now, refused, forced)
	}
	if r := s.good(now); r != nil {
		s.current.Store(r.renewing(now))
	}
	timeout := s.fetchTimeout
	if s.cache != nil { // what that costs at most is beside what asking does
		timeout += s.fetchTimeout/2 + 3*s.cache.Timeout
	}
	ctx, cancel := context.WithTimeout(context.WithValue(context.Background(), flightKey{}, s), timeout)
	if s.flying >= maxAbandoned && now.Sub(s.took) < abandonedRest {
		flying := s.flying
		go func() {
			defer cancel()
			s.land(f, nil, newError(fmt.Sprintf("authsec: no token for agent %s: %d fetches have not returned: Config.Credential or Config.HTTPClient does not return", s.endpoint.agent, flying)))
		}()
		return
	}
	s.flying++
	s.took = now
	go s.fly(ctx, cancel, f)
}

// fly makes the fetch. Foreign code runs in it (Credential, HTTPClient's
// transport, Keyfunc), which may never return, exit the goroutine or panic:
// the flight lands all the same.
func (s *Source) fly(ctx context.Context, cancel context.CancelFunc, f *flight) {
	fail := func(what string, cause error) *Error {
		return newError(fmt.Sprintf("authsec: no token for agent %s: %s", s.endpoint.agent, what), cause)
	}
	stop := context.AfterFunc(ctx, func() {
		s.land(f, nil, fail(fmt.Sprintf("%s or Config.Credential did not answer within %v", s.endpoint.shown, s.fetchTimeout), ctx.Err()))
	})
	defer func() {
		s.mu.Lock()
		s.flying--
		s.mu.Unlock()
	}()
	var r *record
	var err error = fail("the fetch's goroutine was ended by Config.Credential, Config.HTTPClient or Config.Keyfunc", nil)
	defer func() {
		if v := recover(); v != nil {
			err = fail("Config.HTTPClient or Config.Keyfunc panicked: "+panicText(v), nil)
		}
		stop()
		cancel()
		if f.share == nil {
			s.land(f, r, err)
			return
		}
		s.mu.Lock()
		s.storing++
		s.mu.Unlock()
		defer s.doneStoring()
		s.land(f, r, err)
		f.share()
	}()
	if s.cache == nil {
		r, _, err = s.ask(ctx)
	} else {
		r, err = s.fetchShared(ctx, f)
	}
}

// ask asks the endpoint through an oauth2.ReuseTokenSource, a new one for each
// fetch: it is empty, so that it asks, and it does to the token what it does to
// every token before that is shared. Expiry is judged by the record. The reply is
// the server's; nil: there is none.
func (s *Source) ask(ctx context.Context) (*record, *reply, error) {
	s.mu.Lock()
	s.stats.Fetches++
	s.mu.Unlock()
	var g *grant
	var answer *reply
	reuse := oauth2.ReuseTokenSource(nil, tokenFunc(func() (t *oauth2.Token, err error) {
		if g, answer, err = s.endpoint.fetch(ctx); err != nil {
			return nil, err
		}
		return g.token, nil
	}))
	_, err := reuse.Token()
	if g == nil {
		return nil, answer, err
	}
	return s.record(g), answer, err
}

// record makes a record of a grant.
func (s *Source) record(g *grant) *record {
	window := s.renewBefore
	if window == 0 {
		window = min(g.life/5, maxRenewBefore)
	}
	window = max(0, min(window, g.life))
	r := &record{
		grant:  *g,
		header: []string{"Bearer " + g.token.AccessToken},
		window: window,
		draw:   jitter(window / 2),
		wall:   g.received.UnixNano(),
	}
	return r.dueAt(r.life - r.window + r.draw)
}

// tokenFunc is an oauth2.TokenSource.
type tokenFunc func() (*oauth2.Token, error)

func (f tokenFunc) Token() (*oauth2.Token, error) { return f() }

// wanted is what an entry of the cache must tell to be a fetch's result. mu is held.
func (s *Source) wanted(now time.Time, refused string, forced bool) cache.Want {
	w := cache.Want{Known: s.shared.known, Refused: s.shared.refused, Cause: refused, Forced: forced}
	if r := s.good(now); r != nil {
		w.Token, w.Within = r.token.AccessToken, max(r.window/10, minRenewStep)
	}
	if refused != "" {
		w.Within = s.refusals.step
	}
	return w
}

// fetchShared is ask for one of many processes: it takes what another was told,
// or waits for what another is being told, and asks itself if there is neither.
// What it is told is stored once the flight has landed: no caller waits for that.
func (s *Source) fetchShared(ctx context.Context, f *flight) (r *record, err error) {
	patience := s.fetchTimeout/3 + jitter(s.fetchTimeout/6)
	var over *cache.Failure // which confirms that the token in the cache is withdrawn
	taken, release := s.cache.Await(ctx, patience, func(e cache.Entry) bool {
		own, now := s.serverNow(e)
		g, _ := s.open(e, now)
		f.want.Look(own, time.Since(f.began))
		switch {
		case g != nil && f.want.Accepts(e, g.token.AccessToken):
			r, err = s.record(g), nil
			s.learn(g, g.told)
		case f.want.Fails(e, now) && s.endpoint.concernsAll(e.Failure.Status):
			told := s.endpoint.toldAnother(e.Failure, now.Sub(e.Failure.Told))
			r, err = nil, told
			s.learn(nil, e.Failure.Told)
			if told.noDelegation && g != nil && g.token.AccessToken == f.want.Refused {
				over = e.Failure
			}
		default:
			return false
		}
		return true
	})
	f.share = release
	s.mu.Lock()
	if taken {
		s.stats.CacheHits++
	} else {
		s.stats.CacheMisses++
	}
	s.mu.Unlock()
	if over != nil {
		f.share = func() {
			defer release()
			s.cache.Write(context.WithValue(context.Background(), flightKey{}, s), cache.Entry{Failure: over}, max(over.Hold, minRemembered))
		}
	}
	if taken {
		return r, err
	}
	ctx, cancel := context.WithTimeout(ctx, s.fetchTimeout)
	defer cancel()
	r, answer, err := s.ask(ctx)
	f.share = func() {
		defer release()
		s.store(f.want.Refused, r, answer, err)
	}
	if err == nil || isServersWord(err) {
		s.mu.Lock()
		s.shared.ahead = answer.correction
		s.mu.Unlock()
		if err == nil {
			s.learn(&r.grant, r.told)
		} else {
			s.learn(nil, answer.told())
		}
	}
	return r, err
}

// serverNow returns what the server's clock reads, as far as is known without an
// entry and with it: one from the future shows that the local clock is behind.
func (s *Source) serverNow(e cache.Entry) (own, now time.Time) {
	local := time.Now().Round(0)
	s.mu.Lock()
	defer s.mu.Unlock()
	own = local.Add(s.shared.ahead)
	s.shared.ahead = max(s.shared.ahead, e.Last().Sub(local))
	return own, local.Add(s.shared.ahead)
}

// open reads the good answer in an entry, and checks it as one that the server
// gives. nil: there is none, or it has expired. An error: it is not fit for use.
func (s *Source) open(e cache.Entry, now time.Time) (*grant, error) {
	if len(e.Answer) == 0 {
		return nil, nil
	}
	received := time.Now()
	g, err := s.endpoint.read(&reply{
		status: http.StatusOK, body: e.Answer, sent: received, received: received,
		correction: now.Sub(received.Round(0)), age: now.Sub(e.Answered), cached: true,
	})
	switch {
	case err != nil && g != nil: // expired, which is no fault
		return nil, nil
	case err != nil:
		s.rejected(err.Error())
		return nil, err
	}
	s.mu.Lock()
	replayed := g.delegation.UpdatedAt.Before(s.shared.updated) && !g.delegation.UpdatedAt.IsZero()
	s.mu.Unlock()
	if replayed {
		err := errors.New("its token is older than one that the server has given out")
		s.rejected(err.Error())
		return nil, err
	}
	return g, nil
}

// learn takes account of what the server said, to this process or another one. g
// is nil where it was a failure.
func (s *Source) learn(g *grant, told time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.shared.known = told
	if g != nil && !g.delegation.UpdatedAt.IsZero() {
		s.shared.updated = g.delegation.UpdatedAt
	}
}

// isServersWord reports whether a failure is what an AuthSec server says of the
// agent, or of itself. A credential that was refused, or an answer from who knows
// where, may be this process's own trouble.
func isServersWord(err error) bool {
	var e *Error
	return errors.As(err, &e) && !e.told.IsZero() && (e.StatusCode >= 500 || errors.Is(err, ErrNotDelegated) || errors.Is(err, ErrRateLimited))
}

// concernsAll reports whether another process would be told a failure as well.
// Servers that want a credential give the 404 to those who may not see a delegation.
func (e *endpoint) concernsAll(status int) bool {
	return status != http.StatusNotFound || e.credential == nil
}

// store shares what the server was asked, if it concerns all. A failure leaves the
// token that others have in service, unless it is one that an API refused and the
// server has none.
func (s *Source) store(refused string, r *record, answer *reply, err error) {
	ctx := context.WithValue(context.Background(), flightKey{}, s)
	if err == nil {
		s.cache.Write(ctx, cache.Entry{Answer: answer.body, Answered: answer.told()}, r.life-time.Since(r.received))
		return
	}
	var e *Error
	if !isServersWord(err) || !errors.As(err, &e) {
		return
	}
	// What is there now: another process may have been given a token meanwhile,
	// without leases, or where one has ended. What this one can't read or use may
	// be of use to others.
	old, err := s.cache.Read(ctx)
	if err != nil {
		return
	}
	_, now := s.serverNow(old)
	g, err := s.open(old, now)
	if err != nil {
		return
	}
	kept := g != nil && !(e.noDelegation && g.token.AccessToken == refused)
	if !s.endpoint.concernsAll(e.StatusCode) {
		if g != nil && !kept {
			s.cache.Delete(ctx)
		}
		return
	}
	hold := max(time.Until(s.Stats().NextFetch), minRemembered)
	entry, ttl := cache.Entry{Failure: &cache.Failure{
		Told: e.told, Status: e.StatusCode, Message: e.Message, Details: e.Details, Hold: hold, RetryAfter: e.RetryAfter,
	}}, hold
	if kept {
		entry.Answer, entry.Answered = old.Answer, old.Answered
		ttl = max(ttl, g.life-time.Since(g.received))
	}
	s.cache.Write(ctx, entry, ttl)
}

// cacheUsed hears of each use of the cache, and of entries that don't open.
func (s *Source) cacheUsed(op string, err error) {
	if op == "open" {
		s.rejected(err.Error())
		return
	}
	s.mu.Lock()
	failed, failing := err != nil, s.shared.failing[op]
	s.shared.failing[op] = failed
	text := ""
	if failed {
		text = s.cacheErrorText(err)
		s.stats.CacheFailures++
		s.stats.LastCacheError = errors.New("authsec: the cache failed to " + op + ": " + text)
	}
	s.mu.Unlock()
	switch {
	case failed && !failing:
		s.tell(func() { s.log.Warn("cache failed", "agent", s.endpoint.agent, "op", op, "error", text) })
	case failing && !failed:
		s.tell(func() { s.log.Info("cache works again", "agent", s.endpoint.agent, "op", op) })
	}
}

// cacheErrorText is what may be shown of a store's own words: they may have the
// entry in them, so of one that is not sealed no more than the kind of failure.
func (s *Source) cacheErrorText(err error) string {
	if s.cache.Sealed() || errors.Is(err, cache.ErrTimeout) {
		return redact(err.Error(), s.endpoint.clientID)
	}
	var number syscall.Errno
	if errors.As(err, &number) {
		return number.Error()
	}
	return fmt.Sprintf("a %T, whose text is not shown, since entries are not sealed", err)
}

// rejected takes account of an entry that is not fit for use.
func (s *Source) rejected(reason string) {
	s.mu.Lock()
	s.stats.CacheRejects++
	s.mu.Unlock()
	s.tell(func() { s.log.Warn("cache entry ignored", "agent", s.endpoint.agent, "error", reason) })
}

// land ends a flight with what the fetch brought, once: the fetch and its
// time-out both call it. With an error, r may be a token that is past its expiry.
func (s *Source) land(f *flight, r *record, err error) {
	s.mu.Lock()
	if s.flight != f {
		s.mu.Unlock()
		return
	}
	s.flight = nil
	now := time.Now()
	old := s.good(now)
	s.stats.LastError = err
	var event func()
	if err == nil {
		s.stats.LastSuccess = now
		event = s.succeed(old, r, now)
	} else {
		s.stats.Failures++
		event = s.fail(f, old, r, now, err)
	}
	f.rec, f.err = s.current.Load(), err
	landing := s.landing
	s.landing = nil
	s.mu.Unlock()
	s.tell(event)
	close(f.done)
	if landing != nil {
		close(landing)
	}
}

// tell logs an event, and waits until that is done, but not for a Logger that
// is stuck or ends its goroutine.
func (s *Source) tell(event func()) {
	if s.log == nil {
		return
	}
	told := make(chan struct{})
	go func() {
		defer close(told)
		event()
	}()
	timer := time.NewTimer(logPatience)
	defer timer.Stop()
	select {
	case <-told:
	case <-timer.C:
	}
}

// succeed puts r into service. mu is held. The event is to be logged without it.
func (s *Source) succeed(old, r *record, now time.Time) (event func()) {
	s.failure, s.heldTill, s.wishTill = nil, time.Time{}, time.Time{}
	s.streak, s.mourned = 0, false
	same := old != nil && old.token.AccessToken == r.token.AccessToken
	if same {
		r = old.confirmed(r, now)
	} else if old != nil {
		s.stats.Renewals++
	}
	s.current.Store(r)
	return func() {
		switch {
		case s.log == nil:
		case same:
			s.log.Debug("token unchanged", "agent", s.endpoint.agent, "expires_in", r.left(now))
		case r.cached:
			s.log.Info("token picked up", "agent", s.endpoint.agent, "expires_in", r.left(now))
		case old != nil:
			s.log.Info("token renewed", "agent", s.endpoint.agent, "expires_in", r.left(now))
		default:
			s.log.Info("token fetched", "agent", s.endpoint.agent, "expires_in", r.left(now))
		}
	}
}

// fail takes account of a failed fetch. mu is held. The event is to be logged
// without it.
func (s *Source) fail(f *flight, old, r *record, now time.Time, err error) (event func()) {
	if old == nil || old.withdrawn(f, err) || old.foundDead(r, now, err) {
		s.current.Store(nil)
		s.remember(now, err)
		return s.noToken(err)
	}
	asked := s.wish(now, err)
	s.failure, s.heldTill = nil, time.Time{}
	if asked > 0 {
		s.failure, s.heldTill = err, s.wishTill
	}
	again := old.again(now, asked)
	s.current.Store(again)
	return func() {
		if s.log != nil {
			status := 0
			if e := (*Error)(nil); errors.As(err, &e) {
				status = e.StatusCode
			}
			s.log.Warn("renewal failed", "agent", s.endpoint.agent, "status", status, "error", err.Error(),
				"expires_in", old.left(now), "next_attempt", again.received.Add(again.due).Round(0))
		}
	}
}

// remember makes err the answer for a while. mu is held.
func (s *Source) remember(now time.Time, err error) {
	wait := min(minRemembered<<min(s.streak, 10), maxRemembered)
	wait = wait/2 + jitter(wait)
	asked := s.wish(now, err)
	e := (*Error)(nil)
	switch {
	case errors.As(err, &e) && e.RetryAfter > 0:
		wait = asked
	case e != nil && e.held > 0: // as the process that was told has it
		wait = max(e.held, asked)
	default:
		wait = max(wait, asked)
	}
	s.streak++
	s.failure, s.heldTill = err, now.Add(wait)
}

// wish returns how long from now on the server wants not to be asked: as err
// tells it, or as an earlier answer did. That is over once the server gives an
// answer of another kind, which a fault on the way is not. mu is held.
func (s *Source) wish(now time.Time, err error) time.Duration {
	var e *Error
	switch {
	case !errors.As(err, &e):
	case e.RetryAfter > 0:
		s.wishTill, s.limited = now.Add(e.RetryAfter), e.StatusCode == http.StatusTooManyRequests
	case e.StatusCode != 0 && e.StatusCode < 500:
		s.wishTill = time.Time{}
	}
	return max(0, s.wishTill.Sub(now))
}

// noToken returns the event that the agent has no token, once until it has one.
// mu is held.
func (s *Source) noToken(err error) (event func()) {
	if s.mourned || s.log == nil {
		return func() {}
	}
	s.mourned = true
	return func() { s.log.Error("no token", "agent", s.endpoint.agent, "error", err.Error()) }
}

// wait waits for the flight's end, but no longer than ctx.
func (f *flight) wait(ctx context.Context) (*record, error) {
	select {
	case <-f.done:
	default:
		select {
		case <-f.done:
		case <-ctx.Done():
			return nil, contextError(ctx, "waiting for a token")
		}
	}
	return f.rec, f.err
}

// doneStoring takes account of a flight that is done with the cache.
func (s *Source) doneStoring() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.storing--; s.storing == 0 && s.stored != nil {
		close(s.stored)
		s.stored = nil
	}
}

// Flush waits until what the server has said is in [Config.Cache], or was not to
// be stored: for programs that end, since a token is handed out before it is
// stored. It takes four times [Config.CacheTimeout] at most. It does not wait
// for a fetch. Without a cache, or with nothing to store, it returns at once. The
// error is the context's: whether the cache took it, Stats tells.
func (s *Source) Flush(ctx context.Context) error {
	if s == nil {
		return nil
	}
	s.mu.Lock()
	if s.storing == 0 {
		s.mu.Unlock()
		return nil
	}
	if s.stored == nil {
		s.stored = make(chan struct{})
	}
	stored := s.stored
	s.mu.Unlock()
	select {
	case <-stored:
		return nil
	case <-ctx.Done():
		return contextError(ctx, "waiting for the cache")
	}
}

// Stats returns what the source has done so far. It never waits for a fetch.
func (s *Source) Stats() Stats {
	if s == nil {
		return Stats{}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	stats := s.stats
	now := time.Now()
	if r := s.good(now); r != nil {
		stats.Expiry = r.copy().Expiry
		if r.due != never {
			stats.NextFetch = r.received.Add(r.due).Round(0)
		}
	} else if s.flight == nil && now.Before(s.heldTill) {
		stats.NextFetch = s.heldTill.Round(0)
	}
	return stats
}

// left is how long the token is good from now on.
func (r *record) left(now time.Time) time.Duration {
	return (r.life - now.Sub(r.received)).Round(time.Millisecond)
}

// ahead is by how much the wall clock has run ahead of the monotonic one since
// the token was received.
func (r *record) ahead(now time.Time, elapsed time.Duration) time.Duration {
	return time.Duration(now.UnixNano()-r.wall) - elapsed
}

// stepped reports whether the clocks have drifted apart further than was known.
func (r *record) stepped(now time.Time, elapsed time.Duration) bool {
	return apart(r.ahead(now, elapsed) - r.drift)
}

// apart reports whether clocks that differ by d have drifted apart.
func apart(d time.Duration) bool { return d > clockDrift || d < -clockDrift }

// dueAt returns a copy of r whose next attempt to renew is due then.
func (r *record) dueAt(due time.Duration) *record {
	c := *r
	c.due, c.look = due, new(atomic.Int64)
	if due == never {
		c.look.Store(int64(never))
	}
	return &c
}

// copy returns the token for a caller to keep, which may be another
// oauth2.ReuseTokenSource, and that writes into it. Its Expiry is on the local
// clock as it is now, should that have stepped.
func (r *record) copy() *oauth2.Token {
	t := *r.token
	return &t
}

// renewing is r while its renewal is under way.
func (r *record) renewing(now time.Time) *record {
	c := r.dueAt(never)
	if drift := r.ahead(now, now.Sub(r.received)); apart(drift - r.drift) {
		t := *r.token
		t.Expiry = t.Expiry.Add(drift - r.drift) // on the local clock, as it is now
		c.token, c.drift = &t, drift
	}
	return c
}

// again is r after an attempt to renew it failed, or brought the same token:
// the next is a tenth of the window later, give or take half at random, and
// not before the server wants to be asked.
func (r *record) again(now time.Time, asked time.Duration) *record {
	step := max(r.window/10, minRenewStep)
	step = max(step/2+jitter(step), asked)
	if apart(r.drift) { // so that r's own idea of its expiry is in doubt
		return r.dueAt(now.Sub(r.received) + step)
	}
	return r.dueAt(max(now.Sub(r.received)+step, r.life-r.window+r.draw))
}

// confirmed is r after the server gave out the same token again, as newer. What
// r knows of its expiry stands, unless the server tells another, or the clocks
// have drifted apart.
func (r *record) confirmed(newer *record, now time.Time) *record {
	elapsed := now.Sub(r.received)
	drift := r.ahead(now, elapsed)
	keep := newer.notAfter.Equal(r.notAfter)
	if r.notAfter.IsZero() && newer.notAfter.IsZero() { // a time to live does not begin anew
		keep = newer.received.Add(newer.life).After(r.received.Add(r.life))
	}
	if keep && !apart(drift) {
		c := *r
		c.delegation = newer.delegation
		return c.again(now, 0)
	}
	if keep { // the expiry is the same, so the window is, too
		if newer.window, newer.draw = r.window, r.draw; newer.life < r.window {
			newer.window, newer.draw = newer.life, jitter(newer.life/2)
		}
	}
	return newer.again(now, 0)
}

// withdrawn reports whether API and server agree that r's service is over: the
// one refused it, which is why the other was asked, and that has no delegation.
func (r *record) withdrawn(f *flight, err error) bool {
	var e *Error
	return f.refused == r.token.AccessToken && errors.As(err, &e) && e.noDelegation
}

// foundDead reports whether a fetch that failed has shown r to be dead before
// its time: the server gave it out as past its expiry, or says that there is no
// delegation, when the wall clock too says that r is over. (The monotonic clock
// stands still while a machine is suspended.)
func (r *record) foundDead(newer *record, now time.Time, err error) bool {
	elapsed := now.Sub(r.received)
	ahead := r.ahead(now, elapsed)
	if newer != nil && newer.token.AccessToken == r.token.AccessToken {
		return !newer.notAfter.Equal(r.notAfter) || apart(ahead)
	}
	var e *Error
	return errors.As(err, &e) && e.noDelegation && ahead > clockDrift && elapsed+ahead >= r.life
}

// jitter draws evenly from [0, d).
func jitter(d time.Duration) time.Duration { return rand.N(max(1, d)) }

// String names the agent and server, not the token.
func (s *Source) String() string {
	if s == nil || s.endpoint == nil {
		return "authsec.Source{}"
	}
	return fmt.Sprintf("authsec.Source{%s at %s}", s.endpoint.agent, s.endpoint.shown)
}

// Format prints what String tells, for every verb.
func (s *Source) Format(f fmt.State, _ rune) { fmt.Fprint(f, s.String()) }

// LogValue gives slog what String tells.
func (s *Source) LogValue() slog.Value { return slog.StringValue(s.String()) }
