// Copyright 2026 The authsec Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/authsec-go/authsec"
	"github.com/authsec-go/authsec/authsectest"
)

// logBuffer is a standard error that finds the proxy's addresses in the log.
type logBuffer struct {
	mu        sync.Mutex
	text      bytes.Buffer
	listening chan listening
}

// listening is the line that says where the proxy listens.
type listening struct{ Msg, Listen, Health string }

func newLogBuffer() *logBuffer { return &logBuffer{listening: make(chan listening, 1)} }

func (b *logBuffer) Write(line []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	var l listening
	if json.Unmarshal(line, &l); l.Msg == "listening" {
		b.listening <- l
	}
	return b.text.Write(line)
}

func (b *logBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.String()
}

// running is a proxy in this process.
type running struct {
	addr, health string // host and port
	url          string
	logs         *logBuffer
	stop         func() (code int) // as SIGTERM does
}

// startProxy runs the command in this process, until the test ends.
func startProxy(t testing.TB, upstream string, args ...string) *running {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	logs, code := newLogBuffer(), make(chan int, 1)
	args = append([]string{"proxy", "-listen", "127.0.0.1:0", "-health", "127.0.0.1:0", "-upstream", upstream, "-attempts", "1"}, args...)
	go func() { code <- run(ctx, args, io.Discard, logs) }()
	p := &running{logs: logs, stop: sync.OnceValue(func() int {
		cancel()
		return <-code
	})}
	t.Cleanup(func() { p.stop() })
	select {
	case l := <-logs.listening:
		p.addr, p.health, p.url = l.Listen, l.Health, "http://"+l.Listen
	case c := <-code:
		code <- c
		t.Fatalf("proxy = %d at once: %s", c, logs.String())
	case <-time.After(patience):
		t.Fatal("the proxy does not listen")
	}
	return p
}

// startAPI is a protected API. before, if not nil, sees each request first.
func startAPI(t testing.TB, srv *authsectest.Server, next, before http.HandlerFunc) *httptest.Server {
	t.Helper()
	var h http.Handler
	if next != nil {
		h = next
	}
	protected := srv.API(h)
	api := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if before != nil {
			before(w, r)
		}
		protected.ServeHTTP(w, r)
	}))
	t.Cleanup(api.Close)
	return api
}

// client follows no redirects, and waits no longer than patience.
var client = &http.Client{
	Timeout:       patience,
	Transport:     &http.Transport{DisableKeepAlives: true, DisableCompression: true},
	CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
}

// get is one request's status, header and body.
func get(t testing.TB, url string) (status int, header http.Header, body string) {
	t.Helper()
	resp, err := client.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, resp.Header, string(b)
}

// raw sends a request as it is written, and reads the answer's header.
func raw(t *testing.T, addr, request string) (net.Conn, *bufio.Reader, *http.Response) {
	t.Helper()
	conn, err := net.DialTimeout("tcp", addr, patience)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	conn.SetDeadline(time.Now().Add(patience))
	io.WriteString(conn, request)
	r := bufio.NewReader(conn)
	resp, err := http.ReadResponse(r, nil)
	if err != nil {
		t.Fatalf("no answer to %q: %v", request, err)
	}
	return conn, r, resp
}

func TestProxySendsItsOwnTokenAndNoneOfTheCallersOwn(t *testing.T) {
	srv, token := agent(t)
	seen := make(chan *http.Request, 1)
	api := startAPI(t, srv, nil, func(_ http.ResponseWriter, r *http.Request) { seen <- r })
	p := startProxy(t, api.URL+"/v1/")

	_, _, resp := raw(t, p.addr, "GET /x%2Fy?b=%zz;a=1 HTTP/1.1\r\nHost: "+p.addr+"\r\n"+
		"Authorization: Bearer mine\r\nProxy-Authorization: Basic eDp5\r\nConnection: X-Hop, close\r\nX-Hop: 1\r\nKeep-Alive: 5\r\n"+
		"Forwarded: for=1.2.3.4\r\nX-Forwarded-For: 1.2.3.4\r\nX-Forwarded-Host: a\r\nX-Forwarded-Proto: https\r\nX-Forwarded-Port: 1\r\nX-Kept: 1\r\n\r\n")
	if resp.StatusCode != 200 {
		t.Fatalf("status %d, want 200", resp.StatusCode)
	}
	r := arrives(t, seen)
	if got := r.Header["Authorization"]; len(got) != 1 || got[0] != "Bearer "+token {
		t.Errorf("%d Authorization headers, want one with the agent's token", len(got))
	}
	for name := range r.Header {
		if strings.HasPrefix(name, "X-Forwarded-") || name == "Forwarded" || name == "Proxy-Authorization" || name == "X-Hop" || name == "Keep-Alive" {
			t.Errorf("the upstream got the header %s", name)
		}
	}
	if r.Header.Get("X-Kept") != "1" {
		t.Error("the upstream did not get X-Kept")
	}
	if want := strings.TrimPrefix(api.URL, "http://"); r.Host != want {
		t.Errorf("Host %q, want the upstream's own, %q", r.Host, want)
	}
	if want := "/v1/x%2Fy?b=%zz;a=1"; r.RequestURI != want {
		t.Errorf("the upstream was asked for %q, want %q", r.RequestURI, want)
	}
}

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
	p := startProxy(t, api.URL, "-host", "proxy.local, Other.Local:1", "-host", "third.local")
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

