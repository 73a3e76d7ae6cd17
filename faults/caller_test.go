// Copyright 2026 The authsec Authors
// SPDX-License-Identifier: Apache-2.0

package faults

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"sync"
	"time"

	"github.com/authsec-go/authsec"
	"github.com/authsec-go/authsec/authsectest"
)

// quick is the default policy with short waits.
var quick = authsec.RetryPolicy{MinBackoff: 5 * time.Millisecond, MaxBackoff: 40 * time.Millisecond}

// caller is a user of the library: a Source and a Transport over it.
type caller struct {
	*stack
	src          *authsec.Source
	client       *http.Client
	base         *http.Transport // to APIs
	endpointBase *http.Transport // to the endpoint
	api          string          // the address of the API, or of a proxy in front of it
	fetchTimeout time.Duration
}

type callerOption func(*callerConfig)

type callerConfig struct {
	authsec.Config
	endpoint, api string // addresses
	untrusting    bool
	source        *caller // its Source is used; nil: a new one
	retry         authsec.RetryPolicy
}

// newCaller makes a caller that reaches the servers directly, unless an option says
// otherwise.
func (s *stack) newCaller(options ...callerOption) *caller {
	s.Helper()
	cfg := callerConfig{endpoint: s.endpoint.addr, api: s.api.addr, retry: quick}
	cfg.ClientID = authsectest.ClientID
	cfg.FetchTimeout = callTimeout
	cfg.Retry = quick
	for _, option := range options {
		option(&cfg)
	}
	c := &caller{stack: s, api: cfg.api, fetchTimeout: cfg.FetchTimeout}
	newBase := func() *http.Transport {
		t := &http.Transport{ForceAttemptHTTP2: true, TLSClientConfig: &tls.Config{RootCAs: identity().roots}}
		if cfg.untrusting {
			t.TLSClientConfig.RootCAs = x509.NewCertPool()
		}
		return t
	}
	c.base, c.endpointBase = newBase(), newBase()
	if cfg.source != nil {
		c.src = cfg.source.src
	} else {
		cfg.BaseURL = s.wire.url(cfg.endpoint)
		cfg.HTTPClient = &http.Client{Transport: c.endpointBase}
		var err error
		if c.src, err = authsec.NewSource(cfg.Config); err != nil {
			s.Fatalf("NewSource: got error %v, want none", err)
		}
	}
	c.client = &http.Client{Transport: &authsec.Transport{
		Source: c.src,
		Base:   attemptNoter{c.base},
		Hosts:  []string{cfg.api},
		Retry:  cfg.retry,
	}}
	s.callers = append(s.callers, c)
	return c
}

// close closes the idle connections: all of them, if no request is under way.
func (c *caller) close() {
	c.client.CloseIdleConnections()
	c.base.CloseIdleConnections()
	c.endpointBase.CloseIdleConnections()
}

// attemptNoter counts the attempts that a Transport makes. net/http must close the
// bodies that it gets, and those that it opens. (Over HTTP/2 it does not close one that
// it was about to send when a GOAWAY came.) The Transport must close a body that it
// reads itself.
type attemptNoter struct{ *http.Transport }

type entryKey struct{}

func (n attemptNoter) RoundTrip(req *http.Request) (*http.Response, error) {
	e := req.Context().Value(entryKey{}).(*entry)
	e.mu.Lock()
	e.attempts++
	e.mu.Unlock()
	if req.Body != nil && req.Body != http.NoBody && !e.buffered {
		e.handOver() // req.Body is the one that was opened last
		req = req.WithContext(req.Context())
		if getBody := req.GetBody; getBody != nil {
			req.GetBody = func() (io.ReadCloser, error) {
				body, err := getBody()
				e.handOver()
				return body, err
			}
		}
	}
	resp, err := n.Transport.RoundTrip(req)
	if err != nil {
		e.note("attempt: %v", err)
	} else {
		e.note("attempt: status %d", resp.StatusCode)
	}
	return resp, err
}

// call is a request to make.
type call struct {
	method    string // "": GET
	send      int    // bytes of its body
	noGetBody bool
	key       bool // it has an Idempotency-Key
	want      int  // bytes of the answer's body
	pad       int  // bytes of the answer's header
	redirect  bool // to the stranger
	timeout   time.Duration
	cancelled bool // after timeout, without a deadline that announces it
	lasting   bool // the context never ends, so it cleans nothing up
}

// once reports whether the request may be sent only once.
func (c call) once() bool { return c.method == http.MethodPost && !c.key }

// replayable reports whether the request's body can be sent again.
func (c call) replayable() bool { return !c.noGetBody || c.send <= maxBuffered }

// repeatable reports whether the request may and can be retried.
func (c call) repeatable() bool { return !c.once() && c.replayable() }

func (c call) String() string {
	text := c.method
	if text == "" {
		text = http.MethodGet
	}
	if c.key {
		text += "+Key"
	}
	if c.send > 0 {
		if text += "+Body"; c.send > maxBuffered {
			text += ">64KiB"
		}
		if c.noGetBody {
			text += "-GetBody"
		}
	}
	return text
}

// outcome is a request's result.
type outcome struct {
	status   int // 0: no response
	err      error
	broken   bool // the response's body broke off with err
	arrivals int
	attempts int
}

