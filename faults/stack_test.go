// Copyright 2026 The authsec Authors
// SPDX-License-Identifier: Apache-2.0

package faults

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"log"
	mathrand "math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/authsec-go/authsec"
	"github.com/authsec-go/authsec/authsectest"
	"github.com/rs/zerolog"
	zerologlog "github.com/rs/zerolog/log"
)

const (
	// schedulingAllowance is how late something may happen on a busy machine under the
	// race detector.
	schedulingAllowance = 5 * time.Second

	// settleTime is how long the end of something in the background may take.
	settleTime = 15 * time.Second

	// maxAttempts is how often a request is sent at most: RetryPolicy's default, and
	// once more after a 401.
	maxAttempts = 4 + 1

	// maxBuffered is the longest body that can be sent again without GetBody:
	// Transport.BufferBodies' default.
	maxBuffered = 64 * KiB

	// parallel is how many tests run at once. Most of them wait.
	parallel = "8"

	KiB = 1 << 10
	MiB = 1 << 20
)

// quick is the default policy with short waits.
var quick = authsec.RetryPolicy{MinBackoff: 5 * time.Millisecond, MaxBackoff: 40 * time.Millisecond}

func TestMain(m *testing.M) {
	zerologlog.Logger = zerolog.Nop() // toxiproxy's toxics log to it
	flag.Parse()
	if err := flag.Set("test.parallel", parallel); err != nil {
		fmt.Fprintln(os.Stderr, "FAIL:", err)
		os.Exit(1)
	}
	before := goroutines()
	code := m.Run()
	if left := waitForGoroutines(len(before)); code == 0 && left != "" {
		fmt.Fprintln(os.Stderr, "FAIL: after all tests,", left)
		code = 1
	}
	os.Exit(code)
}

// wire is a way to reach the servers.
type wire struct {
	name   string
	secure bool // over TLS, and so with HTTP/2
}

var wires = []wire{{"HTTP1", false}, {"TLS+HTTP2", true}}

func (w wire) url(addr string) string {
	if w.secure {
		return "https://" + addr
	}
	return "http://" + addr
}

// identity is the servers' certificate, for 127.0.0.1, and the roots to trust it.
var identity = sync.OnceValue(func() (id struct {
	certificate tls.Certificate
	roots       *x509.CertPool
}) {
	s := httptest.NewTLSServer(nil)
	defer s.Close()
	id.certificate, id.roots = s.TLS.Certificates[0], x509.NewCertPool()
	id.roots.AddCert(s.Certificate())
	return id
})

// host is a net/http server that can stop and start again on the same port.
type host struct {
	wire    wire
	handler http.Handler
	addr    string
	open    atomic.Int64 // connections
	opened  atomic.Int64 // connections since the start
	mu      sync.Mutex   // guards server
	server  *http.Server
	serving sync.WaitGroup
}

func newHost(t testing.TB, w wire, handler http.HandlerFunc) *host {
	t.Helper()
	h := &host{wire: w, handler: handler, addr: "127.0.0.1:0"}
	if err := h.start(); err != nil {
		t.Fatalf("starting a server: %v", err)
	}
	return h
}

// start starts the server, on the same port as before.
func (h *host) start() error {
	ln, err := listen(h.addr)
	if err != nil {
		return err
	}
	h.addr = ln.Addr().String()
	s := &http.Server{Handler: h.handler, ConnState: h.note, ErrorLog: log.New(io.Discard, "", 0)}
	h.mu.Lock()
	h.server = s
	h.mu.Unlock()
	h.serving.Go(func() {
		if h.wire.secure {
			s.TLSConfig = &tls.Config{Certificates: []tls.Certificate{identity().certificate}}
			s.ServeTLS(ln, "", "") // its error: the server was closed
		} else {
			s.Serve(ln)
		}
	})
	return nil
}

// listen waits until the port is free, and listens on it.
func listen(addr string) (ln net.Listener, err error) {
	for deadline := time.Now().Add(settleTime); ; time.Sleep(time.Millisecond) {
		if ln, err = net.Listen("tcp", addr); err == nil || time.Now().After(deadline) {
			return ln, err
		}
	}
}

func (h *host) note(_ net.Conn, state http.ConnState) {
	switch state {
	case http.StateNew:
		h.open.Add(1)
		h.opened.Add(1)
	case http.StateClosed, http.StateHijacked:
		h.open.Add(-1)
	}
}

// kill closes the server and all its connections at once.
func (h *host) kill() {
	h.mu.Lock()
	s := h.server
	h.mu.Unlock()
	s.Close()
	h.serving.Wait()
}

