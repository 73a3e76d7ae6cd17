// Copyright 2026 The authsec Authors
// SPDX-License-Identifier: Apache-2.0

package verify_test

import (
	"bytes"
	"crypto/ed25519"
	"crypto/rsa"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"math/big"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/authsec-go/authsec/authsectest"
	"github.com/authsec-go/authsec/verify"
	"github.com/golang-jwt/jwt/v5"
)

func TestKeysThatAreNotForThisAreNotTried(t *testing.T) {
	pub := &key().PublicKey
	for _, tc := range []struct {
		name string
		key  object
		good bool
	}{
		{"as AuthSec publishes it", jwk(pub), true},
		{"without use, alg and kid", jwk(pub, object{"use": nil, "alg": nil, "kid": nil}), true},
		{"key_ops verify", jwk(pub, object{"use": nil, "key_ops": []string{"verify"}}), true},
		{"fields that nobody knows", jwk(pub, object{"ext": 1}), true},
		{"use enc", jwk(pub, object{"use": "enc"}), false},
		{"use that nobody knows", jwk(pub, object{"use": "tls"}), false},
		{"use in another case", jwk(pub, object{"use": "SIG"}), false},
		{"alg RS512", jwk(pub, object{"alg": "RS512"}), false},
		{"alg RSA-OAEP", jwk(pub, object{"alg": "RSA-OAEP"}), false},
		{"alg HS256", jwk(pub, object{"alg": "HS256"}), false},
		{"alg none", jwk(pub, object{"alg": "none"}), false},
		{"key_ops encrypt", jwk(pub, object{"use": nil, "key_ops": []string{"encrypt"}}), false},
		{"kty EC", jwk(pub, object{"kty": "EC"}), false},
		{"kty oct", jwk(pub, object{"kty": "oct", "k": "AAAA"}), false},
		{"no kty", jwk(pub, object{"kty": nil}), false},
		{"no n", jwk(pub, object{"n": nil}), false},
		{"n is a number", jwk(pub, object{"n": 1}), false},
		{"e of 1", jwk(pub, object{"e": "AQ"}), false},
		{"a zero before n", jwk(pub, object{"n": b64(append([]byte{0}, pub.N.Bytes()...))}), true},
		{"padded n", jwk(pub, object{"n": b64(pub.N.Bytes()) + "=="}), true},
		{"N beside n", jwk(pub, object{"N": b64(evilKey().N.Bytes())}), true}, // names are exact
		{"N in place of n", jwk(pub, object{"n": nil, "N": b64(pub.N.Bytes())}), false},
		{"e of 2^64 + 65537", jwk(pub, object{"e": b64(new(big.Int).Add(new(big.Int).Lsh(big.NewInt(1), 64), big.NewInt(65537)).Bytes())}), false},
		{"certificates that nobody reads", jwk(pub, object{"x5c": []string{"AAAA"}, "x5u": "http://attacker.test"}), true},
	} {
		a := newAuthority()
		a.publish(tenant, tc.key, jwk(&nextKey().PublicKey))
		v := a.verifier(t)
		var want error
		if !tc.good {
			want = verify.ErrInvalidToken
		}
		check(t, tc.name, v, token(), want)
		check(t, tc.name+", the key beside it", v, rotated(), nil)
	}
}

// private are the private members of the tenant's key.
func private() object {
	k := key()
	return object{"d": b64(k.D.Bytes()), "p": b64(k.Primes[0].Bytes()), "q": b64(k.Primes[1].Bytes()), "dp": b64(k.Precomputed.Dp.Bytes()),
		"dq": b64(k.Precomputed.Dq.Bytes()), "qi": b64(k.Precomputed.Qinv.Bytes())}
}

