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
	"github.com/openai/openai-go/v3"
	"github.com/openai/openai-go/v3/option"
)

// newOpenAI makes a client for a gateway with OpenAI's API at url.
func newOpenAI(cfg authsec.Config, url string) (*authsec.Source, openai.Client, error) {
	// docs: begin llm-openai
	httpClient, err := authsec.NewClient(cfg)
	if err != nil {
		return nil, openai.Client{}, err
	}
	client := openai.NewClient(
		option.WithBaseURL(url+"/v1"),
		option.WithHTTPClient(httpClient),
		option.WithAPIKey("none"), // the token takes its place
	)
	// docs: end llm-openai
	return itest.SourceOf(httpClient), client, nil
}

// openAIOnce makes a client in which only the SDK retries.
func openAIOnce(cfg authsec.Config, url string) (openai.Client, error) {
	// docs: begin llm-openai-retry
	transport, err := authsec.NewTransport(cfg)
	if err != nil {
		return openai.Client{}, err
	}
	transport.Retry.MaxAttempts = 1 // the SDK retries
	httpClient := &http.Client{Transport: transport}
	// docs: end llm-openai-retry
	return openai.NewClient(option.WithBaseURL(url+"/v1"), option.WithHTTPClient(httpClient), option.WithAPIKey("none")), nil
}

var openAIGateway = gateway{
	answer: `{"id":"c1","object":"chat.completion","created":1,"model":"m","choices":[{"index":0,"finish_reason":"stop","message":{"role":"assistant","content":"hello"}}]}`,
	events: [2]string{
		`data: {"id":"c1","object":"chat.completion.chunk","created":1,"model":"m","choices":[{"index":0,"delta":{"role":"assistant","content":"hel"}}]}` + "\n\n",
		`data: {"id":"c1","object":"chat.completion.chunk","created":1,"model":"m","choices":[{"index":0,"delta":{"content":"lo"},"finish_reason":"stop"}]}` + "\n\ndata: [DONE]\n\n",
	},
}

var openAIQuestion = openai.ChatCompletionNewParams{
	Model:    "m",
	Messages: []openai.ChatCompletionMessageParamUnion{openai.UserMessage("hello?")},
}

func askOpenAI(ctx context.Context, client openai.Client) error {
	answer, err := client.Chat.Completions.New(ctx, openAIQuestion)
	if err == nil && answer.Choices[0].Message.Content != "hello" {
		return fmt.Errorf("answer: %q", answer.Choices[0].Message.Content)
	}
	return err
}

func streamOpenAI(ctx context.Context, client openai.Client, first func()) (text string, err error) {
	stream := client.Chat.Completions.NewStreaming(ctx, openAIQuestion)
	defer stream.Close()
	for stream.Next() {
		if text == "" {
			first()
		}
		text += stream.Current().Choices[0].Delta.Content
	}
	return text, stream.Err()
}

func ofOpenAI(c openai.Client) client {
	return client{
		ask:    func(ctx context.Context) error { return askOpenAI(ctx, c) },
		model:  func(ctx context.Context) error { _, err := c.Models.Get(ctx, "m"); return err },
		stream: func(ctx context.Context, first func()) (string, error) { return streamOpenAI(ctx, c, first) },
	}
}

var openAI = sdk{
	gateway: openAIGateway,
	key:     "OPENAI_API_KEY",
	reject:  openAIErrors,
	connect: func(cfg authsec.Config, url string) (*authsec.Source, client, error) {
		src, c, err := newOpenAI(cfg, url)
		return src, ofOpenAI(c), err
	},
	once: func(cfg authsec.Config, url string) (client, error) {
		c, err := openAIOnce(cfg, url)
		return ofOpenAI(c), err
	},
	rejection: func(err error) ([]byte, bool) {
		e, ok := errors.AsType[*openai.Error](err)
		if !ok || e.StatusCode != http.StatusUnauthorized {
			return nil, false
		}
		return append(e.DumpResponse(true), e.DumpRequest(true)...), true
	},
}

// openAIErrors gives 401s the form of OpenAI's.
func openAIErrors(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		next.ServeHTTP(&errorWriter{ResponseWriter: w}, r)
	})
}

type errorWriter struct {
	http.ResponseWriter
	rejected bool
}

func (w *errorWriter) WriteHeader(status int) {
	w.ResponseWriter.WriteHeader(status)
	if w.rejected = status == http.StatusUnauthorized; w.rejected {
		fmt.Fprint(w.ResponseWriter, `{"error":{"message":"invalid token","type":"invalid_request_error"}}`)
	}
}

func (w *errorWriter) Write(p []byte) (int, error) {
	if w.rejected {
		return len(p), nil
	}
	return w.ResponseWriter.Write(p)
}

// If a 401 has another form, the SDK's error says only that, and has no status. The next
// error says more.
func TestOpenAIForeignError(t *testing.T) {
	ctx, s := itest.Timely(t), itest.New(t)
	src, c := openAI.to(t, s, s.Server.API(openAIGateway, "billing:read"))
	rejected, without := s.Live(t, src, func() error { return c.ask(ctx) })
	if e := (*openai.Error)(nil); errors.As(rejected, &e) {
		t.Errorf("after a 401 with {\"error\":\"invalid_token\"}: an *openai.Error, want another error: %v", rejected)
	}
	s.CheckNotDelegated(t, without)
}
