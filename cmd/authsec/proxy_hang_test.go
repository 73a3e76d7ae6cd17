// Copyright 2026 The authsec Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/authsec-go/authsec"
	"github.com/authsec-go/authsec/authsectest"
	"github.com/authsec-go/authsec/cmd/authsec/internal/answers"
)

func TestAnUpstreamThatHangsIsLoggedUntilItAnswersAgain(t *testing.T) {
	srv, token := agent(t)
	var hangs atomic.Bool
	api := startAPI(t, srv, func(w http.ResponseWriter, r *http.Request) {
		if hangs.Load() {
			io.Copy(io.Discard, r.Body) // else net/http does not notice that the proxy has gone
			<-r.Context().Done()
		}
	}, nil)
	p := startProxy(t, api.URL, "--log-level", "debug")
	hangs.Store(true)
	for i, wait := range []time.Duration{50 * time.Millisecond, hangTime + 300*time.Millisecond, hangTime + 300*time.Millisecond} {
		ctx, cancel := context.WithTimeout(t.Context(), wait)
		req, _ := http.NewRequestWithContext(ctx, http.MethodPut, p.url+"/customers/42?secret=query", strings.NewReader("x"))
		if _, err := client.Do(req); err == nil {
			t.Error("the request was answered, want it to hang")
		}
		cancel()
		eventually(t, "its line", func() bool { return strings.Count(p.logs.String(), `"failure":"gone"`) > i })
		if wait < hangTime && strings.Contains(p.logs.String(), "upstream failed") {
			t.Error("an upstream is blamed after 50 ms")
		}
	}
	eventually(t, "upstream failed", func() bool { return strings.Contains(p.logs.String(), "upstream failed") })
	hangs.Store(false)
	get(t, p.url)
	get(t, p.url)
	p.stop()
	var found []string
	for line := range strings.Lines(p.logs.String()) {
		var l struct{ Level, Msg, Error, Host, Method, Path, Duration, After string }
		if json.Unmarshal([]byte(line), &l); strings.HasPrefix(l.Msg, "upstream") {
			found = append(found, l.Level+" "+l.Msg)
			if took, err := time.ParseDuration(l.Duration); l.Msg == "upstream failed" &&
				(l.Error == "" || "http://"+l.Host != api.URL || l.Method != "PUT" || l.Path != "/customers/42" || err != nil || took < hangTime) {
				t.Errorf("the failure's record is %s", line)
			}
			if after, err := time.ParseDuration(l.After); l.Msg == "upstream answers again" && ("http://"+l.Host != api.URL || err != nil || after <= 0) {
				t.Errorf("the answer's record is %s", line)
			}
		}
	}
	if got, want := strings.Join(found, ", "), "WARN upstream failed, INFO upstream answers again"; got != want {
		t.Errorf("records %s, want %s", got, want)
	}
	if strings.Contains(p.logs.String(), "query") {
		t.Error("the log has the query")
	}
	noSecrets(t, "the log", p.logs.String(), token)
}

func TestFailuresOfTheUpstreamHaveWords(t *testing.T) {
	noAnswer, _ := net.Listen("tcp", "127.0.0.1:0")
	defer noAnswer.Close()
	plain := httptest.NewServer(nil)
	defer plain.Close()
	certified := httptest.NewUnstartedServer(nil)
	certified.Config.ErrorLog = log.New(io.Discard, "", 0)
	certified.StartTLS()
	defer certified.Close()
	tr := upstreamTransport(50 * time.Millisecond)
	get := func(url string) error {
		req, _ := http.NewRequest(http.MethodGet, url, nil)
		resp, err := tr.RoundTrip(req)
		if err == nil {
			resp.Body.Close()
		}
		return err
	}
	for name, tc := range map[string]struct {
		err  error
		want string
	}{
		"header":      {get("http://" + noAnswer.Addr().String()), "it did not answer in time"},
		"no TLS":      {get("https" + strings.TrimPrefix(plain.URL, "http")), "it does not speak TLS"},
		"certificate": {get(certified.URL), "its TLS certificate is from an unknown authority"},
		"refused":     {get("http://127.0.0.1:1"), "connection refused"},
		"deadline":    {fmt.Errorf("x: %w", os.ErrDeadlineExceeded), "it did not answer in time"},
		"closed":      {fmt.Errorf("x: %w", io.EOF), "it closed the connection too early"},
		"TLS record":  {tls.RecordHeaderError{Msg: "first record"}, "it does not speak TLS"},
		"other":       {errors.New(`malformed HTTP version "eyJ"`), "not valid HTTP"},
	} {
		if got := answers.Failure(tc.err); !strings.Contains(got, tc.want) || strings.Contains(got, "*") || strings.Contains(got, "eyJ") {
			t.Errorf("%s: %q of %v, want %q", name, got, tc.err, tc.want)
		}
	}
}

func TestReadyzSaysThatTheAPIRejectsEveryToken(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		srv := authsectest.NewInMemoryServer()
		srv.Delegate(authsectest.ClientID, authsectest.Delegation{TTL: 24 * time.Hour})
		src, err := authsec.NewSource(srv.Config(authsectest.ClientID))
		if err != nil {
			t.Fatal(err)
		}
		s := testSidecar(t, src)
		s.names = map[string]bool{"example.com": true}
		status := 401
		s.handler.Transport = roundTripper(func(req *http.Request) (*http.Response, error) {
			return &http.Response{StatusCode: status, Header: http.Header{}, Body: http.NoBody, Request: req}, nil
		})
		ask := func() { s.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest(http.MethodGet, "/", nil)) }
		ready := func() string {
			w := httptest.NewRecorder()
			s.healthHandler().ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/readyz", nil))
			return fmt.Sprint(w.Code, " ", w.Body)
		}
		check := func(what string, rejected bool) {
			t.Helper()
			got, want := ready(), "200 "
			if rejected {
				want = `503 {"error":"token_rejected","do":`
			}
			if !strings.HasPrefix(got, want) {
				t.Errorf("%s: %q, want %q", what, got, want)
			}
		}
		for range 5 {
			ask()
		}
		check("five rejections at once, as after a revocation", false)
		time.Sleep(rejectedFor)
		ask()
		check("another one later", true)
		status = 503
		ask()
		check("a 503 does not say whether the token is good", true)
		time.Sleep(rejectedLast - time.Second)
		check("nearly a minute later", true)
		time.Sleep(time.Second)
		check("a minute without requests", false)
		status = 401
		for range 3 {
			ask()
			time.Sleep(rejectedFor / 2)
		}
		check("again", true)
		status = 403
		ask()
		check("an accepted token", false)
	})
}

// The Warn about rejected tokens is the root's.
func TestARejectedTokenIsLogged(t *testing.T) {
	agent(t)
	api := httptest.NewServer(authsectest.Answer(401, "{}"))
	defer api.Close()
	p := startProxy(t, api.URL)
	for range 3 {
		get(t, p.url)
	}
	p.stop()
	if logs := p.logs.String(); strings.Count(logs, `"level":"WARN","msg":"token rejected"`) != 1 {
		t.Errorf("want one token rejected at Warn:\n%s", logs)
	}
}
