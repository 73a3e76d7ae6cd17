// Copyright 2026 The authsec Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"encoding/json"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/redis/go-redis/v9"
)

// startRedis runs a redis-server, until the test ends.
func startRedis(t *testing.T, config ...string) (addr string, stop func()) {
	t.Helper()
	binary, err := exec.LookPath("redis-server")
	if err != nil {
		t.Skip("redis-server is not on the PATH")
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr = ln.Addr().String()
	ln.Close()
	_, port, _ := net.SplitHostPort(addr)
	dir := t.TempDir()
	file := filepath.Join(dir, "redis.conf")
	text := strings.Join(append([]string{"port " + port, "bind 127.0.0.1", "dir " + dir}, config...), "\n") + "\n"
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	args := []string{file}
	if strings.Contains(text, "sentinel monitor") {
		args = append(args, "--sentinel")
	}
	cmd := exec.Command(binary, args...)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	stopped := false
	stop = func() {
		if !stopped {
			stopped = true
			cmd.Process.Kill()
			cmd.Wait()
		}
	}
	t.Cleanup(stop)
	eventually(t, "redis-server listens", func() bool {
		conn, err := net.Dial("tcp", addr)
		if err == nil {
			conn.Close()
		}
		return err == nil
	})
	return addr, stop
}

// keyFile is a file with a cache key.
func keyFile(t *testing.T, lines ...string) string {
	t.Helper()
	name := filepath.Join(t.TempDir(), "key")
	if err := os.WriteFile(name, []byte(strings.Join(lines, "\n")+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	return name
}

var someKey, otherKey = strings.Repeat("0a", keyBytes), strings.Repeat("F1", keyBytes)

func TestAFleetSharesTheTokenInRedis(t *testing.T) {
	one, _ := startRedis(t, "requirepass not-secret")
	node, _ := startRedis(t, "cluster-enabled yes")
	client := redis.NewClient(&redis.Options{Addr: node})
	defer client.Close()
	if err := client.ClusterAddSlotsRange(t.Context(), 0, 16383).Err(); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the cluster works", func() bool { return client.Set(t.Context(), "x", "y", 0).Err() == nil })
	master, _ := startRedis(t)
	host, port, _ := net.SplitHostPort(master)
	sentinel, _ := startRedis(t, fmt.Sprintf("sentinel monitor main %s %s 1", host, port))
	for name, url := range map[string]string{
		"one server": "redis://:not-secret@" + one + "/1",
		"Cluster":    "redis://" + node + "?cluster=true",
		"Sentinel":   "redis://" + sentinel + "?master_name=main",
	} {
		t.Run(name, func(t *testing.T) {
			srv, token := agent(t)
			api := startAPI(t, srv, nil, nil)
			t.Setenv("AUTHSEC_PROXY_CACHE", url)
			t.Setenv("AUTHSEC_PROXY_CACHE_KEY_FILE", keyFile(t, someKey))
			for i := range 3 {
				p := startProcess(t, api.URL)
				if status, _, body := get(t, "http://"+p.addr); status != 200 {
					t.Errorf("GET = %d, %s, want 200", status, body)
				}
				if status, _, page := get(t, "http://"+p.health+"/metrics"); status != 200 || !strings.Contains(page, "\nauthsec_cache_failures_total 0\n") ||
					!strings.Contains(page, fmt.Sprintf("\nauthsec_token_fetches_total %d\n", max(0, 1-i))) {
					t.Errorf("proxy %d: the cache failed, or it asked the server itself: %s", i, p.logs.String())
				}
				p.cmd.Process.Signal(os.Interrupt)
				p.exit(t)
				noSecrets(t, "the log", p.logs.String(), token)
				if strings.Contains(p.logs.String(), "not-secret") {
					t.Error("the log has the password")
				}
			}
		})
	}
	client2 := redis.NewClient(&redis.Options{Addr: master})
	defer client2.Close()
	keys, err := client2.Keys(t.Context(), "*").Result()
	if err != nil || len(keys) == 0 {
		t.Fatalf("keys %q, %v, want an entry", keys, err)
	}
	for _, key := range keys {
		entry, _ := client2.Get(t.Context(), key).Result()
		if strings.Contains(key+entry, "eyJ") {
			t.Error("an entry has a token that can be read")
		}
	}
}

func TestARedisThatIsAwayCostsNoRequest(t *testing.T) {
	srv, token := agent(t)
	api := startAPI(t, srv, nil, nil)
	addr, stop := startRedis(t)
	args := []string{"--cache", "redis://user:not-secret@" + addr, "--cache-key-file", keyFile(t, otherKey, someKey)}
	stop()
	for range 2 {
		p := startProcess(t, api.URL, args...)
		if status, _, body := get(t, "http://"+p.addr); status != 200 {
			t.Errorf("GET = %d, %s, want 200", status, body)
		}
		p.cmd.Process.Signal(os.Interrupt)
		p.exit(t)
		logs := p.logs.String()
		if strings.Count(logs, `"msg":"cache failed","agent":"9b477e30…","op":"get"`) != 1 || strings.Contains(logs, "not-secret") {
			t.Errorf("want one line of the cache's failure, and no password:\n%s", logs)
		}
		for line := range strings.Lines(logs) {
			if !json.Valid([]byte(line)) {
				t.Errorf("a line is no JSON: %s", line)
			}
		}
		noSecrets(t, "the log", logs, token)
	}
	if srv.Fetches() != 2 {
		t.Errorf("%d fetches, want one for each proxy", srv.Fetches())
	}
}

func TestTheCacheKeyOfADirectoryMayBeElsewhere(t *testing.T) {
	srv, _ := agent(t)
	api := startAPI(t, srv, nil, nil)
	dir := filepath.Join(t.TempDir(), "cache")
	for _, keys := range [][]string{{someKey}, {otherKey, someKey}} {
		p := startProxy(t, api.URL, "--cache", dir, "--cache-key-file", keyFile(t, keys...))
		if status, _, _ := get(t, p.url); status != 200 {
			t.Errorf("GET = %d, want 200", status)
		}
		p.stop()
	}
	if srv.Fetches() != 1 {
		t.Errorf("%d fetches, want 1: the second proxy has the first one's key", srv.Fetches())
	}
	p := startProxy(t, api.URL, "--cache", dir, "--cache-key-file", keyFile(t, otherKey))
	get(t, p.url)
	if srv.Fetches() != 2 {
		t.Errorf("%d fetches, want 2: the third proxy lacks the entry's key", srv.Fetches())
	}
}

func TestAWrongCacheIsRefusedWithoutThePassword(t *testing.T) {
	agent(t)
	key := keyFile(t, someKey)
	for _, tc := range []struct{ cache, key, want string }{
		{"redis://u:not-secret@", key, "--cache: is not a URL like"},
		{"redis://u:not/secret@a", key, "--cache: is not a URL like"},
		{"redis://u:not?secret@a", key, "--cache: is not a URL like"},
		{"redis://u:1/secret@a", key, "--cache: is not a URL like"},
		{"redis://u:1?secret@a", key, "--cache: is not a URL like"},
		{"redis://u:not#secret@a", key, "--cache: is not a URL like"},
		{"redis://u:not-secret@a/x", key, "a part that is not understood"},
		{"redis://a?cluster=true&password=secret&x=y", key, "a part that is not understood"},
		{"redis://a?nonsense=1", key, "unexpected option: nonsense"},
		{"redis://a?master_name=b&nonsense=1", key, "unexpected option: nonsense"},
		{"redis://a", keyFile(t, "secret"), "something other than keys"},
		{"redis://a", keyFile(t, someKey+"00"), "something other than keys"},
		{"redis://a", keyFile(t, ""), "is empty"},
		{"redis://a", keyFile(t, strings.Repeat(someKey+"\n", maxKeyFile/65+1)), "has more than 65536 bytes"},
		{"redis://a", filepath.Join(t.TempDir(), "none"), "no such file"},
	} {
		code, lines := fails(t, "proxy", "--upstream", "https://a.example", "--listen", "127.0.0.1:0", "--cache", tc.cache, "--cache-key-file", tc.key)
		if code != 1 || !strings.Contains(lines, tc.want) || strings.Contains(lines, "secret") || !strings.HasPrefix(lines, "{") {
			t.Errorf("%s: %d, %s, want 1, a record with %q, and no password", tc.cache, code, lines, tc.want)
		}
	}
}
