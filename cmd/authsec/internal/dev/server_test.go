// Copyright 2026 The authsec Authors
// SPDX-License-Identifier: Apache-2.0

package dev

import (
	"net/http"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/authsec-go/authsec/authsectest"
)

func itoa(n int) string { return strconv.Itoa(n) }

func TestAPISaysWhoCalls(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		in2026()
		b := newBench(t)
		_, info := b.get()
		status, who, h := b.call(info["token"])
		if status != http.StatusOK || h.Get("Cache-Control") != "no-store" {
			t.Errorf("got %d, Cache-Control %q", status, h.Get("Cache-Control"))
		}
		for name, want := range map[string]any{
			"method": "GET", "path": "/customers/42", "client_id": b.opts.clientID, "spiffe_id": info["spiffe_id"],
			"tenant_id": authsectest.TenantID, "user_id": "user-1", "email": "admin@example.org", "agent_type": "test",
			"issued_at": "2026-05-21T07:25:36Z", "expires_at": "2026-05-21T08:25:36Z",
		} {
			if who[name] != want {
				t.Errorf("%s: got %v, want %v", name, who[name], want)
			}
		}
		if texts(who["permissions"]) != "billing:read users:read" || texts(who["audience"]) != "authsec-api" {
			t.Errorf("got permissions %v, audience %v", who["permissions"], who["audience"])
		}
	})
}

func TestAPIDenials(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		in2026()
		b := newBench(t, "--require", "billing:read")
		other := newBench(t)
		token := func(body string) string {
			text, _ := b.post("delegate-token", body)["token"].(string)
			return text
		}
		short := token("ttl=2s")
		foreign, _ := other.post("delegate-token", "")["token"].(string)
		wrong := token("audience=another")
		lacking := token("permissions=users:read")
		good := token("")
		time.Sleep(time.Minute)
		for _, c := range []struct {
			name, token, challenge string
			status                 int
			logged                 string
		}{
			{"no token", "", `Bearer realm="authsec"`, 401, "no bearer token: send the token as Authorization: Bearer, such as authsec fetch does"},
			{"expired", short, `Bearer realm="authsec", error="invalid_token"`, 401,
				"invalid token: token is expired: get a token again; it must be from this server, for audience authsec-api"},
			{"another server's", foreign, `Bearer realm="authsec", error="invalid_token"`, 401,
				"invalid token: token signature is invalid: no key of its tenant fits: get a token again; it must be from this server, for audience authsec-api"},
			{"another audience", wrong, `Bearer realm="authsec", error="invalid_token"`, 401,
				"invalid token: token has invalid audience: get a token again; it must be from this server, for audience authsec-api"},
			{"lacking a permission", lacking, `Bearer realm="authsec", error="insufficient_scope", scope="billing:read"`, 403,
				"the token lacks a permission of --require billing:read: delegate it, and get a token again"},
			{"good", good, "", 200, "agent 9b477e30… with permissions billing:read users:read"},
		} {
			var header []string
			if c.token != "" {
				header = append(header, "Authorization: Bearer "+c.token)
			}
			status, _, h := b.ask("DELETE", "https://api.test/a%20b?token="+c.token, "", header...)
			if status != c.status || h.Get("WWW-Authenticate") != c.challenge {
				t.Errorf("%s: got %d, challenge %s, want %d, %s", c.name, status, h.Get("WWW-Authenticate"), c.status, c.challenge)
			}
			b.logged("DELETE /a%20b " + itoa(c.status) + " " + c.logged)
		}
	})
}

// TestNewerGeneration wants a credential, and rejects a token that was replaced.
func TestNewerGeneration(t *testing.T) {
	b := newBench(t, "--generation", newer)
	if status, answer := b.get(); status != http.StatusUnauthorized || answer["error"] != "authorization header required" {
		t.Errorf("without a credential: got %d %v", status, answer)
	}
	b.logged("GET /uflow/sdk/delegation-token 401 authorization header required: set AUTHSEC_API_TOKEN as printed at the start; AuthSec's own SDKs send none, so they need --generation older")
	status, info, _ := b.ask("GET", "https://authsec.test"+authsectest.EndpointPath+"?client_id="+b.opts.clientID, "", "Authorization: Bearer "+credential)
	if status != http.StatusOK || info["workspace_id"] != authsectest.TenantID {
		t.Errorf("with the credential: got %d, workspace_id %v", status, info["workspace_id"])
	}
	if status, _, _ := b.call(info["token"]); status != http.StatusOK {
		t.Errorf("the API: got %d, want 200", status)
	}
	b.post("delegate-token", "")
	if status, _, _ := b.call(info["token"]); status != http.StatusUnauthorized {
		t.Errorf("the API, once there is a newer token: got %d, want 401", status)
	}
}

