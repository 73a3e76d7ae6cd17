// Copyright 2026 The authsec Authors
// SPDX-License-Identifier: Apache-2.0

package verify_test

import (
	"context"
	"crypto/x509"
	"encoding/asn1"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/authsec-go/authsec/authsectest"
	"github.com/authsec-go/authsec/verify"
	"github.com/golang-jwt/jwt/v5"
)

// attack is a token that must be rejected, and the same token without the attack,
// which must be accepted.
type attack struct {
	name   string
	token  string
	undone string
	why    error // of the rejection
	status int   // of the answer; 0: 401
}

func TestAttacksAreRefusedAndOnlyThey(t *testing.T) {
	var asked atomic.Int32
	trap := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked.Add(1)
		io.WriteString(w, encode(object{"keys": []any{jwk(&evilKey().PublicKey)}}))
	}))
	defer trap.Close()

	var all []attack
	synctest.Test(t, func(t *testing.T) { all = attacks(trap.URL) }) // whose time is each bubble's first
	for _, a := range all {
		t.Run(a.name, func(t *testing.T) { synctest.Test(t, func(t *testing.T) { a.run(t, newTarget(t, -1)) }) })
	}
	synctest.Test(t, func(t *testing.T) { // with every good token in one Verifier's cache
		x := newTarget(t, len(all))
		for _, a := range all {
			x.v.Verify(t.Context(), a.undone)
		}
		for _, a := range all {
			if a.run(t, x); t.Failed() {
				t.Fatal("with a cache: " + a.name)
			}
		}
	})
	if n := asked.Load(); n != 0 {
		t.Errorf("the address in a token's header was asked %d times, want 0", n)
	}
}

// target is a Verifier that is attacked, and its server.
type target struct {
	server *authority
	v      *verify.Verifier
}

func newTarget(t *testing.T, cacheSize int) target {
	server := newAuthority()
	server.publish(tenant, jwk(&key().PublicKey, object{"kid": "k1"}), jwk(&evilKey().PublicKey, object{"kid": "enc", "use": "enc"}), jwk(&nextKey().PublicKey, object{"kid": "k2", "alg": "RS512"}),
		jwk(&ecKey().PublicKey, object{"kid": "e1"}), jwk(&ec384Key().PublicKey, object{"kid": "e2"}),
		object{"kty": "oct", "kid": "o1", "use": "sig", "alg": "HS256", "k": b64([]byte("a secret of thirty-two characters"))})
	return target{server, server.verifier(t, func(c *verify.Config) {
		c.Algorithms, c.CacheSize = []string{"RS256", "ES256"}, cacheSize
	})}
}

func (a attack) run(t *testing.T, x target) {
	server, v := x.server, x.v
	if got, err := v.Verify(t.Context(), a.undone); err != nil || !got.Verified {
		t.Errorf("with the attack undone: %v, want claims", err)
	}
	got, err := v.Verify(t.Context(), a.token)
	if got != nil || !errors.Is(err, verify.ErrInvalidToken) || !errors.Is(err, a.why) {
		t.Errorf("error = %v, want ErrInvalidToken and %v", err, a.why)
	}
	h := protected(v)
	if resp := ask(h, "Bearer "+a.undone); resp.StatusCode != 200 {
		t.Errorf("answer with the attack undone = %d, want 200", resp.StatusCode)
	}
	resp := ask(h, "Bearer "+a.token)
	status, code := 401, "invalid_token"
	if a.status != 0 {
		status, code = a.status, "invalid_request"
	}
	body, _ := io.ReadAll(resp.Body)
	if want := `Bearer realm="authsec", error="` + code + `"`; resp.StatusCode != status || resp.Header.Get("WWW-Authenticate") != want {
		t.Errorf("answer = %d %q, want %d %q", resp.StatusCode, resp.Header.Get("WWW-Authenticate"), status, want)
	}
	if want := encode(object{"error": code, "status": status}) + "\n"; string(body) != want {
		t.Errorf("body = %q, want %q", body, want)
	}
	if other := server.count(stranger); other != 0 {
		t.Errorf("the keys of a tenant that is not configured were asked for %d times, want 0", other)
	}
}

