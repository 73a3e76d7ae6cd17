// Copyright 2026 The authsec Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bufio"
	"bytes"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
)

// answersWith is a server that answers each request with these bytes.
func answersWith(t *testing.T, answer string) (url string) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ln.Close() })
	go func() {
		for {
			conn, err := ln.Accept()
			if err != nil {
				return
			}
			go func() {
				defer conn.Close()
				if _, err := http.ReadRequest(bufio.NewReader(conn)); err == nil {
					io.WriteString(conn, answer)
				}
			}()
		}
	}()
	return "http://" + ln.Addr().String()
}

// What a server sends may hold a secret, or control the terminal. Only the answer's
// own output has it.
func TestNoMessageQuotesTheServer(t *testing.T) {
	agent(t)
	for name, tc := range map[string]struct {
		answer string
		want   string // on standard error
	}{
		"reason phrase":    {"HTTP/1.1 200 \x1b[31mnot-secret\r\nContent-Length: 0\r\n\r\n", "HTTP/1.1 200 OK\n"},
		"unknown status":   {"HTTP/1.1 299 not-secret\r\nContent-Length: 0\r\n\r\n", "HTTP/1.1 299\n"},
		"location":         {"HTTP/1.1 302 Found\r\nLocation: http://%zz/not-secret\r\nContent-Length: 0\r\n\r\n", "HTTP/1.1 302 Found\n"},
		"malformed header": {"HTTP/1.1 200 OK\r\nnot-secret \x1b[31m\r\n\r\n", "its answer is not valid HTTP, or broke off"},
		"no HTTP":          {"not-secret\r\n\r\n", "its answer is not valid HTTP, or broke off"},
		"malformed length": {"HTTP/1.1 200 OK\r\nContent-Length: not-secret\r\n\r\n", "its answer is not valid HTTP, or broke off"},
		"malformed chunk":  {"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nnot-secret\r\n", "its answer is not valid HTTP, or broke off"},
		"cut off":          {"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nx", "it closed the connection too early"},
		"nothing":          {"", "it closed the connection too early"},
	} {
		url := answersWith(t, tc.answer)
		t.Setenv("DOWNSTREAM_URL", url)
		_, _, errs := runFetch(t, "-X", "POST", url) // which is not sent again
		if !strings.Contains(errs, tc.want) || strings.Contains(errs, "secret") || strings.Contains(errs, "\x1b") {
			t.Errorf("%s: fetch says %q, want %q, and nothing of the server", name, errs, tc.want)
		}
		for _, flag := range []string{"--json=false", "--json"} {
			var out bytes.Buffer
			run(t.Context(), []string{"smoke", flag}, &out, &out)
			if text := out.String(); strings.Contains(text, "secret") || strings.Contains(text, "\x1b") || strings.Contains(text, `\u001b`) {
				t.Errorf("%s: smoke %s says %q, want nothing of the server", name, flag, text)
			}
		}
	}
}

// A user name and password would be sent in place of the token, or the token in place
// of them.
func TestFetchRefusesAPasswordInTheURL(t *testing.T) {
	_, api, _ := fetchServer(t, echo)
	host := strings.TrimPrefix(api.URL, "http://")
	for _, url := range []string{"http://u:not-secret@" + host, "http://not-secret@" + host, "http://u:not-secret@other.example"} {
		code, out, errs := runFetch(t, url)
		if code != 2 || out != "" || !strings.Contains(errs, "a user name or password") || strings.Contains(errs, "secret") {
			t.Errorf("fetch %s = %d, %q, %q, want 2 and what is wrong", url, code, out, errs)
		}
	}
}
