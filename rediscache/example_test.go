// Copyright 2026 The authsec Authors
// SPDX-License-Identifier: Apache-2.0

package rediscache_test

import (
	"crypto/tls"
	"encoding/hex"
	"fmt"
	"log"
	"os"

	"github.com/authsec-go/authsec"
	"github.com/authsec-go/authsec/authsectest"
	"github.com/authsec-go/authsec/rediscache"
	"github.com/redis/go-redis/v9"
)

// This uses one Redis server, over TLS, as a Redis user of its own (ACL).
func Example() {
	store, err := rediscache.New(redis.NewClient(&redis.Options{
		Addr:                  "redis.example.com:6380",
		TLSConfig:             &tls.Config{MinVersion: tls.VersionTLS12}, // set RootCAs if the CA is your own
		Username:              "agent",
		Password:              os.Getenv("REDIS_PASSWORD"),
		ContextTimeoutEnabled: true,
		DialerRetries:         1,
		PoolSize:              4,
	}), nil)
	if err != nil {
		log.Fatal(err)
	}
	key, err := hex.DecodeString(os.Getenv("AUTHSEC_CACHE_KEY")) // openssl rand -hex 32
	if err != nil {
		log.Fatal("AUTHSEC_CACHE_KEY is not hexadecimal")
	}
	cfg, err := authsec.ConfigFromEnv()
	if err != nil {
		log.Fatal(err)
	}
	cfg.Cache = &authsec.CacheConfig{Store: store, Keys: authsec.NewCacheKeys(key)}
	client, err := authsec.NewClient(cfg)
	if err != nil {
		log.Fatal(err)
	}
	resp, err := client.Get("https://billing.example.com/customers/42")
	if err != nil {
		log.Fatal(err)
	}
	defer resp.Body.Close()
}

// Sentinel names the master, and another one after a failover.
func ExampleNew_sentinel() {
	store, err := rediscache.New(redis.NewFailoverClient(&redis.FailoverOptions{
		MasterName:            "main",
		SentinelAddrs:         []string{"sentinel-0:26379", "sentinel-1:26379", "sentinel-2:26379"},
		ContextTimeoutEnabled: true,
		DialerRetries:         1,
		PoolSize:              4,
	}), nil)
	if err != nil {
		log.Fatal(err)
	}
	cfg := authsec.Config{Cache: &authsec.CacheConfig{Store: store}} // and the other fields
	_ = cfg
}

// In this cluster the agent may use keys that begin with team-a.
func ExampleNew_cluster() {
	store, err := rediscache.New(redis.NewClusterClient(&redis.ClusterOptions{
		Addrs:                 []string{"redis-0:6379", "redis-1:6379", "redis-2:6379"},
		ContextTimeoutEnabled: true,
		DialerRetries:         1,
		PoolSize:              4, // for each node
	}), &rediscache.Options{Prefix: "team-a:authsec:"})
	if err != nil {
		log.Fatal(err)
	}
	cfg := authsec.Config{Cache: &authsec.CacheConfig{Store: store}} // and the other fields
	_ = cfg
}

// Nothing listens at this address. No call fails for that: the Source asks the AuthSec
// server itself, as it does without a cache.
func ExampleNew_outage() {
	srv := authsectest.NewServer()
	defer srv.Close()
	srv.Delegate(authsectest.ClientID, authsectest.Delegation{})

	store, err := rediscache.New(redis.NewClient(&redis.Options{
		Addr:                  "127.0.0.1:1",
		ContextTimeoutEnabled: true,
		DialerRetries:         1,
	}), nil)
	if err != nil {
		log.Fatal(err)
	}
	cfg := srv.Config(authsectest.ClientID)
	cfg.Cache = &authsec.CacheConfig{Store: store, Keys: authsec.NewCacheKeys(make([]byte, 32))}
	src, err := authsec.NewSource(cfg)
	if err != nil {
		log.Fatal(err)
	}
	token, err := src.Token()
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println("valid:", token.Valid())
	fmt.Println("requests to AuthSec:", srv.Fetches())
	// Output:
	// valid: true
	// requests to AuthSec: 1
}
