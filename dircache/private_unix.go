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

// nonblock makes the opening of a named pipe return without its other end.
const nonblock = syscall.O_NONBLOCK

// private says why users other than this process's have access to a file or directory.
func private(info fs.FileInfo) error {
	if uid := owner(info); uid != os.Geteuid() {
		return anothers(uid)
	}
	if perm := info.Mode().Perm(); perm&0o077 != 0 {
		return fmt.Errorf("is open to other users (its mode is %#o)", perm)
	}
	return nil
}

// mayHold says why no directory may be created in this one: it belongs neither to this
// user nor to root. With sudo, HOME may be another user's, who could not use the new
// directory later.
func mayHold(info fs.FileInfo) error {
	if uid := owner(info); uid != 0 && uid != os.Geteuid() {
		return anothers(uid)
	}
	return nil
}

func owner(info fs.FileInfo) int {
	if stat, ok := info.Sys().(*syscall.Stat_t); ok {
		return int(stat.Uid)
	}
	return os.Geteuid()
}

func anothers(uid int) error {
	return wrongDir{fmt.Errorf("belongs to user %d, and this process runs as user %d", uid, os.Geteuid())}
}
