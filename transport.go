// Copyright 2026 The authsec Authors
// SPDX-License-Identifier: Apache-2.0

package authsec

import (
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"sync"
	"sync/atomic"

	"github.com/authsec-go/authsec/internal/hosts"
	"golang.org/x/oauth2"
)

// defaultBufferBodies is the default of Transport.BufferBodies.
const defaultBufferBodies = 64 << 10

// Transport is an [http.RoundTripper] that adds a token to requests to listed hosts.
// It replaces a token that an API rejects, and retries requests after transient
// failures ([RetryPolicy]). Wrap it around any client's transport:
//
//	client.Transport = &authsec.Transport{Source: src, Base: client.Transport, Hosts: []string{"api.example.com"}}
//
// It keeps the contract of http.RoundTripper: it does not modify the request, always
// closes the request's body, and returns the response unchanged. A request that goes
// with the token loses its own Authorization header; other requests keep theirs.
//
// After a 401, the Transport asks Source once for a token other than the rejected one.
// If Source has one, and the body can be sent again, the Transport sends the request
// once more, whatever its method, because an API does not act on a request that it
// answers with 401. Otherwise the caller gets the 401. After a 403 that says
// insufficient_scope (RFC 6750, section 3.1), the caller gets the 403, and a *Source
// renews its token in the background.
//
// A body can be sent again if the request has a GetBody, or if BufferBodies allows it.
// GetBody may return the same body each time: the Transport does not call it while Base
// may still read or close the last one. If Base does not close the last body within 100
// ms, the Transport closes it, and Base can no longer read it.
//
// A Transport is safe for concurrent use. Its fields must not be changed after the
// first request.
type Transport struct {
	// Source provides the token; required. If it has the method TokenContext of a
	// *Source, that is called with the request's context. If it has the method Renew,
	// rejected tokens are replaced. The wait for any TokenSource ends with the
	// request's context, even if its method has not returned.
	Source oauth2.TokenSource

	// Base sends the requests. nil: http.DefaultTransport.
	Base http.RoundTripper

	// Retry is the policy for all requests, also those without the token. The zero
	// value retries. Set MaxAttempts to 1 if Base or the caller retries already.
	Retry RetryPolicy

	// BufferBodies is the size in bytes up to which a body is read into memory before
	// the request is sent, so that the body can be sent again. It applies to requests
	// without GetBody, with a known ContentLength and without an Expect header. 0: 64
	// KiB. Negative: no body is read into memory.
	BufferBodies int64

	// Hosts lists where the token may go; required. Requests to other hosts are sent
	// without the token. Each entry has one of these forms:
	//
	//	api.example.com              this host, on the scheme's default port
	//	api.example.com:8443         this host and port
	//	*.example.com                all subdomains of example.com, but not example.com itself
	//	[2001:db8::1]:8443           an IP address
	//	http://orders.prod.svc:8080  this host and port, over plain HTTP
	//	*                            every host
	//
	// A host with https:// means the same as the host alone. The token goes over TLS.
	// Over plain HTTP it goes only to hosts that are listed with http://, and to listed
	// localhost and loopback addresses if no proxy is in between. To send local traffic
	// through a proxy, list the host with http://, such as http://localhost:8080. Any
	// other plain HTTP request to a listed host fails with [ErrInsecureURL].
	//
	// The host of the URL counts, not Request.Host. But a proxy sends a plain HTTP
	// request to Request.Host: if the two differ, the token is withheld. A redirect to
	// a listed host gets the token. With "*", a redirect gets it only if every hop so
	// far has the host and port of the first request, or a subdomain of that host. The
	// token is withheld after a redirect from https to http, and from requests with the
	// methods TRACE and CONNECT.
	Hosts []string

	// Logger gets a record when the token is withheld from a host, and when an API
	// rejects it: at level Warn once for each of up to 100 hosts, otherwise at Debug.
	// After an API accepts a token, its next rejection is at Warn again. nil: nothing
	// is logged.
	Logger *slog.Logger

	once    sync.Once
	ready   prepared
	closing atomic.Bool // CloseIdleConnections is under way
}

// prepared is a Transport's configuration as requests use it. Only notices changes.
type prepared struct {
	err     error
	source  *Source            // Source, if it is one of ours
	foreign oauth2.TokenSource // Source, if it is another
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
	if _, adds := t.Base.(*oauth2.Transport); adds {
		faults = append(faults, errors.New("authsec: Transport.Base is an *oauth2.Transport, which sends its own token to every host: use its Base"))
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

// RoundTrip sends the request, with the token if the token may go to its host. It
// returns the errors of Source, Base and the request's body, [ErrInsecureURL], the end
// of the request's context, and the faults of the Transport's fields. If the text of
// an error of Base shows the token, RoundTrip redacts the text; [errors.Is] still finds
// the errors that Base's error wraps.
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

// CloseIdleConnections calls the method of that name on Base, if it has one. It also
// closes the idle connections to AuthSec, unless [Config.HTTPClient] is set. All
// Sources without an HTTPClient share these connections.
func (t *Transport) CloseIdleConnections() {
	type closer interface{ CloseIdleConnections() }
	base := t.Base
	if base == nil {
		base = http.DefaultTransport
	}
	if c, ok := base.(closer); ok && t.closing.CompareAndSwap(false, true) { // base may lead back here
		c.CloseIdleConnections()
		t.closing.Store(false)
	}
	if s, ok := t.Source.(*Source); ok && s.made() && s.server.transport == defaultEndpointTransport() {
		s.server.transport.(closer).CloseIdleConnections()
	}
}

// String returns the Transport's fields, without secrets.
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
