// Copyright 2026 The authsec Authors
// SPDX-License-Identifier: Apache-2.0

package mcp_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"testing"

	"github.com/authsec-go/authsec"
	"github.com/authsec-go/authsec/authsectest"
	"github.com/authsec-go/authsec/interop/internal/itest"
	"github.com/authsec-go/authsec/verify"
	"github.com/mark3labs/mcp-go/client"
	"github.com/mark3labs/mcp-go/client/transport"
	"github.com/mark3labs/mcp-go/mcp"
	"github.com/mark3labs/mcp-go/server"
)

// mcpGoServer is an MCP server with one tool, which answers with the claims in its
// context.
func mcpGoServer() http.Handler {
	s := server.NewMCPServer("billing", "1")
	s.AddTool(mcp.NewTool("whoami"), func(ctx context.Context, _ mcp.CallToolRequest) (*mcp.CallToolResult, error) {
		id := "unknown"
		if claims, ok := verify.FromContext(ctx); ok {
			id = claims.ID
		}
		return mcp.NewToolResultText(id), nil
	})
	return server.NewStreamableHTTPServer(s)
}

// connectMCPGo opens a session with mcp-go.
func connectMCPGo(ctx context.Context, cfg authsec.Config, url string, opts ...client.ClientOption) (*authsec.Source, *client.Client, error) {
	// docs: begin mcp-mcp-go
	httpClient, err := authsec.NewClient(cfg)
	if err != nil {
		return nil, nil, err
	}
	t, err := transport.NewStreamableHTTP(url, transport.WithHTTPBasicClient(httpClient))
	if err != nil {
		return nil, nil, err
	}
	c := client.NewClient(t, opts...)
	_, err = c.Initialize(ctx, mcp.InitializeRequest{})
	// docs: end mcp-mcp-go
	return itest.SourceOf(httpClient), c, err
}

// useMCPGo calls the tool and returns its answer.
func useMCPGo(ctx context.Context, c *client.Client) (string, error) {
	result, err := c.CallTool(ctx, mcp.CallToolRequest{Params: mcp.CallToolParams{Name: "whoami"}})
	if err != nil {
		return "", err
	}
	text, ok := result.Content[0].(mcp.TextContent)
	if !ok || result.IsError {
		return "", fmt.Errorf("result: %v", result.Content)
	}
	return text.Text, nil
}

// protocols are the two generations of MCP. In the older one, requests belong to a
// session.
var protocols = map[string][]client.ClientOption{"newest": nil, "session": {client.WithProtocolVersion("2025-11-25")}}

// The same client works again after the delegation ended and another began.
func TestMCPGo(t *testing.T) {
	for name, opts := range protocols {
		t.Run(name, func(t *testing.T) {
			ctx, s := itest.Timely(t), itest.New(t)
			api := s.API(t, mcpGoServer(), "billing:read")
			src, c, err := connectMCPGo(ctx, s.Config(api.URL), api.URL, opts...)
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			t.Logf("protocol %s, session %t", c.ProtocolVersion(), c.GetSessionId() != "")
			call := func() error { _, err := useMCPGo(ctx, c); return err }
			rejected, without := s.Live(t, src, call)
			if !errors.Is(rejected, transport.ErrAuthorizationRequired) {
				t.Errorf("after the revocation: %v, want %v", rejected, transport.ErrAuthorizationRequired)
			}
			s.CheckNotDelegated(t, without)
		})
	}
}

func TestMCPGoReplacesToken(t *testing.T) {
	ctx, s := itest.Timely(t), itest.New(t)
	api := s.API(t, mcpGoServer(), "billing:read")
	_, c, err := connectMCPGo(ctx, s.Config(api.URL), api.URL)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	s.Replace(t, func() error { _, err := useMCPGo(ctx, c); return err })
}

// A server of mcp-go behind a verify.Verifier: a tool's context is that of the call.
func TestMCPGoServer(t *testing.T) {
	for name, opts := range protocols {
		t.Run(name, func(t *testing.T) {
			ctx, s := itest.Timely(t), itest.New(t)
			v, err := verify.New(verify.Config{BaseURL: s.URL, Tenants: []string{authsectest.TenantID}, Audience: "billing-api", HTTPClient: s.Client()})
			if err != nil {
				t.Fatal(err)
			}
			mayRead := verify.RequirePermissions("billing:read")
			api := s.Serve(t, v.Handler(mayRead(mcpGoServer())))
			src, c, err := connectMCPGo(ctx, s.Config(api.URL), api.URL, opts...)
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			seen := map[string]bool{}
			for range 2 {
				id, err := useMCPGo(ctx, c)
				if err != nil {
					t.Fatal(err)
				}
				seen[id] = true
				s.Redelegate(t, src)
			}
			if len(seen) != 2 || seen["unknown"] {
				t.Errorf("two calls with two tokens: the tool saw %v", seen)
			}
			if resp := post(t, ctx, api.URL, "", "", initialize); resp.StatusCode != http.StatusUnauthorized {
				t.Errorf("without a token: %s, want 401", resp.Status)
			}
		})
	}
}
