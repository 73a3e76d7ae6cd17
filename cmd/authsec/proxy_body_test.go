// Copyright 2026 The authsec Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"

	"github.com/authsec-go/authsec/authsectest"
)

func TestProxyReplaysShortBodiesAfterARevocation(t *testing.T) {
	srv, _ := agent(t)
	var mu sync.Mutex
	sent := 0
	revoke := func() {}
	api := startAPI(t, srv, echo, func(_ http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		r.Body = io.NopCloser(bytes.NewReader(body))
		mu.Lock()
		defer mu.Unlock()
		sent++
		if sent == 1 {
			revoke()
		}
	})
	p := startProxy(t, api.URL)
	revoke = func() {
		srv.Revoke(authsectest.ClientID)
		srv.Delegate(authsectest.ClientID, authsectest.Delegation{})
	}
	for _, tc := range []struct {
		name    string
		size    int
		chunked bool
		status  int
		sent    int
	}{
		{"short", 5, false, 200, 2},
		{"as long as is kept", maxReplay, false, 200, 2},
		{"longer", maxReplay + 1, false, 401, 1},
		{"short and chunked", 5, true, 200, 2},
		{"long and chunked", maxReplay + 1, true, 401, 1},
	} {
		mu.Lock()
		sent = 0
		mu.Unlock()
		body := strings.Repeat("x", tc.size)
		req, _ := http.NewRequestWithContext(t.Context(), http.MethodPost, p.url, strings.NewReader(body))
		if tc.chunked {
			req.ContentLength = -1
		}
		resp, err := client.Do(req)
		if err != nil {
			t.Fatalf("%s: %v", tc.name, err)
		}
		got, _ := io.ReadAll(resp.Body)
		resp.Body.Close()
		if resp.StatusCode != tc.status || sent != tc.sent || (tc.status == 200 && string(got) != body) {
			t.Errorf("%s: status %d, sent %d times, %d bytes back, want %d, %d, %d", tc.name, resp.StatusCode, sent, len(got), tc.status, tc.sent, len(body))
		}
		p.stop() // the number of fetches is limited: the next case starts another proxy
		p = startProxy(t, api.URL)
	}
}

func TestProxyPassesBodiesOnAsTheyCome(t *testing.T) {
	srv, _ := agent(t)
	api := startAPI(t, srv, func(w http.ResponseWriter, r *http.Request) {
		rc := http.NewResponseController(w)
		rc.EnableFullDuplex()
		for line := bufio.NewScanner(r.Body); line.Scan(); {
			fmt.Fprintln(w, "got", line.Text())
			rc.Flush()
		}
	}, nil)
	p := startProxy(t, api.URL)
	// This needs a raw connection: http.Transport does not read the answer before the whole request is sent.
	conn, _, resp := raw(t, p.addr, "POST / HTTP/1.1\r\nHost: "+p.addr+"\r\nTransfer-Encoding: chunked\r\n\r\n4\r\none\n\r\n")
	answer := bufio.NewReader(resp.Body)
	for _, next := range []string{"two", ""} {
		got, err := answer.ReadString('\n')
		if want := "got " + map[string]string{"two": "one", "": "two"}[next] + "\n"; got != want {
			t.Fatalf("before the body ended came %q, %v, want %q", got, err, want)
		}
		if next != "" {
			fmt.Fprintf(conn, "%x\r\n%s\n\r\n", len(next)+1, next)
		} else {
			io.WriteString(conn, "0\r\n\r\n")
		}
	}
}

func TestProxyPassesEventsOnOneByOne(t *testing.T) {
	srv, _ := agent(t)
	next := make(chan bool)
	api := startAPI(t, srv, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/event-stream")
		if r.URL.Path == "/sized" { // no event stream, and of known length
			w.Header().Set("Content-Type", "text/plain")
			w.Header().Set("Content-Length", "18")
		}
		for i := range 2 {
			fmt.Fprintf(w, "data: %d\n\n", i)
			http.NewResponseController(w).Flush()
			select {
			case <-next:
			case <-r.Context().Done():
				return
			}
		}
	}, nil)
	p := startProxy(t, api.URL)
	for _, path := range []string{"/events", "/sized"} {
		resp, err := client.Get(p.url + path)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		event := make([]byte, len("data: 0\n\n"))
		for i := range 2 {
			if _, err := io.ReadFull(resp.Body, event); err != nil || string(event) != fmt.Sprintf("data: %d\n\n", i) {
				t.Fatalf("%s: event %d did not come before the next was written: %q, %v", path, i, event, err)
			}
			next <- true
		}
	}
}

// upgraded is an API that echoes after the switch of protocols.
func upgraded(w http.ResponseWriter, r *http.Request) {
	conn, rw, err := http.NewResponseController(w).Hijack()
	if err != nil {
		return
	}
	defer conn.Close()
	fmt.Fprint(rw, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: "+r.Header.Get("Upgrade")+"\r\n\r\n")
	rw.Flush()
	io.Copy(conn, rw)
}

const upgrade = "GET /socket HTTP/1.1\r\nHost: %s\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"

func TestProxyPassesUpgradesOn(t *testing.T) {
	srv, _ := agent(t)
	api := startAPI(t, srv, upgraded, nil)
	p := startProxy(t, api.URL, "--log-level", "debug")
	conn, r, resp := raw(t, p.addr, fmt.Sprintf(upgrade, p.addr))
	if resp.StatusCode != 101 {
		t.Fatalf("status %d, want 101", resp.StatusCode)
	}
	for _, line := range []string{"ping\n", "pong\n"} {
		io.WriteString(conn, line)
		if got, err := r.ReadString('\n'); got != line {
			t.Fatalf("echo %q, %v, want %q", got, err, line)
		}
	}
	conn.Close()
	p.stop()
	if logs := p.logs.String(); !strings.Contains(logs, `"status":101`) {
		t.Errorf("the request's line does not tell status 101: %s", logs)
	}
}