func TestProxyReplaysShortBodiesAfterARevocation(t *testing.T) {
	srv, _ := agent(t)
	var mu sync.Mutex
	sent := 0
	revoke := func() {}
	api := startAPI(t, srv, echo, func(_ http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		r.Body = io.NopCloser(bytes.NewReader(body))
		mu.Lock()
		defer mu.Unlock()
		sent++
		if sent == 1 {
			revoke()
		}
	})
	p := startProxy(t, api.URL)
	revoke = func() {
		srv.Revoke(authsectest.ClientID)
		srv.Delegate(authsectest.ClientID, authsectest.Delegation{})
	}
	for _, tc := range []struct {
		name    string
		size    int
		chunked bool
		status  int
		sent    int
	}{
		{"short", 5, false, 200, 2},
		{"as long as is kept", maxReplay, false, 200, 2},
		{"longer", maxReplay + 1, false, 401, 1},
		{"short and chunked", 5, true, 200, 2},
		{"long and chunked", maxReplay + 1, true, 401, 1},
	} {
		mu.Lock()
		sent = 0
		mu.Unlock()
		body := strings.Repeat("x", tc.size)
		req, _ := http.NewRequestWithContext(t.Context(), http.MethodPost, p.url, strings.NewReader(body))
		if tc.chunked {
			req.ContentLength = -1
		}
		resp, err := client.Do(req)
		if err != nil {
			t.Fatalf("%s: %v", tc.name, err)
		}
		got, _ := io.ReadAll(resp.Body)
		resp.Body.Close()
		if resp.StatusCode != tc.status || sent != tc.sent || (tc.status == 200 && string(got) != body) {
			t.Errorf("%s: status %d, sent %d times, %d bytes back, want %d, %d, %d", tc.name, resp.StatusCode, sent, len(got), tc.status, tc.sent, len(body))
		}
		p.stop() // the number of fetches is limited: the next case starts another proxy
		p = startProxy(t, api.URL)
	}
}

func TestProxyPassesBodiesOnAsTheyCome(t *testing.T) {
	srv, _ := agent(t)
	api := startAPI(t, srv, func(w http.ResponseWriter, r *http.Request) {
		rc := http.NewResponseController(w)
		rc.EnableFullDuplex()
		for line := bufio.NewScanner(r.Body); line.Scan(); {
			fmt.Fprintln(w, "got", line.Text())
			rc.Flush()
		}
	}, nil)
	p := startProxy(t, api.URL)
	// This needs a raw connection: http.Transport does not read the answer before the whole request is sent.
	conn, _, resp := raw(t, p.addr, "POST / HTTP/1.1\r\nHost: "+p.addr+"\r\nTransfer-Encoding: chunked\r\n\r\n4\r\none\n\r\n")
	answer := bufio.NewReader(resp.Body)
	for _, next := range []string{"two", ""} {
		got, err := answer.ReadString('\n')
		if want := "got " + map[string]string{"two": "one", "": "two"}[next] + "\n"; got != want {
			t.Fatalf("before the body ended came %q, %v, want %q", got, err, want)
		}
		if next != "" {
			fmt.Fprintf(conn, "%x\r\n%s\n\r\n", len(next)+1, next)
		} else {
			io.WriteString(conn, "0\r\n\r\n")
		}
	}
}

