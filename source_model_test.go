// Copyright 2026 The authsec Authors
// SPDX-License-Identifier: Apache-2.0

package authsec_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/authsec-go/authsec"
	"github.com/authsec-go/authsec/authsectest"
	"golang.org/x/oauth2"
)

// A Source and a Transport meet random sequences of calls, answers, delegations
// and time. What the model checks:
//
//   - Nobody gets a token past its expiry, and none is sent.
//   - A call with a good token takes no time. The others end within bounds.
//   - One request to the endpoint at a time, and few in a burst of calls.
//   - No request before the server's Retry-After, except by Refresh.
//   - Errors are *Error, or the end of the caller's own context.
//   - Once the server and the delegation are well again, a request succeeds soon.
//   - No goroutine is left, and no log has a secret.
const (
	modelSeeds = 80
	modelSteps = 60

	modelFetch  = 30 * time.Second // Config.FetchTimeout
	modelCached = 90 * time.Second // the longest that a failure without Retry-After is cached
	modelBudget = 30 * time.Second // the longest step of a budget

	// modelBurst bounds the fetches in a burst of 20 s: 5 by the rejections of an API and
	// 5 by those of Renew (at 0, 1, 3, 7 and 15 s), and 7 without a token (waits of 1, 2,
	// 4, 8 and 16 s, -50 %, and one after a token has ended). modelRenewals are more
	// where a token is in its window: one each second, -50 %.
	modelBurst    = 5 + 5 + 7
	modelRenewals = 40
)

func TestSourceModel(t *testing.T) {
	for seed := range uint64(modelSeeds) {
		r, left := rand.New(rand.NewPCG(seed, 0)), modelSteps
		if !t.Run(fmt.Sprint(seed), func(t *testing.T) {
			runModel(t, r.IntN, func() bool { left--; return left >= 0 })
		}) {
			return // the next seeds would find the same
		}
	}
}

// The Source's jitter changes coverage: run this with -fuzzminimizetime=1x.
func FuzzSource(f *testing.F) {
	for seed := range uint64(5) {
		b, r := make([]byte, 200), rand.New(rand.NewPCG(seed, 1))
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
		runModel(t, choose, func() bool { return len(b) > 0 })
	})
}

// model is what is known of the server and the callers.
type model struct {
	*sourceFixture
	choose func(n int) int // from [0, n)
	client *http.Client    // of the API
	calls  sync.WaitGroup
	trace  []string
	quiet  bool // nothing is added to trace

	mut        sync.Mutex           // guards what follows
	expiry     map[string]time.Time // of tokens
	seen       []*oauth2.Token      // that callers got, the latest last
	open       context.Context      // of the request to the endpoint that is under way
	refreshing int                  // calls of Refresh that are under way
	least      time.Time            // the server accepts no request before
	most       time.Time            // and accepts them from then on
}

func runModel(t *testing.T, choose func(n int) int, more func() bool) {
	sourceBubble(t, func(t *testing.T, x *sourceFixture) {
		m := &model{sourceFixture: x, choose: choose, expiry: map[string]time.Time{}}
		defer func() {
			if t.Failed() {
				t.Logf("the last steps:\n%s", strings.Join(m.trace[max(0, len(m.trace)-40):], "\n"))
			}
		}()
		x.start(func(c *authsec.Config) { c.Retry.MaxAttempts = m.choose(2) * 3 }, through(m.endpoint)) // 0: 4
		api := authsectest.RoundTripper(x.srv.API(nil))
		m.client = &http.Client{Transport: to(x.src, baseFunc(func(req *http.Request) (*http.Response, error) {
			m.checkFresh("sent", strings.TrimPrefix(req.Header.Get("Authorization"), "Bearer "))
			return api.RoundTrip(req)
		}))}
		for more() && !t.Failed() {
			m.step()
		}
		m.heal()
		m.calls.Wait()
	})
}

// step does one thing, and perhaps lets time pass.
func (m *model) step() {
	switch m.choose(16) {
	case 0:
		m.mood()
	case 1:
		m.admin()
	case 2:
		m.refresh(1)
		m.call("Refresh", 0, 2*modelFetch, func(ctx context.Context) (*oauth2.Token, error) {
			defer m.refresh(-1)
			return m.src.Refresh(ctx)
		})
	case 3:
		m.renew(m.choose(3) > 0, m.within())
	case 4:
		m.get(m.within())
	case 5:
		m.burst()
	default:
		m.token(m.within())
	}
	if m.choose(3) > 0 {
		m.pass([]time.Duration{
			time.Nanosecond, 10 * time.Millisecond, 300 * time.Millisecond, time.Second, 3 * time.Second,
			10 * time.Second, 40 * time.Second, 2 * time.Minute,
		}[m.choose(8)])
	}
}

