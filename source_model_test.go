// Copyright 2026 The authsec Authors
// SPDX-License-Identifier: Apache-2.0

package authsec_test

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/authsec-go/authsec"
	"github.com/authsec-go/authsec/authsectest"
	"golang.org/x/oauth2"
)

// A model of Source's states, written from the documentation. Random sequences
// of calls, answers and time run against it. The seed fixes the sequence, but
// not what the Source draws itself (jitter): run a seed with -count=20 to see a
// failure again.
var (
	modelSeed = flag.Uint64("modelseed", 0, "the one seed that TestSourceModel runs; 0: a fixed set and a few that are drawn")
	modelRuns = flag.Int("modelruns", 0, "how many drawn seeds TestSourceModel runs, in place of its usual set")
)

const (
	modelFixed = 400 // seeds, from 1 on
	modelDrawn = 50
	modelSteps = 60 // of one sequence
	modelTrace = 60 // lines of a trace
)

func TestSourceModel(t *testing.T) {
	var seeds []uint64
	switch {
	case *modelSeed != 0:
		seeds = []uint64{*modelSeed}
	case *modelRuns != 0:
		for range *modelRuns {
			seeds = append(seeds, rand.Uint64())
		}
	default:
		for i := range modelFixed {
			seeds = append(seeds, uint64(i+1))
		}
		for range modelDrawn {
			seeds = append(seeds, rand.Uint64())
		}
		t.Logf("drawn seeds: %d", seeds[modelFixed:])
	}
	drawn := draws{}
	for _, seed := range seeds {
		r, left := rand.New(rand.NewPCG(seed, 0)), modelSteps
		runModel(t, fmt.Sprintf("-run TestSourceModel -modelseed=%d", seed), drawn, r.IntN, func() bool { left--; return left >= 0 })
		if t.Failed() {
			return
		}
	}
	for _, of := range []string{"first attempt", "next attempt", "wait after a failure", "wait after 429"} {
		if got := drawn[of]; len(seeds) >= modelFixed && (got[0] > 0.1 || got[1] < 0.9) {
			t.Errorf("%s: drawn from %.2f to %.2f of its range, want 0 to 1", of, got[0], got[1])
		}
	}
}

// A 429 says how long the server is not to be asked. Renew(nil) asks all the
// same; if it fails for another reason, the rest of that time still counts for
// everybody else.
func TestRenewNilThatFailsKeepsServersWait(t *testing.T) {
	for _, life := range []time.Duration{0, 30 * time.Minute} { // of the token in hand; 0: none
		t.Run(life.String(), func(t *testing.T) {
			sourceBubble(t, func(t *testing.T, x *sourceFixture) {
				x.start(func(c *authsec.Config) { c.RenewBefore, c.Retry.MaxAttempts = life, 1 })
				if life > 0 {
					x.delegate("A", life)
					x.want("A")
				}
				x.srv.Fail(authsectest.Answer(429, `{"error":"Rate limit exceeded"}`, "Retry-After", "300"))
				x.src.Renew(t.Context(), nil)
				until := time.Now().Add(300 * time.Second)
				x.sleep(2 * time.Second)
				x.srv.Fail(sourceServerError)
				x.src.Renew(t.Context(), nil)
				asked := x.srv.Fetches()
				x.sleep(time.Until(until) - time.Nanosecond)
				x.src.Token()
				synctest.Wait()
				if life == 0 {
					x.wantRequests(asked)
				}
				if next := x.src.Stats().NextFetch; next.Before(until) {
					t.Errorf("NextFetch: got %v before the moment that the server named, want none", until.Sub(next))
				}
			})
		})
	}
}

// A token's life can be shortened while it is in hand. Its first attempt to be
// renewed is in the first half of the window that it has then, at random.
func TestSourceRenewsTokenWhoseLifeWasShortened(t *testing.T) {
	drawn := map[time.Duration]bool{}
	for range 20 { // each draws anew
		sourceBubble(t, func(t *testing.T, x *sourceFixture) {
			srv := &sourceSkewedServer{expiry: time.Now().Add(time.Hour)}
			x.names["opaque"] = "A"
			x.start(func(c *authsec.Config) {
				c.RenewBefore, c.HTTPClient = time.Hour, &http.Client{Transport: authsectest.RoundTripper(srv)}
			})
			x.want("A")
			x.sleep(time.Second)
			srv.expiry = time.Now().Add(10 * time.Minute)
			x.src.Renew(t.Context(), nil)
			next, most := time.Until(x.src.Stats().NextFetch), 5*time.Minute
			if next > most {
				t.Errorf("NextFetch, with 10 min to live, all of it the window: got %v from now, want %v at most", next, most)
			}
			drawn[next] = true
		})
	}
	if len(drawn) < 10 {
		t.Errorf("20 Sources drew %d moments, want as many, or nearly so", len(drawn))
	}
}

// A life that was shortened and then extended is renewed as early as any of its
// length.
func TestSourceRenewsTokenWhoseLifeWasExtendedAgain(t *testing.T) {
	sourceBubble(t, func(t *testing.T, x *sourceFixture) {
		srv := &sourceSkewedServer{expiry: time.Now().Add(2 * time.Hour)}
		x.names["opaque"] = "A"
		x.start(func(c *authsec.Config) {
			c.RenewBefore, c.HTTPClient = time.Hour, &http.Client{Transport: authsectest.RoundTripper(srv)}
		})
		x.want("A")
		for _, life := range []time.Duration{10 * time.Second, 3 * time.Hour} {
			x.sleep(time.Second)
			srv.expiry = time.Now().Add(life)
			x.src.Renew(t.Context(), nil)
		}
		if ahead := srv.expiry.Sub(x.src.Stats().NextFetch); ahead < 30*time.Minute || ahead > time.Hour+time.Second {
			t.Errorf("NextFetch: got %v before the expiry, want the first half of an hour before it", ahead)
		}
	})
}

