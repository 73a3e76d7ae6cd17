// Copyright 2026 The authsec Authors
// SPDX-License-Identifier: Apache-2.0

package authsec

import (
	"errors"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/authsec-go/authsec/internal/wire"
	"github.com/golang-jwt/jwt/v5"
	"golang.org/x/oauth2"
)

// FuzzAnswer: any answer of the endpoint is either a usable token or an *Error
// without secrets.
func FuzzAnswer(f *testing.F) {
	const (
		id         = "9b477e30-3989-4c12-926c-3945a59f761f"
		other      = "5c0ffee5-0000-4000-8000-00000000dead"
		credential = "caller-secret.0123456789"
	)
	received := time.Date(2026, 11, 23, 8, 31, 34, 0, time.UTC)
	sign := func(claims jwt.MapClaims) string {
		s, err := jwt.NewWithClaims(jwt.SigningMethodHS256, claims).SignedString([]byte("k"))
		if err != nil {
			f.Fatal(err)
		}
		return s
	}
	exp := received.Add(time.Hour).Unix()
	good := sign(jwt.MapClaims{"exp": exp, "client_id": id, "aud": []string{"authsec-api"}, "permissions": []string{"a:r"}, "sub": "spiffe://example.org/a", "iat": 1})
	date := received.Format(http.TimeFormat)

	for _, body := range []string{
		`{"audience":["authsec-api"],"client_id":"` + id + `","expires_at":"2026-11-23T09:31:33.86507Z","issued_at":"2026-11-23T08:31:33.865888Z","permissions":["billing:read"],"spiffe_id":"spiffe://example.org/` + id + `","status":"active","tenant_id":"t","token":"` + good + `","ttl_seconds":3600,"updated_at":"2026-11-23T08:31:33.865888Z"}`,
		`{"token":"` + good + `","expires_at":"2026-05-21T07:25:36+05:30"}`,
		`{"token":"opaque","ttl_seconds":1e308,"permissions":null,"audience":null,"workspace_id":"w"}`,
		`{"token":"opaque","expires_at":"9999-12-31T23:59:59.999999999999-23:59"}`,
		`{"token":"opaque","expires_at":"0001-01-01T00:00:00Z","ttl_seconds":-0.0}`,
		`{"token":"` + sign(jwt.MapClaims{"exp": 1e300}) + `"}`,
		`{"token":"` + sign(jwt.MapClaims{"exp": -1e300, "nbf": "x"}) + `","ttl_seconds":5}`,
		`{"token":"` + sign(jwt.MapClaims{"exp": exp, "client_id": other}) + `"}`,
		`{"token":"` + sign(jwt.MapClaims{"exp": "soon"}) + `","ttl_seconds":5}`,
		`{"token":"a b","ttl_seconds":5}`, `{"token":"a","token":"b","ttl_seconds":5}`, `{"Token":"a"}`, `{"token":"a","ttl_seconds":5}x`, `[]`, `null`, ``, `{"token":5}`,
		`{"token":"a","ttl_seconds":5,"status":"revoked` + id + `"}`, `{"token":"a","ttl_seconds":5,"client_id":"` + other + `"}`,
		`{"error":"Client not found","details":"client_id ` + strings.ToUpper(id) + ` not found"}`,
		`{"error":"No active delegation token found","details":"x"}`,
		`{"error":"Delegation token has expired","expired_at":"2026-11-23T08:31:34.968929Z"}`,
		`{"error":"Rate limit exceeded","limit":100,"window":"1m0s"}`, `{"error":"x","window":"-9999999h"}`,
		`<html>` + id + ` Bearer ` + credential + `</html>`, "\xff\xfe" + id + "\x00\x1b[31m\u202e",
		strings.Repeat(credential, 60) + strings.Repeat(id, 60),
	} {
		for _, status := range []int{200, 302, 400, 401, 404, 410, 429, 503} {
			f.Add(status, []byte(body), date, "", "3", "https://x.example/"+id+"?q")
		}
		f.Add(200, []byte(body), "Mon, 23 Nov 2099 08:31:34 GMT", "7200", "", "")
		f.Add(200, []byte(body), "", "-1", "9223372036854775807", "http://[::1")
	}

	b64token := regexp.MustCompile(`^[A-Za-z0-9\-._~+/]+=*$`)
	servers := map[string]*server{}
	for name, edit := range map[string]func(*Config){
		"plain":    func(*Config) {},
		"audience": func(c *Config) { c.Audience = "authsec-api" },
		"keyfunc":  func(c *Config) { c.Keyfunc = func(*jwt.Token) (any, error) { return []byte("k"), nil } },
	} {
		cfg := Config{BaseURL: "https://authsec.example.com", ClientID: id}
		edit(&cfg)
		base, err := url.Parse(cfg.BaseURL)
		if err != nil {
			f.Fatal(err)
		}
		servers[name] = newServer(cfg, base)
	}

	f.Fuzz(func(t *testing.T, status int, body []byte, date, age, after, location string) {
		header := http.Header{"Date": {date}, "Age": {age}, "Retry-After": {after}, "Location": {location}}
		for name, e := range servers {
			r := &wire.Reply{Status: status, Header: header, Body: body, Sent: received.Add(-time.Second), Received: received}
			if len(body) > wire.MaxAnswer {
				r.Body, r.TooLong = body[:wire.MaxAnswer], true
			}
			out := e.read(r, credential)
			g, err := out.grant, out.err
			if err == nil {
				token := g.token.AccessToken
				if !b64token.MatchString(token) || len(token) > 16<<10 || g.token.TokenType != "Bearer" {
					t.Fatalf("%s: a token of %d bytes that is none was accepted", name, len(token))
				}
				if g.life <= 0 || g.life > wire.MaxTTL {
					t.Fatalf("%s: life is %v, want more than none", name, g.life)
				}
				if got, _ := g.token.Extra("client_id").(string); got != "" && !strings.EqualFold(got, id) || g.delegation.ClientID != "" && !strings.EqualFold(g.delegation.ClientID, id) {
					t.Fatalf("%s: another agent's token was accepted", name)
				}
				if s, _ := g.token.Extra("status").(string); s != "" && s != "active" {
					t.Fatalf("%s: a token with status %q was accepted", name, s)
				}
				if c, err := g.delegation.Claims(); err == nil {
					if c.ClientID != "" && !strings.EqualFold(c.ClientID, id) {
						t.Fatalf("%s: a token whose claims name another agent was accepted", name)
					}
					if c.ExpiresAt != nil && g.notAfter.After(c.ExpiresAt.Time) {
						t.Fatalf("%s: counts until %v, want no later than exp, %v", name, g.notAfter, c.ExpiresAt)
					}
				} else if name != "plain" {
					t.Fatalf("%s: an opaque token was accepted", name)
				}
				if name == "keyfunc" {
					t.Fatal("a token with a symmetric signature was accepted")
				}
				if g.delegation.Permissions == nil || g.delegation.Audience == nil {
					t.Fatalf("%s: a list is nil, want empty", name)
				}
				continue
			}
			if g != nil || out.expired != nil && out.expired.life > 0 {
				t.Fatalf("%s: an error and a grant", name)
			}
			var ours *Error
			var re *oauth2.RetrieveError
			if !errors.As(err, &ours) || !errors.As(err, &re) || re.Response == nil || ours.StatusCode != status {
				t.Fatalf("%s: error is a %T, want an *Error with status %d, over an *oauth2.RetrieveError with a Response", name, err, status)
			}
			if ours.RetryAfter < 0 || ours.RetryAfter > 2*wire.MaxRetryAfter {
				t.Fatalf("%s: RetryAfter is %v, want at most twice %v", name, ours.RetryAfter, wire.MaxRetryAfter)
			}
			for where, text := range map[string]string{"Error": err.Error(), "Message": ours.Message, "Details": ours.Details, "RetrieveError": re.Error(), "Body": string(re.Body)} {
				if len(text) > 8<<10 {
					t.Fatalf("%s: %s has %d bytes, want it cut", name, where, len(text))
				}
				if lower := strings.ToLower(text); strings.Contains(lower, id) || strings.Contains(text, credential) || strings.Contains(lower, url.QueryEscape(id)) {
					t.Fatalf("%s: %s shows a secret", name, where)
				}
			}
		}
	})
}
