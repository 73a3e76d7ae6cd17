// Copyright 2026 The authsec Authors
// SPDX-License-Identifier: Apache-2.0

package mcp_test

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/authsec-go/authsec/authsectest"
	sdk "github.com/modelcontextprotocol/go-sdk/mcp"
)

var listening = regexp.MustCompile(`url=(http://\S+)`)

// serveHTTP starts the command with --http, and returns its URL.
func serveHTTP(t *testing.T, srv *authsectest.Server, args ...string) (h *host, url string) {
	cmd := command(t, srv, append([]string{"serve", "--http", "127.0.0.1:0"}, args...)...)
	h = start(t, cmd)
	eventually(t, func() error {
		found := listening.FindStringSubmatch(fmt.Sprint(cmd.Stderr))
		if found == nil {
			return fmt.Errorf("standard error: %s", cmd.Stderr)
		}
		url = found[1]
		return nil
	})
	return h, url
}

func TestServeHTTPLoop(t *testing.T) {
	ctx, srv := within(t), agent(t)
	api := protect(t, srv, customers)
	h, url := serveHTTP(t, srv, "--url", api.URL)
	session, err := sdk.NewClient(&sdk.Implementation{Name: "host", Version: "1"}, nil).Connect(ctx, &sdk.StreamableClientTransport{Endpoint: url}, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer session.Close()
	if tools, err := session.ListTools(ctx, nil); err != nil || len(tools.Tools) != 1 {
		t.Fatalf("got %+v, %v, want one tool", tools, err)
	}
	var wg sync.WaitGroup
	for range 100 {
		wg.Go(func() {
			if text, isError, err := call(ctx, session, "secure_fetch", map[string]any{"url": "x"}); err != nil || isError || !strings.Contains(text, `"path":"/x"`) {
				t.Errorf("got %q (error: %t), %v", text, isError, err)
			}
		})
	}
	wg.Wait()
	if text, isError, err := call(ctx, session, "secure_fetch", map[string]any{"url": "https://evil.test/"}); err != nil || !isError || !strings.Contains(text, "Permitted:") {
		t.Errorf("got %q (error: %t), %v", text, isError, err)
	}
	srv.Revoke(authsectest.ClientID)
	if text, isError, err := call(ctx, session, "secure_fetch", map[string]any{"url": "x"}); err != nil || !isError || !strings.Contains(text, "admin") {
		t.Errorf("got %q (error: %t), %v", text, isError, err)
	}
	delegate(srv)
	eventually(t, func() error {
		if text, isError, err := call(ctx, session, "secure_fetch", map[string]any{"url": "x"}); err != nil || isError {
			return fmt.Errorf("got %q, %v", text, err)
		}
		return nil
	})
	h.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case err := <-h.ended:
		if err != nil {
			t.Errorf("the command ended with %v", err)
		}
	case <-time.After(40 * time.Second):
		t.Error("the command goes on after SIGTERM")
	}
}

// TestServeHTTPIsForProgramsOnThisMachine: web pages can't use it.
func TestServeHTTPIsForProgramsOnThisMachine(t *testing.T) {
	srv := agent(t)
	_, url := serveHTTP(t, srv, "--url", "https://api.example.com")
	host := strings.TrimSuffix(strings.TrimPrefix(url, "http://"), "/mcp")
	_, port, _ := strings.Cut(host, ":")
	for _, c := range []struct {
		host, name, value string
		status            int
	}{
		{host, "", "", 200},
		{"localhost:" + port, "", "", 200},
		{"[::1]:" + port, "", "", 200},
		{host, "Origin", "http://" + host, 200},
		{host, "Sec-Fetch-Site", "same-origin", 200},
		{"evil.test:" + port, "", "", 403},
		{"evil.test", "", "", 403},
		{"127.0.0.1.evil.test", "", "", 403},
		{"localhost.evil.test", "", "", 403},
		{"192.0.2.1:" + port, "", "", 403},
		{"evil.test:" + port, "Origin", "http://evil.test:" + port, 403},
		{host, "Origin", "https://evil.test", 403},
		{host, "Origin", "null", 403},
		{host, "Origin", "", 403},
		{host, "Origin", "http://127.0.0.1:1", 403},
		{host, "Origin", "http://localhost:3000", 403},
		{host, "Sec-Fetch-Site", "cross-site", 403},
		{host, "Sec-Fetch-Site", "same-site", 403},
	} {
		req, err := http.NewRequest("POST", url, strings.NewReader(greeting))
		if err != nil {
			t.Fatal(err)
		}
		req.Host = c.host
		req.Header.Set("Content-Type", "application/json")
		req.Header.Set("Accept", "application/json, text/event-stream")
		if c.name != "" {
			req.Header[c.name] = []string{c.value}
		}
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		body, _ := io.ReadAll(resp.Body)
		resp.Body.Close()
		if resp.StatusCode != c.status {
			t.Errorf("Host %s, %s: %q: got %s, %.200s, want %d", c.host, c.name, c.value, resp.Status, body, c.status)
		}
	}
}