func TestProxyPassesEventsOnOneByOne(t *testing.T) {
	srv, _ := agent(t)
	next := make(chan bool)
	api := startAPI(t, srv, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/event-stream")
		if r.URL.Path == "/sized" { // no event stream, and of known length
			w.Header().Set("Content-Type", "text/plain")
			w.Header().Set("Content-Length", "18")
		}
		for i := range 2 {
			fmt.Fprintf(w, "data: %d\n\n", i)
			http.NewResponseController(w).Flush()
			select {
			case <-next:
			case <-r.Context().Done():
				return
			}
		}
	}, nil)
	p := startProxy(t, api.URL)
	for _, path := range []string{"/events", "/sized"} {
		resp, err := client.Get(p.url + path)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		event := make([]byte, len("data: 0\n\n"))
		for i := range 2 {
			if _, err := io.ReadFull(resp.Body, event); err != nil || string(event) != fmt.Sprintf("data: %d\n\n", i) {
				t.Fatalf("%s: event %d did not come before the next was written: %q, %v", path, i, event, err)
			}
			next <- true
		}
	}
}

// If the token does not go along, Transport does not change Authorization.
func TestProxyStripsTheCallersCredentialsEvenWithoutAToken(t *testing.T) {
	in := httptest.NewRequest(http.MethodGet, "/", nil)
	in.Header.Set("Authorization", "Bearer mine")
	in.Header.Set("Proxy-Authorization", "Basic eDp5")
	r := &httputil.ProxyRequest{In: in, Out: in.Clone(t.Context())}
	testSidecar(t, nil).rewrite(r)
	for _, name := range []string{"Authorization", "Proxy-Authorization"} {
		if got := r.Out.Header[name]; got != nil {
			t.Errorf("%s = %q, want none", name, got)
		}
	}
}

// upgraded is an API that echoes after the switch of protocols.
func upgraded(w http.ResponseWriter, r *http.Request) {
	conn, rw, err := http.NewResponseController(w).Hijack()
	if err != nil {
		return
	}
	defer conn.Close()
	fmt.Fprint(rw, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: "+r.Header.Get("Upgrade")+"\r\n\r\n")
	rw.Flush()
	io.Copy(conn, rw)
}

const upgrade = "GET /socket HTTP/1.1\r\nHost: %s\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"

func TestProxyPassesUpgradesOn(t *testing.T) {
	srv, _ := agent(t)
	api := startAPI(t, srv, upgraded, nil)
	p := startProxy(t, api.URL, "-log-level", "debug")
	conn, r, resp := raw(t, p.addr, fmt.Sprintf(upgrade, p.addr))
	if resp.StatusCode != 101 {
		t.Fatalf("status %d, want 101", resp.StatusCode)
	}
	for _, line := range []string{"ping\n", "pong\n"} {
		io.WriteString(conn, line)
		if got, err := r.ReadString('\n'); got != line {
			t.Fatalf("echo %q, %v, want %q", got, err, line)
		}
	}
	conn.Close()
	p.stop()
	if logs := p.logs.String(); !strings.Contains(logs, `"status":101`) {
		t.Errorf("the request's line does not tell status 101: %s", logs)
	}
}

func TestProxyPassesAnswersOnUntouched(t *testing.T) {
	srv, _ := agent(t)
	api := startAPI(t, srv, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Location", "https://elsewhere.example/")
		w.Header().Set("Content-Encoding", "gzip")
		w.WriteHeader(http.StatusFound)
		io.WriteString(w, "not really gzip")
	}, nil)
	p := startProxy(t, api.URL)
	status, header, body := get(t, p.url)
	if status != 302 || header.Get("Location") != "https://elsewhere.example/" || header.Get("Content-Encoding") != "gzip" || body != "not really gzip" {
		t.Errorf("got %d, %v, %q, want the redirect as it was", status, header, body)
	}
}

func TestProxyAnswersFailuresWithWhatToDo(t *testing.T) {
	srv, token := agent(t)
	open := httptest.NewServer(authsectest.Answer(200, "{}"))
	defer open.Close()
	gone := httptest.NewServer(nil)
	gone.Close()
	for _, tc := range []struct {
		name     string
		upstream string
		fault    http.Handler
		status   int
		code     string
		after    bool
	}{
		{"not delegated", open.URL, authsectest.Answer(404, `{"error":"No active delegation token found"}`), 503, "not_delegated", true},
		{"rate limited", open.URL, authsectest.Answer(429, `{"error":"Rate limit exceeded"}`, "Retry-After", "7"), 503, "rate_limited", true},
		{"AuthSec not able", open.URL, authsectest.Answer(501, "{}"), 503, "authsec_unavailable", true},
		{"credential wanted", open.URL, authsectest.Answer(401, `{"error":"x"}`), 502, "unauthorized", false},
		{"client ID not accepted", open.URL, authsectest.Answer(400, `{"error":"Invalid client_id format"}`), 502, "invalid_client_id", false},
		{"no AuthSec server", open.URL, authsectest.Answer(200, "<html>"+token), 502, "invalid_response", false},
		{"upstream gone", gone.URL, nil, 502, "upstream_failed", false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			srv.Fail(tc.fault)
			p := startProxy(t, tc.upstream)
			status, header, body := get(t, p.url+"/?secret=1")
			var got problem
			if err := json.Unmarshal([]byte(body), &got); err != nil {
				t.Fatalf("the body is no JSON: %v", err)
			}
			if status != tc.status || got.Code != tc.code || got.Do == "" || len(body) > 500 {
				t.Errorf("got %d, %+v in %d bytes, want %d, %s and what to do", status, got, len(body), tc.status, tc.code)
			}
			if after := header.Get("Retry-After"); (after != "") != tc.after || after == "0" || (tc.code == "rate_limited" && after != "7") {
				t.Errorf("Retry-After %q, want one: %v", after, tc.after)
			}
			noSecrets(t, "the answer", body+fmt.Sprint(header), token)
			noSecrets(t, "the log", p.logs.String(), token)
		})
	}
}

