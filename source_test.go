// Copyright 2026 The authsec Authors
// SPDX-License-Identifier: Apache-2.0

package authsec_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/authsec-go/authsec"
	"github.com/authsec-go/authsec/authsectest"
	"github.com/golang-jwt/jwt/v5"
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

// sourceFixture is a server, and a Source for one of its agents, in a bubble of
// testing/synctest. Its tokens go by names, so that no message prints one.
type sourceFixture struct {
	*testing.T
	srv *authsectest.Server
	src *authsec.Source
	log *sourceLog

	mu    sync.Mutex
	names map[string]string // of tokens
	asked []time.Time       // when the requests to the endpoint were made
}

// sourceBubble runs test in a bubble. That ends only when all goroutines in it
// have: a test that passes has left none behind.
func sourceBubble(t *testing.T, test func(t *testing.T, x *sourceFixture)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		x := &sourceFixture{T: t, srv: authsectest.NewInMemoryServer(), log: new(sourceLog), names: map[string]string{}}
		x.srv.Register(authsectest.ClientID)
		defer x.checkLogs()
		defer time.Sleep(time.Minute) // in which a fetch that nobody waits for ends: time stands still afterwards
		test(t, x)
	})
}

// start makes x.src, anew.
func (x *sourceFixture) start(changes ...func(*authsec.Config)) {
	x.Helper()
	cfg := x.srv.Config(authsectest.ClientID)
	cfg.HTTPClient = &http.Client{Transport: x.transport()}
	cfg.Logger = slog.New(x.log)
	cfg.FailFast = true
	for _, change := range changes {
		change(&cfg)
	}
	src, err := authsec.NewSource(cfg)
	if err != nil {
		x.Fatalf("NewSource: got %v, want no error", err)
	}
	x.src = src
}

// transport leads to the server, and takes note of when it is used.
func (x *sourceFixture) transport() http.RoundTripper {
	return sourceRoundTripper(func(req *http.Request) (*http.Response, error) {
		x.mu.Lock()
		x.asked = append(x.asked, time.Now())
		x.mu.Unlock()
		return x.srv.Client().Transport.RoundTrip(req)
	})
}

// delegate delegates at the next full second: a JWT's exp knows no fractions.
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

// sleep lets time pass, and whatever begins at its end settle.
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

func (x *sourceFixture) wantToken(token *oauth2.Token, name string) {
	x.Helper()
	if got := x.name(token); got != name {
		x.Fatalf("got %s, want %s", got, name)
	}
}

// wantError calls Token, which must fail so.
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

// gap calls Token at every step until it makes another request, and returns how
// long after the one before.
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

type sourceLogEntry struct {
	level slog.Level
	msg   string
	attrs map[string]any
	text  string // all of it
}

func (l *sourceLog) Enabled(context.Context, slog.Level) bool { return true }
func (l *sourceLog) WithAttrs([]slog.Attr) slog.Handler       { return l }
func (l *sourceLog) WithGroup(string) slog.Handler            { return l }

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

type sourceRoundTripper func(*http.Request) (*http.Response, error)

func (f sourceRoundTripper) RoundTrip(req *http.Request) (*http.Response, error) { return f(req) }

type sourceCredential func() (*oauth2.Token, error)

func (f sourceCredential) Token() (*oauth2.Token, error) { return f() }

// Fresh.

func TestSourceAsksOnceWhileTokenIsFresh(t *testing.T) {
	sourceBubble(t, func(t *testing.T, x *sourceFixture) {
		x.start()
		x.delegate("A", time.Hour)
		for range 55 { // the window is 5 minutes
			x.want("A")
			x.sleep(time.Minute - time.Nanosecond)
		}
		x.wantFetches(1)
	})
}

func TestSourceMakesNoRequestBeforeFirstCall(t *testing.T) {
	sourceBubble(t, func(t *testing.T, x *sourceFixture) {
		x.start()
		x.delegate("A", time.Hour)
		x.sleep(time.Hour)
		x.wantRequests(0)
	})
}

func TestSourceHandsOutCopies(t *testing.T) {
	sourceBubble(t, func(t *testing.T, x *sourceFixture) {
		x.start()
		x.delegate("A", time.Hour)
		mine := x.want("A")
		mine.AccessToken, mine.TokenType, mine.Expiry = "changed", "changed", time.Time{}
		other := x.want("A")
		if want := time.Now().Add(time.Hour); !other.Expiry.Equal(want) {
			t.Errorf("Expiry: got %v, want %v", other.Expiry, want)
		}
		if got, want := other.Type(), "Bearer"; got != want {
			t.Errorf("Type: got %q, want %q", got, want)
		}
	})
}

func TestSourceMakesOneFetchForFiveMinuteDelegationAndThousandRequests(t *testing.T) {
	for _, pause := range []time.Duration{0, 200 * time.Millisecond} {
		t.Run(fmt.Sprint("pause ", pause), func(t *testing.T) {
			sourceBubble(t, func(t *testing.T, x *sourceFixture) {
				x.srv.LimitRate(100, time.Minute)
				x.start()
				x.delegate("A", 5*time.Minute)
				client := &http.Client{Transport: &authsec.Transport{
					Source: x.src,
					Base:   authsectest.RoundTripper(x.srv.API(nil)),
					Hosts:  []string{"api.test"},
				}}
				for i := range 1000 {
					resp, err := client.Get("https://api.test/")
					if err != nil {
						t.Fatalf("request %d: got error %v, want none", i, err)
					}
					resp.Body.Close()
					if resp.StatusCode != http.StatusOK {
						t.Fatalf("request %d: got status %d, want 200", i, resp.StatusCode)
					}
					time.Sleep(pause)
				}
				x.wantRequests(1)
				if got := x.srv.APICalls(); got != 1000 {
					t.Errorf("calls of the API: got %d, want 1000", got)
				}
			})
		})
	}
}

// Renewing.

func TestSourceFirstRenewalIsInFirstHalfOfWindow(t *testing.T) {
	const draws = 60
	tests := []struct {
		name                     string
		ttl, renewBefore, window time.Duration
	}{
		{"a fifth of the life", 10 * time.Minute, 0, 2 * time.Minute},
		{"5 minutes at most", 10 * time.Hour, 0, 5 * time.Minute},
		{"as configured", time.Hour, 20 * time.Minute, 20 * time.Minute},
		{"all the life", 10 * time.Minute, time.Hour, 10 * time.Minute},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			sourceBubble(t, func(t *testing.T, x *sourceFixture) {
				step := tt.window / 200
				var least, greatest time.Duration = tt.window, 0
				for range draws {
					x.delegate("A", tt.ttl)
					x.start(func(c *authsec.Config) { c.RenewBefore = tt.renewBefore })
					x.want("A")
					begin := time.Now().Add(tt.ttl - tt.window)
					x.sleep(time.Until(begin) - time.Nanosecond)
					x.want("A")
					x.wantFetches(1)
					x.gap(step, tt.ttl)
					first := time.Since(begin)
					x.wantWithin("first attempt in the window", first, 0, tt.window/2+step)
					least, greatest = min(least, first), max(greatest, first)
				}
				// Drawn evenly: all in three quarters of the range has a chance of 3e-8.
				if least > tt.window/8 || greatest < tt.window*3/8 {
					t.Errorf("first attempts: got %v to %v, want them all over 0s to %v", least, greatest, tt.window/2)
				}
			})
		})
	}
}

