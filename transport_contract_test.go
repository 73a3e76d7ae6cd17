// Copyright 2026 The authsec Authors
// SPDX-License-Identifier: Apache-2.0

package authsec_test

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/url"
	"reflect"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/authsec-go/authsec"
	"golang.org/x/oauth2"
)

// requestState is all of a request that a caller can see, copied deeply.
type requestState struct {
	shallow http.Request
	url     url.URL
	user    url.Userinfo
	header  http.Header
	trailer http.Header
	coding  []string
	ctx     context.Context
	getBody uintptr
}

func stateOf(req *http.Request) requestState {
	s := requestState{
		url: *req.URL, header: req.Header.Clone(), trailer: req.Trailer.Clone(),
		coding: slices.Clone(req.TransferEncoding), ctx: req.Context(),
		getBody: reflect.ValueOf(req.GetBody).Pointer(),
		shallow: http.Request{
			Method: req.Method, URL: req.URL, Proto: req.Proto, ProtoMajor: req.ProtoMajor, ProtoMinor: req.ProtoMinor,
			Body: req.Body, ContentLength: req.ContentLength, Close: req.Close, Host: req.Host,
			RemoteAddr: req.RemoteAddr, RequestURI: req.RequestURI, Response: req.Response,
		},
	}
	if req.URL.User != nil {
		s.user = *req.URL.User
	}
	return s
}

func TestTransportDoesNotModifyTheRequest(t *testing.T) {
	fast := retrying(authsec.RetryPolicy{MinBackoff: 1, MaxBackoff: 1})
	for _, c := range []struct {
		name  string
		base  *fakeBase
		edit  func(*authsec.Transport)
		calls int
	}{
		{"with the token", statuses(200), fast, 1},
		{"without the token", statuses(200), hosts("other.example.com"), 1},
		{"after a 401", statuses(401, 200), fast, 2},
		{"retried", statuses(503, 503, 200), fast, 3},
		{"retried without the token", statuses(503, 200), func(tr *authsec.Transport) {
			fast(tr)
			tr.Hosts = []string{"other.example.com"}
		}, 2},
		{"retried, then a 401", statuses(503, 401, 200), fast, 3},
		{"that failed", answering(outcome{err: errors.New("broken")}), fast, 4},
		{"of a malformed Transport", statuses(200), hosts("not a host"), 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			var b bodies
			req := b.request(t.Context(), http.MethodPut, "https://user:pass@api.example.com/v1", "the body")
			req.Header = http.Header{"authorization": {"Basic own"}, "Accept": {"a", "b"}, "X-Empty": nil}
			req.Trailer = http.Header{"X-Sum": nil}
			req.TransferEncoding = []string{"identity"}
			req.Host, req.Close = "name.example.com", true
			before := stateOf(req)
			if resp, err := to(renewingTo(secondToken), c.base, c.edit).RoundTrip(req); err == nil {
				resp.Body.Close()
			}
			if after := stateOf(req); !reflect.DeepEqual(before, after) {
				t.Errorf("the request was modified:\n got %v\nwant %v", after, before)
			}
			if len(c.base.calls) != c.calls {
				t.Errorf("requests sent: got %d, want %d", len(c.base.calls), c.calls)
			}
			checkClosed(t, &b)
		})
	}
}

func TestTransportSharesARequestAmongGoroutines(t *testing.T) {
	req := get(t, api)
	req.Header = http.Header{"Authorization": {"Basic own"}, "Accept": {"a"}, "X-Trace": {"1"}}
	before := stateOf(req)
	var sent atomic.Int32
	tr := to(renewingTo(secondToken), baseFunc(func(r *http.Request) (*http.Response, error) {
		r.Header["Accept"] = []string{"written by the base, into its own copy"}
		status := http.StatusOK
		switch n := sent.Add(1) % 7; {
		case n == 0:
			status = http.StatusUnauthorized
		case n == 1:
			status = http.StatusBadGateway
		}
		return &http.Response{StatusCode: status, Header: http.Header{}, Body: http.NoBody, Request: r}, nil
	}), retrying(authsec.RetryPolicy{MaxAttempts: 9, MinBackoff: 1, MaxBackoff: 1}))
	var wg sync.WaitGroup
	for range 16 {
		wg.Go(func() {
			for range 50 {
				resp, err := tr.RoundTrip(req)
				if err != nil {
					t.Errorf("RoundTrip: got %v, want no error", err)
					return
				}
				resp.Body.Close()
				if !reflect.DeepEqual(before, stateOf(req)) {
					t.Error("got a modified request, want it as it was")
					return
				}
			}
		})
	}
	wg.Wait()
}