// Once the server answers otherwise, a 429's wish is over: what it says is
// remembered as briefly as ever.
func TestAnswerEndsServersWait(t *testing.T) {
	sourceBubble(t, func(t *testing.T, x *sourceFixture) {
		x.start(func(c *authsec.Config) { c.Retry.MaxAttempts = 1 })
		x.srv.Fail(authsectest.Answer(429, `{"error":"Rate limit exceeded"}`, "Retry-After", "300"))
		x.src.Renew(t.Context(), nil)
		x.sleep(2 * time.Second)
		x.srv.Fail(authsectest.Answer(404, `{"error":"No active delegation token found"}`))
		x.src.Renew(t.Context(), nil)
		if next, most := time.Until(x.src.Stats().NextFetch), 3*time.Second; next > most {
			t.Errorf("NextFetch after a 429 and then a 404: got %v from now, want %v at most", next, most)
		}
	})
}

func FuzzSourceModel(f *testing.F) {
	for seed := range uint64(20) {
		b, r := make([]byte, 300), rand.New(rand.NewPCG(seed, 1))
		for i := range b {
			b[i] = byte(r.Uint32())
		}
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		b = b[:min(len(b), 1000)]
		choose := func(n int) int {
			if len(b) == 0 {
				return 0
			}
			i := int(b[0]) % n
			b = b[1:]
			return i
		}
		runModel(t, "this input", draws{}, choose, func() bool { return len(b) > 0 })
	})
}

// model is the server, the API, the callers, and what the documentation says
// of the Source between them.
type model struct {
	t      *testing.T
	name   string // how to run it again
	src    *authsec.Source
	api    *authsec.Transport
	cfg    authsec.Config
	choose func(n int) int
	draws  draws
	start  time.Time

	mu      sync.Mutex // guards what follows
	failed  bool
	trace   []string
	calls   []*modelCall
	history []service // what was in service, after each fetch; the last is now
	flight  *modelFetch

	// The server's state.
	token   service       // the delegation; text "": none
	ttl     time.Duration // that it tells in place of the token's expiry; 0: none
	moods   []mood        // of its next answers, in turn
	serial  int           // of tokens
	answers int
	open    []modelRequest  // of requests that are being answered
	refused map[string]bool // tokens that the API refuses

	// What a Source may do, as far as it is not in history.
	held          bounds // no fetch before, where there is no token: the last failure is remembered
	wish          bool   // the server's, not to be asked
	wished        bounds // until when
	heldStatus    int    // of the failure that is remembered
	streak        int    // failures in a row without a token
	streakDoubt   int    // that may be one more
	attempts      int    // to renew, of one token
	least, most   budget // of refusals: those that surely, and that possibly, caused a fetch
	forced        time.Time
	maybeForced   time.Time
	began         time.Time // the last fetch
	fetches       uint64
	failures      uint64
	renewals      uint64
	refusals      uint64
	lastSuccess   time.Time
	lastStatus    int  // of the latest failure
	lastFailed    bool // the latest fetch did
	landedAt      time.Time
	landedInstant int // fetches that ended at landedAt
}

// bounds of a moment that is drawn at random.
type bounds struct {
	lo, hi time.Time
	of     string // what is drawn; "": it is known already
}

// draws are the least and the greatest that were drawn, of what there was to
// draw from.
type draws map[string][2]float64

func (d draws) add(b bounds, drawn time.Time) {
	if b.of == "" || b.hi.Sub(b.lo) < 100*time.Millisecond {
		return
	}
	part := float64(drawn.Sub(b.lo)) / float64(b.hi.Sub(b.lo))
	so, ok := d[b.of]
	if !ok {
		so = [2]float64{part, part}
	}
	d[b.of] = [2]float64{min(so[0], part), max(so[1], part)}
}

// service is a token in service, or none.
type service struct {
	text   string
	expiry time.Time
	window time.Duration
	draw   time.Duration // how far into the window the first attempt may lie
	next   bounds        // of the next attempt to renew
	from   time.Time
	doubt  bool // whether it was dropped is not known
}

func (s service) good(now time.Time) bool { return s.text != "" && now.Before(s.expiry) }

// budget is of fetches that refusals cause: at once, 1 s later, then 2 s,
// doubling to 30 s, until there was no refusal for a minute.
type budget struct {
	last, next time.Time
	step       time.Duration
}

func (b *budget) note(now time.Time) {
	if now.Sub(b.last) >= time.Minute {
		b.step, b.next = 0, time.Time{}
	}
	b.last = now
}

func (b *budget) count(now time.Time) {
	b.step = min(max(time.Second, 2*b.step), 30*time.Second)
	b.next = now.Add(b.step)
}

type modelFetch struct {
	ctx      context.Context
	began    time.Time
	requests int
	last     modelOutcome
	refused  string // the token whose refusal may have caused it
	surely   bool   // and nothing else can have
}

// modelRequest is a request under way: its context, and its fetch's.
type modelRequest struct{ own, fetch context.Context }

// answered reports whether the server itself answered, which a 5xx does not say.
func (o modelOutcome) answered() bool { return o.status != 0 && o.status < 500 }

// modelOutcome is what a request to the endpoint came to.
type modelOutcome struct {
	at       time.Time
	status   int           // 0: no answer
	text     string        // of the token
	expiry   time.Time     // of the token
	ttl      bool          // which is told as a time to live
	asked    time.Duration // Retry-After, or the window
	askedMax time.Duration
	denied   bool // no delegation
}

// The callers.

