// Copyright 2026 The authsec Authors
// SPDX-License-Identifier: Apache-2.0

// Package docs_test checks the pages against the code. Every block of Go in them is
// quoted from a test or an example, which is compiled and run (comments in interop
// mark the quoted parts). Every block of YAML is quoted from deploy. Every command
// and its flags exist, also those that blocks for MCP hosts start.
package docs_test

import (
	"encoding/json"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

const root = ".."

// block is a fenced block of a page.
type block struct {
	page  string
	line  int
	kind  string // what follows the fence
	lines []string
}

func (b block) String() string { return fmt.Sprintf("%s:%d", b.page, b.line) }

// pages are the documents, by their paths from the root.
func pages(t *testing.T) []string {
	t.Helper()
	list, err := filepath.Glob("*.md")
	if err != nil || len(list) == 0 {
		t.Fatalf("no pages: %v", err)
	}
	for i, page := range list {
		list[i] = "docs/" + page
	}
	return append(list, "README.md", "examples/README.md", "CONTRIBUTING.md", "CHANGELOG.md", "SECURITY.md")
}

func blocks(t *testing.T) []block {
	t.Helper()
	var all []block
	for _, page := range pages(t) {
		text, err := os.ReadFile(filepath.Join(root, page))
		if err != nil {
			t.Fatal(err)
		}
		var open *block
		for i, line := range strings.Split(string(text), "\n") {
			kind, fence := strings.CutPrefix(strings.TrimSpace(line), "```")
			switch {
			case fence && open == nil:
				open = &block{page: page, line: i + 1, kind: kind}
			case fence:
				all = append(all, *open)
				open = nil
			case open != nil:
				open.lines = append(open.lines, strings.TrimSpace(line))
			}
		}
		if open != nil {
			t.Errorf("%v: the block does not end", open)
		}
	}
	return all
}

// files returns the lines, without indentation, of the files below dir with one of
// the suffixes, by their paths from the root.
func files(t *testing.T, dir string, suffixes ...string) map[string][]string {
	t.Helper()
	all := map[string][]string{}
	err := filepath.WalkDir(filepath.Join(root, dir), func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		if !slices.ContainsFunc(suffixes, func(s string) bool { return strings.HasSuffix(path, s) }) {
			return nil
		}
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		lines := strings.Split(string(text), "\n")
		for i := range lines {
			lines[i] = strings.TrimSpace(lines[i])
		}
		all[strings.TrimPrefix(filepath.ToSlash(path), root+"/")] = lines
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// quoted returns the files that have the lines together.
func quoted(lines []string, files map[string][]string) (paths []string) {
	for path, file := range files {
		for i := range file {
			if len(file)-i >= len(lines) && slices.Equal(file[i:i+len(lines)], lines) {
				paths = append(paths, path)
				break
			}
		}
	}
	return paths
}

// links reports whether the page has a link to the file, in the section with this
// line or ahead of the first section.
func links(t *testing.T, page string, line int, file string) bool {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(root, page))
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(string(text), "\n")
	heading := func(s string) bool { return strings.HasPrefix(s, "## ") }
	first := max(0, slices.IndexFunc(lines, heading))
	from := line
	for from > first && !heading(lines[from-1]) {
		from--
	}
	to := len(lines)
	if n := slices.IndexFunc(lines[line:], heading); n >= 0 {
		to = line + n
	}
	near := strings.Join(append(slices.Clone(lines[:first]), lines[from:to]...), "\n")
	for _, m := range link.FindAllStringSubmatch(near, -1) {
		if path.Join(path.Dir(page), m[1]) == file {
			return true
		}
	}
	return false
}

func TestBlocksAreQuotedFromWhatRuns(t *testing.T) {
	sources := map[string]map[string][]string{
		"go":   files(t, "", "_test.go"),
		"yaml": files(t, "deploy", ".yaml"),
	}
	seen := 0
	for _, b := range blocks(t) {
		switch b.kind {
		case "go", "yaml":
			seen++
			if b.page == "README.md" || len(b.lines) > 0 && b.lines[0] == "package main" {
				continue // a complete program, which is run
			}
			from := quoted(b.lines, sources[b.kind])
			if len(b.lines) == 0 || len(from) == 0 {
				t.Errorf("%v: this block of %s stands in no file that is tested", b, b.kind)
			} else if b.kind == "go" && !slices.ContainsFunc(from, func(file string) bool { return links(t, b.page, b.line, file) }) {
				t.Errorf("%v: the section has no link to the file that this block is quoted from, with its imports: %q", b, from)
			}
		case "json":
			if !json.Valid([]byte(strings.Join(b.lines, "\n"))) {
				t.Errorf("%v: this block is not valid JSON", b)
			}
		case "sh", "powershell", "python", "js", "": // commands are checked below; drawings and other text are not
		default:
			t.Errorf("%v: got a block of %q, want go, yaml, json, sh, powershell, python, js or a drawing", b, b.kind)
		}
	}
	if seen == 0 {
		t.Error("no block was checked")
	}
}
