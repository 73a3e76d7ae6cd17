// Copyright 2026 The authsec Authors
// SPDX-License-Identifier: Apache-2.0

package web

import (
	"net/http"
	"net/http/httptest"
	"net/url"
	"testing"

	"github.com/authsec-go/authsec"
	"github.com/authsec-go/authsec/interop/internal/itest"
)

// The code in the documentation sends no token to another host, directly or after a
// redirect, over TLS or over plain HTTP.
func TestNothingLeaks(t *testing.T) {
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	for name, call := range map[string]func(cfg authsec.Config, url string){
		"otelhttp, attempts": func(cfg authsec.Config, url string) {
			client, _, err := traceAttempts(cfg)
			must(err)
			must(post(t, client, url))
		},
		"otelhttp, requests": func(cfg authsec.Config, url string) {
			client, _, err := traceRequests(cfg)
			must(err)
			must(post(t, client, url))
		},
		"retryablehttp": func(cfg authsec.Config, url string) {
			client, _, err := retryable(cfg)
			must(err)
			client.Logger = nil
			resp, err := client.Post(url, "text/plain", []byte("hello"))
			must(err)
			resp.Body.Close()
		},
		"resty v2": func(cfg authsec.Config, url string) {
			client, _, err := restyV2(cfg)
			must(err)
			_, err = client.R().Get(url)
			must(err)
		},
		"resty v3": func(cfg authsec.Config, url string) {
			client, _, err := restyV3(cfg)
			must(err)
			defer client.Close()
			_, err = client.R().Get(url)
			must(err)
		},
		"websocket": func(cfg authsec.Config, url string) {
			client, _ := newClient(t, cfg)
			if conn, _, err := dialWebSocket(t.Context(), client, url); err == nil {
				conn.CloseNow()
				t.Error("a WebSocket with a server that has none")
			}
		},
	} {
		t.Run(name, func(t *testing.T) { itest.New(t).CheckStays(t, call) })
	}
}

// A reverse proxy hands a redirect to its caller, and adds the token only for listed
// hosts. The caller does not get the token, not even by TRACE.
func TestReverseProxyDoesNotLeak(t *testing.T) {
	stack := itest.New(t)
	requests, tokens := stack.Stray(t, func(cfg authsec.Config, to string) {
		api, err := url.Parse(to)
		if err != nil {
			t.Fatal(err)
		}
		proxy, _, err := reverseProxy(cfg, api)
		if err != nil {
			t.Fatal(err)
		}
		w := httptest.NewRecorder()
		proxy.ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/", nil))
		if stack.HasToken(w.Header().Get("Location") + w.Body.String()) {
			t.Error("the proxy's caller got a token")
		}
	})
	if requests != 2 || tokens != 0 { // the two that were sent there straight
		t.Errorf("%d requests went to other hosts, %d of them with a token; want 2 and 0", requests, tokens)
	}

	mirror := stack.Serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { r.Write(w) }))
	api, err := url.Parse(mirror.URL)
	if err != nil {
		t.Fatal(err)
	}
	proxy, _, err := reverseProxy(stack.Config(mirror.URL), api)
	if err != nil {
		t.Fatal(err)
	}
	w := httptest.NewRecorder()
	proxy.ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), http.MethodTrace, "/", nil))
	if w.Code != http.StatusOK || stack.HasToken(w.Body.String()) {
		t.Errorf("TRACE: %d, and a token: %t, want 200 and none", w.Code, stack.HasToken(w.Body.String()))
	}
}
