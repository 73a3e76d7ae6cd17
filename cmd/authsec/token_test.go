// Copyright 2026 The authsec Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"encoding/json"
	"net/http"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/authsec-go/authsec/authsectest"
)

func TestTokenPrintsTheTokenAlone(t *testing.T) {
	_, want := agent(t)
	cmd := command(t, "token")
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	got, err := cmd.Output()
	if err != nil || stderr.Len() > 0 {
		t.Fatalf("token: %v, standard error %q, want none", err, stderr.String())
	}
	if string(got) != want+"\n" {
		t.Errorf("token printed %d bytes, want the token's %d and a newline", len(got), len(want))
	}
}

func TestTokenPrintsJSONWithExpiryAndClaims(t *testing.T) {
	_, want := agent(t)
	var stdout, stderr bytes.Buffer
	if code := run(t.Context(), []string{"token", "--json"}, &stdout, &stderr); code != 0 {
		t.Fatalf("token --json = %d, want 0: %s", code, stderr.String())
	}
	var got struct {
		Token     string
		ExpiresAt time.Time `json:"expires_at"`
		Claims    struct {
			Permissions []string
			Exp         int64
		}
	}
	if err := json.Unmarshal(stdout.Bytes(), &got); err != nil {
		t.Fatalf("output is no JSON: %v", err)
	}
	if got.Token != want {
		t.Error("the token is not the server's")
	}
	if left := time.Until(got.ExpiresAt); left < 50*time.Minute || left > time.Hour {
		t.Errorf("expires in %v, want about an hour", left)
	}
	if len(got.Claims.Permissions) != 1 || got.Claims.Exp == 0 {
		t.Errorf("claims = %+v, want the token's permission and exp", got.Claims)
	}
}

func TestHeaderPrintsWhatCurlReads(t *testing.T) {
	srv, api, token := fetchServer(t, echo)
	var stdout, stderr bytes.Buffer
	if code := run(t.Context(), []string{"header"}, &stdout, &stderr); code != 0 || stderr.Len() > 0 {
		t.Fatalf("header = %d, %q, want 0 and nothing on standard error", code, stderr.String())
	}
	if stdout.String() != "Authorization: Bearer "+token+"\n" {
		t.Errorf("header printed %d bytes, want the header alone", stdout.Len())
	}
	second := srv.Delegate(authsectest.ClientID, authsectest.Delegation{})
	for _, tc := range []struct {
		args []string
		want string
	}{{nil, token}, {[]string{"--refresh"}, second}, {nil, second}} {
		stdout.Reset()
		if run(t.Context(), append([]string{"header"}, tc.args...), &stdout, &stderr); stdout.String() != "Authorization: Bearer "+tc.want+"\n" {
			t.Errorf("header %q printed another token", tc.args)
		}
	}
	curl, err := exec.LookPath("curl")
	if err != nil {
		t.Skip("curl is not installed")
	}
	cmd := exec.CommandContext(t.Context(), curl, "--silent", "--fail", "--max-time", "20", "-H", "@-", "--data", "hello", api.URL)
	cmd.Stdin = &stdout
	if got, err := cmd.Output(); err != nil || string(got) != "hello" {
		t.Errorf("curl -H @- printed %q, %v, want the echo of a protected API", got, err)
	}
}

func TestTokenFailsWithALineThatSaysWhatToDo(t *testing.T) {
	srv, token := agent(t)
	const undelegated = "0b5e9c34-6f0e-4b7c-8c1d-2f3a4b5c6d7e"
	srv.Register(undelegated)
	for _, tc := range []struct{ name, id, want string }{
		{"not delegated", undelegated, "Trust Delegation"},
		{"malformed", "no-uuid-at-all", "AUTHSEC_AGENT_CLIENT_ID"},
		{"not set", "", "correct the environment"},
	} {
		environ(t, map[string]string{"AUTHSEC_BASE_URL": srv.URL, "AUTHSEC_AGENT_CLIENT_ID": tc.id})
		code, line := fails(t, "token")
		if code != 1 || !strings.Contains(line, tc.want) {
			t.Errorf("%s: token = %d, %q, want 1 and %q", tc.name, code, line, tc.want)
		}
		if tc.id == undelegated && strings.Contains(line, undelegated) {
			t.Errorf("%s: the line holds the whole client ID", tc.name)
		}
		noSecrets(t, tc.name, line, token)
	}
	environ(t, nil)
	if code, line := fails(t, "token"); code != 1 {
		t.Errorf("with no environment: token = %d, %q, want 1", code, line)
	}
	var stdout, stderr bytes.Buffer
	if code := run(t.Context(), []string{"token", "extra"}, &stdout, &stderr); code != 2 {
		t.Errorf("token extra = %d, want 2", code)
	}
}

// The server accepts requests again before the commands' own time-out.
func TestCommandsDoNotWaitOutARateLimit(t *testing.T) {
	srv, api, _ := fetchServer(t, echo)
	srv.Fail(authsectest.Answer(http.StatusTooManyRequests, `{"error":"Rate limit exceeded"}`, "Retry-After", "15"))
	for _, args := range [][]string{{"token"}, {"token", "--refresh"}, {"fetch", api.URL}} {
		home(t)
		began := time.Now()
		code, line := fails(t, args...)
		if took := time.Since(began); code != 1 || took > 10*time.Second || !strings.Contains(line, "To do: wait") {
			t.Errorf("%q = %d after %v, %q, want 1 at once, with advice to wait", args, code, took, line)
		}
	}
}

func TestTokenProcessExitsWithTheCode(t *testing.T) {
	agent(t)
	t.Setenv("AUTHSEC_AGENT_CLIENT_ID", authsectest.ClientID[:4])
	cmd := command(t, "token")
	cmd.Run()
	if got := cmd.ProcessState.ExitCode(); got != 1 {
		t.Errorf("exit code %d, want 1", got)
	}
}
