// Copyright 2026 The authsec Authors
// SPDX-License-Identifier: Apache-2.0

package mcp_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"
)

// malformed are lines with the code and the ID of what answers them. A code of 0:
// nothing does.
var malformed = []struct {
	line string
	code int
	id   string
}{
	{`{"jsonrpc":"2.0","id":1,"method":"ping"`, -32700, "null"},
	{`hello`, -32700, "null"},
	{`{"jsonrpc":"2.0","id":1,"method":"ping"} {}`, -32700, "null"},
	{"\x00\xff", -32700, "null"},
	{`{'jsonrpc':'2.0'}`, -32700, "null"},
	{`[{"jsonrpc":"2.0",`, -32700, "null"},
	{`1`, -32600, "null"},
	{`"ping"`, -32600, "null"},
	{`null`, -32600, "null"},
	{`true`, -32600, "null"},
	{`[]`, -32600, "null"},
	{`{}`, -32600, "null"},
	{`{"id":7}`, -32600, "7"},
	{`{"jsonrpc":"1.0","id":8,"method":"ping"}`, -32600, "8"},
	{`{"jsonrpc":2.0,"id":"a","method":"ping"}`, -32600, `"a"`},
	{`{"jsonrpc":"2.0","id":9,"method":42}`, -32600, "9"},
	{`{"jsonrpc":"2.0","id":9,"method":null}`, -32600, "9"},
	{`{"jsonrpc":"2.0","id":null,"method":"ping"}`, -32600, "null"},
	{`{"jsonrpc":"2.0","id":{},"method":"ping"}`, -32600, "null"},
	{`{"jsonrpc":"2.0","id":true,"method":"ping"}`, -32600, "null"},
	{`{"jsonrpc":"2.0","ID":1,"Method":"ping"}`, -32600, "null"},
	{`{"jsonrpc":"2.0","id":10,"method":"ping","params":"x"}`, -32600, "10"},
	{"", 0, ""},
	{" \t\r", 0, ""},
}

// foreign are messages that are well-formed, and that a server does not expect.
var foreign = []string{
	`{"jsonrpc":"2.0","method":"notifications/unknown"}`,
	`{"jsonrpc":"2.0","method":"unknown"}`,
	`{"jsonrpc":"2.0","method":"notifications/cancelled"}`,
	`{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":{}}}`,
	`{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":12345}}`,
	`{"jsonrpc":"2.0","method":"notifications/cancelled","params":[1]}`,
	`{"jsonrpc":"2.0","method":"notifications/initialized"}`,
	`{"jsonrpc":"2.0","id":99,"result":{}}`,
	`{"jsonrpc":"2.0","id":null,"error":{"code":1,"message":"x"}}`,
	`{"jsonrpc":"2.0","error":{"code":1,"message":"x"}}`,
}

// checkMalformed sends malformed lines, and checks after each that ping is answered.
func checkMalformed(t *testing.T, h *host) {
	for i, c := range malformed {
		h.send("%s", c.line)
		if c.code != 0 {
			raw, m := h.next()
			var e struct {
				Code    int
				Message string
			}
			if json.Unmarshal(m["error"], &e) != nil || e.Code != c.code || e.Message == "" || string(m["id"]) != c.id {
				t.Errorf("%q: got %s, want the code %d and the ID %s", c.line, raw, c.code, c.id)
			}
		}
		h.ping(fmt.Sprint("after-", i))
	}
}

// ping wants the answer to a ping next.
func (h *host) ping(id string) {
	h.t.Helper()
	h.send(`{"jsonrpc":"2.0","id":%q,"method":"ping"}`, id)
	if raw, m := h.next(); string(m["id"]) != `"`+id+`"` || m["result"] == nil {
		h.t.Fatalf("ping %s: got %s", id, raw)
	}
}

func TestServeGoesOnAfterMalformedLines(t *testing.T) {
	srv := agent(t)
	api := protect(t, srv, customers)
	h := start(t, command(t, srv, "serve", "--url", api.URL))
	h.send(`garbage before anything else`)
	if _, m := h.next(); m["error"] == nil {
		t.Errorf("got %s", m)
	}
	h.greet()
	checkMalformed(t, h)
	for i, line := range foreign {
		h.send("%s", line)
		h.ping(fmt.Sprint("foreign-", i))
	}
	for _, c := range [][2]string{
		{`{"jsonrpc":"2.0","id":1,"method":"unknown"}`, "-32601"},
		{`{"jsonrpc":"2.0","id":1,"method":"constructor","params":{}}`, "-32601"},
		{`{"jsonrpc":"2.0","id":1,"method":"tools/call"}`, "-32600"},
		{`{"jsonrpc":"2.0","id":1,"method":"tools/call","params":[1]}`, "-32602"},
		{`{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"other"}}`, "-32602"},
		{`{"jsonrpc":"2.0","id":1.5,"method":"ping"}`, "-32600"},
		{`{"jsonrpc":"2.0","id":9007199254740993,"method":"ping"}`, "-32600"},
		{`{"jsonrpc":"2.0","id":1,"method":"initialize","params":{}}`, "0"},
	} {
		h.send("%s", c[0])
		if raw, m := h.next(); !strings.Contains(string(m["error"]), `"code":`+c[1]) {
			t.Errorf("%s: got %s, want the code %s", c[0], raw, c[1])
		}
	}
	if err := h.wait(); err != nil {
		t.Errorf("the command ended with %v", err)
	}
}

