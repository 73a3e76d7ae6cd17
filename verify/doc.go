// Copyright 2026 The authsec Authors
// SPDX-License-Identifier: Apache-2.0

// Package verify is for services that receive AuthSec delegation tokens: it
// judges the bearer token of each request before a handler sees the request.
//
//	v, err := verify.New(verify.Config{
//		BaseURL:  "https://authsec.example.com",
//		Tenants:  []string{"11111111-2222-3333-4444-555555555555"},
//		Audience: "billing-api",
//	})
//	mayRead := verify.RequirePermissions("billing:read")
//	http.Handle("GET /invoices", v.Handler(mayRead(invoices)))
//
// A handler behind it gets the token's claims from [FromContext]. What is no
// net/http handler (a gRPC interceptor, an MCP server) calls [Verifier.Verify].
// The package's example runs the whole of it.
//
// # What is accepted
//
// A token is good if all of this holds:
//
//   - Its signature is by a key of the tenant that its iss, spiffe://<tenant>,
//     names, with an algorithm in [Config.Algorithms]. The tenant is in
//     [Config.Tenants]; its tenant_id, if there is one, is the same.
//   - Its aud has [Config.Audience], its exp has not passed, and its nbf and
//     iat, if there are such, have: with [Config.Leeway].
//   - Its claims have the types that AuthSec gives them. No name occurs twice
//     in its header or its claims: what reads the first of two would take it for
//     another token than what reads the last (RFC 7519, section 4, leaves it to
//     the reader). Only who has the key could make such a token, or can make a
//     signer copy names from elsewhere.
//   - Its header marks nothing as critical, asks for no unencoded payload, and
//     has no other typ than JWT, so that what the same key signs for another
//     purpose passes for no delegation (RFC 8725, section 3.11). Keys, and
//     addresses of keys, that a header brings along are not looked at.
//   - It is at most 16 KiB long, nests at most 16 deep, and is spelled in the
//     one way that base64url has for it.
//
// # Keys
//
// A tenant's keys are fetched when the first token needs them, with one fetch
// for any number of requests, and every 5 to 15 minutes after that, behind the
// requests. A token that no key fits causes a fetch as well, one in 30 s, and
// is judged by what that brings: so a rotation is noticed at once, and whoever
// sends garbage causes no more fetches than that. While the server can't be
// reached the keys in hand serve on, however long it takes. With none in hand a
// failure is remembered: 1 s, doubling to 1 min, each give or take half.
//
// Nothing runs while no token is verified, and there is nothing to close.
package verify
