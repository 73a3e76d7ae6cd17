// Copyright 2026 The authsec Authors
// SPDX-License-Identifier: Apache-2.0

package authsec_test

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"reflect"
	"runtime"
	"runtime/metrics"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/authsec-go/authsec"
	"github.com/authsec-go/authsec/authsectest"
	"golang.org/x/oauth2"
)

// Two tokens, and what failure messages call them.
const (
	firstToken  = "first-token-of-the-transport-tests"
	secondToken = "second-token-of-the-transport-tests"
)

// tokenIn names what an Authorization header holds, without showing it.
func tokenIn(h http.Header) string {
	var names []string
	for key, values := range h {
		if !strings.EqualFold(key, "Authorization") {
			continue
		}
		for _, value := range values {
			switch value {
			case "Bearer " + firstToken:
				names = append(names, "first")
			case "Bearer " + secondToken:
				names = append(names, "second")
			case "Basic own":
				names = append(names, "own")
			default:
				names = append(names, "another")
			}
		}
	}
	slices.Sort(names)
	return strings.Join(names, "+")
}

// staticSource always gives the first token, and knows neither contexts nor Renew.
func staticSource() oauth2.TokenSource {
	return oauth2.StaticTokenSource(&oauth2.Token{AccessToken: firstToken})
}

// sourceFunc is a foreign TokenSource.
type sourceFunc func() (*oauth2.Token, error)

func (f sourceFunc) Token() (*oauth2.Token, error) { return f() }

// renewable is a foreign TokenSource with the methods of a *authsec.Source.
type renewable struct {
	token  func(context.Context) (*oauth2.Token, error) // nil: the first token
	renew  func(context.Context, *oauth2.Token) (*oauth2.Token, error)
	renews atomic.Int32
}

func (s *renewable) Token() (*oauth2.Token, error) { return s.TokenContext(context.Background()) }

func (s *renewable) TokenContext(ctx context.Context) (*oauth2.Token, error) {
	if s.token != nil {
		return s.token(ctx)
	}
	return &oauth2.Token{AccessToken: firstToken}, nil
}

func (s *renewable) Renew(ctx context.Context, rejected *oauth2.Token) (*oauth2.Token, error) {
	s.renews.Add(1)
	if rejected == nil || rejected.AccessToken != firstToken {
		return nil, errors.New("the rejected token is not the one that was sent")
	}
	return s.renew(ctx, rejected)
}

// renewingTo is a source whose Renew gives this token.
func renewingTo(token string) *renewable {
	return &renewable{renew: func(context.Context, *oauth2.Token) (*oauth2.Token, error) {
		return &oauth2.Token{AccessToken: token}, nil
	}}
}

// trackedBody is a body that knows what was done to it.
type trackedBody struct {
	io.Reader
	read   atomic.Int64
	closes atomic.Int32
}

func track(r io.Reader) *trackedBody { return &trackedBody{Reader: r} }

func (b *trackedBody) Read(p []byte) (int, error) {
	n, err := b.Reader.Read(p)
	b.read.Add(int64(n))
	return n, err
}

func (b *trackedBody) Close() error { b.closes.Add(1); return nil }

// bodies gives out request bodies and counts those that were closed.
type bodies struct {
	mu     sync.Mutex
	opened []*trackedBody
}

func (b *bodies) open(text string) io.ReadCloser {
	body := track(strings.NewReader(text))
	b.mu.Lock()
	defer b.mu.Unlock()
	b.opened = append(b.opened, body)
	return body
}

func (b *bodies) counts() (opened, closed int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, body := range b.opened {
		if body.closes.Load() > 0 {
			closed++
		}
	}
	return len(b.opened), closed
}

// request has a body of b, which GetBody opens anew.
func (b *bodies) request(ctx context.Context, method, url, text string) *http.Request {
	req, err := http.NewRequestWithContext(ctx, method, url, nil)
	if err != nil {
		panic(err)
	}
	req.Body = b.open(text)
	req.ContentLength = int64(len(text))
	req.GetBody = func() (io.ReadCloser, error) { return b.open(text), nil }
	return req
}

// outcome is what a fakeBase does with a request.
type outcome struct {
	status int
	header http.Header
	body   io.ReadCloser // nil: a short one, tracked
	err    error
}

// call is a request that a fakeBase has got.
type call struct {
	at     time.Time
	token  string // as tokenIn names it
	body   string
	length int64
	req    *http.Request
}

// fakeBase answers with one outcome after the other, and then with the last
// one again and again. As the contract wants, it reads and closes the body.
type fakeBase struct {
	outcomes []outcome

	mu      sync.Mutex
	calls   []call
	answers []*http.Response
	bodies  []*trackedBody // of answers, also once a client has wrapped them
	idle    int            // calls of CloseIdleConnections
}

func answering(outcomes ...outcome) *fakeBase { return &fakeBase{outcomes: outcomes} }

// statuses are outcomes without headers.
func statuses(codes ...int) *fakeBase {
	b := new(fakeBase)
	for _, code := range codes {
		b.outcomes = append(b.outcomes, outcome{status: code})
	}
	return b
}

