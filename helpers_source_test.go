// Copyright 2026 The authsec Authors
// SPDX-License-Identifier: Apache-2.0

package authsec_test

import (
	"context"
	"errors"
	"log/slog"
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

// Answers of the endpoint, as protocol.md has them.
var (
	sourceNoDelegation = authsectest.Answer(404, `{"error":"No active delegation token found","details":"An admin must delegate a token first"}`)
	sourceNoClient     = authsectest.Answer(404, `{"error":"Client not found","details":"not found in tenant_mappings"}`)
	sourceExpired      = authsectest.Answer(410, `{"error":"Delegation token has expired","details":"Admin must re-delegate"}`)
	sourceServerError  = authsectest.Answer(500, `{"error":"Failed to connect to tenant database"}`)
	sourceBadGateway   = authsectest.Answer(502, `<html>Bad Gateway</html>`)
	sourceUnavailable  = authsectest.Answer(503, `<html>Service Unavailable</html>`)
	sourceLimited      = authsectest.Answer(429, `{"error":"Rate limit exceeded","limit":100,"window":"1m0s"}`)
)

// limited accepts no request for exactly 100 s.
var limited = authsectest.Answer(http.StatusTooManyRequests, `{"error":"Rate limit exceeded"}`, "Retry-After", "100")

// sourceFixture is a server, and a Source for one of its agents, in a bubble of
// testing/synctest. Tests call its tokens by names, so that no message prints one.
type sourceFixture struct {
	*testing.T
	srv *authsectest.Server
	src *authsec.Source
	log *sourceLog

	mu    sync.Mutex
	names map[string]string // of tokens
	asked []time.Time       // when the requests to the endpoint were made
}

// sourceBubble runs test in a bubble. It fails if a goroutine is left.
func sourceBubble(t *testing.T, test func(t *testing.T, x *sourceFixture)) {
	t.Helper()
	bubble(t, func(t *testing.T) {
		x := &sourceFixture{T: t, srv: authsectest.NewInMemoryServer(), log: new(sourceLog), names: map[string]string{}}
		x.srv.Register(authsectest.ClientID)
		defer x.checkLogs()
		defer time.Sleep(time.Minute) // for fetches that nobody waits for: time stands still afterwards
		test(t, x)
	})
}

// inSourceBubble is sourceBubble as a sub-test.
func inSourceBubble(t *testing.T, name string, test func(t *testing.T, x *sourceFixture)) {
	t.Helper()
	t.Run(name, func(t *testing.T) { sourceBubble(t, test) })
}

// start makes x.src.
func (x *sourceFixture) start(changes ...func(*authsec.Config)) {
	x.Helper()
	cfg := x.srv.Config(authsectest.ClientID)
	cfg.HTTPClient = &http.Client{Transport: x.transport()}
	cfg.Logger = slog.New(x.log)
	for _, change := range changes {
		change(&cfg)
	}
	x.src = newSource(x, cfg)
}

// startWith makes x.src, which has this token.
func (x *sourceFixture) startWith(name string, ttl time.Duration, changes ...func(*authsec.Config)) *oauth2.Token {
	x.Helper()
	x.start(changes...)
	x.delegate(name, ttl)
	return x.want(name)
}

// transport leads to the server, and records the time of each request.
func (x *sourceFixture) transport() http.RoundTripper {
	return baseFunc(func(req *http.Request) (*http.Response, error) {
		x.mu.Lock()
		x.asked = append(x.asked, time.Now())
		x.mu.Unlock()
		return x.srv.Client().Transport.RoundTrip(req)
	})
}

// delegate delegates at the next full second: a JWT's exp has no fractions.
func (x *sourceFixture) delegate(name string, ttl time.Duration) {
	now := time.Now()
	if whole := now.Truncate(time.Second); !whole.Equal(now) {
		time.Sleep(whole.Add(time.Second).Sub(now))
	}
	x.delegateNow(name, ttl)
}

func (x *sourceFixture) delegateNow(name string, ttl time.Duration) {
	token := x.srv.Delegate(authsectest.ClientID, authsectest.Delegation{TTL: ttl})
	x.mu.Lock()
	defer x.mu.Unlock()
	x.names[token] = name
}

func (x *sourceFixture) name(token *oauth2.Token) string {
	if token == nil {
		return "no token"
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	if name := x.names[token.AccessToken]; name != "" {
		return name
	}
	return "an unknown token"
}

// sleep lets time pass, and then waits for other goroutines.
func (x *sourceFixture) sleep(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

// want calls Token, which must give the token of that name at once.
func (x *sourceFixture) want(name string) *oauth2.Token {
	x.Helper()
	began := time.Now()
	token, err := x.src.Token()
	if err != nil {
		x.Fatalf("Token: got error %v, want token %s", err, name)
	}
	x.wantToken(token, name)
	if took := time.Since(began); took != 0 {
		x.Fatalf("Token: took %v, want 0s", took)
	}
	synctest.Wait()
	return token
}

// wantRenew calls Renew, which must give the token of that name.
func (x *sourceFixture) wantRenew(rejected *oauth2.Token, name string) {
	x.Helper()
	token, err := x.src.Renew(x.Context(), rejected)
	if err != nil {
		x.Fatalf("Renew: got error %v, want token %s", err, name)
	}
	x.wantToken(token, name)
}

// wantRefresh calls Refresh, which must give the token of that name.
func (x *sourceFixture) wantRefresh(name string) {
	x.Helper()
	token, err := x.src.Refresh(x.Context())
	if err != nil {
		x.Fatalf("Refresh: got error %v, want token %s", err, name)
	}
	x.wantToken(token, name)
}

func (x *sourceFixture) wantToken(token *oauth2.Token, name string) {
	x.Helper()
	if got := x.name(token); got != name {
		x.Fatalf("got %s, want %s", got, name)
	}
}

// wantError calls Token, which must fail with target; nil: with any error.
func (x *sourceFixture) wantError(target error) *authsec.Error {
	x.Helper()
	token, err := x.src.Token()
	synctest.Wait()
	return x.checkError(token, err, target)
}

func (x *sourceFixture) checkError(token *oauth2.Token, err, target error) *authsec.Error {
	x.Helper()
	if err == nil {
		x.Fatalf("got %s, want an error", x.name(token))
	}
	var e *authsec.Error
	if !errors.As(err, &e) {
		x.Fatalf("got a %T: %v, want an *authsec.Error", err, err)
	}
	if target != nil && !errors.Is(err, target) {
		x.Fatalf("got error %v, want one that is %v", err, target)
	}
	return e
}

// leave makes a call that waits for longer than its context, 1 s, allows.
func (x *sourceFixture) leave(call func(context.Context) (*oauth2.Token, error)) {
	x.Helper()
	ctx, cancel := context.WithTimeout(x.Context(), time.Second)
	defer cancel()
	began := time.Now()
	if token, err := call(ctx); !errors.Is(err, context.DeadlineExceeded) {
		x.Fatalf("got %s and error %v, want one that is %v", x.name(token), err, context.DeadlineExceeded)
	}
	x.wantWithin("time until it left", time.Since(began), time.Second, time.Second)
}

func (x *sourceFixture) wantFetches(want uint64) {
	x.Helper()
	if got := x.src.Stats().Fetches; got != want {
		x.Fatalf("fetches: got %d, want %d", got, want)
	}
}

func (x *sourceFixture) wantRequests(want int) {
	x.Helper()
	if got := x.srv.Fetches(); got != want {
		x.Fatalf("requests to the endpoint: got %d, want %d", got, want)
	}
}

// moments returns when the requests to the endpoint were made.
func (x *sourceFixture) moments() []time.Time {
	x.mu.Lock()
	defer x.mu.Unlock()
	return slices.Clone(x.asked)
}

// gap calls Token at every step until it makes another request. It returns the time
// between that and the one before.
func (x *sourceFixture) gap(step, limit time.Duration) time.Duration {
	x.Helper()
	before := x.moments()
	last := before[len(before)-1]
	for {
		if time.Since(last) > limit {
			x.Fatalf("no other request: got %v of calls without, want one within %v", time.Since(last), limit)
		}
		x.sleep(step)
		x.src.Token()
		synctest.Wait()
		if now := x.moments(); len(now) > len(before) {
			return now[len(before)].Sub(last)
		}
	}
}

// wantWithin checks least <= got <= greatest.
func (x *sourceFixture) wantWithin(what string, got, least, greatest time.Duration) {
	x.Helper()
	if got < least || got > greatest {
		x.Errorf("%s: got %v, want %v to %v", what, got, least, greatest)
	}
}

// logged counts the records with this message.
func (x *sourceFixture) logged(msg string) (n int) {
	for _, e := range x.log.all() {
		if e.msg == msg {
			n++
		}
	}
	return n
}

// checkLogs checks that no log holds a token or the client ID.
func (x *sourceFixture) checkLogs() {
	for _, e := range x.log.all() {
		for token, name := range x.names {
			if strings.Contains(e.text, token) {
				x.Errorf("log %q: got token %s in it, want none", e.msg, name)
			}
		}
		if strings.Contains(e.text, authsectest.ClientID) {
			x.Errorf("log %q: got the client ID in it, want its beginning only", e.msg)
		}
	}
}

// sourceLog keeps what is logged.
type sourceLog struct {
	mu      sync.Mutex
	entries []sourceLogEntry
}

func (l *sourceLog) Enabled(context.Context, slog.Level) bool { return true }

func (l *sourceLog) WithAttrs([]slog.Attr) slog.Handler { return l }

func (l *sourceLog) WithGroup(string) slog.Handler { return l }

func (l *sourceLog) Handle(_ context.Context, r slog.Record) error {
	e := sourceLogEntry{level: r.Level, msg: r.Message, attrs: map[string]any{}, text: r.Message}
	r.Attrs(func(a slog.Attr) bool {
		e.attrs[a.Key] = a.Value.Resolve().Any()
		e.text += " " + a.String()
		return true
	})
	l.mu.Lock()
	defer l.mu.Unlock()
	l.entries = append(l.entries, e)
	return nil
}

func (l *sourceLog) all() []sourceLogEntry {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Clone(l.entries)
}

// take returns what was logged at Info and above since it was last called.
func (l *sourceLog) take() []sourceLogEntry {
	l.mu.Lock()
	defer l.mu.Unlock()
	taken := slices.DeleteFunc(l.entries, func(e sourceLogEntry) bool { return e.level < slog.LevelInfo })
	l.entries = nil
	return taken
}

type sourceLogEntry struct {
	level slog.Level
	msg   string
	attrs map[string]any
	text  string // all of it
}

// through has requests to the endpoint made by f, which may pass them on to next.
func through(f func(req *http.Request, next http.RoundTripper) (*http.Response, error)) func(*authsec.Config) {
	return func(c *authsec.Config) {
		next := c.HTTPClient.Transport
		c.HTTPClient = &http.Client{Transport: baseFunc(func(req *http.Request) (*http.Response, error) { return f(req, next) })}
	}
}

// answeredBy has h answer in place of the server.
func answeredBy(h http.Handler) func(*authsec.Config) {
	return func(c *authsec.Config) { c.HTTPClient = &http.Client{Transport: authsectest.RoundTripper(h)} }
}

// delayed has answers arrive d after the server gave them.
func delayed(d *atomic.Int64) func(*authsec.Config) {
	return through(func(req *http.Request, next http.RoundTripper) (*http.Response, error) {
		resp, err := next.RoundTrip(req)
		time.Sleep(time.Duration(d.Load()))
		return resp, err
	})
}

// clockAhead has the server's clock be ahead of the local one by d.
func clockAhead(d time.Duration) func(*authsec.Config) {
	return through(func(req *http.Request, next http.RoundTripper) (*http.Response, error) {
		resp, err := next.RoundTrip(req)
		if err == nil {
			resp.Header.Set("Date", time.Now().Add(d).UTC().Format(http.TimeFormat))
		}
		return resp, err
	})
}

// once has a fetch make one attempt.
func once(c *authsec.Config) { c.Retry.MaxAttempts = 1 }

// withCredential has the caller authenticate with this token.
func withCredential(token string) func(*authsec.Config) {
	return func(c *authsec.Config) {
		c.Credential = oauth2.StaticTokenSource(&oauth2.Token{AccessToken: token})
	}
}
