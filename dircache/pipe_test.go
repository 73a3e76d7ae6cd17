// Copyright 2026 The authsec Authors
// SPDX-License-Identifier: Apache-2.0

//go:build darwin || dragonfly || freebsd || linux || netbsd || openbsd

package dircache

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/authsec-go/authsec"
)

// TestANamedPipeIsNotRead: nobody writes to the pipe, so to open it would never end.
func TestANamedPipeIsNotRead(t *testing.T) {
	c := newCache(t)
	for name, use := range map[string]func() error{
		keyA:    func() error { _, err := c.Get(t.Context(), keyA); return err },
		keyFile: func() error { _, err := c.Key(); return err },
	} {
		pipe := filepath.Join(c.dir, name)
		if err := syscall.Mkfifo(pipe, 0o600); err != nil {
			t.Skip("no named pipes:", err)
		}
		done := make(chan error, 1)
		go func() { done <- use() }()
		var err error
		select {
		case err = <-done:
		case <-time.After(10 * time.Second):
			t.Errorf("%.4s…: the call hangs", name)
			if end, openErr := os.OpenFile(pipe, os.O_WRONLY|syscall.O_NONBLOCK, 0); openErr == nil {
				end.Close() // ends it
			}
			err = <-done
		}
		if err == nil || errors.Is(err, authsec.ErrCacheMiss) || !strings.Contains(err.Error(), name+" is not a regular file") {
			t.Errorf("%.4s…: got error %v, want one about the file", name, err)
		}
	}
	// It is no obstacle for a new entry.
	put(t, c, keyA, "a")
	holds(t, c, keyA, "a")
}
