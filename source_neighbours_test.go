// Copyright 2026 The authsec Authors
// SPDX-License-Identifier: Apache-2.0

package authsec_test

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/authsec-go/authsec"
	"github.com/authsec-go/authsec/authsectest"
	"golang.org/x/oauth2"
)

// badError is an error whose methods do something to the Source before they
// answer, if they do.
type badError struct{ method func() }

func (e *badError) Error() string   { e.method(); return "a bad error" }
func (e *badError) Is(error) bool   { e.method(); return false }
func (e *badError) As(any) bool     { e.method(); return false }
func (e *badError) Unwrap() error   { e.method(); return nil }
func (e *badError) Timeout() bool   { e.method(); return false }
func (e *badError) Temporary() bool { e.method(); return false }

// badStore is a Cache that fails with one error.
type badStore struct{ err error }

func (s badStore) Get(context.Context, string) ([]byte, error)              { return nil, s.err }
func (s badStore) Put(context.Context, string, []byte, time.Duration) error { return s.err }
func (s badStore) Delete(context.Context, string) error                     { return s.err }
func (s badStore) Lease(context.Context, string, time.Duration) (func(context.Context) error, error) {
	return nil, s.err
}

// badBody is an answer's body that fails.
type badBody struct{ err error }

func (b badBody) Read([]byte) (int, error) { return 0, b.err }
func (b badBody) Close() error             { return b.err }

// Errors of code that is not ours call back into the Source, panic, or are nil pointers. The call
// still returns, and the Source still works.
func TestErrorsOfNeighboursDoNoHarm(t *testing.T) {
	var src *authsec.Source
	methods := map[string]error{
		"calls back": &badError{func() { src.Stats(); src.Token() }},
		"panics":     &badError{func() { panic("an error") }},
		"typed nil":  (*badError)(nil),
	}
	good := authsectest.Answer(http.StatusOK, `{"token":"opaque","ttl_seconds":3600}`)
	answer := authsectest.RoundTripper(good)
	neighbours := map[string]struct {
		config func(*authsec.Config, error)
		token  bool // the call gets a token
	}{
		"store": {func(c *authsec.Config, err error) {
			c.Cache = &authsec.CacheConfig{Store: badStore{err}, InsecurePlaintext: true}
		}, true},
		"credential": {func(c *authsec.Config, err error) {
			c.Credential = sourceFunc(func() (*oauth2.Token, error) { return nil, err })
		}, false},
		"transport": {func(c *authsec.Config, err error) {
			c.HTTPClient = &http.Client{Transport: baseFunc(func(*http.Request) (*http.Response, error) { return nil, err })}
		}, false},
		"body": {func(c *authsec.Config, err error) {
			c.HTTPClient = &http.Client{Transport: baseFunc(func(*http.Request) (*http.Response, error) {
				return &http.Response{StatusCode: 200, Header: http.Header{}, Body: badBody{err}}, nil
			})}
		}, false},
		"logger": {func(c *authsec.Config, err error) {
			c.Logger = slog.New(badLogger{slog.NewTextHandler(io.Discard, nil), func() { _ = err.Error() }})
		}, true},
	}
	for name, n := range neighbours {
		for method, bad := range methods {
			t.Run(name+" "+method, func(t *testing.T) {
				bubble(t, func(t *testing.T) {
					cfg := goodConfig()
					cfg.HTTPClient = &http.Client{Transport: answer}
					cfg.Retry.MaxAttempts, cfg.FetchTimeout = 1, time.Second // which ends a call that waits for itself
					n.config(&cfg, bad)
					var err error
					if src, err = authsec.NewSource(cfg); err != nil {
						t.Fatal(err)
					}
					for range 3 {
						began := time.Now()
						if _, err := src.Token(); (err == nil) != n.token {
							t.Errorf("Token: got %t, want a token: %t", err == nil, n.token)
						}
						src.Stats()
						if took := time.Since(began); took > 2*time.Second {
							t.Errorf("Token: took %v, want 2s at most", took)
						}
						time.Sleep(2 * time.Second)
					}
				})
			})
		}
	}
}

// contextSource is a TokenSource with a context.
type contextSource func(context.Context) (*oauth2.Token, error)

func (f contextSource) Token() (*oauth2.Token, error)                           { return f(context.Background()) }
func (f contextSource) TokenContext(ctx context.Context) (*oauth2.Token, error) { return f(ctx) }

