// Copyright 2026 The authsec Authors
// SPDX-License-Identifier: Apache-2.0

package authsec_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/authsec-go/authsec"
	"github.com/authsec-go/authsec/authsectest"
	"golang.org/x/oauth2"
)

func TestTransportReplaysARejectedRequestOnce(t *testing.T) {
	for _, c := range []struct {
		name   string
		method string
		body   bool
		base   *fakeBase
		edit   []func(*authsec.Transport)
		status int
		tokens string
	}{
		{"GET", http.MethodGet, false, statuses(401, 200), nil, 200, "first second"},
		{"POST with GetBody", http.MethodPost, true, statuses(401, 201), nil, 201, "first second"},
		{"POST without a body", http.MethodPost, false, statuses(401, 201), nil, 201, "first second"},
		{"PATCH with GetBody", http.MethodPatch, true, statuses(401, 200), nil, 200, "first second"},
		{"rejected again", http.MethodGet, false, statuses(401), nil, 401, "first second"},
		{"rejected after a 503", http.MethodPut, true, statuses(503, 401, 200), []func(*authsec.Transport){retrying(authsec.RetryPolicy{})}, 200, "first first second"},
		{"rejected again after a 503", http.MethodPut, true, statuses(401, 503, 401), []func(*authsec.Transport){retrying(authsec.RetryPolicy{})}, 401, "first second first"},
		{"a 503 to the replay of a POST", http.MethodPost, true, statuses(401, 503), []func(*authsec.Transport){retrying(authsec.RetryPolicy{})}, 503, "first second"},
	} {
		inBubble(t, c.name, func(t *testing.T) {
			var b bodies
			req := get(t, api)
			req.Method = c.method
			if c.body {
				req = b.request(t.Context(), c.method, api, "the body")
			}
			source := renewingTo(secondToken)
			resp, err := to(source, c.base, c.edit...).RoundTrip(req)
			if err != nil {
				t.Fatal(err)
			}
			if resp.StatusCode != c.status || c.base.tokens() != c.tokens {
				t.Errorf("got status %d after tokens %q, want %d after %q", resp.StatusCode, c.base.tokens(), c.status, c.tokens)
			}
			if n := source.renews.Load(); n != 1 {
				t.Errorf("Renew: got %d calls, want 1", n)
			}
			last := len(c.base.answers) - 1
			if resp != c.base.answers[last] {
				t.Error("got another response than the last, want that")
			}
			checkUnread(t, resp)
			for i := range c.base.answers[:last] {
				if n := c.base.bodies[i].closes.Load(); n == 0 {
					t.Errorf("answer %d: got an open body, want it closed", i)
				}
			}
			for i, call := range c.base.calls {
				if c.body && (call.body != "the body" || call.length != 8) {
					t.Errorf("request %d: got body %q of %d bytes, want the caller's", i, call.body, call.length)
				}
			}
			checkClosed(t, &b)
		})
	}
}

func TestTransportReturnsThe401Unchanged(t *testing.T) {
	renewing := func(token *oauth2.Token, err error) *renewable {
		return &renewable{renew: func(context.Context, *oauth2.Token) (*oauth2.Token, error) { return token, err }}
	}
	withoutGetBody := func(r *http.Request) { r.GetBody, r.ContentLength = nil, -1 }
	for _, c := range []struct {
		name   string
		source oauth2.TokenSource
		edit   func(*http.Request)
		renews int32
	}{
		{"the same token", renewing(&oauth2.Token{AccessToken: firstToken}, nil), nil, 1},
		{"an error", renewing(nil, errors.New("no token")), nil, 1},
		{"neither token nor error", renewing(nil, nil), nil, 1},
		{"a token that no header can hold", renewing(&oauth2.Token{AccessToken: "a\nb"}, nil), nil, 1},
		{"no GetBody", renewing(&oauth2.Token{AccessToken: secondToken}, nil), withoutGetBody, 1},
		{"GetBody fails", renewing(&oauth2.Token{AccessToken: secondToken}, nil), func(r *http.Request) {
			r.GetBody = func() (io.ReadCloser, error) { return nil, errors.New("gone") }
		}, 1},
		{"GetBody gives nothing", renewing(&oauth2.Token{AccessToken: secondToken}, nil), func(r *http.Request) {
			r.GetBody = func() (io.ReadCloser, error) { return nil, nil }
		}, 1},
		{"a source without Renew", staticSource(), nil, 0},
		{"a source without Renew behind a ReuseTokenSource", oauth2.ReuseTokenSource(nil, staticSource()), nil, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			var b bodies
			req := b.request(t.Context(), http.MethodPost, api, "the body")
			if c.edit != nil {
				c.edit(req)
			}
			base := statuses(401)
			resp, err := to(c.source, base, retrying(authsec.RetryPolicy{})).RoundTrip(req)
			if err != nil {
				t.Fatalf("got error %v, want the 401", err)
			}
			if resp != base.answers[0] || len(base.calls) != 1 {
				t.Errorf("got %d requests, want 1 and its own answer", len(base.calls))
			}
			checkUnread(t, resp)
			checkClosed(t, &b)
			if s, ok := c.source.(*renewable); ok && s.renews.Load() != c.renews {
				t.Errorf("Renew: got %d calls, want %d", s.renews.Load(), c.renews)
			}
		})
	}
}

