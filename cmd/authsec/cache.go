// Copyright 2026 The authsec Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"github.com/authsec-go/authsec"
	"github.com/authsec-go/authsec/dircache"
	"golang.org/x/oauth2"
)

const (
	// lateLife is the rest of a cached token's life below which token asks for
	// another, and lateStep how often all its runs together do so.
	lateLife = 30 * time.Second
	lateStep = 5 * time.Second
)

// userCacheDir is where token and fetch keep tokens.
func userCacheDir() (string, error) {
	dir, err := os.UserCacheDir()
	if err != nil {
		return "", err
	}
	return filepath.Join(dir, "authsec"), nil
}

// cacheUsage is the usage of -cache.
const cacheUsage = "keep the token for later runs, and take it from there"

// whereCached says where token and fetch keep tokens, for their usages.
func whereCached() string {
	dir, err := userCacheDir()
	if err != nil {
		return "The token is not kept for later runs: there is no home directory.\n"
	}
	return "The token is kept for later runs, sealed, in\n" + dir + "\nwith the key beside it: the directory's permissions are what protects it.\n"
}

// openCache opens a cache with the key that lies in it.
func openCache(dir string) (store *dircache.Cache, keys [][]byte, err error) {
	if store, err = dircache.New(dir); err != nil {
		return nil, nil, err
	}
	key, err := store.Key()
	return store, [][]byte{key}, err
}

// noPlace reports whether an error says that there is no place for a cache, as in
// a container without a home directory, or whose file system is read-only.
func noPlace(err error) bool {
	var e *fs.PathError
	return errors.Is(err, syscall.EROFS) || errors.As(err, &e) && e.Op == "mkdir"
}

// useUserCache gives cfg the cache of the user's commands. Where there is none it
// returns nil, and says so if that can be mended.
func useUserCache(cfg *authsec.Config, command string, stderr io.Writer) *dircache.Cache {
	dir, err := userCacheDir()
	if err != nil {
		return nil
	}
	store, keys, err := openCache(dir)
	if err != nil {
		if !noPlace(err) {
			fmt.Fprintf(stderr, "authsec %s: going on without the cache, which -cache=false turns off: %s\n", command, oneLine(err.Error()))
		}
		return nil
	}
	cfg.Cache, cfg.CacheKeys = store, keys
	return store
}

// renewLate returns another token in place of one that the cache had, if that is
// about to expire and the server has another by now. It takes no longer
// than half of what the old one has to live. The server gives out one token until
// an admin delegates again: so that runs of a script don't all ask it, a mark in
// the cache says when one did. cache is nil if there is none.
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
	cache.Put(ctx, mark, nil, lateStep) // if it fails, the server is asked more often
	if newer, err := src.Renew(ctx, nil); err == nil {
		return newer
	}
	return t
}
