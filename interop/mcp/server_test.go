// Copyright 2026 The authsec Authors
// SPDX-License-Identifier: Apache-2.0

package mcp_test

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/authsec-go/authsec"
	"github.com/authsec-go/authsec/authsectest"
	"github.com/authsec-go/authsec/interop/internal/itest"
	"github.com/authsec-go/authsec/verify"
	"github.com/golang-jwt/jwt/v5"
	"github.com/modelcontextprotocol/go-sdk/auth"
	"github.com/modelcontextprotocol/go-sdk/mcp"
)

// protect puts an MCP server behind v.
func protect(v *verify.Verifier, server *mcp.Server, opts *mcp.StreamableHTTPOptions) http.Handler {
	// docs: begin mcp-server
	streamable := mcp.NewStreamableHTTPHandler(func(*http.Request) *mcp.Server { return server }, opts)
	judged := &auth.RequireBearerTokenOptions{AllowMissingExpiration: true} // v has judged the expiry
	handler := v.Handler(auth.RequireBearerToken(tokenInfo, judged)(streamable))
	// docs: end mcp-server
	return handler
}

// docs: begin mcp-server-info

// tokenInfo hands the claims to the tools, and binds each session to its agent.
func tokenInfo(ctx context.Context, _ string, _ *http.Request) (*auth.TokenInfo, error) {
	claims, ok := verify.FromContext(ctx)
	if !ok {
		return nil, errors.New("no verify.Verifier in front")
	}
	return &auth.TokenInfo{
		UserID: claims.Subject,
		Scopes: claims.Permissions,
		Extra:  map[string]any{"claims": claims},
	}, nil
}

// docs: end mcp-server-info

// refund is a tool that wants a permission.
func refund(_ context.Context, req *mcp.CallToolRequest, _ struct{}) (*mcp.CallToolResult, string, error) {
	// docs: begin mcp-server-tool
	if !slices.Contains(req.Extra.TokenInfo.Scopes, "billing:write") {
		return nil, "", errors.New("this agent's delegation lacks billing:write")
	}
	// docs: end mcp-server-tool
	return nil, "refunded", nil
}

// billing is an MCP server that verifies tokens.
func billing(t *testing.T, s *itest.Stack, stateless bool) http.Handler {
	v, err := verify.New(verify.Config{BaseURL: s.URL, Tenants: []string{authsectest.TenantID}, Audience: "billing-api", HTTPClient: s.Client()})
	if err != nil {
		t.Fatal(err)
	}
	server := mcp.NewServer(&mcp.Implementation{Name: "billing", Version: "1"}, nil)
	mcp.AddTool(server, &mcp.Tool{Name: "refund"}, refund)
	mcp.AddTool(server, &mcp.Tool{Name: "whoami"}, func(ctx context.Context, req *mcp.CallToolRequest, _ struct{}) (*mcp.CallToolResult, map[string]any, error) {
		claims := req.Extra.TokenInfo.Extra["claims"].(*authsec.Claims)
		inContext, _ := verify.FromContext(ctx)
		return nil, map[string]any{"permissions": req.Extra.TokenInfo.Scopes, "verified": claims.Verified, "id": claims.ID, "inContext": inContext.ID}, nil
	})
	return protect(v, server, &mcp.StreamableHTTPOptions{Stateless: stateless})
}

// who asks the server for the claims of the token that it sees.
func who(t *testing.T, ctx context.Context, session *mcp.ClientSession) (info struct {
	Permissions []string
	Verified    bool
	ID          string
	InContext   string
}) {
	t.Helper()
	result, err := session.CallTool(ctx, &mcp.CallToolParams{Name: "whoami"})
	if err != nil {
		t.Fatal(err)
	}
	text := result.Content[0].(*mcp.TextContent).Text
	if err := json.Unmarshal([]byte(text), &info); err != nil {
		t.Fatalf("%v: %s", err, text)
	}
	return info
}

