// Copyright 2026 The authsec Authors
// SPDX-License-Identifier: Apache-2.0

package mcp_test

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/authsec-go/authsec/authsectest"
)

// wire is an MCP server that a test writes by hand, message by message.
type wire struct {
	*httptest.Server
	h *host

	mu     sync.Mutex
	answer http.HandlerFunc // to all but initialize, notifications and DELETE
	got    []sent
}

// sent is a request that came, with its body.
type sent struct {
	method, body string
	header       http.Header
}

func sse(w http.ResponseWriter, format string, args ...any) {
	w.Header().Set("Content-Type", "text/event-stream")
	fmt.Fprintf(w, format, args...)
	w.(http.Flusher).Flush()
}

func jsonAnswer(w http.ResponseWriter, status int, body string) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	io.WriteString(w, body)
}

// newWire starts the server, and the command with a session at it.
func newWire(t testing.TB, srv *authsectest.Server, answer http.HandlerFunc) *wire {
	s := &wire{answer: answer}
	s.Server = protect(t, srv, http.HandlerFunc(s.serve))
	s.h = start(t, command(t, srv, "connect", s.URL+"/mcp"))
	s.h.greet()
	return s
}

func (s *wire) serve(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	s.mu.Lock()
	s.got = append(s.got, sent{r.Method, string(body), r.Header.Clone()})
	answer := s.answer
	s.mu.Unlock()
	switch {
	case r.Method == "DELETE":
		w.WriteHeader(http.StatusNoContent)
	case strings.Contains(string(body), `"initialize"`):
		id, _, _ := strings.Cut(string(body)[strings.Index(string(body), `"id":`)+5:], ",")
		w.Header().Set("Mcp-Session-Id", "session-1")
		jsonAnswer(w, 200, `{"jsonrpc":"2.0","id":`+id+`,"result":{"protocolVersion":"2025-11-25","capabilities":{},"serverInfo":{"name":"s","version":"1"}}}`)
	case strings.Contains(string(body), `"notifications/`):
		w.WriteHeader(http.StatusAccepted)
	default:
		r.Body = io.NopCloser(strings.NewReader(string(body)))
		answer(w, r)
	}
}

// then replaces the server's answers.
func (s *wire) then(answer http.HandlerFunc) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.answer = answer
}

// requests returns what came with this method.
func (s *wire) requests(method string) (all []sent) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, r := range s.got {
		if r.method == method {
			all = append(all, r)
		}
	}
	return all
}

func noStream(w http.ResponseWriter, r *http.Request, next http.HandlerFunc) {
	if r.Method == "GET" {
		w.WriteHeader(http.StatusMethodNotAllowed)
		return
	}
	next(w, r)
}

// posts answers POST with next, and has no stream of its own messages.
func posts(next http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) { noStream(w, r, next) }
}

// TestConnectPassesBytesOnUnchanged in both directions.
func TestConnectPassesBytesOnUnchanged(t *testing.T) {
	srv := agent(t)
	var reply string
	asSSE := false
	s := newWire(t, srv, posts(func(w http.ResponseWriter, r *http.Request) {
		if asSSE {
			sse(w, "event: message\ndata: %s\n\n", reply)
			return
		}
		jsonAnswer(w, 200, reply)
	}))
	for _, c := range [][2]string{
		{`{"jsonrpc":"2.0","id":1,"method":"x"}`, `{"jsonrpc":"2.0","id":1,"result":{}}`},
		{`{ "id" : 9007199254740993 , "method":"x","jsonrpc":"2.0", "params":{"b":1,"a":1.50, "é":"\u00e9\/<>&"} }`, `{ "id" : 9007199254740993,  "result":{"n":1e400,"s":"\u2028\/<>&é","z":0.10}, "jsonrpc":"2.0","extra":null}`},
		{`{"jsonrpc":"2.0","id":"1","method":"x","params":[1,2]}`, `{"jsonrpc":"2.0","id":"1","error":{"code":-32099,"message":"m","data":[1.0]}}`},
		{`{"jsonrpc":"2.0","id":1.5,"method":"x","more":true}`, `{"jsonrpc":"2.0","id":1.5,"result":null}`},
		{`{"jsonrpc":"2.0","id":"` + strings.Repeat("i", 100_000) + `","method":"x"}`, `{"jsonrpc":"2.0","id":"` + strings.Repeat("i", 100_000) + `","result":{}}`},
		{`{"jsonrpc":"2.0","id":"a/é","method":"x"}`, `{"jsonrpc":"2.0","id":"a\/\u00e9","result":{}}`}, // the same ID
		{`{"jsonrpc":"2.0","id":1.0,"method":"x"}`, `{"jsonrpc":"2.0","id":1,"result":{}}`},
		{`[{"jsonrpc":"2.0","id":1,"method":"x"},{"jsonrpc":"2.0","id":2,"method":"y"}]`, `[{"jsonrpc":"2.0","id":2,"result":{}},{"jsonrpc":"2.0","id":1,"result":{}}]`},
	} {
		for _, asSSE = range []bool{false, true} {
			reply = c[1]
			s.h.send("%s", c[0])
			if raw, _ := s.h.next(); raw != c[1]+"\n" {
				t.Errorf("got %.300s, want %.300s", raw, c[1])
			}
			all := s.requests("POST")
			last := all[len(all)-1]
			if last.body != c[0] {
				t.Errorf("the server got %.300s, want %.300s", last.body, c[0])
			}
			if v, id := last.header.Get("Mcp-Protocol-Version"), last.header.Get("Mcp-Session-Id"); v != "2025-11-25" || id != "session-1" || last.header.Get("Mcp-Method") != "" {
				t.Errorf("got the version %q and session %q", v, id)
			}
		}
	}
	asSSE, reply = false, "{\n \"jsonrpc\": \"2.0\",\r\n \"id\": 7, \"result\": {\"a\": \"b  c\"}\n}\n"
	s.h.send(`{"jsonrpc":"2.0","id":7,"method":"x"}`)
	if raw, _ := s.h.next(); raw != `{"jsonrpc":"2.0","id":7,"result":{"a":"b  c"}}`+"\n" {
		t.Errorf("several lines: got %q", raw)
	}
}

