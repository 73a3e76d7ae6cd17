// Copyright 2026 The authsec Authors
// SPDX-License-Identifier: Apache-2.0

// Package rediscache is an [authsec.Cache] in Redis, for the processes of an
// agent that run on many hosts: replicas, jobs, functions. Together they ask the
// AuthSec server as one process would.
//
//	client := redis.NewClient(&redis.Options{Addr: "redis:6379", ContextTimeoutEnabled: true})
//	store, err := rediscache.New(client, nil)
//	cfg.Cache, cfg.CacheKeys = store, [][]byte{key} // 32 random bytes, the same in all processes
//
// The client is go-redis' own (github.com/redis/go-redis/v9): a single server,
// Sentinel or Cluster, with TLS, a user and a database as its options say. Any
// number of agents may share one.
//
// A Source hands out a token before it is stored: a job or function that ends at
// once calls [authsec.Source.Flush] last.
//
// # Options of the client
//
// These matter here. [New] insists on the first; the others are advice.
//
//   - ContextTimeoutEnabled: true. A use of the cache has the deadline that
//     [authsec.Config.CacheTimeout] gives it, 1 s as a rule. Without this option
//     go-redis waits for ReadTimeout, 5 s, and each such use keeps a connection.
//     (A context that is cancelled ends a wait for a connection at once, but a
//     read under way only at its deadline, or ReadTimeout.)
//   - DialerRetries: 1. By default go-redis tries a connection that is refused five
//     times, 100 ms apart: that is half of the CacheTimeout, and with a shorter one a
//     Redis that is down shows as "no answer within …" in place of "connection
//     refused", and is left alone for a while.
//   - PoolSize: a few, in a client of its own. A Source uses one connection at a
//     time, or two; more are for those that a fault left behind.
//   - TLSConfig, Username and Password: below.
//   - No ClientSideCacheConfig, and for Cluster no ReadOnly, RouteByLatency or
//     RouteRandomly. All have reads answered by something that may be behind: a
//     process that waits for another's result sees it late, and may take the
//     entry before for the last. An entry that is older than what a process
//     knows is not used; it costs a request to the AuthSec server. ReplicaOnly
//     (Sentinel) does not work: a replica can't be written to.
//
// The first use of a connection takes about four round trips more, with TLS five or six.
// Where that is long, in another region, raise CacheTimeout.
//
// go-redis prints failures to connect to stderr; its redis.SetLogger changes that.
//
// # What is in Redis
//
// For each agent and AuthSec server, KEY being 64 hexadecimal digits that tell
// neither:
//
//	authsec:{KEY}:entry   the server's last answer, 1 to 4 kB as a rule, sealed; its ttl is the token's life
//	authsec:{KEY}:lease   while one process asks the server: a random token; its ttl is a sixth of FetchTimeout
//
// Both are strings, set with PX, and [Options].Prefix replaces "authsec:". The
// braces have Cluster keep both on one node. A lease is taken by SET NX, and ended
// by a script that deletes it if its token is still the taker's: a process that
// comes back late does not end another's. Scripts need no set-up, and survive
// SCRIPT FLUSH, a restart and a failover.
//
// # What may go wrong
//
// Nothing that is lost matters much. An entry that Redis evicted, lost at a
// restart or did not replicate costs one request to the AuthSec server. So any
// maxmemory-policy will do, and neither persistence nor replicas are needed. A
// Redis that is down, full, slow or stuck costs each process its own requests, and
// a call that fetches a token a CacheTimeout (three of them where Redis is slow):
// see [authsec.Config.CacheTimeout].
//
// The lease is there to save requests; nothing depends on it. If a failover loses
// it, or two processes hold it, the server is asked twice, and either
// answer may stand. That is why there is no Redlock here, nor any
// other quorum. A lease whose holder was killed, or whose taker did not hear
// that it has it, ends with its ttl.
//
// # Rights
//
// Who can read Redis has no token without [authsec.Config.CacheKeys]: keep these
// elsewhere. Who can write to it can delete entries and hold leases, and so slow
// the agent down, and put an older entry in a newer one's place for processes that
// have just begun. Therefore give the agent a user of its own, and this one no more
// than it needs:
//
//	ACL SETUSER agent on >PASSWORD resetkeys resetchannels -@all ~authsec:* +get +set +del +eval +evalsha
//
// with +select for another database than 0, and +cluster|slots +asking for Cluster.
// What go-redis sends beside at the start of a connection (CLIENT SETINFO and
// MAINT_NOTIFICATIONS) may be refused. To have it out of ACL LOG, set
// DisableIdentity, and MaintNotificationsConfig to a Mode of "disabled".
//
// It is tested with Redis 7.0.
package rediscache
