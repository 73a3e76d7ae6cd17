// Copyright 2026 The authsec Authors
// SPDX-License-Identifier: Apache-2.0

package web

import (
	"context"
	"net/http"
	"testing"

	"github.com/authsec-go/authsec/interop/internal/itest"
	"github.com/coder/websocket"
)

// dialWebSocket connects to url, "https://…" or "wss://…", with a client that
// authsec.NewClient made.
func dialWebSocket(ctx context.Context, client *http.Client, url string) (*websocket.Conn, *http.Response, error) {
	// docs: begin websocket
	conn, resp, err := websocket.Dial(ctx, url, &websocket.DialOptions{HTTPClient: client})
	// docs: end websocket
	return conn, resp, err
}

// echo upgrades, and sends each message back until the client has gone.
func echo(w http.ResponseWriter, r *http.Request) {
	conn, err := websocket.Accept(w, r, nil)
	if err != nil {
		return
	}
	defer conn.CloseNow()
	for {
		kind, msg, err := conn.Read(r.Context())
		if err != nil {
			return
		}
		if conn.Write(r.Context(), kind, msg) != nil {
			return
		}
	}
}

func say(t *testing.T, conn *websocket.Conn, msg string) {
	t.Helper()
	if err := conn.Write(t.Context(), websocket.MessageText, []byte(msg)); err != nil {
		t.Fatal(err)
	}
	if _, got, err := conn.Read(t.Context()); err != nil || string(got) != msg {
		t.Fatalf("echo of %q: %q, %v", msg, got, err)
	}
}

func TestWebSocket(t *testing.T) {
	stack := itest.New(t)
	api := stack.API(t, http.HandlerFunc(echo), itest.Permissions...)
	client, src := newClient(t, stack.Config(api.URL))

	first, _, err := dialWebSocket(t.Context(), client, api.URL)
	if err != nil {
		t.Fatal(err)
	}
	defer first.CloseNow()
	say(t, first, "hello")

	status := 0
	_, without := stack.Live(t, src, func() error {
		conn, resp, err := dialWebSocket(t.Context(), client, api.URL)
		if err != nil {
			if resp != nil && status == 0 {
				status = resp.StatusCode
			}
			return err
		}
		say(t, conn, "hello again")
		return conn.Close(websocket.StatusNormalClosure, "")
	})
	if status != http.StatusUnauthorized {
		t.Errorf("after the revocation: an answer of %d, want 401", status)
	}
	stack.CheckNotDelegated(t, without)

	// An open connection stays open: the token was for the handshake.
	say(t, first, "still there")

	client, _ = newClient(t, stack.Config(api.URL))
	stack.Replace(t, func() error {
		conn, _, err := dialWebSocket(t.Context(), client, api.URL)
		if err != nil {
			return err
		}
		return conn.Close(websocket.StatusNormalClosure, "")
	})
}
