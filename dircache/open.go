// Copyright 2026 The authsec Authors
// SPDX-License-Identifier: Apache-2.0

package dircache

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
)

// open opens and checks the directory. All files are then reached through the
// opened directory, even if its name leads elsewhere meanwhile. Opening it for each
// use takes some microseconds, and detects if it was replaced or its mode changed.
func (c *Cache) open() (*os.Root, error) {
	info, err := os.Lstat(c.dir)
	if err != nil {
		if err = mayCreate(c.dir); err == nil {
			err = os.MkdirAll(c.dir, 0o700)
		}
		if err == nil {
			info, err = os.Lstat(c.dir)
		}
	}
	if errors.Is(err, fs.ErrPermission) || errors.Is(err, syscall.ENOTDIR) {
		err = wrongDir{err}
	}
	if err != nil {
		return nil, fmt.Errorf("dircache: %w", err)
	}
	if err := c.check(info); err != nil {
		return nil, err
	}
	root, err := os.OpenRoot(c.dir)
	if err != nil {
		return nil, fmt.Errorf("dircache: %w", err)
	}
	opened, err := root.Stat(".")
	if err == nil && !os.SameFile(info, opened) {
		err = fmt.Errorf("%s was replaced while it was opened", c.dir)
	}
	if err != nil {
		root.Close()
		return nil, fmt.Errorf("dircache: %w", err)
	}
	return root, nil
}

// mayCreate says why a directory must not be created. It checks the first directory
// above it that exists.
func mayCreate(dir string) error {
	above := filepath.Dir(dir)
	info, err := os.Stat(above)
	if err != nil && above != dir {
		return mayCreate(above)
	}
	if err == nil {
		err = mayHold(info)
	}
	if err != nil {
		return fmt.Errorf("%s %w", above, err)
	}
	return nil
}

// check says why the directory can't be used.
func (c *Cache) check(info fs.FileInfo) error {
	if info.Mode()&fs.ModeSymlink != 0 {
		return wrongDir{fmt.Errorf("dircache: %s is a symbolic link: use the directory that it leads to", c.dir)}
	}
	if !info.IsDir() {
		return wrongDir{fmt.Errorf("dircache: %s is not a directory", c.dir)}
	}
	if err := private(info); err != nil {
		return fmt.Errorf("dircache: %s %w: use a directory that only the user can access (chmod 700)", c.dir, err)
	}
	return nil
}

// openFile opens a file to be read. Reading a named pipe or a device might never end.
func openFile(root *os.Root, name string) (*os.File, fs.FileInfo, error) {
	f, err := root.OpenFile(name, os.O_RDONLY|nonblock, 0)
	if err != nil {
		return nil, nil, err
	}
	info, err := f.Stat()
	if err == nil && !info.Mode().IsRegular() {
		err = fmt.Errorf("%s is not a regular file: delete it", name)
	}
	if err != nil {
		f.Close()
		return nil, nil, err
	}
	return f, info, nil
}
