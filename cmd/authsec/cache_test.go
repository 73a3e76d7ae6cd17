// Copyright 2026 The authsec Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"io"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/authsec-go/authsec/authsectest"
)

const otherID = "0b5e9c34-6f0e-4b7c-8c1d-2f3a4b5c6d7e"

// tokenOf runs token. It must succeed, and write nothing else.
func tokenOf(t *testing.T, args ...string) (token string) {
	t.Helper()
	var stdout, stderr bytes.Buffer
	if code := run(t.Context(), append([]string{"token"}, args...), &stdout, &stderr); code != 0 || stderr.Len() > 0 {
		t.Fatalf("token %q = %d, %q, want 0 and nothing on standard error", args, code, stderr.String())
	}
	return strings.TrimSuffix(stdout.String(), "\n")
}

// prints fails unless token prints want, after this many fetches in total.
func prints(t *testing.T, srv *authsectest.Server, want string, fetches int, args ...string) {
	t.Helper()
	if got := tokenOf(t, args...); got != want {
		t.Errorf("token %q printed another token than it should", args)
	}
	if got := srv.Fetches(); got != fetches {
		t.Errorf("token %q: the server was asked %d times by now, want %d", args, got, fetches)
	}
}

func TestManyRunsFetchTheTokenOnce(t *testing.T) {
	srv, token := agent(t)
	for range 3 {
		prints(t, srv, token, 1)
	}
	api := httptest.NewServer(srv.API(nil))
	defer api.Close()
	t.Setenv("DOWNSTREAM_URL", api.URL)
	if code, _, errs := runFetch(t, api.URL); code != 0 || srv.Fetches() != 1 {
		t.Errorf("fetch after token = %d, %d fetches, want 0 and the 1 before: %s", code, srv.Fetches(), errs)
	}
	home(t)
	for range 2 {
		if code, _, errs := runFetch(t, api.URL); code != 0 || srv.Fetches() != 2 {
			t.Errorf("fetch in another home = %d, %d fetches, want 0 and 2: %s", code, srv.Fetches(), errs)
		}
	}
	prints(t, srv, token, 2)
}

func TestTheTokenIsStoredBeforeTheProcessEnds(t *testing.T) {
	srv, token := agent(t)
	api := httptest.NewServer(srv.API(nil))
	defer api.Close()
	t.Setenv("DOWNSTREAM_URL", api.URL)
	want := 0
	for _, args := range [][]string{{"token"}, {"fetch", api.URL}} {
		for range 5 {
			home(t)
			if err := command(t, args...).Run(); err != nil {
				t.Fatalf("%s: %v", args[0], err)
			}
			want++
			prints(t, srv, token, want)
		}
	}
}

func TestWithoutTheCacheEachRunFetchesAndLeavesNoFile(t *testing.T) {
	srv, token := agent(t)
	dir := home(t)
	prints(t, srv, token, 1, "-cache=false")
	prints(t, srv, token, 2, "-cache=false", "-renew")
	api := httptest.NewServer(srv.API(nil))
	defer api.Close()
	t.Setenv("DOWNSTREAM_URL", api.URL)
	if code, _, errs := runFetch(t, "-cache=false", api.URL); code != 0 || srv.Fetches() != 3 {
		t.Errorf("fetch -cache=false = %d, %d fetches, want 0 and 3: %s", code, srv.Fetches(), errs)
	}
	if code, got, out := smokeJSON(t); code != 0 || srv.Fetches() != 4 {
		t.Errorf("smoke = %d, %d fetches, ok %v, want 0, 4, true: %s", code, srv.Fetches(), got.OK, out)
	}
	if _, err := os.Stat(filepath.Dir(dir)); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(dir); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the cache's directory: %v, want none", err)
	}
}

func TestTokenRenewFetchesAndLaterRunsUseTheResult(t *testing.T) {
	srv, first := agent(t)
	prints(t, srv, first, 1)
	second := srv.Delegate(authsectest.ClientID, authsectest.Delegation{Permissions: []string{"users:read"}})
	prints(t, srv, first, 1)
	prints(t, srv, second, 2, "-renew")
	prints(t, srv, second, 2)

	srv.Revoke(authsectest.ClientID)
	code, line := failsInOneLine(t, "token", "-renew")
	if code != 1 || !strings.Contains(line, "Trust Delegation") || srv.Fetches() != 3 {
		t.Errorf("revoked: token -renew = %d, %q, %d fetches, want 1, advice and 3", code, line, srv.Fetches())
	}
	noSecrets(t, "standard error", line, second)
}

