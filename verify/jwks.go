// Copyright 2026 The authsec Authors
// SPDX-License-Identifier: Apache-2.0

package verify

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/MicahParks/jwkset"
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
// jwkset parses them. Its own fetching is not used: it fetches on a schedule or for an
// unknown kid, but not when no key fits. Its store is not used either: it finds only
// one key of a kid.
type keys struct {
	source          [sha256.Size]byte // of the text that they were read from
	byAlgorithm     map[string][]jwkset.JWK
	usable, ignored int
	due             time.Time // when to ask for newer ones
}

// parseKeys reads a JSON Web Key Set. It ignores keys that are malformed, too long,
// not public, or not for these algorithms (RFC 7517, section 5). A set in which a name
// occurs twice has no keys: some readers take the first value and some the last.
func parseKeys(text []byte, algorithms []string) (*keys, error) {
	var set map[string]json.RawMessage // not a struct: its fields would match names in any case
	var list []json.RawMessage
	n, _ := members(text)
	if json.Unmarshal(text, &set) != nil || n != len(set) || json.Unmarshal(set["keys"], &list) != nil || list == nil {
		return nil, errors.New("the answer is no JSON Web Key Set")
	}
	if len(list) > maxKeys {
		return nil, fmt.Errorf("the answer has %d keys, more than %d", len(list), maxKeys)
	}
	k := &keys{source: sha256.Sum256(text), byAlgorithm: map[string][]jwkset.JWK{}}
	for _, jwk := range publicKeys(list) {
		used := false
		for _, alg := range algorithms {
			if fits(jwk, alg) {
				k.byAlgorithm[alg] = append(k.byAlgorithm[alg], jwk)
				used = true
			}
		}
		if used {
			k.usable++
		}
	}
	k.ignored = len(list) - k.usable
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
// every other entry of the same key, too.
func publicKeys(set []json.RawMessage) (list []jwkset.JWK) {
	var entries []map[string]any
	leaked := map[string]bool{} // by identity
	for _, raw := range set {
		var entry map[string]any
		if json.Unmarshal(raw, &entry) != nil {
			continue
		}
		n, _ := members(raw)
		twice := n != len(entry) // a name occurs twice: some readers take the first value and some the last
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
		return alg == "EdDSA" && !smallOrder(key)
	}
	return false
}

// smallOrderY are the y coordinates of the points of small order on edwards25519, in
// all their encodings (RFC 8032, section 5.1.2), without the sign of x.
var smallOrderY = []string{
	"0000000000000000000000000000000000000000000000000000000000000000", // 0
	"0100000000000000000000000000000000000000000000000000000000000000", // 1
	"26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05", // of order 8
	"c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a", // of order 8
	"ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f", // p-1
	"edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f", // p, for 0
	"eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f", // p+1, for 1
}

// smallOrder reports whether anybody can sign for a key (RFC 8032, section 5.1.7),
// because it has at most 8 multiples.
func smallOrder(key ed25519.PublicKey) bool {
	y := slices.Clone(key)
	y[len(y)-1] &= 0x7f
	return slices.Contains(smallOrderY, hex.EncodeToString(y))
}

// fitting returns the key that the token is signed with; nil: no key of k. A token
// without a kid, as AuthSec's are, may be signed with any key. Keys may share a kid
// (RFC 7517, section 4.5).
func (k *keys) fitting(token *jwt.Token) jwt.VerificationKey {
	end := strings.LastIndexByte(token.Raw, '.')
	if end < 0 {
		return nil
	}
	kid, named := token.Header["kid"]
	for _, jwk := range k.byAlgorithm[token.Method.Alg()] {
		if named && kid != jwk.Marshal().KID {
			continue
		}
		if key := jwk.Key(); token.Method.Verify(token.Raw[:end], token.Signature, key) == nil {
			return key
		}
	}
	return nil
}
