// Copyright 2026 The authsec Authors
// SPDX-License-Identifier: Apache-2.0

package faults

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/authsec-go/authsec/authsectest"
)

// TestNothingStaysBehind makes rounds of requests that fail in every way. What is left
// after them does not depend on the number of rounds.
func TestNothingStaysBehind(t *testing.T) {
	const (
		warmUp, rounds = 10, 30
		maxOpen        = 6 // connections: one in use, and some that are about to end
		maxGrowth      = MiB
	)
	for _, w := range wires {
		t.Run(w.name, func(t *testing.T) {
			s := newStack(t, w)
			c := s.newCaller()
			c.mustAnswer(call{})
			var n atomic.Int64
			s.setAPIFront(func(w http.ResponseWriter, r *http.Request) {
				switch n.Add(1) % 5 {
				case 0:
					authsectest.Answer(http.StatusServiceUnavailable, strings.Repeat("x", 100*KiB)).ServeHTTP(w, r)
				case 1:
					authsectest.Answer(http.StatusUnauthorized, strings.Repeat("x", 100*KiB)).ServeHTTP(w, r)
				case 2: // a response that breaks off
					w.Header().Set(headerID, r.Header.Get(headerID))
					w.WriteHeader(http.StatusOK)
					io.Copy(w, content(r.Header.Get(headerID), 10*KiB))
					panic(http.ErrAbortHandler)
				case 3: // no response in time
					select {
					case <-r.Context().Done():
					case <-time.After(20 * time.Millisecond):
					}
					panic(http.ErrAbortHandler)
				default:
					s.serveAuthorized(w, r)
				}
			})
			round := func() {
				for _, k := range calls {
					k.want, k.timeout = 100*KiB, 10*time.Millisecond
					if n.Load()%2 == 0 {
						k.timeout = callTimeout
					}
					if o := c.do(k); o.status == http.StatusOK && o.err == nil && o.arrivals == 0 {
						t.Errorf("%v was answered, but never arrived", k)
					}
					if open := s.api.open.Load(); open > maxOpen {
						t.Errorf("the API has %d open connections, want at most %d", open, maxOpen)
					}
				}
			}
			measure := func() (uint64, int) {
				if !s.idle(s.api) {
					t.Errorf("the API has %d open connections, want 0", s.api.open.Load())
				}
				return heap(), len(goroutines())
			}
			for range warmUp {
				round()
			}
			heapBefore, before := measure()
			for range rounds {
				round()
			}
			heapAfter, _ := measure()
			if left := waitForGoroutines(before); left != "" {
				t.Errorf("after %d more rounds, %s", rounds, left)
			}
			if heapAfter > heapBefore+maxGrowth {
				t.Errorf("%d rounds made the heap grow from %d to %d bytes, want at most %d", rounds, heapBefore, heapAfter, heapBefore+maxGrowth)
			}
		})
	}
}

// TestDiscardedResponsesEnd: the contexts of these requests never end, so only the
// Transport can end the responses that it does not pass on.
func TestDiscardedResponsesEnd(t *testing.T) {
	t.Parallel()
	const rounds, maxOpen = 20, 4
	for _, w := range wires {
		for _, status := range []int{http.StatusServiceUnavailable, http.StatusUnauthorized} {
			t.Run(fmt.Sprintf("%s/%d", w.name, status), func(t *testing.T) {
				t.Parallel()
				s := newStack(t, w)
				c := s.newCaller()
				c.mustAnswer(call{lasting: true})
				var n atomic.Int64
				s.setAPIFront(func(w http.ResponseWriter, r *http.Request) {
					if n.Add(1)%2 == 0 {
						s.serveAuthorized(w, r)
						return
					}
					authsectest.Answer(status, strings.Repeat("x", 4*MiB)).ServeHTTP(w, r)
				})
				if status == http.StatusUnauthorized { // rejections cause only one fetch at once
					s.auth.Delegate(authsectest.ClientID, authsectest.Delegation{})
					c.mustAnswer(call{method: http.MethodPost, send: KiB, lasting: true})
					return
				}
				for range rounds {
					c.mustAnswer(call{lasting: true})
				}
				if !eventually(func() bool { return s.api.open.Load() <= maxOpen }) {
					t.Errorf("the API has %d open connections after %d requests, one at a time, want at most %d", s.api.open.Load(), rounds, maxOpen)
				}
			})
		}
	}
}

