// Copyright 2026 The authsec Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/authsec-go/authsec/authsectest"
)

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
	prints(t, srv, long, 3, "--refresh")
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
