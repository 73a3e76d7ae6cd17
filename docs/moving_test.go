// Copyright 2026 The authsec Authors
// SPDX-License-Identifier: Apache-2.0

package docs_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/authsec-go/authsec"
	"github.com/authsec-go/authsec/authsectest"
	"github.com/authsec-go/authsec/fetchtool"
	"golang.org/x/oauth2"
	"golang.org/x/oauth2/clientcredentials"
)

// movedTool is what AuthSecSecureFetchTool is to CrewAI.
func movedTool() (*fetchtool.Tool, error) {
	cfg, err := authsec.ConfigFromEnv() // AUTHSEC_BASE_URL, AUTHSEC_AGENT_CLIENT_ID
	if err != nil {
		return nil, err
	}
	return fetchtool.New(fetchtool.Config{
		AuthSec:        cfg,
		DownstreamURLs: []string{os.Getenv("DOWNSTREAM_URL")},
	})
}

func TestMovedTool(t *testing.T) {
	srv := authsectest.NewServer()
	defer srv.Close()
	srv.Delegate(authsectest.ClientID, authsectest.Delegation{})
	api := httptest.NewServer(srv.API(authsectest.Answer(200, `{"customer":42}`)))
	defer api.Close()
	t.Setenv("AUTHSEC_BASE_URL", srv.URL)
	t.Setenv("AUTHSEC_AGENT_CLIENT_ID", authsectest.ClientID)
	t.Setenv("DOWNSTREAM_URL", api.URL)
	t.Setenv("AUTHSEC_HOSTS", "")
	t.Setenv("AUTHSEC_API_TOKEN", "")
	t.Setenv("AUTHSEC_API_TOKEN_FILE", "")
	tool, err := movedTool()
	if err != nil {
		t.Fatal(err)
	}
	if got, err := tool.Call(t.Context(), "/customers/42"); err != nil || got != `{"customer":42}` {
		t.Errorf("got %q, %v", got, err)
	}
}

func beforeClientCredentials(ctx context.Context, id, secret, tokenURL string) *http.Client {
	cfg := clientcredentials.Config{
		ClientID:     id,
		ClientSecret: secret,
		TokenURL:     tokenURL,
		Scopes:       []string{"billing:read"},
	}
	client := cfg.Client(ctx)
	return client
}

func afterClientCredentials(id, baseURL, apiHost string) (*http.Client, error) {
	client, err := authsec.NewClient(authsec.Config{
		BaseURL:  baseURL,
		ClientID: id,
		Hosts:    []string{apiHost}, // such as "billing.example.com"
	})
	return client, err
}

// handMade gets the token as one would without this package.
type handMade struct{ endpoint string }

func (h handMade) Token() (*oauth2.Token, error) {
	resp, err := http.Get(h.endpoint)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return nil, errors.New(resp.Status)
	}
	var answer struct {
		Token     string    `json:"token"`
		ExpiresAt time.Time `json:"expires_at"`
	}
	if err := json.NewDecoder(resp.Body).Decode(&answer); err != nil {
		return nil, err
	}
	return &oauth2.Token{AccessToken: answer.Token, Expiry: answer.ExpiresAt}, nil
}

func beforeReuse(ctx context.Context, endpoint string) *http.Client {
	src := oauth2.ReuseTokenSource(nil, handMade{endpoint})
	client := oauth2.NewClient(ctx, src)
	return client
}

func afterReuse(cfg authsec.Config, base http.RoundTripper) (*http.Client, error) {
	src, err := authsec.NewSource(cfg) // one a process, for all its clients
	if err != nil {
		return nil, err
	}
	client := &http.Client{Transport: &authsec.Transport{
		Source: src,
		Base:   base, // what oauth2.NewClient took from its context; nil: http.DefaultTransport
		Hosts:  cfg.Hosts,
	}}
	return client, nil
}

// movedAPI answers 401 to the tokens in reject, and notes whether each request has one.
type movedAPI struct {
	mu     sync.Mutex
	reject map[string]bool
	seen   []bool // whether the request had a token
}

