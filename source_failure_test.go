// Copyright 2026 The authsec Authors
// SPDX-License-Identifier: Apache-2.0

package authsec_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/authsec-go/authsec"
	"github.com/authsec-go/authsec/authsectest"
)

func TestSourceCachesFailureFromOneSecondDoublingToOneMinute(t *testing.T) {
	sourceBubble(t, func(t *testing.T, x *sourceFixture) {
		const step = 20 * time.Millisecond
		x.start()
		if e := x.wantError(authsec.ErrNotDelegated); e.RetryAfter != 0 {
			t.Errorf("Error.RetryAfter: got %v, want none: the server did not say", e.RetryAfter)
		}
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
		x.src.Refresh(t.Context())
		x.want("A")
		x.sleep(10 * time.Second)
		x.wantError(authsec.ErrNotDelegated)
		x.wantWithin("after a success and a failure", x.gap(step, 2*time.Minute), 500*time.Millisecond, 1500*time.Millisecond+step)
	})
}

func TestSourceReturnsCachedErrorWithoutAsking(t *testing.T) {
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

func TestSourceRetriesTransientFaultsWithinFetch(t *testing.T) {
	served := false
	thenLimited := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !served {
			served = true
			sourceUnavailable.ServeHTTP(w, r)
			return
		}
		sourceLimited.ServeHTTP(w, r)
	})
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
		{"302", 1, authsectest.Answer(302, ""), 0, 1, false},
		{"400", 1, authsectest.Answer(400, ""), 0, 1, false},
		{"401", 1, authsectest.Answer(401, ""), 0, 1, false},
		{"404", 1, sourceNoDelegation, 0, 1, false},
		{"404 of another server", 1, authsectest.Answer(404, ""), 0, 1, false},
		{"410", 1, sourceExpired, 0, 1, false},
		{"501", 1, authsectest.Answer(501, "<html>"), 0, 1, false},
		// All of the agent's processes share the limit: a 429 is never retried.
		{"429", 1, sourceLimited, 0, 1, false},
		{"429 with a short Retry-After", 1, authsectest.Answer(429, "", "Retry-After", "1"), 0, 1, false},
		{"429 with Retry-After 0", 1, authsectest.Answer(429, "", "Retry-After", "0"), 0, 1, false},
		{"429 after a 503", 2, thenLimited, 0, 2, false},
	}
	for _, tt := range tests {
		inSourceBubble(t, tt.name, func(t *testing.T, x *sourceFixture) {
			x.start(func(c *authsec.Config) { c.Retry.MaxAttempts = tt.attempts })
			x.delegate("A", time.Hour)
			x.srv.FailNext(tt.faults, tt.fault)
			token, err := x.src.Token()
			if (err == nil) != tt.ok || errors.Is(err, authsec.ErrRateLimited) != strings.HasPrefix(tt.name, "429") {
				t.Errorf("Token: got %s and error %v, want success: %t", x.name(token), err, tt.ok)
			}
			x.wantRequests(tt.requests)
			x.wantFetches(1)
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
		inSourceBubble(t, tt.name, func(t *testing.T, x *sourceFixture) {
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
	}
}

func TestHTTPClientsShorterTimeoutBoundsAnAttempt(t *testing.T) {
	for _, tt := range []struct{ timeout, want time.Duration }{
		{0, 10 * time.Second}, {3 * time.Second, 3 * time.Second}, {time.Minute, 10 * time.Second},
	} {
		inBubble(t, fmt.Sprint(tt.timeout), func(t *testing.T) {
			silent := http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() })
			src := endpointSource(t, silent, func(c *authsec.Config) { c.HTTPClient.Timeout = tt.timeout })
			began := time.Now()
			_, err := src.Token()
			if got := time.Since(began); got != tt.want {
				t.Errorf("HTTPClient.Timeout %v: one attempt took %v, want %v", tt.timeout, got, tt.want)
			}
			var e *authsec.Error
			if !errors.As(err, &e) || e.StatusCode != 0 || !e.Timeout() || !(&url.Error{Err: err}).Timeout() {
				t.Errorf("Token: %v, want an *Error with no status that is a time-out", err)
			}
			if errors.Is(err, context.DeadlineExceeded) {
				t.Error("the error is the end of a context, though the caller's has not ended")
			}
		})
	}
}

func TestSourceObeysRetryAfterOfAnyFailure(t *testing.T) {
	const step = 100 * time.Millisecond
	date := func() string { return time.Now().UTC().Add(90 * time.Second).Format(http.TimeFormat) }
	inSeconds := func(s string) func() string { return func() string { return s } }
	tests := []struct {
		name           string
		status         int
		body           string
		retryAfter     func() string
		least, greater time.Duration
	}{
		{"503 seconds", 503, "<html>", inSeconds("120"), 2 * time.Minute, 2 * time.Minute},
		{"503 date", 503, "<html>", date, 90 * time.Second, 90 * time.Second},
		{"503 a day", 503, "<html>", inSeconds("86400"), 5 * time.Minute, 5 * time.Minute},
		{"503 an hour", 503, "<html>", inSeconds("3600"), 5 * time.Minute, 5 * time.Minute},
		{"503 without end", 503, "<html>", inSeconds("99999999999999999999"), 5 * time.Minute, 5 * time.Minute},
		{"404", 404, `{"error":"No active delegation token found"}`, inSeconds("30"), 30 * time.Second, 30 * time.Second},
		{"429 seconds", 429, `{"error":"Rate limit exceeded","window":"1m0s"}`, inSeconds("7"), 7 * time.Second, 7 * time.Second},
		{"429 an hour", 429, "", inSeconds("3600"), 5 * time.Minute, 5 * time.Minute},
		{"429 window", 429, `{"error":"Rate limit exceeded","window":"1m0s"}`, nil, time.Minute, 2 * time.Minute},
		{"429 short window", 429, `{"error":"Rate limit exceeded","window":"10s"}`, nil, 10 * time.Second, 20 * time.Second},
		{"429 long window", 429, `{"window":"2m0s"}`, nil, 2 * time.Minute, 4 * time.Minute},
		{"429 no window", 429, "<html>", nil, time.Minute, 2 * time.Minute},
		{"429 malformed window", 429, `{"window":"soon"}`, nil, time.Minute, 2 * time.Minute},
		{"429 negative window", 429, `{"window":"-10s"}`, nil, time.Minute, 2 * time.Minute},
		{"429 window in a number", 429, `{"window":60}`, nil, time.Minute, 2 * time.Minute},
	}
	for _, tt := range tests {
		inSourceBubble(t, tt.name, func(t *testing.T, x *sourceFixture) {
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
	}
}

func TestSourceSpreadsRetryAfterOf429OverWindow(t *testing.T) {
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
