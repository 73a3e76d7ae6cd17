// Copyright 2026 The authsec Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"io/fs"
	"net/http/httptest"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/authsec-go/authsec/authsectest"
)

func TestNoTokenIsReadableInTheCache(t *testing.T) {
	srv, token := agent(t)
	dir := home(t)
	tokenOf(t)
	api := httptest.NewServer(srv.API(nil))
	defer api.Close()
	if code, _, errs := runFetch(t, "--hosts", strings.TrimPrefix(api.URL, "http://"), api.URL); code != 0 {
		t.Fatalf("fetch = %d: %s", code, errs)
	}
	secrets := map[string]string{"the client ID": authsectest.ClientID, "the server": strings.TrimPrefix(srv.URL, "http://")}
	for i, part := range strings.Split(token, ".") {
		secrets["part "+string(rune('0'+i))+" of the token"] = part
		decoded, err := base64.RawURLEncoding.DecodeString(part)
		if err != nil {
			t.Fatal(err)
		}
		secrets["decoded part "+string(rune('0'+i))] = string(decoded)
	}
	read := 0
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		content, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		read += len(content)
		for name, secret := range secrets {
			raw := []byte(secret)
			forms := []string{secret, hex.EncodeToString(raw), base64.StdEncoding.EncodeToString(raw)[:len(secret)], base64.RawURLEncoding.EncodeToString(raw)[:len(secret)]}
			for _, form := range forms {
				if bytes.Contains(content, []byte(form)) || strings.Contains(path, form) {
					t.Errorf("%s is readable in %s", name, d.Name())
				}
			}
		}
		if runtime.GOOS != "windows" {
			if info, err := d.Info(); err != nil || info.Mode().Perm() != 0o600 {
				t.Errorf("%s: mode %v, %v, want 0600", d.Name(), info.Mode(), err)
			}
		}
		return nil
	})
	if err != nil || read < 500 {
		t.Errorf("read %d bytes, %v: that can't be the cache", read, err)
	}
}

func TestNoAgentIsGivenAnothersToken(t *testing.T) {
	srv, tokenA := agent(t)
	dir := home(t)
	tokenB := srv.Delegate(otherID, authsectest.Delegation{Permissions: []string{"users:read"}})
	other := authsectest.NewServer()
	defer other.Close()
	elsewhere := other.Delegate(authsectest.ClientID, authsectest.Delegation{Permissions: []string{"users:read"}})
	for range 2 {
		for _, tc := range []struct{ url, id, want string }{
			{srv.URL, authsectest.ClientID, tokenA}, {srv.URL, otherID, tokenB}, {other.URL, authsectest.ClientID, elsewhere},
			{srv.URL + "/", authsectest.ClientID, tokenA},
		} {
			t.Setenv("AUTHSEC_BASE_URL", tc.url)
			t.Setenv("AUTHSEC_AGENT_CLIENT_ID", tc.id)
			if got := tokenOf(t); got != tc.want {
				t.Errorf("agent %s at %s was given another token", tc.id[:8], tc.url)
			}
		}
	}
	if srv.Fetches() != 2 || other.Fetches() != 1 {
		t.Errorf("%d and %d fetches, want 2 and 1", srv.Fetches(), other.Fetches())
	}

	// An entry that was copied over another agent's is not used.
	entries, err := filepath.Glob(filepath.Join(dir, strings.Repeat("[0-9a-f]", 64)))
	if err != nil || len(entries) != 3 {
		t.Fatalf("%d entries, %v, want 3", len(entries), err)
	}
	first, err := os.ReadFile(entries[0])
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range entries[1:] {
		if err := os.WriteFile(name, first, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	t.Setenv("AUTHSEC_BASE_URL", srv.URL)
	t.Setenv("AUTHSEC_AGENT_CLIENT_ID", otherID)
	if got := tokenOf(t); got != tokenB {
		t.Error("an entry that was moved was used for another agent")
	}
	t.Setenv("AUTHSEC_AGENT_CLIENT_ID", authsectest.ClientID)
	if got := tokenOf(t); got != tokenA {
		t.Error("an entry that was moved was used for another agent")
	}
}
