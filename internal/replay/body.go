// Copyright 2026 The authsec Authors
// SPDX-License-Identifier: Apache-2.0

// Package replay makes request bodies that can be sent again, and frees the
// connections of responses that are not passed on.
package replay

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"reflect"
	"strings"

	"github.com/authsec-go/authsec/internal/flight"
)

// ErrNoBody says that there is no body for another attempt.
var ErrNoBody = errors.New("authsec: the request's body cannot be sent again")

// Body is the body of one round trip, through all its attempts. One goroutine
// uses it. Base's goroutines may use what it returns.
type Body struct {
	req      *http.Request
	buffer   int64
	attempts int           // calls of Next
	last     io.ReadCloser // the body that Next returned last; at first req.Body
	open     getBody       // opens a copy of a body that is in memory; nil: it is not in memory
	watch    *watch        // of the last attempt's body, if GetBody makes the next; or nil
}

type getBody = func() (io.ReadCloser, error)

// New returns the Body of req. A body without GetBody and of at most buffer bytes
// is read into memory. The caller calls Next or Close, so that req.Body is closed.
func New(req *http.Request, buffer int64) Body {
	return Body{req: req, buffer: buffer, last: req.Body}
}

// Next returns the Body and GetBody of the next attempt. Base closes the body. If
// the attempt is not sent, call Close.
//
// The first call may read the body into memory; its error is the body's or ctx's. A
// later call's error is an ErrNoBody. A later call waits until Base is done with the
// last body, within closePatience and ctx.
func (b *Body) Next(ctx context.Context) (body io.ReadCloser, get getBody, err error) {
	body, get = b.req.Body, b.req.GetBody
	b.attempts++
	switch first := b.attempts == 1; {
	case body == nil || body == http.NoBody:
	case first && get != nil:
		if b.open = inMemory(body); b.open == nil {
			b.watch = newWatch(get)
			body, get = b.watch.hand(body), b.watch.open
		}
	case first && b.fits():
		body, err = b.load(ctx)
		get = b.open
	case first: // the request's own, once
	case b.open != nil:
		get = b.open
		body, err = get()
	case b.watch != nil && b.Broken() == nil:
		body, err = b.again(ctx)
		get = b.watch.open
	default:
		body, err = nil, ErrNoBody
	}
	if b.last = body; err != nil {
		get = nil
	}
	return body, get, err
}

// fits reports whether the body may be read into memory. A request that expects 100
// Continue keeps its body until the server asks for it.
func (b *Body) fits() bool {
	n := b.req.ContentLength
	return n > 0 && n <= b.buffer && b.req.Header.Get("Expect") == ""
}

func (b *Body) load(ctx context.Context) (io.ReadCloser, error) {
	data, err := drain(ctx, b.req.Body, b.req.ContentLength+1)
	if err == nil && int64(len(data)) != b.req.ContentLength {
		err = fmt.Errorf("it does not have ContentLength, %d bytes", b.req.ContentLength)
	}
	if err != nil {
		return nil, fmt.Errorf("authsec: reading the request's body: %w", err)
	}
	b.open = reopen(*bytes.NewReader(data))
	return b.open()
}

// again calls GetBody, after Base has stopped using the last body.
func (b *Body) again(ctx context.Context) (io.ReadCloser, error) {
	if !b.watch.release(ctx) {
		return nil, fmt.Errorf("%w: it is still in use", ErrNoBody)
	}
	w := newWatch(b.req.GetBody)
	b.watch = w
	body, err := flight.Do(ctx, nil,
		func(context.Context) (io.ReadCloser, error) { return w.open() },
		func(late io.ReadCloser) { late.Close() })
	if err != nil {
		return nil, fmt.Errorf("%w: GetBody: %w", ErrNoBody, err)
	}
	return body, nil
}

// Changed reports whether the last attempt needs a copy of the request: its body
// is not the request's own, or the request was sent before.
func (b *Body) Changed() bool {
	return b.attempts > 1 || b.watch != nil || b.open != nil && b.req.GetBody == nil
}

// Broken returns the error that Base got from the body. Another attempt would fail
// as well.
func (b *Body) Broken() error {
	if b.watch == nil {
		return nil
	}
	b.watch.mu.Lock()
	defer b.watch.mu.Unlock()
	return b.watch.broken
}

// Close closes the body of a request or an attempt that is not sent. If the body's own
// Close hangs, it is left behind after closePatience.
func (b *Body) Close() {
	last := b.last
	b.last = nil
	if last == nil || last == http.NoBody {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), closePatience)
	defer cancel()
	flight.Do(ctx, nil, func(context.Context) (struct{}, error) { return struct{}{}, last.Close() }, nil)
}

var errPanicked = errors.New("authsec: the body panicked")

// quietly calls f, and returns an error if f panics.
func quietly(f func() error) (err error) {
	defer func() {
		if recover() != nil {
			err = errPanicked
		}
	}()
	return f()
}

// The types that io.NopCloser returns.
var (
	nopCloser         = reflect.TypeOf(io.NopCloser(nil))
	nopCloserWriterTo = reflect.TypeOf(io.NopCloser((*bytes.Reader)(nil)))
)

// inMemory returns a func that opens copies of a body, or nil if the body is not in
// memory. It knows the same types as net/http (isKnownInMemoryReader in transfer.go), which
// sends them together with the header.
func inMemory(body io.ReadCloser) getBody {
	if t := reflect.TypeOf(body); t != nopCloser && t != nopCloserWriterTo {
		return nil
	}
	switch r := reflect.ValueOf(body).Field(0).Interface().(type) {
	case *bytes.Reader:
		return reopen(*r)
	case *strings.Reader:
		return reopen(*r)
	case *bytes.Buffer:
		return reopen(*bytes.NewReader(r.Bytes()))
	}
	return nil
}

// reopen returns a func that opens copies of a reader in memory.
func reopen[R any, P interface {
	*R
	io.Reader
}](was R) getBody {
	return func() (io.ReadCloser, error) {
		r := was
		return io.NopCloser(P(&r)), nil
	}
}
