// Copyright 2026 The authsec Authors
// SPDX-License-Identifier: Apache-2.0

package authsec

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/authsec-go/authsec/internal/conn"
	"github.com/authsec-go/authsec/internal/lifecycle"
	"github.com/authsec-go/authsec/internal/redact"
	"github.com/authsec-go/authsec/internal/wire"
	"github.com/hashicorp/go-retryablehttp"
	"golang.org/x/oauth2"
)

const attemptTimeout = 10 * time.Second // of one request to the endpoint, its body included

// fetcher gets a token: from the server, or from what other processes share.
type fetcher interface {
	fetch(ctx context.Context, q query) fetched
}

// query says what a fetch is for.
type query struct {
	began    time.Time
	token    lifecycle.ID  // in service and good; zero: none
	rejected lifecycle.ID  // the latest token that an API rejected; zero: none
	cause    lifecycle.ID  // the token whose rejection caused the fetch; zero: none did
	refresh  bool          // Refresh caused the fetch
	within   time.Duration // an answer to another process may be this much older than the fetch
	hold     time.Duration // how long this process caches a failure, unless the failure ends the token
}

// fetched is the result of a fetch.
type fetched struct {
	kept         bool          // the token in service is good by the wall clock, and the fetcher was not called
	grant        *grant        // usable, if err is nil
	expired      *grant        // with err: an expired token that the server returned
	err          *Error        // nil: there is a grant, or kept is true
	noDelegation bool          // the server says that the agent has no delegation
	reply        *wire.Reply   // the server's answer; nil: none came, or another process got it
	hold         time.Duration // how long another process caches this failure; 0: this process got it
}

// fetchThrough gets a token through an oauth2.ReuseTokenSource. This keeps the token
// hand, which may be nil, if hand has more than early left by the local wall clock.
// Otherwise it calls f. Each fetch has its own ReuseTokenSource, because that holds its
// mutex while f runs, and f may never return.
func fetchThrough(ctx context.Context, hand *oauth2.Token, early time.Duration, f fetcher, q query) fetched {
	out := fetched{kept: true}
	reuse := oauth2.ReuseTokenSourceWithExpiry(hand, tokenFunc(func() (*oauth2.Token, error) {
		if out = f.fetch(ctx, q); out.err != nil {
			return nil, out.err
		}
		t := *out.grant.token // a copy: reuse writes into it
		return &t, nil
	}), early)
	reuse.Token() // the result is in out
	return out
}

// server is the fetcher that asks the AuthSec server.
type server struct {
	acceptance
	endpoint   *url.URL
	shown      string // what may be shown of endpoint
	agent      string // what may be shown of the client ID
	transport  http.RoundTripper
	credential oauth2.TokenSource // nil: none
	retry      RetryPolicy
	attempt    time.Duration // bounds an attempt
	timeout    time.Duration // bounds a fetch
	fetches    atomic.Uint64
}

func newServer(cfg Config, base *url.URL) *server {
	s := &server{
		acceptance: acceptance{clientID: cfg.ClientID, audience: cfg.Audience, keyfunc: cfg.Keyfunc},
		endpoint:   wire.NewServer(base).TokenEndpoint(),
		agent:      redact.ShortID(cfg.ClientID),
		transport:  cfg.endpointTransport(),
		credential: cfg.Credential,
		retry:      cfg.Retry,
		attempt:    attemptTimeout,
		timeout:    cfg.FetchTimeout,
	}
	s.shown = redact.Shorten(s.endpoint.String(), cfg.ClientID)
	if c := cfg.HTTPClient; c != nil && c.Timeout > 0 {
		s.attempt = min(s.attempt, c.Timeout)
	}
	return s
}

// defaultEndpointTransport is for all Sources without an HTTPClient. Fetches are
// minutes apart, so idle connections are kept only for retries.
var defaultEndpointTransport = sync.OnceValue(func() http.RoundTripper {
	t := conn.New()
	t.TLSHandshakeTimeout = attemptTimeout
	t.IdleConnTimeout = 15 * time.Second
	return t
})

// fetch asks the server, within FetchTimeout.
func (s *server) fetch(ctx context.Context, q query) fetched {
	s.fetches.Add(1)
	ctx, cancel := context.WithTimeout(ctx, s.timeout)
	defer cancel()
	authorization, err := s.authorization(ctx)
	if err != nil {
		return fetched{err: err}
	}
	_, secret, _ := strings.Cut(authorization, " ")
	reply, cause := s.send(ctx, authorization)
	if cause != nil {
		err := newError(s.agent, fmt.Sprintf("%s did not answer: %s", s.shown, redact.Text(redact.Error(cause), s.clientID, secret)),
			fetchCause{redact.Conceal(cause, s.clientID, secret)})
		err.timeout = isTimeout(cause)
		return fetched{err: err}
	}
	return s.read(reply, secret)
}

