// Copyright 2026 The authsec Authors
// SPDX-License-Identifier: Apache-2.0

package llm_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"testing"

	"github.com/authsec-go/authsec"
	"github.com/authsec-go/authsec/interop/internal/itest"
	"github.com/ollama/ollama/api"
)

// newOllama makes a client for a gateway with Ollama's API at base.
func newOllama(cfg authsec.Config, base *url.URL) (*http.Client, *api.Client, error) {
	// docs: begin llm-ollama
	httpClient, err := authsec.NewClient(cfg)
	if err != nil {
		return nil, nil, err
	}
	client := api.NewClient(base, httpClient) // not ClientFromEnvironment
	// docs: end llm-ollama
	return httpClient, client, nil
}

// ollamaCalls are calls of a client for the gateway at rawURL.
func ollamaCalls(cfg authsec.Config, rawURL string) (*http.Client, map[string]func(context.Context) error, error) {
	base, err := url.Parse(rawURL)
	if err != nil {
		return nil, nil, err
	}
	httpClient, c, err := newOllama(cfg, base)
	return httpClient, map[string]func(context.Context) error{
		"GET": func(ctx context.Context) error {
			_, err := c.List(ctx)
			return err
		},
		"chat": func(ctx context.Context) error {
			text := ""
			err := c.Chat(ctx, &api.ChatRequest{Model: "m", Messages: []api.Message{{Role: "user", Content: "hello?"}}}, func(part api.ChatResponse) error {
				text += part.Message.Content
				return nil
			})
			if err == nil && text != "hello" {
				return fmt.Errorf("answer: %q", text)
			}
			return err
		},
	}, err
}

func TestOllama(t *testing.T) {
	gateway := http.NewServeMux()
	gateway.HandleFunc("GET /api/tags", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, `{"models":[]}`) })
	gateway.HandleFunc("POST /api/chat", func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprint(w, `{"message":{"role":"assistant","content":"hel"}}`+"\n"+`{"message":{"role":"assistant","content":"lo"},"done":true}`+"\n")
	})
	itest.Library{
		API:     gateway,
		Connect: ollamaCalls,
		Rejected: func(err error) bool {
			e, ok := errors.AsType[api.AuthorizationError](err)
			return ok && e.StatusCode == http.StatusUnauthorized
		},
		Attempts: map[string][2]int{"GET": {4, 1}, "chat": {1, 1}},
	}.Test(t)
}

// Chat returns no error for a 401 or 503 with an empty body.
func TestOllamaMissesEmptyErrors(t *testing.T) {
	for _, code := range []int{http.StatusUnauthorized, http.StatusServiceUnavailable} {
		s := itest.New(t)
		gateway := s.Serve(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(code) }))
		_, calls, err := ollamaCalls(s.Config(gateway.URL), gateway.URL)
		if err != nil {
			t.Fatal(err)
		}
		if err := calls["chat"](t.Context()); err == nil || err.Error() != `answer: ""` {
			t.Errorf("after a %d: %v; want no error of the library: remove the sentence from the documentation", code, err)
		}
	}
}
