// Copyright 2026 The authsec Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/authsec-go/authsec/authsectest"
)

// environ sets the whole environment that smoke reads.
func environ(t *testing.T, set map[string]string) {
	t.Helper()
	for _, name := range []string{"AUTHSEC_BASE_URL", "AUTHSEC_AGENT_CLIENT_ID", "DOWNSTREAM_URL", "AUTHSEC_HOSTS", "AUTHSEC_API_TOKEN", "AUTHSEC_API_TOKEN_FILE"} {
		t.Setenv(name, set[name])
	}
}

func smokeJSON(t *testing.T) (code int, got report, out string) {
	t.Helper()
	var stdout, stderr bytes.Buffer
	code = run(t.Context(), []string{"smoke", "--json"}, &stdout, &stderr)
	if err := json.Unmarshal(stdout.Bytes(), &got); err != nil {
		t.Fatalf("output is no JSON: %v\n%s", err, stdout.String())
	}
	return code, got, stdout.String() + stderr.String()
}

func TestSmokeHoldsOnTheEmbeddedServer(t *testing.T) {
	environ(t, nil)
	code, got, out := smokeJSON(t)
	if code != 0 || !got.OK || len(got.Steps) != 5 {
		t.Fatalf("smoke = %d, ok %v, %d steps, want 0, true, 5:\n%s", code, got.OK, len(got.Steps), out)
	}
	if again := got.Steps[2].Detail; !strings.Contains(again, "200 OK; fetches: 0") {
		t.Errorf("second call: %q, want 200 with 0 fetches", again)
	}
	if anew := got.Steps[3].Detail; !strings.Contains(anew, "200 OK; fetches: 1") {
		t.Errorf("after the revocation: %q, want 200 with 1 fetch", anew)
	}
	if !strings.HasPrefix(got.SPIFFEID, "spiffe://") || len(got.Permissions) != 2 || got.ExpiresAt == nil {
		t.Errorf("delegation = %q, %q, %v", got.SPIFFEID, got.Permissions, got.ExpiresAt)
	}
	if strings.Contains(out, "eyJ") || strings.Contains(out, authsectest.ClientID) {
		t.Error("the output holds a token or a whole client ID")
	}
}

func TestSmokeTellsAPersonWhatHappened(t *testing.T) {
	environ(t, nil)
	var stdout, stderr bytes.Buffer
	if code := run(t.Context(), []string{"smoke"}, &stdout, &stderr); code != 0 {
		t.Fatalf("smoke = %d, want 0:\n%s%s", code, stdout.String(), stderr.String())
	}
	if out := stdout.String(); strings.Count(out, "ok  ") != 5 || !strings.Contains(out, "PASS: 5 steps") {
		t.Errorf("output:\n%s", out)
	}
	unwritable, w := io.Pipe()
	unwritable.Close()
	if code := run(t.Context(), []string{"smoke"}, w, &stderr); code != 1 || !strings.Contains(stderr.String(), "standard output") {
		t.Errorf("without a standard output: smoke = %d, %q, want 1 and a message", code, stderr.String())
	}
}

func TestSmokeOnARealServer(t *testing.T) {
	srv := authsectest.NewServer()
	defer srv.Close()
	api := httptest.NewServer(srv.API(nil, "billing:read"))
	defer api.Close()
	open := httptest.NewServer(authsectest.Answer(200, "{}"))
	defer open.Close()
	const undelegated = "0b5e9c34-6f0e-4b7c-8c1d-2f3a4b5c6d7e"
	srv.Register(undelegated)
	srv.Delegate(authsectest.ClientID, authsectest.Delegation{Permissions: []string{"billing:read"}})
	const weak = "1b5e9c34-6f0e-4b7c-8c1d-2f3a4b5c6d7e"
	srv.Delegate(weak, authsectest.Delegation{})

	for _, tc := range []struct {
		name string
		env  map[string]string
		code int
		do   string // part of the advice
	}{
		{"token alone", map[string]string{"AUTHSEC_AGENT_CLIENT_ID": authsectest.ClientID}, 0, ""},
		{"with an API", map[string]string{"AUTHSEC_AGENT_CLIENT_ID": authsectest.ClientID, "DOWNSTREAM_URL": api.URL + "/x"}, 0, ""},
		{"no client ID", nil, 1, "correct the environment"},
		{"client ID in another form", map[string]string{"AUTHSEC_AGENT_CLIENT_ID": "{" + strings.ToUpper(strings.ReplaceAll(authsectest.ClientID, "-", "")) + "}"}, 0, ""},
		{"not delegated", map[string]string{"AUTHSEC_AGENT_CLIENT_ID": undelegated}, 1, "Trust Delegation"},
		{"malformed client ID", map[string]string{"AUTHSEC_AGENT_CLIENT_ID": "no-uuid-at-all"}, 1, "AUTHSEC_AGENT_CLIENT_ID"},
		{"permission missing", map[string]string{"AUTHSEC_AGENT_CLIENT_ID": weak, "DOWNSTREAM_URL": api.URL}, 1, "permission"},
		{"token withheld by an open API", map[string]string{"AUTHSEC_AGENT_CLIENT_ID": authsectest.ClientID, "DOWNSTREAM_URL": open.URL, "AUTHSEC_HOSTS": "api.example.com"}, 1, "AUTHSEC_HOSTS"},
		{"token withheld", map[string]string{"AUTHSEC_AGENT_CLIENT_ID": authsectest.ClientID, "DOWNSTREAM_URL": api.URL, "AUTHSEC_HOSTS": "api.example.com"}, 1, "AUTHSEC_HOSTS"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			env := map[string]string{"AUTHSEC_BASE_URL": srv.URL}
			for k, v := range tc.env {
				env[k] = v
			}
			environ(t, env)
			code, got, out := smokeJSON(t)
			if code != tc.code || got.OK != (tc.code == 0) {
				t.Errorf("smoke = %d, ok %v, want %d:\n%s", code, got.OK, tc.code, out)
			}
			if !strings.Contains(got.Do, tc.do) || (tc.do == "") != (got.Do == "") {
				t.Errorf("advice = %q, want it to name %q", got.Do, tc.do)
			}
			if strings.Contains(out, "eyJ") || strings.Contains(strings.ToLower(strings.ReplaceAll(out, "-", "")), strings.ReplaceAll(authsectest.ClientID, "-", "")) {
				t.Error("the output holds a token or a whole client ID")
			}
		})
	}
}

func TestUsageErrorsExitWith2(t *testing.T) {
	for _, args := range [][]string{nil, {"smok"}, {"smoke", "-x"}, {"smoke", "extra"}} {
		var stdout, stderr bytes.Buffer
		if code := run(t.Context(), args, &stdout, &stderr); code != 2 || stderr.Len() == 0 {
			t.Errorf("run(%q) = %d with %d bytes on standard error, want 2 and a message", args, code, stderr.Len())
		}
	}
}
