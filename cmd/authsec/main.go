// Copyright 2026 The authsec Authors
// SPDX-License-Identifier: Apache-2.0

// Authsec tries out an AuthSec trust delegation from the command line.
//
//	authsec smoke [-json]
//
// Smoke does the main job end to end: it gets a delegation token, calls a
// protected API with it, and calls again from the cache. With AUTHSEC_BASE_URL
// and AUTHSEC_AGENT_CLIENT_ID set it asks that server, and calls DOWNSTREAM_URL
// if that is set. With neither it runs against a server and an API of its own.
// It exits with 0 only if every step held, with 1 if one failed and with 2 if
// it was called wrongly.
package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/signal"
)

const usage = `usage: authsec smoke [-json]

  smoke   get a delegation token, call a protected API, call again from the cache

Environment (with neither of the first two, smoke runs against a server of its own):
  AUTHSEC_BASE_URL         the AuthSec server's root
  AUTHSEC_AGENT_CLIENT_ID  the agent's client ID
  DOWNSTREAM_URL           a protected URL to call
  AUTHSEC_HOSTS            hosts that the token may go to; default: DOWNSTREAM_URL's
  AUTHSEC_API_TOKEN        the caller's own credential, on servers that want it
  AUTHSEC_API_TOKEN_FILE   a file that holds it
`

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	code := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}

// run is main without the process around it.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	if len(args) == 0 {
		fmt.Fprint(stderr, usage)
		return 2
	}
	switch args[0] {
	case "smoke":
		return smoke(ctx, args[1:], stdout, stderr)
	case "help", "-h", "-help", "--help":
		fmt.Fprint(stdout, usage)
		return 0
	}
	fmt.Fprintf(stderr, "authsec: unknown command %q\n%s", args[0], usage)
	return 2
}
