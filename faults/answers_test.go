// Copyright 2026 The authsec Authors
// SPDX-License-Identifier: Apache-2.0

package faults

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/authsec-go/authsec"
	"github.com/authsec-go/authsec/authsectest"
)

const page = "<!DOCTYPE html><html><title>Bad gateway</title>Please try again later.</html>"

const (
	otherID     = "0c4f6a52-94b1-4b0e-8a9c-55b1f4d0e6aa" // a second agent's
	strangersID = "3f1c9a77-2d0b-4c55-8e21-7a6b5c4d3e2f" // of an agent that no test uses
)

// badAnswers are what an endpoint, or a proxy in front of it, may answer.
var badAnswers = []struct {
	name   string
	answer http.Handler
	is     error // what errors.Is finds; nil: none of the package's errors
	status int   // of the error; 0: no complete answer came
	asked  int   // requests in one fetch
}{
	{"HTML with 502", authsectest.Answer(http.StatusBadGateway, page), nil, http.StatusBadGateway, 4},
	{"HTML with 503", authsectest.Answer(http.StatusServiceUnavailable, page), nil, http.StatusServiceUnavailable, 4},
	{"HTML with 504", authsectest.Answer(http.StatusGatewayTimeout, page), nil, http.StatusGatewayTimeout, 4},
	{"HTML with 408", authsectest.Answer(http.StatusRequestTimeout, page), nil, http.StatusRequestTimeout, 4},
	{"HTML with 524", authsectest.Answer(524, page), nil, 524, 4},
	{"HTML with 403", authsectest.Answer(http.StatusForbidden, page), authsec.ErrInvalidResponse, http.StatusForbidden, 1},
	{"HTML with 200", authsectest.Answer(http.StatusOK, page), authsec.ErrInvalidResponse, http.StatusOK, 1},
	{"HTML with 404", authsectest.Answer(http.StatusNotFound, page), authsec.ErrInvalidResponse, http.StatusNotFound, 1},
	{"truncated JSON", authsectest.Answer(http.StatusOK, `{"token":"eyJhbGciOiJ`), authsec.ErrInvalidResponse, http.StatusOK, 1},
	{"JSON shorter than announced", authsectest.Answer(http.StatusOK, `{"token":"abc","expires_at":"2099-01-01T00:00:00Z"}`, "Content-Length", "4096"), nil, 0, 4},
	{"an empty body", authsectest.Answer(http.StatusOK, ""), authsec.ErrInvalidResponse, http.StatusOK, 1},
	{"a list", authsectest.Answer(http.StatusOK, `[]`), authsec.ErrInvalidResponse, http.StatusOK, 1},
	{"an empty object", authsectest.Answer(http.StatusOK, `{}`), authsec.ErrInvalidResponse, http.StatusOK, 1},
	{"null", authsectest.Answer(http.StatusOK, `null`), authsec.ErrInvalidResponse, http.StatusOK, 1},
	{"a token that is a number", authsectest.Answer(http.StatusOK, `{"token":1,"expires_at":"2099-01-01T00:00:00Z"}`), authsec.ErrInvalidResponse, http.StatusOK, 1},
	{"two objects", authsectest.Answer(http.StatusOK, `{"token":"abc","expires_at":"2099-01-01T00:00:00Z"}{}`), authsec.ErrInvalidResponse, http.StatusOK, 1},
	{"no expiry", authsectest.Answer(http.StatusOK, `{"token":"abc"}`), authsec.ErrInvalidResponse, http.StatusOK, 1},
	{"past its expiry", authsectest.Answer(http.StatusOK, `{"token":"abc","expires_at":"2001-01-01T00:00:00Z"}`), authsec.ErrInvalidResponse, http.StatusOK, 1},
	{"another agent's token", authsectest.Answer(http.StatusOK, fmt.Sprintf(`{"token":"abc","expires_at":"2099-01-01T00:00:00Z","client_id":%q}`, strangersID)), authsec.ErrInvalidResponse, http.StatusOK, 1},
	{"2 MiB", authsectest.Answer(http.StatusOK, `{"token":"abc","expires_at":"2099-01-01T00:00:00Z","pad":"`+strings.Repeat("p", 2*MiB)+`"}`), authsec.ErrInvalidResponse, http.StatusOK, 1},
	{"a redirect", authsectest.Answer(http.StatusFound, page, "Location", "/login"), authsec.ErrInvalidResponse, http.StatusFound, 1},
}

