// Copyright 2026 The authsec Authors
// SPDX-License-Identifier: Apache-2.0

package docs_test

import (
	"context"
	"errors"
	"io"
	"net/http"
	neturl "net/url"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/authsec-go/authsec"
	"github.com/authsec-go/authsec/authsectest"
	"github.com/authsec-go/authsec/fetchtool"
	"github.com/authsec-go/authsec/verify"
	"github.com/golang-jwt/jwt/v5"
	"golang.org/x/oauth2"
)

// TestTroubleshootMatchesErrors checks that errors that occur have the texts of the page.
func TestTroubleshootMatchesErrors(t *testing.T) {
	page := entries(t)
	check := func(want string, err error) {
		t.Helper()
		if !slices.ContainsFunc(page, func(e entry) bool { return e.text == want }) {
			t.Errorf("the page has no entry %q", want)
		}
		if err == nil || !pattern(want).MatchString(err.Error()) {
			t.Errorf("got error %v, want one like %q", err, want)
		}
	}

	// Construction.
	for name, value := range map[string]string{
		"AUTHSEC_BASE_URL": "", "AUTHSEC_AGENT_CLIENT_ID": "", "DOWNSTREAM_URL": "", "AUTHSEC_HOSTS": "", "AUTHSEC_API_TOKEN": "", "AUTHSEC_API_TOKEN_FILE": "",
	} {
		t.Setenv(name, value)
	}
	fromEnv := func(name, value string) error {
		t.Setenv(name, value)
		_, err := authsec.ConfigFromEnv()
		t.Setenv(name, "")
		return err
	}
	_, err := authsec.ConfigFromEnv()
	check("authsec: AUTHSEC_BASE_URL is not set: it is the AuthSec server's root, such as https://authsec.example.com", err)
	check("authsec: AUTHSEC_AGENT_CLIENT_ID is not set: it is on the agent's page in the AuthSec console", err)
	check("authsec: AUTHSEC_API_TOKEN has white space or a control character in it", fromEnv("AUTHSEC_API_TOKEN", "a b"))
	check("authsec: AUTHSEC_API_TOKEN_FILE: …", fromEnv("AUTHSEC_API_TOKEN_FILE", filepath.Join(t.TempDir(), "none")))
	empty := filepath.Join(t.TempDir(), "empty")
	if err := os.WriteFile(empty, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	check("… is empty", fromEnv("AUTHSEC_API_TOKEN_FILE", empty))
	check("… is not a regular file, so it can't be read again for each fetch", fromEnv("AUTHSEC_API_TOKEN_FILE", t.TempDir()))
	check("… (patterns of hosts go into AUTHSEC_HOSTS)", fromEnv("DOWNSTREAM_URL", "https://*.example.com"))
	check("has a character in its host that no host name has", fromEnv("DOWNSTREAM_URL", "https://*.example.com"))
	check("authsec: AUTHSEC_HOSTS: …", fromEnv("AUTHSEC_HOSTS", "https://api.example.com/v1"))
	for pattern, want := range map[string]string{
		"a@b":                    "has an @ in it: a user name or password does not belong there: …",
		"ftp://api.example.com":  "has a scheme other than https and http: …",
		"api.example.com/v1":     `has a …: write "…"`,
		"[::1":                   "has no IPv6 address in its brackets",
		"[fe80::1%eth0]":         "has a zone in its IPv6 address",
		"::1":                    "has a colon and no valid port after it (IPv6 addresses are written in brackets)",
		"api.example.com:0":      "has no valid port",
		"1.2.3":                  "ends like an IP address but is none",
		"*.127.0.0.1":            "has a wildcard before an IP address",
		"api..example.com":       "has no host name, or an empty label in it",
		"bücher.example":         "has a host that is not ASCII (international names are written as xn--...)",
		strings.Repeat("a", 254): "is longer than a host name can be",
	} {
		check(want, fromEnv("AUTHSEC_HOSTS", pattern))
	}

	config := func(change func(*authsec.Config)) error {
		cfg := authsec.Config{BaseURL: "https://authsec.example.com", ClientID: authsectest.ClientID, Hosts: []string{"api.example.com"}}
		change(&cfg)
		_, err := authsec.NewClient(cfg)
		return err
	}
	check("authsec: Config.Hosts is empty (in the environment: …, or …): …", config(func(c *authsec.Config) { c.Hosts = nil }))
	check("authsec: Config.Hosts: …", config(func(c *authsec.Config) { c.Hosts = []string{""} }))
	check("authsec: Config.RenewBefore: … is negative", config(func(c *authsec.Config) { c.RenewBefore = -1 }))
	check("authsec: Config.FetchTimeout: … is negative", config(func(c *authsec.Config) { c.FetchTimeout = -1 }))
	check("authsec: Config.Retry.MaxAttempts: … is negative (1 means no retry, 0 the default)", config(func(c *authsec.Config) { c.Retry.MaxAttempts = -1 }))
	check("….MinBackoff: … exceeds MaxBackoff, …", config(func(c *authsec.Config) { c.Retry = authsec.RetryPolicy{MinBackoff: 2, MaxBackoff: 1} }))
	cached := func(c authsec.CacheConfig) error { return config(func(cfg *authsec.Config) { cfg.Cache = &c }) }
	check("authsec: Config.Cache.Store is nil: set one (package dircache or rediscache), or leave Cache nil", cached(authsec.CacheConfig{}))
	check("authsec: Config.Cache.Timeout: … is negative", cached(authsec.CacheConfig{Timeout: -1}))
	check("authsec: Config.Cache.Keys is empty: what goes into Store is a secret: give a key of … random bytes", cached(authsec.CacheConfig{}))
	check("authsec: Config.Cache.Keys: key … has … bytes, not …", cached(authsec.CacheConfig{Keys: authsec.NewCacheKeys(make([]byte, 31))}))
	check("authsec: Config.Cache.Keys and InsecurePlaintext are both set: set one of them",
		cached(authsec.CacheConfig{Keys: authsec.NewCacheKeys(make([]byte, 32)), InsecurePlaintext: true}))
	for url, want := range map[string]string{
		"":                                  "is empty: write one like …",
		"authsec.example.com":               "has no https:// before its host…",
		"https://%zz":                       "is not a URL like …",
		"https://user@authsec.example.com":  "has a user name or password in it, which does not belong there",
		"https://":                          "has no host name, or an empty label in it",
		"https://authsec.example.com:99999": "has no valid port",
		"https://a/b@authsec.example.com":   "has an @ after its host: a user name or password does not belong there",
		"https://authsec.example.com?a":     "has a query, which does not belong there",
		"https://authsec.example.com#a":     "has a fragment, which does not belong there",
		"http://authsec.example.com":        "authsec: Config.BaseURL (in the environment: …) would send tokens over plain HTTP to …: use https (or AllowHTTP, if you must): authsec: insecure URL",
	} {
		check(want, config(func(c *authsec.Config) { c.BaseURL = url }))
	}
	for id, want := range map[string]string{
		"":     "is empty: it is on the agent's page in the AuthSec console",
		"\xff": "is not valid UTF-8",
		"a b":  "has the character … in it, which no client ID has: copy it again from the agent's page in the AuthSec console",
	} {
		check(want, config(func(c *authsec.Config) { c.ClientID = id }))
	}

	// Getting a token.
	srv := authsectest.NewInMemoryServer()
	srv.Register(authsectest.ClientID)
	ctx := t.Context()
	stuck := make(chan struct{})
	defer close(stuck)
	get := func(cfg authsec.Config) error {
		t.Helper()
		cfg.Retry = authsec.RetryPolicy{MaxAttempts: 1}
		src, err := authsec.NewSource(cfg)
		if err != nil {
			t.Fatal(err)
		}
		_, err = src.TokenContext(ctx)
		return err
	}
	answered := func(status int, body string, headers ...string) error {
		t.Helper()
		srv.FailNext(1, authsectest.Answer(status, body, headers...))
		return get(srv.Config(authsectest.ClientID))
	}
	check(noToken, get(srv.Config(authsectest.ClientID)))
	const delegate = "in the AuthSec console or by POST /authsec/uflow/admin/agents/:id/delegate-token"
	check("the agent has no delegation, or its delegation was revoked or has expired: an admin must delegate to it, "+delegate, get(srv.Config(authsectest.ClientID)))
	check("the server does not know the agent: check the client ID; an admin must delegate to it, "+delegate+"; a server whose database is away says the same",
		get(srv.Config("0b5e9c34-6f0e-4b7c-8c1d-2f3a4b5c6d7e")))
	check("its delegation has expired: an admin must delegate to it again, "+delegate, answered(http.StatusGone, `{"error":"Delegation token has expired"}`))
	check("the server does not accept its client ID", get(srv.Config("no-uuid-at-all")))
	check("the server accepts no more requests for now", answered(http.StatusTooManyRequests, `{"error":"Rate limit exceeded"}`))
	check("… can't answer for now", answered(http.StatusInternalServerError, `{"error":"Failed to connect to tenant database"}`))
	check("the server does not know the session of Config.Credential's token; a server whose database is away says the same",
		answered(http.StatusUnauthorized, `{"error":"session is no longer valid for this workspace"}`))
	check("… redirects to …, and redirects are not followed: set the base URL to the server itself", answered(http.StatusFound, "", "Location", "https://login.example.com/"))
	for _, status := range []int{http.StatusNotFound, http.StatusTeapot} {
		check("… gave an answer that no AuthSec server gives (another service, or a gateway's page): check the base URL", answered(status, "404 page not found"))
	}

	srv.RequireCredential("credential")
	check("the server wants a credential of the caller: set Config.Credential, or AUTHSEC_API_TOKEN in the environment", get(srv.Config(authsectest.ClientID)))
	credential := func(s oauth2.TokenSource) error {
		t.Helper()
		cfg := srv.Config(authsectest.ClientID)
		cfg.Credential = s
		return get(cfg)
	}
	check("the server rejected Config.Credential's token", credential(oauth2.StaticTokenSource(&oauth2.Token{AccessToken: "another"})))
	check("Config.Credential returned no token", credential(oauth2.StaticTokenSource(nil)))
	check("Config.Credential returned a token that no header can hold", credential(oauth2.StaticTokenSource(&oauth2.Token{AccessToken: "a b"})))
	check("Config.Credential failed: …", credential(source(func() (*oauth2.Token, error) { return nil, errors.New("no") })))
	check("its token endpoint answered …", credential(source(func() (*oauth2.Token, error) {
		return nil, &oauth2.RetrieveError{Response: &http.Response{StatusCode: http.StatusBadRequest}}
	})))
	check("its token endpoint rejected the request", credential(source(func() (*oauth2.Token, error) { return nil, new(oauth2.RetrieveError) })))
	check("Config.Credential panicked: …", credential(source(func() (*oauth2.Token, error) { panic("no") })))
	srv.RequireCredential("")

	for body, want := range map[string]string{
		"<html>":      "it is not a JSON object; check the base URL",
		"{} <html>":   "something follows its JSON object; check the base URL",
		"{}":          "it has no token",
		`{"token":1}`: "its … is not …; check the base URL",
		`{"token":"` + strings.Repeat("a", 20_000) + `"}`: "its token is longer than … bytes",
		`{"token":"a b"}`:                 "its token has characters that no bearer token has (RFC 6750, section 2.1)",
		`{"token":"a","status":"paused"}`: "its status is …, not active",
		`{"token":"a","client_id":"0b5e9c34-6f0e-4b7c-8c1d-2f3a4b5c6d7e"}`: "it is for another agent, … (is there a cache in between that ignores queries?)",
		`{"token":"a"}`: "neither it nor its token names an expiry",
		`{"token":"a","expires_at":"2001-01-01T00:00:00Z"}`:  "its token expired … ago, by the server's clock",
		"{\"token\":\"" + strings.Repeat("b", 1<<20) + "\"}": "it is longer than … bytes; check the base URL",
	} {
		err := answered(http.StatusOK, body)
		check(want, err)
		check("the answer of … can't be used: …", err)
	}
	cfg := srv.Config(authsectest.ClientID)
	cfg.Audience = "billing-api"
	srv.FailNext(1, authsectest.Answer(http.StatusOK, `{"token":"0123456789abcdef"}`))
	check("its token is not a JWT, so it can't name the audience …", get(cfg))
	srv.Delegate(authsectest.ClientID, authsectest.Delegation{})
	check("its token is not for the audience …", get(cfg))
	cfg = srv.Config(authsectest.ClientID)
	cfg.Keyfunc = func(*jwt.Token) (any, error) { return nil, errors.New("no key") }
	check("its token does not verify: …", get(cfg))
	cfg.Keyfunc = func(*jwt.Token) (any, error) { panic("no") }
	check("Config.Credential, Config.HTTPClient or Config.Keyfunc: …", get(cfg))
	check("panicked: …", get(cfg))

	cfg = srv.Config(authsectest.ClientID)
	cfg.HTTPClient = &http.Client{Transport: trip(func(*http.Request) (*http.Response, error) { return nil, errors.New("connection refused") })}
	check("… did not answer: …", get(cfg))
	cfg.HTTPClient = &http.Client{Transport: trip(func(*http.Request) (*http.Response, error) { return nil, nil })}
	check("HTTPClient's Transport returned neither a response nor an error", get(cfg))
	cfg.HTTPClient = &http.Client{Transport: trip(func(*http.Request) (*http.Response, error) {
		return &http.Response{StatusCode: http.StatusOK, Body: io.NopCloser(broken{})}, nil
	})}
	check("its answer broke off: …", get(cfg))
	cfg.HTTPClient = &http.Client{Transport: trip(func(*http.Request) (*http.Response, error) { <-stuck; return nil, io.EOF })}
	cfg.FetchTimeout = time.Millisecond
	check("… or Config.Credential did not answer within …", get(cfg))

	ended, cancel := context.WithCancel(ctx)
	cancel()
	src, err := authsec.NewSource(srv.Config(authsectest.ClientID))
	if err != nil {
		t.Fatal(err)
	}
	_, err = src.TokenContext(ended)
	check("authsec: waiting for a token: …", err)
	_, err = src.Renew(ctx, new(oauth2.Token))
	check("authsec: Renew: the rejected token is nil or empty (Refresh asks the server without one)", err)
	_, err = new(authsec.Source).Token()
	check("authsec: this Source was not made by NewSource", err)
	_, err = new(authsec.Delegation).Claims()
	check("authsec: no token to read claims from", err)

	// A request.
	send := func(tr *authsec.Transport, url string) error {
		t.Helper()
		resp, err := (&http.Client{Transport: tr}).Get(url)
		if err == nil {
			resp.Body.Close()
		}
		return err
	}
	nothing := trip(func(*http.Request) (*http.Response, error) { return nil, nil })
	all := []string{"*"}
	const url = "https://api.example.com/"
	check(`authsec: the token would go to … over plain HTTP: use https, or list "http://…" in Hosts if its network is to be trusted: authsec: insecure URL`,
		send(&authsec.Transport{Source: src, Base: nothing, Hosts: all}, "http://api.example.com/"))
	check("authsec: Transport.Source is nil", send(&authsec.Transport{Hosts: all}, url))
	check("authsec: Transport.Hosts: …", send(&authsec.Transport{Source: src}, url))
	check("empty, so the token may go nowhere: …", send(&authsec.Transport{Source: src}, url))
	check("authsec: Transport.Base returned neither a response nor an error", send(&authsec.Transport{Source: src, Base: nothing, Hosts: all}, url))
	check("authsec: Transport.Source returned no token", send(&authsec.Transport{Source: oauth2.StaticTokenSource(nil), Hosts: all}, url))
	check("authsec: Transport.Source ended its goroutine", send(&authsec.Transport{Source: source(func() (*oauth2.Token, error) { runtime.Goexit(); return nil, nil }), Hosts: all}, url))
	short := &http.Request{Method: "PUT", URL: &neturl.URL{Scheme: "https", Host: "api.example.com"}, Header: http.Header{}, Body: io.NopCloser(broken{}), ContentLength: 3}
	_, err = (&authsec.Transport{Source: src, Base: nothing, Hosts: all}).RoundTrip(short)
	check("authsec: reading the request's body: …", err)
	check("authsec: Transport.Source panicked: …", send(&authsec.Transport{Source: source(func() (*oauth2.Token, error) { panic("no") }), Hosts: all}, url))
	_, err = (&authsec.Transport{Source: src, Hosts: all}).RoundTrip(new(http.Request))
	check("authsec: the request has no URL, or its Header is nil", err)

	// verify.
	_, err = verify.New(verify.Config{Leeway: -1, Algorithms: []string{"HS256"}})
	check("verify: Config.BaseURL is empty: write one like https://authsec.example.com", err)
	check("verify: Config.Tenants is empty: list the IDs of the tenants whose agents may call", err)
	check("verify: Config.Algorithms: … is none of …: only these have a key that verifies and can't sign", err)
	check("verify: Config.Leeway: … is not from 0 (which means …) to …", err)
	check("verify: Config.Audience is empty: set this service's name in the tokens' aud, so that tokens for other services don't pass", err)
	v, err := verify.New(verify.Config{BaseURL: srv.URL, Tenants: []string{authsectest.TenantID}, Audience: "authsec-api", HTTPClient: srv.Client()})
	if err != nil {
		t.Fatal(err)
	}
	_, err = v.Verify(ctx, srv.Delegate(authsectest.ClientID, authsectest.Delegation{TTL: -time.Hour}))
	check("verify: invalid token: token is expired", err)
	_, err = v.Verify(ctx, srv.Delegate(authsectest.ClientID, authsectest.Delegation{Audience: []string{"another"}}))
	check("verify: invalid token: token has invalid audience", err)
	_, err = v.Verify(ctx, "a.b.c")
	check("token is malformed: …", err)
	signed := srv.Delegate(authsectest.ClientID, authsectest.Delegation{})
	_, err = v.Verify(ctx, signed[:len(signed)-8]+"AAAAAAAA")
	check("token signature is invalid: no key of its tenant fits", err)
	away := authsectest.RoundTripper(http.NotFoundHandler())
	v, err = verify.New(verify.Config{BaseURL: srv.URL, Tenants: []string{authsectest.TenantID}, Audience: "authsec-api", HTTPClient: &http.Client{Transport: away}})
	if err != nil {
		t.Fatal(err)
	}
	_, err = v.Verify(ctx, srv.Delegate(authsectest.ClientID, authsectest.Delegation{}))
	check("verify: keys unavailable: tenant …: …", err)
	_, err = new(verify.Verifier).Verify(ctx, "a")
	check("verify: keys unavailable: a Verifier is made by New", err)

	// fetchtool.
	_, err = fetchtool.New(fetchtool.Config{Name: "a b", Methods: []string{"get"}, Timeout: -1})
	check("Name: … is not 1 to 64 letters, digits, underscores and hyphens", err)
	check("Methods: … is none of …", err)
	check("…: … is negative", err)
	check("AuthSec is empty, and Config.Source is nil: set one of them (authsec.ConfigFromEnv reads the environment)", err)
	check("DownstreamURLs is empty: it is what may be fetched, such as https://api.example.com/v1", err)
	api := srv.API(authsectest.Answer(http.StatusNotFound, ""))
	tool, err := fetchtool.New(fetchtool.Config{
		AuthSec: srv.Config(authsectest.ClientID), DownstreamURLs: []string{"https://api.example.com/v1"}, Base: authsectest.RoundTripper(api),
	})
	if err != nil {
		t.Fatal(err)
	}
	fetch := func(url string) error {
		_, err := tool.Fetch(ctx, fetchtool.Request{URL: url})
		return err
	}
	check("The URL …. …", fetch("https://other.example.com/"))
	check("lies below none of the permitted URLs", fetch("https://other.example.com/"))
	check("The API has nothing at this URL (…). Check the URL.", fetch("customers/42"))
	srv.Revoke(authsectest.ClientID)
	check("The API does not accept this agent's credentials (…): its delegation may have been revoked. …", fetch("customers/42"))
	check("Nothing is delegated to this agent, or its delegation has ended. Only an admin can change that, with a trust delegation in AuthSec. Do not repeat the call; tell the user.",
		fetch("customers/42"))
	_, err = tool.Fetch(ended, fetchtool.Request{URL: "customers/42"})
	check("fetchtool: the call was given up: …", err)
	_, err = new(fetchtool.Tool).Fetch(ctx, fetchtool.Request{})
	check("fetchtool: this Tool was not made by New", err)
}

// source is an oauth2.TokenSource.
type source func() (*oauth2.Token, error)

func (s source) Token() (*oauth2.Token, error) { return s() }

// trip is an http.RoundTripper.
type trip func(*http.Request) (*http.Response, error)

func (f trip) RoundTrip(req *http.Request) (*http.Response, error) { return f(req) }

// broken is a body that breaks off.
type broken struct{}

func (broken) Read([]byte) (int, error) { return 0, io.ErrUnexpectedEOF }
