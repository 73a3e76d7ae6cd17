// Copyright 2026 The authsec Authors
// SPDX-License-Identifier: Apache-2.0

// Package services_test uses clients of services with delegation tokens: databases,
// object stores, clouds and the like. Each service is imitated, behind an API that
// verifies the token. It is its own module, so that interop does not get the dependencies
// of all these clients.
package services_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/authsec-go/authsec"
	"github.com/authsec-go/authsec/authsectest"
)

// All httptest servers have the same certificate. The default transport trusts it here,
// so the tests need no code that a user's program does not need.
func init() {
	srv := httptest.NewTLSServer(nil)
	defer srv.Close()
	roots := x509.NewCertPool()
	roots.AddCert(srv.Certificate())
	http.DefaultTransport.(*http.Transport).TLSClientConfig = &tls.Config{RootCAs: roots}
}

// roots returns the certificate of httptest's servers.
func roots() *x509.CertPool { return http.DefaultTransport.(*http.Transport).TLSClientConfig.RootCAs }

// timely returns a context for a whole test.
func timely(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	t.Cleanup(cancel)
	return ctx
}

// stack is an AuthSec server with one agent, authsectest.ClientID.
type stack struct {
	*authsectest.Server

	mu     sync.Mutex // guards what follows
	issued []string   // the delegated tokens, in order
	seen   []request  // what APIs got
}

// request is a request to an API.
type request struct {
	method, host, path string
	server             string // the URL of the server that got it
	token              string // "": it had none
}

// String leaves out the token.
func (r request) String() string { return r.method + " " + r.host + r.path }

// newStack starts a server, and delegates to the agent.
func newStack(t *testing.T) *stack {
	s := &stack{Server: authsectest.NewTLSServer()}
	t.Cleanup(s.Close)
	s.delegate()
	return s
}

// api starts a protected API over TLS and HTTP/2. It verifies the token, and then calls
// next.
func (s *stack) api(t *testing.T, next http.Handler) *httptest.Server {
	return s.serve(t, s.API(next, "billing:read"))
}

// serve starts a server over TLS and HTTP/2 that does not verify tokens.
func (s *stack) serve(t *testing.T, h http.Handler) *httptest.Server {
	var srv *httptest.Server
	srv = httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		token := strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer ")
		s.mu.Lock()
		s.seen = append(s.seen, request{r.Method, r.Host, r.URL.Path, srv.URL, token})
		s.mu.Unlock()
		h.ServeHTTP(w, r)
	}))
	srv.EnableHTTP2 = true
	srv.Config.ErrorLog = log.New(io.Discard, "", 0) // has errors of clients that have gone
	srv.StartTLS()
	t.Cleanup(srv.Close)
	return srv
}

// config returns the agent's configuration, with the hosts of apis.
func (s *stack) config(apis ...string) authsec.Config {
	return s.Config(authsectest.ClientID, apis...)
}

func (s *stack) delegate() {
	token := s.Delegate(authsectest.ClientID, authsectest.Delegation{Permissions: []string{"billing:read"}})
	s.mu.Lock()
	defer s.mu.Unlock()
	s.issued = append(s.issued, token)
}

func (s *stack) revoke() { s.Revoke(authsectest.ClientID) }

// redelegate delegates again, and waits until src has the new token.
func (s *stack) redelegate(t *testing.T, src *authsec.Source) {
	t.Helper()
	s.delegate()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	for { // Refresh asks at most once a second
		token, err := src.Refresh(ctx)
		if err == nil && token.AccessToken == s.latest() {
			return
		}
		select {
		case <-ctx.Done():
			t.Fatalf("no new token after a new delegation: %v", err)
		case <-time.After(10 * time.Millisecond):
		}
	}
}

// latest returns the latest token.
func (s *stack) latest() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.issued[len(s.issued)-1]
}

// requests returns the requests that APIs have got.
func (s *stack) requests() []request {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.seen)
}

// checkSeen fails the test unless the latest request to an API had the latest token.
func (s *stack) checkSeen(t *testing.T) {
	t.Helper()
	seen := s.requests()
	if n := len(seen); n == 0 || seen[n-1].token != s.latest() {
		t.Errorf("after %d requests: the latest does not have the latest token", n)
	}
}

// checkNoToken fails the test if a token is in text, which is of an error.
func (s *stack) checkNoToken(t *testing.T, text string) {
	t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	if slices.ContainsFunc(s.issued, func(token string) bool {
		return strings.Contains(text, token[strings.LastIndex(token, ".")+1:])
	}) {
		t.Error("a token is in the text of an error")
	}
}

// checkNotDelegated fails the test unless errors.Is finds authsec.ErrNotDelegated in
// err.
func (s *stack) checkNotDelegated(t *testing.T, err error) {
	t.Helper()
	if !errors.Is(err, authsec.ErrNotDelegated) {
		t.Errorf("errors.Is(err, authsec.ErrNotDelegated) = false, want true: %v", err)
	}
}

// transportOf returns the Transport of a client that authsec.NewClient made.
func transportOf(client *http.Client) *authsec.Transport {
	return client.Transport.(*authsec.Transport)
}

// sourceOf returns a Transport's Source.
func sourceOf(transport *authsec.Transport) *authsec.Source {
	return transport.Source.(*authsec.Source)
}