func (b *fakeBase) RoundTrip(req *http.Request) (*http.Response, error) {
	c := call{at: time.Now(), token: tokenIn(req.Header), length: req.ContentLength, req: req}
	if req.Body != nil {
		text, err := io.ReadAll(req.Body)
		req.Body.Close()
		if err != nil {
			return nil, err
		}
		c.body = string(text)
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	o := b.outcomes[min(len(b.calls), len(b.outcomes)-1)]
	b.calls = append(b.calls, c)
	if o.err != nil {
		b.answers, b.bodies = append(b.answers, nil), append(b.bodies, nil)
		return nil, o.err
	}
	resp := &http.Response{
		StatusCode: o.status, Status: fmt.Sprint(o.status, " ", http.StatusText(o.status)),
		Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		Header: o.header, Body: o.body, ContentLength: -1, Request: req,
	}
	if resp.Header == nil {
		resp.Header = http.Header{}
	}
	if resp.Body == nil {
		resp.Body = track(strings.NewReader("an answer"))
	}
	body, _ := resp.Body.(*trackedBody)
	b.answers, b.bodies = append(b.answers, resp), append(b.bodies, body)
	return resp, nil
}

func (b *fakeBase) CloseIdleConnections() { b.idle++ }

func (b *fakeBase) tokens() string {
	var names []string
	for _, c := range b.calls {
		names = append(names, c.token)
	}
	return strings.Join(names, " ")
}

const api = "https://api.example.com/v1?q=1"

// to is a Transport over base that sends the token to api and doesn't retry.
func to(source oauth2.TokenSource, base http.RoundTripper, edit ...func(*authsec.Transport)) *authsec.Transport {
	tr := &authsec.Transport{
		Source: source, Base: base,
		Hosts: []string{"api.example.com"},
		Retry: authsec.RetryPolicy{MaxAttempts: 1},
	}
	for _, f := range edit {
		f(tr)
	}
	return tr
}

func retrying(p authsec.RetryPolicy) func(*authsec.Transport) {
	return func(tr *authsec.Transport) { tr.Retry = p }
}

func hosts(list ...string) func(*authsec.Transport) {
	return func(tr *authsec.Transport) { tr.Hosts = list }
}

func get(t testing.TB, url string) *http.Request {
	t.Helper()
	req, err := http.NewRequest(http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	return req
}

// checkUnread reports a response body that was read or closed.
func checkUnread(t *testing.T, resp *http.Response) {
	t.Helper()
	body := resp.Body.(*trackedBody)
	if n, closes := body.read.Load(), body.closes.Load(); n != 0 || closes != 0 {
		t.Errorf("response body: got %d bytes read, %d closes; want it untouched", n, closes)
	}
}

// checkClosed reports request bodies that are still open.
func checkClosed(t *testing.T, b *bodies) {
	t.Helper()
	if opened, closed := b.counts(); opened != closed {
		t.Errorf("request bodies: got %d of %d closed, want all", closed, opened)
	}
}

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
		{"repeated", statuses(503, 503, 200), fast, 3},
		{"repeated without the token", statuses(503, 200), func(tr *authsec.Transport) {
			fast(tr)
			tr.Hosts = []string{"other.example.com"}
		}, 2},
		{"repeated, then a 401", statuses(503, 401, 200), fast, 3},
		{"of which nothing came", answering(outcome{err: errors.New("broken")}), fast, 4},
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
	var refusals atomic.Int32
	tr := to(renewingTo(secondToken), baseFunc(func(r *http.Request) (*http.Response, error) {
		r.Header["Accept"] = []string{"written by the base, into its own copy"}
		status := http.StatusOK
		switch n := refusals.Add(1) % 7; {
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

// baseFunc is a base in one function.
type baseFunc func(*http.Request) (*http.Response, error)

func (f baseFunc) RoundTrip(req *http.Request) (*http.Response, error) { return f(req) }

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
		{name: "repeated", source: staticSource(), base: statuses(503, 500, 200), opened: 3},
		{name: "repeated to the end", source: staticSource(), base: statuses(503), opened: 4},
		{name: "repeated after errors", source: staticSource(), base: answering(outcome{err: io.ErrUnexpectedEOF}), opened: 4, failed: true},
		{name: "repeated, with a 401 in between", source: renewingTo(secondToken), base: statuses(503, 401, 502, 200), opened: 4},
		{name: "canceled while waiting", source: staticSource(), base: answering(outcome{status: 503, header: afterwards}), cancel: true, opened: 2, failed: true},
		{name: "no token for the repetition", source: tokens(firstToken), base: statuses(503), opened: 2, failed: true},
		{name: "GetBody fails", source: renewingTo(secondToken), base: statuses(401), opened: 1,
			edit: func(r *http.Request) {
				r.GetBody = func() (io.ReadCloser, error) { return nil, errors.New("gone") }
			}},
		{name: "GetBody fails before a repetition", source: staticSource(), base: statuses(503), opened: 1,
			edit: func(r *http.Request) {
				r.GetBody = func() (io.ReadCloser, error) { return nil, errors.New("gone") }
			}},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
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
					if answer != nil && answer != resp && answer.Body.(*trackedBody).closes.Load() == 0 {
						t.Errorf("answer %d, which the caller does not get: got an open body, want it closed", i)
					}
				}
			})
		})
	}
}

func TestTransportReplacesAuthorization(t *testing.T) {
	for _, c := range []struct {
		name   string
		header http.Header
	}{
		{"none", http.Header{}},
		{"canonical", http.Header{"Authorization": {"Basic own"}}},
		{"lower case", http.Header{"authorization": {"Basic own"}}},
		{"upper case", http.Header{"AUTHORIZATION": {"Basic own"}}},
		{"many", http.Header{"Authorization": {"Basic own", "Basic own"}, "authorization": {"Basic own"}, "aUTHORIZATION": {"x"}}},
	} {
		t.Run(c.name, func(t *testing.T) {
			base := statuses(200)
			req := get(t, api)
			req.Header = c.header.Clone()
			req.Header["X-Other"] = []string{"kept"}
			if _, err := to(staticSource(), base).RoundTrip(req); err != nil {
				t.Fatal(err)
			}
			got := base.calls[0].req.Header
			if tokenIn(got) != "first" || len(got["Authorization"]) != 1 {
				t.Errorf("Authorization where the token goes: got %q, want the first token alone", tokenIn(got))
			}
			if got.Get("X-Other") != "kept" || len(got) != 2 {
				t.Errorf("other headers: got %d names, want X-Other and Authorization", len(got))
			}

			base = statuses(200)
			req.Header = c.header.Clone()
			if _, err := to(staticSource(), base, hosts("other.example.com")).RoundTrip(req); err != nil {
				t.Fatal(err)
			}
			if got := base.calls[0].req.Header; !reflect.DeepEqual(got, c.header) {
				t.Errorf("headers where the token does not go: got %q, want %q", tokenIn(got), tokenIn(c.header))
			}
		})
	}
}

func TestTransportPassesTheResponseOnAsItCame(t *testing.T) {
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

// A body of a type that can't be compared must not be compared.
func TestTransportTakesBodiesOfAnyType(t *testing.T) {
	for _, hosts := range [][]string{{"api.example.com"}, {"other.example.com"}} {
		req := get(t, api)
		req.Method, req.Body = http.MethodPut, uncomparable{Reader: strings.NewReader("x")}
		req.GetBody = func() (io.ReadCloser, error) { return uncomparable{Reader: strings.NewReader("x")}, nil }
		base := statuses(503, 200)
		tr := to(staticSource(), base, retrying(authsec.RetryPolicy{MinBackoff: 1, MaxBackoff: 1}))
		tr.Hosts = hosts
		if resp, err := tr.RoundTrip(req); err != nil || resp.StatusCode != 200 {
			t.Errorf("Hosts %q: got %v, %v, want 200", hosts, resp, err)
		}
	}
}

type uncomparable struct {
	io.Reader
	_ []int
}

func (uncomparable) Close() error { return nil }

// servers runs the test against a server that speaks HTTP/1.1 and one that
// speaks HTTP/2, each with a client that sends the token there.
func servers(t *testing.T, h http.Handler, test func(t *testing.T, client *http.Client, url string)) {
	for _, version := range []int{1, 2} {
		t.Run(fmt.Sprint("HTTP/", version), func(t *testing.T) {
			srv := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if r.ProtoMajor != version || tokenIn(r.Header) != "first" {
					t.Errorf("request: got HTTP/%d with token %q, want HTTP/%d with the first", r.ProtoMajor, tokenIn(r.Header), version)
				}
				h.ServeHTTP(w, r)
			}))
			srv.EnableHTTP2 = version == 2
			srv.StartTLS()
			defer srv.Close()
			client := srv.Client()
			client.Transport = &authsec.Transport{Source: staticSource(), Base: client.Transport, Hosts: []string{srv.Listener.Addr().String()}}
			test(t, client, srv.URL)
		})
	}
}

func TestTransportStreamsServerSentEvents(t *testing.T) {
	next := make(chan struct{})
	servers(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/event-stream")
		for i := range 3 {
			fmt.Fprintf(w, "data: %d\n\n", i)
			w.(http.Flusher).Flush()
			select {
			case <-next: // only once the client has read the event
			case <-r.Context().Done():
				return
			}
		}
	}), func(t *testing.T, client *http.Client, url string) {
		ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
		defer cancel()
		resp, err := client.Do(get(t, url).WithContext(ctx))
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		events := bufio.NewReader(resp.Body)
		for i := range 3 {
			got, err := events.ReadString('\n')
			if want := fmt.Sprintf("data: %d\n", i); got != want || err != nil {
				t.Fatalf("event %d: got %q, %v, want %q", i, got, err, want)
			}
			events.ReadString('\n')
			next <- struct{}{}
		}
		if rest, err := io.ReadAll(events); len(rest) != 0 || err != nil {
			t.Errorf("after the events: got %q, %v, want the end", rest, err)
		}
	})
}

