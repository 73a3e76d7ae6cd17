// Copyright 2026 The authsec Authors
// SPDX-License-Identifier: Apache-2.0

package mcp_test

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/authsec-go/authsec/authsectest"
	sdk "github.com/modelcontextprotocol/go-sdk/mcp"
)

// customers is a protected API.
var customers = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	w.Header().Set("Content-Type", "application/json")
	fmt.Fprintf(w, `{"path":%q,"method":%q,"body":%q}`, r.URL.Path, r.Method, body)
})

// TestServeLoop is what an agent does, without a model: it lists the tools, calls one,
// is refused a URL, and goes on after a revocation and another delegation.
func TestServeLoop(t *testing.T) {
	ctx, srv := within(t), agent(t)
	api := protect(t, srv, customers)
	session := connect(t, ctx, command(t, srv, "serve", "--url", api.URL+"/v1"), nil)

	tools, err := session.ListTools(ctx, nil)
	if err != nil {
		t.Fatal(err)
	}
	if len(tools.Tools) != 1 || tools.Tools[0].Name != "secure_fetch" || !strings.Contains(tools.Tools[0].Description, "GET below "+api.URL+"/v1") {
		t.Fatalf("got the tools %+v", tools.Tools)
	}
	if a := tools.Tools[0].Annotations; a == nil || !a.ReadOnlyHint || *a.DestructiveHint || !a.IdempotentHint {
		t.Errorf("got the annotations %+v, want those of a tool that only reads", a)
	}
	use := func(url string, wantError bool, want ...string) func() error {
		return func() error {
			text, isError, err := call(ctx, session, "secure_fetch", map[string]any{"url": url})
			if err != nil {
				t.Fatalf("%s: %v", url, err)
			}
			for _, w := range want {
				if isError != wantError || !strings.Contains(text, w) {
					return fmt.Errorf("%s: got %q (error: %t), want %q (error: %t)", url, text, isError, w, wantError)
				}
			}
			return nil
		}
	}
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Error(err)
		}
	}
	must(use("customers/42", false, `"path":"/v1/customers/42"`)())
	must(use(api.URL+"/admin", true, "Error: ", "below none of the permitted URLs")())
	must(use("https://evil.test/", true, "Permitted: GET below "+api.URL+"/v1")())
	if n := srv.APICalls(); n != 1 {
		t.Errorf("the API got %d requests, want 1", n)
	}
	srv.Revoke(authsectest.ClientID)
	must(use("customers/42", true, "Error: ", "admin")())
	must(use("customers/42", true, "Nothing is delegated to this agent")())
	delegate(srv)
	eventually(t, use("customers/42", false, `"path":"/v1/customers/42"`))
}

// TestServeTellsWhatAModelCanMend: it is the tool's text, and the session goes on.
func TestServeTellsWhatAModelCanMend(t *testing.T) {
	ctx, srv := within(t), agent(t)
	api := protect(t, srv, customers)
	session := connect(t, ctx, command(t, srv, "serve", "--url", api.URL, "--method", "GET,POST", "--name", "billing", "--description", "Invoices.", "--max-answer", "60", "--max-body", "10"), nil)
	for _, c := range []struct {
		args    any
		isError bool
		want    string
	}{
		{map[string]any{"url": "x", "method": "POST", "body": "{}"}, false, `"body":"{}"`},
		{map[string]any{"url": "x", "method": "POST", "body": map[string]any{"a": 1}}, false, `"body":"{\"a\":1}"`},
		{map[string]any{"url": "x", "method": "GET", "body": nil}, false, `"path":"/x"`},
		{map[string]any{"url": strings.Repeat("x", 50)}, false, "[Cut here"},
		{map[string]any{"url": "x", "method": "DELETE"}, true, "The method is not permitted. Permitted: GET, POST."},
		{map[string]any{"url": "x", "method": "POST", "body": strings.Repeat("x", 11)}, true, "11 bytes, and 10 are permitted"},
		{map[string]any{"url": 42}, true, `"url" is not a string`},
		{map[string]any{"uri": "x"}, true, "an argument that the tool does not have"},
		{map[string]any{}, true, "is empty"},
		{nil, true, "is empty"},
		{[]int{1}, true, "not an object"},
	} {
		text, isError, err := call(ctx, session, "billing", c.args)
		if err != nil || isError != c.isError || !strings.Contains(text, c.want) {
			t.Errorf("%v: got %q (error: %t), %v, want %q (error: %t)", c.args, text, isError, err, c.want, c.isError)
		}
	}
	tools, err := session.ListTools(ctx, nil)
	if err != nil {
		t.Fatal(err)
	}
	tool := tools.Tools[0]
	if a := tool.Annotations; tool.Description != "Invoices." || a.ReadOnlyHint || !*a.DestructiveHint || a.IdempotentHint {
		t.Errorf("got the description %q and annotations %+v, want those of a tool that changes things", tool.Description, a)
	}
	if schema, _ := json.Marshal(tool.InputSchema); !strings.Contains(string(schema), `"enum":["GET","POST"]`) {
		t.Errorf("got the schema %s, want the permitted methods in it", schema)
	}
	if _, _, err := call(ctx, session, "another", nil); err == nil {
		t.Error("a tool that does not exist: got no error")
	}
}

