// Copyright 2026 The authsec Authors
// SPDX-License-Identifier: Apache-2.0

package mcp

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/modelcontextprotocol/go-sdk/jsonrpc"
)

// TestResponsesInAnotherCallsAnswer: the host gets one response to each call, wherever
// the server sends it.
func TestResponsesInAnotherCallsAnswer(t *testing.T) {
	inBubble(t, func(req *http.Request, body string) *http.Response {
		m, _ := parse([]byte(body))
		switch {
		case m.method == "first":
			<-req.Context().Done()
			return nil
		case m.method == "second":
			time.Sleep(time.Second)
			return answered(200, "text/event-stream", `data: {"jsonrpc":"2.0","id":1,"result":{}}`+"\n\n"+`data: {"jsonrpc":"2.0","id":2,"result":{}}`+"\n\n")
		case m.method == "third":
			time.Sleep(2 * time.Second)
			return answered(502, "", "")
		case req.Method == http.MethodGet:
			time.Sleep(time.Millisecond)
			resp, _ := endless(req, `data: [{"jsonrpc":"2.0","id":3,"result":{}}]`+"\n\n")
			return resp
		}
		return nil
	}, func(w *bubble) {
		w.greet()
		w.send(`{"jsonrpc":"2.0","id":1,"method":"first"}`)
		w.send(`{"jsonrpc":"2.0","id":2,"method":"second"}`)
		w.send(`{"jsonrpc":"2.0","id":3,"method":"third"}`)
		time.Sleep(time.Hour)
		got := strings.Join(w.host(), "\n")
		for id := 1; id <= 3; id++ {
			if n := strings.Count(got, fmt.Sprintf(`"id":%d,`, id)); n != 1 {
				t.Errorf("the host got %d responses to %d, want 1: %s", n, id, got)
			}
		}
		if strings.Contains(got, `"error"`) {
			t.Errorf("the host got %s, want no error for a call that has its response", got)
		}
		w.b.mu.Lock()
		defer w.b.mu.Unlock()
		if n := len(w.b.inFlight); n != 0 {
			t.Errorf("%d requests are in flight, want 0", n)
		}
	})
}

// TestRefusedBatch: each of its requests gets a response.
func TestRefusedBatch(t *testing.T) {
	inBubble(t, func(req *http.Request, body string) *http.Response {
		return answered(400, "application/json", `{"jsonrpc":"2.0","id":2,"error":{"code":-32600,"message":"no batches"}}`)
	}, func(w *bubble) {
		w.send(`[{"jsonrpc":"2.0","id":1,"method":"x"},{"jsonrpc":"2.0","id":2,"method":"x"},{"jsonrpc":"2.0","method":"x"}]`)
		got := strings.Join(w.host(), "\n")
		for id := 1; id <= 2; id++ {
			if n := strings.Count(got, fmt.Sprintf(`"id":%d,"error":{"code":-32600,"message":"no batches"}`, id)); n != 1 {
				t.Errorf("the host got %d errors for %d, want 1: %s", n, id, got)
			}
		}
	})
}

// TestHostGetsNothingButUTF8: some hosts end at a byte that is not.
func TestHostGetsNothingButUTF8(t *testing.T) {
	const bad = "{\"jsonrpc\":\"2.0\",\"id\":1,\"result\":\"\xff\"}"
	for _, contentType := range []string{"application/json", "text/event-stream"} {
		inBubble(t, func(req *http.Request, body string) *http.Response {
			if contentType == "text/event-stream" {
				return answered(200, contentType, "data: "+bad+"\n\n")
			}
			return answered(200, contentType, bad)
		}, func(w *bubble) {
			w.send(callLine)
			if got := w.host(); len(got) != 1 || strings.Contains(got[0], "\xff") || !strings.Contains(got[0], "-3201") {
				t.Errorf("%s: the host got %q, want an error", contentType, got)
			}
			w.send("{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"\xff\"}")
			if got := w.host(); len(got) != 1 || !strings.Contains(got[0], "-32700") {
				t.Errorf("the host got %q, want a parse error", got)
			}
		})
	}
}

// TestHostIsToldWhyThereIsNoAnswer, in words of our own.
func TestHostIsToldWhyThereIsNoAnswer(t *testing.T) {
	for _, c := range []struct {
		err  error
		want string
	}{
		{errors.New("evil"), "its answer is not valid HTTP, or broke off"},
		{fmt.Errorf("evil: %w", errBrokeOff), "the answer broke off"},
		{fmt.Errorf("evil: %w", errEventTooLong), "the server sent a message that is too long"},
		{io.EOF, "it closed the connection too early"},
	} {
		b := &bridge{host: "mcp.example.com"}
		got := b.explain(&url.Error{Op: "Post", URL: "https://evil/", Err: c.err})
		if want := "The MCP server at mcp.example.com gave no whole answer: " + c.want + ". Repeat the call later."; got.Message != want || got.Code != codeUnavailable {
			t.Errorf("%T %v: got %q, want %q", c.err, c.err, got.Message, want)
		}
	}
}

