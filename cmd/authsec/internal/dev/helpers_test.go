// Copyright 2026 The authsec Authors
// SPDX-License-Identifier: Apache-2.0

package dev

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/authsec-go/authsec"
	"github.com/authsec-go/authsec/authsectest"
	"github.com/spf13/pflag"
	"golang.org/x/oauth2"
)

// bench is a server without a network, and what it logged.
type bench struct {
	*server
	t   *testing.T
	log *lines
}

// newBench returns a server with these flags and a delegation.
func newBench(t *testing.T, args ...string) *bench {
	t.Helper()
	var o options
	flags := pflag.NewFlagSet("dev", pflag.ContinueOnError)
	o.define(flags)
	if err := flags.Parse(append([]string{"--host=authsec.test,api.test"}, args...)); err != nil {
		t.Fatal(err)
	}
	o, err := o.validate()
	if err != nil {
		t.Fatal(err)
	}
	log := new(lines)
	s, err := newServer(o, log)
	if err != nil {
		t.Fatal(err)
	}
	s.delegate(o.delegation())
	return &bench{s, t, log}
}

// RoundTrip passes a request to the API if that is its host, and else to AuthSec.
func (b *bench) RoundTrip(req *http.Request) (*http.Response, error) {
	handler := b.authsec
	if req.URL.Host == "api.test" {
		handler = b.api
	}
	return authsectest.RoundTripper(handler).RoundTrip(req)
}

// client is a client of the library for the agent.
func (b *bench) client() *http.Client {
	b.t.Helper()
	client, err := authsec.NewClient(authsec.Config{
		BaseURL: "https://authsec.test", ClientID: b.opts.clientID, Hosts: []string{"api.test"}, HTTPClient: &http.Client{Transport: b},
	})
	if err != nil {
		b.t.Fatal(err)
	}
	client.Transport.(*authsec.Transport).Base = b
	return client
}

// ask sends a request with these header lines, as they are.
func (b *bench) ask(method, url, body string, header ...string) (status int, answer map[string]any, h http.Header) {
	b.t.Helper()
	req, err := http.NewRequestWithContext(b.t.Context(), method, url, strings.NewReader(body))
	if err != nil {
		b.t.Fatal(err)
	}
	for _, line := range header {
		name, value, _ := strings.Cut(line, ": ")
		req.Header.Set(name, value)
	}
	resp, err := b.RoundTrip(req)
	if err != nil {
		b.t.Fatal(err)
	}
	return read(b.t, resp)
}

// post does what the curl lines do, and returns the answer.
func (b *bench) post(action, body string) map[string]any {
	b.t.Helper()
	status, answer, _ := b.ask("POST", "https://authsec.test"+agentsPath+b.opts.clientID+"/"+action, body, "Content-Type: application/x-www-form-urlencoded")
	if status != http.StatusOK {
		b.t.Fatalf("POST %s %q: got %d %v, want 200", action, body, status, answer)
	}
	return answer
}

// get asks the endpoint as AuthSec's own SDKs do.
func (b *bench) get() (status int, answer map[string]any) {
	b.t.Helper()
	status, answer, _ = b.ask("GET", "https://authsec.test/uflow/sdk/delegation-token", "", "X-Client-ID: "+b.opts.clientID, "Accept: application/json")
	return status, answer
}

// call calls the API with a token.
func (b *bench) call(token any) (status int, answer map[string]any, h http.Header) {
	b.t.Helper()
	text, _ := token.(string)
	return b.ask("GET", "https://api.test/customers/42", "", "Authorization: Bearer "+text)
}

// logged wants the last line of the log to be this, after its time.
func (b *bench) logged(want string) {
	b.t.Helper()
	if got := b.log.last(); got != want {
		b.t.Errorf("logged\n%q, want\n%q", got, want)
	}
}

// read returns an answer. The map is empty if it is not JSON.
func read(t *testing.T, resp *http.Response) (int, map[string]any, http.Header) {
	t.Helper()
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	answer := map[string]any{}
	if strings.HasPrefix(resp.Header.Get("Content-Type"), "application/json") {
		if err := json.Unmarshal(text, &answer); err != nil {
			t.Fatalf("malformed JSON: %v", err)
		}
	}
	return resp.StatusCode, answer, resp.Header
}

// lines is what was written, safe for concurrent use.
type lines struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

var clock = regexp.MustCompile(`(?m)^\d\d:\d\d:\d\d `)

// last is the last line without its time.
func (l *lines) last() string {
	text := strings.TrimSuffix(l.String(), "\n")
	line := text[strings.LastIndex(text, "\n")+1:]
	if !clock.MatchString(line) {
		return "(no time) " + line
	}
	return clock.ReplaceAllString(line, "")
}

// in2026 moves a bubble's clock to a year in which the library trusts Date headers.
func in2026() { time.Sleep(time.Until(time.Date(2026, 5, 21, 7, 25, 36, 0, time.UTC))) }

// static is a Credential.
func static(token string) oauth2.TokenSource {
	return oauth2.StaticTokenSource(&oauth2.Token{AccessToken: token})
}
