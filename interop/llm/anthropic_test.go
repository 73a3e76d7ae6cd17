// Copyright 2026 The authsec Authors
// SPDX-License-Identifier: Apache-2.0

package llm_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"

	"github.com/anthropics/anthropic-sdk-go"
	"github.com/anthropics/anthropic-sdk-go/option"
	"github.com/authsec-go/authsec"
	"github.com/authsec-go/authsec/interop/internal/itest"
)

// newAnthropic makes a client for a gateway with Anthropic's API at url.
func newAnthropic(cfg authsec.Config, url string) (*authsec.Source, anthropic.Client, error) {
	// docs: begin llm-anthropic
	httpClient, err := authsec.NewClient(cfg)
	if err != nil {
		return nil, anthropic.Client{}, err
	}
	client := anthropic.NewClient(
		option.WithBaseURL(url),
		option.WithHTTPClient(httpClient),
		option.WithAPIKey("none"), // the SDK wants one, and sends it beside the token
	)
	// docs: end llm-anthropic
	return itest.SourceOf(httpClient), client, nil
}

// anthropicOnce makes a client in which only the SDK retries.
func anthropicOnce(cfg authsec.Config, url string) (anthropic.Client, error) {
	// docs: begin llm-anthropic-retry
	transport, err := authsec.NewTransport(cfg)
	if err != nil {
		return anthropic.Client{}, err
	}
	transport.Retry.MaxAttempts = 1 // the SDK retries
	httpClient := &http.Client{Transport: transport}
	// docs: end llm-anthropic-retry
	return anthropic.NewClient(option.WithBaseURL(url), option.WithHTTPClient(httpClient), option.WithAPIKey("none")), nil
}

var anthropicGateway = gateway{
	answer: `{"id":"m1","type":"message","role":"assistant","model":"m","stop_reason":"end_turn","content":[{"type":"text","text":"hello"}],"usage":{"input_tokens":1,"output_tokens":1}}`,
	events: [2]string{
		"event: message_start\n" +
			`data: {"type":"message_start","message":{"id":"m1","type":"message","role":"assistant","model":"m","content":[],"usage":{"input_tokens":1,"output_tokens":1}}}` + "\n\n" +
			"event: content_block_delta\n" +
			`data: {"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"hel"}}` + "\n\n",
		"event: content_block_delta\n" +
			`data: {"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"lo"}}` + "\n\n" +
			"event: message_stop\n" +
			`data: {"type":"message_stop"}` + "\n\n",
	},
}

var anthropicQuestion = anthropic.MessageNewParams{
	Model:     "m",
	MaxTokens: 10,
	Messages:  []anthropic.MessageParam{anthropic.NewUserMessage(anthropic.NewTextBlock("hello?"))},
}

func askAnthropic(ctx context.Context, client anthropic.Client) error {
	answer, err := client.Messages.New(ctx, anthropicQuestion)
	if err == nil && answer.Content[0].Text != "hello" {
		return fmt.Errorf("answer: %q", answer.Content[0].Text)
	}
	return err
}

func streamAnthropic(ctx context.Context, client anthropic.Client, first func()) (text string, err error) {
	stream := client.Messages.NewStreaming(ctx, anthropicQuestion)
	defer stream.Close()
	for stream.Next() {
		delta := stream.Current().Delta.Text
		if text == "" && delta != "" {
			first()
		}
		text += delta
	}
	return text, stream.Err()
}

func ofAnthropic(c anthropic.Client) client {
	return client{
		ask: func(ctx context.Context) error { return askAnthropic(ctx, c) },
		model: func(ctx context.Context) error {
			_, err := c.Models.Get(ctx, "m", anthropic.ModelGetParams{})
			return err
		},
		stream: func(ctx context.Context, first func()) (string, error) { return streamAnthropic(ctx, c, first) },
	}
}

var anthropicSDK = sdk{
	gateway: anthropicGateway,
	key:     "ANTHROPIC_API_KEY",
	connect: func(cfg authsec.Config, url string) (*authsec.Source, client, error) {
		src, c, err := newAnthropic(cfg, url)
		return src, ofAnthropic(c), err
	},
	once: func(cfg authsec.Config, url string) (client, error) {
		c, err := anthropicOnce(cfg, url)
		return ofAnthropic(c), err
	},
	rejection: func(err error) ([]byte, bool) {
		e, ok := errors.AsType[*anthropic.Error](err)
		if !ok || e.StatusCode != http.StatusUnauthorized {
			return nil, false
		}
		return append(e.DumpResponse(true), e.DumpRequest(true)...), true
	},
}