// A cached token that the API rejects is replaced, for later runs as well.
func TestFetchReplacesARejectedTokenInTheCache(t *testing.T) {
	srv, api, first := fetchServer(t, echo)
	prints(t, srv, first, 1)
	srv.Revoke(authsectest.ClientID)
	second := srv.Delegate(authsectest.ClientID, authsectest.Delegation{})
	if code, _, errs := runFetch(t, api.URL); code != 0 || srv.Fetches() != 2 {
		t.Errorf("fetch = %d after %d fetches, want 0 and 2: %s", code, srv.Fetches(), errs)
	}
	prints(t, srv, second, 2)

	srv.Revoke(authsectest.ClientID)
	cmd := command(t, "fetch", api.URL)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	cmd.Run()
	code, errs := cmd.ProcessState.ExitCode(), stderr.String()
	status, line, _ := strings.Cut(errs, "\n")
	if code != 1 || !strings.HasPrefix(status, "HTTP/1.1 401 ") || !strings.Contains(line, "To do: ") || !strings.Contains(line, "Trust Delegation") {
		t.Errorf("revoked: fetch = %d, %q, want 1, the status and what to do", code, errs)
	}
	noSecrets(t, "standard error", errs, second)
	if code, line := failsInOneLine(t, "token"); code != 1 {
		t.Errorf("after that: token = %d, %q, want 1: both the API and the server say that the delegation ended", code, line)
	}
}

func TestTwentyProcessesFetchOnce(t *testing.T) {
	srv, token := agent(t)
	srv.SetLatency(300 * time.Millisecond)
	var wg sync.WaitGroup
	for range 20 {
		cmd := command(t, "token")
		var stderr bytes.Buffer
		cmd.Stderr = &stderr
		wg.Go(func() {
			out, err := cmd.Output()
			if err != nil || stderr.Len() > 0 || string(out) != token+"\n" {
				t.Errorf("token: %v, %d bytes of output, %q, want the token", err, len(out), stderr.String())
			}
		})
	}
	wg.Wait()
	if got := srv.Fetches(); got != 1 {
		t.Errorf("20 processes asked the server %d times, want once", got)
	}
}

// A command that is killed during its fetch does not block others.
func TestTokenDoesNotWaitForAProcessThatWasKilled(t *testing.T) {
	srv, token := agent(t)
	asked := make(chan bool, 1)
	srv.FailNext(1, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked <- true
		<-r.Context().Done()
	}))
	cmd := command(t, "token")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	arrives(t, asked)
	cmd.Process.Kill()
	cmd.Wait()
	began := time.Now()
	prints(t, srv, token, 2)
	if took := time.Since(began); took > 8*time.Second { // the wait for a held lease is 10 s at least
		t.Errorf("it took %v, want no wait for the lease", took)
	}
}

func TestNoTokenIsReadableInTheCache(t *testing.T) {
	srv, token := agent(t)
	dir := home(t)
	tokenOf(t)
	api := httptest.NewServer(srv.API(nil))
	defer api.Close()
	if code, _, errs := runFetch(t, "-hosts", strings.TrimPrefix(api.URL, "http://"), api.URL); code != 0 {
		t.Fatalf("fetch = %d: %s", code, errs)
	}
	secrets := map[string]string{"the client ID": authsectest.ClientID, "the server": strings.TrimPrefix(srv.URL, "http://")}
	for i, part := range strings.Split(token, ".") {
		secrets["part "+string(rune('0'+i))+" of the token"] = part
		decoded, err := base64.RawURLEncoding.DecodeString(part)
		if err != nil {
			t.Fatal(err)
		}
		secrets["decoded part "+string(rune('0'+i))] = string(decoded)
	}
	read := 0
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		content, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		read += len(content)
		for name, secret := range secrets {
			raw := []byte(secret)
			forms := []string{secret, hex.EncodeToString(raw), base64.StdEncoding.EncodeToString(raw)[:len(secret)], base64.RawURLEncoding.EncodeToString(raw)[:len(secret)]}
			for _, form := range forms {
				if bytes.Contains(content, []byte(form)) || strings.Contains(path, form) {
					t.Errorf("%s is readable in %s", name, d.Name())
				}
			}
		}
		if runtime.GOOS != "windows" {
			if info, err := d.Info(); err != nil || info.Mode().Perm() != 0o600 {
				t.Errorf("%s: mode %v, %v, want 0600", d.Name(), info.Mode(), err)
			}
		}
		return nil
	})
	if err != nil || read < 500 {
		t.Errorf("read %d bytes, %v: that can't be the cache", read, err)
	}
}

