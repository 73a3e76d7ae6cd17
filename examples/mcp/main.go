// Copyright 2026 The authsec Authors
// SPDX-License-Identifier: Apache-2.0

// Command mcp lists the tools of a protected MCP server, whose URL is DOWNSTREAM_URL, and
// calls the one that TOOL names, without arguments.
package main

import (
	"context"
	"fmt"
	"log"
	"os"

	"github.com/authsec-go/authsec"
	"github.com/modelcontextprotocol/go-sdk/mcp"
)

func main() {
	ctx := context.Background()
	cfg, err := authsec.ConfigFromEnv() // AUTHSEC_BASE_URL, AUTHSEC_AGENT_CLIENT_ID, DOWNSTREAM_URL
	if err != nil {
		log.Fatal(err)
	}
	client, err := authsec.NewClient(cfg)
	if err != nil {
		log.Fatal(err)
	}
	transport := &mcp.StreamableClientTransport{Endpoint: os.Getenv("DOWNSTREAM_URL"), HTTPClient: client}
	session, err := mcp.NewClient(&mcp.Implementation{Name: "agent", Version: "1"}, nil).Connect(ctx, transport, nil)
	if err != nil {
		log.Fatal(err)
	}
	defer session.Close()
	for tool, err := range session.Tools(ctx, nil) {
		if err != nil {
			log.Fatal(err)
		}
		fmt.Printf("%s: %s\n", tool.Name, tool.Description)
	}
	name := os.Getenv("TOOL")
	if name == "" {
		return
	}
	result, err := session.CallTool(ctx, &mcp.CallToolParams{Name: name})
	if err != nil {
		log.Fatal(err)
	}
	for _, content := range result.Content {
		if text, ok := content.(*mcp.TextContent); ok {
			fmt.Println(text.Text)
		}
	}
}
