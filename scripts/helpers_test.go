// Copyright 2026 The authsec Authors
// SPDX-License-Identifier: Apache-2.0

package scripts_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

const root = "github.com/authsec-go/authsec"

// small is a repository with the modules of a small library, and with these scripts.
// Its rehearsal does nothing.
type small struct {
	t   *testing.T
	dir string
}

func newSmall(t *testing.T) small {
	t.Helper()
	s := small{t, filepath.Join(t.TempDir(), "authsec")}
	names, err := filepath.Glob("*")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		if info, err := os.Stat(name); err == nil && info.Mode().IsRegular() && filepath.Ext(name) != ".go" && !strings.HasPrefix(name, "go.") {
			s.write("scripts/"+name, read(t, name))
		}
	}
	s.write("scripts/rehearse", "#!/bin/sh\n")
	s.write("LICENSE", "A license.\n")
	s.write("CHANGELOG.md", "# Changelog\n\n## [0.1.0] - 2026-01-02\n")
	s.write("go.mod", "module "+root+"\n\ngo 1.26.0\n")
	s.write("a.go", "package authsec\n\nfunc F(int) {}\n")
	s.write("rediscache/go.mod", "module "+root+"/rediscache\n\ngo 1.26.0\n\nreplace "+root+" => ../\n\nrequire "+root+" v0.0.0-00010101000000-000000000000\n")
	s.write("rediscache/a.go", "package rediscache\n\nimport \""+root+"\"\n\nfunc G() { authsec.F(1) }\n")
	s.write("rediscache/go.sum", "")
	s.write("cmd/authsec/go.mod", "module "+root+"/cmd/authsec\n\ngo 1.26.0\n\nrequire (\n\t"+root+" v0.0.0\n\t"+root+"/rediscache v0.0.0\n)\n\nreplace (\n\t"+root+" => ../..\n\t"+root+"/rediscache => ../../rediscache\n)\n")
	s.write("cmd/authsec/main.go", "package main\n\nimport (\n\t\""+root+"\"\n\t\""+root+"/rediscache\"\n)\n\nfunc main() { authsec.F(1); rediscache.G() }\n")
	s.write("cmd/authsec/go.sum", "")
	s.write("bench/go.mod", "module "+root+"/bench\n\ngo 1.26.0\n\nreplace "+root+" => ../\n\nrequire "+root+" v0.0.0-00010101000000-000000000000\n")
	s.write("bench/a.go", "package bench\n\nimport _ \""+root+"\"\n")
	s.write("bench/go.sum", "")
	s.git("init", "-q", "-b", "main")
	s.git("config", "user.name", "A Maintainer")
	s.git("config", "user.email", "maintainer@example.com")
	s.git("config", "commit.gpgSign", "false")
	s.git("config", "tag.gpgSign", "false")
	s.commit()
	return s
}

func (s small) write(name, text string) {
	s.t.Helper()
	name = filepath.Join(s.dir, name)
	if err := os.MkdirAll(filepath.Dir(name), 0o700); err != nil {
		s.t.Fatal(err)
	}
	if err := os.WriteFile(name, []byte(text), 0o700); err != nil {
		s.t.Fatal(err)
	}
}

func (s small) git(args ...string) string {
	s.t.Helper()
	return must(s.t, s.dir, "git", args...)
}

func (s small) commit() {
	s.t.Helper()
	s.git("add", "-A")
	s.git("commit", "-q", "-m", "A change")
}

// script runs one of the scripts.
func (s small) script(name string, args ...string) (output string, err error) {
	cmd := exec.Command(filepath.Join(s.dir, "scripts", name), args...)
	cmd.Dir = s.dir
	b, err := cmd.CombinedOutput()
	return string(b), err
}

func must(t *testing.T, dir, name string, args ...string) string {
	t.Helper()
	cmd := exec.Command(name, args...)
	cmd.Dir = dir
	b, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%s %v: %v\n%s", name, args, err, b)
	}
	return strings.TrimSpace(string(b))
}

func read(t *testing.T, name string) string {
	t.Helper()
	b, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}
