// Copyright 2026 The authsec Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/authsec-go/authsec/authsectest"
)

// fetchServer is an agent's server and an API. DOWNSTREAM_URL is the API's.
func fetchServer(t *testing.T, h http.HandlerFunc) (srv *authsectest.Server, api *httptest.Server, token string) {
	t.Helper()
	srv, token = agent(t)
	api = httptest.NewServer(srv.API(h))
	t.Cleanup(api.Close)
	t.Setenv("DOWNSTREAM_URL", api.URL)
	return srv, api, token
}

func runFetch(t *testing.T, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	var out, errs bytes.Buffer
	code = run(t.Context(), append([]string{"fetch"}, args...), &out, &errs)
	return code, out.String(), errs.String()
}

func TestFetchSendsWhatTheFlagsSay(t *testing.T) {
	_, api, token := fetchServer(t, echo)
	file := filepath.Join(t.TempDir(), "body")
	if err := os.WriteFile(file, []byte("from a\nfile"), 0o600); err != nil {
		t.Fatal(err)
	}
	const form = "application/x-www-form-urlencoded"
	for _, tc := range []struct {
		args      []string
		got, body string
	}{
		{nil, "GET /x ", ""},
		{[]string{"-X", "DELETE"}, "DELETE /x ", ""},
		{[]string{"-d", "a=1"}, "POST /x " + form, "a=1"},
		{[]string{"-d", ""}, "POST /x " + form, ""},
		{[]string{"-X", "PUT", "-d", `{"a":1}`, "-H", "content-type: application/json"}, "PUT /x application/json", `{"a":1}`},
		{[]string{"-d", "@" + file}, "POST /x " + form, "from a\nfile"},
	} {
		code, body, errs := runFetch(t, append(append([]string{"-i"}, tc.args...), api.URL+"/x")...)
		head, body, _ := strings.Cut(body, "\r\n\r\n")
		if code != 0 || errs != "HTTP/1.1 200 OK\n" {
			t.Errorf("fetch %q = %d, standard error %q, want 0 and the status line alone", tc.args, code, errs)
		}
		if !strings.HasPrefix(head, "HTTP/1.1 200 OK\r\n") || !strings.Contains(head+"\r\n", "X-Got: "+tc.got+"\r\n") && !strings.Contains(head+"\r\n", "X-Got: "+strings.TrimSpace(tc.got)+"\r\n") {
			t.Errorf("fetch %q: header %q, want the server to have got %q", tc.args, head, tc.got)
		}
		if body != tc.body {
			t.Errorf("fetch %q: body %q, want %q", tc.args, body, tc.body)
		}
		noSecrets(t, "the output", head+body+errs, token)
	}
}

func TestFetchSendsEveryHeaderAndFlagsMayFollowTheURL(t *testing.T) {
	var got http.Header
	var host string
	_, api, _ := fetchServer(t, func(w http.ResponseWriter, r *http.Request) { got, host = r.Header.Clone(), r.Host })
	code, _, errs := runFetch(t, api.URL, "-H", "X-A: 1", "-H", "X-A:2", "-H", "Host: api.example.com")
	if a := got["X-A"]; code != 0 || len(a) != 2 || a[0] != "1" || a[1] != "2" || host != "api.example.com" {
		t.Errorf("fetch = %d, X-A %q, Host %q, want 0, [1 2], api.example.com: %s", code, a, host, errs)
	}
}

func TestFetchSendsStandardInput(t *testing.T) {
	_, api, _ := fetchServer(t, echo)
	cmd := command(t, "fetch", "-d", "@-", api.URL)
	cmd.Stdin = strings.NewReader("piped")
	if got, err := cmd.Output(); err != nil || string(got) != "piped" {
		t.Errorf("fetch -d @- printed %q, %v, want the echo of what was piped", got, err)
	}
}

func TestFetchExitsWithTheStatus(t *testing.T) {
	_, api, _ := fetchServer(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Location", "/elsewhere")
		status := 0
		fmt.Sscanf(r.URL.Path, "/%d", &status)
		w.WriteHeader(status)
	})
	for status, want := range map[int]int{200: 0, 204: 0, 302: 0, 400: 1, 404: 1, 501: 1} {
		code, _, errs := runFetch(t, fmt.Sprintf("%s/%d", api.URL, status))
		if code != want || !strings.HasPrefix(errs, fmt.Sprintf("HTTP/1.1 %d ", status)) {
			t.Errorf("status %d: fetch = %d, %q, want %d and the status line", status, code, errs, want)
		}
	}
}

