// Copyright 2026 The authsec Authors
// SPDX-License-Identifier: Apache-2.0

package mcp_test

import (
	"bufio"
	"context"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/authsec-go/authsec/authsectest"
)

//go:embed testdata/ts
var scripts embed.FS

// typescript returns a directory with the official TypeScript SDK and the scripts of
// testdata/ts. Without Node.js and npm the test is skipped, or fails if
// AUTHSEC_REQUIRE_NODE is set.
func typescript(t *testing.T) string {
	t.Helper()
	for _, program := range []string{"node", "npm"} {
		if _, err := exec.LookPath(program); err != nil {
			if os.Getenv("AUTHSEC_REQUIRE_NODE") != "" {
				t.Fatalf("%v, and AUTHSEC_REQUIRE_NODE is set: install Node.js 20 or later with npm", err)
			}
			t.Skipf("%v: install Node.js 20 or later with npm for the tests with the TypeScript SDK", err)
		}
	}
	dir, err := install()
	if err != nil {
		t.Fatal(err)
	}
	return dir
}

// install installs what the lock file names, once for all runs.
var install = sync.OnceValues(func() (string, error) {
	entries, err := scripts.ReadDir("testdata/ts")
	if err != nil {
		return "", err
	}
	base, err := os.UserCacheDir()
	if err != nil {
		base = os.TempDir()
	}
	base = filepath.Join(base, "authsec-tests")
	if err := os.MkdirAll(base, 0o700); err != nil {
		return "", err
	}
	temp, err := os.MkdirTemp(base, "install-")
	if err != nil {
		return "", err
	}
	defer os.RemoveAll(temp)
	sum := sha256.New()
	for _, e := range entries {
		text, err := scripts.ReadFile("testdata/ts/" + e.Name())
		if err != nil {
			return "", err
		}
		fmt.Fprintf(sum, "%s %d\n%s", e.Name(), len(text), text)
		if err := os.WriteFile(filepath.Join(temp, e.Name()), text, 0o600); err != nil {
			return "", err
		}
	}
	dir := filepath.Join(base, "mcp-"+hex.EncodeToString(sum.Sum(nil))[:16])
	if _, err := os.Stat(dir); err == nil {
		return dir, nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	defer cancel()
	npm := exec.CommandContext(ctx, "npm", "ci", "--no-audit", "--no-fund", "--ignore-scripts")
	npm.Dir = temp
	if out, err := npm.CombinedOutput(); err != nil {
		return "", fmt.Errorf("npm ci: %w\n%s", err, out)
	}
	if err := os.Rename(temp, dir); err != nil {
		if _, there := os.Stat(dir); there != nil { // not made by another process meanwhile
			return "", err
		}
	}
	return dir, nil
})

// tsHost is a host on the TypeScript SDK.
type tsHost struct {
	t   *testing.T
	in  io.WriteCloser
	out *bufio.Reader
	log *logWriter
}

// outcome is what an operation of a tsHost brought.
type outcome struct {
	OK struct {
		Version string
		Tools   []struct{ Name string }
		Content []struct{ Text string }
		IsError bool
		Seen    []float64
		Texts   []string
		Failed  int
		Changes int
		Errors  []string
	}
	Error *struct {
		Message string
		Code    any
		Data    json.RawMessage
	}
	raw string
}

func (o outcome) text() string {
	if len(o.OK.Content) == 0 {
		return o.raw
	}
	return o.OK.Content[0].Text
}

// startTSHost starts a host of this version, and connects it.
func startTSHost(t *testing.T, srv *authsectest.Server, args ...string) *tsHost {
	dir := typescript(t)
	cmd := exec.Command("node", append([]string{"client.mjs"}, args...)...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), environment(srv)...)
	log := &logWriter{t: t}
	cmd.Stderr = log
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
	h := &tsHost{t, in, bufio.NewReader(out), log}
	watchdog := time.AfterFunc(2*time.Minute, func() { cmd.Process.Kill() })
	t.Cleanup(func() {
		watchdog.Stop()
		in.Close()
		cmd.Wait()
		if t.Failed() {
			t.Logf("standard error of the host:\n%s", log)
		}
	})
	return h
}

// do does one operation.
func (h *tsHost) do(op string) outcome {
	h.t.Helper()
	fmt.Fprintln(h.in, op)
	text, err := h.out.ReadString('\n')
	if err != nil {
		h.t.Fatalf("%.200s: %v; standard error:\n%s", op, err, h.log)
	}
	o := outcome{raw: strings.TrimSpace(text)}
	if err := json.Unmarshal([]byte(text), &o); err != nil {
		h.t.Fatalf("%.200s: %.500s: %v", op, text, err)
	}
	return o
}

// must does an operation that succeeds.
func (h *tsHost) must(op string) outcome {
	h.t.Helper()
	o := h.do(op)
	if o.Error != nil {
		h.t.Fatalf("%.200s: %.500s", op, o.raw)
	}
	return o
}

// tsServer starts a server on the TypeScript SDK behind the protection of AuthSec.
// says gets the lines that it prints.
func tsServer(t *testing.T, srv *authsectest.Server, version string) (address string, says <-chan string) {
	cmd := exec.Command("node", "server.mjs", version)
	cmd.Dir = typescript(t)
	log := &logWriter{t: t}
	cmd.Stderr = log
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
	t.Cleanup(func() {
		in.Close()
		cmd.Process.Kill()
		cmd.Wait()
		if t.Failed() {
			t.Logf("standard error of the server:\n%s", log)
		}
	})
	lines := make(chan string, 1000)
	go func() {
		for s := bufio.NewScanner(out); s.Scan(); {
			lines <- s.Text()
		}
		close(lines)
	}()
	first, ok := <-lines
	target, err := url.Parse(first)
	if !ok || err != nil {
		t.Fatalf("the server printed %q, %v; standard error:\n%s", first, err, log)
	}
	proxy := &httputil.ReverseProxy{
		Rewrite:       func(r *httputil.ProxyRequest) { r.SetURL(&url.URL{Scheme: target.Scheme, Host: target.Host}) },
		FlushInterval: -1,
		ErrorHandler:  func(w http.ResponseWriter, _ *http.Request, _ error) { w.WriteHeader(http.StatusBadGateway) },
	}
	return protect(t, srv, proxy).URL + target.Path, lines
}
