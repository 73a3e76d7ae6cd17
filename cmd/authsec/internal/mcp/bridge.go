// Copyright 2026 The authsec Authors
// SPDX-License-Identifier: Apache-2.0

package mcp

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/authsec-go/authsec"
)

// The longest waits before the next message is sent. The host's messages come in
// an order, and requests over HTTP may overtake each other.
const (
	greetingTime     = 30 * time.Second // for the response to initialize
	notificationTime = 5 * time.Second  // until the server has accepted a notification
)

// bridge carries the messages of a host on standard input and output to an MCP
// server on streamable HTTP, and back. It passes on their bytes, and reads in them
// only what HTTP needs. go-sdk's typed sessions would read and write all messages
// anew, and end at the first rejected token.
type bridge struct {
	url, host string
	client    *http.Client
	source    *authsec.Source
	out       *lineWriter
	log       *slog.Logger
	linger    time.Duration
	tools     toolHeaders
	watch     func(session)       // passes on what the server sends by itself in a session
	replace   func(session) error // begins another session in place of a lost one

	// calls are requests without a response, but not those that never end.
	calls   sync.WaitGroup
	held    memory       // for the server's messages that are not passed on yet
	garbage atomic.Int64 // how much the server sent that is not a message

	mu        sync.Mutex // guards what follows
	session   session
	greeting  message              // the host's initialize
	greeted   message              // and its notifications/initialized
	stopWatch context.CancelFunc   // ends the stream of the server's messages; may be nil
	inFlight  map[string]*exchange // by the request's ID
	revival   *revival             // of the session, if it is under way
	asked     int                  // how many requests of the bridge's own there were
}

// session is what the server answered to initialize. It is not changed. The revision
// 2026-07-28 has none: then it is empty.
type session struct {
	id      string
	version string
}

func (b *bridge) current() session {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.session
}

// run carries messages until the input ends or ctx does. Then it deletes the
// session.
func (b *bridge) run(ctx context.Context, in io.Reader) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	b.out.failed = func(err error) { cancel(fmt.Errorf("standard output can't be written: %w", err)) }
	b.watch = func(s session) { b.startWatch(ctx, s) }
	b.replace = func(lost session) error { return b.beginAgain(ctx, lost) }
	lines := readLines(in, maxMessage, ctx.Done())
	var end error
	for end == nil {
		select {
		case <-ctx.Done():
			end = context.Cause(ctx)
		case l := <-lines:
			switch {
			case l.err != nil:
				end = l.err
			case l.long != nil:
				b.tooLong(l.long)
			default:
				b.take(ctx, l.text)
			}
		}
	}
	if errors.Is(end, io.EOF) {
		b.wait(ctx)
	}
	cancel(nil)
	b.delete()
	if errors.Is(end, io.EOF) || errors.Is(end, context.Canceled) {
		return nil
	}
	return end
}

// wait waits for calls in flight, for the time of linger.
func (b *bridge) wait(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, b.linger)
	defer cancel()
	done := make(chan struct{})
	go func() {
		b.calls.Wait()
		close(done)
	}()
	select {
	case <-done:
	case <-ctx.Done():
	}
}

// delete ends the session at the server.
func (b *bridge) delete() {
	s := b.current()
	if s.id == "" {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), closing)
	defer cancel()
	req, err := b.newRequest(ctx, http.MethodDelete, s, nil)
	if err != nil {
		return
	}
	resp, err := b.client.Do(req)
	if err != nil {
		b.log.Warn("the session was not deleted", "error", b.explain(err).Message)
		return
	}
	resp.Body.Close()
}

func (b *bridge) tooLong(o *outline) {
	if answer := o.tooLong(maxMessage); answer != nil {
		b.out.write(answer)
		return
	}
	b.log.Warn("a message of the host was too long, and was not sent", "kind", o.kind(), "method", o.method)
}

// take sends the message that is in a line.
func (b *bridge) take(ctx context.Context, raw []byte) {
	m, bad := parse(raw)
	if bad != nil {
		b.out.write(bad.encode(bad.id))
		return
	}
	if id := m.cancels(); id != nil && b.cancel(id) {
		return
	}
	x := b.begin(ctx, m)
	switch {
	case m.method == methodInitialize:
		await(ctx, x.answered, greetingTime)
	case m.kind == notification:
		await(ctx, x.answered, notificationTime)
	}
}

// await waits until c is closed.
func await(ctx context.Context, c <-chan struct{}, most time.Duration) {
	timer := time.NewTimer(most)
	defer timer.Stop()
	select {
	case <-c:
	case <-timer.C:
	case <-ctx.Done():
	}
}

// cancel cancels a request in flight. It reports whether nothing is left to send: since
// the revision 2026-07-28, the end of the HTTP request tells the server, and
// notifications/cancelled is not sent.
func (b *bridge) cancel(id json.RawMessage) bool {
	b.mu.Lock()
	x, legacy := b.inFlight[idKey(id)], b.session.version != ""
	b.mu.Unlock()
	switch {
	case x == nil:
		return !legacy
	case x.m.kind == batch: // its other requests go on
		x.settle(id)
		return false
	}
	x.giveUp()
	return x.modern
}

// begin sends m, in the background.
func (b *bridge) begin(ctx context.Context, m message) *exchange {
	var cancel context.CancelFunc
	if len(m.requests()) > 0 {
		ctx, cancel = context.WithCancel(ctx)
	} else { // the server has nothing to do but to accept it
		ctx, cancel = context.WithTimeout(ctx, lateTime)
	}
	x := &exchange{
		b: b, m: m, modern: m.kind == request && m.metaVersion() != "", stop: cancel,
		open: make(map[string]json.RawMessage), answered: make(chan struct{}),
	}
	b.mu.Lock()
	switch m.method {
	case methodInitialize:
		b.greeting, b.session = m, session{}
	case methodInitialized:
		b.greeted = m
	}
	for _, r := range m.requests() {
		x.open[idKey(r.id)] = r.id
		b.inFlight[idKey(r.id)] = x
	}
	b.mu.Unlock()
	if counts := m.method != methodListen; counts {
		b.calls.Add(1)
		go func() {
			<-x.answered
			b.calls.Done()
		}()
	}
	go func() {
		defer cancel()
		x.run(ctx)
		x.end()
	}()
	return x
}
