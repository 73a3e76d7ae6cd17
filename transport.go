// Copyright 2026 The authsec Authors
// SPDX-License-Identifier: Apache-2.0

package authsec

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"sync"

	"github.com/authsec-go/authsec/internal/hosts"
	"golang.org/x/oauth2"
)

// defaultBufferBodies is Transport.BufferBodies where that is 0.
const defaultBufferBodies = 64 << 10

// Transport is an [http.RoundTripper] that adds a token to requests, to the hosts
// where it belongs. It replaces a token that an API rejects, and retries requests
// that failed for a transient reason ([RetryPolicy]). Wrap it around any client's
// transport:
//
//	client.Transport = &authsec.Transport{Source: src, Base: client.Transport, Hosts: []string{"api.example.com"}}
//
// It keeps the contract of http.RoundTripper: it does not modify the request,
// always closes its body, and returns the response unchanged. An Authorization
// header of the request is replaced where the token goes, and stays where it does
// not.
//
// After a 401 it asks Source once for another token than the rejected one. If
// there is one, and the body can be sent again, it sends the request once more,
// whatever the method: a 401 says that the request was not acted upon. Otherwise
// the caller gets the 401. A body can be sent again if it has a GetBody, or if
// BufferBodies allows. After a 403 that says insufficient_scope (RFC 6750, section
// 3.1), the caller gets the 403, and Source renews its token in the background.
//
// GetBody is not called while Base may still read or close the body before, so it
// may return the same one again. A body that Base has not closed 100 ms after an
// answer is taken from it.
//
// A Transport is safe for concurrent use. Its fields must not be changed after the
// first request.
type Transport struct {
	// Source gives the token; required. If it has a *Source's methods
	// TokenContext and Renew, they are called with the request's context, and
	// rejected tokens are replaced. The wait for any other source ends with the
	// context, too; its call of Token goes on.
	Source oauth2.TokenSource

	// Base makes the requests. nil: http.DefaultTransport.
	Base http.RoundTripper

	// Retry says how requests to APIs are retried. The zero value retries. Set
	// MaxAttempts to 1 if Base or the caller does so already.
	Retry RetryPolicy

	// BufferBodies is the largest body, in bytes, that is read into memory before
	// it is sent, so that it can be sent again. It is for bodies without GetBody
	// whose ContentLength is known, and not for requests with an Expect header. 0:
	// 64 KiB. Negative: none is.
	BufferBodies int64

	// Hosts is where the token may go; required. Requests to other hosts are sent
	// without it. Each entry is one of
	//
	//	api.example.com              this host, on the scheme's default port
	//	api.example.com:8443         this host and port
	//	*.example.com                all its subdomains, of any depth, but not itself
	//	[2001:db8::1]:8443           an IP address
	//	http://orders.prod.svc:8080  this host and port, over plain HTTP
	//	*                            wherever the caller goes
	//
	// https:// before a host means the same as the host alone. The token goes over
	// TLS. Over plain HTTP it goes to what is listed with http://, and to localhost
	// and loopback addresses if no proxy is in between; to send local traffic
	// through a proxy, list it, such as http://localhost:9. A request that would
	// take it elsewhere over plain HTTP fails with [ErrInsecureURL].
	//
	// The URL's host decides, not Request.Host. A proxy for plain HTTP goes where
	// Request.Host says: if that is another place, the token is withheld. After
	// redirects, listed hosts count as ever. Under "*", the token goes on only if
	// every hop had the host and port of the first, or a subdomain of that host. It
	// never goes from https to http, nor with TRACE and CONNECT.
	Hosts []string

	// Logger gets a record when the token is withheld from a host and when an API
	// rejects it: at Warn once a host, then at Debug. nil: silent.
	Logger *slog.Logger

	once  sync.Once
	ready prepared
}

// prepared is a Transport's configuration as requests use it. It is immutable, but
// for notices.
type prepared struct {
	err     error
	source  *Source            // Source, if it is one of ours
	foreign oauth2.TokenSource // if not
	renews  bool               // Source has Renew
	hosts   *hosts.List
	direct  func(*http.Request) bool
	base    http.RoundTripper
	marks   bool // base may lead back to this Transport
	retry   RetryPolicy
	buffer  int64
	notices notices
}

func (t *Transport) prepare() {
	p := &t.ready
	var faults []error
	if t.Source == nil {
		faults = append(faults, errors.New("authsec: Transport.Source is nil"))
	}
	var err error
	if p.hosts, err = hosts.Parse(t.Hosts); err != nil {
		faults = append(faults, fmt.Errorf("authsec: Transport.Hosts: %w", err))
	}
	if err := t.Retry.validate("authsec: Transport.Retry"); err != nil {
		faults = append(faults, err)
	}
	p.err = errors.Join(faults...)
	_, p.renews = t.Source.(renewer)
	if p.source, _ = t.Source.(*Source); p.source == nil {
		p.foreign = t.Source
	}
	p.base, p.retry, p.buffer, p.notices.log = t.Base, t.Retry.withDefaults(), t.BufferBodies, t.Logger
	if p.base == nil {
		p.base = http.DefaultTransport
		_, plain := p.base.(*http.Transport)
		p.marks = !plain
	}
	p.direct = hosts.Direct(p.base)
	if p.buffer == 0 {
		p.buffer = defaultBufferBodies
	}
}

// RoundTrip sends the request, with the token if it belongs there. Its errors are
// those of Source, those of Base, [ErrInsecureURL], what is wrong with the
// Transport's fields, and the end of the request's context. An error of Base whose
// text shows the token is concealed: errors.Is still sees what lies below.
func (t *Transport) RoundTrip(req *http.Request) (*http.Response, error) {
	t.once.Do(t.prepare)
	x := newTrip(t, req)
	if err := x.admit(); err != nil {
		x.bodies.Close()
		return nil, err
	}
	if err := x.nextBody(); err != nil {
		x.bodies.Close()
		return nil, err
	}
	resp, err := x.attempt()
	if err == nil && !transientStatus(resp.StatusCode) {
		return resp, nil
	}
	return x.retry(resp, err)
}

// CloseIdleConnections calls the method of that name on Base, if it has one, and
// closes the idle connections of the default client for AuthSec.
func (t *Transport) CloseIdleConnections() {
	type closer interface{ CloseIdleConnections() }
	base := t.Base
	if base == nil {
		base = http.DefaultTransport
	}
	if c, ok := base.(closer); ok && base != http.RoundTripper(t) {
		c.CloseIdleConnections()
	}
	if s, ok := t.Source.(*Source); ok && s.made() && s.server.transport == defaultEndpointTransport() {
		s.server.transport.(closer).CloseIdleConnections()
	}
}

// String returns where the token may go, and no secret.
func (t *Transport) String() string {
	if t == nil {
		return "authsec.Transport{}"
	}
	return fmt.Sprintf("authsec.Transport{Source:%T Base:%T Hosts:%q}", t.Source, t.Base, hosts.Shown(t.Hosts))
}

// Format prints String for every verb.
func (t *Transport) Format(f fmt.State, _ rune) { fmt.Fprint(f, t.String()) }

// LogValue returns String for slog.
func (t *Transport) LogValue() slog.Value { return slog.StringValue(t.String()) }

// recursionKey marks the context of a request that Base may lead back to this
// Transport.
type recursionKey struct{ t *Transport }

// mark returns the request as Base gets it.
func (x *trip) mark(req *http.Request) *http.Request {
	return req.WithContext(context.WithValue(req.Context(), recursionKey{x.t}, true))
}
