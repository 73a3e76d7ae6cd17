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
	// schedulingAllowance is how much later than promised a thing may happen on
	// a busy machine under the race detector.
	schedulingAllowance = 5 * time.Second

	// settleTime is how long what ends in the background may take to do so.
	settleTime = 15 * time.Second

	// maxAttempts is how often a request is sent: RetryPolicy's default, and
	// once more after a 401.
	maxAttempts = 4 + 1

	// parallel is how many tests run at once: most of them wait.
	parallel = "8"

	KiB = 1 << 10
	MiB = 1 << 20
)

// quick is the default policy with short waits.
var quick = authsec.RetryPolicy{MinBackoff: 5 * time.Millisecond, MaxBackoff: 40 * time.Millisecond}

func TestMain(m *testing.M) {
	zerologlog.Logger = zerolog.Nop() // toxiproxy's toxics log there
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

// wire is how servers are reached.
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

// identity is the servers' certificate, for 127.0.0.1, and who trusts it.
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

// host is a net/http server that can end and come back on the same port.
type host struct {
	wire    wire
	handler http.Handler
	addr    string
	open    atomic.Int64 // connections
	opened  atomic.Int64 // of all time
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

// start begins to serve, on the port of the last time if there was one.
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
			s.ServeTLS(ln, "", "") // its error is that it was closed
		} else {
			s.Serve(ln)
		}
	})
	return nil
}

// listen listens, if need be when another has given the port back.
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

// kill closes the server and all its connections, whatever is under way.
func (h *host) kill() {
	h.mu.Lock()
	s := h.server
	h.mu.Unlock()
	s.Close()
	h.serving.Wait()
}

// retire lets the server end its requests while the next takes over its port.
// Over HTTP/2 its clients are sent a GOAWAY. It returns the end of the old one.
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

// stack is an AuthSec server, a protected API, and a stranger to whom the token
// must not go.
type stack struct {
	testing.TB
	wire     wire
	auth     *authsectest.Server
	endpoint *host
	api      *host
	stranger *host
	ledger   ledger

	// front is before the endpoint, if it isn't nil; apiFront, before the API.
	front, apiFront atomic.Pointer[http.HandlerFunc]

	leaked  atomic.Int64 // Authorization headers where none belongs
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

// close checks what holds of every test, and that no connection stays behind.
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
		s.ledger.violate(nil, "%d request bodies were neither closed nor handed to Base, want 0", s.ledger.bodies.Load())
	}
	for _, v := range s.ledger.faults() {
		s.Error(v)
	}
}

// idle has all clients close their idle connections, and reports whether the
// server has none in the end. A connection may take a moment to become idle.
func (s *stack) idle(h *host) bool {
	return eventually(func() bool {
		for _, c := range s.callers {
			c.close()
		}
		return h.open.Load() == 0
	})
}

// eventually reports whether a condition comes true before long.
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

// setFront puts a handler before the endpoint; nil takes it away.
func (s *stack) setFront(h http.HandlerFunc) { setHandler(&s.front, h) }

// setAPIFront puts a handler before the API. It ends the request, or calls serve.
func (s *stack) setAPIFront(h http.HandlerFunc) { setHandler(&s.apiFront, h) }

func setHandler(p *atomic.Pointer[http.HandlerFunc], h http.HandlerFunc) {
	if h == nil {
		p.Store(nil)
		return
	}
	p.Store(&h)
}

// rewritten is the endpoint's own answer with its fields and header changed.
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

// What a request tells the API to do, in headers.
const (
	headerID       = "X-Test-Id"
	headerSent     = "X-Test-Sent"     // bytes of the request's body
	headerWant     = "X-Test-Want"     // bytes of the answer's body
	headerPad      = "X-Test-Pad"      // bytes of the answer's header
	headerRedirect = "X-Test-Redirect" // answer 307 to the stranger
)

func number(r *http.Request, header string) int {
	n, err := strconv.Atoi(r.Header.Get(header))
	if err != nil {
		return 0
	}
	return n
}

// serveAPI counts the request first of all, before anything is answered.
func (s *stack) serveAPI(w http.ResponseWriter, r *http.Request) {
	e := s.ledger.arrived(r.Header.Get(headerID))
	w = &refusalNoter{ResponseWriter: w, ledger: &s.ledger, entry: e}
	if front := s.apiFront.Load(); front != nil {
		(*front)(w, r)
		return
	}
	s.serveAuthorized(w, r)
}