func TestSourceRenewalAttemptsAreSpacedAndBounded(t *testing.T) {
	const windows = 20
	tests := []struct {
		name         string
		fault        http.Handler // nil: the same token again
		ttl          time.Duration
		step         time.Duration // between attempts, give or take half
		least, great float64       // attempts in a window, on average
	}{
		{"same token", nil, 10 * time.Minute, 12 * time.Second, 6.5, 12},
		{"no delegation", sourceNoDelegation, 10 * time.Minute, 12 * time.Second, 6.5, 12},
		{"a second at least", nil, 10 * time.Second, time.Second, 1, 4},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			sourceBubble(t, func(t *testing.T, x *sourceFixture) {
				window := tt.ttl / 5
				poll := window / 1000
				total := 0
				var gaps []time.Duration
				for range windows {
					x.srv.Fail(nil)
					x.delegate("A", tt.ttl)
					x.start()
					x.want("A")
					x.srv.Fail(tt.fault)
					before := len(x.moments())
					end := time.Now().Add(tt.ttl)
					time.Sleep(tt.ttl - window)
					for time.Until(end) > poll {
						x.want("A")
						x.want("A")
						time.Sleep(poll)
					}
					made := x.moments()[before:]
					if len(made) > 20 {
						t.Errorf("attempts in one window: got %d, want 20 at most", len(made))
					}
					for i := 1; i < len(made); i++ {
						gap := made[i].Sub(made[i-1])
						x.wantWithin("between attempts", gap, tt.step/2, tt.step*3/2+poll)
						gaps = append(gaps, gap)
					}
					total += len(made)
					time.Sleep(time.Second)
				}
				if mean := float64(total) / windows; mean < tt.least || mean > tt.great {
					t.Errorf("attempts in a window: got %.1f on average, want %.1f to %.1f", mean, tt.least, tt.great)
				}
				// By chance, of the fewest gaps that there are: 2e-5.
				if least, greatest := slices.Min(gaps), slices.Max(gaps); least > tt.step*7/10 && greatest < tt.step*13/10 {
					t.Errorf("between attempts: got %v to %v, want them all over %v to %v", least, greatest, tt.step/2, tt.step*3/2)
				}
			})
		})
	}
}

func TestSourceServesUntilExpiryThroughFailures(t *testing.T) {
	tests := []struct {
		name   string
		fault  http.Handler // nil: no answer
		target error        // of the failure in the end
	}{
		{"404 no delegation", sourceNoDelegation, authsec.ErrNotDelegated},
		{"404 no client", sourceNoClient, authsec.ErrNotDelegated},
		{"404 of another server", authsectest.Answer(404, "<html>Not Found</html>"), authsec.ErrInvalidResponse},
		{"410", sourceExpired, authsec.ErrDelegationExpired},
		{"401", authsectest.Answer(401, `{"error":"unauthorized"}`), authsec.ErrUnauthorized},
		{"429", sourceLimited, authsec.ErrRateLimited},
		{"500", sourceServerError, nil},
		{"502", sourceBadGateway, nil},
		{"503 with Retry-After", authsectest.Answer(503, "<html></html>", "Retry-After", "20"), nil},
		{"redirect", authsectest.Answer(302, "", "Location", "https://elsewhere.test/"), authsec.ErrInvalidResponse},
		{"200 that is no JSON", authsectest.Answer(200, "<html></html>"), authsec.ErrInvalidResponse},
		{"200 without a token", authsectest.Answer(200, `{}`), authsec.ErrInvalidResponse},
		{"connection lost", nil, nil},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			sourceBubble(t, func(t *testing.T, x *sourceFixture) {
				var broken atomic.Bool
				x.start(func(c *authsec.Config) {
					base := c.HTTPClient.Transport
					c.HTTPClient.Transport = sourceRoundTripper(func(req *http.Request) (*http.Response, error) {
						if broken.Load() {
							return nil, io.ErrUnexpectedEOF
						}
						return base.RoundTrip(req)
					})
				})
				x.delegate("A", 10*time.Minute)
				x.want("A")
				end := time.Now().Add(10 * time.Minute)
				broken.Store(tt.fault == nil)
				x.srv.Fail(tt.fault)
				time.Sleep(8 * time.Minute)
				for time.Until(end) > time.Second {
					x.want("A")
					time.Sleep(time.Second)
				}
				x.sleep(time.Until(end) - time.Nanosecond)
				x.want("A")
				if got := x.src.Stats().Failures; got == 0 {
					t.Errorf("failures: got %d, want some", got)
				}
				x.sleep(time.Nanosecond)
				x.wantError(tt.target)
			})
		})
	}
}

func TestSourceRenewsOnDemandOnly(t *testing.T) {
	sourceBubble(t, func(t *testing.T, x *sourceFixture) {
		x.start()
		x.delegate("A", time.Hour)
		x.want("A")
		x.sleep(3 * time.Hour) // through the window, and past it
		x.wantRequests(1)
	})
}

func TestSourceDoesNotWaitForRenewal(t *testing.T) {
	sourceBubble(t, func(t *testing.T, x *sourceFixture) {
		x.start()
		x.delegate("A", time.Hour)
		x.want("A")
		x.sleep(58 * time.Minute) // past the window's first half
		x.delegate("B", time.Hour)
		x.srv.SetLatency(5 * time.Second)
		for range 49 {
			x.want("A")
			x.sleep(100 * time.Millisecond)
		}
		x.wantFetches(2)
		x.sleep(100 * time.Millisecond)
		x.want("B")
		x.wantFetches(2)
	})
}

func TestSourceWaitsForRenewalUnderWayOnceTokenHasExpired(t *testing.T) {
	sourceBubble(t, func(t *testing.T, x *sourceFixture) {
		x.start()
		x.delegate("A", time.Hour)
		x.want("A")
		x.sleep(time.Hour - time.Second)
		x.delegate("B", time.Hour)
		x.srv.SetLatency(5 * time.Second)
		x.want("A")
		x.sleep(time.Second)
		token, err := x.src.Token()
		if err != nil {
			t.Fatalf("Token: got error %v, want token B", err)
		}
		x.wantToken(token, "B")
		x.wantFetches(2)
	})
}

func TestSourceServesShortLivedTokenUntilExpiry(t *testing.T) {
	for _, ttl := range []time.Duration{5 * time.Second, 10 * time.Second} {
		t.Run(ttl.String(), func(t *testing.T) {
			sourceBubble(t, func(t *testing.T, x *sourceFixture) {
				x.start()
				x.delegate("A", ttl)
				for range 100 {
					x.want("A")
					x.sleep(ttl * 8 / 1000) // up to the window's begin
				}
				x.wantFetches(1)
				for range 20 {
					x.want("A")
					x.sleep(ttl/100 - time.Nanosecond)
				}
				x.want("A")
				if got := x.src.Stats().Fetches; got > 5 {
					t.Errorf("fetches: got %d, want 5 at most", got)
				}
				x.sleep(21 * time.Nanosecond)
				x.wantError(authsec.ErrDelegationExpired)
			})
		})
	}
}

// None or expired.

func TestSourceColdStartOfTenThousandMakesOneFetch(t *testing.T) {
	sourceBubble(t, func(t *testing.T, x *sourceFixture) {
		x.start()
		x.delegate("A", time.Hour)
		x.srv.SetLatency(time.Second)
		var wg sync.WaitGroup
		for range 10_000 {
			wg.Go(func() {
				token, err := x.src.Token()
				if err != nil || x.name(token) != "A" {
					t.Errorf("Token: got %s and error %v, want A", x.name(token), err)
				}
			})
		}
		wg.Wait()
		x.wantRequests(1)
		x.wantFetches(1)
	})
}

func TestSourceColdStartsNeverFetchTwice(t *testing.T) {
	sourceBubble(t, func(t *testing.T, x *sourceFixture) {
		x.delegate("A", time.Hour)
		for n := range 200 {
			x.start()
			var wg sync.WaitGroup
			for range 32 {
				wg.Go(func() { x.src.Token() })
			}
			wg.Wait()
			if got := x.src.Stats().Fetches; got != 1 {
				t.Fatalf("cold start %d: got %d fetches, want 1", n, got)
			}
		}
	})
}

func TestSourceWaiterLeavesWithItsContextAlone(t *testing.T) {
	sourceBubble(t, func(t *testing.T, x *sourceFixture) {
		x.start()
		x.delegate("A", time.Hour)
		x.srv.SetLatency(5 * time.Second)
		began := time.Now()
		cause := errors.New("the user went away")

		var wg sync.WaitGroup
		leave := func(ctx context.Context, cancel func(), after time.Duration, targets ...error) {
			wg.Go(func() {
				defer cancel()
				token, err := x.src.TokenContext(ctx)
				for _, target := range targets {
					if !errors.Is(err, target) {
						t.Errorf("TokenContext: got %s and error %v, want one that is %v", x.name(token), err, target)
					}
				}
				x.wantWithin("time until it left", time.Since(began), after, after)
			})
			synctest.Wait()
		}
		first, cancelFirst := context.WithTimeout(t.Context(), time.Second) // who begins the fetch
		leave(first, cancelFirst, time.Second, context.DeadlineExceeded)
		second, cancelSecond := context.WithCancelCause(t.Context())
		leave(second, func() { cancelSecond(nil) }, 2*time.Second, context.Canceled, cause)
		wg.Go(func() {
			_, err := x.src.Delegation(first)
			if !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("Delegation: got error %v, want one that is %v", err, context.DeadlineExceeded)
			}
		})
		wg.Go(func() {
			token, err := x.src.TokenContext(t.Context())
			if err != nil || x.name(token) != "A" {
				t.Errorf("who stayed: got %s and error %v, want A", x.name(token), err)
			}
			x.wantWithin("time until it came", time.Since(began), 5*time.Second, 5*time.Second)
		})
		time.Sleep(2 * time.Second)
		cancelSecond(cause)
		wg.Wait()
		x.want("A")
		x.wantFetches(1)
	})
}

