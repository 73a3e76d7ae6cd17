// Copyright 2026 The authsec Authors
// SPDX-License-Identifier: Apache-2.0

//go:build linux

package dircache

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/authsec-go/authsec"
)

// work uses everything at once, and checks that entries are whole and that
// nobody else holds the lease.
func work(c *Cache) error {
	ctx := context.Background()
	leases := 0
	for i := range 60 {
		if err := c.Put(ctx, keyA, entryOf(os.Getpid()), time.Hour); err != nil {
			return err
		}
		data, err := c.Get(ctx, keyA)
		if err == nil {
			err = whole(data)
		}
		if err != nil && err != authsec.ErrCacheMiss {
			return err
		}
		if i%10 == 0 {
			if err := c.Delete(ctx, keyA); err != nil {
				return err
			}
		}
		release, err := c.Lease(ctx, keyA, time.Minute)
		if err == authsec.ErrLeaseHeld {
			continue
		}
		if err != nil {
			return err
		}
		leases++
		mark, err := os.OpenFile(filepath.Join(c.dir, "held"), os.O_CREATE|os.O_EXCL, 0o600)
		if err != nil {
			return fmt.Errorf("two have the lease: %w", err)
		}
		mark.Close()
		os.Remove(mark.Name())
		if err := release(ctx); err != nil {
			return err
		}
	}
	fmt.Println(leases)
	return nil
}

func TestTwentyProcessesShareADirectory(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "authsec")
	leases := 0
	for _, h := range startAll(t, 20, "work", dir) {
		n, _ := strconv.Atoi(h.line(t))
		leases += n
		h.succeeds(t)
	}
	if leases == 0 {
		t.Error("no process ever had the lease")
	}
	if names := strings.Join(files(t, dir), " "); names != keyA+" "+keyA+lockSuffix {
		t.Errorf("the directory has %q, want the entry and its lock", names)
	}
}

func TestFiftyProcessesGetTheSameKey(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "authsec")
	keys := map[string]int{}
	for _, h := range startAll(t, 50, "key", dir) {
		keys[h.line(t)]++
		h.succeeds(t)
	}
	if len(keys) != 1 {
		t.Errorf("50 processes got %d different keys, want 1", len(keys))
	}
	if names := strings.Join(files(t, dir), " "); names != keyFile {
		t.Errorf("the directory has %q, want the key alone", names)
	}
}

// write puts entries until it is killed, several at once and each of its own length.
func write(c *Cache) error {
	failed := make(chan error)
	for i := range 4 {
		data := bytes.Repeat([]byte{'a' + byte(i)}, 1000*(1000+i))
		if err := c.Put(context.Background(), keyA, data, time.Hour); err != nil {
			return err
		}
		go func() {
			for {
				if err := c.Put(context.Background(), keyA, data, time.Hour); err != nil {
					failed <- err
				}
			}
		}()
	}
	fmt.Println("writing")
	return <-failed
}

// leftovers are the files that were not written to their end.
func leftovers(t *testing.T, c *Cache) (left []string) {
	t.Helper()
	for _, name := range files(t, c.dir) {
		if strings.HasPrefix(name, tempPrefix) {
			left = append(left, filepath.Join(c.dir, name))
		}
	}
	return left
}