type modelCall struct {
	kind                string // "Token", "Delegation", "API", "Renew"
	ctx                 context.Context
	cancel              context.CancelFunc
	ended               time.Time     // when ctx ended, or will; zero: not known
	refused             string        // by Renew
	anew                bool          // Renew(nil)
	shared, maybeShared bool          // the fetch that this refusal causes, with another's
	slow                time.Duration // that its context lets it wait
	began               time.Time
	status              [2]int // of the last failure and the one remembered, when it began
	since               int    // the last of history when it began
	fails               uint64
	done                bool
}

func (c *modelCall) String() string {
	switch {
	case c.anew:
		return "Renew(nil)"
	case c.refused != "":
		return c.kind + "(" + c.refused + ")"
	}
	return c.kind
}

// over reports whether the caller's own context has ended. A slow one never does.
func (c *modelCall) over() bool { return c.slow == 0 && c.ctx.Err() != nil }

// --- The invariants. Each holds mu.

// fetchBegins: a Source fetches when the documentation permits it.
func (m *model) fetchBegins(ctx context.Context) {
	now := time.Now()
	m.settle()
	m.fetches++
	m.log("fetch %d begins", m.fetches)
	m.resolve(m.src.Stats())
	if m.flight != nil {
		m.fail("a fetch began while another was under way: want one at a time")
	}
	cur := m.current()
	called, refusal, forced := false, false, false
	for _, c := range m.calls {
		called = called || c.kind != "Renew" && c.began.Equal(now) || c.slow > 0 && !c.done
		if c.done || c.kind != "Renew" && c.refused == "" {
			continue
		}
		called = called || !cur.good(now)
		refusal = refusal || c.refused != "" && c.refused == cur.text && cur.good(now) && !c.shared
		forced = forced || c.anew
	}
	// While the token is fresh, and after a failure, nobody's call starts one.
	ordinary := called && !now.Before(m.nextOrdinary().lo)
	// A refused token starts one, in bounds, and not against the server's wish.
	byRefusal := refusal && !now.Before(m.least.next) && !(m.wish && now.Before(m.wished.lo))
	// Renew(nil) starts one, once a second.
	byNil := forced && now.Sub(m.forced) >= time.Second
	switch {
	case ordinary || byRefusal || byNil:
	case !called && !refusal && !forced:
		m.fail("a fetch began while nobody called")
	case refusal:
		m.fail("a refusal caused a fetch %v too early (server's wish: %v)", m.least.next.Sub(now), m.wish)
	case forced:
		m.fail("Renew(nil) caused a fetch %v after the last, want a second at least", now.Sub(m.forced))
	default:
		m.fail("a fetch began %v too early (good token: %t, server's wish: %t)", m.nextOrdinary().lo.Sub(now), cur.good(now), m.wish)
	}
	m.began = now
	f := &modelFetch{ctx: ctx, began: now}
	if byRefusal {
		f.refused, f.surely = cur.text, !ordinary && !byNil
	}
	if refusal {
		m.most.count(now)
		if f.surely {
			m.least.count(now)
		}
	}
	if forced {
		m.maybeForced = now
		if !ordinary && !byRefusal {
			m.forced = now
		}
	}
	if cur.good(now) && !byRefusal && !byNil {
		if m.attempts++; m.attempts > 20 {
			m.fail("attempt %d to renew a token, want 20 in its window at most", m.attempts)
		}
	}
	m.flight = f
}

// requestBegins: a fetch repeats a request only where a fault may pass.
func (m *model) requestBegins(ctx context.Context) {
	m.settle()
	f := m.flight
	if f == nil {
		m.fail("a request to the endpoint outside of a fetch")
		return
	}
	for _, other := range m.open {
		if other.own.Err() == nil && other.fetch.Err() == nil {
			m.fail("two requests to the endpoint at once, want one")
		}
	}
	m.open = append(m.open, modelRequest{ctx, f.ctx})
	most := m.cfg.Retry.MaxAttempts
	if most == 0 {
		most = 4
	}
	if f.requests++; f.requests > most {
		m.fail("request %d of a fetch, want %d at most", f.requests, most)
	}
	if s := f.last.status; f.requests > 1 && s != 0 && (s < 500 || s > 504 || s == 501) {
		m.fail("a request was repeated after status %d", s)
	}
}

