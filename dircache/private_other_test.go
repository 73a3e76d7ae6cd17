// Copyright 2026 The authsec Authors
// SPDX-License-Identifier: Apache-2.0

//go:build !unix

package dircache

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/authsec-go/authsec"
)

// As on Windows: the mode of a directory does not say who has access.
func TestWithoutUnixPermissionsTheModeDoesNotMatter(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "open")
	if err := os.Mkdir(dir, 0o777); err != nil {
		t.Fatal(err)
	}
	c, err := New(dir)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.Key(); err != nil {
		t.Fatal(err)
	}
	put(t, c, keyA, "a")
	holds(t, c, keyA, "a")
}

func TestWithoutFlockThereAreNoLeases(t *testing.T) {
	if _, ok := any(newCache(t)).(authsec.Leaser); ok {
		t.Error("the Cache is a Leaser, want none without flock")
	}
}
