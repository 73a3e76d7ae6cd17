// Copyright 2026 The authsec Authors
// SPDX-License-Identifier: Apache-2.0

package scripts_test

import (
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"
)

func TestDependabotKnowsEveryModule(t *testing.T) {
	var config struct {
		Updates []struct {
			Ecosystem   string `yaml:"package-ecosystem"`
			Directories []string
		}
	}
	if err := yaml.Unmarshal([]byte(read(t, "../.github/dependabot.yml")), &config); err != nil {
		t.Fatal(err)
	}
	var got, want []string
	for _, u := range config.Updates {
		if u.Ecosystem == "gomod" {
			got = append(got, u.Directories...)
		}
	}
	for _, mod := range strings.Fields(must(t, "..", "scripts/modules")) {
		want = append(want, path.Join("/", mod))
	}
	slices.Sort(got)
	slices.Sort(want)
	if !slices.Equal(got, want) {
		t.Errorf("dependabot.yml has the modules %v, want %v", got, want)
	}
}

func TestActionsHaveFullVersions(t *testing.T) {
	files, _ := filepath.Glob("../.github/workflows/*.yml")
	if len(files) == 0 {
		t.Fatal("no workflows")
	}
	full := regexp.MustCompile(`^[\w.-]+/[\w./-]+@v\d+\.\d+\.\d+$`)
	for _, file := range files {
		for _, m := range regexp.MustCompile(`uses: *(\S+)`).FindAllStringSubmatch(read(t, file), -1) {
			if !full.MatchString(m[1]) {
				t.Errorf("%s uses %s, want a version like v1.2.3", file, m[1])
			}
		}
	}
}

// A newcomer finds each part of the gate, and each script, in CONTRIBUTING.md.
func TestContributingNamesEveryScript(t *testing.T) {
	text := read(t, "../CONTRIBUTING.md")
	entries, err := os.ReadDir(".")
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		info, err := e.Info()
		if err != nil {
			t.Fatal(err)
		}
		named := regexp.MustCompile("`scripts/" + e.Name() + "[ `]").MatchString(text)
		if info.Mode().IsRegular() && info.Mode()&0o100 != 0 && !named {
			t.Errorf("CONTRIBUTING.md does not name scripts/%s", e.Name())
		}
	}
	for _, mod := range strings.Fields(must(t, "..", "scripts/modules")) {
		if mod != "." && !strings.Contains(text, "`"+mod+"`") {
			t.Errorf("CONTRIBUTING.md does not name the module `%s`", mod)
		}
	}
}

func TestReadmeProgram(t *testing.T) {
	const program = "```go\npackage main\n\nfunc main() {}\n```\n"
	const snippet = "```go\nx := 1\n```\n"
	for name, tt := range map[string]struct {
		text, want string
		ok         bool
	}{
		"one":            {"# A\n\n" + snippet + program + snippet + "b\n", "package main\n\nfunc main() {}\n", true},
		"none":           {"# A\n\n" + snippet, "has 0 blocks", false},
		"two":            {program + "\n" + program, "has 2 blocks", false},
		"another client": {"```sh\npackage main\n```\n" + program, "package main\n\nfunc main() {}\n", true},
	} {
		s := newSmall(t)
		s.write("README.md", tt.text)
		out, err := s.script("readme-program", "README.md")
		if (err == nil) != tt.ok || !strings.Contains(out, tt.want) || tt.ok && out != tt.want {
			t.Errorf("%s: got %v and %q, want success: %v, and %q", name, err, out, tt.ok, tt.want)
		}
	}
}
