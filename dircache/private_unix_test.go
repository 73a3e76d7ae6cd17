// Copyright 2026 The authsec Authors
// SPDX-License-Identifier: Apache-2.0

//go:build unix

package dircache

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/authsec-go/authsec"
)

func TestNewRefusesADirectoryThatIsOpenToOthers(t *testing.T) {
	for _, mode := range []fs.FileMode{0o755, 0o750, 0o701, 0o777, 0o770, 0o710, 0o720, 0o702 | fs.ModeSticky} {
		dir := filepath.Join(t.TempDir(), "open")
		if err := errors.Join(os.Mkdir(dir, 0o700), os.Chmod(dir, mode)); err != nil {
			t.Fatal(err)
		}
		if _, err := New(dir); err == nil || !strings.Contains(err.Error(), dir+" is open to other users (its mode is 0") {
			t.Errorf("mode %v: %v, want an error", mode, err)
		}
		if info, err := os.Stat(dir); err != nil || info.Mode().Perm() != mode.Perm() {
			t.Errorf("mode %v was changed to %v", mode, info.Mode())
		}
	}
}

// each calls everything that uses the directory, and returns the errors.
func each(t *testing.T, c *Cache) map[string]error {
	t.Helper()
	_, getErr := c.Get(t.Context(), keyA)
	_, keyErr := c.Key()
	errs := map[string]error{
		"Get":    getErr,
		"Put":    c.Put(t.Context(), keyA, []byte("x"), time.Hour),
		"Delete": c.Delete(t.Context(), keyA),
		"Key":    keyErr,
	}
	if l, ok := any(c).(authsec.Leaser); ok {
		release, err := l.Lease(t.Context(), keyA, time.Minute)
		if errs["Lease"] = err; err == nil {
			release(t.Context())
		}
	}
	return errs
}

func TestADirectoryThatBecomesOpenToOthersIsNotUsed(t *testing.T) {
	c := newCache(t)
	put(t, c, keyA, "a")
	if err := os.Chmod(c.dir, 0o750); err != nil {
		t.Fatal(err)
	}
	for op, err := range each(t, c) {
		if err == nil || !strings.Contains(err.Error(), "is open to other users") {
			t.Errorf("%s: %v, want an error about the directory", op, err)
		}
	}
	if err := os.Chmod(c.dir, 0o700); err != nil {
		t.Fatal(err)
	}
	holds(t, c, keyA, "a")
}

func TestADirectoryOrKeyOfAnotherUserIsRefused(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root can give a file away")
	}
	const other = 12345
	c := newCache(t)
	if _, err := c.Key(); err != nil {
		t.Fatal(err)
	}
	name := filepath.Join(c.dir, keyFile)
	if err := os.Chown(name, other, -1); err != nil {
		t.Skip("chown:", err)
	}
	if _, err := c.Key(); err == nil || !strings.Contains(err.Error(), "belongs to user 12345") {
		t.Errorf("another's key: %v, want an error", err)
	}
	if err := os.Chown(c.dir, other, -1); err != nil {
		t.Fatal(err)
	}
	if _, err := New(c.dir); err == nil || !strings.Contains(err.Error(), "belongs to user 12345") {
		t.Errorf("another's directory: %v, want an error", err)
	}
	for op, err := range each(t, c) {
		if err == nil || !strings.Contains(err.Error(), "belongs to user 12345") {
			t.Errorf("%s in another's directory: %v, want an error", op, err)
		}
	}
}

