// Copyright 2026 The authsec Authors
// SPDX-License-Identifier: Apache-2.0

package authsec_test

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"net/http"
	"reflect"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/authsec-go/authsec"
	"github.com/authsec-go/authsec/authsectest"
	"github.com/golang-jwt/jwt/v5"
	"golang.org/x/oauth2"
)

func TestNoFormattedValueHoldsASecret(t *testing.T) {
	for _, kind := range []string{"opaque token", "JWT"} {
		inBubble(t, kind, func(t *testing.T) {
			token := secretToken
			tokens := map[string]string{"token": token, "credential": secretCredential}
			if kind == "JWT" {
				token = unverified(t, jwt.MapClaims{"client_id": ourID, "sub": "spiffe://example.org/agents/" + ourID, "permissions": []string{"a:r"}})
				parts := strings.Split(token, ".")
				tokens = map[string]string{"token": token, "token's payload": parts[1], "token's signature": parts[2], "credential": secretCredential}
			}
			all := map[string]string{"client ID": ourID}
			for k, v := range tokens {
				all[k] = v
			}
			answer := answerJSON(t, map[string]any{"token": token, "client_id": ourID, "spiffe_id": "spiffe://example.org/agents/" + strings.ToUpper(ourID), "ttl_seconds": 60})
			fail := false
			cfg := authsec.Config{
				BaseURL: "https://authsec.test/" + ourID, ClientID: ourID, Hosts: []string{"api.example.com"}, Audience: "",
				Credential: credentialFromEnv(t),
				HTTPClient: &http.Client{Transport: authsectest.RoundTripper(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					if fail {
						authsectest.Answer(404, `{"error":"Client not found","details":"client_id `+ourID+` `+secretCredential+`"}`).ServeHTTP(w, r)
						return
					}
					answer.ServeHTTP(w, r)
				}))},
				Retry: authsec.RetryPolicy{MaxAttempts: 1},
			}
			client, err := authsec.NewClient(cfg)
			if err != nil {
				t.Fatal(err)
			}
			tr := client.Transport.(*authsec.Transport)
			tr.Base = authsectest.RoundTripper(authsectest.Answer(200, "{}"))
			src := tr.Source.(*authsec.Source)
			resp, err := client.Get("https://api.example.com/")
			if err != nil {
				t.Fatal(err)
			}
			resp.Body.Close()
			d, err := src.Delegation(context.Background())
			if err != nil {
				t.Fatal(err)
			}
			fail = true
			_, failure := src.Refresh(context.Background())
			var e *authsec.Error
			if !errors.As(failure, &e) {
				t.Fatalf("Renew: %v, want an *Error", failure)
			}
			var re *oauth2.RetrieveError
			errors.As(failure, &re)
			synctest.Wait() // reflection reads what the fetch's goroutine may still write
			stats := src.Stats()
			if stats.LastError == nil {
				t.Fatal("Stats has no LastError")
			}

			for name, v := range map[string]any{
				"Config": cfg, "*Config": &cfg, "Source": src, "Transport": tr, "http.Client": client, "Delegation": *d, "*Delegation": d,
				"Stats": stats, "*Stats": &stats, "*Error": e, "RetrieveError": re, "RetryPolicy": cfg.Retry,
			} {
				checkFormats(t, name, v, all)
				nested := all
				if strings.Contains(name, "Delegation") {
					nested = tokens // its JSON, as a log may have it, holds the client ID for its owner
				}
				checkFormats(t, "[]any of "+name, []any{v}, nested)
				checkFormats(t, "exported field with "+name, struct{ V any }{v}, nested)
				checkFormats(t, "unexported field with "+name, holder{"n", v, []any{v}, map[string]any{"k": v}}, tokens)
				if strings.Contains(name, "Delegation") || strings.Contains(name, "Config") {
					checkJSON(t, name, v, tokens) // they hold the client ID, for their owner
				} else {
					checkJSON(t, name, v, all)
				}
			}
			if claims, err := d.Claims(); err == nil { // documented to hold the client ID
				checkFormats(t, "*Claims", claims, tokens)
				checkFormats(t, "Claims", *claims, tokens)
				checkJSON(t, "Claims", claims, tokens)
			}
			// What lies behind a pointer: fmt finds no methods there, and a verb
			// that does not fit makes it follow one pointer more.
			for name, v := range map[string]any{"Source": src, "Transport": tr, "Error": e} {
				checkFormats(t, name+"'s value", reflect.ValueOf(v).Elem().Interface(), tokens)
			}
			for name, v := range map[string]any{
				"Config": configHolder{cfg}, "Source": sourceHolder{src}, "Transport": transportHolder{tr}, "Delegation": delegationHolder{*d},
				"Stats": statsHolder{stats}, "Error": errorHolder{e}, "http.Client": clientHolder{client},
			} {
				checkFormats(t, "user's struct with "+name, v, tokens)
				checkFormats(t, "pointer to user's struct with "+name, &v, tokens)
				checkJSON(t, "user's struct with "+name, v, tokens)
			}
		})
	}
}

