// Copyright 2026 The authsec Authors
// SPDX-License-Identifier: Apache-2.0

// Package dircache is an [authsec.Cache] in a directory, for the processes of one
// user on one host: a command that runs for a moment each time, the workers of one
// program, proxies that share a volume. Together they ask the AuthSec server as
// often as one process would.
//
//	store, err := dircache.New(dir) // such as a directory in os.UserCacheDir
//	key, err := store.Key()
//	cfg.Cache = &authsec.CacheConfig{Store: store, Keys: authsec.NewCacheKeys(key)}
//
// # What protects the tokens
//
// The permissions of the directory do. The directory and its files belong to the
// user, and nobody else has access. On Unix, New fails for a directory that other
// users own or have access to. Whoever can read the whole directory nevertheless
// has the tokens: root, other programs of the user, and whoever has a backup of it.
//
// The key of [Cache.Key] is in the same directory. It protects entries that leave
// the directory without the key: a file that was copied alone, deleted files on a
// disk, a backup without the file "key". It also detects entries that were changed,
// cut short or swapped. For protection from those who can read the directory, keep
// a key elsewhere and put that one into [authsec.CacheConfig]. Do the same for a
// directory on a server with other users or administrators that you do not trust.
// To replace the key, end the processes and delete the directory.
//
// # Where the directory may be
//
// On a local file system, in memory or on disk. Only the user and root may be able
// to rename the directories above it, as is usual.
//
// On NFS and similar file systems, too, entries are never cut short. Leases work
// between the processes of one host. On Linux they also work between hosts, if the
// mount uses the locks of the server (no nolock, no local_lock). Where they do not
// work, several processes ask the AuthSec server instead of one. The clocks of the
// hosts must agree: an error shortens or lengthens the life of entries. A call that
// hangs in the kernel does not end with its context, but a Source waits no longer
// than [authsec.CacheConfig.Timeout].
//
// On Windows, permissions are not checked, and there are no leases: choose a
// directory in the user's profile.
package dircache

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/authsec-go/authsec"
)

const (
	keyDigits = 64      // of an entry's key
	maxData   = 4 << 20 // bytes of an entry: the bound of [authsec.Cache]
	maxHeader = 8       // bytes before an entry's data: its expiry, in ms since 1970, big endian

	// Names of other files in the directory. An entry's name is its key.
	keyFile    = "key"
	lockSuffix = ".lock"
	tempPrefix = "tmp-"

	// tempAge is the age at which a temporary file must be left over from a process
	// that was killed.
	tempAge = time.Hour
)

// ErrWrongDir means that another directory must be used. This one, the key in it, or
// the directory in which it would be created, belongs to another user; or it is a
// symbolic link or no directory; or the user may not create it. Other errors of [New]
// and [Cache.Key] may be transient: a full disk may get space again, and a mode may be
// changed.
var ErrWrongDir = errors.New("dircache: wrong directory")

// wrongDir is an error that is also ErrWrongDir.
type wrongDir struct{ error }

func (wrongDir) Is(target error) bool { return target == ErrWrongDir }
func (e wrongDir) Unwrap() error      { return e.error }

// Cache is an [authsec.Cache] in a directory. It is an [authsec.Leaser], too, if
// the system has flock: on all systems that Go supports but Windows, Plan 9, AIX,
// Solaris, JavaScript and WASI. Make one with [New]. It is safe for concurrent
// use, and there is nothing to close.
//
// The directory has one file for each agent and server, and an empty one for
// their lease. The files stay after their expiry, and are overwritten. To clean up,
// delete the directory: running processes create it again. They share nothing with
// later processes if they use [Cache.Key], because the new directory has another
// key.
type Cache struct {
	dir string // absolute
}

var _ authsec.Cache = (*Cache)(nil)

// New returns a Cache in dir. It creates dir if it does not exist, with access for
// the user only (0700). It fails if dir is not a directory or is a symbolic link;
// links in the path to dir are permitted. On Unix it also fails if the directory
// belongs to another user, or if others have any access to it. It creates dir only in a
// directory of this user or of root, so not in another user's home that sudo kept in
// HOME. Each use of the Cache checks the same again, in case the directory was replaced.
// An error is [ErrWrongDir] if only another dir can help.
func New(dir string) (*Cache, error) {
	if dir == "" {
		return nil, errors.New("dircache: the directory's name is empty")
	}
	abs, err := filepath.Abs(dir)
	if err != nil {
		return nil, fmt.Errorf("dircache: %w", err)
	}
	c := &Cache{dir: abs}
	root, err := c.open()
	if err != nil {
		return nil, err
	}
	defer root.Close()
	sweep(root)
	return c, nil
}

