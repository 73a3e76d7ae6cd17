// Copyright 2026 The authsec Authors
// SPDX-License-Identifier: Apache-2.0

package authsectest

import (
	"crypto/rand"
	"crypto/rsa"
	"encoding/base64"
	"fmt"
	"math/big"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/golang-jwt/jwt/v5"
)

// pool are keys that are made once per process, because each takes a good part of a
// second. Servers and rotations use them in turn.
var (
	pool = [4]func() *rsa.PrivateKey{sync.OnceValue(newKey), sync.OnceValue(newKey), sync.OnceValue(newKey), sync.OnceValue(newKey)}
	turn atomic.Uint32
)

func nextKey() *rsa.PrivateKey { return pool[turn.Add(1)%uint32(len(pool))]() }

func newKey() *rsa.PrivateKey {
	key, _ := rsa.GenerateKey(rand.Reader, 2048) // crypto/rand does not fail
	return key
}

// RotateKey replaces the key. New tokens are signed with the new key, and the key
// set has only that one. A process has four keys for all its servers, and uses them
// in turn.
func (s *Server) RotateKey() {
	s.mu.Lock()
	defer s.mu.Unlock()
	key := nextKey()
	for key == s.keys[TenantID] {
		key = nextKey()
	}
	s.keys[TenantID] = key
}

// Keyfunc verifies the server's tokens.
func (s *Server) Keyfunc(*jwt.Token) (any, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return &s.keys[TenantID].PublicKey, nil
}

// key returns the tenant's key. It makes and keeps one for a tenant that has none.
// mu is held.
func (s *Server) key(tenant string) *rsa.PrivateKey {
	if s.keys[tenant] == nil {
		s.keys[tenant] = newKey()
	}
	return s.keys[tenant]
}

func (s *Server) serveKeys(w http.ResponseWriter, r *http.Request) {
	key, status, problem := s.keyFor(r.URL.Query())
	if key == nil {
		writeJSON(w, status, problem)
		return
	}
	encode := base64.RawURLEncoding.EncodeToString
	w.Header().Set("Content-Type", "application/json")
	fmt.Fprintf(w, `{"keys":[{"alg":"RS256","e":%q,"kid":"default","kty":"RSA","n":%q,"use":"sig"}]}`,
		encode(big.NewInt(int64(key.E)).Bytes()), encode(key.N.Bytes()))
}

// keyFor returns the public key that a query asks for, or the status and the body of
// an error.
// Each generation ignores the other's parameter. The older one makes a key for every
// tenant that it is asked for; so does the newer one for another spelling of its own
// workspace.
func (s *Server) keyFor(query url.Values) (key *rsa.PublicKey, status int, problem map[string]any) {
	s.mu.Lock()
	defer s.mu.Unlock()
	tenant := query.Get(s.tenantField())
	switch {
	case tenant == "" && s.newer():
		return nil, http.StatusBadRequest, nestedError("BAD_REQUEST", "workspace_id cannot be empty")
	case tenant == "":
		return nil, http.StatusBadRequest, nestedError("BAD_REQUEST", "tenant_id query parameter is required")
	case s.newer() && !uuid.MatchString(strings.ToLower(tenant)):
		return nil, http.StatusBadRequest, nestedError("BAD_REQUEST", fmt.Sprintf("workspace_id is not a valid UUID: %q", tenant))
	case s.newer() && !strings.EqualFold(tenant, TenantID):
		return nil, http.StatusNotFound, nestedError("NOT_FOUND", "Workspace not found")
	}
	return &s.key(tenant).PublicKey, http.StatusOK, nil
}

// nestedError is the body of an error of the paths under /authsec/spiresvc.
func nestedError(code, message string) map[string]any {
	return map[string]any{"error": map[string]any{"code": code, "message": message}}
}
