// Copyright 2026 The authsec Authors
// SPDX-License-Identifier: Apache-2.0

package authsec_test

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/authsec-go/authsec"
	"github.com/authsec-go/authsec/authsectest"
	"github.com/golang-jwt/jwt/v5"
	"golang.org/x/oauth2"
)

const (
	ourID   = authsectest.ClientID
	otherID = "5c0ffee5-0000-4000-8000-00000000dead"
	opaque  = "an-opaque.token"
)

// endpointSource is a Source for ourID whose endpoint is h, in memory, and is
// asked once.
func endpointSource(t testing.TB, h http.Handler, edit ...func(*authsec.Config)) *authsec.Source {
	t.Helper()
	cfg := authsec.Config{
		BaseURL:    "https://authsec.test",
		ClientID:   ourID,
		HTTPClient: &http.Client{Transport: authsectest.RoundTripper(h)},
		Retry:      authsec.RetryPolicy{MaxAttempts: 1},
		FailFast:   true,
	}
	for _, f := range edit {
		f(&cfg)
	}
	src, err := authsec.NewSource(cfg)
	if err != nil {
		t.Fatalf("NewSource: %v", err)
	}
	return src
}

// inBubble is a subtest in a bubble of synctest.
func inBubble(t *testing.T, name string, f func(*testing.T)) {
	t.Helper()
	t.Run(name, func(t *testing.T) { synctest.Test(t, f) })
}

// answerJSON answers 200 with these fields.
func answerJSON(t testing.TB, fields map[string]any) http.Handler {
	t.Helper()
	b, err := json.Marshal(fields)
	if err != nil {
		t.Fatal(err)
	}
	return authsectest.Answer(http.StatusOK, string(b))
}

// with returns a copy of base with other fields, given as name and value in turn.
func with(base map[string]any, pairs ...any) map[string]any {
	m := maps.Clone(base)
	for pair := range slices.Chunk(pairs, 2) {
		m[pair[0].(string)] = pair[1]
	}
	return m
}

func without(base map[string]any, names ...string) map[string]any {
	m := maps.Clone(base)
	for _, name := range names {
		delete(m, name)
	}
	return m
}

// hourFields is a minimal answer with an opaque token, good for an hour.
func hourFields() map[string]any {
	return map[string]any{"token": opaque, "expires_at": time.Now().Add(time.Hour).UTC().Format(time.RFC3339Nano)}
}

// unverified is a JWT that nobody verifies.
func unverified(t testing.TB, claims jwt.MapClaims) string {
	t.Helper()
	s, err := jwt.NewWithClaims(jwt.SigningMethodHS256, claims).SignedString([]byte("not verified"))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

var (
	ecKey    = sync.OnceValue(func() *ecdsa.PrivateKey { k, _ := ecdsa.GenerateKey(elliptic.P256(), rand.Reader); return k })
	ecOther  = sync.OnceValue(func() *ecdsa.PrivateKey { k, _ := ecdsa.GenerateKey(elliptic.P256(), rand.Reader); return k })
	edKey    = sync.OnceValue(func() ed25519.PrivateKey { _, k, _ := ed25519.GenerateKey(rand.Reader); return k })
	ecVerify = func(*jwt.Token) (any, error) { return &ecKey().PublicKey, nil }
)

func TestRequestHasTheDocumentedForm(t *testing.T) {
	const path = "/authsec/uflow/sdk/delegation-token"
	for _, tt := range []struct{ suffix, id, wantPath, wantQuery, wantHeader string }{
		{"", ourID, path, "client_id=" + ourID, ourID},
		{"/", ourID, path, "client_id=" + ourID, ourID},
		{"///", ourID, path, "client_id=" + ourID, ourID},
		{"/prefix", ourID, "/prefix" + path, "client_id=" + ourID, ourID},
		{"/a/b//", ourID, "/a/b" + path, "client_id=" + ourID, ourID},
		{"/a%20b/c%2Fd", ourID, "/a%20b/c%2Fd" + path, "client_id=" + ourID, ourID},
		{" \n", " \t" + ourID + "\r\n", path, "client_id=" + ourID, ourID},
		{"", "agent/1&x=%2F+#ä", path, "client_id=agent%2F1%26x%3D%252F%2B%23%C3%A4", "agent/1&x=%2F+#ä"},
	} {
		var got *http.Request
		srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			got = r.Clone(context.Background())
			fmt.Fprintf(w, `{"token":%q,"ttl_seconds":3600}`, opaque)
		}))
		src, err := authsec.NewSource(authsec.Config{BaseURL: srv.URL + tt.suffix, ClientID: tt.id})
		if err != nil {
			t.Fatalf("BaseURL suffix %q: NewSource: %v", tt.suffix, err)
		}
		if _, err := src.Token(); err != nil {
			t.Fatalf("BaseURL suffix %q: Token: %v", tt.suffix, err)
		}
		srv.Close()
		if got.Method != http.MethodGet || got.URL.EscapedPath() != tt.wantPath || got.URL.RawQuery != tt.wantQuery || got.ContentLength != 0 {
			t.Errorf("BaseURL suffix %q: request is %s %s?%s with %d bytes, want GET %s?%s with none", tt.suffix, got.Method, got.URL.EscapedPath(), got.URL.RawQuery, got.ContentLength, tt.wantPath, tt.wantQuery)
		}
		agent := got.Header.Get("User-Agent")
		if !regexp.MustCompile(`^authsec-go/\d+\.\d+\.\d+$`).MatchString(agent) {
			t.Errorf("User-Agent is %q, want authsec-go/ and a version", agent)
		}
		want := http.Header{
			"Accept": {"application/json"}, "Cache-Control": {"no-cache, no-store"}, "X-Client-Id": {tt.wantHeader}, "User-Agent": {agent},
			"Accept-Encoding": {"gzip"}, // net/http's own
		}
		if !reflect.DeepEqual(got.Header, want) {
			t.Errorf("header is %v, want %v", got.Header, want)
		}
	}
}

func TestHTTPClientsRedirectsAndCookiesDoNotCount(t *testing.T) {
	var asked atomic.Int32
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if asked.Add(1); r.URL.Path == "/elsewhere" {
			t.Error("the redirect was followed")
		}
		http.Redirect(w, r, "/elsewhere", http.StatusFound)
	}))
	defer srv.Close()
	src, err := authsec.NewSource(authsec.Config{BaseURL: srv.URL, ClientID: ourID, HTTPClient: &http.Client{
		CheckRedirect: func(*http.Request, []*http.Request) error { t.Error("CheckRedirect was called"); return nil },
	}})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := src.Token(); !errors.Is(err, authsec.ErrInvalidResponse) {
		t.Errorf("Token: %v, want ErrInvalidResponse", err)
	}
	if n := asked.Load(); n != 1 {
		t.Errorf("the endpoint was asked %d times, want 1", n)
	}
}

func TestHTTPClientsShorterTimeoutBoundsAnAttempt(t *testing.T) {
	for _, tt := range []struct{ timeout, want time.Duration }{
		{0, 10 * time.Second}, {3 * time.Second, 3 * time.Second}, {time.Minute, 10 * time.Second},
	} {
		inBubble(t, fmt.Sprint(tt.timeout), func(t *testing.T) {
			silent := http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() })
			src := endpointSource(t, silent, func(c *authsec.Config) { c.HTTPClient.Timeout = tt.timeout })
			began := time.Now()
			_, err := src.Token()
			if got := time.Since(began); got != tt.want {
				t.Errorf("HTTPClient.Timeout %v: one attempt took %v, want %v", tt.timeout, got, tt.want)
			}
			var e *authsec.Error
			if !errors.As(err, &e) || e.StatusCode != 0 || !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("Token: %v, want an *Error with no status that is context.DeadlineExceeded", err)
			}
		})
	}
}

// contextCredential notes the deadline that it is given.
type contextCredential struct{ left time.Duration }

func (c *contextCredential) Token() (*oauth2.Token, error) { return nil, errors.New("not asked for") }
func (c *contextCredential) TokenContext(ctx context.Context) (*oauth2.Token, error) {
	deadline, _ := ctx.Deadline()
	c.left = time.Until(deadline)
	return &oauth2.Token{AccessToken: "caller"}, nil
}

