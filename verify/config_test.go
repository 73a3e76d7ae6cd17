// Copyright 2026 The authsec Authors
// SPDX-License-Identifier: Apache-2.0

package verify_test

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/authsec-go/authsec"
	"github.com/authsec-go/authsec/authsectest"
	"github.com/authsec-go/authsec/verify"
	"github.com/golang-jwt/jwt/v5"
)

func TestNewNamesEveryFault(t *testing.T) {
	for _, tc := range []struct {
		name   string
		change func(*verify.Config)
		want   []string // none: no error
	}{
		{"good", func(*verify.Config) {}, nil},
		{"a path prefix and slashes", func(c *verify.Config) { c.BaseURL = " https://authsec.test/prefix// " }, nil},
		{"loopback", func(c *verify.Config) { c.BaseURL = "http://127.0.0.1:1" }, nil},
		{"loopback through a proxy", func(c *verify.Config) {
			c.BaseURL, c.HTTPClient = "http://127.0.0.1:1", &http.Client{Transport: &http.Transport{Proxy: http.ProxyURL(&url.URL{Scheme: "http", Host: "proxy.test"})}}
		}, []string{"Config.BaseURL would fetch keys over plain HTTP"}},
		{"loopback that a proxy could take", func(c *verify.Config) { c.BaseURL = "http://LOCALHOST.:1" }, []string{"Config.BaseURL would fetch keys over plain HTTP"}},
		{"loopback with the default client", func(c *verify.Config) { c.BaseURL, c.HTTPClient = "http://localhost:1", nil }, nil},
		{"plain HTTP", func(c *verify.Config) { c.BaseURL = "http://authsec.test" }, []string{"Config.BaseURL would fetch keys over plain HTTP", "AllowHTTP"}},
		{"AllowHTTP", func(c *verify.Config) { c.BaseURL, c.AllowHTTP = "http://authsec.test", true }, nil},
		{"no BaseURL", func(c *verify.Config) { c.BaseURL = "" }, []string{"Config.BaseURL is empty"}},
		{"no scheme", func(c *verify.Config) { c.BaseURL = "authsec.test" }, []string{"Config.BaseURL has no https://"}},
		{"another scheme", func(c *verify.Config) { c.BaseURL = "ftp://authsec.test" }, []string{"Config.BaseURL has no https://"}},
		{"no host", func(c *verify.Config) { c.BaseURL = "https://:443" }, []string{"Config.BaseURL has no host"}},
		{"a password", func(c *verify.Config) { c.BaseURL = "https://user:secret@authsec.test" }, []string{"Config.BaseURL has a user name"}},
		{"a query", func(c *verify.Config) { c.BaseURL = "https://authsec.test?secret" }, []string{"Config.BaseURL has a query"}},
		{"no tenants", func(c *verify.Config) { c.Tenants = nil }, []string{"Config.Tenants is empty"}},
		{"a tenant that is none", func(c *verify.Config) { c.Tenants = []string{"a/b", "", "spiffe://a", "a b"} }, []string{`"a/b"`, `""`, `"spiffe://a"`, `"a b"`}},
		{"a tenant twice", func(c *verify.Config) { c.Tenants = []string{"a", "a"} }, []string{`"a" is listed twice`}},
		{"no audience", func(c *verify.Config) { c.Audience = "" }, []string{"Config.Audience is empty"}},
		{"a blank audience", func(c *verify.Config) { c.Audience = " " }, []string{"Config.Audience is empty"}},
		{"none", func(c *verify.Config) { c.Algorithms = []string{"RS256", "none"} }, []string{`Config.Algorithms: "none"`}},
		{"HS256", func(c *verify.Config) { c.Algorithms = []string{"HS256"} }, []string{`Config.Algorithms: "HS256"`}},
		{"a typo", func(c *verify.Config) { c.Algorithms = []string{"rs256"} }, []string{`Config.Algorithms: "rs256"`}},
		{"negative leeway", func(c *verify.Config) { c.Leeway = -1 }, []string{"Config.Leeway: -1ns"}},
		{"too much leeway", func(c *verify.Config) { c.Leeway = 5*time.Minute + 1 }, []string{"Config.Leeway: 5m0.000000001s"}},
		{"white space and spellings", func(c *verify.Config) {
			c.Audience, c.Algorithms, c.Tenants = " "+audience+"\n", []string{"RS256\n"}, []string{" " + tenant + "\n", "named-tenant\t"}
		}, nil},
		{"a tenant twice, in two cases", func(c *verify.Config) { c.Tenants = []string{neighbor, strings.ToUpper(neighbor)} }, []string{`"` + strings.ToUpper(neighbor) + `" is listed twice`}},
		{"a tenant twice, without hyphens", func(c *verify.Config) { c.Tenants = []string{neighbor, strings.ReplaceAll(neighbor, "-", "")} }, []string{"is listed twice"}},
		{"names in two cases are two tenants", func(c *verify.Config) { c.Tenants = []string{"acme", "ACME"} }, nil},
		{"an audience with a line's end in it", func(c *verify.Config) { c.Audience = "billing\napi" }, []string{`Config.Audience: "billing\napi"`}},
		{"an audience with a BOM", func(c *verify.Config) { c.Audience = "\ufeffbilling-api" }, []string{`Config.Audience: "\ufeffbilling-api"`}},
		{"negative lifetime", func(c *verify.Config) { c.MaxLifetime = -1 }, []string{"Config.MaxLifetime: -1ns is negative"}},
		{"any lifetime", func(c *verify.Config) { c.MaxLifetime = 1 }, nil},
		{"checks too often", func(c *verify.Config) { c.RevocationCheck = time.Second - 1 }, []string{"Config.RevocationCheck: 999.999999ms is less than 1s"}},
		{"negative checks", func(c *verify.Config) { c.RevocationCheck = -time.Hour }, []string{"Config.RevocationCheck: -1h0m0s"}},
		{"checks every second", func(c *verify.Config) { c.RevocationCheck = time.Second }, nil},
		{"checks never, by a mile", func(c *verify.Config) { c.RevocationCheck = 1<<63 - 1 }, nil},
		{"metadata", func(c *verify.Config) {
			c.ResourceMetadata = " https://api.test/.well-known/oauth-protected-resource/mcp?a=b "
		}, nil},
		{"metadata on loopback", func(c *verify.Config) { c.ResourceMetadata = "http://127.0.0.1:8080/m" }, nil},
		{"metadata over plain HTTP", func(c *verify.Config) { c.ResourceMetadata = "http://api.test/m" }, []string{"Config.ResourceMetadata has no https://"}},
		{"metadata that is a path", func(c *verify.Config) { c.ResourceMetadata = "/.well-known/m" }, []string{"Config.ResourceMetadata has no https://"}},
		{"metadata with a fragment", func(c *verify.Config) { c.ResourceMetadata = "https://api.test/m#secret" }, []string{"Config.ResourceMetadata has a fragment"}},
		{"metadata with a password", func(c *verify.Config) { c.ResourceMetadata = "https://user:secret@api.test/m" }, []string{"Config.ResourceMetadata has a user name"}},
		{"metadata with a quote", func(c *verify.Config) { c.ResourceMetadata = `https://api.test/", error="x` }, []string{"Config.ResourceMetadata has a space, a quote"}},
		{"metadata with a backslash", func(c *verify.Config) { c.ResourceMetadata = `https://api.test/\` }, []string{"Config.ResourceMetadata has a space, a quote"}},
		{"metadata with a line's end", func(c *verify.Config) { c.ResourceMetadata = "https://api.test/m\r\nX: y" }, []string{"Config.ResourceMetadata"}},
		{"all of the leeway", func(c *verify.Config) { c.Leeway = 5 * time.Minute }, nil},
		{"nothing", func(c *verify.Config) { *c = verify.Config{Leeway: -1, Algorithms: []string{"x"}} },
			[]string{"Config.BaseURL", "Config.Tenants", "Config.Audience", "Config.Algorithms", "Config.Leeway"}},
	} {
		cfg := newAuthority().config()
		tc.change(&cfg)
		v, err := verify.New(cfg)
		if (err == nil) != (tc.want == nil) || (v == nil) != (err != nil) {
			t.Errorf("%s: New = %v, %v, want an error: %t", tc.name, v, err, tc.want != nil)
			continue
		}
		for _, want := range tc.want {
			if !strings.Contains(err.Error(), want) {
				t.Errorf("%s: error = %q, want %q in it", tc.name, err, want)
			}
		}
		if err != nil && strings.Contains(err.Error(), "secret") {
			t.Errorf("%s: the error shows a password or query", tc.name)
		}
	}
	_, err := verify.New(verify.Config{BaseURL: "http://authsec.test"})
	if !errors.Is(err, authsec.ErrInsecureURL) {
		t.Errorf("error = %v, want ErrInsecureURL", err)
	}
}

func TestConfigIsReadOnce(t *testing.T) {
	cfg := newAuthority().config()
	cfg.Algorithms, cfg.Tenants = []string{"RS256 "}, []string{tenant, strings.ToUpper(neighbor)}
	v, err := verify.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	if cfg.Algorithms[0] != "RS256 " || cfg.Tenants[1] != strings.ToUpper(neighbor) {
		t.Errorf("lists = %q and %q, want them unchanged", cfg.Algorithms, cfg.Tenants)
	}
	cfg.Algorithms[0], cfg.Tenants[0] = "ES256", stranger
	check(t, "after a change", v, token(), nil)
}

func TestLeewayIsConfigured(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v := newAuthority().verifier(t, func(c *verify.Config) { c.Leeway = time.Minute })
		now := time.Now().Unix()
		for _, tc := range []struct {
			claims object
			want   error
		}{
			{object{"exp": now - 59}, nil},
			{object{"exp": now - 60}, jwt.ErrTokenExpired},
			{object{"nbf": now + 60}, nil},
			{object{"nbf": now + 61}, jwt.ErrTokenNotValidYet},
			{object{"iat": now + 60}, nil},
			{object{"iat": now + 61}, jwt.ErrTokenUsedBeforeIssued},
			{object{"nbf": nil, "iat": nil}, nil},
		} {
			check(t, encode(tc.claims), v, token(tc.claims), tc.want)
		}
	})
}

func TestTokensExpireWhileTheKeysServe(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v, token := newAuthority().verifier(t), token(object{"exp": time.Now().Add(time.Minute).Unix()})
		time.Sleep(time.Minute + leeway - 1)
		check(t, "to the last", v, token, nil)
		time.Sleep(time.Nanosecond)
		check(t, "after it", v, token, jwt.ErrTokenExpired)
	})
}

func TestPathPrefixIsKept(t *testing.T) {
	var path string
	a := newAuthority()
	v := a.verifier(t, func(c *verify.Config) {
		c.BaseURL = "https://authsec.test/prefix/"
		c.HTTPClient = &http.Client{Transport: authsectest.RoundTripper(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			path = r.URL.Path
			r.URL.Path = authsectest.KeySetPath
			a.ServeHTTP(w, r)
		}))}
	})
	check(t, "behind a prefix", v, token(), nil)
	if want := "/prefix" + authsectest.KeySetPath; path != want {
		t.Errorf("path = %q, want %q", path, want)
	}
}

func TestNothingFormatsToSecrets(t *testing.T) {
	a := newAuthority()
	secret := "c2VjcmV0LW9mLXRoZS10cmFuc3BvcnQ"
	cfg := a.config()
	cfg.HTTPClient = &http.Client{Transport: &secretTransport{secret, authsectest.RoundTripper(a)}}
	bad := cfg
	bad.BaseURL = "https://user:" + secret + "@authsec.test"
	v, err := verify.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	good := token()
	check(t, "a token", v, good, nil)
	_, invalid := v.Verify(t.Context(), garbage())
	_, expired := v.Verify(t.Context(), token(object{"exp": 1, "jti": secret}))
	var none *verify.Verifier
	for name, value := range map[string]any{"Verifier": v, "nil Verifier": none, "Config": cfg, "*Config": &cfg, "malformed Config": bad, "error": invalid, "expired": expired,
		"handler": fmt.Sprint(v.Handler(nil)), "in a struct": struct{ V *verify.Verifier }{v}, "in a hidden field": struct{ v *verify.Verifier }{v}} {
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d"} {
			checkText(t, name+" as "+verb, fmt.Sprintf(verb, value), secret, good)
		}
		var log bytes.Buffer
		slog.New(slog.NewJSONHandler(&log, nil)).Info("m", "v", value)
		checkText(t, name+" in a log", log.String(), secret, good)
	}
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%d"} {
		if got := fmt.Sprintf(verb, v); !strings.Contains(got, audience) || !strings.Contains(got, "https://authsec.test") {
			t.Errorf("%s of a Verifier = %q, want BaseURL and audience in it", verb, got)
		}
	}
}

func checkText(t *testing.T, what, text, secret, token string) {
	t.Helper()
	for _, part := range append(parts(token), secret, fmt.Sprintf("%x", secret)) {
		if strings.Contains(text, part) {
			t.Errorf("%s holds a secret", what)
		}
	}
}

type secretTransport struct {
	Secret string
	base   http.RoundTripper
}

func (s *secretTransport) RoundTrip(r *http.Request) (*http.Response, error) {
	return s.base.RoundTrip(r)
}

func TestKeyfuncVerifiesAClientsTokens(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		srv := authsectest.NewInMemoryServer()
		srv.Delegate(authsectest.ClientID, authsectest.Delegation{})
		cfg := srv.Config(authsectest.ClientID)
		var err error
		if cfg.Keyfunc, err = verify.Keyfunc(cfg, authsectest.TenantID); err != nil {
			t.Fatal(err)
		}
		src, err := authsec.NewSource(cfg)
		if err != nil {
			t.Fatal(err)
		}
		for range 2 { // the second after a rotation
			if _, err := src.Refresh(t.Context()); err != nil {
				t.Fatal(err)
			}
			d, err := src.Delegation(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			if c, err := d.Claims(); err != nil || !c.Verified {
				t.Errorf("claims: %v, want them verified", err)
			}
			time.Sleep(time.Second)
			srv.RotateKey()
			srv.Delegate(authsectest.ClientID, authsectest.Delegation{})
		}
		cfg.Keyfunc, _ = verify.Keyfunc(cfg, neighbor)
		other, err := authsec.NewSource(cfg)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := other.Token(); !errors.Is(err, authsec.ErrInvalidResponse) {
			t.Errorf("another tenant's token: error = %v, want ErrInvalidResponse", err)
		}
	})
}

func TestKeyfuncRefusesWhatAVerifierRefuses(t *testing.T) {
	a := newAuthority()
	keyfunc, err := verify.Keyfunc(authsec.Config{BaseURL: "https://authsec.test", HTTPClient: a.config().HTTPClient}, tenant)
	if err != nil {
		t.Fatal(err)
	}
	for name, tc := range map[string]struct {
		token string
		good  bool
	}{
		"good":            {token(), true},
		"garbage":         {garbage(), false},
		"RS512":           {sign(jwt.SigningMethodRS512, key(), header(object{"alg": "RS512"}), claims()), false},
		"HS256":           {sign(jwt.SigningMethodHS256, key().N.Bytes(), header(object{"alg": "HS256"}), claims()), false},
		"crit":            {sign(jwt.SigningMethodRS256, key(), header(object{"crit": []string{"x"}}), claims()), false},
		"typ":             {sign(jwt.SigningMethodRS256, key(), header(object{"typ": "at+jwt"}), claims()), false},
		"another's key":   {sign(jwt.SigningMethodRS256, nextKey(), header(), claims()), false},
		"not configured":  {sign(jwt.SigningMethodRS256, evilKey(), header(), claims(object{"iss": "spiffe://" + stranger})), false},
		"unknown kid":     {sign(jwt.SigningMethodRS256, key(), header(object{"kid": "x"}), claims()), false},
		"known kid":       {sign(jwt.SigningMethodRS256, key(), header(object{"kid": "default"}), claims()), true},
		"RegisteredClaim": {token(), true},
	} {
		var m jwt.Claims = jwt.MapClaims{}
		if name == "RegisteredClaim" {
			m = new(jwt.RegisteredClaims)
		}
		if _, err := jwt.ParseWithClaims(tc.token, m, keyfunc); (err == nil) != tc.good || !tc.good && !errors.Is(err, verify.ErrInvalidToken) {
			t.Errorf("%s: error = %v, want one: %t", name, err, !tc.good)
		}
	}
	for _, token := range []*jwt.Token{nil, {}, {Method: jwt.SigningMethodRS256}, {Method: jwt.SigningMethodRS256, Claims: jwt.MapClaims{"iss": "spiffe://" + tenant}}} {
		if key, err := keyfunc(token); key != nil || !errors.Is(err, verify.ErrInvalidToken) {
			t.Errorf("a token that was not parsed: error = %v, want ErrInvalidToken", err)
		}
	}
}

func TestBaseURLMayEndInPathsOfAuthSec(t *testing.T) {
	for _, path := range []string{"", "/", "/authsec", "/authsec/uflow"} {
		cfg := newAuthority().config()
		cfg.BaseURL += path
		v, err := verify.New(cfg)
		if err != nil {
			t.Fatal(err)
		}
		check(t, "with a base URL that ends in "+path, v, token(), nil)
	}
}

func TestKeyfuncNamesEveryFault(t *testing.T) {
	_, err := verify.Keyfunc(authsec.Config{BaseURL: "http://authsec.test"})
	for _, want := range []string{"Config.BaseURL would", "Config.Tenants is empty"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error = %v, want %q in it", err, want)
		}
	}
	srv := httptest.NewServer(newAuthority())
	defer srv.Close()
	if _, err := verify.Keyfunc(authsec.Config{BaseURL: srv.URL}, tenant); err != nil {
		t.Errorf("error = %v, want none", err)
	}
}
