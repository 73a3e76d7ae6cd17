// Copyright 2026 The authsec Authors
// SPDX-License-Identifier: Apache-2.0

// Package docs_test checks the pages against the code. Every block of Go in them is
// quoted from a test or an example, which is compiled and run (comments in interop
// mark the quoted parts). Every block of YAML is quoted from deploy. Every command
// and its flags exist.
package docs_test

import (
	"bufio"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
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
	return append(list, "README.md")
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
// the suffixes.
func files(t *testing.T, dir string, suffixes ...string) [][]string {
	t.Helper()
	var all [][]string
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
		all = append(all, lines)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// quoted reports whether one of the files has the lines together.
func quoted(lines []string, files [][]string) bool {
	return slices.ContainsFunc(files, func(file []string) bool {
		for i := range file {
			if len(file)-i >= len(lines) && slices.Equal(file[i:i+len(lines)], lines) {
				return true
			}
		}
		return false
	})
}

func TestBlocksAreQuotedFromWhatRuns(t *testing.T) {
	sources := map[string][][]string{
		"go":   files(t, "", "_test.go"),
		"yaml": files(t, "deploy", ".yaml"),
	}
	seen := 0
	for _, b := range blocks(t) {
		switch b.kind {
		case "go", "yaml":
			seen++
			if len(b.lines) == 0 || !quoted(b.lines, sources[b.kind]) {
				t.Errorf("%v: this block of %s stands in no file that is tested", b, b.kind)
			}
		case "sh", "": // commands are checked below; drawings and other text are not
		default:
			t.Errorf("%v: got a block of %q, want go, yaml, sh or a drawing", b, b.kind)
		}
	}
	if seen == 0 {
		t.Error("no block was checked")
	}
}

var flagName = regexp.MustCompile(`(?m)^  -([A-Za-z0-9-]+)`)

func TestCommandsExist(t *testing.T) {
	authsec := filepath.Join(t.TempDir(), "authsec")
	if out, err := exec.Command("go", "build", "-o", authsec, root+"/cmd/authsec").CombinedOutput(); err != nil {
		t.Fatalf("go build: %v\n%s", err, out)
	}
	flags := map[string][]string{"smoke": {"json"}} // whose -h is the command's
	for _, name := range []string{"token", "fetch", "proxy"} {
		usage, _ := exec.Command(authsec, name, "-h").CombinedOutput()
		for _, m := range flagName.FindAllSubmatch(usage, -1) {
			flags[name] = append(flags[name], string(m[1]))
		}
		if len(flags[name]) == 0 {
			t.Fatalf("authsec %s -h: no flag found in\n%s", name, usage)
		}
		flags[name] = append(flags[name], "h")
	}
	seen := 0
	for _, b := range blocks(t) {
		if b.kind != "sh" {
			continue
		}
		for _, line := range b.lines {
			_, command, found := strings.Cut(" "+strings.ReplaceAll(line, "go run ./cmd/authsec", "authsec"), " authsec ")
			if found || strings.Contains(line, "$(authsec ") {
				if !found {
					_, command, _ = strings.Cut(line, "$(authsec ")
				}
				seen++
				words := strings.Fields(command)
				words[0] = strings.TrimRight(words[0], `)"`)
				known := flags[words[0]]
				if known == nil {
					t.Errorf("%v: there is no authsec %s", b, words[0])
				}
				for _, word := range words[1:] {
					if word == "|" || word == ">" {
						break
					}
					name, _, _ := strings.Cut(strings.TrimLeft(word, "-"), "=")
					if name = strings.TrimRight(name, `)"`); strings.HasPrefix(word, "-") && !slices.Contains(known, name) {
						t.Errorf("%v: authsec %s has no flag -%s", b, words[0], name)
					}
				}
				continue
			}
			switch word, _, _ := strings.Cut(line, " "); word {
			case "", "#", "go", "curl", "kubectl", "export", "docker":
			default:
				t.Errorf("%v: unknown command %q", b, word)
			}
		}
	}
	if seen == 0 {
		t.Error("no command was checked")
	}
}

var link = regexp.MustCompile(`\]\(([^)#\s]+)(#[^)\s]*)?\)`)

func TestLinksLeadSomewhere(t *testing.T) {
	for _, page := range pages(t) {
		file, err := os.Open(filepath.Join(root, page))
		if err != nil {
			t.Fatal(err)
		}
		defer file.Close()
		for scan := bufio.NewScanner(file); scan.Scan(); {
			for _, m := range link.FindAllStringSubmatch(scan.Text(), -1) {
				if strings.Contains(m[1], "://") {
					continue
				}
				if _, err := os.Stat(filepath.Join(root, filepath.Dir(page), m[1])); err != nil {
					t.Errorf("%s: the link to %s leads nowhere", page, m[1])
				}
			}
		}
	}
}
