// Copyright 2026 The authsec Authors
// SPDX-License-Identifier: Apache-2.0

package authsec_test

import (
	"bytes"
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"html"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"reflect"
	"regexp"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/authsec-go/authsec"
	"github.com/authsec-go/authsec/authsectest"
	"github.com/golang-jwt/jwt/v5"
	"golang.org/x/oauth2"
)

// Tokens that look like none, of characters that JSON, HTML and URLs may escape.
const (
	secretToken      = "delegated+opaque/of~the.agent_0123456789=="
	secretCredential = "caller+opaque/of~the.agent_0123456789=="
)

func newLoopback(h http.Handler) *httptest.Server { return httptest.NewServer(h) }

var (
	percentEscape = regexp.MustCompile(`%[0-9A-Fa-f]{2}`)
	jsonEscape    = regexp.MustCompile(`\\u[0-9A-Fa-f]{4}`)
)

// spellings are the text as it is and as a reader of an encoding would have it.
func spellings(text string) []string {
	unescaped := percentEscape.ReplaceAllStringFunc(text, func(s string) string { b, _ := hex.DecodeString(s[1:]); return string(b) })
	unquoted := jsonEscape.ReplaceAllStringFunc(text, func(s string) string { n, _ := strconv.ParseUint(s[2:], 16, 16); return string(rune(n)) })
	unquoted = strings.ReplaceAll(unquoted, `\/`, "/")
	return []string{text, unescaped, unquoted, html.UnescapeString(text), html.UnescapeString(unquoted)}
}

// holdsSecret reports whether the text has the secret in it, in any case, and
// however it is escaped.
func holdsSecret(text, secret string) bool {
	secret = strings.ToLower(secret)
	for _, s := range spellings(text) {
		s = strings.ToLower(s)
		if strings.Contains(s, secret) || strings.Contains(s, hex.EncodeToString([]byte(secret))) {
			return true
		}
	}
	return false
}

// checkSecrets fails if the text has one of the secrets in it. It does not
// show the text.
func checkSecrets(t *testing.T, where, text string, secrets map[string]string) {
	t.Helper()
	for name, secret := range secrets {
		if holdsSecret(text, secret) {
			t.Errorf("%s holds the %s", where, name)
		}
	}
}

var verbs = []string{"%v", "%+v", "%#v", "%s", "%q", "%d", "%x", "%X", "%T", "%t"}

// checkFormats formats the value in every way there is.
func checkFormats(t *testing.T, name string, v any, secrets map[string]string) {
	t.Helper()
	texts := map[string]string{"Sprint": fmt.Sprint(v)}
	for _, verb := range verbs {
		texts[verb] = fmt.Sprintf(verb, v)
	}
	for kind, handler := range handlers() {
		var b bytes.Buffer
		log := slog.New(handler(&b))
		log.Debug("m", "v", v)
		log.With("v", v).Debug("m", slog.Group("g", "v", v))
		texts["slog's "+kind] = b.String()
	}
	for secretName, secret := range secrets {
		var where []string
		for kind, text := range texts {
			if holdsSecret(text, secret) {
				where = append(where, kind)
			}
		}
		if slices.Sort(where); where != nil {
			t.Errorf("%s holds the %s, by %q", name, secretName, where)
		}
	}
}

func handlers() map[string]func(io.Writer) slog.Handler {
	options := &slog.HandlerOptions{Level: slog.LevelDebug, AddSource: true}
	return map[string]func(io.Writer) slog.Handler{
		"text": func(w io.Writer) slog.Handler { return slog.NewTextHandler(w, options) },
		"JSON": func(w io.Writer) slog.Handler { return slog.NewJSONHandler(w, options) },
	}
}

func checkJSON(t *testing.T, name string, v any, secrets map[string]string) {
	t.Helper()
	b, err := json.Marshal(v)
	checkSecrets(t, name+" in JSON", string(b), secrets)
	if err != nil {
		checkSecrets(t, name+"'s error from JSON", err.Error(), secrets)
	}
}

