// Copyright 2026 The authsec Authors
// SPDX-License-Identifier: Apache-2.0

package mcp

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"time"

	"github.com/authsec-go/authsec"
	"github.com/authsec-go/authsec/cmd/authsec/internal/cli"
	"github.com/authsec-go/authsec/internal/conn"
	"github.com/authsec-go/authsec/internal/hosts"
	"github.com/spf13/cobra"
)

const (
	defaultLinger = time.Second
	maxMessage    = 64 << 20 // bytes, in both directions
	maxHops       = 5
	maxIdle       = 100 // connections to the MCP server that are kept
)

func connectCommand() *cobra.Command {
	linger := defaultLinger
	cmd := &cobra.Command{
		Use:   "connect URL",
		Short: "Connect an MCP host to a protected MCP server, with this agent's delegation",
		Long: `Connect an MCP host to a protected MCP server, with this agent's delegation.

An MCP host starts it as a server on standard input and output. It carries the host's
messages to the MCP server at URL (streamable HTTP) and back, and adds the token. The
host and the model never see the token. The agent and its AuthSec server come from
AUTHSEC_BASE_URL and AUTHSEC_AGENT_CLIENT_ID.

If the delegation is revoked, calls fail with an error that says so. The session goes
on after an admin has delegated again. Messages about that go to standard error.`,
		Example: `  authsec mcp connect https://billing.example.com/mcp`,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) != 1 {
				return cli.Advise(cli.Usagef("want one URL, that of the MCP server"), "write it like this: authsec mcp connect https://billing.example.com/mcp")
			}
			return nil
		},
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE: func(cmd *cobra.Command, args []string) error {
			if linger < 0 {
				return cli.Usagef("--linger %v is negative", linger)
			}
			b, err := newBridge(cmd, args[0])
			if err != nil {
				return err
			}
			b.linger = linger
			return b.run(cmd.Context(), cmd.InOrStdin())
		},
	}
	cmd.Flags().DurationVar(&linger, "linger", linger, "how long calls may go on after the end of standard input; MCP hosts commonly wait for 2s")
	return cmd
}

// newBridge returns a bridge to the MCP server at rawURL.
func newBridge(cmd *cobra.Command, rawURL string) (*bridge, error) {
	base := conn.New()
	base.MaxIdleConnsPerHost = maxIdle
	u, err := hosts.ParseURL(rawURL, "https://billing.example.com/mcp")
	switch {
	case err != nil:
		return nil, cli.Usagef("the MCP server's URL %w", err)
	case u.Fragment != "":
		return nil, cli.Usagef("the MCP server's URL has a fragment: leave out the # and what follows")
	case u.Scheme == "http" && !hosts.Local(u, base):
		return nil, cli.Advise(cli.Usagef("the token would go over plain HTTP to %s: %w", u.Host, authsec.ErrInsecureURL), "give a URL with https://")
	}
	log := newLog(cmd.ErrOrStderr())
	cfg, err := authsec.ConfigFromEnv()
	if err != nil {
		return nil, cli.Advise(err, "set the environment as named above")
	}
	cfg.Hosts, cfg.Logger = []string{u.Host}, log
	source, err := authsec.NewSource(cfg)
	if err != nil {
		return nil, cli.Advise(err, "set the environment as named above")
	}
	transport := &authsec.Transport{Source: source, Base: base, Hosts: cfg.Hosts, Logger: log}
	return &bridge{
		url:      u.String(),
		host:     u.Host,
		client:   &http.Client{Transport: transport, CheckRedirect: sameEndpoint},
		source:   source,
		out:      &lineWriter{w: cmd.OutOrStdout()},
		log:      log,
		inFlight: make(map[string]*exchange),
		reviving: make(chan struct{}, 1),
	}, nil
}

// sameEndpoint follows a redirect if it repeats the request at the same host, as
// from /mcp to /mcp/. Otherwise the redirect itself is the answer.
func sameEndpoint(req *http.Request, via []*http.Request) error {
	first := via[0]
	if len(via) > maxHops || req.Method != first.Method || req.URL.Scheme != first.URL.Scheme || hosts.Place(req.URL) != hosts.Place(first.URL) {
		return http.ErrUseLastResponse
	}
	return nil
}

// The bridge's own JSON-RPC errors. The codes are in the range that JSON-RPC leaves
// to servers, and MCP and its SDKs do not use them.
const (
	codeNotDelegated = -32011 // there is no token, or the MCP server rejects it
	codeForbidden    = -32012 // the token lacks a permission
	codeUnavailable  = -32013 // no answer, or none that is MCP
)

func failure(code int, reason, format string, args ...any) *rpcError {
	return &rpcError{Code: code, Message: fmt.Sprintf(format, args...), Data: []byte(`{"reason":"` + reason + `"}`)}
}

const goesOn = "An admin must delegate to it again, in AuthSec. This session then goes on: repeat the call."

// explain returns what a host is told about a request without an answer. It names
// neither the agent nor its AuthSec server.
func (b *bridge) explain(err error) *rpcError {
	var told *rpcError
	var e *authsec.Error
	var wrapped *url.Error
	switch {
	case errors.As(err, &told):
		return told
	case errors.Is(err, authsec.ErrNotDelegated):
		return failure(codeNotDelegated, "not_delegated", "Nothing is delegated to this agent, or its delegation was revoked or has expired. %s", goesOn)
	case errors.Is(err, authsec.ErrInvalidClientID):
		return failure(codeNotDelegated, "misconfigured", "AuthSec does not accept this agent's client ID. Tell the user to correct AUTHSEC_AGENT_CLIENT_ID.")
	case errors.Is(err, authsec.ErrUnauthorized):
		return failure(codeNotDelegated, "misconfigured", "AuthSec does not accept this agent's own credential, or wants one. Tell the user to set AUTHSEC_API_TOKEN or AUTHSEC_API_TOKEN_FILE.")
	case errors.As(err, &e):
		if e.RetryAfter > 0 {
			return failure(codeUnavailable, "no_token", "This agent can't get its token for now. Repeat the call in %v, not before.", e.RetryAfter.Round(time.Second))
		}
		return failure(codeUnavailable, "no_token", "This agent can't get its token for now. Repeat the call later.")
	case errors.As(err, &wrapped):
		err = wrapped.Err
	}
	return failure(codeUnavailable, "unreachable", "The MCP server at %s gave no whole answer: %s. Repeat the call later.", b.host, cli.OneLine(err.Error()))
}