func TestProxyAnswersForAnUpstreamThatDoesNot(t *testing.T) {
	srv, _ := agent(t)
	sent := make(chan string, 1)
	api := startAPI(t, srv, func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		sent <- string(body)
		<-r.Context().Done()
	}, nil)
	p := startProxy(t, api.URL, "-upstream-timeout", "50ms")
	// The time-out is for the answer, not for sending the body.
	pr, pw := io.Pipe()
	go func() {
		io.WriteString(pw, "slow ")
		time.Sleep(200 * time.Millisecond)
		io.WriteString(pw, "body")
		pw.Close()
	}()
	resp, err := client.Post(p.url, "text/plain", pr)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	var got problem
	if err := json.NewDecoder(resp.Body).Decode(&got); err != nil || resp.StatusCode != 504 || got.Code != "upstream_timeout" {
		t.Errorf("status %d, %+v, %v, want 504 and upstream_timeout", resp.StatusCode, got, err)
	}
	if got := arrives(t, sent); got != "slow body" {
		t.Errorf("the upstream got %q, want the whole body", got)
	}
}

func TestProxyAnswersForAnAuthSecServerThatDoesNot(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, w := silentSidecar(t), httptest.NewRecorder()
		s.names = map[string]bool{"example.com": true}
		s.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/", nil))
		if w.Code != 504 || !strings.Contains(w.Body.String(), "authsec_timeout") {
			t.Errorf("status %d, %q, want 504 and authsec_timeout", w.Code, w.Body)
		}
		time.Sleep(2 * time.Hour) // the fetch ends
		synctest.Wait()
	})
}

func TestProxyTellsOfAnswersThatBrokeOff(t *testing.T) {
	srv, _ := agent(t)
	api := startAPI(t, srv, func(w http.ResponseWriter, r *http.Request) {
		io.WriteString(w, "a part")
		http.NewResponseController(w).Flush()
		if r.URL.Path == "/broken" {
			panic(http.ErrAbortHandler)
		}
		<-r.Context().Done() // the program leaves
	}, nil)
	p := startProxy(t, api.URL, "-log-level", "debug")
	for _, path := range []string{"/broken", "/left"} {
		resp, err := client.Get(p.url + path)
		if err != nil {
			t.Fatal(err)
		}
		if path == "/broken" {
			if body, err := io.ReadAll(resp.Body); err == nil {
				t.Errorf("the broken answer ended well, after %q", body)
			}
		}
		resp.Body.Close()
	}
	for _, want := range []string{`"path":"/broken","status":200,`, `"failure":"broken_off"`, `"path":"/left","status":200,`, `"failure":"gone"`} {
		eventually(t, "a line with "+want, func() bool { return strings.Contains(p.logs.String(), want) })
	}
	if got := metricsOf(t, p)["authsec_proxy_answers_broken_off_total"]; got != 1 {
		t.Errorf("%v answers broke off, want 1", got)
	}
}

func TestProxyAnnouncesNoTrailersThatItDoesNotSend(t *testing.T) {
	srv, _ := agent(t)
	seen := make(chan http.Header, 1)
	api := startAPI(t, srv, func(w http.ResponseWriter, r *http.Request) {
		io.Copy(io.Discard, r.Body)
		seen <- r.Trailer
		w.Header().Set("Trailer", "X-After")
		io.WriteString(w, "body")
		w.Header().Set("X-After", "1")
	}, nil)
	p := startProxy(t, api.URL)
	_, _, resp := raw(t, p.addr, "POST / HTTP/1.1\r\nHost: "+p.addr+"\r\nTrailer: Authorization, X-Sum\r\n"+
		"Transfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\nAuthorization: Bearer mine\r\nX-Sum: 1\r\n\r\n")
	if got := arrives(t, seen); len(got) > 0 {
		t.Errorf("the upstream got the trailers %v, want none", got)
	}
	if io.Copy(io.Discard, resp.Body); resp.Trailer.Get("X-After") != "1" {
		t.Errorf("the answer's trailers are %v, want the upstream's", resp.Trailer)
	}
}