func TestCredentialAuthorizesTheRequest(t *testing.T) {
	withContext := new(contextCredential)
	for _, tt := range []struct {
		credential oauth2.TokenSource
		want       string
	}{
		{nil, ""},
		{oauth2.StaticTokenSource(&oauth2.Token{AccessToken: "caller"}), "Bearer caller"},
		{oauth2.StaticTokenSource(&oauth2.Token{AccessToken: "caller", TokenType: "bearer"}), "Bearer caller"},
		{oauth2.StaticTokenSource(&oauth2.Token{AccessToken: "caller", TokenType: "MAC"}), "MAC caller"},
		{withContext, "Bearer caller"},
	} {
		inBubble(t, fmt.Sprintf("%T %s", tt.credential, tt.want), func(t *testing.T) {
			var got string
			src := endpointSource(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				got = r.Header.Get("Authorization")
				answerJSON(t, hourFields()).ServeHTTP(w, r)
			}), func(c *authsec.Config) { c.Credential, c.FetchTimeout = tt.credential, 20*time.Second })
			if _, err := src.Token(); err != nil || got != tt.want {
				t.Errorf("Credential %T: Authorization is %q (error %v), want %q", tt.credential, got, err, tt.want)
			}
		})
	}
	if withContext.left != 20*time.Second {
		t.Errorf("the Credential's context had %v left, want FetchTimeout, 20s", withContext.left)
	}
}

func TestUnusableCredentialIsNamed(t *testing.T) {
	cause := errors.New("vault sealed")
	for _, tt := range []struct {
		claim      string
		credential tokenFunc
		want       string
	}{
		{"error", func() (*oauth2.Token, error) { return nil, cause }, "Config.Credential failed: vault sealed"},
		{"nil", func() (*oauth2.Token, error) { return nil, nil }, "Config.Credential returned no token"},
		{"empty", func() (*oauth2.Token, error) { return &oauth2.Token{}, nil }, "Config.Credential returned no token"},
		{"line break", func() (*oauth2.Token, error) { return &oauth2.Token{AccessToken: "a\r\nX: y"}, nil }, "no header can hold"},
		{"type with a line break", func() (*oauth2.Token, error) { return &oauth2.Token{AccessToken: "a", TokenType: "b\n"}, nil }, "no header can hold"},
		{"panic", func() (*oauth2.Token, error) { panic("boom") }, "Config.Credential panicked"},
	} {
		inBubble(t, tt.claim, func(t *testing.T) {
			asked := false
			src := endpointSource(t, http.HandlerFunc(func(http.ResponseWriter, *http.Request) { asked = true }), func(c *authsec.Config) { c.Credential = tt.credential })
			_, err := src.Token()
			var e *authsec.Error
			if !errors.As(err, &e) || e.StatusCode != 0 || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("%s: Token: %v, want an *Error without status, with %q", tt.claim, err, tt.want)
			}
			if tt.claim == "error" && !errors.Is(err, cause) {
				t.Errorf("%s: Token: %v, want it to wrap the cause", tt.claim, err)
			}
			if asked {
				t.Errorf("%s: the endpoint was asked", tt.claim)
			}
		})
	}
}

type tokenFunc func() (*oauth2.Token, error)

func (f tokenFunc) Token() (*oauth2.Token, error) { return f() }

var sentinels = map[string]error{
	"ErrNotDelegated": authsec.ErrNotDelegated, "ErrDelegationExpired": authsec.ErrDelegationExpired, "ErrUnauthorized": authsec.ErrUnauthorized,
	"ErrInvalidClientID": authsec.ErrInvalidClientID, "ErrRateLimited": authsec.ErrRateLimited, "ErrInvalidResponse": authsec.ErrInvalidResponse, "ErrInsecureURL": authsec.ErrInsecureURL,
}

// checkRefusal holds the error of an answer against what is promised of all.
func checkRefusal(t *testing.T, err error, status int, message string, is []string, texts ...string) {
	t.Helper()
	var e *authsec.Error
	if !errors.As(err, &e) {
		t.Fatalf("error is %v, a %T, want an *Error", err, err)
	}
	if e.StatusCode != status || e.Message != message {
		t.Errorf("StatusCode %d, Message %q, want %d, %q", e.StatusCode, e.Message, status, message)
	}
	for name, sentinel := range sentinels {
		if got, want := errors.Is(err, sentinel), slices.Contains(is, name); got != want {
			t.Errorf("errors.Is(err, %s) = %t, want %t; error: %v", name, got, want, err)
		}
	}
	if !strings.HasPrefix(err.Error(), "authsec: ") {
		t.Errorf("error is %q, want it to begin with the package's name", err)
	}
	for _, want := range append(texts, ourID[:8]) {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("error is %q, want %q in it", err, want)
		}
	}
	if strings.Contains(err.Error(), ourID) {
		t.Errorf("error shows the client ID in full")
	}
	var re *oauth2.RetrieveError
	if !errors.As(err, &re) {
		t.Fatalf("error %v unwraps to no *oauth2.RetrieveError", err)
	}
	want := &http.Response{StatusCode: status, Status: strings.TrimSpace(fmt.Sprintf("%d %s", status, http.StatusText(status)))}
	if !reflect.DeepEqual(re.Response, want) {
		t.Errorf("RetrieveError.Response is %+v, want %+v", re.Response, want)
	}
	if len(re.Body) > 600 || strings.Contains(string(re.Body), ourID) {
		t.Errorf("RetrieveError.Body has %d bytes, with the client ID in full: %t; want it cut and without", len(re.Body), strings.Contains(string(re.Body), ourID))
	}
	if text := re.Error(); text == "" { // it panics without a Response
		t.Error("RetrieveError.Error() is empty")
	}
}

