// Copyright 2026 The authsec Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bufio"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log"
	"log/slog"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/authsec-go/authsec"
	"github.com/authsec-go/authsec/dircache"
	"github.com/authsec-go/authsec/internal/conn"
)

const (
	headerTimeout  = 10 * time.Second // to read a request's header
	idleTimeout    = 2 * time.Minute  // of an idle connection
	maxHeaderBytes = 64 << 10         // of a request's header
	maxIdle        = 256              // idle connections to the upstream
	copyBytes      = 32 << 10         // of the buffer for an answer; httputil uses the same size

	// How long connections stay open after the signal. Shutdown closes idle
	// connections at once, and a program may just be sending a request on one.
	lingerTime = 500 * time.Millisecond

	flushInterval = 10 * time.Millisecond // after which a part of an answer of known length is sent
)

func proxy(ctx context.Context, args []string, stderr io.Writer) int {
	flags, f := newProxyFlags(stderr)
	wrong := func(err error) int {
		fmt.Fprintf(stderr, "authsec proxy: %s\n", oneLine(err.Error()))
		return 2
	}
	if err := flags.Parse(args); errors.Is(err, flag.ErrHelp) {
		return 0
	} else if err != nil {
		return 2
	}
	if err := fromEnv(flags); err != nil {
		return wrong(err)
	}
	if flags.NArg() > 0 {
		return wrong(fmt.Errorf("unexpected argument %q", flags.Arg(0)))
	}
	upstream, err := f.check()
	if err != nil {
		return wrong(err)
	}
	logger := newLogger(stderr, f.level)
	share := func(*authsec.Config) {}
	if f.cacheDir != "" {
		switch _, shared, err := openCache(f.cacheDir); {
		case errors.Is(err, dircache.ErrWrongDir):
			return fail(stderr, "proxy", fmt.Errorf("-cache-dir: %w", err), "choose another -cache-dir, or none")
		case err != nil: // as if the directory failed later
			logger.Warn("cache not used", "error", oneLine(err.Error()))
		default:
			share = func(cfg *authsec.Config) { cfg.Cache = shared }
		}
	}
	src, _, err := sourceFromEnv(logger, share)
	if err != nil {
		return fail(stderr, "proxy", err, "correct the environment as named above")
	}
	s := newSidecar(src, upstream, f, logger)
	if err := s.listen(ctx, f); err != nil {
		return fail(stderr, "proxy", err, "choose another -listen, -health or -upstream")
	}
	defer s.close()
	return s.serve(ctx, stderr)
}

// newLogger logs JSON, with durations as text such as 59m57s.
func newLogger(w io.Writer, level slog.Level) *slog.Logger {
	return slog.New(slog.NewJSONHandler(w, &slog.HandlerOptions{
		Level: level,
		ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
			if a.Value.Kind() == slog.KindDuration {
				a.Value = slog.StringValue(a.Value.Duration().Round(time.Millisecond).String())
			}
			return a
		},
	}))
}

// sidecar is a running proxy.
type sidecar struct {
	src      *authsec.Source
	upstream *url.URL
	log      *slog.Logger
	handler  *httputil.ReverseProxy
	metrics  *metrics
	failing  atomic.Bool    // a failure of the upstream was logged, and no answer has come since
	draining atomic.Bool    // it shuts down
	conns    atomic.Int64   // open connections of programs, without upgraded ones
	handlers sync.WaitGroup // running ones; Server.Shutdown does not wait for upgraded connections

	linger, drain  time.Duration
	names          map[string]bool // accepted Host headers, in lower case
	ln, healthLn   net.Listener    // healthLn is nil without -health
	server, health *http.Server
}

// upstreamTransport returns the transport to the upstream. It does not change
// answers: compressed ones stay compressed. headerTimeout limits the wait for an
// answer's header after the request is sent. 0: no limit.
func upstreamTransport(headerTimeout time.Duration) *http.Transport {
	t := conn.New()
	t.DisableCompression = true
	t.ResponseHeaderTimeout = headerTimeout
	t.MaxIdleConns, t.MaxIdleConnsPerHost = maxIdle, maxIdle
	return t
}

