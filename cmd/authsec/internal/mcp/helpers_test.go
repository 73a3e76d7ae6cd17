// Copyright 2026 The authsec Authors
// SPDX-License-Identifier: Apache-2.0

package mcp_test

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"os/signal"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/authsec-go/authsec/authsectest"
	"github.com/authsec-go/authsec/cmd/authsec/internal/cli"
	"github.com/authsec-go/authsec/cmd/authsec/internal/mcp"
	sdk "github.com/modelcontextprotocol/go-sdk/mcp"
	"github.com/spf13/cobra"
)

// asCommand makes this test binary the command.
const asCommand = "AUTHSEC_MCP_TEST_COMMAND"

func TestMain(m *testing.M) {
	if os.Getenv(asCommand) == "" {
		os.Exit(m.Run())
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	root := &cobra.Command{Use: "authsec"}
	root.AddCommand(mcp.Command())
	os.Exit(cli.Run(ctx, root, os.Args[1:], os.Stdin, os.Stdout, os.Stderr))
}

// within returns a context for a whole test. It ends only one that hangs: with the race
// detector, a slow machine takes more than a minute for huge messages.
func within(t testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	t.Cleanup(cancel)
	return ctx
}

// agent starts an AuthSec server with one agent, which has a delegation.
func agent(t testing.TB) *authsectest.Server {
	srv := authsectest.NewServer()
	t.Cleanup(srv.Close)
	delegate(srv)
	return srv
}

func delegate(srv *authsectest.Server) {
	srv.Delegate(authsectest.ClientID, authsectest.Delegation{Permissions: []string{"billing:read"}})
}

// protect starts a server that wants the agent's token.
func protect(t testing.TB, srv *authsectest.Server, next http.Handler) *httptest.Server {
	api := httptest.NewServer(srv.API(next, "billing:read"))
	t.Cleanup(func() {
		api.CloseClientConnections()
		api.Close()
	})
	return api
}

// command returns the command as a process of its own.
func command(t testing.TB, srv *authsectest.Server, args ...string) *exec.Cmd {
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(self, append([]string{"mcp"}, args...)...)
	cmd.Env = append(os.Environ(), environment(srv)...)
	cmd.Stderr = &logWriter{t: t}
	return cmd
}

func environment(srv *authsectest.Server) []string {
	return []string{asCommand + "=1", "GORACE=atexit_sleep_ms=0", "AUTHSEC_BASE_URL=" + srv.URL, "AUTHSEC_AGENT_CLIENT_ID=" + authsectest.ClientID}
}

// logWriter writes to the test's log, and keeps it.
type logWriter struct {
	t    testing.TB
	mu   sync.Mutex
	text strings.Builder
}

func (l *logWriter) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

func (l *logWriter) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

// host is a host that writes and reads the lines of a process itself.
type host struct {
	t     testing.TB
	cmd   *exec.Cmd
	in    io.WriteCloser
	lines chan map[string]json.RawMessage
	raw   chan string
	ended chan error
}

// start starts cmd. Each line of its standard output must be a message.
func start(t testing.TB, cmd *exec.Cmd) *host {
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	h := &host{t: t, cmd: cmd, in: in, lines: make(chan map[string]json.RawMessage, 1000), raw: make(chan string, 1000), ended: make(chan error, 1)}
	go func() {
		b := bufio.NewReader(out)
		for {
			text, err := b.ReadString('\n')
			if err != nil {
				break
			}
			var m map[string]json.RawMessage
			if text[0] != '[' {
				if json.Unmarshal([]byte(text), &m) != nil || string(m["jsonrpc"]) != `"2.0"` {
					t.Errorf("standard output has the line %.200q, which is not a message", text)
				}
			}
			h.raw <- text
			h.lines <- m
		}
		close(h.lines)
		h.ended <- cmd.Wait()
	}()
	t.Cleanup(func() {
		cmd.Process.Kill()
		if t.Failed() {
			t.Logf("standard error:\n%s", cmd.Stderr)
		}
	})
	return h
}

func (h *host) send(format string, args ...any) {
	h.t.Helper()
	if _, err := fmt.Fprintf(h.in, format+"\n", args...); err != nil {
		h.t.Fatal(err)
	}
}

// next returns the next line.
func (h *host) next() (string, map[string]json.RawMessage) {
	h.t.Helper()
	select {
	case m, ok := <-h.lines:
		if !ok {
			h.t.Fatalf("the command has ended; standard error:\n%s", h.cmd.Stderr)
		}
		return <-h.raw, m
	case <-time.After(20 * time.Second):
		h.t.Fatalf("no line within 20 s; standard error:\n%s", h.cmd.Stderr)
	}
	return "", nil
}

// wait closes the standard input, and returns how the command ended.
func (h *host) wait() error {
	h.t.Helper()
	h.in.Close()
	select {
	case err := <-h.ended:
		return err
	case <-time.After(20 * time.Second):
		h.t.Fatal("the command goes on after the end of standard input")
	}
	return nil
}

const greeting = `{"jsonrpc":"2.0","id":"hello","method":"initialize","params":{"protocolVersion":"2025-11-25","capabilities":{},"clientInfo":{"name":"test","version":"1"}}}`

// greet begins a session.
func (h *host) greet() map[string]json.RawMessage {
	h.t.Helper()
	h.send("%s", greeting)
	_, m := h.next()
	if string(m["id"]) != `"hello"` || m["result"] == nil {
		h.t.Fatalf("got %s for initialize", m)
	}
	h.send(`{"jsonrpc":"2.0","method":"notifications/initialized"}`)
	return m
}

// connect connects go-sdk's client to the process.
func connect(t testing.TB, ctx context.Context, cmd *exec.Cmd, opts *sdk.ClientOptions) *sdk.ClientSession {
	t.Helper()
	client := sdk.NewClient(&sdk.Implementation{Name: "host", Version: "1"}, opts)
	session, err := client.Connect(ctx, &sdk.CommandTransport{Command: cmd, TerminateDuration: 5 * time.Second}, nil)
	if err != nil {
		t.Fatalf("connect: %v; standard error:\n%s", err, cmd.Stderr)
	}
	t.Cleanup(func() { session.Close() })
	return session
}

// call calls a tool, and returns its text.
func call(ctx context.Context, session *sdk.ClientSession, name string, args any) (text string, isError bool, err error) {
	result, err := session.CallTool(ctx, &sdk.CallToolParams{Name: name, Arguments: args})
	if err != nil {
		return "", false, err
	}
	for _, c := range result.Content {
		if c, ok := c.(*sdk.TextContent); ok {
			text += c.Text
		}
	}
	return text, result.IsError, nil
}

// eventually calls f until it returns nil.
func eventually(t testing.TB, f func() error) {
	t.Helper()
	var err error
	for deadline := time.Now().Add(20 * time.Second); time.Now().Before(deadline); time.Sleep(50 * time.Millisecond) {
		if err = f(); err == nil {
			return
		}
	}
	t.Fatalf("not within 20 s: %v", err)
}

func exitCode(err error) int {
	var e *exec.ExitError
	if errors.As(err, &e) {
		return e.ExitCode()
	}
	if err != nil {
		return -1
	}
	return 0
}
