// Copyright 2026 The authsec Authors
// SPDX-License-Identifier: Apache-2.0

// Package dev is the command authsec dev: a local AuthSec server with one agent, and
// a protected API.
package dev

import (
	"context"
	"fmt"
	"io"

	"github.com/authsec-go/authsec/cmd/authsec/internal/cli"
	"github.com/spf13/cobra"
)

const long = `Dev runs a local AuthSec server with one agent, and a protected API, until you
press Ctrl-C. Nothing has to be installed or registered.

It prints the environment to export, and curl commands that delegate to the agent,
revoke that, or let it expire. For each request it prints one line: what it answered,
and what to do about it.

The delegations and keys are in memory only, and whoever can reach the server can
delegate. So it listens on loopback addresses only.

The API accepts tokens of this server only, and says who calls and with which
permissions. It rejects a revoked token at once; other APIs may accept it until it
expires.

AuthSec's own SDKs can use the server, too: their user-flow URL is printed.`

// Command returns the command authsec dev.
func Command() *cobra.Command {
	var o options
	cmd := &cobra.Command{
		Use:   "dev",
		Short: "Run a local AuthSec server with one agent, and a protected API",
		Long:  long,
		Example: `  authsec dev
  authsec dev --permissions billing:read,users:read --lifetime 5m
  authsec dev --generation newer --require billing:read
  authsec dev --fail 503 --fail-rate 0.3 --latency 2s --rate-limit 10`,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) > 0 {
				return cli.Usagef("unexpected argument %q: this command has flags only", args[0])
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, _ []string) error {
			return o.run(cmd.Context(), cmd.OutOrStdout(), cmd.ErrOrStderr())
		},
	}
	o.define(cmd.Flags())
	return cmd
}

// run serves until ctx ends. It writes the environment to stdout, and a line for each
// request to stderr.
func (o options) run(ctx context.Context, stdout, stderr io.Writer) error {
	o, err := o.validate()
	if err != nil {
		return err
	}
	s, err := newServer(o, stderr)
	if err != nil {
		return err
	}
	authsec, err := listen(ctx, "listen", o.listen)
	if err != nil {
		return err
	}
	defer authsec.Close()
	api, err := listen(ctx, "api-listen", o.apiListen)
	if err != nil {
		return err
	}
	defer api.Close()
	s.delegate(o.delegation())
	if _, err := io.WriteString(stdout, guide(o, urlOf(authsec), urlOf(api))); err != nil {
		return fmt.Errorf("can't print the environment: %w", err)
	}
	return serve(ctx, site{authsec, s.authsec}, site{api, s.api})
}
