// Copyright 2026 The authsec Authors
// SPDX-License-Identifier: Apache-2.0

package authsec_test

import (
	"context"
	"errors"
	"net/http"
	"testing"
	"time"

	"github.com/authsec-go/authsec"
)

func TestRetryObeysRetryAfter(t *testing.T) {
	const date = "Tue, 24 Nov 2026 08:00:00 GMT" // far from a bubble's local clock
	const most = 20 * time.Second
	for _, c := range []struct {
		name     string
		status   int
		after    string
		date     string
		attempts int
		min, max time.Duration
	}{
		{"seconds", 503, "7", date, 2, 7 * time.Second, 7 * time.Second},
		{"seconds of a 429", 429, "7", date, 2, 7 * time.Second, 7 * time.Second},
		{"seconds of a 500", 500, "7", date, 2, 7 * time.Second, 7 * time.Second},
		{"MaxBackoff", 503, "20", date, 2, most, most},
		{"over MaxBackoff", 503, "21", date, 1, 0, 0},
		{"an hour", 429, "3600", date, 1, 0, 0},
		{"what overflows", 503, "9223372037", date, 1, 0, 0},
		{"what overflows more", 503, "99999999999999999999", date, 1, 0, 0},
		{"a date", 503, "Tue, 24 Nov 2026 08:00:07 GMT", date, 2, 7 * time.Second, 7 * time.Second},
		{"a date in RFC 850's form", 503, "Tuesday, 24-Nov-26 08:00:07 GMT", date, 2, 7 * time.Second, 7 * time.Second},
		{"a date over MaxBackoff", 503, "Tue, 24 Nov 2026 08:01:00 GMT", date, 1, 0, 0},
		{"a date in the year 9999", 503, "Fri, 31 Dec 9999 23:59:59 GMT", date, 1, 0, 0},
		{"a date by the local clock", 503, "Mon, 23 Nov 2026 08:31:40 GMT", "", 2, 7 * time.Second, 7 * time.Second},
		{"a date in the past", 503, "Tue, 24 Nov 2026 07:00:00 GMT", date, 2, 0, time.Second},
		{"zero", 503, "0", date, 2, 0, time.Second},
		{"negative", 503, "-9", date, 2, 0, time.Second},
		{"text", 503, "soon", date, 2, 0, time.Second},
	} {
		inBubble(t, c.name, func(t *testing.T) {
			header := http.Header{"Retry-After": {c.after}}
			if c.date != "" {
				header.Set("Date", c.date)
			}
			base := answering(outcome{status: c.status, header: header}, outcome{status: 200})
			began := time.Now()
			resp, err := to(staticSource(), base, retrying(authsec.RetryPolicy{MinBackoff: time.Second, MaxBackoff: most})).RoundTrip(get(t, api))
			if err != nil {
				t.Fatal(err)
			}
			if got := len(base.calls); got != c.attempts {
				t.Errorf("attempts: got %d, want %d", got, c.attempts)
			}
			if elapsed := time.Since(began); elapsed < c.min || elapsed > c.max {
				t.Errorf("elapsed: got %v, want %v to %v", elapsed, c.min, c.max)
			}
			if resp != base.answers[len(base.answers)-1] {
				t.Errorf("got a %d, want the last answer", resp.StatusCode)
			}
			checkUnread(t, resp)
		})
	}
}

