// Copyright 2026 The authsec Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"sync/atomic"
	"time"

	"github.com/authsec-go/authsec/authsectest"
	"github.com/authsec-go/authsec/bench/peers"
)

// measureFailingAPI counts the connections that an overloaded API causes.
func measureFailingAPI(size scale) (*findings, error) {
	const clients, share = 8, 20 // every 20th: 5 %
	const page = 2 << 10         // bytes of a 503; the peers that retry read at most 4 KiB before they drop a connection
	f := &findings{
		title: "An API that answers 503 to 5 %",
		text: fmt.Sprintf(`
%d GETs by %d clients over TLS and HTTP/1.1. The pool has %d connections and is full at the beginning; the table shows how many more are made. The API answers 503, with a page of 2 KiB, to every %dth attempt, or to all attempts of every %dth request.
The peers that retry make up to 4 attempts, with waits of 5 to 20 ms. The floor is the number of connections without retries.`, size.failingOfMany, clients, clients, share, share),
		head: []string{"", "attempts fail: connections", "callers that got an error", "requests fail: connections", "callers that got an error"},
	}
	connections := map[string][2]int64{}
	contestants := append(authenticated(), peers.Named(peers.ReadyHeader)...)
	for _, p := range contestants {
		cells := []string{name(p)}
		var both [2]int64
		for i, whole := range []bool{false, true} {
			var n, arrived atomic.Int64
			full := make(chan struct{})
			l := newLab(labOptions{http1: true, next: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if r.URL.Path == "/fill" { // the pool: parallel requests need one connection each
					if arrived.Add(1) == clients {
						close(full)
					}
					<-full
					return
				}
				fails := n.Add(1)%share == 0
				if whole {
					fails = r.URL.Query().Get("fail") != ""
				}
				if fails {
					authsectest.Answer(http.StatusServiceUnavailable, strings.Repeat("x", page)).ServeHTTP(w, r)
					return
				}
				authsectest.Answer(http.StatusOK, `{"ok":true}`).ServeHTTP(w, r)
			})})
			l.Delegate(authsectest.ClientID, authsectest.Delegation{})
			job := l.job()
			job.Attempts, job.MinBackoff, job.MaxBackoff = 4, 5*time.Millisecond, 20*time.Millisecond
			rt, err := p.RoundTripper(job, l.base(clients))
			if err != nil {
				return nil, fmt.Errorf("%s: %w", p.Name, err)
			}
			client := &http.Client{Transport: rt}
			call := func(url string) error { return get(context.Background(), client, url) }
			if together(clients, func(int) error { return call(l.api.URL + "/fill") }) > 0 {
				return nil, fmt.Errorf("%s: a call failed too early", p.Name)
			}
			before := l.connections.Load()
			var turn, seen atomic.Int64
			together(clients, func(int) error {
				for {
					i := turn.Add(1)
					if i > int64(size.failingOfMany) {
						return nil
					}
					url := l.api.URL
					if i%share == 0 {
						url += "?fail=1"
					}
					if call(url) != nil {
						seen.Add(1)
					}
				}
			})
			both[i] = l.connections.Load() - before
			l.close()
			cells = append(cells, fmt.Sprint(both[i]), fmt.Sprint(seen.Load()))
		}
		connections[p.Name] = both
		f.row(cells...)
	}
	a, floor := connections[peers.AuthSec], connections[peers.ReadyHeader]
	f.must(a[0] <= floor[0] && a[1] <= floor[1], "no more connections than without retries", "%d and %d, against %d and %d", a[0], a[1], floor[0], floor[1])
	return f, nil
}