func TestSourceFetchGoesOnWhenAllHaveLeft(t *testing.T) {
	sourceBubble(t, func(t *testing.T, x *sourceFixture) {
		x.start()
		x.delegate("A", time.Hour)
		x.srv.SetLatency(5 * time.Second)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if token, err := x.src.TokenContext(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Fatalf("TokenContext: got %s and error %v, want one that is %v", x.name(token), err, context.DeadlineExceeded)
		}
		x.sleep(4 * time.Second)
		x.want("A")
		x.wantFetches(1)
	})
}

func TestSourceEndedContext(t *testing.T) {
	sourceBubble(t, func(t *testing.T, x *sourceFixture) {
		x.start()
		x.delegate("A", time.Hour)
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if token, err := x.src.TokenContext(ctx); !errors.Is(err, context.Canceled) {
			t.Errorf("with no token: got %s and error %v, want one that is %v", x.name(token), err, context.Canceled)
		}
		x.wantFetches(0)
		x.want("A")
		token, err := x.src.TokenContext(ctx)
		if err != nil || x.name(token) != "A" {
			t.Errorf("with a good token: got %s and error %v, want A", x.name(token), err)
		}
	})
}

// Failures.

func TestSourceRemembersFailureFromOneSecondDoublingToOneMinute(t *testing.T) {
	sourceBubble(t, func(t *testing.T, x *sourceFixture) {
		const step = 20 * time.Millisecond
		x.start()
		x.wantError(authsec.ErrNotDelegated)
		for n := range 6 {
			base := time.Second << n
			x.wantWithin(fmt.Sprint("after failure ", n+1), x.gap(step, 2*time.Minute), base/2, base*3/2+step)
		}
		least, greatest := time.Hour, time.Duration(0)
		for range 40 {
			got := x.gap(200*time.Millisecond, 2*time.Minute)
			x.wantWithin("after many failures", got, 30*time.Second, 90*time.Second+200*time.Millisecond)
			least, greatest = min(least, got), max(greatest, got)
		}
		if least > 50*time.Second || greatest < 70*time.Second { // by chance: 2e-7
			t.Errorf("after many failures: got %v to %v, want them all over 30s to 1m30s", least, greatest)
		}

		x.delegate("A", 10*time.Second)
		x.src.Renew(t.Context(), nil)
		x.want("A")
		x.sleep(10 * time.Second)
		x.wantError(authsec.ErrNotDelegated)
		x.wantWithin("after a success and a failure", x.gap(step, 2*time.Minute), 500*time.Millisecond, 1500*time.Millisecond+step)
	})
}

func TestSourceRepeatsRememberedErrorWithoutAsking(t *testing.T) {
	sourceBubble(t, func(t *testing.T, x *sourceFixture) {
		x.start()
		x.srv.Fail(authsectest.Answer(429, "", "Retry-After", "60"))
		first := x.wantError(authsec.ErrRateLimited)
		for range 59 {
			x.sleep(time.Second)
			if got := x.wantError(authsec.ErrRateLimited); got != first {
				t.Fatalf("Token: got another error, %v, want the one before, %v", got, first)
			}
		}
		x.wantRequests(1)
	})
}

func TestSourceObeysServersWait(t *testing.T) {
	const step = 100 * time.Millisecond
	inSeconds := func(s string) func() string { return func() string { return s } }
	tests := []struct {
		name           string
		status         int
		body           string
		retryAfter     func() string
		least, greater time.Duration
	}{
		{"503 seconds", 503, "<html>", inSeconds("120"), 2 * time.Minute, 2 * time.Minute},
		{"503 date", 503, "<html>", func() string { return time.Now().UTC().Add(90 * time.Second).Format(http.TimeFormat) }, 90 * time.Second, 90 * time.Second},
		{"503 an hour", 503, "<html>", inSeconds("3600"), 5 * time.Minute, 5 * time.Minute},
		{"503 without end", 503, "<html>", inSeconds("99999999999999999999"), 5 * time.Minute, 5 * time.Minute},
		{"404", 404, `{"error":"No active delegation token found"}`, inSeconds("30"), 30 * time.Second, 30 * time.Second},
		{"429 seconds", 429, `{"error":"Rate limit exceeded","window":"1m0s"}`, inSeconds("7"), 7 * time.Second, 7 * time.Second},
		{"429 an hour", 429, "", inSeconds("3600"), 5 * time.Minute, 5 * time.Minute},
		{"429 window", 429, `{"error":"Rate limit exceeded","window":"1m0s"}`, nil, time.Minute, 2 * time.Minute},
		{"429 short window", 429, `{"error":"Rate limit exceeded","window":"10s"}`, nil, 10 * time.Second, 20 * time.Second},
		{"429 no window", 429, "<html>", nil, time.Minute, 2 * time.Minute},
		{"429 malformed window", 429, `{"window":"soon"}`, nil, time.Minute, 2 * time.Minute},
		{"429 negative window", 429, `{"window":"-10s"}`, nil, time.Minute, 2 * time.Minute},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			sourceBubble(t, func(t *testing.T, x *sourceFixture) {
				x.start()
				var headers []string
				if tt.retryAfter != nil {
					headers = []string{"Retry-After", tt.retryAfter()}
				}
				x.srv.Fail(authsectest.Answer(tt.status, tt.body, headers...))
				e := x.wantError(nil)
				x.wantRequests(1)
				x.wantWithin("Error.RetryAfter", e.RetryAfter, tt.least, tt.greater)
				x.wantWithin("until the next request", x.gap(step, 10*time.Minute), tt.least, tt.greater+step)
			})
		})
	}
}

func TestSourceSpreadsWaitAfter429OverWindow(t *testing.T) {
	sourceBubble(t, func(t *testing.T, x *sourceFixture) {
		x.srv.Fail(sourceLimited)
		least, greatest := time.Hour, time.Duration(0)
		for range 60 {
			x.start()
			got := x.wantError(authsec.ErrRateLimited).RetryAfter
			least, greatest = min(least, got), max(greatest, got)
		}
		if least > 75*time.Second || greatest < 105*time.Second { // by chance: 6e-8
			t.Errorf("waits: got %v to %v, want them all over 1m0s to 2m0s", least, greatest)
		}
	})
}

func TestSourceObeysServersWaitWhileTokenIsGood(t *testing.T) {
	sourceBubble(t, func(t *testing.T, x *sourceFixture) {
		x.start()
		x.delegate("A", time.Hour)
		x.want("A")
		x.sleep(57*time.Minute + 30*time.Second)
		x.srv.Fail(authsectest.Answer(429, "", "Retry-After", "100"))
		for range 99 {
			x.want("A")
			x.sleep(time.Second)
		}
		x.wantRequests(2)
		x.want("A")
		x.sleep(2 * time.Second)
		x.want("A")
		x.wantRequests(3)
	})
}

func TestSourceNeverRepeats429WithinFetch(t *testing.T) {
	tests := []struct {
		name   string
		before int // answers of 503 first
		fault  http.Handler
		want   int // requests
	}{
		{"without Retry-After", 0, sourceLimited, 1},
		{"with a short Retry-After", 0, authsectest.Answer(429, "", "Retry-After", "1"), 1},
		{"with Retry-After 0", 0, authsectest.Answer(429, "", "Retry-After", "0"), 1},
		{"after a 503", 1, sourceLimited, 2},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			sourceBubble(t, func(t *testing.T, x *sourceFixture) {
				x.start()
				x.delegate("A", time.Hour)
				x.srv.FailNext(tt.before, sourceUnavailable)
				x.srv.FailNext(1, tt.fault)
				x.wantError(authsec.ErrRateLimited)
				x.wantRequests(tt.want)
				x.wantFetches(1)
			})
		})
	}
}