// holder is a user's struct: fmt calls no method of its unexported fields.
type holder struct {
	name  string
	inner any
	list  []any
	m     map[string]any
}

type (
	configHolder     struct{ inner authsec.Config }
	sourceHolder     struct{ inner *authsec.Source }
	transportHolder  struct{ inner *authsec.Transport }
	delegationHolder struct{ inner authsec.Delegation }
	statsHolder      struct{ inner authsec.Stats }
	errorHolder      struct{ inner *authsec.Error }
	clientHolder     struct{ inner *http.Client }
)

// credentialFromEnv is secretCredential as ConfigFromEnv makes a Credential of it.
func credentialFromEnv(t *testing.T) oauth2.TokenSource {
	t.Helper()
	setEnv(t, map[string]string{"AUTHSEC_BASE_URL": "https://authsec.test", "AUTHSEC_AGENT_CLIENT_ID": ourID, "AUTHSEC_API_TOKEN": secretCredential})
	cfg, err := authsec.ConfigFromEnv()
	if err != nil {
		t.Fatal(err)
	}
	return cfg.Credential
}

func TestTheClientIDsBeginningIsShown(t *testing.T) {
	cfg := goodConfig()
	src := newSource(t, cfg)
	for name, got := range map[string]string{"Config": cfg.String(), "Source": src.String()} {
		if !strings.Contains(got, ourID[:8]+"…") {
			t.Errorf("%s is %q, want the client ID's first 8 characters in it", name, got)
		}
	}
}

func TestNoLogOfATokensLifeHoldsASecret(t *testing.T) {
	for kind, handler := range handlers() {
		inBubble(t, kind, func(t *testing.T) {
			var logs bytes.Buffer
			srv := authsectest.NewInMemoryServer()
			srv.RequireCredential(secretCredential)
			secrets := map[string]string{"credential": secretCredential, "client ID": ourID}
			secrets["first token"] = srv.Delegate(ourID, authsectest.Delegation{TTL: 10 * time.Minute})
			cfg := srv.Config(ourID)
			cfg.Credential = oauth2.StaticTokenSource(&oauth2.Token{AccessToken: secretCredential})
			cfg.Logger = slog.New(handler(&logs))
			cfg.Retry = authsec.RetryPolicy{MaxAttempts: 1}
			src := newSource(t, cfg)
			tr := &authsec.Transport{Source: src, Hosts: []string{"api.example.com"}, Logger: cfg.Logger, Base: authsectest.RoundTripper(srv.API(nil))}
			get := func(u string) {
				if resp, err := (&http.Client{Transport: tr}).Get(u); err == nil {
					resp.Body.Close()
				}
				synctest.Wait()
			}
			get("https://api.example.com/")
			get("https://elsewhere.example.com/" + ourID)
			time.Sleep(9*time.Minute + 30*time.Second)
			get("https://api.example.com/") // token unchanged
			secrets["second token"] = srv.Delegate(ourID, authsectest.Delegation{TTL: 10 * time.Minute})
			time.Sleep(20 * time.Second)
			get("https://api.example.com/")
			get("https://api.example.com/") // token renewed
			time.Sleep(9*time.Minute + 30*time.Second)
			srv.Fail(authsectest.Answer(500, secretCredential+ourID))
			get("https://api.example.com/") // renewal failed
			srv.Fail(nil)
			time.Sleep(5 * time.Minute)
			get("https://api.example.com/") // no token
			for _, want := range []string{"token fetched", "token withheld", "token renewed", "renewal failed", "no token"} {
				if !strings.Contains(logs.String(), want) {
					t.Errorf("the log has no %q", want)
				}
			}
			checkSecrets(t, "the log", logs.String(), secrets)
			for _, line := range strings.Split(logs.String(), "\n") {
				if strings.Contains(line, "eyJ") {
					t.Error("the log holds what looks like a JWT")
				}
			}
			time.Sleep(time.Minute)
		})
	}
}
