// Copyright 2026 The authsec Authors
// SPDX-License-Identifier: Apache-2.0

// Command fleet calls a protected API. It shares its token with all other processes of
// the agent, in Redis, so that only one of them contacts the AuthSec server. It reads
//
//	REDIS_URL          such as rediss://agent:PASSWORD@redis.example.com:6380
//	AUTHSEC_CACHE_KEY  the same 64 hexadecimal digits in all processes: openssl rand -hex 32
package main

import (
	"encoding/hex"
	"fmt"
	"log"
	"os"

	"github.com/authsec-go/authsec"
	"github.com/authsec-go/authsec/rediscache"
	"github.com/redis/go-redis/v9"
)

func main() {
	options, err := redis.ParseURL(os.Getenv("REDIS_URL"))
	if err != nil {
		log.Fatal("REDIS_URL is malformed") // the error may show the password
	}
	options.ContextTimeoutEnabled = true // rediscache needs this
	options.DialerRetries = 1
	options.PoolSize = 4
	store, err := rediscache.New(redis.NewClient(options), nil)
	if err != nil {
		log.Fatal(err)
	}
	key, err := hex.DecodeString(os.Getenv("AUTHSEC_CACHE_KEY"))
	if err != nil {
		log.Fatal("AUTHSEC_CACHE_KEY is not hexadecimal")
	}

	cfg, err := authsec.ConfigFromEnv() // AUTHSEC_BASE_URL, AUTHSEC_AGENT_CLIENT_ID, DOWNSTREAM_URL
	if err != nil {
		log.Fatal(err)
	}
	cfg.Cache = &authsec.CacheConfig{Store: store, Keys: authsec.NewCacheKeys(key)}
	client, err := authsec.NewClient(cfg)
	if err != nil {
		log.Fatal(err)
	}
	resp, err := client.Get(os.Getenv("DOWNSTREAM_URL"))
	if err != nil {
		log.Fatal(err)
	}
	defer resp.Body.Close()
	fmt.Println(resp.Status)
}
