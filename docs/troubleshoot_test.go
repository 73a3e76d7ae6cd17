// Copyright 2026 The authsec Authors
// SPDX-License-Identifier: Apache-2.0

package docs_test

import (
	"context"
	"errors"
	"go/ast"
	"go/parser"
	"go/token"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
	"unicode"

	"github.com/authsec-go/authsec"
	"github.com/authsec-go/authsec/authsectest"
	"github.com/authsec-go/authsec/fetchtool"
	"github.com/authsec-go/authsec/verify"
	"github.com/golang-jwt/jwt/v5"
	"golang.org/x/oauth2"
)

// entry is a text of troubleshoot.md in backticks.
type entry struct {
	text    string
	isError bool // it stands in a table's column of errors
}

var codeSpan = regexp.MustCompile("`([^`]+)`")

// entries are the texts of troubleshoot.md.
func entries(t *testing.T) []entry {
	t.Helper()
	page, err := os.ReadFile("troubleshoot.md")
	if err != nil {
		t.Fatal(err)
	}
	var list []entry
	column := -1 // of the errors, in the table at hand
	fenced := false
	for line := range strings.Lines(string(page)) {
		if strings.HasPrefix(line, "```") {
			fenced = !fenced
		}
		if fenced {
			continue
		}
		if !strings.HasPrefix(line, "|") {
			column = -1
			for _, m := range codeSpan.FindAllStringSubmatch(line, -1) {
				list = append(list, entry{m[1], false})
			}
			continue
		}
		cells := strings.Split(line, " | ")
		for i, cell := range cells {
			switch strings.Trim(cell, "| \n") {
			case "error", "message", "text":
				column = i
			}
			for _, m := range codeSpan.FindAllStringSubmatch(cell, -1) {
				list = append(list, entry{m[1], i == column})
			}
		}
	}
	return list
}

// pattern matches what text stands for, where … is anything.
func pattern(text string) *regexp.Regexp {
	return regexp.MustCompile("(?s)" + strings.ReplaceAll(regexp.QuoteMeta(text), "…", ".*"))
}

func letters(s string) (n int) {
	for _, r := range s {
		if unicode.IsLetter(r) {
			n++
		}
	}
	return n
}

// said is a string in the code.
type said struct {
	text   string // with … for its verbs, and for what is added to it
	where  string
	stands bool // it is, or begins, an error or a log record
}

var verb = regexp.MustCompile(`%(\[\d+\])?[-+# 0]*[\d*]*(\.\d+)?[a-zA-Z]`)

// speakers are the functions that make errors and log records, in this
// repository's packages.
var speakers = []string{
	"New", "Errorf", "newError", "fault", "fail", "invalid", "malformed", "contextError", "wrong",
	"Debug", "Info", "Warn", "Error", "DebugContext", "InfoContext", "WarnContext", "ErrorContext",
}

// everythingSaid are the strings in the files of a directory that are no tests.
func everythingSaid(t *testing.T, dir string) []said {
	t.Helper()
	fset := token.NewFileSet()
	names, err := filepath.Glob(filepath.Join(root, dir, "*.go"))
	if err != nil || len(names) == 0 {
		t.Fatalf("%s: no Go files (%v)", dir, err)
	}
	var list []said
	for _, name := range names {
		if strings.HasSuffix(name, "_test.go") {
			continue
		}
		file, err := parser.ParseFile(fset, name, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		ast.Inspect(file, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.CallExpr:
				name := ""
				switch f := n.Fun.(type) {
				case *ast.Ident:
					name = f.Name
				case *ast.SelectorExpr:
					name = f.Sel.Name
				}
				if slices.Contains(speakers, name) {
					for _, arg := range n.Args {
						if text, ok := literal(arg); ok {
							list = append(list, said{text, fset.Position(arg.Pos()).String(), true})
							break
						}
					}
				}
			case *ast.BasicLit:
				if text, ok := literal(n); ok {
					list = append(list, said{text, fset.Position(n.Pos()).String(), strings.HasPrefix(text, "authsec: ")})
				}
			}
			return true
		})
	}
	return list
}

// literal is what an expression is known to say.
func literal(e ast.Expr) (text string, ok bool) {
	switch e := e.(type) {
	case *ast.BasicLit:
		if e.Kind != token.STRING {
			return "", false
		}
		text, err := strconv.Unquote(e.Value)
		return verb.ReplaceAllString(text, "…"), err == nil
	case *ast.BinaryExpr:
		left, ok1 := literal(e.X)
		right, ok2 := literal(e.Y)
		if e.Op != token.ADD || !ok1 && !ok2 {
			return "", false
		}
		if !ok1 {
			left = "…"
		}
		if !ok2 {
			right = "…"
		}
		return left + right, true
	case *ast.CallExpr:
		if f, isSel := e.Fun.(*ast.SelectorExpr); isSel && f.Sel.Name == "Sprintf" {
			return literal(e.Args[0])
		}
	}
	return "", false
}

