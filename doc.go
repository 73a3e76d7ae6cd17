// Copyright 2026 The authsec Authors
// SPDX-License-Identifier: Apache-2.0

// Package authsec authenticates the HTTP requests of an AI agent with an
// AuthSec trust delegation.
//
// An admin registers an agent in AuthSec, which gives it a client ID, and
// delegates actions to it for a limited time. The agent then gets a short-lived
// JWT from one endpoint of the server and sends it to protected APIs as a
// Bearer token (RFC 6750). This package does the second half:
//
//	cfg, err := authsec.ConfigFromEnv()   // AUTHSEC_BASE_URL, AUTHSEC_AGENT_CLIENT_ID, DOWNSTREAM_URL
//	client, err := authsec.NewClient(cfg) // a plain *http.Client
//	resp, err := client.Get("https://billing.example.com/customers/42")
//
// A [Source] gets the token and keeps it. It is an [oauth2.TokenSource], so it
// fits wherever one is taken. While its token is good, no call waits: it is
// renewed behind the calls, ahead of its expiry.
//
// A [Transport] is an [http.RoundTripper] that adds the token to requests, to
// the hosts where it belongs and no others. It replaces a token that an API
// refuses, and repeats requests that failed for a passing reason.
//
// # No delegation
//
// Only an admin can make a delegation. While there is none, calls fail with an
// error that is [ErrNotDelegated], without asking the server each time:
// failures are remembered for about a second at first, and about a minute in
// the end.
//
// # Many processes
//
// Each Source asks for itself. With a [Cache], all processes of an agent share
// what the server says: one of them asks, at a cold start, at each renewal and for
// a token that an API refused, and the others take its result. What is stored is
// sealed. A cache that fails costs a stated time, and no call fails for it.
//
// # Secrets
//
// No error, log record or formatted value of this package holds a token. The
// client ID alone gets the token from older servers, so only its first 8
// characters are shown. Keep it as you keep a password.
package authsec

// version is this module's, as the User-Agent tells it to the endpoint.
const version = "0.1.0"
