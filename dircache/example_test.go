// Copyright 2026 The authsec Authors
// SPDX-License-Identifier: Apache-2.0

package dircache_test

import (
	"fmt"
	"log"
	"os"
	"path/filepath"

	"github.com/authsec-go/authsec"
	"github.com/authsec-go/authsec/authsectest"
	"github.com/authsec-go/authsec/dircache"
)

func Example() {
	srv := authsectest.NewServer()
	defer srv.Close()
	srv.Delegate(authsectest.ClientID, authsectest.Delegation{})
	dir, err := os.MkdirTemp("", "") // in a program: os.UserCacheDir()
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)

	process := func() {
		store, err := dircache.New(filepath.Join(dir, "my-agent"))
		if err != nil {
			log.Fatal(err)
		}
		key, err := store.Key()
		if err != nil {
			log.Fatal(err)
		}
		cfg := srv.Config(authsectest.ClientID) // in a program: authsec.ConfigFromEnv()
		cfg.Cache = &authsec.CacheConfig{Store: store, Keys: authsec.NewCacheKeys(key)}
		src, err := authsec.NewSource(cfg)
		if err != nil {
			log.Fatal(err)
		}
		if _, err := src.Token(); err != nil {
			log.Fatal(err)
		}
		fmt.Println("asked the server:", src.Stats().Fetches)
	}
	process()
	process()

	// Output:
	// asked the server: 1
	// asked the server: 0
}
