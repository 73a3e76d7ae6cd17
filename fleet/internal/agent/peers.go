// Copyright 2026 The authsec Authors
// SPDX-License-Identifier: Apache-2.0

package agent

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"time"

	"github.com/authsec-go/authsec"
	"github.com/authsec-go/authsec/authsectest"
	"github.com/authsec-go/authsec/dircache"
	"github.com/authsec-go/authsec/rediscache"
	"github.com/redis/go-redis/v9"
	"golang.org/x/oauth2"
)

// The peers.
const (
	Loop    = "plain loop"
	OAuth2  = "x/oauth2"
	Alone   = "authsec"
	ByRedis = "authsec, rediscache"
	ByDir   = "authsec, dircache"
)

// newSource makes the peer's token source. It makes no request yet.
func newSource(j Job) (oauth2.TokenSource, error) {
	ask := endpoint{
		url:    j.BaseURL + authsectest.EndpointPath + "?client_id=" + url.QueryEscape(authsectest.ClientID),
		client: &http.Client{Timeout: 10 * time.Second},
	}
	cfg := authsec.Config{BaseURL: j.BaseURL, ClientID: authsectest.ClientID, RenewBefore: j.Early}
	switch j.Peer {
	case Loop:
		return &loop{ask: ask}, nil
	case OAuth2:
		return oauth2.ReuseTokenSourceWithExpiry(nil, ask, j.Early), nil
	case Alone:
	case ByRedis:
		client := redis.NewClient(&redis.Options{Network: "unix", Addr: j.Redis, ContextTimeoutEnabled: true})
		store, err := rediscache.New(client, nil)
		if err != nil {
			return nil, err
		}
		cfg.Cache = &authsec.CacheConfig{Store: store, Keys: authsec.NewCacheKeys(j.Key)}
	case ByDir:
		store, err := dircache.New(j.Dir)
		if err != nil {
			return nil, err
		}
		key, err := store.Key()
		if err != nil {
			return nil, err
		}
		cfg.Cache = &authsec.CacheConfig{Store: store, Keys: authsec.NewCacheKeys(key)}
	default:
		return nil, fmt.Errorf("unknown peer %q", j.Peer)
	}
	return authsec.NewSource(cfg)
}

// endpoint asks the endpoint at each call, as hand-written code would.
type endpoint struct {
	url    string
	client *http.Client
}

func (e endpoint) Token() (*oauth2.Token, error) {
	resp, err := e.client.Get(e.url)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("the server answered %s", resp.Status)
	}
	var answer struct {
		Token     string    `json:"token"`
		ExpiresAt time.Time `json:"expires_at"`
	}
	if err := json.NewDecoder(resp.Body).Decode(&answer); err != nil {
		return nil, fmt.Errorf("the server's answer is malformed: %w", err)
	}
	return &oauth2.Token{AccessToken: answer.Token, Expiry: answer.ExpiresAt}, nil
}

// loop asks the endpoint again once its token has expired. It is for one goroutine.
type loop struct {
	ask   endpoint
	token *oauth2.Token
}

func (l *loop) Token() (*oauth2.Token, error) {
	if l.token != nil && time.Now().Before(l.token.Expiry) {
		return l.token, nil
	}
	token, err := l.ask.Token()
	if err != nil {
		return nil, err
	}
	l.token = token
	return token, nil
}