func TestEveryRefusalSaysWhatItIsAndWhatToDo(t *testing.T) {
	const url = "https://authsec.test/authsec/uflow/sdk/delegation-token"
	longWord := strings.Repeat("x", 5000)
	for _, tt := range []struct {
		claim      string
		status     int
		body       string
		headers    []string
		credential bool
		message    string
		is         []string
		texts      []string
	}{
		{claim: "no client ID", status: 400, body: `{"error":"client_id is required (query param or X-Client-ID header)"}`,
			message: "client_id is required (query param or X-Client-ID header)", is: []string{"ErrInvalidClientID"}, texts: []string{"400 Bad Request", "client ID"}},
		{claim: "no UUID", status: 400, body: `{"error":"Invalid client_id format"}`,
			message: "Invalid client_id format", is: []string{"ErrInvalidClientID"}, texts: []string{"does not accept its client ID"}},
		{claim: "a 400 of somebody else", status: 400, body: "<html>Bad Request</html>", is: []string{"ErrInvalidResponse"}, texts: []string{url, "check the base URL"}},
		{claim: "newer server, no credential", status: 401, body: `{"error":"Authorization header is required"}`,
			message: "Authorization header is required", is: []string{"ErrUnauthorized"}, texts: []string{"Config.Credential", "AUTHSEC_API_TOKEN"}},
		{claim: "newer server, bad credential", status: 401, body: `{"error":"invalid token"}`, credential: true,
			message: "invalid token", is: []string{"ErrUnauthorized"}, texts: []string{"refused Config.Credential's token"}},
		{claim: "forbidden", status: 403, body: `{"error":"forbidden"}`, credential: true, message: "forbidden", is: []string{"ErrUnauthorized"}},
		{claim: "unknown agent, or no database", status: 404, body: `{"error":"Client not found","details":"client_id ` + ourID + ` not found in tenant_mappings"}`,
			message: "Client not found", is: []string{"ErrNotDelegated"}, texts: []string{"check the client ID", "admin must delegate", "database is away"}},
		{claim: "none delegated", status: 404, body: `{"error":"No active delegation token found","details":"An admin must delegate a token first via POST /uflow/admin/agents/:id/delegate-token"}`,
			message: "No active delegation token found", is: []string{"ErrNotDelegated"}, texts: []string{"admin must delegate"}},
		{claim: "expired", status: 410, body: `{"error":"Delegation token has expired","expired_at":"2026-11-23T08:31:34.968929Z","details":"Admin must re-delegate via POST /uflow/admin/agents/` + ourID + `/delegate-token"}`,
			message: "Delegation token has expired", is: []string{"ErrNotDelegated", "ErrDelegationExpired"}, texts: []string{"has expired", "admin must delegate", "again"}},
		{claim: "HTML 404", status: 404, body: "<html><title>404</title></html>", is: []string{"ErrInvalidResponse"}, texts: []string{url, "check the base URL"}},
		{claim: "empty 404", status: 404, is: []string{"ErrInvalidResponse"}, texts: []string{url, "check the base URL"}},
		{claim: "JSON 404 in other words", status: 404, body: `{"error":"route not found"}`, message: "route not found", is: []string{"ErrInvalidResponse"}, texts: []string{url, "check the base URL"}},
		{claim: "JSON 404 with other fields", status: 404, body: `{"message":"No active delegation token found"}`, is: []string{"ErrInvalidResponse"}, texts: []string{url, "check the base URL"}},
		{claim: "404 that begins like AuthSec's", status: 404, body: `{"error":"No active delegation token found"} trailing`, is: []string{"ErrInvalidResponse"}, texts: []string{url}},
		{claim: "HTML 410", status: 410, body: "<html>gone</html>", is: []string{"ErrInvalidResponse"}, texts: []string{url, "check the base URL"}},
		{claim: "rate limit", status: 429, body: `{"error":"Rate limit exceeded","limit":100,"message":"Maximum 100 requests per 1m0s allowed.","window":"1m0s"}`,
			message: "Rate limit exceeded", is: []string{"ErrRateLimited"}, texts: []string{"no more requests for now"}},
		{claim: "database", status: 500, body: `{"error":"Failed to connect to tenant database"}`, message: "Failed to connect to tenant database", texts: []string{url, "not able to answer", "Failed to connect to tenant database"}},
		{claim: "HTML 502", status: 502, body: "<html><h1>502 Bad Gateway</h1></html>", texts: []string{url, "502 Bad Gateway"}},
		{claim: "HTML 503", status: 503, body: "<html>Service Unavailable</html>", texts: []string{url, "503"}},
		{claim: "HTML 504", status: 504, body: "<html>Gateway Timeout</html>", texts: []string{url, "504"}},
		{claim: "no status that there is", status: 599, body: "", texts: []string{"599"}},
		{claim: "no content", status: 204, is: []string{"ErrInvalidResponse"}, texts: []string{"check the base URL"}},
		{claim: "not modified", status: 304, is: []string{"ErrInvalidResponse"}, texts: []string{"check the base URL"}},
		{claim: "teapot", status: 418, body: `{"error":5,"details":["x"]}`, is: []string{"ErrInvalidResponse"}, texts: []string{"418"}},
		{claim: "a long story is cut", status: 500, body: `{"error":"` + longWord + `"}`, message: longWord[:512] + "…"},
		{claim: "control characters are no part of a text", status: 500, body: `{"error":"a\u001b[31m\nb\u202ec"}`, message: "a [31m b c"},

		{claim: "302", status: 302, headers: []string{"Location", "https://bob:hunter2@login.example.com/sso?client_id=" + ourID + "&code=q#frag"},
			is: []string{"ErrInvalidResponse"}, texts: []string{"https://login.example.com/sso,", "not followed", "base URL"}},
		{claim: "301", status: 301, headers: []string{"Location", "https://new.example.com/x"}, is: []string{"ErrInvalidResponse"}, texts: []string{"https://new.example.com/x"}},
		{claim: "303", status: 303, headers: []string{"Location", "https://new.example.com/x"}, is: []string{"ErrInvalidResponse"}, texts: []string{"https://new.example.com/x"}},
		{claim: "307", status: 307, headers: []string{"Location", "https://new.example.com/x"}, is: []string{"ErrInvalidResponse"}, texts: []string{"https://new.example.com/x"}},
		{claim: "308, relative", status: 308, headers: []string{"Location", "/v2/token?x"}, is: []string{"ErrInvalidResponse"}, texts: []string{"https://authsec.test/v2/token"}},
		{claim: "redirect with the ID in its path", status: 308, headers: []string{"Location", "https://x.example/" + strings.ToUpper(ourID)}, is: []string{"ErrInvalidResponse"}, texts: []string{"https://x.example/"}},
		{claim: "malformed Location", status: 302, headers: []string{"Location", "http://[::1/%zz?" + ourID}, is: []string{"ErrInvalidResponse"}, texts: []string{"a malformed URL", "not followed"}},
		{claim: "302 without Location", status: 302, is: []string{"ErrInvalidResponse"}, texts: []string{"check the base URL"}},
	} {
		t.Run(tt.claim, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				src := endpointSource(t, authsectest.Answer(tt.status, tt.body, tt.headers...), func(c *authsec.Config) {
					if tt.credential {
						c.Credential = oauth2.StaticTokenSource(&oauth2.Token{AccessToken: "caller"})
					}
				})
				token, err := src.Token()
				if err == nil || token != nil {
					t.Fatalf("Token: a token: %t, error %v, want none and an error", token != nil, err)
				}
				checkRefusal(t, err, tt.status, tt.message, tt.is, tt.texts...)
				for _, word := range []string{"hunter2", "code=q", "#frag", "?", strings.ToUpper(ourID)} {
					if tt.status/100 == 3 && strings.Contains(err.Error(), word) {
						t.Errorf("error is %q, want no %q of the redirect in it", err, word)
					}
				}
			})
		})
	}
}

func TestDetailsAreTheServersWithoutTheClientID(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		src := endpointSource(t, authsectest.Answer(404, `{"error":"Client not found","details":"client_id `+strings.ToUpper(ourID)+` not found in tenant_mappings"}`))
		_, err := src.Token()
		var e *authsec.Error
		if want := "client_id 9b477e30… not found in tenant_mappings"; !errors.As(err, &e) || e.Details != want {
			t.Errorf("Details of %v, want %q", err, want)
		}
	})
}

func TestRetryAfterOfARefusal(t *testing.T) {
	for _, tt := range []struct {
		claim    string
		status   int
		body     string
		headers  []string
		min, max time.Duration // max excluded, if they differ
	}{
		{"none", 503, "", nil, 0, 0},
		{"seconds", 503, "", []string{"Retry-After", "7"}, 7 * time.Second, 7 * time.Second},
		{"up to 5 minutes", 503, "", []string{"Retry-After", "86400"}, 5 * time.Minute, 5 * time.Minute},
		{"429 with one", 429, `{"window":"1m0s"}`, []string{"Retry-After", "7"}, 7 * time.Second, 7 * time.Second},
		{"429 names its window", 429, `{"window":"2m0s"}`, nil, 2 * time.Minute, 4 * time.Minute},
		{"429 names none", 429, "<html>", nil, time.Minute, 2 * time.Minute},
		{"429 with a senseless window", 429, `{"window":"-3s"}`, nil, time.Minute, 2 * time.Minute},
		{"429 with a window that is none", 429, `{"window":60}`, nil, time.Minute, 2 * time.Minute},
	} {
		inBubble(t, tt.claim, func(t *testing.T) {
			_, err := endpointSource(t, authsectest.Answer(tt.status, tt.body, tt.headers...)).Token()
			var e *authsec.Error
			if !errors.As(err, &e) || e.RetryAfter < tt.min || e.RetryAfter > tt.max || tt.min != tt.max && e.RetryAfter == tt.max {
				t.Errorf("%s: %v, want an *Error with a RetryAfter from %v to %v", tt.claim, err, tt.min, tt.max)
			}
		})
	}
}

func TestPassingFaultsAreRetriedAndOthersNot(t *testing.T) {
	for _, tt := range []struct {
		status, want int
	}{
		{500, 4}, {502, 4}, {503, 4}, {504, 4}, {429, 1}, {400, 1}, {401, 1}, {404, 1}, {410, 1}, {501, 1}, {302, 1},
	} {
		inBubble(t, fmt.Sprint(tt.status), func(t *testing.T) {
			asked := 0
			src := endpointSource(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				asked++
				w.WriteHeader(tt.status)
			}), func(c *authsec.Config) { c.Retry = authsec.RetryPolicy{} })
			if _, err := src.Token(); err == nil || asked != tt.want {
				t.Errorf("status %d: asked %d times, error %v, want %d and an error", tt.status, asked, err, tt.want)
			}
		})
	}
}

