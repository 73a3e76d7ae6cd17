// Copyright 2026 The authsec Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bufio"
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"strconv"
	"time"

	"github.com/authsec-go/authsec/cmd/authsec/internal/answers"
)

// writeTimeout is how long a program may take to receive a part of an answer.
const writeTimeout = 2 * time.Minute

// exchange is a request and its answer. It is the http.ResponseWriter that notes how
// the request was answered. One goroutine at a time uses it: the handler's, or one of
// ReverseProxy's that flushes, or passes on a status of 1xx.
type exchange struct {
	http.ResponseWriter
	s       *sidecar
	request *http.Request
	control *http.ResponseController
	streams bool  // HTTP/2: the time limits are those of a stream, and not of a connection
	body    *body // nil: there is none

	began    time.Time
	sent     int           // attempts that were sent to the upstream
	took     time.Duration // of the last one, until the answer's header came or it failed
	status   int           // 0: no answer was sent
	failure  string        // what went wrong, in the proxy's own words; "": nothing did
	unheard  bool          // the program did not take the answer
	hijacked bool
}

// exchangeKey is the key of the exchange in the context of the request to the upstream.
type exchangeKey struct{}

// ServeHTTP serves a program's request.
func (s *sidecar) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.handlers.Add(1)
	atOnce := s.metrics.inFlight.Add(1)
	x := &exchange{ResponseWriter: w, s: s, request: r, control: http.NewResponseController(w), streams: r.ProtoMajor >= 2, began: time.Now()}
	s.latest.Store(x.began.UnixNano())
	method, path, whole := r.Method, r.URL.Path, false
	defer func() {
		switch { // ReverseProxy panics if the answer broke off
		case whole:
		case r.Context().Err() != nil || x.unheard:
			x.failure = "gone"
		default:
			x.failure = "broken_off"
			s.metrics.brokenOff.Inc()
		}
		if !x.hijacked {
			x.body.leave()
		}
		s.metrics.count(x.status, x.failure)
		s.metrics.inFlight.Add(-1)
		s.handlers.Done()
		if s.log.Enabled(r.Context(), slog.LevelDebug) {
			s.log.Debug("request", "method", method, "path", path, "status", x.status,
				"ms", time.Since(x.began).Milliseconds(), "failure", x.failure)
		}
	}()
	switch {
	case !x.streams || atOnce <= s.maxConns:
		x.pass(r)
	case atOnce <= 2*s.maxConns:
		x.refuse(overloaded, 0)
	default: // the program does not read the answers: the stream ends without one
		x.failure = overloaded.Code
	}
	// net/http still writes the end of the answer, perhaps after a long pause.
	x.extend()
	if whole = true; x.status == 0 { // net/http would send a 200, and keep the connection
		panic(http.ErrAbortHandler)
	}
}

// pass forwards a request, or answers it with a problem.
func (x *exchange) pass(r *http.Request) {
	p := x.s.guard(r)
	if p == nil {
		x.body, p = take(x.ResponseWriter, r)
	}
	if p != nil {
		x.refuse(*p, 0)
		return
	}
	if r.ContentLength < 0 { // the program may read the answer while it writes the body
		x.control.EnableFullDuplex()
	}
	x.s.handler.ServeHTTP(x, r.WithContext(context.WithValue(r.Context(), exchangeKey{}, x)))
}

// failed answers a request to which the upstream gave no answer.
func (s *sidecar) failed(w http.ResponseWriter, r *http.Request, err error) {
	x := w.(*exchange)
	p := x.body.problem()
	if r.Context().Err() != nil && p != &slowBody { // the program has gone; a time-out also ends the context
		x.failure = "gone"
		if x.sent > 0 && x.took >= hangTime && x.body.whole() {
			s.upstreamFailed(x, "it began no answer until the program gave up")
		}
		return
	}
	if p != nil {
		x.refuse(*p, 0)
		return
	}
	own, ofUpstream := diagnose(err)
	if ofUpstream {
		s.upstreamFailed(x, answers.Failure(err))
		x.refuse(own, 0)
		return
	}
	x.refuse(again(own, err, s.src.Stats().NextFetch))
}

// upstreamFailed logs a failure of the upstream, if it is the first since the last
// answer, and the last record of one is not too recent.
func (s *sidecar) upstreamFailed(x *exchange, reason string) {
	if before, logged := s.outages.note(time.Now(), true); logged {
		s.log.Warn("upstream failed", "error", reason, "host", s.upstream.Host, "method", x.request.Method,
			"path", fmt.Sprintf("%.200s", x.request.URL.Path), "duration", time.Since(x.began), "attempts", x.sent, "unlogged", before.unlogged)
	}
}

// answered is called with the upstream's final answer, before it is passed on.
func (s *sidecar) answered(resp *http.Response) error {
	if resp.StatusCode < 200 && resp.StatusCode != http.StatusSwitchingProtocols {
		return errStatus // net/http panics if it is to send such a status
	}
	now := time.Now()
	if before, logged := s.outages.note(now, false); logged {
		s.log.Info("upstream answers again", "host", s.upstream.Host, "after", now.Sub(before.last), "unlogged", before.unlogged)
	}
	s.rejections.answered(now, resp.StatusCode)
	return nil
}

// extend gives the program writeTimeout, from now, to take a part of the answer.
func (x *exchange) extend() {
	if !x.hijacked {
		x.control.SetWriteDeadline(time.Now().Add(writeTimeout))
	}
}

// written removes this limit from a stream of HTTP/2, which would otherwise end while
// the answer pauses. With HTTP/1.1 the limit affects only writes, and the next write
// extends it.
func (x *exchange) written() {
	if x.streams {
		x.control.SetWriteDeadline(time.Time{})
	}
}

func (x *exchange) WriteHeader(status int) {
	x.extend()
	if status >= 200 || status == http.StatusSwitchingProtocols {
		x.status = status
		x.body.release()
		// In full duplex mode, net/http keeps a connection after a malformed body, and
		// would read what follows as a request.
		if x.s.draining.Load() || !x.streams && !x.body.whole() {
			x.Header().Set("Connection", "close")
		}
	}
	x.ResponseWriter.WriteHeader(status)
	x.written()
}

func (x *exchange) Write(b []byte) (int, error) {
	if x.status == 0 {
		x.WriteHeader(http.StatusOK)
	}
	x.extend()
	n, err := x.ResponseWriter.Write(b)
	x.written()
	x.unheard = x.unheard || err != nil
	return n, err
}

// Hijack notes an upgrade. ReverseProxy writes its status itself.
func (x *exchange) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	conn, rw, err := x.control.Hijack()
	if err == nil {
		x.status, x.hijacked = http.StatusSwitchingProtocols, true
	}
	return conn, rw, err
}

// FlushError sends what was written, perhaps after a long pause.
func (x *exchange) FlushError() error {
	x.extend()
	defer x.written()
	return x.control.Flush()
}

// Unwrap returns the writer for http.ResponseController.
func (x *exchange) Unwrap() http.ResponseWriter { return x.ResponseWriter }

// refuse answers with a problem. after is when to try again; 0: unknown.
func (x *exchange) refuse(p problem, after time.Duration) {
	x.failure = p.Code
	h := x.Header()
	h.Set("Cache-Control", "no-store")
	if after > 0 {
		h.Set("Retry-After", strconv.FormatInt(seconds(after), 10))
	}
	if !x.body.whole() || x.body == nil {
		forgo(x.ResponseWriter, x.request)
	}
	answers.WriteJSON(x, p.status, p)
}
