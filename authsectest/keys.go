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

	"github.com/golang-jwt/jwt/v5"
)

// primes are shared by all keys of the process. Any two of them make a key, so n keys
// need only about √(2n) primes. Finding primes takes most of the time of making a key.
// Keys that share primes are for tests only: whoever has two of them can compute their
// private halves.
var primes struct {
	sync.Mutex
	all  []*big.Int
	i, j int // the next key's, i < j
}

// newKey returns a key that nobody else has.
func newKey() *rsa.PrivateKey {
	primes.Lock()
	defer primes.Unlock()
	if primes.i == primes.j {
		primes.i, primes.j = 0, primes.j+1
	}
	if primes.j >= len(primes.all) {
		key, _ := rsa.GenerateKey(rand.Reader, 2048) // crypto/rand does not fail
		primes.all = append(primes.all, key.Primes...)
	}
	p, q := primes.all[primes.i], primes.all[primes.j]
	primes.i++
	one := big.NewInt(1)
	order := new(big.Int).Mul(new(big.Int).Sub(p, one), new(big.Int).Sub(q, one))
	key := &rsa.PrivateKey{
		PublicKey: rsa.PublicKey{N: new(big.Int).Mul(p, q), E: 65537},
		D:         new(big.Int).ModInverse(big.NewInt(65537), order), Primes: []*big.Int{p, q},
	}
	key.Precompute()
	return key
}

// RotateKey replaces the key by a new one. New tokens are signed with the new key, and
// the key set has only that one.
func (s *Server) RotateKey() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.keys[TenantID] = newKey()
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
// an error. Each generation ignores the other's parameter. The older one makes a key for
// every tenant that it is asked for. The newer one makes a key for each other spelling
// of its own workspace.
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