// nested is a schema whose innermost property is an argument for a header, at depth.
func nested(depth int, padding string) json.RawMessage {
	return json.RawMessage(`{"tools":[{"name":"t","inputSchema":` + strings.Repeat(`{"properties":{"p":`, depth) + `{"x-mcp-header":"H","x":"` + padding + `"}` + strings.Repeat("}}", depth) + `}]}`)
}

// TestDeepSchema: the depth of what is learned is bounded, and the time that it takes
// grows with the size alone.
func TestDeepSchema(t *testing.T) {
	call := message{method: methodCallTool, named: map[string]json.RawMessage{"name": json.RawMessage(`"t"`)}}
	for depth, known := range map[int]bool{0: false, 1: true, maxDepth: true, maxDepth + 1: false} {
		var tools toolHeaders
		tools.learn(nested(1, ""))
		if tools.learn(nested(depth, "")); (tools.of(call) != nil) != known {
			t.Errorf("depth %d: known is %t, want %t", depth, !known, known)
		}
	}
	var tools toolHeaders
	done := make(chan struct{})
	go func() {
		defer close(done)
		tools.learn(nested(4900, strings.Repeat("x", 8<<20)))
	}()
	select {
	case <-done: // after less than a second; level by level, it is read 4,900 times
	case <-time.After(30 * time.Second):
		t.Fatal("a deep schema is still being read after 30 s")
	}
	if tools.learn(nested(1, strings.Repeat("x", maxToolList))); tools.of(call) != nil {
		t.Error("a list that is too long was read")
	}
}

// TestToolsAreForgotten before they fill the memory: a server may list others each time.
func TestToolsAreForgotten(t *testing.T) {
	var tools toolHeaders
	list := `{"tools":[{"name":"%d","inputSchema":{"properties":{"a":{"x-mcp-header":"A"}}}}],"x":"` + strings.Repeat("x", maxToolList/2-200) + `"}`
	for i, known := range []int{1, 2, 1, 2, 1} {
		tools.learn(fmt.Appendf(nil, list, i))
		if n := len(tools.byTool); n != known || tools.byTool[fmt.Sprint(i)] == nil {
			t.Errorf("after list %d, %d tools are known, want %d, and those of the list", i, n, known)
		}
	}
}

// TestIDCanBeUsedAgain as soon as its response is at the host.
func TestIDCanBeUsedAgain(t *testing.T) {
	var s *stdio
	id, _ := makeID(json.RawMessage("1"))
	again := false
	s = newStdio(nil, &lineWriter{w: writerFunc(func(p []byte) (int, error) {
		again = s.begin(id, &call{})
		return len(p), nil
	})}, 100)
	if !s.begin(id, &call{}) || s.begin(id, &call{}) {
		t.Fatal("a request was refused, or one with an ID that is in use was not")
	}
	if err := s.Write(t.Context(), &jsonrpc.Response{ID: id, Result: json.RawMessage("{}")}); err != nil || !again {
		t.Errorf("the ID was refused (%v)", err)
	}
	if !s.open() {
		t.Error("the second call with this ID was forgotten at the end of the first")
	}
}

// TestMessagesOfTheServerAreBounded together, not only each: of 12 answers that never
// end a line, those within the bound go on. Others come through after that.
func TestMessagesOfTheServerAreBounded(t *testing.T) {
	const n, size, most = 12, 3 * holdStep, 12 * holdStep
	long := strings.Repeat("x", size)
	for _, contentType := range []string{"application/json", "text/event-stream"} {
		inBubble(t, func(req *http.Request, body string) (resp *http.Response) {
			if !strings.Contains(body, "tools/call") {
				m, _ := parse([]byte(body))
				resp, _ = endless(req, strings.Repeat(": "+long+"\n", 5)+"event: "+long+"\ndata: x\n\n: "+long+"\n"+
					`data: {"jsonrpc":"2.0","id":`+string(m.id)+`,"result":"`+long+"\"}\n\n")
				return resp
			}
			resp, _ = endless(req, `data: "`+long)
			resp.Header.Set("Content-Type", contentType)
			return resp
		}, func(w *bubble) {
			w.b.held.most = most
			for i := range n {
				w.send(`{"jsonrpc":"2.0","id":%d,"method":"tools/call"}`, i)
			}
			got := strings.Join(w.host(), "\n")
			if failed := strings.Count(got, "too many long messages at once"); failed < n-most/size || failed > n-most/size+2 {
				t.Errorf("%s: %d calls failed, want %d", contentType, failed, n-most/size)
			}
			for i := range n {
				w.send(`{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":%d}}`, i)
			}
			time.Sleep(lateTime)
			for i := range 3 { // comments and other lines are not kept
				w.send(`{"jsonrpc":"2.0","id":%d,"method":"x"}`, i)
				if got := w.host(); len(got) != 1 || !strings.Contains(got[0], `"result"`) {
					t.Fatalf("%s: got %.300q, want a result", contentType, got)
				}
			}
			if held := w.b.held.taken.Load(); held != 0 {
				t.Errorf("%s: %d bytes are held while the streams are idle, want 0", contentType, held)
			}
		})
	}
}
