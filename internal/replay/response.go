// Copyright 2026 The authsec Authors
// SPDX-License-Identifier: Apache-2.0

package replay

import (
	"context"
	"io"
	"net/http"
	"sync/atomic"
	"time"
)

const (
	drainBytes = 4 << 10                // that Discard reads
	holdBytes  = 64 << 10               // that Hold reads
	readTime   = 100 * time.Millisecond // for which either waits
)

// Discard reads what little is left of a response's body, so that its connection
// can be used again, and closes it. It leaves a Read or Close that hangs behind.
func Discard(body io.ReadCloser) {
	if body == nil || body == http.NoBody {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), readTime)
	defer cancel()
	if a, ok := readAhead(ctx, body, drainBytes, func(a *ahead) { a.Close() }); !ok {
		go a.Close() // ends the Read of a body from net/http
	}
}

// Hold reads a small response body into memory, so that its connection can be used
// while the response waits. resp.Body then reads as it would have. After readTime,
// or at the end of ctx, a Read that hangs goes on, and resp.Body waits for it.
func Hold(ctx context.Context, resp *http.Response) {
	if resp.Body == nil || resp.Body == http.NoBody || resp.ContentLength > holdBytes || ctx.Err() != nil {
		return
	}
	if _, upgraded := resp.Body.(io.Writer); upgraded {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, readTime)
	defer cancel()
	resp.Body, _ = readAhead(ctx, resp.Body, holdBytes+1, func(*ahead) {})
}

// ahead is a body whose beginning a goroutine reads into memory. It reads like the
// body, and waits for that goroutine.
type ahead struct {
	body   io.ReadCloser
	once   atomic.Bool   // Close was called
	closed chan struct{} // likewise
	done   chan struct{} // the goroutine has ended
	buf    []byte        // the goroutine's, then Read's
	err    error         // that follows buf; nil: the rest of body does
}

// readAhead reads up to limit bytes and calls then. It returns at the end of ctx
// at the latest, with false. A Read that is under way then goes on.
func readAhead(ctx context.Context, body io.ReadCloser, limit int64, then func(*ahead)) (*ahead, bool) {
	a := &ahead{body: body, closed: make(chan struct{}), done: make(chan struct{}), err: errPanicked}
	a.buf = make([]byte, 0, min(limit, 4<<10))
	go func() {
		defer close(a.done)
		defer then(a)
		defer func() { recover() }()
		a.err = a.fill(ctx, limit)
	}()
	select {
	case <-a.done:
	case <-ctx.Done():
	}
	return a, ctx.Err() == nil
}

func (a *ahead) fill(ctx context.Context, limit int64) error {
	for int64(len(a.buf)) < limit && ctx.Err() == nil {
		if len(a.buf) == cap(a.buf) {
			a.buf = append(a.buf, 0)[:len(a.buf)]
		}
		n, err := a.body.Read(a.buf[len(a.buf):min(int64(cap(a.buf)), limit)])
		a.buf = a.buf[:len(a.buf)+n]
		if err != nil {
			return err
		}
	}
	return nil
}

func (a *ahead) Read(p []byte) (int, error) {
	select {
	case <-a.done:
	case <-a.closed:
	}
	select {
	case <-a.closed:
		return 0, http.ErrBodyReadAfterClose
	default:
	}
	switch {
	case len(a.buf) > 0:
		n := copy(p, a.buf)
		a.buf = a.buf[n:]
		return n, nil
	case a.err != nil:
		return 0, a.err
	}
	return a.body.Read(p)
}

// Close closes the body once. Another call does not wait for the first.
func (a *ahead) Close() error {
	if a.once.Swap(true) {
		return nil
	}
	close(a.closed)
	return quietly(a.body.Close)
}
