// Copyright 2026 The authsec Authors
// SPDX-License-Identifier: Apache-2.0

package mcp_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/authsec-go/authsec/authsectest"
	"github.com/modelcontextprotocol/go-sdk/jsonrpc"
	sdk "github.com/modelcontextprotocol/go-sdk/mcp"
)

// remote is an MCP server of go-sdk behind the protection of AuthSec.
type remote struct {
	*sdk.Server
	url     string
	handler *sdk.StreamableHTTPHandler

	mu       sync.Mutex
	requests []*http.Request // with the token in them

	started, stopped, closing chan struct{} // of the tool wait
}

// newRemote starts one.
func newRemote(t testing.TB, srv *authsectest.Server, opts sdk.StreamableHTTPOptions) *remote {
	r := &remote{started: make(chan struct{}, 200), stopped: make(chan struct{}, 200), closing: make(chan struct{})}
	r.Server = sdk.NewServer(&sdk.Implementation{Name: "billing", Version: "1"}, nil)
	type in struct {
		Text string `json:"text,omitempty"`
	}
	sdk.AddTool(r.Server, &sdk.Tool{Name: "echo"}, func(_ context.Context, _ *sdk.CallToolRequest, in in) (*sdk.CallToolResult, any, error) {
		return &sdk.CallToolResult{Content: []sdk.Content{&sdk.TextContent{Text: in.Text}}}, nil, nil
	})
	sdk.AddTool(r.Server, &sdk.Tool{Name: "progress"}, func(ctx context.Context, req *sdk.CallToolRequest, _ in) (*sdk.CallToolResult, any, error) {
		for i := range 3 {
			err := req.Session.NotifyProgress(ctx, &sdk.ProgressNotificationParams{ProgressToken: req.Params.GetProgressToken(), Progress: float64(i + 1)})
			if err != nil {
				return nil, nil, err
			}
		}
		return &sdk.CallToolResult{Content: []sdk.Content{&sdk.TextContent{Text: "done"}}}, nil, nil
	})
	sdk.AddTool(r.Server, &sdk.Tool{Name: "wait"}, func(ctx context.Context, _ *sdk.CallToolRequest, _ in) (*sdk.CallToolResult, any, error) {
		r.started <- struct{}{}
		select {
		case <-ctx.Done():
			r.stopped <- struct{}{}
		case <-r.closing: // go-sdk's session waits for its tools
		}
		return nil, nil, ctx.Err()
	})
	sdk.AddTool(r.Server, &sdk.Tool{Name: "ask"}, func(ctx context.Context, req *sdk.CallToolRequest, _ in) (*sdk.CallToolResult, any, error) {
		answer, err := req.Session.Elicit(ctx, &sdk.ElicitParams{Message: "How many?", RequestedSchema: map[string]any{"type": "object", "properties": map[string]any{"n": map[string]any{"type": "integer"}}}})
		if err != nil {
			return nil, nil, err
		}
		return &sdk.CallToolResult{Content: []sdk.Content{&sdk.TextContent{Text: fmt.Sprint(answer.Action, answer.Content["n"])}}}, nil, nil
	})
	opts.PropagateRequestCancellation = true
	r.handler = sdk.NewStreamableHTTPHandler(func(*http.Request) *sdk.Server { return r.Server }, &opts)
	api := protect(t, srv, http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		r.mu.Lock()
		r.requests = append(r.requests, req.Clone(context.Background()))
		r.mu.Unlock()
		r.handler.ServeHTTP(w, req)
	}))
	r.url = api.URL + "/mcp"
	t.Cleanup(func() { close(r.closing) })
	return r
}

// seen returns the requests with a method.
func (r *remote) seen(method string) []*http.Request {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.DeleteFunc(slices.Clone(r.requests), func(req *http.Request) bool { return req.Method != method })
}

// era is a generation of MCP: with sessions, or, since 2026-07-28, without.
type era struct {
	version string
	client  *sdk.ClientSessionOptions
	server  sdk.StreamableHTTPOptions
}

var eras = map[string]era{
	"sessions": {version: "2025-11-25", client: &sdk.ClientSessionOptions{ProtocolVersion: "2025-11-25"}},
	"newest":   {version: "2026-07-28", server: sdk.StreamableHTTPOptions{Stateless: true}},
}