func (a *movedAPI) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	a.mu.Lock()
	defer a.mu.Unlock()
	authorization := r.Header.Get("Authorization")
	a.seen = append(a.seen, authorization != "")
	if a.reject[authorization] {
		w.WriteHeader(http.StatusUnauthorized)
	}
}

// What the table says about x/oauth2 and about this package.
func TestMovedBehaviour(t *testing.T) {
	srv := authsectest.NewServer()
	defer srv.Close()
	tokenServer := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		fmt.Fprint(w, `{"access_token":"made-up","token_type":"Bearer","expires_in":3600}`)
	}))
	defer tokenServer.Close()

	for name, test := range map[string]struct {
		client    func(apiURL string) (*http.Client, error)
		elsewhere bool // the token goes to other hosts, too
		rejected  int  // the status after the API rejected a token for which there is another
	}{
		"before: clientcredentials": {func(string) (*http.Client, error) {
			return beforeClientCredentials(t.Context(), "id", "secret", tokenServer.URL), nil
		}, true, 401},
		"before: ReuseTokenSource": {func(string) (*http.Client, error) {
			return beforeReuse(t.Context(), srv.URL+authsectest.EndpointPath+"?client_id="+authsectest.ClientID), nil
		}, true, 401},
		"after: NewClient": {func(apiURL string) (*http.Client, error) {
			return afterClientCredentials(authsectest.ClientID, srv.URL, apiURL[len("http://"):])
		}, false, 200},
		"after: Transport": {func(apiURL string) (*http.Client, error) {
			return afterReuse(srv.Config(authsectest.ClientID, apiURL), nil)
		}, false, 200},
	} {
		t.Run(name, func(t *testing.T) {
			first := srv.Delegate(authsectest.ClientID, authsectest.Delegation{})
			api, stranger := &movedAPI{reject: map[string]bool{}}, new(movedAPI)
			apiServer, strangers := httptest.NewServer(api), httptest.NewServer(stranger)
			defer apiServer.Close()
			defer strangers.Close()
			client, err := test.client(apiServer.URL)
			if err != nil {
				t.Fatal(err)
			}
			get := func(url string) int {
				t.Helper()
				resp, err := client.Get(url)
				if err != nil {
					t.Fatal(err)
				}
				resp.Body.Close()
				return resp.StatusCode
			}
			if got := get(apiServer.URL); got != 200 || !api.seen[0] {
				t.Errorf("the API: got %d, with a token: %t, want 200 and one", got, api.seen[0])
			}
			if get(strangers.URL); stranger.seen[0] != test.elsewhere {
				t.Errorf("another host: with a token: %t, want %t", stranger.seen[0], test.elsewhere)
			}
			srv.Delegate(authsectest.ClientID, authsectest.Delegation{})
			api.mu.Lock()
			api.reject["Bearer "+first], api.reject["Bearer made-up"] = true, true
			api.mu.Unlock()
			if got := get(apiServer.URL); got != test.rejected {
				t.Errorf("after a rejection: got %d, want %d", got, test.rejected)
			}
		})
	}
}

// Without a token, x/oauth2 asks for one with each request. This package caches a
// failure for a random time, so its count is a bound.
func TestMovedFailures(t *testing.T) {
	srv := authsectest.NewServer()
	defer srv.Close()
	srv.Register(authsectest.ClientID) // and no delegation
	const requests = 20
	for name, test := range map[string]struct {
		client      func() (*http.Client, error)
		least, most int // fetches
	}{
		"before": {func() (*http.Client, error) {
			return beforeReuse(t.Context(), srv.URL+authsectest.EndpointPath+"?client_id="+authsectest.ClientID), nil
		}, requests, requests},
		"after": {func() (*http.Client, error) {
			return afterReuse(srv.Config(authsectest.ClientID, "https://billing.example.com"), nil)
		}, 1, requests / 2},
	} {
		client, err := test.client()
		if err != nil {
			t.Fatal(err)
		}
		before := srv.Fetches()
		for range requests {
			_, err = client.Get("https://billing.example.com")
			if err == nil {
				t.Fatalf("%s: no error", name)
			}
		}
		if got := srv.Fetches() - before; got < test.least || got > test.most {
			t.Errorf("%s: got %d fetches for %d requests, want %d to %d", name, got, requests, test.least, test.most)
		}
		if name == "after" && !errors.Is(err, authsec.ErrNotDelegated) {
			t.Errorf("got %v, want ErrNotDelegated", err)
		}
	}
}

