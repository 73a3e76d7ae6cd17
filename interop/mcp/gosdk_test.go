// Copyright 2026 The authsec Authors
// SPDX-License-Identifier: Apache-2.0

// Package mcp_test uses MCP clients and servers with delegation tokens.
package mcp_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"testing"

	"github.com/authsec-go/authsec"
	"github.com/authsec-go/authsec/interop/internal/itest"
	"github.com/modelcontextprotocol/go-sdk/mcp"
	"golang.org/x/oauth2"
)

// invoices is an MCP server with one tool.
func invoices(stateless bool) http.Handler {
	server := mcp.NewServer(&mcp.Implementation{Name: "billing", Version: "1"}, nil)
	mcp.AddTool(server, &mcp.Tool{Name: "invoices"}, func(context.Context, *mcp.CallToolRequest, struct{}) (*mcp.CallToolResult, string, error) {
		return nil, "3 invoices", nil
	})
	return mcp.NewStreamableHTTPHandler(func(*http.Request) *mcp.Server { return server }, &mcp.StreamableHTTPOptions{Stateless: stateless})
}

// use calls the tool.
func use(ctx context.Context, session *mcp.ClientSession) error {
	result, err := session.CallTool(ctx, &mcp.CallToolParams{Name: "invoices"})
	if err == nil && (result.IsError || result.StructuredContent != "3 invoices") {
		return fmt.Errorf("result: %v", result.StructuredContent)
	}
	return err
}

// connect opens a session without an OAuthHandler.
func connect(ctx context.Context, cfg authsec.Config, url string) (*authsec.Source, *mcp.ClientSession, error) {
	// docs: begin mcp-go-sdk
	client, err := authsec.NewClient(cfg)
	if err != nil {
		return nil, nil, err
	}
	transport := &mcp.StreamableClientTransport{Endpoint: url, HTTPClient: client}
	session, err := mcp.NewClient(&mcp.Implementation{Name: "agent", Version: "1"}, nil).Connect(ctx, transport, nil)
	// docs: end mcp-go-sdk
	return itest.SourceOf(client), session, err
}

// connectKept opens a session that a rejected token does not end.
func connectKept(ctx context.Context, cfg authsec.Config, url string) (*authsec.Source, *mcp.ClientSession, error) {
	// docs: begin mcp-go-sdk-kept
	src, err := authsec.NewSource(cfg)
	if err != nil {
		return nil, nil, err
	}
	transport := &mcp.StreamableClientTransport{
		Endpoint:     url,
		HTTPClient:   &http.Client{Transport: &authsec.Transport{Source: src, Hosts: cfg.Hosts}},
		OAuthHandler: keepSession{src},
	}
	// docs: end mcp-go-sdk-kept
	session, err := mcp.NewClient(&mcp.Implementation{Name: "agent", Version: "1"}, nil).Connect(ctx, transport, nil)
	return src, session, err
}

// docs: begin mcp-go-sdk-keep

// keepSession makes only the rejected call fail. Without it the session ends.
type keepSession struct{ src *authsec.Source }

// TokenSource returns none: the http.Client adds the token.
func (keepSession) TokenSource(context.Context) (oauth2.TokenSource, error) { return nil, nil }

// Authorize is called for a 401 or 403 that another token did not mend.
func (k keepSession) Authorize(ctx context.Context, _ *http.Request, resp *http.Response) error {
	resp.Body.Close()
	if _, err := k.src.TokenContext(ctx); err != nil {
		return err // such as authsec.ErrNotDelegated
	}
	return fmt.Errorf("the MCP server rejects the token: %s", resp.Status)
}

// docs: end mcp-go-sdk-keep

// modes are the two kinds of servers. With one, requests belong to a session.
var modes = map[string]bool{"session": false, "stateless": true}

