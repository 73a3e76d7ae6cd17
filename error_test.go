// Copyright 2026 The authsec Authors
// SPDX-License-Identifier: Apache-2.0

package authsec_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/authsec-go/authsec"
	"github.com/authsec-go/authsec/authsectest"
	"golang.org/x/oauth2"
)

// The error of a fetch that takes too long is a time-out, but not the end of the
// caller's own context.
func TestErrorOfASlowFetchIsATimeout(t *testing.T) {
	silent := http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() })
	for name, edit := range map[string]func(*authsec.Config){
		"an attempt": func(c *authsec.Config) { c.Retry.MaxAttempts, c.HTTPClient.Timeout = 1, time.Second },
		"a fetch":    func(c *authsec.Config) { c.FetchTimeout = time.Second },
		"a credential": func(c *authsec.Config) {
			c.FetchTimeout = time.Second
			c.Credential = contextSource(func(ctx context.Context) (*oauth2.Token, error) { <-ctx.Done(); return nil, ctx.Err() })
		},
		"a transport that ignores its context": func(c *authsec.Config) {
			c.FetchTimeout = time.Second
			c.HTTPClient = &http.Client{Transport: baseFunc(func(*http.Request) (*http.Response, error) { time.Sleep(time.Minute); return nil, errors.New("late") })}
		},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				src := endpointSource(t, silent, edit)
				_, err := (&http.Client{Transport: to(src, statuses(200))}).Get(api)
				var u *url.Error
				var e *authsec.Error
				if !errors.As(err, &u) || !u.Timeout() || !errors.As(err, &e) || !e.Timeout() {
					t.Errorf("got %v, want a time-out", err)
				}
				if errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled) {
					t.Errorf("%v is the end of a context, though the caller's has not ended", err)
				}
				ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
				defer cancel()
				time.Sleep(10 * time.Second)
				if _, err := src.TokenContext(ctx); !errors.Is(err, context.DeadlineExceeded) {
					t.Errorf("got %v, want the end of the caller's context", err)
				}
				time.Sleep(2 * time.Minute)
			})
		})
	}
}

// The error has what the server's operator needs, and what the server said.
func TestErrorHasRequestIDAndDetails(t *testing.T) {
	bubble(t, func(t *testing.T) {
		src := endpointSource(t, authsectest.Answer(404, `{"error":"No active delegation token found","details":"An admin must delegate a token first"}`, "X-Request-Id", "req-7\x1b[31m"))
		_, err := src.Token()
		var e *authsec.Error
		if !errors.As(err, &e) || e.RequestID != "req-7 [31m" || e.Details != "An admin must delegate a token first" {
			t.Fatalf("got %+v, want request ID and details", e)
		}
		if !strings.HasSuffix(err.Error(), "(404 Not Found: No active delegation token found: An admin must delegate a token first)") {
			t.Errorf("got %q, want the details at its end", err)
		}
		if e.Timeout() {
			t.Error("a 404 is a time-out, want none")
		}
	})
}

// azcore stops retrying at an error with this method.
type nonRetriable interface {
	error
	NonRetriable()
}

func TestErrorIsNonRetriableIfOnlyAnAdminCanHelp(t *testing.T) {
	for answer, want := range map[*http.Handler]bool{
		handler(404, `{"error":"No active delegation token found"}`):              true,
		handler(404, `{"error":"Client not found"}`):                              true,
		handler(410, `{"error":"Delegation token has expired"}`):                  true,
		handler(400, `{"error":"Invalid client_id format"}`):                      true,
		handler(401, `{"error":"authorization header required"}`):                 true,
		handler(401, `{"error":"session is no longer valid for this workspace"}`): false,
		handler(429, `{"error":"Rate limit exceeded"}`):                           false,
		handler(500, `{"error":"Internal server error"}`):                         false,
		handler(200, `{"token":"opaque","expires_at":"2026-11-23T08:31:32.5Z"}`):  true,
		handler(200, `{}`):                    false,
		handler(404, `<html>not here</html>`): false,
		handler(401, `<html>log in</html>`):   false,
	} {
		bubble(t, func(t *testing.T) {
			_, err := endpointSource(t, *answer, func(c *authsec.Config) { c.Retry.MaxAttempts = 1 }).Token()
			var n nonRetriable
			if got := errors.As(fmt.Errorf("wrapped: %w", err), &n); got != want {
				t.Errorf("%v: non-retriable is %t, want %t", err, got, want)
			}
		})
	}
}

