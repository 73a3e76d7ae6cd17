// Copyright 2026 The authsec Authors
// SPDX-License-Identifier: Apache-2.0

// Package oauth uses tokens of AuthSec's OAuth endpoint, which machines get without a
// delegation.
package oauth

import (
	"context"
	"net/http"
	"net/url"
	"time"

	"github.com/authsec-go/authsec"
	"github.com/spiffe/go-spiffe/v2/svid/jwtsvid"
	"golang.org/x/oauth2"
	"golang.org/x/oauth2/clientcredentials"
)

// tokens keeps the token of an OAuth endpoint. It is a Transport's Source: its method
// Renew makes the Transport replace a rejected token.
type tokens struct {
	request func(context.Context) (*oauth2.Token, error) // asks the endpoint
	turn    chan struct{}                                // has room for one, who may use what follows
	token   *oauth2.Token
	renewed time.Time // when a rejected token was last to be replaced
}

func newTokens(request func(context.Context) (*oauth2.Token, error)) *tokens {
	return &tokens{request: request, turn: make(chan struct{}, 1)}
}

func (s *tokens) Token() (*oauth2.Token, error) { return s.TokenContext(context.Background()) }

func (s *tokens) TokenContext(ctx context.Context) (*oauth2.Token, error) { return s.get(ctx, "") }

// Renew asks for a token in place of a rejected one, at most once in 30 s.
func (s *tokens) Renew(ctx context.Context, rejected *oauth2.Token) (*oauth2.Token, error) {
	return s.get(ctx, rejected.AccessToken)
}

func (s *tokens) get(ctx context.Context, rejected string) (*oauth2.Token, error) {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	select {
	case s.turn <- struct{}{}:
		defer func() { <-s.turn }()
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	if s.token.Valid() {
		if s.token.AccessToken != rejected || time.Since(s.renewed) < 30*time.Second {
			return s.token, nil
		}
		s.renewed = time.Now()
	}
	token, err := s.request(context.WithValue(ctx, oauth2.HTTPClient, endpointClient))
	if err == nil {
		s.token = token
	}
	return token, err
}

// endpointClient follows no redirects: these would carry the assertion along.
var endpointClient = &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}

// withSecret returns a client that authenticates by client_secret_basic.
func withSecret(id, secret, tokenURL, resource string, scopes, hosts []string) *http.Client {
	// docs: begin oauth-secret
	cfg := &clientcredentials.Config{
		ClientID:       id,
		ClientSecret:   secret,
		TokenURL:       tokenURL, // ends in /oauth/token
		Scopes:         scopes,
		EndpointParams: url.Values{"resource": {resource}}, // the API's URI
		AuthStyle:      oauth2.AuthStyleInHeader,
	}
	client := &http.Client{Transport: &authsec.Transport{Source: newTokens(cfg.Token), Hosts: hosts}}
	// docs: end oauth-secret
	return client
}

// withSVID returns a client that authenticates by a JWT-SVID. svids is a
// *workloadapi.Client or a *workloadapi.JWTSource.
func withSVID(svids jwtsvid.Source, tokenURL, resource string, scopes, hosts []string) *http.Client {
	// docs: begin oauth-svid
	request := func(ctx context.Context) (*oauth2.Token, error) {
		svid, err := svids.FetchJWTSVID(ctx, jwtsvid.Params{Audience: tokenURL}) // the endpoint accepts each once
		if err != nil {
			return nil, err
		}
		cfg := &clientcredentials.Config{
			TokenURL: tokenURL,
			Scopes:   scopes,
			EndpointParams: url.Values{
				"resource":              {resource},
				"client_assertion_type": {"urn:authsec:params:oauth:client-assertion-type:spiffe-svid"},
				"client_assertion":      {svid.Marshal()},
			},
			AuthStyle: oauth2.AuthStyleInParams, // no Authorization header
		}
		return cfg.Token(ctx)
	}
	client := &http.Client{Transport: &authsec.Transport{Source: newTokens(request), Hosts: hosts}}
	// docs: end oauth-svid
	return client
}
