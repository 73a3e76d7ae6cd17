// Copyright 2026 The authsec Authors
// SPDX-License-Identifier: Apache-2.0

package authsec

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/authsec-go/authsec/internal/hosts"
	"golang.org/x/oauth2"
)

// Transport is an [http.RoundTripper] that adds a token to requests, to the
// hosts where it belongs, replaces a token that an API refuses, and repeats
// requests that failed for a passing reason ([RetryPolicy]). Wrap it around any
// client's transport:
//
//	client.Transport = &authsec.Transport{Source: src, Base: client.Transport, Hosts: []string{"api.example.com"}}
//
// It keeps to the contract of http.RoundTripper: the request is not modified,
// its body is streamed and always closed, and the response is passed on as it
// came. An Authorization header that a request has already is replaced where
// the token goes, and stays where it does not.
//
// On a 401 it asks Source once for another token than the one refused. If there
// is one, and the request's body can be had again (GetBody), the request is
// sent once more, whatever its method: a 401 says that it was not acted upon.
// Otherwise the caller gets the 401. GetBody is not called while Base may still
// read the body that it was given, so it may give out the same one again: a body
// that Base has not closed 100 ms after an answer is taken from it.
//
// A Transport is safe for concurrent use. Its fields may not be changed after
// the first request.
type Transport struct {
	// Source gives the token; required. Where it has the methods of a [*Source]
	// TokenContext(ctx) and Renew(ctx, rejected), these are called with the
	// request's context, and refused tokens are replaced. The wait for any other
	// ends with the context, too, but a call of Token that does not return is
	// left behind.
	Source oauth2.TokenSource

	// Base makes the requests. nil: http.DefaultTransport.
	Base http.RoundTripper

	// Retry says how requests to APIs are repeated. Its zero value repeats; set
	// MaxAttempts to 1 if Base or the caller does so already.
	Retry RetryPolicy

	// Hosts is where the token may go; required. Requests to other hosts pass
	// without it. Each entry is one of
	//
	//	api.example.com              this host, on the scheme's default port
	//	api.example.com:8443         this host and port
	//	*.example.com                all its subdomains, of any depth, but not itself
	//	[2001:db8::1]:8443           an IP address
	//	http://orders.prod.svc:8080  this host and port, over plain HTTP
	//	*                            wherever the caller goes
	//
	// The token goes over TLS. Only to localhost and loopback addresses, and to
	// what is listed with http://, it goes over plain HTTP; a request that would
	// take it anywhere else like this fails with [ErrInsecureURL].
	//
	// The URL's host decides, not Request.Host; but over plain HTTP a forward
	// proxy goes where Request.Host says, so if that names another place, the
	// token stays off. Where redirects led to the
	// request, listed hosts count as ever; under "*" the token goes on only if
	// every hop had the first one's host and port, or a subdomain of it. It
	// never goes from https to http, nor with TRACE and CONNECT.
	Hosts []string

	// Logger is told of requests that pass without the token, at Debug. nil: silent.
	Logger *slog.Logger

	once  sync.Once
	ready prepared
}

// prepared is a Transport's configuration as it is used. It is immutable.
type prepared struct {
	err    error
	source *Source // Source, if it is one of ours
	hosts  *hosts.List
	base   http.RoundTripper
	retry  RetryPolicy
}

func (t *Transport) prepare() {
	var faults []error
	if t.Source == nil {
		faults = append(faults, errors.New("authsec: Transport.Source is nil"))
	}
	list, err := hosts.Parse(t.Hosts)
	if err != nil {
		faults = append(faults, fmt.Errorf("authsec: Transport.Hosts: %w", err))
	}
	if err := t.Retry.validate("authsec: Transport.Retry"); err != nil {
		faults = append(faults, err)
	}
	t.ready = prepared{err: errors.Join(faults...), hosts: list, base: t.Base, retry: t.Retry.withDefaults()}
	t.ready.source, _ = t.Source.(*Source)
	if t.ready.base == nil {
		t.ready.base = http.DefaultTransport
	}
}

