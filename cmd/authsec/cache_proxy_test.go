// Copyright 2026 The authsec Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
)

func TestProxiesShareADirectory(t *testing.T) {
	srv, token := agent(t)
	api := startAPI(t, srv, nil, nil)
	dir := filepath.Join(t.TempDir(), "shared", "authsec")
	var all []*running
	for range 3 {
		p := startProxy(t, api.URL, "--cache", dir)
		if status, _, body := get(t, p.url+"/x"); status != 200 {
			t.Errorf("GET = %d, %q, want 200", status, body)
		}
		all = append(all, p)
	}
	if got := srv.Fetches(); got != 1 {
		t.Errorf("3 proxies asked %d times, want once", got)
	}
	for i, p := range all {
		got := metricsOf(t, p)
		hit, fetch := 1.0, 0.0
		if i == 0 {
			hit, fetch = 0, 1
		}
		for name, want := range map[string]float64{
			`authsec_cache_lookups_total{authsec_cache_result="hit"}`: hit, `authsec_cache_lookups_total{authsec_cache_result="miss"}`: fetch, "authsec_token_fetches_total": fetch,
			"authsec_cache_failures_total": 0, "authsec_cache_rejects_total": 0,
		} {
			if v, ok := got[name]; !ok || v != want {
				t.Errorf("proxy %d: %s = %v, there %v, want %v", i, name, v, ok, want)
			}
		}
		noSecrets(t, "the log", p.logs.String(), token)
	}

	// An entry that was tampered with is not used, and neither is a directory.
	entries, err := filepath.Glob(filepath.Join(dir, strings.Repeat("[0-9a-f]", 64)))
	if err != nil || len(entries) != 1 {
		t.Fatalf("%d entries, %v, want 1", len(entries), err)
	}
	content, err := os.ReadFile(entries[0])
	if err != nil {
		t.Fatal(err)
	}
	content[len(content)-1] ^= 1
	if err := os.WriteFile(entries[0], content, 0o600); err != nil {
		t.Fatal(err)
	}
	p := startProxy(t, api.URL, "--cache", dir)
	if status, _, _ := get(t, p.url+"/x"); status != 200 || srv.Fetches() != 2 {
		t.Errorf("with a changed entry: GET = %d after %d fetches, want 200 and 2", status, srv.Fetches())
	}
	if got := metricsOf(t, p)["authsec_cache_rejects_total"]; got < 1 {
		t.Errorf("authsec_cache_rejects_total = %v, want the changed entry", got)
	}
	if runtime.GOOS == "windows" {
		return
	}
	p = startProxy(t, api.URL, "--cache", dir)
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	if status, _, _ := get(t, p.url+"/x"); status != 200 || srv.Fetches() != 3 {
		t.Errorf("with an open directory: GET = %d after %d fetches, want 200 and 3", status, srv.Fetches())
	}
	if got := metricsOf(t, p)["authsec_cache_failures_total"]; got < 1 {
		t.Errorf("authsec_cache_failures_total = %v, want the directory's", got)
	}
}

func TestProxyProcessesShareADirectoryFromTheEnvironment(t *testing.T) {
	srv, _ := agent(t)
	api := startAPI(t, srv, nil, nil)
	t.Setenv("AUTHSEC_PROXY_CACHE_DIR", filepath.Join(t.TempDir(), "authsec"))
	var wg sync.WaitGroup
	var all []*exec.Cmd
	for range 4 {
		p := startProcess(t, api.URL)
		all = append(all, p.cmd)
		wg.Go(func() {
			resp, err := client.Get("http://" + p.addr + "/x")
			if err != nil {
				t.Error(err)
				return
			}
			io.Copy(io.Discard, resp.Body)
			if resp.Body.Close(); resp.StatusCode != 200 {
				t.Errorf("GET = %d, want 200", resp.StatusCode)
			}
		})
	}
	wg.Wait()
	for _, cmd := range all {
		cmd.Process.Kill()
		cmd.Wait()
	}
	if got := srv.Fetches(); got != 1 {
		t.Errorf("4 proxies asked %d times, want once", got)
	}
}
