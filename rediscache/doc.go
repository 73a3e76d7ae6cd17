// Copyright 2026 The authsec Authors
// SPDX-License-Identifier: Apache-2.0

// Package rediscache is an [authsec.Cache] in Redis, for an agent whose processes
// run on many hosts: replicas, jobs, functions. Together they send the AuthSec
// server as many requests as one process would.
//
//	client := redis.NewClient(&redis.Options{Addr: "redis:6379", ContextTimeoutEnabled: true})
//	store, err := rediscache.New(client, nil)
//	cfg.Cache = &authsec.CacheConfig{
//		Store: store,
//		Keys:  authsec.NewCacheKeys(key), // 32 random bytes, the same in all processes
//	}
//
// The client is go-redis (github.com/redis/go-redis/v9): for a single server,
// Sentinel or Cluster, with TLS, a user and a database as its options say. Any
// number of agents may share one.
//
// # Options of the client
//
// [New] requires the first of these. The others are advice.
//
//   - ContextTimeoutEnabled: true. Each use of the cache has a deadline, the Timeout
//     of [authsec.CacheConfig], 1 s by default. Without this option go-redis waits
//     for its ReadTimeout, 5 s, and keeps a connection busy that long. (A cancelled
//     context ends a wait for a connection at once, but a read only at its deadline
//     or ReadTimeout.)
//   - DialerRetries: 1. By default go-redis tries a refused connection five times,
//     100 ms apart. That takes half of the default Timeout. With a shorter Timeout, a
//     Redis that is down is reported as "no answer within …" and not as "connection
//     refused", and is then not used for a while.
//   - PoolSize: a few, in a client of its own. A Source uses one or two connections
//     at a time. The others replace connections that a fault has blocked.
//   - TLSConfig, Username and Password: see below.
//   - No ClientSideCacheConfig, and with Cluster no ReadOnly, RouteByLatency or
//     RouteRandomly. With these, reads may return old data. A process that waits
//     for another's result then sees it late. An entry that is older than what a
//     process knows is not used, and costs a request to the AuthSec server.
//     ReplicaOnly (Sentinel) does not work: a replica accepts no writes.
//
// The first use of a connection takes about four more round trips, with TLS five or
// six. If Redis is far away, in another region, raise Timeout.
//
// go-redis prints connection failures to stderr. Its redis.SetLogger changes that.
//
// # What is in Redis
//
// For each agent and AuthSec server there are two keys. KEY has 64 hexadecimal
// digits, which do not show the agent or the server:
//
//	authsec:{KEY}:entry   the server's latest answer, encrypted, usually 1 to 4 kB; its ttl is the token's lifetime
//	authsec:{KEY}:lease   a random value, while one process asks the server; its ttl is a sixth of FetchTimeout
//
// Both are strings. [Options].Prefix replaces "authsec:". The braces
// make Cluster keep both on one node. A lease is taken with SET NX. A script ends
// it, but only if its value is still the holder's: a process that comes back late
// does not end another's lease. Scripts need no set-up, and survive SCRIPT FLUSH, a
// restart and a failover.
//
// # Failures
//
// Losing entries is safe. An entry that Redis evicted, lost at a restart or did not
// replicate costs one request to the AuthSec server. So any maxmemory-policy works,
// and neither persistence nor replicas are needed. While Redis is down, full, slow
// or stuck, each process asks the AuthSec server itself, and a call that fetches a
// token takes longer: by one or two times Timeout if Redis does not answer, by up to
// five times Timeout if it is slow.
//
// An entry over 4 MiB, the bound of [authsec.Cache], is a miss. It is not read, whatever
// length Redis announces: its connection is closed, and the client makes another. Other
// answers must be OK or an integer. go-redis itself reads the answers at the start of a
// connection, and the first line of each answer, with the attributes of RESP3 before it.
// These are not bounded: a server whose line or attributes never end can take all memory,
// or end the process. With the option Protocol: 2 there are no attributes before an
// answer, but there may be at the start of a connection. So connect to no server that you
// do not trust: TLSConfig checks which one it is. The client's other uses are not bounded
// either.
//
// The lease only saves requests. If a failover loses it, or two processes hold it,
// the server is asked twice, and either answer may be stored. That does no harm, so
// there is no Redlock and no other quorum here. A lease ends with its ttl if its holder
// was killed, or did not hear that it has the lease.
//
// # Rights
//
// Someone who can read Redis, but does not have the Keys of [authsec.CacheConfig], has no
// token. So keep the Keys elsewhere. Whoever can write to Redis can delete entries and
// hold leases, which slows the agent down. They can also put an older entry back, which
// processes that start after that may use. Therefore give the agent a Redis user of its
// own, with these rights only:
//
//	ACL SETUSER agent on >PASSWORD resetkeys resetchannels -@all ~authsec:* +get +set +del +eval
//
// Add +select for a database other than 0, and +cluster|slots +asking for Cluster.
// At the start of a connection go-redis also sends CLIENT SETINFO and
// MAINT_NOTIFICATIONS. Redis may deny these. To keep them out of ACL LOG, set
// DisableIdentity, and MaintNotificationsConfig with the Mode "disabled".
//
// It is tested with Redis 7.0.
package rediscache
