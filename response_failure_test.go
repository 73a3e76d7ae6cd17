// Copyright 2026 The authsec Authors
// SPDX-License-Identifier: Apache-2.0

package authsec_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/authsec-go/authsec"
	"github.com/authsec-go/authsec/authsectest"
	"golang.org/x/oauth2"
)

func TestEveryFailureSaysWhatItIsAndWhatToDo(t *testing.T) {
	const url = "https://authsec.test/authsec/uflow/sdk/delegation-token"
	longWord := strings.Repeat("x", 5000)
	for _, tt := range []struct {
		claim      string
		status     int
		body       string
		headers    []string
		credential bool
		message    string
		is         []string
		texts      []string
	}{
		{claim: "no client ID", status: 400, body: `{"error":"client_id is required (query param or X-Client-ID header)"}`,
			message: "client_id is required (query param or X-Client-ID header)", is: []string{"ErrInvalidClientID"}, texts: []string{"400 Bad Request", "client ID"}},
		{claim: "no UUID", status: 400, body: `{"error":"Invalid client_id format"}`,
			message: "Invalid client_id format", is: []string{"ErrInvalidClientID"}, texts: []string{"does not accept its client ID"}},
		{claim: "a 400 of another server", status: 400, body: "<html>Bad Request</html>", is: []string{"ErrInvalidResponse"}, texts: []string{url, "check the base URL"}},
		{claim: "newer server, no credential", status: 401, body: `{"error":"Authorization header is required"}`,
			message: "Authorization header is required", is: []string{"ErrUnauthorized"}, texts: []string{"Config.Credential", "AUTHSEC_API_TOKEN"}},
		{claim: "newer server, bad credential", status: 401, body: `{"error":"invalid token"}`, credential: true,
			message: "invalid token", is: []string{"ErrUnauthorized"}, texts: []string{"rejected Config.Credential's token"}},
		{claim: "forbidden", status: 403, body: `{"error":"forbidden"}`, credential: true, message: "forbidden", is: []string{"ErrUnauthorized"}},
		{claim: "unknown agent, or no database", status: 404, body: `{"error":"Client not found","details":"client_id ` + ourID + ` not found in tenant_mappings"}`,
			message: "Client not found", is: []string{"ErrNotDelegated"}, texts: []string{"check the client ID", "admin must delegate", "database is away"}},
		{claim: "none delegated", status: 404, body: `{"error":"No active delegation token found","details":"An admin must delegate a token first via POST /uflow/admin/agents/:id/delegate-token"}`,
			message: "No active delegation token found", is: []string{"ErrNotDelegated"}, texts: []string{"admin must delegate"}},
		{claim: "expired", status: 410, body: `{"error":"Delegation token has expired","expired_at":"2026-11-23T08:31:34.968929Z","details":"Admin must re-delegate via POST /uflow/admin/agents/` + ourID + `/delegate-token"}`,
			message: "Delegation token has expired", is: []string{"ErrNotDelegated", "ErrDelegationExpired"}, texts: []string{"has expired", "admin must delegate", "again"}},
		{claim: "HTML 404", status: 404, body: "<html><title>404</title></html>", is: []string{"ErrInvalidResponse"}, texts: []string{url, "check the base URL"}},
		{claim: "empty 404", status: 404, is: []string{"ErrInvalidResponse"}, texts: []string{url, "check the base URL"}},
		{claim: "JSON 404 in other words", status: 404, body: `{"error":"route not found"}`, message: "route not found", is: []string{"ErrInvalidResponse"}, texts: []string{url, "check the base URL"}},
		{claim: "JSON 404 with other fields", status: 404, body: `{"message":"No active delegation token found"}`, is: []string{"ErrInvalidResponse"}, texts: []string{url, "check the base URL"}},
		{claim: "404 that begins like AuthSec's", status: 404, body: `{"error":"No active delegation token found"} trailing`, is: []string{"ErrInvalidResponse"}, texts: []string{url}},
		{claim: "HTML 410", status: 410, body: "<html>gone</html>", is: []string{"ErrInvalidResponse"}, texts: []string{url, "check the base URL"}},
		{claim: "rate limit", status: 429, body: `{"error":"Rate limit exceeded","limit":100,"message":"Maximum 100 requests per 1m0s allowed.","window":"1m0s"}`,
			message: "Rate limit exceeded", is: []string{"ErrRateLimited"}, texts: []string{"no more requests for now"}},
		{claim: "database", status: 500, body: `{"error":"Failed to connect to tenant database"}`, message: "Failed to connect to tenant database", texts: []string{url, "can't answer for now", "Failed to connect to tenant database"}},
		{claim: "HTML 502", status: 502, body: "<html><h1>502 Bad Gateway</h1></html>", texts: []string{url, "502 Bad Gateway"}},
		{claim: "HTML 503", status: 503, body: "<html>Service Unavailable</html>", texts: []string{url, "503"}},
		{claim: "HTML 504", status: 504, body: "<html>Gateway Timeout</html>", texts: []string{url, "504"}},
		{claim: "an unknown status", status: 599, body: "", texts: []string{"599"}},
		{claim: "no content", status: 204, is: []string{"ErrInvalidResponse"}, texts: []string{"check the base URL"}},
		{claim: "not modified", status: 304, is: []string{"ErrInvalidResponse"}, texts: []string{"check the base URL"}},
		{claim: "teapot", status: 418, body: `{"error":5,"details":["x"]}`, is: []string{"ErrInvalidResponse"}, texts: []string{"418"}},
		{claim: "a long text is cut", status: 500, body: `{"error":"` + longWord + `"}`, message: longWord[:512] + "…"},
		{claim: "control characters are replaced", status: 500, body: `{"error":"a\u001b[31m\nb\u202ec"}`, message: "a [31m b c"},

		{claim: "302", status: 302, headers: []string{"Location", "https://bob:hunter2@login.example.com/sso?client_id=" + ourID + "&code=q#frag"},
			is: []string{"ErrInvalidResponse"}, texts: []string{"https://login.example.com/sso,", "not followed", "base URL"}},
		{claim: "301", status: 301, headers: []string{"Location", "https://new.example.com/x"}, is: []string{"ErrInvalidResponse"}, texts: []string{"https://new.example.com/x"}},
		{claim: "303", status: 303, headers: []string{"Location", "https://new.example.com/x"}, is: []string{"ErrInvalidResponse"}, texts: []string{"https://new.example.com/x"}},
		{claim: "307", status: 307, headers: []string{"Location", "https://new.example.com/x"}, is: []string{"ErrInvalidResponse"}, texts: []string{"https://new.example.com/x"}},
		{claim: "308, relative", status: 308, headers: []string{"Location", "/v2/token?x"}, is: []string{"ErrInvalidResponse"}, texts: []string{"https://authsec.test/v2/token"}},
		{claim: "redirect with the ID in its path", status: 308, headers: []string{"Location", "https://x.example/" + strings.ToUpper(ourID)}, is: []string{"ErrInvalidResponse"}, texts: []string{"https://x.example/"}},
		{claim: "malformed Location", status: 302, headers: []string{"Location", "http://[::1/%zz?" + ourID}, is: []string{"ErrInvalidResponse"}, texts: []string{"a malformed URL", "not followed"}},
		{claim: "302 without Location", status: 302, is: []string{"ErrInvalidResponse"}, texts: []string{"check the base URL"}},
	} {
		inBubble(t, tt.claim, func(t *testing.T) {
			src := endpointSource(t, authsectest.Answer(tt.status, tt.body, tt.headers...), func(c *authsec.Config) {
				if tt.credential {
					c.Credential = oauth2.StaticTokenSource(&oauth2.Token{AccessToken: "caller"})
				}
			})
			token, err := src.Token()
			if err == nil || token != nil {
				t.Fatalf("Token: a token: %t, error %v, want none and an error", token != nil, err)
			}
			checkRefusal(t, err, tt.status, tt.message, tt.is, tt.texts...)
			for _, word := range []string{"hunter2", "code=q", "#frag", "?", strings.ToUpper(ourID)} {
				if tt.status/100 == 3 && strings.Contains(err.Error(), word) {
					t.Errorf("error is %q, want no %q of the redirect in it", err, word)
				}
			}
		})
	}
}

func TestDetailsAreTheServersWithoutTheClientID(t *testing.T) {
	bubble(t, func(t *testing.T) {
		src := endpointSource(t, authsectest.Answer(404, `{"error":"Client not found","details":"client_id `+strings.ToUpper(ourID)+` not found in tenant_mappings"}`))
		_, err := src.Token()
		var e *authsec.Error
		if want := "client_id 9b477e30… not found in tenant_mappings"; !errors.As(err, &e) || e.Details != want {
			t.Errorf("Details of %v, want %q", err, want)
		}
	})
}