func TestProxyTellsATimeOutFromOtherFailures(t *testing.T) {
	timeout := &net.OpError{Op: "dial", Net: "tcp", Err: os.ErrDeadlineExceeded}
	for _, tc := range []struct {
		err      error
		status   int
		upstream bool
	}{
		{timeout, 504, true},
		{context.DeadlineExceeded, 504, true},
		{io.ErrUnexpectedEOF, 502, true},
		{errors.New("malformed HTTP response"), 502, true},
	} {
		if p, upstream := diagnose(tc.err); p.status != tc.status || upstream != tc.upstream {
			t.Errorf("%v: %d, of the upstream %v, want %d, %v", tc.err, p.status, upstream, tc.status, tc.upstream)
		}
	}
}

func TestProxyRepeatsIdempotentRequestsAsOftenAsItIsTold(t *testing.T) {
	srv, _ := agent(t)
	calls := 0
	api := startAPI(t, srv, func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(503) }, func(http.ResponseWriter, *http.Request) { calls++ })
	p := startProxy(t, api.URL, "-attempts", "2")
	if status, _, _ := get(t, p.url); status != 503 || calls != 2 {
		t.Errorf("status %d after %d attempts, want 503 after 2", status, calls)
	}
}

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
		p := startProxy(t, api.URL, "-log-level", level)
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

func TestProxyLogsDurationsInWords(t *testing.T) {
	srv, _ := agent(t)
	p := startProxy(t, startAPI(t, srv, nil, nil).URL)
	get(t, p.url)
	if logs := p.logs.String(); !strings.Contains(logs, `"expires_in":"59m5`) && !strings.Contains(logs, `"expires_in":"1h0m0s`) {
		t.Errorf("the log has no expiry such as 59m59s: %s", logs)
	}
}

func TestProxyHasTimeoutsThatCutNoStream(t *testing.T) {
	srv := authsectest.NewInMemoryServer()
	src, err := authsec.NewSource(srv.Config(authsectest.ClientID))
	if err != nil {
		t.Fatal(err)
	}
	_, f := newProxyFlags(io.Discard)
	f.listen, f.health = "127.0.0.1:0", "127.0.0.1:0"
	s := testSidecar(t, src)
	if err := s.listen(t.Context(), f); err != nil {
		t.Fatal(err)
	}
	defer s.ln.Close()
	defer s.healthLn.Close()
	for _, server := range []*http.Server{s.server, s.health} {
		if server.ReadHeaderTimeout <= 0 || server.IdleTimeout <= 0 || server.MaxHeaderBytes <= 0 || server.WriteTimeout != 0 || server.ReadTimeout != 0 {
			t.Errorf("time-outs of header %v, idle %v, %d header bytes, write %v, read %v, want the first three and not the others",
				server.ReadHeaderTimeout, server.IdleTimeout, server.MaxHeaderBytes, server.WriteTimeout, server.ReadTimeout)
		}
	}
}

