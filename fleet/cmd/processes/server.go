// Copyright 2026 The authsec Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"net/http"
	"net/http/httptest"
	"slices"
	"sync"
	"time"

	"github.com/authsec-go/authsec/authsectest"
)

// server is an AuthSec test server on loopback that records its requests.
type server struct {
	*authsectest.Server
	http *httptest.Server

	mu       sync.Mutex // guards requests; held for each request, so that they are answered one at a time
	requests []request  // in the order in which the limit counts them
}

// request is one request to the endpoint.
type request struct {
	came, answered time.Time
	status         int
}

// newServer starts a server that allows limit requests in a window.
func newServer(limit int, window time.Duration) *server {
	s := &server{Server: authsectest.NewInMemoryServer()}
	s.LimitRate(limit, window)
	next := s.Handler()
	s.http = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		noted := &noter{ResponseWriter: w}
		s.mu.Lock()
		defer s.mu.Unlock()
		came := time.Now()
		next.ServeHTTP(noted, r)
		s.requests = append(s.requests, request{came, time.Now(), noted.status})
	}))
	return s
}

func (s *server) close() { s.http.Close() }

// asked returns the requests so far, in order.
func (s *server) asked() []request {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.requests)
}

// noter records an answer's status.
type noter struct {
	http.ResponseWriter
	status int
}

func (n *noter) WriteHeader(status int) {
	n.status = status
	n.ResponseWriter.WriteHeader(status)
}

// between returns the requests that came in [from, to).
func between(list []request, from, to time.Time) []request {
	var part []request
	for _, r := range list {
		if !r.came.Before(from) && r.came.Before(to) {
			part = append(part, r)
		}
	}
	return part
}

// count returns how many of the requests got this status.
func count(list []request, status int) (n int) {
	for _, r := range list {
		if r.status == status {
			n++
		}
	}
	return n
}

// windows divides the requests, which are in order, as the server's limit does: a
// window begins with the first request after the end of the last one, which gets no
// 429. It returns in how many windows there were 429s, and the most such windows in a
// row.
func windows(list []request, length time.Duration) (exceeded, row int) {
	run := 0
	for len(list) > 0 {
		n := slices.IndexFunc(list, func(r request) bool {
			return r.came.Sub(list[0].came) >= length && r.status != http.StatusTooManyRequests
		})
		if n < 0 {
			n = len(list)
		}
		if count(list[:n], http.StatusTooManyRequests) == 0 {
			run = 0
		} else {
			exceeded++
			run++
			row = max(row, run)
		}
		list = list[n:]
	}
	return exceeded, row
}