func TestOlderServer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		srv := authsectest.NewInMemoryServer()
		ask := func(id string) (*oauth2.Token, error) {
			cfg := srv.Config(id)
			cfg.FailFast = true
			src, err := authsec.NewSource(cfg)
			if err != nil {
				t.Fatal(err)
			}
			return src.Token()
		}
		_, err := ask("no-uuid")
		if !errors.Is(err, authsec.ErrInvalidClientID) {
			t.Errorf("an ID that is no UUID: %v, want ErrInvalidClientID", err)
		}
		_, err = ask(ourID)
		checkRefusal(t, err, 404, "Client not found", []string{"ErrNotDelegated"})
		srv.Register(ourID)
		_, err = ask(ourID)
		checkRefusal(t, err, 404, "No active delegation token found", []string{"ErrNotDelegated"})
		want := srv.Delegate(ourID, authsectest.Delegation{TTL: time.Minute})
		token, err := ask(strings.ToUpper(ourID))
		if err != nil || token.AccessToken != want || token.Type() != "Bearer" {
			t.Errorf("delegated: another token or type than the server's, or an error: %v", err)
		}
		time.Sleep(time.Minute)
		_, err = ask(ourID)
		checkRefusal(t, err, 410, "Delegation token has expired", []string{"ErrNotDelegated", "ErrDelegationExpired"})
		_, err = ask(ourID)
		checkRefusal(t, err, 404, "No active delegation token found", []string{"ErrNotDelegated"})
		srv.LimitRate(1, time.Minute)
		_, _ = ask(ourID)
		_, err = ask(ourID)
		checkRefusal(t, err, 429, "Rate limit exceeded", []string{"ErrRateLimited"})
	})
}

func TestNewerServer(t *testing.T) {
	srv := authsectest.NewTLSServer()
	defer srv.Close()
	want := srv.Delegate(ourID, authsectest.Delegation{})
	srv.RequireCredential("the-callers-own")
	ask := func(credential oauth2.TokenSource) (*oauth2.Token, error) {
		cfg := srv.Config(ourID)
		cfg.Credential = credential
		src, err := authsec.NewSource(cfg)
		if err != nil {
			t.Fatal(err)
		}
		return src.Token()
	}
	_, err := ask(nil)
	checkRefusal(t, err, 401, "Authorization header is required or invalid", []string{"ErrUnauthorized"}, "set Config.Credential")
	_, err = ask(oauth2.StaticTokenSource(&oauth2.Token{AccessToken: "somebody-elses"}))
	checkRefusal(t, err, 401, "Authorization header is required or invalid", []string{"ErrUnauthorized"}, "refused Config.Credential")
	token, err := ask(oauth2.StaticTokenSource(&oauth2.Token{AccessToken: "the-callers-own"}))
	if err != nil || token.AccessToken != want {
		t.Errorf("with the credential: another token than the server's, or an error: %v", err)
	}
}

// rawBody is a transport that answers 200 with a body of its own, each time.
type rawBody func() io.Reader

func (f rawBody) RoundTrip(req *http.Request) (*http.Response, error) {
	return &http.Response{StatusCode: 200, Header: http.Header{}, Body: io.NopCloser(f()), Request: req}, nil
}

func TestAnswerOfAtMostOneMebibyteIsRead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, tt := range []struct {
			size int
			ok   bool
		}{{1 << 20, true}, {1<<20 + 1, false}} {
			b, _ := json.Marshal(hourFields())
			body := string(b) + strings.Repeat(" ", tt.size-len(b))
			_, err := endpointSource(t, authsectest.Answer(200, body)).Token()
			if ok := err == nil; ok != tt.ok || !ok && !errors.Is(err, authsec.ErrInvalidResponse) {
				t.Errorf("%d bytes: %v, want accepted: %t", tt.size, err, tt.ok)
			}
		}
	})
}

// counting counts what is read of an endless body.
type counting struct{ n int }

func (c *counting) Read(p []byte) (int, error) {
	c.n += len(p)
	return copy(p, bytes.Repeat([]byte{' '}, len(p))), nil
}

func TestEndlessAnswerIsNotReadToItsEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		body := new(counting)
		src := endpointSource(t, nil, func(c *authsec.Config) { c.HTTPClient.Transport = rawBody(func() io.Reader { return body }) })
		if _, err := src.Token(); !errors.Is(err, authsec.ErrInvalidResponse) {
			t.Errorf("Token: %v, want ErrInvalidResponse", err)
		}
		if body.n > 1<<20+1 {
			t.Errorf("%d bytes were read, want at most 1 MiB and one", body.n)
		}
	})
}

func TestAnswerThatBreaksOffIsAskedForAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, _ := json.Marshal(hourFields())
		n := 0
		src := endpointSource(t, nil, func(c *authsec.Config) {
			c.Retry = authsec.RetryPolicy{}
			c.HTTPClient.Transport = rawBody(func() io.Reader {
				if n++; n == 1 {
					return io.MultiReader(bytes.NewReader(b[:len(b)/2]), brokenReader{})
				}
				return bytes.NewReader(b)
			})
		})
		if _, err := src.Token(); err != nil || n != 2 {
			t.Errorf("asked %d times, error %v, want 2 and none", n, err)
		}
	})
}

type brokenReader struct{}

func (brokenReader) Read([]byte) (int, error) { return 0, io.ErrUnexpectedEOF }

func TestMalformedAnswersAreErrors(t *testing.T) {
	for _, tt := range []struct{ claim, body, want string }{
		{"empty", "", "not a JSON object"},
		{"HTML", "<html>Welcome</html>", "check the base URL"},
		{"null", "null", "not a JSON object"},
		{"list", `[{"token":"t","ttl_seconds":9}]`, "not a JSON object"},
		{"string", `"t"`, "not a JSON object"},
		{"truncated", `{"token":"t","ttl_seconds":9`, "not a JSON object"},
		{"second object", `{"token":"t","ttl_seconds":9}{"token":"u"}`, "follows"},
		{"trailing text", `{"token":"t","ttl_seconds":9} x`, "follows"},
		{"trailing bracket", `{"token":"t","ttl_seconds":9}}`, "follows"},
		{"no token", `{"ttl_seconds":9}`, "no token"},
		{"null token", `{"token":null,"ttl_seconds":9}`, "no token"},
		{"empty token", `{"token":"","ttl_seconds":9}`, "no token"},
		{"token in another case", `{"Token":"t","ttl_seconds":9}`, "no token"},
		{"token no string", `{"token":7,"ttl_seconds":9}`, "token is not a string"},
		{"client_id no string", `{"token":"t","ttl_seconds":9,"client_id":7}`, "client_id is not a string"},
		{"status no string", `{"token":"t","ttl_seconds":9,"status":true}`, "status is not a string"},
		{"expires_at no string", `{"token":"t","ttl_seconds":9,"expires_at":1795426293}`, "expires_at is not a string"},
		{"expires_at no time", `{"token":"t","ttl_seconds":9,"expires_at":"tomorrow"}`, "expires_at is not a time"},
		{"expires_at without a zone", `{"token":"t","ttl_seconds":9,"expires_at":"2126-11-23T09:31:33"}`, "expires_at is not a time"},
		{"ttl_seconds no number", `{"token":"t","ttl_seconds":"9"}`, "ttl_seconds is not a number"},
		{"permissions no list", `{"token":"t","ttl_seconds":9,"permissions":"a"}`, "permissions is not a list"},
		{"permissions of numbers", `{"token":"t","ttl_seconds":9,"permissions":["a",1]}`, "permissions is not a list of strings"},
		{"audience no list", `{"token":"t","ttl_seconds":9,"audience":{}}`, "audience is not a list"},
		{"audience of null", `{"token":"t","ttl_seconds":9,"audience":[null]}`, "audience is not a list of strings"},
	} {
		inBubble(t, tt.claim, func(t *testing.T) {
			_, err := endpointSource(t, authsectest.Answer(200, tt.body)).Token()
			if err == nil {
				t.Fatalf("%s: no error", tt.claim)
			}
			checkRefusal(t, err, 200, "", []string{"ErrInvalidResponse"}, "https://authsec.test/authsec/uflow/sdk/delegation-token", tt.want)
		})
	}
}