// settle takes account of a fetch that has ended: what it brought, and what
// follows from that.
func (m *model) settle() {
	f := m.flight
	if f == nil || f.ctx.Err() == nil {
		return
	}
	m.flight = nil
	out := f.last
	if f.ctx.Err() == context.DeadlineExceeded {
		deadline, _ := f.ctx.Deadline()
		out = modelOutcome{at: deadline}
	}
	if !out.at.Equal(m.landedAt) {
		m.landedInstant = 0
	}
	m.landedAt, m.landedInstant = out.at, m.landedInstant+1
	for _, c := range m.calls {
		// One fetch for all who were refused the same token.
		if !c.done && c.refused != "" && c.refused == f.refused {
			c.maybeShared, c.shared = true, c.shared || f.surely
		}
	}
	now, cur := out.at, m.current()
	good := cur.good(now)
	m.lastFailed = out.text == "" || !now.Before(out.expiry)
	switch {
	case !m.lastFailed:
		m.lastSuccess = now
		m.held, m.wish, m.streak, m.streakDoubt = bounds{}, false, 0, 0
		if good && cur.text == out.text {
			// The same token: asked for again a tenth of its window later.
			if out.ttl && !out.expiry.After(cur.expiry) || !out.ttl && !out.expiry.Equal(cur.expiry) { // a time to live does not begin anew
				cur.window, cur.expiry = m.window(out.expiry.Sub(now)), out.expiry
				cur.draw = cur.window / 2
			}
			cur.next = m.again(cur, now)
			break
		}
		if good {
			m.renewals++
		}
		// Another: in service until its expiry, fresh until its window.
		m.attempts = 0
		cur = service{text: out.text, expiry: out.expiry, window: m.window(out.expiry.Sub(now))}
		opens := cur.expiry.Add(-cur.window)
		cur.draw = cur.window / 2
		cur.next = bounds{opens, opens.Add(cur.draw), "first attempt"}
	default:
		m.failures++
		m.lastStatus = out.status
		told := bounds{now.Add(out.asked), now.Add(out.askedMax), "wait after 429"}
		withdrawn := out.denied && f.refused != "" && f.refused == cur.text
		dead := out.text != "" && out.text == cur.text // given out as past its expiry
		if good && !dead && !(withdrawn && f.surely) {
			// The token stays in use.
			cur.next, cur.doubt = m.again(cur, now), withdrawn
			if out.asked > 0 {
				m.held, m.wished, m.wish, m.heldStatus = told, told, true, out.status
				cur.next = bounds{later(cur.next.lo, told.lo), later(cur.next.hi, told.hi), ""}
			} else if out.answered() {
				m.held, m.wish = bounds{}, false
			}
			break
		}
		// Without one the failure is remembered.
		cur = service{}
		d := min(time.Second<<min(m.streak, 10), time.Minute)
		most := min(time.Second<<min(m.streak+m.streakDoubt, 10), time.Minute)
		m.streak++
		m.heldStatus = out.status
		if out.asked > 0 {
			m.held, m.wished, m.wish = told, told, true
		} else {
			before := m.wished
			m.held = bounds{now.Add(d / 2), now.Add(most * 3 / 2), "wait after a failure"}
			if m.wish = m.wish && now.Before(before.hi) && !out.answered(); m.wish {
				m.held = bounds{later(m.held.lo, before.lo), later(m.held.hi, before.hi), ""}
			}
		}
	}
	cur.from = now
	m.history = append(m.history, cur)
	m.log("fetch ended at %v with %d, token %q, failed %t", now.Sub(m.start), out.status, out.text, m.lastFailed)
}

// window is how long before its expiry a token is renewed.
func (m *model) window(life time.Duration) time.Duration {
	if m.cfg.RenewBefore > 0 {
		return min(m.cfg.RenewBefore, life)
	}
	return min(life/5, 5*time.Minute)
}

// again is when the next attempt follows: a tenth of the window later, give or
// take half, but not before the window.
func (m *model) again(cur service, now time.Time) bounds {
	step := max(cur.window/10, time.Second)
	opens := cur.expiry.Add(-cur.window)
	next := bounds{later(opens, now.Add(step/2)), later(opens.Add(cur.draw), now.Add(step*3/2)), ""}
	if !next.lo.Equal(opens) && opens.Add(cur.draw).Before(next.lo) {
		next.of = "next attempt"
	}
	return next
}

// nextOrdinary is when a call that refuses nothing may start a fetch.
func (m *model) nextOrdinary() bounds {
	cur := m.current()
	if !cur.good(time.Now()) {
		return m.held
	}
	if m.wish {
		return bounds{later(cur.next.lo, m.wished.lo), later(cur.next.hi, m.wished.hi), ""}
	}
	return cur.next
}

// gotToken: a token that a caller gets is good, and none that was replaced or
// dropped before the call.
func (m *model) gotToken(c *modelCall, text string) {
	now := time.Now()
	m.settle()
	m.log("%v got %s", c, text)
	known, good := false, false
	var expiry time.Time
	for _, s := range m.history[c.since:] {
		if s.text == text {
			known, good, expiry = true, good || s.good(now), s.expiry
		}
	}
	switch {
	case !known:
		m.fail("%v: got token %q, want one that was in service since the call", c, text)
	case !good:
		m.fail("%v: got token %s, %v past its expiry", c, text, now.Sub(expiry))
	}
	m.checkWait(c)
}

// checkExpiry: the expiry that a caller gets is the one that the server told.
func (m *model) checkExpiry(c *modelCall, text string, expiry time.Time) {
	for _, s := range m.history[c.since:] {
		if s.text == text && (s.expiry.Equal(expiry) || expiry.IsZero() && c.kind == "Delegation") {
			return
		}
	}
	m.fail("%v: got a token that expires at %v, want what the server told", c, expiry.Sub(m.start))
}

// gotError: a call fails only where there is no token, or its context ended;
// Renew fails as its fetch did.
func (m *model) gotError(c *modelCall, err error) {
	now := time.Now()
	m.settle()
	m.log("%v got error ...%s", c, err.Error()[max(0, len(err.Error())-40):])
	m.checkWait(c)
	if c.over() && (errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded)) {
		return
	}
	if m.served(c) && (c.kind != "Renew" || c.refused != "" && !m.inService(c)) {
		m.fail("%v: got error %v, while a token is good", c, err)
	}
	cur := m.current()
	if m.served(c) && m.failures == c.fails {
		m.fail("%v: got error %v, though no fetch has failed", c, err)
	}
	if c.kind != "Renew" && cur.good(now) && !cur.doubt && cur.from.Before(now) {
		m.fail("%v: got error %v, while a token is good", c, err)
	}
	var e *authsec.Error
	if !errors.As(err, &e) {
		m.fail("%v: got a %T: %v, want an *authsec.Error", c, err, err)
	} else if allowed := []int{m.lastStatus, m.heldStatus, c.status[0], c.status[1]}; !slices.Contains(allowed, e.StatusCode) && m.landedInstant < 2 {
		m.fail("%v: got status %d, want that of the last failure or of the one remembered: %d", c, e.StatusCode, allowed)
	}
}

// inService reports whether the token that the call refuses was in service
// since it began.
func (m *model) inService(c *modelCall) bool {
	return slices.ContainsFunc(m.history[c.since:], func(s service) bool { return s.text == c.refused })
}

