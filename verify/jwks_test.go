// Copyright 2026 The authsec Authors
// SPDX-License-Identifier: Apache-2.0

package verify_test

import (
	"crypto/ed25519"
	"crypto/rsa"
	"strconv"
	"testing"

	"github.com/authsec-go/authsec/verify"
	"github.com/golang-jwt/jwt/v5"
)

func TestKeysThatAreNotForThisAreNotTried(t *testing.T) {
	private := jwk(&key().PublicKey, object{"d": b64(key().D.Bytes()), "p": b64(key().Primes[0].Bytes()), "q": b64(key().Primes[1].Bytes()),
		"dp": b64(key().Precomputed.Dp.Bytes()), "dq": b64(key().Precomputed.Dq.Bytes()), "qi": b64(key().Precomputed.Qinv.Bytes())})
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
		{"published with its private half", private, false},
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

func TestShortRSAKeysAreNotTried(t *testing.T) {
	for _, tc := range []struct {
		key  *rsa.PrivateKey
		want error
	}{{smallKey(), verify.ErrInvalidToken}, {key(), nil}} {
		a := newAuthority()
		a.publish(tenant, jwk(&tc.key.PublicKey))
		check(t, strconv.Itoa(tc.key.N.BitLen())+" bits", a.verifier(t), sign(jwt.SigningMethodRS256, tc.key, header(), claims()), tc.want)
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
