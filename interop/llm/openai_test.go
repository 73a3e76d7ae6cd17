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

// openAIOnce makes a client whose SDK alone retries.
func openAIOnce(cfg authsec.Config, url string) (openai.Client, error) {
	// docs: begin llm-openai-retry
	src, err := authsec.NewSource(cfg)
	if err != nil {
		return openai.Client{}, err
	}
	httpClient := &http.Client{Transport: &authsec.Transport{
		Source: src,
		Hosts:  cfg.Hosts,
		Retry:  authsec.RetryPolicy{MaxAttempts: 1}, // the SDK retries
	}}
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

func TestOpenAI(t *testing.T) {
	ctx, s := timely(t), itest.New(t)
	api := s.Serve(t, openAIErrors(s.Server.API(openAIGateway, "billing:read")))
	src, client, err := newOpenAI(s.Config(api.URL), api.URL)
	if err != nil {
		t.Fatal(err)
	}
	refused, without := s.Live(t, src, func() error { return askOpenAI(ctx, client) })
	if e := (*openai.Error)(nil); !errors.As(refused, &e) || e.StatusCode != http.StatusUnauthorized {
		t.Errorf("of a token that was just revoked: %v, want an *openai.Error with the status 401", refused)
	} else {
		s.CheckNoToken(t, string(e.DumpResponse(true)))
		s.CheckNoToken(t, string(e.DumpRequest(true)))
	}
	s.CheckNotDelegated(t, without)
}

// openAIErrors gives refusals the form of OpenAI's.
func openAIErrors(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		next.ServeHTTP(&errorWriter{ResponseWriter: w}, r)
	})
}

type errorWriter struct {
	http.ResponseWriter
	refused bool
}

func (w *errorWriter) WriteHeader(status int) {
	w.ResponseWriter.WriteHeader(status)
	if w.refused = status == http.StatusUnauthorized; w.refused {
		fmt.Fprint(w.ResponseWriter, `{"error":{"message":"invalid token","type":"invalid_request_error"}}`)
	}
}

func (w *errorWriter) Write(p []byte) (int, error) {
	if w.refused {
		return len(p), nil
	}
	return w.ResponseWriter.Write(p)
}

// Of a refusal in another form, the SDK tells that alone, and no status. What
// follows it says more.
func TestOpenAIForeignError(t *testing.T) {
	ctx, s := timely(t), itest.New(t)
	api := s.API(t, openAIGateway, "billing:read")
	src, client, err := newOpenAI(s.Config(api.URL), api.URL)
	if err != nil {
		t.Fatal(err)
	}
	refused, without := s.Live(t, src, func() error { return askOpenAI(ctx, client) })
	if e := (*openai.Error)(nil); errors.As(refused, &e) {
		t.Errorf("of a 401 with {\"error\":\"invalid_token\"}: an *openai.Error, want none: %v", refused)
	}
	s.CheckNotDelegated(t, without)
}

func TestOpenAIReplacesToken(t *testing.T) {
	ctx, s := timely(t), itest.New(t)
	api := s.API(t, openAIGateway, "billing:read")
	_, client, err := newOpenAI(s.Config(api.URL), api.URL)
	if err != nil {
		t.Fatal(err)
	}
	s.Replace(t, func() error { return askOpenAI(ctx, client) })
}

// A real key in the environment stays there.
func TestOpenAIIgnoresKey(t *testing.T) {
	ctx, s := timely(t), itest.New(t)
	t.Setenv("OPENAI_API_KEY", "real-key")
	api := s.API(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.Contains(fmt.Sprint(r.Header), "real-key") {
			t.Error("the key of the environment went along")
		}
		openAIGateway.ServeHTTP(w, r)
	}))
	_, client, err := newOpenAI(s.Config(api.URL), api.URL)
	if err != nil {
		t.Fatal(err)
	}
	if err := askOpenAI(ctx, client); err != nil {
		t.Fatal(err)
	}
	s.CheckSeen(t)
}

// Deltas arrive while the gateway is still sending. A revocation leaves the
// stream alone.
func TestOpenAIStream(t *testing.T) {
	ctx, s := timely(t), itest.New(t)
	g := openAIGateway
	g.next = make(chan struct{})
	api := s.API(t, g, "billing:read")
	_, client, err := newOpenAI(s.Config(api.URL), api.URL)
	if err != nil {
		t.Fatal(err)
	}
	stream := client.Chat.Completions.NewStreaming(ctx, openAIQuestion)
	defer stream.Close()
	var text string
	for stream.Next() {
		if text == "" {
			s.Revoke()
			close(g.next) // now the gateway may go on
		}
		text += stream.Current().Choices[0].Delta.Content
	}
	if err := stream.Err(); err != nil || text != "hello" {
		t.Errorf("text %q, error %v", text, err)
	}
}

// How often a gateway is asked that answers 503 for good.
func TestOpenAIAttempts(t *testing.T) {
	ctx, s := timely(t), itest.New(t)
	api := s.API(t, overloaded)
	_, both, err := newOpenAI(s.Config(api.URL), api.URL)
	if err != nil {
		t.Fatal(err)
	}
	sdk, err := openAIOnce(s.Config(api.URL), api.URL)
	if err != nil {
		t.Fatal(err)
	}
	get := func(c openai.Client) func() error {
		return func() error { _, err := c.Models.Get(ctx, "m"); return err }
	}
	for _, c := range []struct {
		name string
		call func() error
		want int
	}{
		{"GET, both retry", get(both), 12},
		{"POST, both retry", func() error { return askOpenAI(ctx, both) }, 3},
		{"GET, the SDK retries", get(sdk), 3},
		{"POST, the SDK retries", func() error { return askOpenAI(ctx, sdk) }, 3},
	} {
		got := attempts(t, s, c.call)
		t.Logf("%s: %d attempts", c.name, got)
		if got != c.want {
			t.Errorf("%s: %d attempts, want %d", c.name, got, c.want)
		}
	}
}
