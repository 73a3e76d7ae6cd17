// Copyright 2026 The authsec Authors
// SPDX-License-Identifier: Apache-2.0

package faults

import (
	"io"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// tlsFaults are servers with which every TLS handshake fails.
var tlsFaults = []struct {
	name        string
	serve       func(net.Conn) // nil: the real server
	untrusting  bool
	connections int64 // that a request without a body makes; 0: 1 to 4
}{
	{name: "closes at once", serve: func(c net.Conn) {}},
	{name: "closes in the handshake", serve: func(c net.Conn) { io.ReadFull(c, make([]byte, 16)) }},
	{name: "speaks garbage", serve: func(c net.Conn) {
		io.ReadFull(c, make([]byte, 16))
		io.WriteString(c, "SSH-2.0-OpenSSH_9.6\r\n")
		io.Copy(io.Discard, c)
	}},
	{name: "speaks plain HTTP", serve: func(c net.Conn) {
		io.ReadFull(c, make([]byte, 16))
		io.WriteString(c, "HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n")
		io.Copy(io.Discard, c)
	}},
	{name: "has a certificate that is not trusted", untrusting: true, connections: 1},
}

// badServer is a TCP server in place of a real one.
func badServer(t testing.TB, addr string, serve func(net.Conn)) (stop func(), accepted *atomic.Int64) {
	t.Helper()
	ln, err := listen(addr)
	if err != nil {
		t.Fatalf("listening: %v", err)
	}
	accepted = new(atomic.Int64)
	var running sync.WaitGroup
	running.Go(func() {
		for {
			conn, err := ln.Accept()
			if err != nil {
				return
			}
			accepted.Add(1)
			running.Go(func() {
				defer conn.Close()
				conn.SetDeadline(time.Now().Add(callTimeout))
				serve(conn)
			})
		}
	})
	return func() {
		ln.Close()
		running.Wait()
	}, accepted
}

func TestTLSFaults(t *testing.T) {
	t.Parallel()
	for _, f := range tlsFaults {
		for _, at := range []string{"API", "endpoint"} {
			t.Run(f.name+"/"+at, func(t *testing.T) {
				t.Parallel()
				s := newStack(t, wire{"TLS", true})
				server := s.api
				if at == "endpoint" {
					server = s.endpoint
				}
				c := s.newCaller()
				if at == "API" {
					c.mustAnswer(call{})
				}
				if !s.idle(server) {
					t.Fatal("the server still has open connections")
				}
				accepted := &server.opened
				back := func() {}
				if f.untrusting {
					trusting := c
					c = s.newCaller(func(cfg *callerConfig) {
						cfg.untrusting = true
						if at == "API" {
							cfg.source = trusting
						}
					})
					server.opened.Store(0)
				} else {
					server.kill()
					var stop func()
					stop, accepted = badServer(t, server.addr, f.serve)
					back = func() {
						stop()
						if err := server.start(); err != nil {
							t.Fatalf("starting the server again: %v", err)
						}
					}
				}

				o := c.do(call{})
				if got := accepted.Load(); got == 0 || got > 4 || f.connections != 0 && got != f.connections {
					t.Errorf("got %d connections for one request, want %d (0: 1 to 4)", got, f.connections)
				}
				if o.err == nil || o.arrivals != 0 {
					t.Errorf("got error %v, %d arrivals; want an error, 0", o.err, o.arrivals)
				}
				post := c.do(call{method: http.MethodPost, send: KiB})
				if post.err == nil || post.arrivals != 0 {
					t.Errorf("POST: got error %v, %d arrivals; want an error, 0", post.err, post.arrivals)
				}
				back()
				if f.untrusting {
					return
				}
				if at == "API" {
					c.mustAnswer(call{method: http.MethodPost, send: KiB})
				} else {
					c.mustRecover(c.src.Stats().Failures)
				}
			})
		}
	}
}