func TestACacheWithWrongPermissionsIsLeftAlone(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("permissions are not checked there")
	}
	srv, token := agent(t)
	dir := home(t)
	api := httptest.NewServer(srv.API(nil))
	defer api.Close()
	t.Setenv("DOWNSTREAM_URL", api.URL)
	for i, spoil := range []func() error{
		func() error { return errors.Join(os.MkdirAll(dir, 0o700), os.Chmod(dir, 0o755)) },
		func() error {
			return errors.Join(os.Chmod(dir, 0o700), os.WriteFile(filepath.Join(dir, "key"), make([]byte, 32), 0o644))
		},
		func() error { return errors.Join(os.RemoveAll(dir), os.WriteFile(dir, nil, 0o600)) },
	} {
		if err := spoil(); err != nil {
			t.Fatal(err)
		}
		for command, args := range map[string][]string{"token": {"token"}, "fetch": {"fetch", api.URL}} {
			var stdout, stderr bytes.Buffer
			code := run(t.Context(), args, &stdout, &stderr)
			line, rest, _ := strings.Cut(stderr.String(), "\n")
			if code != 0 || !strings.HasPrefix(line, "authsec "+command+": the cache is not used (-cache=false turns it off): dircache: "+dir) ||
				rest != "" && command == "token" {
				t.Errorf("fault %d: %s = %d, %q, want 0 and one line on the cache", i, command, code, stderr.String())
			}
			if command == "token" && stdout.String() != token+"\n" {
				t.Errorf("fault %d: token printed %d bytes, want the token alone", i, stdout.Len())
			}
		}
	}
	tokenOf(t, "-cache=false")
	if got := srv.Fetches(); got != 7 {
		t.Errorf("%d fetches in 7 runs without a cache, want 7", got)
	}
}

func TestWithoutAPlaceForACacheOneLineSaysSo(t *testing.T) {
	srv, token := agent(t)
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for i, above := range []string{"", file, filepath.Join(file, "below")} {
		for _, name := range homes {
			if t.Setenv(name, above); above == "" {
				os.Unsetenv(name)
			}
		}
		var stdout, stderr bytes.Buffer
		code := run(t.Context(), []string{"token"}, &stdout, &stderr)
		saysNotCached(t, stderr.String())
		if code != 0 || stdout.String() != token+"\n" || srv.Fetches() != i+1 {
			t.Errorf("%q: token = %d, %d bytes, after %d fetches, want 0, the token and %d", above, code, stdout.Len(), srv.Fetches(), i+1)
		}
	}
}

// saysNotCached fails unless stderr is one line that says that the cache is not used.
func saysNotCached(t *testing.T, stderr string) {
	t.Helper()
	if !strings.HasPrefix(stderr, "authsec token: the cache is not used (-cache=false turns it off): ") || strings.Count(stderr, "\n") != 1 {
		t.Errorf("standard error = %q, want one line on the cache", stderr)
	}
}