// RoundTrip sends the request, with the token if it belongs there. Its errors
// are those of Source, those of Base, [ErrInsecureURL], what is wrong with the
// Transport's fields, and the end of the request's context.
func (t *Transport) RoundTrip(req *http.Request) (*http.Response, error) {
	t.once.Do(t.prepare)
	x := exchange{t: t, req: req}
	if err := x.admit(); err != nil {
		if req.Body != nil {
			req.Body.Close()
		}
		return nil, err
	}
	resp, err := x.attempt(req.Body)
	if err == nil && !passing(resp.StatusCode) {
		return resp, nil
	}
	retry := t.ready.retry
	if retry.MaxAttempts == 1 || x.unsent || !x.repeatable() || !idempotent(req) {
		return resp, err
	}
	// The loop's state outlives this frame; x, which does not, keeps the usual
	// request from paying for it.
	again := x
	return retry.retry(req.Context(), resp, err, &again)
}

// CloseIdleConnections calls the method of that name on Base, if it has one.
func (t *Transport) CloseIdleConnections() {
	base := t.Base
	if base == nil {
		base = http.DefaultTransport
	}
	if c, ok := base.(interface{ CloseIdleConnections() }); ok {
		c.CloseIdleConnections()
	}
}

// closePatience is how long a request that is to be sent again waits for Base
// to close the body of the attempt before. What it has not sent by then it need
// not; and net/http's HTTP/2 forgets to close one when a GOAWAY comes.
const closePatience = 100 * time.Millisecond

// exchange is one call of RoundTrip. One goroutine uses it.
type exchange struct {
	t        *Transport
	req      *http.Request // the caller's; never modified
	withheld bool          // the request goes without the token
	unsent   bool          // the last attempt failed before it was sent: there was no token
	sent     bool          // the caller's own body was handed to Base
	renewed  bool          // a refused token was reported already
	body     io.ReadCloser // of the attempt that was prepared
	handed   *handedBodies // what Base was given; nil: nothing that has to be waited for
}

// admit decides whether the token goes along.
func (x *exchange) admit() error {
	if x.t.ready.err != nil {
		return x.t.ready.err
	}
	if x.req.URL == nil || x.req.Header == nil {
		return errors.New("authsec: the request has no URL, or its Header is nil")
	}
	switch x.t.ready.hosts.Check(x.req) {
	case hosts.Send:
		return nil
	case hosts.Insecure:
		return fmt.Errorf("authsec: the token would go to %s over plain HTTP: use https, or list \"http://%[1]s\" in Hosts if its network is to be trusted: %w", x.req.URL.Host, ErrInsecureURL)
	}
	x.withheld = true
	if log := x.t.Logger; log != nil && log.Enabled(x.req.Context(), slog.LevelDebug) {
		log.DebugContext(x.req.Context(), "token withheld", "host", x.req.URL.Host)
	}
	return nil
}

// attempt sends the request once with this body, which it has closed when it
// fails, and which Base closes otherwise. If the token is refused, it sends the
// request again with another.
func (x *exchange) attempt(body io.ReadCloser) (*http.Response, error) {
	x.unsent = false
	if x.withheld {
		return x.roundTrip(body, nil)
	}
	token, err := x.t.token(x.req.Context())
	if err != nil {
		if body != nil {
			body.Close()
		}
		x.unsent = true
		return nil, err
	}
	resp, err := x.roundTrip(body, token.header)
	if err != nil || resp.StatusCode != http.StatusUnauthorized || x.renewed {
		return resp, err
	}
	x.renewed = true
	newer, err := x.t.renew(x.req.Context(), token)
	if err != nil || newer.header == nil || newer.header[0] == token.header[0] || !x.repeatable() {
		return resp, nil
	}
	body, ok := x.open()
	if !ok {
		return resp, nil
	}
	discard(resp.Body)
	return x.roundTrip(body, newer.header)
}

