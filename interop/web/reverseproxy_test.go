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

// reverseProxy returns a proxy that sends its requests to api, with the token.
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
		req.Header.Set("Authorization", "Bearer of-the-caller") // must not reach the API
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
			t.Errorf("answer of %d bytes, want the %d that were sent", len(got), len(body))
		}
		return nil
	}

	front, src, logged := start()
	rejected, without := stack.Live(t, src, func() error { return send(front, "hello") })
	if rejected != statusError(http.StatusUnauthorized) {
		t.Errorf("after the revocation: %v, want the API's 401", rejected)
	}
	// The proxy's caller gets a 502. The proxy's ErrorHandler gets the error.
	if without != statusError(http.StatusBadGateway) {
		t.Errorf("without a delegation: %v, want the proxy's 502", without)
	}
	if text := logged.String(); !strings.Contains(text, "no delegation") || stack.HasToken(text) {
		t.Error("the proxy's log does not say that there is no delegation, or has a token")
	}

	// With another token, the request is sent again. A proxy's requests have no GetBody,
	// so the Transport reads bodies up to 64 KiB first.
	for _, body := range []string{"", "hello", strings.Repeat("b", 64<<10)} {
		front, _, _ = start()
		before := stack.Requests()
		stack.Replace(t, func() error { return send(front, body) })
		if got := stack.Requests() - before; got != 3 {
			t.Errorf("with %d bytes: the API got %d requests, want 3: one with a rejected token, and two that succeed", len(body), got)
		}
	}
	// A longer body can't be sent again: the caller gets the 401, and the next request
	// succeeds.
	long := strings.Repeat("b", 64<<10+1)
	front, _, _ = start()
	if err := send(front, long); err != nil {
		t.Fatal(err)
	}
	stack.Revoke()
	stack.Delegate()
	if err := send(front, long); err != statusError(http.StatusUnauthorized) {
		t.Errorf("with a long body, after another delegation: %v, want the API's 401", err)
	}
	if err := send(front, long); err != nil {
		t.Errorf("the next request: %v", err)
	}
	stack.CheckSeen(t)
}

// ErrorHandler gets the Transport's error.
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
	var got error
	proxy.ErrorHandler = func(w http.ResponseWriter, _ *http.Request, err error) {
		got = err
		w.WriteHeader(http.StatusServiceUnavailable)
	}
	w := httptest.NewRecorder()
	proxy.ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/", nil))
	stack.CheckNotDelegated(t, got)
}
