// Copyright 2026 The authsec Authors
// SPDX-License-Identifier: Apache-2.0

// Package mcp_test drives MCP clients and servers with delegation tokens.
package mcp_test

import (
	"context"
	"testing"
	"time"
)

// timely is a context for one whole test.
func timely(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	t.Cleanup(cancel)
	return ctx
}
