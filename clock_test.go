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
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/oauth2"
)

// clockFixture is a Source for a server whose clock, and that of the machine,
// can be moved. In a bubble of testing/synctest, wall and monotonic clock are
// one; so it is the Source's record, and the server, that are moved instead.
type clockFixture struct {
	*testing.T
	src *Source

	// The server's.
	token  string        // that it gives out
	expiry time.Time     // of the token, on the bubble's clock
	offset time.Duration // of the server's clock from the bubble's
	status int           // that it answers; 0: 200
	body   string        // with that status
}

const (
	clockTTL    = time.Hour
	clockWindow = 5 * time.Minute // a fifth of that, 5 minutes at most
)

func clockBubble(t *testing.T, test func(t *testing.T, x *clockFixture)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
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
		defer time.Sleep(time.Minute) // in which a fetch that nobody waits for ends
		test(t, x)
	})
}

// RoundTrip is the server.
func (x *clockFixture) RoundTrip(req *http.Request) (*http.Response, error) {
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

// step moves the machine's wall clock by d. As the bubble's can't be moved, all
// else is moved the other way.
func (x *clockFixture) step(d time.Duration) {
	r := *x.src.current.Load()
	token := *r.token
	token.Expiry = token.Expiry.Add(-d)
	r.token, r.notAfter, r.wall = &token, r.notAfter.Add(-d), r.wall-int64(d)
	x.src.current.Store(&r)
	x.offset -= d
}

// suspend has the machine sleep for d: all clocks go on but the monotonic one.
func (x *clockFixture) suspend(d time.Duration) {
	time.Sleep(d)
	r := *x.src.current.Load()
	r.received = r.received.Add(d)
	x.src.current.Store(&r)
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
	clockNoClient     = `{"error":"Client not found"}`
	clockNoDelegation = `{"error":"No active delegation token found"}`
	clockExpired      = `{"error":"Delegation token has expired"}`
)

func TestSourceServesGoodTokenThroughClockStep(t *testing.T) {
	for _, d := range []time.Duration{3 * time.Hour, -3 * time.Hour, 11 * time.Second, -11 * time.Second} {
		t.Run(d.String(), func(t *testing.T) {
			clockBubble(t, func(t *testing.T, x *clockFixture) {
				x.want("A")
				time.Sleep(10 * time.Minute)
				x.want("A")
				x.step(d)
				for range 600 {
					x.want("A")
					time.Sleep(time.Second)
				}
				x.wantFetches(2) // one for the step, not one for each call
				early := x.expiry.Sub(x.want("A").Expiry)
				if early < 0 || early > time.Second {
					t.Errorf("Expiry: got %v before the true one, want 0s to 1s", early)
				}
				x.status, x.body = 404, clockNoDelegation
				x.sleepUntil(x.expiry, time.Second)
				x.want("A")
				time.Sleep(time.Until(x.expiry))
				x.wantError(ErrNotDelegated)
			})
		})
	}
}

func TestSourceServesGoodTokenThroughClockStepAndFailures(t *testing.T) {
	for _, d := range []time.Duration{3 * time.Hour, -3 * time.Hour} {
		for _, tt := range []struct {
			status int
			body   string
		}{
			{404, clockNoClient},
			{500, ""},
		} {
			t.Run(fmt.Sprint(d, " ", tt.status), func(t *testing.T) {
				clockBubble(t, func(t *testing.T, x *clockFixture) {
					x.want("A")
					time.Sleep(10 * time.Minute)
					x.step(d)
					x.status, x.body = tt.status, tt.body
					for time.Until(x.expiry) > time.Second {
						x.want("A")
						time.Sleep(time.Second)
					}
					if got, most := x.src.Stats().Fetches, uint64(clockTTL/(clockWindow/20)); got > most {
						t.Errorf("fetches: got %d, want %d at most", got, most)
					}
					x.sleepUntil(x.expiry, 0)
					got := x.want("A")
					if !got.Expiry.Equal(x.expiry) { // on the clock as it is now
						t.Errorf("Expiry: got %v after the true one, want 0s", got.Expiry.Sub(x.expiry))
					}
					time.Sleep(time.Nanosecond)
					if got, err := x.src.Token(); err == nil {
						t.Errorf("Token: got token %s, want an error", got.AccessToken)
					}
				})
			})
		}
	}
}

func TestSourceTakesSmallDriftForNoStep(t *testing.T) {
	for _, d := range []time.Duration{9 * time.Second, -9 * time.Second} {
		t.Run(d.String(), func(t *testing.T) {
			clockBubble(t, func(t *testing.T, x *clockFixture) {
				x.want("A")
				x.step(d)
				for range 600 {
					x.want("A")
					time.Sleep(time.Second)
				}
				x.wantFetches(1)
			})
		})
	}
}

func TestSourceFindsOutTokenThatDiedInSuspend(t *testing.T) {
	tests := []struct {
		name   string
		status int
		body   string
		token  string // that the server has now; "": the same one, past its expiry
		want   string // "": an error
		target error
	}{
		{"410", 410, clockExpired, "", "", ErrDelegationExpired},
		{"404", 404, clockNoDelegation, "", "", ErrNotDelegated},
		{"the same token", 0, "", "", "", ErrInvalidResponse},
		{"another token", 0, "", "B", "B", nil},
		{"404 no client", 404, clockNoClient, "", "A", nil}, // which says nothing of the token
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			clockBubble(t, func(t *testing.T, x *clockFixture) {
				x.want("A")
				time.Sleep(10 * time.Minute)
				x.want("A")
				x.suspend(3 * time.Hour)
				x.status, x.body = tt.status, tt.body
				if tt.token != "" {
					x.token, x.expiry = tt.token, time.Now().Add(clockTTL)
				}
				time.Sleep(time.Second)
				x.want("A") // at once; the fetch is behind it
				x.wantFetches(2)
				if tt.want == "" {
					x.wantError(tt.target)
				} else {
					x.want(tt.want)
				}
			})
		})
	}
}