func TestSourceRepeatsPassingFaultsWithinFetch(t *testing.T) {
	tests := []struct {
		name     string
		faults   int
		fault    http.Handler
		attempts int // RetryPolicy.MaxAttempts
		requests int
		ok       bool
	}{
		{"500", 3, sourceServerError, 0, 4, true},
		{"502", 3, sourceBadGateway, 0, 4, true},
		{"503", 3, sourceUnavailable, 0, 4, true},
		{"504", 3, authsectest.Answer(504, "<html>"), 0, 4, true},
		{"503 with a short Retry-After", 1, authsectest.Answer(503, "<html>", "Retry-After", "5"), 0, 2, true},
		{"too many", 4, sourceUnavailable, 0, 4, false},
		{"no retry", 1, sourceUnavailable, 1, 1, false},
		{"404", 1, sourceNoDelegation, 0, 1, false},
		{"501", 1, authsectest.Answer(501, "<html>"), 0, 1, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			sourceBubble(t, func(t *testing.T, x *sourceFixture) {
				x.start(func(c *authsec.Config) { c.Retry.MaxAttempts = tt.attempts })
				x.delegate("A", time.Hour)
				x.srv.FailNext(tt.faults, tt.fault)
				if token, err := x.src.Token(); (err == nil) != tt.ok {
					t.Errorf("Token: got %s and error %v, want success: %t", x.name(token), err, tt.ok)
				}
				x.wantRequests(tt.requests)
				x.wantFetches(1)
			})
		})
	}
}

func TestSourceAttemptAndFetchAreBoundedInTime(t *testing.T) {
	tests := []struct {
		name         string
		fetchTimeout time.Duration
		latency      time.Duration // of the first request alone
		took         time.Duration
		requests     int
		ok           bool
	}{
		{"a slow first attempt", 0, time.Hour, 10 * time.Second, 2, true},
		{"a fetch that has no time for another", 5 * time.Second, time.Hour, 5 * time.Second, 1, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			sourceBubble(t, func(t *testing.T, x *sourceFixture) {
				x.start(func(c *authsec.Config) { c.FetchTimeout = tt.fetchTimeout })
				x.delegate("A", 2*time.Hour)
				x.srv.FailNext(1, http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
					select {
					case <-time.After(tt.latency):
					case <-r.Context().Done():
					}
				}))
				began := time.Now()
				token, err := x.src.Token()
				if (err == nil) != tt.ok {
					t.Errorf("Token: got %s and error %v, want success: %t", x.name(token), err, tt.ok)
				}
				x.wantWithin("time until the outcome", time.Since(began), tt.took, tt.took+200*time.Millisecond) // the backoff
				x.wantRequests(tt.requests)
			})
		})
	}
}

// Renew.

func TestRenewReturnsNewerTokenAtOnce(t *testing.T) {
	sourceBubble(t, func(t *testing.T, x *sourceFixture) {
		x.start()
		x.delegate("A", time.Hour)
		refused := x.want("A")
		x.delegate("B", time.Hour)
		x.srv.SetLatency(time.Second)
		token, err := x.src.Renew(t.Context(), refused)
		if err != nil {
			t.Fatalf("Renew: got error %v, want token B", err)
		}
		x.wantToken(token, "B")
		x.want("B")
		began := time.Now()
		token, err = x.src.Renew(t.Context(), refused)
		if err != nil {
			t.Fatalf("Renew again: got error %v, want token B", err)
		}
		x.wantToken(token, "B")
		x.wantWithin("time that took", time.Since(began), 0, 0)
		x.wantFetches(2)
	})
}

func TestRenewSharesOneFetchWhileOthersGoOn(t *testing.T) {
	tests := []struct {
		name  string
		fault http.Handler
		anew  bool   // an admin has delegated
		want  string // of Renew, and in service afterwards
	}{
		{"another token", nil, true, "B"},
		{"the same token", nil, false, "A"},
		{"a failure", sourceNoClient, false, "an error"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			sourceBubble(t, func(t *testing.T, x *sourceFixture) {
				x.start()
				x.delegate("A", time.Hour)
				refused := x.want("A")
				if tt.anew {
					x.delegate("B", time.Hour)
				}
				x.srv.SetLatency(800 * time.Millisecond)
				x.srv.Fail(tt.fault)
				var wg sync.WaitGroup
				for range 256 {
					wg.Go(func() {
						token, err := x.src.Renew(t.Context(), refused)
						got := x.name(token)
						if err != nil {
							got = "an error"
						}
						if got != tt.want {
							t.Errorf("Renew: got %s (%v), want %s", got, err, tt.want)
						}
					})
				}
				synctest.Wait()
				x.want("A") // at once, while the fetch is under way
				wg.Wait()
				x.wantFetches(2)
				if tt.anew {
					x.want("B")
				} else {
					x.want("A")
				}
				if got := x.src.Stats().Refusals; got != 256 {
					t.Errorf("Stats.Refusals: got %d, want 256", got)
				}
			})
		})
	}
}

// A fetch that takes longer than refusals are kept apart is still one fetch for
// all that hold the refused token.
func TestRefusalsThatComeDuringSlowFetchShareIt(t *testing.T) {
	for _, anew := range []bool{false, true} {
		sourceBubble(t, func(t *testing.T, x *sourceFixture) {
			x.start()
			x.delegate("A", time.Hour)
			refused := x.want("A")
			want := "A"
			if anew {
				x.delegate("B", time.Hour)
				want = "B"
			}
			x.srv.SetLatency(5 * time.Second)
			var wg sync.WaitGroup
			for i := range 40 {
				wg.Go(func() {
					time.Sleep(time.Duration(i) * 100 * time.Millisecond)
					token, err := x.src.Renew(t.Context(), refused)
					if got := x.name(token); err != nil || got != want {
						t.Errorf("Renew: got %s and error %v, want %s", got, err, want)
					}
				})
			}
			wg.Wait()
			x.wantFetches(2)
		})
	}
}

func TestRenewThatFailsKeepsToken(t *testing.T) {
	tests := []struct {
		name   string
		fault  http.Handler
		target error
	}{
		{"404 no client", sourceNoClient, authsec.ErrNotDelegated},
		{"404 of another server", authsectest.Answer(404, "<html>No active delegation token found</html>"), authsec.ErrInvalidResponse},
		{"404 with other words", authsectest.Answer(404, `{"error":"no route"}`), authsec.ErrInvalidResponse},
		{"410 of another server", authsectest.Answer(410, "<html>Gone</html>"), authsec.ErrInvalidResponse},
		{"401", authsectest.Answer(401, `{"error":"unauthorized"}`), authsec.ErrUnauthorized},
		{"429", sourceLimited, authsec.ErrRateLimited},
		{"500", sourceServerError, nil},
		{"502", sourceBadGateway, nil},
		{"200 without a token", authsectest.Answer(200, "{}"), authsec.ErrInvalidResponse},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			sourceBubble(t, func(t *testing.T, x *sourceFixture) {
				x.start()
				x.delegate("A", time.Hour)
				refused := x.want("A")
				end := time.Now().Add(time.Hour)
				x.srv.Fail(tt.fault)
				token, err := x.src.Renew(t.Context(), refused)
				x.checkError(token, err, tt.target)
				x.want("A")
				x.sleep(time.Until(end) - time.Nanosecond)
				x.want("A")
			})
		})
	}
}

