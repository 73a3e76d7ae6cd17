// Copyright 2026 The authsec Authors
// SPDX-License-Identifier: Apache-2.0

package authsec_test

import (
	"errors"
	"fmt"
	"net/http"
	"net/http/httptrace"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/authsec-go/authsec"
	"github.com/authsec-go/authsec/authsectest"
	"github.com/golang-jwt/jwt/v5"
	"golang.org/x/oauth2"
)

// The claims name the agent only within its SPIFFE ID.
func TestClaimsWithoutAClientIDShowNone(t *testing.T) {
	bubble(t, func(t *testing.T) {
		token := unverified(t, jwt.MapClaims{"sub": "spiffe://example.org/" + ourID, "exp": time.Now().Add(time.Hour).Unix()})
		d, err := endpointSource(t, answerJSON(t, map[string]any{"token": token})).Delegation(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		claims, err := d.Claims()
		if err != nil {
			t.Fatal(err)
		}
		checkFormats(t, "Claims", claims, map[string]string{"client ID": ourID})
		if claims.ClientID != "" {
			t.Errorf("ClientID: got %q, want none", claims.ClientID)
		}
	})
}

// A caller traces its own request. It does not see what a fetch sends for it.
func TestHTTPTraceDoesNotSeeAFetch(t *testing.T) {
	srv := authsectest.NewServer()
	defer srv.Close()
	srv.RequireCredential(secretCredential)
	srv.Delegate(authsectest.ClientID, authsectest.Delegation{})
	src, err := authsec.NewSource(authsec.Config{
		BaseURL: srv.URL, ClientID: authsectest.ClientID,
		Credential: sourceFunc(func() (*oauth2.Token, error) { return &oauth2.Token{AccessToken: secretCredential}, nil }),
	})
	if err != nil {
		t.Fatal(err)
	}
	var mu sync.Mutex
	var seen []string
	ctx := httptrace.WithClientTrace(t.Context(), &httptrace.ClientTrace{WroteHeaderField: func(key string, values []string) {
		mu.Lock()
		defer mu.Unlock()
		seen = append(seen, fmt.Sprint(key, values))
	}})
	if _, err := src.TokenContext(ctx); err != nil {
		t.Fatal(err)
	}
	mu.Lock()
	defer mu.Unlock()
	if len(seen) > 0 {
		t.Errorf("the caller's trace has %d headers of the fetch, want none", len(seen))
	}
}

// A Credential that is a Source of another agent fails. That says nothing of this
// agent's delegation.
func TestFailureOfACredentialIsNotThisAgents(t *testing.T) {
	bubble(t, func(t *testing.T) {
		inner := endpointSource(t, authsectest.Answer(404, `{"error":"No active delegation token found"}`))
		outer := endpointSource(t, authsectest.Answer(200, `{}`), func(c *authsec.Config) { c.Credential = inner })
		_, err := outer.Token()
		var n nonRetriable
		if err == nil || errors.Is(err, authsec.ErrNotDelegated) || errors.As(err, &n) || !strings.Contains(err.Error(), "Config.Credential failed") {
			t.Errorf("got %v, want the Credential's failure, and no ErrNotDelegated", err)
		}
	})
}

// A token is put where its file's name belongs.
func TestTokenInPlaceOfAFilesNameIsNotShown(t *testing.T) {
	setEnv(t, map[string]string{"AUTHSEC_BASE_URL": "https://authsec.example.com", "AUTHSEC_AGENT_CLIENT_ID": ourID, "AUTHSEC_API_TOKEN_FILE": secretCredential})
	_, err := authsec.ConfigFromEnv()
	if err == nil || strings.Contains(err.Error(), secretCredential) || !strings.Contains(err.Error(), "AUTHSEC_API_TOKEN_FILE") {
		t.Errorf("got %v, want an error without the value", err)
	}
}

// The answer of the Credential's own server is in no error of the tree.
func TestAnswerOfACredentialsServerIsInNoErrorBelow(t *testing.T) {
	bubble(t, func(t *testing.T) {
		src := endpointSource(t, authsectest.Answer(200, `{}`), func(c *authsec.Config) {
			c.Credential = sourceFunc(func() (*oauth2.Token, error) {
				return nil, &oauth2.RetrieveError{Response: &http.Response{StatusCode: 400, Status: "400 Bad Request"}, Body: []byte("client_secret=hunter2")}
			})
		})
		_, err := src.Token()
		for kind, e := range errorsIn(err) {
			checkFormats(t, kind, e, map[string]string{"secret": "hunter2"})
		}
	})
}
