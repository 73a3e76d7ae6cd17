// Copyright 2026 The authsec Authors
// SPDX-License-Identifier: Apache-2.0

package authsec_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"regexp"
	"runtime"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/authsec-go/authsec"
	"github.com/authsec-go/authsec/authsectest"
	"github.com/golang-jwt/jwt/v5"
	"golang.org/x/oauth2"
)

func TestNoErrorAndNoLogHoldsASecret(t *testing.T) {
	jwtToken := unverified(t, jwt.MapClaims{"client_id": otherID, "exp": 1})
	escaped := func(s string) string { // every character but letters and digits, as PHP and others do
		return regexp.MustCompile(`[^A-Za-z0-9]`).ReplaceAllStringFunc(s, func(c string) string { return fmt.Sprintf(`\u%04x`, c[0]) })
	}
	percent := func(s string) string {
		var b strings.Builder
		for _, c := range []byte(s) {
			fmt.Fprintf(&b, "%%%02x", c)
		}
		return b.String()
	}
	htmlized := func(s string) string {
		return strings.NewReplacer("+", "&#43;", "/", "&#x2F;", "=", "&#61;").Replace(s)
	}
	upper := strings.ToUpper(ourID)
	reply := authsectest.Answer
	ok := func(pairs ...any) http.Handler {
		return answerJSON(t, with(map[string]any{"token": secretToken, "ttl_seconds": 60}, pairs...))
	}
	half := secretCredential[:len(secretCredential)-4]

	type test struct {
		claim   string
		handler http.Handler
		edit    func(*authsec.Config)
		secret  string // another than the usual ones
	}
	transport := func(f baseFunc) func(*authsec.Config) {
		return func(c *authsec.Config) { c.HTTPClient.Transport = f }
	}
	tests := []test{
		{claim: "error and details", handler: reply(401, `{"error":"bad token `+secretCredential+`","details":"Authorization: Bearer `+secretCredential+` for `+upper+`"}`)},
		{claim: "other fields", handler: reply(401, `{"authorization":"Bearer `+secretCredential+`","client_id":"`+ourID+`"}`)},
		{claim: "JSON escapes of the credential", handler: reply(401, `{"error":"bad","you_sent":"`+escaped(secretCredential)+`"}`)},
		{claim: "JSON escapes of slashes", handler: reply(401, `{"error":"bad","you_sent":"`+strings.ReplaceAll(secretCredential, "/", `\/`)+`"}`)},
		{claim: "JSON escapes of the client ID", handler: reply(404, `{"error":"Client not found","details":"`+escaped(ourID)+`"}`)},
		{claim: "percent-encoded credential", handler: reply(401, `{"error":"bad `+url.QueryEscape(secretCredential)+`","details":"`+percent(secretCredential)+`"}`)},
		{claim: "percent-encoded client ID", handler: reply(404, `{"error":"Client not found","details":"/agents/`+percent(ourID)+`"}`)},
		{claim: "client ID plain and percent-encoded", handler: reply(404, `{"error":"Client not found: `+ourID+`","details":"`+upper+` at /agents/`+percent(ourID)+`"}`)},
		{claim: "credential plain and percent-encoded", handler: reply(401, `{"error":"bad `+secretCredential+`","details":"`+secretCredential+` `+percent(secretCredential)+`"}`)},
		{claim: "SPIFFE ID", handler: reply(404, `{"error":"Client not found","details":"spiffe://example.org/agents/`+upper+`"}`)},
		{claim: "HTML page", handler: reply(502, `<html>GET /x?client_id=`+upper+` Authorization: Bearer `+secretCredential+`</html>`)},
		{claim: "HTML escapes", handler: reply(502, `<html>`+htmlized(secretCredential)+`</html>`)},
		{claim: "HTML 404", handler: reply(404, `<html>/authsec?client_id=`+ourID+`</html>`)},
		{claim: "text over many lines", handler: reply(500, "a\n"+secretCredential+"\n"+ourID+"\n")},
		{claim: "redirect's host and path", handler: reply(302, "", "Location", "https://"+ourID+".example.com/"+upper+"/"+ourID)},
		{claim: "redirect's query and fragment", handler: reply(302, "", "Location", "/login?client_id="+ourID+"&t="+secretCredential+"#"+secretCredential)},
		{claim: "redirect with the credential in its path", handler: reply(302, "", "Location", "/login/"+secretCredential)},
		{claim: "redirect with the credential in its path, encoded", handler: reply(302, "", "Location", "/login/"+url.PathEscape(secretCredential))},
		{claim: "redirect with userinfo", handler: reply(302, "", "Location", "https://"+ourID+":"+url.PathEscape(secretCredential)+"@login.example.com/")},
		{claim: "redirect with everything encoded", handler: reply(302, "", "Location", "/"+percent(ourID))},
		{claim: "malformed redirect", handler: reply(302, "", "Location", "http://[::1/"+secretCredential+"?"+ourID+"%zz")},
		{claim: "body of a redirect", handler: reply(302, `<a href="/x?client_id=`+ourID+`&t=`+secretCredential+`">`, "Location", "/x")},
		{claim: "400 with the ID", handler: reply(400, `{"error":"Invalid client_id format: `+ourID+`"}`)},
		{claim: "410 with the ID", handler: reply(410, `{"error":"Delegation token has expired","details":"POST /agents/`+ourID+`/delegate-token"}`)},
		{claim: "429 with the ID", handler: reply(429, `{"error":"Rate limit exceeded for `+ourID+`","window":"`+secretCredential+`"}`)},
		{claim: "a long answer", handler: reply(500, strings.Repeat("x", 1<<20-len(half))+secretCredential), secret: half},
		{claim: "a long answer of the credential", handler: reply(500, strings.Repeat(secretCredential, 1<<15)), secret: half},
		{claim: "the credential where the text is cut", handler: reply(500, strings.Repeat("x", 512-len(half))+secretCredential), secret: half},
		{claim: "the ID where the text is cut", handler: reply(500, `{"error":"`+strings.Repeat("x", 512-20)+ourID+`"}`), secret: ourID[:20]},
		{claim: "an error answer that breaks off", edit: transport(func(req *http.Request) (*http.Response, error) {
			return &http.Response{StatusCode: 500, Header: http.Header{}, Body: io.NopCloser(io.MultiReader(strings.NewReader("you sent "+half), brokenReader{}))}, nil
		}), secret: half},

		{claim: "a token under another status", handler: reply(203, `{"token":"`+secretToken+`","ttl_seconds":60}`)},
		{claim: "a JWT under another status", handler: reply(203, `{"token":"`+jwtToken+`","ttl_seconds":60}`), secret: jwtToken},
		{claim: "a token with a server error", handler: reply(500, `{"error":"can't store `+secretToken+`","token":"`+secretToken+`"}`)},
		{claim: "a JWT with a server error", handler: reply(500, `{"error":"can't store `+jwtToken+`"}`), secret: jwtToken},
		{claim: "truncated JSON", handler: reply(200, `{"token":"`+secretToken+`","client_id":"`+ourID)},
		{claim: "trailing data", handler: reply(200, `{"token":"`+secretToken+`"}`+secretToken)},
		{claim: "wrong types", handler: ok("client_id", 5)},
		{claim: "token with a space", handler: ok("token", secretToken+" x")},
		{claim: "expired", handler: ok("expires_at", "2000-01-01T00:00:00Z")},
		{claim: "no expiry", handler: ok("ttl_seconds", nil)},
		{claim: "expires_at is the token", handler: ok("expires_at", secretToken)},
		{claim: "status is the token", handler: ok("status", secretToken)},
		{claim: "status is the ID", handler: ok("status", upper)},
		{claim: "status is the credential", handler: ok("status", secretCredential)},
		{claim: "client_id is the token", handler: ok("client_id", secretToken)},
		{claim: "client_id is the credential", handler: ok("client_id", secretCredential)},
		{claim: "client_id is ours and more", handler: ok("client_id", ourID+"0")},
		{claim: "client_id is another's", handler: ok("client_id", otherID), secret: otherID},
		{claim: "client_id in the JWT is another's", handler: ok("token", jwtToken), secret: otherID},
		{claim: "opaque token with an audience", handler: ok(), edit: func(c *authsec.Config) { c.Audience = "billing" }},
		{claim: "opaque token with a Keyfunc", handler: ok(), edit: func(c *authsec.Config) { c.Keyfunc = ecVerify }},
		{claim: "Keyfunc's error has the token", handler: ok("token", jwtToken), secret: jwtToken, edit: func(c *authsec.Config) {
			c.Keyfunc = func(t *jwt.Token) (any, error) { return nil, secretError{"no key for " + t.Raw + " of " + upper} }
		}},
		{claim: "Keyfunc panics with the token", handler: ok("token", unverified(t, jwt.MapClaims{})), edit: func(c *authsec.Config) {
			c.Keyfunc = func(t *jwt.Token) (any, error) { panic(t.Raw + ourID + secretCredential) }
		}},
		{claim: "transport's error has URL and header", edit: transport(func(req *http.Request) (*http.Response, error) {
			return nil, secretError{"can't reach " + req.URL.String() + " with " + req.Header.Get("Authorization") + " " + req.Header.Get("X-Client-Id")}
		})},
		{claim: "transport's error has all of it encoded", edit: transport(func(req *http.Request) (*http.Response, error) {
			return nil, secretError{"can't reach " + url.QueryEscape(req.URL.String()) + " with " + url.QueryEscape(req.Header.Get("Authorization"))}
		})},
		{claim: "transport gives a *url.Error", edit: transport(func(req *http.Request) (*http.Response, error) {
			return nil, &url.Error{Op: "Get", URL: req.URL.String(), Err: errors.New("refused")}
		})},
		{claim: "transport panics with a string", edit: transport(func(req *http.Request) (*http.Response, error) {
			panic(req.URL.String() + req.Header.Get("Authorization"))
		})},
		{claim: "transport panics with an error", edit: transport(func(req *http.Request) (*http.Response, error) {
			panic(secretError{req.URL.String() + req.Header.Get("Authorization")})
		})},
		{claim: "transport ends its goroutine", edit: transport(func(*http.Request) (*http.Response, error) { runtime.Goexit(); return nil, nil })},
		{claim: "the endpoint never answers", edit: transport(func(req *http.Request) (*http.Response, error) {
			<-req.Context().Done()
			return nil, req.Context().Err()
		})},
		{claim: "the endpoint never answers and minds no context", edit: func(c *authsec.Config) {
			c.FetchTimeout = time.Second
			c.HTTPClient.Transport = baseFunc(func(*http.Request) (*http.Response, error) { time.Sleep(time.Minute); return nil, errors.New("late") })
		}},
		{claim: "Credential's error has the ID", edit: func(c *authsec.Config) {
			c.Credential = sourceFunc(func() (*oauth2.Token, error) { return nil, secretError{"no login for " + upper} })
		}},
		{claim: "Credential's error has a JWT", secret: jwtToken, edit: func(c *authsec.Config) {
			c.Credential = sourceFunc(func() (*oauth2.Token, error) { return nil, secretError{"expired: " + jwtToken} })
		}},
		{claim: "Credential returns a token and an error", edit: func(c *authsec.Config) {
			c.Credential = sourceFunc(func() (*oauth2.Token, error) {
				return &oauth2.Token{AccessToken: secretCredential}, errors.New("stale")
			})
		}},
		{claim: "Credential panics with its token", edit: func(c *authsec.Config) {
			c.Credential = sourceFunc(func() (*oauth2.Token, error) { panic("bad " + secretCredential) })
		}},
		{claim: "Credential's token is no header", edit: func(c *authsec.Config) {
			c.Credential = oauth2.StaticTokenSource(&oauth2.Token{AccessToken: secretCredential + "\n"})
		}},
		{claim: "Credential's type is no header", edit: func(c *authsec.Config) {
			c.Credential = oauth2.StaticTokenSource(&oauth2.Token{AccessToken: "x", TokenType: secretCredential + "\n"})
		}},
		{claim: "base URL with the ID", handler: reply(404, ""), edit: func(c *authsec.Config) { c.BaseURL = "https://" + upper + ".example.com/" + ourID }},
	}
	for _, tt := range tests {
		inBubble(t, tt.claim, func(t *testing.T) {
			var logs bytes.Buffer
			src := endpointSource(t, tt.handler, func(c *authsec.Config) {
				c.Credential = oauth2.StaticTokenSource(&oauth2.Token{AccessToken: secretCredential})
				c.Logger = slog.New(slog.NewJSONHandler(&logs, &slog.HandlerOptions{Level: slog.LevelDebug}))
				if tt.edit != nil {
					tt.edit(c)
				}
			})
			secrets := map[string]string{"token": secretToken, "credential": secretCredential, "client ID": ourID}
			if tt.secret != "" {
				secrets["other secret"] = tt.secret
			}
			_, err := src.Token()
			if err == nil {
				t.Fatal("Token: no error")
			}
			client := &http.Client{Transport: &authsec.Transport{Source: src, Hosts: []string{"*"}, Logger: slog.New(slog.NewTextHandler(&logs, nil))}}
			_, clientErr := client.Get("https://api.example.com/")
			if clientErr == nil {
				t.Fatal("Get: no error")
			}
			_, renewErr := src.Renew(context.Background(), &oauth2.Token{AccessToken: secretToken})
			for from, err := range map[string]error{"Token": err, "Get": clientErr, "Renew": renewErr, "Stats": src.Stats().LastError} {
				for which, e := range errorsIn(err) {
					checkFormats(t, from+": "+which, e, secrets)
					checkJSON(t, from+": "+which, e, secrets)
					if re, ok := e.(*oauth2.RetrieveError); ok {
						checkSecrets(t, from+": RetrieveError.Body", string(re.Body), secrets)
						checkSecrets(t, from+": RetrieveError's fields", fmt.Sprint(re.ErrorCode, re.ErrorDescription, re.ErrorURI, re.Response.Header), secrets)
					}
				}
			}
			if logs.Len() == 0 {
				t.Error("nothing was logged")
			}
			checkSecrets(t, "the log", logs.String(), secrets)
			synctest.Wait()
			time.Sleep(2 * time.Minute) // what was left behind ends
		})
	}
}