// sumBody sets the request's trailer when it has been read.
type sumBody struct {
	io.Reader
	trailer http.Header
}

func (b sumBody) Read(p []byte) (int, error) {
	n, err := b.Reader.Read(p)
	if err == io.EOF {
		b.trailer.Set("X-Sum", "42")
	}
	return n, err
}

func TestTransportPassesTrailersBothWays(t *testing.T) {
	servers(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Trailer", "X-Seen")
		io.Copy(w, r.Body)
		w.Header().Set("X-Seen", r.Trailer.Get("X-Sum"))
	}), func(t *testing.T, client *http.Client, url string) {
		req, err := http.NewRequest(http.MethodPost, url, nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Trailer = http.Header{"X-Sum": nil}
		req.Body, req.ContentLength = io.NopCloser(sumBody{strings.NewReader("the body"), req.Trailer}), -1
		resp, err := client.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		if body, err := io.ReadAll(resp.Body); string(body) != "the body" || err != nil {
			t.Errorf("body: got %q, %v, want %q", body, err, "the body")
		}
		if got := resp.Trailer.Get("X-Seen"); got != "42" {
			t.Errorf("trailer that the server saw: got %q, want %q", got, "42")
		}
	})
}

func TestTransportWaitsFor100Continue(t *testing.T) {
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/welcome" && tokenIn(r.Header) == "second" {
			io.Copy(w, r.Body)
			return
		}
		status := http.StatusExpectationFailed
		if r.URL.Path == "/welcome" {
			status = http.StatusUnauthorized
		}
		w.Header().Set("Connection", "close")
		w.WriteHeader(status)
	}))
	defer srv.Close()
	base := &http.Transport{ExpectContinueTimeout: time.Hour}
	defer base.CloseIdleConnections()
	for _, c := range []struct {
		path   string
		status int
		body   string
		opened int
		reads  []int64
	}{
		{"/unwelcome", http.StatusExpectationFailed, "", 1, []int64{0}},
		{"/welcome", http.StatusOK, "the body", 2, []int64{0, 8}}, // a 401, and then with the second token
	} {
		t.Run(c.path, func(t *testing.T) {
			var b bodies
			req := b.request(t.Context(), http.MethodPut, srv.URL+c.path, "the body")
			req.Header.Set("Expect", "100-continue")
			tr := to(renewingTo(secondToken), base, hosts(srv.Listener.Addr().String()))
			resp, err := (&http.Client{Transport: tr}).Do(req)
			if err != nil {
				t.Fatal(err)
			}
			defer resp.Body.Close()
			body, err := io.ReadAll(resp.Body)
			if resp.StatusCode != c.status || string(body) != c.body || err != nil {
				t.Errorf("got %d, %q, %v, want %d, %q", resp.StatusCode, body, err, c.status, c.body)
			}
			b.mu.Lock()
			defer b.mu.Unlock()
			var reads []int64
			for _, body := range b.opened {
				reads = append(reads, body.read.Load())
			}
			if !slices.Equal(reads, c.reads) {
				t.Errorf("bytes read of each body: got %v, want %v", reads, c.reads)
			}
		})
	}
}

func TestTransportUpgradesConnections(t *testing.T) {
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		conn, rw, err := w.(http.Hijacker).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		defer conn.Close()
		fmt.Fprintf(rw, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: echo\r\nX-Token: %s\r\n\r\n", tokenIn(r.Header))
		rw.Flush()
		for {
			line, err := rw.ReadString('\n')
			if err != nil {
				return
			}
			fmt.Fprint(rw, "echo: ", line)
			rw.Flush()
		}
	}))
	defer srv.Close()
	client := srv.Client()
	client.Transport = to(staticSource(), client.Transport, hosts(srv.Listener.Addr().String()), retrying(authsec.RetryPolicy{}))
	req := get(t, srv.URL)
	req.Header.Set("Connection", "Upgrade")
	req.Header.Set("Upgrade", "echo")
	resp, err := client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if got := resp.Header.Get("X-Token"); resp.StatusCode != http.StatusSwitchingProtocols || got != "first" {
		t.Fatalf("got %d with token %q, want 101 with the first", resp.StatusCode, got)
	}
	conn, ok := resp.Body.(io.ReadWriter)
	if !ok {
		t.Fatalf("body: got a %T, want an io.ReadWriter", resp.Body)
	}
	lines := bufio.NewReader(conn)
	for _, word := range []string{"one\n", "two\n"} {
		io.WriteString(conn, word)
		if got, err := lines.ReadString('\n'); got != "echo: "+word || err != nil {
			t.Errorf("echo: got %q, %v, want %q", got, err, "echo: "+word)
		}
	}
}

// memoryInUse is what the Go runtime holds of the system's memory.
func memoryInUse() uint64 {
	samples := []metrics.Sample{{Name: "/memory/classes/total:bytes"}, {Name: "/memory/classes/heap/released:bytes"}}
	metrics.Read(samples)
	return samples[0].Value.Uint64() - samples[1].Value.Uint64()
}

// upload is a body of so many bytes that takes note of the memory in use.
type upload struct{ left, sinceSample, peak int64 }

func (u *upload) Read(p []byte) (int, error) {
	if u.left == 0 {
		return 0, io.EOF
	}
	n := min(int64(len(p)), u.left)
	u.left -= n
	if u.sinceSample += n; u.sinceSample >= 4<<20 {
		u.sinceSample = 0
		u.peak = max(u.peak, int64(memoryInUse()))
	}
	return int(n), nil
}

func TestTransportStreamsAnUploadOfOneGiB(t *testing.T) {
	const size, limit = 1 << 30, 32 << 20
	authsecServer := authsectest.NewServer()
	defer authsecServer.Close()
	authsecServer.Delegate(authsectest.ClientID, authsectest.Delegation{})
	received := make(chan int64, 1)
	srv := httptest.NewServer(authsecServer.API(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		// In large pieces: the race detector counts reads, not bytes.
		n, _ := io.CopyBuffer(struct{ io.Writer }{io.Discard}, struct{ io.Reader }{r.Body}, make([]byte, 256<<10))
		received <- n
	})))
	defer srv.Close()
	client, err := authsec.NewClient(authsecServer.Config(authsectest.ClientID, srv.URL))
	if err != nil {
		t.Fatal(err)
	}
	defer client.CloseIdleConnections()
	runtime.GC()
	idle := int64(memoryInUse())
	body := &upload{left: size}
	req, err := http.NewRequest(http.MethodPut, srv.URL, body)
	if err != nil {
		t.Fatal(err)
	}
	req.ContentLength = size
	resp, err := client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		t.Fatalf("status: got %d, want 200", resp.StatusCode)
	}
	if n := <-received; n != size {
		t.Errorf("received: got %d bytes, want %d", n, size)
	}
	if over := body.peak - idle; over >= limit {
		t.Errorf("peak memory over idle: got %d bytes, want under %d", over, limit)
	}
}

// stalled is a body that gives nothing until it is closed or ctx ends.
type stalled struct {
	ctx    context.Context
	closed chan struct{}
	once   sync.Once
}

func newStalled(ctx context.Context) *stalled { return &stalled{ctx: ctx, closed: make(chan struct{})} }

func (s *stalled) Read([]byte) (int, error) {
	select {
	case <-s.closed:
		return 0, errors.New("closed")
	case <-s.ctx.Done():
		return 0, s.ctx.Err()
	}
}

