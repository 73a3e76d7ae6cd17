// Copyright 2026 The authsec Authors
// SPDX-License-Identifier: Apache-2.0

//go:build unix

package main

import (
	"fmt"
	"os"
	"path/filepath"
	"syscall"
)

// ofAnother returns an error if dir would be created in a directory of another user
// than root, as sudo does with the user's HOME. That user could not use it later.
func ofAnother(dir string) error {
	for {
		info, err := os.Stat(dir)
		if err == nil {
			stat, ok := info.Sys().(*syscall.Stat_t)
			if ok && stat.Uid != 0 && int(stat.Uid) != os.Geteuid() {
				return fmt.Errorf("%s belongs to user %d, and this process runs as user %d", dir, stat.Uid, os.Geteuid())
			}
			return nil
		}
		above := filepath.Dir(dir)
		if above == dir {
			return nil
		}
		dir = above
	}
}
