// Copyright 2026 The authsec Authors
// SPDX-License-Identifier: Apache-2.0

package mcp

import (
	"net/http"
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
		held:     memory{most: maxHeld},
		inFlight: make(map[string]*exchange),
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