func TestTransportClosesTheBodyOnEveryError(t *testing.T) {
	broken := errors.New("broken")
	failing := sourceFunc(func() (*oauth2.Token, error) { return nil, broken })
	canceled, cancel := context.WithCancel(t.Context())
	cancel()
	for _, c := range []struct {
		name string
		ctx  context.Context
		tr   *authsec.Transport
		edit func(*http.Request)
	}{
		{"no token", nil, to(failing, statuses(200)), nil},
		{"no token, and no context", context.Background(), to(failing, statuses(200)), nil},
		{"a nil token", nil, to(sourceFunc(func() (*oauth2.Token, error) { return nil, nil }), statuses(200)), nil},
		{"a token that panics", nil, to(sourceFunc(func() (*oauth2.Token, error) { panic("boom") }), statuses(200)), nil},
		{"plain HTTP", nil, to(staticSource(), statuses(200), hosts("*")), func(r *http.Request) { r.URL.Scheme = "http" }},
		{"no Hosts", nil, to(staticSource(), statuses(200), hosts()), nil},
		{"bad Hosts", nil, to(staticSource(), statuses(200), hosts("a b")), nil},
		{"no Source", nil, to(nil, statuses(200)), nil},
		{"a bad RetryPolicy", nil, to(staticSource(), statuses(200), retrying(authsec.RetryPolicy{MaxAttempts: -1})), nil},
		{"no URL", nil, to(staticSource(), statuses(200)), func(r *http.Request) { r.URL = nil }},
		{"no Header", nil, to(staticSource(), statuses(200)), func(r *http.Request) { r.Header = nil }},
		{"an ended context", canceled, to(staticSource(), statuses(200)), nil},
		{"an ended context, a source that knows it", canceled, to(&renewable{token: func(ctx context.Context) (*oauth2.Token, error) {
			return nil, ctx.Err()
		}}, statuses(200)), nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			ctx := c.ctx
			if ctx == nil {
				ctx = t.Context()
			}
			var b bodies
			req := b.request(ctx, http.MethodPut, api, "the body")
			if c.edit != nil {
				c.edit(req)
			}
			_, err := c.tr.RoundTrip(req)
			if err == nil {
				t.Error("got no error, want one")
			}
			if opened, closed := b.counts(); opened != 1 || closed != 1 {
				t.Errorf("bodies: got %d opened and %d closed, want 1 and 1", opened, closed)
			}
		})
	}
}