// served reports whether a good token was in service all through the call.
func (m *model) served(c *modelCall) bool {
	now := time.Now()
	for _, s := range m.history[c.since:] {
		if s.text == "" || s.doubt {
			return false
		}
	}
	return m.history[c.since].good(c.began) && m.current().good(now)
}

// checkWait: who can have a good token does not wait, nobody waits longer than a
// fetch takes, nor than its own context.
func (m *model) checkWait(c *modelCall) {
	now := time.Now()
	took, most := max(0, now.Sub(c.began)-c.slow), m.timeout()
	if c.kind == "Renew" {
		most *= 2 // for the end of one fetch, and another
	} else if c.refused != "" {
		most *= 3 // and for the first token
	}
	first := m.history[c.since]
	dropped := false
	for _, s := range m.history[c.since:] {
		dropped = dropped || (s.text == "" || s.doubt) && s.from.Equal(c.began)
	}
	free := c.refused == "" && !c.anew || c.kind == "Renew" && c.refused != "" && !m.inService(c)
	if first.good(c.began) && !dropped && free && took != 0 {
		m.fail("%v: took %v with a good token in hand, want 0s", c, took)
	}
	if took > most {
		m.fail("%v: took %v, want %v at most", c, took, most)
	}
	if !c.ended.IsZero() && now.After(later(c.ended, c.began).Add(c.slow)) {
		m.fail("%v: returned %v after its context's end", c, now.Sub(c.ended))
	}
}

// callEnds: Renew has asked the server, with a fetch that began since, as far as
// it may.
func (m *model) callEnds(c *modelCall, err error) {
	c.done = true
	if c.over() || !m.began.Before(c.began) {
		return
	}
	if c.anew && !m.maybeForced.Add(time.Second).After(c.began) {
		m.fail("Renew(nil) returned (error: %v), and no fetch began since it was called", err)
	}
	now, cur := time.Now(), m.current()
	if c.kind == "Renew" && m.served(c) && c.refused == m.history[c.since].text && c.refused == cur.text && !c.maybeShared && !now.Before(m.most.next) && !(m.wish && now.Before(m.wished.hi)) {
		m.fail("%v returned (error: %v), and no fetch began since it was called", c, err)
	}
}

// resolve finds out whether a token was dropped, where the documentation leaves
// it open: a fetch that a refusal, but something else as well, can have caused.
func (m *model) resolve(stats authsec.Stats) {
	cur := &m.history[len(m.history)-1]
	if !cur.doubt {
		return
	}
	first := cur.from.Add(time.Second * 3 / 2) // of a failure that is remembered
	switch now := time.Now(); {
	case cur.good(now) && stats.Expiry.IsZero():
		m.streak, m.held, m.wish, m.heldStatus = 1, bounds{first.Add(-time.Second), first, ""}, false, m.lastStatus
		*cur = service{from: cur.from}
	case !cur.good(now):
		m.held.hi, m.streakDoubt = later(m.held.hi, first), 1
	}
	cur.doubt = false
}

// checkStats: Stats tell what has happened, and when the next fetch may be.
// Nothing else goes on when it is called.
func (m *model) checkStats() {
	now := time.Now()
	got := m.src.Stats()
	m.mu.Lock()
	defer m.mu.Unlock()
	m.settle()
	m.resolve(got)
	cur := &m.history[len(m.history)-1]
	wantExpiry := time.Time{}
	if cur.good(now) {
		wantExpiry = cur.expiry
	}
	want := authsec.Stats{Fetches: m.fetches, Failures: m.failures, Renewals: m.renewals, Refusals: m.refusals, Expiry: wantExpiry, LastSuccess: m.lastSuccess}
	if got.Fetches != want.Fetches || got.Failures != want.Failures || got.Renewals != want.Renewals || got.Refusals != want.Refusals ||
		!got.Expiry.Equal(want.Expiry) || !got.LastSuccess.Equal(want.LastSuccess) {
		m.fail("Stats: got %+v, want %+v", got, want)
	}
	if (got.LastError != nil) != m.lastFailed {
		m.fail("Stats.LastError: got %v, want an error: %t", got.LastError, m.lastFailed)
	}
	var e *authsec.Error
	if m.lastFailed && (!errors.As(got.LastError, &e) || e.StatusCode != m.lastStatus) {
		m.fail("Stats.LastError: got %v, want status %d", got.LastError, m.lastStatus)
	}
	next, want2 := got.NextFetch, m.nextOrdinary()
	switch {
	case m.flight != nil:
		if !next.IsZero() {
			m.fail("Stats.NextFetch: got %v from now while a fetch is under way, want none", next.Sub(now))
		}
	case next.IsZero() && (cur.good(now) || now.Before(want2.lo)):
		m.fail("Stats.NextFetch: got none, want %v to %v from now", want2.lo.Sub(now), want2.hi.Sub(now))
	case next.IsZero():
		if !cur.good(now) {
			m.held = bounds{}
		}
	case next.Before(want2.lo) || next.After(want2.hi):
		m.fail("Stats.NextFetch: got %v from now, want %v to %v", next.Sub(now), want2.lo.Sub(now), want2.hi.Sub(now))
	case cur.good(now):
		m.draws.add(cur.next, next)
		cur.next = bounds{lo: next, hi: next} // from now on it is known
		if m.wish && m.wished.hi.After(next) {
			m.wished.hi = next
		}
	default:
		m.draws.add(m.held, next)
		if m.wish && m.wished == m.held {
			m.wished = bounds{lo: next, hi: next}
		}
		m.held = bounds{lo: next, hi: next}
	}
}

// --- The server and the API.

// mood is how the server answers a request.
type mood struct {
	kind    string
	latency time.Duration
	n       int // which of its kind's values
}