func TestOddFieldsThatOnlyInformAreForgiven(t *testing.T) {
	for _, tt := range []struct {
		field string
		value any
	}{
		{"spiffe_id", 7}, {"tenant_id", true}, {"workspace_id", []any{}}, {"issued_at", "yesterday"}, {"updated_at", 1}, {"unknown", map[string]any{"a": 1}},
		{"client_id", nil}, {"status", nil}, {"expires_at", nil}, {"expires_at", ""}, {"client_id", ""}, {"status", ""},
	} {
		inBubble(t, fmt.Sprint(tt.field, " ", tt.value), func(t *testing.T) {
			fields := with(map[string]any{"token": opaque, "ttl_seconds": 60}, tt.field, tt.value)
			if _, err := endpointSource(t, answerJSON(t, fields)).Token(); err != nil {
				t.Errorf("%s: %v: %v, want a token", tt.field, tt.value, err)
			}
		})
	}
}

func TestNullListsAreEmptyLists(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		claims := unverified(t, jwt.MapClaims{"permissions": []string{"from:token"}, "aud": []string{"from-token"}})
		for _, tt := range []struct {
			claim   string
			fields  map[string]any
			want    []string
			extra   any
			wantAud []string
		}{
			{"null", with(hourFields(), "token", claims, "permissions", nil, "audience", nil), []string{}, []any{}, []string{}},
			{"empty", with(hourFields(), "token", claims, "permissions", []string{}, "audience", []string{}), []string{}, []any{}, []string{}},
			{"absent: the token's", with(hourFields(), "token", claims), []string{"from:token"}, nil, []string{"from-token"}},
			{"absent, opaque token", hourFields(), []string{}, nil, []string{}},
		} {
			src := endpointSource(t, answerJSON(t, tt.fields))
			token, err := src.Token()
			if err != nil {
				t.Fatalf("%s: %v", tt.claim, err)
			}
			if got := token.Extra("permissions"); !reflect.DeepEqual(got, tt.extra) {
				t.Errorf("%s: Extra(permissions) is %#v, want %#v", tt.claim, got, tt.extra)
			}
			if got := token.Extra("audience"); !reflect.DeepEqual(got, tt.extra) {
				t.Errorf("%s: Extra(audience) is %#v, want %#v", tt.claim, got, tt.extra)
			}
			d, err := src.Delegation(context.Background())
			if err != nil || !reflect.DeepEqual(d.Permissions, tt.want) || !reflect.DeepEqual(d.Audience, tt.wantAud) {
				t.Errorf("%s: Permissions %#v, Audience %#v (error %v), want %#v, %#v", tt.claim, d.Permissions, d.Audience, err, tt.want, tt.wantAud)
			}
		}
	})
}

func TestExtraHoldsEveryFieldOfTheAnswer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fields := with(hourFields(), "client_id", ourID, "status", "active", "spiffe_id", "spiffe://example.org/a", "tenant_id", "t-1", "ttl_seconds", 3600.0,
			"permissions", []any{"billing:read"}, "audience", []any{"api"}, "issued_at", "2026-11-23T08:31:33.865888Z",
			"new_in_v9", map[string]any{"deep": []any{1.0, nil, true}}, "zero", nil)
		token, err := endpointSource(t, answerJSON(t, fields)).Token()
		if err != nil {
			t.Fatal(err)
		}
		for name, want := range fields {
			if got := token.Extra(name); !reflect.DeepEqual(got, want) {
				t.Errorf("Extra(%s) is not what the answer has", name)
			}
		}
		if got := token.Extra("absent"); got != nil {
			t.Errorf("Extra(absent) = %v, want nil", got)
		}
	})
}

func TestTokenIsAB64TokenOfAtMost16KiB(t *testing.T) {
	for _, tt := range []struct {
		claim, token string
		ok           bool
	}{
		{"all of its characters", "azAZ09-._~+/==", true},
		{"one character", "a", true},
		{"16 KiB", strings.Repeat("a", 16<<10), true},
		{"a byte more", strings.Repeat("a", 16<<10+1), false},
		{"space", "a b", false},
		{"leading space", " a", false},
		{"trailing line break", "a\n", false},
		{"header injection", "a\r\nX-Admin: 1", false},
		{"NUL", "a\x00", false},
		{"comma", "a,b", false},
		{"quote", `a"b`, false},
		{"not ASCII", "aé", false},
		{"= inside", "a=b", false},
		{"= alone", "==", false},
		{"DEL", "a\x7f", false},
	} {
		inBubble(t, tt.claim, func(t *testing.T) {
			_, err := endpointSource(t, answerJSON(t, with(hourFields(), "token", tt.token))).Token()
			if ok := err == nil; ok != tt.ok {
				t.Errorf("%s: accepted: %t (%v), want %t", tt.claim, ok, err, tt.ok)
			}
			if err != nil {
				checkRefusal(t, err, 200, "", []string{"ErrInvalidResponse"}, "token")
			}
		})
	}
}

func TestAnotherAgentsTokenIsRefused(t *testing.T) {
	for _, tt := range []struct {
		claim    string
		inAnswer any
		inToken  any // "opaque": no JWT
		ok       bool
	}{
		{"ours in both", ourID, ourID, true},
		{"ours in capitals", strings.ToUpper(ourID), strings.ToUpper(ourID), true},
		{"in neither", nil, nil, true},
		{"in the answer alone", ourID, nil, true},
		{"in the token alone", nil, ourID, true},
		{"opaque token", ourID, "opaque", true},
		{"another's in the answer", otherID, ourID, false},
		{"another's in the answer, opaque token", otherID, "opaque", false},
		{"another's in the token", ourID, otherID, false},
		{"another's in the token alone", nil, otherID, false},
		{"ours with something behind", ourID + "0", ourID, false},
		{"ours with white space", " " + ourID, nil, false},
	} {
		inBubble(t, tt.claim, func(t *testing.T) {
			fields := hourFields()
			if tt.inAnswer != nil {
				fields["client_id"] = tt.inAnswer
			}
			if tt.inToken != "opaque" {
				claims := jwt.MapClaims{}
				if tt.inToken != nil {
					claims["client_id"] = tt.inToken
				}
				fields["token"] = unverified(t, claims)
			}
			_, err := endpointSource(t, answerJSON(t, fields)).Token()
			if ok := err == nil; ok != tt.ok {
				t.Errorf("%s: accepted: %t (%v), want %t", tt.claim, ok, err, tt.ok)
			}
			if err != nil {
				checkRefusal(t, err, 200, "", []string{"ErrInvalidResponse"}, "another agent", "cache")
				if strings.Contains(err.Error(), otherID) {
					t.Errorf("%s: error shows the other client ID in full", tt.claim)
				}
			}
		})
	}
}

// What a JWT's other claims are like does not keep those that matter from counting.
func TestClaimsThatMatterCountWhateverTheOthersAreLike(t *testing.T) {
	for claim, odd := range map[string]any{"user_id": 5, "permissions": "billing:read", "email": []string{"a"}, "iat": "now", "tenant_id": true} {
		inBubble(t, claim, func(t *testing.T) {
			claims := jwt.MapClaims{"client_id": otherID, "exp": time.Now().Add(time.Hour).Unix(), claim: odd}
			if _, err := endpointSource(t, answerJSON(t, with(hourFields(), "token", unverified(t, claims)))).Token(); err == nil {
				t.Errorf("claim %s is %v: another agent's token was accepted", claim, odd)
			}
			exp := time.Now().Add(10 * time.Minute)
			claims = jwt.MapClaims{"client_id": ourID, "exp": exp.Unix(), claim: odd}
			token, err := endpointSource(t, answerJSON(t, with(hourFields(), "token", unverified(t, claims)))).Token()
			if err != nil || !token.Expiry.Equal(exp) {
				t.Errorf("claim %s is %v: error %v, or not the token's exp; want that", claim, odd, err)
			}
		})
	}
}

func TestOnlyAnActiveStatusIsAccepted(t *testing.T) {
	for status, want := range map[string]bool{"active": true, "": true, "revoked": false, "expired": false, "inactive": false, "pending": false} {
		inBubble(t, "status "+status, func(t *testing.T) {
			_, err := endpointSource(t, answerJSON(t, with(hourFields(), "status", status))).Token()
			if ok := err == nil; ok != want {
				t.Errorf("status %q: accepted: %t (%v), want %t", status, ok, err, want)
			}
			if err != nil {
				checkRefusal(t, err, 200, "", []string{"ErrInvalidResponse"}, "status", status, "not active")
			}
		})
	}
}