// There is no wait for a retry after the deadline.
func TestRetryEndsBeforeTheDeadline(t *testing.T) {
	broken := &marked{1}
	after := func(seconds string) outcome {
		return outcome{status: 503, header: http.Header{"Retry-After": {seconds}}}
	}
	for _, c := range []struct {
		name     string
		base     *fakeBase
		policy   authsec.RetryPolicy
		attempts int
		elapsed  time.Duration
		err      error
	}{
		{"Retry-After beyond it", answering(after("9")), authsec.RetryPolicy{}, 1, 0, nil},
		{"Retry-After that meets it", answering(after("5")), authsec.RetryPolicy{}, 1, 0, nil},
		{"Retry-After before it", answering(after("4")), authsec.RetryPolicy{}, 2, 4 * time.Second, nil},
		{"backoff beyond it", answering(outcome{err: broken}), authsec.RetryPolicy{MaxAttempts: 100, MinBackoff: 1 << 62, MaxBackoff: 1<<63 - 1}, 1, 0, broken},
	} {
		inBubble(t, c.name, func(t *testing.T) {
			for _, byClient := range []bool{false, true} {
				ctx, client := t.Context(), &http.Client{Transport: to(staticSource(), c.base, retrying(c.policy))}
				c.base.calls, c.base.answers, c.base.bodies = nil, nil, nil
				if byClient {
					client.Timeout = 5 * time.Second
				} else {
					var cancel context.CancelFunc
					ctx, cancel = context.WithTimeout(ctx, 5*time.Second)
					defer cancel()
				}
				began := time.Now()
				var b bodies
				resp, err := client.Do(b.request(ctx, http.MethodPut, api, "the body"))
				if elapsed := time.Since(began); elapsed != c.elapsed || len(c.base.calls) != c.attempts {
					t.Errorf("got %d attempts in %v, want %d in %v", len(c.base.calls), elapsed, c.attempts, c.elapsed)
				}
				if opened, closed := b.counts(); opened != c.attempts || closed != c.attempts {
					t.Errorf("bodies: got %d opened and %d closed, want %d and %[3]d", opened, closed, c.attempts)
				}
				if !errors.Is(err, c.err) || c.err == nil && err != nil {
					t.Errorf("error: got %v, want %v", err, c.err)
				}
				if err == nil {
					if resp.StatusCode != 503 || c.base.bodies[c.attempts-1].closes.Load() != 0 {
						t.Errorf("got a %d, want the 503 with its body open", resp.StatusCode)
					}
					resp.Body.Close()
				}
			}
		})
	}
}

func TestRetryEndsWithTheContext(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	calls := 0
	broken := &marked{1}
	base := baseFunc(func(*http.Request) (*http.Response, error) { calls++; cancel(); return nil, broken })
	if _, err := to(staticSource(), base, retrying(atOnce)).RoundTrip(get(t, api).WithContext(ctx)); err != broken || calls != 1 {
		t.Errorf("got %v after %d attempts, want the base's own error after 1", err, calls)
	}
}

func TestRetryBacksOffWithFullJitter(t *testing.T) {
	const runs = 400
	policy := authsec.RetryPolicy{MaxAttempts: 7, MinBackoff: time.Second, MaxBackoff: 10 * time.Second}
	ceilings := []time.Duration{1e9, 2e9, 4e9, 8e9, 10e9, 10e9}
	bubble(t, func(t *testing.T) {
		least, most := make([]time.Duration, len(ceilings)), make([]time.Duration, len(ceilings))
		for run := range runs {
			base := statuses(503)
			if _, err := to(staticSource(), base, retrying(policy)).RoundTrip(get(t, api)); err != nil {
				t.Fatal(err)
			}
			for i := range ceilings {
				wait := base.calls[i+1].at.Sub(base.calls[i].at)
				if wait < 0 || wait >= ceilings[i] {
					t.Fatalf("wait %d: got %v, want one in [0, %v)", i, wait, ceilings[i])
				}
				if run == 0 {
					least[i] = wait
				}
				least[i], most[i] = min(least[i], wait), max(most[i], wait)
			}
		}
		// That 400 even draws all miss a tenth of the range: 1 in 10^18.
		for i, ceiling := range ceilings {
			if least[i] > ceiling/10 || most[i] < ceiling*9/10 {
				t.Errorf("wait %d: got %v to %v, want all of [0, %v)", i, least[i], most[i], ceiling)
			}
		}
	})
}

func TestRetryDefaultsTo4AttemptsAnd200ms(t *testing.T) {
	bubble(t, func(t *testing.T) {
		var most time.Duration
		for range 200 {
			base := statuses(503)
			if _, err := to(staticSource(), base, retrying(authsec.RetryPolicy{})).RoundTrip(get(t, api)); err != nil {
				t.Fatal(err)
			}
			if len(base.calls) != 4 {
				t.Fatalf("attempts: got %d, want 4", len(base.calls))
			}
			most = max(most, base.calls[1].at.Sub(base.calls[0].at))
		}
		if most >= 200*time.Millisecond || most < 150*time.Millisecond {
			t.Errorf("longest first wait: got %v, want just under 200ms", most)
		}
		base := answering(outcome{status: 503, header: http.Header{"Retry-After": {"10"}}}, outcome{status: 503, header: http.Header{"Retry-After": {"11"}}})
		if _, err := to(staticSource(), base, retrying(authsec.RetryPolicy{})).RoundTrip(get(t, api)); err != nil || len(base.calls) != 2 {
			t.Errorf("Retry-After 10, then 11: got %d attempts, %v, want 2", len(base.calls), err)
		}
	})
}