func TestRenewEndsTokenThatServerHasWithdrawn(t *testing.T) {
	for name, fault := range map[string]http.Handler{"404": sourceNoDelegation, "410": sourceExpired} {
		t.Run(name, func(t *testing.T) {
			sourceBubble(t, func(t *testing.T, x *sourceFixture) {
				x.start()
				x.delegate("A", time.Hour)
				refused := x.want("A")
				x.srv.Fail(fault)
				x.log.take()
				var wg sync.WaitGroup
				for range 16 {
					wg.Go(func() {
						token, err := x.src.Renew(t.Context(), refused)
						if !errors.Is(err, authsec.ErrNotDelegated) {
							t.Errorf("Renew: got %s and error %v, want one that is %v", x.name(token), err, authsec.ErrNotDelegated)
						}
					})
				}
				wg.Wait()
				for range 10 {
					x.wantError(authsec.ErrNotDelegated)
				}
				x.wantFetches(2)
				if stats := x.src.Stats(); !stats.Expiry.IsZero() {
					t.Errorf("Stats.Expiry: got %v, want none", stats.Expiry)
				}
				logged := 0
				for _, e := range x.log.take() {
					if e.msg == "no token" {
						logged++
					}
				}
				if logged != 1 {
					t.Errorf("logs of %q: got %d, want 1", "no token", logged)
				}
				x.srv.Fail(nil)
				x.delegate("B", time.Hour)
				x.gap(100*time.Millisecond, 3*time.Second)
				x.want("B")
			})
		})
	}
}

func TestRenewEndsWithdrawnTokenThoughItsCallerHasLeft(t *testing.T) {
	sourceBubble(t, func(t *testing.T, x *sourceFixture) {
		x.start()
		x.delegate("A", time.Hour)
		refused := x.want("A")
		x.srv.Fail(sourceNoDelegation)
		x.srv.SetLatency(2 * time.Second)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if token, err := x.src.Renew(ctx, refused); !errors.Is(err, context.DeadlineExceeded) {
			t.Fatalf("Renew: got %s and error %v, want one that is %v", x.name(token), err, context.DeadlineExceeded)
		}
		x.sleep(time.Second)
		x.wantError(authsec.ErrNotDelegated)
		x.wantFetches(2)
	})
}

func TestRenewTakesFetchThatBeganBeforeForNoWithdrawal(t *testing.T) {
	sourceBubble(t, func(t *testing.T, x *sourceFixture) {
		var latency atomic.Int64
		x.start(sourceSlowAnswers(&latency))
		x.delegate("A", time.Hour)
		refused := x.want("A")
		x.sleep(58 * time.Minute)
		latency.Store(int64(2 * time.Second))
		x.srv.FailNext(1, sourceNoDelegation)
		x.want("A") // begins a fetch, which is answered now
		x.sleep(time.Second)
		token, err := x.src.Renew(t.Context(), refused)
		if err != nil {
			t.Fatalf("Renew: got error %v, want token A", err)
		}
		x.wantToken(token, "A")
		x.want("A")
	})
}

func TestRenewOfOlderTokenDoesNotEndNewerOne(t *testing.T) {
	sourceBubble(t, func(t *testing.T, x *sourceFixture) {
		x.start()
		x.delegate("A", time.Hour)
		older := x.want("A")
		x.delegate("B", time.Hour)
		if _, err := x.src.Renew(t.Context(), nil); err != nil {
			t.Fatalf("Renew: got error %v, want none", err)
		}
		x.srv.Fail(sourceNoDelegation)
		token, err := x.src.Renew(t.Context(), older)
		if err != nil {
			t.Fatalf("Renew: got error %v, want token B", err)
		}
		x.wantToken(token, "B")
		x.want("B")
	})
}

func TestRenewFetchesAreBounded(t *testing.T) {
	for _, anew := range []bool{false, true} {
		t.Run(fmt.Sprint("new token each time: ", anew), func(t *testing.T) {
			sourceBubble(t, func(t *testing.T, x *sourceFixture) {
				x.start(func(c *authsec.Config) {
					base := c.HTTPClient.Transport
					c.HTTPClient.Transport = sourceRoundTripper(func(req *http.Request) (*http.Response, error) {
						if anew {
							x.delegateNow("A", 10*time.Hour)
						}
						return base.RoundTrip(req)
					})
				})
				x.delegate("A", 10*time.Hour)
				x.want("A")
				refuse := func(d time.Duration) []time.Duration {
					t.Helper()
					before, began := len(x.moments()), time.Now()
					for time.Since(began) < d {
						current := x.want("A")
						if token, err := x.src.Renew(t.Context(), current); err != nil {
							t.Fatalf("Renew: got %s and error %v, want none", x.name(token), err)
						}
						x.sleep(100 * time.Millisecond)
					}
					var after []time.Duration
					for _, moment := range x.moments()[before:] {
						after = append(after, moment.Sub(began))
					}
					return after
				}
				seconds := func(list ...time.Duration) []time.Duration {
					for i := range list {
						list[i] *= time.Second
					}
					return list
				}
				if got, want := refuse(125*time.Second), seconds(0, 1, 3, 7, 15, 31, 61, 91, 121); !slices.Equal(got, want) {
					t.Errorf("fetches: got %v, want %v", got, want)
				}
				x.sleep(59 * time.Second) // the last refusal was 100 ms before
				if got, want := refuse(35*time.Second), seconds(0, 30); !slices.Equal(got, want) {
					t.Errorf("after less than a minute of rest: got fetches %v, want %v", got, want)
				}
				x.sleep(60 * time.Second)
				if got, want := refuse(4*time.Second), seconds(0, 1, 3); !slices.Equal(got, want) {
					t.Errorf("after a minute of rest: got fetches %v, want %v", got, want)
				}
			})
		})
	}
}

func TestRenewObeysServersWait(t *testing.T) {
	sourceBubble(t, func(t *testing.T, x *sourceFixture) {
		x.start()
		x.delegate("A", time.Hour)
		refused := x.want("A")
		x.srv.FailNext(1, authsectest.Answer(429, "", "Retry-After", "100"))
		token, err := x.src.Renew(t.Context(), refused)
		x.checkError(token, err, authsec.ErrRateLimited)
		for range 99 {
			x.sleep(time.Second)
			token, err := x.src.Renew(t.Context(), refused)
			if err != nil {
				t.Fatalf("Renew: got error %v, want token A", err)
			}
			x.wantToken(token, "A")
		}
		x.wantRequests(2)
	})
}

func TestRenewNilAsksWhateverIsRemembered(t *testing.T) {
	tests := []struct {
		name   string
		fault  http.Handler
		target error
	}{
		{"404", sourceNoDelegation, authsec.ErrNotDelegated},
		{"429", sourceLimited, authsec.ErrRateLimited},
		{"503 with Retry-After", authsectest.Answer(503, "", "Retry-After", "200"), nil},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			sourceBubble(t, func(t *testing.T, x *sourceFixture) {
				x.start()
				x.srv.Fail(tt.fault)
				x.wantError(tt.target)
				x.srv.Fail(nil)
				x.delegate("A", time.Hour)
				x.wantError(tt.target)
				x.wantRequests(1)
				token, err := x.src.Renew(t.Context(), nil)
				if err != nil {
					t.Fatalf("Renew(nil): got error %v, want token A", err)
				}
				x.wantToken(token, "A")
				x.want("A")
				x.wantRequests(2)
			})
		})
	}
}

func TestRenewNilBringsTokenDelegatedAnew(t *testing.T) {
	sourceBubble(t, func(t *testing.T, x *sourceFixture) {
		x.start()
		x.delegate("A", time.Hour)
		x.want("A")
		x.delegate("B", time.Hour)
		x.want("A")
		token, err := x.src.Renew(t.Context(), nil)
		if err != nil {
			t.Fatalf("Renew(nil): got error %v, want token B", err)
		}
		x.wantToken(token, "B")
	})
}

func TestRenewNilAsksOnceASecondAtMost(t *testing.T) {
	for _, delegated := range []bool{true, false} {
		t.Run(fmt.Sprint("delegated: ", delegated), func(t *testing.T) {
			sourceBubble(t, func(t *testing.T, x *sourceFixture) {
				x.start()
				if delegated {
					x.delegate("A", time.Hour)
				} else {
					x.srv.Fail(sourceLimited)
				}
				for range 200 {
					token, err := x.src.Renew(t.Context(), nil)
					if (err == nil) != delegated {
						t.Fatalf("Renew(nil): got %s and error %v, want success: %t", x.name(token), err, delegated)
					}
					x.sleep(50 * time.Millisecond)
				}
				x.wantRequests(10)
			})
		})
	}
}

