// Copyright 2026 The authsec Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"errors"
	"io"
	"net/http"
	"os"
	"sync"
	"time"
)

const (
	maxReplay = 64 << 10 // of a request's body that is kept so that it can be sent again
	atOnce    = 4 << 10  // of a body for which memory is taken before it comes

	bodyTimeout   = 30 * time.Second       // to read a body of at most maxReplay bytes
	pauseTimeout  = 2 * time.Minute        // between two parts of a longer body, until the answer begins
	unreadTimeout = 200 * time.Millisecond // to read what is left of a body that nobody needs
)

var (
	brokenBody = problem{http.StatusBadRequest, "broken_body", "send a whole and well-formed body: as long as Content-Length says, or in chunks that end with CRLF and a chunk of length 0"}
	slowBody   = problem{http.StatusRequestTimeout, "slow_body", "send the body sooner: at most 30 s for up to 64 KiB, with pauses of at most 2 minutes in longer ones"}
)

// body is a request's body. It notes how the body ended, and bounds the time that
// this takes. It keeps a short one, so that it can be sent again.
type body struct {
	io.ReadCloser
	control *http.ResponseController
	streams bool // HTTP/2: the deadlines are those of a stream, and not of a connection

	mu      sync.Mutex // guards what follows
	kept    []byte
	long    bool          // it is not kept
	free    bool          // the answer has begun: the program may pause as long as it likes
	left    bool          // the handler has returned
	reading bool          // a Read is under way
	ended   chan struct{} // gets a value when that Read ends, if the handler has returned
	fault   error         // how it ended: io.EOF if it was whole; nil: it has not ended
}

// take prepares the request's body: it waits for a short one, so that it can be sent
// again. A body of unknown length can be sent again once it was read to its end.
func take(w http.ResponseWriter, r *http.Request) (*body, *problem) {
	n := r.ContentLength
	if n == 0 {
		return nil, nil
	}
	b := &body{ReadCloser: r.Body, control: http.NewResponseController(w), streams: r.ProtoMajor >= 2, long: n > maxReplay, ended: make(chan struct{}, 1)}
	if n < 0 || n > maxReplay {
		if r.Body = b; n < 0 {
			r.GetBody = b.again
		}
		return b, nil
	}
	b.deadline(time.Now().Add(bodyTimeout))
	buf := bytes.NewBuffer(make([]byte, 0, min(n, atOnce)))
	_, err := io.CopyN(buf, r.Body, n)
	b.deadline(time.Time{})
	if err != nil {
		b.fault = err
		return b, b.problem()
	}
	b.fault = io.EOF
	r.GetBody = func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(buf.Bytes())), nil }
	r.Body, _ = r.GetBody()
	return b, nil
}

func (b *body) deadline(t time.Time) {
	b.control.SetReadDeadline(t) // fails only in tests, and then there is none
}

func (b *body) Read(p []byte) (int, error) {
	b.mu.Lock()
	if b.left {
		b.mu.Unlock()
		return 0, http.ErrBodyReadAfterClose
	}
	if !b.free {
		b.deadline(time.Now().Add(pauseTimeout))
	}
	b.reading = true
	b.mu.Unlock()
	n, err := b.ReadCloser.Read(p)
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.reading = false; b.left {
		b.ended <- struct{}{}
	}
	if b.long = b.long || len(b.kept)+n > maxReplay; b.long {
		b.kept = nil
	} else {
		b.kept = append(b.kept, p[:n]...)
	}
	if err != nil && b.fault == nil {
		if b.fault = err; !b.left {
			// A time-out of the connection would end the request.
			b.deadline(time.Time{})
		}
	}
	return n, err
}

// again is the request's GetBody.
func (b *body) again() (io.ReadCloser, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.long || b.fault != io.EOF {
		return nil, errors.New("the body was not kept")
	}
	return io.NopCloser(bytes.NewReader(b.kept)), nil
}

// whole reports whether all of the body came. A nil body is whole.
func (b *body) whole() bool {
	if b == nil {
		return true
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.fault == io.EOF
}

// problem says what is wrong with the body; nil: nothing, so far.
func (b *body) problem() *problem {
	if b == nil {
		return nil
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	switch {
	case b.fault == nil || b.fault == io.EOF:
		return nil
	case errors.Is(b.fault, os.ErrDeadlineExceeded):
		return &slowBody
	}
	return &brokenBody
}

// release ends the time limit, because the answer begins.
func (b *body) release() {
	if b == nil {
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if !b.free && b.fault == nil {
		b.deadline(time.Time{})
	}
	b.free = true
}

// leave ends the use of the body. With HTTP/1.1, net/http reads what is left of it, for
// a short time. From a stream of HTTP/2 it reads nothing.
func (b *body) leave() {
	if b == nil {
		return
	}
	b.mu.Lock()
	b.left = true
	reading, limit := b.reading, b.fault != io.EOF && !b.streams
	b.mu.Unlock()
	if !limit {
		return
	}
	if reading { // net/http would end this Read, and clear the deadline after it
		b.deadline(time.Unix(1, 0))
		<-b.ended
	}
	b.deadline(time.Now().Add(unreadTimeout))
}

// forgo is called before an answer to a request whose body may not have been read.
// The answer does not wait for the body, and nothing that comes after the answer is
// read as a request.
func forgo(w http.ResponseWriter, r *http.Request) {
	if r.ContentLength == 0 || r.ProtoMajor >= 2 {
		return
	}
	control := http.NewResponseController(w)
	control.EnableFullDuplex()
	control.SetReadDeadline(time.Now().Add(unreadTimeout))
	w.Header().Set("Connection", "close")
}
