// Copyright 2026 The authsec Authors
// SPDX-License-Identifier: Apache-2.0

package verify_test

import (
	"bytes"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/authsec-go/authsec"
	"github.com/authsec-go/authsec/authsectest"
	"github.com/authsec-go/authsec/verify"
	"github.com/golang-jwt/jwt/v5"
)

type cookies struct{}

func (cookies) SetCookies(*url.URL, []*http.Cookie) {}
func (cookies) Cookies(*url.URL) []*http.Cookie     { return []*http.Cookie{{Name: "session", Value: "1"}} }

// answer is the part of an answer that RFC 6750 specifies.
type answer struct {
	status    int
	challenge string
	body      string
}

const realm = `Bearer realm="authsec"`

var (
	noToken      = answer{401, realm, `{"status":401}`}
	badRequest   = answer{400, realm + `, error="invalid_request"`, `{"error":"invalid_request","status":400}`}
	badToken     = answer{401, realm + `, error="invalid_token"`, `{"error":"invalid_token","status":401}`}
	notJudged    = answer{503, "", `{"error":"temporarily_unavailable","status":503}`}
	serviceFault = answer{500, "", `{"error":"server_error","status":500}`}
)

func checkAnswer(t *testing.T, what string, resp *http.Response, want answer) {
	t.Helper()
	body, _ := io.ReadAll(resp.Body)
	got := answer{resp.StatusCode, strings.Join(resp.Header["Www-Authenticate"], "|"), strings.TrimSpace(string(body))}
	if got != want {
		t.Errorf("%s: answer = %+v, want %+v", what, got, want)
	}
	if want.status >= 400 {
		for name, value := range map[string]string{"Cache-Control": "no-store", "Content-Type": "application/json"} {
			if got := resp.Header.Get(name); got != value {
				t.Errorf("%s: %s = %q, want %q", what, name, got, value)
			}
		}
	}
}

// RFC 6750, sections 2.1 and 3.1.
func TestAnswersAreThoseOfRFC6750(t *testing.T) {
	good := token()
	passed := answer{status: 200}
	h := protected(newAuthority().verifier(t))
	for _, tc := range []struct {
		name   string
		header []string
		want   answer
	}{
		{"no header", nil, noToken},
		{"an empty header", []string{""}, noToken},
		{"another scheme", []string{"Basic dXNlcjpwYXNz"}, noToken},
		{"a scheme that begins like it", []string{"Bearers " + good}, noToken},
		{"the token alone", []string{good}, noToken},
		{"a token", []string{"Bearer " + good}, passed},
		{"lower case", []string{"bearer " + good}, passed},
		{"upper case", []string{"BEARER " + good}, passed},
		{"several spaces", []string{"Bearer   " + good}, passed},
		{"no token", []string{"Bearer"}, badRequest},
		{"no token but a space", []string{"Bearer "}, badRequest},
		{"a tab", []string{"Bearer \t" + good}, badRequest},
		{"two tokens", []string{"Bearer " + good + " " + good}, badRequest},
		{"a list", []string{"Bearer " + good + ", Bearer " + good}, badRequest},
		{"a parameter", []string{`Bearer token="` + good + `"`}, badRequest},
		{"a control character", []string{"Bearer " + good + "\x00"}, badRequest},
		{"two headers", []string{"Bearer " + good, "Bearer " + good}, badRequest},
		{"two headers of two schemes", []string{"Basic dXNlcjpwYXNz", "Bearer " + good}, badRequest},
		{"two headers, one empty", []string{"Bearer " + good, ""}, badRequest},
		{"padding alone", []string{"Bearer ="}, badRequest},
		{"padding inside", []string{"Bearer a=b"}, badRequest},
		{"no JWT", []string{"Bearer a~b+c/d_e-f.g=="}, badToken},
		{"a bad token", []string{"Bearer " + garbage()}, badToken},
		{"an expired token", []string{"Bearer " + token(object{"exp": 1})}, badToken},
		{"another's token", []string{"Bearer " + token(object{"aud": "other"})}, badToken},
	} {
		checkAnswer(t, tc.name, ask(h, tc.header...), tc.want)
	}
}

