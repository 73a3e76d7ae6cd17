// Copyright 2026 The authsec Authors
// SPDX-License-Identifier: Apache-2.0

package mcp_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/authsec-go/authsec/authsectest"
)

// TestConnectSaysWhatIsWrong: each answer that has no response becomes a JSON-RPC
// error, and the session goes on.
func TestConnectSaysWhatIsWrong(t *testing.T) {
	srv := agent(t)
	var fault http.HandlerFunc
	s := newWire(t, srv, posts(func(w http.ResponseWriter, r *http.Request) {
		if body, _ := io.ReadAll(r.Body); strings.Contains(string(body), "ping") {
			jsonAnswer(w, 200, `{"jsonrpc":"2.0","id":"after","result":{}}`)
			return
		}
		fault(w, r)
	}))
	status := func(n int, body string, headers ...string) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			for i := 0; i < len(headers); i += 2 {
				w.Header().Set(headers[i], headers[i+1])
			}
			w.WriteHeader(n)
			io.WriteString(w, body)
		}
	}
	raw := func(answer string) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			conn, _, err := http.NewResponseController(w).Hijack()
			if err != nil {
				panic(err)
			}
			io.WriteString(conn, answer)
			conn.Close()
		}
	}
	var elsewhere atomic.Int64
	other := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { elsewhere.Add(1) }))
	defer other.Close()
	for _, c := range []struct {
		name  string
		fault http.HandlerFunc
		want  string
	}{
		{"401", status(401, "no"), "does not accept this agent's token (401 Unauthorized): its delegation may have been revoked"},
		{"401, JSON-RPC", status(401, `{"jsonrpc":"2.0","id":null,"error":{"code":-32001,"message":"Unauthorized"}}`), "An admin must delegate to it again"},
		{"403", status(403, "no"), "does not permit this to this agent (403 Forbidden)"},
		{"405", status(405, ""), "no MCP server that speaks streamable HTTP at this URL"},
		{"400", status(400, "<html>"), "(400 Bad Request)"},
		{"429", status(429, ""), "can't answer for now (429 Too Many Requests)"},
		{"500", status(500, "panic"), "can't answer for now (500 Internal Server Error)"},
		{"503", status(503, ""), "Repeat the call later."},
		{"302", status(302, "", "Location", "/login"), "redirects elsewhere (302 Found)"},
		{"302 to no URL", status(302, "", "Location", "http://[evil"), "gave no whole answer: its answer is not valid HTTP, or broke off."},
		{"307 to no URL", status(307, "", "Location", "https://evil:port/"), "its answer is not valid HTTP, or broke off"},
		{"a malformed header", raw("HTTP/1.1 200 OK\r\nevil header\r\n\r\n"), "its answer is not valid HTTP, or broke off"},
		{"a malformed status", raw("HTTP/1.1 2xx evil\r\n\r\n"), "its answer is not valid HTTP, or broke off"},
		{"an encoding", raw("HTTP/1.1 200 OK\r\nTransfer-Encoding: evil\r\n\r\n"), "its answer is not valid HTTP, or broke off"},
		{"a reason", raw("HTTP/1.1 499 evil\r\nContent-Length: 0\r\n\r\n"), "(499)"},
		{"307 to another host", status(307, "", "Location", other.URL), "redirects elsewhere (307 Temporary Redirect)"},
		{"the server's error, without an ID", status(400, `{"jsonrpc":"2.0","id":null,"error":{"code":-32600,"message":"theirs","data":{"x":1.0}}}`), `"error":{"code":-32600,"message":"theirs","data":{"x":1.0}}`},
		{"the server's error", status(404+1, `{"jsonrpc":"2.0","id":1,"error":{"code":-32601,"message":"theirs"}}`), `"code":-32601`},
		{"202 for a request", status(202, ""), "ended without a response"},
		{"200 with nothing", status(200, ""), "ended without a response"},
		{"HTML", status(200, "<html>", "Content-Type", "text/html"), "ended without a response"},
		{"no JSON", status(200, "nonsense", "Content-Type", "application/json"), "ended without a response"},
		{"half of the JSON", func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Type", "application/json")
			w.Header().Set("Content-Length", "100")
			io.WriteString(w, `{"jsonrpc":"2.0","id":1,`)
		}, "gave no whole answer"},
		{"a stream without the response", func(w http.ResponseWriter, r *http.Request) {
			sse(w, ": hello\n\ndata:\n\nevent: other\ndata: {}\n\ndata: nonsense\n\ndata: {\"jsonrpc\":\"2.0\",\"id\":1,")
		}, "the answer broke off"},
		{"a broken connection", func(w http.ResponseWriter, r *http.Request) { panic(http.ErrAbortHandler) }, "gave no whole answer"},
	} {
		fault = c.fault
		s.h.send(`{"jsonrpc":"2.0","id":1,"method":"x"}`)
		raw, m := s.h.next()
		if string(m["id"]) != "1" || m["error"] == nil || !strings.Contains(raw, c.want) || strings.Contains(raw, "eyJ") || strings.Contains(raw, "evil") || strings.Contains(raw, authsectest.ClientID[:8]) {
			t.Errorf("%s: got %s, want %s", c.name, raw, c.want)
		}
		s.h.ping("after")
	}
	if n := len(s.requests("GET")); n != 1 {
		t.Errorf("got %d requests for a stream, want that of the server's messages alone", n)
	}
	if n := elsewhere.Load(); n > 0 {
		t.Errorf("%d requests went to another host", n)
	}
	if log := fmt.Sprint(s.h.cmd.Stderr); strings.Contains(log, "eyJ") || strings.Contains(log, "evil") {
		t.Errorf("a token, or words of the server, are in the log:\n%s", log)
	}
}

