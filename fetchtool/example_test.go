// Copyright 2026 The authsec Authors
// SPDX-License-Identifier: Apache-2.0

package fetchtool_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"net/http/httptest"
	"strings"

	"github.com/authsec-go/authsec/authsectest"
	"github.com/authsec-go/authsec/fetchtool"
)

// exampleStack starts an AuthSec server and an API in this process. A program
// of your own has authsec.ConfigFromEnv and os.Getenv("DOWNSTREAM_URL").
func exampleStack() (cfg fetchtool.Config, stop func()) {
	srv := authsectest.NewServer()
	srv.Delegate(authsectest.ClientID, authsectest.Delegation{Permissions: []string{"billing:read"}})
	api := httptest.NewServer(srv.API(authsectest.Answer(200, `{"customer":42}`), "billing:read"))
	cfg = fetchtool.Config{AuthSec: srv.Config(authsectest.ClientID), DownstreamURLs: []string{api.URL + "/v1"}}
	return cfg, func() { api.Close(); srv.Close() }
}

// A framework calls the tool with what the model wrote.
func ExampleTool_Call() {
	cfg, stop := exampleStack()
	defer stop()
	tool, err := fetchtool.New(cfg)
	if err != nil {
		log.Fatal(err)
	}
	for _, input := range []string{"/customers/42", "https://evil.test/?next=/v1"} {
		answer, err := tool.Call(context.Background(), input)
		if err != nil {
			log.Fatal(err) // nothing that a model could mend
		}
		first, _, _ := strings.Cut(answer, ". ")
		fmt.Println(first)
	}
	// Output:
	// {"customer":42}
	// Error: The URL lies below none of the permitted URLs
}

// Programs tell errors by their kind.
func ExampleTool_Fetch() {
	cfg, stop := exampleStack()
	defer stop()
	cfg.Permissions = []string{"billing:read", "billing:write"}
	tool, err := fetchtool.New(cfg)
	if err != nil {
		log.Fatal(err)
	}
	_, err = tool.Fetch(context.Background(), fetchtool.Request{URL: "/customers/42"})
	var e *fetchtool.Error
	if errors.As(err, &e) && e.Kind == fetchtool.MissingPermission {
		fmt.Println(e.Advice)
	}
	// Output: This agent's delegation lacks billing:write. Only an admin can change that, with a trust delegation in AuthSec. Do not repeat the call; tell the user.
}

// The schema goes to the API of a language model with the tool's name and
// description.
func ExampleTool_Schema() {
	tool, err := fetchtool.New(fetchtool.Config{
		AuthSec:        authsectest.NewInMemoryServer().Config(authsectest.ClientID),
		DownstreamURLs: []string{"https://billing.example.com/v1"},
	})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(tool.Name())
	fmt.Println(string(tool.Schema()))
	// Output:
	// secure_fetch
	// {"additionalProperties":false,"properties":{"url":{"description":"Permitted: GET below https://billing.example.com/v1. A path counts from there.","type":"string"}},"required":["url"],"type":"object"}
}