func (s *stalled) Close() error { s.once.Do(func() { close(s.closed) }); return nil }

// Whatever a request waits for, its end ends the wait.
func TestTransportEndsWithTheContextAtEveryStage(t *testing.T) {
	const limit = 5 * time.Second
	type stage struct {
		name string
		tr   func(release chan struct{}) *authsec.Transport
	}
	wait := func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() }
	stages := []stage{
		{"a source's wait", func(chan struct{}) *authsec.Transport {
			return to(&renewable{token: func(ctx context.Context) (*oauth2.Token, error) { return nil, wait(ctx) }}, statuses(200))
		}},
		{"a foreign source's wait", func(release chan struct{}) *authsec.Transport {
			return to(sourceFunc(func() (*oauth2.Token, error) { <-release; return nil, errors.New("released") }), statuses(200))
		}},
		{"a source that is deaf to its context", func(release chan struct{}) *authsec.Transport {
			return to(&renewable{token: func(context.Context) (*oauth2.Token, error) { <-release; return nil, errors.New("released") }}, statuses(200))
		}},
		{"the endpoint's answer", func(chan struct{}) *authsec.Transport {
			srv := authsectest.NewInMemoryServer()
			srv.Delegate(authsectest.ClientID, authsectest.Delegation{})
			srv.SetLatency(9 * time.Second)
			src, err := authsec.NewSource(srv.Config(authsectest.ClientID))
			if err != nil {
				panic(err)
			}
			return to(src, statuses(200))
		}},
		{"the base", func(chan struct{}) *authsec.Transport {
			return to(staticSource(), baseFunc(func(r *http.Request) (*http.Response, error) {
				r.Body.Close()
				return nil, wait(r.Context())
			}), retrying(authsec.RetryPolicy{}))
		}},
		{"the base, the second time", func(chan struct{}) *authsec.Transport {
			first := true
			return to(staticSource(), baseFunc(func(r *http.Request) (*http.Response, error) {
				if first {
					first = false
					return statuses(503).RoundTrip(r)
				}
				r.Body.Close()
				return nil, wait(r.Context())
			}), retrying(authsec.RetryPolicy{}))
		}},
		{"the response's body", func(chan struct{}) *authsec.Transport {
			return to(staticSource(), baseFunc(func(r *http.Request) (*http.Response, error) {
				r.Body.Close()
				return &http.Response{StatusCode: 200, Header: http.Header{}, Body: newStalled(r.Context()), Request: r}, nil
			}))
		}},
	}
	for _, s := range stages {
		for _, c := range []struct {
			name string
			want error
			do   func(*http.Client, *http.Request) (*http.Response, error)
		}{
			{"Client.Timeout", context.DeadlineExceeded, func(client *http.Client, req *http.Request) (*http.Response, error) {
				client.Timeout = limit
				return client.Do(req)
			}},
			{"deadline", context.DeadlineExceeded, func(client *http.Client, req *http.Request) (*http.Response, error) {
				ctx, cancel := context.WithTimeout(req.Context(), limit)
				context.AfterFunc(ctx, cancel)
				return client.Do(req.WithContext(ctx))
			}},
			{"cancellation", context.Canceled, func(client *http.Client, req *http.Request) (*http.Response, error) {
				ctx, cancel := context.WithCancel(req.Context())
				time.AfterFunc(limit, cancel)
				return client.Do(req.WithContext(ctx))
			}},
		} {
			t.Run(s.name+"/"+c.name, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					release := make(chan struct{})
					defer close(release)
					var b bodies
					req := b.request(t.Context(), http.MethodPut, api, "the body")
					began := time.Now()
					resp, err := c.do(&http.Client{Transport: s.tr(release)}, req)
					if err == nil {
						_, err = io.ReadAll(resp.Body)
						resp.Body.Close()
					}
					if !errors.Is(err, c.want) {
						t.Errorf("error: got %v, want %v", err, c.want)
					}
					if timeout, ok := errors.AsType[net.Error](err); c.want == context.DeadlineExceeded && (!ok || !timeout.Timeout()) {
						t.Errorf("error: got %v, want a time-out", err)
					}
					if elapsed := time.Since(began); elapsed != limit {
						t.Errorf("got an error after %v, want %v", elapsed, limit)
					}
					checkClosed(t, &b)
					time.Sleep(time.Minute) // what others may be waiting for ends by itself
				})
			})
		}
	}
}

func TestTransportEndsWithTheContextWhileItBacksOff(t *testing.T) {
	cause := errors.New("the user went away")
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancelCause(t.Context())
		time.AfterFunc(5*time.Second, func() { cancel(cause) })
		var b bodies
		base := answering(outcome{status: 503, header: http.Header{"Retry-After": {"9"}}})
		began := time.Now()
		resp, err := to(staticSource(), base, retrying(authsec.RetryPolicy{})).RoundTrip(b.request(ctx, http.MethodPut, api, "the body"))
		if resp != nil || !errors.Is(err, context.Canceled) || !errors.Is(err, cause) {
			t.Errorf("got %v, %v, want no response, context.Canceled and its cause", resp, err)
		}
		if elapsed := time.Since(began); elapsed != 5*time.Second {
			t.Errorf("got an error after %v, want 5s", elapsed)
		}
		if len(base.calls) != 1 {
			t.Errorf("requests sent: got %d, want 1", len(base.calls))
		}
		checkClosed(t, &b)
	})
}

func TestTransportReplaysARefusedRequestOnce(t *testing.T) {
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
		{"refused again", http.MethodGet, false, statuses(401), nil, 401, "first second"},
		{"refused after a 503", http.MethodPut, true, statuses(503, 401, 200), []func(*authsec.Transport){retrying(authsec.RetryPolicy{})}, 200, "first first second"},
		{"refused again after a 503", http.MethodPut, true, statuses(401, 503, 401), []func(*authsec.Transport){retrying(authsec.RetryPolicy{})}, 401, "first second first"},
		{"a 503 to the replay of a POST", http.MethodPost, true, statuses(401, 503), []func(*authsec.Transport){retrying(authsec.RetryPolicy{})}, 503, "first second"},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
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
				for i, answer := range c.base.answers[:last] {
					if n := answer.Body.(*trackedBody).closes.Load(); n == 0 {
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
		})
	}
}

