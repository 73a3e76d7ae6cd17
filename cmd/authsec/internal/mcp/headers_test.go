// Copyright 2026 The authsec Authors
// SPDX-License-Identifier: Apache-2.0

package mcp_test

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/authsec-go/authsec/authsectest"
)

const meta = `"_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientInfo":{"name":"t","version":"1"},"io.modelcontextprotocol/clientCapabilities":{}}`

// schema has arguments that go into headers, and some that may not.
const schema = `{"type":"object","properties":{
	"region":{"type":"string","x-mcp-header":"Region"},
	"n":{"type":"integer","x-mcp-header":"Count"},
	"dry":{"type":"boolean","x-mcp-header":"Dry"},
	"plain":{"type":"string"},
	"bad":{"type":"string","x-mcp-header":"a b\r\nX: y"},
	"in":{"type":"object","properties":{"deep":{"type":"string","x-mcp-header":"Deep"}}}}}`

// newest starts a hand-written server of the revision 2026-07-28, and the command.
func newest(t *testing.T, srv *authsectest.Server, answer http.HandlerFunc) *wire {
	s := &wire{answer: answer}
	s.Server = protect(t, srv, http.HandlerFunc(s.serve))
	s.h = start(t, command(t, srv, "connect", s.URL))
	return s
}

// answerTools lists one tool, and answers calls only with the headers of region.
func answerTools(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	var m struct {
		ID     json.RawMessage
		Method string
	}
	json.Unmarshal(body, &m)
	switch {
	case m.Method == "tools/list":
		jsonAnswer(w, 200, fmt.Sprintf(`{"jsonrpc":"2.0","id":%s,"result":{"tools":[{"name":"sql","inputSchema":%s}]}}`, m.ID, schema))
	case strings.Contains(string(body), `"region"`) && r.Header.Get("Mcp-Param-Region") == "":
		jsonAnswer(w, 400, fmt.Sprintf(`{"jsonrpc":"2.0","id":%s,"error":{"code":-32020,"message":"missing"}}`, m.ID))
	default:
		jsonAnswer(w, 200, fmt.Sprintf(`{"jsonrpc":"2.0","id":%s,"result":{}}`, m.ID))
	}
}

func TestConnectMirrorsIntoHeaders(t *testing.T) {
	srv := agent(t)
	s := newest(t, srv, answerTools)
	sent := 0
	for _, c := range []struct {
		method, params string
		want           string // the headers that begin with Mcp-, without the version and the method
	}{
		{"server/discover", ``, ""},
		{"tools/list", ``, ""},
		{"tools/call", `"name":"sql","arguments":{"region":"us-west1","plain":"x"}`, "Mcp-Name: sql; Mcp-Param-Region: us-west1"},
		{"tools/call", `"name":"sql","arguments":{"region":" a","n":-7,"dry":true,"in":{"deep":"日本"},"bad":"x"}`, "Mcp-Name: sql; Mcp-Param-Count: -7; Mcp-Param-Deep: =?base64?5pel5pys?=; Mcp-Param-Dry: true; Mcp-Param-Region: =?base64?IGE=?="},
		{"tools/call", `"name":"sql","arguments":{"region":"a\r\nX-Evil: 1","n":9007199254740993,"dry":null}`, "Mcp-Name: sql; Mcp-Param-Region: =?base64?YQ0KWC1FdmlsOiAx?="},
		{"tools/call", `"name":"sql","arguments":{"region":"=?base64?x?=","n":1.5}`, "Mcp-Name: sql; Mcp-Param-Region: =?base64?PT9iYXNlNjQ/eD89?="},
		{"tools/call", `"name":"é"`, "Mcp-Name: =?base64?w6k=?="},
		{"prompts/get", `"name":"p"`, "Mcp-Name: p"},
		{"resources/read", `"uri":"file:///a b"`, "Mcp-Name: file:///a b"},
		{"x/y", `"name":"p"`, ""},
	} {
		params := "{" + meta + "}"
		if c.params != "" {
			params = "{" + c.params + "," + meta + "}"
		}
		s.h.send(`{"jsonrpc":"2.0","id":1,"method":%q,"params":%s}`, c.method, params)
		if raw, m := s.h.next(); m["result"] == nil {
			t.Errorf("%s: got %s", c.params, raw)
		}
		all := s.requests("POST")
		h := all[len(all)-1].header
		if sent++; len(all) != sent {
			t.Errorf("%s: got %d requests, want %d", c.params, len(all), sent)
			sent = len(all)
		}
		var got []string
		for _, name := range []string{"Mcp-Name", "Mcp-Param-Count", "Mcp-Param-Deep", "Mcp-Param-Dry", "Mcp-Param-Region"} {
			if v := h.Get(name); v != "" {
				got = append(got, name+": "+v)
			}
		}
		if text := strings.Join(got, "; "); text != c.want {
			t.Errorf("%s: got the headers %s, want %s", c.params, text, c.want)
		}
		if h.Get("Mcp-Protocol-Version") != "2026-07-28" || h.Get("Mcp-Method") != c.method || h.Get("Mcp-Session-Id") != "" {
			t.Errorf("%s: got the headers %v", c.method, h)
		}
	}
}

