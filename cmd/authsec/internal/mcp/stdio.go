// Copyright 2026 The authsec Authors
// SPDX-License-Identifier: Apache-2.0

package mcp

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"strconv"
	"sync"

	"github.com/modelcontextprotocol/go-sdk/jsonrpc"
	"github.com/modelcontextprotocol/go-sdk/mcp"
)

// stdio is a server's transport and connection: one message a line. go-sdk's own ends
// the session at the first line that is not a message. This one answers such a line,
// and goes on.
type stdio struct {
	in    io.Reader
	out   *lineWriter
	limit int // of a line, in bytes

	lines <-chan line
	queue []*jsonrpc.Request // of a batch; only Read uses it
	done  chan struct{}
	once  sync.Once

	mu      sync.Mutex // guards calls
	calls   map[string]*call
	changed chan struct{} // gets a value after a call has ended
}

// call is a request that has no response yet.
type call struct {
	cancelled bool
	answered  bool   // its response is being written, and may be at the host already
	endless   bool   // it has no response before it is cancelled
	group     *group // the batch that it is part of, or nil
}

// group is a batch whose responses go out together.
type group struct {
	open      int
	responses [][]byte
}

func newStdio(in io.Reader, out *lineWriter, limit int) *stdio {
	return &stdio{in: in, out: out, limit: limit, done: make(chan struct{}), calls: make(map[string]*call), changed: make(chan struct{}, 1)}
}

func (s *stdio) Connect(context.Context) (mcp.Connection, error) {
	s.lines = readLines(s.in, s.limit, s.done)
	return s, nil
}

func (s *stdio) SessionID() string { return "" }

func (s *stdio) Close() error {
	s.once.Do(func() { close(s.done) })
	return nil
}

// Read returns the next request or notification. It answers all else.
func (s *stdio) Read(ctx context.Context) (jsonrpc.Message, error) {
	for {
		if len(s.queue) > 0 {
			next := s.queue[0]
			s.queue = s.queue[1:]
			return next, nil
		}
		var l line
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-s.done:
			return nil, io.EOF
		case l = <-s.lines:
		}
		switch {
		case l.err != nil:
			s.drain(ctx)
			return nil, l.err
		case l.long != nil:
			if answer := s.tooLong(l.long); answer != nil {
				s.out.write(answer)
			}
		default:
			s.accept(l.text)
		}
	}
}

// tooLong answers a message that is too long. A tool's call gets a result, so that the
// model can correct it.
func (s *stdio) tooLong(o *outline) []byte {
	if o.id == nil || o.method != methodCallTool {
		return o.tooLong(s.limit)
	}
	return encodeResponse(o.id, "result", map[string]any{
		"resultType": "complete", // of later revisions
		"isError":    true,
		"content":    []any{map[string]any{"type": "text", "text": fmt.Sprintf("Error: The call has more than %d bytes. Send less.", s.limit)}},
	})
}

// accept puts what a line holds into the queue, and answers what is no message.
func (s *stdio) accept(raw []byte) {
	m, bad := parse(raw)
	switch {
	case bad != nil:
		s.out.write(bad.encode(bad.id))
	case m.kind != batch:
		if answer := s.enqueue(m, nil); answer != nil {
			s.out.write(answer)
		}
	default:
		g := &group{open: 1} // the batch itself, until all of it is in the queue
		for _, p := range m.parts {
			var answer []byte
			if p.bad != nil {
				answer = p.bad.encode(p.bad.id)
			} else {
				answer = s.enqueue(p.message, g)
			}
			if answer != nil {
				g.responses = append(g.responses, answer)
			}
		}
		s.complete(g, nil)
	}
}