// RFC 6750, sections 2.2 and 2.3, has two more ways, which leak tokens.
func TestTokensCountInTheAuthorizationHeaderOnly(t *testing.T) {
	h := protected(newAuthority().verifier(t))
	good := token()
	form := url.Values{"access_token": {good}}.Encode()
	for name, r := range map[string]*http.Request{
		"query":  httptest.NewRequest("GET", "/?"+form, nil),
		"form":   httptest.NewRequest("POST", "/", strings.NewReader(form)),
		"cookie": httptest.NewRequest("GET", "/", nil),
		"proxy":  httptest.NewRequest("GET", "/", nil),
	} {
		switch name {
		case "form":
			r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		case "cookie":
			r.Header.Set("Cookie", "access_token="+good+"; Authorization=Bearer "+good)
		case "proxy":
			r.Header.Set("Proxy-Authorization", "Bearer "+good)
			r.Header.Set("X-Forwarded-Authorization", "Bearer "+good)
		}
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		checkAnswer(t, name, w.Result(), noToken)
	}
}

func TestHandlersGetTheClaims(t *testing.T) {
	var got *authsec.Claims
	v := newAuthority().verifier(t)
	expiry := time.Now().Add(time.Hour).Unix()
	h := v.Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { got, _ = verify.FromContext(r.Context()) }))
	checkAnswer(t, "a token", ask(h, "Bearer "+token(object{"exp": expiry, "aud": []string{"other", audience}})), answer{status: 200})
	want := &authsec.Claims{
		TenantID: tenant, UserID: "user-1", Email: "admin@example.org", AgentType: "test", ClientID: authsectest.ClientID,
		Permissions: []string{"billing:read", "users:read"}, Verified: true,
	}
	want.Issuer, want.Subject, want.ID = "spiffe://"+tenant, "spiffe://example.org/tenants/"+tenant+"/agents/test/a", "jti-1"
	want.Audience, want.ExpiresAt = jwt.ClaimStrings{"other", audience}, jwt.NewNumericDate(time.Unix(expiry, 0))
	if got == nil {
		t.Fatal("no claims in the context")
	}
	want.NotBefore, want.IssuedAt = got.NotBefore, got.IssuedAt
	if encode(got) != encode(want) || !got.Verified || !slices.Equal(got.Audience, want.Audience) {
		t.Errorf("claims = %s, want %s", encode(got), encode(want))
	}
	if age := time.Since(got.IssuedAt.Time); age < 0 || age > time.Minute || !got.NotBefore.Equal(got.IssuedAt.Time) {
		t.Errorf("iat = %v and nbf = %v, want now", got.IssuedAt, got.NotBefore)
	}
}

func TestNoClaimsWithoutAVerifier(t *testing.T) {
	if claims, ok := verify.FromContext(t.Context()); ok || claims != nil {
		t.Errorf("FromContext = %v, %t, want nil, false", claims, ok)
	}
}