func attacks(trap string) (all []attack) {
	now := time.Now().Unix()
	good := token()
	add := func(name, token, undone string, why error) {
		all = append(all, attack{name: name, token: token, undone: undone, why: why})
	}
	// signed has the same header and claims signed by the attacker and by the tenant.
	signed := func(name, header, claims string) {
		add(name, sign(jwt.SigningMethodRS256, evilKey(), header, claims), sign(jwt.SigningMethodRS256, key(), header, claims), jwt.ErrTokenSignatureInvalid)
	}
	headed := func(name string, replaced object, why error) {
		add("header: "+name, sign(jwt.SigningMethodRS256, key(), header(replaced), claims()), good, why)
	}
	claimed := func(name string, replaced object, why error) { add("claims: "+name, token(replaced), good, why) }
	// raw replaces a part of the claims' text.
	raw := func(name, old, new string, why error) {
		text := claims()
		if !strings.Contains(text, old) {
			panic(old)
		}
		add("claims: "+name, sign(jwt.SigningMethodRS256, key(), header(), strings.Replace(text, old, new, 1)), good, why)
	}

	// The algorithm.
	for _, alg := range []string{"none", "None", "NONE", "nOnE", "", "rs256", "HS256\x00", "RS256 "} {
		p := parts(sign(jwt.SigningMethodRS256, key(), header(object{"alg": alg}), claims()))
		add("alg "+alg+", unsigned", joined(p[0], p[1], ""), good, jwt.ErrTokenUnverifiable)
		add("alg "+alg+", signed", joined(p...), good, jwt.ErrTokenUnverifiable)
	}
	headed("no alg", object{"alg": nil}, jwt.ErrTokenUnverifiable)
	headed("alg is a number", object{"alg": 256}, jwt.ErrTokenUnverifiable)
	headed("alg is a list", object{"alg": []string{"RS256"}}, jwt.ErrTokenUnverifiable)
	public := &key().PublicKey
	pkix, _ := x509.MarshalPKIXPublicKey(public)
	pkcs1 := x509.MarshalPKCS1PublicKey(public)
	for name, secret := range map[string][]byte{
		"PKIX in PEM":     pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: pkix}),
		"PKCS 1 in PEM":   pem.EncodeToMemory(&pem.Block{Type: "RSA PUBLIC KEY", Bytes: pkcs1}),
		"PKIX in DER":     pkix,
		"PKCS 1 in DER":   pkcs1,
		"n":               public.N.Bytes(),
		"n in base64":     []byte(b64(public.N.Bytes())),
		"its JWK":         []byte(encode(jwk(public))),
		"nothing":         {},
		"the set's own k": []byte("a secret of thirty-two characters"),
	} {
		for _, method := range []jwt.SigningMethod{jwt.SigningMethodHS256, jwt.SigningMethodHS512} {
			add(method.Alg()+" with the secret: "+name, sign(method, secret, header(object{"alg": method.Alg()}), claims()), good, jwt.ErrTokenUnverifiable)
		}
	}
	add("an algorithm that was not configured", sign(jwt.SigningMethodRS512, key(), header(object{"alg": "RS512"}), claims()), good, jwt.ErrTokenUnverifiable)
	add("PSS in place of PKCS 1", sign(jwt.SigningMethodPS256, key(), header(object{"alg": "PS256"}), claims()), good, jwt.ErrTokenUnverifiable)
	add("PSS that says it is PKCS 1", sign(jwt.SigningMethodPS256, key(), header(), claims()), good, jwt.ErrTokenSignatureInvalid)
	add("the tenant's key for another algorithm", sign(jwt.SigningMethodRS256, nextKey(), header(), claims()), good, jwt.ErrTokenSignatureInvalid)
	add("the tenant's key for encryption", sign(jwt.SigningMethodRS256, evilKey(), header(), claims()), good, jwt.ErrTokenSignatureInvalid)

	// The key.
	for _, kid := range []string{"../../../../dev/null", "' OR '1'='1", "k2", "o1", "", "K1", "k1\x00", strings.Repeat("k", 8<<10), "https://attacker.example/key"} {
		name := kid[:min(len(kid), 24)]
		add("kid "+name, sign(jwt.SigningMethodRS256, key(), header(object{"kid": kid}), claims()), sign(jwt.SigningMethodRS256, key(), header(object{"kid": "k1"}), claims()), jwt.ErrTokenSignatureInvalid)
		signed("kid of the key that did not sign, by the attacker: "+name, header(object{"kid": "k1"}), claims(object{"jti": kid}))
	}
	headed("kid is a number", object{"kid": 1}, jwt.ErrTokenUnverifiable)
	headed("kid is a list", object{"kid": []any{}}, jwt.ErrTokenUnverifiable)
	evil := jwk(&evilKey().PublicKey, object{"kid": "evil"})
	der := x509.MarshalPKCS1PublicKey(&evilKey().PublicKey)
	signed("jku", header(object{"jku": trap + "/jwks", "kid": "k1"}), claims())
	signed("jku, no kid", header(object{"jku": trap + authsectest.KeySetPath + "?tenant_id=" + tenant}), claims())
	signed("x5u", header(object{"x5u": trap + "/cert"}), claims())
	signed("x5c", header(object{"x5c": []string{base64.StdEncoding.EncodeToString(der)}}), claims())
	signed("embedded jwk", header(object{"jwk": evil}), claims())
	signed("iss that names the attacker's server in a claim", header(), claims(object{"jwks_uri": trap}))
	add("embedded jwk with its kid", sign(jwt.SigningMethodRS256, evilKey(), header(object{"jwk": evil, "kid": "evil"}), claims()),
		sign(jwt.SigningMethodRS256, key(), header(object{"jwk": evil}), claims()), jwt.ErrTokenSignatureInvalid)
	add("another tenant's key", sign(jwt.SigningMethodRS256, nextKey(), header(), claims()), sign(jwt.SigningMethodRS256, key(), header(), claims()), jwt.ErrTokenSignatureInvalid)
	add("another tenant's iss", token(object{"iss": "spiffe://" + neighbor, "tenant_id": neighbor}),
		sign(jwt.SigningMethodRS256, nextKey(), header(), claims(object{"iss": "spiffe://" + neighbor, "tenant_id": neighbor})), jwt.ErrTokenSignatureInvalid)

	// The header.
	headed("crit", object{"crit": []string{"exp"}, "exp": 1}, jwt.ErrTokenUnverifiable)
	headed("crit is empty", object{"crit": []string{}}, jwt.ErrTokenUnverifiable)
	headed("crit with b64", object{"crit": []string{"b64"}, "b64": false}, jwt.ErrTokenUnverifiable)
	headed("b64 is false", object{"b64": false}, jwt.ErrTokenUnverifiable)
	for _, typ := range []any{"at+jwt", "logout+jwt", "dpop+jwt", "JWE", "", 1, []string{"JWT"}} {
		headed("typ "+encode(typ), object{"typ": typ}, jwt.ErrTokenUnverifiable)
	}
	double := func(text string) string { return sign(jwt.SigningMethodRS256, key(), text, claims()) }
	for _, text := range []string{`{"alg":"none","typ":"JWT","alg":"RS256"}`, `{"alg":"RS256","alg":"RS256"}`, `{"alg":"RS256","\u0061lg":"RS256"}`,
		`{"alg":"RS256","typ":"at+jwt","typ":"JWT"}`, `{"alg":"RS256","kid":"k2","kid":"k1"}`, `{"alg":"RS256","x":{"a":1},"x":{"b":":,\"{"}}`} {
		add("header: twice, "+text, double(text), double(`{"alg":"RS256","kid":"k1","x":{"b":":,\"{"}}`), jwt.ErrTokenMalformed)
	}
	for _, text := range []string{``, `null`, `[]`, `"RS256"`, `{"alg":"RS256"}{}`, `{"alg":"RS256"`, `{"alg":"RS256"}x`} {
		name := jwt.ErrTokenMalformed
		if text == `null` {
			name = jwt.ErrTokenUnverifiable
		}
		add("header: "+text, double(text), double(` {"alg":"RS256"} `), name)
	}

	// The claims' form.
	raw("iss twice, the last good", `"iss":`, `"iss":"spiffe://`+stranger+`","iss":`, jwt.ErrTokenMalformed)
	raw("iss twice, the first good", `"jti":`, `"iss":"spiffe://`+stranger+`","jti":`, jwt.ErrTokenMalformed)
	raw("iss twice, escaped", `"iss":`, `"\u0069ss":"spiffe://`+stranger+`","iss":`, jwt.ErrTokenMalformed)
	raw("iss twice, the same", `"iss":`, `"iss":"spiffe://`+tenant+`","iss":`, jwt.ErrTokenMalformed)
	raw("aud twice, the last good", `"aud":`, `"aud":["other"],"aud":`, jwt.ErrTokenMalformed)
	raw("aud twice, the first good", `"jti":`, `"aud":["other"],"jti":`, jwt.ErrTokenMalformed)
	raw("exp twice, the last good", `"exp":`, `"exp":1,"exp":`, jwt.ErrTokenMalformed)
	raw("exp twice, the first good", `"jti":`, `"exp":1,"jti":`, jwt.ErrTokenMalformed)
	raw("permissions twice", `"permissions":`, `"permissions":["admin:all"],"permissions":`, jwt.ErrTokenMalformed)
	add("nested too deep", token(object{"x": nested(100)}), token(object{"x": nested(15)}), jwt.ErrTokenMalformed)
	add("nested by one too deep", token(object{"x": nested(16)}), token(object{"x": nested(15)}), jwt.ErrTokenMalformed)
	add("nested without end", sign(jwt.SigningMethodRS256, key(), header(), strings.Repeat(`{"a":`, 2000)), good, jwt.ErrTokenMalformed)
	add("nested header", double(`{"alg":"RS256","x":`+strings.Repeat("[", 50)+strings.Repeat("]", 50)+`}`), double(`{"alg":"RS256","x":[[]]}`), jwt.ErrTokenMalformed)
	huge := func(n int) string { return token(object{"x": strings.Repeat("x", n)}) }
	fill := (16<<10 - len(huge(0))) * 3 / 4
	add("huge", huge(1<<20), huge(fill), jwt.ErrTokenMalformed)
	add("huge by a little", huge(fill+4), huge(fill-4), jwt.ErrTokenMalformed)
	add("claims: null", sign(jwt.SigningMethodRS256, key(), header(), `null`), good, jwt.ErrTokenRequiredClaimMissing)
	for _, text := range []string{``, `[]`, claims() + `{}`, claims() + `x`, strings.TrimSuffix(claims(), `}`), `"` + claims()} {
		add("claims: "+text[:min(len(text), 12)]+"…"+text[max(0, len(text)-4):], sign(jwt.SigningMethodRS256, key(), header(), text),
			sign(jwt.SigningMethodRS256, key(), header(), claims()+" \n"), jwt.ErrTokenMalformed)
	}
	p, more := parts(good), parts(token(object{"permissions": []string{"admin:all"}}))
	add("claims changed after signing", joined(p[0], more[1], p[2]), joined(more...), jwt.ErrTokenSignatureInvalid)
	add("header changed after signing", joined(b64([]byte(header(object{"x": 1}))), p[1], p[2]), joined(p...), jwt.ErrTokenSignatureInvalid)

	// Times. The leeway's last second is still good.
	second := int64(leeway / time.Second)
	add("expired by the leeway", token(object{"exp": now - second}), token(object{"exp": now - second + 1}), jwt.ErrTokenExpired)
	add("expired 1 s past the leeway", token(object{"exp": now - second - 1}), token(object{"exp": now - second + 1}), jwt.ErrTokenExpired)
	add("nbf past the leeway", token(object{"nbf": now + second + 1}), token(object{"nbf": now + second}), jwt.ErrTokenNotValidYet)
	add("iat past the leeway", token(object{"iat": now + second + 1}), token(object{"iat": now + second}), jwt.ErrTokenUsedBeforeIssued)
	for name, exp := range map[string]any{"text": "4102444800", "negative": -1, "huge": 1e300, "past the year 9999": int64(253402300800), "a list": []int64{now + 60}, "true": true, "an object": object{}} {
		claimed("exp is "+name, object{"exp": exp}, jwt.ErrTokenInvalidClaims)
	}
	claimed("nbf is text", object{"nbf": "1"}, jwt.ErrTokenInvalidClaims)
	claimed("nbf is negative", object{"nbf": -1e300}, jwt.ErrTokenInvalidClaims)
	claimed("iat is text", object{"iat": "1"}, jwt.ErrTokenInvalidClaims)
	claimed("no exp", object{"exp": nil}, jwt.ErrTokenRequiredClaimMissing)
	claimed("exp is 0", object{"exp": 0}, jwt.ErrTokenExpired)
	add("exp is a past fraction", token(object{"exp": float64(now-second) - 0.5}), token(object{"exp": float64(now) + 60.5}), jwt.ErrTokenExpired)
	raw("exp is beyond any float", `"exp":`, `"exp":1e999,"x":`, jwt.ErrTokenMalformed)
	raw("exp is null", `"exp":`, `"exp":null,"x":`, jwt.ErrTokenRequiredClaimMissing)
	raw("exp is not a number", `"exp":`, `"exp":NaN,"x":`, jwt.ErrTokenMalformed)

	// The audience.
	for _, aud := range []any{"other-api", []string{"other-api"}, audience + " ", " " + audience, "Billing-API", audience + "/", audience + "\x00", "billing", []string{audience + ",other"}, "*", "billing‐api"} {
		add("aud "+encode(aud), token(object{"aud": aud}), token(object{"aud": audience}), jwt.ErrTokenInvalidAudience)
	}
	claimed("no aud", object{"aud": nil}, jwt.ErrTokenRequiredClaimMissing)
	raw("aud is null", `"aud":`, `"aud":null,"x":`, jwt.ErrTokenRequiredClaimMissing)
	claimed("aud is an empty list", object{"aud": []string{}}, jwt.ErrTokenRequiredClaimMissing)
	claimed("aud is empty", object{"aud": ""}, jwt.ErrTokenRequiredClaimMissing)
	claimed("aud has an empty one", object{"aud": []string{""}}, jwt.ErrTokenRequiredClaimMissing)
	for _, aud := range []any{1, []any{1}, []any{audience, 1}, object{audience: audience}, []any{[]string{audience}}, true} {
		add("aud "+encode(aud), token(object{"aud": aud}), token(object{"aud": []string{"other-api", audience}}), jwt.ErrTokenInvalidClaims)
	}

	// The issuer.
	for _, iss := range []string{"spiffe://" + stranger, tenant, "", "spiffe://", "SPIFFE://" + tenant, "spiffe://" + tenant + "/", "spiffe://" + tenant + " ", " spiffe://" + tenant,
		"spiffe://" + tenant + "\n", "spiffe://" + tenant + "\u200b", "spiffe://" + tenant + "\x00", "spiffe:/" + "/1\u0661111111" + tenant[8:], "spiffe\uff1a//" + tenant, "https://" + tenant,
		"spiffe://" + tenant + "@" + stranger, "spiffe://" + stranger + "#" + tenant, "spiffe://%31" + tenant[1:], "ѕpiffe://" + tenant} {
		add("iss "+encode(iss), sign(jwt.SigningMethodRS256, key(), header(), claims(object{"iss": iss, "tenant_id": nil})), token(object{"tenant_id": nil}), jwt.ErrTokenInvalidIssuer)
	}
	add("a stranger's token", sign(jwt.SigningMethodRS256, evilKey(), header(), claims(object{"iss": "spiffe://" + stranger, "tenant_id": stranger})), good, jwt.ErrTokenInvalidIssuer)
	claimed("no iss", object{"iss": nil, "tenant_id": nil}, jwt.ErrTokenInvalidIssuer)
	claimed("iss is a list", object{"iss": []string{"spiffe://" + tenant}}, jwt.ErrTokenInvalidClaims)
	claimed("tenant_id is another configured tenant's", object{"tenant_id": neighbor}, jwt.ErrTokenInvalidIssuer)
	claimed("tenant_id is a stranger's", object{"tenant_id": stranger}, jwt.ErrTokenInvalidIssuer)
	claimed("tenant_id is empty", object{"tenant_id": ""}, jwt.ErrTokenInvalidIssuer)
	claimed("tenant_id is a number", object{"tenant_id": 1}, jwt.ErrTokenInvalidClaims)
	workspace := token(object{"workspace_id": tenant, "tenant_id": nil})
	for _, id := range []any{neighbor, stranger, "", "{" + tenant + "}", "urn:uuid:" + tenant, strings.ReplaceAll(tenant, "-", ""), tenant + "\n"} {
		add("workspace_id "+encode(id), token(object{"workspace_id": id, "tenant_id": nil}), workspace, jwt.ErrTokenInvalidIssuer)
		add("workspace_id beside tenant_id "+encode(id), token(object{"workspace_id": id}), workspace, jwt.ErrTokenInvalidIssuer)
		add("tenant_id beside workspace_id "+encode(id), token(object{"workspace_id": tenant, "tenant_id": id}), workspace, jwt.ErrTokenInvalidIssuer)
		add("iss "+encode(id), token(object{"iss": fmt.Sprint("spiffe://", id), "tenant_id": nil, "workspace_id": tenant}), workspace, jwt.ErrTokenInvalidIssuer)
	}
	for _, id := range []any{1, []string{tenant}, true, object{}} {
		add("workspace_id "+encode(id), token(object{"workspace_id": id, "tenant_id": nil}), workspace, jwt.ErrTokenInvalidClaims)
	}
	for _, name := range []string{"sub", "jti", "user_id", "email", "agent_type", "client_id"} {
		claimed(name+" is a number", object{name: 1}, jwt.ErrTokenInvalidClaims)
	}
	claimed("permissions are text", object{"permissions": "billing:read"}, jwt.ErrTokenInvalidClaims)
	claimed("permissions are numbers", object{"permissions": []int{1}}, jwt.ErrTokenInvalidClaims)

	// The spelling.
	spelled := func(name, token string, status int) {
		all = append(all, attack{"spelling: " + name, token, good, jwt.ErrTokenMalformed, status})
	}
	spelled("a part more", good+"."+p[2], 0)
	spelled("a dot more", good+".", 0)
	spelled("a dot before", "."+good, 0)
	spelled("a part less", joined(p[0], p[1]), 0)
	spelled("one part", p[0], 0)
	spelled("five parts", joined(p[0], p[1], p[2], p[0], p[1]), 0)
	spelled("empty", "", 400)
	spelled("dots", "..", 0)
	spelled("padding", good+"==", 0)
	spelled("padded claims", joined(p[0], p[1]+"=", p[2]), 400)
	spelled("white space after", good+" ", 400)
	spelled("a line's end after", good+"\n", 400)
	spelled("a line's end in the signature", joined(p[0], p[1], p[2][:8]+"\r\n"+p[2][8:]), 400)
	spelled("two tokens", good+" "+good, 400)
	spelled("two tokens with a comma", good+","+good, 400)
	spelled("quotes", `"`+good+`"`, 400)
	spelled("not ASCII", good+"é", 400)
	spelled("the other base64", joined(p[0], p[1], strings.NewReplacer("-", "+", "_", "/").Replace(p[2])), 0)
	last := strings.IndexByte(base64URL, p[2][len(p[2])-1])
	for _, bit := range []int{1, 8} { // of the 4 that the last character has to spare
		spelled("base64 with spare bits", joined(p[0], p[1], p[2][:len(p[2])-1]+base64URL[last^bit:last^bit+1]), 0)
	}

	// The signature.
	sig, _ := base64.RawURLEncoding.DecodeString(p[2])
	broken := func(name string, sig []byte) {
		add("signature: "+name, joined(p[0], p[1], b64(sig)), good, jwt.ErrTokenSignatureInvalid)
	}
	broken("empty", nil)
	broken("truncated by a byte", sig[:len(sig)-1])
	broken("truncated to half", sig[:len(sig)/2])
	broken("a zero more before", append([]byte{0}, sig...))
	broken("a zero more after", append(slices.Clone(sig), 0))
	broken("zeros", make([]byte, len(sig)))
	broken("one", new(big.Int).SetInt64(1).FillBytes(make([]byte, len(sig))))
	broken("plus n", new(big.Int).Add(new(big.Int).SetBytes(sig), public.N).Bytes())
	broken("one bit", append(slices.Clone(sig[:len(sig)-1]), sig[len(sig)-1]^1))

	es := sign(jwt.SigningMethodES256, ecKey(), header(object{"alg": "ES256"}), claims())
	ep := parts(es)
	ecSig, _ := base64.RawURLEncoding.DecodeString(ep[2])
	r, s := new(big.Int).SetBytes(ecSig[:32]), new(big.Int).SetBytes(ecSig[32:])
	n := ecKey().Params().N
	pair := func(r, s *big.Int) []byte {
		return append(r.FillBytes(make([]byte, 32)), s.FillBytes(make([]byte, 32))...)
	}
	inDER, _ := asn1.Marshal(struct{ R, S *big.Int }{r, s})
	zero := new(big.Int)
	for name, sig := range map[string][]byte{
		"zero r and s": pair(zero, zero), "zero r": pair(zero, s), "zero s": pair(r, zero), "r and s of n": pair(n, n), "in DER": inDER,
		"a byte short": ecSig[:63], "a byte long": append(slices.Clone(ecSig), 0), "r alone": ecSig[:32], "empty": nil, "swapped": pair(s, r),
	} {
		add("ES256 signature: "+name, joined(ep[0], ep[1], b64(sig)), es, jwt.ErrTokenSignatureInvalid)
	}
	text := joined(ep[0], ep[1])
	wide := &jwt.SigningMethodECDSA{Name: "ES256", Hash: jwt.SigningMethodES256.Hash, KeySize: 48, CurveBits: 384}
	sig384, _ := wide.Sign(text, ec384Key())
	add("ES256 by the tenant's key on another curve", text+"."+b64(sig384), es, jwt.ErrTokenSignatureInvalid)
	add("RS256 that says it is ES256", sign(jwt.SigningMethodRS256, key(), header(object{"alg": "ES256"}), claims()), es, jwt.ErrTokenSignatureInvalid)
	add("ES256 that says it is RS256", sign(jwt.SigningMethodES256, ecKey(), header(), claims()), es, jwt.ErrTokenSignatureInvalid)
	return all
}

const base64URL = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"

func nested(depth int) any {
	var v any = "x"
	for range depth {
		v = []any{v}
	}
	return v
}

func TestGarbageIsRefusedAtOnce(t *testing.T) {
	v := newAuthority().verifier(t)
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	for _, text := range []string{strings.Repeat(".", 1<<20), strings.Repeat("a", 16<<10), strings.Repeat("a.", 1<<13), "\x00", `{"a`, "eyJ.\\.", b64([]byte(`"\`)) + "." + b64([]byte(`{"\`)) + "."} {
		if _, err := v.Verify(ctx, text); !errors.Is(err, verify.ErrInvalidToken) {
			t.Errorf("%.20q: error = %v, want ErrInvalidToken", text, err)
		}
	}
}