// errorsIn are the errors that callers look for in a tree.
func errorsIn(err error) map[string]error {
	found := map[string]error{"the error": err}
	var e *authsec.Error
	var re *oauth2.RetrieveError
	var ue *url.Error
	if errors.As(err, &e) {
		found["the *Error"] = e
	}
	if errors.As(err, &re) {
		found["the *oauth2.RetrieveError"] = re
	}
	if errors.As(err, &ue) {
		found["the *url.Error"] = ue
	}
	return found
}

// The Credential may have asked another token endpoint. That endpoint's answer is not
// shown, and is not taken for the AuthSec server's.
func TestCredentialsRetrieveErrorIsNotShown(t *testing.T) {
	cfg := goodConfig()
	cfg.Credential = sourceFunc(func() (*oauth2.Token, error) {
		return nil, fmt.Errorf("credential: %w: %w", io.ErrClosedPipe, &oauth2.RetrieveError{
			Response: &http.Response{StatusCode: 400, Status: "400 Bad Request"},
			Body:     []byte("client_secret=hunter2"),
		})
	})
	_, err := newSource(t, cfg).Token()
	if err == nil || !strings.Contains(err.Error(), "400 Bad Request") {
		t.Fatalf("error is %v, want one with the status", err)
	}
	checkFormats(t, "the error", err, map[string]string{"secret": "hunter2"})
	if re := (*oauth2.RetrieveError)(nil); errors.As(err, &re) {
		t.Error("the Credential's RetrieveError is taken for the server's")
	}
	if !errors.Is(err, io.ErrClosedPipe) {
		t.Error("errors.Is does not find the cause")
	}
}
