// Copyright 2026 The authsec Authors
// SPDX-License-Identifier: Apache-2.0

package mcp_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/authsec-go/authsec/authsectest"
)

// idOf returns the ID of the request in a body.
func idOf(body []byte) json.RawMessage {
	var m struct{ ID json.RawMessage }
	json.Unmarshal(body, &m)
	return m.ID
}

// TestConnectRevokedAmong100Calls: those that the server has accepted get their
// results, others an error that says so, and each gets one response.
func TestConnectRevokedAmong100Calls(t *testing.T) {
	srv := agent(t)
	accepted, release := make(chan struct{}, 200), make(chan struct{})
	s := newWire(t, srv, posts(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		sse(w, ": accepted\n\n")
		accepted <- struct{}{}
		<-release
		sse(w, "data: {\"jsonrpc\":\"2.0\",\"id\":%s,\"result\":{}}\n\n", idOf(body))
	}))
	send := func(from, to int) {
		for i := from; i < to; i++ {
			s.h.send(`{"jsonrpc":"2.0","id":%d,"method":"tools/call","params":{"name":"x"}}`, i)
		}
	}
	send(0, 50)
	for range 50 {
		<-accepted
	}
	srv.Revoke(authsectest.ClientID)
	send(50, 100)
	seen := map[string]bool{}
	for i := range 100 {
		if i == 50 {
			close(release)
		}
		raw, m := s.h.next()
		id := string(m["id"])
		if seen[id] {
			t.Errorf("two responses to %s", id)
		}
		seen[id] = true
		if result := m["result"] != nil; result != (i >= 50) || !result && (!strings.Contains(raw, "-32011") || !strings.Contains(raw, "admin")) {
			t.Errorf("response %d: got %s", i, raw)
		}
	}
	delegate(srv)
	eventually(t, func() error {
		send(1000, 1001)
		if raw, m := s.h.next(); m["result"] == nil {
			return errors.New(raw)
		}
		return nil
	})
}

// TestConnectCancelsACallThatAwaitsItsToken: the server never gets it.
func TestConnectCancelsACallThatAwaitsItsToken(t *testing.T) {
	srv := agent(t)
	asked, release := make(chan struct{}, 10), make(chan struct{})
	srv.Fail(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked <- struct{}{}
		<-release
		srv.Fail(nil)
		http.Redirect(w, r, r.URL.String(), http.StatusServiceUnavailable)
	}))
	s := newest(t, srv, func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		jsonAnswer(w, 200, fmt.Sprintf(`{"jsonrpc":"2.0","id":%s,"result":{}}`, idOf(body)))
	})
	s.h.send(`{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"x"}}`)
	s.h.send(`{"jsonrpc":"2.0","id":2,"method":"tools/call","params":{"name":"x",%s}}`, meta)
	<-asked
	s.h.send(`{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":2}}`)
	s.h.send(`{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":1}}`)
	s.h.send(`{"jsonrpc":"2.0","id":3,"method":"ping"}`)
	close(release)
	if raw, m := s.h.next(); string(m["id"]) != "3" || m["result"] == nil {
		t.Errorf("got %s, want the response to 3", raw)
	}
	for _, r := range s.requests("POST") {
		if strings.Contains(r.body, "tools/call") {
			t.Errorf("the server got %s, which was cancelled before", r.body)
		}
	}
}

// TestConnectPassesOnALateResponse: with the revisions that have sessions, only the
// notification cancels a call, and the response may cross it.
func TestConnectPassesOnALateResponse(t *testing.T) {
	srv := agent(t)
	arrived, cancelled := make(chan struct{}), make(chan struct{})
	cancel := sync.OnceFunc(func() { close(cancelled) })
	var s wire
	s.answer = posts(func(w http.ResponseWriter, r *http.Request) {
		sse(w, ": accepted\n\n")
		close(arrived)
		<-cancelled
		sse(w, "data: {\"jsonrpc\":\"2.0\",\"id\":1,\"result\":{}}\n\n")
	})
	api := protect(t, srv, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.serve(w, r)
		if all := s.requests("POST"); strings.Contains(all[len(all)-1].body, "notifications/cancelled") {
			cancel()
		}
	}))
	h := start(t, command(t, srv, "connect", api.URL))
	h.greet()
	h.send(`{"jsonrpc":"2.0","id":1,"method":"x"}`)
	<-arrived
	h.send(`{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":1}}`)
	if raw, m := h.next(); string(m["id"]) != "1" || m["result"] == nil {
		t.Errorf("got %s, want the response", raw)
	}
}

// TestConnectEndsAtASignalIfNobodyReads its standard output.
func TestConnectEndsAtASignalIfNobodyReads(t *testing.T) {
	srv := agent(t)
	sent := make(chan struct{})
	api := protect(t, srv, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		for i := range 100 { // more than a pipe holds
			sse(w, "data: {\"jsonrpc\":\"2.0\",\"method\":\"notifications/message\",\"params\":[\"%s\"]}\n\n", strings.Repeat("x", 10_000))
			if i == 99 {
				close(sent)
			}
		}
		<-r.Context().Done()
	}))
	cmd := command(t, srv, "connect", api.URL)
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := cmd.StdoutPipe(); err != nil { // is not read
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	io.WriteString(in, `{"jsonrpc":"2.0","id":1,"method":"x"}`+"\n")
	<-sent
	io.WriteString(in, "malformed, so that it has an answer\n")
	ended := make(chan error, 1)
	cmd.Process.Signal(syscall.SIGTERM)
	go func() { ended <- cmd.Wait() }()
	select {
	case <-ended:
	case <-time.After(20 * time.Second):
		cmd.Process.Kill()
		t.Error("the command goes on after SIGTERM")
	}
}
