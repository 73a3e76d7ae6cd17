// Copyright 2026 The authsec Authors
// SPDX-License-Identifier: Apache-2.0

package fetchtool_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/authsec-go/authsec/authsectest"
	"github.com/authsec-go/authsec/fetchtool"
)

// patience bounds the waits of tests that use a real network.
const patience = 20 * time.Second

// callContext bounds a test's calls.
func callContext(t testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	t.Cleanup(cancel)
	return ctx
}

// stack is an AuthSec server that has delegated, and a tool.
type stack struct {
	*authsectest.Server
	tool  *fetchtool.Tool
	token string
}

// newStack returns a tool whose requests base answers, with no network. change
// may be nil.
func newStack(t testing.TB, base http.RoundTripper, change func(*fetchtool.Config)) *stack {
	t.Helper()
	s := &stack{Server: authsectest.NewInMemoryServer()}
	s.token = s.Delegate(authsectest.ClientID, authsectest.Delegation{Permissions: []string{"billing:read"}})
	cfg := fetchtool.Config{
		AuthSec:        s.Config(authsectest.ClientID),
		DownstreamURLs: []string{"https://api.example.com/v1"},
		Base:           base,
	}
	if change != nil {
		change(&cfg)
	}
	var err error
	if s.tool, err = fetchtool.New(cfg); err != nil {
		t.Fatal(err)
	}
	return s
}

// newServers returns a tool for a real API on loopback that verifies tokens.
func newServers(t testing.TB, next http.Handler, change func(*fetchtool.Config)) (*stack, *httptest.Server) {
	t.Helper()
	s := &stack{Server: authsectest.NewServer()}
	t.Cleanup(s.Close)
	s.token = s.Delegate(authsectest.ClientID, authsectest.Delegation{Permissions: []string{"billing:read"}})
	api := httptest.NewServer(s.API(next, "billing:read"))
	t.Cleanup(api.Close)
	cfg := fetchtool.Config{AuthSec: s.Config(authsectest.ClientID), DownstreamURLs: []string{api.URL + "/v1"}, Base: api.Client().Transport}
	if change != nil {
		change(&cfg)
	}
	var err error
	if s.tool, err = fetchtool.New(cfg); err != nil {
		t.Fatal(err)
	}
	return s, api
}

// call calls the tool and fails on a Go error.
func (s *stack) call(t testing.TB, input string) string {
	t.Helper()
	text, err := s.tool.Call(callContext(t), input)
	if err != nil {
		t.Fatalf("Call(%.200q): got the error %v, want text", input, err)
	}
	return text
}

// fail fetches and returns the Error that must come of it.
func (s *stack) fail(t testing.TB, req fetchtool.Request, want fetchtool.Kind) *fetchtool.Error {
	t.Helper()
	result, err := s.tool.Fetch(callContext(t), req)
	var e *fetchtool.Error
	if !errors.As(err, &e) {
		t.Fatalf("Fetch(%+v): got %v, %v, want an *Error", req, result, err)
	}
	if e.Kind != want {
		t.Fatalf("Fetch(%+v): got the kind %q (%v), want %q", req, e.Kind, e, want)
	}
	return e
}

// ledger is a base transport that keeps what was sent, and has it answered.
type ledger struct {
	handler http.Handler // nil: 200 "ok"
	mu      sync.Mutex
	sent    []string // method, URL as sent
	auth    []string // Authorization headers
	bodies  []string // content type, body
}

func (l *ledger) RoundTrip(req *http.Request) (*http.Response, error) {
	body := ""
	if req.Body != nil {
		var b strings.Builder
		buf := make([]byte, 1<<10)
		for {
			n, err := req.Body.Read(buf)
			b.Write(buf[:n])
			if err != nil {
				break
			}
		}
		req.Body.Close()
		body = b.String()
	}
	l.mu.Lock()
	l.sent = append(l.sent, req.Method+" "+req.URL.Scheme+"://"+req.URL.Host+req.URL.RequestURI())
	l.auth = append(l.auth, req.Header.Get("Authorization"))
	l.bodies = append(l.bodies, req.Header.Get("Content-Type")+"|"+body)
	l.mu.Unlock()
	req = req.Clone(req.Context())
	req.Body = nil
	handler := l.handler
	if handler == nil {
		handler = text("ok")
	}
	return authsectest.RoundTripper(handler).RoundTrip(req)
}

func (l *ledger) requests() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return append([]string(nil), l.sent...)
}

// text answers 200 with a plain text.
func text(body string) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		fmt.Fprint(w, body)
	})
}

// wantIn fails unless text holds all parts.
func wantIn(t testing.TB, text string, parts ...string) {
	t.Helper()
	for _, part := range parts {
		if !strings.Contains(text, part) {
			t.Errorf("got the text %.500q, want %q in it", text, part)
		}
	}
}

// wantSecret fails if text holds the token, the client ID or its beginning, or
// the AuthSec server's URL.
func (s *stack) wantSecret(t testing.TB, text string) {
	t.Helper()
	lower := strings.ToLower(text)
	for name, secret := range map[string]string{
		"token": s.token, "token's signature": s.token[strings.LastIndex(s.token, ".")+1:],
		"client ID": authsectest.ClientID, "client ID's beginning": authsectest.ClientID[:8], "AuthSec server": s.URL,
	} {
		if strings.Contains(lower, strings.ToLower(secret)) {
			t.Errorf("the text holds the %s, want it without", name)
		}
	}
}