func TestNoAgentIsGivenAnothersToken(t *testing.T) {
	srv, tokenA := agent(t)
	dir := home(t)
	tokenB := srv.Delegate(otherID, authsectest.Delegation{Permissions: []string{"users:read"}})
	other := authsectest.NewServer()
	defer other.Close()
	elsewhere := other.Delegate(authsectest.ClientID, authsectest.Delegation{Permissions: []string{"users:read"}})
	for range 2 {
		for _, tc := range []struct{ url, id, want string }{
			{srv.URL, authsectest.ClientID, tokenA}, {srv.URL, otherID, tokenB}, {other.URL, authsectest.ClientID, elsewhere},
			{srv.URL + "/", authsectest.ClientID, tokenA},
		} {
			t.Setenv("AUTHSEC_BASE_URL", tc.url)
			t.Setenv("AUTHSEC_AGENT_CLIENT_ID", tc.id)
			if got := tokenOf(t); got != tc.want {
				t.Errorf("agent %s at %s was given another token", tc.id[:8], tc.url)
			}
		}
	}
	if srv.Fetches() != 2 || other.Fetches() != 1 {
		t.Errorf("%d and %d fetches, want 2 and 1", srv.Fetches(), other.Fetches())
	}

	// An entry that was copied over another agent's is not used.
	entries, err := filepath.Glob(filepath.Join(dir, strings.Repeat("[0-9a-f]", 64)))
	if err != nil || len(entries) != 3 {
		t.Fatalf("%d entries, %v, want 3", len(entries), err)
	}
	first, err := os.ReadFile(entries[0])
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range entries[1:] {
		if err := os.WriteFile(name, first, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	t.Setenv("AUTHSEC_BASE_URL", srv.URL)
	t.Setenv("AUTHSEC_AGENT_CLIENT_ID", otherID)
	if got := tokenOf(t); got != tokenB {
		t.Error("an entry that was moved was used for another agent")
	}
	t.Setenv("AUTHSEC_AGENT_CLIENT_ID", authsectest.ClientID)
	if got := tokenOf(t); got != tokenA {
		t.Error("an entry that was moved was used for another agent")
	}
}

func TestACachedTokenThatIsAboutToExpireIsRenewedFirst(t *testing.T) {
	srv, _ := agent(t)
	first := srv.Delegate(authsectest.ClientID, authsectest.Delegation{TTL: lateLife - time.Second})
	prints(t, srv, first, 1) // just fetched: it is not renewed
	second := srv.Delegate(authsectest.ClientID, authsectest.Delegation{TTL: lateLife - time.Second, Permissions: []string{"users:read"}})
	prints(t, srv, second, 2)
	for range 3 { // not each run
		prints(t, srv, second, 2)
	}
	long := srv.Delegate(authsectest.ClientID, authsectest.Delegation{})
	prints(t, srv, long, 3, "-renew")
	prints(t, srv, long, 3)
}

func TestACachedTokenIsPrintedIfItCantBeRenewed(t *testing.T) {
	srv, _ := agent(t)
	dir := home(t)
	token := srv.Delegate(authsectest.ClientID, authsectest.Delegation{TTL: 15 * time.Second})
	prints(t, srv, token, 1)
	answer := make(chan bool)
	for name, answer := range map[string]http.Handler{
		"429":   authsectest.Answer(http.StatusTooManyRequests, `{"error":"Rate limit exceeded"}`),
		"500":   authsectest.Answer(http.StatusInternalServerError, `{"error":"Failed to connect to tenant database"}`),
		"404":   authsectest.Answer(http.StatusNotFound, `{"error":"No active delegation token found"}`),
		"hangs": http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { hold(r, answer) }),
	} {
		before, began := srv.Fetches(), time.Now()
		srv.Fail(answer)
		if got := tokenOf(t); got != token {
			t.Errorf("%s: the cached token was not printed", name)
		}
		if took := time.Since(began); took > 10*time.Second { // half of its life, and something for a slow machine
			t.Errorf("%s: it was printed after %v", name, took)
		}
		if srv.Fetches() == before {
			t.Errorf("%s: the server was not asked", name)
		}
		srv.Fail(nil)
		forget(t, dir)
	}
	close(answer) // ends the fetch that was left behind
}

// forget removes the mark of a late renewal. It has no token in it.
func forget(t *testing.T, dir string) {
	t.Helper()
	entries, err := filepath.Glob(filepath.Join(dir, strings.Repeat("[0-9a-f]", 64)))
	if err != nil {
		t.Fatal(err)
	}
	removed := 0
	for _, name := range entries {
		if info, err := os.Stat(name); err == nil && info.Size() < 100 {
			os.Remove(name)
			removed++
		}
	}
	if removed != 1 {
		t.Fatalf("%d marks of a late renewal, want 1", removed)
	}
}

func TestUsageSaysWhereTheCacheIs(t *testing.T) {
	dir := home(t)
	for _, name := range []string{"token", "fetch"} {
		var stdout, stderr bytes.Buffer
		run(t.Context(), []string{name, "-h"}, &stdout, &stderr)
		if got := stderr.String(); !strings.Contains(got, dir+"\n") || !strings.Contains(got, "-cache") {
			t.Errorf("%s -h does not tell of %s and -cache:\n%s", name, dir, got)
		}
		if _, err := os.Stat(dir); err == nil {
			t.Errorf("%s -h made the directory", name)
		}
	}
	for _, name := range homes {
		os.Unsetenv(name)
	}
	var stdout, stderr bytes.Buffer
	run(t.Context(), []string{"token", "-h"}, &stdout, &stderr)
	if !strings.Contains(stderr.String(), "not kept for later runs") {
		t.Errorf("without a home: token -h does not say that there is no cache:\n%s", stderr.String())
	}
}

func TestProxiesShareADirectory(t *testing.T) {
	srv, token := agent(t)
	api := startAPI(t, srv, nil, nil)
	dir := filepath.Join(t.TempDir(), "shared", "authsec")
	var all []*running
	for range 3 {
		p := startProxy(t, api.URL, "-cache-dir", dir)
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
	p := startProxy(t, api.URL, "-cache-dir", dir)
	if status, _, _ := get(t, p.url+"/x"); status != 200 || srv.Fetches() != 2 {
		t.Errorf("with a changed entry: GET = %d after %d fetches, want 200 and 2", status, srv.Fetches())
	}
	if got := metricsOf(t, p)["authsec_cache_rejects_total"]; got < 1 {
		t.Errorf("authsec_cache_rejects_total = %v, want the changed entry", got)
	}
	if runtime.GOOS == "windows" {
		return
	}
	p = startProxy(t, api.URL, "-cache-dir", dir)
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
