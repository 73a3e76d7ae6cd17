// Copyright 2026 The authsec Authors
// SPDX-License-Identifier: Apache-2.0

package mcp_test

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/authsec-go/authsec/authsectest"
)

// clients are the hosts on the TypeScript SDK, with the revision that they speak: its
// first generation, and its second with the old revisions and with the newest.
var clients = map[string]string{"v1": "2025-11-25", "v2-legacy": "2025-11-25", "v2": "2026-07-28"}

// TestServeTypeScript is TestServeLoop with the TypeScript SDK as the host, on
// standard input and output and over HTTP.
func TestServeTypeScript(t *testing.T) {
	for client, version := range clients {
		for _, kind := range []string{"stdio", "http"} {
			t.Run(client+" "+kind, func(t *testing.T) {
				typescript(t)
				srv := agent(t)
				api := protect(t, srv, customers)
				args := []string{client, "stdio", os.Args[0], "mcp", "serve", "--url", api.URL + "/v1"}
				if kind == "http" {
					_, url := serveHTTP(t, srv, "--url", api.URL+"/v1")
					args = []string{client, "http", url}
				}
				h := startTSHost(t, srv, args...)
				if o := h.must(`{"op":"connect"}`); o.OK.Version != version && client+kind != "v1stdio" { // which does not tell
					t.Errorf("got the revision %q, want %s", o.OK.Version, version)
				}
				if o := h.must(`{"op":"list"}`); len(o.OK.Tools) != 1 || o.OK.Tools[0].Name != "secure_fetch" {
					t.Errorf("list: got %s", o.raw)
				}
				use := func(args string) outcome {
					return h.must(`{"op":"call","name":"secure_fetch","args":` + args + `}`)
				}
				if o := use(`{"url":"customers/42"}`); o.OK.IsError || !strings.Contains(o.text(), `"path":"/v1/customers/42"`) {
					t.Errorf("call: got %s", o.raw)
				}
				if o := use(`{"url":"https://evil.test/"}`); !o.OK.IsError || !strings.Contains(o.text(), "Permitted: GET below") {
					t.Errorf("out of scope: got %s", o.raw)
				}
				huge := h.do(`{"op":"call","name":"secure_fetch","args":{"url":"` + strings.Repeat("x", 4_500_000) + `"}}`)
				if kind == "stdio" && !huge.OK.IsError || kind == "http" && huge.Error == nil || !strings.Contains(huge.raw, "4194304") && !strings.Contains(huge.raw, "longer") {
					t.Errorf("a huge call: got %.300s", huge.raw)
				}
				if o := h.must(`{"op":"many","name":"secure_fetch","n":100,"args":{"url":"x"}}`); o.OK.Failed != 100 { // text is no argument
					t.Errorf("100 wrong calls: got %.300s", o.raw)
				}
				srv.Revoke(authsectest.ClientID)
				if o := use(`{"url":"x"}`); !o.OK.IsError || !strings.Contains(o.text(), "admin") {
					t.Errorf("revoked: got %s", o.raw)
				}
				delegate(srv)
				eventually(t, func() error {
					if o := use(`{"url":"x"}`); o.OK.IsError {
						return errors.New(o.raw)
					}
					return nil
				})
				if o := h.must(`{"op":"state"}`); len(o.OK.Errors) > 0 && kind == "stdio" {
					t.Errorf("the host saw errors of the protocol: %q", o.OK.Errors)
				}
				h.must(`{"op":"close"}`)
			})
		}
	}
}

// TestConnectTypeScript is TestConnectLoop with the TypeScript SDK on both sides, in
// each pair of its generations.
func TestConnectTypeScript(t *testing.T) {
	for _, pair := range [][2]string{{"v1", "v1"}, {"v2-legacy", "v1"}, {"v1", "v2"}, {"v2", "v2"}} {
		t.Run(pair[0]+" to "+pair[1], func(t *testing.T) {
			typescript(t)
			srv := agent(t)
			url, says := tsServer(t, srv, pair[1])
			h := startTSHost(t, srv, pair[0], "stdio", os.Args[0], "mcp", "connect", url)
			hear := func(want string) {
				t.Helper()
				for {
					select {
					case got, ok := <-says:
						switch {
						case !ok:
							t.Fatalf("the server ended, and did not say %q", want)
						case got == want:
							return
						}
					case <-time.After(10 * time.Second):
						t.Fatalf("the server did not say %q", want)
					}
				}
			}
			if o := h.must(`{"op":"connect"}`); o.OK.Version != clients[pair[0]] && pair[0] != "v1" {
				t.Errorf("got the revision %q, want %s", o.OK.Version, clients[pair[0]])
			}
			if o := h.must(`{"op":"list"}`); len(o.OK.Tools) != 4 {
				t.Errorf("list: got %s", o.raw)
			}
			if o := h.must(`{"op":"call","name":"echo","args":{"text":"<é\u2028>"}}`); o.text() != "<é\u2028>" {
				t.Errorf("echo: got %s", o.raw)
			}
			if o := h.must(`{"op":"progress","name":"progress"}`); !slices.Equal(o.OK.Seen, []float64{1, 2, 3}) {
				t.Errorf("progress: got %s", o.raw)
			}
			if pair != [2]string{"v1", "v2"} { // that server has no state for old revisions
				if o := h.must(`{"op":"call","name":"ask","args":{}}`); o.text() != "accept3" {
					t.Errorf("ask: got %s", o.raw)
				}
				if o := h.do(`{"op":"cancel","name":"wait","after":300}`); o.Error == nil {
					t.Errorf("a cancelled call: got %s", o.raw)
				}
				hear("started")
				hear("stopped")
			}
			o := h.must(`{"op":"many","name":"echo","n":100}`)
			for i := range 100 {
				if len(o.OK.Texts) != 100 || o.OK.Texts[i] != fmt.Sprint(i) {
					t.Fatalf("100 calls at once: got %s", o.raw)
				}
			}
			if pair[1] == "v1" {
				eventually(t, func() error { // a message that the server sends by itself
					if o := h.must(`{"op":"state"}`); o.OK.Changes == 0 {
						return errors.New("no notifications/tools/list_changed")
					}
					return nil
				})
			}
			srv.Revoke(authsectest.ClientID)
			if o := h.do(`{"op":"call","name":"echo","args":{"text":"x"}}`); o.Error == nil || fmt.Sprint(o.Error.Code) != "-32011" || !strings.Contains(o.Error.Message, "An admin must delegate to it again") {
				t.Errorf("revoked: got %s", o.raw)
			}
			delegate(srv)
			eventually(t, func() error {
				if o := h.do(`{"op":"call","name":"echo","args":{"text":"x"}}`); o.Error != nil {
					return errors.New(o.raw)
				}
				return nil
			})
			if o := h.must(`{"op":"state"}`); len(o.OK.Errors) > 0 {
				t.Errorf("the host saw errors of the protocol: %q", o.OK.Errors)
			}
			h.must(`{"op":"close"}`)
			if pair[1] == "v1" {
				hear("deleted")
			}
		})
	}
}