// use opens the directory and calls f, for the entry of key.
func (c *Cache) use(ctx context.Context, key string, f func(root *os.Root) error) error {
	if err := checkKey(key); err != nil {
		return err
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	root, err := c.open()
	if err != nil {
		return err
	}
	defer root.Close()
	err = f(root)
	if err == nil || err == authsec.ErrCacheMiss || err == authsec.ErrLeaseHeld {
		return err
	}
	return fmt.Errorf("dircache: %s: %w", c.dir, err)
}

// checkKey rejects whatever could be another file's name, even on file systems that
// ignore case.
func checkKey(key string) error {
	if len(key) != keyDigits || strings.Trim(key, "0123456789abcdef") != "" {
		return fmt.Errorf("dircache: the key is not %d hexadecimal digits in lower case", keyDigits)
	}
	return nil
}

// Get returns the entry of key. It returns [authsec.ErrCacheMiss] if there is none,
// if it has over 4 MiB, or if it has expired by this host's clock.
func (c *Cache) Get(ctx context.Context, key string) (data []byte, err error) {
	err = c.use(ctx, key, func(root *os.Root) error {
		f, _, err := openFile(root, key)
		if errors.Is(err, fs.ErrNotExist) {
			return authsec.ErrCacheMiss
		}
		if err != nil {
			return err
		}
		defer f.Close()
		stored, err := io.ReadAll(io.LimitReader(f, maxHeader+maxData+1))
		if err != nil {
			return err
		}
		if len(stored) < maxHeader || len(stored) > maxHeader+maxData { // a power failure may leave a short file
			return authsec.ErrCacheMiss
		}
		expiry := int64(binary.BigEndian.Uint64(stored))
		if time.Now().UnixMilli() >= expiry {
			return authsec.ErrCacheMiss
		}
		data = stored[maxHeader:]
		return nil
	})
	return data, err
}

// Put stores data, at most 4 MiB, as the entry of key. If it fails, or if the
// process is killed during it, the earlier entry is still there.
//
// It does not wait until the data is on the disk, which would take milliseconds.
// After a power failure an entry may be missing, old or damaged. A damaged one does
// not decrypt. In each case a Source can ask the server again.
func (c *Cache) Put(ctx context.Context, key string, data []byte, ttl time.Duration) error {
	return c.use(ctx, key, func(root *os.Root) error {
		if len(data) > maxData {
			return fmt.Errorf("the entry has %d bytes, more than %d", len(data), maxData)
		}
		expiry := time.Now().Add(ttl).UnixMilli()
		stored := binary.BigEndian.AppendUint64(make([]byte, 0, maxHeader+len(data)), uint64(expiry))
		temp, err := writeTemp(root, append(stored, data...), false)
		if err != nil {
			return err
		}
		if err = ctx.Err(); err == nil { // a disk that hung must not bring back an old entry
			err = root.Rename(temp, key)
		}
		if err != nil {
			root.Remove(temp)
		}
		return err
	})
}

// Delete removes the entry of key, if there is one.
func (c *Cache) Delete(ctx context.Context, key string) error {
	return c.use(ctx, key, func(root *os.Root) error {
		if err := root.Remove(key); !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		return nil
	})
}

// writeTemp writes a temporary file, and returns its name.
func writeTemp(root *os.Root, data []byte, sync bool) (name string, err error) {
	name = tempPrefix + rand.Text()
	f, err := root.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return "", err
	}
	_, err = f.Write(data)
	if err == nil && sync {
		err = f.Sync()
	}
	if closeErr := f.Close(); err == nil {
		err = closeErr
	}
	if err != nil {
		root.Remove(name)
		return "", err
	}
	return name, nil
}

// sweep removes old temporary files of processes that were killed.
func sweep(root *os.Root) {
	dir, err := root.Open(".")
	if err != nil {
		return
	}
	defer dir.Close()
	names, _ := dir.Readdirnames(-1)
	for _, name := range names {
		if !strings.HasPrefix(name, tempPrefix) {
			continue
		}
		if info, err := root.Lstat(name); err == nil && time.Since(info.ModTime()) > tempAge {
			root.Remove(name)
		}
	}
}