// retire starts another server on the port, while the old one shuts down gracefully.
// Over HTTP/2 that one sends GOAWAY. ended gets the error of its shutdown.
func (h *host) retire() (ended chan error, err error) {
	h.mu.Lock()
	s := h.server
	h.mu.Unlock()
	ended = make(chan error, 1)
	go func() {
		ctx, cancel := context.WithTimeout(context.Background(), settleTime)
		defer cancel()
		ended <- errors.Join(s.Shutdown(ctx), s.Close())
	}()
	return ended, h.start()
}

// stack is an AuthSec server, a protected API, and a stranger: a server that must not
// get the token.
type stack struct {
	testing.TB
	wire     wire
	auth     *authsectest.Server
	endpoint *host
	api      *host
	stranger *host
	ledger   ledger

	// front, if it is not nil, is a handler in front of the endpoint; apiFront, in
	// front of the API.
	front, apiFront atomic.Pointer[http.HandlerFunc]

	leaked  atomic.Int64 // requests with an Authorization header where none belongs
	callers []*caller
	ids     atomic.Int64
}

func newStack(t testing.TB, w wire) *stack {
	t.Helper()
	s := &stack{TB: t, wire: w, auth: authsectest.NewInMemoryServer()}
	s.ledger.flying = map[string]*entry{}
	s.auth.Delegate(authsectest.ClientID, authsectest.Delegation{})
	s.endpoint = newHost(t, w, s.serveEndpoint)
	s.api = newHost(t, w, s.serveAPI)
	s.stranger = newHost(t, w, s.serveStranger)
	t.Cleanup(s.close)
	return s
}

// close checks what every test must satisfy, and that no connection is left.
func (s *stack) close() {
	for name, h := range map[string]*host{"endpoint": s.endpoint, "API": s.api, "stranger": s.stranger} {
		if !s.idle(h) {
			s.ledger.violate(nil, "the %s has %d open connections after the clients closed theirs, want 0", name, h.open.Load())
		}
		h.kill()
	}
	if got := s.leaked.Load(); got != 0 {
		s.ledger.violate(nil, "%d requests brought an Authorization header to a host where it does not belong, want 0", got)
	}
	if !eventually(func() bool { return s.ledger.bodies.Load() == 0 }) {
		s.ledger.violate(nil, "%d request bodies were neither closed nor passed to Base, want 0", s.ledger.bodies.Load())
	}
	for _, v := range s.ledger.faults() {
		s.Error(v)
	}
}

// idle makes all clients close their idle connections, and reports whether the server
// then has none. A connection may take a moment to become idle.
func (s *stack) idle(h *host) bool {
	return eventually(func() bool {
		for _, c := range s.callers {
			c.close()
		}
		return h.open.Load() == 0
	})
}

// eventually reports whether a condition becomes true within settleTime.
func eventually(condition func() bool) bool {
	for deadline := time.Now().Add(settleTime); ; time.Sleep(5 * time.Millisecond) {
		if condition() {
			return true
		}
		if time.Now().After(deadline) {
			return false
		}
	}
}

func (s *stack) serveEndpoint(w http.ResponseWriter, r *http.Request) {
	if r.Header.Get("Authorization") != "" { // no test has a Credential
		s.leaked.Add(1)
	}
	if front := s.front.Load(); front != nil {
		(*front)(w, r)
		return
	}
	s.auth.Handler().ServeHTTP(w, r)
}

// setFront puts a handler in front of the endpoint. nil removes it.
func (s *stack) setFront(h http.HandlerFunc) { setHandler(&s.front, h) }

// setAPIFront puts a handler in front of the API. It answers the request, or calls
// serveAuthorized. nil removes it.
func (s *stack) setAPIFront(h http.HandlerFunc) { setHandler(&s.apiFront, h) }

func setHandler(p *atomic.Pointer[http.HandlerFunc], h http.HandlerFunc) {
	if h == nil {
		p.Store(nil)
		return
	}
	p.Store(&h)
}

// rewritten answers like the endpoint, but with changed fields and header.
func (s *stack) rewritten(change func(fields map[string]any, header http.Header)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		rec := httptest.NewRecorder()
		s.auth.Handler().ServeHTTP(rec, r)
		fields := map[string]any{}
		if err := json.Unmarshal(rec.Body.Bytes(), &fields); err != nil {
			s.ledger.violate(nil, "the endpoint's answer is no JSON: %v", err)
		}
		header := w.Header()
		header.Set("Content-Type", "application/json")
		change(fields, header)
		w.WriteHeader(rec.Code)
		json.NewEncoder(w).Encode(fields) // fails only if the client has gone
	}
}

