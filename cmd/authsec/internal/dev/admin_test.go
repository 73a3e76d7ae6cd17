// Copyright 2026 The authsec Authors
// SPDX-License-Identifier: Apache-2.0

package dev

import (
	"net/http"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/authsec-go/authsec/authsectest"
)

func TestDelegateTakesManySpellings(t *testing.T) {
	byDefault := authsectest.Delegation{Permissions: []string{"a:b"}, Audience: []string{"api"}, TTL: time.Hour}
	for _, c := range []struct {
		body, query string
		want        authsectest.Delegation
		ignored     string
	}{
		{"", "", byDefault, ""},
		{"{}", "", byDefault, ""},
		{`{"agent_type":"mcp-agent","audience":["x"],"ttl_seconds":90}`, "", authsectest.Delegation{Permissions: []string{"a:b"}, Audience: []string{"x"}, TTL: 90 * time.Second}, ""},
		{`{"permissions":["c:d","e:f"],"audience":"x y","duration":"2m"}`, "", authsectest.Delegation{Permissions: []string{"c:d", "e:f"}, Audience: []string{"x", "y"}, TTL: 2 * time.Minute}, ""},
		{` {"permissions":null,"audience":null,"ttl":null}`, "", authsectest.Delegation{TTL: time.Hour}, ""},
		{`{"permissions":[],"ttl":0}`, "", authsectest.Delegation{Permissions: []string{}, Audience: []string{"api"}, TTL: time.Hour}, ""},
		{`{"Permissions":"c:d","policy":7,"note":"x"}`, "", authsectest.Delegation{Permissions: []string{"c:d"}, Audience: []string{"api"}, TTL: time.Hour}, "note policy"},
		{"permissions=c:d,e:f&audience=x&ttl=90", "", authsectest.Delegation{Permissions: []string{"c:d", "e:f"}, Audience: []string{"x"}, TTL: 90 * time.Second}, ""},
		{"permissions=c:d&permissions=e:f&ttl=1.5s", "", authsectest.Delegation{Permissions: []string{"c:d", "e:f"}, Audience: []string{"api"}, TTL: 1500 * time.Millisecond}, ""},
		{"permissions=", "ttl=10s", authsectest.Delegation{Permissions: []string{}, Audience: []string{"api"}, TTL: 10 * time.Second}, ""},
		{"scope=c%3Ad+e:f", "", authsectest.Delegation{Permissions: []string{"c:d", "e:f"}, Audience: []string{"api"}, TTL: time.Hour}, ""},
	} {
		set, err := readSettings([]byte(c.body), c.query)
		if err != nil {
			t.Errorf("%s: %v", c.body, err)
			continue
		}
		got, ignored, err := set.apply(byDefault)
		same := func(a, b []string) bool { return slices.Equal(a, b) && (a == nil) == (b == nil) }
		if err != nil || !same(got.Permissions, c.want.Permissions) || !same(got.Audience, c.want.Audience) || got.TTL != c.want.TTL {
			t.Errorf("%s: got %+v, %v, want %+v", c.body, got, err, c.want)
		}
		if strings.Join(ignored, " ") != c.ignored {
			t.Errorf("%s: ignored %q, want %q", c.body, ignored, c.ignored)
		}
	}
}

func TestDelegateSaysWhatIsWrong(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		in2026()
		b := newBench(t, "--generation", newer)
		_, before, _ := b.ask("GET", "https://authsec.test"+authsectest.EndpointPath+"?client_id="+b.opts.clientID, "", "Authorization: Bearer "+credential)
		for body, want := range map[string]string{
			`{"ttl":`:                         "Invalid request: it is malformed JSON",
			"%zz":                             "Invalid request: it is neither a form nor JSON",
			"ttl=soon":                        `Invalid request: ttl is no duration: write seconds such as 90, or a text such as "90s" or "1h"`,
			`{"ttl":true}`:                    `Invalid request: ttl is no duration: write seconds such as 90, or a text such as "90s" or "1h"`,
			"ttl=-5":                          "Invalid request: ttl -5s is too short: at least 1s",
			"ttl=25h":                         "Invalid request: ttl 25h0m0s is too long: the newer generation permits at most 24h0m0s",
			`{"permissions":[1]}`:             `Invalid request: permissions is no list of texts: write "a b", or ["a","b"] in JSON`,
			`{"audience":{}}`:                 `Invalid request: audience is no list of texts: write "a b", or ["a","b"] in JSON`,
			strings.Repeat("a", maxRequest+1): "Invalid request: the body can't be read, or has more than 65536 bytes",
		} {
			status, answer, _ := b.ask("POST", "https://authsec.test"+agentsPath+b.opts.clientID+"/delegate-token", body)
			if status != http.StatusBadRequest || answer["error"] != want {
				t.Errorf("%.20s: got %d %v, want 400 %q", body, status, answer["error"], want)
			}
		}
		_, after, _ := b.ask("GET", "https://authsec.test"+authsectest.EndpointPath+"?client_id="+b.opts.clientID, "", "Authorization: Bearer "+credential)
		if before["token"] == nil || before["token"] != after["token"] {
			t.Error("a malformed request changed the delegation")
		}
	})
}