// TestBadAnswersOfTheEndpoint gives each answer to a Source without a token, and to one
// with a token.
func TestBadAnswersOfTheEndpoint(t *testing.T) {
	t.Parallel()
	for i, bad := range badAnswers {
		t.Run(bad.name, func(t *testing.T) {
			t.Parallel()
			s := newStack(t, wires[i%len(wires)])
			s.auth.Fail(bad.answer)
			c := s.newCaller()
			var answered outcome
			for range 5 {
				if answered = c.do(call{}); answered.err == nil || answered.arrivals != 0 {
					t.Errorf("without a token: got error %v, %d arrivals; want an error, 0", answered.err, answered.arrivals)
				}
			}
			checkError(t, answered.err, bad.is, bad.status)
			if got := s.auth.Fetches(); got != bad.asked {
				t.Errorf("the endpoint was asked %d times for 5 requests at once, want %d", got, bad.asked)
			}

			s.auth.Fail(nil)
			c.mustRecover(c.src.Stats().Failures)

			s.auth.Fail(bad.answer)
			_, err := c.src.Refresh(context.Background())
			checkError(t, err, bad.is, bad.status)
			for range 5 {
				c.mustAnswer(call{method: http.MethodPost, send: KiB, want: KiB})
			}
		})
	}
}

func checkError(t *testing.T, err, is error, status int) {
	t.Helper()
	var e *authsec.Error
	if !errors.As(err, &e) || e.StatusCode != status || is != nil && !errors.Is(err, is) {
		t.Errorf("got error %v; want an *authsec.Error of status %d that is %v", err, status, is)
	}
}

// TestAnswerThatStallsEndsWithFetchTimeout: the endpoint sends its header and half of
// its body, and then nothing.
func TestAnswerThatStallsEndsWithFetchTimeout(t *testing.T) {
	t.Parallel()
	const fetchTimeout = time.Second
	for _, w := range wires {
		t.Run(w.name, func(t *testing.T) {
			t.Parallel()
			s := newStack(t, w)
			s.setFront(func(w http.ResponseWriter, r *http.Request) {
				io.WriteString(w, `{"token":"abc",`)
				if err := http.NewResponseController(w).Flush(); err != nil {
					t.Errorf("the endpoint flushing: %v", err)
				}
				<-r.Context().Done()
			})
			c := s.newCaller(func(cfg *callerConfig) { cfg.FetchTimeout = fetchTimeout })
			began := time.Now()
			o := c.do(call{})
			var e *authsec.Error
			if took, most := time.Since(began), fetchTimeout+schedulingAllowance; !errors.As(o.err, &e) || !e.Timeout() || took > most {
				t.Errorf("got error %v after %v, want an *authsec.Error that is a time-out, within %v", o.err, took, most)
			}
			if errors.Is(o.err, context.DeadlineExceeded) {
				t.Errorf("got error %v, which looks like the end of the caller's own context", o.err)
			}
			s.setFront(nil)
			c.mustRecover(c.src.Stats().Failures)
		})
	}
}

// TestEndlessAnswerIsNotReadToItsEnd: the server counts how much of an answer of 64 MiB
// the client takes.
func TestEndlessAnswerIsNotReadToItsEnd(t *testing.T) {
	t.Parallel()
	for _, w := range wires {
		t.Run(w.name, func(t *testing.T) {
			t.Parallel()
			const (
				size  = 64 * MiB
				limit = 16 * MiB // 1 MiB that is read, and the buffers between server and client
			)
			s := newStack(t, w)
			var taken atomic.Int64
			s.setFront(func(w http.ResponseWriter, r *http.Request) {
				n, _ := io.Copy(w, content("endless", size))
				taken.Add(n)
			})
			c := s.newCaller()
			if o := c.do(call{}); !errors.Is(o.err, authsec.ErrInvalidResponse) {
				t.Errorf("got error %v, want one that is ErrInvalidResponse", o.err)
			}
			if !eventually(func() bool { return taken.Load() > 0 }) || taken.Load() > limit {
				t.Errorf("%d bytes of an answer were taken, want at most %d", taken.Load(), limit)
			}
		})
	}
}