// read converts the server's answer to the result of a fetch.
func (s *server) read(reply *wire.Reply, secret string) fetched {
	if reply.Status != http.StatusOK {
		f := reply.Failure()
		return fetched{err: s.failure(f, secret), noDelegation: f.Kind == wire.NotDelegated || f.Kind == wire.Expired, reply: reply}
	}
	g, err := s.accept(reply, secret)
	if err == nil {
		return fetched{grant: g, reply: reply}
	}
	if expired := (errExpired{}); errors.As(err, &expired) && expired.life >= -justExpired {
		return fetched{expired: g, reply: reply, err: s.failure(wire.Failure{Kind: wire.Expired, Status: reply.Status, RequestID: reply.Header.Get("X-Request-Id")})}
	}
	reason := fmt.Sprintf("the answer of %s can't be used: %v", s.shown, err)
	return fetched{expired: g, reply: reply, err: newError(s.agent, reason, ErrInvalidResponse).answered(reply.Status)}
}

// authorization returns the value of the Authorization header; "": no Credential.
func (s *server) authorization(ctx context.Context) (value string, failure *Error) {
	if s.credential == nil {
		return "", nil
	}
	defer func() {
		if v := recover(); v != nil {
			failure = newError(s.agent, "Config.Credential panicked: "+redact.Panic(v))
		}
	}()
	var token *oauth2.Token
	var err error
	if c, ok := s.credential.(contextSource); ok {
		token, err = c.TokenContext(ctx)
	} else {
		token, err = s.credential.Token()
	}
	switch {
	case err != nil:
		text := redact.Text(redact.Error(err), s.clientID)
		cause := redact.Conceal(err, s.clientID)
		if re := (*oauth2.RetrieveError)(nil); errors.As(err, &re) { // its text quotes another server's answer
			text = retrieveText(re)
			cause = redact.Hide(err, text)
		}
		e := newError(s.agent, "Config.Credential failed: "+text, fetchCause{cause})
		e.timeout = isTimeout(err)
		return "", e
	case token == nil || token.AccessToken == "":
		return "", newError(s.agent, "Config.Credential returned no token")
	case !wire.IsHeaderSafe(token.AccessToken) || !wire.IsHeaderSafe(token.Type()):
		return "", newError(s.agent, "Config.Credential returned a token that no header can hold")
	}
	return token.Type() + " " + token.AccessToken, nil
}

// retrieveText returns what may be shown of an error from the Credential's own server.
func retrieveText(re *oauth2.RetrieveError) string {
	text := "its token endpoint rejected the request"
	if re.Response != nil {
		text = "its token endpoint answered " + statusText(re.Response.StatusCode)
	}
	if re.ErrorCode != "" {
		text += ": " + redact.Text(re.ErrorCode, "")
	}
	return text
}

// send asks the endpoint with a retryablehttp.Client, which makes the attempts and
// waits between them.
func (s *server) send(ctx context.Context, authorization string) (*wire.Reply, error) {
	req, err := wire.NewTokenRequest(ctx, s.endpoint, s.clientID, authorization, "authsec-go/"+version)
	if err != nil {
		return nil, err
	}
	a := &attempts{transport: s.transport, timeout: s.attempt}
	retryable, err := retryablehttp.FromRequest(req)
	if err != nil {
		return nil, err
	}
	_, err = s.retry.client(a).Do(retryable)
	if u, ok := err.(*url.Error); ok { // from http.Client: its text has the URL, and so the client ID
		err = u.Err
	}
	if err != nil {
		return nil, err
	}
	return a.last, nil
}

// attempts sends the requests of one fetch. It hides the transport's
// CloseIdleConnections, which retryablehttp would call on a shared pool.
type attempts struct {
	transport http.RoundTripper
	timeout   time.Duration // of one
	last      *wire.Reply   // the answer to the last attempt
}

// RoundTrip makes one attempt, and reads its answer within the time-out.
func (a *attempts) RoundTrip(req *http.Request) (*http.Response, error) {
	ctx, cancel := context.WithTimeout(req.Context(), a.timeout)
	defer cancel()
	sent := time.Now()
	resp, err := a.transport.RoundTrip(req.WithContext(ctx))
	if err != nil {
		return nil, err
	}
	if resp == nil {
		return nil, errors.New("HTTPClient's Transport returned neither a response nor an error")
	}
	reply, err := wire.ReadReply(resp, sent)
	if err != nil {
		return nil, err
	}
	a.last = reply
	header := reply.Header.Clone()
	header.Del("Location") // so http.Client follows no redirect
	return &http.Response{StatusCode: reply.Status, Header: header, Body: io.NopCloser(bytes.NewReader(reply.Body)), Request: req}, nil
}
