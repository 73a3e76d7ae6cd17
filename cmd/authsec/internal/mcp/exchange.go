// Copyright 2026 The authsec Authors
// SPDX-License-Identifier: Apache-2.0

package mcp

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"mime"
	"net/http"
	"net/http/httptrace"
	"sync"
	"time"
)

// exchange is a message of the host on its way, and what comes back for it.
type exchange struct {
	b      *bridge
	m      message
	modern bool               // it is a request of the revision 2026-07-28 or later
	stop   context.CancelFunc // ends the HTTP request

	answered chan struct{} // is closed when no response is awaited any more

	mu     sync.Mutex // guards what follows
	open   map[string]json.RawMessage
	closed bool
	late   *time.Timer // ends the HTTP request; nil until closed
	given  bool        // the host has cancelled it
	sent   bool        // the server may have it
}

// lateTime is how long an HTTP request may go on when nobody waits for it any more.
// Servers may send messages after a response, and with the revisions that have
// sessions, the end of the request does not cancel a call. A server that never ends
// its answers must not hold connections without a bound.
const lateTime = 30 * time.Second

// close notes that no response is awaited any more. The caller holds x.mu.
func (x *exchange) close() {
	if !x.closed {
		x.closed = true
		x.late = time.AfterFunc(lateTime, x.stop)
		close(x.answered)
	}
}

// giveUp notes that the host waits for no response. What is not sent yet is never
// sent.
func (x *exchange) giveUp() {
	x.mu.Lock()
	x.given = true
	x.close()
	now := x.modern || !x.sent
	x.mu.Unlock()
	if now {
		x.stop()
	}
}

// markSent notes that the server may have the message.
func (x *exchange) markSent(httptrace.GotConnInfo) {
	x.mu.Lock()
	x.sent = true
	x.mu.Unlock()
}

func (x *exchange) isGiven() bool {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.given
}

// settle notes that there is a response to the request with this ID. It reports
// whether the request is this exchange's.
func (x *exchange) settle(id json.RawMessage) bool {
	x.mu.Lock()
	_, ours := x.open[idKey(id)]
	delete(x.open, idKey(id))
	if len(x.open) == 0 {
		x.close()
	}
	x.mu.Unlock()
	if ours {
		x.b.forget(id, x)
	}
	return ours
}

// settle notes that there is a response to the request with this ID, whichever it is.
func (b *bridge) settle(id json.RawMessage) {
	b.mu.Lock()
	x := b.inFlight[idKey(id)]
	b.mu.Unlock()
	if x != nil {
		x.settle(id)
	}
}

// remaining returns the IDs of the requests without a response.
func (x *exchange) remaining() []json.RawMessage {
	x.mu.Lock()
	defer x.mu.Unlock()
	var ids []json.RawMessage
	for _, id := range x.open {
		ids = append(ids, id)
	}
	return ids
}

// end settles what has no response.
func (x *exchange) end() {
	for _, id := range x.remaining() {
		x.settle(id)
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	x.close()
	x.late.Stop()
}

func (b *bridge) forget(id json.RawMessage, x *exchange) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.inFlight[idKey(id)] == x {
		delete(b.inFlight, idKey(id))
	}
}

// run sends the message, and passes on all that comes back. It sends the message
// again if the server has not acted on it, and the cause can be removed.
func (x *exchange) run(ctx context.Context) {
	ctx = httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{GotConn: x.markSent})
	s, used := x.b.current(), x.b.tools.of(x.m)
	resp, body, err := x.try(ctx, s)
	again := false
	switch {
	case err != nil:
	case resp.StatusCode == http.StatusNotFound && s.id != "" && !x.modern && x.m.method != methodInitialize && !x.unknownMethod(body):
		err = x.b.revive(ctx, s)
		s, again = x.b.current(), err == nil
	case x.modern && x.m.method == methodCallTool && mismatch(body):
		again = x.b.relearn(ctx, x.m, used)
	}
	if again {
		resp.Body.Close()
		resp, body, err = x.try(ctx, s)
	}
	if resp != nil {
		defer resp.Body.Close()
	}
	switch {
	case err != nil:
		x.fail(ctx, x.b.explain(err))
	case resp.StatusCode/100 == 2:
		x.receive(ctx, resp, s)
	default:
		x.refused(ctx, resp, body)
	}
}

