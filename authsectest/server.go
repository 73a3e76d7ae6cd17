// Copyright 2026 The authsec Authors
// SPDX-License-Identifier: Apache-2.0

// Package authsectest is an AuthSec server for tests, like net/http/httptest. It
// runs in the test's process, signs real JWTs, and answers as real servers do, also
// with their errors.
//
//	srv := authsectest.NewServer()
//	defer srv.Close()
//	srv.Delegate(authsectest.ClientID, authsectest.Delegation{Permissions: []string{"billing:read"}})
//	client, err := authsec.NewClient(srv.Config(authsectest.ClientID))
//
// [Server.API] is a protected API that verifies the tokens it gets.
//
// [NewInMemoryServer] needs no network, so that it works in a bubble of
// testing/synctest.
package authsectest

import (
	"crypto/rand"
	"crypto/rsa"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"regexp"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/authsec-go/authsec"
	"github.com/golang-jwt/jwt/v5"
)

// ClientID is a well-formed client ID for tests. Any other UUID works, too.
const ClientID = "9b477e30-3989-4c12-926c-3945a59f761f"

// TenantID is the tenant of the server's agents.
const TenantID = "11111111-2222-3333-4444-555555555555"

// Paths of the server's endpoints.
const (
	EndpointPath = "/authsec/uflow/sdk/delegation-token"
	KeySetPath   = "/authsec/spiresvc/v1/jwt/bundle"
)

// Delegation is what an admin delegates to an agent.
type Delegation struct {
	Permissions []string      // resource:action; nil: the answer has null
	Audience    []string      // nil: "authsec-api"
	TTL         time.Duration // of the token; 0: one hour; negative: it has expired
}

// Server is an AuthSec server. All its methods are safe for concurrent use.
type Server struct {
	// URL is the server's root, for Config.BaseURL.
	URL string

	http   *httptest.Server // nil in memory
	client *http.Client

	mu         sync.Mutex // guards what follows
	key        *rsa.PrivateKey
	agents     map[string]*agent
	revoked    map[string]bool // tokens, by their text
	credential string          // that the endpoint wants; "": none
	latency    time.Duration
	faults     []http.Handler // for the next requests to the endpoint
	fault      http.Handler   // for all of them; nil: none
	limit      int            // requests from one address in a window; 0: no limit
	window     time.Duration
	counts     map[string]*count
	fetches    int
	apiCalls   int
	serial     int
}

type agent struct {
	fields map[string]any // of the answer; nil: no delegation
	expiry time.Time
	tokens []string // all issued since the last revocation
}

type count struct {
	since time.Time
	n     int
}

// keys are made once per process, because each takes a good part of a second.
// Servers and rotations use them in turn.
var (
	keys = [4]func() *rsa.PrivateKey{sync.OnceValue(newKey), sync.OnceValue(newKey), sync.OnceValue(newKey), sync.OnceValue(newKey)}
	turn atomic.Uint32
)

func nextKey() *rsa.PrivateKey { return keys[turn.Add(1)%uint32(len(keys))]() }

func newKey() *rsa.PrivateKey {
	key, _ := rsa.GenerateKey(rand.Reader, 2048) // crypto/rand does not fail
	return key
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
	s.URL, s.client = "https://authsec.test", &http.Client{Transport: RoundTripper(s.Handler())}
	return s
}

func newServer() *Server {
	return &Server{
		key:     nextKey(),
		agents:  map[string]*agent{},
		revoked: map[string]bool{},
		counts:  map[string]*count{},
	}
}

