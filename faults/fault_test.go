// Copyright 2026 The authsec Authors
// SPDX-License-Identifier: Apache-2.0

package faults

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/Shopify/toxiproxy/v2"
	"github.com/authsec-go/authsec"
	"github.com/authsec-go/authsec/authsectest"
	"github.com/rs/zerolog"
)

// proxy is a toxiproxy in front of a server. Its address stays the same.
type proxy struct {
	testing.TB
	addr, target string
	current      *toxiproxy.Proxy
}

func (s *stack) newProxy(target *host) *proxy {
	s.Helper()
	p := &proxy{TB: s.TB, addr: "127.0.0.1:0", target: target.addr}
	p.set()
	s.Cleanup(func() { p.current.Stop() })
	return p
}

// set ends all connections, and applies these toxics to new ones. It makes a new
// toxiproxy each time, because one whose toxics change under a live connection can
// block for ever.
func (p *proxy) set(toxics ...string) {
	p.Helper()
	if p.current != nil {
		p.current.Stop()
	}
	server := toxiproxy.NewServer(toxiproxy.NewMetricsContainer(nil), zerolog.Nop())
	p.current = toxiproxy.NewProxy(server, "proxy", p.addr, p.target)
	for _, toxic := range toxics {
		if _, err := p.current.Toxics.AddToxicJson(strings.NewReader(toxic)); err != nil {
			p.Fatalf("toxic %s: %v", toxic, err)
		}
	}
	if err := p.current.Start(); err != nil {
		p.Fatalf("starting a proxy: %v", err)
	}
	p.addr = p.current.Listen
}

const (
	bodySize = 128 * KiB // of a response whose body is cut
	padSize  = 64 * KiB  // of a header that is cut
	cutAt    = 16 * KiB  // bytes from the server, including about 2 KiB of the TLS handshake
)

// networkFaults are faults of the network. They affect every connection.
var networkFaults = []struct {
	name   string
	toxics []string
	pad    int // bytes of the response's header

	harmless     bool // everything is answered, but late
	begins       bool // a response begins, and its body breaks off
	silent       bool // only the context ends a request
	reaches      bool // the request reaches the server over plain HTTP
	reachesByTLS bool
}{
	{name: "latency", harmless: true, reaches: true, reachesByTLS: true,
		toxics: []string{`{"type":"latency","stream":"downstream","attributes":{"latency":20,"jitter":10}}`, `{"type":"latency","stream":"upstream","attributes":{"latency":20}}`}},
	{name: "slow drip", harmless: true, reaches: true, reachesByTLS: true,
		toxics: []string{`{"type":"slicer","stream":"downstream","attributes":{"average_size":2048,"size_variation":1024,"delay":500}}`}},
	{name: "little bandwidth", harmless: true, reaches: true, reachesByTLS: true,
		toxics: []string{`{"type":"bandwidth","stream":"downstream","attributes":{"rate":1500}}`}},
	{name: "reset on the way there",
		toxics: []string{`{"type":"reset_peer","stream":"upstream","attributes":{"timeout":0}}`}},
	{name: "reset on the way back", reaches: true,
		toxics: []string{`{"type":"reset_peer","stream":"downstream","attributes":{"timeout":0}}`}},
	{name: "cut in the header", pad: padSize, reaches: true, reachesByTLS: true,
		toxics: []string{fmt.Sprintf(`{"type":"limit_data","stream":"downstream","attributes":{"bytes":%d}}`, cutAt)}},
	{name: "cut in the body", begins: true, reaches: true, reachesByTLS: true,
		toxics: []string{fmt.Sprintf(`{"type":"limit_data","stream":"downstream","attributes":{"bytes":%d}}`, cutAt)}},
	{name: "black hole on the way there", silent: true,
		toxics: []string{`{"type":"timeout","stream":"upstream","attributes":{"timeout":0}}`}},
	{name: "black hole on the way back", silent: true, reaches: true,
		toxics: []string{`{"type":"timeout","stream":"downstream","attributes":{"timeout":0}}`}},
}

// calls are the kinds of requests that retries and replays treat differently.
var calls = []call{
	{},
	{method: http.MethodPut, send: 3 * KiB},
	{method: http.MethodPut, send: maxBuffered, noGetBody: true},
	{method: http.MethodPut, send: maxBuffered + KiB, noGetBody: true},
	{method: http.MethodPost, send: 3 * KiB},
	{method: http.MethodPost},
	{method: http.MethodPost, send: 3 * KiB, key: true},
	{method: http.MethodPost, send: 3 * KiB, key: true, noGetBody: true},
}

