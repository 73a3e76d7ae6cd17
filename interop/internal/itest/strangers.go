// Copyright 2026 The authsec Authors
// SPDX-License-Identifier: Apache-2.0

package itest

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"

	"github.com/authsec-go/authsec"
)

// strangers are servers that no Config lists. They count their requests.
type strangers struct {
	stack *Stack

	mu               sync.Mutex // guards what follows
	requests, tokens int
}

func (x *strangers) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	leaked := x.stack.HasToken(fmt.Sprint(r.Header, r.URL))
	x.mu.Lock()
	defer x.mu.Unlock()
	x.requests++
	if leaked {
		x.tokens++
	}
}

// Stray makes calls that go to hosts which the Config does not list: after a redirect of
// a listed API, with 307, and directly, each over TLS and over plain HTTP. It returns how
// many requests went there, and how many of these had a token.
func (s *Stack) Stray(t testing.TB, call func(cfg authsec.Config, url string)) (requests, tokens int) {
	t.Helper()
	there := &strangers{stack: s}
	tls, plain := httptest.NewTLSServer(there), httptest.NewServer(there)
	defer tls.Close()
	defer plain.Close()
	for _, stranger := range []string{tls.URL, plain.URL} {
		api := s.API(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, stranger+r.URL.Path, http.StatusTemporaryRedirect)
		}), Permissions...)
		cfg, before := s.Config(api.URL), s.Requests()
		call(cfg, api.URL)
		if s.Requests() == before {
			t.Error("no request went to the API that redirects")
		}
		call(cfg, stranger)
	}
	there.mu.Lock()
	defer there.mu.Unlock()
	return there.requests, there.tokens
}

// CheckStays fails the test if a library sends a token to another host. The library must
// follow redirects: see Stray.
func (s *Stack) CheckStays(t testing.TB, call func(cfg authsec.Config, url string)) {
	t.Helper()
	requests, tokens := s.Stray(t, call)
	if requests < 4 || tokens > 0 {
		t.Errorf("%d requests went to other hosts, %d of them with a token; want at least 4, and none with a token", requests, tokens)
	}
}
