// Copyright 2026 The authsec Authors
// SPDX-License-Identifier: Apache-2.0

//go:build unix

package rediscache_test

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/authsec-go/authsec"
	"github.com/authsec-go/authsec/rediscache"
	"github.com/authsec-go/authsec/rediscache/internal/redistest"
	"github.com/redis/go-redis/v9"
)

// The rights that doc.go names.
const (
	plainRights   = "~authsec:* +get +set +del +eval"
	clusterRights = plainRights + " +cluster|slots +asking"
)

// withUser is a server's configuration with one user that has these rights.
func withUser(rights string) []string {
	return []string{"user default off", "user agent on >secret resetkeys resetchannels -@all " + rights}
}

func TestLeastRights(t *testing.T) {
	t.Parallel()
	as := func(o *redis.Options) { o.Username, o.Password = "agent", "secret" }
	t.Run("enough", func(t *testing.T) {
		srv := redistest.Start(t, withUser(plainRights)...)
		mustWork(t, newCache(t, connect(t, srv.Addr, as)), newCache(t, connect(t, srv.Addr, as)), key)
	})
	t.Run("database", func(t *testing.T) {
		srv := redistest.Start(t, withUser(plainRights+" +select")...)
		in := func(o *redis.Options) { as(o); o.DB = 3 }
		mustWork(t, newCache(t, connect(t, srv.Addr, in)), newCache(t, connect(t, srv.Addr, in)), key)
	})
	// Each right is needed.
	all := strings.Fields(plainRights)
	for i, right := range all[1:] {
		t.Run("without "+right, func(t *testing.T) {
			rest := append([]string{}, all[:i+1]...)
			rest = append(rest, all[i+2:]...)
			srv := redistest.Start(t, withUser(strings.Join(rest, " "))...)
			c := newCache(t, connect(t, srv.Addr, as))
			ctx := t.Context()
			_, getErr := c.Get(ctx, key)
			if errors.Is(getErr, authsec.ErrCacheMiss) {
				getErr = nil
			}
			release, leaseErr := c.Lease(ctx, key, time.Minute)
			var releaseErr error
			if leaseErr == nil {
				releaseErr = release(ctx)
			}
			err := errors.Join(getErr, c.Put(ctx, key, []byte("data"), time.Minute), c.Delete(ctx, key), leaseErr, releaseErr)
			if err == nil || !strings.Contains(err.Error(), "NOPERM") && !strings.Contains(err.Error(), "ACL failure") && !strings.Contains(err.Error(), "can't run this command") {
				t.Errorf("got error %v, want one about missing rights", err)
			}
			if err != nil && strings.Contains(err.Error(), "secret") {
				t.Error("the error has the password in it")
			}
		})
	}
	t.Run("other prefix", func(t *testing.T) {
		srv := redistest.Start(t, withUser(plainRights)...)
		c, err := rediscache.New(connect(t, srv.Addr, as), &rediscache.Options{Prefix: "other:"})
		if err != nil {
			t.Fatal(err)
		}
		if err := c.Put(t.Context(), key, []byte("data"), time.Minute); err == nil || !strings.Contains(err.Error(), "NOPERM") {
			t.Errorf("Put outside of the user's keys: got error %v, want NOPERM", err)
		}
	})
}

func TestTLS(t *testing.T) {
	t.Parallel()
	srv := redistest.StartTLS(t, withUser(plainRights)...)
	over := func(o *redis.Options) {
		o.TLSConfig, o.Username, o.Password = srv.TLSConfig.Clone(), "agent", "secret"
	}
	mustWork(t, newCache(t, connect(t, srv.Addr, over)), newCache(t, connect(t, srv.Addr, over)), key)

	untrusting := newCache(t, connect(t, srv.Addr, func(o *redis.Options) { over(o); o.TLSConfig.RootCAs = nil }))
	if err := untrusting.Put(t.Context(), key, []byte("data"), time.Minute); err == nil || !strings.Contains(err.Error(), "certificate") {
		t.Errorf("with a server that is not trusted: got error %v, want one about its certificate", err)
	}
}

// failover is a master with a replica, and a sentinel that watches them.
type failover struct{ master, replica, sentinel *redistest.Server }

func startFailover(t testing.TB) failover {
	t.Helper()
	// min-replicas-to-write is off: what the replica does not have yet is lost.
	f := failover{master: redistest.Start(t)}
	f.replica = redistest.StartReplica(t, f.master)
	f.master.WaitForReplicas(1)
	f.sentinel = redistest.StartSentinel(t, "main", f.master)
	eventually(t, "the sentinel knows the replica", func() bool {
		return strings.Contains(f.sentinel.CLI("info", "sentinel"), "slaves=1")
	})
	return f
}

