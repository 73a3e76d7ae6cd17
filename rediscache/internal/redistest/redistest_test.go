// Copyright 2026 The authsec Authors
// SPDX-License-Identifier: Apache-2.0

//go:build unix

package redistest_test

import (
	"bytes"
	"net"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/authsec-go/authsec/rediscache/internal/redistest"
)

// ping sends a PING, and reports whether the answer comes in time.
func ping(t *testing.T, addr string, patience time.Duration) bool {
	t.Helper()
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		return false
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(patience))
	if _, err := conn.Write([]byte("PING\r\n")); err != nil {
		return false
	}
	answer := make([]byte, 16)
	n, _ := conn.Read(answer)
	return string(answer[:n]) == "+PONG\r\n"
}

func TestServerIsKilledRestartedAndPaused(t *testing.T) {
	const long = 10 * time.Second
	srv := redistest.Start(t)
	if !ping(t, srv.Addr, long) {
		t.Fatal("a started server does not answer")
	}
	srv.CLI("set", "k", "v")
	srv.Pause()
	if ping(t, srv.Addr, 100*time.Millisecond) {
		t.Error("a paused server answers")
	}
	srv.Resume()
	if got := srv.CLI("get", "k"); got != "v" {
		t.Errorf("after a pause: k = %q, want %q", got, "v")
	}
	srv.Stop()
	if ping(t, srv.Addr, long) {
		t.Error("a stopped server answers")
	}
	srv.Restart()
	if got := srv.CLI("exists", "k"); got != "0" {
		t.Errorf("after a restart: k exists = %q, want 0", got)
	}
}

func TestServerEndsWithItsTest(t *testing.T) {
	addr := ""
	if !t.Run("inner", func(t *testing.T) {
		srv := redistest.Start(t)
		srv.Pause() // even then it must end
		addr = srv.Addr
	}) || addr == "" {
		t.Skip("no server")
	}
	if conn, err := net.Dial("tcp", addr); err == nil {
		conn.Close()
		t.Error("the server listens after its test has ended")
	}
}

// TestMissingServer runs this test program without a PATH.
func TestMissingServer(t *testing.T) {
	if os.Getenv("REDISTEST_INNER") != "" {
		redistest.Start(t)
		return
	}
	for _, tc := range []struct{ require, want string }{
		{"", "--- SKIP"},
		{"1", "--- FAIL"},
	} {
		cmd := exec.Command(os.Args[0], "-test.run=^TestMissingServer$", "-test.v")
		cmd.Env = append(os.Environ(), "PATH=", "REDISTEST_INNER=1", redistest.RequireEnv+"="+tc.require)
		out, _ := cmd.CombinedOutput() // its error is that the test failed
		if !bytes.Contains(out, []byte(tc.want)) || !strings.Contains(string(out), "install it") {
			t.Errorf("with %s=%q: got %s, want %q and what to install", redistest.RequireEnv, tc.require, out, tc.want)
		}
	}
}
