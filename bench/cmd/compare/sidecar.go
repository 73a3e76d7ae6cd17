// Copyright 2026 The authsec Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/authsec-go/authsec/authsectest"
)

// proxyEnv has the upstream of a process that is a bare httputil.ReverseProxy.
const proxyEnv = "AUTHSEC_COMPARE_PROXY"

const (
	largeAnswer = 1 << 20 // bytes
	events      = 100     // in a stream
)

// upstreamAPI answers / with a little JSON, /large with largeAnswer bytes, and /events
// with events, each in a write of its own.
func upstreamAPI() http.Handler {
	large := strings.Repeat("x", largeAnswer)
	mux := http.NewServeMux()
	mux.HandleFunc("/{$}", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		io.WriteString(w, `{"ok":true}`)
	})
	mux.HandleFunc("/large", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Length", fmt.Sprint(largeAnswer))
		io.WriteString(w, large)
	})
	mux.HandleFunc("/events", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/event-stream")
		flush := http.NewResponseController(w).Flush
		for i := range events {
			fmt.Fprintf(w, "data: {\"n\":%d,\"text\":\"an event of a usual length\"}\n\n", i)
			flush()
		}
	})
	return mux
}

// measureSidecar compares "authsec proxy" with a bare httputil.ReverseProxy, each in a
// process of its own.
func measureSidecar(size scale) (*findings, error) {
	api := httptest.NewServer(upstreamAPI())
	defer api.Close()
	srv := authsectest.NewServer()
	defer srv.Close()
	srv.Delegate(authsectest.ClientID, authsectest.Delegation{})

	sidecar, stop, err := startSidecar(srv.URL, api.URL)
	if err != nil {
		return nil, err
	}
	defer stop()
	bare, stop, err := startBareProxy(api.URL)
	if err != nil {
		return nil, err
	}
	defer stop()
	f := &findings{
		title: "The sidecar",
		text: fmt.Sprintf(`
"authsec proxy" compared with a bare httputil.ReverseProxy that keeps as many idle connections and sends no token. Each is a process of its own between the same client and
the same API, over plain HTTP on loopback, in a closed loop. A stream has %d server-sent events, and each is flushed. Ratios are medians over %d rounds of %v each, in turns.`,
			events, size.loadRounds, size.loadTime/2),
		head: []string{"", "authsec proxy, requests/s", "ReverseProxy, requests/s", "ratio"},
	}
	for _, c := range []struct {
		name, path string
		clients    int
	}{
		{"small answers, 1 client", "/", 1},
		{"small answers, 32 clients", "/", 32},
		{"answers of 1 MiB, 8 clients", "/large", 8},
		{"streams of events, 8 clients", "/events", 8},
	} {
		rates := map[string][]float64{}
		for round := range size.loadRounds {
			order := []string{sidecar, bare}
			if round%2 == 1 {
				order = []string{bare, sidecar}
			}
			for _, proxy := range order {
				transport := &http.Transport{MaxIdleConnsPerHost: c.clients}
				client := &http.Client{Transport: transport}
				do := func(ctx context.Context) error { return get(ctx, client, proxy+c.path) }
				if err := do(context.Background()); err != nil {
					return nil, fmt.Errorf("%s: %w", c.name, err)
				}
				rate, err := closedLoop(c.clients, size.loadTime/2, do)
				transport.CloseIdleConnections()
				if err != nil {
					return nil, fmt.Errorf("%s: %w", c.name, err)
				}
				rates[proxy] = append(rates[proxy], rate)
			}
		}
		list := ratios(rates[sidecar], rates[bare])
		f.row(c.name, fmt.Sprintf("%.0f", median(rates[sidecar])), fmt.Sprintf("%.0f", median(rates[bare])), spread(list))
		f.aim(median(list) >= 0.95, c.name+": at least 0.95 of a ReverseProxy", "%s", spread(list))
	}
	return f, nil
}

// startSidecar builds and starts "authsec proxy". It returns its URL, and what ends it.
func startSidecar(authsecURL, upstream string) (url string, stop func(), err error) {
	dir, err := moduleDir()
	if err != nil {
		return "", nil, err
	}
	tmp, err := os.MkdirTemp("", "authsec-compare-")
	if err != nil {
		return "", nil, err
	}
	defer os.RemoveAll(tmp) // Linux keeps what runs
	binary := filepath.Join(tmp, "authsec")
	build := exec.Command("go", "build", "-o", binary, ".")
	build.Dir = filepath.Join(dir, "..", "cmd", "authsec")
	if out, err := build.CombinedOutput(); err != nil {
		return "", nil, fmt.Errorf("go build: %w\n%s", err, out)
	}
	cmd := exec.Command(binary, "proxy", "--listen", "127.0.0.1:0", "--health", "", "--upstream", upstream)
	cmd.Env = append(os.Environ(), "AUTHSEC_BASE_URL="+authsecURL, "AUTHSEC_AGENT_CLIENT_ID="+authsectest.ClientID)
	log, err := cmd.StderrPipe()
	if err != nil {
		return "", nil, err
	}
	return start(cmd, log, func(line []byte) string {
		var record struct{ Msg, Listen string }
		if json.Unmarshal(line, &record) != nil || record.Msg != "listening" {
			return ""
		}
		return "http://" + record.Listen
	})
}

// startBareProxy starts this program again as a bare proxy.
func startBareProxy(upstream string) (url string, stop func(), err error) {
	self, err := os.Executable()
	if err != nil {
		return "", nil, err
	}
	cmd := exec.Command(self)
	cmd.Env = append(os.Environ(), proxyEnv+"="+upstream)
	if _, err := cmd.StdinPipe(); err != nil { // the proxy ends when this process does
		return "", nil, err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return "", nil, err
	}
	return start(cmd, out, func(line []byte) string { return string(line) })
}

// start starts a command, and waits for the line of its output that has its URL.
func start(cmd *exec.Cmd, output io.Reader, urlIn func(line []byte) string) (url string, stop func(), err error) {
	if err := cmd.Start(); err != nil {
		return "", nil, err
	}
	stop = func() {
		cmd.Process.Kill()
		cmd.Wait()
	}
	lines := bufio.NewScanner(output)
	for lines.Scan() {
		if url := urlIn(lines.Bytes()); url != "" {
			go io.Copy(io.Discard, output)
			return url, stop, nil
		}
	}
	stop()
	return "", nil, fmt.Errorf("%s did not start", filepath.Base(cmd.Path))
}

// proxyChild is a bare proxy to the upstream that proxyEnv names.
func proxyChild() error {
	upstream, err := url.Parse(os.Getenv(proxyEnv))
	if err != nil {
		return err
	}
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.MaxIdleConns, transport.MaxIdleConnsPerHost = 256, 256
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	fmt.Println("http://" + ln.Addr().String())
	go func() {
		io.Copy(io.Discard, os.Stdin)
		os.Exit(0)
	}()
	return http.Serve(ln, &httputil.ReverseProxy{
		Rewrite:   func(r *httputil.ProxyRequest) { r.SetURL(upstream) },
		Transport: transport,
		ErrorLog:  quiet,
	})
}