// over is a context in which x/oauth2 finds a base transport.
func over(ctx context.Context, base http.RoundTripper) context.Context {
	return context.WithValue(ctx, oauth2.HTTPClient, &http.Client{Transport: base})
}

func TestMovedPlainHTTP(t *testing.T) {
	srv := authsectest.NewServer()
	defer srv.Close()
	srv.Delegate(authsectest.ClientID, authsectest.Delegation{})
	sent := 0
	base := answer(func(req *http.Request) int {
		if req.Header.Get("Authorization") != "" {
			sent++
		}
		return http.StatusOK
	})
	const url = "http://billing.example.com"
	before := beforeReuse(over(t.Context(), base), srv.URL+authsectest.EndpointPath+"?client_id="+authsectest.ClientID)
	if _, err := before.Get(url); err != nil || sent != 1 {
		t.Errorf("before: got %v, sent %d times, want nil and 1", err, sent)
	}
	after, err := afterReuse(srv.Config(authsectest.ClientID, "https://billing.example.com"), base)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := after.Get("https://billing.example.com"); err != nil || sent != 2 {
		t.Errorf("after, over TLS: got %v, sent %d times, want nil and 2", err, sent)
	}
	if _, err := after.Get(url); !errors.Is(err, authsec.ErrInsecureURL) || sent != 2 {
		t.Errorf("after: got %v, sent %d times, want ErrInsecureURL and 2", err, sent)
	}
}

func TestMovedRetries(t *testing.T) {
	srv := authsectest.NewServer()
	defer srv.Close()
	srv.Delegate(authsectest.ClientID, authsectest.Delegation{})
	sent := 0
	base := answer(func(*http.Request) int {
		sent++
		return http.StatusServiceUnavailable
	})
	cfg := srv.Config(authsectest.ClientID, "https://billing.example.com")
	before := beforeReuse(over(t.Context(), base), srv.URL+authsectest.EndpointPath+"?client_id="+authsectest.ClientID)
	after, err := afterReuse(cfg, base)
	if err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		name   string
		client *http.Client
		method string
		want   int
	}{{"before", before, "GET", 1}, {"after", after, "GET", 4}, {"after", after, "POST", 1}} {
		sent = 0
		req, err := http.NewRequest(test.method, "https://billing.example.com", nil)
		if err != nil {
			t.Fatal(err)
		}
		resp, err := test.client.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if resp.StatusCode != http.StatusServiceUnavailable || sent != test.want {
			t.Errorf("%s, %s: got %d after %d attempts, want 503 after %d", test.name, test.method, resp.StatusCode, sent, test.want)
		}
	}
}

// An error of the server.
func movedError(err error) string {
	var e *authsec.Error // in place of *oauth2.RetrieveError
	switch {
	case errors.Is(err, authsec.ErrNotDelegated):
		return "an admin must delegate"
	case errors.As(err, &e):
		return fmt.Sprintf("%d: %s", e.StatusCode, e.Message)
	}
	return ""
}

func TestMovedError(t *testing.T) {
	srv := authsectest.NewServer()
	defer srv.Close()
	srv.RequireCredential("another")
	src, err := authsec.NewSource(srv.Config(authsectest.ClientID))
	if err != nil {
		t.Fatal(err)
	}
	_, err = src.Token()
	if got, want := movedError(err), "401: authorization header required"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

// answer is a transport that answers with a status.
type answer func(*http.Request) int

func (a answer) RoundTrip(req *http.Request) (*http.Response, error) {
	return &http.Response{StatusCode: a(req), Header: http.Header{}, Body: http.NoBody, Request: req}, nil
}
