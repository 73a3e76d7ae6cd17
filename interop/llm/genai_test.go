// Copyright 2026 The authsec Authors
// SPDX-License-Identifier: Apache-2.0

package llm_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"testing"

	"github.com/authsec-go/authsec"
	"github.com/authsec-go/authsec/interop/internal/itest"
	"google.golang.org/genai"
)

// newGenAI makes a client for a gateway with Gemini's API at url.
func newGenAI(ctx context.Context, cfg authsec.Config, url string) (*http.Client, *genai.Client, error) {
	// docs: begin llm-genai
	httpClient, err := authsec.NewClient(cfg)
	if err != nil {
		return nil, nil, err
	}
	client, err := genai.NewClient(ctx, &genai.ClientConfig{
		Backend:     genai.BackendGeminiAPI,
		HTTPClient:  httpClient,
		HTTPOptions: genai.HTTPOptions{BaseURL: url},
		APIKey:      "none", // the library wants one, and sends it beside the token
	})
	// docs: end llm-genai
	return httpClient, client, err
}

// gemini is a part of Gemini's API.
func gemini() http.Handler {
	const answer = `{"candidates":[{"content":{"role":"model","parts":[{"text":"hello"}]}}]}`
	mux := http.NewServeMux()
	mux.HandleFunc("GET /v1beta/models/m", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, `{"name":"models/m"}`) })
	mux.HandleFunc("POST /v1beta/models/{call}", func(w http.ResponseWriter, r *http.Request) {
		if r.PathValue("call") == "m:streamGenerateContent" {
			fmt.Fprintf(w, "data: %s\n\n", answer)
			return
		}
		fmt.Fprint(w, answer)
	})
	return mux
}

func TestGenAI(t *testing.T) {
	itest.Library{
		API: gemini(),
		Connect: func(cfg authsec.Config, url string) (*http.Client, map[string]func(context.Context) error, error) {
			httpClient, c, err := newGenAI(t.Context(), cfg, url)
			return httpClient, map[string]func(context.Context) error{
				"GET": func(ctx context.Context) error {
					_, err := c.Models.Get(ctx, "m", nil)
					return err
				},
				"POST": func(ctx context.Context) error {
					answer, err := c.Models.GenerateContent(ctx, "m", genai.Text("hello?"), nil)
					if err == nil && answer.Text() != "hello" {
						return fmt.Errorf("answer: %q", answer.Text())
					}
					return err
				},
				"stream": func(ctx context.Context) error {
					text := ""
					for answer, err := range c.Models.GenerateContentStream(ctx, "m", genai.Text("hello?"), nil) {
						if err != nil {
							return err
						}
						text += answer.Text()
					}
					if text != "hello" {
						return fmt.Errorf("answer: %q", text)
					}
					return nil
				},
			}, err
		},
		Rejected: func(err error) bool {
			e, ok := errors.AsType[genai.APIError](err)
			return ok && e.Code == http.StatusUnauthorized
		},
		Attempts: map[string][2]int{"GET": {4, 1}, "POST": {1, 1}, "stream": {1, 1}},
	}.Test(t)
}