func TestWrongClientIDs(t *testing.T) {
	b := newBench(t)
	for id, want := range map[string]string{
		"":                                     "400 client_id is required (query param or X-Client-ID header): set AUTHSEC_AGENT_CLIENT_ID as printed at the start",
		"7b477e30-3989-4c12-926c-3945a59f761f": "404 agent 7b477e30… is unknown here: set AUTHSEC_AGENT_CLIENT_ID as printed at the start, or start with --client-id",
		strings.ToUpper(b.opts.clientID):       "404 the client ID must be in lower case with hyphens: set AUTHSEC_AGENT_CLIENT_ID as printed at the start",
	} {
		b.ask("GET", "https://authsec.test"+authsectest.EndpointPath+"?client_id="+id, "")
		b.logged("GET " + authsectest.EndpointPath + " " + want)
	}
}

// TestRateLimit also says that delegating does not count.
func TestRateLimit(t *testing.T) {
	b := newBench(t, "--rate-limit", "2")
	for range 3 {
		b.post("delegate-token", "")
	}
	for i, want := range []int{200, 200, 429} {
		if status, _ := b.get(); status != want {
			t.Errorf("request %d: got %d, want %d", i+1, status, want)
		}
	}
	b.logged("GET /uflow/sdk/delegation-token 429 over the limit of 2 requests a minute: wait a minute and ask less often, or set --rate-limit")
	b.post("delegate-token", "")

	b = newBench(t, "--rate-limit", "0")
	for range 200 {
		if status, _ := b.get(); status != 200 {
			t.Fatalf("--rate-limit 0: got %d, want 200", status)
		}
	}
}

func TestFailures(t *testing.T) {
	for flag, want := range map[string]struct {
		status  int
		message any
	}{
		"--fail=503":    {503, nil},
		"--fail=401":    {401, "Invalid or expired token"},
		"--fail=500":    {500, "Internal Server Error"},
		"--fail-rate=1": {503, nil},
	} {
		b := newBench(t, flag)
		if status, answer := b.get(); status != want.status || answer["error"] != want.message {
			t.Errorf("%s: got %d %v, want %d %v", flag, status, answer["error"], want.status, want.message)
		}
		b.logged("GET /uflow/sdk/delegation-token " + itoa(want.status) + " a failure, because of --fail or --fail-rate")
		if status, _, _ := b.call(b.post("delegate-token", "")["token"]); status != http.StatusOK {
			t.Errorf("%s: delegating and the API must not fail", flag)
		}
	}
	b := newBench(t, "--fail-rate", "0.5", "--fail", "502", "--rate-limit", "0")
	failed := 0
	for range 400 {
		if status, _ := b.get(); status == 502 {
			failed++
		}
	}
	if failed < 100 || failed > 300 { // 10 standard deviations
		t.Errorf("--fail-rate 0.5: %d of 400 failed", failed)
	}
}

func TestLatency(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, "--latency", "3s")
		began := time.Now()
		b.get()
		if took := time.Since(began); took != 3*time.Second {
			t.Errorf("took %v, want 3s", took)
		}
		client := &http.Client{Transport: b, Timeout: time.Second}
		if _, err := client.Get("https://authsec.test" + authsectest.EndpointPath); err == nil {
			t.Fatal("got an answer within 1s")
		}
		synctest.Wait()
		b.logged("GET " + authsectest.EndpointPath + " no answer: the client gave up, or the command ended")
	})
}

// TestLogHasNoToken sends a token where it does not belong.
func TestLogHasNoToken(t *testing.T) {
	b := newBench(t)
	token, _ := b.post("delegate-token", "")["token"].(string)
	b.ask("GET", "https://api.test/"+token+"?access_token="+token, "", "Authorization: Bearer "+token)
	b.ask("GET", "https://authsec.test/"+token, "", "Authorization: Bearer "+token)
	b.ask("GET", "https://authsec.test"+authsectest.EndpointPath+"?client_id="+token, "", "X-Client-ID: "+token)
	if log := b.log.String(); strings.Contains(log, token[:20]) || strings.Count(log, "\n") != 4 {
		t.Errorf("want 4 lines without a token, got %q", strings.ReplaceAll(log, token, "TOKEN"))
	}
}

// TestManyAtOnce is for the race detector.
func TestManyAtOnce(t *testing.T) {
	b := newBench(t, "--rate-limit", "0", "--fail-rate", "0.3")
	var wg sync.WaitGroup
	for range 20 {
		wg.Go(func() {
			for _, do := range []func(){
				func() { b.post("delegate-token", "ttl=1h") },
				func() { b.get() },
				func() { b.call("x.y.z") },
				func() { b.ask("POST", "https://authsec.test"+agentsPath+b.opts.clientID+"/revoke-token", "") },
			} {
				do()
			}
		})
	}
	wg.Wait()
	if got := strings.Count(b.log.String(), "\n"); got != 80 {
		t.Errorf("%d lines for 80 requests", got)
	}
}