// try sends the message once. body is what the answer holds if it is no success.
func (x *exchange) try(ctx context.Context, s session) (resp *http.Response, body []byte, err error) {
	if resp, err = x.b.post(ctx, x.m, s); err == nil && resp.StatusCode/100 != 2 {
		late := time.AfterFunc(refusalTime, func() { resp.Body.Close() })
		defer late.Stop()
		body, _ = io.ReadAll(io.LimitReader(resp.Body, maxRefusal)) // what broke off is not JSON
	}
	return resp, body, err
}

// How much is read of an answer that is no success, and for how long.
const (
	maxRefusal  = 1 << 20 // bytes
	refusalTime = 10 * time.Second
)

// receive passes on the messages of a successful answer.
func (x *exchange) receive(ctx context.Context, resp *http.Response, s session) {
	if x.m.method == methodInitialize {
		s = session{id: resp.Header.Get(headerSession)}
	}
	switch contentType(resp) {
	case "application/json":
		memory := holding{all: &x.b.held}
		defer memory.giveBack(0)
		body, err := memory.readAll(resp.Body)
		if err != nil {
			x.fail(ctx, x.b.explain(err))
			return
		}
		if len(bytes.TrimSpace(body)) > 0 {
			x.deliver(body, s)
		}
	case "text/event-stream":
		if err := x.follow(ctx, resp, s); err != nil {
			x.fail(ctx, x.b.explain(err))
			return
		}
	}
	if len(x.remaining()) > 0 {
		x.fail(ctx, failure(codeUnavailable, "no_response", "The MCP server at %s accepted the request, and its answer ended without a response. Repeat the call.", x.b.host))
	}
	if x.m.method == methodInitialized {
		x.b.watch(s)
	}
}

func contentType(resp *http.Response) string {
	t, _, _ := mime.ParseMediaType(resp.Header.Get("Content-Type"))
	return t
}

// deliver passes on one message of the server, and notes what it settles.
func (x *exchange) deliver(data []byte, s session) {
	m, ok := x.b.read(data)
	if !ok || x.modern && x.isGiven() {
		return
	}
	answers := m.responses()
	for _, a := range answers {
		if a.result == nil || idKey(a.id) != idKey(x.m.id) {
			continue
		}
		switch x.m.method {
		case methodInitialize:
			x.b.enter(session{id: s.id, version: text(object(a.result)["protocolVersion"])}, nil)
		case methodListTools:
			x.b.tools.learn(a.result)
		}
	}
	x.b.out.write(bytes.TrimSpace(data))
	for _, a := range answers {
		if !x.settle(a.id) {
			x.b.settle(a.id)
		}
	}
}

// read parses a message of the server.
func (b *bridge) read(data []byte) (message, bool) {
	m, bad := parse(bytes.TrimSpace(data))
	if bad == nil {
		return m, true
	}
	if n := b.garbage.Add(1); n&(n-1) == 0 { // the server does not decide how long the log is
		b.log.Warn("the MCP server sent something that is not a message", "problem", bad.Message, "count", n)
	}
	return m, false
}

// enter makes s the session, if the present one is lost, or lost is nil. It reports
// whether it did.
func (b *bridge) enter(s session, lost *session) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if lost != nil && b.session != *lost {
		return false
	}
	b.session = s
	if b.stopWatch != nil {
		b.stopWatch()
		b.stopWatch = nil
	}
	return true
}

// fail answers all requests that have no response with e. If the message is not a
// request, only the log tells of e.
func (x *exchange) fail(ctx context.Context, e *rpcError) {
	quiet := ctx.Err() == context.Canceled || x.isGiven()
	for _, id := range x.remaining() {
		if !quiet {
			x.b.out.write(e.encode(id))
		}
		x.settle(id)
	}
	if len(x.m.requests()) == 0 && !quiet {
		x.b.log.Warn("a message of the host did not reach the MCP server", "method", x.m.method, "error", e.Message)
	}
}
