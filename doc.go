// Copyright 2026 The authsec Authors
// SPDX-License-Identifier: Apache-2.0

// Package authsec authenticates the HTTP requests of an AI agent with an AuthSec
// trust delegation.
//
// An admin registers an agent in AuthSec, which gives it a client ID, and
// delegates actions to it for a limited time. The agent then gets a short-lived
// JWT from one endpoint of the server and sends it to protected APIs as a Bearer
// token (RFC 6750). This package does the second half:
//
//	cfg, err := authsec.ConfigFromEnv()   // AUTHSEC_BASE_URL, AUTHSEC_AGENT_CLIENT_ID, DOWNSTREAM_URL
//	client, err := authsec.NewClient(cfg) // a plain *http.Client
//	resp, err := client.Get("https://billing.example.com/customers/42")
//
// A [Source] gets the token and keeps it. It is an [oauth2.TokenSource], so it
// fits wherever one is taken. While its token is good, no call waits: the token is
// renewed in the background, ahead of its expiry.
//
// A [Transport] is an [http.RoundTripper] that adds the token to requests to the
// hosts where it belongs. It replaces a token that an API rejects, and retries
// requests that failed for a transient reason.
//
// # No delegation
//
// Only an admin can delegate. Until then, calls fail with [ErrNotDelegated]. They
// do not ask the server each time: a failure is cached for about a second at
// first, and for about a minute in the end. [Source.Refresh] asks at once.
//
// # Many processes
//
// Each Source asks for itself. With [Config.Cache], all processes of an agent
// share the server's answers, encrypted: one of them asks at a cold start, at each
// renewal and for a token that an API rejected. A failing cache adds a bounded
// delay and causes no error.
//
// # Proxies
//
// The token goes over TLS, and over plain HTTP only to hosts that are listed so and
// to this machine. What a proxy takes has left this machine. To inspect local
// traffic through a proxy, list the host with its scheme, such as
// http://localhost:9.
//
// # Secrets
//
// No error, log record or formatted value of this package shows a token. The
// client ID alone gets the token from older servers, so only its first 8
// characters are shown. Keep it as you keep a password.
//
// # x/oauth2 and go-retryablehttp
//
// Each fetch goes through an [oauth2.ReuseTokenSource] over the token in hand,
// which decides by the wall clock whether that token is kept, so that a clock that
// steps causes no request; it does not serve requests, since it holds its mutex
// while the server is asked, can't drop a rejected token and can't renew ahead. A
// retryablehttp.Client makes the attempts of a fetch and waits between them. A
// Transport uses only its classification of errors and its backoff, since the
// client reads request bodies into memory, follows redirects and replaces the last
// response, which an http.RoundTripper must not do.
package authsec

// version is this module's, as the User-Agent tells it to the endpoint.
const version = "0.1.0"
