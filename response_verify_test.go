// Copyright 2026 The authsec Authors
// SPDX-License-Identifier: Apache-2.0

package authsec_test

import (
	"context"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/authsec-go/authsec"
	"github.com/authsec-go/authsec/authsectest"
	"github.com/golang-jwt/jwt/v5"
)

func TestKeyfuncVerifiesTheToken(t *testing.T) {
	sign := func(method jwt.SigningMethod, key any, pairs ...any) func(time.Time) string {
		return func(now time.Time) string {
			claims := jwt.MapClaims{"exp": now.Add(time.Hour).Unix(), "nbf": now.Unix(), "client_id": ourID, "aud": []string{"billing"}}
			for pair := range slices.Chunk(pairs, 2) {
				switch v := pair[1].(type) {
				case time.Duration:
					claims[pair[0].(string)] = now.Add(v).Unix()
				case nil:
					delete(claims, pair[0].(string))
				default:
					claims[pair[0].(string)] = v
				}
			}
			s, err := jwt.NewWithClaims(method, claims).SignedString(key)
			if err != nil {
				t.Fatal(err)
			}
			return s
		}
	}
	public, err := x509.MarshalPKIXPublicKey(&ecKey().PublicKey)
	if err != nil {
		t.Fatal(err)
	}
	anyKey := func(key any) jwt.Keyfunc { return func(*jwt.Token) (any, error) { return key, nil } }
	es := jwt.SigningMethodES256
	for _, tt := range []struct {
		claim    string
		token    func(time.Time) string
		keyfunc  jwt.Keyfunc
		audience string
		ok       bool
	}{
		{"good", sign(es, ecKey()), ecVerify, "", true},
		{"good, audience", sign(es, ecKey()), ecVerify, "billing", true},
		{"EdDSA", sign(jwt.SigningMethodEdDSA, edKey()), anyKey(edKey().Public()), "", true},
		{"a set of keys", sign(es, ecKey()), anyKey(jwt.VerificationKeySet{Keys: []jwt.VerificationKey{&ecOther().PublicKey, &ecKey().PublicKey}}), "", true},
		{"wrong key", sign(es, ecOther()), ecVerify, "", false},
		{"alg none", sign(jwt.SigningMethodNone, jwt.UnsafeAllowNoneSignatureType), anyKey(jwt.UnsafeAllowNoneSignatureType), "", false},
		{"HS256 with the public key for a secret", sign(jwt.SigningMethodHS256, public), anyKey(public), "", false},
		{"HS512", sign(jwt.SigningMethodHS512, []byte("k")), anyKey([]byte("k")), "", false},
		{"the key of another algorithm", sign(es, ecKey()), anyKey(edKey().Public()), "", false},
		{"opaque", func(time.Time) string { return opaque }, ecVerify, "", false},
		{"signature cut off", func(n time.Time) string { s := sign(es, ecKey())(n); return s[:strings.LastIndexByte(s, '.')+1] }, ecVerify, "", false},
		{"payload changed", func(n time.Time) string {
			p := strings.Split(sign(es, ecKey())(n), ".")
			return p[0] + "." + base64.RawURLEncoding.EncodeToString([]byte(fmt.Sprintf(`{"exp":%d}`, n.Add(time.Hour).Unix()))) + "." + p[2]
		}, ecVerify, "", false},
		{"no exp", sign(es, ecKey(), "exp", nil), ecVerify, "", false},
		{"exp past", sign(es, ecKey(), "exp", -time.Minute), ecVerify, "", false},
		{"exp past within the leeway", sign(es, ecKey(), "exp", -3*time.Second), ecVerify, "", false},
		{"nbf 5 s ahead", sign(es, ecKey(), "nbf", 5*time.Second), ecVerify, "", true},
		{"nbf 6 s ahead", sign(es, ecKey(), "nbf", 6*time.Second), ecVerify, "", false},
		{"no nbf", sign(es, ecKey(), "nbf", nil), ecVerify, "", true},
		{"another audience", sign(es, ecKey()), ecVerify, "ledger", false},
		{"no audience", sign(es, ecKey(), "aud", nil), ecVerify, "billing", false},
		{"another agent's", sign(es, ecKey(), "client_id", otherID), ecVerify, "", false},
		{"Keyfunc fails", sign(es, ecKey()), func(*jwt.Token) (any, error) { return nil, errors.New("key set away") }, "", false},
		{"Keyfunc has no key", sign(es, ecKey()), anyKey(nil), "", false},
	} {
		for _, skew := range []time.Duration{0, 5 * time.Hour, -5 * time.Hour} {
			inBubble(t, fmt.Sprint(tt.claim, ", clock off by ", skew), func(t *testing.T) {
				// The server's clock is read to a second: keep away from its edge.
				time.Sleep(time.Hour)
				now := time.Now().Add(skew)
				slack := time.Duration(0)
				if skew != 0 && strings.HasPrefix(tt.claim, "nbf 6 s") {
					slack = time.Second // the correction may run up to a second ahead
				}
				fields := map[string]any{"token": tt.token(now.Add(slack)), "expires_at": now.Add(time.Hour).UTC().Format(time.RFC3339)}
				h := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					w.Header().Set("Date", now.UTC().Format(http.TimeFormat))
					answerJSON(t, fields).ServeHTTP(w, r)
				})
				src := endpointSource(t, h, func(c *authsec.Config) { c.Keyfunc, c.Audience = tt.keyfunc, tt.audience })
				d, err := src.Delegation(context.Background())
				if ok := err == nil; ok != tt.ok {
					t.Fatalf("accepted: %t (%v), want %t", ok, err, tt.ok)
				}
				if err != nil {
					checkRefusal(t, err, 200, "", []string{"ErrInvalidResponse"})
					return
				}
				if c, err := d.Claims(); err != nil || !c.Verified {
					t.Errorf("Claims: error %v, or not Verified; want verified ones", err)
				}
			})
		}
	}
}