// A GetBody may give out the body that there is, rewound: so it is not called
// while Base may still read that.
func TestTransportWaitsForTheBodyToBeClosed(t *testing.T) {
	const never = -1
	for _, c := range []struct {
		name     string
		statuses []int
		closes   time.Duration // after the answer
		took     time.Duration
	}{
		{"a 401, closed at once", []int{401, 200}, 0, 0},
		{"a 401, closed later", []int{401, 200}, 90 * time.Millisecond, 90 * time.Millisecond},
		{"a 401, never closed", []int{401, 200}, never, 100 * time.Millisecond},
		{"a 503, closed later", []int{503, 200}, 90 * time.Millisecond, 90 * time.Millisecond},
		{"a 503, never closed", []int{503, 200}, never, 100 * time.Millisecond},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var b bodies
				var handed []io.ReadCloser
				outcomes := statuses(c.statuses...)
				base := baseFunc(func(req *http.Request) (*http.Response, error) {
					body := req.Body
					handed = append(handed, body)
					req.Body = http.NoBody // fakeBase closes the one it sees
					if c.closes != never {
						time.AfterFunc(c.closes, func() { body.Close() })
					}
					return outcomes.RoundTrip(req)
				})
				req := b.request(t.Context(), http.MethodPut, api, "the body")
				getBody := req.GetBody
				req.GetBody = func() (io.ReadCloser, error) {
					checkClosed(t, &b)
					if n, err := handed[0].Read(make([]byte, 1)); n != 0 || err == nil {
						t.Errorf("Read of the body before: got %d bytes, %v, want an error", n, err)
					}
					return getBody()
				}
				began := time.Now()
				resp, err := to(renewingTo(secondToken), base, retrying(authsec.RetryPolicy{MinBackoff: 1, MaxBackoff: 1})).RoundTrip(req)
				if err != nil {
					t.Fatal(err)
				}
				if resp.StatusCode != http.StatusOK || len(outcomes.calls) != len(c.statuses) {
					t.Errorf("got %d after %d requests, want 200 after %d", resp.StatusCode, len(outcomes.calls), len(c.statuses))
				}
				if took := time.Since(began).Round(time.Millisecond); took != c.took {
					t.Errorf("it took %v, want %v", took, c.took)
				}
				resp.Body.Close()
				time.Sleep(time.Second) // the last body is closed in the bubble, too
			})
		})
	}
}

// A context that ends while Base has not closed the body ends the wait for it,
// and the answer is the caller's.
func TestTransportDoesNotWaitForTheBodyBeyondTheContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), 30*time.Millisecond)
		defer cancel()
		outcomes := statuses(401)
		var handed io.ReadCloser
		base := baseFunc(func(req *http.Request) (*http.Response, error) {
			handed, req.Body = req.Body, http.NoBody
			return outcomes.RoundTrip(req)
		})
		var b bodies
		began := time.Now()
		resp, err := to(renewingTo(secondToken), base).RoundTrip(b.request(ctx, http.MethodPost, api, "the body"))
		if err != nil {
			t.Fatal(err)
		}
		if took := time.Since(began); resp.StatusCode != http.StatusUnauthorized || took != 30*time.Millisecond {
			t.Errorf("got %d after %v, want 401 after 30ms", resp.StatusCode, took)
		}
		checkUnread(t, resp)
		if opened, _ := b.counts(); opened != 1 {
			t.Errorf("got %d bodies opened, want the first alone", opened)
		}
		handed.Close()
	})
}

// Base may get a body by GetBody itself, as net/http does where a kept connection
// turns out to be dead.
func TestTransportWaitsForABodyThatBaseGot(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var open atomic.Int32
		getBody := func() (io.ReadCloser, error) {
			if open.Add(1) > 1 {
				t.Error("GetBody was called before Base had closed the body it had got")
			}
			return track(strings.NewReader("the body")), nil
		}
		req := get(t, api)
		req.Method, req.GetBody = http.MethodPost, getBody
		req.Body, _ = getBody()
		outcomes := statuses(401, 200)
		base := baseFunc(func(req *http.Request) (*http.Response, error) {
			req.Body.Close()
			open.Add(-1)
			body, err := req.GetBody()
			if err != nil {
				t.Error(err)
			}
			time.AfterFunc(50*time.Millisecond, func() { open.Add(-1); body.Close() })
			req.Body = http.NoBody
			return outcomes.RoundTrip(req)
		})
		resp, err := to(renewingTo(secondToken), base).RoundTrip(req)
		if err != nil || resp.StatusCode != http.StatusOK {
			t.Fatalf("got %v, %v, want 200", resp, err)
		}
		resp.Body.Close()
		time.Sleep(time.Second)
	})
}

// slowBody is a body whose Read takes its time, and goes on when it is closed.
type slowBody struct {
	takes   time.Duration
	reading atomic.Bool
}

func (b *slowBody) Read([]byte) (int, error) {
	b.reading.Store(true)
	defer b.reading.Store(false)
	time.Sleep(b.takes)
	return 0, io.EOF
}

func (b *slowBody) Close() error { return nil }

// A body that was closed may still be read: HTTP/2's transport does so. One that
// is read for long is not had again, and the answer is the caller's.
func TestTransportWaitsForAReadUnderWay(t *testing.T) {
	for _, c := range []struct {
		takes  time.Duration
		closes bool
		want   int
	}{
		{90 * time.Millisecond, true, 200},
		{90 * time.Millisecond, false, 200},
		{300 * time.Millisecond, true, 401},
		{300 * time.Millisecond, false, 401},
	} {
		synctest.Test(t, func(t *testing.T) {
			body := &slowBody{takes: c.takes}
			req := get(t, api)
			req.Method, req.Body = http.MethodPost, body
			req.GetBody = func() (io.ReadCloser, error) {
				if body.reading.Load() {
					t.Error("GetBody was called while Base read the body it had")
				}
				return http.NoBody, nil
			}
			outcomes := statuses(401, 200)
			base := baseFunc(func(req *http.Request) (*http.Response, error) {
				if body := req.Body; body != http.NoBody {
					go body.Read(make([]byte, 1))
					synctest.Wait()
					if c.closes {
						body.Close()
					}
				}
				req.Body = http.NoBody
				return outcomes.RoundTrip(req)
			})
			resp, err := to(renewingTo(secondToken), base).RoundTrip(req)
			if err != nil || resp.StatusCode != c.want {
				t.Fatalf("%+v: got %v, %v", c, resp, err)
			}
			resp.Body.Close()
			time.Sleep(time.Second)
		})
	}
}

// rewound is a body of which there is only one, and which goes back to its
// beginning when it is asked for again.
type rewound struct {
	mu   sync.Mutex
	text string
	rest string
}

func (b *rewound) Read(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.rest == "" {
		return 0, io.EOF
	}
	n := copy(p[:min(len(p), 100)], b.rest)
	b.rest = b.rest[n:]
	return n, nil
}

func (b *rewound) Close() error { return nil }

func (b *rewound) rewind() (io.ReadCloser, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.rest = b.text
	return b, nil
}

// A server that answers before it has read the body makes net/http answer while
// it still sends.
func TestTransportSendsARewoundBodyWhole(t *testing.T) {
	text := strings.Repeat("0123456789", 20_000)
	for _, version := range []int{1, 2} {
		t.Run(fmt.Sprint("HTTP/", version), func(t *testing.T) {
			srv := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if tokenIn(r.Header) == "first" {
					w.WriteHeader(http.StatusUnauthorized)
					return
				}
				got, err := io.ReadAll(r.Body)
				if err != nil || string(got) != text || r.ProtoMajor != version {
					w.WriteHeader(http.StatusTeapot)
				}
			}))
			srv.EnableHTTP2 = version == 2
			srv.StartTLS()
			defer srv.Close()
			tr := to(renewingTo(secondToken), srv.Client().Transport, hosts("*"))
			for range 50 {
				body := &rewound{text: text, rest: text}
				req, err := http.NewRequest(http.MethodPost, srv.URL, body)
				if err != nil {
					t.Fatal(err)
				}
				req.ContentLength, req.GetBody = int64(len(text)), body.rewind
				resp, err := tr.RoundTrip(req)
				if err != nil {
					t.Fatal(err)
				}
				resp.Body.Close()
				if resp.StatusCode != http.StatusOK {
					t.Fatalf("got %d, want 200: the body did not come whole", resp.StatusCode)
				}
			}
		})
	}
}

