// Copyright 2026 The authsec Authors
// SPDX-License-Identifier: Apache-2.0

package mcp_test

import (
	"testing"

	"github.com/authsec-go/authsec"
	"github.com/authsec-go/authsec/interop/internal/itest"
)

// A client that is sent to another server does not take the token there.
func TestClientsDoNotLeak(t *testing.T) {
	for name, connect := range map[string]func(cfg authsec.Config, url string) error{
		"go-sdk": func(cfg authsec.Config, url string) error {
			_, _, err := connect(itest.Timely(t), cfg, url)
			return err
		},
		"go-sdk, kept": func(cfg authsec.Config, url string) error {
			_, _, err := connectKept(itest.Timely(t), cfg, url)
			return err
		},
		"mcp-go": func(cfg authsec.Config, url string) error {
			_, _, err := connectMCPGo(itest.Timely(t), cfg, url)
			return err
		},
	} {
		t.Run(name, func(t *testing.T) {
			itest.New(t).CheckStays(t, func(cfg authsec.Config, url string) {
				if err := connect(cfg, url); err == nil {
					t.Error("no error from a server that speaks no MCP")
				}
			})
		})
	}
}
