// Copyright 2026 The authsec Authors
// SPDX-License-Identifier: Apache-2.0

// Package verify is for services that receive AuthSec delegation tokens. It
// verifies the bearer token of each request before a handler sees the request.
//
//	v, err := verify.New(verify.Config{
//		BaseURL:  "https://authsec.example.com",
//		Tenants:  []string{"11111111-2222-3333-4444-555555555555"},
//		Audience: "billing-api",
//	})
//	mayRead := verify.RequirePermissions("billing:read")
//	http.Handle("GET /invoices", v.Handler(mayRead(invoices)))
//
// A handler behind [Verifier.Handler] gets the token's claims from [FromContext]. Code without
// net/http handlers (a gRPC interceptor, an MCP server) calls [Verifier.Verify].
//
// # What is accepted
//
// A token is good if all of this holds:
//
//   - A key of its tenant verifies its signature. iss, spiffe://<tenant>, names the
//     tenant, which is in [Config.Tenants]. tenant_id and workspace_id, if present,
//     are the same tenant. The algorithm is in [Config.Algorithms].
//   - aud has [Config.Audience], and exp has not passed. nbf and iat, if present,
//     must be past. [Config.Leeway] applies to all three times.
//   - It lives no longer than [Config.MaxLifetime]. With [Config.RevocationCheck], the
//     server does not call it revoked. Both are off by default.
//   - Its claims have the types that AuthSec gives them. No name occurs twice in
//     its header or its claims: some readers take the first value and some the last
//     (RFC 7519, section 4, permits both), so they would see different tokens.
//   - Its header has no critical fields, does not ask for an unencoded payload, and
//     has no typ other than JWT: a token that the same key signed for another
//     purpose is no delegation (RFC 8725, section 3.11). Keys and addresses of keys
//     in the header are ignored.
//   - It has at most 16 KiB, nests at most 16 levels deep, and is canonical
//     base64url.
//
// A tenant's ID may be a UUID in either case. The claims have it in lower case, in
// Issuer and in TenantID, which on newer servers is the workspace's.
//
// # Keys
//
// A tenant's keys are fetched when the first token needs them, with one fetch for
// all requests, and then every 5 to 15 minutes in the background. A token that no
// key fits also causes a fetch, at most one in 30 s, and is verified with the new
// keys. So a rotation is noticed at once. While such fetches bring the same keys, the
// 30 s double up to 5 minutes, so that invalid tokens cause few requests.
// If the server can't be reached, known keys stay in use without a time limit. If
// there are none, the failure is cached: for 1 s at first, doubling to
// 1 minute, with ±50 % jitter.
//
// A token that was verified is kept ([Config.CacheSize]), so that the same token again
// costs no signature check, until its tenant's keys change.
//
// A key is ignored if it is malformed, is an RSA key of less than 2,048 or more than
// 8,192 bits, is an Ed25519 key of small order, or if its private half was published,
// in the same entry of the key set or in another.
//
// # Revocation
//
// A signature does not show a later revocation. So a revoked token is good until
// its exp, unless [Config.RevocationCheck] is set. Then the server is asked about each
// token with a good signature, with one request for all its callers. The answers for
// the 4,096 most recently used tokens are kept.
//
// All tokens share the server's rate limit. Few are checked at once, and the others wait
// in line. After a 429, one is checked first. Of an agent's (sub's) tokens that are not
// known to be good, 4 are checked at once, and then one in each interval, but at least
// one a minute. More get ErrUnavailable. So one agent with many old tokens does not
// stop the others.
//
// Set [Config.MaxLifetime], too: anybody with a token can get more tokens from the
// server's public renew endpoint, and each of them is checked. Older servers also
// prolong a revoked token, and call it valid.
//
// Nothing runs while no token is verified, and there is nothing to close.
package verify