// aliases gives out opaque tokens, and makes the API accept them as the real ones: a
// test can't change the exp in a JWT.
type aliases struct {
	mu   sync.Mutex
	real map[string]string
}

func newAliases(s *stack) *aliases {
	a := &aliases{real: map[string]string{}}
	s.setAPIFront(func(w http.ResponseWriter, r *http.Request) {
		alias := strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer ")
		a.mu.Lock()
		r.Header.Set("Authorization", "Bearer "+a.real[alias])
		a.mu.Unlock()
		s.serveAuthorized(w, r)
	})
	return a
}

// conceal replaces an answer's token with its alias.
func (a *aliases) conceal(fields map[string]any) {
	token, ok := fields["token"].(string)
	if !ok {
		return
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	alias := fmt.Sprint("opaque-", len(a.real))
	for name, real := range a.real {
		if real == token {
			alias = name
		}
	}
	a.real[alias], fields["token"] = token, alias
}

// TestWrongClocks: the clocks of server and client differ by 3 hours. (Only the
// difference matters, so the test moves the server's.) A token is used as long as it
// lives, and no longer.
func TestWrongClocks(t *testing.T) {
	t.Parallel()
	for _, w := range wires {
		for name, skew := range map[string]time.Duration{"none": 0, "server ahead": 3 * time.Hour, "server behind": -3 * time.Hour} {
			t.Run(w.name+"/"+name, func(t *testing.T) {
				t.Parallel()
				const life = 8 * time.Second
				s := newStack(t, w)
				a := newAliases(s)
				delegated := time.Now()
				s.auth.Delegate(authsectest.ClientID, authsectest.Delegation{TTL: life})
				s.setFront(s.rewritten(func(fields map[string]any, header http.Header) {
					header.Set("Date", time.Now().Add(skew).UTC().Format(http.TimeFormat))
					if at, ok := fields["expires_at"].(string); ok {
						expiry, err := time.Parse(time.RFC3339Nano, at)
						if err != nil {
							t.Errorf("expires_at: %v", err)
						}
						fields["expires_at"] = expiry.Add(skew).Format(time.RFC3339Nano)
						a.conceal(fields)
					}
				}))
				c := s.newCaller(func(cfg *callerConfig) { cfg.RenewBefore = time.Nanosecond })
				fresh := 0 // requests within the token's life, for certain
				for time.Since(delegated) < life/8 {
					c.mustAnswer(call{method: http.MethodPost, send: KiB, want: KiB})
					fresh++
					time.Sleep(20 * time.Millisecond)
				}
				if got := s.auth.Fetches(); got != 1 {
					t.Errorf("the endpoint was asked %d times for %d requests, want 1", got, fresh)
				}
				// Date has whole seconds. The library assumes the shortest life that is possible.
				left := time.Until(c.src.Stats().Expiry)
				if most := life - time.Since(delegated) + 50*time.Millisecond; left > most || left < most-2*time.Second {
					t.Errorf("the token lives for %v more, want %v, or up to 2 s less", left, most)
				}
				// After that it goes nowhere.
				time.Sleep(time.Until(delegated.Add(life)))
				rejected := s.ledger.rejections.Load()
				if o := c.do(call{}); !errors.Is(o.err, authsec.ErrNotDelegated) || o.arrivals != 0 {
					t.Errorf("after its expiry: got error %v, %d arrivals; want one that is ErrNotDelegated, 0", o.err, o.arrivals)
				}
				if got := s.ledger.rejections.Load() - rejected; got != 0 {
					t.Errorf("the API rejected %d requests with the expired token, want 0", got)
				}
			})
		}
	}
}

// cache is an HTTP cache in front of the endpoint.
type cache struct {
	upstream   http.HandlerFunc
	age        time.Duration // it makes every answer this much older
	noAge      bool          // it sends no Age header
	queryBlind bool          // it gives every agent the same answer
	mu         sync.Mutex    // guards stored
	stored     map[string]*cached
}

type cached struct {
	at     time.Time
	answer *httptest.ResponseRecorder
}

// ServeHTTP asks upstream once for each query, and keeps the answer for ever.
func (c *cache) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	key := r.URL.RawQuery
	if c.queryBlind {
		key = ""
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	entry := c.stored[key]
	if entry == nil {
		entry = &cached{at: time.Now(), answer: httptest.NewRecorder()}
		c.upstream(entry.answer, r)
		c.stored[key] = entry
	}
	age := time.Since(entry.at) + c.age
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Date", time.Now().Add(-age).UTC().Format(http.TimeFormat))
	if !c.noAge {
		w.Header().Set("Age", fmt.Sprint(int(age.Seconds())))
	}
	w.WriteHeader(entry.answer.Code)
	w.Write(entry.answer.Body.Bytes()) // fails only if the client has gone
}

func (s *stack) newCache(c *cache) *cache {
	c.upstream, c.stored = s.auth.Handler().ServeHTTP, map[string]*cached{}
	s.setFront(c.ServeHTTP)
	return c
}

// TestCacheThatAgesAnswers: a cache gives out an answer that is 30 minutes old, for ever.
func TestCacheThatAgesAnswers(t *testing.T) {
	t.Parallel()
	for _, w := range wires {
		t.Run(w.name+"/with Age", func(t *testing.T) {
			t.Parallel()
			const life = 4 * time.Second
			s := newStack(t, w)
			s.newCache(&cache{age: 30 * time.Minute})
			delegated := time.Now()
			s.auth.Delegate(authsectest.ClientID, authsectest.Delegation{TTL: life})
			c := s.newCaller()
			c.mustAnswer(call{})
			if left, most := time.Until(c.src.Stats().Expiry), life-time.Since(delegated)+50*time.Millisecond; left > most || left < most-3*time.Second {
				t.Errorf("the token lives for %v more, want %v, or up to 3 s less", left, most)
			}
			// The cache still gives it out. For up to 3 s the server may have just done so.
			time.Sleep(time.Until(delegated.Add(life + 3*time.Second)))
			before := s.ledger.arrivals.Load()
			if o := c.do(call{}); !errors.Is(o.err, authsec.ErrInvalidResponse) {
				t.Errorf("after its expiry: got error %v, want one that is ErrInvalidResponse", o.err)
			}
			if got := s.ledger.arrivals.Load() - before; got != 0 {
				t.Errorf("%d requests reached the API with an expired token, want 0", got)
			}
		})
		// An old Date without an Age looks like a clock that is behind: the token is used
		// too long. Then the caller gets the API's 401.
		t.Run(w.name+"/without Age", func(t *testing.T) {
			t.Parallel()
			const life = 5 * time.Second // less up to 1 s: a JWT's exp has whole seconds
			s := newStack(t, w)
			a := newAliases(s)
			old := s.newCache(&cache{age: 30 * time.Minute, noAge: true})
			old.upstream = s.rewritten(func(fields map[string]any, _ http.Header) { a.conceal(fields) })
			delegated := time.Now()
			s.auth.Delegate(authsectest.ClientID, authsectest.Delegation{TTL: life})
			c := s.newCaller()
			c.mustAnswer(call{})
			time.Sleep(time.Until(delegated.Add(life)))
			fetches, began := c.src.Stats().Fetches, time.Now()
			for range 5 {
				o := c.do(call{method: http.MethodPost, send: KiB})
				if o.status != http.StatusUnauthorized || o.arrivals != 1 {
					t.Errorf("got status %d, %d arrivals, error %v; want 401, 1", o.status, o.arrivals, o.err)
				}
			}
			// One at once, and then at most one a second.
			if got, most := c.src.Stats().Fetches-fetches, 2+uint64(time.Since(began)/time.Second); got > most {
				t.Errorf("5 rejections caused %d fetches, want at most %d", got, most)
			}
		})
	}
}

// TestCacheThatIgnoresQueries: a cache gives a second agent the first one's token.
func TestCacheThatIgnoresQueries(t *testing.T) {
	t.Parallel()
	for _, w := range wires {
		t.Run(w.name, func(t *testing.T) {
			t.Parallel()
			s := newStack(t, w)
			s.newCache(&cache{queryBlind: true})
			s.auth.Delegate(otherID, authsectest.Delegation{})
			first := s.newCaller()
			second := s.newCaller(func(cfg *callerConfig) { cfg.ClientID = otherID })
			first.mustAnswer(call{})
			for _, k := range calls {
				o := second.do(k)
				if !errors.Is(o.err, authsec.ErrInvalidResponse) || o.arrivals != 0 {
					t.Errorf("%v of the second agent: got error %v, %d arrivals; want one that is ErrInvalidResponse, 0", k, o.err, o.arrivals)
				}
			}
			s.setFront(nil)
			second.mustRecover(second.src.Stats().Failures)
		})
	}
}

// TestAPIAnswers: an API rejects requests and fails.
func TestAPIAnswers(t *testing.T) {
	t.Parallel()
	const unauthorized, unavailable = http.StatusUnauthorized, http.StatusServiceUnavailable
	tests := []struct {
		name     string
		statuses []int // of the first answers; the API's own follow
		repeated int   // the status of requests that can be retried
		attempts int
	}{
		{name: "one 503", statuses: []int{unavailable}, repeated: http.StatusOK, attempts: 2},
		{name: "three 503s", statuses: []int{unavailable, unavailable, unavailable}, repeated: http.StatusOK, attempts: 4},
		{name: "endless 503s", statuses: []int{unavailable, unavailable, unavailable, unavailable, unavailable}, repeated: unavailable, attempts: 4},
	}
	for _, w := range wires {
		for _, test := range tests {
			for _, k := range calls {
				t.Run(fmt.Sprintf("%s/%s/%v", w.name, test.name, k), func(t *testing.T) {
					t.Parallel()
					s := newStack(t, w)
					c := s.newCaller()
					var n atomic.Int64
					s.setAPIFront(func(w http.ResponseWriter, r *http.Request) {
						if i := int(n.Add(1)); i <= len(test.statuses) {
							authsectest.Answer(test.statuses[i-1], strings.Repeat("x", 100*KiB)).ServeHTTP(w, r)
							return
						}
						s.serveAuthorized(w, r)
					})
					status, attempts := test.repeated, test.attempts
					if !k.repeatable() {
						status, attempts = unavailable, 1
					}
					k.want = KiB
					if o := c.do(k); o.status != status || o.arrivals != attempts || o.err != nil {
						t.Errorf("got status %d, %d arrivals, error %v; want %d, %d, none", o.status, o.arrivals, o.err, status, attempts)
					}
				})
			}
		}
		// A rejected token is replaced, and the request is sent again, whatever its
		// method, if its body can be sent again.
		t.Run(w.name+"/401", func(t *testing.T) {
			t.Parallel()
			for _, k := range calls {
				s := newStack(t, w)
				c := s.newCaller()
				c.mustAnswer(call{})
				s.auth.Revoke(authsectest.ClientID)
				s.auth.Delegate(authsectest.ClientID, authsectest.Delegation{})
				k.want = KiB
				status, arrivals := http.StatusOK, 2
				if !k.replayable() {
					status, arrivals = unauthorized, 1
				}
				if o := c.do(k); o.status != status || o.arrivals != arrivals || o.err != nil {
					t.Errorf("%v: got status %d, %d arrivals, error %v; want %d, %d, none", k, o.status, o.arrivals, o.err, status, arrivals)
				}
				c.mustAnswer(k) // with the new token
				if got := s.auth.Fetches(); got != 2 {
					t.Errorf("%v: the endpoint was asked %d times, want 2", k, got)
				}
			}
		})
		// After a revocation the token is dropped, and no request is sent.
		t.Run(w.name+"/revoked", func(t *testing.T) {
			t.Parallel()
			s := newStack(t, w)
			c := s.newCaller()
			c.mustAnswer(call{})
			s.auth.Revoke(authsectest.ClientID)
			if o := c.do(call{method: http.MethodPost, send: KiB}); o.status != unauthorized || o.arrivals != 1 {
				t.Errorf("got status %d, %d arrivals, error %v; want 401, 1", o.status, o.arrivals, o.err)
			}
			if o := c.do(call{}); !errors.Is(o.err, authsec.ErrNotDelegated) || o.arrivals != 0 {
				t.Errorf("got error %v, %d arrivals; want one that is ErrNotDelegated, 0", o.err, o.arrivals)
			}
			s.auth.Delegate(authsectest.ClientID, authsectest.Delegation{})
			c.mustRecover(c.src.Stats().Failures)
		})
	}
}

// TestTokenIsReplacedOncePerRequest: an API rejects one request twice, with a retry after
// a 503 in between. There would be another token each time.
func TestTokenIsReplacedOncePerRequest(t *testing.T) {
	t.Parallel()
	for _, w := range wires {
		t.Run(w.name, func(t *testing.T) {
			t.Parallel()
			s := newStack(t, w)
			c := s.newCaller(func(cfg *callerConfig) { cfg.retry = authsec.RetryPolicy{} })
			c.mustAnswer(call{})
			var n atomic.Int64
			s.setAPIFront(func(w http.ResponseWriter, r *http.Request) {
				switch n.Add(1) {
				case 1, 3:
					s.auth.Delegate(authsectest.ClientID, authsectest.Delegation{})
					authsectest.Answer(http.StatusUnauthorized, `{"error":"invalid_token"}`).ServeHTTP(w, r)
				case 2: // a retry in 2 s, when another rejection may cause another fetch
					authsectest.Answer(http.StatusServiceUnavailable, page, "Retry-After", "2").ServeHTTP(w, r)
				default:
					s.serveAuthorized(w, r)
				}
			})
			if o := c.do(call{}); o.status != http.StatusUnauthorized || o.arrivals != 3 || o.err != nil {
				t.Errorf("got status %d, %d arrivals, error %v; want 401, 3, none", o.status, o.arrivals, o.err)
			}
			if got := s.auth.Fetches(); got != 2 {
				t.Errorf("the endpoint was asked %d times, want 2", got)
			}
		})
	}
}

// TestOutageCausesFewFetches makes requests during an outage without a token: each
// failure is cached for longer.
func TestOutageCausesFewFetches(t *testing.T) {
	t.Parallel()
	// So long that without doubling, with every failure cached for at most 1.5 s, there
	// would be more fetches than most.
	const outage = 8 * time.Second
	s := newStack(t, wires[0])
	s.auth.Revoke(authsectest.ClientID)
	c := s.newCaller()
	began := time.Now()
	requests := 0
	for ; time.Since(began) < outage; requests++ {
		if o := c.do(call{}); !errors.Is(o.err, authsec.ErrNotDelegated) || o.arrivals != 0 {
			t.Errorf("got error %v, %d arrivals; want one that is ErrNotDelegated, 0", o.err, o.arrivals)
		}
		time.Sleep(5 * time.Millisecond)
	}
	most, least := 1, time.Duration(0) // the k-th failure is cached for at least half of 2^(k-1) s
	for step := 500 * time.Millisecond; least+step <= time.Since(began); step *= 2 {
		least += step
		most++
	}
	stats := c.src.Stats()
	if got := s.auth.Fetches(); got < 2 || got > most || uint64(got) != stats.Fetches || stats.Fetches != stats.Failures {
		t.Errorf("%d requests in %v caused %d fetches (Stats: %d, %d failures), want 2 to %d", requests, outage, got, stats.Fetches, stats.Failures, most)
	}
	s.auth.Delegate(authsectest.ClientID, authsectest.Delegation{})
	c.mustRecover(stats.Failures)
}
