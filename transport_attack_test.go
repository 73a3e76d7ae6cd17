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
	"strings"
	"testing"
	"time"

	"github.com/authsec-go/authsec"
	"golang.org/x/oauth2"
)

// A body whose Close hangs holds up no request that is not sent.
func TestCloseThatHangsHoldsNoUnsentRequestUp(t *testing.T) {
	failing := sourceFunc(func() (*oauth2.Token, error) { return nil, errors.New("no token") })
	for name, c := range map[string]struct {
		source oauth2.TokenSource
		url    string
		cancel bool
	}{
		"no token":          {failing, api, false},
		"insecure URL":      {staticSource(), "http://api.example.com/", false},
		"the context ended": {failing, api, true},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				end := make(chan struct{})
				ctx, cancel := context.WithCancel(t.Context())
				defer cancel()
				if c.cancel {
					cancel()
				}
				req := get(t, c.url).WithContext(ctx)
				req.Method, req.Body, req.ContentLength = "POST", hanging{strings.NewReader("x"), end}, 1<<20
				began := time.Now()
				if _, err := to(c.source, statuses(200), hosts("*", "api.example.com")).RoundTrip(req); err == nil || time.Since(began) > time.Second {
					t.Errorf("got %v after %v, want an error within a second", err, time.Since(began))
				}
				close(end)
			})
		})
	}
}

// http.DefaultTransport wraps another, and a request goes on with the context of the
// one before: it does not lead back to the Transport.
func TestContextOfAResponseCanBeUsedAgain(t *testing.T) {
	original := http.DefaultTransport
	defer func() { http.DefaultTransport = original }()
	base := statuses(200)
	http.DefaultTransport = baseFunc(base.RoundTrip)
	tr := &authsec.Transport{Source: staticSource(), Hosts: []string{"api.example.com"}}
	resp, err := tr.RoundTrip(get(t, api))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := tr.RoundTrip(get(t, api).WithContext(resp.Request.Context())); err != nil {
		t.Errorf("the next request: got %v, want an answer", err)
	}
}

// forwarding passes CloseIdleConnections on, as otelhttp's transport does.
type forwarding struct{ *authsec.Transport }

func TestCloseIdleConnectionsEndsWhereItLeadsBack(t *testing.T) {
	original := http.DefaultTransport
	defer func() { http.DefaultTransport = original }()
	tr := &authsec.Transport{Source: staticSource(), Hosts: []string{"*"}}
	http.DefaultTransport = forwarding{tr}
	tr.CloseIdleConnections() // would not return
}

// However an API's host is spelled, it has one budget, and one warning.
func TestSpellingsOfAHostShareABudget(t *testing.T) {
	sourceBubble(t, func(t *testing.T, x *sourceFixture) {
		x.start()
		x.delegate("A", 10*time.Hour)
		x.want("A")
		logs := new(sourceLog)
		tr := to(x.src, statuses(401), func(tr *authsec.Transport) { tr.Logger = slog.New(logs) })
		for i := range 32 {
			host := []byte("api.example.com")
			for b, at := range []int{0, 1, 4, 5, 6} {
				if i>>b&1 == 1 {
					host[at] -= 'a' - 'A'
				}
			}
			for _, suffix := range []string{"", ".", ":443"} {
				if _, err := tr.RoundTrip(get(t, "https://"+string(host)+suffix+"/")); err != nil {
					t.Fatal(err)
				}
			}
		}
		if got := x.src.Stats(); got.Fetches != 2 || got.Rejections != 96 {
			t.Errorf("got %d fetches for %d rejections, want 2 for 96", got.Fetches, got.Rejections)
		}
		if got := len(logs.take()); got != 1 {
			t.Errorf("got %d warnings, want 1", got)
		}
	})
}

// An API that answers 401 and 503 in turn has accepted nothing.
func TestServerErrorIsNoAcceptance(t *testing.T) {
	logs := new(sourceLog)
	base := answering(outcome{status: 401}, outcome{status: 401}, outcome{status: 503}, outcome{status: 401}, outcome{status: 401}, outcome{status: 503}, outcome{status: 401})
	tr := to(staticSource(), base, func(tr *authsec.Transport) { tr.Logger = slog.New(logs) })
	for range 7 {
		if _, err := tr.RoundTrip(get(t, api)); err != nil {
			t.Fatal(err)
		}
	}
	if got := len(logs.take()); got != 1 {
		t.Errorf("got %d warnings, want 1", got)
	}
}

// An API chooses how long the error is that net/http makes of its answer. The search
// for the token in it is bounded, and the rest is not shown.
func TestHugeErrorOfAMalformedAnswerIsCut(t *testing.T) {
	line := strings.Repeat("JTI1MjU0MSA ", 64<<10) + firstToken
	huge := fmt.Errorf("malformed MIME header line: %s: %w", line, io.ErrUnexpectedEOF)
	base := answering(outcome{err: huge})
	got := testing.AllocsPerRun(1, func() {
		_, err := to(staticSource(), base, retrying(authsec.RetryPolicy{MaxAttempts: 2, MinBackoff: 1, MaxBackoff: 1})).RoundTrip(get(t, api))
		if text := err.Error(); len(text) > 2<<10 || strings.Contains(text, firstToken) || !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Errorf("got an error of %d bytes, want it cut, without the token, and its cause below", len(text))
		}
	})
	if got > 60_000 { // the whole text takes millions
		t.Errorf("got %v allocations, want 60,000 at most", got)
	}
}