var speaking = []string{"", "internal/hosts", "verify", "fetchtool", "cmd/authsec"}

// noToken is before what the page's section "Getting a token" lists.
const noToken = "authsec: no token for agent …: "

// unseen are texts of errors that reach nobody.
var unseen = []string{"the body was not kept"} // of a GetBody, which a Transport takes for: there is none

// TestTroubleshootHasEveryError: what the code says stands on the page.
func TestTroubleshootHasEveryError(t *testing.T) {
	page := entries(t)
	checked := map[string]bool{}
	for _, dir := range speaking {
		for _, s := range everythingSaid(t, dir) {
			text := strings.Trim(strings.TrimPrefix(s.text, noToken), "… :\n")
			if !s.stands || letters(text) < 4 || slices.Contains(unseen, text) || checked[s.where] {
				continue
			}
			checked[s.where] = true
			want := pattern(text)
			if !slices.ContainsFunc(page, func(e entry) bool { return want.MatchString(e.text) }) {
				t.Errorf("%s: no entry for %q", s.where, text)
			}
		}
	}
	if len(checked) < 100 {
		t.Errorf("%d texts were checked: too few, the search for them is broken", len(checked))
	}
}

// TestTroubleshootHasNoOtherError: what the page calls an error is made of what
// the code says.
func TestTroubleshootHasNoOtherError(t *testing.T) {
	var all strings.Builder
	for _, dir := range speaking {
		for _, s := range everythingSaid(t, dir) {
			all.WriteString(s.text + "\x00")
		}
	}
	for _, err := range []error{jwt.ErrTokenMalformed, jwt.ErrTokenUnverifiable, jwt.ErrTokenSignatureInvalid, jwt.ErrTokenInvalidAudience,
		jwt.ErrTokenExpired, jwt.ErrTokenUsedBeforeIssued, jwt.ErrTokenInvalidIssuer, jwt.ErrTokenNotValidYet, jwt.ErrTokenInvalidClaims} {
		all.WriteString(err.Error() + "\x00")
	}
	checked := 0
	for _, e := range entries(t) {
		if !e.isError {
			continue
		}
		checked++
		for piece := range strings.SplitSeq(e.text, "…") {
			if rest := made(strings.Trim(piece, " :;,.\"'[]()"), all.String()); rest != "" {
				t.Errorf("%q: the code does not say %q", e.text, rest)
			}
		}
	}
	if checked < 100 {
		t.Errorf("%d entries were checked: too few, the search for them is broken", checked)
	}
}

// made takes from text, as long as it can, the longest beginning that is part
// of all, and returns the rest.
func made(text, all string) string {
	for range 6 {
		n := len(text)
		for n > 0 && !strings.Contains(all, text[:n]) {
			n--
		}
		if n < 3 && n < len(text) {
			return text
		}
		text = text[n:]
	}
	return text
}

