// Copyright 2026 The authsec Authors
// SPDX-License-Identifier: Apache-2.0

// Package genkit_test uses Genkit with delegation tokens. It is its own module, because
// Genkit needs an older github.com/invopop/jsonschema than the SDKs in interop.
package genkit_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/authsec-go/authsec"
	"github.com/authsec-go/authsec/authsectest"
	"github.com/authsec-go/authsec/fetchtool"
	"github.com/firebase/genkit/go/ai"
	"github.com/firebase/genkit/go/genkit"
)

// define gives g a tool that can fetch from api.
func define(g *genkit.Genkit, cfg fetchtool.Config) (ai.Tool, error) {
	// docs: begin agents-genkit
	fetcher, err := fetchtool.New(cfg)
	if err != nil {
		return nil, err
	}
	var schema map[string]any
	if err := json.Unmarshal(fetcher.Schema(), &schema); err != nil {
		return nil, err
	}
	tool := genkit.DefineTool(g, fetcher.Name(), fetcher.Description(), func(ctx *ai.ToolContext, input any) (string, error) {
		arguments, err := json.Marshal(input)
		if err != nil {
			return "", err
		}
		return fetcher.Call(ctx, string(arguments))
	}, ai.WithInputSchema(schema))
	// docs: end agents-genkit
	return tool, nil
}

// model fetches the invoices, and answers with what it got.
func model(_ context.Context, req *ai.ModelRequest, _ ai.ModelStreamCallback) (*ai.ModelResponse, error) {
	answer := func(part *ai.Part) (*ai.ModelResponse, error) {
		return &ai.ModelResponse{Request: req, Message: ai.NewModelMessage(part), FinishReason: ai.FinishReasonStop}, nil
	}
	last := req.Messages[len(req.Messages)-1]
	if last.Role == ai.RoleTool {
		return answer(ai.NewTextPart(fmt.Sprint(last.Content[0].ToolResponse.Output)))
	}
	if len(req.Tools) != 1 {
		return nil, fmt.Errorf("the model gets %d tools, want 1", len(req.Tools))
	}
	properties, _ := req.Tools[0].InputSchema["properties"].(map[string]any)
	if _, ok := properties["url"]; !ok || len(properties) != 1 {
		return nil, fmt.Errorf("the model gets the parameters %v, want only url", properties)
	}
	return answer(ai.NewToolRequestPart(&ai.ToolRequest{Name: req.Tools[0].Name, Input: map[string]any{"url": "/invoices"}}))
}

func TestGenkit(t *testing.T) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	srv := authsectest.NewTLSServer()
	defer srv.Close()
	delegation := authsectest.Delegation{Permissions: []string{"billing:read"}}
	token := srv.Delegate(authsectest.ClientID, delegation)
	var seen string
	api := httptest.NewTLSServer(srv.API(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		seen = strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer ")
		w.Header().Set("Content-Type", "text/plain")
		fmt.Fprint(w, "3 invoices")
	}), "billing:read"))
	defer api.Close()
	src, err := authsec.NewSource(srv.Config(authsectest.ClientID))
	if err != nil {
		t.Fatal(err)
	}

	g := genkit.Init(ctx)
	tool, err := define(g, fetchtool.Config{
		Source:         src,
		DownstreamURLs: []string{api.URL + "/v1"},
		Base:           api.Client().Transport,
	})
	if err != nil {
		t.Fatal(err)
	}
	script := genkit.DefineModel(g, "test/script", &ai.ModelOptions{Supports: &ai.ModelSupports{Tools: true, Multiturn: true}}, model)
	ask := func() string {
		t.Helper()
		answer, err := genkit.Generate(ctx, g, ai.WithModel(script), ai.WithTools(tool), ai.WithPrompt("How many invoices are there?"))
		if err != nil {
			t.Fatalf("the run ended: %v", err) // errors of the tool go to the model
		}
		if strings.Contains(answer.Text(), token) {
			t.Error("the model got the token")
		}
		return answer.Text()
	}
	check := func(when string) {
		t.Helper()
		if text := ask(); text != "3 invoices" || seen != token {
			t.Errorf("%s: the model got %q, the API the right token: %t", when, text, seen == token)
		}
	}

	check("with a delegation")

	srv.Revoke(authsectest.ClientID)
	for range 2 {
		text := ask()
		if !strings.HasPrefix(text, "Error: ") || !strings.Contains(text, "Only an admin can change that") {
			t.Errorf("without a delegation the model got %q", text)
		}
		t.Logf("the model got: %s", text)
	}
	if _, err := src.Token(); !errors.Is(err, authsec.ErrNotDelegated) {
		t.Errorf("the source: %v, want %v", err, authsec.ErrNotDelegated)
	}

	token = srv.Delegate(authsectest.ClientID, delegation)
	if _, err := src.Refresh(ctx); err != nil {
		t.Fatal(err)
	}
	check("with a new delegation")
}
