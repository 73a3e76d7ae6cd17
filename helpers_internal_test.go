// Copyright 2026 The authsec Authors
// SPDX-License-Identifier: Apache-2.0

package authsec

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/authsec-go/authsec/internal/lifecycle"
	"golang.org/x/oauth2"
)

// clockFixture is a Source, and a server. The server's clock and the machine's can
// be moved. A bubble of testing/synctest has one clock for both wall and monotonic
// time. So the Source's record and the server's clock are moved instead.
type clockFixture struct {
	*testing.T
	src *Source

	// The server's.
	token   string        // that it gives out
	expiry  time.Time     // of the token, on the bubble's clock
	offset  time.Duration // of the server's clock from the bubble's
	status  int           // that it answers; 0: 200
	body    string        // with that status
	latency time.Duration
}

// RoundTrip is the server.
func (x *clockFixture) RoundTrip(req *http.Request) (*http.Response, error) {
	time.Sleep(x.latency)
	status, body := x.status, x.body
	if status == 0 {
		status = http.StatusOK
		body = fmt.Sprintf(`{"token":%q,"expires_at":%q}`, x.token, x.expiry.Add(x.offset).Format(time.RFC3339Nano))
	}
	return &http.Response{
		StatusCode: status,
		Header:     http.Header{"Date": {time.Now().Add(x.offset).UTC().Format(http.TimeFormat)}},
		Body:       io.NopCloser(strings.NewReader(body)),
		Request:    req,
	}, nil
}

// step moves the machine's wall clock by d: it changes when the Source received
// the token, and the server's clock.
func (x *clockFixture) step(d time.Duration) {
	x.src.mu.Lock()
	defer x.src.mu.Unlock()
	g := *x.src.grant
	g.notAfter = g.notAfter.Add(-d)
	then := x.src.moment(g.received)
	then.Wall -= d
	x.src.grant = &g
	x.src.life.Token = lifecycle.New(lifecycle.NewID(g.token.AccessToken), then, g.life, g.notAfter, x.src.renewBefore, 0.5)
	x.src.publish()
	x.offset -= d
}

// suspend has the machine sleep for d, when requests will compare the clocks. The
// monotonic clock stands still.
func (x *clockFixture) suspend(d time.Duration) {
	time.Sleep(compareEvery)
	x.suspendNow(d)
}

func (x *clockFixture) suspendNow(d time.Duration) {
	time.Sleep(d)
	x.src.mu.Lock()
	defer x.src.mu.Unlock()
	x.src.epoch = x.src.epoch.Add(d)
}

// want calls Token, which must give this token at once.
func (x *clockFixture) want(token string) *oauth2.Token {
	x.Helper()
	began := time.Now()
	got, err := x.src.Token()
	if err != nil {
		x.Fatalf("Token: got error %v, want token %s", err, token)
	}
	if got.AccessToken != token {
		x.Fatalf("Token: got token %s, want %s", got.AccessToken, token)
	}
	if took := time.Since(began); took != 0 {
		x.Fatalf("Token: took %v, want 0s", took)
	}
	synctest.Wait()
	return got
}

func (x *clockFixture) wantError(target error) {
	x.Helper()
	got, err := x.src.Token()
	synctest.Wait()
	if err == nil {
		x.Fatalf("Token: got token %s, want an error", got.AccessToken)
	}
	if !errors.Is(err, target) {
		x.Fatalf("Token: got error %v, want one that is %v", err, target)
	}
}

func (x *clockFixture) wantTimeout() {
	x.Helper()
	_, err := x.src.Token()
	synctest.Wait()
	var e *Error
	if !errors.As(err, &e) || !e.Timeout() || errors.Is(err, context.DeadlineExceeded) {
		x.Fatalf("Token: got error %v, want an *Error that is a time-out of the fetch, not of the caller", err)
	}
}

func (x *clockFixture) wantFetches(want uint64) {
	x.Helper()
	if got := x.src.Stats().Fetches; got != want {
		x.Fatalf("fetches: got %d, want %d", got, want)
	}
}

// sleepUntil sleeps until the moment, less early and a nanosecond.
func (x *clockFixture) sleepUntil(moment time.Time, early time.Duration) {
	time.Sleep(time.Until(moment) - early - time.Nanosecond)
}

const (
	clockTTL    = time.Hour
	clockWindow = 5 * time.Minute // a fifth of that, 5 minutes at most
)

func clockBubble(t *testing.T, test func(t *testing.T, x *clockFixture)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		time.Sleep(time.Until(time.Date(2026, 11, 23, 8, 31, 33, 0, time.UTC))) // a server's Date before 2020 is ignored
		x := &clockFixture{T: t, token: "A", expiry: time.Now().Add(clockTTL)}
		src, err := NewSource(Config{
			BaseURL:    "https://authsec.test",
			ClientID:   "9b477e30-3989-4c12-926c-3945a59f761f",
			HTTPClient: &http.Client{Transport: x},
		})
		if err != nil {
			t.Fatalf("NewSource: got error %v, want none", err)
		}
		x.src = src
		defer time.Sleep(time.Minute) // for fetches that nobody waits for
		test(t, x)
	})
}

const (
	clockNoClient     = `{"error":"Client not found"}`
	clockNoDelegation = `{"error":"No active delegation token found"}`
	clockExpired      = `{"error":"Delegation token has expired"}`
)

type clockRoundTripper func(*http.Request) (*http.Response, error)

func (f clockRoundTripper) RoundTrip(req *http.Request) (*http.Response, error) { return f(req) }
