// Copyright 2026 The authsec Authors
// SPDX-License-Identifier: Apache-2.0

package docs_test

import (
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/authsec-go/authsec/authsectest"
)

// maxReadme is how many words README.md may have, code included.
const maxReadme = 1000

func TestReadmeIsShort(t *testing.T) {
	text, err := os.ReadFile(filepath.Join(root, "README.md"))
	if err != nil {
		t.Fatal(err)
	}
	if n := len(strings.Fields(string(text))); n > maxReadme {
		t.Errorf("README.md has %d words, want at most %d", n, maxReadme)
	}
}

// readme returns the blocks of README.md of a kind.
func readme(t *testing.T, kind string) (list []block) {
	t.Helper()
	for _, b := range blocks(t) {
		if b.page == "README.md" && b.kind == kind {
			list = append(list, b)
		}
	}
	return list
}

// stack starts an AuthSec server and a protected API, and returns the environment of
// their agent.
func stack(t *testing.T) []string {
	t.Helper()
	srv := authsectest.NewServer()
	t.Cleanup(srv.Close)
	srv.Delegate(authsectest.ClientID, authsectest.Delegation{Permissions: []string{"billing:read"}})
	api := httptest.NewServer(srv.API(authsectest.Answer(http.StatusOK, `{"customer":42}`), "billing:read"))
	t.Cleanup(api.Close)
	return append(os.Environ(),
		"AUTHSEC_BASE_URL="+srv.URL,
		"AUTHSEC_AGENT_CLIENT_ID="+authsectest.ClientID,
		"DOWNSTREAM_URL="+api.URL,
	)
}

func TestReadmeProgramRuns(t *testing.T) {
	programs := readme(t, "go")
	if len(programs) != 1 || programs[0].lines[0] != "package main" {
		t.Fatalf("got %v, want one block of Go, a complete program", programs)
	}
	file := filepath.Join(t.TempDir(), "main.go")
	if err := os.WriteFile(file, []byte(strings.Join(programs[0].lines, "\n")), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), "go", "run", file)
	cmd.Dir, cmd.Env = root, stack(t)
	out, err := cmd.CombinedOutput()
	if err != nil || string(out) != `{"customer":42}` {
		t.Errorf("got %q, %v, want the API's answer", out, err)
	}
}

// assignment is a line that sets a variable, in a POSIX shell or in PowerShell.
var assignment = regexp.MustCompile(`^(?:export |\$env:)([A-Z_]+) ?= ?"(.*)"$`)

func TestReadmeSetsTheSameInBothShells(t *testing.T) {
	var posix [][]string
	for _, b := range readme(t, "sh") {
		for _, line := range b.lines {
			if strings.HasPrefix(line, "export ") {
				posix = append(posix, assignment.FindStringSubmatch(line)[1:])
			}
		}
	}
	var power [][]string
	for _, b := range readme(t, "powershell") {
		for _, line := range b.lines {
			power = append(power, assignment.FindStringSubmatch(line)[1:])
		}
	}
	if len(posix) != 3 || !slices.EqualFunc(posix, power, slices.Equal) {
		t.Errorf("got %q and %q, want the same three variables", posix, power)
	}
}

// TestReadmeCommandsRun runs the blocks that use the command, as they are printed,
// with another port for the sidecar.
func TestReadmeCommandsRun(t *testing.T) {
	bash, err := exec.LookPath("bash")
	if _, noCurl := exec.LookPath("curl"); err != nil || noCurl != nil || runtime.GOOS == "windows" {
		t.Skip("this needs bash and curl")
	}
	env := append(stack(t), "PATH="+filepath.Dir(command(t))+string(os.PathListSeparator)+os.Getenv("PATH"))
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l.Close()
	env = append(env, "AUTHSEC_PROXY_LISTEN="+l.Addr().String())

	const initialize = `{"jsonrpc":"2.0","id":1,"method":"initialize","params":{"protocolVersion":"2025-06-18","capabilities":{},"clientInfo":{"name":"readme","version":"1"}}}`
	want := map[string]string{
		"authsec mcp serve": `"protocolVersion":"2025-06-18"`,
		"authsec proxy":     `{"customer":42}`,
	}
	for _, b := range readme(t, "sh") {
		for call, answer := range want {
			script := strings.Join(b.lines, "\n")
			if !strings.Contains(script, call) {
				continue
			}
			delete(want, call)
			script = strings.ReplaceAll(script, "127.0.0.1:8081", l.Addr().String())
			cmd := exec.CommandContext(t.Context(), bash, "-e", "-c", "trap 'kill $(jobs -p) 2>/dev/null || true' EXIT\n"+script)
			cmd.Env, cmd.Stdin = env, strings.NewReader(initialize+"\n")
			out, err := cmd.Output()
			if err != nil || !strings.Contains(string(out), answer) {
				t.Errorf("%v: got %s, %v, want %s", b, out, err, answer)
			}
		}
	}
	if len(want) > 0 {
		t.Errorf("no block has %v", want)
	}
}