// roundTrip sends a copy of the request, with this body and, if it isn't nil,
// this value of the Authorization header.
func (x *exchange) roundTrip(body io.ReadCloser, authorization []string) (*http.Response, error) {
	req := x.req
	watched := req.GetBody != nil && body != nil && body != http.NoBody
	if authorization != nil || x.sent || watched {
		req = req.WithContext(req.Context())
		req.Body = body
	}
	if watched {
		if x.handed == nil {
			x.handed = new(handedBodies)
		}
		req.Body, req.GetBody = x.handed.hand(body), x.handed.getBody(x.req.GetBody)
	}
	x.sent = true
	if authorization != nil {
		// Of the headers the map alone is copied: Base may not modify the values.
		req.Header = maps.Clone(req.Header)
		for key := range x.req.Header {
			if len(key) == len("Authorization") && strings.EqualFold(key, "Authorization") {
				delete(req.Header, key) // in whatever case it was written
			}
		}
		req.Header["Authorization"] = authorization
	}
	resp, err := x.t.ready.base.RoundTrip(req)
	if resp == nil && err == nil {
		return nil, errors.New("authsec: Transport.Base returned neither a response nor an error")
	}
	return resp, err
}

// repeatable reports whether the request's body can be had again.
func (x *exchange) repeatable() bool {
	return x.req.Body == nil || x.req.Body == http.NoBody || x.req.GetBody != nil
}

// open returns the request's body anew, and whether it can be had.
func (x *exchange) open() (io.ReadCloser, bool) {
	if x.req.Body == nil || x.req.Body == http.NoBody {
		return x.req.Body, true
	}
	if x.handed != nil && !x.handed.release(x.req.Context()) {
		return nil, false
	}
	body, err := x.req.GetBody()
	return body, err == nil && body != nil
}

// handedBodies are the bodies that Base was given for one request, or got itself
// by GetBody.
type handedBodies struct {
	mu   sync.Mutex
	list []*handedBody
}

func (h *handedBodies) hand(body io.ReadCloser) io.ReadCloser {
	h.mu.Lock()
	defer h.mu.Unlock()
	b := &handedBody{body: body, done: make(chan struct{})}
	h.list = append(h.list, b)
	return b
}

// getBody is a GetBody for Base.
func (h *handedBodies) getBody(getBody func() (io.ReadCloser, error)) func() (io.ReadCloser, error) {
	return func() (io.ReadCloser, error) {
		body, err := getBody()
		if err != nil || body == nil {
			return body, err
		}
		return h.hand(body), nil
	}
}

// release waits until Base is done with all of them, or takes from it, after
// closePatience, those that it does not read. It reports whether there is none
// left, and ctx has not ended.
func (h *handedBodies) release(ctx context.Context) bool {
	h.mu.Lock()
	list := h.list
	h.mu.Unlock()
	patience, cancel := context.WithTimeout(ctx, closePatience)
	defer cancel()
	for _, b := range list {
		select {
		case <-b.done:
			continue
		default:
		}
		select {
		case <-b.done:
		case <-patience.Done():
			if ctx.Err() != nil || !b.take() {
				return false
			}
		}
	}
	return true
}

// handedBody is a body that Base was given. Base may read it even after it has
// answered, and closes it when it is done ([http.RoundTripper]); but HTTP/2's
// closes it while a Read is under way, and may read once more. Such a Read gets
// nothing, so that after done the body is free to be given out again.
type handedBody struct {
	body io.ReadCloser
	done chan struct{} // closed when the body is closed and no Read is under way

	mu      sync.Mutex // not held while the body is read or closed
	reading int        // Reads under way
	closing bool       // Close was called
	closed  bool       // and has returned
}

func (b *handedBody) Read(p []byte) (int, error) {
	b.mu.Lock()
	if b.closing {
		b.mu.Unlock()
		return 0, http.ErrBodyReadAfterClose
	}
	b.reading++
	b.mu.Unlock()
	defer func() {
		b.mu.Lock()
		b.reading--
		b.finish()
		b.mu.Unlock()
	}()
	return b.body.Read(p)
}

// Close is called by Base, more than once perhaps.
func (b *handedBody) Close() error {
	b.mu.Lock()
	b.closing = true
	b.mu.Unlock()
	err := b.body.Close()
	b.mu.Lock()
	b.closed = true
	b.finish()
	b.mu.Unlock()
	return err
}

// take closes a body that Base has left open, so that Base gets no more of it. It
// reports whether no Read is under way.
func (b *handedBody) take() bool {
	b.mu.Lock()
	free := b.reading == 0
	b.closing = b.closing || free
	b.mu.Unlock()
	if free {
		b.Close()
	}
	return free
}