func TestServeAnswersBatches(t *testing.T) {
	srv := agent(t)
	api := protect(t, srv, customers)
	h := start(t, command(t, srv, "serve", "--url", api.URL))
	h.greet()
	h.send(`[{"jsonrpc":"2.0","id":1,"method":"ping"},{"jsonrpc":"2.0","method":"notifications/x"},1,{"jsonrpc":"2.0","id":2,"method":"tools/call","params":{"name":"secure_fetch","arguments":{"url":"x"}}},{"jsonrpc":"2.0","id":1,"method":"ping"}]`)
	raw, _ := h.next()
	var all []struct {
		ID     json.RawMessage
		Result json.RawMessage
		Error  json.RawMessage
	}
	if err := json.Unmarshal([]byte(raw), &all); err != nil || len(all) != 4 {
		t.Fatalf("got %s, %v, want 4 responses", raw, err)
	}
	got := map[string]int{}
	for _, r := range all {
		got[fmt.Sprintf("%s %t", r.ID, r.Error != nil)]++
	}
	if got["1 false"] != 1 || got["2 false"] != 1 || got["null true"] != 2 {
		t.Errorf("got %v in %s", got, raw)
	}
	h.send(`[{"jsonrpc":"2.0","method":"notifications/x"}]`)
	h.ping("after")
}

// TestServeIsSilentAboutCancelledCalls: the client waits for nothing.
func TestServeIsSilentAboutCancelledCalls(t *testing.T) {
	srv := agent(t)
	arrived, gone := make(chan struct{}), make(chan struct{})
	api := protect(t, srv, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		close(arrived)
		<-r.Context().Done()
		close(gone)
	}))
	h := start(t, command(t, srv, "serve", "--url", api.URL))
	h.greet()
	h.send(`{"jsonrpc":"2.0","id":"c","method":"tools/call","params":{"name":"secure_fetch","arguments":{"url":"x"}}}`)
	<-arrived
	h.send(`{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":"c"}}`)
	<-gone
	h.ping("after")
}

func TestServeRefusesHugeMessages(t *testing.T) {
	ctx, srv := within(t), agent(t)
	api := protect(t, srv, customers)
	h := start(t, command(t, srv, "serve", "--url", api.URL))
	h.greet()
	huge := strings.Repeat("x", 8<<20)
	h.send(`{"method":"tools/call","params":{"name":"secure_fetch","arguments":{"url":"x","id":77,"a":["id",{"id":3}],"b":"\"id\":4,%s"}},"jsonrpc":"2.0","id":5}`, huge)
	if raw, m := h.next(); string(m["id"]) != "5" || !strings.Contains(string(m["result"]), `"isError":true`) || !strings.Contains(raw, "Send less") {
		t.Errorf("a huge call: got %.300s", raw)
	}
	h.send(`{"jsonrpc":"2.0","id":"6","method":"x","params":{"a":"%s"}}`, huge)
	if raw, m := h.next(); string(m["id"]) != `"6"` || !strings.Contains(string(m["error"]), "-32600") {
		t.Errorf("a huge request: got %.300s", raw)
	}
	h.send(`{"jsonrpc":"2.0","method":"x","params":{"a":"%s"}}`, huge)
	h.send("%s", huge)
	if raw, m := h.next(); string(m["id"]) != "null" || !strings.Contains(string(m["error"]), "-32600") {
		t.Errorf("a huge line: got %.300s", raw)
	}
	h.ping("after")

	session := connect(t, ctx, command(t, srv, "serve", "--url", api.URL, "--method", "POST", "--max-body", fmt.Sprint(5<<20), "--max-answer", fmt.Sprint(20<<20)), nil)
	text, isError, err := call(ctx, session, "secure_fetch", map[string]any{"url": "x", "method": "POST", "body": huge[:5<<20]})
	if err != nil || isError || len(text) < 5<<20 {
		t.Errorf("a body that is permitted: got %.200q (error: %t), %v", text, isError, err)
	}
}