func TestServeHTTPAnswersMalformedMessages(t *testing.T) {
	srv := agent(t)
	_, url := serveHTTP(t, srv, "--url", "https://api.example.com")
	post := func(body string) (int, string) {
		req, _ := http.NewRequest("POST", url, strings.NewReader(body))
		req.Header.Set("Content-Type", "application/json")
		req.Header.Set("Accept", "application/json, text/event-stream")
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		text, _ := io.ReadAll(resp.Body)
		return resp.StatusCode, string(text)
	}
	for _, c := range malformed {
		if c.code == 0 {
			continue
		}
		if status, text := post(c.line); status != 400 || !strings.Contains(text, fmt.Sprintf(`"code":%d`, c.code)) || !strings.Contains(text, `"id":`+c.id) {
			t.Errorf("%q: got %d, %s, want 400 with %d and the ID %s", c.line, status, text, c.code, c.id)
		}
	}
	if status, text := post(`{"jsonrpc":"2.0","id":1,"method":"x","params":{"a":"` + strings.Repeat("x", 8<<20) + `"}}`); status != 413 || !strings.Contains(text, "-32600") {
		t.Errorf("a huge message: got %d, %.200s, want 413", status, text)
	}
	if status, text := post(greeting); status != 200 || !strings.Contains(text, `"protocolVersion":"2025-11-25"`) {
		t.Errorf("after them: got %d, %s", status, text)
	}
}

// TestServeHTTPAnswersABrokenBody with 400, and reads nothing after it as a request.
func TestServeHTTPAnswersABrokenBody(t *testing.T) {
	srv := agent(t)
	_, url := serveHTTP(t, srv, "--url", "https://api.example.com")
	host := strings.TrimSuffix(strings.TrimPrefix(url, "http://"), "/mcp")
	head := "POST /mcp HTTP/1.1\r\nHost: " + host + "\r\nContent-Type: application/json\r\nAccept: application/json, text/event-stream\r\n"
	second := head + fmt.Sprintf("Content-Length: %d\r\n\r\n%s", len(greeting), greeting)
	for name, text := range map[string]string{
		"no chunk":       head + "Transfer-Encoding: chunked\r\n\r\nxyz\r\n" + second,
		"a bare LF":      head + "Transfer-Encoding: chunked\r\n\r\n2\n{}\r\n0\r\n\r\n" + second,
		"a signed chunk": head + "Transfer-Encoding: chunked\r\n\r\n+2\r\n{}\r\n0\r\n\r\n" + second,
		"too short":      head + "Content-Length: 100\r\n\r\n{}",
	} {
		conn, err := net.Dial("tcp", host)
		if err != nil {
			t.Fatal(err)
		}
		conn.SetDeadline(time.Now().Add(20 * time.Second))
		io.WriteString(conn, text)
		conn.(*net.TCPConn).CloseWrite()
		got, err := io.ReadAll(conn)
		conn.Close()
		if !strings.HasPrefix(string(got), "HTTP/1.1 400 ") || strings.Count(string(got), "HTTP/1.1 ") != 1 || !strings.Contains(string(got), "-32700") {
			t.Errorf("%s: got %q, %v, want one answer of 400", name, got, err)
		}
	}
}