func TestRequirePermissions(t *testing.T) {
	v := newAuthority().verifier(t)
	next := http.HandlerFunc(func(http.ResponseWriter, *http.Request) {})
	lacking := func(scope string) answer {
		return answer{403, realm + `, error="insufficient_scope", scope="` + scope + `"`, `{"error":"insufficient_scope","status":403}`}
	}
	for _, tc := range []struct {
		permissions []string
		want        answer
	}{
		{nil, answer{status: 200}},
		{[]string{"billing:read"}, answer{status: 200}},
		{[]string{"users:read", "billing:read"}, answer{status: 200}},
		{[]string{"billing:write"}, lacking("billing:write")},
		{[]string{"billing:read", "billing:write"}, lacking("billing:read billing:write")},
		{[]string{"billing"}, lacking("billing")},
		{[]string{"BILLING:READ"}, lacking("BILLING:READ")},
		{[]string{"billing:read users:read"}, serviceFault},
		{[]string{""}, serviceFault},
		{[]string{"a\"\r\nX: y"}, serviceFault},
	} {
		h := v.Handler(verify.RequirePermissions(tc.permissions...)(next))
		checkAnswer(t, fmt.Sprintf("%q", tc.permissions), ask(h, "Bearer "+token()), tc.want)
		checkAnswer(t, fmt.Sprintf("%q without a token", tc.permissions), ask(h), noToken)
	}
	none := v.Handler(verify.RequirePermissions("billing:read")(next))
	checkAnswer(t, "null permissions", ask(none, "Bearer "+sign(jwt.SigningMethodRS256, key(), header(), strings.Replace(claims(), `"permissions":["billing:read","users:read"]`, `"permissions":null`, 1))), lacking("billing:read"))
}

func TestRequirePermissionsFailsClosedWithoutAVerifier(t *testing.T) {
	passed := false
	next := http.HandlerFunc(func(http.ResponseWriter, *http.Request) { passed = true })
	for _, permissions := range [][]string{nil, {"billing:read"}} {
		checkAnswer(t, fmt.Sprint(permissions), ask(verify.RequirePermissions(permissions...)(next), "Bearer "+token()), serviceFault)
	}
	if passed {
		t.Error("a request was passed on")
	}
}

func TestPermissionsAreReadOnce(t *testing.T) {
	list := []string{"billing:write"}
	require := verify.RequirePermissions(list...)
	list[0] = "billing:read"
	h := newAuthority().verifier(t).Handler(require(http.NotFoundHandler()))
	if resp := ask(h, "Bearer "+token()); resp.StatusCode != 403 {
		t.Errorf("answer = %d, want 403", resp.StatusCode)
	}
}

func TestMisuseFailsClosed(t *testing.T) {
	good := "Bearer " + token()
	v := newAuthority().verifier(t)
	checkAnswer(t, "no next", ask(v.Handler(nil), good), serviceFault)
	checkAnswer(t, "no next behind", ask(v.Handler(verify.RequirePermissions()(nil)), good), serviceFault)
	for name, v := range map[string]*verify.Verifier{"zero": {}, "nil": nil} {
		checkAnswer(t, name, ask(protected(v), good), notJudged)
		checkAnswer(t, name, ask(protected(v)), noToken)
	}
}

// There is no key: a 401 would reject a token that may be good.
func TestTokensThatCantBeJudgedAre503WithRetryAfter(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newAuthority()
		a.fail(authsectest.Answer(500, "{}"), 0)
		h, good := protected(a.verifier(t)), "Bearer "+token()
		for range 50 {
			resp := ask(h, good)
			checkAnswer(t, "in the outage", resp, notJudged)
			after, err := strconv.Atoi(resp.Header.Get("Retry-After"))
			if err != nil || after < 1 || after > 91 {
				t.Fatalf("Retry-After = %q, want 1 to 91", resp.Header.Get("Retry-After"))
			}
			before := a.count(tenant)
			time.Sleep(time.Duration(after) * time.Second)
			checkAnswer(t, "in the outage", ask(h, good), notJudged)
			if a.count(tenant) != before+1 {
				t.Fatalf("after Retry-After, %d fetches, want 1", a.count(tenant)-before)
			}
		}
		checkAnswer(t, "no token in the outage", ask(h), noToken)
		checkAnswer(t, "an expired token in the outage", ask(h, "Bearer "+token(object{"exp": 1})), badToken)
	})
}

