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

	lease = 5 * time.Second // of a fetch with the default FetchTimeout

	// ample is a CacheTimeout that a working Redis keeps on a busy machine, for
	// tests that count requests.
	ample = 5 * time.Second
)

// world is an AuthSec server, and pods of one agent that share a cache. It
// checks that nothing they print tells a secret.
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

// delegate delegates to the agent anew, and returns the token.
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

// close looks for secrets in all that was printed.
func (w *world) close() {
	w.auth.Close()
	said := w.logs.String()
	for _, src := range w.pods {
		stats := src.Stats()
		said += fmt.Sprintf("%v %+v %v %v\n", src, stats, stats.LastError, stats.LastCacheError)
	}
	for _, key := range w.keys {
		w.secrets = append(w.secrets, string(key), hex.EncodeToString(key), base64.StdEncoding.EncodeToString(key), fmt.Sprint(key))
	}
	for i, secret := range w.secrets {
		if strings.Contains(said, secret) {
			w.Errorf("what was logged, or Stats, tells secret %d (0: the client ID, then tokens, then keys)", i)
		}
	}
}

// pod is one process of the agent.
func (w *world) pod(store authsec.Cache, change ...func(*authsec.Config)) *authsec.Source {
	w.Helper()
	cfg := w.auth.Config(authsectest.ClientID)
	cfg.Cache, cfg.CacheKeys, cfg.CacheTimeout = store, w.keys, ample
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
	return func(cfg *authsec.Config) { cfg.CacheTimeout = d }
}

// flush waits until the pods are done with the cache: a delete that follows upon a
// put that failed may come late.
func (w *world) flush(pods ...*authsec.Source) {
	w.Helper()
	for _, src := range pods {
		if err := src.Flush(w.Context()); err != nil {
			w.Error(err)
		}
	}
}

// mustServe has all pods ask for a token at once. Each must get the one that is
// delegated, within limit.
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
				w.Errorf("Token: got error %v, or another token; want the one that was delegated", err)
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

// mustAsk holds the number of requests at the server since the last call against a range.
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

// awaitEntry waits until the agent's entry is in Redis: callers have their token
// before that. It returns the entry's name there.
func (w *world) awaitEntry(client redis.UniversalClient) (name string) {
	w.Helper()
	eventually(w, "an entry in Redis", func() bool {
		names := client.Keys(w.Context(), "authsec:*:entry").Val()
		if len(names) == 1 {
			name = names[0]
		}
		return name != ""
	})
	eventually(w, "no lease in Redis", func() bool {
		return len(client.Keys(w.Context(), "authsec:*:lease").Val()) == 0
	})
	return name
}

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
