// Copyright 2026 The authsec Authors
// SPDX-License-Identifier: Apache-2.0

// Package scripts_test tests the scripts in this folder, in small repositories.
package scripts_test

import (
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

func TestReleaseRefuses(t *testing.T) {
	for _, tt := range []struct {
		name  string
		spoil func(small)
		args  []string
		want  string
	}{
		{"no version", nil, nil, "usage:"},
		{"two versions", nil, []string{"v0.1.0", "v0.2.0"}, "usage:"},
		{"another flag", nil, []string{"--pusj", "v0.1.0"}, "usage:"},
		{"two modes", nil, []string{"--push", "--rehearse", "v0.1.0"}, "usage:"},
		{"no v", nil, []string{"0.1.0"}, "0.1.0 is no version"},
		{"two numbers", nil, []string{"v0.1"}, "v0.1 is no version"},
		{"a leading zero", nil, []string{"v0.01.0"}, "v0.01.0 is no version"},
		{"build metadata", nil, []string{"v0.1.0+1"}, "v0.1.0+1 is no version"},
		{"an option of git", nil, []string{"--rehearse", "-d"}, "usage:"},
		{"version 2", nil, []string{"v2.0.0"}, "paths end in /v2"},
		{"a changed file", func(s small) { s.write("a.go", "package authsec\n") }, []string{"v0.1.0"}, " M a.go"},
		{"a new file", func(s small) { s.write("b.go", "package authsec\n") }, []string{"v0.1.0"}, "?? b.go"},
		{"a changed file, in a rehearsal", func(s small) { s.write("b.go", "package authsec\n") }, []string{"--rehearse", "v0.1.0"}, "?? b.go"},
		{"a tag of the root", func(s small) { s.git("tag", "v0.1.0") }, []string{"v0.1.0"}, "the tag v0.1.0 exists"},
		{"a tag of a nested module", func(s small) { s.git("tag", "rediscache/v0.1.0") }, []string{"--rehearse", "v0.1.0"}, "the tag rediscache/v0.1.0 exists"},
		{"a version that CHANGELOG lacks", nil, []string{"v0.1.1"}, "no line like: ## [0.1.1] - "},
		{"a version without a date", func(s small) { s.write("CHANGELOG.md", "## [0.1.0]\n"); s.commit() }, []string{"--rehearse", "v0.1.0"}, "no line like: ## [0.1.0] - "},
		{"another branch", func(s small) { s.git("checkout", "-q", "-b", "other") }, []string{"v0.1.0"}, "this is other"},
		{"no remote", nil, []string{"v0.1.0"}, "no remote origin"},
		{"a replaced module of others", func(s small) {
			s.git("remote", "add", "origin", s.dir)
			s.write("rediscache/go.mod", read(t, filepath.Join(s.dir, "rediscache/go.mod"))+"\nreplace example.com/x => ../x\n")
			s.commit()
		}, []string{"v0.1.0"}, "rediscache/go.mod replaces a module that is not ours"},
		{"a published module that requires another one", func(s small) {
			s.write("rediscache/go.mod", read(t, filepath.Join(s.dir, "rediscache/go.mod"))+"\nrequire "+root+"/bench v0.0.0\n")
			s.commit()
		}, []string{"v0.1.0"}, "rediscache is published and requires " + root + "/bench"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			s := newSmall(t)
			if tt.spoil != nil {
				tt.spoil(s)
			}
			before := s.git("for-each-ref") + s.git("status", "--porcelain")
			out, err := s.script("release", tt.args...)
			if err == nil || !strings.Contains(out, tt.want) {
				t.Errorf("got %v and %q, want an error and %q", err, out, tt.want)
			}
			if after := s.git("for-each-ref") + s.git("status", "--porcelain"); after != before {
				t.Errorf("the repository was changed:\n%s\nto:\n%s", before, after)
			}
		})
	}
}