// ok reports whether a complete response came.
func (o outcome) ok() bool { return o.status == http.StatusOK && o.err == nil }

const callTimeout = 10 * time.Second

// do makes the request, reads the response to its end, and checks what must always be
// so.
func (c *caller) do(k call) outcome {
	if k.timeout == 0 {
		k.timeout = callTimeout
	}
	ctx, cancel := context.WithTimeout(context.Background(), k.timeout)
	switch {
	case k.lasting:
		cancel()
		ctx, cancel = context.Background(), func() {}
	case k.cancelled:
		cancel()
		ctx, cancel = context.WithCancel(context.Background())
		timer := time.AfterFunc(k.timeout, cancel)
		defer timer.Stop()
	}
	defer cancel()
	e := &entry{id: fmt.Sprint("request-", c.ids.Add(1)), once: k.once(), buffered: k.noGetBody && k.send <= maxBuffered, began: time.Now()}
	e.note("%v, %d bytes sent, %d wanted, %v allowed", k, k.send, k.want, k.timeout)
	c.ledger.begin(e)
	defer c.ledger.end(e)

	o := c.send(context.WithValue(ctx, entryKey{}, e), k, e)
	took := time.Since(e.began)
	e.note("ended: status %d, error %v", o.status, o.err)
	c.ledger.mu.Lock()
	o.arrivals = e.arrivals
	c.ledger.mu.Unlock()
	e.mu.Lock()
	o.attempts = e.attempts
	e.mu.Unlock()

	if limit := k.timeout + schedulingAllowance; took > limit {
		c.ledger.violate(e, "a request took %v, its context allowed %v: want at most %v", took, k.timeout, limit)
	}
	limit := maxAttempts
	if !k.repeatable() {
		limit = 2 // one after a 401
	}
	if k.redirect {
		limit += maxAttempts
	}
	if o.attempts > limit {
		c.ledger.violate(e, "a request was sent %d times, want at most %d", o.attempts, limit)
	}
	return o
}

func (c *caller) send(ctx context.Context, k call, e *entry) outcome {
	req, err := http.NewRequestWithContext(ctx, k.method, c.wire.url(c.api), nil)
	if err != nil {
		return outcome{err: err}
	}
	req.Header.Set(headerID, e.id)
	req.Header.Set(headerSent, strconv.Itoa(k.send))
	req.Header.Set(headerWant, strconv.Itoa(k.want))
	req.Header.Set(headerPad, strconv.Itoa(k.pad))
	if k.key {
		req.Header.Set("Idempotency-Key", e.id)
	}
	if k.redirect {
		req.Header.Set(headerRedirect, "1")
	}
	if k.send > 0 {
		open := func() (io.ReadCloser, error) {
			c.ledger.bodies.Add(1)
			body := &requestBody{Reader: content(e.id, k.send), handOver: sync.OnceFunc(func() { c.ledger.bodies.Add(-1) })}
			e.mu.Lock()
			e.body = body
			e.mu.Unlock()
			return body, nil
		}
		req.Body, _ = open()
		req.ContentLength = int64(k.send)
		if !k.noGetBody {
			req.GetBody = open
		}
	}
	resp, err := c.client.Do(req)
	if err != nil {
		return outcome{err: err}
	}
	defer resp.Body.Close()
	o := outcome{status: resp.StatusCode}
	if resp.StatusCode != http.StatusOK {
		_, o.err = io.Copy(io.Discard, resp.Body)
		return o
	}
	if got := resp.Header.Get(headerID); got != e.id {
		c.ledger.violate(e, "the response is for request %q, want %q", got, e.id)
	}
	o.err = verify(resp.Body, e.id, k.want)
	o.broken = o.err != nil
	if errors.Is(o.err, errOther) {
		c.ledger.violate(e, "a response was cut short, or is another's: %v", o.err)
	}
	return o
}

// requestBody is a body that must be closed or passed to Base.
type requestBody struct {
	io.Reader
	handOver func() // at its end: it is closed, or Base has it
}

func (b *requestBody) Close() error {
	b.handOver()
	return nil
}

// mustAnswer makes a request that must succeed.
func (c *caller) mustAnswer(k call) {
	c.Helper()
	if o := c.do(k); !o.ok() {
		c.Errorf("%v: got status %d, error %v; want 200 and the complete response", k, o.status, o.err)
	}
}

// maxHold is how long a failure is cached at most, after so many failed fetches in a
// row: 1 s, doubling to 1 minute, with ±50 % jitter.
func maxHold(failures uint64) time.Duration {
	if failures == 0 {
		return 0
	}
	wait := min(time.Second<<min(failures-1, 10), time.Minute)
	return wait + wait/2
}

// mustRecover makes requests until one succeeds. That must be as soon as the number of
// failed fetches in a row allows.
func (c *caller) mustRecover(failures uint64) {
	c.Helper()
	began := time.Now()
	limit := maxHold(failures) + schedulingAllowance
	for {
		o := c.do(call{want: KiB})
		switch took := time.Since(began); {
		case o.ok():
			return
		case took > limit:
			c.Errorf("%v after the fault's end, with %d failed fetches before: got status %d, error %v; want an answer within %v", took, failures, o.status, o.err, limit)
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
}
