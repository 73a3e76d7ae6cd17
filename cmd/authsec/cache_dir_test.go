// Copyright 2026 The authsec Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"errors"
	"net/http/httptest"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
)

func TestACacheWithWrongPermissionsIsLeftAlone(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("permissions are not checked there")
	}
	srv, token := agent(t)
	dir := home(t)
	api := httptest.NewServer(srv.API(nil))
	defer api.Close()
	t.Setenv("DOWNSTREAM_URL", api.URL)
	for i, spoil := range []func() error{
		func() error { return errors.Join(os.MkdirAll(dir, 0o700), os.Chmod(dir, 0o755)) },
		func() error {
			return errors.Join(os.Chmod(dir, 0o700), os.WriteFile(filepath.Join(dir, "key"), make([]byte, 32), 0o644))
		},
		func() error { return errors.Join(os.RemoveAll(dir), os.WriteFile(dir, nil, 0o600)) },
	} {
		if err := spoil(); err != nil {
			t.Fatal(err)
		}
		for command, args := range map[string][]string{"token": {"token"}, "fetch": {"fetch", api.URL}} {
			var stdout, stderr bytes.Buffer
			code := run(t.Context(), args, &stdout, &stderr)
			line, rest, _ := strings.Cut(stderr.String(), "\n")
			if code != 0 || !strings.HasPrefix(line, "authsec "+command+": the cache is not used (--cache=false turns it off): dircache: "+dir) ||
				rest != "" && command == "token" {
				t.Errorf("fault %d: %s = %d, %q, want 0 and one line on the cache", i, command, code, stderr.String())
			}
			if command == "token" && stdout.String() != token+"\n" {
				t.Errorf("fault %d: token printed %d bytes, want the token alone", i, stdout.Len())
			}
		}
	}
	tokenOf(t, "--cache=false")
	if got := srv.Fetches(); got != 7 {
		t.Errorf("%d fetches in 7 runs without a cache, want 7", got)
	}
}

func TestWithoutAPlaceForACacheOneLineSaysSo(t *testing.T) {
	srv, token := agent(t)
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for i, above := range []string{"", file, filepath.Join(file, "below")} {
		for _, name := range homes {
			if t.Setenv(name, above); above == "" {
				os.Unsetenv(name)
			}
		}
		var stdout, stderr bytes.Buffer
		code := run(t.Context(), []string{"token"}, &stdout, &stderr)
		saysNotCached(t, stderr.String())
		if code != 0 || stdout.String() != token+"\n" || srv.Fetches() != i+1 {
			t.Errorf("%q: token = %d, %d bytes, after %d fetches, want 0, the token and %d", above, code, stdout.Len(), srv.Fetches(), i+1)
		}
	}
}

// saysNotCached fails unless stderr is one line that says that the cache is not used.
func saysNotCached(t *testing.T, stderr string) {
	t.Helper()
	if !strings.HasPrefix(stderr, "authsec token: the cache is not used (--cache=false turns it off): ") || strings.Count(stderr, "\n") != 1 {
		t.Errorf("standard error = %q, want one line on the cache", stderr)
	}
}

func TestUsageSaysWhereTheCacheIs(t *testing.T) {
	dir := home(t)
	for _, name := range []string{"token", "header", "fetch"} {
		var stdout, stderr bytes.Buffer
		run(t.Context(), []string{name, "-h"}, &stdout, &stderr)
		if got := stdout.String(); !strings.Contains(got, dir+"\n") || !strings.Contains(got, "--cache") {
			t.Errorf("%s -h does not tell of %s and --cache:\n%s", name, dir, got)
		}
		if _, err := os.Stat(dir); err == nil {
			t.Errorf("%s -h made the directory", name)
		}
	}
	for _, name := range homes {
		os.Unsetenv(name)
	}
	var stdout, stderr bytes.Buffer
	run(t.Context(), []string{"token", "-h"}, &stdout, &stderr)
	if !strings.Contains(stdout.String(), "not kept for later runs") {
		t.Errorf("without a home: token -h does not say that there is no cache:\n%s", stdout.String())
	}
}