func TestLoggerIsToldTheReasonAndNotTheToken(t *testing.T) {
	var log bytes.Buffer
	v := newAuthority().verifier(t, func(c *verify.Config) { c.Logger = slog.New(slog.NewTextHandler(&log, nil)) })
	h := protected(v)
	for _, tc := range []struct{ authorization, want string }{
		{"Bearer " + token(object{"exp": 1}), "token is expired"},
		{"Bearer " + token(object{"aud": "other-service"}), "invalid audience"},
		{"Bearer " + garbage(), "no key of its tenant fits"},
		{"Bearer " + token(object{"exp": "tomorrow-morning"}), "exp is not a number"},
		{"Bearer " + sign(jwt.SigningMethodRS256, key(), header(object{"kid": "kid-of-an-attacker"}), claims()), "no key of its tenant fits"},
		{"Bearer " + sign(jwt.SigningMethodRS256, key(), header(object{"alg": "alg-of-an-attacker"}), claims()), "no known alg"},
		{"Bearer " + sign(jwt.SigningMethodRS256, key(), header(), `{"exp":123456789012345678901234567890e999}`), "no JWT"},
		{"Bearer " + sign(jwt.SigningMethodRS256, key(), header(), claims(object{"iss": "spiffe://attacker", "tenant_id": nil})), "no configured tenant's"},
		{"Basic dXNlcjpwYXNz", "no bearer token"},
		{"Bearer not/a{token", "malformed Authorization"},
	} {
		log.Reset()
		ask(h, tc.authorization)
		if got := log.String(); !strings.Contains(got, `msg="request rejected"`) || !strings.Contains(got, tc.want) || strings.Count(got, "\n") != 1 {
			t.Errorf("log = %q, want one record with %q", got, tc.want)
		}
		_, secret, _ := strings.Cut(tc.authorization, " ")
		for _, part := range append(parts(secret), "attacker", "other-service", "tomorrow", "1234567") {
			if part != "" && strings.Contains(log.String(), part) {
				t.Errorf("the log of a request that is refused for %q holds what it sent", tc.want)
			}
		}
	}
}

// The whole way, over TLS: an agent's client, a service, and AuthSec's server.
func TestClientAndServiceOverTLS(t *testing.T) {
	srv := authsectest.NewTLSServer()
	defer srv.Close()
	srv.Delegate(authsectest.ClientID, authsectest.Delegation{Permissions: []string{"billing:read"}, Audience: []string{audience}})
	v, err := verify.New(verify.Config{BaseURL: srv.URL, Tenants: []string{authsectest.TenantID}, Audience: audience, HTTPClient: srv.Client()})
	if err != nil {
		t.Fatal(err)
	}
	mux := http.NewServeMux()
	mux.Handle("/read", v.Handler(verify.RequirePermissions("billing:read")(authsectest.Answer(200, "{}"))))
	mux.Handle("/write", v.Handler(verify.RequirePermissions("billing:write")(authsectest.Answer(200, "{}"))))
	api := httptest.NewServer(mux)
	defer api.Close()
	cfg := srv.Config(authsectest.ClientID, api.URL)
	if cfg.Keyfunc, err = verify.Keyfunc(cfg, authsectest.TenantID); err != nil {
		t.Fatal(err)
	}
	client, err := authsec.NewClient(cfg)
	if err != nil {
		t.Fatal(err)
	}
	get := func(path string) int {
		t.Helper()
		resp, err := client.Get(api.URL + path)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		return resp.StatusCode
	}
	if got := get("/read"); got != 200 {
		t.Errorf("answer = %d, want 200", got)
	}
	// The service refuses the old token once it knows the new key, and the
	// client then gets the new token, which it verifies by the new key, too.
	srv.RotateKey()
	token := srv.Delegate(authsectest.ClientID, authsectest.Delegation{Permissions: []string{"billing:read"}, Audience: []string{audience}})
	if _, err := v.Verify(t.Context(), token); err != nil {
		t.Errorf("after a rotation: %v, want claims", err)
	}
	if got := get("/read"); got != 200 {
		t.Errorf("after a rotation: answer = %d, want 200", got)
	}
	if got := get("/write"); got != 403 { // the last, because the client then renews in the background
		t.Errorf("without the permission: answer = %d, want 403", got)
	}
}