func TestServeNeedsPermissions(t *testing.T) {
	ctx, srv := within(t), agent(t)
	api := protect(t, srv, customers)
	session := connect(t, ctx, command(t, srv, "serve", "--url", api.URL, "--permission", "billing:read", "--permission", "billing:write"), nil)
	text, isError, err := call(ctx, session, "secure_fetch", map[string]any{"url": "x"})
	if err != nil || !isError || !strings.Contains(text, "lacks billing:write") {
		t.Errorf("got %q (error: %t), %v", text, isError, err)
	}
}

func TestServeTakesDownstreamURL(t *testing.T) {
	ctx, srv := within(t), agent(t)
	api := protect(t, srv, customers)
	cmd := command(t, srv, "serve")
	cmd.Env = append(cmd.Env, "DOWNSTREAM_URL="+api.URL+"/v2")
	text, isError, err := call(ctx, connect(t, ctx, cmd, nil), "secure_fetch", map[string]any{"url": "x"})
	if err != nil || isError || !strings.Contains(text, `"path":"/v2/x"`) {
		t.Errorf("got %q (error: %t), %v", text, isError, err)
	}
}

func TestServeAnswers100CallsAtOnce(t *testing.T) {
	ctx, srv := within(t), agent(t)
	all := make(chan struct{})
	var once sync.WaitGroup
	once.Add(100)
	go func() { once.Wait(); close(all) }()
	api := protect(t, srv, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		once.Done()
		<-all // so that they are at once
		customers(w, r)
	}))
	session := connect(t, ctx, command(t, srv, "serve", "--url", api.URL), nil)
	var wg sync.WaitGroup
	for i := range 100 {
		wg.Go(func() {
			text, isError, err := call(ctx, session, "secure_fetch", map[string]any{"url": fmt.Sprint("c", i)})
			if want := fmt.Sprintf(`"path":"/c%d"`, i); err != nil || isError || !strings.Contains(text, want) {
				t.Errorf("call %d: got %q, %v", i, text, err)
			}
		})
	}
	wg.Wait()
	if n := srv.Fetches(); n != 1 {
		t.Errorf("got %d requests for a token, want 1", n)
	}
}

// TestServeEndsWithItsInput: what was called before is answered.
func TestServeEndsWithItsInput(t *testing.T) {
	srv := agent(t)
	release := make(chan struct{})
	api := protect(t, srv, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		<-release
		customers(w, r)
	}))
	h := start(t, command(t, srv, "serve", "--url", api.URL))
	h.greet()
	h.send(`{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"secure_fetch","arguments":{"url":"x"}}}`)
	time.AfterFunc(300*time.Millisecond, func() { close(release) })
	if err := h.wait(); err != nil {
		t.Errorf("the command ended with %v", err)
	}
	if raw, m := h.next(); string(m["id"]) != "1" || !strings.Contains(raw, `\"path\":\"/x\"`) {
		t.Errorf("got %s, want the call's answer", raw)
	}
}

