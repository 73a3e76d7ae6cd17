// Copyright 2026 The authsec Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"io"
	"net/http"
	"net/http/httptrace"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// Most requests are in flight at the signal. The others were sent, and the proxy may
// not have read or even accepted them.
func TestSIGTERMDropsNoneOf2000Requests(t *testing.T) {
	srv, _ := agent(t)
	const inFlight, onTheWay = 1500, 500
	const slow = 3 * patience // for all of them on a slow machine
	var entered, written atomic.Int64
	leave := make(chan bool)
	api := startAPI(t, srv, func(w http.ResponseWriter, r *http.Request) {
		entered.Add(1)
		hold(r, leave)
		io.WriteString(w, "done")
	}, nil)
	p := startProcess(t, api.URL, "--drain", "5m")
	if status, _, _ := get(t, "http://"+p.health+"/readyz"); status != 200 {
		t.Fatalf("readyz %d, want 200", status)
	}
	c := &http.Client{Timeout: 2 * slow, Transport: &http.Transport{MaxIdleConnsPerHost: inFlight + onTheWay}}
	defer c.CloseIdleConnections()
	var dropped atomic.Int64
	var last atomic.Value
	var wg sync.WaitGroup
	send := func(n int) {
		for range n {
			wg.Go(func() {
				req, _ := http.NewRequestWithContext(httptrace.WithClientTrace(t.Context(), &httptrace.ClientTrace{
					WroteRequest: func(httptrace.WroteRequestInfo) { written.Add(1) },
				}), http.MethodGet, "http://"+p.addr, nil)
				resp, err := c.Do(req)
				if err == nil {
					var body []byte
					body, err = io.ReadAll(resp.Body)
					if resp.Body.Close(); err == nil && resp.StatusCode == 200 && string(body) == "done" {
						return
					}
					last.Store(resp.Status)
				} else {
					last.Store(err.Error())
				}
				dropped.Add(1)
			})
		}
	}
	until := func(n *atomic.Int64, want int64) {
		for deadline := time.Now().Add(slow); n.Load() < want && dropped.Load() == 0 && time.Now().Before(deadline); {
			time.Sleep(time.Millisecond)
		}
	}
	send(inFlight)
	until(&entered, inFlight)
	send(onTheWay)
	until(&written, inFlight+onTheWay)
	p.cmd.Process.Signal(syscall.SIGTERM)
	eventually(t, "shutting down", func() bool { return strings.Contains(p.logs.String(), "shutting down") })
	until(&entered, inFlight+onTheWay)
	close(leave)
	wg.Wait()
	if n := dropped.Load(); n > 0 {
		t.Errorf("%d of %d requests were dropped, such as one with %v", n, inFlight+onTheWay, last.Load())
	}
	if code := p.exit(t); code != 0 {
		t.Errorf("exit code %d, want 0: %s", code, p.logs.String())
	}
}
