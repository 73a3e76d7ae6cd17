// Copyright 2026 The authsec Authors
// SPDX-License-Identifier: Apache-2.0

//go:build unix

package dircache

import (
	"fmt"
	"io/fs"
	"os"
	"syscall"
)

// private says why users other than this process's have access to a file or directory.
func private(info fs.FileInfo) error {
	if stat, ok := info.Sys().(*syscall.Stat_t); ok && int(stat.Uid) != os.Geteuid() {
		return wrongDir{fmt.Errorf("belongs to user %d, and this process runs as user %d", stat.Uid, os.Geteuid())}
	}
	if perm := info.Mode().Perm(); perm&0o077 != 0 {
		return fmt.Errorf("is open to other users (its mode is %#o)", perm)
	}
	return nil
}
