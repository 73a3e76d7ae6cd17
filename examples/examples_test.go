// Copyright 2026 The authsec Authors
// SPDX-License-Identifier: Apache-2.0

// Package examples_test builds the programs in this folder, and runs them against an
// AuthSec server and protected APIs in its own process.
package examples_test

import (
	"bytes"
	"context"
	"fmt"
	"io/fs"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/authsec-go/authsec"
	"github.com/authsec-go/authsec/authsectest"
	"github.com/modelcontextprotocol/go-sdk/mcp"
)

// limit bounds each wait of these tests.
const limit = time.Minute

// world is an AuthSec server with one agent.
type world struct {
	*authsectest.Server
}

func newWorld(t *testing.T) world {
	t.Helper()
	w := world{authsectest.NewServer()}
	t.Cleanup(w.Close)
	w.Delegate(authsectest.ClientID, authsectest.Delegation{Permissions: []string{"billing:read"}})
	return w
}

// api starts a protected API, and returns its URL.
func (w world) api(t *testing.T, h http.Handler) string {
	t.Helper()
	api := httptest.NewServer(w.API(h, "billing:read"))
	t.Cleanup(api.Close)
	return api.URL
}

// run runs the program in a folder until it ends, and returns what it prints.
func (w world) run(t *testing.T, folder, input string, env ...string) (stdout string, err error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	defer cancel()
	cmd := w.command(ctx, t, folder, env...)
	var out, errs bytes.Buffer
	cmd.Stdin, cmd.Stdout, cmd.Stderr = strings.NewReader(input), &out, &errs
	if err := cmd.Run(); err != nil {
		return out.String(), fmt.Errorf("%w: %s", err, errs.String())
	}
	return out.String(), nil
}

// command builds the program in a folder.
func (w world) command(ctx context.Context, t *testing.T, folder string, env ...string) *exec.Cmd {
	t.Helper()
	program := filepath.Join(t.TempDir(), "program.exe")
	if out, err := exec.CommandContext(ctx, "go", "build", "-o", program, "./"+folder).CombinedOutput(); err != nil {
		t.Fatalf("go build ./%s: %v\n%s", folder, err, out)
	}
	cmd := exec.CommandContext(ctx, program)
	cmd.Env = append(append(os.Environ(), "AUTHSEC_BASE_URL="+w.URL, "AUTHSEC_AGENT_CLIENT_ID="+authsectest.ClientID), env...)
	return cmd
}

func TestProgramsThatCallAnAPI(t *testing.T) {
	json := authsectest.Answer(http.StatusOK, `{"version":"18.2.0"}`, "Content-Type", "application/json")
	for _, tc := range []struct{ folder, input, want string }{
		{"client", "", `{"version":"18.2.0"}`},
		{"wrapped-client", "", "200 OK\n"},
		{"oauth2-library", "", "GitLab 18.2.0\n"},
		{"agent-tool", "/version\nhttps://evil.test/\n", "{\"version\":\"18.2.0\"}\nError: The URL lies below none of the permitted URLs"},
	} {
		t.Run(tc.folder, func(t *testing.T) {
			w := newWorld(t)
			downstream := "DOWNSTREAM_URL=" + w.api(t, json)
			out, err := w.run(t, tc.folder, tc.input, downstream)
			if err != nil || !strings.Contains(out, tc.want) {
				t.Errorf("got %q, %v, want %q", out, err, tc.want)
			}
			w.Revoke(authsectest.ClientID)
			out, err = w.run(t, tc.folder, tc.input, downstream)
			told := fmt.Sprint(out, err) // by an error, or by a text for the model
			if !strings.Contains(told, "an admin must delegate") && !strings.Contains(told, "Only an admin can change that") {
				t.Errorf("without a delegation: got %s, want a text that says who can help", told)
			}
		})
	}
}

func TestMCP(t *testing.T) {
	server := mcp.NewServer(&mcp.Implementation{Name: "billing", Version: "1"}, nil)
	mcp.AddTool(server, &mcp.Tool{Name: "invoices", Description: "Lists invoices."}, func(context.Context, *mcp.CallToolRequest, struct{}) (*mcp.CallToolResult, any, error) {
		return &mcp.CallToolResult{Content: []mcp.Content{&mcp.TextContent{Text: "3 invoices"}}}, nil, nil
	})
	w := newWorld(t)
	url := w.api(t, mcp.NewStreamableHTTPHandler(func(*http.Request) *mcp.Server { return server }, nil))
	out, err := w.run(t, "mcp", "", "DOWNSTREAM_URL="+url, "TOOL=invoices")
	if err != nil || out != "invoices: Lists invoices.\n3 invoices\n" {
		t.Errorf("got %q, %v, want the tool's answer", out, err)
	}
}