func TestExpiryIsTheEarliestThatIsTold(t *testing.T) {
	zone := func(hours, minutes int) *time.Location { return time.FixedZone("", hours*3600+minutes*60) }
	for _, tt := range []struct {
		claim     string
		expiresAt func(now time.Time) string
		exp       time.Duration // the JWT's, from now; 0: an opaque token
		ttl       any
		want      time.Duration // from now; 0: an error
	}{
		{claim: "none", want: 0},
		{claim: "expires_at alone", expiresAt: func(n time.Time) string { return n.Add(time.Hour).UTC().Format(time.RFC3339) }, want: time.Hour},
		{claim: "microseconds", expiresAt: func(n time.Time) string {
			return n.Add(time.Hour + 865070*time.Microsecond).UTC().Format("2006-01-02T15:04:05.99999Z")
		}, want: time.Hour + 865070*time.Microsecond},
		{claim: "one digit", expiresAt: func(n time.Time) string {
			return n.Add(time.Hour + 500*time.Millisecond).UTC().Format("2006-01-02T15:04:05.9Z")
		}, want: time.Hour + 500*time.Millisecond},
		{claim: "twelve digits", expiresAt: func(n time.Time) string {
			return n.Add(time.Hour).UTC().Format("2006-01-02T15:04:05") + ".123456789999Z"
		}, want: time.Hour + 123456789},
		{claim: "offset ahead", expiresAt: func(n time.Time) string { return n.Add(time.Hour).In(zone(5, 30)).Format(time.RFC3339Nano) }, want: time.Hour},
		{claim: "offset behind", expiresAt: func(n time.Time) string { return n.Add(time.Hour).In(zone(-12, 0)).Format(time.RFC3339Nano) }, want: time.Hour},
		{claim: "offset zero", expiresAt: func(n time.Time) string { return n.Add(time.Hour).UTC().Format("2006-01-02T15:04:05+00:00") }, want: time.Hour},
		{claim: "exp alone", exp: 30 * time.Minute, want: 30 * time.Minute},
		{claim: "exp earlier by less than a second", expiresAt: func(n time.Time) string {
			return n.Add(time.Hour + 900*time.Millisecond).UTC().Format(time.RFC3339Nano)
		}, exp: time.Hour, want: time.Hour},
		{claim: "exp earlier", expiresAt: func(n time.Time) string { return n.Add(time.Hour).UTC().Format(time.RFC3339) }, exp: time.Minute, want: time.Minute},
		{claim: "expires_at earlier", expiresAt: func(n time.Time) string { return n.Add(time.Minute).UTC().Format(time.RFC3339) }, exp: time.Hour, want: time.Minute},
		{claim: "ttl_seconds alone", ttl: 90, want: 90 * time.Second},
		{claim: "ttl_seconds with a fraction", ttl: 1.5, want: 1500 * time.Millisecond},
		{claim: "ttl_seconds counts only without the others", expiresAt: func(n time.Time) string { return n.Add(time.Hour).UTC().Format(time.RFC3339) }, ttl: 5, want: time.Hour},
		{claim: "ttl_seconds counts only without exp", exp: time.Hour, ttl: 5, want: time.Hour},
		{claim: "ttl_seconds 0", ttl: 0, want: 0},
		{claim: "ttl_seconds negative", ttl: -5, want: 0},
		{claim: "expires_at past", expiresAt: func(n time.Time) string { return n.Add(-time.Second).UTC().Format(time.RFC3339) }, ttl: 60, want: 0},
		{claim: "expires_at now", expiresAt: func(n time.Time) string { return n.UTC().Format(time.RFC3339) }, want: 0},
		{claim: "exp past", expiresAt: func(n time.Time) string { return n.Add(time.Hour).UTC().Format(time.RFC3339) }, exp: -time.Minute, want: 0},
		{claim: "long past", expiresAt: func(time.Time) string { return "0002-01-01T00:00:00Z" }, want: 0},
		{claim: "Go's zero time is past, too", expiresAt: func(time.Time) string { return "0001-01-01T00:00:00Z" }, ttl: 60, want: 0},
		{claim: "1 s of life", expiresAt: func(n time.Time) string { return n.Add(time.Second).UTC().Format(time.RFC3339) }, want: time.Second},
	} {
		t.Run(tt.claim, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				now := time.Now()
				fields := map[string]any{"token": opaque}
				if tt.expiresAt != nil {
					fields["expires_at"] = tt.expiresAt(now)
				}
				if tt.ttl != nil {
					fields["ttl_seconds"] = tt.ttl
				}
				if tt.exp != 0 {
					fields["token"] = unverified(t, jwt.MapClaims{"exp": now.Add(tt.exp).Unix()})
				}
				src := endpointSource(t, answerJSON(t, fields))
				token, err := src.Token()
				if tt.want == 0 {
					if err == nil {
						t.Fatalf("a token with expiry %v, want an error", token.Expiry)
					}
					checkRefusal(t, err, 200, "", []string{"ErrInvalidResponse"}, "exp")
					return
				}
				if err != nil {
					t.Fatalf("Token: %v", err)
				}
				if got := token.Expiry.Sub(now); got != tt.want {
					t.Errorf("Expiry is %v from now, want %v", got, tt.want)
				}
				d, err := src.Delegation(context.Background())
				if want := now.Add(tt.want); err != nil || tt.ttl == nil && !d.ExpiresAt.Equal(want) {
					t.Errorf("Delegation.ExpiresAt is %v (error %v), want %v", d.ExpiresAt, err, want)
				}
			})
		})
	}
}

func TestTimeToLiveIsLessTheAnswersAge(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		now := time.Now()
		h := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Age", "20")
			w.Header().Set("Date", now.Add(-20*time.Second).UTC().Format(http.TimeFormat))
			answerJSON(t, map[string]any{"token": opaque, "ttl_seconds": 60}).ServeHTTP(w, r)
		})
		token, err := endpointSource(t, h).Token()
		if err != nil || token.Expiry.Sub(now) != 40*time.Second {
			t.Errorf("error %v, or another expiry than in 40 s", err)
		}
	})
}

func TestServersClockDecidesExpiryAndExpiryIsToldOnOurs(t *testing.T) {
	for _, skew := range []time.Duration{-48 * time.Hour, -3 * time.Hour, 3 * time.Hour, 48 * time.Hour} {
		inBubble(t, skew.String(), func(t *testing.T) {
			h := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				server := time.Now().Add(skew)
				w.Header().Set("Date", server.UTC().Format(http.TimeFormat))
				answerJSON(t, map[string]any{"token": opaque, "expires_at": server.Add(time.Hour).UTC().Format(time.RFC3339Nano)}).ServeHTTP(w, r)
			})
			token, err := endpointSource(t, h).Token()
			if err != nil {
				t.Fatalf("the server's clock is off by %v: %v", skew, err)
			}
			// Date is in whole seconds: the shorter life is the safe one.
			if got := time.Until(token.Expiry); got > time.Hour || got < time.Hour-time.Second {
				t.Errorf("the server's clock is off by %v: %v to live, want from 59m59s to 1h", skew, got)
			}
		})
	}
}

func TestAudienceMustBeInTheToken(t *testing.T) {
	for _, tt := range []struct {
		claim string
		aud   any // "opaque": no JWT
		ok    bool
	}{
		{"one of several", []string{"other", "billing"}, true},
		{"a plain string", "billing", true},
		{"another", []string{"other"}, false},
		{"in another case", []string{"Billing"}, false},
		{"a part", []string{"billing-api"}, false},
		{"none", nil, false},
		{"opaque token", "opaque", false},
	} {
		inBubble(t, tt.claim, func(t *testing.T) {
			// That the answer names the audience does not count.
			fields := with(hourFields(), "audience", []string{"billing"})
			if tt.aud != "opaque" {
				claims := jwt.MapClaims{}
				if tt.aud != nil {
					claims["aud"] = tt.aud
				}
				fields["token"] = unverified(t, claims)
			}
			_, err := endpointSource(t, answerJSON(t, fields), func(c *authsec.Config) { c.Audience = "billing" }).Token()
			if ok := err == nil; ok != tt.ok {
				t.Errorf("%s: accepted: %t (%v), want %t", tt.claim, ok, err, tt.ok)
			}
			if err != nil {
				checkRefusal(t, err, 200, "", []string{"ErrInvalidResponse"}, `audience "billing"`)
			}
		})
	}
}

