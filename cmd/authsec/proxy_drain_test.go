// Copyright 2026 The authsec Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/authsec-go/authsec"
	"github.com/authsec-go/authsec/authsectest"
	"github.com/spf13/pflag"
)

func TestProxyFinishesRequestsInFlightAfterASignal(t *testing.T) {
	for _, sig := range []os.Signal{syscall.SIGTERM, os.Interrupt} {
		srv, _ := agent(t)
		entered, leave := make(chan bool, 1), make(chan bool)
		api := startAPI(t, srv, func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path == "/slow" {
				entered <- true
				hold(r, leave)
			}
			io.WriteString(w, "done")
		}, nil)
		p := startProcess(t, api.URL)
		if status, _, _ := get(t, "http://"+p.health+"/readyz"); status != 200 {
			t.Fatalf("readyz %d, want 200", status)
		}
		type outcome struct {
			status int
			body   string
		}
		answered := make(chan outcome, 1)
		go func() {
			resp, err := client.Get("http://" + p.addr + "/slow")
			if err != nil {
				answered <- outcome{0, err.Error()}
				return
			}
			defer resp.Body.Close()
			body, _ := io.ReadAll(resp.Body)
			answered <- outcome{resp.StatusCode, string(body)}
		}()
		arrives(t, entered)
		p.cmd.Process.Signal(sig)
		eventually(t, "new connections refused", func() bool {
			conn, err := net.Dial("tcp", p.addr)
			if err == nil {
				conn.Close()
			}
			return err != nil
		})
		if status, _, _ := get(t, "http://"+p.health+"/readyz"); status != 503 {
			t.Errorf("%v: readyz %d, want 503", sig, status)
		}
		if status, _, _ := get(t, "http://"+p.health+"/healthz"); status != 200 {
			t.Errorf("%v: healthz %d, want 200", sig, status)
		}
		close(leave)
		if got := arrives(t, answered); got != (outcome{200, "done"}) {
			t.Errorf("%v: the request in flight got %+v, want 200 and its body", sig, got)
		}
		if code := p.exit(t); code != 0 {
			t.Errorf("%v: exit code %d, want 0: %s", sig, code, p.logs.String())
		}
	}
}

func TestProxyServesRequestsThatTheSignalOvertook(t *testing.T) {
	srv, _ := agent(t)
	api := startAPI(t, srv, nil, nil)
	u, err := url.Parse(api.URL)
	if err != nil {
		t.Fatal(err)
	}
	src, err := authsec.NewSource(srv.Config(authsectest.ClientID))
	if err != nil {
		t.Fatal(err)
	}
	f := newProxyFlags(pflag.NewFlagSet("", 0))
	f.listen, f.drain = "127.0.0.1:0", patience
	s := newSidecar(src, u, f, slog.New(slog.DiscardHandler))
	s.linger = patience // it ends when the test has seen enough
	if err := s.listen(t.Context(), f); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- s.serve(ctx) }()
	request := "GET / HTTP/1.1\r\nHost: " + s.ln.Addr().String() + "\r\n\r\n"
	conn, r, resp := raw(t, s.ln.Addr().String(), request)
	if io.Copy(io.Discard, resp.Body); resp.StatusCode != 200 || resp.Close {
		t.Fatalf("status %d, closed %v, want 200 on a connection that is kept", resp.StatusCode, resp.Close)
	}
	cancel()
	eventually(t, "shutting down", s.draining.Load)
	io.WriteString(conn, request)
	if resp, err = http.ReadResponse(r, nil); err != nil || resp.StatusCode != 200 || !resp.Close {
		t.Fatalf("on a kept connection: %+v, %v, want 200 and its end", resp, err)
	}
	if _, _, resp := raw(t, s.ln.Addr().String(), request); resp.StatusCode != 200 || !resp.Close {
		t.Errorf("on a new connection: status %d, closed %v, want 200 and its end", resp.StatusCode, resp.Close)
	}
	s.close()
	if err := arrives(t, ended); err != nil {
		t.Errorf("serve = %v, want nil", err)
	}
}

func TestProxyKeepsUpgradedConnectionsUntilTheyEnd(t *testing.T) {
	srv, _ := agent(t)
	api := startAPI(t, srv, upgraded, nil)
	p := startProcess(t, api.URL)
	conn, r, _ := raw(t, p.addr, fmt.Sprintf(upgrade, p.addr))
	p.cmd.Process.Signal(syscall.SIGTERM)
	eventually(t, "shutting down", func() bool { return strings.Contains(p.logs.String(), "shutting down") })
	eventually(t, "new connections refused", func() bool {
		conn, err := net.Dial("tcp", p.addr)
		if err == nil {
			conn.Close()
		}
		return err != nil
	})
	for range 5 {
		io.WriteString(conn, "still\n")
		if got, err := r.ReadString('\n'); got != "still\n" {
			t.Fatalf("after SIGTERM the echo is %q, %v, want still", got, err)
		}
		time.Sleep(20 * time.Millisecond)
	}
	conn.Close()
	if code := p.exit(t); code != 0 {
		t.Errorf("exit code %d, want 0", code)
	}
}

func TestProxyEndsWithinItsDrainWhateverIsInFlight(t *testing.T) {
	srv, _ := agent(t)
	entered, leave := make(chan bool, 1), make(chan bool) // never
	api := startAPI(t, srv, func(_ http.ResponseWriter, r *http.Request) {
		entered <- true
		hold(r, leave)
	}, nil)
	p := startProcess(t, api.URL, "--drain", "100ms")
	go client.Get("http://" + p.addr)
	arrives(t, entered)
	p.cmd.Process.Signal(syscall.SIGTERM)
	if code := p.exit(t); code != 0 || !strings.Contains(p.logs.String(), "requests cut off") {
		t.Errorf("exit code %d, want 0 and a warning: %s", code, p.logs.String())
	}
}
