// Copyright 2026 The authsec Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os/exec"
	"sync"
	"testing"
	"time"

	"github.com/authsec-go/authsec/authsectest"
)

// logBuffer is a standard error that finds the proxy's addresses in the log.
type logBuffer struct {
	mu        sync.Mutex
	text      bytes.Buffer
	listening chan listening
}

// listening is the line that says where the proxy listens.
type listening struct{ Msg, Listen, Health string }

func newLogBuffer() *logBuffer { return &logBuffer{listening: make(chan listening, 1)} }

func (b *logBuffer) Write(line []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	var l listening
	if json.Unmarshal(line, &l); l.Msg == "listening" {
		b.listening <- l
	}
	return b.text.Write(line)
}

func (b *logBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.String()
}

// running is a proxy in this process.
type running struct {
	addr, health string // host and port
	url          string
	logs         *logBuffer
	stop         func() (code int) // as SIGTERM does
}

// startProxy runs the command in this process, until the test ends.
func startProxy(t testing.TB, upstream string, args ...string) *running {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	logs, code := newLogBuffer(), make(chan int, 1)
	args = append([]string{"proxy", "--listen", "127.0.0.1:0", "--health", "127.0.0.1:0", "--upstream", upstream, "--attempts", "1"}, args...)
	go func() { code <- run(ctx, args, io.Discard, logs) }()
	p := &running{logs: logs, stop: sync.OnceValue(func() int {
		cancel()
		return <-code
	})}
	t.Cleanup(func() { p.stop() })
	select {
	case l := <-logs.listening:
		p.addr, p.health, p.url = l.Listen, l.Health, "http://"+l.Listen
	case c := <-code:
		code <- c
		t.Fatalf("proxy = %d at once: %s", c, logs.String())
	case <-time.After(patience):
		t.Fatal("the proxy does not listen")
	}
	return p
}

// startAPI is a protected API. before, if not nil, sees each request first.
func startAPI(t testing.TB, srv *authsectest.Server, next, before http.HandlerFunc) *httptest.Server {
	t.Helper()
	var h http.Handler
	if next != nil {
		h = next
	}
	protected := srv.API(h)
	api := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if before != nil {
			before(w, r)
		}
		protected.ServeHTTP(w, r)
	}))
	t.Cleanup(api.Close)
	return api
}

// client follows no redirects, and waits no longer than patience.
var client = &http.Client{
	Timeout:       patience,
	Transport:     &http.Transport{DisableKeepAlives: true, DisableCompression: true},
	CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
}

// get is one request's status, header and body.
func get(t testing.TB, url string) (status int, header http.Header, body string) {
	t.Helper()
	resp, err := client.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, resp.Header, string(b)
}

// raw sends a request as it is written, and reads the answer's header.
func raw(t *testing.T, addr, request string) (net.Conn, *bufio.Reader, *http.Response) {
	t.Helper()
	conn, err := net.DialTimeout("tcp", addr, patience)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	conn.SetDeadline(time.Now().Add(patience))
	io.WriteString(conn, request)
	r := bufio.NewReader(conn)
	resp, err := http.ReadResponse(r, nil)
	if err != nil {
		t.Fatalf("no answer to %q: %v", request, err)
	}
	return conn, r, resp
}

// process is a proxy in a process of its own.
type process struct {
	cmd          *exec.Cmd
	addr, health string
	logs         *logBuffer
	read         chan bool // closed when all of its standard error was read
}

func startProcess(t *testing.T, upstream string, args ...string) *process {
	t.Helper()
	cmd := command(t, append([]string{"proxy", "--listen", "127.0.0.1:0", "--health", "127.0.0.1:0", "--upstream", upstream}, args...)...)
	stderr, err := cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	logs, read := newLogBuffer(), make(chan bool)
	go func() {
		defer close(read)
		for lines := bufio.NewScanner(stderr); lines.Scan(); {
			logs.Write(append(lines.Bytes(), '\n'))
		}
	}()
	select {
	case l := <-logs.listening:
		return &process{cmd, l.Listen, l.Health, logs, read}
	case <-time.After(patience):
		t.Fatalf("the proxy does not listen: %s", logs.String())
		return nil
	}
}

// exit waits for the process, and returns its exit code.
func (p *process) exit(t *testing.T) int {
	t.Helper()
	done := make(chan error, 1)
	go func() {
		<-p.read // Wait closes the pipe
		done <- p.cmd.Wait()
	}()
	select {
	case <-done:
	case <-time.After(patience):
		p.cmd.Process.Kill()
		t.Fatalf("the proxy did not end: %s", p.logs.String())
	}
	return p.cmd.ProcessState.ExitCode()
}

// arrives waits for a value.
func arrives[T any](t *testing.T, c <-chan T) (v T) {
	t.Helper()
	select {
	case v = <-c:
	case <-time.After(patience):
		t.Fatal("it never came")
	}
	return v
}

// hold keeps a request from being answered, until c is closed or its client has gone.
func hold(r *http.Request, c <-chan bool) {
	select {
	case <-c:
	case <-r.Context().Done():
	}
}

// eventually waits for a condition.
func eventually(t *testing.T, what string, holds func() bool) {
	t.Helper()
	for deadline := time.Now().Add(patience); !holds(); {
		if time.Now().After(deadline) {
			t.Fatalf("never: %s", what)
		}
		time.Sleep(5 * time.Millisecond)
	}
}