// sourceSlowAnswers has answers arrive d after the server gave them.
func sourceSlowAnswers(d *atomic.Int64) func(*authsec.Config) {
	return func(c *authsec.Config) {
		base := c.HTTPClient.Transport
		c.HTTPClient.Transport = sourceRoundTripper(func(req *http.Request) (*http.Response, error) {
			resp, err := base.RoundTrip(req)
			time.Sleep(time.Duration(d.Load()))
			return resp, err
		})
	}
}

func TestRenewThatJoinsEarlierFetchAsksAgain(t *testing.T) {
	tests := []struct {
		name   string
		refuse bool // the token, rather than nil
	}{
		{"nil", false},
		{"refused token", true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			sourceBubble(t, func(t *testing.T, x *sourceFixture) {
				var latency atomic.Int64
				x.start(sourceSlowAnswers(&latency))
				var refused *oauth2.Token
				if tt.refuse {
					x.delegate("A", time.Hour)
					refused = x.want("A")
					x.sleep(58 * time.Minute)
				}
				latency.Store(int64(2 * time.Second))
				var wg sync.WaitGroup
				wg.Go(func() { x.src.Token() }) // has an answer without B under way
				x.sleep(time.Second)
				x.delegate("B", time.Hour)
				token, err := x.src.Renew(t.Context(), refused)
				if err != nil {
					t.Fatalf("Renew: got error %v, want token B", err)
				}
				x.wantToken(token, "B")
				wg.Wait()
			})
		})
	}
}

func TestRenewWithoutTokenWaitsLikeToken(t *testing.T) {
	sourceBubble(t, func(t *testing.T, x *sourceFixture) {
		x.start()
		x.delegate("A", time.Hour)
		token, err := x.src.Renew(t.Context(), &oauth2.Token{AccessToken: "another source's"})
		if err != nil {
			t.Fatalf("Renew: got error %v, want token A", err)
		}
		x.wantToken(token, "A")
		x.sleep(2 * time.Hour)
		_, err = x.src.Renew(t.Context(), token)
		if !errors.Is(err, authsec.ErrDelegationExpired) {
			t.Errorf("Renew of an expired token: got error %v, want one that is %v", err, authsec.ErrDelegationExpired)
		}
		x.wantFetches(2)
	})
}

func TestRenewWaiterLeavesWithItsContextAlone(t *testing.T) {
	sourceBubble(t, func(t *testing.T, x *sourceFixture) {
		x.start()
		x.delegate("A", time.Hour)
		refused := x.want("A")
		x.delegate("B", time.Hour)
		x.srv.SetLatency(5 * time.Second)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		began := time.Now()
		if token, err := x.src.Renew(ctx, refused); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Renew: got %s and error %v, want one that is %v", x.name(token), err, context.DeadlineExceeded)
		}
		x.wantWithin("time until it left", time.Since(began), time.Second, time.Second)
		x.want("A")
		x.sleep(4 * time.Second)
		x.want("B")
		x.wantFetches(2)
	})
}

func TestRenewRejectsEmptyToken(t *testing.T) {
	sourceBubble(t, func(t *testing.T, x *sourceFixture) {
		x.start()
		x.delegate("A", time.Hour)
		if _, err := x.src.Renew(t.Context(), new(oauth2.Token)); err == nil {
			t.Error("Renew of an empty token: got no error, want one")
		}
		x.wantFetches(0)
	})
}

// Foreign code.

func TestSourceOutlivesForeignCode(t *testing.T) {
	const timeout = 5 * time.Second
	const secret = "a-secret-that-must-not-be-shown"
	// Each returns nil when it behaves.
	ways := map[string]func(release <-chan struct{}) error{
		"never returns":        func(release <-chan struct{}) error { <-release; return errors.New("too late") },
		"ends its goroutine":   func(<-chan struct{}) error { runtime.Goexit(); return nil },
		"panics":               func(<-chan struct{}) error { panic(secret) },
		"panics with an error": func(<-chan struct{}) error { panic(errors.New(secret)) },
		"fails":                func(<-chan struct{}) error { return errors.New("failed") },
	}
	places := map[string]func(c *authsec.Config, misbehave func() error){
		"Credential": func(c *authsec.Config, misbehave func() error) {
			c.Credential = sourceCredential(func() (*oauth2.Token, error) {
				if err := misbehave(); err != nil {
					return nil, err
				}
				return &oauth2.Token{AccessToken: "caller"}, nil
			})
		},
		"HTTPClient": func(c *authsec.Config, misbehave func() error) {
			base := c.HTTPClient.Transport
			c.HTTPClient.Transport = sourceRoundTripper(func(req *http.Request) (*http.Response, error) {
				if err := misbehave(); err != nil {
					return nil, err
				}
				return base.RoundTrip(req)
			})
		},
		"Keyfunc": func(c *authsec.Config, misbehave func() error) {
			base := c.Keyfunc
			c.Keyfunc = func(token *jwt.Token) (any, error) {
				if err := misbehave(); err != nil {
					return nil, err
				}
				return base(token)
			}
		},
	}
	for place, install := range places {
		for way, misbehave := range ways {
			t.Run(place+" "+way, func(t *testing.T) {
				sourceBubble(t, func(t *testing.T, x *sourceFixture) {
					release := make(chan struct{})
					defer close(release)
					var bad atomic.Bool
					x.srv.RequireCredential("caller")
					x.start(func(c *authsec.Config) {
						c.FetchTimeout = timeout
						c.Keyfunc = x.srv.Keyfunc
						c.Credential = oauth2.StaticTokenSource(&oauth2.Token{AccessToken: "caller"})
						install(c, func() error {
							if !bad.Load() {
								return nil
							}
							return misbehave(release)
						})
					})
					x.delegate("A", time.Hour)

					bad.Store(true)
					began := time.Now()
					e := x.wantError(nil)
					x.wantWithin("time until the error", time.Since(began), 0, timeout)
					if strings.Contains(e.Error(), secret) {
						t.Error("error: got what was panicked with in it, want its type only")
					}
					bad.Store(false)
					time.Sleep(2 * time.Second) // remembered for 1.5 s at most
					if token, err := x.src.Token(); err != nil || x.name(token) != "A" {
						t.Fatalf("later: got %s and error %v, want A", x.name(token), err)
					}

					bad.Store(true)
					x.sleep(55*time.Minute + 3*time.Minute)
					x.delegate("B", time.Hour)
					x.want("A") // at once
					x.sleep(timeout)
					x.want("A")
					if got := x.src.Stats().Failures; got < 2 {
						t.Errorf("failures: got %d, want the renewal's too", got)
					}
					bad.Store(false)
					x.sleep(46 * time.Second) // one step and a half, after the failure
					x.want("A")
					x.want("B")
				})
			})
		}
	}
}

func TestSourceRejectsCredentialWithoutToken(t *testing.T) {
	tests := map[string]*oauth2.Token{
		"nil":         nil,
		"empty":       {},
		"white space": {AccessToken: "two words"},
		"line break":  {AccessToken: "one\r\ntwo"},
	}
	for name, token := range tests {
		t.Run(name, func(t *testing.T) {
			sourceBubble(t, func(t *testing.T, x *sourceFixture) {
				x.start(func(c *authsec.Config) {
					c.Credential = sourceCredential(func() (*oauth2.Token, error) { return token, nil })
				})
				x.delegate("A", time.Hour)
				if e := x.wantError(nil); !strings.Contains(e.Error(), "Config.Credential") {
					t.Errorf("error: got %v, want one that names Config.Credential", e)
				}
				x.wantRequests(0)
			})
		})
	}
}

func TestSourceGivesCredentialTheFetchsContext(t *testing.T) {
	sourceBubble(t, func(t *testing.T, x *sourceFixture) {
		credential := make(sourceContextCredential, 1)
		x.start(func(c *authsec.Config) {
			c.Credential, c.FetchTimeout = credential, 5*time.Second
		})
		x.delegate("A", time.Hour)
		began := time.Now()
		x.wantError(nil)
		x.wantWithin("time until the error", time.Since(began), 5*time.Second, 5*time.Second)
		if err := <-credential; !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("the credential's context: got %v, want %v", err, context.DeadlineExceeded)
		}
	})
}

// sourceContextCredential waits for its context's end, and tells it.
type sourceContextCredential chan error

func (c sourceContextCredential) Token() (*oauth2.Token, error) {
	return nil, errors.New("called without a context")
}

