// Copyright 2026 The authsec Authors
// SPDX-License-Identifier: Apache-2.0

package verify

import (
	"context"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/MicahParks/jwkset"
	"github.com/MicahParks/keyfunc/v3"
	"github.com/golang-jwt/jwt/v5"
)

const (
	maxKeys    = 32   // in a set; a bad signature is tried with each key that fits
	minRSABits = 2048 // RFC 7518, section 3.3
)

// keys are a tenant's keys at one time. They are immutable once in hand.
//
// jwkset parses and stores them, and keyfunc chooses among them by a token's kid.
// Each algorithm has its own store. For a token without a kid, as AuthSec's are,
// keyfunc offers all keys of a store, whatever their use and alg. jwkset does not
// fetch here: it fetches on a schedule or for an unknown kid, and can't be told
// that no key fits.
type keys struct {
	byAlgorithm     map[string]keyfunc.Keyfunc
	usable, ignored int
	due             time.Time // when to ask for newer ones
}

// parseKeys reads a JSON Web Key Set. It ignores keys that are malformed, or not for
// these algorithms (RFC 7517, section 5).
func parseKeys(text []byte, algorithms []string) (*keys, error) {
	var set struct {
		Keys []json.RawMessage `json:"keys"`
	}
	if err := json.Unmarshal(text, &set); err != nil || set.Keys == nil {
		return nil, errors.New("the answer is no JSON Web Key Set")
	}
	if len(set.Keys) > maxKeys {
		return nil, fmt.Errorf("the answer has %d keys, more than %d", len(set.Keys), maxKeys)
	}
	ctx := context.Background() // for memory alone
	k := &keys{byAlgorithm: map[string]keyfunc.Keyfunc{}}
	stores := map[string]jwkset.Storage{}
	for _, alg := range algorithms {
		stores[alg] = jwkset.NewMemoryStorage()
		var err error
		if k.byAlgorithm[alg], err = keyfunc.New(keyfunc.Options{Ctx: ctx, Storage: stores[alg]}); err != nil {
			return nil, err
		}
	}
	for _, raw := range set.Keys {
		// Anybody can sign with a key that was published with its private half. With
		// Private, such a key is not taken for a public key.
		jwk, err := jwkset.NewJWKFromRawJSON(raw, jwkset.JWKMarshalOptions{Private: true}, jwkset.JWKValidateOptions{})
		used := false
		for alg, store := range stores {
			if err != nil || !fits(jwk, alg) {
				continue
			}
			if err := store.KeyWrite(ctx, jwk); err != nil {
				return nil, err
			}
			used = true
		}
		if used {
			k.usable++
		} else {
			k.ignored++
		}
	}
	return k, nil
}

// fits reports whether a key is for verifying signatures of this algorithm
// (RFC 7517, section 4; RFC 7518, sections 3.3 and 3.4).
func fits(jwk jwkset.JWK, alg string) bool {
	m := jwk.Marshal()
	switch {
	case m.USE != "" && m.USE != jwkset.UseSig,
		m.ALG != "" && m.ALG.String() != alg,
		len(m.KEYOPS) > 0 && !slices.Contains(m.KEYOPS, jwkset.KeyOpsVerify):
		return false
	}
	switch key := jwk.Key().(type) {
	case *rsa.PublicKey:
		return (strings.HasPrefix(alg, "RS") || strings.HasPrefix(alg, "PS")) && key.N.BitLen() >= minRSABits
	case *ecdsa.PublicKey:
		curves := map[string]elliptic.Curve{"ES256": elliptic.P256(), "ES384": elliptic.P384(), "ES512": elliptic.P521()}
		return key.Curve == curves[alg]
	case ed25519.PublicKey:
		return alg == "EdDSA"
	}
	return false
}

// fitting returns the key that the token is signed with; nil: none of them.
func (k *keys) fitting(token *jwt.Token) jwt.VerificationKey {
	end := strings.LastIndexByte(token.Raw, '.')
	chooser := k.byAlgorithm[token.Method.Alg()]
	if end < 0 || chooser == nil {
		return nil
	}
	choice, err := chooser.Keyfunc(token)
	if err != nil { // no key has its kid
		return nil
	}
	candidates := []jwt.VerificationKey{choice}
	if all, ok := choice.(jwt.VerificationKeySet); ok {
		candidates = all.Keys
	}
	for _, key := range candidates {
		if token.Method.Verify(token.Raw[:end], token.Signature, key) == nil {
			return key
		}
	}
	return nil
}