// Close stops the server.
func (s *Server) Close() {
	if s.http != nil {
		s.http.Close()
	}
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

// Register adds an agent without a delegation.
func (s *Server) Register(clientID string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.agent(clientID)
}

func (s *Server) agent(clientID string) *agent {
	id := strings.ToLower(clientID)
	if s.agents[id] == nil {
		s.agents[id] = new(agent)
	}
	return s.agents[id]
}

// Delegate gives the agent a delegation, in place of an earlier one, and returns
// its token. Earlier tokens stay good until they expire or are revoked.
func (s *Server) Delegate(clientID string, d Delegation) (token string) {
	if d.TTL == 0 {
		d.TTL = time.Hour
	}
	if d.Audience == nil {
		d.Audience = []string{"authsec-api"}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.serial++
	now := time.Now().UTC()
	expiry := now.Add(d.TTL)
	spiffeID := fmt.Sprintf("spiffe://example.org/tenants/%s/agents/test/%s", TenantID, clientID)
	// Signing fails only for claims that have no JSON, and these have.
	token, _ = jwt.NewWithClaims(jwt.SigningMethodRS256, jwt.MapClaims{
		"iss": "spiffe://" + TenantID, "sub": spiffeID, "aud": d.Audience,
		"exp": expiry.Unix(), "nbf": now.Unix(), "iat": now.Unix(), "jti": fmt.Sprint("jti-", s.serial),
		"user_id": "user-1", "tenant_id": TenantID, "email": "admin@example.org", "agent_type": "test",
		"permissions": d.Permissions, "client_id": clientID,
	}).SignedString(s.key)
	a := s.agent(clientID)
	a.tokens = append(a.tokens, token)
	a.expiry = expiry
	stamp := now.Format(time.RFC3339Nano)
	a.fields = map[string]any{
		"audience": d.Audience, "client_id": clientID, "expires_at": expiry.Format(time.RFC3339Nano),
		"issued_at": stamp, "permissions": d.Permissions, "spiffe_id": spiffeID, "status": "active",
		"tenant_id": TenantID, "token": token, "ttl_seconds": int(d.TTL.Seconds()), "updated_at": stamp,
	}
	return token
}

// Revoke ends the agent's delegation. From then on [Server.API] rejects all its
// tokens.
func (s *Server) Revoke(clientID string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	a := s.agent(clientID)
	for _, token := range a.tokens {
		s.revoked[token] = true
	}
	a.fields, a.tokens = nil, nil
}

// RotateKey replaces the key. New tokens are signed with the new key, and the key
// set has only that one. A process has four keys for all its servers, and uses them
// in turn.
func (s *Server) RotateKey() {
	s.mu.Lock()
	defer s.mu.Unlock()
	key := nextKey()
	for key == s.key {
		key = nextKey()
	}
	s.key = key
}

// RequireCredential makes the endpoint want this bearer token of the caller, as
// newer servers do. "" makes the endpoint public again.
func (s *Server) RequireCredential(token string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.credential = token
}

// LimitRate makes the endpoint answer 429 to more than n requests from one address
// in a window. 0: no limit. Real servers allow 100 a minute.
func (s *Server) LimitRate(n int, window time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.limit, s.window = n, window
	clear(s.counts)
}

// SetLatency delays each answer of the endpoint by d.
func (s *Server) SetLatency(d time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.latency = d
}

// FailNext makes h answer the next n requests to the endpoint.
func (s *Server) FailNext(n int, h http.Handler) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.faults = append(s.faults, slices.Repeat([]http.Handler{h}, max(0, n))...)
}

// Fail makes h answer all requests to the endpoint. nil ends that.
func (s *Server) Fail(h http.Handler) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.fault, s.faults = h, nil
}

// Fetches returns how many requests the endpoint got, also those without an answer.
func (s *Server) Fetches() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.fetches
}

// APICalls returns how many requests the handlers of [Server.API] accepted.
func (s *Server) APICalls() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.apiCalls
}

// Keyfunc verifies the server's tokens.
func (s *Server) Keyfunc(*jwt.Token) (any, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return &s.key.PublicKey, nil
}

// Handler returns the server's handler.
func (s *Server) Handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET "+EndpointPath, s.serveToken)
	mux.HandleFunc("GET "+KeySetPath, s.serveKeys)
	return mux
}

var uuid = regexp.MustCompile(`(?i)^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$`)

func (s *Server) serveToken(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	s.fetches++
	latency, fault := s.latency, s.fault
	if len(s.faults) > 0 {
		fault, s.faults = s.faults[0], s.faults[1:]
	}
	s.mu.Unlock()
	if latency > 0 {
		select {
		case <-time.After(latency):
		case <-r.Context().Done():
			return
		}
	}
	if fault != nil {
		fault.ServeHTTP(w, r)
		return
	}
	status, body := s.answer(r)
	writeJSON(w, status, body)
}

// answer is the endpoint's answer as real servers give it.
func (s *Server) answer(r *http.Request) (int, map[string]any) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.limited(r.RemoteAddr) {
		return http.StatusTooManyRequests, map[string]any{
			"error": "Rate limit exceeded", "limit": s.limit, "window": s.window.String(),
			"message": fmt.Sprintf("Too many requests. Maximum %d requests per %v allowed.", s.limit, s.window),
		}
	}
	if s.credential != "" && r.Header.Get("Authorization") != "Bearer "+s.credential {
		return http.StatusUnauthorized, map[string]any{"error": "Authorization header is required or invalid"}
	}
	id := r.URL.Query().Get("client_id")
	if id == "" {
		id = r.Header.Get("X-Client-ID")
	}
	if id == "" {
		return http.StatusBadRequest, map[string]any{"error": "client_id is required (query param or X-Client-ID header)"}
	}
	if !uuid.MatchString(id) {
		return http.StatusBadRequest, map[string]any{"error": "Invalid client_id format"}
	}
	a := s.agents[strings.ToLower(id)]
	switch {
	case a == nil:
		return http.StatusNotFound, map[string]any{"error": "Client not found", "details": fmt.Sprintf("client_id %s not found in tenant_mappings", id)}
	case a.fields == nil:
		return http.StatusNotFound, map[string]any{
			"error":   "No active delegation token found",
			"details": "An admin must delegate a token first via POST /uflow/admin/agents/:id/delegate-token",
		}
	case !time.Now().Before(a.expiry):
		a.fields = nil // later requests get the 404
		return http.StatusGone, map[string]any{
			"error": "Delegation token has expired", "expired_at": a.expiry.Format(time.RFC3339Nano),
			"details": fmt.Sprintf("Admin must re-delegate via POST /uflow/admin/agents/%s/delegate-token", id),
		}
	}
	return http.StatusOK, maps.Clone(a.fields)
}