// Sources that are each other's Credential, or use each other in their HTTPClient,
// would wait for each other.
func TestSourcesThatWaitForEachOtherFailAtOnce(t *testing.T) {
	for n := 1; n <= 3; n++ {
		for name, link := range map[string]func(cfg *authsec.Config, next func() *authsec.Source){
			"Credential": func(cfg *authsec.Config, next func() *authsec.Source) {
				cfg.Credential = contextSource(func(ctx context.Context) (*oauth2.Token, error) { return next().TokenContext(ctx) })
			},
			"HTTPClient": func(cfg *authsec.Config, next func() *authsec.Source) {
				cfg.HTTPClient = &http.Client{Transport: baseFunc(func(req *http.Request) (*http.Response, error) {
					tr := &authsec.Transport{Source: next(), Hosts: []string{"*"}, Base: authsectest.RoundTripper(authsectest.Answer(200, `{}`))}
					return tr.RoundTrip(req)
				})}
			},
		} {
			t.Run(name, func(t *testing.T) {
				bubble(t, func(t *testing.T) {
					sources := make([]*authsec.Source, n)
					for i := range sources {
						cfg := goodConfig()
						link(&cfg, func() *authsec.Source { return sources[(i+1)%n] })
						src, err := authsec.NewSource(cfg)
						if err != nil {
							t.Fatal(err)
						}
						sources[i] = src
					}
					began := time.Now()
					var wg sync.WaitGroup
					for _, src := range sources { // all at once, and so each may wait for the next one's fetch
						wg.Go(func() {
							if _, err := src.Token(); err == nil {
								t.Error("got a token, want an error")
							}
						})
					}
					wg.Wait()
					if took := time.Since(began); took > 10*time.Second { // the attempts of a fetch, but no time-out
						t.Errorf("%d Sources: took %v, want no wait for each other", n, took)
					}
					synctest.Wait()
				})
			})
		}
	}
}

type traceKey struct{}

// A fetch has the values of the context that started it, such as a trace, and not
// its end.
func TestFetchHasTheValuesOfItsCallersContext(t *testing.T) {
	sourceBubble(t, func(t *testing.T, x *sourceFixture) {
		var seen []any
		x.start(func(c *authsec.Config) {
			next := c.HTTPClient.Transport
			c.HTTPClient = &http.Client{Transport: baseFunc(func(req *http.Request) (*http.Response, error) {
				time.Sleep(time.Second)
				seen = append(seen, req.Context().Value(traceKey{}))
				if err := req.Context().Err(); err != nil {
					t.Errorf("the fetch's context: got %v, want it to go on", err)
				}
				return next.RoundTrip(req)
			})}
		})
		x.delegate("A", time.Hour)
		ctx, cancel := context.WithTimeout(context.WithValue(t.Context(), traceKey{}, "trace-7"), 100*time.Millisecond)
		defer cancel()
		if _, err := x.src.TokenContext(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("got %v, want the caller's deadline", err)
		}
		x.sleep(2 * time.Second)
		x.want("A")
		if len(seen) != 1 || seen[0] != "trace-7" {
			t.Errorf("values seen: got %v, want the caller's", seen)
		}
	})
}

// An API rejects an older token late, while the fetch of a newer one is under way.
func TestLateRejectionLeavesTheNewerToken(t *testing.T) {
	sourceBubble(t, func(t *testing.T, x *sourceFixture) {
		x.start()
		x.delegate("A", time.Hour)
		old := x.want("A")
		x.delegate("B", time.Hour)
		if _, err := x.src.Refresh(t.Context()); err != nil {
			t.Fatal(err)
		}
		x.want("B")
		x.sleep(2 * time.Second) // Refresh asks once a second
		x.srv.SetLatency(2 * time.Second)
		x.delegate("C", time.Hour)
		var wg sync.WaitGroup
		wg.Go(func() { x.src.Refresh(t.Context()) })
		time.Sleep(time.Second)
		token, err := x.src.Renew(t.Context(), old)
		if err != nil {
			t.Fatal(err)
		}
		x.wantToken(token, "B")
		wg.Wait()
		x.want("C")
		if _, err := x.src.Renew(t.Context(), old); err != nil {
			t.Fatal(err)
		}
		x.want("C")
	})
}
