// Copyright 2026 The authsec Authors
// SPDX-License-Identifier: Apache-2.0

package authsec_test

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/authsec-go/authsec"
	"github.com/authsec-go/authsec/authsectest"
	"github.com/golang-jwt/jwt/v5"
	"golang.org/x/oauth2"
)

func TestSourceOutlivesForeignCode(t *testing.T) {
	const timeout = 5 * time.Second
	const secret = "a-secret-that-must-not-be-shown"
	ways := map[string]func(release <-chan struct{}) error{
		"never returns":        func(release <-chan struct{}) error { <-release; return errors.New("too late") },
		"ends its goroutine":   func(<-chan struct{}) error { runtime.Goexit(); return nil },
		"panics":               func(<-chan struct{}) error { panic(secret) },
		"panics with an error": func(<-chan struct{}) error { panic(errors.New(secret)) },
		"fails":                func(<-chan struct{}) error { return errors.New("failed") },
		"returns nothing":      func(<-chan struct{}) error { return nil },
	}
	// misbehave returns true and a failure, unless the code is to behave.
	places := map[string]func(c *authsec.Config, misbehave func() (bool, error)){
		"Credential": func(c *authsec.Config, misbehave func() (bool, error)) {
			c.Credential = sourceFunc(func() (*oauth2.Token, error) {
				if bad, err := misbehave(); bad {
					return nil, err
				}
				return &oauth2.Token{AccessToken: "caller"}, nil
			})
		},
		"HTTPClient": func(c *authsec.Config, misbehave func() (bool, error)) {
			through(func(req *http.Request, next http.RoundTripper) (*http.Response, error) {
				if bad, err := misbehave(); bad {
					return nil, err
				}
				return next.RoundTrip(req)
			})(c)
		},
		"Keyfunc": func(c *authsec.Config, misbehave func() (bool, error)) {
			base := c.Keyfunc
			c.Keyfunc = func(token *jwt.Token) (any, error) {
				if bad, err := misbehave(); bad {
					return nil, err
				}
				return base(token)
			}
		},
	}
	for place, install := range places {
		for way, misbehave := range ways {
			inSourceBubble(t, place+" "+way, func(t *testing.T, x *sourceFixture) {
				release := make(chan struct{})
				defer close(release)
				var bad atomic.Bool
				x.srv.RequireCredential("caller")
				x.start(func(c *authsec.Config) {
					c.FetchTimeout = timeout
					c.Keyfunc = x.srv.Keyfunc
					withCredential("caller")(c)
					install(c, func() (bool, error) {
						if !bad.Load() {
							return false, nil
						}
						return true, misbehave(release)
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
				time.Sleep(2 * time.Second) // cached for 1.5 s at most
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
		}
	}
}

func TestSourceThatLeadsBackToItselfIsError(t *testing.T) {
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
		inSourceBubble(t, name, func(t *testing.T, x *sourceFixture) {
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
	}
}

// sourceLateCredential is a Source that is known only after it was configured.
type sourceLateCredential struct{ *authsec.Source }

// badLogger is a Logger's handler that calls its func.
type badLogger struct {
	slog.Handler
	handle func()
}

func (l badLogger) Handle(context.Context, slog.Record) error { l.handle(); return nil }

// A Logger may panic, exit, be slow, or call the Source: no lock is held while it
// runs.
func TestLoggerThatMisbehavesDoesNoHarm(t *testing.T) {
	for name, misbehave := range map[string]func(*authsec.Source){
		"panics": func(*authsec.Source) { panic("a Logger") },
		"exits":  func(*authsec.Source) { runtime.Goexit() },
		"slow":   func(*authsec.Source) { time.Sleep(90 * time.Millisecond) },
		"calls back": func(src *authsec.Source) {
			src.Stats()
			src.Token()
		},
	} {
		inBubble(t, name, func(t *testing.T) {
			srv := authsectest.NewInMemoryServer()
			cfg := srv.Config(authsectest.ClientID)
			var src *authsec.Source
			cfg.Logger = slog.New(badLogger{slog.NewTextHandler(io.Discard, nil), func() { misbehave(src) }})
			src = newSource(t, cfg)
			for i := range 8 { // more than the fetches that may be left behind
				srv.Delegate(authsectest.ClientID, authsectest.Delegation{})
				began := time.Now()
				if _, err := src.Refresh(t.Context()); err != nil {
					t.Errorf("Refresh %d: got %v, want no error", i, err)
				}
				if took := time.Since(began); took > 100*time.Millisecond {
					t.Errorf("Refresh %d: took %v, want 100ms at most", i, took)
				}
				time.Sleep(2 * time.Second)
			}
		})
	}
}

// A Logger that hangs blocks the goroutine that logs, and no other.
func TestLoggerThatHangsHoldsNoLock(t *testing.T) {
	bubble(t, func(t *testing.T) {
		srv := authsectest.NewInMemoryServer()
		srv.Delegate(authsectest.ClientID, authsectest.Delegation{})
		cfg := srv.Config(authsectest.ClientID)
		end := make(chan struct{})
		cfg.Logger = slog.New(badLogger{slog.NewTextHandler(io.Discard, nil), func() { <-end }})
		src := newSource(t, cfg)
		go src.Token() // whose fetch is logged
		synctest.Wait()
		began := time.Now()
		if _, err := src.Token(); err != nil || src.Stats().LastSuccess.IsZero() || time.Since(began) != 0 {
			t.Errorf("Token: got %v after %v, want the token at once", err, time.Since(began))
		}
		close(end)
	})
}
