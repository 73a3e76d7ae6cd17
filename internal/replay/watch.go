// Copyright 2026 The authsec Authors
// SPDX-License-Identifier: Apache-2.0

package replay

import (
	"context"
	"io"
	"net/http"
	"slices"
	"sync"
	"time"
)

// closePatience bounds each of three waits: until Base closes the body, until its
// last Read returns, and until our own Close does. net/http's HTTP/2 forgets to
// close a body when a GOAWAY comes.
const closePatience = 100 * time.Millisecond

// watch follows the bodies that Base has for one attempt: the one it was given and
// those it got through GetBody. GetBody may rewind one shared body, so it is not
// called for another attempt while Base may use one of them. Base may read a body
// after its response; net/http's HTTP/2 even does so after Close.
type watch struct {
	getBody func() (io.ReadCloser, error)
	length  int64         // the request's ContentLength; 0 or less: unknown
	ended   chan struct{} // has a value after a call has ended

	mu     sync.Mutex // guards what follows and the bodies; not held during a call
	bodies []*body
	calls  int   // of Read, Close and GetBody that have not returned
	taken  bool  // Base gets nothing more
	broken error // what Body.Broken returns
}

// hand returns a watched body for Base. net/http looks for NoBody, which stays.
func (w *watch) hand(from io.ReadCloser) io.ReadCloser {
	if from == http.NoBody {
		return from
	}
	b := &body{watch: w, from: from}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.bodies = append(w.bodies, b)
	return b
}

// open is a GetBody for Base.
func (w *watch) open() (io.ReadCloser, error) {
	if !w.begin(func() bool { return !w.taken }) {
		return nil, ErrNoBody
	}
	defer w.end(func() {})
	from, err := call(w.getBody)
	if err != nil {
		return nil, err
	}
	return w.hand(from), nil
}

// begin counts a call, if it is allowed.
func (w *watch) begin(allowed func() bool) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	ok := allowed()
	if ok {
		w.calls++
	}
	return ok
}

// end records what came of a call.
func (w *watch) end(record func()) {
	w.mu.Lock()
	defer w.mu.Unlock()
	record()
	w.calls--
	select {
	case w.ended <- struct{}{}:
	default:
	}
}

// release waits until Base is done with all bodies, and then takes from it those
// that it has not closed. Base keeps them if a Read hangs. It reports success.
func (w *watch) release(ctx context.Context) bool {
	done := func() bool {
		open := slices.ContainsFunc(w.bodies, func(b *body) bool { return !b.closed })
		w.taken = w.taken || w.calls == 0 && !open
		return w.calls == 0 && !open
	}
	if w.wait(ctx, done) {
		return true
	}
	if ctx.Err() != nil || !w.wait(ctx, func() bool { w.taken = true; return w.calls == 0 }) {
		w.mu.Lock()
		w.taken = false
		w.mu.Unlock()
		return false
	}
	for _, b := range w.bodies {
		go quietly(b.Close)
	}
	return w.wait(ctx, done)
}

// wait waits until done, but no longer than closePatience and ctx.
func (w *watch) wait(ctx context.Context, done func() bool) bool {
	ctx, cancel := context.WithTimeout(ctx, closePatience)
	defer cancel()
	for {
		w.mu.Lock()
		ok := done()
		w.mu.Unlock()
		if ok {
			return true
		}
		select {
		case <-w.ended:
		case <-ctx.Done():
			return false
		}
	}
}

// body is a body that Base has.
type body struct {
	watch  *watch
	from   io.ReadCloser
	read   int64 // bytes
	closed bool  // Close was called, and may not have returned
}

func (b *body) Read(p []byte) (n int, err error) {
	w := b.watch
	if !w.begin(func() bool { return !b.closed && !w.taken }) {
		return 0, http.ErrBodyReadAfterClose
	}
	defer w.end(func() {
		b.read += int64(n)
		switch {
		case b.closed || w.broken != nil: // a Close may break the Read
		case err != nil && err != io.EOF:
			w.broken = err
		case w.length > 0 && (b.read > w.length || err == io.EOF && b.read < w.length):
			w.broken = lengthError(w.length)
		}
	})
	return b.from.Read(p)
}

// Close closes the body once, whoever calls it.
func (b *body) Close() error {
	w := b.watch
	if !w.begin(func() bool { first := !b.closed; b.closed = true; return first }) {
		return nil
	}
	defer w.end(func() {})
	return b.from.Close()
}