// TestServeEndsAtASignal also while a call is under way and the host reads nothing.
func TestServeEndsAtASignal(t *testing.T) {
	srv := agent(t)
	arrived := make(chan struct{}, 1)
	api := protect(t, srv, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		arrived <- struct{}{}
		<-r.Context().Done()
	}))
	h := start(t, command(t, srv, "serve", "--url", api.URL))
	h.greet()
	h.send(`{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"secure_fetch","arguments":{"url":"x"}}}`)
	<-arrived
	h.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case err := <-h.ended:
		if err != nil {
			t.Errorf("the command ended with %v", err)
		}
	case <-time.After(20 * time.Second):
		t.Error("the command goes on after SIGTERM")
	}
}

func TestServeRefusesWrongCalls(t *testing.T) {
	srv := agent(t)
	for _, c := range []struct {
		args []string
		want string
		code int
	}{
		{nil, "To do: give one, such as --url https://api.example.com/v1, or set DOWNSTREAM_URL", 2},
		{[]string{"--url", "ftp://x"}, "--url[0] does not begin with https://", 2},
		{[]string{"--url", "http://api.example.com"}, "use https (or --allow-http, if you must)", 2},
		{[]string{"--url", "https://api.example.com", "--method", "CONNECT"}, `--method: "CONNECT" is none of GET`, 2},
		{[]string{"--url", "https://api.example.com", "--name", "a b"}, "--name: ", 2},
		{[]string{"--url", "https://api.example.com", "--timeout", "0s"}, "--timeout 0s", 2},
		{[]string{"--url", "https://api.example.com", "--http", "0.0.0.0:0"}, "To do: give one such as 127.0.0.1:0", 2},
		{[]string{"--url", "https://api.example.com", "--http", "192.0.2.1:80"}, "not a loopback address", 2},
		{[]string{"--url", "https://api.example.com", "--http", ":80"}, "not a loopback address", 2},
		{[]string{"--url", "https://api.example.com", "more"}, `unexpected argument "more"`, 2},
	} {
		cmd := command(t, srv, append([]string{"serve"}, c.args...)...)
		out, err := cmd.Output()
		if got := fmt.Sprint(cmd.Stderr); exitCode(err) != c.code || !strings.Contains(got, c.want) || len(out) > 0 {
			t.Errorf("%v: got %d, %q and on standard output %q; want %d, %q and nothing", c.args, exitCode(err), got, out, c.code, c.want)
		}
	}
}

// TestServeRevisions: each revision that go-sdk knows.
func TestServeRevisions(t *testing.T) {
	srv := agent(t)
	api := protect(t, srv, customers)
	for _, version := range append(sdk.SupportedProtocolVersions(), "1999-01-01", "2999-01-01") {
		h := start(t, command(t, srv, "serve", "--url", api.URL))
		h.send("%s", strings.Replace(greeting, "2025-11-25", version, 1))
		raw, m := h.next()
		want := version
		if version > "2025-11-25" || version < "2024" {
			want = "2025-11-25"
		}
		if m["result"] == nil || !strings.Contains(raw, `"protocolVersion":"`+want+`"`) {
			t.Errorf("initialize with %s: got %s", version, raw)
		}
		h.send(`{"jsonrpc":"2.0","id":2,"method":"tools/list","params":{"_meta":{"io.modelcontextprotocol/protocolVersion":%q,"io.modelcontextprotocol/clientInfo":{"name":"t","version":"1"},"io.modelcontextprotocol/clientCapabilities":{}}}}`, "2026-07-28")
		if raw, m := h.next(); m["result"] == nil {
			t.Errorf("tools/list of 2026-07-28: got %s", raw)
		}
		if err := h.wait(); err != nil {
			t.Errorf("the command ended with %v", err)
		}
	}
}