// finish closes done, if all is over. mu is held.
func (b *handedBody) finish() {
	if !b.closed || b.reading > 0 {
		return
	}
	select {
	case <-b.done:
	default:
		close(b.done)
	}
}

// The exchange's part in a retry loop.

func (x *exchange) prepare() (ok bool) {
	if x.unsent {
		return false
	}
	x.body, ok = x.open()
	return ok
}

func (x *exchange) send() (*http.Response, error) { return x.attempt(x.body) }

func (x *exchange) abandon() {
	if x.body != nil {
		x.body.Close()
	}
}

// ticket is a token as requests take it.
type ticket struct {
	header []string      // the Authorization header's value; not to be modified
	token  *oauth2.Token // from a foreign Source; nil if from ours
	text   string        // the access token, if from ours
}

// token gets the token for a request.
func (t *Transport) token(ctx context.Context) (ticket, error) {
	if s := t.ready.source; s != nil {
		r, err := s.get(ctx)
		if err != nil {
			return ticket{}, err
		}
		return ticket{header: r.header, text: r.token.AccessToken}, nil
	}
	if c, ok := t.Source.(contextSource); ok {
		return newTicket(bounded(ctx, func() (*oauth2.Token, error) { return c.TokenContext(ctx) }))
	}
	return newTicket(bounded(ctx, t.Source.Token))
}

// renew gets a ticket in place of one that was refused. A Source that can't be
// told so has none.
func (t *Transport) renew(ctx context.Context, refused ticket) (ticket, error) {
	if s := t.ready.source; s != nil {
		r, err := s.renew(ctx, refused.text)
		if err != nil {
			return ticket{}, err
		}
		return ticket{header: r.header, text: r.token.AccessToken}, nil
	}
	if s, ok := t.Source.(renewer); ok {
		return newTicket(bounded(ctx, func() (*oauth2.Token, error) { return s.Renew(ctx, refused.token) }))
	}
	return ticket{}, nil
}

// newTicket makes a ticket of what a foreign Source returned.
func newTicket(token *oauth2.Token, err error) (ticket, error) {
	switch {
	case err != nil:
		return ticket{}, err
	case token == nil || token.AccessToken == "":
		return ticket{}, errors.New("authsec: Transport.Source returned no token")
	case !isHeaderSafe(token.AccessToken) || !isHeaderSafe(token.Type()):
		return ticket{}, errors.New("authsec: Transport.Source returned a token that no header can hold")
	}
	return ticket{header: []string{token.Type() + " " + token.AccessToken}, token: token}, nil
}

// bounded calls a method of a foreign Source, and waits no longer than ctx,
// whatever it does: it may never return, exit its goroutine or panic.
func bounded(ctx context.Context, method func() (*oauth2.Token, error)) (*oauth2.Token, error) {
	if ctx.Err() != nil {
		return nil, contextError(ctx, "waiting for a token")
	}
	type result struct {
		token *oauth2.Token
		err   error
	}
	done := make(chan result, 1)
	go func() {
		r := result{err: errors.New("authsec: Transport.Source ended its goroutine")}
		defer func() {
			if v := recover(); v != nil {
				r.err = errors.New("authsec: Transport.Source panicked: " + panicText(v))
			}
			done <- r
		}()
		r.token, r.err = method()
	}()
	select {
	case r := <-done:
		return r.token, r.err
	case <-ctx.Done():
		return nil, contextError(ctx, "waiting for a token")
	}
}

// String tells where the token may go.
func (t *Transport) String() string {
	if t == nil {
		return "authsec.Transport{}"
	}
	return fmt.Sprintf("authsec.Transport{Source:%T Base:%T Hosts:%q}", t.Source, t.Base, safeHosts(t.Hosts))
}

// Format prints what String tells, for every verb.
func (t *Transport) Format(f fmt.State, _ rune) { fmt.Fprint(f, t.String()) }

// LogValue gives slog what String tells.
func (t *Transport) LogValue() slog.Value { return slog.StringValue(t.String()) }