func TestProxyFlagsHaveEnvironmentVariablesAndWinOverThem(t *testing.T) {
	agent(t)
	values := map[string][2]string{ // one for the environment, one for the command line
		"listen":       {"127.0.0.1:1", "127.0.0.1:2"},
		"upstream":     {"https://a.example", "https://b.example"},
		"health":       {":1", ":2"},
		"cache-dir":    {"/a", "/b"},
		"host":         {"a,b", "c"},
		"allow-remote": {"true", "false"},
		"allow-http":   {"true", "false"},
		"attempts":     {"2", "3"},
		"drain":        {"1s", "2s"},
		"log-level":    {"ERROR", "DEBUG"},

		"upstream-timeout": {"3s", "4s"},
	}
	var help bytes.Buffer
	flags, _ := newProxyFlags(&help)
	flags.Usage()
	flags.VisitAll(func(f *flag.Flag) {
		v, ok := values[f.Name]
		if !ok {
			t.Errorf("no test for -%s", f.Name)
			return
		}
		name := "AUTHSEC_PROXY_" + strings.ToUpper(strings.ReplaceAll(f.Name, "-", "_"))
		if !strings.Contains(help.String(), name+"\n") {
			t.Errorf("-h does not name %s", name)
		}
		t.Setenv(name, v[0])
		env, _ := newProxyFlags(io.Discard)
		if err := fromEnv(env); err != nil || env.Lookup(f.Name).Value.String() != v[0] {
			t.Errorf("%s=%s gives -%s %q, %v", name, v[0], f.Name, env.Lookup(f.Name).Value, err)
		}
		both, _ := newProxyFlags(io.Discard)
		if err := errors.Join(both.Parse([]string{"-" + f.Name + "=" + v[1]}), fromEnv(both)); err != nil || both.Lookup(f.Name).Value.String() != v[1] {
			t.Errorf("with %s=%s, -%s=%s gives %q, %v", name, v[0], f.Name, v[1], both.Lookup(f.Name).Value, err)
		}
		os.Unsetenv(name)
	})
	t.Setenv("AUTHSEC_PROXY_DRAIN", "soon")
	var stdout, stderr bytes.Buffer
	if code := run(t.Context(), []string{"proxy", "-upstream", "https://a.example"}, &stdout, &stderr); code != 2 || !strings.Contains(stderr.String(), "AUTHSEC_PROXY_DRAIN") {
		t.Errorf("a malformed variable: proxy = %d, %q, want 2 and its name", code, stderr.String())
	}
}

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
		{nil, 2, "-upstream is not set"},
		{[]string{"-upstream", "api.example.com"}, 2, "has no https://"},
		{[]string{"-upstream", "https://%zz"}, 2, "not a URL like https://api.example.com"},
		{[]string{"-upstream", "https://*.example.com"}, 2, "no host name has"},
		{[]string{"-upstream", "https://user:secret@api.example.com"}, 2, "password"},
		{[]string{"-upstream", "https://api.example.com/?key=secret"}, 2, "query"},
		{[]string{"-upstream", "http://api.example.com"}, 2, "-allow-http"},
		{[]string{"-upstream", "http://LOCALHOST:1"}, 2, "-allow-http"}, // a proxy may take it
		{[]string{"-upstream", "https://api.example.com:"}, 2, "no valid port"},
		{[]string{"-upstream", "https://bücher.example"}, 2, "xn--"},
		{[]string{"-upstream", "http://localhost:1", "-listen", "127.0.0.1:0", "-host", "localhost:1"}, 1, "this proxy itself"},
		{[]string{"-upstream", "https://a.example", "-listen", "0.0.0.0:0"}, 2, "-allow-remote"},
		{[]string{"-upstream", "https://a.example", "-listen", ":0"}, 2, "-allow-remote"},
		{[]string{"-upstream", "https://a.example", "-listen", "[::]:0"}, 2, "-allow-remote"},
		{[]string{"-upstream", "https://a.example", "-listen", "nonsense"}, 2, "-listen"},
		{[]string{"-upstream", "https://a.example", "-attempts", "0"}, 2, "-attempts"},
		{[]string{"-upstream", "https://a.example", "-drain", "-1s"}, 2, "-drain"},
		{[]string{"-upstream", "https://a.example", "-upstream-timeout", "-1s"}, 2, "-upstream-timeout"},
		{[]string{"-upstream", "https://a.example", "extra"}, 2, "extra"},
		{[]string{"-upstream", "https://a.example", "-listen", busy.Addr().String()}, 1, "To do: choose another -listen"},
		{[]string{"-upstream", "https://a.example", "-listen", "127.0.0.1:0", "-health", busy.Addr().String()}, 1, "To do: choose another -listen"},
		{[]string{"-upstream", "https://a.example", "-listen", "0.0.0.0:0", "-allow-remote"}, 0, "listening"},
		{[]string{"-upstream", "http://a.example", "-listen", "127.0.0.1:0", "-allow-http"}, 0, "listening"},
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
	if code, line := failsInOneLine(t, "proxy", "-upstream", "https://a.example"); code != 1 {
		t.Errorf("without an environment: proxy = %d, %q, want 1", code, line)
	}
}

// process is a proxy in a process of its own.
type process struct {
	cmd          *exec.Cmd
	addr, health string
	logs         *logBuffer
	read         chan bool // closed when all of its standard error was read
}

func startProcess(t *testing.T, upstream string, args ...string) *process {
	t.Helper()
	cmd := command(t, append([]string{"proxy", "-listen", "127.0.0.1:0", "-health", "127.0.0.1:0", "-upstream", upstream}, args...)...)
	stderr, err := cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	logs, read := newLogBuffer(), make(chan bool)
	go func() {
		defer close(read)
		for lines := bufio.NewScanner(stderr); lines.Scan(); {
			logs.Write(append(lines.Bytes(), '\n'))
		}
	}()
	select {
	case l := <-logs.listening:
		return &process{cmd, l.Listen, l.Health, logs, read}
	case <-time.After(patience):
		t.Fatalf("the proxy does not listen: %s", logs.String())
		return nil
	}
}

