// Copyright 2026 The authsec Authors
// SPDX-License-Identifier: Apache-2.0

// Package authsec authenticates the HTTP requests of an AI agent with an AuthSec
// trust delegation.
//
// An admin registers the agent in AuthSec, which gives it a client ID, and delegates
// actions to it for a limited time. The agent then gets a short-lived JWT from the
// AuthSec server and sends it to protected APIs as a Bearer token (RFC 6750). This
// package gets and sends the token:
//
//	cfg, err := authsec.ConfigFromEnv()   // AUTHSEC_BASE_URL, AUTHSEC_AGENT_CLIENT_ID, DOWNSTREAM_URL
//	client, err := authsec.NewClient(cfg) // a plain *http.Client
//	resp, err := client.Get("https://billing.example.com/customers/42")
//
// A [Source] gets the token and keeps it. It is an [oauth2.TokenSource]. While its
// token is good, no call waits: the Source renews the token in the background, ahead
// of its expiry.
//
// A [Transport] is an [http.RoundTripper] that adds the token to requests to listed
// hosts. It replaces a token that an API rejects, and retries requests after
// transient failures.
//
// # No delegation
//
// Only an admin can delegate. Until then, calls fail with [ErrNotDelegated]. They
// do not ask the server each time: a failure is cached for about 1 s at first,
// doubling to about 1 minute. [Source.Refresh] asks at once.
//
// # Many processes
//
// Without a cache, each process asks the server. With [Config.Cache], all processes
// of an agent share the server's answers, encrypted: one process asks for all, at a
// cold start, at each renewal and after an API rejects the token. A failing cache
// adds a bounded delay and causes no error.
//
// # Proxies
//
// The token goes over TLS. Over plain HTTP it goes only to hosts that are listed
// with http://, and to this machine if no proxy is in between. To inspect local
// traffic through a proxy, list the host with http://, such as
// http://localhost:8080.
//
// # Secrets
//
// No error, log record or formatted value of this package shows a token. Anyone who
// knows the client ID can get the token from an older server, so only its first 8
// characters are shown. Protect the client ID like a password.
//
// # x/oauth2 and go-retryablehttp
//
// Each fetch goes through an [oauth2.ReuseTokenSource]. After a step of the local
// wall clock, the ReuseTokenSource decides whether to keep the token in service
// without a request. Calls do not go through it, because it holds its mutex during a
// fetch, cannot drop a rejected token and cannot renew a token ahead of its expiry.
//
// A retryablehttp.Client makes the attempts of a fetch and waits between them. A
// Transport uses only retryablehttp's classification of errors and its backoff. A
// retryablehttp.Client reads request bodies into memory, follows redirects and may
// replace the last response by an error. An http.RoundTripper must do none of these.
package authsec

// version is this module's version, for the User-Agent of requests to the endpoint.
const version = "0.1.0"