// TestConnectLearnsTheHeadersOfATool that the host knows from an earlier run.
func TestConnectLearnsTheHeadersOfATool(t *testing.T) {
	srv := agent(t)
	s := newest(t, srv, answerTools)
	for range 2 {
		s.h.send(`{"jsonrpc":"2.0","id":"c","method":"tools/call","params":{"name":"sql","arguments":{"region":"x"},%s}}`, meta)
		if raw, m := s.h.next(); string(m["id"]) != `"c"` || m["result"] == nil {
			t.Errorf("got %s", raw)
		}
	}
	if n := len(s.requests("POST")); n != 4 {
		t.Errorf("got %d requests, want 4: a call, the list, the call again, and another", n)
	}
	s.then(func(w http.ResponseWriter, r *http.Request) {
		jsonAnswer(w, 400, `{"jsonrpc":"2.0","id":"c","error":{"code":-32020,"message":"always"}}`)
	})
	s.h.send(`{"jsonrpc":"2.0","id":"c","method":"tools/call","params":{"name":"sql","arguments":{"region":"x"},%s}}`, meta)
	if raw, m := s.h.next(); !strings.Contains(string(m["error"]), "-32020") {
		t.Errorf("got %s, want the server's error", raw)
	}
}

// TestConnectCancelsByTheEndOfTheRequest, as the revision 2026-07-28 wants it.
func TestConnectCancelsByTheEndOfTheRequest(t *testing.T) {
	srv := agent(t)
	arrived, gone := make(chan struct{}), make(chan struct{})
	s := newest(t, srv, func(w http.ResponseWriter, r *http.Request) {
		sse(w, "data: {\"jsonrpc\":\"2.0\",\"method\":\"notifications/progress\",\"params\":{}}\n\n")
		close(arrived)
		<-r.Context().Done()
		close(gone)
	})
	s.h.send(`{"jsonrpc":"2.0","id":7,"method":"subscriptions/listen","params":{%s}}`, meta)
	s.h.next()
	<-arrived
	s.h.send(`{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":7}}`)
	<-gone
	s.h.send(`{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":7}}`) // too late
	s.then(answerTools)
	s.h.send(`{"jsonrpc":"2.0","id":8,"method":"tools/list","params":{%s}}`, meta)
	if raw, m := s.h.next(); string(m["id"]) != "8" {
		t.Errorf("got %s, want the response to another request and none to the cancelled one", raw)
	}
	if n := len(s.requests("POST")); n != 2 {
		t.Errorf("the MCP server got %d messages, want no notifications/cancelled", n)
	}
}

// TestConnectTellsOfTheEndOfAListen, so that the host can listen again.
func TestConnectTellsOfTheEndOfAListen(t *testing.T) {
	srv := agent(t)
	s := newest(t, srv, func(w http.ResponseWriter, r *http.Request) {
		sse(w, "data: {\"jsonrpc\":\"2.0\",\"method\":\"notifications/tools/list_changed\",\"params\":{}}\n\n")
	})
	s.h.send(`{"jsonrpc":"2.0","id":7,"method":"subscriptions/listen","params":{%s}}`, meta)
	s.h.next()
	if raw, m := s.h.next(); string(m["id"]) != "7" || !strings.Contains(string(m["error"]), "broke off") {
		t.Errorf("got %s", raw)
	}
	if err := s.h.wait(); err != nil {
		t.Errorf("the command ended with %v", err)
	}
}

// TestConnectPassesOnOddMethods: what a header can't hold is there in base64, and the
// body is unchanged. The server says what is wrong with it.
func TestConnectPassesOnOddMethods(t *testing.T) {
	srv := agent(t)
	s := newest(t, srv, answerTools)
	for _, c := range [][2]string{
		{`"a\nb"`, "=?base64?YQpi?="},
		{`"a\r\nX-Evil: 1"`, "=?base64?YQ0KWC1FdmlsOiAx?="},
		{`"é"`, "é"},
		{`""`, ""},
	} {
		body := `{"jsonrpc":"2.0","id":1,"method":` + c[0] + `,"params":{` + meta + `}}`
		s.h.send("%s", body)
		if raw, m := s.h.next(); m["result"] == nil {
			t.Errorf("%s: got %s", c[0], raw)
		}
		all := s.requests("POST")
		if last := all[len(all)-1]; last.body != body || last.header.Get("Mcp-Method") != c[1] || last.header.Get("X-Evil") != "" {
			t.Errorf("%s: the server got %s with Mcp-Method %q, want %q", c[0], last.body, last.header.Get("Mcp-Method"), c[1])
		}
	}
	s.h.send(`{"jsonrpc":"2.0","id":1,"method":"x","params":{"_meta":{"io.modelcontextprotocol/protocolVersion":"2026\n07"}}}`)
	if raw, m := s.h.next(); m["result"] == nil {
		t.Errorf("a version with a line break: got %s", raw)
	}
}