func (c sourceContextCredential) TokenContext(ctx context.Context) (*oauth2.Token, error) {
	<-ctx.Done()
	c <- ctx.Err()
	return nil, ctx.Err()
}

func TestSourceHTTPClientThatLeadsBackIsError(t *testing.T) {
	const timeout = 5 * time.Second
	tests := map[string]struct {
		install func(c *authsec.Config) (finish func(*authsec.Source))
		within  time.Duration
	}{
		"authsec.Transport": {
			func(c *authsec.Config) func(*authsec.Source) {
				loop := &authsec.Transport{Base: c.HTTPClient.Transport, Hosts: []string{"*"}}
				c.HTTPClient.Transport = loop
				return func(s *authsec.Source) { loop.Source = s }
			},
			2 * time.Second, // attempts and their backoff
		},
		"oauth2.Transport": {
			func(c *authsec.Config) func(*authsec.Source) {
				loop := &oauth2.Transport{Base: c.HTTPClient.Transport}
				c.HTTPClient.Transport = loop
				return func(s *authsec.Source) { loop.Source = s }
			},
			timeout,
		},
		"Credential": {
			func(c *authsec.Config) func(*authsec.Source) {
				loop := new(sourceLateCredential)
				c.Credential = loop
				return func(s *authsec.Source) { loop.Source = s }
			},
			0,
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			sourceBubble(t, func(t *testing.T, x *sourceFixture) {
				var finish func(*authsec.Source)
				x.start(func(c *authsec.Config) {
					c.FetchTimeout = timeout
					finish = tt.install(c)
				})
				finish(x.src)
				x.delegate("A", time.Hour)
				for range 3 {
					began := time.Now()
					x.wantError(nil)
					x.wantWithin("time until the error", time.Since(began), 0, tt.within)
					time.Sleep(10 * time.Second)
				}
				x.wantRequests(0)
			})
		})
	}
}

// sourceLateCredential is a Source that is known only after it was configured.
type sourceLateCredential struct{ *authsec.Source }

// Clocks.

// sourceSkewedServer gives out one opaque token until it is told to stop, by a clock
// that is off, through a cache perhaps.
type sourceSkewedServer struct {
	offset  time.Duration // of its clock
	age     time.Duration // of its answers
	latency time.Duration
	expiry  time.Time // by the true clock
	ttlOnly bool      // tells ttl_seconds, for a token issued when the answer was, rather than expires_at
	down    atomic.Bool
}

func (s *sourceSkewedServer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	time.Sleep(s.latency / 2)
	answered := time.Now().Add(-s.age)
	w.Header().Set("Date", answered.Add(s.offset).UTC().Format(http.TimeFormat))
	if s.age > 0 {
		w.Header().Set("Age", fmt.Sprint(int(s.age.Seconds())))
	}
	w.Header().Set("Content-Type", "application/json")
	switch {
	case s.down.Load():
		w.WriteHeader(404)
		fmt.Fprint(w, `{"error":"No active delegation token found"}`)
	case s.ttlOnly:
		fmt.Fprintf(w, `{"token":"opaque","ttl_seconds":%d}`, int(s.expiry.Sub(answered).Seconds()))
	default:
		fmt.Fprintf(w, `{"token":"opaque","expires_at":%q}`, s.expiry.Add(s.offset).Format(time.RFC3339Nano))
	}
	time.Sleep(s.latency / 2)
}

func TestSourceKnowsExpiryWhateverTheClocksSay(t *testing.T) {
	const ttl = 10 * time.Minute
	tests := []struct {
		name  string
		srv   sourceSkewedServer
		early time.Duration // how much too early the token may be given up
	}{
		{"clocks agree", sourceSkewedServer{}, 0},
		{"clocks agree, slow", sourceSkewedServer{latency: 2 * time.Second}, 0},
		{"server 3 h ahead", sourceSkewedServer{offset: 3 * time.Hour}, time.Second},
		{"server 3 h behind", sourceSkewedServer{offset: -3 * time.Hour}, time.Second},
		{"server 3 h ahead, slow", sourceSkewedServer{offset: 3 * time.Hour, latency: 2 * time.Second}, 3 * time.Second},
		{"server 3 h behind, slow", sourceSkewedServer{offset: -3 * time.Hour, latency: 2 * time.Second}, 3 * time.Second},
		{"server 90 s ahead", sourceSkewedServer{offset: 90 * time.Second}, time.Second},
		{"server 90 s behind", sourceSkewedServer{offset: -90 * time.Second}, time.Second},
		{"server a fraction behind", sourceSkewedServer{offset: -90*time.Second + 300*time.Millisecond}, time.Second},
		{"answer aged 4 min", sourceSkewedServer{age: 4 * time.Minute}, 0},
		{"answer aged 4 min, server 3 h ahead", sourceSkewedServer{age: 4 * time.Minute, offset: 3 * time.Hour}, time.Second},
		{"answer aged 4 min, server 3 h behind", sourceSkewedServer{age: 4 * time.Minute, offset: -3 * time.Hour}, time.Second},
		{"time to live", sourceSkewedServer{ttlOnly: true, offset: 3 * time.Hour}, 0},
		{"time to live, slow", sourceSkewedServer{ttlOnly: true, offset: 3 * time.Hour, latency: 2 * time.Second}, time.Second},
		{"time to live, answer aged 4 min", sourceSkewedServer{ttlOnly: true, age: 4 * time.Minute, offset: -3 * time.Hour}, 0},
	}
	for i := range tests {
		tt := &tests[i]
		t.Run(tt.name, func(t *testing.T) {
			sourceBubble(t, func(t *testing.T, x *sourceFixture) {
				x.names["opaque"] = "A"
				tt.srv.expiry = time.Now().Add(ttl)
				x.start(func(c *authsec.Config) {
					c.HTTPClient = &http.Client{Transport: authsectest.RoundTripper(&tt.srv)}
				})
				token, err := x.src.Token()
				if err != nil {
					t.Fatalf("Token: got error %v, want a token", err)
				}
				x.wantWithin("Expiry, after the true one", token.Expiry.Sub(tt.srv.expiry), -tt.early, 0)
				tt.srv.down.Store(true)
				x.sleep(time.Until(tt.srv.expiry) - tt.early - time.Nanosecond)
				x.want("A")
				x.sleep(time.Until(tt.srv.expiry))
				x.wantError(authsec.ErrNotDelegated)
			})
		})
	}
}

// Beside oauth2.

func TestSourceServesSeveralOAuth2Clients(t *testing.T) {
	sourceBubble(t, func(t *testing.T, x *sourceFixture) {
		x.start()
		x.delegate("A", 8*time.Second) // less than what oauth2 takes for expired: it asks each time
		api := &http.Client{Transport: authsectest.RoundTripper(x.srv.API(nil))}
		ctx := context.WithValue(t.Context(), oauth2.HTTPClient, api)
		var wg sync.WaitGroup
		for range 8 {
			client := oauth2.NewClient(ctx, x.src)
			for range 4 {
				wg.Go(func() {
					for range 20 {
						resp, err := client.Get("https://api.test/")
						if err != nil {
							t.Errorf("Get: got error %v, want none", err)
							return
						}
						resp.Body.Close()
						if resp.StatusCode != http.StatusOK {
							t.Errorf("Get: got status %d, want 200", resp.StatusCode)
						}
						time.Sleep(300 * time.Millisecond)
					}
				})
			}
		}
		wg.Wait()
		x.wantFetches(1)
	})
}

// What can be seen.