// Anybody can sign with a key whose private half was published.
func TestKeysPublishedWithTheirPrivateHalfAreNotTried(t *testing.T) {
	pub, d := &key().PublicKey, object{"d": b64(key().D.Bytes())}
	twin := func(e object) []any { return []any{jwk(pub), e} }
	text := encode(jwk(pub))
	raw := func(members string) any { return json.RawMessage(text[:len(text)-1] + "," + members + "}") }
	oct := object{"kty": "oct", "k": "AAAA"}
	for _, tc := range []struct {
		name string
		keys []any
		good bool
	}{
		{"all of it", []any{jwk(pub, private())}, false},
		{"d alone", []any{jwk(pub, d)}, false},
		{"p alone", []any{jwk(pub, object{"p": private()["p"]})}, false},
		{"q, dp, dq and qi", []any{jwk(pub, private(), object{"d": nil, "p": nil})}, false},
		{"oth", []any{jwk(pub, object{"oth": []object{{"r": "AQ", "d": "AQ", "t": "AQ"}}})}, false},
		{"k", []any{jwk(pub, object{"k": "AAAA"})}, false},
		{"D", []any{jwk(pub, object{"D": d["d"]})}, false},
		{"d that is empty", []any{jwk(pub, object{"d": ""})}, false},
		{"d of another type", []any{jwk(pub, object{"d": 5})}, false},
		{"d that is no base64", []any{jwk(pub, object{"d": "%"})}, false},
		{"d with use enc", twin(jwk(pub, d, object{"use": "enc"})), false},
		{"d, hidden by a null", []any{raw(`"d":"AQ","d":null`)}, false},
		{"d, hidden by a null, in another entry", []any{jwk(pub), raw(`"d":"AQ","d":null`)}, false},
		{"d that is null: none", []any{raw(`"d":null,"p":null,"oth":null`)}, true},
		{"n twice", []any{raw(`"n":"` + b64(pub.N.Bytes()) + `"`)}, false},
		{"in another entry", twin(jwk(pub, private())), false},
		{"in another entry, before", []any{jwk(pub, private()), jwk(pub)}, false},
		{"in an entry with another kid, alg and use", twin(jwk(pub, d, object{"kid": "x", "alg": "none", "use": "x"})), false},
		{"in an entry that says EC", twin(jwk(pub, d, object{"kty": "EC"})), false},
		{"in an entry that spells n otherwise", twin(jwk(pub, d, object{"n": "AAAA" + b64(pub.N.Bytes()) + "=="})), false},
		{"in an entry whose d is too long", twin(jwk(pub, object{"d": strings.Repeat("A", 1<<19)})), false},
		{"another key's, in another entry", twin(jwk(&evilKey().PublicKey, d)), true},
		{"a secret in another entry", twin(oct), true},
		{"a secret without any number, and a key without any", []any{oct, object{"kty": "RSA"}, jwk(pub)}, true},
	} {
		a := newAuthority()
		a.fail(authsectest.Answer(200, encode(object{"keys": append(tc.keys, jwk(&nextKey().PublicKey))})), 0)
		v := a.verifier(t)
		var want error
		if !tc.good {
			want = verify.ErrInvalidToken
		}
		check(t, tc.name, v, token(), want)
		check(t, tc.name+", the key beside it", v, rotated(), nil)
	}
	point := jwk(&ecKey().PublicKey)
	scalar, _ := ecKey().Bytes()
	es := sign(jwt.SigningMethodES256, ecKey(), header(object{"alg": "ES256"}), claims())
	for name, keys := range map[string][]object{
		"as it is": {point}, "with d": {jwk(&ecKey().PublicKey, object{"d": b64(scalar)})}, "with d elsewhere": {point, jwk(&ecKey().PublicKey, object{"d": b64(scalar), "y": nil})},
	} {
		a := newAuthority()
		a.publish(tenant, keys...)
		want := verify.ErrInvalidToken
		if name == "as it is" {
			want = nil
		}
		check(t, "EC "+name, a.verifier(t, func(c *verify.Config) { c.Algorithms = []string{"ES256"} }), es, want)
	}
}

// rsaOf is a key of these primes. To find two large ones takes half a minute.
func rsaOf(primes ...*big.Int) *rsa.PrivateKey {
	n, phi, one := big.NewInt(1), big.NewInt(1), big.NewInt(1)
	for _, p := range primes {
		n.Mul(n, p)
		phi.Mul(phi, new(big.Int).Sub(p, one))
	}
	return &rsa.PrivateKey{PublicKey: rsa.PublicKey{N: n, E: 65537}, D: new(big.Int).ModInverse(big.NewInt(65537), phi), Primes: primes}
}