func TestServersRealTokenVerifies(t *testing.T) {
	srv := authsectest.NewServer()
	defer srv.Close()
	srv.Delegate(ourID, authsectest.Delegation{})
	cfg := srv.Config(ourID)
	cfg.Keyfunc, cfg.Audience = srv.Keyfunc, "authsec-api"
	src := newSource(t, cfg)
	if _, err := src.Token(); err != nil {
		t.Errorf("RS256 token without kid: %v, want it accepted", err)
	}
}

func TestAudienceMustBeInTheToken(t *testing.T) {
	for _, tt := range []struct {
		claim string
		aud   any // "opaque": no JWT
		ok    bool
	}{
		{"one of several", []string{"other", "billing"}, true},
		{"a plain string", "billing", true},
		{"another", []string{"other"}, false},
		{"in another case", []string{"Billing"}, false},
		{"a part", []string{"billing-api"}, false},
		{"none", nil, false},
		{"opaque token", "opaque", false},
	} {
		inBubble(t, tt.claim, func(t *testing.T) {
			// That the answer names the audience does not count.
			fields := with(hourFields(), "audience", []string{"billing"})
			if tt.aud != "opaque" {
				claims := jwt.MapClaims{}
				if tt.aud != nil {
					claims["aud"] = tt.aud
				}
				fields["token"] = unverified(t, claims)
			}
			_, err := endpointSource(t, answerJSON(t, fields), func(c *authsec.Config) { c.Audience = "billing" }).Token()
			if ok := err == nil; ok != tt.ok {
				t.Errorf("%s: accepted: %t (%v), want %t", tt.claim, ok, err, tt.ok)
			}
			if err != nil {
				checkRefusal(t, err, 200, "", []string{"ErrInvalidResponse"}, `audience "billing"`)
			}
		})
	}
}

func TestUnsignedTokenCanBeUsedWithoutAKeyfunc(t *testing.T) {
	bubble(t, func(t *testing.T) {
		exp := time.Now().Add(time.Minute)
		token, err := jwt.NewWithClaims(jwt.SigningMethodNone, jwt.MapClaims{"exp": exp.Unix(), "client_id": ourID}).SignedString(jwt.UnsafeAllowNoneSignatureType)
		if err != nil {
			t.Fatal(err)
		}
		src := endpointSource(t, answerJSON(t, with(hourFields(), "token", token)))
		got, err := src.Token()
		if err != nil || !got.Expiry.Equal(exp) {
			t.Errorf("Token: error %v, or another expiry than its exp", err)
		}
		d, err := src.Delegation(context.Background())
		if err != nil {
			t.Fatal(err)
		}
		if c, err := d.Claims(); err != nil || c.Verified {
			t.Errorf("Claims: error %v, or Verified; want unverified ones", err)
		}
	})
}