func TestNetworkFaultsToTheAPI(t *testing.T) {
	t.Parallel()
	for _, w := range wires {
		for _, f := range networkFaults {
			t.Run(w.name+"/"+f.name, func(t *testing.T) {
				t.Parallel()
				s := newStack(t, w)
				p := s.newProxy(s.api)
				c := s.newCaller(func(cfg *callerConfig) { cfg.api = p.addr })
				c.mustAnswer(call{})
				if !s.idle(s.api) { // so that each request makes a new connection, with the fault
					t.Fatal("the API still has open connections")
				}
				p.set(f.toxics...)
				for _, k := range calls {
					k.want, k.pad, k.timeout = bodySize, f.pad, callTimeout
					if f.silent {
						k.timeout = time.Second
					}
					o := c.do(k)

					attempts := 1
					if !f.harmless && !f.begins && !f.silent && k.repeatable() {
						attempts = 4
					}
					arrivals := 0
					if f.reaches && !w.secure || f.reachesByTLS && w.secure {
						arrivals = attempts
					}
					if o.ok() != f.harmless || o.broken != f.begins || o.attempts != attempts || o.arrivals != arrivals {
						t.Errorf("%v: got ok %t, body broken %t, %d attempts, %d arrivals, error %v; want %t, %t, %d, %d",
							k, o.ok(), o.broken, o.attempts, o.arrivals, o.err, f.harmless, f.begins, attempts, arrivals)
					}
					if f.silent && !errors.Is(o.err, context.DeadlineExceeded) {
						t.Errorf("%v: got error %v, want that of its deadline", k, o.err)
					}
				}
				p.set()
				// The first is a GET, which net/http retries if the pool has a dead
				// connection.
				for _, k := range calls {
					c.mustAnswer(k)
				}
			})
		}
	}
}

func TestNetworkFaultsToTheEndpoint(t *testing.T) {
	t.Parallel()
	for _, w := range wires {
		for _, f := range networkFaults {
			t.Run(w.name+"/"+f.name, func(t *testing.T) {
				t.Parallel()
				s := newStack(t, w)
				s.setFront(s.rewritten(func(fields map[string]any, header http.Header) {
					fields["pad"] = strings.Repeat("p", bodySize)
					header.Set("X-Pad", strings.Repeat("p", f.pad))
				}))
				p := s.newProxy(s.endpoint)
				p.set(f.toxics...)
				c := s.newCaller(func(cfg *callerConfig) {
					cfg.endpoint = p.addr
					if f.silent {
						cfg.FetchTimeout = 2 * time.Second
					}
				})

				for _, k := range calls {
					k.want = KiB
					o := c.do(k)
					arrivals := 0
					if f.harmless {
						arrivals = 1
					}
					if o.ok() != f.harmless || o.arrivals != arrivals {
						t.Errorf("%v: got ok %t, %d arrivals at the API, error %v; want %t, %d", k, o.ok(), o.arrivals, o.err, f.harmless, arrivals)
					}
				}
				stats := c.src.Stats()
				if f.harmless {
					if stats.Fetches != 1 {
						t.Errorf("got %d fetches for %d requests, want 1", stats.Fetches, len(calls))
					}
					return
				}
				// A failure is cached for at least half a second, so these requests cause
				// few fetches.
				if stats.Fetches != stats.Failures || stats.Fetches > 3 {
					t.Errorf("got %d fetches, %d failures; want the same number, at most 3", stats.Fetches, stats.Failures)
				}
				if f.reachesByTLS { // on both wires
					if got := uint64(s.auth.Fetches()); got != 4*stats.Fetches {
						t.Errorf("the endpoint got %d requests in %d fetches, want 4 in each", got, stats.Fetches)
					}
				}
				s.setFront(nil)
				p.set()
				c.mustRecover(stats.Failures)
			})
		}
	}
}