func (m *model) pass(d time.Duration) {
	m.log("%v pass", d)
	m.sleep(d)
}

func (m *model) log(format string, args ...any) {
	if m.quiet {
		return
	}
	m.trace = append(m.trace, time.Now().Format("15:04:05.000 ")+fmt.Sprintf(format, args...))
}

// mood has the server answer otherwise from now on.
func (m *model) mood() {
	hang := http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() })
	drop := http.HandlerFunc(func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) })
	moods := []struct {
		name   string
		answer http.Handler
	}{
		{"well", nil}, {"well", nil}, {"well", nil}, {"404", sourceNoDelegation}, {"404 no client", sourceNoClient}, {"410", sourceExpired},
		{"429", sourceLimited}, {"429, 100 s", limited}, {"429, 0 s", authsectest.Answer(429, "", "Retry-After", "0")},
		{"500", sourceServerError}, {"503, 5 s", authsectest.Answer(503, "", "Retry-After", "5")}, {"503, 120 s", authsectest.Answer(503, "", "Retry-After", "120")},
		{"401", authsectest.Answer(401, `{"error":"unauthorized"}`)}, {"hanging", hang}, {"dropping connections", drop},
		{"garbage", authsectest.Answer(200, `{"token":`)}, {"another server's", authsectest.Answer(404, "<html>")},
	}
	mood := moods[m.choose(len(moods))]
	latency := []time.Duration{0, 0, 100 * time.Millisecond, 3 * time.Second}[m.choose(4)]
	m.log("the server is %s, with latency %v", mood.name, latency)
	m.srv.Fail(mood.answer)
	m.srv.SetLatency(latency)
}

// admin revokes, or delegates, or both.
func (m *model) admin() {
	what := m.choose(4)
	if what < 2 {
		m.log("an admin revokes")
		m.srv.Revoke(authsectest.ClientID)
	}
	if what > 0 {
		m.delegateFor([]time.Duration{10 * time.Second, time.Minute, 5 * time.Minute, time.Hour}[m.choose(4)])
	}
}

func (m *model) delegateFor(ttl time.Duration) {
	name := fmt.Sprint("token ", len(m.names)+1)
	m.sleep(time.Until(time.Now().Truncate(time.Second).Add(time.Second))) // nobody runs now
	m.delegateNow(name, ttl)
	m.log("an admin delegates %s for %v", name, ttl)
	m.mut.Lock()
	defer m.mut.Unlock()
	for token, n := range m.names {
		if n == name {
			m.expiry[token] = time.Now().Add(ttl)
		}
	}
}

// burst makes calls every 200 ms for 20 s.
func (m *model) burst() {
	m.log("a burst of calls")
	m.mut.Lock()
	most, renewals := modelBurst+2*m.refreshing, 0
	for _, expiry := range m.expiry {
		if left := time.Until(expiry); left > 0 && left < 6*time.Minute {
			renewals = modelRenewals
		}
	}
	m.mut.Unlock()
	m.quiet = true
	before := m.src.Stats().Fetches
	for range 100 {
		m.token(0)
		m.renew(true, 0)
		m.get(0)
		m.sleep(200 * time.Millisecond)
	}
	m.quiet = false
	if got := m.src.Stats().Fetches - before; got > uint64(most+renewals) {
		m.Errorf("a burst of 20 s caused %d fetches, want %d at most", got, most+renewals)
	}
}

// within is how long a call waits; 0: it has no deadline.
func (m *model) within() time.Duration {
	return []time.Duration{0, 0, 0, 50 * time.Millisecond, 5 * time.Second, 5 * time.Minute}[m.choose(6)]
}

// renew has a token rejected that a caller got: the latest, or another.
func (m *model) renew(latest bool, within time.Duration) {
	m.mut.Lock()
	n := len(m.seen) - 1
	if n > 0 && !latest {
		n = m.choose(n)
	}
	var rejected *oauth2.Token
	if n >= 0 {
		rejected = m.seen[n]
	}
	m.mut.Unlock()
	if rejected == nil {
		return
	}
	m.call("Renew of "+m.name(rejected), within, 2*modelFetch, func(ctx context.Context) (*oauth2.Token, error) {
		return m.src.Renew(ctx, rejected)
	})
}

// get sends a request to the API. A 401 costs two waits more.
func (m *model) get(within time.Duration) {
	m.call("request", within, 3*modelFetch, func(ctx context.Context) (*oauth2.Token, error) {
		_, err := m.request(ctx)
		return nil, err
	})
}

