// Copyright 2026 The authsec Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// pipe makes a named pipe.
func pipe(t *testing.T) (name string) {
	t.Helper()
	name = filepath.Join(t.TempDir(), "pipe")
	if err := syscall.Mkfifo(name, 0o600); err != nil {
		t.Fatal(err)
	}
	return name
}

// waitsIn reports whether a thread of the process waits in this function of the kernel.
func waitsIn(pid int, function string) bool {
	names, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/wchan", pid))
	for _, name := range names {
		if at, _ := os.ReadFile(name); strings.Contains(string(at), function) {
			return true
		}
	}
	return false
}

// TestAnInterruptEndsACommandThatWaitsForAPipe is about pipes that have no other
// side, or whose other side does nothing.
func TestAnInterruptEndsACommandThatWaitsForAPipe(t *testing.T) {
	_, api, token := fetchServer(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/long" {
			w.Write(make([]byte, 1<<20)) // more than fits into a pipe
		}
		io.Copy(io.Discard, r.Body)
	})
	if !waitsIn(os.Getpid(), "_") {
		t.Skip("the kernel does not tell where a process waits")
	}
	stdin, silent, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	unread, stdout, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range []*os.File{stdin, silent, unread, stdout} {
		defer f.Close()
	}
	for _, tc := range []struct {
		name   string
		args   []string
		stdout io.Writer
		waits  string // where the process waits when it is interrupted
	}{
		{"opens the body", []string{"fetch", "--data", "@" + pipe(t), api.URL}, nil, "wait_for_partner"},
		{"opens the output", []string{"fetch", "--output", pipe(t), api.URL}, nil, "wait_for_partner"},
		{"opens the cache's key", []string{"proxy", "--upstream", api.URL, "--listen", "127.0.0.1:0", "--cache", t.TempDir(), "--cache-key-file", pipe(t)}, nil, "wait_for_partner"},
		{"reads standard input", []string{"fetch", "--data", "@-", api.URL}, nil, "pipe_read"},
		{"writes standard output", []string{"fetch", api.URL + "/long"}, stdout, "pipe_write"},
	} {
		cmd := command(t, tc.args...)
		var stderr bytes.Buffer
		cmd.Stdin, cmd.Stdout, cmd.Stderr = stdin, tc.stdout, &stderr
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		eventually(t, tc.name, func() bool { return waitsIn(cmd.Process.Pid, tc.waits) })
		cmd.Process.Signal(os.Interrupt)
		kill := time.AfterFunc(patience, func() { cmd.Process.Kill() })
		cmd.Wait()
		kill.Stop()
		if code := cmd.ProcessState.ExitCode(); code != 1 || !strings.Contains(stderr.String(), "interrupted") {
			t.Errorf("%s: after an interrupt it ended with %d, %q, want 1 and a word about it", tc.name, code, stderr.String())
		}
		noSecrets(t, "standard error", stderr.String(), token)
	}
}

// A pipe whose other side is open may never bring the key.
func TestAnInterruptEndsTheReadingOfTheCachesKey(t *testing.T) {
	agent(t)
	name := pipe(t)
	ctx, cancel := context.WithCancel(t.Context())
	code := make(chan int, 1)
	var stderr bytes.Buffer
	go func() {
		code <- run(ctx, []string{"proxy", "--upstream", "https://a.example", "--listen", "127.0.0.1:0", "--cache", t.TempDir(), "--cache-key-file", name}, io.Discard, &stderr)
	}()
	silent, err := os.OpenFile(name, os.O_WRONLY, 0) // it waits for the proxy
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	cancel()
	if c := arrives(t, code); c != 1 || !strings.Contains(stderr.String(), "interrupted") {
		t.Errorf("proxy = %d, %q, want 1 and a word about the interrupt", c, stderr.String())
	}
}

func TestAnInterruptEndsTheLookupOfAName(t *testing.T) {
	agent(t)
	asked := make(chan bool, 9)
	before := net.DefaultResolver
	defer func() { net.DefaultResolver = before }()
	net.DefaultResolver = &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, _, _ string) (net.Conn, error) {
		asked <- true
		<-ctx.Done()
		return nil, ctx.Err()
	}}
	ctx, cancel := context.WithCancel(t.Context())
	code := make(chan int, 1)
	var stderr bytes.Buffer
	go func() {
		code <- run(ctx, []string{"proxy", "--upstream", "https://a.example", "--listen", "slow.example:8081"}, io.Discard, &stderr)
	}()
	arrives(t, asked)
	cancel()
	if c := arrives(t, code); c != 1 || !strings.Contains(stderr.String(), "interrupted") {
		t.Errorf("proxy = %d, %q, want 1 and a word about the interrupt", c, stderr.String())
	}
}

func TestFetchWritesToAPipeThatIsOpenedLater(t *testing.T) {
	_, api, _ := fetchServer(t, echo)
	name := pipe(t)
	done := make(chan int, 1)
	go func() {
		done <- run(t.Context(), []string{"fetch", "--output", name, "--data", "hello", api.URL}, io.Discard, io.Discard)
	}()
	got, err := os.ReadFile(name)
	if code := arrives(t, done); code != 0 || err != nil || string(got) != "hello" {
		t.Errorf("fetch = %d, the pipe had %q, %v, want 0 and the whole answer", code, got, err)
	}
}

func TestFetchsTimeoutEndsTheOpeningOfAPipe(t *testing.T) {
	_, api, _ := fetchServer(t, echo)
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	began := time.Now()
	var stderr bytes.Buffer
	code := run(ctx, []string{"fetch", "--timeout", "50ms", "--data", "@" + pipe(t), api.URL}, io.Discard, &stderr)
	if took := time.Since(began); code != 1 || took > patience/2 || !strings.Contains(stderr.String(), "--timeout") {
		t.Errorf("fetch = %d after %v, %q, want 1 after its time-out, and its name", code, took, stderr.String())
	}
}

func TestASecondSignalEndsTheProcessAtOnce(t *testing.T) {
	srv, _ := agent(t)
	entered, leave := make(chan bool, 1), make(chan bool) // never
	api := startAPI(t, srv, func(_ http.ResponseWriter, r *http.Request) {
		entered <- true
		hold(r, leave)
	}, nil)
	p := startProcess(t, api.URL, "--drain", "1h")
	go client.Get("http://" + p.addr)
	arrives(t, entered)
	p.cmd.Process.Signal(os.Interrupt)
	eventually(t, "shutting down", func() bool { return strings.Contains(p.logs.String(), "shutting down") })
	p.cmd.Process.Signal(os.Interrupt)
	p.exit(t)
	if status := p.cmd.ProcessState.Sys().(syscall.WaitStatus); !status.Signaled() || status.Signal() != syscall.SIGINT {
		t.Errorf("after two interrupts the process ended with %v, want by the signal", p.cmd.ProcessState)
	}
}
