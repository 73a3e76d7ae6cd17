// Copyright 2026 The authsec Authors
// SPDX-License-Identifier: Apache-2.0

package docs_test

import (
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"testing"
)

var (
	flagLine    = regexp.MustCompile(`(?m)^  (?:(-[A-Za-z]), )?(--[a-z-]+)`)
	commandLine = regexp.MustCompile(`(?m)^  ([a-z]+)  `)
	commandSpan = regexp.MustCompile("`authsec ([a-z][^`]*)`")
)

// command builds the program authsec, and returns its path.
func command(t *testing.T) string {
	t.Helper()
	authsec := filepath.Join(t.TempDir(), "authsec")
	if runtime.GOOS == "windows" {
		authsec += ".exe"
	}
	if out, err := exec.Command("go", "build", "-C", root+"/cmd/authsec", "-o", authsec, ".").CombinedOutput(); err != nil {
		t.Fatalf("go build: %v\n%s", err, out)
	}
	return authsec
}

// commandFlags returns the flags of each command of the program authsec, by its name,
// such as "mcp serve". They are those in its help.
func commandFlags(t *testing.T) map[string][]string {
	t.Helper()
	authsec := command(t)
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
			case slices.Contains([]string{"", "#", "go", "curl", "kubectl", "export", "docker", "openssl", "kill", ".ci/run"}, word):
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
