// Copyright 2026 The authsec Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"encoding/json"
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
		main() // it exits
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

// fails runs the command, and returns its exit code and standard error, which must be
// one line that says what failed and one that says what to do.
func fails(t *testing.T, args ...string) (code int, lines string) {
	t.Helper()
	var stdout, stderr bytes.Buffer
	code = run(t.Context(), args, &stdout, &stderr)
	lines = stderr.String()
	if stdout.Len() > 0 || !saysWhatToDo(lines) {
		t.Errorf("run(%q): %d bytes on standard output and, on standard error, %q, want none, and a line with what to do after the error's", args, stdout.Len(), lines)
	}
	return code, lines
}

// saysWhatToDo reports whether text is a line and another with what to do, or a log
// record with both.
func saysWhatToDo(text string) bool {
	var record struct{ Level, Error, Do string }
	if json.Unmarshal([]byte(text), &record) == nil {
		return record.Level == "ERROR" && record.Error != "" && record.Do != "" && strings.Count(text, "\n") == 1
	}
	_, do, _ := strings.Cut(text, "\n")
	return strings.HasPrefix(text, "authsec") && strings.HasPrefix(do, "To do: ") && strings.Count(do, "\n") == 1
}

// echo answers with the method, path, some headers and the body.
func echo(w http.ResponseWriter, r *http.Request) {
	var body bytes.Buffer
	body.ReadFrom(r.Body)
	w.Header().Set("X-Got", r.Method+" "+r.URL.RequestURI()+" "+r.Header.Get("Content-Type"))
	w.Write(body.Bytes())
}