func TestConnectFollowsARedirectAtTheSameHost(t *testing.T) {
	srv := agent(t)
	s := newWire(t, srv, posts(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/mcp" {
			http.Redirect(w, r, "/mcp/", http.StatusTemporaryRedirect)
			return
		}
		jsonAnswer(w, 200, `{"jsonrpc":"2.0","id":1,"result":{}}`)
	}))
	s.h.send(`{"jsonrpc":"2.0","id":1,"method":"x"}`)
	if raw, m := s.h.next(); m["result"] == nil {
		t.Errorf("got %s", raw)
	}
}

// TestConnectOutOfReach: the host is told, and the session goes on later.
func TestConnectOutOfReach(t *testing.T) {
	srv := agent(t)
	h := start(t, command(t, srv, "connect", "http://127.0.0.1:1/mcp"))
	h.send("%s", greeting)
	if raw, m := h.next(); string(m["id"]) != `"hello"` || !strings.Contains(raw, "The MCP server at 127.0.0.1:1 gave no whole answer") || !strings.Contains(raw, "refused") {
		t.Errorf("got %s", raw)
	}
}

// TestConnectReopensTheStreamOfServerMessages, from where it broke off, also after a
// time without a delegation.
func TestConnectReopensTheStreamOfServerMessages(t *testing.T) {
	srv := agent(t)
	opened := make(chan string, 10)
	var n atomic.Int64
	s := newWire(t, srv, func(w http.ResponseWriter, r *http.Request) {
		if r.Method != "GET" {
			w.WriteHeader(http.StatusAccepted)
			return
		}
		i := n.Add(1)
		opened <- r.Header.Get("Mcp-Session-Id") + " " + r.Header.Get("Last-Event-ID")
		sse(w, "retry: 100\nid: e%d\ndata: {\"jsonrpc\":\"2.0\",\"id\":\"s%d\",\"method\":\"ping\"}\n\n", i, i)
		if i == 2 {
			<-r.Context().Done()
		}
	})
	for i, want := range []string{"session-1 ", "session-1 e1"} {
		if got := <-opened; got != want {
			t.Errorf("stream %d was opened with %q, want %q", i+1, got, want)
		}
		raw, m := s.h.next()
		if want := fmt.Sprintf(`"s%d"`, i+1); string(m["id"]) != want || string(m["method"]) != `"ping"` {
			t.Errorf("got %s, want the request %s", raw, want)
		}
		s.h.send(`{"jsonrpc":"2.0","id":"s%d","result":{"n":1.0}}`, i+1)
	}
	eventually(t, func() error {
		all := s.requests("POST")
		if last := all[len(all)-1]; last.body != `{"jsonrpc":"2.0","id":"s2","result":{"n":1.0}}` {
			return fmt.Errorf("the server got %s", last.body)
		}
		return nil
	})
	before := srv.Fetches()
	srv.Revoke(authsectest.ClientID)
	s.CloseClientConnections()
	eventually(t, func() error { // it is tried meanwhile
		if srv.Fetches() == before {
			return errors.New("no request for another token")
		}
		return nil
	})
	delegate(srv)
	select {
	case got := <-opened:
		if got != "session-1 e2" {
			t.Errorf("after another delegation, the stream was opened with %q", got)
		}
	case <-time.After(2 * time.Minute): // it is tried every 45 s at least
		t.Error("the stream was not opened again")
	}
}

