// Copyright 2026 The authsec Authors
// SPDX-License-Identifier: Apache-2.0

//go:build linux

package dircache

import (
	"bufio"
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
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

// patience is how long tests wait for something that must happen.
const patience = time.Minute

// asHelper makes the test's own binary one of the helpers below, in the
// directory that its argument names.
const asHelper = "DIRCACHE_TEST_HELPER"

var helpers = map[string]func(c *Cache) error{
	"key": func(c *Cache) error {
		key, err := c.Key()
		fmt.Println(hex.EncodeToString(key))
		return err
	},
	"one":    one,
	"work":   work,
	"write":  write,
	"lease":  leaseAndWait,
	"parent": leaseWithChild,
}

func TestMain(m *testing.M) {
	name := os.Getenv(asHelper)
	if name == "" {
		os.Exit(m.Run())
	}
	if mask := os.Getenv("UMASK"); mask != "" {
		n, _ := strconv.ParseUint(mask, 8, 32)
		syscall.Umask(int(n))
	}
	// A helper waits for the line that has it begin, and ends with its parent.
	fmt.Println("ready")
	in := bufio.NewReader(os.Stdin)
	if _, err := in.ReadString('\n'); err != nil {
		os.Exit(3)
	}
	go func() {
		io.Copy(io.Discard, in)
		os.Exit(3)
	}()
	c, err := New(os.Args[1])
	if err == nil {
		err = helpers[name](c)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(0)
}

// helper is a process.
type helper struct {
	*exec.Cmd
	in     io.WriteCloser
	out    *bufio.Reader
	stderr bytes.Buffer
}

// start starts a helper, which waits for begin.
func start(t *testing.T, name, dir string, env ...string) *helper {
	t.Helper()
	return startWith(t, name, dir, nil, env...)
}

// startWith is start with a file more for the helper, which is nil or its file 3.
func startWith(t *testing.T, name, dir string, file *os.File, env ...string) *helper {
	t.Helper()
	h := &helper{Cmd: exec.CommandContext(t.Context(), os.Args[0], dir)}
	h.Env = append(append(os.Environ(), asHelper+"="+name), env...)
	h.Stderr = &h.stderr
	if file != nil {
		h.ExtraFiles = []*os.File{file}
	}
	h.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	in, err := h.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := h.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	h.in, h.out = in, bufio.NewReader(out)
	if err := h.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		h.in.Close()
		h.Process.Kill()
		h.Wait()
	})
	h.expect(t, "ready")
	return h
}

func (h *helper) begin() { io.WriteString(h.in, "\n") }

func (h *helper) line(t *testing.T) string {
	t.Helper()
	line, err := h.out.ReadString('\n')
	if err != nil {
		t.Fatalf("a helper ended: %v, %s", err, h.stderr.String())
	}
	return strings.TrimSuffix(line, "\n")
}

func (h *helper) expect(t *testing.T, want string) {
	t.Helper()
	if got := h.line(t); got != want {
		t.Fatalf("a helper said %q, want %q", got, want)
	}
}

func (h *helper) succeeds(t *testing.T) {
	t.Helper()
	if err := h.Wait(); err != nil {
		t.Errorf("a helper: %v, %s", err, h.stderr.String())
	}
}

// startAll starts n helpers, and has all begin when all are there.
func startAll(t *testing.T, n int, name, dir string, env ...string) []*helper {
	t.Helper()
	all := make([]*helper, n)
	for i := range all {
		all[i] = start(t, name, dir, env...)
	}
	for _, h := range all {
		h.begin()
	}
	return all
}

// whole says what is wrong with an entry that a helper wrote: one byte, many times.
func whole(data []byte) error {
	if len(data) < 1000 || len(data)%1000 != 0 {
		return fmt.Errorf("an entry of %d bytes", len(data))
	}
	if strings.Trim(string(data), string(data[:1])) != "" {
		return errors.New("an entry that is of two")
	}
	return nil
}

func entryOf(pid int) []byte { return bytes.Repeat([]byte{byte(pid)}, 1000*(1+pid%50)) }

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