// With sudo, a program may run as root with the user's HOME.
func TestNothingIsCreatedInAnotherUsersDirectory(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root can give a file away")
	}
	for _, below := range []string{"authsec", ".cache/authsec", ".cache/a/b/c"} {
		home := t.TempDir()
		if err := os.Chown(home, 12345, -1); err != nil {
			t.Skip("chown:", err)
		}
		_, err := New(filepath.Join(home, below))
		if want := "dircache: " + home + " belongs to user 12345, and this process runs as user 0"; !errors.Is(err, ErrWrongDir) || err.Error() != want {
			t.Errorf("%s: got error %v, want %q, which is an ErrWrongDir", below, err, want)
		}
		if left := files(t, home); len(left) > 0 {
			t.Errorf("%s: New created %q in the home of another user", below, left)
		}
		// What the user has made for root may be used.
		if err := errors.Join(os.MkdirAll(filepath.Join(home, filepath.Dir(below)), 0o700), os.Mkdir(filepath.Join(home, below), 0o700)); err != nil {
			t.Fatal(err)
		}
		if _, err := New(filepath.Join(home, below)); err != nil {
			t.Errorf("%s: got error %v for root's own directory, want none", below, err)
		}
	}
}

// Root's directories may be writable for all, as /tmp is.
func TestADirectoryIsCreatedInOneOfRoot(t *testing.T) {
	dir, err := os.MkdirTemp("", "authsec-*")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	if err := os.Remove(dir); err != nil {
		t.Fatal(err)
	}
	if _, err := New(dir); err != nil {
		t.Errorf("got error %v, want none", err)
	}
}

func TestAKeyThatOthersCanReadIsRefused(t *testing.T) {
	c := newCache(t)
	if _, err := c.Key(); err != nil {
		t.Fatal(err)
	}
	for _, mode := range []fs.FileMode{0o640, 0o604, 0o620, 0o602, 0o644} {
		if err := os.Chmod(filepath.Join(c.dir, keyFile), mode); err != nil {
			t.Fatal(err)
		}
		if key, err := c.Key(); err == nil || key != nil || !strings.Contains(err.Error(), "is open to other users") {
			t.Errorf("mode %v: %v, want an error", mode, err)
		}
	}
}

func TestASymbolicLinkIsNoDirectory(t *testing.T) {
	base := t.TempDir()
	target, link := filepath.Join(base, "target"), filepath.Join(base, "link")
	if err := errors.Join(os.Mkdir(target, 0o700), os.Symlink(target, link)); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{link, link + "/", link + "/."} {
		if _, err := New(name); err == nil || !strings.Contains(err.Error(), link+" is a symbolic link") {
			t.Errorf("New(%q): %v, want an error", name, err)
		}
	}
	dangling := filepath.Join(base, "dangling")
	if err := os.Symlink(filepath.Join(base, "nothing"), dangling); err != nil {
		t.Fatal(err)
	}
	if _, err := New(dangling); err == nil {
		t.Error("New of a link that leads nowhere: no error")
	}
	if _, err := os.Stat(filepath.Join(base, "nothing")); err == nil {
		t.Error("New created what a link led to")
	}
	// On the way there it may be one.
	if _, err := New(filepath.Join(link, "below")); err != nil {
		t.Errorf("New below a link: %v, want none", err)
	}
	// A directory that is replaced by a link fails when it is used.
	c := newCache(t)
	if err := errors.Join(os.Rename(c.dir, c.dir+"-moved"), os.Symlink(target, c.dir)); err != nil {
		t.Fatal(err)
	}
	for op, err := range each(t, c) {
		if err == nil || !strings.Contains(err.Error(), "is a symbolic link") {
			t.Errorf("%s: %v, want an error about the link", op, err)
		}
	}
}

// Links in the directory lead to nothing outside it.
func TestEntriesThatAreLinksLeadNowhereElse(t *testing.T) {
	c := newCache(t)
	outside := filepath.Join(filepath.Dir(c.dir), "outside")
	if err := os.WriteFile(outside, []byte(strings.Repeat("\x7f", keySize)), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{keyA, keyFile, keyA + lockSuffix} {
		if err := os.Symlink(outside, filepath.Join(c.dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	errs := each(t, c)
	for _, op := range []string{"Get", "Key", "Lease"} {
		if err, tried := errs[op]; tried && err == nil {
			t.Errorf("%s followed a link out of the directory", op)
		}
	}
	if got, err := os.ReadFile(outside); err != nil || len(got) != keySize || got[0] != 0x7f {
		t.Errorf("the file outside was changed: %d bytes, %v", len(got), err)
	}
}
