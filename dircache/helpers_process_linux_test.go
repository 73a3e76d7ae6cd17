// Copyright 2026 The authsec Authors
// SPDX-License-Identifier: Apache-2.0

package dircache

import (
	"bufio"
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// patience is how long tests wait for something that must happen.
const patience = time.Minute

// asHelper makes the test's own binary one of the helpers below, in the
// directory that its argument names.
const asHelper = "DIRCACHE_TEST_HELPER"

var helpers = map[string]func(c *Cache) error{
	"key": func(c *Cache) error {
		key, err := c.Key()
		fmt.Println(hex.EncodeToString(key))
		return err
	},
	"one":    one,
	"work":   work,
	"write":  write,
	"lease":  leaseAndWait,
	"parent": leaseWithChild,
}

func TestMain(m *testing.M) {
	name := os.Getenv(asHelper)
	if name == "" {
		os.Exit(m.Run())
	}
	if mask := os.Getenv("UMASK"); mask != "" {
		n, _ := strconv.ParseUint(mask, 8, 32)
		syscall.Umask(int(n))
	}
	// A helper waits for the line that has it begin, and ends with its parent.
	fmt.Println("ready")
	in := bufio.NewReader(os.Stdin)
	if _, err := in.ReadString('\n'); err != nil {
		os.Exit(3)
	}
	go func() {
		io.Copy(io.Discard, in)
		os.Exit(3)
	}()
	c, err := New(os.Args[1])
	if err == nil {
		err = helpers[name](c)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(0)
}

// helper is a process.
type helper struct {
	*exec.Cmd
	in     io.WriteCloser
	out    *bufio.Reader
	stderr bytes.Buffer
}

// start starts a helper, which waits for begin.
func start(t *testing.T, name, dir string, env ...string) *helper {
	t.Helper()
	return startWith(t, name, dir, nil, env...)
}

// startWith is start with a file more for the helper, which is nil or its file 3.
func startWith(t *testing.T, name, dir string, file *os.File, env ...string) *helper {
	t.Helper()
	h := &helper{Cmd: exec.CommandContext(t.Context(), os.Args[0], dir)}
	h.Env = append(append(os.Environ(), asHelper+"="+name), env...)
	h.Stderr = &h.stderr
	if file != nil {
		h.ExtraFiles = []*os.File{file}
	}
	h.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	in, err := h.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := h.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	h.in, h.out = in, bufio.NewReader(out)
	if err := h.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		h.in.Close()
		h.Process.Kill()
		h.Wait()
	})
	h.expect(t, "ready")
	return h
}

func (h *helper) begin() { io.WriteString(h.in, "\n") }

func (h *helper) line(t *testing.T) string {
	t.Helper()
	line, err := h.out.ReadString('\n')
	if err != nil {
		t.Fatalf("a helper ended: %v, %s", err, h.stderr.String())
	}
	return strings.TrimSuffix(line, "\n")
}

func (h *helper) expect(t *testing.T, want string) {
	t.Helper()
	if got := h.line(t); got != want {
		t.Fatalf("a helper said %q, want %q", got, want)
	}
}

func (h *helper) succeeds(t *testing.T) {
	t.Helper()
	if err := h.Wait(); err != nil {
		t.Errorf("a helper: %v, %s", err, h.stderr.String())
	}
}

// startAll starts n helpers, and has all begin when all are there.
func startAll(t *testing.T, n int, name, dir string, env ...string) []*helper {
	t.Helper()
	all := make([]*helper, n)
	for i := range all {
		all[i] = start(t, name, dir, env...)
	}
	for _, h := range all {
		h.begin()
	}
	return all
}

// whole says what is wrong with an entry that a helper wrote: one byte, many times.
func whole(data []byte) error {
	if len(data) < 1000 || len(data)%1000 != 0 {
		return fmt.Errorf("an entry of %d bytes", len(data))
	}
	if strings.Trim(string(data), string(data[:1])) != "" {
		return errors.New("an entry that is of two")
	}
	return nil
}

func entryOf(pid int) []byte { return bytes.Repeat([]byte{byte(pid)}, 1000*(1+pid%50)) }