func TestKeyfuncVerifiesTheToken(t *testing.T) {
	sign := func(method jwt.SigningMethod, key any, pairs ...any) func(time.Time) string {
		return func(now time.Time) string {
			claims := jwt.MapClaims{"exp": now.Add(time.Hour).Unix(), "nbf": now.Unix(), "client_id": ourID, "aud": []string{"billing"}}
			for pair := range slices.Chunk(pairs, 2) {
				switch v := pair[1].(type) {
				case time.Duration:
					claims[pair[0].(string)] = now.Add(v).Unix()
				case nil:
					delete(claims, pair[0].(string))
				default:
					claims[pair[0].(string)] = v
				}
			}
			s, err := jwt.NewWithClaims(method, claims).SignedString(key)
			if err != nil {
				t.Fatal(err)
			}
			return s
		}
	}
	public, err := x509.MarshalPKIXPublicKey(&ecKey().PublicKey)
	if err != nil {
		t.Fatal(err)
	}
	anyKey := func(key any) jwt.Keyfunc { return func(*jwt.Token) (any, error) { return key, nil } }
	es := jwt.SigningMethodES256
	for _, tt := range []struct {
		claim    string
		token    func(time.Time) string
		keyfunc  jwt.Keyfunc
		audience string
		ok       bool
	}{
		{"good", sign(es, ecKey()), ecVerify, "", true},
		{"good, audience", sign(es, ecKey()), ecVerify, "billing", true},
		{"EdDSA", sign(jwt.SigningMethodEdDSA, edKey()), anyKey(edKey().Public()), "", true},
		{"a set of keys", sign(es, ecKey()), anyKey(jwt.VerificationKeySet{Keys: []jwt.VerificationKey{&ecOther().PublicKey, &ecKey().PublicKey}}), "", true},
		{"wrong key", sign(es, ecOther()), ecVerify, "", false},
		{"alg none", sign(jwt.SigningMethodNone, jwt.UnsafeAllowNoneSignatureType), anyKey(jwt.UnsafeAllowNoneSignatureType), "", false},
		{"HS256 with the public key for a secret", sign(jwt.SigningMethodHS256, public), anyKey(public), "", false},
		{"HS512", sign(jwt.SigningMethodHS512, []byte("k")), anyKey([]byte("k")), "", false},
		{"the key of another algorithm", sign(es, ecKey()), anyKey(edKey().Public()), "", false},
		{"opaque", func(time.Time) string { return opaque }, ecVerify, "", false},
		{"signature cut off", func(n time.Time) string { s := sign(es, ecKey())(n); return s[:strings.LastIndexByte(s, '.')+1] }, ecVerify, "", false},
		{"payload changed", func(n time.Time) string {
			p := strings.Split(sign(es, ecKey())(n), ".")
			return p[0] + "." + base64.RawURLEncoding.EncodeToString([]byte(fmt.Sprintf(`{"exp":%d}`, n.Add(time.Hour).Unix()))) + "." + p[2]
		}, ecVerify, "", false},
		{"no exp", sign(es, ecKey(), "exp", nil), ecVerify, "", false},
		{"exp past", sign(es, ecKey(), "exp", -time.Minute), ecVerify, "", false},
		{"exp past within the leeway", sign(es, ecKey(), "exp", -2*time.Second), ecVerify, "", false},
		{"nbf 5 s ahead", sign(es, ecKey(), "nbf", 5*time.Second), ecVerify, "", true},
		{"nbf 6 s ahead", sign(es, ecKey(), "nbf", 6*time.Second), ecVerify, "", false},
		{"no nbf", sign(es, ecKey(), "nbf", nil), ecVerify, "", true},
		{"another audience", sign(es, ecKey()), ecVerify, "ledger", false},
		{"no audience", sign(es, ecKey(), "aud", nil), ecVerify, "billing", false},
		{"another agent's", sign(es, ecKey(), "client_id", otherID), ecVerify, "", false},
		{"Keyfunc fails", sign(es, ecKey()), func(*jwt.Token) (any, error) { return nil, errors.New("key set away") }, "", false},
		{"Keyfunc has no key", sign(es, ecKey()), anyKey(nil), "", false},
	} {
		for _, skew := range []time.Duration{0, 5 * time.Hour, -5 * time.Hour} {
			t.Run(fmt.Sprint(tt.claim, ", clock off by ", skew), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					// The server's clock is read to a second: keep away from its edge.
					time.Sleep(time.Hour)
					now := time.Now().Add(skew)
					slack := time.Duration(0)
					if skew != 0 && strings.HasPrefix(tt.claim, "nbf 6 s") {
						slack = time.Second // the correction may run up to a second ahead
					}
					fields := map[string]any{"token": tt.token(now.Add(slack)), "expires_at": now.Add(time.Hour).UTC().Format(time.RFC3339)}
					h := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
						w.Header().Set("Date", now.UTC().Format(http.TimeFormat))
						answerJSON(t, fields).ServeHTTP(w, r)
					})
					src := endpointSource(t, h, func(c *authsec.Config) { c.Keyfunc, c.Audience = tt.keyfunc, tt.audience })
					d, err := src.Delegation(context.Background())
					if ok := err == nil; ok != tt.ok {
						t.Fatalf("accepted: %t (%v), want %t", ok, err, tt.ok)
					}
					if err != nil {
						checkRefusal(t, err, 200, "", []string{"ErrInvalidResponse"})
						return
					}
					if c, err := d.Claims(); err != nil || !c.Verified {
						t.Errorf("Claims: error %v, or not Verified; want verified ones", err)
					}
				})
			})
		}
	}
}

func TestServersRealTokenVerifies(t *testing.T) {
	srv := authsectest.NewServer()
	defer srv.Close()
	srv.Delegate(ourID, authsectest.Delegation{})
	cfg := srv.Config(ourID)
	cfg.Keyfunc, cfg.Audience = srv.Keyfunc, "authsec-api"
	src, err := authsec.NewSource(cfg)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := src.Token(); err != nil {
		t.Errorf("RS256 token without kid: %v, want it accepted", err)
	}
}

func TestForeignCodeThatPanicsIsAnError(t *testing.T) {
	for name, edit := range map[string]func(*authsec.Config){
		"Keyfunc":        func(c *authsec.Config) { c.Keyfunc = func(*jwt.Token) (any, error) { panic("boom") } },
		"HTTPClient":     func(c *authsec.Config) { c.HTTPClient.Transport = rawBody(func() io.Reader { panic("boom") }) },
		"a nil response": func(c *authsec.Config) { c.HTTPClient.Transport = nilResponse{} },
	} {
		inBubble(t, name, func(t *testing.T) {
			src := endpointSource(t, answerJSON(t, with(hourFields(), "token", unverified(t, jwt.MapClaims{}))), edit)
			var e *authsec.Error
			if _, err := src.Token(); !errors.As(err, &e) {
				t.Errorf("%s: Token: %v, want an *Error", name, err)
			}
		})
	}
}

type nilResponse struct{}

func (nilResponse) RoundTrip(*http.Request) (*http.Response, error) { return nil, nil }