func TestAProcessKilledInPutLeavesNoHalfEntry(t *testing.T) {
	c := newCache(t)
	kills := 0
	for deadline := time.Now().Add(patience); len(leftovers(t, c)) < 10; kills++ {
		if time.Now().After(deadline) {
			t.Fatalf("%d were killed, and left %d files half written: too few", kills, len(leftovers(t, c)))
		}
		h := start(t, "write", c.dir)
		h.begin()
		h.expect(t, "writing")
		killed := time.After(rand.N(20 * time.Millisecond))
		for running := true; running; {
			select {
			case <-killed:
				h.Process.Kill()
				h.Wait()
				running = false
			default:
			}
			data, err := c.Get(t.Context(), keyA)
			if err == nil {
				err = whole(data)
			}
			if err != nil {
				t.Fatalf("Get: %v", err)
			}
		}
	}
	t.Logf("%d were killed, and left %d files half written", kills, len(leftovers(t, c)))
	old := time.Now().Add(-2 * tempAge)
	for _, name := range leftovers(t, c) {
		if err := os.Chtimes(name, old, old); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := New(c.dir); err != nil {
		t.Fatal(err)
	}
	if names := files(t, c.dir); len(names) != 1 {
		t.Errorf("the directory has %q, want the entry alone", names)
	}
}

func leaseAndWait(c *Cache) error {
	if _, err := c.Lease(context.Background(), keyA, time.Hour); err != nil {
		return err
	}
	fmt.Println("leased")
	select {}
}

// leaseWithChild has the lease and then a child, whose input is file 3.
func leaseWithChild(c *Cache) error {
	if _, err := c.Lease(context.Background(), keyA, time.Hour); err != nil {
		return err
	}
	child := exec.Command(os.Args[0], c.dir)
	child.Env = append(os.Environ(), asHelper+"=key")
	child.Stdin, child.Stdout = os.NewFile(3, "input"), os.Stdout
	if err := child.Start(); err != nil {
		return err
	}
	fmt.Println(child.Process.Pid)
	select {}
}

func TestALeaseEndsWithItsProcess(t *testing.T) {
	c := newCache(t)
	h := start(t, "lease", c.dir)
	h.begin()
	h.expect(t, "leased")
	held(t, c, keyA)
	h.Process.Kill()
	h.Wait()
	lease(t, c, keyA, time.Minute)(t.Context()) // at once
}

// A child has no part in its parent's lease.
func TestALeaseIsNotInheritedByChildren(t *testing.T) {
	c := newCache(t)
	input, keep, err := os.Pipe() // the child ends when this process has closed keep
	if err != nil {
		t.Fatal(err)
	}
	defer keep.Close()
	h := startWith(t, "parent", c.dir, input)
	input.Close()
	h.begin()
	first, second := h.line(t), h.line(t) // the child's "ready", and its pid, in any order
	if second == "ready" {
		first, second = second, first
	}
	pid, err := strconv.Atoi(second)
	if first != "ready" || err != nil {
		t.Fatalf("the helpers said %q and %q", first, second)
	}
	held(t, c, keyA)
	h.Process.Kill()
	h.Process.Wait()
	lease(t, c, keyA, time.Minute)(t.Context())
	if err := syscall.Kill(pid, 0); err != nil {
		t.Errorf("the child has not outlived its parent: %v", err)
	}
}

// Whatever the umask, nobody else gets any access, and the user does.
func TestModesDoNotDependOnTheUmask(t *testing.T) {
	for _, mask := range []string{"000", "022", "077"} {
		dir := filepath.Join(t.TempDir(), "above", "authsec")
		h := start(t, "one", dir, "UMASK="+mask)
		h.begin()
		h.succeeds(t)
		for name, want := range map[string]os.FileMode{
			"": os.ModeDir | 0o700, keyFile: 0o600, keyA: 0o600, keyA + lockSuffix: 0o600,
		} {
			info, err := os.Stat(filepath.Join(dir, name))
			if err != nil {
				t.Fatal(err)
			}
			if info.Mode() != want {
				t.Errorf("umask %s: %q has mode %v, want %v", mask, name, info.Mode(), want)
			}
		}
	}
}

// one leaves one file of each kind.
func one(c *Cache) error {
	ctx := context.Background()
	_, keyErr := c.Key()
	_, leaseErr := c.Lease(ctx, keyA, time.Minute)
	return errors.Join(keyErr, leaseErr, c.Put(ctx, keyA, entryOf(1), time.Hour))
}

// mount mounts a small file system, if that is permitted here.
func mount(t *testing.T) (dir string) {
	t.Helper()
	dir = t.TempDir()
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "size=64k,mode=700"); err != nil {
		t.Skip("mounting a file system is not permitted:", err)
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(dir, 0); err != nil {
			t.Error("unmount:", err)
		}
	})
	return dir
}

func TestAFullDiskFailsAndKeepsWhatIsThere(t *testing.T) {
	c, err := New(filepath.Join(mount(t), "authsec"))
	if err != nil {
		t.Fatal(err)
	}
	put(t, c, keyA, "before")
	if err := c.Put(t.Context(), keyA, make([]byte, 128<<10), time.Hour); !errors.Is(err, syscall.ENOSPC) {
		t.Errorf("Put: %v, want ENOSPC", err)
	}
	holds(t, c, keyA, "before")
	if names := files(t, c.dir); len(names) != 1 {
		t.Errorf("the directory has %q, want the entry alone", names)
	}
	fill := filepath.Join(c.dir, "fill")
	if err := os.WriteFile(fill, make([]byte, 128<<10), 0o600); !errors.Is(err, syscall.ENOSPC) {
		t.Fatalf("filling the disk: %v, want ENOSPC", err)
	}
	if _, err := c.Key(); !errors.Is(err, syscall.ENOSPC) {
		t.Errorf("Key: %v, want ENOSPC", err)
	}
	if err := os.Remove(fill); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Key(); err != nil {
		t.Errorf("Key, with space again: %v", err)
	}
}

func TestAReadOnlyDirectoryFailsWithAnError(t *testing.T) {
	base := mount(t)
	c, err := New(filepath.Join(base, "authsec"))
	if err != nil {
		t.Fatal(err)
	}
	put(t, c, keyA, "before")
	if err := syscall.Mount("tmpfs", base, "tmpfs", syscall.MS_REMOUNT|syscall.MS_RDONLY, ""); err != nil {
		t.Fatal(err)
	}
	for op, err := range each(t, c) {
		if op != "Get" && !errors.Is(err, syscall.EROFS) {
			t.Errorf("%s: %v, want EROFS", op, err)
		}
	}
	holds(t, c, keyA, "before")
	if _, err := New(c.dir); err != nil {
		t.Errorf("New: %v, want none: what is there can be read", err)
	}
	if _, err := New(filepath.Join(base, "other")); !errors.Is(err, syscall.EROFS) {
		t.Errorf("New of a directory that can't be made: %v, want EROFS", err)
	}
}
