// Copyright 2026 The authsec Authors
// SPDX-License-Identifier: Apache-2.0

//go:build unix

package rediscache_test

import (
	"bytes"
	"crypto/rand"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/authsec-go/authsec"
	"github.com/authsec-go/authsec/authsectest"
	"github.com/redis/go-redis/v9"
)

const (
	many = 50 // pods that start at once

	lease = 5 * time.Second // a sixth of the default FetchTimeout

	// ample is a CacheConfig.Timeout within which Redis answers on a busy machine,
	// for tests that count requests.
	ample = 5 * time.Second
)

// world is an AuthSec server, and pods of one agent that share a cache. It checks
// that nothing they print has a secret in it.
type world struct {
	testing.TB
	auth    *authsectest.Server
	keys    [][]byte
	logs    syncBuffer
	mu      sync.Mutex // guards what follows
	secrets []string
	pods    []*authsec.Source
}

func newWorld(t testing.TB) *world {
	t.Helper()
	w := &world{TB: t, auth: authsectest.NewServer(), keys: [][]byte{newKey()}, secrets: []string{authsectest.ClientID}}
	t.Cleanup(w.close)
	w.delegate()
	return w
}

func newKey() []byte {
	key := make([]byte, 32)
	rand.Read(key)
	return key
}

// delegate delegates to the agent again, and returns the new token.
func (w *world) delegate() string {
	token := w.auth.Delegate(authsectest.ClientID, authsectest.Delegation{})
	w.mu.Lock()
	defer w.mu.Unlock()
	w.secrets = append(w.secrets, token)
	return token
}

func (w *world) token() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.secrets[len(w.secrets)-1]
}

// close looks for secrets in everything that was printed.
func (w *world) close() {
	w.auth.Close()
	printed := w.logs.String()
	for _, src := range w.pods {
		stats := src.Stats()
		printed += fmt.Sprintf("%v %v %v %v\n", src, stats, stats.LastError, stats.Cache.LastError)
	}
	for _, key := range w.keys {
		w.secrets = append(w.secrets, string(key), hex.EncodeToString(key), base64.StdEncoding.EncodeToString(key), fmt.Sprint(key))
	}
	for i, secret := range w.secrets {
		if strings.Contains(printed, secret) {
			w.Errorf("the log or Stats has secret %d in it (0: the client ID, then tokens, then keys)", i)
		}
	}
}

// pod is one process of the agent.
func (w *world) pod(store authsec.Cache, change ...func(*authsec.Config)) *authsec.Source {
	w.Helper()
	cfg := w.auth.Config(authsectest.ClientID)
	cfg.Cache = &authsec.CacheConfig{Store: store, Keys: authsec.NewCacheKeys(w.keys...), Timeout: ample}
	cfg.Logger = slog.New(slog.NewTextHandler(&w.logs, &slog.HandlerOptions{Level: slog.LevelDebug}))
	for _, c := range change {
		c(&cfg)
	}
	src, err := authsec.NewSource(cfg)
	if err != nil {
		w.Fatalf("NewSource: %v", err)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.pods = append(w.pods, src)
	return src
}

// podAt is a pod with a Redis client of its own.
func (w *world) podAt(addr string, change ...func(*authsec.Config)) *authsec.Source {
	w.Helper()
	return w.pod(newCache(w, connect(w, addr)), change...)
}

func cacheTimeout(d time.Duration) func(*authsec.Config) {
	return func(cfg *authsec.Config) { cfg.Cache.Timeout = d }
}

// mustServe calls Token on all pods at once. Each must get the delegated token,
// within limit.
func (w *world) mustServe(limit time.Duration, pods ...*authsec.Source) (slowest time.Duration) {
	w.Helper()
	var mu sync.Mutex // guards slowest
	var done sync.WaitGroup
	for _, src := range pods {
		done.Go(func() {
			began := time.Now()
			token, err := src.Token()
			took := time.Since(began)
			if err != nil || token.AccessToken != w.token() {
				w.Errorf("Token: got error %v, or another token; want the delegated one", err)
			}
			mu.Lock()
			defer mu.Unlock()
			slowest = max(slowest, took)
		})
	}
	done.Wait()
	if slowest > limit {
		w.Errorf("the slowest of %d calls of Token took %v, want at most %v", len(pods), slowest, limit)
	}
	return slowest
}

// mustAsk checks how many requests the AuthSec server got since there were before.
func (w *world) mustAsk(before, least, most int) {
	w.Helper()
	if got := w.auth.Fetches() - before; got < least || got > most {
		w.Errorf("the server got %d requests, want %d to %d", got, least, most)
	}
}

func (w *world) mustHaveLogged(text string) {
	w.Helper()
	if !strings.Contains(w.logs.String(), text) {
		w.Errorf("the log lacks %q", text)
	}
}

// mustHaveEntry checks that the agent's entry is in Redis and that no lease is: both
// hold when a call of Token returns. It returns the entry's name in Redis.
func (w *world) mustHaveEntry(client redis.UniversalClient) (name string) {
	w.Helper()
	entries := client.Keys(w.Context(), "authsec:*:entry").Val()
	leases := client.Keys(w.Context(), "authsec:*:lease").Val()
	if len(entries) != 1 || len(leases) != 0 {
		w.Fatalf("Redis has %d entries and %d leases, want 1 and 0", len(entries), len(leases))
	}
	return entries[0]
}

// awaitDeletes waits for the deletes that follow failed puts. A caller does not wait
// for one if the cache was slow, and it may delete an entry that was stored since.
func awaitDeletes(timeout time.Duration) { time.Sleep(timeout + timeout/4) }

type syncBuffer struct {
	mu  sync.Mutex // guards buf
	buf bytes.Buffer
}

func (b *syncBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *syncBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}

func repeat(n int, pod func() *authsec.Source) []*authsec.Source {
	pods := make([]*authsec.Source, n)
	for i := range pods {
		pods[i] = pod()
	}
	return pods
}
