// Copyright 2026 The authsec Authors
// SPDX-License-Identifier: Apache-2.0

// Package peers sets up authsec and the packages that it is compared with, each as its
// documentation says, for the same job: get the token from the same delegation endpoint
// and send it as a bearer token.
package peers

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/authsec-go/authsec"
	"github.com/authsec-go/authsec/authsectest"
	"github.com/hashicorp/go-retryablehttp"
	"golang.org/x/oauth2"
)

// Names of the peers, as tables show them.
const (
	AuthSec     = "authsec"
	OAuth2      = "x/oauth2"
	Retryable   = "x/oauth2 in go-retryablehttp"
	GoogleAuth  = "cloud.google.com/go/auth"
	AzCore      = "azcore BearerTokenPolicy"
	AWS         = "aws CredentialsCache"
	ReadyHeader = "floor"
	Bare        = "no authentication"
)

// Job is a peer's job.
type Job struct {
	AuthSecURL string       // the AuthSec server's root
	ClientID   string       // of the agent
	Client     *http.Client // reaches the AuthSec server
	Host       string       // of the API, with its port; the token may go there

	// Early is how long before its expiry a token is renewed, for peers with such an
	// option. 0: each peer's default.
	Early time.Duration

	// Attempts, MinBackoff and MaxBackoff configure retries, for peers that have them.
	// 0: each peer's defaults.
	Attempts               int
	MinBackoff, MaxBackoff time.Duration
}

// RoundTripper sets up a peer over base, which reaches the API.
type RoundTripper func(Job, http.RoundTripper) (http.RoundTripper, error)

// Token sets up only a peer's cache. It returns a func that gets the token in it.
type Token func(Job) (func(context.Context) (string, error), error)

// Peer is one of the packages that are compared.
type Peer struct {
	Name         string
	RoundTripper RoundTripper // nil: it has none
	Token        Token        // nil: it has none
}

// All has the peers, authsec first, the floors last.
var All = []Peer{
	{AuthSec, newAuthSec, authsecToken},
	{OAuth2, newOAuth2, oauth2Token},
	{Retryable, newRetryable, nil},
	{GoogleAuth, newGoogleAuth, googleToken},
	{AzCore, newAzCore, nil},
	{AWS, nil, awsToken},
	{ReadyHeader, newReadyHeader, copyToken},
	{Bare, func(_ Job, base http.RoundTripper) (http.RoundTripper, error) { return base, nil }, nil},
}

// Slug returns the peer's name for the names of benchmarks.
func (p Peer) Slug() string {
	return strings.NewReplacer("/", "-", " ", "-").Replace(p.Name)
}

// Named returns the peers with these names, in this order.
func Named(names ...string) []Peer {
	var list []Peer
	for _, name := range names {
		for _, p := range All {
			if p.Name == name {
				list = append(list, p)
			}
		}
	}
	return list
}

func newSource(j Job) (*authsec.Source, error) {
	return authsec.NewSource(authsec.Config{
		BaseURL: j.AuthSecURL, ClientID: j.ClientID, HTTPClient: j.Client, RenewBefore: j.Early,
	})
}

func newAuthSec(j Job, base http.RoundTripper) (http.RoundTripper, error) {
	src, err := newSource(j)
	if err != nil {
		return nil, err
	}
	return &authsec.Transport{
		Source: src, Base: base, Hosts: []string{j.Host},
		Retry: authsec.RetryPolicy{MaxAttempts: j.Attempts, MinBackoff: j.MinBackoff, MaxBackoff: j.MaxBackoff},
	}, nil
}

func authsecToken(j Job) (func(context.Context) (string, error), error) {
	src, err := newSource(j)
	if err != nil {
		return nil, err
	}
	return ofTokenSource(src), nil
}

func ofTokenSource(src oauth2.TokenSource) func(context.Context) (string, error) {
	return func(context.Context) (string, error) {
		t, err := src.Token()
		if err != nil {
			return "", err
		}
		return t.AccessToken, nil
	}
}

