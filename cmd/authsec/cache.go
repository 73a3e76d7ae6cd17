// Copyright 2026 The authsec Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/authsec-go/authsec"
	"github.com/authsec-go/authsec/cmd/authsec/internal/cli"
	"github.com/authsec-go/authsec/dircache"
	"github.com/spf13/cobra"
	"golang.org/x/oauth2"
)

const (
	// token and header ask for another token if the cached one has less than lateLife
	// left. All their runs together do so once in lateStep.
	lateLife = 30 * time.Second
	lateStep = 5 * time.Second
)

// userCacheDir is where the commands keep tokens.
func userCacheDir() (string, error) {
	dir, err := os.UserCacheDir()
	if err != nil {
		return "", err
	}
	return filepath.Join(dir, "authsec"), nil
}

// cacheUsage is the usage of --cache.
const cacheUsage = "keep the token on disk, and use it in later runs"

// whereCached says where the commands keep tokens. It is part of their usage.
func whereCached() string {
	dir, err := userCacheDir()
	if err != nil {
		return "The token is not kept for later runs: there is no home directory.\n"
	}
	return "The token is kept for later runs, encrypted, in\n" + dir + "\nThe key is in the same directory: the directory's permissions protect the token.\n"
}

// openCache opens the cache in dir, with the key that is in it.
func openCache(dir string) (*dircache.Cache, *authsec.CacheConfig, error) {
	store, err := dircache.New(dir)
	if err != nil {
		return nil, nil, err
	}
	key, err := store.Key()
	return store, &authsec.CacheConfig{Store: store, Keys: authsec.NewCacheKeys(key)}, err
}

// useUserCache sets cfg.Cache to the cache of the user's commands, and returns it.
// It returns nil if there is none, and says why.
func useUserCache(cfg *authsec.Config, cmd *cobra.Command) *dircache.Cache {
	dir, err := userCacheDir()
	var store *dircache.Cache
	var shared *authsec.CacheConfig
	if err == nil {
		store, shared, err = openCache(dir)
	}
	if err != nil {
		notCached(err, cmd)
		return nil
	}
	cfg.Cache = shared
	return store
}

// notCached says why a command uses no cache, if err is not nil.
func notCached(err error, cmd *cobra.Command) {
	if err != nil {
		say(cmd, "the cache is not used (--cache=false turns it off): %s", cli.OneLine(err.Error()))
	}
}

// renewLate returns another token in place of one from the cache, if that is about
// to expire and the server has another. It takes at most half of the old token's
// remaining life. The server gives out the same token until an admin delegates
// again. So one run marks in the cache that it asked, and for lateStep the other
// runs of a script do not ask. cache is nil if there is none.
func renewLate(ctx context.Context, cache *dircache.Cache, src *authsec.Source, cfg authsec.Config, t *oauth2.Token) *oauth2.Token {
	left := time.Until(t.Expiry)
	if cache == nil || src.Stats().Fetches > 0 || left >= lateLife {
		return t
	}
	ctx, cancel := context.WithTimeout(ctx, left/2)
	defer cancel()
	sum := sha256.Sum256(fmt.Appendf(nil, "authsec token, late renewal\x00%q\x00%q", cfg.BaseURL, cfg.ClientID))
	mark := hex.EncodeToString(sum[:])
	if _, err := cache.Get(ctx, mark); err == nil {
		return t
	}
	cache.Put(ctx, mark, nil, lateStep) // a failure causes more requests, nothing else
	if newer, err := src.Refresh(ctx); err == nil {
		return newer
	}
	return t
}
