// Copyright 2026 The authsec Authors
// SPDX-License-Identifier: Apache-2.0

package dircache

import (
	"bytes"
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/authsec-go/authsec"
)

var (
	keyA = strings.Repeat("a1", 32)
	keyB = strings.Repeat("b2", 32)
)

func newCache(t *testing.T) *Cache {
	t.Helper()
	c, err := New(filepath.Join(t.TempDir(), "authsec"))
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func put(t *testing.T, c *Cache, key, data string) {
	t.Helper()
	if err := c.Put(t.Context(), key, []byte(data), time.Hour); err != nil {
		t.Fatal(err)
	}
}

func holds(t *testing.T, c *Cache, key, want string) {
	t.Helper()
	if got, err := c.Get(t.Context(), key); err != nil || string(got) != want {
		t.Errorf("Get: %d bytes, %v, want the %d that were put", len(got), err, len(want))
	}
}

func misses(t *testing.T, c *Cache, key string) {
	t.Helper()
	if got, err := c.Get(t.Context(), key); err != authsec.ErrCacheMiss || got != nil {
		t.Errorf("Get: %d bytes, %v, want none and ErrCacheMiss", len(got), err)
	}
}

func TestGetReturnsWhatWasPutLastUnderItsKey(t *testing.T) {
	c := newCache(t)
	misses(t, c, keyA)
	put(t, c, keyA, "first")
	put(t, c, keyA, "")
	holds(t, c, keyA, "")
	big := strings.Repeat("x", maxData)
	put(t, c, keyA, big)
	put(t, c, keyB, "other")
	holds(t, c, keyA, big)
	holds(t, c, keyB, "other")
	again, err := New(c.dir)
	if err != nil {
		t.Fatal(err)
	}
	holds(t, again, keyA, big)
}

func TestDeleteRemovesAnEntryAndAcceptsThatThereIsNone(t *testing.T) {
	c := newCache(t)
	put(t, c, keyA, "a")
	put(t, c, keyB, "b")
	for range 2 {
		if err := c.Delete(t.Context(), keyA); err != nil {
			t.Errorf("Delete: %v, want none", err)
		}
		misses(t, c, keyA)
	}
	holds(t, c, keyB, "b")
}

func TestEntriesExpire(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "authsec")
	synctest.Test(t, func(t *testing.T) {
		c, err := New(dir)
		if err != nil {
			t.Fatal(err)
		}
		if err := c.Put(t.Context(), keyA, []byte("a"), time.Minute); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Minute - time.Millisecond)
		holds(t, c, keyA, "a")
		time.Sleep(time.Millisecond)
		misses(t, c, keyA)
		put(t, c, keyA, "b")
		holds(t, c, keyA, "b")
	})
}