// exit waits for the process, and returns its exit code.
func (p *process) exit(t *testing.T) int {
	t.Helper()
	done := make(chan error, 1)
	go func() {
		<-p.read // Wait closes the pipe
		done <- p.cmd.Wait()
	}()
	select {
	case <-done:
	case <-time.After(patience):
		p.cmd.Process.Kill()
		t.Fatalf("the proxy did not end: %s", p.logs.String())
	}
	return p.cmd.ProcessState.ExitCode()
}

// arrives waits for a value.
func arrives[T any](t *testing.T, c <-chan T) (v T) {
	t.Helper()
	select {
	case v = <-c:
	case <-time.After(patience):
		t.Fatal("it never came")
	}
	return v
}

// hold keeps a request from being answered, until c is closed or its client has gone.
func hold(r *http.Request, c <-chan bool) {
	select {
	case <-c:
	case <-r.Context().Done():
	}
}

// eventually waits for a condition.
func eventually(t *testing.T, what string, holds func() bool) {
	t.Helper()
	for deadline := time.Now().Add(patience); !holds(); {
		if time.Now().After(deadline) {
			t.Fatalf("never: %s", what)
		}
		time.Sleep(5 * time.Millisecond)
	}
}

func TestProxyFinishesRequestsInFlightAfterASignal(t *testing.T) {
	for _, sig := range []os.Signal{syscall.SIGTERM, os.Interrupt} {
		srv, _ := agent(t)
		entered, leave := make(chan bool, 1), make(chan bool)
		api := startAPI(t, srv, func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path == "/slow" {
				entered <- true
				hold(r, leave)
			}
			io.WriteString(w, "done")
		}, nil)
		p := startProcess(t, api.URL)
		if status, _, _ := get(t, "http://"+p.health+"/readyz"); status != 200 {
			t.Fatalf("readyz %d, want 200", status)
		}
		type outcome struct {
			status int
			body   string
		}
		answered := make(chan outcome, 1)
		go func() {
			resp, err := client.Get("http://" + p.addr + "/slow")
			if err != nil {
				answered <- outcome{0, err.Error()}
				return
			}
			defer resp.Body.Close()
			body, _ := io.ReadAll(resp.Body)
			answered <- outcome{resp.StatusCode, string(body)}
		}()
		arrives(t, entered)
		p.cmd.Process.Signal(sig)
		eventually(t, "new connections refused", func() bool {
			conn, err := net.Dial("tcp", p.addr)
			if err == nil {
				conn.Close()
			}
			return err != nil
		})
		if status, _, _ := get(t, "http://"+p.health+"/readyz"); status != 503 {
			t.Errorf("%v: readyz %d, want 503", sig, status)
		}
		if status, _, _ := get(t, "http://"+p.health+"/healthz"); status != 200 {
			t.Errorf("%v: healthz %d, want 200", sig, status)
		}
		close(leave)
		if got := arrives(t, answered); got != (outcome{200, "done"}) {
			t.Errorf("%v: the request in flight got %+v, want 200 and its body", sig, got)
		}
		if code := p.exit(t); code != 0 {
			t.Errorf("%v: exit code %d, want 0: %s", sig, code, p.logs.String())
		}
	}
}

func TestProxyServesRequestsThatTheSignalOvertook(t *testing.T) {
	srv, _ := agent(t)
	api := startAPI(t, srv, nil, nil)
	u, err := url.Parse(api.URL)
	if err != nil {
		t.Fatal(err)
	}
	src, err := authsec.NewSource(srv.Config(authsectest.ClientID))
	if err != nil {
		t.Fatal(err)
	}
	_, f := newProxyFlags(io.Discard)
	f.listen, f.drain = "127.0.0.1:0", patience
	s := newSidecar(src, u, f, slog.New(slog.DiscardHandler))
	s.linger = patience // it ends when the test has seen enough
	if err := s.listen(t.Context(), f); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	code := make(chan int, 1)
	go func() { code <- s.serve(ctx, io.Discard) }()
	request := "GET / HTTP/1.1\r\nHost: " + s.ln.Addr().String() + "\r\n\r\n"
	conn, r, resp := raw(t, s.ln.Addr().String(), request)
	if io.Copy(io.Discard, resp.Body); resp.StatusCode != 200 || resp.Close {
		t.Fatalf("status %d, closed %v, want 200 on a connection that is kept", resp.StatusCode, resp.Close)
	}
	cancel()
	eventually(t, "shutting down", s.draining.Load)
	io.WriteString(conn, request)
	if resp, err = http.ReadResponse(r, nil); err != nil || resp.StatusCode != 200 || !resp.Close {
		t.Fatalf("on a kept connection: %+v, %v, want 200 and its end", resp, err)
	}
	if _, _, resp := raw(t, s.ln.Addr().String(), request); resp.StatusCode != 200 || !resp.Close {
		t.Errorf("on a new connection: status %d, closed %v, want 200 and its end", resp.StatusCode, resp.Close)
	}
	s.close()
	if got := arrives(t, code); got != 0 {
		t.Errorf("exit code %d, want 0", got)
	}
}

