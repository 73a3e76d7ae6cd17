// Copyright 2026 The authsec Authors
// SPDX-License-Identifier: Apache-2.0

// Package faults has tests with real faults between the library and its two servers:
// the AuthSec endpoint and a protected API. Clients, servers and connections are
// net/http's on loopback, over plain HTTP/1.1 and over TLS with HTTP/2. There is no
// code to import.
//
//	go test -race ./...                              everything, with a soak of 5 s
//	go test -run TestSoak -v -soak=30m               a long soak, with a summary
//	go test -run TestSoak -v -soak=1m -seed=12345    an earlier soak's random choices again
//
// The files:
//
//   - stack_test.go: the servers, and the ledger in which the API's server counts its
//     requests.
//   - fault_test.go: faults of the network and of TLS, and servers that stop.
//   - answers_test.go: what an endpoint, or a cache in front of it, may answer.
//   - remains_test.go: what may not be left behind: bodies, connections, goroutines,
//     memory.
//   - soak_test.go: random choices of all of these, under a mixed load.
//   - relay_test.go: the soak's TCP proxy. The other tests use toxiproxy. For a third
//     of the connections that end during a transfer, toxiproxy leaves two goroutines
//     and a buffer behind, and it can block for ever if a fault changes under a live
//     connection. That is too much for 30 minutes.
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
//
// Clock steps and a suspended machine are tested in the library's own
// source_clock_test.go, which can move the clocks.
package faults
