// Copyright 2026 The authsec Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/authsec-go/authsec/authsectest"
	"github.com/authsec-go/authsec/bench/peers"
)

// lab is an AuthSec server and an API, on loopback and over TLS.
type lab struct {
	*authsectest.Server                  // the AuthSec server's logic
	auth                *httptest.Server // serves it
	api                 *httptest.Server
	connections         atomic.Int64 // accepted by the API
	limited             atomic.Int64 // answers of 429 from the endpoint

	mu      sync.Mutex
	fetches []time.Time // when the endpoint got requests
}

// labOptions change a lab. The zero value is the usual one.
type labOptions struct {
	http1 bool
	open  bool         // the API does not verify tokens
	next  http.Handler // the API behind the verification; nil: it answers a little JSON
}

func newLab(o labOptions) *lab {
	l := &lab{Server: authsectest.NewInMemoryServer()}
	endpoint := l.Server.Handler()
	l.auth = httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == authsectest.EndpointPath {
			l.mu.Lock()
			l.fetches = append(l.fetches, time.Now())
			l.mu.Unlock()
		}
		endpoint.ServeHTTP(statusNoter{w, l}, r)
	}))
	door := l.Server.API(o.next)
	if o.open {
		if door = o.next; door == nil {
			door = authsectest.Answer(http.StatusOK, `{"ok":true}`)
		}
	}
	l.api = httptest.NewUnstartedServer(door)
	l.api.Config.ConnState = func(_ net.Conn, state http.ConnState) {
		if state == http.StateNew {
			l.connections.Add(1)
		}
	}
	for _, s := range []*httptest.Server{l.auth, l.api} {
		s.Config.ErrorLog = quiet
		s.EnableHTTP2 = !o.http1
		s.StartTLS()
	}
	return l
}

// statusNoter counts the endpoint's 429s.
type statusNoter struct {
	http.ResponseWriter
	lab *lab
}

func (n statusNoter) WriteHeader(status int) {
	if status == http.StatusTooManyRequests {
		n.lab.limited.Add(1)
	}
	n.ResponseWriter.WriteHeader(status)
}

func (l *lab) close() {
	l.api.Close()
	l.auth.Close()
}

// asked returns when the endpoint got requests.
func (l *lab) asked() []time.Time {
	l.mu.Lock()
	defer l.mu.Unlock()
	return append([]time.Time(nil), l.fetches...)
}

// job is a peer's job in this lab.
func (l *lab) job() peers.Job {
	return peers.Job{
		AuthSecURL: l.auth.URL,
		ClientID:   authsectest.ClientID,
		Client:     l.auth.Client(),
		Host:       strings.TrimPrefix(l.api.URL, "https://"),
	}
}

// base returns a transport to the API, with a pool of its own that keeps idle
// connections.
func (l *lab) base(idle int) *http.Transport {
	t := l.api.Client().Transport.(*http.Transport).Clone()
	t.MaxIdleConnsPerHost = idle
	return t
}

// client sets up a peer in this lab.
func (l *lab) client(p peers.Peer, j peers.Job) (*http.Client, error) {
	rt, err := p.RoundTripper(j, l.base(256))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", p.Name, err)
	}
	return &http.Client{Transport: rt}, nil
}

// get makes one request, and reads its response. Another status than 200 is an error.
func get(ctx context.Context, client *http.Client, url string) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	resp, err := client.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if _, err := io.Copy(io.Discard, resp.Body); err != nil {
		return err
	}
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("status %d", resp.StatusCode)
	}
	return nil
}

// sample is one request of a paced load.
type sample struct {
	at   time.Duration // when it was due, since the load began
	late time.Duration // how much later it began
	took time.Duration // from the moment it was due
	err  error
}

// paced runs clients that call do once in each interval, for the time total. A late call
// counts from the time at which it was due, so that a pause counts for all requests that
// it delays.
func paced(clients int, interval, total time.Duration, do func(context.Context) error) []sample {
	ctx, cancel := context.WithTimeout(context.Background(), total+30*time.Second)
	defer cancel()
	lists := make([][]sample, clients)
	var done sync.WaitGroup
	began := time.Now()
	for i := range clients {
		done.Go(func() {
			for due := interval * time.Duration(i) / time.Duration(clients); due < total; due += interval {
				time.Sleep(due - time.Since(began))
				late := time.Since(began) - due
				err := do(ctx)
				lists[i] = append(lists[i], sample{at: due, late: late, took: time.Since(began) - due, err: err})
			}
		})
	}
	done.Wait()
	var all []sample
	for _, list := range lists {
		all = append(all, list...)
	}
	return all
}

// failures counts the requests that got no 200.
func failures(list []sample) int {
	n := 0
	for _, s := range list {
		if s.err != nil {
			n++
		}
	}
	return n
}

// together calls do in n goroutines at once, each with its number, and returns how many
// calls failed.
func together(n int, do func(int) error) int {
	var failed atomic.Int64
	var done sync.WaitGroup
	begin := make(chan struct{})
	for i := range n {
		done.Go(func() {
			<-begin
			if do(i) != nil {
				failed.Add(1)
			}
		})
	}
	close(begin)
	done.Wait()
	return int(failed.Load())
}
