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
	openai "github.com/sashabaranov/go-openai"
)

// newGoOpenAI makes a client for a gateway with OpenAI's API at url.
func newGoOpenAI(cfg authsec.Config, url string) (*http.Client, *openai.Client, error) {
	// docs: begin llm-go-openai
	httpClient, err := authsec.NewClient(cfg)
	if err != nil {
		return nil, nil, err
	}
	config := openai.DefaultConfig("") // no key: the token takes its place
	config.BaseURL = url + "/v1"
	config.HTTPClient = httpClient
	client := openai.NewClientWithConfig(config)
	// docs: end llm-go-openai
	return httpClient, client, nil
}

func TestGoOpenAI(t *testing.T) {
	ask := openai.ChatCompletionRequest{
		Model:    "m",
		Messages: []openai.ChatCompletionMessage{{Role: openai.ChatMessageRoleUser, Content: "hello?"}},
	}
	done := make(chan struct{})
	close(done)
	streaming := openAIGateway
	streaming.next = done
	itest.Library{
		API: streaming,
		Connect: func(cfg authsec.Config, url string) (*http.Client, map[string]func(context.Context) error, error) {
			httpClient, c, err := newGoOpenAI(cfg, url)
			return httpClient, map[string]func(context.Context) error{
				"GET": func(ctx context.Context) error {
					_, err := c.GetModel(ctx, "m")
					return err
				},
				"POST": func(ctx context.Context) error {
					answer, err := c.CreateChatCompletion(ctx, ask)
					if err == nil && answer.Choices[0].Message.Content != "hello" {
						return fmt.Errorf("answer: %q", answer.Choices[0].Message.Content)
					}
					return err
				},
				"stream": func(ctx context.Context) error {
					stream, err := c.CreateChatCompletionStream(ctx, ask)
					if err != nil {
						return err
					}
					defer stream.Close()
					part, err := stream.Recv()
					if err == nil && part.Choices[0].Delta.Content != "hel" {
						return fmt.Errorf("first part: %q", part.Choices[0].Delta.Content)
					}
					return err
				},
			}, err
		},
		// An *APIError if the answer's "error" is an object, as OpenAI's is.
		Rejected: func(err error) bool {
			e, ok := errors.AsType[*openai.RequestError](err)
			return ok && e.HTTPStatusCode == http.StatusUnauthorized
		},
		Attempts: map[string][2]int{"GET": {4, 1}, "POST": {1, 1}, "stream": {1, 1}},
	}.Test(t)
}
