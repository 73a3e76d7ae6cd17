// Copyright 2026 The authsec Authors
// SPDX-License-Identifier: Apache-2.0

package dev

import (
	"errors"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/authsec-go/authsec"
)

// TestClientThroughDelegationsOfEachKind leads a client of the library through
// delegate, revoke, expire, and delegate again.
func TestClientThroughDelegationsOfEachKind(t *testing.T) {
	for _, generation := range []string{older, newer} {
		t.Run(generation, func(t *testing.T) { synctest.Test(t, func(t *testing.T) { wholeLife(t, generation) }) })
	}
}

func wholeLife(t *testing.T, generation string) {
	in2026()
	b := newBench(t, "--generation", generation)
	client := b.client()
	if generation == newer {
		client.Transport.(*authsec.Transport).Source = b.source()
	}
	permissions := func() string {
		t.Helper()
		resp, err := client.Get("https://api.test/customers/42")
		if err != nil {
			t.Fatal(err)
		}
		status, answer, _ := read(t, resp)
		if status != http.StatusOK {
			t.Fatalf("the API answered %d, want 200", status)
		}
		return texts(answer["permissions"])
	}
	// denied wants the API's 401, or an error of the client.
	denied := func(want error) {
		t.Helper()
		resp, err := client.Get("https://api.test/customers/42")
		if err == nil {
			defer resp.Body.Close()
			if resp.StatusCode != http.StatusUnauthorized {
				t.Fatalf("got %s, want 401 or an error", resp.Status)
			}
			_, err = client.Transport.(*authsec.Transport).Source.(*authsec.Source).Token()
		}
		if !errors.Is(err, want) {
			t.Fatalf("got error %v, want %v", err, want)
		}
	}

	if got := permissions(); got != "billing:read users:read" {
		t.Errorf("delegated at the start: got %q", got)
	}
	b.post("revoke-token", "")
	denied(authsec.ErrNotDelegated)

	b.post("delegate-token", "permissions=crm:write&ttl=30s")
	time.Sleep(10 * time.Second) // longer than the client keeps a failure
	if got := permissions(); got != "crm:write" {
		t.Errorf("delegated anew: got %q", got)
	}
	time.Sleep(21 * time.Second)
	denied(authsec.ErrNotDelegated)
	if !strings.Contains(b.log.String(), "410 the delegation has expired: delegate with the curl line printed at the start") {
		t.Errorf("the log does not say that the delegation expired:\n%s", b.log)
	}

	b.post("delegate-token", "")
	time.Sleep(10 * time.Second)
	if got := permissions(); got != "billing:read users:read" {
		t.Errorf("delegated again: got %q", got)
	}
	if strings.Contains(b.log.String(), "eyJ") {
		t.Error("the log has a token")
	}
}

// TestSDKRequest asks as AuthSec's Python and TypeScript SDKs do: under /uflow, with
// the client ID in a header, and no query.
func TestSDKRequest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		status, answer := b.get()
		if status != http.StatusOK || texts(answer["permissions"]) != "billing:read users:read" || answer["client_id"] != b.opts.clientID {
			t.Fatalf("got %d, client_id %v, permissions %v", status, answer["client_id"], answer["permissions"])
		}
		for _, name := range []string{"token", "spiffe_id", "expires_at", "tenant_id"} {
			if text, _ := answer[name].(string); text == "" {
				t.Errorf("the answer has no %s", name)
			}
		}
		if answer["ttl_seconds"] != 3600.0 || answer["status"] != "active" {
			t.Errorf("got ttl_seconds %v, status %v", answer["ttl_seconds"], answer["status"])
		}
		b.logged("GET /uflow/sdk/delegation-token 200 a token with permissions billing:read users:read, which expires in 1h0m0s")
		if status, who, _ := b.call(answer["token"]); status != http.StatusOK || who["client_id"] != b.opts.clientID {
			t.Errorf("the API answered %d, client_id %v", status, who["client_id"])
		}
		b.logged("GET /customers/42 200 agent 9b477e30… with permissions billing:read users:read")

		b.post("revoke-token", "")
		if status, answer := b.get(); status != http.StatusNotFound || answer["error"] != "No active delegation token found" {
			t.Errorf("revoked: got %d %v", status, answer)
		}
		b.logged("GET /uflow/sdk/delegation-token 404 no delegation is active: delegate with the curl line printed at the start")
		if status, _, _ := b.call(answer["token"]); status != http.StatusUnauthorized {
			t.Errorf("the API answered %d to a revoked token, want 401", status)
		}
		b.logged("GET /customers/42 401 the token was revoked, or a newer one replaced it: get a token again; if there is none, delegate with the curl line printed at the start")

		b.post("delegate-token", `{"ttl_seconds":2}`)
		time.Sleep(2*time.Second + 1)
		if status, answer := b.get(); status != http.StatusGone || answer["error"] != "Delegation token has expired" {
			t.Errorf("expired: got %d %v", status, answer)
		}
		b.logged("GET /uflow/sdk/delegation-token 410 the delegation has expired: delegate with the curl line printed at the start; until then the answer is 404")
		if status, _ := b.get(); status != http.StatusNotFound {
			t.Errorf("after the 410: got %d, want 404", status)
		}
		// The SDKs' other spelling of the URL.
		b.post("delegate-token", "")
		status, _, _ = b.ask("GET", "https://authsec.test/authsec/uflow/sdk/delegation-token", "", "X-Client-ID: "+b.opts.clientID)
		if status != http.StatusOK {
			t.Errorf("/authsec/uflow: got %d, want 200", status)
		}
	})
}

// source is a Source with the credential that the newer generation wants.
func (b *bench) source() *authsec.Source {
	b.t.Helper()
	src, err := authsec.NewSource(authsec.Config{
		BaseURL: "https://authsec.test", ClientID: b.opts.clientID, HTTPClient: &http.Client{Transport: b},
		Credential: static(credential),
	})
	if err != nil {
		b.t.Fatal(err)
	}
	return src
}

// texts joins a list from JSON.
func texts(v any) string {
	list, _ := v.([]any)
	words := make([]string, len(list))
	for i, v := range list {
		words[i], _ = v.(string)
	}
	return strings.Join(words, " ")
}