func TestSourceStats(t *testing.T) {
	sourceBubble(t, func(t *testing.T, x *sourceFixture) {
		x.start()
		check := func(when string, want authsec.Stats) {
			t.Helper()
			got := x.src.Stats()
			if got.Fetches != want.Fetches || got.Failures != want.Failures || got.Renewals != want.Renewals || got.Refusals != want.Refusals {
				t.Errorf("%s: got fetches %d, failures %d, renewals %d, refusals %d, want %d, %d, %d, %d", when,
					got.Fetches, got.Failures, got.Renewals, got.Refusals, want.Fetches, want.Failures, want.Renewals, want.Refusals)
			}
			if !got.Expiry.Equal(want.Expiry) {
				t.Errorf("%s: got Expiry %v, want %v", when, got.Expiry, want.Expiry)
			}
			if !got.LastSuccess.Equal(want.LastSuccess) {
				t.Errorf("%s: got LastSuccess %v, want %v", when, got.LastSuccess, want.LastSuccess)
			}
			if (got.LastError == nil) != (want.LastError == nil) || !errors.Is(got.LastError, want.LastError) {
				t.Errorf("%s: got LastError %v, want %v", when, got.LastError, want.LastError)
			}
		}
		next := func(when string, least, greatest time.Duration) {
			t.Helper()
			x.wantWithin(when+": NextFetch from now", time.Until(x.src.Stats().NextFetch), least, greatest)
		}
		var want authsec.Stats
		check("before any call", want)
		if got := x.src.Stats().NextFetch; !got.IsZero() {
			t.Errorf("before any call: got NextFetch %v, want none", got)
		}

		x.wantError(authsec.ErrNotDelegated)
		x.wantError(authsec.ErrNotDelegated)
		want.Fetches, want.Failures, want.LastError = 1, 1, authsec.ErrNotDelegated
		check("after a failure", want)
		next("after a failure", 500*time.Millisecond, 1500*time.Millisecond)
		x.sleep(2 * time.Second)
		if got := x.src.Stats().NextFetch; !got.IsZero() {
			t.Errorf("when the failure is forgotten: got NextFetch %v, want none", got)
		}

		x.delegate("A", time.Hour)
		x.want("A")
		want.Fetches, want.LastError, want.LastSuccess, want.Expiry = 2, nil, time.Now(), time.Now().Add(time.Hour)
		check("with a token", want)
		next("with a token", 55*time.Minute, 57*time.Minute+30*time.Second)

		if _, err := x.src.Renew(t.Context(), x.want("A")); err != nil {
			t.Fatalf("Renew: got error %v, want none", err)
		}
		want.Fetches, want.Refusals = 3, 1
		check("after a refusal that brought the same token", want)
		next("after a refusal that brought the same token", 55*time.Minute, 57*time.Minute+30*time.Second)

		x.sleep(58 * time.Minute)
		x.srv.FailNext(1, sourceNoClient)
		x.want("A")
		want.Fetches, want.Failures, want.LastError = 4, 2, authsec.ErrNotDelegated
		check("after a renewal that failed", want)
		next("after a renewal that failed", 15*time.Second, 45*time.Second)

		x.sleep(45 * time.Second)
		x.delegate("B", time.Hour)
		x.srv.SetLatency(time.Second)
		x.want("A")
		want.Fetches++
		check("while a renewal is under way", want)
		if got := x.src.Stats().NextFetch; !got.IsZero() {
			t.Errorf("while a renewal is under way: got NextFetch %v, want none", got)
		}
		want.Expiry = time.Now().Add(time.Hour)
		x.sleep(time.Second)
		want.Renewals, want.LastError, want.LastSuccess = 1, nil, time.Now()
		check("after a renewal", want)

		x.sleep(time.Hour)
		want.Expiry = time.Time{}
		check("past the expiry", want)
	})
}

func TestSourceLogsEachEvent(t *testing.T) {
	sourceBubble(t, func(t *testing.T, x *sourceFixture) {
		x.start()
		check := func(when string, level slog.Level, want ...string) []sourceLogEntry {
			t.Helper()
			got := x.log.take()
			var msgs []string
			for _, e := range got {
				msgs = append(msgs, e.msg)
				if e.level != level {
					t.Errorf("%s: got %q at %v, want %v", when, e.msg, e.level, level)
				}
			}
			if !slices.Equal(msgs, want) {
				t.Fatalf("%s: got logs %q, want %q", when, msgs, want)
			}
			return got
		}
		x.wantError(authsec.ErrNotDelegated)
		check("at the first failure", slog.LevelError, "no token")
		for range 5 * 60 {
			x.sleep(time.Second)
			x.wantError(authsec.ErrNotDelegated)
		}
		check("while that lasts", 0)

		x.delegate("A", time.Hour)
		if _, err := x.src.Renew(t.Context(), nil); err != nil {
			t.Fatalf("Renew: got error %v, want none", err)
		}
		e := check("when a token comes", slog.LevelInfo, "token fetched")[0]
		if got, want := e.attrs["expires_in"], any(time.Hour); got != want {
			t.Errorf("token fetched: got expires_in %v, want %v", got, want)
		}

		x.sleep(58 * time.Minute)
		x.srv.FailNext(1, sourceNoClient)
		x.want("A")
		e = check("when a renewal fails", slog.LevelWarn, "renewal failed")[0]
		if got, want := fmt.Sprint(e.attrs["status"]), "404"; got != want {
			t.Errorf("renewal failed: got status %v, want %v", got, want)
		}
		if got, want := e.attrs["expires_in"], any(2*time.Minute); got != want {
			t.Errorf("renewal failed: got expires_in %v, want %v", got, want)
		}
		if got, want := e.attrs["next_attempt"], x.src.Stats().NextFetch; fmt.Sprint(got) != fmt.Sprint(want) {
			t.Errorf("renewal failed: got next_attempt %v, want %v", got, want)
		}

		x.sleep(46 * time.Second)
		x.want("A")
		check("when the same token comes again", 0)
		x.sleep(46 * time.Second)
		x.delegate("B", 10*time.Second)
		x.want("A")
		check("when another token comes", slog.LevelInfo, "token renewed")

		x.sleep(10 * time.Second)
		x.wantError(authsec.ErrDelegationExpired)
		x.sleep(2 * time.Second)
		x.wantError(authsec.ErrNotDelegated)
		check("when it expires", slog.LevelError, "no token")
	})
}

func TestSourceZeroValueIsError(t *testing.T) {
	for name, src := range map[string]*authsec.Source{"nil": nil, "zero": new(authsec.Source)} {
		t.Run(name, func(t *testing.T) {
			if _, err := src.Token(); err == nil {
				t.Error("Token: got no error, want one")
			}
			if _, err := src.Renew(t.Context(), nil); err == nil {
				t.Error("Renew: got no error, want one")
			}
			if got := src.Stats().Fetches; got != 0 {
				t.Errorf("Stats.Fetches: got %d, want 0", got)
			}
		})
	}
}

// While the server wants not to be asked, no fetch is there to tell that the
// token is over.
func TestLossOfTokenIsLoggedWhileServerIsNotAsked(t *testing.T) {
	sourceBubble(t, func(t *testing.T, x *sourceFixture) {
		x.start()
		x.delegate("A", time.Minute)
		x.want("A")
		x.srv.Fail(authsectest.Answer(429, `{"error":"Rate limit exceeded","window":"5m0s"}`))
		for range 90 {
			time.Sleep(time.Second)
			x.src.Token()
			synctest.Wait()
		}
		var logged []string
		for _, e := range x.log.take() {
			logged = append(logged, e.msg)
		}
		if want := []string{"token fetched", "renewal failed", "no token"}; !slices.Equal(logged, want) {
			t.Errorf("logs: got %q, want %q", logged, want)
		}
	})
}

// badLogger is a Logger's handler that does as its func.
type badLogger struct {
	slog.Handler
	handle func()
}

func (l badLogger) Handle(context.Context, slog.Record) error { l.handle(); return nil }

func TestLoggerThatIsStuckOrExitsHoldsNobodyUp(t *testing.T) {
	for name, misbehave := range map[string]func(chan struct{}){
		"stuck": func(end chan struct{}) { <-end },
		"exits": func(chan struct{}) { runtime.Goexit() },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				end := make(chan struct{})
				defer close(end)
				srv := authsectest.NewInMemoryServer()
				cfg := srv.Config(authsectest.ClientID)
				cfg.Logger = slog.New(badLogger{slog.NewTextHandler(io.Discard, nil), func() { misbehave(end) }})
				src, err := authsec.NewSource(cfg)
				if err != nil {
					t.Fatal(err)
				}
				for i := range 8 { // more than the fetches that may be left behind
					srv.Delegate(authsectest.ClientID, authsectest.Delegation{})
					began := time.Now()
					if _, err := src.Renew(t.Context(), nil); err != nil {
						t.Errorf("Renew %d: got %v, want no error", i, err)
					}
					if took := time.Since(began); took > time.Second {
						t.Errorf("Renew %d: took %v, want less than 1s", i, took)
					}
					time.Sleep(2 * time.Second)
				}
			})
		})
	}
}