// fetch asks the delegation endpoint, as hand-written code would.
func (j Job) fetch(ctx context.Context) (token string, expiry time.Time, err error) {
	u := j.AuthSecURL + authsectest.EndpointPath + "?client_id=" + url.QueryEscape(j.ClientID)
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, u, nil)
	if err != nil {
		return "", time.Time{}, err
	}
	resp, err := j.Client.Do(req)
	if err != nil {
		if e := (*url.Error)(nil); errors.As(err, &e) {
			err = e.Err // without the URL, which has the client ID in it
		}
		return "", time.Time{}, fmt.Errorf("delegation endpoint: %w", err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return "", time.Time{}, fmt.Errorf("delegation endpoint: %s", resp.Status)
	}
	var answer struct {
		Token     string    `json:"token"`
		ExpiresAt time.Time `json:"expires_at"`
	}
	if err := json.NewDecoder(resp.Body).Decode(&answer); err != nil {
		return "", time.Time{}, err
	}
	// The JWT's exp has whole seconds, and the earlier one counts.
	return answer.Token, answer.ExpiresAt.Truncate(time.Second), nil
}

// Token makes a Job an oauth2.TokenSource.
func (j Job) Token() (*oauth2.Token, error) {
	token, expiry, err := j.fetch(context.Background())
	if err != nil {
		return nil, err
	}
	return &oauth2.Token{AccessToken: token, TokenType: "Bearer", Expiry: expiry}, nil
}

func (j Job) reuse() oauth2.TokenSource {
	if j.Early > 0 {
		return oauth2.ReuseTokenSourceWithExpiry(nil, j, j.Early)
	}
	return oauth2.ReuseTokenSource(nil, j)
}

func newOAuth2(j Job, base http.RoundTripper) (http.RoundTripper, error) {
	return &oauth2.Transport{Source: j.reuse(), Base: base}, nil
}

func oauth2Token(j Job) (func(context.Context) (string, error), error) {
	return ofTokenSource(j.reuse()), nil
}

// newRetryable is the most common combination: the retrying client around the
// authenticated one. Its log to standard error is off.
func newRetryable(j Job, base http.RoundTripper) (http.RoundTripper, error) {
	client := retryablehttp.NewClient()
	client.Logger = nil
	client.HTTPClient = &http.Client{Transport: &oauth2.Transport{Source: j.reuse(), Base: base}}
	if j.Attempts > 0 {
		client.RetryMax = j.Attempts - 1
	}
	if j.MinBackoff > 0 {
		client.RetryWaitMin, client.RetryWaitMax = j.MinBackoff, j.MaxBackoff
	}
	return client.StandardClient().Transport, nil
}

// readyHeader is the minimum that keeps the contract of http.RoundTripper: a copy of the
// request with a ready header value.
type readyHeader struct {
	base   http.RoundTripper
	header []string
}

func newReadyHeader(j Job, base http.RoundTripper) (http.RoundTripper, error) {
	t, err := j.Token()
	if err != nil {
		return nil, err
	}
	return readyHeader{base, []string{"Bearer " + t.AccessToken}}, nil
}

func (f readyHeader) RoundTrip(req *http.Request) (*http.Response, error) {
	req = req.WithContext(req.Context())
	req.Header = maps.Clone(req.Header)
	req.Header["Authorization"] = f.header
	return f.base.RoundTrip(req)
}

// copyToken is the minimum for a TokenSource that returns copies.
func copyToken(j Job) (func(context.Context) (string, error), error) {
	t, err := j.Token()
	if err != nil {
		return nil, err
	}
	return ofTokenSource(copying{t}), nil
}

type copying struct{ token *oauth2.Token }

func (c copying) Token() (*oauth2.Token, error) {
	t := *c.token
	return &t, nil
}