func newSidecar(src *authsec.Source, upstream *url.URL, f *proxyFlags, logger *slog.Logger) *sidecar {
	s := &sidecar{src: src, upstream: upstream, log: logger, metrics: newMetrics(src), linger: lingerTime, drain: f.drain}
	s.handler = &httputil.ReverseProxy{
		Rewrite: s.rewrite,
		Transport: &authsec.Transport{
			Source: src,
			Base:   &timed{upstreamTransport(f.upstreamTimeout), s.metrics},
			Hosts:  []string{hostPattern(upstream)},
			Retry:  authsec.RetryPolicy{MaxAttempts: f.attempts},
		},
		// ReverseProxy sends events and answers of unknown length at once anyway. The
		// flush of the other answers costs a goroutine each, about a tenth of the cost
		// of a small answer.
		FlushInterval: flushInterval,
		BufferPool:    &buffers{},
		ErrorHandler:  s.failed,
		ModifyResponse: func(*http.Response) error {
			s.failing.CompareAndSwap(true, false)
			return nil
		},
		// ReverseProxy's messages may quote bytes of the upstream. Answers that broke
		// off show in the request's own log record and in a counter.
		ErrorLog: log.New(io.Discard, "", 0),
	}
	return s
}

// rewrite makes the request that the upstream gets.
func (s *sidecar) rewrite(r *httputil.ProxyRequest) {
	r.SetURL(s.upstream)
	r.Out.URL.RawQuery = r.In.URL.RawQuery // unchanged, well formed or not
	for name := range r.Out.Header {
		if strings.HasPrefix(name, "X-Forwarded-") {
			r.Out.Header.Del(name)
		}
	}
	r.Out.Header.Del("Authorization")
	r.Out.Header.Del("Proxy-Authorization")
	// ReverseProxy would announce the trailers and then send none. An intermediary
	// may drop them (RFC 9110, section 6.5.1).
	r.Out.Trailer = nil
}

// buffers is an httputil.BufferPool.
type buffers struct{ pool sync.Pool }

func (b *buffers) Get() []byte {
	if buf, ok := b.pool.Get().(*[]byte); ok {
		return *buf
	}
	return make([]byte, copyBytes)
}

func (b *buffers) Put(buf []byte) { b.pool.Put(&buf) }

// listen opens the listeners and makes their servers.
func (s *sidecar) listen(ctx context.Context, f *proxyFlags) (err error) {
	var lc net.ListenConfig
	if s.ln, err = lc.Listen(ctx, "tcp", f.listen); err != nil {
		return err
	}
	if f.health != "" {
		if s.healthLn, err = lc.Listen(ctx, "tcp", f.health); err != nil {
			s.ln.Close()
			return err
		}
	}
	s.names = ownNames(f.listen, s.ln.Addr(), f.hosts)
	if s.upstream.Scheme == "http" && s.names[strings.ToLower(s.upstream.Host)] {
		s.closeListeners()
		return fmt.Errorf("-upstream %s is this proxy itself", s.upstream.Host)
	}
	newServer := func(h http.Handler) *http.Server {
		return &http.Server{
			Handler:           h,
			ReadHeaderTimeout: headerTimeout,
			IdleTimeout:       idleTimeout,
			MaxHeaderBytes:    maxHeaderBytes,
			ErrorLog:          slog.NewLogLogger(s.log.Handler(), slog.LevelWarn),

			DisableGeneralOptionsHandler: true, // the guard decides on OPTIONS *, too
		}
	}
	s.server, s.health = newServer(s), newServer(s.healthHandler())
	s.server.ConnState = func(_ net.Conn, state http.ConnState) {
		switch state {
		case http.StateNew:
			s.conns.Add(1)
		case http.StateClosed, http.StateHijacked:
			s.conns.Add(-1)
		}
	}
	return nil
}

func (s *sidecar) closeListeners() {
	s.ln.Close()
	if s.healthLn != nil {
		s.healthLn.Close()
	}
}

func (s *sidecar) close() {
	s.server.Close()
	s.health.Close()
}

