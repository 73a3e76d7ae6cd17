// Copyright 2026 The authsec Authors
// SPDX-License-Identifier: Apache-2.0

package mcp

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"net/http"
	"slices"

	"github.com/authsec-go/authsec/cmd/authsec/internal/cli"
	"github.com/authsec-go/authsec/fetchtool"
	"github.com/modelcontextprotocol/go-sdk/mcp"
)

// maxCalls is how many calls of the tool run at the same time. Others wait.
const maxCalls = 128

// newServer returns an MCP server whose only tool is tool.
func newServer(tool *fetchtool.Tool, methods []string, version string, log *slog.Logger) *mcp.Server {
	server := mcp.NewServer(&mcp.Implementation{Name: "authsec", Title: "AuthSec secure fetch", Version: version}, &mcp.ServerOptions{
		Capabilities: &mcp.ServerCapabilities{Tools: &mcp.ToolCapabilities{}}, // the list never changes
	})
	server.AddTool(&mcp.Tool{
		Name:        tool.Name(),
		Description: tool.Description(),
		InputSchema: tool.Schema(),
		Annotations: annotations(methods),
	}, handler(tool, log))
	return server
}

// annotations says to hosts what the methods may do (RFC 9110, section 9.2).
func annotations(methods []string) *mcp.ToolAnnotations {
	only := func(these ...string) bool {
		return !slices.ContainsFunc(methods, func(m string) bool { return !slices.Contains(these, m) })
	}
	readOnly := only(http.MethodGet, http.MethodHead)
	destructive, open := !readOnly, true
	return &mcp.ToolAnnotations{
		Title:           "Fetch from a protected API",
		ReadOnlyHint:    readOnly,
		DestructiveHint: &destructive,
		IdempotentHint:  only(http.MethodGet, http.MethodHead, http.MethodPut, http.MethodDelete),
		OpenWorldHint:   &open,
	}
}

// handler calls tool. All its failures are results that a model can read.
func handler(tool *fetchtool.Tool, log *slog.Logger) mcp.ToolHandler {
	slots := make(chan struct{}, maxCalls)
	return func(ctx context.Context, req *mcp.CallToolRequest) (*mcp.CallToolResult, error) {
		select {
		case slots <- struct{}{}:
			defer func() { <-slots }()
		case <-ctx.Done():
			return nil, ctx.Err()
		}
		in, wrong := arguments(req.Params.Arguments)
		if wrong != "" {
			return toolError("Error: " + wrong + inputHint), nil
		}
		result, err := tool.Fetch(ctx, in)
		var e *fetchtool.Error
		switch {
		case err == nil:
			return &mcp.CallToolResult{Content: []mcp.Content{&mcp.TextContent{Text: result.String()}}}, nil
		case ctx.Err() != nil:
			return nil, ctx.Err()
		case !errors.As(err, &e):
			log.Error("the tool failed", "error", cli.OneLine(err.Error()))
			return toolError("Error: The tool failed. Tell the user: the log of authsec mcp serve says why."), nil
		}
		if cause := errors.Unwrap(e); cause != nil && (e.Kind == fetchtool.Misconfigured || e.Kind == fetchtool.Unavailable) {
			log.Warn("a call failed", "kind", e.Kind, "error", cli.OneLine(cause.Error()))
		}
		out := "Error: " + e.Advice
		if e.Kind == fetchtool.Misconfigured {
			out += " You can't change that: tell the user."
		}
		if e.Answer != "" {
			out += "\n\nThe API's answer:\n" + e.Answer
		}
		return toolError(out), nil
	}
}

func toolError(text string) *mcp.CallToolResult {
	return &mcp.CallToolResult{IsError: true, Content: []mcp.Content{&mcp.TextContent{Text: text}}}
}

const inputHint = ` The input is an object of strings, as the tool's schema says, such as {"url": "..."}.`

// arguments reads a call's arguments. A model may write a body's JSON itself in
// place of a string with it. wrong says what can't be understood.
func arguments(raw json.RawMessage) (in fetchtool.Request, wrong string) {
	if len(raw) == 0 || string(raw) == "null" {
		raw = json.RawMessage("{}")
	}
	fields := object(raw)
	if fields == nil {
		return in, "The arguments are not an object."
	}
	for name, value := range fields {
		var s string
		isText := value[0] == '"' && json.Unmarshal(value, &s) == nil
		switch {
		case name == "body" && !isText && string(value) != "null":
			s = string(bytes.TrimSpace(value))
		case string(value) == "null": // as if it were left out
		case !isText && slices.Contains([]string{"url", "method", "content_type"}, name):
			return in, "The argument \"" + name + "\" is not a string."
		}
		switch name {
		case "url":
			in.URL = s
		case "method":
			in.Method = s
		case "body":
			in.Body = s
		case "content_type":
			in.ContentType = s
		default:
			return in, "There is an argument that the tool does not have."
		}
	}
	return in, ""
}