// token calls Token. With a good token in service, that takes no time.
func (m *model) token(within time.Duration) {
	synctest.Wait()
	if m.src.Stats().Expiry.After(time.Now()) {
		began := time.Now()
		token, err := m.src.Token()
		m.result("Token", began, 0, nil, token, err)
		return
	}
	m.call("Token", within, modelFetch, m.src.TokenContext)
}

// call makes a call in a goroutine. Without a deadline it takes at most limit.
func (m *model) call(name string, within, limit time.Duration, f func(context.Context) (*oauth2.Token, error)) {
	ctx, cancel := context.WithCancel(m.Context())
	if within > 0 {
		ctx, cancel = context.WithTimeout(m.Context(), within)
		limit = within
	}
	m.log("%s, within %v", name, within)
	began := time.Now()
	m.calls.Go(func() {
		defer cancel()
		token, err := f(ctx)
		m.result(name, began, limit, ctx.Err(), token, err)
	})
}

// result checks what a call led to.
func (m *model) result(name string, began time.Time, limit time.Duration, ended error, token *oauth2.Token, err error) {
	if took := time.Since(began); took > limit {
		m.Errorf("%s took %v, want %v at most", name, took, limit)
	}
	if token != nil {
		m.checkFresh(name+" gave", token.AccessToken)
		m.mut.Lock()
		m.seen = append(m.seen, token)
		m.mut.Unlock()
	}
	switch byContext := errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled); {
	case byContext && ended == nil:
		m.Errorf("%s: got error %v, but its own context has not ended", name, err)
	case err != nil && !byContext && !errors.As(err, new(*authsec.Error)):
		m.Errorf("%s: got %T %v, want an *authsec.Error", name, err, err)
	}
}

func (m *model) checkFresh(what, token string) {
	m.mut.Lock()
	defer m.mut.Unlock()
	if expiry := m.expiry[token]; !time.Now().Before(expiry) {
		m.Errorf("%s: got %s %v after its expiry", what, m.name(&oauth2.Token{AccessToken: token}), time.Since(expiry))
	}
}

// request sends a request to the API.
func (m *model) request(ctx context.Context) (status int, err error) {
	resp, err := m.client.Do(get(m, api).WithContext(ctx))
	if err != nil {
		return 0, err
	}
	defer resp.Body.Close()
	_, err = io.Copy(io.Discard, resp.Body)
	return resp.StatusCode, err
}

func (m *model) refresh(n int) {
	m.mut.Lock()
	defer m.mut.Unlock()
	m.refreshing += n
}

// endpoint checks when requests come, and what the server wants of the next.
func (m *model) endpoint(req *http.Request, next http.RoundTripper) (*http.Response, error) {
	m.mut.Lock()
	now := time.Now()
	if m.open != nil && m.open.Err() == nil {
		m.Error("got a second request while one is under way, want one at a time")
	}
	m.open = req.Context()
	if m.refreshing == 0 && now.Before(m.least) {
		m.Errorf("got a request %v before the server accepts one", m.least.Sub(now))
	}
	m.mut.Unlock()

	resp, err := next.RoundTrip(req)

	m.mut.Lock()
	defer m.mut.Unlock()
	if m.open == req.Context() {
		m.open = nil
	}
	if err != nil {
		return nil, err
	}
	seconds, _ := time.ParseDuration(resp.Header.Get("Retry-After") + "s")
	now = time.Now()
	switch {
	case seconds > 0:
		m.least, m.most = now.Add(seconds), now.Add(seconds)
	case resp.StatusCode == 429 && resp.Header.Get("Retry-After") == "": // once to twice its window
		m.least, m.most = now.Add(time.Minute), now.Add(2*time.Minute)
	case resp.StatusCode < 500: // the server answered otherwise: its Retry-After is over
		m.least, m.most = now, now
	}
	return resp, nil
}

// heal has everything be well again. From then on callers get a token, and the
// API accepts it, within the time that an old failure may count.
func (m *model) heal() {
	m.log("all is well")
	m.srv.Fail(nil)
	m.srv.SetLatency(0)
	m.delegateFor(time.Hour)
	m.mut.Lock()
	limit := modelFetch + max(time.Until(m.most), modelCached) + modelBudget + time.Second
	m.mut.Unlock()
	for began := time.Now(); ; m.sleep(250 * time.Millisecond) {
		status, err := m.request(m.Context())
		if status == http.StatusOK {
			break
		}
		if took := time.Since(began); took > limit {
			m.Fatalf("%v after all is well: got status %d, error %v, want 200", took, status, err)
		}
	}
	m.token(0)
}
