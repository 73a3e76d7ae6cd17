// Copyright 2026 The authsec Authors
// SPDX-License-Identifier: Apache-2.0

package dev

import (
	"fmt"
	"io"
	"log"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/authsec-go/authsec/authsectest"
	"github.com/authsec-go/authsec/cmd/authsec/internal/answers"
	"github.com/authsec-go/authsec/verify"
)

// userFlow begins the paths that AuthSec's own SDKs ask.
const userFlow = "/uflow/"

// rateWindow is the window of the server's rate limit.
const rateWindow = time.Minute

// server is the AuthSec server and the protected API, as two handlers.
type server struct {
	opts    options
	double  *authsectest.Server
	log     *log.Logger
	authsec http.Handler
	api     http.Handler

	mu      sync.Mutex // guards what follows
	expires time.Time  // of the active delegation; zero: none
}

// newServer returns a server without a delegation. It writes a line for each request
// to w.
func newServer(o options, w io.Writer) (*server, error) {
	s := &server{opts: o, double: authsectest.NewInMemoryServer(), log: log.New(w, "", log.Ltime)}
	s.double.Register(o.clientID)
	s.double.LimitRate(o.rateLimit, rateWindow)
	s.double.SetLatency(o.latency)
	if o.generation == newer {
		s.double.RequireCredential(credential)
	}
	verifier, err := verify.New(verify.Config{
		BaseURL: s.double.URL, HTTPClient: s.double.Client(), Tenants: []string{authsectest.TenantID},
		Audience: o.audience, Logger: slog.New(reasons{}),
	})
	if err != nil {
		return nil, err
	}

	s.authsec = s.logged(http.HandlerFunc(s.serveAuthSec), s.explainAuthSec)

	// A token is verified as any API does it. Then the double rejects it if it was
	// revoked, which an API can't tell with the older generation.
	whoami := verify.RequirePermissions(o.require...)(http.HandlerFunc(serveWhoAmI))
	s.api = s.logged(verifier.Handler(s.double.API(whoami)), s.explainAPI)
	return s, nil
}

// serveAuthSec answers as an AuthSec server. It takes /uflow/… for /authsec/uflow/…,
// because AuthSec's own SDKs ask there. Admin requests don't count for the rate limit,
// so that one can always delegate.
func (s *server) serveAuthSec(w http.ResponseWriter, r *http.Request) {
	if strings.HasPrefix(r.URL.Path, userFlow) {
		r = r.Clone(r.Context())
		r.URL.Path, r.URL.RawPath = "/authsec"+r.URL.Path, ""
	}
	if s.serveAdmin(w, r) {
		return
	}
	if isEndpoint(r) && rand.Float64() < s.opts.failRate {
		s.double.FailNext(1, s.failure())
	}
	s.double.Handler().ServeHTTP(w, r)
}

func isEndpoint(r *http.Request) bool {
	return r.Method == http.MethodGet && r.URL.Path == authsectest.EndpointPath
}

// failure answers with the status of --fail, in the words of a real server or of a
// proxy in front of it.
func (s *server) failure() http.Handler {
	status := s.opts.fail
	var answer http.Handler
	switch status {
	case http.StatusUnauthorized:
		answer = authsectest.Unauthorized("Invalid or expired token")
	case http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout:
		answer = authsectest.Answer(status, fmt.Sprintf("<html><body><h1>%d %s</h1></body></html>\n", status, http.StatusText(status)))
	default:
		answer = authsectest.Answer(status, fmt.Sprintf(`{"error":%q}`, http.StatusText(status)))
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		noteFor(r.Context(), "a failure, because of --fail or --fail-rate")
		answer.ServeHTTP(w, r)
	})
}

// serveWhoAmI answers with who called, and what they may do.
func serveWhoAmI(w http.ResponseWriter, r *http.Request) {
	claims, _ := verify.FromContext(r.Context())
	w.Header().Set("Cache-Control", "no-store")
	answers.WriteJSON(w, http.StatusOK, map[string]any{
		"method": r.Method, "path": r.URL.Path,
		"spiffe_id": claims.Subject, "client_id": claims.ClientID, "agent_type": claims.AgentType,
		"user_id": claims.UserID, "email": claims.Email, "tenant_id": claims.TenantID,
		"audience": claims.Audience, "permissions": claims.Permissions,
		"issued_at": claims.IssuedAt.UTC(), "expires_at": claims.ExpiresAt.UTC(),
	})
}
