// Copyright 2026 The authsec Authors
// SPDX-License-Identifier: Apache-2.0

package authsec_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"reflect"
	"regexp"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/authsec-go/authsec"
	"golang.org/x/oauth2"
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
		{"", "agent/1&x=%2F+#", path, "client_id=agent%2F1%26x%3D%252F%2B%23", "agent/1&x=%2F+#"},
		{"/authsec", ourID, path, "client_id=" + ourID, ourID},
		{"/authsec/uflow/", ourID, path, "client_id=" + ourID, ourID},
		{"/uflow", ourID, "/uflow/sdk/delegation-token", "client_id=" + ourID, ourID},
		{"/a%2Fb/uflow", ourID, "/a%2Fb/uflow/sdk/delegation-token", "client_id=" + ourID, ourID},
		{"/a/authsec", ourID, "/a" + path, "client_id=" + ourID, ourID},
		{"/xauthsec", ourID, "/xauthsec" + path, "client_id=" + ourID, ourID},
		{"/xuflow", ourID, "/xuflow" + path, "client_id=" + ourID, ourID},
		{"", strings.ToUpper(ourID), path, "client_id=" + ourID, ourID},
		{"", "{" + strings.ToUpper(ourID) + "}", path, "client_id=" + ourID, ourID},
		{"", "urn:uuid:" + ourID, path, "client_id=" + ourID, ourID},
		{"", strings.ReplaceAll(ourID, "-", ""), path, "client_id=" + ourID, ourID},
	} {
		var got *http.Request
		srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			got = r.Clone(context.Background())
			fmt.Fprintf(w, `{"token":%q,"ttl_seconds":3600}`, opaque)
		}))
		src := newSource(t, authsec.Config{BaseURL: srv.URL + tt.suffix, ClientID: tt.id})
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

func TestRequestFollowsNoRedirect(t *testing.T) {
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

func TestCredentialAuthorizesTheRequest(t *testing.T) {
	for _, tt := range []struct {
		credential oauth2.TokenSource
		want       string
	}{
		{nil, ""},
		{oauth2.StaticTokenSource(&oauth2.Token{AccessToken: "caller"}), "Bearer caller"},
		{oauth2.StaticTokenSource(&oauth2.Token{AccessToken: "caller", TokenType: "bearer"}), "Bearer caller"},
		{oauth2.StaticTokenSource(&oauth2.Token{AccessToken: "caller", TokenType: "MAC"}), "MAC caller"},
		{&renewable{}, "Bearer " + firstToken},
	} {
		inBubble(t, fmt.Sprintf("%T", tt.credential), func(t *testing.T) {
			var got string
			src := endpointSource(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				got = r.Header.Get("Authorization")
				answerJSON(t, hourFields()).ServeHTTP(w, r)
			}), func(c *authsec.Config) { c.Credential = tt.credential })
			if _, err := src.Token(); err != nil || got != tt.want {
				t.Errorf("Credential %T: Authorization is %q (error %v), want %q", tt.credential, got, err, tt.want)
			}
		})
	}
}

func TestUnusableCredentialIsNamed(t *testing.T) {
	cause := errors.New("vault sealed")
	for _, tt := range []struct {
		claim      string
		credential sourceFunc
		want       string
	}{
		{"error", func() (*oauth2.Token, error) { return nil, cause }, "Config.Credential failed: vault sealed"},
		{"nil", func() (*oauth2.Token, error) { return nil, nil }, "Config.Credential returned no token"},
		{"empty", func() (*oauth2.Token, error) { return &oauth2.Token{}, nil }, "Config.Credential returned no token"},
		{"white space", func() (*oauth2.Token, error) { return &oauth2.Token{AccessToken: "two words"}, nil }, "no header can hold"},
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

func TestCredentialGetsTheFetchsContext(t *testing.T) {
	sourceBubble(t, func(t *testing.T, x *sourceFixture) {
		var ended error
		x.start(func(c *authsec.Config) {
			c.FetchTimeout = 5 * time.Second
			c.Credential = &renewable{token: func(ctx context.Context) (*oauth2.Token, error) {
				<-ctx.Done()
				ended = ctx.Err()
				return nil, ended
			}}
		})
		x.delegate("A", time.Hour)
		began := time.Now()
		x.wantError(nil)
		x.wantWithin("time until the error", time.Since(began), 5*time.Second, 5*time.Second)
		if !errors.Is(ended, context.DeadlineExceeded) {
			t.Errorf("the credential's context: got %v, want %v", ended, context.DeadlineExceeded)
		}
	})
}