func TestReleaseTagsWhatCanBeInstalled(t *testing.T) {
	s := newSmall(t)
	if out, err := s.script("release-commits", ".", "v0.1.0"); err != nil {
		t.Fatal(err, out)
	}
	tags := strings.Fields(s.git("tag"))
	if want := []string{"cmd/authsec/v0.1.0", "rediscache/v0.1.0", "v0.1.0"}; !slices.Equal(tags, want) {
		t.Errorf("got the tags %v, want %v", tags, want)
	}
	for _, tag := range tags {
		if got, want := s.git("rev-parse", tag+"^{}"), s.git("rev-parse", "HEAD~1"); got != want {
			t.Errorf("%s is on %s, want the commit before the last, %s", tag, got, want)
		}
	}
	for _, mod := range []string{"rediscache", "cmd/authsec"} {
		tagged := s.git("show", "v0.1.0:"+mod+"/go.mod")
		if strings.Contains(tagged, "replace") || !strings.Contains(tagged, root+" v0.1.0") {
			t.Errorf("%s has at its tag:\n%s\nwant no replace, and v0.1.0", mod, tagged)
		}
		now := s.git("show", "HEAD:"+mod+"/go.mod")
		if !strings.Contains(now, root+" => ../") || !strings.Contains(now, root+" v0.1.0") {
			t.Errorf("%s has after the release:\n%s\nwant replace again, and v0.1.0", mod, now)
		}
	}
	if now := s.git("show", "HEAD:bench/go.mod"); !strings.Contains(now, root+" v0.1.0") {
		t.Errorf("bench has after the release:\n%s\nwant v0.1.0, as what it replaces requires", now)
	}
	// The sums are those of what a proxy will serve.
	proxy := t.TempDir()
	for _, mod := range []string{"", "/rediscache"} {
		if out, err := s.script("mirror", ".", proxy, root+mod+"@v0.1.0"); err != nil {
			t.Fatal(err, out)
		}
		sum := read(t, filepath.Join(proxy, root+mod, "@v/v0.1.0.ziphash"))
		if sums := s.git("show", "v0.1.0:cmd/authsec/go.sum"); !strings.Contains(sums, root+mod+" v0.1.0 "+sum+"\n") {
			t.Errorf("cmd/authsec/go.sum has at its tag:\n%s\nwant %s for %s", sums, sum, root+mod)
		}
	}
	if status := s.git("status", "--porcelain"); status != "" {
		t.Errorf("files are left: %s", status)
	}
}

func TestReleasePushesOnlyIfTold(t *testing.T) {
	s := newSmall(t)
	origin := filepath.Join(t.TempDir(), "origin.git")
	must(t, s.dir, "git", "init", "-q", "--bare", "-b", "main", origin)
	s.git("remote", "add", "origin", origin)
	s.git("push", "-q", "origin", "main")
	refs := func() string { return must(t, origin, "git", "for-each-ref", "--format=%(refname)") }
	before, head := refs(), s.git("rev-parse", "HEAD")

	out, err := s.script("release", "v0.1.0")
	if err != nil || !strings.Contains(out, "nothing is published") || !strings.Contains(out, "refs/tags/cmd/authsec/v0.1.0") {
		t.Fatalf("got %v, %s", err, out)
	}
	if refs() != before || s.git("tag") != "" {
		t.Fatalf("without --push, origin has %s, and this folder %s", refs(), s.git("tag"))
	}

	if out, err := s.script("release", "--push", "v0.1.0"); err != nil {
		t.Fatal(err, out)
	}
	want := "refs/heads/main\nrefs/tags/cmd/authsec/v0.1.0\nrefs/tags/rediscache/v0.1.0\nrefs/tags/v0.1.0"
	if got := refs(); got != want {
		t.Errorf("origin has:\n%s\nwant:\n%s", got, want)
	}
	if got := must(t, origin, "git", "rev-parse", "main~2"); got != head {
		t.Errorf("main's commit before the release is %s, want %s", got, head)
	}
	// Another clone knows nothing of the tags yet.
	if out, err := s.script("release", "--push", "v0.1.0"); err == nil || !strings.Contains(out, "main is not what origin has") {
		t.Errorf("behind origin: got %v, %s", err, out)
	}
	s.git("pull", "-q", "--no-tags", "origin", "main")
	if out, err := s.script("release", "--push", "v0.1.0"); err == nil || !strings.Contains(out, "origin has the tag v0.1.0") {
		t.Errorf("with the tags at origin: got %v, %s", err, out)
	}
}

func TestReleaseRehearsesTheFilesAsTheyAre(t *testing.T) {
	s := newSmall(t)
	s.git("tag", "v0.1.0")
	s.git("tag", "rediscache/v0.1.1")
	s.write("a.go", "package authsec\n\nfunc F(int) {}\n\nfunc H() {}\n")
	s.write("scripts/rehearse", "#!/bin/sh\ncat \"$1/a.go\"; echo rehearsed $2\n")
	s.git("rm", "-q", "--cached", "bench/a.go")
	out, err := s.script("release", "--rehearse")
	if err != nil || !strings.Contains(out, "func H()") || !strings.Contains(out, "rehearsed v0.1.2\n") {
		t.Errorf("got %v, %s", err, out)
	}
}