// connectEra connects go-sdk's client through authsec mcp connect.
func connectEra(t testing.TB, ctx context.Context, srv *authsectest.Server, url string, opts *sdk.ClientOptions, era era) *sdk.ClientSession {
	t.Helper()
	cmd := command(t, srv, "connect", url)
	session, err := sdk.NewClient(&sdk.Implementation{Name: "host", Version: "1"}, opts).Connect(ctx, &sdk.CommandTransport{Command: cmd, TerminateDuration: 5 * time.Second}, era.client)
	if err != nil {
		t.Fatalf("connect: %v; standard error:\n%s", err, cmd.Stderr)
	}
	if got := session.InitializeResult().ProtocolVersion; got != era.version {
		t.Fatalf("got the revision %s, want %s", got, era.version)
	}
	t.Cleanup(func() {
		session.Close()
		if t.Failed() {
			t.Logf("standard error:\n%s", cmd.Stderr)
		}
	})
	return session
}

// TestConnectLoop is what a host does: it lists and calls, gets progress, cancels, is
// asked by the server, and goes on after a revocation and another delegation.
func TestConnectLoop(t *testing.T) {
	for name, era := range eras {
		t.Run(name, func(t *testing.T) {
			ctx, srv := within(t), agent(t)
			r := newRemote(t, srv, era.server)
			progress := make(chan float64, 10)
			session := connectEra(t, ctx, srv, r.url, &sdk.ClientOptions{
				ProgressNotificationHandler: func(_ context.Context, req *sdk.ProgressNotificationClientRequest) {
					progress <- req.Params.Progress
				},
				ElicitationHandler: func(context.Context, *sdk.ElicitRequest) (*sdk.ElicitResult, error) {
					return &sdk.ElicitResult{Action: "accept", Content: map[string]any{"n": 3}}, nil
				},
			}, era)
			if tools, err := session.ListTools(ctx, nil); err != nil || len(tools.Tools) != 4 {
				t.Fatalf("got %v, %v, want 4 tools", tools, err)
			}
			if text, _, err := call(ctx, session, "echo", map[string]any{"text": "<é\n\"\u2028>"}); err != nil || text != "<é\n\"\u2028>" {
				t.Errorf("echo: got %q, %v", text, err)
			}
			params := &sdk.CallToolParams{Name: "progress"}
			params.SetProgressToken("p")
			if _, err := session.CallTool(ctx, params); err != nil {
				t.Error(err)
			}
			for want := 1.0; want <= 3; want++ {
				if got := <-progress; got != want {
					t.Errorf("progress: got %v, want %v", got, want)
				}
			}
			if name == "sessions" { // later revisions have no requests of the server
				if text, _, err := call(ctx, session, "ask", nil); err != nil || text != "accept3" {
					t.Errorf("ask: got %q, %v", text, err)
				}
			}
			cancelled, cancel := context.WithCancel(ctx)
			go func() { <-r.started; cancel() }()
			if _, _, err := call(cancelled, session, "wait", nil); !errors.Is(err, context.Canceled) {
				t.Errorf("a cancelled call: got %v", err)
			}
			select {
			case <-r.stopped:
			case <-ctx.Done():
				t.Error("the server was not told of the cancellation")
			}

			srv.Revoke(authsectest.ClientID)
			for range 2 {
				_, _, err := call(ctx, session, "echo", nil)
				var e *jsonrpc.Error
				if !errors.As(err, &e) || e.Code != -32011 || !strings.Contains(e.Message, "Nothing is delegated to this agent") || !strings.Contains(e.Message, "admin") || string(e.Data) != `{"reason":"not_delegated"}` {
					t.Errorf("after the revocation: got %v, want an error that says so", err)
				}
			}
			delegate(srv)
			eventually(t, func() error { _, _, err := call(ctx, session, "echo", nil); return err })
			if n := len(tokens(r)); n != 2 {
				t.Errorf("the MCP server saw %d tokens, want 2", n)
			}
			session.Close()
			if deleted := len(r.seen("DELETE")); deleted != 1 && name == "sessions" {
				t.Errorf("got %d requests that delete the session, want 1", deleted)
			}
		})
	}
}

// tokens are the tokens that the server got.
func tokens(r *remote) map[string]bool {
	all := map[string]bool{}
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, req := range r.requests {
		all[req.Header.Get("Authorization")] = true
	}
	return all
}

// TestConnectReplacesARejectedToken: if there is another delegation already, no call
// fails.
func TestConnectReplacesARejectedToken(t *testing.T) {
	for name, era := range eras {
		t.Run(name, func(t *testing.T) {
			ctx, srv := within(t), agent(t)
			r := newRemote(t, srv, era.server)
			session := connectEra(t, ctx, srv, r.url, nil, era)
			for range 3 {
				if _, _, err := call(ctx, session, "echo", nil); err != nil {
					t.Error(err)
				}
				srv.Revoke(authsectest.ClientID)
				delegate(srv)
				time.Sleep(1100 * time.Millisecond) // one renewal a second, by package authsec
			}
			if n := len(tokens(r)); n != 3 {
				t.Errorf("the MCP server saw %d tokens, want 3", n)
			}
		})
	}
}

