// Copyright 2026 The authsec Authors
// SPDX-License-Identifier: Apache-2.0

package web

import (
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"strings"
	"sync"
	"testing"

	"github.com/authsec-go/authsec"
	"github.com/authsec-go/authsec/interop/internal/itest"
)

// reverseProxy returns a proxy that sends all it gets to api, with the token.
func reverseProxy(cfg authsec.Config, api *url.URL) (*httputil.ReverseProxy, *authsec.Source, error) {
	// docs: begin reverse-proxy
	client, err := authsec.NewClient(cfg)
	if err != nil {
		return nil, nil, err
	}
	proxy := &httputil.ReverseProxy{
		Rewrite:   func(r *httputil.ProxyRequest) { r.SetURL(api) },
		Transport: client.Transport,
	}
	// docs: end reverse-proxy
	return proxy, itest.SourceOf(client), nil
}

// lines collects a log.
type lines struct {
	mu   sync.Mutex
	text strings.Builder
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

func TestReverseProxy(t *testing.T) {
	stack := itest.New(t)
	api := stack.API(t, http.HandlerFunc(repeat), itest.Permissions...)
	to, err := url.Parse(api.URL)
	if err != nil {
		t.Fatal(err)
	}
	start := func() (front *httptest.Server, src *authsec.Source, logged *lines) {
		proxy, src, err := reverseProxy(stack.Config(api.URL), to)
		if err != nil {
			t.Fatal(err)
		}
		logged = new(lines)
		proxy.ErrorLog = log.New(logged, "", 0)
		front = httptest.NewTLSServer(proxy)
		t.Cleanup(front.Close)
		return front, src, logged
	}
	send := func(front *httptest.Server, body string) error {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, front.URL, strings.NewReader(body))
		if err != nil {
			return err
		}
		req.Header.Set("Authorization", "Bearer of-the-caller") // not the API's business
		resp, err := front.Client().Do(req)
		if err != nil {
			return err
		}
		defer resp.Body.Close()
		got, err := io.ReadAll(resp.Body)
		if err != nil {
			return err
		}
		stack.CheckNoToken(t, string(got))
		if resp.StatusCode != http.StatusOK {
			return statusError(resp.StatusCode)
		}
		if string(got) != body {
			t.Errorf("answer = %q, want %q", got, body)
		}
		return nil
	}

	front, src, logged := start()
	refused, without := stack.Live(t, src, func() error { return send(front, "hello") })
	if refused != statusError(http.StatusUnauthorized) {
		t.Errorf("after the revocation: %v, want the API's 401", refused)
	}
	// A proxy's caller sees a 502. The proxy's ErrorHandler has the error.
	if without != statusError(http.StatusBadGateway) {
		t.Errorf("without a delegation: %v, want the proxy's 502", without)
	}
	if text := logged.String(); !strings.Contains(text, "no delegation") || stack.HasToken(text) {
		t.Error("the proxy's log does not say that there is no delegation, or has a token")
	}

	// Without a body the request is sent again with another token. With one, which
	// a proxy can't have again, its caller gets the 401, and the next goes through.
	front, _, _ = start()
	stack.Replace(t, func() error { return send(front, "") })
	front, _, _ = start()
	if err := send(front, "hello"); err != nil {
		t.Fatal(err)
	}
	stack.Revoke()
	stack.Delegate()
	if err := send(front, "hello"); err != statusError(http.StatusUnauthorized) {
		t.Errorf("with a body, after another delegation: %v, want the API's 401", err)
	}
	if err := send(front, "hello"); err != nil {
		t.Errorf("the next request: %v", err)
	}
	stack.CheckSeen(t)
}

// What ErrorHandler is told is what the Transport said.
func TestReverseProxyErrorHandlerKeepsTheChain(t *testing.T) {
	stack := itest.New(t)
	stack.Revoke()
	api := stack.API(t, nil)
	to, err := url.Parse(api.URL)
	if err != nil {
		t.Fatal(err)
	}
	proxy, _, err := reverseProxy(stack.Config(api.URL), to)
	if err != nil {
		t.Fatal(err)
	}
	var told error
	proxy.ErrorHandler = func(w http.ResponseWriter, _ *http.Request, err error) {
		told = err
		w.WriteHeader(http.StatusServiceUnavailable)
	}
	w := httptest.NewRecorder()
	proxy.ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/", nil))
	stack.CheckNotDelegated(t, told)
}
