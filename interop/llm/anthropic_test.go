// Copyright 2026 The authsec Authors
// SPDX-License-Identifier: Apache-2.0

package llm_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"

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

// anthropicOnce makes a client whose SDK alone retries.
func anthropicOnce(cfg authsec.Config, url string) (anthropic.Client, error) {
	// docs: begin llm-anthropic-retry
	src, err := authsec.NewSource(cfg)
	if err != nil {
		return anthropic.Client{}, err
	}
	httpClient := &http.Client{Transport: &authsec.Transport{
		Source: src,
		Hosts:  cfg.Hosts,
		Retry:  authsec.RetryPolicy{MaxAttempts: 1}, // the SDK retries
	}}
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

func TestAnthropic(t *testing.T) {
	ctx, s := timely(t), itest.New(t)
	api := s.API(t, anthropicGateway, "billing:read")
	src, client, err := newAnthropic(s.Config(api.URL), api.URL)
	if err != nil {
		t.Fatal(err)
	}
	refused, without := s.Live(t, src, func() error { return askAnthropic(ctx, client) })
	if e := (*anthropic.Error)(nil); !errors.As(refused, &e) || e.StatusCode != http.StatusUnauthorized {
		t.Errorf("of a token that was just revoked: %v, want an *anthropic.Error with the status 401", refused)
	} else {
		s.CheckNoToken(t, string(e.DumpResponse(true)))
		s.CheckNoToken(t, string(e.DumpRequest(true)))
	}
	s.CheckNotDelegated(t, without)
}

func TestAnthropicReplacesToken(t *testing.T) {
	ctx, s := timely(t), itest.New(t)
	api := s.API(t, anthropicGateway, "billing:read")
	_, client, err := newAnthropic(s.Config(api.URL), api.URL)
	if err != nil {
		t.Fatal(err)
	}
	s.Replace(t, func() error { return askAnthropic(ctx, client) })
}

// A real key in the environment stays there.
func TestAnthropicIgnoresKey(t *testing.T) {
	ctx, s := timely(t), itest.New(t)
	t.Setenv("ANTHROPIC_API_KEY", "real-key")
	api := s.API(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.Contains(fmt.Sprint(r.Header), "real-key") {
			t.Error("the key of the environment went along")
		}
		anthropicGateway.ServeHTTP(w, r)
	}))
	_, client, err := newAnthropic(s.Config(api.URL), api.URL)
	if err != nil {
		t.Fatal(err)
	}
	if err := askAnthropic(ctx, client); err != nil {
		t.Fatal(err)
	}
	s.CheckSeen(t)
}

// Deltas arrive while the gateway is still sending. A revocation leaves the
// stream alone.
func TestAnthropicStream(t *testing.T) {
	ctx, s := timely(t), itest.New(t)
	g := anthropicGateway
	g.next = make(chan struct{})
	api := s.API(t, g, "billing:read")
	_, client, err := newAnthropic(s.Config(api.URL), api.URL)
	if err != nil {
		t.Fatal(err)
	}
	stream := client.Messages.NewStreaming(ctx, anthropicQuestion)
	defer stream.Close()
	var text string
	for stream.Next() {
		delta := stream.Current().Delta.Text
		if text == "" && delta != "" {
			s.Revoke()
			close(g.next) // now the gateway may go on
		}
		text += delta
	}
	if err := stream.Err(); err != nil || text != "hello" {
		t.Errorf("text %q, error %v", text, err)
	}
}

// How often a gateway is asked that answers 503 for good.
func TestAnthropicAttempts(t *testing.T) {
	ctx, s := timely(t), itest.New(t)
	api := s.API(t, overloaded)
	_, both, err := newAnthropic(s.Config(api.URL), api.URL)
	if err != nil {
		t.Fatal(err)
	}
	sdk, err := anthropicOnce(s.Config(api.URL), api.URL)
	if err != nil {
		t.Fatal(err)
	}
	get := func(c anthropic.Client) func() error {
		return func() error { _, err := c.Models.Get(ctx, "m", anthropic.ModelGetParams{}); return err }
	}
	for _, c := range []struct {
		name string
		call func() error
		want int
	}{
		{"GET, both retry", get(both), 12},
		{"POST, both retry", func() error { return askAnthropic(ctx, both) }, 3},
		{"GET, the SDK retries", get(sdk), 3},
		{"POST, the SDK retries", func() error { return askAnthropic(ctx, sdk) }, 3},
	} {
		got := attempts(t, s, c.call)
		t.Logf("%s: %d attempts", c.name, got)
		if got != c.want {
			t.Errorf("%s: %d attempts, want %d", c.name, got, c.want)
		}
	}
}
