// Copyright 2026 The authsec Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/authsec-go/authsec/authsectest"
)

const anotherUser = 12345

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

func fill(dir string) error {
	if err := os.WriteFile(filepath.Join(dir, "fill"), make([]byte, 128<<10), 0o600); !errors.Is(err, syscall.ENOSPC) {
		return errors.New("the disk is not full")
	}
	return nil
}

func readOnly(dir string) error {
	return syscall.Mount("tmpfs", dir, "tmpfs", syscall.MS_REMOUNT|syscall.MS_RDONLY, "")
}

// usedCache makes a cache in dir, with its key.
func usedCache(dir string) error {
	_, _, err := openCache(dir)
	return err
}

// setGroup does what a kubelet does for a Pod's fsGroup.
func setGroup(dir string) error {
	return errors.Join(os.Chmod(dir, fs.ModeSetgid|0o770), os.Chmod(filepath.Join(dir, "key"), 0o660), os.Lchown(dir, -1, anotherUser))
}

func TestProxyGoesOnWithoutACacheThatCantBeUsedNow(t *testing.T) {
	srv, token := agent(t)
	api := startAPI(t, srv, nil, nil)
	for name, spoil := range map[string]func(base, dir string) error{
		"fsGroup":             func(_, dir string) error { return errors.Join(usedCache(dir), setGroup(dir)) },
		"fsGroup, dir mended": func(_, dir string) error { return errors.Join(usedCache(dir), setGroup(dir), os.Chmod(dir, 0o700)) },
		"readable":            func(_, dir string) error { return errors.Join(usedCache(dir), os.Chmod(dir, 0o755)) },
		"broken key": func(_, dir string) error {
			return errors.Join(usedCache(dir), os.Truncate(filepath.Join(dir, "key"), 5))
		},
		"full":                 func(base, _ string) error { return fill(base) },
		"full, with directory": func(base, dir string) error { return errors.Join(os.Mkdir(dir, 0o700), fill(base)) },
		"read-only":            func(base, _ string) error { return readOnly(base) },
		"read-only, empty":     func(base, dir string) error { return errors.Join(os.Mkdir(dir, 0o700), readOnly(base)) },
		"read-only, with key":  func(base, dir string) error { return errors.Join(usedCache(dir), readOnly(base)) },
	} {
		t.Run(name, func(t *testing.T) {
			base := mount(t)
			dir := filepath.Join(base, "authsec")
			if err := spoil(base, dir); err != nil {
				t.Fatal(err)
			}
			p := startProxy(t, api.URL, "--cache", dir)
			if status, _, body := get(t, p.url+"/x"); status != 200 {
				t.Errorf("GET = %d, %q, want 200", status, body)
			}
			p.stop()
			logs, want := p.logs.String(), `"level":"WARN","msg":"cache not used"`
			if name == "read-only, with key" {
				want = `"level":"WARN","msg":"cache failed"`
			}
			if !strings.Contains(logs, want) || !strings.Contains(logs, dir) && !strings.Contains(logs, "read-only") {
				t.Errorf("the log lacks %s with the cause:\n%s", want, logs)
			}
			noSecrets(t, "the log", logs, token)
		})
	}
}