// Headers by which a request says what the API must do.
const (
	headerID       = "X-Test-Id"
	headerSent     = "X-Test-Sent"     // bytes of the request's body
	headerWant     = "X-Test-Want"     // bytes of the answer's body
	headerPad      = "X-Test-Pad"      // bytes of the answer's header
	headerRedirect = "X-Test-Redirect" // redirect to the stranger with a 307
)

func number(r *http.Request, header string) int {
	n, err := strconv.Atoi(r.Header.Get(header))
	if err != nil {
		return 0
	}
	return n
}

// serveAPI counts the request before it answers.
func (s *stack) serveAPI(w http.ResponseWriter, r *http.Request) {
	e := s.ledger.arrived(r.Header.Get(headerID))
	w = &rejectionNoter{ResponseWriter: w, ledger: &s.ledger, entry: e}
	if front := s.apiFront.Load(); front != nil {
		(*front)(w, r)
		return
	}
	s.serveAuthorized(w, r)
}

func (s *stack) serveAuthorized(w http.ResponseWriter, r *http.Request) {
	s.auth.API(http.HandlerFunc(s.answer)).ServeHTTP(w, r)
}

// rejectionNoter counts a 401 before the client gets it.
type rejectionNoter struct {
	http.ResponseWriter
	ledger *ledger
	entry  *entry
}

func (n *rejectionNoter) WriteHeader(status int) {
	if status == http.StatusUnauthorized {
		n.ledger.reject(n.entry)
	}
	n.entry.note("answered %d", status)
	n.ResponseWriter.WriteHeader(status)
}

func (n *rejectionNoter) Unwrap() http.ResponseWriter { return n.ResponseWriter }

// answer verifies the request's body, and sends the body that the request wants.
func (s *stack) answer(w http.ResponseWriter, r *http.Request) {
	id := r.Header.Get(headerID)
	err := verify(r.Body, id, number(r, headerSent))
	switch {
	case errors.Is(err, errOther):
		s.ledger.violate(s.ledger.find(id), "the API got another body than the one that was sent: %v", err)
	case err != nil: // the connection broke
		panic(http.ErrAbortHandler)
	}
	if r.Header.Get(headerRedirect) != "" {
		http.Redirect(w, r, s.wire.url(s.stranger.addr), http.StatusTemporaryRedirect)
		return
	}
	if pad := number(r, headerPad); pad > 0 {
		w.Header().Set("X-Pad", strings.Repeat("p", pad))
	}
	want := number(r, headerWant)
	w.Header().Set(headerID, id)
	if want%2 == 0 { // odd sizes have no Content-Length: HTTP/1.1 sends them in chunks
		w.Header().Set("Content-Length", strconv.Itoa(want))
	}
	w.WriteHeader(http.StatusOK)
	io.Copy(w, content(id, want)) // fails only if the client has gone
}

func (s *stack) serveStranger(w http.ResponseWriter, r *http.Request) {
	if r.Header.Get("Authorization") != "" {
		s.leaked.Add(1)
	}
	id := r.Header.Get(headerID)
	w.Header().Set(headerID, id)
	io.Copy(w, content(id, number(r, headerWant))) // fails only if the client has gone
}

// content is n bytes that differ for each ID.
func content(id string, n int) io.Reader {
	return io.LimitReader(mathrand.NewChaCha8(sha256.Sum256([]byte(id))), int64(n))
}

var errOther = errors.New("other content")

// verify reads a body to its end. Its error is errOther if the body has other content
// than it should, or else the error of reading it.
func verify(body io.Reader, id string, n int) error {
	got, want := make([]byte, 32*KiB), make([]byte, 32*KiB)
	expected := content(id, n)
	for length := 0; ; {
		read, err := body.Read(got)
		if _, wantErr := io.ReadFull(expected, want[:read]); wantErr != nil {
			return fmt.Errorf("%w: longer than %d bytes", errOther, n)
		}
		if !bytes.Equal(got[:read], want[:read]) {
			return fmt.Errorf("%w: within bytes %d to %d of %d", errOther, length, length+read, n)
		}
		length += read
		switch {
		case err == io.EOF && length != n:
			return fmt.Errorf("%w: got %d bytes without an error, want %d", errOther, length, n)
		case err == io.EOF:
			return nil
		case err != nil:
			return err
		}
	}
}

