// Copyright 2026 The authsec Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"encoding/json"
	"net"
	"net/http"
	"testing"
)

func TestProxyRefusesWhatAWebPageMaySend(t *testing.T) {
	srv, _ := agent(t)
	calls := 0
	api := startAPI(t, srv, nil, func(http.ResponseWriter, *http.Request) { calls++ })
	p := startProxy(t, api.URL+"/v1")
	_, port, _ := net.SplitHostPort(p.addr)
	for _, tc := range []struct {
		name, line, headers string
		status              int
		code                string
	}{
		{"rebound name", "GET / HTTP/1.1", "Host: evil.example:" + port, 421, "wrong_host"},
		{"another port", "GET / HTTP/1.1", "Host: 127.0.0.1:1", 421, "wrong_host"},
		{"no port", "GET / HTTP/1.1", "Host: localhost", 421, "wrong_host"},
		{"no name", "GET / HTTP/1.1", "Host:", 421, "wrong_host"},
		{"the unspecified address", "GET / HTTP/1.1", "Host: 0.0.0.0:" + port, 421, "wrong_host"},
		{"Origin", "GET / HTTP/1.1", "Host: " + p.addr + "\r\nOrigin: https://evil.example", 403, "web_page"},
		{"Origin of its own", "POST / HTTP/1.1", "Host: " + p.addr + "\r\nContent-Length: 0\r\nOrigin: http://" + p.addr, 403, "web_page"},
		{"Origin null", "GET / HTTP/1.1", "Host: " + p.addr + "\r\nOrigin: null", 403, "web_page"},
		{"Origin empty", "GET / HTTP/1.1", "Host: " + p.addr + "\r\nOrigin:", 403, "web_page"},
		{"cross-site GET", "GET / HTTP/1.1", "Host: " + p.addr + "\r\nSec-Fetch-Site: cross-site", 403, "web_page"},
		{"same-origin GET", "GET / HTTP/1.1", "Host: " + p.addr + "\r\nSec-Fetch-Site: same-origin", 403, "web_page"},
		{"two sites", "GET / HTTP/1.1", "Host: " + p.addr + "\r\nSec-Fetch-Site: none\r\nSec-Fetch-Site: cross-site", 403, "web_page"},
		{"absolute form", "GET http://" + p.addr + "/ HTTP/1.1", "Host: " + p.addr, 400, "not_a_forward_proxy"},
		{"absolute form elsewhere", "GET http://evil.example/ HTTP/1.1", "Host: " + p.addr, 400, "not_a_forward_proxy"},
		{"asterisk form", "OPTIONS * HTTP/1.1", "Host: " + p.addr, 400, "not_a_forward_proxy"},
		{"CONNECT", "CONNECT " + p.addr + " HTTP/1.1", "Host: " + p.addr, 405, "method_not_allowed"},
		{"CONNECT with a path", "CONNECT /x HTTP/1.1", "Host: " + p.addr, 405, "method_not_allowed"},
		{"TRACE", "TRACE / HTTP/1.1", "Host: " + p.addr, 405, "method_not_allowed"},
		{"TRACE in lower case", "trace / HTTP/1.1", "Host: " + p.addr, 405, "method_not_allowed"},
		{"out of the upstream's path", "GET /../admin HTTP/1.1", "Host: " + p.addr, 400, "dot_segment"},
		{"the same, encoded", "GET /%2e%2E/admin HTTP/1.1", "Host: " + p.addr, 400, "dot_segment"},
		{"the same, with a parameter", "GET /..;x=1/admin HTTP/1.1", "Host: " + p.addr, 400, "dot_segment"},
		{"the same, with encoded slashes", "GET /x%2f..%5c..%2fadmin HTTP/1.1", "Host: " + p.addr, 400, "dot_segment"},
	} {
		_, _, resp := raw(t, p.addr, tc.line+"\r\n"+tc.headers+"\r\n\r\n")
		var got problem
		err := json.NewDecoder(resp.Body).Decode(&got)
		if resp.StatusCode != tc.status || got.Code != tc.code || got.Do == "" {
			t.Errorf("%s: status %d, %+v, %v, want %d, %s and what to do", tc.name, resp.StatusCode, got, err, tc.status, tc.code)
		}
	}
	if calls != 0 || srv.Fetches() != 0 {
		t.Errorf("%d requests reached the upstream and %d the AuthSec server, want none", calls, srv.Fetches())
	}
}

func TestProxyServesUnderItsOwnNames(t *testing.T) {
	srv, _ := agent(t)
	var path string
	api := startAPI(t, srv, nil, func(_ http.ResponseWriter, r *http.Request) { path = r.RequestURI })
	p := startProxy(t, api.URL, "--host", "proxy.local, Other.Local:1", "--host", "third.local")
	_, port, _ := net.SplitHostPort(p.addr)
	for _, host := range []string{"127.0.0.1:" + port, "localhost:" + port, "LOCALHOST:" + port, "[::1]:" + port, "proxy.local", "proxy.local:" + port, "other.local:1", "third.local"} {
		_, _, resp := raw(t, p.addr, "GET /..//x HTTP/1.1\r\nHost: "+host+"\r\nSec-Fetch-Site: none\r\n\r\n")
		if resp.StatusCode != 200 || path != "/..//x" {
			t.Errorf("Host %s: status %d for the path %s, want 200 for /..//x", host, resp.StatusCode, path)
		}
	}
	// A path is never a host, whatever it looks like.
	if _, _, resp := raw(t, p.addr, "GET //evil.example/x HTTP/1.1\r\nHost: "+p.addr+"\r\n\r\n"); resp.StatusCode != 200 || path != "//evil.example/x" {
		t.Errorf("status %d for the path %s, want 200 for //evil.example/x at the upstream", resp.StatusCode, path)
	}
}

func TestOwnNamesLeaveOutPort80AndTheUnspecifiedAddress(t *testing.T) {
	at := func(port int) net.Addr { return &net.TCPAddr{IP: net.IPv4zero, Port: port} }
	own := ownNames("0.0.0.0:80", at(80), nil)
	for name, want := range map[string]bool{"localhost": true, "localhost:80": true, "[::1]": true, "0.0.0.0": false, "0.0.0.0:80": false, "": false} {
		if own[name] != want {
			t.Errorf("on port 80 the name %q is own: %v, want %v", name, own[name], want)
		}
	}
	if own = ownNames("127.0.0.2:81", at(81), nil); !own["127.0.0.2:81"] || own["127.0.0.2"] {
		t.Errorf("names of 127.0.0.2:81 = %v, want the address with its port only", own)
	}
}