func (f failover) connect(t testing.TB) *redis.Client {
	t.Helper()
	client := redis.NewFailoverClient(&redis.FailoverOptions{
		MasterName: "main", SentinelAddrs: []string{f.sentinel.Addr}, ContextTimeoutEnabled: true,
	})
	t.Cleanup(func() { client.Close() })
	return client
}

func TestSentinelFailover(t *testing.T) {
	t.Parallel()
	f := startFailover(t)
	a, b := newCache(t, f.connect(t)), newCache(t, f.connect(t))
	mustWork(t, a, b, key)
	mustPut(t, a, key, "before", time.Minute)
	mustLease(t, a, other, time.Minute)
	f.master.WaitForReplicas(1)

	f.master.Stop()
	began := time.Now()
	eventually(t, "the replica is the master", func() bool {
		ctx, cancel := context.WithTimeout(t.Context(), 250*time.Millisecond)
		defer cancel()
		return a.Put(ctx, key, []byte("after"), time.Minute) == nil
	})
	t.Logf("the cache accepted writes %v after the master stopped", time.Since(began).Round(100*time.Millisecond))
	mustGet(t, b, key, "after")
	mustBeHeld(t, b, other) // the replica had it
	mustWork(t, a, b, fmt.Sprintf("%064x", 3))
}

func TestCluster(t *testing.T) {
	t.Parallel()
	const count = 30
	nodes := redistest.StartCluster(t, 3, "user agent on >secret resetkeys resetchannels -@all "+clusterRights)
	connect := func() *rediscache.Cache {
		client := redis.NewClusterClient(&redis.ClusterOptions{
			Addrs: []string{nodes[0].Addr}, Username: "agent", Password: "secret", ContextTimeoutEnabled: true,
		})
		t.Cleanup(func() { client.Close() })
		return newCache(t, client)
	}
	a, b := connect(), connect()
	for i := range count {
		mustWork(t, a, b, fmt.Sprintf("%064x", i))
	}
	// An entry and its lease are on one node, and all nodes are used.
	for i := range count {
		mustPut(t, a, fmt.Sprintf("%064x", i), "data", time.Minute)
		mustLease(t, a, fmt.Sprintf("%064x", i), time.Minute)
	}
	for _, node := range nodes {
		pairs := map[string]int{}
		for name := range strings.FieldsSeq(node.CLI("keys", "*")) {
			key, _, _ := strings.Cut(name, "}")
			pairs[key]++
		}
		if len(pairs) == 0 {
			t.Error("a node has no keys")
		}
		for key, n := range pairs {
			if n != 2 {
				t.Errorf("a node has %d of the two keys of %s", n, key)
			}
		}
	}

	// A slot that moves to another node: Redis redirects to that node for keys that
	// have moved (ASK).
	moving := fmt.Sprintf("%064x", 1000)
	slot := nodes[0].CLI("cluster", "keyslot", "{"+moving+"}")
	var from, to *redistest.Server
	for i, node := range nodes {
		if n, err := strconv.Atoi(slot); err != nil {
			t.Fatal(err)
		} else if n*len(nodes)/16384 == i {
			from, to = node, nodes[(i+1)%len(nodes)]
		}
	}
	to.CLI("cluster", "setslot", slot, "importing", from.CLI("cluster", "myid"))
	from.CLI("cluster", "setslot", slot, "migrating", to.CLI("cluster", "myid"))
	mustWork(t, a, b, moving)
	mustPut(t, a, moving, "data", time.Minute)
	if got := from.CLI("keys", "authsec:{"+moving+"}:*"); got != "" {
		t.Errorf("the node that the slot moves away from has %q, want no key", got)
	}
	mustGet(t, b, moving, "data")

	// Keys of a node that is down can't be used. Keys of other nodes can.
	nodes[2].Stop()
	failed, worked := 0, 0
	for i := range count {
		ctx, cancel := context.WithTimeout(t.Context(), 250*time.Millisecond)
		if _, err := a.Get(ctx, fmt.Sprintf("%064x", i)); err == nil {
			worked++
		} else {
			failed++
		}
		cancel()
	}
	if failed == 0 || worked == 0 {
		t.Errorf("with one node of three down %d keys work and %d don't, want some of each", worked, failed)
	}
}
