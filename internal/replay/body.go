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
	attempts int // calls of Next
	kind     kind
	last     io.ReadCloser // what Next returned last; before, req.Body
	memory   memory        // if kind is inMemory
	watch    *watch        // if kind is watched; of the last attempt
	broken   error         // if kind is another
}

type kind int

const (
	none     kind = iota // the request has no body, or Next was not called
	streamed             // the request's own body, once
	partial              // the same, but its beginning is in memory already
	inMemory
	watched // GetBody makes it
)

// New returns the Body of req. A body without GetBody and of at most buffer bytes
// is read into memory. The caller calls Next or Close, so that req.Body is closed.
func New(req *http.Request, buffer int64) Body {
	return Body{req: req, buffer: buffer, last: req.Body}
}

// Next returns the Body and GetBody of the next attempt. Base closes the body. If
// the attempt is not sent, Close does.
//
// The first call's error is the body's own or ctx's, from reading it into memory.
// A later call's error is an ErrNoBody. A later call waits until Base is done with
// the body before, within closePatience and ctx.
func (b *Body) Next(ctx context.Context) (body io.ReadCloser, getBody func() (io.ReadCloser, error), err error) {
	possible := b.Replayable()
	b.attempts++
	b.last = nil
	switch {
	case !possible:
		return nil, nil, ErrNoBody
	case b.attempts == 1:
		b.last, getBody, err = b.first(ctx)
	case b.kind == inMemory:
		b.last, getBody = b.memory.open(), b.memory.getBody()
	case b.kind == watched:
		b.last, getBody, err = b.again(ctx)
	default:
		b.last, getBody = b.req.Body, b.req.GetBody
	}
	return b.last, getBody, err
}

func (b *Body) first(ctx context.Context) (io.ReadCloser, func() (io.ReadCloser, error), error) {
	req := b.req
	if req.Body == nil || req.Body == http.NoBody {
		return req.Body, req.GetBody, nil
	}
	// A request that expects 100 Continue keeps its body until the server asks for it.
	fits := req.ContentLength > 0 && req.ContentLength <= b.buffer && req.Header.Get("Expect") == ""
	m, known := inspect(req.Body)
	switch {
	case known && req.ContentLength > 0 && m.len() != req.ContentLength:
		b.broken = lengthError(req.ContentLength)
	case known && (fits || req.GetBody != nil):
		io.Copy(io.Discard, req.Body) // Base would have read it
		req.Body.Close()
		b.kind, b.memory = inMemory, m
		if req.GetBody == nil {
			return m.open(), m.getBody(), nil
		}
		// Base may call GetBody as ever. Later attempts share nothing with it.
		return m.open(), req.GetBody, nil
	case !known && req.GetBody != nil:
		body, getBody := b.follow(req.Body)
		return body, getBody, nil
	case !known && fits:
		return b.load(ctx)
	}
	b.kind = streamed
	return req.Body, req.GetBody, nil
}

// load reads the body into memory. Base gets a body that is not as long as
// ContentLength as it came, and reports that itself.
func (b *Body) load(ctx context.Context) (io.ReadCloser, func() (io.ReadCloser, error), error) {
	b.kind = partial
	length := b.req.ContentLength
	a, ok := readAhead(ctx, b.req.Body, length+1, func(a *ahead) {
		if a.err == nil || a.err == io.EOF && int64(len(a.buf)) < length {
			return
		}
		if err := a.Close(); err != nil && a.err == io.EOF {
			a.err = err // net/http's request fails for it, too
		}
	})
	switch {
	case !ok:
		go a.Close()
		return nil, nil, fmt.Errorf("authsec: reading the request's body: %w", ctx.Err())
	case a.err != nil && a.err != io.EOF:
		b.broken = fmt.Errorf("authsec: reading the request's body: %w", a.err)
		return nil, nil, b.broken
	case int64(len(a.buf)) != length:
		b.broken = lengthError(length)
		return a, nil, nil
	}
	b.kind = inMemory
	b.memory.bytes.Reset(a.buf)
	return b.memory.open(), b.memory.getBody(), nil
}