func TestTransportReturnsThe401AsItCame(t *testing.T) {
	renewing := func(token *oauth2.Token, err error) *renewable {
		return &renewable{renew: func(context.Context, *oauth2.Token) (*oauth2.Token, error) { return token, err }}
	}
	withoutGetBody := func(r *http.Request) { r.GetBody = nil }
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

func TestTransportReturnsThe401WhenRenewDoesNotReturn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		release := make(chan struct{})
		defer close(release)
		source := &renewable{renew: func(context.Context, *oauth2.Token) (*oauth2.Token, error) {
			<-release
			return nil, errors.New("released")
		}}
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		defer cancel()
		base := statuses(401)
		began := time.Now()
		resp, err := to(source, base).RoundTrip(get(t, api).WithContext(ctx))
		if elapsed := time.Since(began); err != nil || resp != base.answers[0] || elapsed != 5*time.Second {
			t.Fatalf("got %v, %v after %v, want the 401 after 5s", resp, err, elapsed)
		}
		checkUnread(t, resp)
	})
}

// A 401 whose body is gone still brings the next request its token.
func TestTransportRenewsForTheNextRequest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		srv := authsectest.NewInMemoryServer()
		srv.Delegate(authsectest.ClientID, authsectest.Delegation{})
		client, err := authsec.NewClient(srv.Config(authsectest.ClientID, api))
		if err != nil {
			t.Fatal(err)
		}
		client.Transport.(*authsec.Transport).Base = authsectest.RoundTripper(srv.API(nil))
		post := func() int {
			resp, err := client.Post(api, "text/plain", io.NopCloser(strings.NewReader("a stream")))
			if err != nil {
				t.Fatal(err)
			}
			resp.Body.Close()
			return resp.StatusCode
		}
		first := post()
		srv.Revoke(authsectest.ClientID)
		srv.Delegate(authsectest.ClientID, authsectest.Delegation{})
		second, third := post(), post()
		if first != 200 || second != 401 || third != 200 || srv.Fetches() != 2 {
			t.Errorf("got %d, %d, %d with %d fetches, want 200, 401, 200 with 2", first, second, third, srv.Fetches())
		}
	})
}

// An API that refuses every token does not turn each request into a fetch.
func TestTransportBoundsTheFetchesOfAnAPIThatRefusesAll(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		srv := authsectest.NewInMemoryServer()
		srv.Delegate(authsectest.ClientID, authsectest.Delegation{})
		src, err := authsec.NewSource(srv.Config(authsectest.ClientID))
		if err != nil {
			t.Fatal(err)
		}
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

func TestTransportSurvivesARevocationWithOneFetch(t *testing.T) {
	const callers = 256
	for _, latency := range []time.Duration{0, 100 * time.Millisecond} {
		t.Run(fmt.Sprint("latency ", latency), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				srv := authsectest.NewInMemoryServer()
				srv.Delegate(authsectest.ClientID, authsectest.Delegation{})
				src, err := authsec.NewSource(srv.Config(authsectest.ClientID))
				if err != nil {
					t.Fatal(err)
				}
				// All requests are under way with the old token before one is refused.
				var arrived atomic.Int32
				all := make(chan struct{})
				inner := authsectest.RoundTripper(srv.API(nil))
				base := baseFunc(func(r *http.Request) (*http.Response, error) {
					if n := arrived.Add(1); n == callers {
						close(all)
					}
					<-all
					return inner.RoundTrip(r)
				})
				if _, err := src.Token(); err != nil {
					t.Fatal(err)
				}
				srv.Revoke(authsectest.ClientID)
				srv.Delegate(authsectest.ClientID, authsectest.Delegation{})
				srv.SetLatency(latency)
				before := srv.Fetches()
				client := &http.Client{Transport: to(src, base)}
				var failures atomic.Int32
				var wg sync.WaitGroup
				for i := range callers {
					wg.Go(func() {
						var resp *http.Response
						var err error
						if i%2 == 0 {
							resp, err = client.Get(api)
						} else {
							resp, err = client.Post(api, "text/plain", strings.NewReader("the body"))
						}
						if err != nil || resp.StatusCode != 200 {
							failures.Add(1)
							return
						}
						resp.Body.Close()
					})
				}
				wg.Wait()
				if fetches := srv.Fetches() - before; fetches != 1 || failures.Load() != 0 {
					t.Errorf("got %d fetches and %d failures, want 1 and 0", fetches, failures.Load())
				}
				if n := srv.APICalls(); n != callers {
					t.Errorf("requests that the API accepted: got %d, want %d", n, callers)
				}
			})
		})
	}
}

// endless gives bytes for ever.
type endless struct{}

func (endless) Read(p []byte) (int, error) { return len(p), nil }

// stuck blocks in Read, and in Close too if it is told, until it is released.
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

func TestTransportDrainsARefusedAnswerWithinBounds(t *testing.T) {
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
		t.Run(fmt.Sprint(status, " short"), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				body := track(strings.NewReader("refused"))
				if elapsed := send(t, body); elapsed >= drainTime || body.read.Load() != 7 || body.closes.Load() != 1 {
					t.Errorf("got %d bytes read, %d closes after %v, want 7 and 1 at once", body.read.Load(), body.closes.Load(), elapsed)
				}
			})
		})
		t.Run(fmt.Sprint(status, " endless"), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				body := track(endless{})
				if elapsed := send(t, body); elapsed >= drainTime || body.read.Load() > drainBytes || body.closes.Load() != 1 {
					t.Errorf("got %d bytes read, %d closes after %v, want at most %d and 1 at once", body.read.Load(), body.closes.Load(), elapsed, drainBytes)
				}
			})
		})
		for _, closeBlocks := range []bool{false, true} {
			t.Run(fmt.Sprint(status, " blocked, Close too: ", closeBlocks), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					body := &stuck{release: make(chan struct{}), closeBlock: closeBlocks}
					defer close(body.release)
					elapsed := send(t, body)
					synctest.Wait()
					if elapsed < drainTime || elapsed > drainTime+time.Millisecond || body.closes.Load() != 1 {
						t.Errorf("got %d closes after %v, want 1 after %v", body.closes.Load(), elapsed, drainTime)
					}
				})
			})
		}
	}
}

