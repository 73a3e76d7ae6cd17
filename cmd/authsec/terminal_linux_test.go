// Copyright 2026 The authsec Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"fmt"
	"os"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// terminal is the side of a pseudo-terminal that a program writes to.
func terminal(t *testing.T) *os.File {
	t.Helper()
	other, err := os.OpenFile("/dev/ptmx", os.O_RDWR|syscall.O_NOCTTY, 0)
	if err != nil {
		t.Skip("there are no pseudo-terminals here:", err)
	}
	t.Cleanup(func() { other.Close() })
	if err := unix.IoctlSetPointerInt(int(other.Fd()), unix.TIOCSPTLCK, 0); err != nil {
		t.Fatal(err)
	}
	n, err := unix.IoctlGetInt(int(other.Fd()), unix.TIOCGPTN)
	if err != nil {
		t.Fatal(err)
	}
	tty, err := os.OpenFile(fmt.Sprintf("/dev/pts/%d", n), os.O_RDWR|syscall.O_NOCTTY, 0)
	if err != nil {
		t.Skip("the pseudo-terminal can't be opened:", err)
	}
	t.Cleanup(func() { tty.Close() })
	return tty
}

// The null device is a character device, as a terminal is, and no terminal.
func TestASecretOnATerminalIsWarnedOf(t *testing.T) {
	_, token := agent(t)
	null, err := os.OpenFile(os.DevNull, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer null.Close()
	file, err := os.Create(t.TempDir() + "/token")
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	for _, tc := range []struct {
		stdout *os.File
		warns  bool
	}{{terminal(t), true}, {null, false}, {file, false}} {
		for _, args := range [][]string{{"token"}, {"token", "--json"}, {"header"}, {"whoami"}} {
			var stderr bytes.Buffer
			if code := run(t.Context(), args, tc.stdout, &stderr); code != 0 {
				t.Errorf("%q = %d, want 0", args, code)
			}
			want := tc.warns && args[0] != "whoami" // it prints no secret
			if got := strings.Contains(stderr.String(), "is a secret"); got != want || !want && stderr.Len() > 0 {
				t.Errorf("%q to %s: standard error %q, want a warning: %v", args, tc.stdout.Name(), stderr.String(), want)
			}
			noSecrets(t, "standard error", stderr.String(), token)
		}
	}
}