// TestConnectWithoutADelegation: the host's session may begin before there is one.
func TestConnectWithoutADelegation(t *testing.T) {
	srv := authsectest.NewServer()
	defer srv.Close()
	srv.Register(authsectest.ClientID)
	r := newRemote(t, srv, sdk.StreamableHTTPOptions{})
	h := start(t, command(t, srv, "connect", r.url))
	h.send("%s", greeting)
	if raw, m := h.next(); string(m["id"]) != `"hello"` || !strings.Contains(string(m["error"]), "admin") {
		t.Errorf("got %s, want an error that says that nothing is delegated", raw)
	}
	delegate(srv)
	eventually(t, func() error {
		h.send("%s", greeting)
		if raw, m := h.next(); m["result"] == nil {
			return errors.New(raw)
		}
		return nil
	})
}

// TestConnectRevisions: each revision that go-sdk knows.
func TestConnectRevisions(t *testing.T) {
	ctx, srv := within(t), agent(t)
	for _, version := range sdk.SupportedProtocolVersions() {
		e := era{version: version, client: &sdk.ClientSessionOptions{ProtocolVersion: version}}
		e.server.Stateless = version >= "2026"
		r := newRemote(t, srv, e.server)
		session := connectEra(t, ctx, srv, r.url, nil, e)
		if text, _, err := call(ctx, session, "echo", map[string]any{"text": "x"}); err != nil || text != "x" {
			t.Errorf("%s: got %q, %v", version, text, err)
		}
		posts := r.seen("POST")
		if got := posts[len(posts)-1].Header.Get("Mcp-Protocol-Version"); got != version {
			t.Errorf("the server got the revision %q, want %s", got, version)
		}
	}
}

func TestConnectCarries100CallsAtOnce(t *testing.T) {
	for name, era := range eras {
		t.Run(name, func(t *testing.T) {
			ctx, srv := within(t), agent(t)
			r := newRemote(t, srv, era.server)
			session := connectEra(t, ctx, srv, r.url, nil, era)
			var waits, wg sync.WaitGroup
			waiting, cancel := context.WithCancel(ctx)
			defer waits.Wait()
			defer cancel()
			for range 20 {
				waits.Go(func() { call(waiting, session, "wait", nil) })
			}
			for range 20 { // these are in flight
				select {
				case <-r.started:
				case <-ctx.Done():
					t.Fatal("not all calls reached the server")
				}
			}
			for i := range 80 {
				wg.Go(func() {
					text, _, err := call(ctx, session, "echo", map[string]any{"text": fmt.Sprint(i)})
					if err != nil || text != fmt.Sprint(i) {
						t.Errorf("call %d: got %q, %v", i, text, err)
					}
				})
			}
			wg.Wait()
		})
	}
}

func TestConnectCarriesHugeMessages(t *testing.T) {
	for name, era := range eras {
		t.Run(name, func(t *testing.T) {
			ctx, srv := within(t), agent(t)
			era.server.MaxRequestBodyBytes = 32 << 20
			r := newRemote(t, srv, era.server)
			session := connectEra(t, ctx, srv, r.url, nil, era)
			huge := strings.Repeat("x", 8<<20)
			if text, _, err := call(ctx, session, "echo", map[string]any{"text": huge}); err != nil || text != huge {
				t.Errorf("got %d bytes, %v, want %d", len(text), err, len(huge))
			}
		})
	}
}

func TestConnectRefusesWrongCalls(t *testing.T) {
	srv := agent(t)
	for _, c := range []struct {
		args []string
		want string
	}{
		{nil, "want one URL"},
		{[]string{"a", "b"}, "want one URL"},
		{[]string{"mcp.example.com"}, "has no https:// before its host"},
		{[]string{"ftp://mcp.example.com"}, "has no https:// before its host"},
		{[]string{"http://mcp.example.com/mcp"}, "To do: give a URL with https://"},
		{[]string{"https://user:secret@mcp.example.com"}, "has a user name or password in it"},
		{[]string{"https://mcp.example.com/mcp#x"}, "fragment"},
		{[]string{"https://mcp.example.com/mcp", "--linger", "-1s"}, "negative"},
	} {
		cmd := command(t, srv, append([]string{"connect"}, c.args...)...)
		out, err := cmd.Output()
		if got := fmt.Sprint(cmd.Stderr); exitCode(err) != 2 || !strings.Contains(got, c.want) || len(out) > 0 || strings.Contains(got, "secret") {
			t.Errorf("%v: got %d, %q and on standard output %q; want 2, %q and nothing", c.args, exitCode(err), got, out, c.want)
		}
	}
}
