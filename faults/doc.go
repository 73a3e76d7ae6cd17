// Copyright 2026 The authsec Authors
// SPDX-License-Identifier: Apache-2.0

// Package faults holds tests that put real faults between the library and both
// of its servers: the AuthSec endpoint and a protected API. Clients, servers and
// connections are net/http's own on loopback, over plain HTTP/1.1 and over
// TLS with HTTP/2. It has no code of its own to import.
//
//	go test -race ./...                              everything, with a soak of 5 s
//	go test -run TestSoak -v -soak=30m               a long soak, with a summary
//	go test -run TestSoak -v -soak=1m -seed=12345    the draws of an earlier one again
//
// The files:
//
//   - stack_test.go has the servers, and the ledger in which the API's server
//     counts what reaches it.
//   - fault_test.go has faults of the network and of TLS, and servers that end.
//   - answers_test.go has what an endpoint, or a cache before it, may answer.
//   - remains_test.go has what must not stay behind: bodies, connections,
//     goroutines, memory.
//   - soak_test.go draws all of these at random, under a mixed load.
//   - relay_test.go is the soak's TCP proxy. The other tests use toxiproxy, which
//     leaves two goroutines and a buffer behind for a third of the connections
//     that end while data is under way, and can wait for ever when a fault is
//     changed under a live connection: too much for 30 minutes.
//
// What they assert, by counts that the servers took:
//
//  1. A request that is not idempotent reaches the API once at most, unless a
//     401 refused it.
//  2. A request ends in an answer or an error before its context does.
//  3. No answer is lost, cut short silently or given to another caller.
//  4. The token reaches no host but its own.
//  5. After a fault the next request succeeds within the wait that the number of
//     failed fetches allows, and at once after Source.Renew(ctx, nil).
//  6. No goroutine, connection or memory stays behind.
//
// Steps of the local clock and a suspended machine are not here: the library's
// own clock_test.go has them, which can move the clocks.
package faults
