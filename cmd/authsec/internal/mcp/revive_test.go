// Copyright 2026 The authsec Authors
// SPDX-License-Identifier: Apache-2.0

package mcp

import (
	"fmt"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

const (
	lostLine    = `{"jsonrpc":"2.0","id":null,"error":{"code":-32001,"message":"Session not found"}}`
	unknownLine = `{"jsonrpc":"2.0","id":1,"error":{"code":-32601,"message":"Method not found"}}`
)

// session404 answers requests in the session "one" as a server does that has lost it.
func session404(req *http.Request) *http.Response {
	if req.Header.Get(headerSession) == "one" && req.Method == http.MethodPost {
		return answered(404, "application/json", lostLine)
	}
	return nil
}

// TestCallsShareOneRevival, also if it fails: 100 calls wait for a server that hangs as
// long as one does. The cancellation of the first call does not end it for the rest.
func TestCallsShareOneRevival(t *testing.T) {
	var greetings atomic.Int64
	inBubble(t, func(req *http.Request, body string) *http.Response {
		if strings.Contains(body, `"initialize"`) {
			n := greetings.Add(1)
			if n == 2 {
				<-req.Context().Done()
			}
			if n > 2 {
				m, _ := parse([]byte(body))
				resp := answered(200, "application/json", `{"jsonrpc":"2.0","id":`+string(m.id)+`,"result":{"protocolVersion":"2025-11-25"}}`)
				resp.Header.Set(headerSession, "two")
				return resp
			}
			return nil
		}
		if resp := session404(req); resp != nil {
			if greetings.Load() == 1 && strings.Contains(body, "notifications/initialized") {
				return nil
			}
			return resp
		}
		if m, _ := parse([]byte(body)); m.kind == request {
			return answered(200, "application/json", `{"jsonrpc":"2.0","id":`+string(m.id)+`,"result":{}}`)
		}
		return nil
	}, func(w *bubble) {
		w.greet()
		for i := range 100 {
			w.send(`{"jsonrpc":"2.0","id":%d,"method":"tools/call"}`, i)
		}
		w.send(`{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":0}}`)
		time.Sleep(greetingTime)
		got := w.host()
		if len(got) != 99 || !strings.Contains(got[0], "it did not answer in time") {
			t.Errorf("after %v, the host got %d lines, want 99 errors: %.300q", greetingTime, len(got), got)
		}
		if n := greetings.Load(); n != 2 {
			t.Errorf("the server was greeted %d times, want 2", n)
		}
		for i := range 100 {
			fmt.Fprintf(w.in, `{"jsonrpc":"2.0","id":%d,"method":"tools/call"}`+"\n", 1000+i)
		}
		if got := strings.Join(w.host(), "\n"); strings.Count(got, `"result"`) != 100 {
			t.Errorf("the host got %.300s, want 100 results", got)
		}
		if n := greetings.Load(); n != 3 || w.server(`POST two {"jsonrpc":"2.0","method":"notifications/initialized"}`) != 1 {
			t.Errorf("the server was greeted %d times, want 3", n)
		}
	})
}

// TestRevivedSessionIsUsedOnceItHasBegun: not before the server has accepted
// notifications/initialized, and not if it refuses it.
func TestRevivedSessionIsUsedOnceItHasBegun(t *testing.T) {
	refuse := true
	inBubble(t, func(req *http.Request, body string) *http.Response {
		session := req.Header.Get(headerSession)
		m, _ := parse([]byte(body))
		switch {
		case m.method == methodInitialize && m.params == nil: // the host's has some
			t.Error("the parameters of initialize are missing")
		case m.method == methodInitialize && string(m.id) != `"hello"`:
			resp := answered(200, "text/event-stream", ": x\n\ndata: "+`{"jsonrpc":"2.0","id":`+string(m.id)+`,"result":{"protocolVersion":"2025-11-25\r\nX-Evil: 1"}}`+"\n\n")
			resp.Header.Set(headerSession, "two")
			return resp
		case session == "one" && m.kind == request:
			return answered(404, "application/json", lostLine)
		case session == "two" && m.method == methodInitialized:
			time.Sleep(time.Second)
			if refuse {
				return answered(500, "text/plain", "")
			}
			return nil
		case m.kind == request && session == "two":
			return answered(200, "application/json", resultLine)
		}
		return nil
	}, func(w *bubble) {
		w.greet()
		w.send(callLine)
		time.Sleep(2 * time.Second)
		if got := w.host(); len(got) != 1 || !strings.Contains(got[0], "500 Internal Server Error") {
			t.Errorf("the host got %q, want an error", got)
		}
		refuse = false
		w.send(callLine)
		w.send(callLine)
		if n := w.server("POST two " + callLine); n != 0 {
			t.Errorf("%d calls came before notifications/initialized was accepted", n)
		}
		time.Sleep(2 * time.Second)
		if got := w.host(); len(got) != 2 || got[0] != resultLine {
			t.Errorf("the host got %q, want two results", got)
		}
	})
}

// TestHostsOwnSessionWins over the one that replaces a lost one.
func TestHostsOwnSessionWins(t *testing.T) {
	inBubble(t, func(req *http.Request, body string) *http.Response {
		m, _ := parse([]byte(body))
		if m.method == methodInitialize && strings.Contains(string(m.id), "authsec") {
			time.Sleep(5 * time.Second)
			resp := answered(200, "application/json", `{"jsonrpc":"2.0","id":`+string(m.id)+`,"result":{"protocolVersion":"2025-11-25"}}`)
			resp.Header.Set(headerSession, "two")
			return resp
		}
		if m.method == methodInitialize && string(m.id) == `"again"` {
			resp := answered(200, "application/json", `{"jsonrpc":"2.0","id":"again","result":{"protocolVersion":"2025-11-25"}}`)
			resp.Header.Set(headerSession, "three")
			return resp
		}
		if m.kind == request && m.method != methodInitialize {
			if resp := session404(req); resp != nil {
				return resp
			}
			return answered(200, "application/json", resultLine)
		}
		return nil
	}, func(w *bubble) {
		w.greet()
		w.send(callLine)
		w.send(`{"jsonrpc":"2.0","id":"again","method":"initialize","params":{}}`)
		time.Sleep(6 * time.Second)
		w.host()
		w.send(callLine)
		if n := w.server("POST three " + callLine); n == 0 || w.b.current().id != "three" {
			t.Errorf("the session is %q, want the host's: three", w.b.current().id)
		}
		synctest.Wait()
	})
}

// TestUnknownMethodIsNoLostSession: servers answer 404 to both.
func TestUnknownMethodIsNoLostSession(t *testing.T) {
	inBubble(t, func(req *http.Request, body string) *http.Response {
		switch {
		case strings.Contains(body, "tools/call"):
			return answered(404, "application/json", unknownLine)
		case strings.Contains(body, "server/discover"):
			return answered(404, "text/plain", "")
		}
		return nil
	}, func(w *bubble) {
		w.greet()
		w.send(callLine)
		if got := w.host(); len(got) != 1 || got[0] != unknownLine {
			t.Errorf("the host got %q, want the server's error", got)
		}
		// This revision has no sessions.
		w.send(`{"jsonrpc":"2.0","id":1,"method":"server/discover","params":{"_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28"}}}`)
		if got := w.host(); len(got) != 1 || !strings.Contains(got[0], "404 Not Found") {
			t.Errorf("the host got %q, want an error", got)
		}
		if n := w.server(`"initialize"`); n != 1 {
			t.Errorf("the server was greeted %d times, want 1", n)
		}
	})
}

// TestRelearnFindsAChangedTool on any page of the list.
func TestRelearnFindsAChangedTool(t *testing.T) {
	tool := func(name, header string) string {
		return `{"name":"` + name + `","inputSchema":{"properties":{"a":{"x-mcp-header":"` + header + `"}}}}`
	}
	const meta = `"_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28"}`
	changed := false
	inBubble(t, func(req *http.Request, body string) *http.Response {
		m, _ := parse([]byte(body))
		header, list := "Old", ""
		if changed {
			header = "New"
		}
		switch {
		case m.method == methodListTools && string(m.named["cursor"]) == `"2"`:
			list = `{"tools":[` + tool("x", header) + `]}`
		case m.method == methodListTools:
			list = `{"tools":[` + tool("other", "Other") + `,true],"nextCursor":"2"}`
		case req.Header.Get("Mcp-Param-"+header) != "1":
			return answered(400, "application/json", `{"jsonrpc":"2.0","id":`+string(m.id)+`,"error":{"code":-32020,"message":"missing"}}`)
		default:
			list = `{}`
		}
		return answered(200, "application/json", `{"jsonrpc":"2.0","id":`+string(m.id)+`,"result":`+list+`}`)
	}, func(w *bubble) {
		for _, changed = range []bool{false, true} {
			w.send(`{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"x","arguments":{"a":1},%s}}`, meta)
			if got := w.host(); len(got) != 1 || !strings.Contains(got[0], `"result"`) {
				t.Errorf("changed %t: got %q, want a result", changed, got)
			}
		}
		if n := w.server("tools/list"); n != 4 {
			t.Errorf("the tools were listed %d times, want twice, two pages each", n)
		}
		before := w.server("tools/call")
		w.send(`{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"x","arguments":{"a":2},%s}}`, meta)
		if got := w.host(); len(got) != 1 || !strings.Contains(got[0], `-32020`) {
			t.Errorf("got %q, want the server's error", got)
		}
		if n := w.server("tools/call") - before; n != 1 {
			t.Errorf("a call whose headers would be the same was sent %d times, want once", n)
		}
	})
}