// A tool gets the claims of the call's token, also in the middle of a session.
func TestServerSeesPermissions(t *testing.T) {
	for name, stateless := range modes {
		t.Run(name, func(t *testing.T) {
			ctx, s := itest.Timely(t), itest.New(t)
			api := s.Serve(t, billing(t, s, stateless))
			src, session, err := connect(ctx, s.Config(api.URL), api.URL)
			if err != nil {
				t.Fatal(err)
			}
			defer session.Close()

			first := who(t, ctx, session)
			if !first.Verified || !slices.Equal(first.Permissions, []string{"billing:read"}) {
				t.Errorf("a tool sees %+v, want the verified permissions billing:read", first)
			}
			result, err := session.CallTool(ctx, &mcp.CallToolParams{Name: "refund"})
			if err != nil || !result.IsError {
				t.Errorf("without the permission: %v, %v, want a result that is an error", result, err)
			}

			s.Permit(t, src, "billing:read", "billing:write")
			result, err = session.CallTool(ctx, &mcp.CallToolParams{Name: "refund"})
			if err != nil || result.IsError {
				t.Errorf("with the permission: %v, %v", result, err)
			}
			second := who(t, ctx, session)
			if second.ID == first.ID {
				t.Error("a tool sees the claims of an earlier token in TokenInfo")
			}
			// In a session, a tool's context is that of the session's first request.
			if stale := second.InContext == first.ID; stale == stateless {
				t.Errorf("the context has the session's first claims: %t, want %t", stale, !stateless)
			}

			s.Permit(t, src, "billing:read")
			result, err = session.CallTool(ctx, &mcp.CallToolParams{Name: "refund"})
			if err != nil || !result.IsError {
				t.Errorf("after the permission was revoked: %v, %v, want a result that is an error", result, err)
			}
		})
	}
}

const initialize = `{"jsonrpc":"2.0","id":1,"method":"initialize","params":{"protocolVersion":"2025-06-18","capabilities":{},"clientInfo":{"name":"x","version":"1"}}}`

// post sends one message, and returns the answer without its body.
func post(t *testing.T, ctx context.Context, url, authorization, session, body string) *http.Response {
	t.Helper()
	req, err := http.NewRequestWithContext(ctx, "POST", url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Accept", "application/json, text/event-stream")
	if authorization != "" {
		req.Header.Set("Authorization", authorization)
	}
	if session != "" {
		req.Header.Set("Mcp-Session-Id", session)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	return resp
}

func TestServerRejectsBadTokens(t *testing.T) {
	const client = "9b477e30-3989-4c12-926c-3945a59f7620"
	ctx, s := itest.Timely(t), itest.New(t)
	api := s.Serve(t, billing(t, s, false))
	issue := func(d authsectest.Delegation) string { return "Bearer " + s.Server.Delegate(client, d) }
	good := issue(authsectest.Delegation{Audience: itest.Audience})
	unsigned, err := jwt.NewWithClaims(jwt.SigningMethodNone, jwt.MapClaims{
		"iss": "spiffe://" + authsectest.TenantID, "aud": itest.Audience, "exp": time.Now().Add(time.Hour).Unix(),
	}).SignedString(jwt.UnsafeAllowNoneSignatureType)
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		authorization string
		want          int
		challenge     string
	}{
		"good":             {good, http.StatusOK, ""},
		"none":             {"", http.StatusUnauthorized, `Bearer realm="authsec"`},
		"garbage":          {"Bearer garbage", http.StatusUnauthorized, "invalid_token"},
		"changed":          {good[:len(good)-8] + "AAAAAAAA", http.StatusUnauthorized, "invalid_token"},
		"unsigned":         {"Bearer " + unsigned, http.StatusUnauthorized, "invalid_token"},
		"another audience": {issue(authsectest.Delegation{}), http.StatusUnauthorized, "invalid_token"},
		"expired":          {issue(authsectest.Delegation{Audience: itest.Audience, TTL: -time.Minute}), http.StatusUnauthorized, "invalid_token"},
	} {
		t.Run(name, func(t *testing.T) {
			resp := post(t, ctx, api.URL, c.authorization, "", initialize)
			challenge := resp.Header.Get("WWW-Authenticate")
			if resp.StatusCode != c.want || !strings.Contains(challenge, c.challenge) {
				t.Errorf("answer %s, challenge %q, want %d and %q", resp.Status, challenge, c.want, c.challenge)
			}
		})
	}
}

// An agent can't use another's session, whatever its token permits.
func TestServerBindsSessionToAgent(t *testing.T) {
	const other = "9b477e30-3989-4c12-926c-3945a59f7620"
	ctx, s := itest.Timely(t), itest.New(t)
	api := s.Serve(t, billing(t, s, false))
	bearer := func(id string) string {
		return "Bearer " + s.Server.Delegate(id, authsectest.Delegation{Audience: itest.Audience})
	}
	session := post(t, ctx, api.URL, bearer(authsectest.ClientID), "", initialize).Header.Get("Mcp-Session-Id")
	if session == "" {
		t.Fatal("no session")
	}
	const initialized = `{"jsonrpc":"2.0","method":"notifications/initialized"}`
	for _, c := range []struct {
		id   string
		want int
	}{{other, http.StatusForbidden}, {authsectest.ClientID, http.StatusAccepted}} {
		if resp := post(t, ctx, api.URL, bearer(c.id), session, initialized); resp.StatusCode != c.want {
			t.Errorf("agent %s… gets %s, want %d", c.id[:8], resp.Status, c.want)
		}
	}
}