func (s *stack) serveAuthorized(w http.ResponseWriter, r *http.Request) {
	s.auth.API(http.HandlerFunc(s.answer)).ServeHTTP(w, r)
}

// refusalNoter counts a 401 before the client can see it.
type refusalNoter struct {
	http.ResponseWriter
	ledger *ledger
	entry  *entry
}

func (n *refusalNoter) WriteHeader(status int) {
	if status == http.StatusUnauthorized {
		n.ledger.refused(n.entry)
	}
	n.entry.note("answered %d", status)
	n.ResponseWriter.WriteHeader(status)
}

func (n *refusalNoter) Unwrap() http.ResponseWriter { return n.ResponseWriter }

// answer verifies the body that came and gives the one that was asked for.
func (s *stack) answer(w http.ResponseWriter, r *http.Request) {
	id := r.Header.Get(headerID)
	err := verify(r.Body, id, number(r, headerSent))
	switch {
	case errors.Is(err, errOther):
		s.ledger.violate(s.ledger.find(id), "the API got another body than was sent: %v", err)
	case err != nil: // it broke off on the way
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
	if want%2 == 0 { // odd sizes go without a length: chunked, where HTTP has chunks
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

// content is n bytes that no other ID has.
func content(id string, n int) io.Reader {
	return io.LimitReader(mathrand.NewChaCha8(sha256.Sum256([]byte(id))), int64(n))
}

var errOther = errors.New("other content")

// verify reads a body to its end. Its error is errOther if there is one, and
// what is wrong with it, or else what broke it off.
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

// ledger is what is known of the requests under way.
type ledger struct {
	mu       sync.Mutex // guards what follows, and the entries
	flying   map[string]*entry
	ended    [4096]*entry // the last to end: a request may arrive after its caller has gone
	next     int
	wrong    []string
	inForce  func() string // what a violation tells beside the request; nil: nothing
	arrivals atomic.Int64
	refusals atomic.Int64
	bodies   atomic.Int64 // of requests, opened, and neither closed nor handed to Base
}

// entry is one request. Its counts are guarded by the ledger.
type entry struct {
	id       string
	once     bool // it is not idempotent
	began    time.Time
	arrivals int // at the API
	refused  int // of them, with a 401

	mu       sync.Mutex   // guards what follows
	attempts int          // that the Transport made
	body     *requestBody // that was opened last; nil: none was
	history  []string
}

const (
	maxHistory    = 40 // events told of one request
	maxViolations = 20
)

// handOver takes note that the body which was opened last is net/http's now.
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

// end forgets a request, but for the counts of the last few.
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
		return &entry{id: id, began: time.Now()} // it ended long ago
	}
	e.arrivals++
	twice := e.once && e.arrivals-e.refused > 1
	arrivals, refused := e.arrivals, e.refused
	l.mu.Unlock()
	e.note("arrived at the API")
	if twice {
		l.violate(e, "a request that is not idempotent arrived %d times, of which a 401 refused %d: want 1 more at most", arrivals, refused)
	}
	return e
}

func (l *ledger) refused(e *entry) {
	l.refusals.Add(1)
	l.mu.Lock()
	defer l.mu.Unlock()
	e.refused++
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

// caller is a client of the library: a Source and a Transport over it.
type caller struct {
	*stack
	src          *authsec.Source
	client       *http.Client
	base         *http.Transport // to APIs
	endpointBase *http.Transport // to the endpoint
	api          string          // the address of the API, or of what leads to it
	fetchTimeout time.Duration
}

type callerOption func(*callerConfig)

type callerConfig struct {
	authsec.Config
	endpoint, api string // addresses
	untrusting    bool
	source        *caller // whose Source is used
	retry         authsec.RetryPolicy
}

// newCaller makes a client that goes straight to the servers, if no option
// says another way.
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
		cfg.FailFast = true // what a caller is told is what the tests look at
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

// close gives back the idle connections: with nothing under way, all of them.
func (c *caller) close() {
	c.client.CloseIdleConnections()
	c.base.CloseIdleConnections()
	c.endpointBase.CloseIdleConnections()
}

// attemptNoter counts the attempts that a Transport makes. The bodies that it is
// handed, and those that net/http then opens, are net/http's to close. (Over
// HTTP/2 it does not close one that it was about to send when a GOAWAY came.)
type attemptNoter struct{ *http.Transport }

type entryKey struct{}

func (n attemptNoter) RoundTrip(req *http.Request) (*http.Response, error) {
	e := req.Context().Value(entryKey{}).(*entry)
	e.mu.Lock()
	e.attempts++
	e.mu.Unlock()
	if req.Body != nil && req.Body != http.NoBody {
		e.handOver() // the Transport hands over what it opened last
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

// call is a request to be made.
type call struct {
	method    string // "": GET
	send      int    // bytes of its body
	noGetBody bool
	key       bool // it has an Idempotency-Key
	want      int  // bytes of the answer's body
	pad       int  // bytes of the answer's header
	redirect  bool // to the stranger
	timeout   time.Duration
	cancelled bool // after timeout, with no deadline that tells of it before
	lasting   bool // the context does not end, not even with the request: it cleans nothing up
}

// once reports whether the request may not be repeated.
func (c call) once() bool { return c.method == http.MethodPost && !c.key }

// repeatable reports whether the request may be repeated and can be.
func (c call) repeatable() bool { return !c.once() && (c.send == 0 || !c.noGetBody) }

func (c call) String() string {
	text := c.method
	if text == "" {
		text = http.MethodGet
	}
	if c.key {
		text += "+Key"
	}
	if c.send > 0 {
		text += "+Body"
		if c.noGetBody {
			text += "-GetBody"
		}
	}
	return text
}

// outcome is what became of a request.
type outcome struct {
	status   int // 0: no answer
	err      error
	broken   bool // the answer's body broke off with err
	arrivals int
	attempts int
}

// ok reports whether an answer came, whole.
func (o outcome) ok() bool { return o.status == http.StatusOK && o.err == nil }

const callTimeout = 10 * time.Second

// do makes the request, reads the answer to its end, and holds it against what
// must always be so.
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
	e := &entry{id: fmt.Sprint("request-", c.ids.Add(1)), once: k.once(), began: time.Now()}
	e.note("%v, %d bytes sent, %d wanted, %v allowed", k, k.send, k.want, k.timeout)
	c.ledger.begin(e)
	defer c.ledger.end(e)

	o := c.exchange(context.WithValue(ctx, entryKey{}, e), k, e)
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
		limit = 2 // the other after a 401
	}
	if k.redirect {
		limit += maxAttempts
	}
	if o.attempts > limit {
		c.ledger.violate(e, "a request was sent %d times, want at most %d", o.attempts, limit)
	}
	return o
}

func (c *caller) exchange(ctx context.Context, k call, e *entry) outcome {
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
		c.ledger.violate(e, "the answer is for request %q, want %q", got, e.id)
	}
	o.err = verify(resp.Body, e.id, k.want)
	o.broken = o.err != nil
	if errors.Is(o.err, errOther) {
		c.ledger.violate(e, "an answer was cut short, or is another's: %v", o.err)
	}
	return o
}

// requestBody is a body that somebody has to close.
type requestBody struct {
	io.Reader
	handOver func() // it is somebody else's now, or closed
}

func (b *requestBody) Close() error {
	b.handOver()
	return nil
}

// mustAnswer makes a request that has to succeed.
func (c *caller) mustAnswer(k call) {
	c.Helper()
	if o := c.do(k); !o.ok() {
		c.Errorf("%v: got status %d, error %v; want 200 and the whole answer", k, o.status, o.err)
	}
}

// remembered is for how long a failure is remembered at most, after so many
// failed fetches: 1 s, doubling to 1 minute, give or take half.
func remembered(failures uint64) time.Duration {
	if failures == 0 {
		return 0
	}
	wait := min(time.Second<<min(failures-1, 10), time.Minute)
	return wait + wait/2
}

// mustRecover makes requests until one is answered, which has to be as soon as
// so many failed fetches in a row allow.
func (c *caller) mustRecover(failures uint64) {
	c.Helper()
	began := time.Now()
	limit := remembered(failures) + schedulingAllowance
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

// goroutines are the stacks of all that run, but for those that toxiproxy
// leaves behind, and the testing package's own.
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

// waitForGoroutines waits until no more than so many run. It returns what is
// wrong otherwise.
func waitForGoroutines(limit int) string {
	var left []string
	if eventually(func() bool { left = goroutines(); return len(left) <= limit }) {
		return ""
	}
	return fmt.Sprintf("%d goroutines run, want at most %d:\n%s", len(left), limit, strings.Join(left, "\n\n"))
}