func TestTransportClosesEveryBodyItOpens(t *testing.T) {
	later := retrying(authsec.RetryPolicy{MinBackoff: time.Second, MaxBackoff: time.Minute})
	afterwards := http.Header{"Retry-After": {"30"}}
	tokens := func(list ...string) oauth2.TokenSource {
		var n int
		return sourceFunc(func() (*oauth2.Token, error) {
			if n++; n > len(list) {
				return nil, errors.New("no more tokens")
			}
			return &oauth2.Token{AccessToken: list[n-1]}, nil
		})
	}
	for _, c := range []struct {
		name   string
		source oauth2.TokenSource
		base   *fakeBase
		edit   func(*http.Request)
		cancel bool // during the first wait
		opened int
		failed bool
	}{
		{name: "sent once", source: staticSource(), base: statuses(200), opened: 1},
		{name: "a 401 replayed", source: renewingTo(secondToken), base: statuses(401, 200), opened: 2},
		{name: "a 401 with the same token", source: renewingTo(firstToken), base: statuses(401), opened: 1},
		{name: "retried", source: staticSource(), base: statuses(503, 500, 200), opened: 3},
		{name: "retried to the end", source: staticSource(), base: statuses(503), opened: 4},
		{name: "retried after errors", source: staticSource(), base: answering(outcome{err: io.ErrUnexpectedEOF}), opened: 4, failed: true},
		{name: "retried, with a 401 in between", source: renewingTo(secondToken), base: statuses(503, 401, 502, 200), opened: 4},
		{name: "canceled while waiting", source: staticSource(), base: answering(outcome{status: 503, header: afterwards}), cancel: true, opened: 2, failed: true},
		{name: "no token for the retry", source: tokens(firstToken), base: statuses(503), opened: 2, failed: true},
		{name: "GetBody fails", source: renewingTo(secondToken), base: statuses(401), opened: 1,
			edit: func(r *http.Request) {
				r.GetBody = func() (io.ReadCloser, error) { return nil, errors.New("gone") }
			}},
		{name: "GetBody fails before a retry", source: staticSource(), base: statuses(503), opened: 1,
			edit: func(r *http.Request) {
				r.GetBody = func() (io.ReadCloser, error) { return nil, errors.New("gone") }
			}},
	} {
		inBubble(t, c.name, func(t *testing.T) {
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			var b bodies
			req := b.request(ctx, http.MethodPut, api, "the body")
			if c.edit != nil {
				c.edit(req)
			}
			if c.cancel {
				time.AfterFunc(20*time.Second, cancel)
			}
			resp, err := to(c.source, c.base, later).RoundTrip(req)
			if (err != nil) != c.failed {
				t.Errorf("error: got %v, want one: %v", err, c.failed)
			}
			if opened, closed := b.counts(); opened != c.opened || closed != c.opened {
				t.Errorf("bodies: got %d opened and %d closed, want %d and %[3]d", opened, closed, c.opened)
			}
			for i, call := range c.base.calls {
				if call.body != "the body" || call.length != int64(len("the body")) {
					t.Errorf("request %d: got body %q and ContentLength %d, want the caller's", i, call.body, call.length)
				}
			}
			for i, answer := range c.base.answers {
				if answer != nil && answer != resp && c.base.bodies[i].closes.Load() == 0 {
					t.Errorf("answer %d, which the caller does not get: got an open body, want it closed", i)
				}
			}
		})
	}
}

func TestTransportReturnsTheResponseUnchanged(t *testing.T) {
	for _, c := range []struct {
		name   string
		method string
		status int
		edit   func(*authsec.Transport)
	}{
		{"200", http.MethodGet, 200, hosts("api.example.com")},
		{"without the token", http.MethodGet, 200, hosts("other.example.com")},
		{"302", http.MethodGet, 302, hosts("api.example.com")},
		{"404", http.MethodGet, 404, hosts("api.example.com")},
		{"401 and a source that can't renew", http.MethodGet, 401, hosts("api.example.com")},
		{"401 without the token", http.MethodGet, 401, hosts("other.example.com")},
		{"503 to a POST", http.MethodPost, 503, retrying(authsec.RetryPolicy{})},
		{"503 once", http.MethodGet, 503, retrying(authsec.RetryPolicy{MaxAttempts: 1})},
	} {
		t.Run(c.name, func(t *testing.T) {
			base := answering(outcome{status: c.status, header: http.Header{"X-A": {"b"}}})
			req := get(t, api)
			req.Method = c.method
			got, err := to(staticSource(), base, c.edit).RoundTrip(req)
			if err != nil {
				t.Fatal(err)
			}
			if got != base.answers[0] || len(base.calls) != 1 {
				t.Fatalf("got response %p after %d requests, want the base's own, %p, after 1", got, len(base.calls), base.answers[0])
			}
			if want := (http.Header{"X-A": {"b"}}); !reflect.DeepEqual(got.Header, want) {
				t.Errorf("header: got %v, want %v", got.Header, want)
			}
			checkUnread(t, got)
		})
	}
}
