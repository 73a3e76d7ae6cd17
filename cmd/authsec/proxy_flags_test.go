// Copyright 2026 The authsec Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"context"
	"io"
	"net"
	"strings"
	"testing"
)

func TestProxyRefusesWhatWouldExposeTheToken(t *testing.T) {
	agent(t)
	busy, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer busy.Close()
	ended, cancel := context.WithCancel(t.Context()) // so that what is wrongly served ends
	cancel()
	for _, tc := range []struct {
		args []string
		code int
		want string
	}{
		{nil, 2, "--upstream is not set"},
		{[]string{"--upstream", "api.example.com"}, 2, "has no https://"},
		{[]string{"--upstream", "https://%zz"}, 2, "not a URL like https://api.example.com"},
		{[]string{"--upstream", "https://*.example.com"}, 2, "no host name has"},
		{[]string{"--upstream", "https://user:secret@api.example.com"}, 2, "password"},
		{[]string{"--upstream", "https://api.example.com/?key=secret"}, 2, "query"},
		{[]string{"--upstream", "http://api.example.com"}, 2, "--allow-http"},
		{[]string{"--upstream", "http://LOCALHOST:1"}, 2, "--allow-http"}, // a proxy may take it
		{[]string{"--upstream", "https://api.example.com:"}, 2, "no valid port"},
		{[]string{"--upstream", "https://bücher.example"}, 2, "xn--"},
		{[]string{"--upstream", "http://localhost:1", "--listen", "127.0.0.1:0", "--host", "localhost:1"}, 1, "this proxy itself"},
		{[]string{"--upstream", "https://a.example", "--listen", "0.0.0.0:0"}, 2, "--allow-remote"},
		{[]string{"--upstream", "https://a.example", "--listen", ":0"}, 2, "--allow-remote"},
		{[]string{"--upstream", "https://a.example", "--listen", "[::]:0"}, 2, "--allow-remote"},
		{[]string{"--upstream", "https://a.example", "--listen", "nonsense"}, 2, "--listen"},
		{[]string{"--upstream", "https://a.example", "--attempts", "0"}, 2, "--attempts"},
		{[]string{"--upstream", "https://a.example", "--drain", "-1s"}, 2, "--drain"},
		{[]string{"--upstream", "https://a.example", "--upstream-timeout", "-1s"}, 2, "--upstream-timeout"},
		{[]string{"--upstream", "https://a.example", "--max-connections", "0"}, 2, "--max-connections"},
		{[]string{"--upstream", "https://a.example", "--cache", "memcached://a"}, 2, "--cache is none of"},
		{[]string{"--upstream", "https://a.example", "--cache", "redis://a"}, 2, "--cache-key-file is not set"},
		{[]string{"--upstream", "https://a.example", "--cache-key-file", "a"}, 2, "without --cache"},
		{[]string{"--upstream", "https://a.example", "extra"}, 2, "extra"},
		{[]string{"--upstream", "https://a.example", "--listen", busy.Addr().String()}, 1, `"do":"choose another --listen`},
		{[]string{"--upstream", "https://a.example", "--listen", "127.0.0.1:0", "--health", busy.Addr().String()}, 1, `"do":"choose another --listen`},
		{[]string{"--upstream", "https://a.example", "--listen", "0.0.0.0:0", "--allow-remote"}, 0, "listening"},
		{[]string{"--upstream", "http://a.example", "--listen", "127.0.0.1:0", "--allow-http"}, 0, "listening"},
	} {
		ctx := ended
		if tc.code == 1 {
			ctx = t.Context()
		}
		var stderr bytes.Buffer
		code := run(ctx, append([]string{"proxy"}, tc.args...), io.Discard, &stderr)
		if tc.code != 0 && (code != tc.code || !strings.Contains(stderr.String(), tc.want)) || strings.Contains(stderr.String(), "secret") {
			t.Errorf("proxy %q = %d, %q, want %d, naming %s and no secret", tc.args, code, stderr.String(), tc.code, tc.want)
		}
		if tc.code == 0 && code == 2 {
			t.Errorf("proxy %q = 2, %q, want it to be permitted", tc.args, stderr.String())
		}
	}
	environ(t, nil)
	if code, line := fails(t, "proxy", "--upstream", "https://a.example"); code != 1 {
		t.Errorf("without an environment: proxy = %d, %q, want 1", code, line)
	}
}