func TestRSAKeysAreOf2048To8192Bits(t *testing.T) {
	primes := slices.Concat(key().Primes, nextKey().Primes, evilKey().Primes, newRSA(2048).Primes)
	longest, tooLong := rsaOf(primes...), rsaOf(append(primes, big.NewInt(257))...)
	for _, tc := range []struct {
		key  *rsa.PrivateKey
		want error
	}{{smallKey(), verify.ErrInvalidToken}, {key(), nil}, {longest, nil}, {tooLong, verify.ErrInvalidToken}} {
		a := newAuthority()
		a.publish(tenant, jwk(&tc.key.PublicKey))
		token := sign(jwt.SigningMethodRS256, tc.key, header(), claims())
		check(t, strconv.Itoa(tc.key.N.BitLen())+" bits", a.verifier(t), token, tc.want)
	}
}

// A check by a key of 3 Mbit takes seconds, and no context stops it.
func TestHugeKeysCostNothing(t *testing.T) {
	ones := b64(bytes.Repeat([]byte{0xff}, 3<<20/8))
	cert := func() string { return b64(bytes.Repeat([]byte{0x30}, 1<<18)) }
	for name, huge := range map[string]any{
		"n": jwk(&key().PublicKey, object{"n": ones}), "n that is even": jwk(&key().PublicKey, object{"n": ones[:len(ones)-4] + "AAAA"}),
		"e": jwk(&key().PublicKey, object{"e": ones}), "d": jwk(&key().PublicKey, object{"d": ones}), "N": jwk(&key().PublicKey, object{"n": nil, "N": ones}),
		"n in escapes": json.RawMessage(`{"kty":"RSA","e":"AQAB","n":"` + strings.Repeat(`\u0041`, 1<<17) + `"}`),
		"x":            jwk(&ecKey().PublicKey, object{"x": ones}), "x5c": jwk(&key().PublicKey, object{"n": ones, "x5c": []string{cert()}}),
		"n, twice": json.RawMessage(`{"kty":"RSA","e":"AQAB","n":"AQAB","n":"` + ones + `"}`), "kid": jwk(&evilKey().PublicKey, object{"kid": ones}),
	} {
		a := newAuthority()
		a.fail(authsectest.Answer(200, encode(object{"keys": []any{huge, jwk(&nextKey().PublicKey)}})), 0)
		v := a.verifier(t, func(c *verify.Config) { c.Algorithms = []string{"RS256", "ES256"} })
		start := time.Now()
		for range 5 {
			check(t, name, v, garbage()+"AAAA", verify.ErrInvalidToken)
			check(t, name+", the key beside it", v, rotated(), nil)
		}
		if took := time.Since(start); took > 2*time.Second {
			t.Errorf("%s: 10 tokens took %v, want some milliseconds", name, took)
		}
	}
}

func TestAByteOrderMarkIsSkipped(t *testing.T) {
	set := encode(object{"keys": []object{jwk(&key().PublicKey)}})
	for body, want := range map[string]error{"\ufeff" + set: nil, "\ufeff\ufeff" + set: verify.ErrUnavailable, set + "\ufeff": verify.ErrUnavailable, "\ufeff": verify.ErrUnavailable} {
		a := newAuthority()
		a.fail(authsectest.Answer(200, body), 0)
		check(t, fmt.Sprintf("%.12q", body), a.verifier(t), token(), want)
	}
}

func TestEveryConfiguredAlgorithmVerifies(t *testing.T) {
	public, private, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	methods := []jwt.SigningMethod{jwt.SigningMethodRS256, jwt.SigningMethodRS384, jwt.SigningMethodRS512, jwt.SigningMethodPS256,
		jwt.SigningMethodPS384, jwt.SigningMethodPS512, jwt.SigningMethodES256, jwt.SigningMethodES384, jwt.SigningMethodEdDSA}
	a := newAuthority()
	a.publish(tenant, jwk(&key().PublicKey, object{"alg": nil}), jwk(&ecKey().PublicKey), jwk(&ec384Key().PublicKey),
		object{"kty": "OKP", "crv": "Ed25519", "x": b64(public), "use": "sig", "alg": "EdDSA"})
	for _, method := range methods {
		var k any = key()
		switch method {
		case jwt.SigningMethodES256:
			k = ecKey()
		case jwt.SigningMethodES384:
			k = ec384Key()
		case jwt.SigningMethodEdDSA:
			k = private
		}
		token := sign(method, k, header(object{"alg": method.Alg()}), claims())
		for _, configured := range methods {
			v := a.verifier(t, func(c *verify.Config) { c.Algorithms = []string{configured.Alg()} })
			var want error
			if configured != method {
				want = verify.ErrInvalidToken
			}
			check(t, method.Alg()+" where "+configured.Alg()+" is configured", v, token, want)
		}
	}
}