func TestTransportKeepsTheConnectionOfARefusedAnswer(t *testing.T) {
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

func TestTransportSendsTheTokenWhereItBelongs(t *testing.T) {
	for _, c := range []struct {
		hosts  string
		method string
		url    string
		host   string // Request.Host
		want   string // "": withheld
	}{
		{"api.example.com", "GET", "https://api.example.com/", "", "first"},
		{"api.example.com", "GET", "https://API.Example.COM./", "", "first"},
		{"api.example.com", "GET", "https://api.example.com:443/", "", "first"},
		{"api.example.com", "GET", "https://api.example.com:8443/", "", ""},
		{"api.example.com", "GET", "https://api.example.com.evil.example/", "", ""},
		{"api.example.com", "GET", "https://evil.example/", "api.example.com", ""},
		{"api.example.com", "GET", "https://api.example.com/", "evil.example", "first"},
		{"api.example.com", "GET", "https://api.example.com@evil.example/", "", ""},
		{"api.example.com", "TRACE", "https://api.example.com/", "", ""},
		{"api.example.com", "CONNECT", "https://api.example.com/", "", ""},
		{"*", "TRACE", "https://api.example.com/", "", ""},
		{"*.example.com", "GET", "https://a.b.example.com/", "", "first"},
		{"*.example.com", "GET", "https://example.com/", "", ""},
		{"*", "GET", "https://anywhere.example/", "", "first"},
		{"*", "GET", "http://localhost:8080/", "", "first"},
		{"*", "GET", "http://127.0.0.1:8080/", "", "first"},
		{"[2001:db8::1]:8443", "GET", "https://[2001:db8::1]:8443/", "", "first"},
		{"http://orders.prod.svc:8080", "GET", "http://orders.prod.svc:8080/", "", "first"},
		{"http://orders.prod.svc:8080", "GET", "https://orders.prod.svc:8080/", "", ""},
		{"api.example.com", "GET", "http://other.example.com/", "", ""},
	} {
		t.Run(c.hosts+" "+c.method+" "+c.url, func(t *testing.T) {
			base := statuses(200)
			req := get(t, c.url)
			req.Method, req.Host = c.method, c.host
			if _, err := to(staticSource(), base, hosts(c.hosts)).RoundTrip(req); err != nil {
				t.Fatal(err)
			}
			if got := base.tokens(); got != c.want {
				t.Errorf("token: got %q, want %q", got, c.want)
			}
		})
	}
}

func TestTransportRefusesPlainHTTP(t *testing.T) {
	for _, c := range []struct{ hosts, url string }{
		{"*", "http://api.example.com/"},
		{"api.example.com", "http://api.example.com/"},
		{"*.example.com", "http://api.example.com/"},
		{"10.0.0.1:80", "http://10.0.0.1/"},
	} {
		t.Run(c.hosts+" "+c.url, func(t *testing.T) {
			base := statuses(200)
			client := &http.Client{Transport: to(sourceFunc(func() (*oauth2.Token, error) {
				t.Error("the source was asked, want nothing done")
				return nil, nil
			}), base, hosts(c.hosts))}
			_, err := client.Get(c.url)
			if _, ok := errors.AsType[*url.Error](err); !ok || !errors.Is(err, authsec.ErrInsecureURL) {
				t.Errorf("error: got %v, want ErrInsecureURL within a *url.Error", err)
			}
			if len(base.calls) != 0 {
				t.Errorf("requests sent: got %d, want 0", len(base.calls))
			}
		})
	}
}

func TestTransportLogsAWithheldToken(t *testing.T) {
	var log bytes.Buffer
	tr := to(staticSource(), statuses(200))
	tr.Logger = slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	if _, err := tr.RoundTrip(get(t, "https://other.example.com/path?secret=1")); err != nil {
		t.Fatal(err)
	}
	if got := log.String(); !strings.Contains(got, `level=DEBUG msg="token withheld" host=other.example.com`) || strings.Contains(got, "secret") {
		t.Errorf("log: got %q, want \"token withheld\" with the host alone", got)
	}
	log.Reset()
	if _, err := tr.RoundTrip(get(t, api)); err != nil || log.Len() != 0 {
		t.Errorf("log where the token went: got %d bytes, %v, want none", log.Len(), err)
	}
}

func TestTransportDoesNotHandTheTokenOverOnRedirects(t *testing.T) {
	type seen struct {
		sync.Mutex
		tokens []string // "name token", of each request in turn
	}
	var log seen
	handler := func(name string) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			log.Lock()
			log.tokens = append(log.tokens, name+" "+tokenIn(r.Header))
			log.Unlock()
			if next := r.URL.Query()["to"]; len(next) > 0 {
				target, _ := url.Parse(next[0])
				target.RawQuery = url.Values{"to": next[1:]}.Encode()
				http.Redirect(w, r, target.String(), http.StatusTemporaryRedirect)
			}
		})
	}
	a, b, plain := httptest.NewTLSServer(handler("a")), httptest.NewTLSServer(handler("b")), httptest.NewServer(handler("plain"))
	defer a.Close()
	defer b.Close()
	defer plain.Close()
	roots := x509.NewCertPool()
	roots.AddCert(a.Certificate())
	roots.AddCert(b.Certificate())
	base := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots}}
	defer base.CloseIdleConnections()
	addr := func(s *httptest.Server) string { return s.Listener.Addr().String() }

	for _, c := range []struct {
		name  string
		hosts []string
		chain []string
		want  []string
	}{
		{"to another host", []string{addr(a)}, []string{a.URL, b.URL}, []string{"a first", "b "}},
		{"to another host and back", []string{addr(a)}, []string{a.URL, b.URL, a.URL}, []string{"a first", "b ", "a first"}},
		{"to another named host", []string{addr(a), addr(b)}, []string{a.URL, b.URL}, []string{"a first", "b first"}},
		{"under * on the same host", []string{"*"}, []string{a.URL, a.URL + "/x"}, []string{"a first", "a first"}},
		{"under * to another port", []string{"*"}, []string{a.URL, b.URL}, []string{"a first", "b "}},
		{"under * and back: once off, off", []string{"*"}, []string{a.URL, b.URL, a.URL}, []string{"a first", "b ", "a "}},
		{"from https to http", []string{addr(a), addr(plain)}, []string{a.URL, plain.URL}, []string{"a first", "plain "}},
		{"from https to http to https", []string{addr(a), addr(plain)}, []string{a.URL, plain.URL, a.URL}, []string{"a first", "plain ", "a first"}},
		{"http on loopback", []string{addr(plain)}, []string{plain.URL, plain.URL}, []string{"plain first", "plain first"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			log.tokens = nil
			client := &http.Client{Transport: to(staticSource(), base, hosts(c.hosts...))}
			resp, err := client.Post(c.chain[0]+"?"+url.Values{"to": c.chain[1:]}.Encode(), "text/plain", strings.NewReader("the body"))
			if err != nil {
				t.Fatal(err)
			}
			resp.Body.Close()
			if !slices.Equal(log.tokens, c.want) {
				t.Errorf("got %q, want %q", log.tokens, c.want)
			}
		})
	}
}

func TestTransportSurvivesForeignSources(t *testing.T) {
	broken := errors.New("broken")
	token := func(token *oauth2.Token) oauth2.TokenSource {
		return sourceFunc(func() (*oauth2.Token, error) { return token, nil })
	}
	for _, c := range []struct {
		name   string
		source oauth2.TokenSource
		want   error
	}{
		{"error", sourceFunc(func() (*oauth2.Token, error) { return nil, broken }), broken},
		{"error and token", sourceFunc(func() (*oauth2.Token, error) { return &oauth2.Token{AccessToken: firstToken}, broken }), broken},
		{"nil token", token(nil), nil},
		{"empty token", token(&oauth2.Token{}), nil},
		{"token with a newline", token(&oauth2.Token{AccessToken: firstToken + "\nX-Evil: 1"}), nil},
		{"token with a space", token(&oauth2.Token{AccessToken: "a " + firstToken}), nil},
		{"token type with a newline", token(&oauth2.Token{AccessToken: firstToken, TokenType: "MAC\r\nX-Evil: 1"}), nil},
		{"panic", sourceFunc(func() (*oauth2.Token, error) { panic("boom") }), nil},
		{"nil dereference", sourceFunc(func() (*oauth2.Token, error) {
			var token *oauth2.Token
			return &oauth2.Token{AccessToken: token.AccessToken}, nil
		}), nil},
		{"Goexit", sourceFunc(func() (*oauth2.Token, error) { runtime.Goexit(); return nil, nil }), nil},
		{"context-aware, nil token", &renewable{token: func(context.Context) (*oauth2.Token, error) { return nil, nil }}, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			for _, ctx := range []context.Context{t.Context(), context.Background()} { // one ends, one never
				base := statuses(200)
				var b bodies
				resp, err := (&http.Client{Transport: to(c.source, base, retrying(authsec.RetryPolicy{}))}).Do(b.request(ctx, http.MethodPut, api, "the body"))
				if err == nil || resp != nil {
					t.Fatalf("got no error, want one")
				}
				if c.want != nil && !errors.Is(err, c.want) {
					t.Errorf("error: got %v, want %v", err, c.want)
				}
				if strings.Contains(err.Error(), firstToken) {
					t.Error("the error's text holds the token, want it left out")
				}
				if len(base.calls) != 0 {
					t.Errorf("requests sent: got %d, want 0", len(base.calls))
				}
				checkClosed(t, &b)
			}
		})
	}
}