// TestEndlessBodyOfA503DelaysNoRetry: the retry does not wait for the end of a 503's body.
func TestEndlessBodyOfA503DelaysNoRetry(t *testing.T) {
	t.Parallel()
	for _, w := range wires {
		t.Run(w.name, func(t *testing.T) {
			t.Parallel()
			s := newStack(t, w)
			c := s.newCaller()
			var n atomic.Int64
			s.setAPIFront(func(w http.ResponseWriter, r *http.Request) {
				if n.Add(1)%2 == 0 {
					s.serveAuthorized(w, r)
					return
				}
				w.WriteHeader(http.StatusServiceUnavailable)
				if err := http.NewResponseController(w).Flush(); err != nil {
					t.Errorf("the API flushing: %v", err)
				}
				<-r.Context().Done()
			})
			for range 3 {
				c.mustAnswer(call{want: KiB, timeout: schedulingAllowance})
			}
		})
	}
}

// TestLargeBodiesTakeNoMemory: the Transport does not read large bodies into memory.
func TestLargeBodiesTakeNoMemory(t *testing.T) {
	const (
		size  = 32 * MiB
		limit = 16 * MiB // includes the garbage of 32 KiB buffers at both ends
	)
	for _, w := range wires {
		t.Run(w.name, func(t *testing.T) {
			s := newStack(t, w)
			c := s.newCaller()
			c.mustAnswer(call{})
			before := heap()
			var peak uint64
			stop, stopped := make(chan struct{}), make(chan struct{})
			go func() {
				defer close(stopped)
				var m runtime.MemStats
				for wait(stop, 10*time.Millisecond) {
					runtime.ReadMemStats(&m)
					peak = max(peak, m.HeapAlloc)
				}
			}()
			c.mustAnswer(call{method: http.MethodPut, send: size, want: size, timeout: 3 * callTimeout})
			close(stop)
			<-stopped
			if peak > before+limit {
				t.Errorf("sending and getting %d bytes made the heap grow from %d to %d bytes, want at most %d", size, before, peak, before+limit)
			}
		})
	}
}

// TestBodiesStream: each end waits for the other's first byte before it sends the rest.
func TestBodiesStream(t *testing.T) {
	t.Parallel()
	for _, w := range wires {
		t.Run(w.name, func(t *testing.T) {
			t.Parallel()
			s := newStack(t, w)
			c := s.newCaller()
			c.mustAnswer(call{})
			uploaded, downloaded := make(chan struct{}), make(chan struct{})
			s.setAPIFront(func(w http.ResponseWriter, r *http.Request) {
				first := make([]byte, 1)
				if _, err := io.ReadFull(r.Body, first); err != nil {
					t.Errorf("the API reading the first byte: %v", err)
				}
				close(uploaded)
				if _, err := io.Copy(io.Discard, r.Body); err != nil {
					t.Errorf("the API reading the rest: %v", err)
				}
				io.WriteString(w, "a")
				if err := http.NewResponseController(w).Flush(); err != nil {
					t.Errorf("the API flushing: %v", err)
				}
				select {
				case <-downloaded:
				case <-r.Context().Done():
				}
				io.WriteString(w, "b")
			})
			ctx, cancel := context.WithTimeout(context.Background(), callTimeout)
			defer cancel()
			body, upload := io.Pipe()
			go func() {
				io.WriteString(upload, "1")
				select {
				case <-uploaded:
					io.WriteString(upload, "2")
					upload.Close()
				case <-ctx.Done():
					upload.CloseWithError(errors.New("the API did not get the first byte before the second was sent"))
				}
			}()
			e := &entry{id: "stream", once: true, began: time.Now()}
			s.ledger.begin(e)
			req, err := http.NewRequestWithContext(context.WithValue(ctx, entryKey{}, e), http.MethodPost, w.url(c.api), body)
			if err != nil {
				t.Fatal(err)
			}
			req.Header.Set(headerID, e.id)
			resp, err := c.client.Do(req)
			if err != nil {
				t.Fatalf("got error %v, want an answer", err)
			}
			defer resp.Body.Close()
			first := make([]byte, 1)
			if _, err := io.ReadFull(resp.Body, first); err != nil {
				t.Fatalf("reading the first byte of the answer: %v", err)
			}
			close(downloaded)
			rest, err := io.ReadAll(resp.Body)
			if got := string(first) + string(rest); got != "ab" || err != nil {
				t.Errorf("got answer %q, error %v; want \"ab\", none", got, err)
			}
		})
	}
}
