// Copyright 2026 The authsec Authors
// SPDX-License-Identifier: Apache-2.0

package dircache

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
)

// keySize is the key length that [authsec.NewCacheKeys] wants.
const keySize = 32

// Key returns the directory's own key, for [authsec.NewCacheKeys]: 32 random bytes
// in the file "key", the same for all processes. The first call creates the file.
// Key fails if the file has another length, belongs to another user, or if others
// have any access to it. On file systems without hard links it can't create the
// file. The package comment says what the key protects from.
func (c *Cache) Key() ([]byte, error) {
	root, err := c.open()
	if err != nil {
		return nil, err
	}
	defer root.Close()
	key, err := readKey(root)
	if errors.Is(err, fs.ErrNotExist) {
		if err = makeKey(root); err == nil {
			key, err = readKey(root)
		}
	}
	if err != nil {
		return nil, fmt.Errorf("dircache: %s: %w", c.dir, err)
	}
	return key, nil
}

// makeKey creates the key, unless another process just did. A hard link is created
// as a whole or not at all, and unlike a rename it replaces nothing. The key is on
// the disk before that, so that a power failure leaves no half key.
func makeKey(root *os.Root) error {
	key := make([]byte, keySize)
	rand.Read(key) // never fails
	temp, err := writeTemp(root, key, true)
	if err != nil {
		return err
	}
	defer root.Remove(temp)
	if err := root.Link(temp, keyFile); !errors.Is(err, fs.ErrExist) {
		return err
	}
	return nil
}

func readKey(root *os.Root) ([]byte, error) {
	f, info, err := openFile(root, keyFile)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	if err := private(info); err != nil {
		return nil, fmt.Errorf("the file %q %w: delete it, and a new one is created", keyFile, err)
	}
	key, err := io.ReadAll(io.LimitReader(f, keySize+1))
	if err != nil {
		return nil, err
	}
	if len(key) != keySize || info.Size() != keySize {
		return nil, fmt.Errorf("the file %q has %d bytes, not %d: delete it, and a new one is created", keyFile, info.Size(), keySize)
	}
	return key, nil
}