// holder is a user's struct: fmt calls no method of what lies in it.
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
	for name, value := range map[string]string{"AUTHSEC_BASE_URL": "https://authsec.test", "AUTHSEC_AGENT_CLIENT_ID": ourID, "AUTHSEC_API_TOKEN": secretCredential} {
		old, set := os.LookupEnv(name)
		os.Setenv(name, value)
		defer func() {
			if os.Unsetenv(name); set {
				os.Setenv(name, old)
			}
		}()
	}
	cfg, err := authsec.ConfigFromEnv()
	if err != nil {
		t.Fatal(err)
	}
	return cfg.Credential
}

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
			_, failure := src.Renew(context.Background(), nil)
			var e *authsec.Error
			if !errors.As(failure, &e) {
				t.Fatalf("Renew: %v, want an *Error", failure)
			}
			var re *oauth2.RetrieveError
			errors.As(failure, &re)
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
			synctest.Wait() // a copy of a Source reads what the fetch's goroutine may still write
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

func TestTheClientIDsBeginningIsShown(t *testing.T) {
	cfg := goodConfig()
	src, err := authsec.NewSource(cfg)
	if err != nil {
		t.Fatal(err)
	}
	for name, got := range map[string]string{"Config": cfg.String(), "Source": src.String()} {
		if !strings.Contains(got, ourID[:8]+"…") {
			t.Errorf("%s is %q, want the client ID's first 8 characters in it", name, got)
		}
	}
}

// errorsIn are all errors in the tree that are of this library's making, or
// that code which knows oauth2 or net/url finds in it.
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

// transportFunc is an http.RoundTripper.
type transportFunc func(*http.Request) (*http.Response, error)

func (f transportFunc) RoundTrip(req *http.Request) (*http.Response, error) { return f(req) }

// secretError holds a secret, and says it.
type secretError struct{ s string }

func (e secretError) Error() string { return e.s }

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
	transport := func(f transportFunc) func(*authsec.Config) {
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
			c.HTTPClient.Transport = transportFunc(func(*http.Request) (*http.Response, error) { time.Sleep(time.Minute); return nil, errors.New("late") })
		}},
		{claim: "Credential's error has the ID", edit: func(c *authsec.Config) {
			c.Credential = tokenFunc(func() (*oauth2.Token, error) { return nil, secretError{"no login for " + upper} })
		}},
		{claim: "Credential's error has a JWT", secret: jwtToken, edit: func(c *authsec.Config) {
			c.Credential = tokenFunc(func() (*oauth2.Token, error) { return nil, secretError{"expired: " + jwtToken} })
		}},
		{claim: "Credential returns a token and an error", edit: func(c *authsec.Config) {
			c.Credential = tokenFunc(func() (*oauth2.Token, error) {
				return &oauth2.Token{AccessToken: secretCredential}, errors.New("stale")
			})
		}},
		{claim: "Credential panics with its token", edit: func(c *authsec.Config) {
			c.Credential = tokenFunc(func() (*oauth2.Token, error) { panic("bad " + secretCredential) })
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
			src, err := authsec.NewSource(cfg)
			if err != nil {
				t.Fatal(err)
			}
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

// The answer that another token endpoint gave to the Credential is not shown,
// nor taken for the AuthSec server's.
func TestTheCredentialsOwnFailureIsNotShown(t *testing.T) {
	cfg := goodConfig()
	cfg.Credential = credentialFunc(func() (*oauth2.Token, error) {
		return nil, fmt.Errorf("credential: %w: %w", context.DeadlineExceeded, &oauth2.RetrieveError{
			Response: &http.Response{StatusCode: 400, Status: "400 Bad Request"},
			Body:     []byte("client_secret=hunter2"),
		})
	})
	src, err := authsec.NewSource(cfg)
	if err != nil {
		t.Fatal(err)
	}
	_, err = src.Token()
	if err == nil || !strings.Contains(err.Error(), "400 Bad Request") {
		t.Fatalf("error is %v, want one with the status", err)
	}
	checkFormats(t, "the error", err, map[string]string{"secret": "hunter2"})
	if re := (*oauth2.RetrieveError)(nil); errors.As(err, &re) {
		t.Error("the Credential's RetrieveError is taken for the server's")
	}
	if !errors.Is(err, context.DeadlineExceeded) {
		t.Error("errors.Is does not find the cause")
	}
}

type credentialFunc func() (*oauth2.Token, error)

func (f credentialFunc) Token() (*oauth2.Token, error) { return f() }
