// Copyright 2026 The authsec Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
)

// One connection of HTTP/2 may have many requests at once.
func TestTheNumberOfRequestsOverHTTP2IsBounded(t *testing.T) {
	srv, _ := agent(t)
	entered, leave := make(chan bool, 9), make(chan bool)
	api := startAPI(t, srv, func(_ http.ResponseWriter, r *http.Request) {
		entered <- true
		hold(r, leave)
	}, nil)
	p := startProxy(t, api.URL, "--max-connections", "2")
	c := h2cClient()
	defer c.CloseIdleConnections()
	var wg sync.WaitGroup
	for range 2 {
		wg.Go(func() {
			resp, err := c.Get(p.url)
			if err != nil || resp.StatusCode != 200 {
				t.Errorf("one of the first: %v, %v, want 200", resp, err)
				return
			}
			resp.Body.Close()
		})
	}
	arrives(t, entered)
	arrives(t, entered)
	resp, err := c.Post(p.url, "text/plain", strings.NewReader("body"))
	if err != nil {
		t.Fatal(err)
	}
	body, _ := io.ReadAll(resp.Body)
	resp.Body.Close()
	if resp.StatusCode != 503 || resp.ProtoMajor != 2 || !strings.Contains(string(body), "overloaded") || !strings.Contains(string(body), "--max-connections") {
		t.Errorf("the third: %s %s, want 503 and what to do", resp.Status, body)
	}
	close(leave)
	wg.Wait()
	eventually(t, "another request is served", func() bool { // the first two are counted until their handlers end
		resp, err := c.Get(p.url)
		return err == nil && resp.StatusCode == 200
	})
	if _, _, text := get(t, "http://"+p.health+"/metrics"); !strings.Contains(text, `authsec_proxy_requests_total{code="503",error="overloaded"}`) {
		t.Error("the refused request is not counted")
	}
}
