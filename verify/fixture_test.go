// Copyright 2026 The authsec Authors
// SPDX-License-Identifier: Apache-2.0

package verify_test

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"encoding/base64"
	"encoding/json"
	"maps"
	"math/big"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/authsec-go/authsec/authsectest"
	"github.com/authsec-go/authsec/verify"
	"github.com/golang-jwt/jwt/v5"
)

const (
	tenant   = "11111111-2222-3333-4444-555555555555"
	neighbor = "66666666-7777-8888-9999-aaaaaaaaaaaa" // configured as well
	stranger = "bbbbbbbb-cccc-dddd-eeee-ffffffffffff" // has keys, and is not configured
	audience = "billing-api"
	leeway   = 5 * time.Second // the default
)

// Keys take a good part of a second each, so all tests share them.
var (
	key      = sync.OnceValue(func() *rsa.PrivateKey { return newRSA(2048) }) // the tenant's
	nextKey  = sync.OnceValue(func() *rsa.PrivateKey { return newRSA(2048) }) // after a rotation; the neighbor's
	evilKey  = sync.OnceValue(func() *rsa.PrivateKey { return newRSA(2048) }) // an attacker's; the stranger's
	smallKey = sync.OnceValue(func() *rsa.PrivateKey { return newRSA(1024) })
	ecKey    = sync.OnceValue(func() *ecdsa.PrivateKey { return newEC(elliptic.P256()) })
	ec384Key = sync.OnceValue(func() *ecdsa.PrivateKey { return newEC(elliptic.P384()) })
)

func newRSA(bits int) *rsa.PrivateKey          { k, _ := rsa.GenerateKey(rand.Reader, bits); return k }
func newEC(c elliptic.Curve) *ecdsa.PrivateKey { k, _ := ecdsa.GenerateKey(c, rand.Reader); return k }

var b64 = base64.RawURLEncoding.EncodeToString

type object = map[string]any

// jwk is a public key as AuthSec publishes it, with fields replaced. A nil
// leaves one out.
func jwk(public crypto.PublicKey, replaced ...object) object {
	fields := object{"kid": "default", "use": "sig"}
	switch k := public.(type) {
	case *rsa.PublicKey:
		maps.Copy(fields, object{"kty": "RSA", "alg": "RS256", "n": b64(k.N.Bytes()), "e": b64(big.NewInt(int64(k.E)).Bytes())})
	case *ecdsa.PublicKey:
		size := (k.Params().BitSize + 7) / 8
		alg := map[int]string{32: "ES256", 48: "ES384"}[size]
		point, _ := k.Bytes()
		maps.Copy(fields, object{"kty": "EC", "alg": alg, "crv": k.Params().Name, "x": b64(point[1 : 1+size]), "y": b64(point[1+size:])})
	}
	return replace(fields, replaced...)
}

func replace(fields object, replaced ...object) object {
	for _, r := range replaced {
		for name, value := range r {
			if fields[name] = value; value == nil {
				delete(fields, name)
			}
		}
	}
	return fields
}

// authority is AuthSec's key endpoint, for several tenants.
type authority struct {
	mu      sync.Mutex
	keys    map[string][]object // by tenant
	fetches map[string]int
	at      []time.Time // when each request came
	headers http.Header // of the last request
	fault   http.Handler
	latency time.Duration
}

func newAuthority() *authority {
	return &authority{
		keys: map[string][]object{
			tenant:   {jwk(&key().PublicKey)},
			neighbor: {jwk(&nextKey().PublicKey)},
			stranger: {jwk(&evilKey().PublicKey)},
		},
		fetches: map[string]int{},
	}
}

func (a *authority) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	id := r.URL.Query().Get("tenant_id")
	a.mu.Lock()
	a.fetches[id]++
	a.at = append(a.at, time.Now())
	a.headers = r.Header.Clone()
	fault, latency, keys := a.fault, a.latency, a.keys[id]
	a.mu.Unlock()
	time.Sleep(latency)
	switch {
	case fault != nil:
		fault.ServeHTTP(w, r)
	case r.URL.Path != authsectest.KeySetPath || keys == nil:
		http.NotFound(w, r)
	default:
		json.NewEncoder(w).Encode(object{"keys": keys})
	}
}

// publish replaces a tenant's keys.
func (a *authority) publish(id string, keys ...object) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.keys[id] = keys
}

// fail makes h answer all requests, after latency.
func (a *authority) fail(h http.Handler, latency time.Duration) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.fault, a.latency = h, latency
}

func (a *authority) count(id string) int {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.fetches[id]
}

func (a *authority) config() verify.Config {
	return verify.Config{
		BaseURL: "https://authsec.test", Tenants: []string{tenant, neighbor}, Audience: audience,
		HTTPClient: &http.Client{Transport: authsectest.RoundTripper(a)},
	}
}

func (a *authority) verifier(t testing.TB, change ...func(*verify.Config)) *verify.Verifier {
	t.Helper()
	cfg := a.config()
	for _, f := range change {
		f(&cfg)
	}
	v, err := verify.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// header is a token's header as AuthSec writes it, with fields replaced.
func header(replaced ...object) string {
	return encode(replace(object{"alg": "RS256", "typ": "JWT"}, replaced...))
}

// claims are a token's claims as AuthSec writes them, with fields replaced.
func claims(replaced ...object) string {
	now := time.Now().Unix()
	return encode(replace(object{
		"iss": "spiffe://" + tenant, "sub": "spiffe://example.org/tenants/" + tenant + "/agents/test/a", "aud": []string{audience},
		"exp": now + 3600, "nbf": now, "iat": now, "jti": "jti-1",
		"user_id": "user-1", "tenant_id": tenant, "email": "admin@example.org", "agent_type": "test",
		"permissions": []string{"billing:read", "users:read"}, "client_id": authsectest.ClientID,
	}, replaced...))
}

func encode(v any) string { b, _ := json.Marshal(v); return string(b) }

// sign makes a token of any header and claims, by any method's key.
func sign(method jwt.SigningMethod, key any, header, claims string) string {
	text := b64([]byte(header)) + "." + b64([]byte(claims))
	sig, err := method.Sign(text, key)
	if err != nil {
		panic(err)
	}
	return text + "." + b64(sig)
}

// token is one of the tenant's, with claims replaced.
func token(replaced ...object) string {
	return sign(jwt.SigningMethodRS256, key(), header(), claims(replaced...))
}

// protected is a service behind v: it answers 200 to what is passed on.
func protected(v *verify.Verifier) http.Handler {
	return v.Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {}))
}

// ask sends a request with these values of the Authorization header.
func ask(h http.Handler, authorization ...string) *http.Response {
	r := httptest.NewRequest(http.MethodGet, "https://billing.test/invoices", nil)
	if authorization != nil {
		r.Header["Authorization"] = authorization
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w.Result()
}

// parts splits a token, for a test to change one of them.
func parts(token string) []string { return strings.Split(token, ".") }

func joined(parts ...string) string { return strings.Join(slices.Clone(parts), ".") }