// The network is often not back when a machine wakes.
func TestSourceAsksAgainWhenFetchAfterSuspendFailed(t *testing.T) {
	clockBubble(t, func(t *testing.T, x *clockFixture) {
		x.want("A")
		time.Sleep(10 * time.Minute)
		x.want("A")
		x.suspend(3 * time.Hour)
		x.status, x.body = 404, clockNoClient
		time.Sleep(time.Second)
		x.want("A")
		x.wantFetches(2)
		x.status, x.body = 410, clockExpired
		const most = clockWindow / 10 * 3 / 2 // until a further attempt
		time.Sleep(most + time.Second)
		x.want("A")
		x.wantFetches(3)
		x.wantError(ErrDelegationExpired)
	})
}

func TestSourceCountsSuspendAsPartOfTokensLife(t *testing.T) {
	clockBubble(t, func(t *testing.T, x *clockFixture) {
		x.want("A")
		time.Sleep(10 * time.Minute)
		x.want("A")
		x.suspend(30 * time.Minute)
		time.Sleep(time.Second)
		x.want("A")
		x.wantFetches(2)
		if got := x.want("A").Expiry; !got.Equal(x.expiry) {
			t.Errorf("Expiry: got %v after the true one, want 0s", got.Sub(x.expiry))
		}
		x.status, x.body = 404, clockNoClient
		x.sleepUntil(x.expiry, 0)
		x.want("A")
		time.Sleep(time.Nanosecond)
		x.wantError(ErrNotDelegated)
	})
}

func TestSourceLeavesFewFetchesBehind(t *testing.T) {
	clockBubble(t, func(t *testing.T, x *clockFixture) {
		release := make(chan struct{})
		var calls atomic.Int64
		x.src.fetchTimeout = time.Second
		x.src.endpoint.credential = tokenFunc(func() (*oauth2.Token, error) {
			calls.Add(1)
			<-release
			return &oauth2.Token{AccessToken: "caller"}, nil
		})
		start := time.Now()
		for range 20 {
			began := time.Now()
			if _, err := x.src.Token(); err == nil {
				t.Fatal("Token: got no error, want one")
			}
			if took := time.Since(began); took > time.Second {
				t.Errorf("Token: took %v, want 1s at most", took)
			}
			time.Sleep(2 * time.Minute) // longer than any failure is remembered
		}
		// And then one more now and again, for the Credential may have recovered.
		most := maxAbandoned + int64(time.Since(start)/abandonedRest)
		if got := calls.Load(); got > most || got <= maxAbandoned {
			t.Errorf("calls of the Credential that never returned: got %d, want more than %d and %d at most", got, maxAbandoned, most)
		}
		close(release)
		synctest.Wait()
		x.token, x.expiry = "B", time.Now().Add(clockTTL)
		x.want("B")
		if x.src.flying != 0 {
			t.Errorf("fetches that have not returned: got %d, want 0", x.src.flying)
		}
	})
}

func TestSourceDropsAnswerThatComesAfterFetchTimeout(t *testing.T) {
	clockBubble(t, func(t *testing.T, x *clockFixture) {
		x.src.fetchTimeout = 5 * time.Second
		late := 8 * time.Second
		x.src.endpoint.transport = clockRoundTripper(func(req *http.Request) (*http.Response, error) {
			time.Sleep(late) // whatever the context says
			return x.RoundTrip(req)
		})
		began := time.Now()
		x.wantError(context.DeadlineExceeded)
		if took := time.Since(began); took != 5*time.Second {
			t.Errorf("Token: took %v, want 5s", took)
		}
		time.Sleep(4 * time.Second)
		if stats := x.src.Stats(); stats.Fetches != 1 || stats.Failures != 1 || !stats.Expiry.IsZero() {
			t.Errorf("Stats: got %d fetches, %d failures, Expiry %v, want 1, 1 and none", stats.Fetches, stats.Failures, stats.Expiry)
		}
		late = 0
		x.want("A")
		x.wantFetches(2)
	})
}

func TestSourceEndsFetchsContext(t *testing.T) {
	clockBubble(t, func(t *testing.T, x *clockFixture) {
		var ctx context.Context
		x.src.endpoint.transport = clockRoundTripper(func(req *http.Request) (*http.Response, error) {
			ctx = req.Context()
			if deadline, ok := ctx.Deadline(); !ok || time.Until(deadline) != attemptTimeout {
				t.Errorf("an attempt's deadline: got %v from now (%t), want %v", time.Until(deadline), ok, attemptTimeout)
			}
			return x.RoundTrip(req)
		})
		x.want("A")
		if ctx.Err() == nil {
			t.Error("the context of a fetch that is over: got no end, want one")
		}
	})
}

type clockRoundTripper func(*http.Request) (*http.Response, error)

func (f clockRoundTripper) RoundTrip(req *http.Request) (*http.Response, error) { return f(req) }