// TestConnectAnswersMalformedLines itself: the MCP server sees nothing of them.
func TestConnectAnswersMalformedLines(t *testing.T) {
	srv := agent(t)
	s := newWire(t, srv, posts(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		id, _, _ := strings.Cut(strings.TrimPrefix(string(body), `{"jsonrpc":"2.0","id":`), ",")
		jsonAnswer(w, 200, `{"jsonrpc":"2.0","id":`+id+`,"result":{}}`)
	}))
	s.h.ping("first")
	before := len(s.requests("POST"))
	checkMalformed(t, s.h)
	if n := len(s.requests("POST")) - before; n != len(malformed) {
		t.Errorf("the MCP server got %d messages, want the %d pings", n, len(malformed))
	}
	s.h.send(`{"jsonrpc":"2.0","id":5,"method":"x","params":"%s"}`, strings.Repeat("x", 65<<20))
	if raw, m := s.h.next(); string(m["id"]) != "5" || !strings.Contains(raw, "-32600") {
		t.Errorf("a message that is too long: got %.200s", raw)
	}
	s.h.ping("after")
}

// TestConnectKeepsTheHostsOrder: what follows initialize and notifications is sent
// after the server has accepted them.
func TestConnectKeepsTheHostsOrder(t *testing.T) {
	srv := agent(t)
	var s wire
	s.answer = posts(func(w http.ResponseWriter, r *http.Request) {
		jsonAnswer(w, 200, `{"jsonrpc":"2.0","id":2,"result":{}}`)
	})
	api := protect(t, srv, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == "POST" {
			time.Sleep(100 * time.Millisecond) // the network's time: those that follow would overtake
		}
		s.serve(w, r)
	}))
	h := start(t, command(t, srv, "connect", "--linger", "10s", api.URL))
	h.send("%s\n"+`{"jsonrpc":"2.0","method":"notifications/initialized"}`+"\n"+`{"jsonrpc":"2.0","id":2,"method":"tools/list"}`, greeting)
	if err := h.wait(); err != nil {
		t.Errorf("the command ended with %v", err)
	}
	var order []string
	for _, r := range append(s.requests("POST"), s.requests("DELETE")...) {
		order = append(order, r.header.Get("Mcp-Session-Id")+r.body)
	}
	if got := strings.Join(order, "\n"); len(order) != 4 || !strings.HasPrefix(order[1], `session-1{"jsonrpc":"2.0","method":"notifications/initialized"`) || !strings.Contains(order[2], "tools/list") || order[3] != "session-1" {
		t.Errorf("the MCP server got\n%s", got)
	}
}

// TestConnectEndsAtASignal, and deletes the session.
func TestConnectEndsAtASignal(t *testing.T) {
	srv := agent(t)
	arrived := make(chan struct{}, 1)
	s := newWire(t, srv, posts(func(w http.ResponseWriter, r *http.Request) {
		arrived <- struct{}{}
		<-r.Context().Done()
	}))
	s.h.send(`{"jsonrpc":"2.0","id":1,"method":"x"}`)
	<-arrived
	s.h.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case err := <-s.h.ended:
		if err != nil {
			t.Errorf("the command ended with %v", err)
		}
	case <-time.After(20 * time.Second):
		t.Fatal("the command goes on after SIGTERM")
	}
	if all := s.requests("DELETE"); len(all) != 1 || all[0].header.Get("Mcp-Session-Id") != "session-1" {
		t.Errorf("got %d requests that delete the session, want 1", len(all))
	}
}

// TestConnectEndsWithItsInput also if the server never answers. TestEndOfTheInput has
// the time that it takes.
func TestConnectEndsWithItsInput(t *testing.T) {
	srv := agent(t)
	s := newWire(t, srv, posts(func(w http.ResponseWriter, r *http.Request) { <-r.Context().Done() }))
	s.h.send(`{"jsonrpc":"2.0","id":1,"method":"x"}`)
	if err := s.h.wait(); err != nil {
		t.Errorf("the command ended with %v", err)
	}
	if n := len(s.requests("DELETE")); n != 1 {
		t.Errorf("got %d requests that delete the session, want 1", n)
	}
}