// ledger is what the servers and the callers know of the requests.
type ledger struct {
	mu         sync.Mutex // guards the fields up to inForce, and the entries
	flying     map[string]*entry
	ended      [4096]*entry // the latest to end: a request may arrive after its caller has given up
	next       int
	wrong      []string
	inForce    func() string // what else to print with a violation; nil: nothing
	arrivals   atomic.Int64
	rejections atomic.Int64
	bodies     atomic.Int64 // of requests, opened, and neither closed nor passed to Base
}

// entry is one request. Its counts are guarded by the ledger.
type entry struct {
	id       string
	once     bool // it is not idempotent
	buffered bool // the Transport reads its body, and closes it, before it sends
	began    time.Time
	arrivals int // at the API
	rejected int // of them, with a 401

	mu       sync.Mutex   // guards what follows
	attempts int          // that the Transport made
	body     *requestBody // opened last; nil: none
	history  []string
}

const (
	maxHistory    = 40 // events of one request that are printed
	maxViolations = 20
)

// handOver notes that Base has the body that was opened last, and must close it.
func (e *entry) handOver() {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.body != nil {
		e.body.handOver()
	}
}

func (e *entry) note(format string, args ...any) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if len(e.history) < maxHistory {
		e.history = append(e.history, fmt.Sprintf("%v ", time.Since(e.began).Round(time.Millisecond))+fmt.Sprintf(format, args...))
	}
}

func (l *ledger) begin(e *entry) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.flying[e.id] = e
}

// end forgets a request. It keeps the counts of the latest ones.
func (l *ledger) end(e *entry) {
	e.mu.Lock()
	e.history = nil
	e.mu.Unlock()
	l.mu.Lock()
	defer l.mu.Unlock()
	if old := l.ended[l.next]; old != nil {
		delete(l.flying, old.id)
	}
	l.ended[l.next] = e
	l.next = (l.next + 1) % len(l.ended)
}

func (l *ledger) find(id string) *entry {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.flying[id]
}

func (l *ledger) arrived(id string) *entry {
	l.arrivals.Add(1)
	l.mu.Lock()
	e := l.flying[id]
	if e == nil {
		l.mu.Unlock()
		return &entry{id: id, began: time.Now()} // it ended long before
	}
	e.arrivals++
	twice := e.once && e.arrivals-e.rejected > 1
	arrivals, rejected := e.arrivals, e.rejected
	l.mu.Unlock()
	e.note("arrived at the API")
	if twice {
		l.violate(e, "a request that is not idempotent arrived %d times, %d of them rejected with a 401: want at most 1 more", arrivals, rejected)
	}
	return e
}

func (l *ledger) reject(e *entry) {
	l.rejections.Add(1)
	l.mu.Lock()
	defer l.mu.Unlock()
	e.rejected++
}

func (l *ledger) violate(e *entry, format string, args ...any) {
	text := fmt.Sprintf(format, args...)
	if e != nil {
		e.mu.Lock()
		text += fmt.Sprintf("\n\trequest %s, begun at %s: %s", e.id, e.began.Format("15:04:05.000"), strings.Join(e.history, "; "))
		e.mu.Unlock()
	}
	if l.inForce != nil {
		text += "\n\t" + l.inForce()
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.wrong) < maxViolations {
		l.wrong = append(l.wrong, text)
	}
}

func (l *ledger) faults() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return append([]string(nil), l.wrong...)
}

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

// goroutines returns the stacks of all goroutines, except those that toxiproxy leaves
// behind and those of the testing package.
func goroutines() []string {
	buf := make([]byte, 64*KiB)
	for {
		n := runtime.Stack(buf, true)
		if n < len(buf) {
			buf = buf[:n]
			break
		}
		buf = make([]byte, 2*len(buf))
	}
	var stacks []string
	for stack := range strings.SplitSeq(string(buf), "\n\n") {
		if !strings.Contains(stack, "github.com/Shopify/toxiproxy") && !strings.Contains(stack, "testing.tRunner") {
			stacks = append(stacks, stack)
		}
	}
	return stacks
}

// waitForGoroutines waits until at most limit goroutines run. If they do not end, it
// returns a message.
func waitForGoroutines(limit int) string {
	var left []string
	if eventually(func() bool { left = goroutines(); return len(left) <= limit }) {
		return ""
	}
	return fmt.Sprintf("%d goroutines run, want at most %d:\n%s", len(left), limit, strings.Join(left, "\n\n"))
}