// The SDK ends the session at a 401, if there is no other token. A new session works.
func TestGoSDK(t *testing.T) {
	for name, stateless := range modes {
		t.Run(name, func(t *testing.T) {
			ctx, s := itest.Timely(t), itest.New(t)
			api := s.API(t, invoices(stateless), "billing:read")
			cfg := s.Config(api.URL)
			src, session, err := connect(ctx, cfg, api.URL)
			if err != nil {
				t.Fatal(err)
			}
			defer func() { session.Close() }()
			if err := use(ctx, session); err != nil {
				t.Fatal(err)
			}
			s.CheckSeen(t)

			s.Revoke()
			err = use(ctx, session)
			if err == nil || errors.Is(err, authsec.ErrNotDelegated) {
				t.Errorf("after the revocation: %v, want the SDK's error for the 401", err)
			}
			t.Logf("revoked: %v", err)
			s.CheckNoToken(t, fmt.Sprint(err))
			before := s.Requests()
			err = use(ctx, session)
			if !errors.Is(err, mcp.ErrConnectionClosed) {
				t.Errorf("the session after a 401: %v, want %v", err, mcp.ErrConnectionClosed)
			}
			if n := s.Requests() - before; n != 0 {
				t.Errorf("%d requests in a session that has ended, want 0", n)
			}
			t.Logf("the session after that: %v", err)
			_, _, err = connect(ctx, cfg, api.URL)
			s.CheckNotDelegated(t, err)

			s.Redelegate(t, src)
			_, session, err = connect(ctx, cfg, api.URL)
			if err != nil {
				t.Fatal(err)
			}
			if err := use(ctx, session); err != nil {
				t.Fatal(err)
			}
			s.CheckSeen(t)
		})
	}
}

// If there is a new delegation already, the session goes on without an OAuthHandler, too.
func TestGoSDKReplacesToken(t *testing.T) {
	for name, stateless := range modes {
		t.Run(name, func(t *testing.T) {
			ctx, s := itest.Timely(t), itest.New(t)
			api := s.API(t, invoices(stateless), "billing:read")
			_, session, err := connect(ctx, s.Config(api.URL), api.URL)
			if err != nil {
				t.Fatal(err)
			}
			defer session.Close()
			id := session.ID()
			s.Replace(t, func() error { return use(ctx, session) })
			if got := session.ID(); got != id {
				t.Errorf("session %q, want %q", got, id)
			}
		})
	}
}

func TestGoSDKKeepsSession(t *testing.T) {
	for name, stateless := range modes {
		t.Run(name, func(t *testing.T) {
			ctx, s := itest.Timely(t), itest.New(t)
			api := s.API(t, invoices(stateless), "billing:read")
			src, session, err := connectKept(ctx, s.Config(api.URL), api.URL)
			if err != nil {
				t.Fatal(err)
			}
			defer session.Close()
			id := session.ID()
			rejected, without := s.Live(t, src, func() error { return use(ctx, session) })
			s.CheckNotDelegated(t, rejected)
			s.CheckNotDelegated(t, without)
			if got := session.ID(); got != id || stateless != (id == "") {
				t.Errorf("session %q, want %q", got, id)
			}
		})
	}
}

// After a 403, the session goes on and the token stays in use.
func TestGoSDKKeepsSessionWhenForbidden(t *testing.T) {
	ctx, s := itest.Timely(t), itest.New(t)
	forbid := make(chan struct{}, 1)
	next := invoices(false)
	api := s.API(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		select {
		case <-forbid:
			http.Error(w, "no", http.StatusForbidden)
		default:
			next.ServeHTTP(w, r)
		}
	}))
	_, session, err := connectKept(ctx, s.Config(api.URL), api.URL)
	if err != nil {
		t.Fatal(err)
	}
	defer session.Close()
	forbid <- struct{}{}
	if err := use(ctx, session); err == nil || errors.Is(err, authsec.ErrNotDelegated) {
		t.Errorf("after a 403: %v, want an error that is not ErrNotDelegated", err)
	}
	if err := use(ctx, session); err != nil {
		t.Errorf("after a 403: %v", err)
	}
}
