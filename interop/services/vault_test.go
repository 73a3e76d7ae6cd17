// Copyright 2026 The authsec Authors
// SPDX-License-Identifier: Apache-2.0

package services_test

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/authsec-go/authsec"
	vault "github.com/hashicorp/vault/api"
)

// newVault returns a client. config is that of vault.DefaultConfig, with an Address.
func newVault(config *vault.Config, cfg authsec.Config) (*vault.Client, *authsec.Transport, error) {
	// docs: begin vault
	src, err := authsec.NewSource(cfg)
	if err != nil {
		return nil, nil, err
	}
	transport := &authsec.Transport{
		Source: src,
		Base:   config.HttpClient.Transport, // has the TLS settings, of VAULT_CACERT and others
		Hosts:  cfg.Hosts,
	}
	config.HttpClient.Transport = transport
	config.MaxRetries = 0 // the Transport retries
	client, err := vault.NewClient(config)
	// docs: end vault
	return client, transport, err
}

// vaultConfig returns the configuration for the server at url.
func vaultConfig(url string) *vault.Config {
	config := vault.DefaultConfig()
	config.Address = url
	config.HttpClient.Transport.(*http.Transport).TLSClientConfig = &tls.Config{RootCAs: roots()}
	return config
}

var vaultLibrary = library{
	service: secrets(),
	connect: func(cfg authsec.Config, url string) (send, *authsec.Transport, error) {
		client, transport, err := newVault(vaultConfig(url), cfg)
		return vaultSend(client), transport, err
	},
	over: func(transport *authsec.Transport, url string, retries bool) (send, error) {
		config := vaultConfig(url)
		config.HttpClient.Transport = transport
		config.MinRetryWait, config.MaxRetryWait = time.Millisecond, time.Millisecond
		if !retries {
			config.MaxRetries = 0
		}
		client, err := vault.NewClient(config)
		return vaultSend(client), err
	},
	is401: func(err error) bool {
		answer, ok := errors.AsType[*vault.ResponseError](err)
		return ok && answer.StatusCode == http.StatusUnauthorized
	},
	replays: true,
	tries:   3,
	attempts: map[string]attempts{
		"GET":  {both: 12, library: 3, transport: 4},
		"PUT":  {both: 12, library: 3, transport: 4},
		"POST": {both: 3, library: 3, transport: 1},
	},
}

func vaultSend(client *vault.Client) send {
	return func(ctx context.Context, method, body string) (err error) {
		switch method {
		case http.MethodGet:
			_, err = client.Logical().ReadWithContext(ctx, "secret/bill")
		case http.MethodPut:
			_, err = client.Logical().WriteWithContext(ctx, "secret/bill", map[string]any{"text": body})
		case http.MethodPost:
			_, err = client.Auth().Token().CreateWithContext(ctx, &vault.TokenCreateRequest{DisplayName: body})
		}
		return err
	}
}

// secrets is a part of Vault's API: one secret, and tokens.
func secrets() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /v1/secret/bill", func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprint(w, `{"data":{"text":"a bill"}}`)
	})
	write := func(w http.ResponseWriter, r *http.Request) {
		var body map[string]any
		if err := json.NewDecoder(r.Body).Decode(&body); err != nil || !strings.Contains(fmt.Sprint(body), "bill") {
			http.Error(w, "no bill", http.StatusBadRequest)
			return
		}
		fmt.Fprint(w, `{"auth":{"client_token":"of-vault"}}`)
	}
	mux.HandleFunc("PUT /v1/secret/bill", write)
	mux.HandleFunc("POST /v1/auth/token/create", write)
	return mux
}

// TLS settings belong in the http.Client before its Transport is replaced: afterwards
// the library finds no http.Transport.
func TestVaultTLSAfterTheTransport(t *testing.T) {
	config := vaultConfig("https://vault.example.com")
	if _, _, err := newVault(config, newStack(t).config("https://vault.example.com")); err != nil {
		t.Fatal(err)
	}
	if err := config.ConfigureTLS(&vault.TLSConfig{TLSServerName: "vault"}); err == nil || !strings.Contains(err.Error(), "*authsec.Transport") {
		t.Errorf("error = %v, want one that names *authsec.Transport", err)
	}
}
