// Copyright 2026 The authsec Authors
// SPDX-License-Identifier: Apache-2.0

//go:build unix

package rediscache_test

import (
	"io"
	"net"
	"sync"
	"testing"
	"time"
)

// relay is a network between clients and a server. Its faults affect open
// connections and new ones.
type relay struct {
	addr   string
	target string
	ln     net.Listener

	mu      sync.Mutex    // guards what follows
	latency time.Duration // of each write, in each direction
	silent  chan struct{} // nothing passes until it is closed; nil: everything passes
	closed  bool          // new connections are cut at once
	mute    int           // how many more answers are dropped, and their connections cut
	conns   map[net.Conn]bool
}

func newRelay(t testing.TB, target string) *relay {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	r := &relay{addr: ln.Addr().String(), target: target, ln: ln, conns: map[net.Conn]bool{}}
	var serving sync.WaitGroup
	serving.Go(func() {
		for {
			conn, err := ln.Accept()
			if err != nil {
				return // closed
			}
			serving.Go(func() { r.serve(conn) })
		}
	})
	t.Cleanup(func() {
		ln.Close()
		r.set(func() { r.closed = true })
		r.restore()
		r.cut()
		serving.Wait()
	})
	return r
}

func (r *relay) set(change func()) {
	r.mu.Lock()
	defer r.mu.Unlock()
	change()
}

// partition stops all data until restore.
func (r *relay) partition() {
	r.set(func() {
		if r.silent == nil {
			r.silent = make(chan struct{})
		}
	})
}

// restore ends a partition.
func (r *relay) restore() {
	r.set(func() {
		if r.silent != nil {
			close(r.silent)
			r.silent = nil
		}
	})
}

// cut cuts all connections.
func (r *relay) cut() {
	r.set(func() {
		for conn := range r.conns {
			conn.Close()
		}
	})
}

func (r *relay) open() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.conns) / 2
}

func (r *relay) serve(client net.Conn) {
	defer client.Close()
	server, err := net.Dial("tcp", r.target)
	if err != nil {
		return
	}
	defer server.Close()
	r.mu.Lock()
	closed := r.closed
	r.conns[client], r.conns[server] = true, true
	r.mu.Unlock()
	defer r.set(func() { delete(r.conns, client); delete(r.conns, server) })
	if closed {
		return
	}
	var answers sync.WaitGroup
	answers.Go(func() { r.copy(client, server, true) })
	r.copy(server, client, false)
	answers.Wait()
}

// copy passes data on, with the current faults.
func (r *relay) copy(dst, src net.Conn, answers bool) {
	defer dst.Close()
	buf := make([]byte, 32<<10)
	for {
		n, err := src.Read(buf)
		r.mu.Lock()
		latency, silent, mute := r.latency, r.silent, r.mute > 0 && answers && n > 0
		if mute {
			r.mute--
		}
		r.mu.Unlock()
		if mute {
			return
		}
		if n > 0 {
			time.Sleep(latency)
			if silent != nil {
				<-silent
			}
			if _, err := dst.Write(buf[:n]); err != nil {
				io.Copy(io.Discard, src) // until the other end closes, too
				return
			}
		}
		if err != nil {
			return
		}
	}
}