func TestProxyDoesNotStartWithAWrongDirectory(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root can give a file away")
	}
	agent(t)
	for name, spoil := range map[string]func(dir string) error{
		"another user's": func(dir string) error { return errors.Join(os.Mkdir(dir, 0o700), os.Chown(dir, anotherUser, -1)) },
		"another user's, and fsGroup": func(dir string) error {
			return errors.Join(usedCache(dir), setGroup(dir), os.Chown(dir, anotherUser, -1))
		},
		"another user's key": func(dir string) error {
			return errors.Join(usedCache(dir), os.Chown(filepath.Join(dir, "key"), anotherUser, -1))
		},
		"a file":       func(dir string) error { return os.WriteFile(dir, nil, 0o600) },
		"below a file": func(dir string) error { return os.WriteFile(filepath.Dir(dir), nil, 0o600) },
		"a link":       func(dir string) error { return os.Symlink(t.TempDir(), dir) },
	} {
		dir := filepath.Join(t.TempDir(), "volume", "authsec")
		if name != "below a file" {
			if err := os.Mkdir(filepath.Dir(dir), 0o700); err != nil {
				t.Fatal(err)
			}
		}
		if err := spoil(dir); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		var stderr bytes.Buffer
		code := run(ctx, []string{"proxy", "--upstream", "https://api.example.com", "--listen", "127.0.0.1:0", "--cache", dir}, io.Discard, &stderr)
		cancel()
		line := stderr.String()
		if code != 1 || !strings.Contains(line, `"level":"ERROR","msg":"not started","error":"--cache: dircache: `) {
			t.Errorf("%s: proxy = %d, %q, want 1 and the reason", name, code, line)
		}
	}
}

// With sudo, a command may run as root with the user's HOME.
func TestNothingIsMadeInAnotherUsersHome(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root can give a file away")
	}
	srv, token := agent(t)
	api := startAPI(t, srv, nil, nil)
	t.Setenv("DOWNSTREAM_URL", api.URL)
	for _, below := range []string{"", ".cache", ".cache/authsec"} {
		home(t)
		os.Unsetenv("XDG_CACHE_HOME")
		user := os.Getenv("HOME")
		for _, dir := range []string{user, filepath.Join(user, filepath.Dir(below)), filepath.Join(user, below)} {
			if err := errors.Join(os.MkdirAll(dir, 0o700), os.Chown(dir, anotherUser, anotherUser)); err != nil {
				t.Fatal(err)
			}
		}
		before := tree(t, user)
		for _, args := range [][]string{{"token"}, {"token", "--refresh"}, {"fetch", api.URL}} {
			var stdout, stderr bytes.Buffer
			code := run(t.Context(), args, &stdout, &stderr)
			line, _, _ := strings.Cut(stderr.String(), "\n")
			if code != 0 || !strings.Contains(line, "the cache is not used") || !strings.Contains(line, "belongs to user 12345") ||
				strings.Count(stderr.String(), "the cache") != 1 {
				t.Errorf("with %q there: %q = %d, %q, want 0 and one line on the cache", below, args, code, stderr.String())
			}
		}
		if after := tree(t, user); after != before {
			t.Errorf("with %q there: the home has %s after the runs, want %s", below, after, before)
		}
	}
	home(t) // root's own
	tokenOf(t)
	prints(t, srv, token, srv.Fetches())
}

// tree is what is below dir.
func tree(t *testing.T, dir string) (names string) {
	t.Helper()
	err := filepath.WalkDir(dir, func(path string, _ fs.DirEntry, err error) error {
		names += path + " "
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return names
}

// A cache that fails only when the token is stored is reported as well.
func TestACacheThatFailsLateIsSaidOnce(t *testing.T) {
	for name, spoil := range map[string]func(dir string) error{"full": fill, "read-only": readOnly} {
		t.Run(name, func(t *testing.T) {
			_, token := agent(t)
			base := mount(t)
			for _, name := range homes {
				t.Setenv(name, base)
			}
			dir, err := userCacheDir()
			if err := errors.Join(err, usedCache(dir), spoil(base)); err != nil {
				t.Fatal(err)
			}
			var stdout, stderr bytes.Buffer
			if code := run(t.Context(), []string{"token"}, &stdout, &stderr); code != 0 || stdout.String() != token+"\n" {
				t.Errorf("token = %d, %d bytes, want 0 and the token", code, stdout.Len())
			}
			saysNotCached(t, stderr.String())
			noSecrets(t, "standard error", stderr.String(), token)
			if strings.Contains(stderr.String(), authsectest.ClientID) {
				t.Error("standard error has the client ID")
			}
		})
	}
}