// TestConnectResumesAResponse whose stream broke off.
func TestConnectResumesAResponse(t *testing.T) {
	srv := agent(t)
	resumed := make(chan string, 10)
	var tries atomic.Int64
	s := newWire(t, srv, func(w http.ResponseWriter, r *http.Request) {
		last := r.Header.Get("Last-Event-ID")
		switch {
		case r.Method == "GET" && last == "":
			w.WriteHeader(http.StatusMethodNotAllowed)
		case r.Method == "GET" && tries.Add(1) == 1:
			w.WriteHeader(http.StatusServiceUnavailable) // and the Transport repeats a GET
		case r.Method == "GET":
			resumed <- last
			sse(w, "id: b\ndata: {\"jsonrpc\":\"2.0\",\"id\":1,\"result\":{}}\n\n")
		default:
			sse(w, "id: a\nretry: 50\ndata:\n\ndata: {\"jsonrpc\":\"2.0\",\"method\":\"notifications/progress\",\"params\":{}}\n\n")
		}
	})
	s.h.send(`{"jsonrpc":"2.0","id":1,"method":"x"}`)
	if raw, m := s.h.next(); string(m["method"]) != `"notifications/progress"` {
		t.Errorf("got %s, want the progress", raw)
	}
	if raw, m := s.h.next(); m["result"] == nil {
		t.Errorf("got %s, want the response", raw)
	}
	if got := <-resumed; got != "a" {
		t.Errorf("resumed after the event %q, want a", got)
	}
}

// TestConnectBeginsAnotherSession if the server has lost the old one.
func TestConnectBeginsAnotherSession(t *testing.T) {
	srv := agent(t)
	var lost atomic.Bool
	s := newWire(t, srv, posts(func(w http.ResponseWriter, r *http.Request) {
		if lost.CompareAndSwap(false, true) {
			jsonAnswer(w, 404, `{"jsonrpc":"2.0","id":null,"error":{"code":-32001,"message":"Session not found"}}`)
			return
		}
		jsonAnswer(w, 200, `{"jsonrpc":"2.0","id":1,"result":{}}`)
	}))
	s.h.send(`{"jsonrpc":"2.0","id":1,"method":"x"}`)
	if raw, m := s.h.next(); m["result"] == nil {
		t.Errorf("got %s, want the response", raw)
	}
	var bodies []string
	for _, r := range s.requests("POST")[2:] {
		var m struct{ Method, ID any }
		json.Unmarshal([]byte(r.body), &m)
		bodies = append(bodies, fmt.Sprint(m.Method, " ", r.header.Get("Mcp-Session-Id")))
	}
	if got := strings.Join(bodies, ", "); got != "x session-1, initialize , notifications/initialized session-1, x session-1" {
		t.Errorf("the MCP server got %s", got)
	}
	eventually(t, func() error {
		if n := len(s.requests("GET")); n != 2 {
			return fmt.Errorf("%d requests for the stream of the server's messages, want one in each session", n)
		}
		return nil
	})
}
