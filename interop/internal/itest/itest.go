// Copyright 2026 The authsec Authors
// SPDX-License-Identifier: Apache-2.0

// Package itest has what this module's tests share: an AuthSec server, an agent with a
// delegation, and protected APIs.
package itest

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

// Permissions and Audience are those of the agent's delegation.
var (
	Permissions = []string{"billing:read"}
	Audience    = []string{"billing-api"}
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

// Timely returns a context for a whole test.
func Timely(t testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	t.Cleanup(cancel)
	return ctx
}

// Stack is an AuthSec server with one agent, authsectest.ClientID.
type Stack struct {
	*authsectest.Server

	mu     sync.Mutex // guards what follows
	issued []string   // the delegated tokens, in order
	seen   []string   // the tokens that APIs got
}

// New starts a server, and delegates to the agent.
func New(t testing.TB) *Stack {
	s := &Stack{Server: authsectest.NewTLSServer()}
	t.Cleanup(s.Close)
	s.Delegate()
	return s
}

// API starts a protected API over TLS and HTTP/2. It verifies the token, and then calls
// next.
func (s *Stack) API(t testing.TB, next http.Handler, permissions ...string) *httptest.Server {
	return s.Serve(t, s.Server.API(next, permissions...))
}

// Serve starts a server over TLS and HTTP/2 with a handler that verifies tokens
// itself.
func (s *Stack) Serve(t testing.TB, h http.Handler) *httptest.Server {
	srv := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		token := strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer ")
		s.mu.Lock()
		s.seen = append(s.seen, token)
		s.mu.Unlock()
		h.ServeHTTP(w, r)
	}))
	srv.EnableHTTP2 = true
	srv.Config.ErrorLog = log.New(io.Discard, "", 0) // has errors of clients that have gone
	srv.StartTLS()
	t.Cleanup(srv.Close)
	return srv
}

// Config returns the agent's configuration, with the hosts of apis.
func (s *Stack) Config(apis ...string) authsec.Config {
	return s.Server.Config(authsectest.ClientID, apis...)
}

// Delegate delegates Permissions to the agent.
func (s *Stack) Delegate() { s.delegate(Permissions) }

func (s *Stack) delegate(permissions []string) {
	token := s.Server.Delegate(authsectest.ClientID, authsectest.Delegation{Permissions: permissions, Audience: Audience})
	s.mu.Lock()
	defer s.mu.Unlock()
	s.issued = append(s.issued, token)
}

// Revoke ends the agent's delegation.
func (s *Stack) Revoke() { s.Server.Revoke(authsectest.ClientID) }

// Redelegate delegates again, and waits until src has the new token.
func (s *Stack) Redelegate(t testing.TB, src *authsec.Source) {
	t.Helper()
	s.Permit(t, src, Permissions...)
}

// Permit delegates these permissions, and waits until src has the new token.
func (s *Stack) Permit(t testing.TB, src *authsec.Source, permissions ...string) {
	t.Helper()
	s.delegate(permissions)
	want := s.token()
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	for { // Refresh asks at most once a second
		token, err := src.Refresh(ctx)
		if err == nil && token.AccessToken == want {
			return
		}
		select {
		case <-ctx.Done():
			t.Fatalf("no new token after a new delegation: %v", err)
		case <-time.After(10 * time.Millisecond):
		}
	}
}

// token returns the latest token.
func (s *Stack) token() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.issued[len(s.issued)-1]
}

// CheckSeen fails the test unless the latest request to an API had the latest token.
func (s *Stack) CheckSeen(t testing.TB) {
	t.Helper()
	want := s.token()
	s.mu.Lock()
	defer s.mu.Unlock()
	if n := len(s.seen); n == 0 || s.seen[n-1] != want {
		t.Errorf("after %d requests: the latest does not have the latest token", n)
	}
}

// Last returns the token of the latest request to an API. "": it had none.
func (s *Stack) Last() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.seen[len(s.seen)-1]
}

// Requests returns how many requests APIs have got.
func (s *Stack) Requests() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.seen)
}

// HasToken reports whether a token is in text.
func (s *Stack) HasToken(text string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.ContainsFunc(s.issued, func(token string) bool {
		return strings.Contains(text, token[strings.LastIndex(token, ".")+1:])
	})
}

// CheckNoToken fails the test if a token is in text, which is of an error or an answer.
func (s *Stack) CheckNoToken(t testing.TB, text string) {
	t.Helper()
	if s.HasToken(text) {
		t.Error("a token is in the text of an error or an answer")
	}
}

// CheckNotDelegated fails the test unless err is authsec.ErrNotDelegated and has no
// token in it.
func (s *Stack) CheckNotDelegated(t testing.TB, err error) {
	t.Helper()
	if err == nil {
		t.Fatal("no error without a delegation")
	}
	s.CheckNoToken(t, err.Error())
	if !errors.Is(err, authsec.ErrNotDelegated) {
		t.Errorf("errors.Is(err, authsec.ErrNotDelegated) = false, want true: %v", err)
	}
}

// SourceOf returns the Source of a client that authsec.NewClient made.
func SourceOf(client *http.Client) *authsec.Source {
	return client.Transport.(*authsec.Transport).Source.(*authsec.Source)
}

// Live takes a library through the life of a delegation: call succeeds, fails after a
// revocation, and succeeds again after a new delegation. It returns call's errors: the
// first one after the revocation, when an API rejects the token, and the second, when
// there is no token.
func (s *Stack) Live(t testing.TB, src *authsec.Source, call func() error) (rejected, without error) {
	t.Helper()
	if err := call(); err != nil {
		t.Fatalf("with a delegation: %v", err)
	}
	s.CheckSeen(t)

	s.Revoke()
	for _, err := range []*error{&rejected, &without} {
		if *err = call(); *err == nil {
			t.Fatal("no error without a delegation")
		}
		s.CheckNoToken(t, (*err).Error())
	}
	t.Logf("revoked: %v", rejected)
	t.Logf("without: %v", without)

	s.Redelegate(t, src)
	if err := call(); err != nil {
		t.Fatalf("with a new delegation: %v", err)
	}
	s.CheckSeen(t)
	return rejected, without
}

// Replace revokes and delegates again between two calls. Neither call may fail.
func (s *Stack) Replace(t testing.TB, call func() error) {
	t.Helper()
	if err := call(); err != nil {
		t.Fatalf("with a delegation: %v", err)
	}
	s.CheckSeen(t)
	s.Revoke()
	s.Delegate()
	if err := call(); err != nil {
		t.Fatalf("after a revocation and a new delegation: %v", err)
	}
	s.CheckSeen(t)
}
