// Copyright 2026 The authsec Authors
// SPDX-License-Identifier: Apache-2.0

package authsec_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/authsec-go/authsec"
	"golang.org/x/oauth2"
)

// Two tokens. Failure messages call them first and second.
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

// staticSource always gives the first token. It has neither TokenContext nor Renew.
func staticSource() oauth2.TokenSource {
	return oauth2.StaticTokenSource(&oauth2.Token{AccessToken: firstToken})
}

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

// trackedBody is a body that counts reads and closes.
type trackedBody struct {
	io.Reader
	read   atomic.Int64
	closes atomic.Int32
}

func (b *trackedBody) Read(p []byte) (int, error) {
	n, err := b.Reader.Read(p)
	b.read.Add(int64(n))
	return n, err
}

func (b *trackedBody) Close() error { b.closes.Add(1); return nil }

func track(r io.Reader) *trackedBody { return &trackedBody{Reader: r} }

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

// fakeBase answers with one outcome after the other, and from then on with the
// last one. It reads and closes the body.
type fakeBase struct {
	outcomes []outcome

	mu      sync.Mutex
	calls   []call
	answers []*http.Response
	bodies  []*trackedBody // of answers, also once a client has wrapped them
	idle    int            // calls of CloseIdleConnections
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

func answering(outcomes ...outcome) *fakeBase { return &fakeBase{outcomes: outcomes} }

// statuses are outcomes without headers.
func statuses(codes ...int) *fakeBase {
	b := new(fakeBase)
	for _, code := range codes {
		b.outcomes = append(b.outcomes, outcome{status: code})
	}
	return b
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
	body, ok := resp.Body.(*trackedBody)
	if !ok { // a 401's, which was read before the token was renewed: the caller gets all of it
		if text, err := io.ReadAll(resp.Body); string(text) != "an answer" || err != nil {
			t.Errorf("response body: got %q, %v, want all of it", text, err)
		}
		return
	}
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

// atOnce retries with a wait of 1 ns.
var atOnce = authsec.RetryPolicy{MinBackoff: 1, MaxBackoff: 1}

// countNew counts a server's connections.
func countNew(n *atomic.Int32) func(net.Conn, http.ConnState) {
	return func(_ net.Conn, state http.ConnState) {
		if state == http.StateNew {
			n.Add(1)
		}
	}
}

// stalled is a body that gives nothing until it is closed or ctx ends.
type stalled struct {
	ctx    context.Context
	closed chan struct{}
	once   sync.Once
}

func (s *stalled) Read([]byte) (int, error) {
	select {
	case <-s.closed:
		return 0, errors.New("closed")
	case <-s.ctx.Done():
		return 0, s.ctx.Err()
	}
}

func (s *stalled) Close() error { s.once.Do(func() { close(s.closed) }); return nil }

func newStalled(ctx context.Context) *stalled { return &stalled{ctx: ctx, closed: make(chan struct{})} }
