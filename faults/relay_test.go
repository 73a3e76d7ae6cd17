// Copyright 2026 The authsec Authors
// SPDX-License-Identifier: Apache-2.0

package faults

import (
	"io"
	"net"
	"sync"
	"sync/atomic"
	"time"
)

// trouble is a fault of all connections through a relay, until it is lifted.
type trouble struct {
	kind   troubleKind
	after  int           // bytes from the server that pass before it
	delay  time.Duration // of each read (latency) or each piece (drip)
	lifted chan struct{}
}

type troubleKind string

const (
	latency   troubleKind = "latency"
	drip      troubleKind = "drip"
	blackHole troubleKind = "black hole"
	cut       troubleKind = "cut"
	reset     troubleKind = "reset"
	garbage   troubleKind = "garbage"
)

const dripSize = KiB // bytes of a piece

// relay is a TCP proxy whose trouble may change during connections.
type relay struct {
	target   string
	listener net.Listener
	trouble  atomic.Pointer[trouble]
	closed   chan struct{}
	running  sync.WaitGroup
	accepted atomic.Int64

	// forgotten is the number of the last connection that is forgotten. They are
	// numbered from 1.
	forgotten atomic.Int64

	mu    sync.Mutex // guards conns
	conns map[net.Conn]bool
}

func newRelay(target string) (*relay, error) {
	ln, err := listen("127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	r := &relay{target: target, listener: ln, closed: make(chan struct{}), conns: map[net.Conn]bool{}}
	r.running.Go(r.accept)
	return r, nil
}

func (r *relay) addr() string { return r.listener.Addr().String() }

// close ends all connections, and waits for their goroutines.
func (r *relay) close() {
	close(r.closed)
	r.listener.Close()
	r.mu.Lock()
	for conn := range r.conns {
		conn.Close()
	}
	r.mu.Unlock()
	r.running.Wait()
}

// suffer begins trouble, and returns a func that ends it.
func (r *relay) suffer(t trouble) (lift func()) {
	t.lifted = make(chan struct{})
	r.trouble.Store(&t)
	return func() {
		r.trouble.Store(nil)
		close(t.lifted)
	}
}

// forget drops all that comes on the present connections, in both directions and
// also their end, like a NAT that has forgotten them. They stay open. New ones
// work.
func (r *relay) forget() { r.forgotten.Store(r.accepted.Load()) }

func (r *relay) accept() {
	for {
		client, err := r.listener.Accept()
		if err != nil {
			return
		}
		number := r.accepted.Add(1)
		r.running.Go(func() { r.carry(client, number) })
	}
}

// keep registers a connection. It returns false if the relay is closed.
func (r *relay) keep(conn net.Conn) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	select {
	case <-r.closed:
		return false
	default:
		r.conns[conn] = true
		return true
	}
}

func (r *relay) drop(conn net.Conn) {
	conn.Close()
	r.mu.Lock()
	delete(r.conns, conn)
	r.mu.Unlock()
}

func (r *relay) carry(client net.Conn, number int64) {
	defer r.drop(client)
	if !r.keep(client) {
		return
	}
	if t := r.trouble.Load(); t != nil && t.kind == garbage {
		client.Read(make([]byte, 1)) // net/http logs data that comes before it has sent something
		io.WriteString(client, "SSH-2.0-OpenSSH_9.6\r\n")
		return
	}
	server, err := net.Dial("tcp", r.target)
	if err != nil {
		return
	}
	defer r.drop(server)
	if !r.keep(server) {
		return
	}
	var up sync.WaitGroup
	up.Go(func() { r.pump(server, client, number, false) })
	r.pump(client, server, number, true)
	up.Wait()
}

// pump copies from one connection to the other until one of them ends, or trouble ends
// them. Then it closes both. If they are forgotten, they stay open until the relay is
// closed.
func (r *relay) pump(to, from net.Conn, number int64, down bool) {
	defer to.Close()
	defer from.Close()
	buf := make([]byte, 16*KiB)
	var counted *trouble // since whose beginning passed counts
	passed := 0
	for {
		n, err := from.Read(buf)
		data := buf[:n]
		if number <= r.forgotten.Load() {
			if err != nil {
				<-r.closed
				return
			}
			continue
		}
		t := r.trouble.Load()
		if t != counted {
			counted, passed = t, 0
		}
		if t != nil {
			switch t.kind {
			case latency:
				r.pause(t, t.delay)
			case blackHole:
				r.pause(t, time.Hour)
			case drip:
				for len(data) > dripSize && r.trouble.Load() == t {
					if _, err := to.Write(data[:dripSize]); err != nil {
						return
					}
					data = data[dripSize:]
					r.pause(t, t.delay)
				}
			case cut, reset:
				if !down {
					break
				}
				if passed+n < t.after {
					passed += n
					break
				}
				to.Write(data[:t.after-passed]) // the connection ends in any case
				if t.kind == reset {
					to.(*net.TCPConn).SetLinger(0)
					from.(*net.TCPConn).SetLinger(0)
				}
				return
			}
		}
		if _, err := to.Write(data); err != nil {
			return
		}
		if err != nil {
			return
		}
	}
}

// pause waits for d, or for the end of the trouble or the relay.
func (r *relay) pause(t *trouble, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-t.lifted:
	case <-r.closed:
	}
}
