// Copyright 2026 The authsec Authors
// SPDX-License-Identifier: Apache-2.0

package authsec

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"

	"github.com/authsec-go/authsec/internal/hosts"
	"github.com/authsec-go/authsec/internal/redact"
	"github.com/authsec-go/authsec/internal/replay"
)

// trip is one call of RoundTrip. One goroutine uses it.
type trip struct {
	t        *Transport
	req      *http.Request // the caller's; never modified
	bodies   replay.Body
	body     io.ReadCloser // of the next attempt
	getBody  func() (io.ReadCloser, error)
	withheld bool // the request goes without the token
	unsent   bool // the last attempt got no token, and was not sent
	renewed  bool // there was a 401: no further token is asked for
}

func newTrip(t *Transport, req *http.Request) trip {
	return trip{t: t, req: req, bodies: replay.New(req, t.ready.buffer)}
}

// admit decides whether the request goes with the token.
func (x *trip) admit() error {
	p := &x.t.ready
	switch {
	case p.err != nil:
		return p.err
	case x.req.URL == nil || x.req.Header == nil:
		return errors.New("authsec: the request has no URL, or its Header is nil")
	case p.marks && x.marked():
		return errors.New("authsec: Transport.Base is nil, and http.DefaultTransport leads back to this Transport: set Base")
	}
	switch p.hosts.Check(x.req, p.direct) {
	case hosts.Send:
		return nil
	case hosts.Insecure:
		return fmt.Errorf("authsec: the token would go to %s over plain HTTP: use https, or list \"http://%[1]s\" in Hosts if its network is to be trusted: %w", x.req.URL.Host, ErrInsecureURL)
	}
	if p.carries(x.req.Header) {
		return fmt.Errorf("authsec: the request to %s, which must not get the token, has it already: remove what adds it, such as an oauth2.Transport around this Transport", x.req.URL.Host)
	}
	x.withheld = true
	p.notices.tokenWithheld(x.req.Context(), x.req.URL)
	return nil
}

// carries reports whether a header has one of the last tokens of Source, though this
// Transport has not added it. The tokens of a Source that is not a *Source are unknown.
func (p *prepared) carries(h http.Header) bool {
	return p.source.made() && slices.ContainsFunc(h["Authorization"], func(v string) bool {
		_, token, _ := strings.Cut(v, " ")
		return p.source.gave(token)
	})
}

// nextBody gets the body of the next attempt.
func (x *trip) nextBody() (err error) {
	x.body, x.getBody, err = x.bodies.Next(x.req.Context())
	return err
}

// attempt sends the request. If the API rejects the token, attempt sends the request
// once more, with another token.
func (x *trip) attempt() (*http.Response, error) {
	p := &x.t.ready
	if x.withheld {
		return x.send(bearer{})
	}
	token, err := p.token(x.req.Context())
	if x.unsent = err != nil; x.unsent {
		x.bodies.Close()
		return nil, err
	}
	resp, err := x.send(token)
	switch {
	case err != nil:
	case resp.StatusCode == http.StatusUnauthorized && !x.renewed:
		return x.replay(resp, token)
	case resp.StatusCode == http.StatusForbidden && p.source != nil && wantsScope(resp.Header):
		p.source.widen(x.req.Context(), token.text, hosts.Place(x.req.URL))
		fallthrough
	default:
		p.notices.answered(x.req.URL, resp.StatusCode)
	}
	return resp, err
}

// replay sends the request again with another token, if there is one. Otherwise it
// returns resp, the 401.
func (x *trip) replay(resp *http.Response, rejected bearer) (*http.Response, error) {
	p, ctx := &x.t.ready, x.req.Context()
	x.renewed = true
	if !p.renews {
		p.notices.tokenRejected(ctx, x.req.URL, resp.StatusCode, false)
		return resp, nil
	}
	replay.Hold(ctx, resp) // frees its connection, which the fetch may need
	newer, err := p.renew(ctx, rejected, hosts.Place(x.req.URL))
	another := err == nil && newer.value != "" && newer.value != rejected.value
	p.notices.tokenRejected(ctx, x.req.URL, resp.StatusCode, another)
	if !another || x.nextBody() != nil {
		return resp, nil
	}
	replay.Discard(resp.Body)
	resp, err = x.send(newer)
	if err == nil {
		p.notices.answered(x.req.URL, resp.StatusCode)
	}
	return resp, err
}

// retry makes the attempts after the first. resp or err is the outcome of the first.
func (x *trip) retry(resp *http.Response, err error) (*http.Response, error) {
	ctx := x.req.Context()
	if !idempotent(x.req) {
		return resp, err
	}
	for made := 1; ; made++ {
		wait, again := x.t.ready.retry.next(ctx, made, resp, err)
		if !again || x.unsent || x.bodies.Broken() != nil || x.nextBody() != nil {
			return resp, err
		}
		if resp != nil {
			replay.Discard(resp.Body)
		}
		if !sleep(ctx, wait, nil) {
			x.bodies.Close()
			return nil, contextError(ctx, "waiting to retry a request")
		}
		resp, err = x.attempt()
		if err == nil && !transientStatus(resp.StatusCode) {
			return resp, nil
		}
	}
}

// outgoing has a copy of a request and the values of its Authorization header, in one
// allocation. Requests share no values.
type outgoing struct {
	http.Request
	authorization [1]string
}

// send sends the request with the body of this attempt and this token.
func (x *trip) send(token bearer) (*http.Response, error) {
	p, req := &x.t.ready, x.req
	if token.value != "" || p.marks || x.bodies.Changed() {
		out := &outgoing{Request: *x.req}
		req = &out.Request
		if p.marks {
			var unmark func()
			*req, unmark = x.mark(x.req)
			defer unmark()
		}
		req.Body, req.GetBody = x.body, x.getBody
		if token.value != "" {
			req.Header = maps.Clone(req.Header) // not its values: Base may not modify them
			for key := range x.req.Header {
				if len(key) == len("Authorization") && strings.EqualFold(key, "Authorization") {
					delete(req.Header, key) // keys need not be canonical
				}
			}
			out.authorization[0] = token.value
			req.Header["Authorization"] = out.authorization[:]
		}
	}
	resp, err := p.base.RoundTrip(req)
	switch {
	case err != nil && token.value != "":
		return resp, redact.Conceal(err, "", token.text)
	case resp == nil && err == nil:
		return nil, errors.New("authsec: Transport.Base returned neither a response nor an error")
	}
	return resp, err
}

// wantsScope reports whether a 403 says insufficient_scope (RFC 6750, section 3.1).
func wantsScope(h http.Header) bool {
	return slices.ContainsFunc(h.Values("WWW-Authenticate"), func(v string) bool { return strings.Contains(v, "insufficient_scope") })
}

// recursionKey marks the context of a request that Base may lead back to this
// Transport, while Base sends it.
type recursionKey struct{ t *Transport }

// mark returns a marked copy of the request for Base, and a func that removes the mark.
func (x *trip) mark(req *http.Request) (marked http.Request, unmark func()) {
	sending := new(atomic.Bool)
	sending.Store(true)
	return *req.WithContext(context.WithValue(req.Context(), recursionKey{x.t}, sending)), func() { sending.Store(false) }
}

func (x *trip) marked() bool {
	sending, ok := x.req.Context().Value(recursionKey{x.t}).(*atomic.Bool)
	return ok && sending.Load()
}
