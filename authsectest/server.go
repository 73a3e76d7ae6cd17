// Copyright 2026 The authsec Authors
// SPDX-License-Identifier: Apache-2.0

// Package authsectest is an AuthSec server for tests, like net/http/httptest. It
// runs in the test's process and signs real JWTs. Its answers have the bodies,
// headers and times of real servers. It has no rate limit, unless you set one with
// [Server.LimitRate].
//
//	srv := authsectest.NewServer()
//	defer srv.Close()
//	srv.Delegate(authsectest.ClientID, authsectest.Delegation{Permissions: []string{"billing:read"}})
//	client, err := authsec.NewClient(srv.Config(authsectest.ClientID))
//
// There are two generations of AuthSec servers. A [Server] is of the older generation,
// whose endpoint is public. [Server.RequireCredential] makes it one of the newer
// generation.
//
// [Server.API] is a protected API that verifies the tokens it gets.
//
// [NewInMemoryServer] needs no network, so that it works in a bubble of
// testing/synctest.
package authsectest

import (
	"cmp"
	"crypto/rand"
	"crypto/rsa"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/authsec-go/authsec"
)

// ClientID is a well-formed client ID for tests. Any other UUID works, too.
const ClientID = "9b477e30-3989-4c12-926c-3945a59f761f"

// TenantID is the tenant of the server's agents. The newer generation calls it a
// workspace.
const TenantID = "11111111-2222-3333-4444-555555555555"

// Paths of the server's endpoints.
const (
	EndpointPath = "/authsec/uflow/sdk/delegation-token"
	KeySetPath   = "/authsec/spiresvc/v1/jwt/bundle"
)

// Server is an AuthSec server. All its methods are safe for concurrent use.
type Server struct {
	// URL is the server's root, for Config.BaseURL.
	URL string

	http   *httptest.Server // nil in memory
	client *http.Client
	closed atomic.Bool // in memory

	mu         sync.Mutex                 // guards what follows
	keys       map[string]*rsa.PrivateKey // by tenant, as callers spell it
	agents     map[string]*agent          // by client ID
	revoked    map[string]bool            // tokens, by their text
	credential string                     // that the endpoint wants; "": the older generation
	latency    time.Duration
	faults     []http.Handler // for the next requests to the endpoint
	fault      http.Handler   // for all of them; nil: none
	limit      limiter
	fetches    int
	apiCalls   int
}

// NewServer starts a server on a loopback address, over plain HTTP.
func NewServer() *Server {
	s := newServer()
	s.http = httptest.NewServer(s.Handler())
	s.URL, s.client = s.http.URL, s.http.Client()
	return s
}

// NewTLSServer starts a server on a loopback address, over TLS and HTTP/2. Its
// Client trusts its certificate.
func NewTLSServer() *Server {
	s := newServer()
	s.http = httptest.NewUnstartedServer(s.Handler())
	s.http.EnableHTTP2 = true
	s.http.StartTLS()
	s.URL, s.client = s.http.URL, s.http.Client()
	return s
}

// NewInMemoryServer returns a server without a network. Only its own Client reaches
// it.
//
// In a synctest bubble, time starts in the year 2000. An authsec.Source ignores a
// Date header before 2020. So a test about the server's clock first sleeps to a
// later year.
func NewInMemoryServer() *Server {
	s := newServer()
	s.URL, s.client = "https://authsec.test", &http.Client{Transport: inMemory{s.Handler(), &s.closed}}
	return s
}

func newServer() *Server {
	return &Server{
		keys:    map[string]*rsa.PrivateKey{TenantID: newKey()},
		agents:  map[string]*agent{},
		revoked: map[string]bool{},
	}
}

// Close stops the server. Later requests fail, in memory as well: the connection is
// refused.
func (s *Server) Close() {
	if s.http != nil {
		s.http.Close()
	}
	s.closed.Store(true)
}

// Format prints the server's URL for every verb, and no token.
func (s *Server) Format(f fmt.State, _ rune) { fmt.Fprintf(f, "authsectest.Server{%s}", s.URL) }

// Client returns a client that reaches the server and trusts its certificate.
func (s *Server) Client() *http.Client { return s.client }

// Config returns a configuration for the agent, with BaseURL, ClientID and
// HTTPClient set. apis are URLs of servers that the token may go to; Hosts has
// their hosts and ports.
func (s *Server) Config(clientID string, apis ...string) authsec.Config {
	cfg := authsec.Config{BaseURL: s.URL, ClientID: clientID, HTTPClient: s.client}
	for _, api := range apis {
		_, host, _ := strings.Cut(api, "://")
		host, _, _ = strings.Cut(host, "/")
		cfg.Hosts = append(cfg.Hosts, host)
	}
	return cfg
}

// routes are what the server answers, by method and path.
var routes = map[string]func(*Server, http.ResponseWriter, *http.Request){
	"GET " + EndpointPath:                    (*Server).serveToken,
	"GET " + KeySetPath:                      (*Server).serveKeys,
	"POST /authsec/spiresvc/v1/jwt/renew":    (*Server).serveRenewal,
	"POST /authsec/spiresvc/v1/jwt/validate": (*Server).serveValidation,
}

// Handler returns the server's handler.
func (s *Server) Handler() http.Handler { return http.HandlerFunc(s.serve) }

func (s *Server) serve(w http.ResponseWriter, r *http.Request) {
	h := w.Header()
	h.Set("X-Request-Id", cmp.Or(r.Header.Get("X-Request-Id"), newUUID()))
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("X-Frame-Options", "DENY")
	h.Set("Referrer-Policy", "strict-origin-when-cross-origin")
	route := r.Method + " " + r.URL.Path
	if route == "GET "+EndpointPath && s.disturb(w, r) {
		return
	}
	if refusal := s.overLimit(r); refusal != nil {
		writeJSON(w, http.StatusTooManyRequests, refusal)
		return
	}
	if serve := routes[route]; serve != nil {
		serve(s, w, r)
		return
	}
	if path, ok := strings.CutSuffix(r.URL.Path, "/"); ok && routes[r.Method+" "+path] != nil {
		status := http.StatusMovedPermanently
		if r.Method != http.MethodGet {
			status = http.StatusTemporaryRedirect
		}
		u := *r.URL
		u.Path = path
		http.Redirect(w, r, u.RequestURI(), status)
		return
	}
	if r.Method == http.MethodOptions {
		w.WriteHeader(http.StatusNoContent)
		return
	}
	h.Set("Content-Type", "text/plain")
	w.WriteHeader(http.StatusNotFound)
	fmt.Fprint(w, "404 page not found")
}

func writeJSON(w http.ResponseWriter, status int, body any) {
	text, _ := json.Marshal(body) // all bodies have a JSON
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	w.WriteHeader(status)
	w.Write(text) // fails only if the client has gone
}

// newUUID returns a random UUID (RFC 9562, section 5.4).
func newUUID() string {
	var b [16]byte
	rand.Read(b[:]) // never fails
	b[6], b[8] = b[6]&0x0f|0x40, b[8]&0x3f|0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:])
}
