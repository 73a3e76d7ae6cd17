// Copyright 2026 The authsec Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"syscall"
	"testing"

	"github.com/authsec-go/authsec/cmd/authsec/internal/cli"
	"github.com/spf13/cobra"
)

func TestProxyLogsNoSecretsAndOneLineARequestAtDebug(t *testing.T) {
	srv, token := agent(t)
	api := startAPI(t, srv, nil, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/garbage" {
			return
		}
		// The upstream sends the token back outside of an answer.
		conn, rw, _ := http.NewResponseController(w).Hijack()
		fmt.Fprintf(rw, "%s\r\n\r\n", r.Header.Get("Authorization"))
		rw.Flush()
		conn.Close()
		panic(http.ErrAbortHandler)
	})
	for level, want := range map[string]int{"debug": 3, "info": 0} {
		p := startProxy(t, api.URL, "--log-level", level)
		get(t, p.url+"/x?api_key=query-secret")
		_, _, garbage := get(t, p.url+"/garbage?api_key=query-secret")
		req, _ := http.NewRequest(http.MethodGet, p.url, nil)
		req.Header.Set("Authorization", "Bearer header-secret")
		req.Header.Set("Origin", "https://evil.example")
		resp, err := client.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		_, _, metrics := get(t, "http://"+p.health+"/metrics")
		p.stop()
		logs := p.logs.String()
		if got := strings.Count(logs, `"msg":"request"`); got != want {
			t.Errorf("at %s: %d lines for 3 requests, want %d", level, got, want)
		}
		noSecrets(t, "the log at "+level, logs, token)
		noSecrets(t, "the answer", garbage, token)
		noSecrets(t, "metrics", metrics, token)
		if strings.Contains(logs, "query-secret") || strings.Contains(logs, "header-secret") {
			t.Errorf("at %s the log holds a query or a header", level)
		}
		for line := range strings.Lines(logs) {
			if !json.Valid([]byte(line)) {
				t.Errorf("at %s a line is no JSON: %s", level, line)
			}
		}
	}
}

// net/http's Transport logs data that comes on an idle connection.
func TestProxyLogsNothingThatTheUpstreamSendsUnasked(t *testing.T) {
	srv, token := agent(t)
	answered, closed := make(chan bool), make(chan bool)
	api := startAPI(t, srv, func(w http.ResponseWriter, r *http.Request) {
		conn, rw, err := http.NewResponseController(w).Hijack()
		if err != nil {
			return
		}
		defer close(closed)
		defer conn.Close()
		fmt.Fprint(rw, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
		rw.Flush()
		<-answered
		fmt.Fprintf(rw, "%s\r\n", r.Header.Get("Authorization"))
		rw.Flush()
		io.Copy(io.Discard, rw) // until the proxy gives the connection up
	}, nil)
	p := startProcess(t, api.URL)
	get(t, "http://"+p.addr)
	close(answered)
	arrives(t, closed)
	p.cmd.Process.Signal(syscall.SIGTERM)
	p.exit(t)
	logs := p.logs.String()
	noSecrets(t, "the log", logs, token)
	for line := range strings.Lines(logs) {
		if !json.Valid([]byte(line)) {
			t.Errorf("a line is no JSON: %.40q", line)
		}
	}
}

func TestProxyLogsThatItStopped(t *testing.T) {
	s := testSidecar(t, nil)
	if err := s.listen(t.Context(), &proxyFlags{listen: "127.0.0.1:0", maxConns: 9}); err != nil {
		t.Fatal(err)
	}
	defer s.close()
	s.ln.Close() // it fails after the start
	var logs bytes.Buffer
	root := &cobra.Command{Use: "authsec"}
	root.AddCommand(&cobra.Command{
		Use: "proxy", Annotations: map[string]string{cli.LogsErrors: "yes"},
		RunE: func(cmd *cobra.Command, _ []string) error { return s.serve(cmd.Context()) },
	})
	code := cli.Run(t.Context(), root, []string{"proxy"}, nil, io.Discard, &logs)
	if text := logs.String(); code != 1 || !strings.Contains(text, `"msg":"stopped","error":"accept`) || !strings.Contains(text, `"do":"start the proxy again"`) {
		t.Errorf("%d, %s, want 1, and stopped with an error and what to do", code, text)
	}
}

func TestProxyLogsDurationsInWords(t *testing.T) {
	srv, _ := agent(t)
	p := startProxy(t, startAPI(t, srv, nil, nil).URL)
	get(t, p.url)
	if logs := p.logs.String(); !strings.Contains(logs, `"expires_in":"59m5`) && !strings.Contains(logs, `"expires_in":"1h0m0s`) {
		t.Errorf("the log has no expiry such as 59m59s: %s", logs)
	}
}
