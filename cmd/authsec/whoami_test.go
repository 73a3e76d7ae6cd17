// Copyright 2026 The authsec Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"encoding/json"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/authsec-go/authsec/authsectest"
)

func TestWhoamiSaysWhoWhatUntilWhenAndWhereWithoutASecret(t *testing.T) {
	srv, _ := agent(t)
	dir := home(t)
	token := srv.Delegate(authsectest.ClientID, authsectest.Delegation{Permissions: []string{"billing:read", "users:read"}, Audience: []string{"authsec-api"}})
	var text, stderr bytes.Buffer
	if code := run(t.Context(), []string{"whoami"}, &text, &stderr); code != 0 || stderr.Len() > 0 {
		t.Fatalf("whoami = %d, %q, want 0 and nothing on standard error", code, stderr.String())
	}
	for _, want := range []string{"spiffe://", "billing:read users:read", "authsec-api", authsectest.ClientID[:8] + "…\n", srv.URL} {
		if !strings.Contains(text.String(), want) {
			t.Errorf("whoami does not say %q:\n%s", want, text.String())
		}
	}
	noSecrets(t, "the text", text.String(), token)

	var out bytes.Buffer
	if code := run(t.Context(), []string{"whoami", "--json"}, &out, &stderr); code != 0 || stderr.Len() > 0 {
		t.Fatalf("whoami --json = %d, %q, want 0 and nothing on standard error", code, stderr.String())
	}
	var got identity
	if err := json.Unmarshal(out.Bytes(), &got); err != nil {
		t.Fatalf("output is no JSON: %v", err)
	}
	if got.Server != srv.URL || !strings.HasPrefix(got.SPIFFEID, "spiffe://") || got.TenantID == "" || len(got.Permissions) != 2 || len(got.Audience) != 1 {
		t.Errorf("whoami --json = %+v, want the server, the agent, its tenant, two permissions and an audience", got)
	}
	if left := time.Until(got.ExpiresAt); left < 50*time.Minute || left > time.Hour {
		t.Errorf("expires in %v, want about an hour", left)
	}
	noSecrets(t, "the JSON", out.String(), token)
	if _, err := os.Stat(dir); err == nil {
		t.Error("whoami made a cache")
	}
}

// What is cached may have been revoked, or delegated anew.
func TestWhoamiAsksTheServer(t *testing.T) {
	srv, _ := agent(t)
	tokenOf(t)
	token := srv.Delegate(authsectest.ClientID, authsectest.Delegation{})
	var text, stderr bytes.Buffer
	if code := run(t.Context(), []string{"whoami"}, &text, &stderr); code != 0 || !strings.Contains(text.String(), "permissions  (none)\n") {
		t.Errorf("without permissions: whoami = %d, %q, want 0 and (none)", code, text.String())
	}
	srv.Revoke(authsectest.ClientID)
	code, lines := fails(t, "whoami")
	if code != 1 || !strings.Contains(lines, "Trust Delegation") {
		t.Errorf("revoked: whoami = %d, %q, want 1 and advice", code, lines)
	}
	noSecrets(t, "standard error", lines, token)
	environ(t, nil)
	if code, lines := fails(t, "whoami"); code != 1 || !strings.Contains(lines, "correct the environment") {
		t.Errorf("with no environment: whoami = %d, %q, want 1 and advice", code, lines)
	}
}