// limited counts a request. mu is held.
func (s *Server) limited(remote string) bool {
	if s.limit == 0 {
		return false
	}
	host, _, err := net.SplitHostPort(remote)
	if err != nil {
		host = remote
	}
	c, now := s.counts[host], time.Now()
	if c == nil || now.Sub(c.since) >= s.window {
		c = &count{since: now}
		s.counts[host] = c
	}
	c.n++
	return c.n > s.limit
}

func (s *Server) serveKeys(w http.ResponseWriter, r *http.Request) {
	if r.URL.Query().Get("tenant_id") != TenantID {
		writeJSON(w, http.StatusNotFound, map[string]any{"error": "tenant not found"})
		return
	}
	s.mu.Lock()
	public := s.key.PublicKey
	s.mu.Unlock()
	encode := base64.RawURLEncoding.EncodeToString
	writeJSON(w, http.StatusOK, map[string]any{"keys": []any{map[string]any{
		"alg": "RS256", "kty": "RSA", "use": "sig", "kid": "default",
		"n": encode(public.N.Bytes()), "e": encode(big.NewInt(int64(public.E)).Bytes()),
	}}})
}

// API returns the handler of a protected API. It verifies the bearer token. It
// answers 401 if the token is missing, invalid, expired or revoked, and 403 if it
// lacks a permission (RFC 6750, section 3.1). All other requests go to next. nil: a
// handler that answers 200 with a little JSON.
func (s *Server) API(next http.Handler, permissions ...string) http.Handler {
	if next == nil {
		next = Answer(http.StatusOK, `{"ok":true}`)
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		token, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
		if !ok {
			w.Header().Set("WWW-Authenticate", "Bearer")
			writeJSON(w, http.StatusUnauthorized, map[string]any{"error": "unauthorized"})
			return
		}
		s.mu.Lock()
		revoked := s.revoked[token]
		s.mu.Unlock()
		claims := new(authsec.Claims)
		_, err := jwt.ParseWithClaims(token, claims, s.Keyfunc, jwt.WithValidMethods([]string{"RS256"}), jwt.WithExpirationRequired())
		if err != nil || revoked {
			w.Header().Set("WWW-Authenticate", `Bearer error="invalid_token"`)
			writeJSON(w, http.StatusUnauthorized, map[string]any{"error": "invalid_token"})
			return
		}
		for _, permission := range permissions {
			if !slices.Contains(claims.Permissions, permission) {
				w.Header().Set("WWW-Authenticate", `Bearer error="insufficient_scope"`)
				writeJSON(w, http.StatusForbidden, map[string]any{"error": "insufficient_scope"})
				return
			}
		}
		s.mu.Lock()
		s.apiCalls++
		s.mu.Unlock()
		next.ServeHTTP(w, r)
	})
}

// Answer returns a handler that always gives this answer. The content type is JSON
// if the body begins with a brace, and HTML otherwise. headers are names and values
// in turn.
func Answer(status int, body string, headers ...string) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		contentType := "text/html; charset=utf-8"
		if strings.HasPrefix(body, "{") {
			contentType = "application/json; charset=utf-8"
		}
		w.Header().Set("Content-Type", contentType)
		for pair := range slices.Chunk(headers, 2) {
			w.Header().Set(pair[0], pair[len(pair)-1])
		}
		w.WriteHeader(status)
		fmt.Fprint(w, body)
	})
}

func writeJSON(w http.ResponseWriter, status int, body map[string]any) {
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	w.WriteHeader(status)
	json.NewEncoder(w).Encode(body) // fails only if the client has gone
}

// RoundTripper returns a transport that passes requests to h, without a network. It
// adds a Date header to the answers, as a net/http server does.
func RoundTripper(h http.Handler) http.RoundTripper { return inMemory{h} }

type inMemory struct{ handler http.Handler }

func (m inMemory) RoundTrip(req *http.Request) (*http.Response, error) {
	if req.Body != nil {
		defer req.Body.Close()
	}
	ctx := req.Context()
	in := req.Clone(ctx)
	in.RequestURI, in.RemoteAddr = req.URL.RequestURI(), "192.0.2.1:1234"
	if in.Host == "" {
		in.Host = req.URL.Host
	}
	if in.Body == nil {
		in.Body = http.NoBody
	}
	w := httptest.NewRecorder()
	done := make(chan struct{})
	served := false
	go func() {
		defer close(done)
		// After a panic there is no answer: a net/http server drops the connection.
		defer func() { recover() }()
		w.Header().Set("Date", time.Now().UTC().Format(http.TimeFormat))
		m.handler.ServeHTTP(w, in)
		served = true
	}()
	select {
	case <-done:
		if !served {
			return nil, io.ErrUnexpectedEOF
		}
		resp := w.Result()
		resp.Request = req
		return resp, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}
