// Copyright 2026 The authsec Authors
// SPDX-License-Identifier: Apache-2.0

package mcp

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptrace"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// bubble is a bridge in a bubble of synctest, between a host and an MCP server in
// memory.
type bubble struct {
	t      *testing.T
	b      *bridge
	in     *io.PipeWriter
	lines  chan string // what the host gets
	ended  chan error
	cancel context.CancelFunc
	log    *syncBuffer

	mu  sync.Mutex
	got []string // what the server gets: the method, the session and the body
}

// syncBuffer is a buffer that is safe for concurrent use.
type syncBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (s *syncBuffer) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(p)
}

func (s *syncBuffer) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}

type writerFunc func([]byte) (int, error)

func (f writerFunc) Write(p []byte) (int, error) { return f(p) }

type roundTripFunc func(*http.Request) (*http.Response, error)

func (f roundTripFunc) RoundTrip(req *http.Request) (*http.Response, error) { return f(req) }

// inBubble runs a test. server answers all but initialize, DELETE, and notifications
// that it answers with nil; these are accepted. It gets the body of the request.
func inBubble(t *testing.T, server func(req *http.Request, body string) *http.Response, test func(*bubble)) {
	synctest.Test(t, func(t *testing.T) {
		w := &bubble{t: t, lines: make(chan string, 1000), ended: make(chan error, 1), log: new(syncBuffer)}
		transport := roundTripFunc(func(req *http.Request) (*http.Response, error) {
			var body string
			if req.Body != nil {
				raw, _ := io.ReadAll(req.Body)
				body = string(raw)
			}
			if err := req.Context().Err(); err != nil {
				return nil, err
			}
			for name, values := range req.Header { // net/http checks this, too
				if !fitsHeader(values[0]) {
					return nil, fmt.Errorf("invalid value of %s", name)
				}
			}
			w.mu.Lock()
			w.got = append(w.got, req.Method+" "+req.Header.Get(headerSession)+" "+body)
			w.mu.Unlock()
			if trace := httptrace.ContextClientTrace(req.Context()); trace != nil { // as net/http does
				trace.GotConn(httptrace.GotConnInfo{})
			}
			resp := server(req, body)
			if err := req.Context().Err(); resp == nil && err != nil {
				return nil, err
			}
			switch {
			case resp != nil:
			case strings.Contains(body, `"initialize"`):
				m, _ := parse([]byte(body))
				resp = answered(200, "application/json", `{"jsonrpc":"2.0","id":`+string(m.id)+`,"result":{"protocolVersion":"2025-11-25"}}`)
				resp.Header.Set(headerSession, "one")
			default:
				resp = answered(202, "", "")
			}
			return resp, nil
		})
		var in io.Reader
		in, w.in = io.Pipe()
		w.b = &bridge{
			url: "https://mcp.example.com/", host: "mcp.example.com", client: &http.Client{Transport: transport, CheckRedirect: sameEndpoint},
			out: &lineWriter{w: writerFunc(func(p []byte) (int, error) { w.lines <- string(p); return len(p), nil })},
			log: slog.New(slog.NewTextHandler(w.log, nil)), linger: defaultLinger, inFlight: make(map[string]*exchange),
			held: memory{most: maxHeld},
		}
		ctx, cancel := context.WithCancel(t.Context())
		w.cancel = cancel
		go func() { w.ended <- w.b.run(ctx, in) }()
		defer func() {
			cancel()
			w.in.Close()
			synctest.Wait()
		}()
		test(w)
	})
}

func answered(status int, contentType, body string) *http.Response {
	return &http.Response{StatusCode: status, Header: http.Header{"Content-Type": {contentType}}, Body: io.NopCloser(strings.NewReader(body))}
}

// endless is an answer that begins with text, and then sends nothing until req ends.
// ended is closed then.
func endless(req *http.Request, text string) (resp *http.Response, ended chan struct{}) {
	ended = make(chan struct{})
	r, wr := io.Pipe()
	go func() {
		defer close(ended)
		io.WriteString(wr, text)
		<-req.Context().Done()
		wr.CloseWithError(req.Context().Err())
	}()
	resp = answered(200, "text/event-stream", "")
	resp.Body = r
	return resp, ended
}

func (w *bubble) send(format string, args ...any) {
	fmt.Fprintf(w.in, format+"\n", args...)
	synctest.Wait()
}

func (w *bubble) greet() {
	w.t.Helper()
	w.send(`{"jsonrpc":"2.0","id":"hello","method":"initialize","params":{"protocolVersion":"2025-11-25"}}`)
	w.send(`{"jsonrpc":"2.0","method":"notifications/initialized"}`)
	if got := w.host(); len(got) == 0 || !strings.Contains(got[0], `"id":"hello","result"`) {
		w.t.Fatalf("got %q for initialize", got)
	}
}

// host returns the lines that the host got since the last call.
func (w *bubble) host() (all []string) {
	synctest.Wait()
	for {
		select {
		case l := <-w.lines:
			all = append(all, strings.TrimSpace(l))
		default:
			return all
		}
	}
}

// server returns how many requests with this text the server got.
func (w *bubble) server(text string) (n int) {
	synctest.Wait()
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, g := range w.got {
		if strings.Contains(g, text) {
			n++
		}
	}
	return n
}

// isClosed reports whether c is closed after d.
func isClosed(c <-chan struct{}, d time.Duration) bool {
	time.Sleep(d)
	synctest.Wait()
	select {
	case <-c:
		return true
	default:
		return false
	}
}