func TestOtherKeysAreRefused(t *testing.T) {
	c := newCache(t)
	outside := filepath.Join(filepath.Dir(c.dir), "outside")
	if err := os.WriteFile(outside, make([]byte, 100), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Key(); err != nil {
		t.Fatal(err)
	}
	for _, key := range []string{
		"", keyFile, "../outside", "../" + keyA[3:], keyA[1:], keyA + "a", strings.ToUpper(keyA), keyA[1:] + "g",
		keyA[1:] + "\x00", keyA[:60] + "/../", "../" + keyA, keyA + lockSuffix, strings.Repeat("é", 32),
	} {
		_, getErr := c.Get(t.Context(), key)
		for op, err := range map[string]error{
			"Get":    getErr,
			"Put":    c.Put(t.Context(), key, []byte("x"), time.Hour),
			"Delete": c.Delete(t.Context(), key),
		} {
			if err == nil || !strings.HasPrefix(err.Error(), "dircache: the key is not 64 hexadecimal digits") {
				t.Errorf("%s of the key %q: %v, want an error", op, key, err)
			}
		}
	}
	if got, err := os.ReadFile(outside); err != nil || len(got) != 100 {
		t.Errorf("the file outside has %d bytes, %v, want its 100", len(got), err)
	}
}

// A file is read only up to the longest length of an entry.
func TestGetBoundsWhatItReads(t *testing.T) {
	c := newCache(t)
	name := filepath.Join(c.dir, keyA)
	if err := os.WriteFile(name, bytes.Repeat([]byte{0x7f}, 100), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(name, 256<<20); err != nil { // takes no space
		t.Skip("no sparse files:", err)
	}
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	misses(t, c, keyA)
	if runtime.ReadMemStats(&after); after.TotalAlloc-before.TotalAlloc > 32<<20 {
		t.Errorf("Get took %d MB for a file that is no entry", (after.TotalAlloc-before.TotalAlloc)>>20)
	}
	if err := c.Put(t.Context(), keyB, make([]byte, maxData+1), time.Hour); err == nil {
		t.Error("Put took more than Get returns")
	}
	misses(t, c, keyB)
}

// A power failure may leave files like these.
func TestDamagedEntriesAreMisses(t *testing.T) {
	c := newCache(t)
	put(t, c, keyA, "data")
	for name, content := range map[string][]byte{"empty": {}, "short": make([]byte, maxHeader-1), "zeros": make([]byte, 100)} {
		if err := os.WriteFile(filepath.Join(c.dir, keyA), content, 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := c.Get(t.Context(), keyA); err != authsec.ErrCacheMiss {
			t.Errorf("%s: %v, want ErrCacheMiss", name, err)
		}
	}
}

func TestAnEndedContextEndsEachUse(t *testing.T) {
	c := newCache(t)
	put(t, c, keyA, "a")
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, getErr := c.Get(ctx, keyA)
	for op, err := range map[string]error{
		"Get":    getErr,
		"Put":    c.Put(ctx, keyA, []byte("b"), time.Hour),
		"Delete": c.Delete(ctx, keyA),
	} {
		if !errors.Is(err, context.Canceled) {
			t.Errorf("%s: %v, want context.Canceled", op, err)
		}
	}
	holds(t, c, keyA, "a")
}

// endsLate is a context that ends while an entry is being written.
type endsLate struct {
	context.Context
	asked int
}

func (c *endsLate) Err() error {
	if c.asked++; c.asked > 1 {
		return context.DeadlineExceeded
	}
	return nil
}

func TestPutThatOutlastsItsContextChangesNothing(t *testing.T) {
	c := newCache(t)
	put(t, c, keyA, "a")
	if err := c.Put(&endsLate{Context: t.Context()}, keyA, []byte("b"), time.Hour); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("Put: %v, want context.DeadlineExceeded", err)
	}
	holds(t, c, keyA, "a")
	if names := files(t, c.dir); len(names) != 1 {
		t.Errorf("the directory has %q, want the entry alone", names)
	}
}

func files(t *testing.T, dir string) (names []string) {
	t.Helper()
	list, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range list {
		names = append(names, e.Name())
	}
	return names
}

func TestNewRemovesWhatWasLeftHalfWrittenAnHourAgo(t *testing.T) {
	c := newCache(t)
	put(t, c, keyA, "a")
	if _, err := c.Key(); err != nil {
		t.Fatal(err)
	}
	if names := files(t, c.dir); len(names) != 2 {
		t.Errorf("the directory has %q, want the entry and the key", names)
	}
	for name, age := range map[string]time.Duration{
		tempPrefix + "OLD": 2 * tempAge, tempPrefix + "NEW": tempAge / 2, "another's": 2 * tempAge, keyA: 2 * tempAge, keyFile: 2 * tempAge,
	} {
		path := filepath.Join(c.dir, name)
		f, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY, 0o600)
		if err != nil {
			t.Fatal(err)
		}
		f.Close()
		if err := os.Chtimes(path, time.Time{}, time.Now().Add(-age)); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := New(c.dir); err != nil {
		t.Fatal(err)
	}
	got := strings.Join(files(t, c.dir), " ")
	if want := keyA + " another's key " + tempPrefix + "NEW"; got != want {
		t.Errorf("the directory has %q, want %q", got, want)
	}
}

func TestNewCreatesTheDirectoryAndUseCreatesItAgain(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "a", "b")
	c, err := New(dir + string(filepath.Separator))
	if err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(dir); err != nil || !info.IsDir() {
		t.Fatalf("after New: %v", err)
	}
	put(t, c, keyA, "a")
	if err := os.RemoveAll(filepath.Dir(dir)); err != nil {
		t.Fatal(err)
	}
	misses(t, c, keyA)
	put(t, c, keyA, "b")
	holds(t, c, keyA, "b")
}

func TestNewMakesARelativeNameAbsolute(t *testing.T) {
	t.Chdir(t.TempDir())
	c, err := New("x")
	if err != nil {
		t.Fatal(err)
	}
	put(t, c, keyA, "a")
	t.Chdir(t.TempDir())
	holds(t, c, keyA, "a")
}

func TestNewRefusesWhatIsNoDirectory(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := New(""); err == nil || err.Error() != "dircache: the directory's name is empty" {
		t.Errorf(`New(""): %v`, err)
	}
	if _, err := New(file); err == nil || err.Error() != "dircache: "+file+" is not a directory" {
		t.Errorf("New of a file: %v", err)
	}
	for _, name := range []string{file, filepath.Join(file, "below"), filepath.Join(file, "far", "below")} {
		if _, err := New(name); err == nil || !strings.HasPrefix(err.Error(), "dircache: ") || !errors.Is(err, ErrWrongDir) {
			t.Errorf("New(%q): %v, want an ErrWrongDir", name, err)
		}
	}
	// A directory that becomes something else fails when it is used.
	c := newCache(t)
	if err := errors.Join(os.Remove(c.dir), os.WriteFile(c.dir, nil, 0o600)); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Get(t.Context(), keyA); err == nil || errors.Is(err, authsec.ErrCacheMiss) {
		t.Errorf("Get in what became a file: %v, want an error", err)
	}
}

func TestKeyIsMadeOnceAndStays(t *testing.T) {
	c := newCache(t)
	first, err := c.Key()
	if err != nil || len(first) != keySize || bytes.Equal(first, make([]byte, keySize)) {
		t.Fatalf("Key: %d bytes, %v, want %d random ones", len(first), err, keySize)
	}
	again, err := New(c.dir)
	if err != nil {
		t.Fatal(err)
	}
	if second, err := again.Key(); err != nil || !bytes.Equal(first, second) {
		t.Errorf("Key again: the same %v, %v, want true", bytes.Equal(first, second), err)
	}
	if other, err := newCache(t).Key(); err != nil || bytes.Equal(first, other) {
		t.Errorf("another directory's: the same %v, %v, want false", bytes.Equal(first, other), err)
	}
	if names := files(t, c.dir); len(names) != 1 || names[0] != keyFile {
		t.Errorf("the directory has %q, want the key alone", names)
	}
}

func TestKeyOfAnotherLengthIsRefused(t *testing.T) {
	c := newCache(t)
	name := filepath.Join(c.dir, keyFile)
	for _, size := range []int{0, 1, keySize - 1, keySize + 1, 1 << 20} {
		if err := os.WriteFile(name, make([]byte, size), 0o600); err != nil {
			t.Fatal(err)
		}
		if key, err := c.Key(); err == nil || key != nil || !strings.Contains(err.Error(), "not 32: delete it") {
			t.Errorf("%d bytes: Key: %d bytes, %v, want an error", size, len(key), err)
		}
		if info, err := os.Stat(name); err != nil || info.Size() != int64(size) {
			t.Errorf("%d bytes: the file was changed", size)
		}
	}
	if err := errors.Join(os.Remove(name), os.Mkdir(name, 0o700)); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Key(); err == nil || errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a directory in its place: %v, want an error", err)
	}
}
