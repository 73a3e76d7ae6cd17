// Copyright 2026 The authsec Authors
// SPDX-License-Identifier: Apache-2.0

package deploy_test

import (
	"debug/buildinfo"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/moby/buildkit/frontend/dockerfile/instructions"
	"github.com/moby/buildkit/frontend/dockerfile/parser"
	"github.com/moby/patternmatcher"
	"github.com/moby/patternmatcher/ignorefile"
)

// stages are the Dockerfile's, as BuildKit parses them.
func stages(t *testing.T) []instructions.Stage {
	t.Helper()
	result, err := parser.Parse(strings.NewReader(contents(t, "Dockerfile")))
	if err != nil {
		t.Fatal(err)
	}
	if len(result.Warnings) > 0 {
		t.Errorf("warnings: %v", result.Warnings)
	}
	all, _, err := instructions.Parse(result.AST, nil)
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// The image's own build command makes a program for each architecture, which knows
// its commit.
func TestDockerfileBuildsBothArchitectures(t *testing.T) {
	if testing.Short() {
		t.Skip("it compiles the program twice")
	}
	s := stages(t)
	if len(s) != 2 || s[0].Platform != "$BUILDPLATFORM" || s[1].Platform != "" {
		t.Fatalf("want a stage that builds on the builder's own platform, and one for the image: %+v", s)
	}
	var command string
	for _, c := range s[0].Commands {
		if run, ok := c.(*instructions.RunCommand); ok {
			command = strings.Join(run.CmdLine, " ")
		}
	}
	for _, arch := range []string{"amd64", "arm64"} {
		out := filepath.Join(t.TempDir(), "authsec")
		line := strings.ReplaceAll(command, "/out/authsec", out)
		if line == command {
			t.Fatalf("the build does not write /out/authsec: %s", command)
		}
		cmd := exec.CommandContext(t.Context(), "sh", "-c", line)
		cmd.Dir = ".." // the build's context
		cmd.Env = append(os.Environ(), "TARGETOS=linux", "TARGETARCH="+arch)
		if text, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%s: %v\n%s", line, err, text)
		}
		info, err := buildinfo.ReadFile(out)
		if err != nil {
			t.Fatal(err)
		}
		settings := map[string]string{}
		for _, s := range info.Settings {
			settings[s.Key] = s.Value
		}
		if settings["GOARCH"] != arch || settings["GOOS"] != "linux" || settings["CGO_ENABLED"] != "0" {
			t.Errorf("for %s: got %v", arch, settings)
		}
		if _, err := os.Stat("../.git"); err == nil && len(settings["vcs.revision"]) < 40 {
			t.Errorf("for %s: the program does not know its commit: %v", arch, settings)
		}
	}
}

func TestImageStartsTheProxyWithoutRoot(t *testing.T) {
	s := stages(t)
	image := s[len(s)-1]
	if !strings.HasSuffix(image.BaseName, ":nonroot") {
		t.Errorf("the image is made from %s, want one with a user that is not root", image.BaseName)
	}
	var entry, args []string
	for _, c := range image.Commands {
		switch c := c.(type) {
		case *instructions.EntrypointCommand:
			entry = c.CmdLine
		case *instructions.CmdCommand:
			args = c.CmdLine
		}
	}
	// "kubectl exec" in the alerts names the program by its path.
	if !slices.Equal(entry, []string{"/authsec"}) || !slices.Equal(args, []string{"proxy"}) {
		t.Errorf("the image starts %q %q", entry, args)
	}
	if _, err := authsec(t, append(args, "--help")...).Output(); err != nil {
		t.Errorf("authsec %q: %v", args, err)
	}
}

// The context has all that Git tracks, so that the version does not say "local
// changes", and no secrets.
func TestDockerignore(t *testing.T) {
	file, err := os.Open("Dockerfile.dockerignore")
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	patterns, err := ignorefile.ReadAll(file)
	if err != nil {
		t.Fatal(err)
	}
	ignored := func(name string) bool {
		t.Helper()
		is, err := patternmatcher.MatchesOrParentMatches(name, patterns)
		if err != nil {
			t.Fatal(err)
		}
		return is
	}
	for _, name := range []string{".env", "deploy/.env", "deploy/agent.env", "deploy/kubernetes/cache.key", "api.token", "bin/authsec", "a.test"} {
		if !ignored(name) {
			t.Errorf("%s goes into the build's context", name)
		}
	}
	if ignored(".git/HEAD") {
		t.Error("without .git the program does not know its commit")
	}
	if _, err := os.Stat("../.git"); err != nil {
		t.Skip("this is no clone")
	}
	out, err := exec.CommandContext(t.Context(), "git", "ls-files", "-z", "..").Output()
	if err != nil {
		t.Skipf("git: %v", err)
	}
	for name := range strings.SplitSeq(strings.TrimSuffix(string(out), "\x00"), "\x00") {
		if name = filepath.ToSlash(filepath.Join("deploy", name)); ignored(name) {
			t.Errorf("%s is tracked, and left out of the build's context", name)
		}
	}
}