// TestRefreshAsksInSpiteOfACachedFailure: Refresh is the documented way not to wait for
// the end of a cached failure.
func TestRefreshAsksInSpiteOfACachedFailure(t *testing.T) {
	t.Parallel()
	for _, w := range wires {
		t.Run(w.name, func(t *testing.T) {
			t.Parallel()
			s := newStack(t, w)
			p := s.newProxy(s.endpoint)
			p.set(networkFaults[3].toxics...)
			c := s.newCaller(func(cfg *callerConfig) { cfg.endpoint = p.addr })
			// Three failures in a row: the last one is cached for at least 2 s. Refresh asks
			// again after 1 s of that.
			const failures = 3
			for range failures {
				if _, err := c.src.Refresh(context.Background()); err == nil {
					t.Fatal("Refresh: got a token through a broken network, want an error")
				}
				time.Sleep(time.Second) // Refresh asks at most once a second
			}
			if o := c.do(call{}); o.err == nil || c.src.Stats().Fetches != failures {
				t.Errorf("a request after %d calls of Refresh: got error %v, %d fetches; want the cached error, %d", failures, o.err, c.src.Stats().Fetches, failures)
			}
			p.set()
			ctx, cancel := context.WithTimeout(context.Background(), callTimeout)
			defer cancel()
			if _, err := c.src.Refresh(ctx); err != nil {
				t.Errorf("Refresh after the fault: got error %v, want a token", err)
			}
			c.mustAnswer(call{method: http.MethodPost, send: KiB})
		})
	}
}

// TestContextEndsEveryWait: a request would wait for a token, and before a retry, much
// longer than its context allows.
func TestContextEndsEveryWait(t *testing.T) {
	t.Parallel()
	const patience = 500 * time.Millisecond
	for _, w := range wires {
		for _, cancelled := range []bool{false, true} {
			ended := context.DeadlineExceeded
			if cancelled {
				ended = context.Canceled
			}
			t.Run(fmt.Sprintf("%s/%v/for a token", w.name, ended), func(t *testing.T) {
				t.Parallel()
				s := newStack(t, w)
				p := s.newProxy(s.endpoint)
				p.set(`{"type":"timeout","stream":"downstream","attributes":{"timeout":0}}`)
				c := s.newCaller(func(cfg *callerConfig) { cfg.endpoint = p.addr })
				for _, k := range calls {
					k.timeout, k.cancelled = patience, cancelled
					if o := c.do(k); !errors.Is(o.err, ended) || o.arrivals != 0 {
						t.Errorf("%v: got error %v, %d arrivals; want %v, 0", k, o.err, o.arrivals, ended)
					}
				}
			})
			t.Run(fmt.Sprintf("%s/%v/before a retry", w.name, ended), func(t *testing.T) {
				t.Parallel()
				s := newStack(t, w)
				c := s.newCaller(func(cfg *callerConfig) { cfg.retry = authsec.RetryPolicy{} })
				c.mustAnswer(call{}) // gets a token, and makes a connection
				s.setAPIFront(func(w http.ResponseWriter, r *http.Request) {
					authsectest.Answer(http.StatusServiceUnavailable, strings.Repeat("x", 100*KiB), "Retry-After", "9").ServeHTTP(w, r)
				})
				for _, k := range calls {
					k.timeout, k.cancelled = patience, cancelled
					o := c.do(k)
					// A wait that would outlast the deadline is not begun: the caller gets the 503.
					if got := errors.Is(o.err, ended); got != (cancelled && k.repeatable()) || !got && o.status != http.StatusServiceUnavailable || o.arrivals != 1 {
						t.Errorf("%v: got status %d, error %v, %d arrivals; want 503, or %v where it waits to retry, 1", k, o.status, o.err, o.arrivals, ended)
					}
				}
			})
		}
	}
}

// TestFetchOutlivesItsCaller: the first of many callers gives up. The others get the
// token of the fetch that it began.
func TestFetchOutlivesItsCaller(t *testing.T) {
	t.Parallel()
	for _, w := range wires {
		t.Run(w.name, func(t *testing.T) {
			t.Parallel()
			s := newStack(t, w)
			s.auth.SetLatency(500 * time.Millisecond)
			c := s.newCaller()
			if o := c.do(call{timeout: 50 * time.Millisecond, cancelled: true}); !errors.Is(o.err, context.Canceled) {
				t.Errorf("the first: got error %v, want %v", o.err, context.Canceled)
			}
			var others sync.WaitGroup
			for range 8 {
				others.Go(func() { c.mustAnswer(call{method: http.MethodPost, send: KiB}) })
			}
			others.Wait()
			if got := s.auth.Fetches(); got != 1 {
				t.Errorf("the endpoint was asked %d times, want 1", got)
			}
		})
	}
}

