// Copyright 2026 The authsec Authors
// SPDX-License-Identifier: Apache-2.0

package faults

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
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
	{"HTML with 425", authsectest.Answer(http.StatusTooEarly, page), nil, http.StatusTooEarly, 4},
	{"HTML with 520", authsectest.Answer(520, page), nil, 520, 4}, // 520 to 524, and 529: of CDNs
	{"HTML with 521", authsectest.Answer(521, page), nil, 521, 4},
	{"HTML with 522", authsectest.Answer(522, page), nil, 522, 4},
	{"HTML with 523", authsectest.Answer(523, page), nil, 523, 4},
	{"HTML with 524", authsectest.Answer(524, page), nil, 524, 4},
	{"HTML with 529", authsectest.Answer(529, page), nil, 529, 4},
	{"no tenant database", authsectest.Answer(http.StatusInternalServerError, `{"error":"Failed to connect to tenant database"}`), nil, http.StatusInternalServerError, 4},
	{"no caller credential", authsectest.Unauthorized("authorization header required"), authsec.ErrUnauthorized, http.StatusUnauthorized, 1},
	{"a caller credential that has expired", authsectest.Unauthorized("Invalid or expired token"), authsec.ErrUnauthorized, http.StatusUnauthorized, 1},
	{"a session that was revoked", authsectest.Unauthorized("session has been revoked"), authsec.ErrUnauthorized, http.StatusUnauthorized, 1},
	{"a session that is unknown, or no database", authsectest.Unauthorized("session is no longer valid for this workspace"), authsec.ErrUnauthorized, http.StatusUnauthorized, 1},
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