func TestDelegationTellsWhatTheAnswerSays(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		now := time.Now().Truncate(time.Second)
		stamp := func(d time.Duration) string { return now.Add(d).UTC().Format(time.RFC3339Nano) }
		exp := now.Add(time.Hour)
		full := map[string]any{
			"token":  unverified(t, jwt.MapClaims{"sub": "spiffe://token/sub", "tenant_id": "token-tenant", "client_id": ourID, "permissions": []string{"token:p"}, "aud": []string{"token-aud"}, "iat": now.Unix(), "exp": exp.Unix()}),
			"status": "active", "spiffe_id": "spiffe://answer", "client_id": ourID, "tenant_id": "answer-tenant", "workspace_id": "answer-workspace", "permissions": []string{"a:r", "b:w"}, "audience": []string{"answer-aud"},
			"issued_at": stamp(-time.Minute), "updated_at": stamp(-time.Second), "expires_at": stamp(2 * time.Hour),
		}
		for _, tt := range []struct {
			claim  string
			fields map[string]any
			want   authsec.Delegation
		}{
			{"all fields", full, authsec.Delegation{SPIFFEID: "spiffe://answer", Permissions: []string{"a:r", "b:w"}, Audience: []string{"answer-aud"}, ClientID: ourID, TenantID: "answer-tenant", Status: "active",
				IssuedAt: now.Add(-time.Minute), UpdatedAt: now.Add(-time.Second), ExpiresAt: exp}},
			{"newer server", without(full, "tenant_id"), authsec.Delegation{SPIFFEID: "spiffe://answer", Permissions: []string{"a:r", "b:w"}, Audience: []string{"answer-aud"}, ClientID: ourID, TenantID: "answer-workspace", Status: "active",
				IssuedAt: now.Add(-time.Minute), UpdatedAt: now.Add(-time.Second), ExpiresAt: exp}},
			{"the documented minimum", map[string]any{"token": full["token"], "expires_at": full["expires_at"]}, authsec.Delegation{SPIFFEID: "spiffe://token/sub", Permissions: []string{"token:p"}, Audience: []string{"token-aud"}, ClientID: ourID, TenantID: "token-tenant",
				IssuedAt: now, ExpiresAt: exp}},
			{"an opaque token", map[string]any{"token": opaque, "ttl_seconds": 60}, authsec.Delegation{ClientID: ourID, Permissions: []string{}, Audience: []string{}}},
		} {
			got, err := endpointSource(t, answerJSON(t, tt.fields)).Delegation(context.Background())
			if err != nil {
				t.Fatalf("%s: %v", tt.claim, err)
			}
			for _, d := range []*authsec.Delegation{got, &tt.want} {
				d.IssuedAt, d.UpdatedAt, d.ExpiresAt = d.IssuedAt.UTC(), d.UpdatedAt.UTC(), d.ExpiresAt.UTC()
			}
			same := authsec.Delegation{SPIFFEID: got.SPIFFEID, Permissions: got.Permissions, Audience: got.Audience, ClientID: got.ClientID, TenantID: got.TenantID, Status: got.Status, IssuedAt: got.IssuedAt, UpdatedAt: got.UpdatedAt, ExpiresAt: got.ExpiresAt}
			if !reflect.DeepEqual(same, tt.want) {
				t.Errorf("%s: Delegation is %v, want %v", tt.claim, got, tt.want)
			}
		}
	})
}

func TestPermissionsAreMatchedExactly(t *testing.T) {
	d := &authsec.Delegation{Permissions: []string{"billing:read", "users:write"}}
	for _, tt := range []struct {
		ask      []string
		any, all bool
	}{
		{nil, false, true},
		{[]string{"billing:read"}, true, true},
		{[]string{"billing:read", "users:write"}, true, true},
		{[]string{"billing:read", "users:read"}, true, false},
		{[]string{"users:read"}, false, false},
		{[]string{"Billing:Read"}, false, false},
		{[]string{"billing"}, false, false},
		{[]string{"billing:*"}, false, false},
		{[]string{""}, false, false},
	} {
		if got := d.HasAnyPermission(tt.ask...); got != tt.any {
			t.Errorf("HasAnyPermission(%q) = %t, want %t", tt.ask, got, tt.any)
		}
		if got := d.HasAllPermissions(tt.ask...); got != tt.all {
			t.Errorf("HasAllPermissions(%q) = %t, want %t", tt.ask, got, tt.all)
		}
		if len(tt.ask) == 1 {
			if got := d.HasPermission(tt.ask[0]); got != tt.any {
				t.Errorf("HasPermission(%q) = %t, want %t", tt.ask[0], got, tt.any)
			}
		}
	}
	var none *authsec.Delegation
	if none.HasPermission("billing:read") || none.HasAnyPermission("billing:read") || none.HasAllPermissions("billing:read") {
		t.Error("a nil Delegation has permissions, want none")
	}
}

func TestClaimsAreTheTokensAndSayWhetherTheyWereVerified(t *testing.T) {
	for _, verify := range []bool{false, true} {
		inBubble(t, fmt.Sprint("Keyfunc ", verify), func(t *testing.T) {
			srv := authsectest.NewInMemoryServer()
			srv.Delegate(ourID, authsectest.Delegation{Permissions: []string{"a:r"}})
			cfg := srv.Config(ourID)
			if verify {
				cfg.Keyfunc = srv.Keyfunc
			}
			src, err := authsec.NewSource(cfg)
			if err != nil {
				t.Fatal(err)
			}
			d, err := src.Delegation(context.Background())
			if err != nil {
				t.Fatal(err)
			}
			c, err := d.Claims()
			if err != nil {
				t.Fatal(err)
			}
			if c.Verified != verify {
				t.Errorf("Verified is %t, want %t", c.Verified, verify)
			}
			if c.UserID != "user-1" || c.TenantID != authsectest.TenantID || c.Email != "admin@example.org" || c.AgentType != "test" || c.ClientID != ourID ||
				!slices.Equal(c.Permissions, []string{"a:r"}) || !slices.Equal(c.Audience, []string{"authsec-api"}) || c.Subject != d.SPIFFEID || c.Issuer != "spiffe://"+authsectest.TenantID || c.ExpiresAt == nil || c.ID == "" {
				t.Error("Claims lack a claim of the token")
			}
		})
	}
}

func TestClaimsOfWhatIsNoJWTAreAnError(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d, err := endpointSource(t, answerJSON(t, hourFields())).Delegation(context.Background())
		if err != nil {
			t.Fatal(err)
		}
		var none *authsec.Delegation
		for name, d := range map[string]*authsec.Delegation{"opaque": d, "nil": none, "made by hand": {}} {
			if c, err := d.Claims(); err == nil || c != nil {
				t.Errorf("%s: Claims: claims: %t, error %v, want none and an error", name, c != nil, err)
			}
		}
	})
}

func TestUnsignedTokenCanBeUsedWithoutAKeyfunc(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		exp := time.Now().Add(time.Minute)
		token, err := jwt.NewWithClaims(jwt.SigningMethodNone, jwt.MapClaims{"exp": exp.Unix(), "client_id": ourID}).SignedString(jwt.UnsafeAllowNoneSignatureType)
		if err != nil {
			t.Fatal(err)
		}
		src := endpointSource(t, answerJSON(t, with(hourFields(), "token", token)))
		got, err := src.Token()
		if err != nil || !got.Expiry.Equal(exp) {
			t.Errorf("Token: error %v, or another expiry than its exp", err)
		}
		d, err := src.Delegation(context.Background())
		if err != nil {
			t.Fatal(err)
		}
		if c, err := d.Claims(); err != nil || c.Verified {
			t.Errorf("Claims: error %v, or Verified; want unverified ones", err)
		}
	})
}

func TestWhatOneCallerChangesNoOtherSees(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		srv := authsectest.NewInMemoryServer()
		want := srv.Delegate(ourID, authsectest.Delegation{Permissions: []string{"a:r", "b:r"}})
		src, err := authsec.NewSource(srv.Config(ourID))
		if err != nil {
			t.Fatal(err)
		}
		spoil := func() {
			token, _ := src.Token()
			expiry := token.Expiry
			token.AccessToken, token.TokenType, token.Expiry, token.RefreshToken = "x", "x", expiry.Add(-time.Hour), "x"
			d, _ := src.Delegation(context.Background())
			c, _ := d.Claims()
			c.Permissions[0], c.Audience[0], c.ClientID, c.Verified = "*:*", "x", "x", true
			d.Permissions[0], d.Audience[0] = "*:*", "x"
			d.Permissions = append(d.Permissions[:1], "*:*")
			d.ClientID, d.SPIFFEID = "x", "x"
		}
		for range 2 {
			spoil()
		}
		token, err := src.Token()
		if err != nil || token.AccessToken != want || token.Type() != "Bearer" || !token.Valid() || token.RefreshToken != "" {
			t.Errorf("the token is not what the server gave (error %v)", err)
		}
		d, _ := src.Delegation(context.Background())
		if !slices.Equal(d.Permissions, []string{"a:r", "b:r"}) || !slices.Equal(d.Audience, []string{"authsec-api"}) || d.ClientID != ourID {
			t.Errorf("Delegation is %v, want what the server said", d)
		}
		if c, err := d.Claims(); err != nil || c.Verified || !slices.Equal(c.Permissions, []string{"a:r", "b:r"}) {
			t.Errorf("Claims are another's (error %v)", err)
		}
	})
}
