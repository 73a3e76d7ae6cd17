// Copyright 2026 The authsec Authors
// SPDX-License-Identifier: Apache-2.0

package authsectest

import (
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"sync/atomic"
	"syscall"
	"time"
)

// RoundTripper returns a transport that passes requests to h, without a network. It
// adds a Date header to the answers, as a net/http server does.
func RoundTripper(h http.Handler) http.RoundTripper { return inMemory{h, new(atomic.Bool)} }

type inMemory struct {
	handler http.Handler
	closed  *atomic.Bool
}

func (m inMemory) RoundTrip(req *http.Request) (*http.Response, error) {
	if req.Body != nil {
		defer req.Body.Close()
	}
	ctx := req.Context()
	if err := ctx.Err(); err != nil { // it is not sent
		return nil, err
	}
	if m.closed.Load() {
		return nil, &net.OpError{Op: "dial", Net: "tcp", Err: os.NewSyscallError("connect", syscall.ECONNREFUSED)}
	}
	in := req.Clone(ctx)
	in.RequestURI, in.RemoteAddr = req.URL.RequestURI(), "192.0.2.1:1234"
	if in.Host == "" {
		in.Host = req.URL.Host
	}
	if in.Body == nil {
		in.Body = http.NoBody
	}
	w := httptest.NewRecorder()
	done := make(chan struct{})
	served := false
	go func() {
		defer close(done)
		// After a panic there is no answer: a net/http server drops the connection.
		defer func() { recover() }()
		w.Header().Set("Date", time.Now().UTC().Format(http.TimeFormat))
		m.handler.ServeHTTP(w, in)
		served = true
	}()
	select {
	case <-done:
		if !served {
			return nil, io.ErrUnexpectedEOF
		}
		resp := w.Result()
		resp.Request = req
		if req.Method == http.MethodHead {
			resp.Body = http.NoBody
		}
		return resp, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}