// serve serves until ctx ends. Then it waits for requests in flight, at most for
// drain. It returns the exit code.
func (s *sidecar) serve(ctx context.Context, stderr io.Writer) int {
	ended := make(chan error, 2)
	go func() { ended <- s.server.Serve(s.ln) }()
	health := ""
	if s.healthLn != nil {
		health = s.healthLn.Addr().String()
		go func() { ended <- s.health.Serve(s.healthLn) }()
	}
	s.log.Info("listening", "listen", s.ln.Addr().String(), "health", health, "upstream", s.upstream.Host)
	select {
	case err := <-ended:
		return fail(stderr, "proxy", err, "start the proxy again")
	case <-ctx.Done():
	}

	s.draining.Store(true)
	s.log.Info("shutting down", "in_flight", s.metrics.inFlight.Load())
	drained, cancel := context.WithTimeout(context.WithoutCancel(ctx), s.drain)
	defer cancel()
	if s.conns.Load() > 0 {
		select { // meanwhile each answer closes its connection
		case <-time.After(s.linger):
		case <-ended:
		case <-drained.Done():
		}
	}
	if err := s.server.Shutdown(drained); err == nil {
		upgraded := make(chan struct{})
		go func() {
			s.handlers.Wait()
			close(upgraded)
		}()
		select {
		case <-upgraded:
		case <-drained.Done():
		}
	}
	if cut := s.metrics.inFlight.Load(); cut > 0 {
		s.log.Warn("requests cut off", "in_flight", cut, "drain", s.drain.String())
	}
	s.log.Info("ended")
	return 0
}

// ServeHTTP serves a program's request.
func (s *sidecar) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.handlers.Add(1)
	s.metrics.inFlight.Add(1)
	began, seen := time.Now(), &statusWriter{ResponseWriter: w, last: &s.draining}
	method, path, whole := r.Method, r.URL.Path, false
	defer func() {
		switch { // ReverseProxy panics if the answer broke off
		case whole:
		case r.Context().Err() != nil:
			seen.failure = "gone"
		default:
			seen.failure = "broken_off"
			s.metrics.brokenOff.Add(1)
		}
		s.metrics.count(seen.status)
		s.metrics.inFlight.Add(-1)
		s.handlers.Done()
		if s.log.Enabled(r.Context(), slog.LevelDebug) {
			s.log.Debug("request", "method", method, "path", path, "status", seen.status,
				"ms", time.Since(began).Milliseconds(), "failure", seen.failure)
		}
	}()
	s.pass(seen, r)
	whole = true
}

// pass forwards a request, or answers it with a problem.
func (s *sidecar) pass(w *statusWriter, r *http.Request) {
	p := s.guard(r)
	if p == nil {
		p = replayable(r)
	}
	if p != nil {
		w.refuse(*p, 0)
		return
	}
	if r.ContentLength < 0 { // the program may read the answer while it writes the body
		http.NewResponseController(w).EnableFullDuplex()
	}
	s.handler.ServeHTTP(w, r)
}

// failed answers a request to which the upstream gave no answer.
func (s *sidecar) failed(w http.ResponseWriter, r *http.Request, err error) {
	seen := w.(*statusWriter)
	if r.Context().Err() != nil { // the program has gone
		seen.failure = "gone"
		return
	}
	p, ofUpstream := diagnose(err)
	if ofUpstream {
		if s.failing.CompareAndSwap(false, true) {
			s.log.Warn("upstream failed", "error", describe(err))
		}
		seen.refuse(p, 0)
		return
	}
	after := time.Duration(0)
	if p.status == http.StatusServiceUnavailable {
		after = retryAfter(err, s.src.Stats().NextFetch)
	}
	seen.refuse(p, after)
}

// statusWriter notes the status of the answer.
type statusWriter struct {
	http.ResponseWriter
	last    *atomic.Bool // the connection is closed after the answer
	status  int          // 0: no answer was sent
	failure string       // what went wrong, in the proxy's own words; "": nothing did
}

func (w *statusWriter) WriteHeader(status int) {
	if status >= 200 || status == http.StatusSwitchingProtocols {
		w.status = status
		if w.last.Load() {
			w.Header().Set("Connection", "close")
		}
	}
	w.ResponseWriter.WriteHeader(status)
}

func (w *statusWriter) Write(b []byte) (int, error) {
	if w.status == 0 {
		w.WriteHeader(http.StatusOK)
	}
	return w.ResponseWriter.Write(b)
}

// Hijack notes an upgrade. ReverseProxy writes its status itself.
func (w *statusWriter) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	conn, rw, err := http.NewResponseController(w.ResponseWriter).Hijack()
	if err == nil {
		w.status = http.StatusSwitchingProtocols
	}
	return conn, rw, err
}

// Unwrap returns the writer that http.ResponseController flushes.
func (w *statusWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// refuse answers with a problem. after is when to try again; 0: unknown.
func (w *statusWriter) refuse(p problem, after time.Duration) {
	w.failure = p.Code
	h := w.Header()
	h.Set("Cache-Control", "no-store")
	if after > 0 {
		h.Set("Retry-After", strconv.FormatInt(int64((after+time.Second-1)/time.Second), 10))
	}
	writeJSON(w, p.status, p)
}