// An API that rejects every token does not turn each request into a fetch.
func TestTransportBoundsTheFetchesOfAnAPIThatRejectsAll(t *testing.T) {
	bubble(t, func(t *testing.T) {
		srv := authsectest.NewInMemoryServer()
		srv.Delegate(authsectest.ClientID, authsectest.Delegation{})
		src := newSource(t, srv.Config(authsectest.ClientID))
		base := statuses(401)
		tr := to(src, base, retrying(authsec.RetryPolicy{}))
		for range 100 {
			resp, err := tr.RoundTrip(get(t, api))
			if err != nil || resp.StatusCode != 401 {
				t.Fatalf("got %v, want a 401", err)
			}
			checkUnread(t, resp)
		}
		if len(base.calls) != 100 || srv.Fetches() != 2 {
			t.Errorf("got %d requests and %d fetches, want 100 and 2", len(base.calls), srv.Fetches())
		}
	})
}

// endless has no end.
type endless struct{}

func (endless) Read(p []byte) (int, error) { return len(p), nil }

// stuck blocks in Read until it is released, and perhaps in Close, too.
type stuck struct {
	release    chan struct{}
	closeBlock bool
	closes     atomic.Int32
}

func (s *stuck) Read([]byte) (int, error) { <-s.release; return 0, io.EOF }

func (s *stuck) Close() error {
	s.closes.Add(1)
	if s.closeBlock {
		<-s.release
	}
	return nil
}

func TestTransportDrainsARejectedAnswerWithinBounds(t *testing.T) {
	const drainTime, drainBytes = 100 * time.Millisecond, 4 << 10
	for _, status := range []int{401, 503} {
		policy := retrying(authsec.RetryPolicy{MinBackoff: 1, MaxBackoff: 1})
		send := func(t *testing.T, body io.ReadCloser) time.Duration {
			began := time.Now()
			base := answering(outcome{status: status, body: body}, outcome{status: 200})
			resp, err := to(renewingTo(secondToken), base, policy).RoundTrip(get(t, api))
			if err != nil || resp.StatusCode != 200 {
				t.Fatalf("got %v, %v, want 200", resp, err)
			}
			return time.Since(began)
		}
		inBubble(t, fmt.Sprint(status, " short"), func(t *testing.T) {
			body := track(strings.NewReader("reject!"))
			if elapsed := send(t, body); elapsed >= drainTime || body.read.Load() != 7 || body.closes.Load() != 1 {
				t.Errorf("got %d bytes read, %d closes after %v, want 7 and 1 at once", body.read.Load(), body.closes.Load(), elapsed)
			}
		})
		inBubble(t, fmt.Sprint(status, " endless"), func(t *testing.T) {
			body := track(endless{})
			most := int64(drainBytes)
			if status == http.StatusUnauthorized { // what is small is read before the token is renewed
				most += 64<<10 + 1
			}
			if elapsed := send(t, body); elapsed >= drainTime || body.read.Load() > most || body.closes.Load() != 1 {
				t.Errorf("got %d bytes read, %d closes after %v, want at most %d and 1 at once", body.read.Load(), body.closes.Load(), elapsed, most)
			}
		})
		for _, closeBlocks := range []bool{false, true} {
			inBubble(t, fmt.Sprint(status, " blocked, Close too: ", closeBlocks), func(t *testing.T) {
				body := &stuck{release: make(chan struct{}), closeBlock: closeBlocks}
				defer close(body.release)
				elapsed := send(t, body)
				synctest.Wait()
				drainTime := drainTime
				if status == http.StatusUnauthorized { // before the renewal, and after it
					drainTime *= 2
				}
				if elapsed < drainTime || elapsed > drainTime+time.Millisecond || body.closes.Load() != 1 {
					t.Errorf("got %d closes after %v, want 1 after %v", body.closes.Load(), elapsed, drainTime)
				}
			})
		}
	}
}

func TestTransportKeepsTheConnectionOfARejectedAnswer(t *testing.T) {
	var connections atomic.Int32
	srv := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if tokenIn(r.Header) != "second" {
			w.WriteHeader(http.StatusUnauthorized)
			w.Write(make([]byte, 3<<10))
		}
	}))
	srv.Config.ConnState = countNew(&connections)
	srv.Start()
	defer srv.Close()
	client := srv.Client()
	client.Transport = to(renewingTo(secondToken), client.Transport, hosts(srv.Listener.Addr().String()))
	for range 10 {
		resp, err := client.Get(srv.URL)
		if err != nil || resp.StatusCode != 200 {
			t.Fatalf("got %v, %v, want 200", resp, err)
		}
		io.Copy(io.Discard, resp.Body)
		resp.Body.Close()
	}
	if n := connections.Load(); n != 1 {
		t.Errorf("connections: got %d, want 1", n)
	}
}
