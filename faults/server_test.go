// Copyright 2026 The authsec Authors
// SPDX-License-Identifier: Apache-2.0

package faults

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

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
