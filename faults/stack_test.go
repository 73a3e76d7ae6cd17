// Copyright 2026 The authsec Authors
// SPDX-License-Identifier: Apache-2.0

package faults

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	mathrand "math/rand/v2"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/authsec-go/authsec/authsectest"
)

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
