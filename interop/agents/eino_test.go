// Copyright 2026 The authsec Authors
// SPDX-License-Identifier: Apache-2.0

package agents_test

import (
	"context"
	"encoding/json"
	"errors"
	"slices"
	"testing"

	"github.com/authsec-go/authsec"
	"github.com/authsec-go/authsec/fetchtool"
	"github.com/authsec-go/authsec/interop/internal/itest"
	"github.com/cloudwego/eino/components/model"
	"github.com/cloudwego/eino/components/tool"
	"github.com/cloudwego/eino/compose"
	"github.com/cloudwego/eino/flow/agent/react"
	"github.com/cloudwego/eino/schema"
	"github.com/eino-contrib/jsonschema"
)

// docs: begin agents-eino-tool

// einoTool makes a fetchtool.Tool an eino tool.
type einoTool struct{ *fetchtool.Tool }

func (t einoTool) Info(context.Context) (*schema.ToolInfo, error) {
	input := new(jsonschema.Schema)
	if err := json.Unmarshal(t.Schema(), input); err != nil {
		return nil, err
	}
	return &schema.ToolInfo{Name: t.Name(), Desc: t.Description(), ParamsOneOf: schema.NewParamsOneOfByJSONSchema(input)}, nil
}

func (t einoTool) InvokableRun(ctx context.Context, arguments string, _ ...tool.Option) (string, error) {
	return t.Call(ctx, arguments)
}

// docs: end agents-eino-tool

// newEino makes an agent that can fetch from api.
func newEino(ctx context.Context, src *authsec.Source, api string, chat model.ToolCallingChatModel) (*react.Agent, error) {
	// docs: begin agents-eino
	fetcher, err := fetchtool.New(fetchtool.Config{Source: src, DownstreamURLs: []string{api}})
	if err != nil {
		return nil, err
	}
	agent, err := react.NewAgent(ctx, &react.AgentConfig{
		ToolCallingModel: chat,
		ToolsConfig:      compose.ToolsNodeConfig{Tools: []tool.BaseTool{einoTool{fetcher}}},
	})
	// docs: end agents-eino
	return agent, err
}

// einoModel fetches the invoices, and answers with what it got.
type einoModel struct{ tools *[]*schema.ToolInfo }

func (m einoModel) WithTools(tools []*schema.ToolInfo) (model.ToolCallingChatModel, error) {
	*m.tools = tools
	return m, nil
}

func (einoModel) Generate(_ context.Context, messages []*schema.Message, _ ...model.Option) (*schema.Message, error) {
	last := messages[len(messages)-1]
	if last.Role == schema.Tool {
		return schema.AssistantMessage(last.Content, nil), nil
	}
	return schema.AssistantMessage("", []schema.ToolCall{{
		ID: "1", Type: "function",
		Function: schema.FunctionCall{Name: "secure_fetch", Arguments: `{"url":"/invoices"}`},
	}}), nil
}

func (einoModel) Stream(context.Context, []*schema.Message, ...model.Option) (*schema.StreamReader[*schema.Message], error) {
	return nil, errors.New("this model does not stream")
}

func TestEino(t *testing.T) {
	for name, test := range map[string]func(t *testing.T, s *itest.Stack, src *authsec.Source, ask func() error){
		"live": func(t *testing.T, s *itest.Stack, src *authsec.Source, ask func() error) {
			rejected, without := s.Live(t, src, ask)
			checkAdvice(t, rejected)
			checkAdvice(t, without)
		},
		"replace": func(t *testing.T, s *itest.Stack, _ *authsec.Source, ask func() error) { s.Replace(t, ask) },
	} {
		t.Run(name, func(t *testing.T) {
			ctx, s := itest.Timely(t), itest.New(t)
			src, api := billing(t, s, plain)
			m := einoModel{new([]*schema.ToolInfo)}
			agent, err := newEino(ctx, src, api.URL+"/v1", m)
			if err != nil {
				t.Fatal(err)
			}
			test(t, s, src, func() error {
				answer, err := agent.Generate(ctx, []*schema.Message{schema.UserMessage("How many invoices are there?")})
				if err != nil {
					return err
				}
				return observed(answer.Content)
			})
			if n := len(*m.tools); n != 1 {
				t.Fatalf("the model gets %d tools, want 1", n)
			}
			params, err := (*m.tools)[0].ToJSONSchema()
			if err != nil || !slices.Contains(params.Required, "url") {
				t.Errorf("the model gets the parameters %v, error %v; want url", params, err)
			}
		})
	}
}
