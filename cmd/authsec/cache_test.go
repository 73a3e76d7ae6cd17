// Copyright 2026 The authsec Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"errors"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
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
	prints(t, srv, token, 1, "--cache=false")
	prints(t, srv, token, 2, "--cache=false", "--refresh")
	api := httptest.NewServer(srv.API(nil))
	defer api.Close()
	t.Setenv("DOWNSTREAM_URL", api.URL)
	if code, _, errs := runFetch(t, "--cache=false", api.URL); code != 0 || srv.Fetches() != 3 {
		t.Errorf("fetch --cache=false = %d, %d fetches, want 0 and 3: %s", code, srv.Fetches(), errs)
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
	prints(t, srv, second, 2, "--refresh")
	prints(t, srv, second, 2)

	srv.Revoke(authsectest.ClientID)
	code, line := fails(t, "token", "--refresh")
	if code != 1 || !strings.Contains(line, "Trust Delegation") || srv.Fetches() != 3 {
		t.Errorf("revoked: token --refresh = %d, %q, %d fetches, want 1, advice and 3", code, line, srv.Fetches())
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
	if code, line := fails(t, "token"); code != 1 {
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
