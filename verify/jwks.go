// Copyright 2026 The authsec Authors
// SPDX-License-Identifier: Apache-2.0

package verify

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
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
	maxRSABits = 8192 // the time of a check grows with the square: 3 Mbit take 1 s and more

	// maxNumber is the length of a number of maxRSABits in padded base64, with the
	// zero byte before it that some write.
	maxNumber = 1368
)

// keys are a tenant's keys at one time. They are immutable once in hand.
//
// jwkset parses and stores them, and keyfunc chooses among them by a token's kid.
// Each algorithm has its own store. For a token without a kid, as AuthSec's are,
// keyfunc offers all keys of a store, whatever their use and alg. jwkset's own
// fetching is not used: it fetches on a schedule or for an unknown kid, but not when
// no key fits.
type keys struct {
	source          [sha256.Size]byte // of the text that they were read from
	byAlgorithm     map[string]keyfunc.Keyfunc
	usable, ignored int
	due             time.Time // when to ask for newer ones
}

// parseKeys reads a JSON Web Key Set. It ignores keys that are malformed, too long,
// not public, or not for these algorithms (RFC 7517, section 5).
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
	k := &keys{source: sha256.Sum256(text), byAlgorithm: map[string]keyfunc.Keyfunc{}}
	stores := map[string]jwkset.Storage{}
	for _, alg := range algorithms {
		stores[alg] = jwkset.NewMemoryStorage()
		var err error
		if k.byAlgorithm[alg], err = keyfunc.New(keyfunc.Options{Ctx: ctx, Storage: stores[alg]}); err != nil {
			return nil, err
		}
	}
	for _, jwk := range publicKeys(set.Keys) {
		used := false
		for alg, store := range stores {
			if !fits(jwk, alg) {
				continue
			}
			if err := store.KeyWrite(ctx, jwk); err != nil {
				return nil, err
			}
			used = true
		}
		if used {
			k.usable++
		}
	}
	k.ignored = len(set.Keys) - k.usable
	return k, nil
}

// The members of a key (RFC 7517, section 4; RFC 7518, section 6).
var (
	privateMembers = []string{"d", "p", "q", "dp", "dq", "qi", "oth", "k"}
	numbers        = []string{"n", "e", "x", "y"}
	otherMembers   = []string{"kty", "use", "key_ops", "alg", "kid", "crv"} // that are read
)

// publicKeys returns the well-formed public keys of a set. Anybody can sign with a key
// whose private half was published. So an entry with private members is ignored, and
// so is every other entry of the same key.
func publicKeys(set []json.RawMessage) (list []jwkset.JWK) {
	var entries []map[string]any
	leaked := map[string]bool{} // by identity
	for _, raw := range set {
		var entry map[string]any
		if json.Unmarshal(raw, &entry) != nil {
			continue
		}
		n, _ := members(raw)
		twice := n != len(entry) // the same name: readers differ in which value they take
		private := false
		for name, value := range entry {
			private = private || slices.Contains(privateMembers, strings.ToLower(name)) && (value != nil || twice)
		}
		switch {
		case private:
			for _, name := range []string{"n", "x"} {
				leaked[identity(entry, name)] = true
			}
		case !twice:
			entries = append(entries, entry)
		}
	}
	for _, entry := range entries {
		use := true
		for name, value := range entry {
			number := slices.Contains(numbers, name)
			if text, ok := value.(string); number && ok && len(text) > maxNumber {
				use = false
			}
			if !number && !slices.Contains(otherMembers, name) {
				delete(entry, name) // jwkset would take "N" for "n", and parse certificates
			}
		}
		for _, name := range []string{"n", "x"} {
			id := identity(entry, name)
			use = use && (id == "" || !leaked[id])
		}
		text, err := json.Marshal(entry)
		if !use || err != nil {
			continue
		}
		if jwk, err := jwkset.NewJWKFromRawJSON(text, jwkset.JWKMarshalOptions{}, jwkset.JWKValidateOptions{}); err == nil {
			list = append(list, jwk)
		}
	}
	return list
}

// identity is the number n or x of a key, in canonical form. "": it has none.
func identity(entry map[string]any, name string) string {
	text, _ := entry[name].(string)
	text = strings.NewReplacer("+", "-", "/", "_", "=", "").Replace(text)
	number, _ := base64.RawURLEncoding.DecodeString(text)
	return string(bytes.TrimLeft(number, "\x00"))
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
		return (strings.HasPrefix(alg, "RS") || strings.HasPrefix(alg, "PS")) &&
			key.N.BitLen() >= minRSABits && key.N.BitLen() <= maxRSABits
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