func TestTransportUsesTheTokensType(t *testing.T) {
	for typ, want := range map[string]string{"": "Bearer abc", "bearer": "Bearer abc", "DPoP": "DPoP abc"} {
		base := statuses(200)
		source := oauth2.StaticTokenSource(&oauth2.Token{AccessToken: "abc", TokenType: typ})
		if _, err := to(source, base).RoundTrip(get(t, api)); err != nil {
			t.Fatal(err)
		}
		if base.calls[0].req.Header.Get("Authorization") != want {
			t.Errorf("token type %q: got another header than its own, want %q and the token", typ, strings.Fields(want)[0])
		}
	}
}

func TestTransportForwardsCloseIdleConnections(t *testing.T) {
	base := statuses(200)
	client := &http.Client{Transport: to(staticSource(), base)}
	client.CloseIdleConnections()
	if base.idle != 1 {
		t.Errorf("calls that reached the base: got %d, want 1", base.idle)
	}
	// A base without the method, none at all, and a Transport with nothing set.
	to(staticSource(), baseFunc(base.RoundTrip)).CloseIdleConnections()
	to(staticSource(), nil).CloseIdleConnections()
	new(authsec.Transport).CloseIdleConnections()
	if base.idle != 1 {
		t.Errorf("calls that reached the base: got %d, want still 1", base.idle)
	}
}

func TestTransportNamesWhatIsMalformed(t *testing.T) {
	var noSource *authsec.Source
	for _, c := range []struct {
		name string
		tr   *authsec.Transport
		want []string
	}{
		{"the zero value", new(authsec.Transport), []string{"Source", "Hosts", `"api.example.com"`}},
		{"no Source", to(nil, statuses(200)), []string{"Source"}},
		{"a nil *Source", to(noSource, statuses(200)), []string{"Source"}},
		{"a zero *Source", to(new(authsec.Source), statuses(200)), []string{"Source"}},
		{"no Hosts", to(staticSource(), statuses(200), hosts()), []string{"Hosts", `"api.example.com"`, `"*"`}},
		{"a malformed host", to(staticSource(), statuses(200), hosts("api.example.com", "https://b.example.com")), []string{"Hosts", "https://b.example.com"}},
		{"an empty host", to(staticSource(), statuses(200), hosts("")), []string{"Hosts"}},
		{"MaxAttempts", to(staticSource(), statuses(200), retrying(authsec.RetryPolicy{MaxAttempts: -1})), []string{"Retry.MaxAttempts", "-1"}},
		{"MinBackoff", to(staticSource(), statuses(200), retrying(authsec.RetryPolicy{MinBackoff: -1})), []string{"Retry.MinBackoff"}},
		{"MaxBackoff", to(staticSource(), statuses(200), retrying(authsec.RetryPolicy{MaxBackoff: -1})), []string{"Retry.MaxBackoff"}},
		{"MinBackoff over MaxBackoff", to(staticSource(), statuses(200), retrying(authsec.RetryPolicy{MinBackoff: 2, MaxBackoff: 1})), []string{"Retry.MinBackoff", "MaxBackoff"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			for i := range 2 {
				resp, err := c.tr.RoundTrip(get(t, api))
				if err == nil || resp != nil {
					t.Fatalf("request %d: got no error, want one", i)
				}
				for _, part := range c.want {
					if !strings.Contains(err.Error(), part) {
						t.Errorf("request %d: got error %q, want %q in it", i, err, part)
					}
				}
				if strings.Count(err.Error(), "authsec: ") == 0 {
					t.Errorf("request %d: got error %q, want the package's name in it", i, err)
				}
			}
			if base, ok := c.tr.Base.(*fakeBase); ok && len(base.calls) != 0 {
				t.Errorf("requests sent: got %d, want 0", len(base.calls))
			}
		})
	}
}

func TestTransportReportsABaseThatReturnsNothing(t *testing.T) {
	tr := to(staticSource(), baseFunc(func(*http.Request) (*http.Response, error) { return nil, nil }), retrying(authsec.RetryPolicy{MinBackoff: 1, MaxBackoff: 1}))
	for range 2 {
		if resp, err := tr.RoundTrip(get(t, api)); resp != nil || err == nil {
			t.Errorf("got %v, %v, want an error", resp, err)
		}
	}
}

func TestTransportGivesTheSourcesOwnError(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		srv := authsectest.NewInMemoryServer()
		srv.Register(authsectest.ClientID)
		client, err := authsec.NewClient(srv.Config(authsectest.ClientID, api))
		if err != nil {
			t.Fatal(err)
		}
		_, err = client.Get(api)
		if _, ok := errors.AsType[*url.Error](err); !ok || !errors.Is(err, authsec.ErrNotDelegated) {
			t.Errorf("error: got %v, want ErrNotDelegated within a *url.Error", err)
		}
		if e, ok := errors.AsType[*authsec.Error](err); !ok || e.StatusCode != http.StatusNotFound {
			t.Errorf("error: got %v, want an *authsec.Error with the 404", err)
		}
		if re, ok := errors.AsType[*oauth2.RetrieveError](err); !ok || re.Response.StatusCode != http.StatusNotFound {
			t.Errorf("error: got %v, want an *oauth2.RetrieveError with the 404", err)
		}
	})
}

// A forward proxy goes where Request.Host says, or URL.Opaque.
func TestTransportSendsNoTokenToAProxyThatWouldTakeItElsewhere(t *testing.T) {
	var line string
	var sent bool
	proxy := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		line, sent = r.RequestURI, r.Header.Get("Authorization") != ""
	}))
	defer proxy.Close()
	proxyURL, err := url.Parse(proxy.URL)
	if err != nil {
		t.Fatal(err)
	}
	base := &http.Transport{Proxy: http.ProxyURL(proxyURL)}
	defer base.CloseIdleConnections()
	tr := &authsec.Transport{Source: staticSource(), Hosts: []string{"http://orders.prod.svc:8080"}, Base: base}
	for _, c := range []struct {
		name string
		edit func(*http.Request)
		want bool
	}{
		{"as it is", func(*http.Request) {}, true},
		{"the same Host", func(r *http.Request) { r.Host = "Orders.prod.svc.:8080" }, true},
		{"another Host", func(r *http.Request) { r.Host = "evil.example" }, false},
		{"another port", func(r *http.Request) { r.Host = "orders.prod.svc" }, false},
		{"opaque", func(r *http.Request) { r.URL.Opaque = "//evil.example/y" }, false},
	} {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://orders.prod.svc:8080/x", nil)
		if err != nil {
			t.Fatal(err)
		}
		c.edit(req)
		resp, err := tr.RoundTrip(req)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if sent != c.want {
			t.Errorf("%s: the proxy was asked for %s, with a token %v, want %v", c.name, line, sent, c.want)
		}
	}
}
