// Copyright 2026 The authsec Authors
// SPDX-License-Identifier: Apache-2.0

package mcp

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"net/http"
	"time"

	"github.com/authsec-go/authsec/cmd/authsec/internal/answers"
)

const (
	firstWait  = time.Second            // before a broken stream is opened again; it grows
	leastWait  = 100 * time.Millisecond // whatever the server asks for
	longestGap = 30 * time.Second
	maxResumes = 5 // of a response's stream, without a new message
)

var (
	errBrokeOff   = fault("the answer broke off")
	errNoSSE      = fault("the server offers no stream")
	errSessionEnd = fault("the session has ended at the server")
)

// newRequest returns a request of a session. It has no body if m is nil.
func (b *bridge) newRequest(ctx context.Context, method string, s session, m *message) (*http.Request, error) {
	var body io.Reader
	if m != nil {
		body = bytes.NewReader(m.raw)
	}
	req, err := http.NewRequestWithContext(ctx, method, b.url, body)
	if err != nil {
		return nil, err
	}
	if m != nil {
		req.Header.Set("Content-Type", "application/json")
		req.Header.Set("Accept", "application/json, text/event-stream")
	}
	if m != nil && m.metaVersion() != "" {
		for name, values := range mirrored(*m, b.tools.of(*m)) {
			req.Header[name] = values
		}
		return req, nil
	}
	if s.id != "" {
		req.Header.Set(headerSession, s.id)
	}
	if s.version != "" && fitsHeader(s.version) {
		req.Header.Set(headerVersion, s.version)
	}
	return req, nil
}

// post sends a message.
func (b *bridge) post(ctx context.Context, m message, s session) (*http.Response, error) {
	req, err := b.newRequest(ctx, http.MethodPost, s, &m)
	if err != nil {
		return nil, err
	}
	return b.client.Do(req)
}

// open opens the session's stream of the server's messages, or the stream that the
// event with the ID last was in.
func (b *bridge) open(ctx context.Context, s session, last string) (*http.Response, error) {
	req, err := b.newRequest(ctx, http.MethodGet, s, nil)
	if err != nil {
		return nil, err
	}
	req.Header.Set("Accept", "text/event-stream")
	if last != "" {
		req.Header.Set(headerLastID, last)
	}
	resp, err := b.client.Do(req)
	if err != nil {
		return nil, err
	}
	switch code := resp.StatusCode; {
	case code/100 == 2 && contentType(resp) == "text/event-stream":
		return resp, nil
	case code == http.StatusNotFound && s.id != "":
		err = errSessionEnd
	case code == http.StatusUnauthorized || code == http.StatusForbidden || code == http.StatusTooManyRequests || code >= 500:
		err = fault("the server answered " + answers.Status(resp.StatusCode))
	default:
		err = errNoSSE
	}
	resp.Body.Close()
	return nil, err
}

// backoff returns the wait before the next of some attempts, and is random.
func backoff(attempt int, asked time.Duration) time.Duration {
	if asked > 0 && attempt == 0 {
		return min(max(asked, leastWait), longestGap)
	}
	wait := min(firstWait<<min(attempt, 10), longestGap)
	return wait/2 + rand.N(wait)
}

// pause waits. It returns false if ctx ends first.
func pause(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// messages calls each with the messages of a stream until it ends.
func messages(body io.ReadCloser, e *eventReader, each func([]byte)) (n int, err error) {
	defer body.Close()
	defer e.memory.giveBack(0)
	e.r, e.limit, e.after = bufio.NewReader(body), maxMessage, false
	for {
		ev, err := e.next()
		if err != nil {
			return n, err
		}
		if len(ev.data) > 0 && (ev.name == "" || ev.name == "message") {
			n++
			each(ev.data)
		}
		e.memory.giveBack(0)
	}
}

// follow passes on the stream of a response. If it breaks off before the response
// and can be resumed, it is.
func (x *exchange) follow(ctx context.Context, resp *http.Response, s session) error {
	e := eventReader{memory: holding{all: &x.b.held}}
	for attempt := 0; ; {
		before := e.lastID
		_, err := messages(resp.Body, &e, func(data []byte) { x.deliver(data, s) })
		switch {
		case err == errEventTooLong || err == errTooMuch:
			return err
		case len(x.remaining()) == 0 || x.isGiven() || ctx.Err() != nil:
			return nil
		case e.lastID == "" || x.modern:
			return errBrokeOff
		case e.lastID != before:
			attempt = 0
		}
		for resp = nil; resp == nil; attempt++ {
			if attempt >= maxResumes {
				return errBrokeOff
			}
			if !pause(ctx, backoff(attempt, e.retry)) {
				return nil
			}
			resp, err = x.b.open(ctx, s, e.lastID)
			if errors.Is(err, errNoSSE) || errors.Is(err, errSessionEnd) {
				return errBrokeOff
			}
		}
	}
}

// startWatch passes on the messages that the server sends by itself. It opens their
// stream again whenever it ends, until the session does.
func (b *bridge) startWatch(ctx context.Context, s session) {
	if s.version == "" {
		return
	}
	ctx, cancel := context.WithCancel(ctx)
	b.mu.Lock()
	if b.stopWatch != nil || b.session != s {
		b.mu.Unlock()
		cancel()
		return
	}
	b.stopWatch = cancel
	b.mu.Unlock()
	go func() {
		defer cancel()
		e := eventReader{memory: holding{all: &b.held}}
		for attempt := 0; ; attempt++ {
			resp, err := b.open(ctx, s, e.lastID)
			if errors.Is(err, errNoSSE) || errors.Is(err, errSessionEnd) {
				return
			}
			if err == nil {
				var n int
				began := time.Now()
				if n, err = messages(resp.Body, &e, b.pass); n > 0 || time.Since(began) >= longestGap {
					attempt = 0
				}
			}
			// A server may end a stream that is idle: io.EOF is no failure.
			if attempt == 1 && err != io.EOF && ctx.Err() == nil {
				b.log.Warn("the stream of the MCP server's messages is interrupted, and will be opened again", "error", b.explain(err).Message)
			}
			if !pause(ctx, backoff(attempt, e.retry)) {
				return
			}
		}
	}()
}

// pass passes on a message that belongs to no exchange.
func (b *bridge) pass(data []byte) {
	m, ok := b.read(data)
	if !ok {
		return
	}
	b.out.write(bytes.TrimSpace(data))
	for _, a := range m.responses() {
		b.settle(a.id)
	}
}
