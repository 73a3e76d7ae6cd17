// Copyright 2026 The authsec Authors
// SPDX-License-Identifier: Apache-2.0

// Package dircache is an [authsec.Cache] in a directory, for the processes that
// one user runs on one host: a command that runs for a moment each time, the
// workers of one program, proxies that share a volume. Together they ask the
// AuthSec server as one process would.
//
//	store, err := dircache.New(dir) // such as os.UserCacheDir's, and a name
//	key, err := store.Key()
//	cfg.Cache, cfg.CacheKeys = store, [][]byte{key}
//
// A Source stores what it was told when its caller has it already. A program that
// ends soon after calls [authsec.Source.Flush] before it does.
//
// # What protects the tokens
//
// The directory's permissions do: it and what is in it belong to the user, and
// to nobody else. On Unix a directory that others can read or write, or own, is
// refused. Whoever can read all of it nevertheless, as root and the user's other
// programs can, and a backup of it, has the tokens for as long as they are good.
//
// With the key of [Cache.Key], which lies beside them, the sealed entries are
// safe where they leave the directory without it: a file that was copied alone,
// what a disk still holds of deleted ones, a backup without the file "key". It
// also has entries that were changed, cut short or put in another's place not be
// taken for the server's word. To be safe from those who can read the directory,
// keep the key elsewhere, and give that one to [authsec.Config.CacheKeys]; so do
// with a directory on a server whose other users or administrators are not to be
// trusted. To replace the key, end the processes and delete the directory.
//
// # Where it may be
//
// On a local file system, in memory or not. The directories above it must be
// such that only the user and root can rename what is in them, as usual.
// On NFS and the like, entries are whole, too. Leases exclude the processes of one
// host, and on Linux those of other hosts if the mount has locks of the server
// (no nolock, no local_lock); where they don't, several processes ask the AuthSec
// server where one would do. Clocks of the hosts must agree to within the time
// that an entry has to live. A call that hangs in the kernel does not end with
// its context: a Source waits no longer than [authsec.Config.CacheTimeout] in any
// case.
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
	maxData   = 8 << 20 // bytes of an entry, more than a Source stores
	maxHeader = 8       // bytes before an entry's data: its expiry, in ms since 1970, big endian

	// What else is in the directory, besides entries, which have their key for a name.
	keyFile    = "key"
	lockSuffix = ".lock"
	tempPrefix = "tmp-"

	// tempAge is the age at which a file that is being written must be one that a
	// process which was killed has left.
	tempAge = time.Hour
)

// Cache is an [authsec.Cache] in a directory. Where the system has flock it is
// an [authsec.Leaser], too: on all that Go runs on but Windows, Plan 9, AIX,
// Solaris, JavaScript and WASI. Make one with [New]. It is safe for concurrent
// use, and there is nothing to close.
//
// The directory has one file for each agent and server, and an empty one for
// their lease. They stay, expired or not, and are overwritten: to clean up, delete
// the directory. Processes that run then make it again, and share nothing with
// later ones if they had its [Cache.Key], which is another by then.
type Cache struct {
	dir string // absolute
}

var _ authsec.Cache = (*Cache)(nil)

// New returns a Cache in dir, which it creates if there is none, for the user
// alone (0700). It refuses, on Unix, a directory that belongs to another user
// or that others have any access to, and everywhere what is no directory: a
// symbolic link is none, though there may be some on the way to dir. The same is
// true whenever the Cache is used, should the directory have been replaced.
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

// open opens the directory. All files are then reached through what was opened
// and checked, wherever its name leads by then. To open it for each use takes
// some microseconds, and notices if it was replaced or its mode changed.
func (c *Cache) open() (*os.Root, error) {
	info, err := os.Lstat(c.dir)
	if err != nil {
		if err = os.MkdirAll(c.dir, 0o700); err == nil {
			info, err = os.Lstat(c.dir)
		}
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

// check says what keeps the directory from being used.
func (c *Cache) check(info fs.FileInfo) error {
	if info.Mode()&fs.ModeSymlink != 0 {
		return fmt.Errorf("dircache: %s is a symbolic link: name the directory that it leads to", c.dir)
	}
	if !info.IsDir() {
		return fmt.Errorf("dircache: %s is not a directory", c.dir)
	}
	if err := private(info); err != nil {
		return fmt.Errorf("dircache: %s %w: use a directory that is the user's alone (chmod 700)", c.dir, err)
	}
	return nil
}

// use calls f with the directory, for what concerns the entry of key.
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

// checkKey lets nothing pass that could be another file's name, on file systems
// that ignore case, too.
func checkKey(key string) error {
	if len(key) != keyDigits || strings.Trim(key, "0123456789abcdef") != "" {
		return fmt.Errorf("dircache: the key is not %d hexadecimal digits in lower case", keyDigits)
	}
	return nil
}

// Get returns the entry of key, or [authsec.ErrCacheMiss]: if there is none, or
// it has expired by this host's clock.
func (c *Cache) Get(ctx context.Context, key string) (data []byte, err error) {
	err = c.use(ctx, key, func(root *os.Root) error {
		f, err := root.Open(key)
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
		if len(stored) > maxHeader+maxData {
			return fmt.Errorf("an entry has more than %d bytes", maxData)
		}
		if len(stored) < maxHeader { // what a power failure may leave
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

// Put stores data, at most 8 MiB, as the entry of key. If it fails, or the
// process is killed in the middle of it, what was there before is there still.
//
// It does not wait until the data is on the disk, which takes milliseconds. After
// a power failure an entry may be missing, old or damaged; the first two
// the server is asked for again, the last does not open.
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
		if err = ctx.Err(); err == nil { // so that a disk which hung brings no old entry back
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

// writeTemp writes a file that no reader looks for, and returns its name.
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

// sweep removes what processes that were killed while they wrote have left.
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