func TestFetchWithholdsTheTokenFromOtherHosts(t *testing.T) {
	var authorization string
	h := func(w http.ResponseWriter, r *http.Request) { authorization = r.Header.Get("Authorization") }
	_, api, token := fetchServer(t, h)
	other := httptest.NewServer(http.HandlerFunc(h))
	defer other.Close()
	host := strings.TrimPrefix(other.URL, "http://")

	if _, _, errs := runFetch(t, other.URL); authorization != "" || !strings.Contains(errs, "not sent to "+host) {
		t.Errorf("to another host: token sent %v, standard error %q, want false and a notice", authorization != "", errs)
	}
	if _, _, errs := runFetch(t, "-H", "Authorization: Basic eDp5", other.URL); authorization != "Basic eDp5" || !strings.Contains(errs, "not sent") {
		t.Errorf("with the caller's own: Authorization kept %v, standard error %q, want true and a notice", authorization == "Basic eDp5", errs)
	}
	if _, _, errs := runFetch(t, "--hosts", "api.example.com, "+host, other.URL); authorization != "Bearer "+token || strings.Contains(errs, "not sent") {
		t.Errorf("with --hosts: token sent %v, standard error %q, want true and no notice", authorization == "Bearer "+token, errs)
	}
	authorization = ""
	if runFetch(t, "--hosts", host, api.URL); authorization != "" {
		t.Error("--hosts did not replace DOWNSTREAM_URL's host")
	}
}

