// Copyright 2026 The authsec Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"
)

// malformed are chunks. What follows a malformed line is read as a request, if the
// connection is kept.
var malformed = map[string]string{
	"bare LF":         "5\n",
	"a plus":          "+5\r\n",
	"0x":              "0x5\r\n",
	"a minus":         "-5\r\n",
	"no length":       "\r\n",
	"huge":            "ffffffffffffffffff\r\n",
	"too long":        "5\r\nhello, all\r\n",
	"bare LF, whole":  "5\nhello\r\n0\r\n\r\n",
	"a plus, whole":   "+5\r\nhello\r\n0\r\n\r\n",
	"bare LF, at end": "5\r\nhello\r\n0\n\n",
}

func TestNothingAfterAMalformedBodyIsReadAsARequest(t *testing.T) {
	srv, _ := agent(t)
	var mu sync.Mutex
	var paths []string
	api := startAPI(t, srv, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/early" {
			http.NewResponseController(w).EnableFullDuplex()
		} else {
			io.Copy(io.Discard, r.Body)
		}
		io.WriteString(w, "ok")
	}, func(_ http.ResponseWriter, r *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		paths = append(paths, r.URL.Path)
	})
	p := startProxy(t, api.URL)
	second := "GET /second HTTP/1.1\r\nHost: " + p.addr + "\r\n\r\n"
	for name, bad := range malformed {
		for _, path := range []string{"/whole", "/early"} {
			conn, err := net.Dial("tcp", p.addr)
			if err != nil {
				t.Fatal(err)
			}
			conn.SetDeadline(time.Now().Add(patience))
			r := bufio.NewReader(conn)
			io.WriteString(conn, "POST "+path+" HTTP/1.1\r\nHost: "+p.addr+"\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n")
			if path == "/early" { // the answer comes before the malformed part
				if _, err := r.Peek(1); err != nil {
					t.Fatal(err)
				}
			}
			io.WriteString(conn, bad+second+second)
			answer, _ := io.ReadAll(r) // a reset also ends the connection
			conn.Close()
			if n := strings.Count(string(answer), "HTTP/1.1 "); n > 1 || path == "/whole" && !strings.Contains(string(answer), "broken_body") {
				t.Errorf("%s, %s: %d answers, want one, and broken_body if all of the body was needed: %q", name, path, n, answer)
			}
		}
	}
	mu.Lock()
	defer mu.Unlock()
	for _, path := range paths {
		if path == "/second" {
			t.Error("the upstream got what came after a malformed body")
		}
	}
	if got := metricsOf(t, p)[`authsec_proxy_requests_total{code="400",error="broken_body"}`]; got == 0 {
		t.Error("no request is counted as broken_body")
	}
	if logs := p.logs.String(); strings.Contains(logs, "upstream failed") {
		t.Errorf("a program's fault is logged as the upstream's: %s", logs)
	}
}

func TestAConnectionIsKeptAfterAWholeBody(t *testing.T) {
	srv, _ := agent(t)
	api := startAPI(t, srv, echo, nil)
	p := startProxy(t, api.URL)
	conn, err := net.Dial("tcp", p.addr)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(patience))
	r := bufio.NewReader(conn)
	for _, request := range []string{
		"Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
		"Content-Length: 5\r\n\r\nhello",
		fmt.Sprintf("Content-Length: %d\r\n\r\n%s", maxReplay+5, strings.Repeat("x", maxReplay+5)),
		"Content-Length: 0\r\n\r\n",
	} {
		for range 2 {
			io.WriteString(conn, "POST / HTTP/1.1\r\nHost: "+p.addr+"\r\n"+request)
			resp, err := http.ReadResponse(r, nil)
			if err != nil {
				t.Fatalf("%.30q: %v", request, err)
			}
			if io.Copy(io.Discard, resp.Body); resp.StatusCode != 200 || resp.Close {
				t.Fatalf("%.30q: %d, closed %v, want 200 and a connection that is kept", request, resp.StatusCode, resp.Close)
			}
		}
	}
}

// The path is below /v1 for this proxy, and may be above it for the API.
func TestProxyRefusesPathsThatServersReadInSeveralWays(t *testing.T) {
	srv, _ := agent(t)
	calls := 0
	api := startAPI(t, srv, nil, func(http.ResponseWriter, *http.Request) { calls++ })
	p := startProxy(t, api.URL+"/v1")
	for _, path := range []string{"/%252e%252e/admin", "/%25%32%65./admin", "/x%5c..%5cadmin", "/.%2e%00/admin", "/...;/admin", "/%ef%bc%8e%ef%bc%8e/admin", "/.%20./admin", "/%c0%ae%c0%ae/admin"} {
		status, _, body := get(t, p.url+path)
		if status != 400 || !strings.Contains(body, "ambiguous_path") && !strings.Contains(body, "dot_segment") {
			t.Errorf("%s: %d, %s, want 400 and ambiguous_path or dot_segment", path, status, body)
		}
	}
	if calls != 0 {
		t.Errorf("%d requests reached the upstream, want none", calls)
	}
	for _, path := range []string{"/a%2Fb/c", "/a.b/..c", "/caf%C3%A9", "//x", "/a%20b;c=d"} {
		if status, _, body := get(t, p.url+path); status != 200 {
			t.Errorf("%s: %d, %s, want 200", path, status, body)
		}
	}
}

func TestAnAnswerBelow200IsAFailure(t *testing.T) {
	agent(t)
	for _, status := range []string{"099", "000", "001"} {
		ln, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer ln.Close()
		go func() {
			for {
				conn, err := ln.Accept()
				if err != nil {
					return
				}
				http.ReadRequest(bufio.NewReader(conn))
				io.WriteString(conn, "HTTP/1.1 "+status+" Odd\r\nContent-Length: 0\r\n\r\n")
				conn.Close()
			}
		}()
		p := startProxy(t, "http://"+ln.Addr().String())
		code, _, body := get(t, p.url)
		p.stop()
		if logs := p.logs.String(); code != 502 || !strings.Contains(body, "upstream_failed") || strings.Contains(logs, "panic") || !strings.Contains(logs, "a status below 200") {
			t.Errorf("%s: %d, %s, want 502, upstream_failed, and no panic:\n%s", status, code, body, logs)
		}
	}
}
