// Copyright 2026 The authsec Authors
// SPDX-License-Identifier: Apache-2.0

//go:build darwin || dragonfly || freebsd || illumos || linux || netbsd || openbsd

package dircache

import (
	"context"
	"errors"
	"os"
	"sync"
	"syscall"
	"time"

	"github.com/authsec-go/authsec"
)

var _ authsec.Leaser = (*Cache)(nil)

// Lease takes the lease of key, or fails with [authsec.ErrLeaseHeld]. The lease is a
// lock (flock) on a file. It ends when it is released, after ttl, or at once when
// the process ends, in whatever way. Only a process that is paused (SIGSTOP, a
// frozen container) can hold it for longer than ttl. Leases of one process exclude
// each other, too.
func (c *Cache) Lease(ctx context.Context, key string, ttl time.Duration) (release func(context.Context) error, err error) {
	var f *os.File
	err = c.use(ctx, key, func(root *os.Root) (err error) {
		// NFS wants it open for writing. The file is never deleted: a process that
		// has it open would hold a lock that others can't see.
		if f, err = root.OpenFile(key+lockSuffix, os.O_RDWR|os.O_CREATE, 0o600); err != nil {
			return err
		}
		if err = flock(f, syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
			f.Close()
		}
		if errors.Is(err, syscall.EWOULDBLOCK) {
			return authsec.ErrLeaseHeld
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	// The lock belongs to the open file, so this ends no other lease. Closing the
	// file is not enough: a process that is being forked may have it open, too.
	end := sync.OnceValue(func() error {
		return errors.Join(flock(f, syscall.LOCK_UN), f.Close())
	})
	timer := time.AfterFunc(ttl, func() { end() })
	return func(context.Context) error {
		timer.Stop()
		return end()
	}, nil
}

func flock(f *os.File, how int) error {
	for {
		err := syscall.Flock(int(f.Fd()), how)
		if err != syscall.EINTR {
			return os.NewSyscallError("flock", err)
		}
	}
}
