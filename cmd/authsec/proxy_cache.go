// Copyright 2026 The authsec Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"cmp"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"strings"

	"github.com/authsec-go/authsec"
	"github.com/authsec-go/authsec/cmd/authsec/internal/cli"
	"github.com/authsec-go/authsec/dircache"
	"github.com/authsec-go/authsec/rediscache"
	"github.com/redis/go-redis/v9"
)

const (
	keyBytes   = 32       // of a cache key
	maxKeyFile = 64 << 10 // bytes
	redisConns = 4        // connections to each Redis node, if the URL does not say
	keyFileDo  = "openssl rand -hex 32 makes a key: put it into a file, the same for all proxies of the agent, and name that with --cache-key-file"
	redisURLDo = "write --cache as redis://host:6379 or rediss://host:6379, with &addr=host:port for each further node: ?cluster=true is for Cluster, ?master_name=NAME for Sentinel"
	cacheDirDo = "choose another --cache, or none"
)

// isRedis reports whether --cache names a Redis.
func isRedis(cache string) bool {
	scheme, _, isURL := strings.Cut(cache, "://")
	return isURL && (scheme == "redis" || scheme == "rediss")
}

// sharedCache returns the cache that --cache names. It returns nil if there is none,
// or if it can't be used now.
func (f *proxyFlags) sharedCache(ctx context.Context, logger *slog.Logger) (*authsec.CacheConfig, error) {
	if f.cache == "" {
		return nil, nil
	}
	keys, err := readKeys(ctx, f.cacheKeyFile)
	if err != nil {
		return nil, cli.Advise(fmt.Errorf("--cache-key-file: %w", err), keyFileDo)
	}
	if isRedis(f.cache) {
		client, err := redisClient(f.cache)
		if err != nil {
			return nil, cli.Advise(fmt.Errorf("--cache: %w", err), redisURLDo)
		}
		store, err := rediscache.New(client, nil)
		return &authsec.CacheConfig{Store: store, Keys: authsec.NewCacheKeys(keys...)}, err
	}
	store, shared, err := openCache(f.cache)
	switch {
	case errors.Is(err, dircache.ErrWrongDir):
		return nil, cli.Advise(fmt.Errorf("--cache: %w", err), cacheDirDo)
	case store != nil && len(keys) > 0: // the key in the directory is not needed
		return &authsec.CacheConfig{Store: store, Keys: authsec.NewCacheKeys(keys...)}, nil
	case err != nil: // as if the directory failed later
		logger.Warn("cache not used", "error", cli.OneLine(err.Error()))
		return nil, nil
	}
	return shared, nil
}

// readKeys returns the keys in a file: one a line, in hexadecimal. The first one
// encrypts.
func readKeys(ctx context.Context, name string) (keys [][]byte, err error) {
	if name == "" {
		return nil, nil
	}
	content, err := readFile(ctx, name, maxKeyFile)
	if err != nil {
		return nil, err
	}
	for line := range bytes.FieldsSeq(content) {
		key, err := hex.DecodeString(string(line))
		if err != nil || len(key) != keyBytes {
			return nil, fmt.Errorf("%s holds something other than keys of 64 hexadecimal digits, one a line", name)
		}
		keys = append(keys, key)
	}
	if len(keys) == 0 {
		return nil, fmt.Errorf("%s is empty", name)
	}
	return keys, nil
}

// redisClient returns a client for a URL. It does not connect. Its errors show
// nothing of the URL, which may hold a password.
func redisClient(text string) (redis.UniversalClient, error) {
	redis.SetLogger(silent{})
	u, err := url.Parse(text)
	if err != nil || u.Hostname() == "" || u.Fragment != "" || strings.Contains(u.Path+u.RawQuery, "@") {
		return nil, errors.New("is not a URL like redis://host:6379 (percent-encode the characters / ? # @ of a password)")
	}
	wrong := func(err error) error {
		if u.User != nil || u.Query().Has("password") || u.Query().Has("sentinel_password") {
			return errors.New("has a part that is not understood; it is not shown, because the URL has a password")
		}
		return errors.New(strings.TrimPrefix(err.Error(), "redis: "))
	}
	query := u.Query()
	switch {
	case query.Has("master_name"):
		o, err := redis.ParseFailoverURL(text)
		if err != nil {
			return nil, wrong(err)
		}
		o.ContextTimeoutEnabled, o.DialerRetries, o.PoolSize = true, 1, cmp.Or(o.PoolSize, redisConns)
		o.ReplicaOnly, o.RouteByLatency, o.RouteRandomly = false, false, false // they read old data
		return redis.NewFailoverClient(o), nil
	case query.Has("cluster"), query.Has("addr"):
		query.Del("cluster") // it is ours
		u.RawQuery = query.Encode()
		o, err := redis.ParseClusterURL(u.String())
		if err != nil {
			return nil, wrong(err)
		}
		o.ContextTimeoutEnabled, o.DialerRetries, o.PoolSize = true, 1, cmp.Or(o.PoolSize, redisConns)
		o.ReadOnly, o.RouteByLatency, o.RouteRandomly = false, false, false
		return redis.NewClusterClient(o), nil
	}
	o, err := redis.ParseURL(text)
	if err != nil {
		return nil, wrong(err)
	}
	o.ContextTimeoutEnabled, o.DialerRetries, o.PoolSize = true, 1, cmp.Or(o.PoolSize, redisConns)
	return redis.NewClient(o), nil
}

// silent is go-redis's logger. Otherwise it prints to standard error. The Source logs
// what fails.
type silent struct{}

func (silent) Printf(context.Context, string, ...any) {}
