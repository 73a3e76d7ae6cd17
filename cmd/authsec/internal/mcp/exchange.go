// Copyright 2026 The authsec Authors
// SPDX-License-Identifier: Apache-2.0

package mcp

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"mime"
	"net/http"
	"strings"
	"sync"
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
	given  bool // the host has cancelled it
}

// giveUp notes that the host waits for no response.
func (x *exchange) giveUp() {
	x.mu.Lock()
	x.given = true
	last := !x.closed
	x.closed = true
	x.mu.Unlock()
	if last {
		close(x.answered)
	}
	if x.modern {
		x.stop()
	}
}

func (x *exchange) isGiven() bool {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.given
}

// settle notes that there is a response to the request with this ID.
func (x *exchange) settle(id json.RawMessage) {
	x.mu.Lock()
	_, ours := x.open[idKey(id)]
	delete(x.open, idKey(id))
	last := len(x.open) == 0 && !x.closed
	x.closed = x.closed || last
	x.mu.Unlock()
	if ours {
		x.b.forget(id, x)
	}
	if last {
		close(x.answered)
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
	x.settle(nil)
}

func (b *bridge) forget(id json.RawMessage, x *exchange) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.inFlight[idKey(id)] == x {
		delete(b.inFlight, idKey(id))
	}
}

// run sends the message, and passes on all that comes back. It sends the message
// again if the server has not acted on it, for a reason that can be mended.
func (x *exchange) run(ctx context.Context) {
	s := x.b.current()
	resp, body, err := x.try(ctx, s)
	again := false
	switch {
	case err != nil:
	case resp.StatusCode == http.StatusNotFound && s.id != "" && x.m.method != methodInitialize:
		err = x.b.revive(ctx, s)
		s, again = x.b.current(), err == nil
	case x.modern && x.m.method == methodCallTool && mismatch(body):
		again = x.b.relearn(ctx, x.m)
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
		body, _ = io.ReadAll(io.LimitReader(resp.Body, maxRefusal)) // what broke off is not JSON
	}
	return resp, body, err
}

// maxRefusal is how much is read of an answer that is no success.
const maxRefusal = 1 << 20

// receive passes on the messages of a successful answer.
func (x *exchange) receive(ctx context.Context, resp *http.Response, s session) {
	if x.m.method == methodInitialize {
		s = session{id: resp.Header.Get(headerSession)}
	}
	switch contentType(resp) {
	case "application/json":
		body, err := io.ReadAll(io.LimitReader(resp.Body, maxMessage+1))
		if err == nil && len(body) > maxMessage {
			err = errEventTooLong
		}
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
	answers := []message{m}
	for _, p := range m.parts {
		answers = append(answers, p.message)
	}
	for _, a := range answers {
		if a.kind != response || a.result == nil || idKey(a.id) != idKey(x.m.id) {
			continue
		}
		switch x.m.method {
		case methodInitialize:
			x.b.settled(session{id: s.id, version: text(object(a.result)["protocolVersion"])})
		case methodListTools:
			x.b.tools.learn(a.result)
		}
	}
	x.b.out.write(bytes.TrimSpace(data))
	for _, a := range answers {
		if a.kind == response && a.id != nil {
			x.settle(a.id)
		}
	}
}

// read parses a message of the server.
func (b *bridge) read(data []byte) (message, bool) {
	m, bad := parse(bytes.TrimSpace(data))
	if bad != nil {
		b.log.Warn("the MCP server sent something that is not a message", "problem", bad.Message)
	}
	return m, bad == nil
}

// settled takes in a new session.
func (b *bridge) settled(s session) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.session = s
	if b.stopWatch != nil {
		b.stopWatch()
		b.stopWatch = nil
	}
}

// fail answers all requests that have no response with e. If the message is not a
// request, only the log tells of e.
func (x *exchange) fail(ctx context.Context, e *rpcError) {
	quiet := ctx.Err() != nil || x.isGiven()
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

// refused passes on an answer with a status of 3xx to 5xx.
func (x *exchange) refused(ctx context.Context, resp *http.Response, body []byte) {
	status := resp.StatusCode
	if m, bad := parse(bytes.TrimSpace(body)); bad == nil && m.kind == response && m.result == nil && status != http.StatusUnauthorized {
		x.mu.Lock()
		_, ours := x.open[idKey(m.id)]
		x.mu.Unlock()
		if ours {
			x.deliver(body, session{})
			return
		}
		e := object(m.raw)["error"] // servers write an ID of null
		for _, id := range x.remaining() {
			if !x.isGiven() {
				x.b.out.write(encodeResponse(id, "error", e))
			}
			x.settle(id)
		}
		return
	}
	x.fail(ctx, x.b.statusError(ctx, resp))
}

// statusError is what a host is told about an answer that is no success.
func (b *bridge) statusError(ctx context.Context, resp *http.Response) *rpcError {
	status := statusText(resp.StatusCode) // not the server's own words, which may hold the token
	switch code := resp.StatusCode; {
	case code == http.StatusUnauthorized:
		if _, err := b.source.TokenContext(ctx); err != nil && ctx.Err() == nil {
			return b.explain(err)
		}
		return failure(codeNotDelegated, "token_rejected", "The MCP server at %s does not accept this agent's token (%s): its delegation may have been revoked. %s", b.host, status, goesOn)
	case code == http.StatusForbidden:
		return failure(codeForbidden, "forbidden", "The MCP server at %s does not permit this to this agent (%s). Only an admin can change that, with a trust delegation in AuthSec.", b.host, status)
	case code == http.StatusTooManyRequests || code >= 500:
		return failure(codeUnavailable, "unavailable", "The MCP server at %s can't answer for now (%s). Repeat the call later.", b.host, status)
	case code < 400:
		return failure(codeUnavailable, "redirect", "The MCP server at %s redirects elsewhere (%s), and that is not followed with the token. Tell the user to give authsec mcp connect the final URL.", b.host, status)
	}
	return failure(codeUnavailable, "not_mcp", "There is no MCP server that speaks streamable HTTP at this URL on %s (%s). Tell the user to check the URL that authsec mcp connect was given.", b.host, status)
}

func statusText(code int) string {
	return strings.TrimSpace(fmt.Sprintf("%d %s", code, http.StatusText(code)))
}