// enqueue puts m into the queue. It returns the answer to an m that can't be served.
func (s *stdio) enqueue(m message, g *group) (answer []byte) {
	if m.kind == response { // this server has no requests of its own
		return nil
	}
	if id := m.cancels(); id != nil {
		s.cancel(id)
	}
	req := &jsonrpc.Request{Method: m.method, Params: m.params}
	if m.kind == request {
		id, ok := makeID(m.id)
		if !ok {
			e := rpcError{Code: codeInvalidRequest, Message: `Invalid Request: "id" is a number, but not an integer below 2^53`}
			return e.encode(m.id)
		}
		if !s.begin(id, &call{endless: m.method == methodListen, group: g}) {
			e := rpcError{Code: codeInvalidRequest, Message: `Invalid Request: "id" is that of a request which has no response yet`}
			return e.encode(nil)
		}
		req.ID = id
	}
	s.queue = append(s.queue, req)
	return nil
}

// makeID returns an ID that go-sdk returns unchanged.
func makeID(raw json.RawMessage) (jsonrpc.ID, bool) {
	var value any
	if raw[0] == '"' {
		value = text(raw)
	} else {
		n, err := strconv.ParseInt(string(raw), 10, 64)
		if err != nil || n >= 1<<53 || n <= -1<<53 {
			return jsonrpc.ID{}, false
		}
		value = float64(n)
	}
	id, err := jsonrpc.MakeID(value)
	return id, err == nil
}

// key is what an ID is called in s.calls: "1" and 1 are two of them.
func key(id jsonrpc.ID) string { return fmt.Sprintf("%T %v", id.Raw(), id.Raw()) }

func (s *stdio) begin(id jsonrpc.ID, c *call) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if old := s.calls[key(id)]; old != nil && !old.answered {
		return false
	}
	s.calls[key(id)] = c
	if c.group != nil {
		c.group.open++
	}
	return true
}

// cancel marks a call whose response nobody waits for.
func (s *stdio) cancel(raw json.RawMessage) {
	if !isID(raw) {
		return
	}
	id, ok := makeID(raw)
	s.mu.Lock()
	defer s.mu.Unlock()
	if c := s.calls[key(id)]; ok && c != nil {
		c.cancelled = true
	}
}

// Write writes a message of the server.
func (s *stdio) Write(ctx context.Context, msg jsonrpc.Message) error {
	data, err := jsonrpc.EncodeMessage(msg)
	if err != nil {
		return err
	}
	resp, ok := msg.(*jsonrpc.Response)
	if !ok {
		return s.out.write(data)
	}
	s.mu.Lock()
	c := s.calls[key(resp.ID)]
	cancelled := c != nil && c.cancelled
	if c != nil {
		c.answered = true
	}
	s.mu.Unlock()
	switch {
	case c == nil:
		return s.out.write(data)
	case cancelled:
		data = nil
	case c.group == nil:
		err = s.out.write(data)
	}
	if c.group != nil {
		err = s.complete(c.group, data)
	}
	s.mu.Lock()
	if s.calls[key(resp.ID)] == c {
		delete(s.calls, key(resp.ID))
	}
	s.mu.Unlock()
	select {
	case s.changed <- struct{}{}:
	default:
	}
	return err
}

// complete adds a response to a batch's, and writes them after the last.
func (s *stdio) complete(g *group, data []byte) error {
	s.mu.Lock()
	if data != nil {
		g.responses = append(g.responses, data)
	}
	g.open--
	last := g.open == 0 && len(g.responses) > 0
	s.mu.Unlock()
	if !last {
		return nil
	}
	return s.out.write(append(append([]byte("["), bytes.Join(g.responses, []byte(","))...), ']'))
}

// drain waits until all calls have ended, since go-sdk cancels them at the end of
// the input. They end by themselves, after the tool's time limit at the latest.
func (s *stdio) drain(ctx context.Context) {
	for s.open() {
		select {
		case <-s.changed:
		case <-ctx.Done():
			return
		case <-s.done:
			return
		}
	}
}

func (s *stdio) open() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, c := range s.calls {
		if !c.endless {
			return true
		}
	}
	return false
}
