// Copyright 2026 The authsec Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"io"
	"net/http"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// Half of the requests are in flight at the signal, and half on the way.
func TestSIGTERMDropsNoneOf2000Requests(t *testing.T) {
	srv, _ := agent(t)
	const requests = 2000
	var entered atomic.Int64
	half, leave := make(chan bool), make(chan bool)
	api := startAPI(t, srv, func(w http.ResponseWriter, r *http.Request) {
		if entered.Add(1) == requests/2 {
			close(half)
		}
		hold(r, leave)
		io.WriteString(w, "done")
	}, nil)
	p := startProcess(t, api.URL)
	if status, _, _ := get(t, "http://"+p.health+"/readyz"); status != 200 {
		t.Fatalf("readyz %d, want 200", status)
	}
	c := &http.Client{Timeout: 60 * time.Second, Transport: &http.Transport{MaxIdleConnsPerHost: requests}}
	defer c.CloseIdleConnections()
	var dropped atomic.Int64
	var last atomic.Value
	var wg sync.WaitGroup
	for range requests {
		wg.Go(func() {
			resp, err := c.Get("http://" + p.addr)
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
	arrives(t, half)
	p.cmd.Process.Signal(syscall.SIGTERM)
	time.AfterFunc(time.Second, func() { close(leave) })
	wg.Wait()
	if n := dropped.Load(); n > 0 {
		t.Errorf("%d of %d requests were dropped, such as one with %v", n, requests, last.Load())
	}
	if code := p.exit(t); code != 0 {
		t.Errorf("exit code %d, want 0: %s", code, p.logs.String())
	}
}