var (
	// Most are such that a token comes, or there is a good reason that it does not.
	modelMoods = []string{"token", "token", "token", "token", "token", "token", "none", "none", "unknown", "expired", "limited", "limited", "wait", "wait",
		"page", "no token", "stale", "400", "401", "403", "404 page", "410 page", "500", "502", "503", "504", "503 wait", "reset", "hang"}
	modelLatencies = []time.Duration{0, 0, 0, 0, time.Millisecond, 300 * time.Millisecond, 2 * time.Second, 9 * time.Second, 11 * time.Second, 40 * time.Second}
	modelWindows   = []time.Duration{0, 10 * time.Second, time.Minute, 5 * time.Minute}
	modelWaits     = []time.Duration{time.Second, 7 * time.Second, 61 * time.Second, 5 * time.Minute}
	modelLives     = []time.Duration{10 * time.Second, 11 * time.Second, time.Minute, 5 * time.Minute, 26 * time.Minute, time.Hour, 24 * time.Hour}
	modelPauses    = []time.Duration{1, time.Millisecond, 400 * time.Millisecond, time.Second, 5 * time.Second, 31 * time.Second, time.Minute, 10 * time.Minute, time.Hour, 5 * time.Hour}
)

// answer is what the server says now in this mood. mu is held.
func (m *model) answer(a mood) (out modelOutcome, body string, header http.Header) {
	now := time.Now()
	header = http.Header{"Date": {now.UTC().Format(http.TimeFormat)}}
	if a.kind == "token" {
		switch {
		case m.token.text == "":
			a.kind = "none"
		case !now.Before(m.token.expiry):
			a.kind, m.token = "expired", service{} // the next one is told that there is none
		}
	}
	said := func(status int, text string) { out.status, body = status, text }
	switch a.kind {
	case "token":
		out.text, out.expiry, out.ttl = m.token.text, m.token.expiry, m.ttl > 0
		said(200, fmt.Sprintf(`{"token":%q,"spiffe_id":"spiffe://model/%[1]s","expires_at":%q}`, out.text, out.expiry.Format(time.RFC3339Nano)))
		if out.ttl {
			out.expiry = now.Add(m.ttl)
			said(200, fmt.Sprintf(`{"token":%q,"spiffe_id":"spiffe://model/%[1]s","ttl_seconds":%d}`, out.text, int(m.ttl.Seconds())))
		}
	case "stale":
		out.text, out.expiry = "stale", now.Add(-time.Second)
		if m.token.text != "" {
			out.text = m.token.text
		}
		said(200, fmt.Sprintf(`{"token":%q,"expires_at":%q}`, out.text, out.expiry.Format(time.RFC3339Nano)))
	case "page":
		said(200, "<html>Welcome</html>")
	case "no token":
		said(200, `{"status":"active","ttl_seconds":3600}`)
	case "none":
		said(404, `{"error":"No active delegation token found"}`)
		out.denied = true
	case "expired":
		said(410, `{"error":"Delegation token has expired"}`)
		out.denied = true
	case "unknown":
		said(404, `{"error":"Client not found"}`)
	case "400":
		said(400, `{"error":"Invalid client_id format"}`)
	case "limited":
		window := modelWindows[a.n%len(modelWindows)]
		said(429, fmt.Sprintf(`{"error":"Rate limit exceeded","window":%q}`, window))
		if window == 0 {
			window = time.Minute
			said(429, "")
		}
		out.asked, out.askedMax = window, 2*window
	case "wait", "503 wait":
		said(429, `{"error":"Rate limit exceeded","window":"1m0s"}`)
		if a.kind != "wait" {
			said(503, "<html></html>")
		}
		out.asked = modelWaits[a.n%len(modelWaits)]
		out.askedMax = out.asked
		header.Set("Retry-After", fmt.Sprint(int(out.asked.Seconds())))
	case "reset", "hang":
	default: // a status, and a proxy's page
		fmt.Sscan(a.kind, &out.status)
		body = "<html>error</html>"
	}
	return out, body, header
}

