// Copyright 2026 The authsec Authors
// SPDX-License-Identifier: Apache-2.0

package oauth

import (
	"crypto/rand"
	"crypto/rsa"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"github.com/spiffe/go-spiffe/v2/bundle/jwtbundle"
	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"github.com/spiffe/go-spiffe/v2/svid/jwtsvid"
)

// What the endpoint knows.
const (
	clientID     = "machine:1" // must be escaped in the header
	clientSecret = "s e/cret+%"
	resource     = "https://billing.example.com"
	scope        = "billing:read"
	assertion    = "urn:authsec:params:oauth:client-assertion-type:spiffe-svid"
	life         = time.Hour
)

var workload = spiffeid.RequireFromString("spiffe://example.org/billing-job")

// endpoint is AuthSec's OAuth endpoint. It issues tokens for one resource to one
// machine, and is the API that accepts them as well.
type endpoint struct {
	key    *rsa.PrivateKey
	trust  *jwtbundle.Bundle // the keys of SVIDs
	url    string            // of the token endpoint
	answer http.Handler      // of the API

	mu       sync.Mutex // guards what follows
	used     map[string]bool
	issued   []string
	revoked  int    // so many of issued are rejected
	disabled bool   // the machine gets no token
	requests int    // for tokens
	calls    int    // of the API
	last     string // the latest token that the API got
}

func newEndpoint(t testing.TB) *endpoint {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	return &endpoint{key: key, used: map[string]bool{}, answer: http.HandlerFunc(func(http.ResponseWriter, *http.Request) {})}
}

func (e *endpoint) revoke() {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.revoked = len(e.issued)
}

// disable makes the endpoint refuse the machine, or accept it again.
func (e *endpoint) disable(disabled bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.disabled = disabled
}

// counts returns how many requests for tokens, and calls of the API, there were.
func (e *endpoint) counts() (requests, calls int) {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.requests, e.calls
}

// hasToken reports whether a token or the secret is in text.
func (e *endpoint) hasToken(text string) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	return strings.Contains(text, clientSecret) || slices.ContainsFunc(e.issued, func(token string) bool { return strings.Contains(text, token) })
}

// serveToken answers POST /oauth/token.
func (e *endpoint) serveToken(w http.ResponseWriter, r *http.Request) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.requests++
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	status, problem := e.check(r)
	if problem != "" {
		w.WriteHeader(status)
		json.NewEncoder(w).Encode(map[string]string{"error": problem})
		return
	}
	now := time.Now()
	token := jwt.NewWithClaims(jwt.SigningMethodRS256, jwt.MapClaims{
		"aud": resource, "tf": "m2m", "scope": scope, "iat": now.Unix(), "exp": now.Add(life).Unix(), "jti": fmt.Sprint(len(e.issued)),
	})
	token.Header["kid"] = "native:1"
	text, err := token.SignedString(e.key)
	if err != nil {
		panic(err)
	}
	e.issued = append(e.issued, text)
	json.NewEncoder(w).Encode(map[string]any{"access_token": text, "token_type": "Bearer", "expires_in": int(life.Seconds()), "scope": scope})
}

// check returns what is wrong with a request for a token.
func (e *endpoint) check(r *http.Request) (status int, problem string) {
	switch {
	case r.Method != http.MethodPost || r.URL.RawQuery != "" || r.ParseForm() != nil:
		return http.StatusBadRequest, "invalid_request"
	case r.PostForm.Get("grant_type") != "client_credentials":
		return http.StatusBadRequest, "unsupported_grant_type"
	case e.disabled || !e.authenticated(r):
		return http.StatusUnauthorized, "invalid_client"
	case !slices.Equal(r.PostForm["resource"], []string{resource}):
		return http.StatusBadRequest, "invalid_target"
	case r.PostForm.Get("scope") != scope:
		return http.StatusBadRequest, "invalid_scope"
	}
	return http.StatusOK, ""
}

// authenticated accepts exactly one way to authenticate.
func (e *endpoint) authenticated(r *http.Request) bool {
	id, secret, basic := r.BasicAuth()
	if basic {
		id, idErr := url.QueryUnescape(id) // RFC 6749, section 2.3.1
		secret, err := url.QueryUnescape(secret)
		return idErr == nil && err == nil && id == clientID && secret == clientSecret &&
			!r.PostForm.Has("client_assertion") && !r.PostForm.Has("client_secret")
	}
	text := r.PostForm.Get("client_assertion")
	if r.Header.Get("Authorization") != "" || r.PostForm.Get("client_assertion_type") != assertion || e.trust == nil || e.used[text] {
		return false
	}
	svid, err := jwtsvid.ParseAndValidate(text, e.trust, []string{e.url})
	if err != nil || svid.ID != workload {
		return false
	}
	e.used[text] = true
	return true
}

// serveAPI accepts tokens that the endpoint issued.
func (e *endpoint) serveAPI(w http.ResponseWriter, r *http.Request) {
	text, _ := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	claims := jwt.MapClaims{}
	token, err := jwt.ParseWithClaims(text, claims, func(token *jwt.Token) (any, error) {
		if kid, _ := token.Header["kid"].(string); !strings.HasPrefix(kid, "native:") {
			return nil, fmt.Errorf("kid %q", kid)
		}
		return &e.key.PublicKey, nil
	}, jwt.WithAudience(resource), jwt.WithExpirationRequired(), jwt.WithValidMethods([]string{"RS256"}))
	e.mu.Lock()
	e.calls++
	e.last = text
	good := err == nil && token.Valid && claims["tf"] == "m2m" && !slices.Contains(e.issued[:e.revoked], text)
	e.mu.Unlock()
	if !good {
		w.Header().Set("WWW-Authenticate", `Bearer error="invalid_token"`)
		w.WriteHeader(http.StatusUnauthorized)
		return
	}
	e.answer.ServeHTTP(w, r)
}
