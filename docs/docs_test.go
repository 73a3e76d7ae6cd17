// Copyright 2026 The authsec Authors
// SPDX-License-Identifier: Apache-2.0

// Package docs_test checks the pages against the code. Every block of Go in them is
// quoted from a test or an example, which is compiled and run (comments in interop
// mark the quoted parts). Every block of YAML is quoted from deploy. Every command
// and its flags exist, also those that blocks for MCP hosts start.
package docs_test

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io/fs"
	"maps"
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
		case "json":
			if !json.Valid([]byte(strings.Join(b.lines, "\n"))) {
				t.Errorf("%v: this block is not valid JSON", b)
			}
		case "sh", "python", "js", "": // commands are checked below; drawings and other text are not
		default:
			t.Errorf("%v: got a block of %q, want go, yaml, json, sh, python, js or a drawing", b, b.kind)
		}
	}
	if seen == 0 {
		t.Error("no block was checked")
	}
}

var (
	flagLine    = regexp.MustCompile(`(?m)^  (?:(-[A-Za-z]), )?(--[a-z-]+)`)
	commandLine = regexp.MustCompile(`(?m)^  ([a-z]+)  `)
	commandSpan = regexp.MustCompile("`authsec ([a-z][^`]*)`")
)

// commandFlags returns the flags of each command of the program authsec, by its name,
// such as "mcp serve". They are those in its help.
func commandFlags(t *testing.T) map[string][]string {
	t.Helper()
	authsec := filepath.Join(t.TempDir(), "authsec")
	if out, err := exec.Command("go", "build", "-C", root+"/cmd/authsec", "-o", authsec, ".").CombinedOutput(); err != nil {
		t.Fatalf("go build: %v\n%s", err, out)
	}
	flags := map[string][]string{}
	var visit func(name ...string)
	visit = func(name ...string) {
		help, err := exec.Command(authsec, append(name, "--help")...).Output()
		if err != nil {
			t.Fatalf("authsec %q --help: %v", name, err)
		}
		text := string(help)
		if _, list, found := strings.Cut(text, "\nCommands:\n"); found {
			list, _, _ = strings.Cut(list, "\n\n")
			for _, m := range commandLine.FindAllStringSubmatch(list, -1) {
				visit(append(slices.Clone(name), m[1])...)
			}
		}
		known := []string{"-h", "--help"}
		for _, m := range flagLine.FindAllStringSubmatch(text, -1) {
			known = append(known, m[1:]...)
		}
		flags[strings.Join(name, " ")] = known
	}
	visit()
	return flags
}

// callsOf returns what is called on a line of shell, without the name authsec.
func callsOf(line string) (calls []string) {
	line = strings.NewReplacer("go run -C cmd/authsec .", "authsec", "$(authsec ", "| authsec ", " /authsec ", " | authsec ").Replace(" " + line)
	for part := range strings.SplitSeq(line, "|") {
		if _, call, found := strings.Cut(part+" ", " authsec "); found {
			calls = append(calls, call)
		}
	}
	return calls
}

var (
	argsList = regexp.MustCompile(`\bargs"?\s*[:=]\s*(\[[^\]]*\])`)
	argsItem = regexp.MustCompile(`["']([^"']*)["']`)
)

// callsOfHost returns what an MCP host calls, in a block of Python, JavaScript or
// JSON: the lists with the name args.
func callsOfHost(b block) (calls []string) {
	for _, list := range argsList.FindAllStringSubmatch(strings.Join(b.lines, " "), -1) {
		var words []string
		for _, item := range argsItem.FindAllStringSubmatch(list[1], -1) {
			words = append(words, item[1])
		}
		calls = append(calls, strings.Join(words, " "))
	}
	return calls
}

// checkCall checks that a command and its flags exist.
func checkCall(t *testing.T, where any, call string, flags map[string][]string) {
	t.Helper()
	words := strings.Fields(call)
	for i, word := range words {
		words[i] = strings.TrimRight(word, `)"`)
	}
	name := words[:min(2, len(words))]
	if flags[strings.Join(name, " ")] == nil {
		name = name[:1]
	}
	known := flags[strings.Join(name, " ")]
	if group := name[0] + " "; len(name) < min(2, len(words)) && slices.ContainsFunc(slices.Collect(maps.Keys(flags)), func(s string) bool { return strings.HasPrefix(s, group) }) {
		name, known = words[:2], nil // such as mcp, with a wrong subcommand
	}
	if known == nil {
		t.Errorf("%v: there is no authsec %s", where, strings.Join(name, " "))
		return
	}
	for _, word := range words[len(name):] {
		if strings.ContainsAny(word, "><#") {
			break
		}
		if flag, _, _ := strings.Cut(word, "="); strings.HasPrefix(flag, "-") && flag != "-" && !slices.Contains(known, flag) {
			t.Errorf("%v: authsec %s has no flag %s", where, strings.Join(name, " "), flag)
		}
	}
}

func TestCommandsExist(t *testing.T) {
	flags := commandFlags(t)
	if len(flags["token"]) < 5 || len(flags["mcp serve"]) < 5 {
		t.Fatalf("the search for commands and flags is broken: %q", flags)
	}
	seen := 0
	for _, b := range blocks(t) {
		switch b.kind {
		case "sh":
		case "python", "js", "json":
			calls := callsOfHost(b)
			if len(calls) == 0 {
				t.Errorf("%v: this block of %s starts no command", b, b.kind)
			}
			for _, call := range calls {
				seen++
				checkCall(t, b, call, flags)
			}
			continue
		default:
			continue
		}
		for _, line := range b.lines {
			calls := callsOf(line)
			for _, call := range calls {
				seen++
				checkCall(t, b, call, flags)
			}
			switch word, _, _ := strings.Cut(line, " "); {
			case len(calls) > 0:
			case slices.Contains([]string{"", "#", "go", "curl", "kubectl", "export", "docker", "openssl"}, word):
			default:
				t.Errorf("%v: unknown command %q", b, word)
			}
		}
	}
	for _, page := range pages(t) {
		text, err := os.ReadFile(filepath.Join(root, page))
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range commandSpan.FindAllStringSubmatch(string(text), -1) {
			seen++
			checkCall(t, page, m[1], flags)
		}
	}
	if seen < 20 {
		t.Errorf("%d commands were checked: too few, the search for them is broken", seen)
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