// RoundTrip is the endpoint.
func (m *model) RoundTrip(req *http.Request) (*http.Response, error) {
	m.mu.Lock()
	m.requestBegins(req.Context())
	a := m.moods[m.answers%len(m.moods)]
	m.answers++
	f := m.flight
	out, body, header := m.answer(a)
	m.mu.Unlock()
	latency := time.After(a.latency + 3) // never at the moment of a time-out
	switch {
	case a.kind == "hang":
		<-req.Context().Done()
	case a.latency > 0:
		select {
		case <-latency:
		case <-req.Context().Done():
		}
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.open = slices.DeleteFunc(m.open, func(r modelRequest) bool { return r.own == req.Context() })
	err := req.Context().Err()
	if err == nil && a.kind == "reset" {
		err = io.ErrUnexpectedEOF
	}
	if err != nil {
		out = modelOutcome{}
	}
	out.at = time.Now()
	m.log("server: %s, status %d %s", a.kind, out.status, out.text)
	if f != nil {
		f.last = out
	}
	if err != nil {
		return nil, err
	}
	return &http.Response{StatusCode: out.status, Header: header, Body: io.NopCloser(strings.NewReader(body)), Request: req}, nil
}

// TokenContext is the Credential, which is asked once for each fetch.
func (m *model) TokenContext(ctx context.Context) (*oauth2.Token, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.fetchBegins(ctx)
	return &oauth2.Token{AccessToken: "caller"}, nil
}

func (m *model) Token() (*oauth2.Token, error) {
	return nil, errors.New("want TokenContext to be called")
}

type modelCallKey struct{}

// serveAPI refuses some tokens, and checks all that it is sent.
func (m *model) serveAPI(req *http.Request) (*http.Response, error) {
	c := req.Context().Value(modelCallKey{}).(*modelCall)
	text := strings.TrimPrefix(req.Header.Get("Authorization"), "Bearer ")
	m.mu.Lock()
	defer m.mu.Unlock()
	m.gotToken(c, text)
	status := 200
	if m.refused[text] {
		if status = 401; c.refused == "" {
			c.refused = text
			m.refuse()
		}
	}
	return &http.Response{StatusCode: status, Header: http.Header{}, Body: http.NoBody, Request: req}, nil
}

// --- The sequence.

func runModel(t *testing.T, name string, drawn draws, choose func(n int) int, more func() bool) {
	synctest.Test(t, func(t *testing.T) {
		m := &model{t: t, name: name, choose: choose, draws: drawn, start: time.Now(), history: []service{{}}, moods: []mood{{kind: "token"}}, refused: map[string]bool{}}
		m.cfg = authsec.Config{
			BaseURL: "https://authsec.test", ClientID: authsectest.ClientID, Credential: m, HTTPClient: &http.Client{Transport: m}, FailFast: true,
			RenewBefore:  pick(choose, []time.Duration{0, 0, 1, time.Second, time.Minute, time.Hour, 48 * time.Hour}),
			FetchTimeout: pick(choose, []time.Duration{0, time.Second, 5 * time.Second, 45 * time.Second}),
			Retry:        pick(choose, []authsec.RetryPolicy{{}, {MaxAttempts: 1}, {MaxAttempts: 2, MinBackoff: time.Millisecond}, {MaxAttempts: 6, MinBackoff: time.Second, MaxBackoff: 20 * time.Second}}),
		}
		var err error
		if m.src, err = authsec.NewSource(m.cfg); err != nil {
			t.Fatalf("NewSource: got error %v, want none", err)
		}
		m.api = &authsec.Transport{Source: m.src, Base: sourceRoundTripper(m.serveAPI), Hosts: []string{"api.test"}, Retry: authsec.RetryPolicy{MaxAttempts: 1}}
		m.log("RenewBefore %v, FetchTimeout %v, %+v", m.cfg.RenewBefore, m.cfg.FetchTimeout, m.cfg.Retry)
		m.delegate()
		for more() && !m.t.Failed() {
			m.step()
		}
		m.mu.Lock()
		for _, c := range m.calls {
			m.end(c)
		}
		m.mu.Unlock()
		m.pass(3*m.timeout() + time.Second)
		m.mu.Lock()
		for _, c := range m.calls {
			if !c.done {
				m.fail("%v has not returned, %v after its call", c, time.Since(c.began))
			}
		}
		if m.flight != nil || len(m.open) != 0 {
			m.fail("fetch under way: %t, requests: %d; want none, %v after the last call", m.flight != nil, len(m.open), 3*m.timeout())
		}
		m.mu.Unlock()
		m.pass(48 * time.Hour) // in which nobody calls
	})
}

func pick[T any](choose func(n int) int, from []T) T { return from[choose(len(from))] }

// step does one thing, or a few, and lets it settle.
func (m *model) step() {
	switch m.choose(12) {
	case 0, 1, 2:
		m.burst(1 + m.choose(4))
	case 3: // a crowd, of which some see what others have changed
		m.burst(pick(m.choose, []int{1, 1, 1, 30}))
	case 4:
		m.pass(pick(m.choose, modelPauses))
	case 5, 6: // before, at or after a moment at which something changes
		moment := pick(m.choose, m.moments()).Add(time.Duration(m.choose(3) - 1))
		m.pass(max(0, time.Until(moment)))
		m.burst(1)
	case 7: // poll, as an agent at work does
		window := m.windowNow()
		every := pick(m.choose, []time.Duration{window / 40, window / 15, 300 * time.Millisecond, time.Second, 20 * time.Second})
		for range 1 + m.choose(40) {
			m.burst(1)
			m.pass(every)
		}
	default:
		m.change()
		m.pass(0)
	}
}

// moments are those at which something changes.
func (m *model) moments() []time.Time {
	next := m.src.Stats().NextFetch
	m.mu.Lock()
	defer m.mu.Unlock()
	cur, ordinary := m.current(), m.nextOrdinary()
	return []time.Time{cur.expiry, cur.expiry.Add(-cur.window), ordinary.lo, ordinary.hi, m.held.lo, m.held.hi, m.least.next, next, m.forced.Add(time.Second)}
}

func (m *model) windowNow() time.Duration {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.current().window
}

// change changes what the server or the API says, or ends a call.
func (m *model) change() {
	m.mu.Lock()
	defer m.mu.Unlock()
	switch m.choose(4) {
	case 0, 1:
		m.moods = nil
		for range 1 + m.choose(2) {
			m.moods = append(m.moods, mood{pick(m.choose, modelMoods), pick(m.choose, modelLatencies), m.choose(4)})
		}
		m.log("moods %v", m.moods)
	case 2:
		switch m.choose(4) {
		case 0:
			m.token = service{}
			m.log("revoked")
		case 1: // the same token, for another time
			if m.token.text != "" && m.ttl == 0 {
				m.token.expiry = time.Now().Add(pick(m.choose, modelLives))
				m.log("expiry changed to %v", m.token.expiry.Sub(m.start))
			}
		default:
			m.delegate()
		}
	case 3:
		if m.choose(2) == 0 {
			m.refused[m.current().text] = true
			m.log("the API refuses %s", m.current().text)
		} else if len(m.calls) > 0 {
			m.end(pick(m.choose, m.calls))
		}
	}
}

// pass lets time pass, and checks what it brought.
func (m *model) pass(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
	m.checkStats()
}

func (m *model) end(c *modelCall) {
	if c.cancel != nil && c.slow == 0 && !c.done && (c.ended.IsZero() || c.ended.After(time.Now())) {
		m.log("%v is cancelled", c)
		c.ended = time.Now()
		c.cancel()
	}
}

func (m *model) delegate() {
	m.serial++
	life := pick(m.choose, modelLives)
	m.token, m.ttl = service{text: fmt.Sprint("T", m.serial), expiry: time.Now().Add(life)}, 0
	if m.choose(3) == 0 {
		m.ttl = life
	}
	m.log("delegated %s for %v, time to live: %v", m.token.text, life, m.ttl)
}

func (m *model) refuse() {
	m.refusals++
	m.least.note(time.Now())
	m.most.note(time.Now())
}

// burst makes n calls at once, and checks that those fetch which have to.
func (m *model) burst(n int) {
	next := m.src.Stats().NextFetch
	m.mu.Lock()
	now, cur, before, idle := time.Now(), m.current(), m.fetches, m.flight == nil
	due := idle && (next.IsZero() || !now.Before(next))
	must := ""
	m.calls = slices.DeleteFunc(m.calls, func(c *modelCall) bool { return c.done && c.began.Before(now) })
	for range n {
		c := &modelCall{kind: pick(m.choose, []string{"Token", "Token", "Token", "Delegation", "API", "Renew", "Renew"}), ctx: context.Background(), began: now, since: len(m.history) - 1, fails: m.failures, status: [2]int{m.lastStatus, m.heldStatus}}
		fetches := due
		if c.kind == "Renew" {
			switch m.choose(4) {
			case 0:
				c.anew = true
				fetches = idle && now.Sub(m.maybeForced) >= time.Second
			case 1:
				c.refused = fmt.Sprint("T", 1+m.choose(m.serial))
			default:
				if c.refused = cur.text; c.refused == "" {
					c.refused = "unknown"
				}
			}
			if c.refused != "" {
				m.refuse()
			}
			if c.refused != "" && cur.good(now) {
				fetches = idle && c.refused == cur.text && !now.Before(m.most.next) && !(m.wish && now.Before(m.wished.hi))
			}
		}
		if c.kind != "API" {
			m.limit(c)
		}
		if fetches && c.slow == 0 && !c.over() {
			must = c.String()
		}
		m.log("%v begins", c)
		m.calls = append(m.calls, c)
		go m.call(c)
	}
	m.mu.Unlock()
	synctest.Wait()
	m.mu.Lock()
	if must != "" && m.fetches == before {
		m.fail("%s: got no fetch, want one (NextFetch was %v from now)", must, next.Sub(now))
	}
	m.mu.Unlock()
	m.checkStats()
}

// limit gives the call a context of its own, or not.
func (m *model) limit(c *modelCall) {
	switch m.choose(8) {
	case 3:
		if c.refused == "" {
			c.slow, c.cancel = time.Millisecond, func() {}
			c.ctx = &slowContext{Context: c.ctx, d: c.slow}
		}
	case 0:
		d := pick(m.choose, modelPauses)
		c.ctx, c.cancel = context.WithTimeout(c.ctx, d)
		c.ended = c.began.Add(d)
	case 1:
		c.ctx, c.cancel = context.WithCancel(c.ctx)
	case 2:
		if c.kind != "Renew" { // which may, or may not, have been told
			c.ctx, c.cancel = context.WithCancel(c.ctx)
			c.cancel()
			c.ended = c.began
		}
	}
}

// slowContext lets time pass when it is first asked whether it has ended: others
// overtake its call, which has seen by then what was in service.
type slowContext struct {
	context.Context
	d     time.Duration
	asked atomic.Bool
}

func (c *slowContext) Err() error {
	if !c.asked.Swap(true) {
		time.Sleep(c.d)
	}
	return c.Context.Err()
}

func (m *model) call(c *modelCall) {
	text, expiry := "", time.Time{}
	var token *oauth2.Token
	var err error
	switch c.kind {
	case "Token":
		if c.cancel == nil {
			token, err = m.src.Token()
		} else {
			token, err = m.src.TokenContext(c.ctx)
		}
	case "Renew":
		rejected := &oauth2.Token{AccessToken: c.refused}
		if c.anew {
			rejected = nil
		}
		token, err = m.src.Renew(c.ctx, rejected)
	case "Delegation":
		var d *authsec.Delegation
		if d, err = m.src.Delegation(c.ctx); err == nil {
			text, expiry = strings.TrimPrefix(d.SPIFFEID, "spiffe://model/"), d.ExpiresAt
		}
	case "API":
		var req *http.Request
		if req, err = http.NewRequestWithContext(context.WithValue(c.ctx, modelCallKey{}, c), http.MethodGet, "https://api.test/", nil); err == nil {
			_, err = m.api.RoundTrip(req)
		}
	}
	if token != nil {
		text, expiry = token.AccessToken, token.Expiry
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	switch {
	case err != nil:
		m.gotError(c, err)
	case c.kind != "API":
		m.gotToken(c, text)
		m.checkExpiry(c, text, expiry)
	}
	m.callEnds(c, err)
}

func (m *model) timeout() time.Duration {
	if m.cfg.FetchTimeout == 0 {
		return 30 * time.Second
	}
	return m.cfg.FetchTimeout
}

func (m *model) current() service { return m.history[len(m.history)-1] }

func (m *model) log(format string, args ...any) {
	m.trace = append(m.trace, fmt.Sprintf("%15v  ", time.Since(m.start))+fmt.Sprintf(format, args...))
	if len(m.trace) > modelTrace {
		m.trace = m.trace[1:]
	}
}

// fail reports the first failure, with what led to it.
func (m *model) fail(format string, args ...any) {
	if !m.failed {
		m.failed = true
		m.t.Errorf("%s: %s\n%s", m.name, fmt.Sprintf(format, args...), strings.Join(m.trace, "\n"))
	}
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}