// TestServerKilledUnderLoad kills a server during requests, and starts it again on its
// port.
func TestServerKilledUnderLoad(t *testing.T) {
	t.Parallel()
	for _, w := range wires {
		t.Run(w.name+"/API", func(t *testing.T) {
			t.Parallel()
			s := newStack(t, w)
			c := s.newCaller(func(cfg *callerConfig) { cfg.retry = authsec.RetryPolicy{} })
			underLoad(c, nil, func() {
				for range 3 {
					s.api.kill()
					if err := s.api.start(); err != nil {
						t.Fatalf("starting the API again: %v", err)
					}
				}
			})
			c.mustAnswer(call{}) // an API's failures are not cached
		})
		t.Run(w.name+"/endpoint", func(t *testing.T) {
			t.Parallel()
			s := newStack(t, w)
			c := s.newCaller()
			s.endpoint.kill()
			if o := c.do(call{}); o.err == nil || o.arrivals != 0 {
				t.Errorf("with no endpoint: got error %v, %d arrivals; want an error, 0", o.err, o.arrivals)
			}
			if err := s.endpoint.start(); err != nil {
				t.Fatalf("starting the endpoint again: %v", err)
			}
			c.mustRecover(c.src.Stats().Failures)

			// With a good token in service the endpoint is not needed.
			s.endpoint.kill()
			underLoad(c, func(k call, o outcome) {
				if !o.ok() {
					t.Errorf("%v with a good token: got status %d, error %v; want an answer", k, o.status, o.err)
				}
			}, func() {
				if _, err := c.src.Refresh(context.Background()); err == nil {
					t.Error("Refresh: got no error, want one: there is no endpoint")
				}
			})
			if err := s.endpoint.start(); err != nil {
				t.Fatalf("starting the endpoint again: %v", err)
			}
		})
	}
}

// underLoad makes all kinds of requests, in 4 goroutines, while act runs, and once more
// after it. It calls check, if that is not nil, with each outcome.
func underLoad(c *caller, check func(call, outcome), act func()) {
	var done atomic.Bool
	var load, arrived sync.WaitGroup
	for range 4 {
		arrived.Add(1)
		load.Go(func() {
			for round := 0; ; round++ {
				last := done.Load()
				for _, k := range calls {
					k.want = 8*KiB + 1
					o := c.do(k)
					if check != nil {
						check(k, o)
					}
				}
				if round == 0 {
					arrived.Done()
				}
				if last {
					return
				}
			}
		})
	}
	arrived.Wait()
	defer func() { // also if act fails the test
		done.Store(true)
		load.Wait()
	}()
	act()
}

// TestGoAwayUnderLoad replaces a server that shuts down gracefully: over HTTP/2 it sends
// GOAWAY. Requests that can be repeated succeed, and none that arrived is lost.
func TestGoAwayUnderLoad(t *testing.T) {
	t.Parallel()
	for _, w := range wires {
		t.Run(w.name, func(t *testing.T) {
			t.Parallel()
			s := newStack(t, w)
			c := s.newCaller(func(cfg *callerConfig) { cfg.retry = authsec.RetryPolicy{} })
			underLoad(c, func(k call, o outcome) {
				if k.repeatable() && !o.ok() {
					t.Errorf("%v: got status %d, error %v; want an answer", k, o.status, o.err)
				}
			}, func() {
				for range 3 {
					ended, err := s.api.retire()
					if err != nil {
						t.Fatalf("starting the next server: %v", err)
					}
					if err := <-ended; err != nil {
						t.Errorf("the old server's end: got error %v, want none", err)
					}
				}
			})
			c.mustAnswer(call{})
		})
	}
}

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

// TestTokenStaysWithItsHost: the API redirects to a stranger, and the caller sends
// requests there itself. Every test checks at its end what the stranger got.
func TestTokenStaysWithItsHost(t *testing.T) {
	t.Parallel()
	for _, w := range wires {
		t.Run(w.name, func(t *testing.T) {
			t.Parallel()
			s := newStack(t, w)
			c := s.newCaller()
			c.mustAnswer(call{redirect: true, want: KiB})
			c.mustAnswer(call{redirect: true, want: KiB, method: http.MethodPut, send: KiB})
			c.api = s.stranger.addr // for the caller's requests; the Transport's Hosts stay as they are
			for _, k := range calls {
				c.mustAnswer(k)
			}
			if got, want := s.stranger.opened.Load(), int64(1); got < want {
				t.Errorf("the stranger got %d connections, want at least %d", got, want)
			}
		})
	}
}
