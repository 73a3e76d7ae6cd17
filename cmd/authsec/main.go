// Copyright 2026 The authsec Authors
// SPDX-License-Identifier: Apache-2.0

// Authsec uses an AuthSec trust delegation from the command line.
//
//	authsec smoke [-json]
//	authsec token [-json] [-renew] [-cache=false]
//	authsec fetch [flags] URL
//	authsec proxy -upstream URL [flags]
//
// Smoke tests the main job end to end. It gets a delegation token, calls a
// protected API with it, and calls it again with the cached token. With
// AUTHSEC_BASE_URL and AUTHSEC_AGENT_CLIENT_ID it uses that server, and calls
// DOWNSTREAM_URL if that is set. With neither of the two it starts a server and an
// API of its own.
//
// Token prints the token, for other programs. Fetch makes one authenticated
// request. Both keep the token for later runs, encrypted, in a directory that only
// the user can access (package dircache). Proxy is a sidecar: programs in any
// language reach one API through it. It adds the token, and they never see it.
//
// All exit with 0 only if everything succeeded, with 1 if something failed, and
// with 2 if the command line is wrong.
package main

import (
	"context"
	"fmt"
	"io"
	"log"
	"os"
	"os/signal"
	"strings"
	"syscall"
)

const usage = `usage: authsec smoke [-json]
       authsec token [-json] [-renew] [-cache=false]
       authsec fetch [flags] URL
       authsec proxy -upstream URL [flags]
       authsec help

  smoke   get a delegation token, call a protected API, call it again with the cached token
  token   print the token, and keep it for later runs: curl -H "Authorization: Bearer $(authsec token)" URL
  fetch   make one request with the token; authsec fetch -h lists the flags
  proxy   add the token to other programs' requests to one API; authsec proxy -h lists the flags
  help    print this text

Environment (without the first two, smoke starts a server of its own):
  AUTHSEC_BASE_URL         the AuthSec server's root
  AUTHSEC_AGENT_CLIENT_ID  the agent's client ID
  DOWNSTREAM_URL           a protected URL to call
  AUTHSEC_HOSTS            hosts that the token may go to; default: DOWNSTREAM_URL's
  AUTHSEC_API_TOKEN        the caller's own credential, if the server wants one
  AUTHSEC_API_TOKEN_FILE   a file that holds it
`

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
	if len(args) == 0 {
		fmt.Fprint(stderr, usage)
		return 2
	}
	switch args[0] {
	case "smoke":
		return smoke(ctx, args[1:], stdout, stderr)
	case "token":
		return token(ctx, args[1:], stdout, stderr)
	case "fetch":
		return fetch(ctx, args[1:], stdout, stderr)
	case "proxy":
		return proxy(ctx, args[1:], stderr)
	case "help", "-h", "-help", "--help":
		fmt.Fprint(stdout, usage)
		return 0
	}
	fmt.Fprintf(stderr, "authsec: unknown command %q\n%s", args[0], usage)
	return 2
}

// fail writes one line with a failure and what to do about it, and returns the exit
// code.
func fail(stderr io.Writer, command string, err error, do string) int {
	fmt.Fprintf(stderr, "authsec %s: %s. To do: %s\n", command, strings.TrimSuffix(oneLine(err.Error()), "."), do)
	return 1
}

// oneLine returns text without line breaks.
func oneLine(text string) string {
	return strings.NewReplacer("\r\n", "; ", "\n", "; ", "\r", "; ").Replace(text)
}
