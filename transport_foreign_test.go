// Copyright 2026 The authsec Authors
// SPDX-License-Identifier: Apache-2.0

package authsec_test

import (
	"context"
	"errors"
	"net/http"
	"runtime"
	"strings"
	"testing"

	"github.com/authsec-go/authsec"
	"golang.org/x/oauth2"
)

func TestTransportSurvivesForeignSources(t *testing.T) {
	broken := errors.New("broken")
	token := func(token *oauth2.Token) oauth2.TokenSource {
		return sourceFunc(func() (*oauth2.Token, error) { return token, nil })
	}
	for _, c := range []struct {
		name   string
		source oauth2.TokenSource
		want   error
	}{
		{"error", sourceFunc(func() (*oauth2.Token, error) { return nil, broken }), broken},
		{"error and token", sourceFunc(func() (*oauth2.Token, error) { return &oauth2.Token{AccessToken: firstToken}, broken }), broken},
		{"nil token", token(nil), nil},
		{"empty token", token(&oauth2.Token{}), nil},
		{"token with a newline", token(&oauth2.Token{AccessToken: firstToken + "\nX-Evil: 1"}), nil},
		{"token with a space", token(&oauth2.Token{AccessToken: "a " + firstToken}), nil},
		{"token type with a newline", token(&oauth2.Token{AccessToken: firstToken, TokenType: "MAC\r\nX-Evil: 1"}), nil},
		{"panic", sourceFunc(func() (*oauth2.Token, error) { panic("boom") }), nil},
		{"nil dereference", sourceFunc(func() (*oauth2.Token, error) {
			var token *oauth2.Token
			return &oauth2.Token{AccessToken: token.AccessToken}, nil
		}), nil},
		{"Goexit", sourceFunc(func() (*oauth2.Token, error) { runtime.Goexit(); return nil, nil }), nil},
		{"context-aware, nil token", &renewable{token: func(context.Context) (*oauth2.Token, error) { return nil, nil }}, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			for _, ctx := range []context.Context{t.Context(), context.Background()} { // one ends, one never
				base := statuses(200)
				var b bodies
				resp, err := (&http.Client{Transport: to(c.source, base, retrying(authsec.RetryPolicy{}))}).Do(b.request(ctx, http.MethodPut, api, "the body"))
				if err == nil || resp != nil {
					t.Fatalf("got no error, want one")
				}
				if c.want != nil && !errors.Is(err, c.want) {
					t.Errorf("error: got %v, want %v", err, c.want)
				}
				if strings.Contains(err.Error(), firstToken) {
					t.Error("the error's text holds the token, want it left out")
				}
				if len(base.calls) != 0 {
					t.Errorf("requests sent: got %d, want 0", len(base.calls))
				}
				checkClosed(t, &b)
			}
		})
	}
}

func TestTransportReportsABaseThatReturnsNothing(t *testing.T) {
	tr := to(staticSource(), baseFunc(func(*http.Request) (*http.Response, error) { return nil, nil }), retrying(authsec.RetryPolicy{MinBackoff: 1, MaxBackoff: 1}))
	for range 2 {
		if resp, err := tr.RoundTrip(get(t, api)); resp != nil || err == nil {
			t.Errorf("got %v, %v, want an error", resp, err)
		}
	}
}
