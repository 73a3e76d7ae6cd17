// Copyright 2026 The authsec Authors
// SPDX-License-Identifier: Apache-2.0

// Authsec uses an AuthSec trust delegation from the command line.
//
//	authsec smoke     test the main job end to end
//	authsec token     print the token
//	authsec header    print the token as a header, for curl -H @-
//	authsec whoami    say who the agent is and what it may do
//	authsec fetch     make one request with the token
//	authsec proxy     add the token to other programs' requests to one API
//	authsec mcp       give the token to programs that speak MCP
//	authsec dev       run a local AuthSec server with one agent
//	authsec version   print how this program was built
//
// Smoke gets a delegation token, calls a protected API with it, and calls it again
// with the cached token. With AUTHSEC_BASE_URL and AUTHSEC_AGENT_CLIENT_ID it uses
// that server, and calls DOWNSTREAM_URL if that is set. With neither of the two it
// starts a server and an API of its own.
//
// Token, header and fetch keep the token for later runs, encrypted, in a directory
// that only the user can access (package dircache). Proxy is a sidecar: programs in
// any language reach one API through it. It adds the token, and they never see it.
//
// All exit with 0 only if everything succeeded, with 1 if something failed, and
// with 2 if they were called wrongly.
package main

import (
	"cmp"
	"context"
	"io"
	"log"
	"os"
	"os/signal"
	"syscall"

	"github.com/authsec-go/authsec/cmd/authsec/internal/cli"
	"github.com/authsec-go/authsec/cmd/authsec/internal/dev"
	"github.com/authsec-go/authsec/cmd/authsec/internal/mcp"
	"github.com/spf13/cobra"
)

const environment = `Environment (without the first two, smoke starts a server of its own):
  AUTHSEC_BASE_URL         the AuthSec server's root
  AUTHSEC_AGENT_CLIENT_ID  the agent's client ID
  DOWNSTREAM_URL           a protected URL to call
  AUTHSEC_HOSTS            hosts that the token may go to; default: DOWNSTREAM_URL's
  AUTHSEC_API_TOKEN        the caller's own credential, if the server wants one
  AUTHSEC_API_TOKEN_FILE   a file that holds it

The exit code is 0 if all went well, 1 if something failed, and 2 for a wrong call.`

func main() {
	// net/http logs unexpected data from a server, and that may contain the token.
	log.SetOutput(io.Discard)
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	context.AfterFunc(ctx, stop) // a second signal ends the process at once
	code := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}

// run is main without the process.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	return cli.Run(ctx, rootCommand(), args, os.Stdin, stdout, stderr)
}

// rootCommand is the program with all its commands.
func rootCommand() *cobra.Command {
	root := &cobra.Command{
		Use:         "authsec",
		Short:       "Use an AuthSec trust delegation from the command line",
		Long:        "Uses an AuthSec trust delegation from the command line.",
		Annotations: map[string]string{cli.Footer: environment},
	}
	root.AddCommand(
		smokeCommand(),
		tokenCommand(),
		headerCommand(),
		whoamiCommand(),
		fetchCommand(),
		proxyCommand(),
		mcp.Command(),
		dev.Command(),
		versionCommand(),
	)
	return root
}

// advice returns one line about what to do about an error.
func advice(err error) string {
	return cmp.Or(cli.Advice(err), "check that the servers of AUTHSEC_BASE_URL and DOWNSTREAM_URL can be reached from here")
}

// wrongEnvironment says that the environment names no agent.
func wrongEnvironment(err error) error {
	return cli.Advise(err, "correct the environment as named above")
}
