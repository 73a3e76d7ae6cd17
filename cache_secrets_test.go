// Copyright 2026 The authsec Authors
// SPDX-License-Identifier: Apache-2.0

package authsec_test

import (
	"bytes"
	"context"
	"encoding/base64"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/authsec-go/authsec"
	"github.com/authsec-go/authsec/authsectest"
)

func TestNewSourceNamesFaultsOfCacheConfig(t *testing.T) {
	for _, c := range []struct {
		name string
		edit func(*authsec.Config)
		want string // "": no fault
	}{
		{"no key", func(c *authsec.Config) { c.Cache.Keys = authsec.CacheKeys{} }, "Config.Cache.Keys is empty"},
		{"a short key", func(c *authsec.Config) { c.Cache.Keys = authsec.NewCacheKeys(cacheKey(), make([]byte, 16)) }, "Config.Cache.Keys: key 1 has 16 bytes, not 32"},
		{"no store", func(c *authsec.Config) { c.Cache.Store = nil }, "Config.Cache.Store is nil"},
		{"both", func(c *authsec.Config) { c.Cache.InsecurePlaintext = true }, "Config.Cache.Keys and InsecurePlaintext are both set"},
		{"a negative time-out", func(c *authsec.Config) { c.Cache.Timeout = -1 }, "Config.Cache.Timeout: -1ns is negative"},
		{"encrypted", func(*authsec.Config) {}, ""},
		{"plaintext", func(c *authsec.Config) { c.Cache.Keys, c.Cache.InsecurePlaintext = authsec.CacheKeys{}, true }, ""},
	} {
		cfg := goodConfig()
		cfg.Cache = &authsec.CacheConfig{Store: new(leaseCache), Keys: authsec.NewCacheKeys(cacheKey())}
		c.edit(&cfg)
		_, err := authsec.NewSource(cfg)
		if (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: got %v, want %q", c.name, err, c.want)
		}
	}
}

func TestStoredTokensAreEncrypted(t *testing.T) {
	for _, plaintext := range []bool{false, true} {
		fleetBubble(t, func(t *testing.T, x *fleet) {
			x.delegate("first", time.Hour)
			x.pod(func(c *authsec.Config) {
				if plaintext {
					c.Cache.Keys, c.Cache.InsecurePlaintext = authsec.CacheKeys{}, true
				}
			})
			token := x.want("first").AccessToken
			for key, e := range x.cache.all() {
				if strings.Contains(key, authsectest.ClientID[:8]) {
					t.Error("the entry's key has the client ID in it")
				}
				shown := bytes.Contains(e.data, []byte(token)) || bytes.Contains(e.data, []byte(authsectest.ClientID)) ||
					bytes.Contains(e.data, []byte(base64.StdEncoding.EncodeToString([]byte(token))[:40]))
				if shown != plaintext {
					t.Errorf("plaintext %t: a secret can be read in the cache: %t", plaintext, shown)
				}
			}
			x.pod() // which has a key
			x.want("first")
			if hits := x.src.Stats().Cache.Hits; (hits == 1) == plaintext {
				t.Errorf("plaintext %t: a process with a key took the entry: %t", plaintext, hits == 1)
			}
		})
	}
}

func TestKeysRotateWithoutAMiss(t *testing.T) {
	fleetBubble(t, func(t *testing.T, x *fleet) {
		x.delegate("first", time.Hour)
		older, newer := cacheKey(), cacheKey()
		keys := func(keys ...[]byte) func(*authsec.Config) {
			return func(c *authsec.Config) { c.Cache.Keys = authsec.NewCacheKeys(keys...) }
		}
		x.pod(keys(older))
		x.want("first")
		for _, step := range [][][]byte{{older, newer}, {older}, {newer, older}, {older, newer}, {newer}} {
			// As a new process of each step writes, those of the step before read.
			x.pod(keys(step...))
			x.want("first")
			if len(step) == 2 && &step[0][0] == &newer[0] {
				x.wantRefresh("first")
			}
		}
		for _, pod := range x.pods {
			if n := pod.Stats().Cache.Rejects; n > 0 && pod != x.pods[2] {
				t.Errorf("%d entries were rejected, want none", n)
			}
		}
	})
}

func TestCacheKeysAreNotPrinted(t *testing.T) {
	key := []byte("0123456789abcdefghijklmnopqrstuv")
	cfg := goodConfig()
	cfg.Cache = &authsec.CacheConfig{Store: new(leaseCache), Keys: authsec.NewCacheKeys(key)}
	src := newSource(t, cfg)
	secrets := map[string]string{"the key": string(key), "the key in numbers": "48 49 50 51 52", "the key in hex": "30313233"}
	checkFormats(t, "Config", cfg, secrets)
	checkFormats(t, "CacheConfig", *cfg.Cache, secrets)
	checkFormats(t, "a Config in another type", struct{ cfg authsec.Config }{cfg}, secrets)
	checkFormats(t, "Source", src, secrets)
	var log bytes.Buffer
	slog.New(slog.NewTextHandler(&log, nil)).Info("x", "cfg", cfg, "src", src)
	checkSecrets(t, "log", log.String(), secrets)
}

// A store's error may quote the entry.
func TestStoresErrorDoesNotShowAPlaintextToken(t *testing.T) {
	fleetBubble(t, func(t *testing.T, x *fleet) {
		const secret = "opaque-token-0123456789"
		x.pod(func(c *authsec.Config) {
			c.Cache = &authsec.CacheConfig{Store: talkative{}, InsecurePlaintext: true}
		}, answeredBy(authsectest.Answer(200, `{"token":"`+secret+`","ttl_seconds":3600}`)))
		x.src.Token()
		if text := fmt.Sprint(x.src.Stats().Cache.LastError); strings.Contains(text, secret) {
			t.Error("Stats.Cache.LastError: got the token in it, want none")
		}
		for _, e := range x.log.all() {
			if strings.Contains(e.text, secret) {
				t.Errorf("log %q: got the token in it, want none", e.msg)
			}
		}
	})
}

type talkative struct{}

func (talkative) Get(context.Context, string) ([]byte, error) { return nil, authsec.ErrCacheMiss }

func (talkative) Put(_ context.Context, key string, data []byte, _ time.Duration) error {
	return fmt.Errorf("SET %s %s: OOM command not allowed", key, data[1:])
}

func (talkative) Delete(context.Context, string) error { return nil }
