// Copyright 2026 The authsec Authors
// SPDX-License-Identifier: Apache-2.0

package replay

import (
	"bytes"
	"context"
	"io"
	"net/http"
	"sync/atomic"
	"time"

	"github.com/authsec-go/authsec/internal/flight"
)

const (
	drainBytes = 4 << 10                // that Discard reads
	holdBytes  = 64 << 10               // that Hold reads
	readTime   = 100 * time.Millisecond // that each of them waits
)

// Discard reads the rest of a response's body if it is short, so that its connection
// can be used again, and closes the body. It does not wait for a Read or Close that
// hangs.
func Discard(body io.ReadCloser) {
	if body == nil || body == http.NoBody {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), readTime)
	defer cancel()
	drain(ctx, body, drainBytes)
}

// drain reads up to limit bytes of a body and closes it once. After the end of ctx it
// does not wait for a Read or Close that hangs.
func drain(ctx context.Context, body io.ReadCloser, limit int64) ([]byte, error) {
	b := &once{ReadCloser: body}
	data, err := flight.Do(ctx, nil, func(context.Context) ([]byte, error) {
		defer b.Close()
		var data bytes.Buffer
		data.Grow(int(limit) + bytes.MinRead) // to be read at once
		if _, err := data.ReadFrom(io.LimitReader(b, limit)); err != nil {
			return nil, err
		}
		return data.Bytes(), b.Close() // net/http, too, fails a request if Close does
	}, nil)
	if err != nil {
		go b.Close() // ends the Read of a body from net/http
	}
	return data, err
}

// once is a body that is closed once. No call waits for another.
type once struct {
	io.ReadCloser
	closed atomic.Bool
}

func (o *once) Close() error {
	if o.closed.Swap(true) {
		return nil
	}
	return quietly(o.ReadCloser.Close)
}

// Hold reads a small response body into memory, so that its connection can be used
// while the response waits. resp.Body then reads as it would have. After readTime,
// or at the end of ctx, a Read that hangs goes on, and resp.Body waits for it.
func Hold(ctx context.Context, resp *http.Response) {
	_, upgraded := resp.Body.(io.Writer)
	if resp.Body == nil || resp.Body == http.NoBody || upgraded || resp.ContentLength > holdBytes || ctx.Err() != nil {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, readTime)
	defer cancel()
	h := &held{once: once{ReadCloser: resp.Body}, done: make(chan struct{})}
	resp.Body = h
	go func() {
		defer close(h.done)
		h.err = quietly(func() error {
			for buf := make([]byte, 4<<10); h.start.Len() < holdBytes && ctx.Err() == nil; {
				n, err := h.ReadCloser.Read(buf)
				h.start.Write(buf[:n])
				if err != nil {
					return err
				}
			}
			return nil
		})
	}()
	select {
	case <-h.done:
	case <-ctx.Done():
	}
}

// held is a body whose beginning a goroutine reads into memory.
type held struct {
	once
	done  chan struct{} // closed when the goroutine has ended
	start bytes.Buffer  // the goroutine's, then Read's
	err   error         // that follows start; nil: the rest of the body follows
}

func (h *held) Read(p []byte) (int, error) {
	<-h.done
	switch {
	case h.closed.Load():
		return 0, http.ErrBodyReadAfterClose
	case h.start.Len() > 0:
		return h.start.Read(p)
	case h.err != nil:
		return 0, h.err
	}
	return h.ReadCloser.Read(p)
}