// Readers differ in how they take names. So the set's own are exact and occur once, or
// a private half could hide in what this reader does not see.
func TestTheKeySetsOwnNamesAreExact(t *testing.T) {
	pub, leak := encode(jwk(&key().PublicKey)), encode(jwk(&key().PublicKey, private()))
	for body, want := range map[string]error{
		`{"keys":[` + pub + `]}`:                                nil,
		`{"a":{"keys":[` + leak + `]},"keys":[` + pub + `]}`:    nil, // another object's
		`{"Keys":5,"keys":[` + pub + `]}`:                       nil,
		`{"KEYS":[` + pub + `]}`:                                verify.ErrUnavailable,
		"{\"key\u017f\":[" + pub + `]}`:                         verify.ErrUnavailable,
		`{"keys":[` + leak + `],"keys":[` + pub + `]}`:          verify.ErrUnavailable,
		`{"keys":[` + leak + `],"\u006beys":[` + pub + `]}`:     verify.ErrUnavailable,
		`{"keys":[` + pub + `],"keys":[` + leak + `]}`:          verify.ErrUnavailable,
		`{"keys":[` + pub + `],"issuer":"a","issuer":"b"}`:      verify.ErrUnavailable,
		`{"keys":[` + pub + `],"x":` + encode(nested(16)) + `}`: verify.ErrUnavailable,
		`[{"keys":[` + pub + `]}]`:                              verify.ErrUnavailable,
		`{}`:                                                    verify.ErrUnavailable,
		`null`:                                                  verify.ErrUnavailable,
	} {
		a := newAuthority()
		a.fail(authsectest.Answer(200, body), 0)
		check(t, strings.NewReplacer(pub, "good", leak, "leak").Replace(body), a.verifier(t), token(), want)
	}
}

// RFC 7517, section 4.5: they should not. AuthSec calls each of its keys "default".
func TestKeysMayShareAKid(t *testing.T) {
	a := newAuthority()
	a.publish(tenant, jwk(&key().PublicKey), jwk(&nextKey().PublicKey), jwk(&evilKey().PublicKey, object{"kid": "other"}))
	v := a.verifier(t)
	for kid, want := range map[any]error{"default": nil, nil: nil, "other": verify.ErrInvalidToken, "": verify.ErrInvalidToken} {
		check(t, fmt.Sprint("the first, kid ", kid), v, sign(jwt.SigningMethodRS256, key(), header(object{"kid": kid}), claims()), want)
		check(t, fmt.Sprint("the second, kid ", kid), v, sign(jwt.SigningMethodRS256, nextKey(), header(object{"kid": kid}), claims()), want)
	}
}

// A signature of R = 1 and S = 0 fits one text in 8 at least, without any private key.
func TestKeysOfSmallOrderAreNotTried(t *testing.T) {
	signature := make([]byte, ed25519.SignatureSize)
	signature[0] = 1
	forgeries := 0
	for _, y := range []string{"00", "01", "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05", "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a",
		"ec" + strings.Repeat("ff", 30) + "7f", "ed" + strings.Repeat("ff", 30) + "7f", "ee" + strings.Repeat("ff", 30) + "7f"} {
		for _, sign := range []byte{0, 0x80} {
			x, _ := hex.DecodeString((y + strings.Repeat("00", 31))[:64])
			x[31] |= sign
			a := newAuthority()
			a.publish(tenant, object{"kty": "OKP", "crv": "Ed25519", "x": b64(x)})
			v := a.verifier(t, func(c *verify.Config) { c.Algorithms = []string{"EdDSA"} })
			forged := false
			for i := 0; i < 400 && !forged; i++ {
				text := b64([]byte(header(object{"alg": "EdDSA"}))) + "." + b64([]byte(claims(object{"jti": fmt.Sprint(i)})))
				if forged = ed25519.Verify(x, []byte(text), signature); forged {
					forgeries++
					check(t, "forged for "+hex.EncodeToString(x), v, text+"."+b64(signature), verify.ErrInvalidToken)
				}
			}
		}
	}
	if forgeries < 12 { // crypto/ed25519 may reject the two that say that 0 is negative
		t.Errorf("this test forged for %d keys, want 12 or more of 14", forgeries)
	}
}