// again calls GetBody, once Base does not use the body before.
func (b *Body) again(ctx context.Context) (io.ReadCloser, func() (io.ReadCloser, error), error) {
	if !b.watch.release(ctx) {
		return nil, nil, fmt.Errorf("%w: it is still in use", ErrNoBody)
	}
	get := b.req.GetBody
	next, err := flight.Do(ctx, nil,
		func(context.Context) (io.ReadCloser, error) { return call(get) },
		func(late io.ReadCloser) { late.Close() })
	if err != nil {
		return nil, nil, fmt.Errorf("%w: GetBody: %w", ErrNoBody, err)
	}
	body, getBody := b.follow(next)
	return body, getBody, nil
}

func (b *Body) follow(body io.ReadCloser) (io.ReadCloser, func() (io.ReadCloser, error)) {
	b.kind = watched
	b.watch = &watch{getBody: b.req.GetBody, length: b.req.ContentLength, ended: make(chan struct{}, 1)}
	return b.watch.hand(body), b.watch.open
}

// Changed reports whether the last attempt needs a copy of the request: its body
// is not the request's own, or the request was sent before.
func (b *Body) Changed() bool { return b.attempts > 1 || b.kind >= partial }

// Replayable reports whether Next can return a body, as far as is known.
func (b *Body) Replayable() bool {
	return b.kind == none || b.kind >= inMemory && b.Broken() == nil
}

// Broken returns the body's own error, or that its length is not ContentLength.
// Another attempt would fail as well.
func (b *Body) Broken() error {
	if b.watch == nil {
		return b.broken
	}
	b.watch.mu.Lock()
	defer b.watch.mu.Unlock()
	return b.watch.broken
}

// Close closes the body of a request, or of an attempt, that is not sent.
func (b *Body) Close() {
	if b.last != nil {
		quietly(b.last.Close)
		b.last = nil
	}
}

func lengthError(n int64) error {
	return fmt.Errorf("authsec: the request's body does not have ContentLength, %d bytes", n)
}

// call calls getBody. A panic and no body are errors.
func call(getBody func() (io.ReadCloser, error)) (body io.ReadCloser, err error) {
	err = quietly(func() (err error) { body, err = getBody(); return err })
	if err == nil && body == nil {
		err = errors.New("it returned nothing")
	}
	return body, err
}

var errPanicked = errors.New("authsec: the body panicked")

// quietly calls f, whose panic is an error.
func quietly(f func() error) (err error) {
	defer func() {
		if recover() != nil {
			err = errPanicked
		}
	}()
	return f()
}

// memory is a body in memory, in one of two readers. They are not read from: each
// attempt reads a copy. A closure holds up to 128 bytes without another allocation.
type memory struct {
	bytes bytes.Reader
	text  strings.Reader
}

func (m *memory) len() int64 { return int64(m.bytes.Len() + m.text.Len()) }

// open returns a body of a type that net/http writes together with the header.
func (m *memory) open() io.ReadCloser {
	if m.text.Len() > 0 {
		r := m.text
		return io.NopCloser(&r)
	}
	r := m.bytes
	return io.NopCloser(&r)
}

func (m memory) getBody() func() (io.ReadCloser, error) {
	return func() (io.ReadCloser, error) { return m.open(), nil }
}

// The types that io.NopCloser returns.
var (
	nopCloser         = reflect.TypeOf(io.NopCloser(nil))
	nopCloserWriterTo = reflect.TypeOf(io.NopCloser((*bytes.Reader)(nil)))
)

// inspect returns what is left of a body in memory. It knows the same types as
// net/http (isKnownInMemoryReader in transfer.go).
func inspect(body io.ReadCloser) (m memory, known bool) {
	if t := reflect.TypeOf(body); t != nopCloser && t != nopCloserWriterTo {
		return m, false
	}
	switch r := reflect.ValueOf(body).Field(0).Interface().(type) {
	case *bytes.Reader:
		m.bytes = *r
	case *bytes.Buffer:
		m.bytes.Reset(r.Bytes())
	case *strings.Reader:
		m.text = *r
	default:
		return m, false
	}
	return m, true
}