func TestFetchReplaysABodyAfterARevocation(t *testing.T) {
	var bodies []string
	srv, token := agent(t)
	protected := srv.API(nil)
	api := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		bodies = append(bodies, string(body))
		if len(bodies) == 1 { // between the token's fetch and its use
			srv.Revoke(authsectest.ClientID)
			srv.Delegate(authsectest.ClientID, authsectest.Delegation{})
		}
		protected.ServeHTTP(w, r)
	}))
	defer api.Close()
	t.Setenv("DOWNSTREAM_URL", api.URL)
	file := filepath.Join(t.TempDir(), "body")
	if err := os.WriteFile(file, []byte("again"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, data := range []string{"again", "@" + file} {
		bodies = nil
		code, _, errs := runFetch(t, "-d", data, api.URL)
		if code != 0 || len(bodies) != 2 || bodies[1] != "again" {
			t.Errorf("fetch -d %s = %d after %q, want 0 and the body twice: %s", data, code, bodies, errs)
		}
		noSecrets(t, "standard error", errs, token)
	}
}

func TestFetchWritesToAFile(t *testing.T) {
	_, api, _ := fetchServer(t, echo)
	file := filepath.Join(t.TempDir(), "out")
	code, out, errs := runFetch(t, "-o", file, "-d", "x", api.URL)
	got, err := os.ReadFile(file)
	if code != 0 || out != "" || err != nil || string(got) != "x" {
		t.Errorf("fetch -o = %d, %q on standard output, file %q, %v, want 0, none, x: %s", code, out, got, err, errs)
	}
	if code, line := failsAfterStatus(t, "-o", filepath.Join(file, "no-directory"), api.URL); code != 1 {
		t.Errorf("an impossible -o: fetch = %d, %q, want 1", code, line)
	}
}

// failsAfterStatus is for failures after the status line was written.
func failsAfterStatus(t *testing.T, args ...string) (code int, line string) {
	t.Helper()
	code, _, errs := runFetch(t, args...)
	_, line, _ = strings.Cut(errs, "\n")
	if !saysWhatToDo(line) {
		t.Errorf("fetch %q: %q on standard error, want a line with what to do after the error's", args, line)
	}
	return code, line
}

func TestFetchStreamsTheBody(t *testing.T) {
	next := make(chan bool)
	_, api, _ := fetchServer(t, func(w http.ResponseWriter, r *http.Request) {
		for range 2 {
			fmt.Fprintln(w, "line")
			http.NewResponseController(w).Flush()
			select {
			case <-next:
			case <-r.Context().Done():
				return
			}
		}
	})
	pr, pw := io.Pipe()
	done := make(chan int, 1)
	go func() {
		done <- run(t.Context(), []string{"fetch", "--timeout", patience.String(), api.URL}, pw, io.Discard)
		pw.Close()
	}()
	line := make([]byte, len("line\n"))
	for range 2 {
		if _, err := io.ReadFull(pr, line); err != nil {
			t.Fatalf("a line did not come before the next was written: %v", err)
		}
		next <- true
	}
	if code := <-done; code != 0 {
		t.Errorf("fetch = %d, want 0", code)
	}
}

func TestFetchFailsWithALineThatSaysWhatToDo(t *testing.T) {
	srv, api, token := fetchServer(t, func(w http.ResponseWriter, r *http.Request) {
		if _, err := io.Copy(io.Discard, r.Body); err == nil { // net/http notices the end of the connection only after the whole body
			<-r.Context().Done()
		}
	})
	gone := httptest.NewServer(nil)
	gone.Close()
	code, line := fails(t, "fetch", "--timeout", "50ms", api.URL+"?secret=1")
	if code != 1 || !strings.Contains(line, "--timeout") || strings.Contains(line, "secret") {
		t.Errorf("past its --timeout: fetch = %d, %q, want 1, naming --timeout and not the query", code, line)
	}
	if code, line := fails(t, "fetch", "-X", "POST", gone.URL+"?secret=1"); code != 1 || strings.Contains(line, "secret") {
		t.Errorf("no such server: fetch = %d, %q, want 1 and no query", code, line)
	}
	if code, line := fails(t, "fetch", "--hosts", "api.example.com", "http://api.example.com/"); code != 1 || !strings.Contains(line, "https") {
		t.Errorf("over plain HTTP: fetch = %d, %q, want 1 and advice", code, line)
	}
	if code, line := fails(t, "fetch", "-d", "@/no/such/file", api.URL); code != 1 {
		t.Errorf("no such file: fetch = %d, %q, want 1", code, line)
	}
	if code, line := fails(t, "fetch", "-d", "@"+t.TempDir(), api.URL); code != 1 || !strings.Contains(line, "--data can be read") {
		t.Errorf("a directory: fetch = %d, %q, want 1, naming --data", code, line)
	}
	t.Setenv("DOWNSTREAM_URL", "")
	if code, line := fails(t, "fetch", api.URL); code != 1 || !strings.Contains(line, "--hosts") {
		t.Errorf("no hosts: fetch = %d, %q, want 1, naming --hosts", code, line)
	}
	srv.Revoke(authsectest.ClientID)
	home(t)
	code, line = fails(t, "fetch", "--hosts", strings.TrimPrefix(api.URL, "http://"), api.URL)
	if code != 1 || !strings.Contains(line, "Trust Delegation") {
		t.Errorf("not delegated: fetch = %d, %q, want 1 and advice", code, line)
	}
	noSecrets(t, "standard error", line, token)
}

func TestFetchCalledWronglyExitsWith2(t *testing.T) {
	_, api, _ := fetchServer(t, echo)
	for _, args := range [][]string{nil, {api.URL, api.URL}, {"api.example.com"}, {"ftp://api.example.com"}, {"-H", "secret-without-colon", api.URL}, {"-X", "BAD METHOD", api.URL}, {"-H", "secret name: x", api.URL}, {"-H", "X: secret\x01", api.URL}, {"--timeout", "soon", api.URL}, {"--timeout", "-1s", api.URL}} {
		code, out, errs := runFetch(t, args...)
		if code != 2 || out != "" || errs == "" || strings.Contains(errs, "secret") {
			t.Errorf("fetch %q = %d, %q, %q, want 2 and a message without the header", args, code, out, errs)
		}
	}
}

func TestFetchEndsWithAnInterrupt(t *testing.T) {
	entered := make(chan bool, 1)
	_, api, _ := fetchServer(t, func(w http.ResponseWriter, r *http.Request) {
		entered <- true
		<-r.Context().Done()
	})
	cmd := command(t, "fetch", api.URL)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	arrives(t, entered)
	cmd.Process.Signal(os.Interrupt)
	cmd.Wait()
	if got := cmd.ProcessState.ExitCode(); got != 1 {
		t.Errorf("exit code %d after an interrupt, want 1", got)
	}
}
