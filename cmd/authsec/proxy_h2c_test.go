// Copyright 2026 The authsec Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bufio"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/authsec-go/authsec/authsectest"
)

// h2cClient speaks HTTP/2 without TLS, as gRPC clients do.
func h2cClient() *http.Client {
	tr := &http.Transport{Protocols: new(http.Protocols)}
	tr.Protocols.SetUnencryptedHTTP2(true)
	return &http.Client{Transport: tr, Timeout: patience}
}

// grpcAPI is a protected API that answers each line at once, with trailers, over
// HTTP/2 without TLS.
func grpcAPI(t *testing.T, srv *authsectest.Server) *httptest.Server {
	t.Helper()
	api := httptest.NewUnstartedServer(srv.API(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.ProtoMajor != 2 || r.Header.Get("Te") != "trailers" {
			w.WriteHeader(http.StatusHTTPVersionNotSupported)
			return
		}
		w.Header().Set("Content-Type", "application/grpc")
		w.WriteHeader(200)
		for lines := bufio.NewScanner(r.Body); lines.Scan(); {
			io.WriteString(w, lines.Text()+"\n")
			http.NewResponseController(w).Flush()
		}
		w.Header().Set(http.TrailerPrefix+"Grpc-Status", "7")
	})))
	api.Config.Protocols = new(http.Protocols)
	api.Config.Protocols.SetHTTP1(true)
	api.Config.Protocols.SetUnencryptedHTTP2(true)
	api.Start()
	t.Cleanup(api.Close)
	return api
}

func TestProxyServesGRPCOverPlainHTTP2WithTrailers(t *testing.T) {
	srv, _ := agent(t)
	api := grpcAPI(t, srv)
	p := startProxy(t, api.URL)
	c := h2cClient()
	defer c.CloseIdleConnections()
	pr, pw := io.Pipe()
	req, _ := http.NewRequest(http.MethodPost, p.url+"/billing.Customers/Get", pr)
	req.Header.Set("Content-Type", "application/grpc+proto")
	req.Header.Set("Te", "trailers")
	go io.WriteString(pw, "one\n")
	resp, err := c.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	lines := bufio.NewReader(resp.Body)
	for _, want := range []string{"one\n", "two\n"} {
		if got, err := lines.ReadString('\n'); resp.ProtoMajor != 2 || resp.StatusCode != 200 || got != want {
			t.Fatalf("%s, %d, %q, %v, want HTTP/2, 200 and %q", resp.Proto, resp.StatusCode, got, err, want)
		}
		if want == "one\n" {
			io.WriteString(pw, "two\n")
		} else {
			pw.Close()
		}
	}
	if _, err := io.ReadAll(lines); err != nil || resp.Trailer.Get("Grpc-Status") != "7" {
		t.Errorf("trailers %v, %v, want Grpc-Status 7", resp.Trailer, err)
	}
}

// gRPC-Web is what browsers speak, and its servers need no HTTP/2.
func TestGRPCWebGoesToAnAPIOfHTTP1(t *testing.T) {
	srv, _ := agent(t)
	api := startAPI(t, srv, nil, nil)
	p := startProxy(t, api.URL)
	c := h2cClient()
	defer c.CloseIdleConnections()
	resp, err := c.Post(p.url, "application/grpc-web+proto", strings.NewReader("x"))
	if err != nil {
		t.Fatal(err)
	}
	if resp.Body.Close(); resp.StatusCode != 200 {
		t.Errorf("status %d, want 200", resp.StatusCode)
	}
}

func TestTheGuardHoldsForHTTP2(t *testing.T) {
	srv, _ := agent(t)
	calls := 0
	api := startAPI(t, srv, nil, func(http.ResponseWriter, *http.Request) { calls++ })
	p := startProxy(t, api.URL+"/v1")
	c := h2cClient()
	defer c.CloseIdleConnections()
	for want, change := range map[string]func(*http.Request){
		"wrong_host":     func(r *http.Request) { r.Host = "evil.example" },
		"web_page":       func(r *http.Request) { r.Header.Set("Origin", "null") },
		"dot_segment":    func(r *http.Request) { r.URL.Path = "/../x" },
		"ambiguous_path": func(r *http.Request) { r.URL.Path = "/%2e%2e/x" },
	} {
		req, _ := http.NewRequest(http.MethodPost, p.url, strings.NewReader("body"))
		change(req)
		resp, err := c.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		body, _ := io.ReadAll(resp.Body)
		if resp.Body.Close(); resp.ProtoMajor != 2 || !strings.Contains(string(body), want) {
			t.Errorf("%s, %s, want HTTP/2 and %s", resp.Proto, body, want)
		}
	}
	if calls != 0 {
		t.Errorf("%d requests reached the upstream, want none", calls)
	}
	req, _ := http.NewRequest(http.MethodGet, p.url+"/x", nil)
	if resp, err := c.Do(req); err != nil || resp.StatusCode != 200 {
		t.Errorf("to an upstream that speaks HTTP/1.1: %v, %v, want 200", resp, err)
	}
}

// After an upgrade to HTTP/2 the proxy would not see the requests.
func TestProxyIgnoresAnUpgradeToHTTP2(t *testing.T) {
	srv, _ := agent(t)
	seen := make(chan *http.Request, 1)
	api := startAPI(t, srv, nil, func(_ http.ResponseWriter, r *http.Request) { seen <- r })
	p := startProxy(t, api.URL)
	_, _, resp := raw(t, p.addr, "GET / HTTP/1.1\r\nHost: "+p.addr+"\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n\r\n")
	r := arrives(t, seen)
	if got := r.Header.Get("Upgrade") + r.Header.Get("Connection") + r.Header.Get("Http2-Settings"); resp.StatusCode != 200 || got != "" {
		t.Errorf("%d, and the upstream got %q, want 200 and no upgrade", resp.StatusCode, got)
	}
}

func TestStreamsOfHTTP2EndWellAfterSIGTERM(t *testing.T) {
	srv, _ := agent(t)
	api := grpcAPI(t, srv)
	p := startProcess(t, api.URL)
	c := h2cClient()
	defer c.CloseIdleConnections()
	pr, pw := io.Pipe()
	req, _ := http.NewRequest(http.MethodPost, "http://"+p.addr+"/x", pr)
	req.Header.Set("Content-Type", "application/grpc")
	req.Header.Set("Te", "trailers")
	go io.WriteString(pw, "one\n")
	resp, err := c.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	p.cmd.Process.Signal(syscall.SIGTERM)
	eventually(t, "shutting down", func() bool { return strings.Contains(p.logs.String(), "shutting down") })
	time.Sleep(lingerTime)
	io.WriteString(pw, "two\n")
	pw.Close()
	if body, err := io.ReadAll(resp.Body); string(body) != "one\ntwo\n" || err != nil || resp.Trailer.Get("Grpc-Status") != "7" {
		t.Errorf("%q, %v, trailers %v, want all of it", body, err, resp.Trailer)
	}
	if code := p.exit(t); code != 0 {
		t.Errorf("exit code %d, want 0", code)
	}
}