// TestTroubleshootMatchesErrors: errors that occur read as the page says.
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
	check("authsec: DOWNSTREAM_URL: its host is a pattern: write that into AUTHSEC_HOSTS", fromEnv("DOWNSTREAM_URL", "https://*.example.com"))
	check("authsec: DOWNSTREAM_URL: its host …", fromEnv("DOWNSTREAM_URL", "https://1.2.3"))
	check("ends like an IP address but is none", fromEnv("AUTHSEC_HOSTS", "1.2.3"))
	check("authsec: AUTHSEC_HOSTS: …", fromEnv("AUTHSEC_HOSTS", "https://api.example.com"))

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
	for url, want := range map[string]string{
		"":                                  "is empty: write one like https://authsec.example.com",
		"authsec.example.com":               "has no https:// before its host…",
		"https://%zz":                       "is not a URL…: write one like https://authsec.example.com…",
		"https://user@authsec.example.com":  "has a user name or password in it, which does not belong there",
		"https://":                          "has no host…",
		"https://authsec.example.com:99999": "has no valid port…",
		"https://a/b@authsec.example.com":   "has an @ after its host: a user name or password does not belong there",
		"https://authsec.example.com?a":     "has a query, which does not belong there",
		"https://authsec.example.com#a":     "has a fragment, which does not belong there",
		"http://authsec.example.com":        "would send tokens over plain HTTP to …: use https (or AllowHTTP, if you must): authsec: insecure URL",
	} {
		check(want, config(func(c *authsec.Config) { c.BaseURL = url }))
	}
	for id, want := range map[string]string{
		"":     "is empty: it is on the agent's page in the AuthSec console",
		"\xff": "is not valid UTF-8", "a b": "has white space inside", "a\x01b": "has a control character in it",
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
		cfg.Retry, cfg.FailFast = authsec.RetryPolicy{MaxAttempts: 1}, true
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
	check("it has no delegation, or it was revoked or has expired: an admin must delegate to it in the AuthSec console", get(srv.Config(authsectest.ClientID)))
	check("the server does not know the agent: check the client ID; an admin must delegate to it in the AuthSec console; a server whose database is away says the same",
		get(srv.Config("0b5e9c34-6f0e-4b7c-8c1d-2f3a4b5c6d7e")))
	check("its delegation has expired: an admin must delegate to it in the AuthSec console again", answered(http.StatusGone, `{"error":"Delegation token has expired"}`))
	check("the server does not accept its client ID", get(srv.Config("no-uuid-at-all")))
	check("the server allows no more requests for now", answered(http.StatusTooManyRequests, `{"error":"Rate limit exceeded"}`))
	check("… is not able to answer for now", answered(http.StatusInternalServerError, `{"error":"Failed to connect to tenant database"}`))
	check("… is no AuthSec endpoint: check the base URL", answered(http.StatusNotFound, "404 page not found"))
	check("… redirects to …, and redirects are not followed: set the base URL to the server itself", answered(http.StatusFound, "", "Location", "https://login.example.com/"))
	check("… gave an answer that no AuthSec server gives: check the base URL", answered(http.StatusTeapot, ""))

	srv.RequireCredential("credential")
	check("the server wants a credential of the caller: set Config.Credential, or AUTHSEC_API_TOKEN in the environment", get(srv.Config(authsectest.ClientID)))
	credential := func(s oauth2.TokenSource) error {
		t.Helper()
		cfg := srv.Config(authsectest.ClientID)
		cfg.Credential = s
		return get(cfg)
	}
	check("the server refused Config.Credential's token", credential(oauth2.StaticTokenSource(&oauth2.Token{AccessToken: "another"})))
	check("Config.Credential returned no token", credential(oauth2.StaticTokenSource(nil)))
	check("Config.Credential returned a token that no header can hold", credential(oauth2.StaticTokenSource(&oauth2.Token{AccessToken: "a b"})))
	check("Config.Credential failed: …", credential(source(func() (*oauth2.Token, error) { return nil, errors.New("no") })))
	check("its token endpoint answered …", credential(source(func() (*oauth2.Token, error) {
		return nil, &oauth2.RetrieveError{Response: &http.Response{StatusCode: http.StatusBadRequest}}
	})))
	check("Config.Credential panicked: …", credential(source(func() (*oauth2.Token, error) { panic("no") })))
	srv.RequireCredential("")

	for body, want := range map[string]string{
		"<html>":      "it is not a JSON object; check the base URL",
		"{} <html>":   "something follows its JSON object; check the base URL",
		"{}":          "it has no token",
		`{"token":1}`: "its … is not …",
		`{"token":"` + strings.Repeat("a", 20_000) + `"}`: "its token is longer than … bytes",
		`{"token":"a b"}`:                 "its token has characters that no bearer token has (RFC 6750, section 2.1)",
		`{"token":"a","status":"paused"}`: "its status is …, not active",
		`{"token":"a","client_id":"0b5e9c34-6f0e-4b7c-8c1d-2f3a4b5c6d7e"}`: "it is for another agent, … (is there a cache in between that ignores queries?)",
		`{"token":"a"}`: "neither it nor its token tells an expiry",
		`{"token":"a","expires_at":"2001-01-01T00:00:00Z"}`:  "its token expired … ago, by the server's clock",
		"{\"token\":\"" + strings.Repeat("b", 1<<20) + "\"}": "it is longer than … bytes; check the base URL",
	} {
		err := answered(http.StatusOK, body)
		check(want, err)
		check("the answer of … can't be used: …", err)
	}
	cfg := srv.Config(authsectest.ClientID)
	cfg.Audience = "billing-api"
	srv.FailNext(1, authsectest.Answer(http.StatusOK, `{"token":"a"}`))
	check("its token is no JWT, so it can't name the audience …", get(cfg))
	srv.Delegate(authsectest.ClientID, authsectest.Delegation{})
	check("its token is not for the audience …", get(cfg))
	cfg = srv.Config(authsectest.ClientID)
	cfg.Keyfunc = func(*jwt.Token) (any, error) { return nil, errors.New("no key") }
	check("its token does not verify: …", get(cfg))
	cfg.Keyfunc = func(*jwt.Token) (any, error) { panic("no") }
	check("Config.HTTPClient or Config.Keyfunc panicked: …", get(cfg))

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
	check("authsec: Renew: the rejected token is empty", err)
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
