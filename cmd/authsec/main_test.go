// Copyright 2026 The authsec Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/authsec-go/authsec/authsectest"
)

// asCommand makes the test's binary run the command, so that tests can start it as a
// process.
const asCommand = "AUTHSEC_TEST_AS_COMMAND"

// patience is how long tests wait for something that must happen.
const patience = 20 * time.Second

func TestMain(m *testing.M) {
	if os.Getenv(asCommand) != "" {
		main()
	}
	for _, name := range homes { // no test uses the user's own cache
		os.Unsetenv(name)
	}
	os.Exit(m.Run())
}

// homes are the variables that os.UserCacheDir reads.
var homes = []string{"XDG_CACHE_HOME", "HOME", "home", "LocalAppData"}

// home gives the user a new home directory, and returns the cache's directory in it.
func home(t *testing.T) (dir string) {
	t.Helper()
	above := t.TempDir()
	for _, name := range homes {
		t.Setenv(name, above)
	}
	dir, err := userCacheDir()
	if err != nil {
		t.Fatal(err)
	}
	return dir
}

// command is the command as a process, with this test's environment.
func command(t *testing.T, args ...string) *exec.Cmd {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), os.Args[0], args...)
	cmd.Env = append(os.Environ(), asCommand+"=1")
	return cmd
}

// agent is an AuthSec server with one delegation, and the environment for it.
// It returns the token, too.
func agent(t *testing.T) (srv *authsectest.Server, token string) {
	t.Helper()
	home(t)
	srv = authsectest.NewServer()
	t.Cleanup(srv.Close)
	token = srv.Delegate(authsectest.ClientID, authsectest.Delegation{Permissions: []string{"billing:read"}})
	environ(t, map[string]string{"AUTHSEC_BASE_URL": srv.URL, "AUTHSEC_AGENT_CLIENT_ID": authsectest.ClientID})
	return srv, token
}

// noSecrets fails if text holds a token, a signature or a whole client ID.
func noSecrets(t *testing.T, what, text, token string) {
	t.Helper()
	signature := token[strings.LastIndex(token, ".")+1:]
	if strings.Contains(text, "eyJ") || strings.Contains(text, signature) || strings.Contains(strings.ToLower(text), strings.ToLower(authsectest.ClientID)) {
		t.Errorf("%s holds a token or a whole client ID", what)
	}
}

// failsInOneLine runs the command, and returns its exit code and standard error, which
// must be one line that says what to do.
func failsInOneLine(t *testing.T, args ...string) (code int, line string) {
	t.Helper()
	var stdout, stderr bytes.Buffer
	code = run(t.Context(), args, &stdout, &stderr)
	line = stderr.String()
	if stdout.Len() > 0 || strings.Count(line, "\n") != 1 || !strings.Contains(line, "To do: ") {
		t.Errorf("run(%q): %d bytes on standard output and, on standard error, %q, want none and one line with what to do", args, stdout.Len(), line)
	}
	return code, line
}

// echo answers with the method, path, some headers and the body.
func echo(w http.ResponseWriter, r *http.Request) {
	var body bytes.Buffer
	body.ReadFrom(r.Body)
	w.Header().Set("X-Got", r.Method+" "+r.URL.RequestURI()+" "+r.Header.Get("Content-Type"))
	w.Write(body.Bytes())
}

func TestHelpListsAllCommands(t *testing.T) {
	var stdout, stderr bytes.Buffer
	if code := run(t.Context(), []string{"help"}, &stdout, &stderr); code != 0 {
		t.Errorf("help = %d, want 0", code)
	}
	for _, name := range []string{"smoke", "token", "fetch", "proxy", "help"} {
		if !strings.Contains(stdout.String(), "\n  "+name+" ") {
			t.Errorf("help does not list %s:\n%s", name, stdout.String())
		}
	}
}

func TestEachCommandHasHelpAndRefusesUnknownFlags(t *testing.T) {
	for _, name := range []string{"token", "fetch", "proxy"} {
		var stdout, stderr bytes.Buffer
		if code := run(t.Context(), []string{name, "-h"}, &stdout, &stderr); code != 0 || !strings.Contains(stderr.String(), "usage: authsec "+name) {
			t.Errorf("%s -h = %d, want 0 and a usage:\n%s", name, code, stderr.String())
		}
		stderr.Reset()
		if code := run(t.Context(), []string{name, "-no-such-flag"}, &stdout, &stderr); code != 2 || stderr.Len() == 0 {
			t.Errorf("%s -no-such-flag = %d with %d bytes on standard error, want 2 and a message", name, code, stderr.Len())
		}
		if got := strings.Count(stderr.String(), "not defined"); got != 1 {
			t.Errorf("%s -no-such-flag says so %d times, want once", name, got)
		}
	}
}
