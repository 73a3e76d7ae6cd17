// Copyright 2026 The authsec Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/authsec-go/authsec/authsectest"
)

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
	p := startProxy(t, api.URL, "--upstream-timeout", "50ms")
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
	p := startProxy(t, api.URL, "--log-level", "debug")
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
	p := startProxy(t, api.URL, "--attempts", "2")
	if status, _, _ := get(t, p.url); status != 503 || calls != 2 {
		t.Errorf("status %d after %d attempts, want 503 after 2", status, calls)
	}
}

// net/http sends a 200 for a handler that sends nothing.
func TestProxySendsNothingInPlaceOfAnAnswer(t *testing.T) {
	s, w := testSidecar(t, nil), httptest.NewRecorder()
	s.names = map[string]bool{"example.com": true}
	s.handler.Transport = roundTripper(func(*http.Request) (*http.Response, error) { return nil, context.Canceled })
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	defer func() {
		if v := recover(); v != http.ErrAbortHandler || w.Body.Len() > 0 {
			t.Errorf("panic %v, %q, want http.ErrAbortHandler and nothing", v, w.Body)
		}
	}()
	s.ServeHTTP(w, httptest.NewRequestWithContext(ctx, http.MethodGet, "/", nil))
	t.Error("the handler returned")
}