// TestDelegateAnswersAsARealServer checks the fields of the real server's answer.
func TestDelegateAnswersAsARealServer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		in2026()
		b := newBench(t)
		answer := b.post("delegate-token", `{"agent_type":"test","audience":["authsec-api"],"ttl_seconds":60}`)
		token, _ := answer["token"].(string)
		if strings.Count(token, ".") != 2 {
			t.Error("the answer has no JWT")
		}
		delete(answer, "token")
		for name, want := range map[string]any{
			"spiffe_id":   "spiffe://example.org/tenants/" + authsectest.TenantID + "/agents/test/" + b.opts.clientID,
			"expires_at":  "2026-05-21T07:26:36Z",
			"ttl_seconds": 60.0,
		} {
			if answer[name] != want {
				t.Errorf("%s: got %v, want %v", name, answer[name], want)
			}
		}
		if texts(answer["permissions"]) != "billing:read users:read" || texts(answer["audience"]) != "authsec-api" || len(answer) != 5 {
			t.Errorf("got %v", answer)
		}
		b.logged("POST " + agentsPath + b.opts.clientID + "/delegate-token 200 delegated billing:read users:read, for 1m, audience authsec-api")
	})
}

func TestAdminPathsOfOthers(t *testing.T) {
	b := newBench(t)
	path := agentsPath + b.opts.clientID
	for _, c := range []struct {
		method, path, header string
		status               int
		message, logged      string
	}{
		{"POST", agentsPath + "x/revoke-token", "", 400, "Invalid agent ID", "Invalid agent ID"},
		{"POST", agentsPath + "7b477e30-3989-4c12-926c-3945a59f761f/delegate-token", "", 404, "Agent not found",
			"Agent not found: the only agent is the one of the curl lines printed at the start"},
		{"POST", path + "/revoke-token", "Sec-Fetch-Site: cross-site", 403, "", webPage},
		{"GET", path + "/revoke-token", "", 404, "", "there is no such path, or it wants another method: the AuthSec server's URL is printed at the start"},
		{"POST", path + "/revoke", "", 404, "", "there is no such path, or it wants another method: the AuthSec server's URL is printed at the start"},
		{"POST", "/uflow/admin/agents/" + b.opts.clientID + "/revoke-token", "", 200, "", "revoked; the API rejects all earlier tokens"},
		{"POST", path + "/revoke-token", "", 404, "No active delegation token found for this agent",
			"No active delegation token found for this agent: there is nothing to revoke"},
		{"POST", agentsPath + strings.ToUpper(b.opts.clientID) + "/delegate-token", "", 200, "", "delegated billing:read users:read, for 1h, audience authsec-api"},
	} {
		status, answer, _ := b.ask(c.method, "https://authsec.test"+c.path, "", c.header)
		if message, _ := answer["error"].(string); status != c.status || message != c.message {
			t.Errorf("%s %s: got %d %q, want %d %q", c.method, c.path, status, message, c.status, c.message)
		}
		b.logged(c.method + " " + c.path + " " + itoa(c.status) + " " + c.logged)
	}
}

// TestWebPagesGetNothing is about a page of a browser on this machine, also one whose
// name points at this machine (DNS rebinding).
func TestWebPagesGetNothing(t *testing.T) {
	b := newBench(t)
	path := agentsPath + b.opts.clientID
	token, _ := b.post("delegate-token", "")["token"].(string)
	for _, c := range []struct{ method, url, header string }{
		{"GET", "https://rebound.test" + authsectest.EndpointPath + "?client_id=" + b.opts.clientID, ""},
		{"GET", "https://authsec.test" + authsectest.EndpointPath + "?client_id=" + b.opts.clientID, "Origin: https://evil.test"},
		{"POST", "https://rebound.test" + path + "/delegate-token", ""},
		{"POST", "https://authsec.test" + path + "/revoke-token", "Origin: null"},
		{"GET", "https://api.test/", "Sec-Fetch-Site: cross-site"},
	} {
		if status, _, _ := b.ask(c.method, c.url, "", c.header, "Authorization: Bearer "+token); status != http.StatusForbidden {
			t.Errorf("%s %s, %q: got %d, want 403", c.method, c.url, c.header, status)
		}
		if got := b.log.last(); !strings.HasSuffix(got, " 403 "+webPage) {
			t.Errorf("logged %q, want what to do", got)
		}
	}
	if status, _ := b.get(); status != http.StatusOK {
		t.Errorf("afterwards a program gets %d, want 200", status)
	}
}

// TestRevokeAfterExpiry also tells that there is nothing to revoke.
func TestRevokeAfterExpiry(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, "--lifetime", "5s")
		time.Sleep(6 * time.Second)
		status, _, _ := b.ask("POST", "https://authsec.test"+agentsPath+b.opts.clientID+"/revoke-token", "")
		if status != http.StatusNotFound {
			t.Errorf("got %d, want 404", status)
		}
	})
}
