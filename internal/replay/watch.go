// Copyright 2026 The authsec Authors
// SPDX-License-Identifier: Apache-2.0

package replay

import (
	"context"
	"errors"
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
	getBody getBody
	ended   chan struct{} // has a value after a call has ended

	mu     sync.Mutex // guards what follows and the bodies; not held during a call
	bodies []*body
	calls  int   // of Read, Close and GetBody that have not returned
	taken  bool  // Base gets nothing more
	broken error // what Body.Broken returns
}

func newWatch(get getBody) *watch { return &watch{getBody: get, ended: make(chan struct{}, 1)} }

// hand returns a watched body for Base.
func (w *watch) hand(from io.ReadCloser) io.ReadCloser {
	b := &body{watch: w, from: from}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.bodies = append(w.bodies, b)
	return b
}

// open is a GetBody for Base. A panic and no body are errors.
func (w *watch) open() (body io.ReadCloser, err error) {
	if !w.begin(func() bool { return !w.taken }) {
		return nil, ErrNoBody
	}
	defer w.end()
	err = quietly(func() (err error) { body, err = w.getBody(); return err })
	if err == nil && body == nil {
		err = errors.New("it returned nothing")
	}
	if err != nil {
		return nil, err
	}
	return w.hand(body), nil
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

func (w *watch) end() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.calls--
	select {
	case w.ended <- struct{}{}:
	default:
	}
}

// release waits until Base is done with all bodies, and then takes from Base those
// that it has not closed. If a Read hangs, Base keeps them, and release returns false.
func (w *watch) release(ctx context.Context) bool {
	idle := func() bool { return w.calls == 0 }
	closed := func() bool {
		return idle() && !slices.ContainsFunc(w.bodies, func(b *body) bool { return !b.closed })
	}
	if w.wait(ctx, closed) {
		return true
	}
	if !w.wait(ctx, func() bool { w.taken = true; return idle() }) {
		w.mu.Lock()
		w.taken = false
		w.mu.Unlock()
		return false
	}
	for _, b := range w.bodies {
		go quietly(b.Close)
	}
	return w.wait(ctx, closed)
}

// wait waits until done, and then takes the bodies from Base. It waits no longer
// than closePatience and ctx.
func (w *watch) wait(ctx context.Context, done func() bool) bool {
	ctx, cancel := context.WithTimeout(ctx, closePatience)
	defer cancel()
	for ctx.Err() == nil {
		w.mu.Lock()
		ok := done()
		w.taken = w.taken || ok
		w.mu.Unlock()
		if ok {
			return true
		}
		select {
		case <-w.ended:
		case <-ctx.Done():
		}
	}
	return false
}

// body is a body that Base has.
type body struct {
	watch  *watch
	from   io.ReadCloser
	closed bool // Close was called, and may not have returned
}

func (b *body) Read(p []byte) (int, error) {
	w := b.watch
	if !w.begin(func() bool { return !b.closed && !w.taken }) {
		return 0, http.ErrBodyReadAfterClose
	}
	defer w.end()
	n, err := b.from.Read(p)
	if err != nil && err != io.EOF {
		w.mu.Lock()
		defer w.mu.Unlock()
		if !b.closed { // a Close may break the Read
			w.broken = err
		}
	}
	return n, err
}

// Close closes the body once, whoever calls it.
func (b *body) Close() error {
	w := b.watch
	if !w.begin(func() bool { first := !b.closed; b.closed = true; return first }) {
		return nil
	}
	defer w.end()
	return b.from.Close()
}