func handler(status int, body string) *http.Handler {
	h := authsectest.Answer(status, body)
	return &h
}

// A 401 or 403 with a page of another service says nothing about the credential.
func TestHTMLPagesAreNoAuthSecAnswer(t *testing.T) {
	for _, status := range []int{401, 403} {
		for body, want := range map[string]error{
			"<html>log in</html>":      authsec.ErrInvalidResponse,
			"Forbidden":                authsec.ErrInvalidResponse,
			"":                         authsec.ErrUnauthorized,
			"\n":                       authsec.ErrUnauthorized,
			`{"error":"no"}`:           authsec.ErrUnauthorized,
			"\ufeff{\"error\":\"no\"}": authsec.ErrUnauthorized,
		} {
			bubble(t, func(t *testing.T) {
				_, err := endpointSource(t, authsectest.Answer(status, body)).Token()
				if !errors.Is(err, want) || want == authsec.ErrInvalidResponse && (errors.Is(err, authsec.ErrUnauthorized) || !strings.Contains(err.Error(), "check the base URL")) {
					t.Errorf("%d %q: got %v, want %v", status, body, err, want)
				}
			})
		}
	}
}

// Errors that an *Error wraps show neither client ID nor credential. errors.As finds
// the transport's own error, also in a *url.Error.
func TestErrorsBelowAnErrorShowNoSecret(t *testing.T) {
	sentinel, op := errors.New("the transport's own"), &net.OpError{Op: "dial", Err: errors.New("no route")}
	bubble(t, func(t *testing.T) {
		cfg := goodConfig()
		cfg.Credential = sourceFunc(func() (*oauth2.Token, error) { return &oauth2.Token{AccessToken: secretCredential}, nil })
		cfg.Retry.MaxAttempts = 1
		cfg.HTTPClient = &http.Client{Transport: baseFunc(func(req *http.Request) (*http.Response, error) {
			return nil, errors.Join(&url.Error{Op: "Get", URL: req.URL.String(), Err: fmt.Errorf("with %s: %w", req.Header.Get("Authorization"), op)}, sentinel, &oauth2.RetrieveError{ErrorCode: "invalid_client"})
		})}
		src, err := authsec.NewSource(cfg)
		if err != nil {
			t.Fatal(err)
		}
		_, err = src.Token()
		if !errors.Is(err, sentinel) || !errors.Is(err, op) {
			t.Errorf("got %v, want the transport's own errors below it", err)
		}
		var u *url.Error
		if errors.As(err, &u) {
			t.Errorf("the *url.Error is found: its URL has the client ID")
		}
		if re := (*oauth2.RetrieveError)(nil); errors.As(err, &re) {
			t.Errorf("another server's answer is found, as if it were AuthSec's")
		}
		secrets := map[string]string{"client ID": ourID, "credential": secretCredential}
		for kind, e := range errorsIn(err) {
			checkSecrets(t, kind, e.Error(), secrets)
			checkFormats(t, kind, e, secrets)
		}
	})
}

// A text that contains a short credential is left out completely.
func TestShortCredentialDoesNotMangleMessages(t *testing.T) {
	bubble(t, func(t *testing.T) {
		for credential, want := range map[string]string{"e": "[redacted]", "~": "No active delegation token found"} {
			src := endpointSource(t, authsectest.Answer(404, `{"error":"No active delegation token found"}`), func(c *authsec.Config) {
				c.Credential = sourceFunc(func() (*oauth2.Token, error) { return &oauth2.Token{AccessToken: credential}, nil })
			})
			_, err := src.Token()
			var e *authsec.Error
			if !errors.As(err, &e) || e.Message != want || !errors.Is(err, authsec.ErrNotDelegated) || !strings.Contains(err.Error(), "the agent has no delegation") {
				t.Errorf("credential %q: got %v with message %q, want %q", credential, err, e.Message, want)
			}
		}
	})
}