func TestProxyKeepsUpgradedConnectionsUntilTheyEnd(t *testing.T) {
	srv, _ := agent(t)
	api := startAPI(t, srv, upgraded, nil)
	p := startProcess(t, api.URL)
	conn, r, _ := raw(t, p.addr, fmt.Sprintf(upgrade, p.addr))
	p.cmd.Process.Signal(syscall.SIGTERM)
	eventually(t, "shutting down", func() bool { return strings.Contains(p.logs.String(), "shutting down") })
	eventually(t, "new connections refused", func() bool {
		conn, err := net.Dial("tcp", p.addr)
		if err == nil {
			conn.Close()
		}
		return err != nil
	})
	for range 5 {
		io.WriteString(conn, "still\n")
		if got, err := r.ReadString('\n'); got != "still\n" {
			t.Fatalf("after SIGTERM the echo is %q, %v, want still", got, err)
		}
		time.Sleep(20 * time.Millisecond)
	}
	conn.Close()
	if code := p.exit(t); code != 0 {
		t.Errorf("exit code %d, want 0", code)
	}
}

func TestProxyEndsWithinItsDrainWhateverIsInFlight(t *testing.T) {
	srv, _ := agent(t)
	entered, leave := make(chan bool, 1), make(chan bool) // never
	api := startAPI(t, srv, func(_ http.ResponseWriter, r *http.Request) {
		entered <- true
		hold(r, leave)
	}, nil)
	p := startProcess(t, api.URL, "-drain", "100ms")
	go client.Get("http://" + p.addr)
	arrives(t, entered)
	p.cmd.Process.Signal(syscall.SIGTERM)
	if code := p.exit(t); code != 0 || !strings.Contains(p.logs.String(), "requests cut off") {
		t.Errorf("exit code %d, want 0 and a warning: %s", code, p.logs.String())
	}
}

// BenchmarkProxy has 64 clients call through the proxy and through a bare
// ReverseProxy, in turn, and reports the ratio of their throughputs.
func BenchmarkProxy(b *testing.B) {
	srv := authsectest.NewServer()
	defer srv.Close()
	srv.Delegate(authsectest.ClientID, authsectest.Delegation{})
	api := httptest.NewServer(authsectest.Answer(200, `{"ok":true}`))
	defer api.Close()
	b.Setenv("AUTHSEC_BASE_URL", srv.URL)
	b.Setenv("AUTHSEC_AGENT_CLIENT_ID", authsectest.ClientID)
	p := startProxy(b, api.URL)
	target, _ := url.Parse(api.URL)
	bare := httptest.NewServer(&httputil.ReverseProxy{
		Rewrite:   func(r *httputil.ProxyRequest) { r.SetURL(target) },
		Transport: upstreamTransport(0),
	})
	defer bare.Close()

	const clients, portion = 64, 2048
	t := &http.Transport{MaxIdleConnsPerHost: clients}
	defer t.CloseIdleConnections()
	c := &http.Client{Transport: t, Timeout: patience}
	calls := func(url string, n int) time.Duration {
		began := time.Now()
		var wg sync.WaitGroup
		for i := range clients {
			wg.Go(func() {
				for range (n + clients - 1 - i) / clients {
					resp, err := c.Get(url)
					if err != nil {
						b.Error(err)
						return
					}
					io.Copy(io.Discard, resp.Body)
					resp.Body.Close()
				}
			})
		}
		wg.Wait()
		return time.Since(began)
	}
	calls(p.url, portion)
	calls(bare.URL, portion)
	b.ResetTimer()
	var ours, theirs time.Duration
	for left := b.N; left > 0; left -= portion {
		n := min(left, portion)
		ours += calls(p.url, n)
		theirs += calls(bare.URL, n)
	}
	b.ReportMetric(float64(theirs)/float64(ours), "of-bare")
	b.ReportMetric(float64(b.N)/ours.Seconds(), "req/s")
}
