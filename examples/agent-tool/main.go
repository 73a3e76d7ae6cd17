// Copyright 2026 The authsec Authors
// SPDX-License-Identifier: Apache-2.0

// Command agent-tool gives a model a tool that fetches from a protected API. The
// standard input stands for the model: each line is what it wrote as the tool's input.
// The model never sees the token, and reaches only what lies below DOWNSTREAM_URL.
package main

import (
	"bufio"
	"context"
	"fmt"
	"log"
	"os"

	"github.com/authsec-go/authsec"
	"github.com/authsec-go/authsec/fetchtool"
)

func main() {
	cfg, err := authsec.ConfigFromEnv() // AUTHSEC_BASE_URL, AUTHSEC_AGENT_CLIENT_ID
	if err != nil {
		log.Fatal(err)
	}
	tool, err := fetchtool.New(fetchtool.Config{
		AuthSec:        cfg,
		DownstreamURLs: []string{os.Getenv("DOWNSTREAM_URL")},
	})
	if err != nil {
		log.Fatal(err)
	}
	// A framework sends these to its model.
	fmt.Println(tool.Name())
	fmt.Println(tool.Description())
	fmt.Println(string(tool.Schema()))

	input := bufio.NewScanner(os.Stdin)
	for input.Scan() {
		answer, err := tool.Call(context.Background(), input.Text())
		if err != nil {
			log.Fatal(err) // the end of the context, or a wrong configuration
		}
		fmt.Println(answer) // the model reads this: content, or text that begins with "Error:"
	}
	if err := input.Err(); err != nil {
		log.Fatal(err)
	}
}
