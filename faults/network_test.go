// Copyright 2026 The authsec Authors
// SPDX-License-Identifier: Apache-2.0

package faults

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/Shopify/toxiproxy/v2"
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