func TestProtectedAPI(t *testing.T) {
	w := newWorld(t)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l.Close()
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	defer cancel()
	cmd := w.command(ctx, t, "protected-api", "LISTEN="+l.Addr().String(), "TENANT_ID="+authsectest.TenantID)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer cmd.Wait()
	defer cancel() // kills it

	url := "http://" + l.Addr().String() + "/customers/42"
	client, err := authsec.NewClient(w.Config(authsectest.ClientID, url))
	if err != nil {
		t.Fatal(err)
	}
	resp := get(ctx, t, client, url)
	if resp.StatusCode != http.StatusOK {
		t.Errorf("with a token: got %s, want 200", resp.Status)
	}
	if resp := get(ctx, t, http.DefaultClient, url); resp.StatusCode != http.StatusUnauthorized {
		t.Errorf("without a token: got %s, want 401", resp.Status)
	}
	w.Delegate(authsectest.ClientID, authsectest.Delegation{Permissions: []string{"users:read"}})
	client, err = authsec.NewClient(w.Config(authsectest.ClientID, url))
	if err != nil {
		t.Fatal(err)
	}
	if resp := get(ctx, t, client, url); resp.StatusCode != http.StatusForbidden {
		t.Errorf("without the permission: got %s, want 403", resp.Status)
	}
}

// get repeats a request until there is an answer: the server may not listen yet.
func get(ctx context.Context, t *testing.T, client *http.Client, url string) *http.Response {
	t.Helper()
	for {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
		if err != nil {
			t.Fatal(err)
		}
		resp, err := client.Do(req)
		if err == nil {
			resp.Body.Close()
			return resp
		}
		if ctx.Err() != nil {
			t.Fatal(err)
		}
	}
}

func TestFleet(t *testing.T) {
	server, err := exec.LookPath("redis-server")
	if err != nil {
		if os.Getenv("AUTHSEC_REQUIRE_REDIS") != "" {
			t.Fatal(err)
		}
		t.Skip("this needs redis-server")
	}
	dir, err := os.MkdirTemp("", "redis-") // short: a socket's path has at most 108 bytes
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	socket := filepath.Join(dir, "s")
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	defer cancel()
	redis := exec.CommandContext(ctx, server, "--port", "0", "--unixsocket", socket, "--save", "", "--dir", dir)
	if err := redis.Start(); err != nil {
		t.Fatal(err)
	}
	defer redis.Wait()
	defer cancel() // kills it
	for ctx.Err() == nil {
		if conn, err := net.Dial("unix", socket); err == nil {
			conn.Close()
			break
		}
	}

	w := newWorld(t)
	env := []string{
		"DOWNSTREAM_URL=" + w.api(t, authsectest.Answer(http.StatusOK, "")),
		"REDIS_URL=unix://" + socket,
		"AUTHSEC_CACHE_KEY=" + strings.Repeat("5a", 32),
	}
	for range 3 {
		if out, err := w.run(t, "fleet", "", env...); err != nil || out != "200 OK\n" {
			t.Errorf("got %q, %v, want 200 OK", out, err)
		}
	}
	if n := w.Fetches(); n != 1 {
		t.Errorf("the AuthSec server got %d requests from 3 processes, want 1", n)
	}
}

// TestEachProgramIsListed checks that README.md has a line for each program, and that
// each is one file.
func TestEachProgramIsListed(t *testing.T) {
	page, err := os.ReadFile("README.md")
	if err != nil {
		t.Fatal(err)
	}
	seen := map[string]int{}
	err = fs.WalkDir(os.DirFS("."), ".", func(path string, d fs.DirEntry, err error) error {
		if dir := filepath.Dir(path); err == nil && dir != "." && strings.HasSuffix(path, ".go") {
			if seen[dir]++; !strings.Contains(string(page), "]("+path+")") {
				t.Errorf("README.md does not list %s", path)
			}
		}
		return err
	})
	if err != nil || len(seen) < 8 {
		t.Errorf("got %v, %v, want at least 8 programs", seen, err)
	}
	for dir, n := range seen {
		if n != 1 {
			t.Errorf("%s has %d files, want 1", dir, n)
		}
	}
}
