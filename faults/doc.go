// Copyright 2026 The authsec Authors
// SPDX-License-Identifier: Apache-2.0

// Package faults has tests with real faults between the library and its two servers:
// the AuthSec endpoint and a protected API. Clients, servers and connections are
// net/http's on loopback, over plain HTTP/1.1 and over TLS with HTTP/2. There is no
// code to import.
//
//	go test -race ./...                              everything, with a soak of 5 s
//	go test -run TestSoak -v -soak=30m               a long soak, with a summary
//	go test -run TestSoak -v -soak=1m -seed=12345    the random choices of an earlier soak
//	go test -run TestPings -v -forgotten=60s         a forgotten connection, with pings and without
//
// The servers and their users:
//
//   - main_test.go: what all tests share: waiting, and counting goroutines and memory.
//   - server_test.go: a server that stops and starts again on its port.
//   - stack_test.go: the two servers, and one that must not get the token.
//   - ledger_test.go: what the servers and the callers know of each request.
//   - caller_test.go: a user of the library, who checks each answer.
//
// The faults:
//
//   - network_test.go: latency, little bandwidth, resets, cuts, black holes.
//   - shutdown_test.go: servers that are killed, and that shut down, under load.
//   - tls_test.go: TLS handshakes that fail.
//   - forgotten_test.go: connections that a NAT or a load balancer forgets. lane_test.go
//     has the servers for it, and the parts of the library that make connections.
//   - answers_test.go: what an endpoint, or a proxy in front of it, may answer.
//   - clocks_test.go: a server's clock that is wrong.
//   - caches_test.go: an HTTP cache in front of the endpoint.
//   - api_test.go: an API that rejects requests and fails.
//   - context_test.go: contexts that end during each wait.
//   - redirect_test.go: an API that redirects to a stranger.
//   - remains_test.go: what may not be left behind: bodies, connections, goroutines,
//     memory.
//
// All of them at random, under a mixed load:
//
//   - soak_test.go: the soak, and what it checks.
//   - soak_load_test.go: its requests.
//   - soak_faults_test.go: its faults.
//   - relay_test.go: its TCP proxy, which can also forget connections. Other tests use
//     toxiproxy. For a third of the connections that end during a transfer, toxiproxy
//     leaves two goroutines and a buffer behind, and it can block for ever if a fault
//     changes under a live connection. That is too much for 30 minutes. And
//     when toxiproxy's black hole ends, the connections in it work again.
//
// doc_test.go checks this list, and what docs/faults.md counts.
//
// They assert, with counts taken by the servers:
//
//  1. A request that is not idempotent reaches the API at most once, unless the API
//     rejected it with a 401.
//  2. A request ends, with a response or an error, before its context does.
//  3. No response is lost, cut short silently or given to another caller.
//  4. The token reaches no host other than its own.
//  5. After a fault the next request succeeds within the time that the number of
//     failed fetches allows, and at once after Source.Refresh.
//  6. No goroutine, connection or memory is left behind.
//  7. Over HTTP/2, a connection that is forgotten is given up within 20 s.
//
// Clock steps and a suspended machine are tested in the library's own
// source_clock_test.go, which can move the clocks.
package faults
