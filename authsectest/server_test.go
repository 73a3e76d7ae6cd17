// Copyright 2026 The authsec Authors
// SPDX-License-Identifier: Apache-2.0

package authsectest_test

import (
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/authsec-go/authsec/authsectest"
)

// answer is what the server answered.
type answer struct {
	status int
	header http.Header
	text   string
	body   map[string]any // nil if it is no JSON object
}

// send makes a request and reads the answer. header are names and values in turn. It
// follows no redirect.
func send(t *testing.T, client *http.Client, method, url, body string, header ...string) answer {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	for pair := range slices.Chunk(header, 2) {
		req.Header.Set(pair[0], pair[1])
	}
	c := *client
	c.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	resp, err := c.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	a := answer{resp.StatusCode, resp.Header, string(text), nil}
	_ = json.Unmarshal(text, &a.body)
	return a
}

func get(t *testing.T, srv *authsectest.Server, pathAndQuery string, header ...string) answer {
	t.Helper()
	return send(t, srv.Client(), http.MethodGet, srv.URL+pathAndQuery, "", header...)
}

// ask asks the endpoint for the agent's token.
func ask(t *testing.T, srv *authsectest.Server, header ...string) answer {
	t.Helper()
	return get(t, srv, ours, header...)
}

const ours = authsectest.EndpointPath + "?client_id=" + authsectest.ClientID

// check compares a status and the error in the body.
func (a answer) check(t *testing.T, status int, message string) {
	t.Helper()
	if msg, _ := a.body["error"].(string); a.status != status || msg != message {
		t.Errorf("got %d %s, want %d with error %q", a.status, a.text, status, message)
	}
}

func keys(m map[string]any) []string { return slices.Sorted(maps.Keys(m)) }

func TestMethodsAndPaths(t *testing.T) {
	for _, tc := range []struct {
		method, path string
		status       int
		contentType  string
		text         string
	}{
		{"GET", ours, 200, "application/json; charset=utf-8", `{"audience"`},
		{"POST", ours, 404, "text/plain", "404 page not found"},
		{"HEAD", ours, 404, "text/plain", ""},
		{"OPTIONS", ours, 204, "", ""},
		{"GET", "/", 404, "text/plain", "404 page not found"},
		{"GET", authsectest.EndpointPath + "/?client_id=" + authsectest.ClientID, 301, "text/html; charset=utf-8", `<a href="` + ours},
		{"GET", authsectest.KeySetPath + "/?tenant_id=x", 301, "text/html; charset=utf-8", `<a href="` + authsectest.KeySetPath + "?tenant_id=x"},
		{"POST", renewPath + "/", 307, "", ""},
		{"GET", authsectest.KeySetPath + "?tenant_id=" + authsectest.TenantID, 200, "application/json", `{"keys":[{"alg":"RS256","e":"AQAB","kid":"default","kty":"RSA","n":"`},
	} {
		for name, srv := range map[string]*authsectest.Server{"loopback": authsectest.NewServer(), "in memory": authsectest.NewInMemoryServer()} {
			srv.Delegate(authsectest.ClientID, authsectest.Delegation{})
			got := send(t, srv.Client(), tc.method, srv.URL+tc.path, "")
			if got.status != tc.status || got.header.Get("Content-Type") != tc.contentType || !strings.HasPrefix(got.text, tc.text) || (got.text == "") != (tc.text == "") {
				t.Errorf("%s %s, %s: got %d, %q, %q, want %d, %q, %q", tc.method, tc.path, name,
					got.status, got.header.Get("Content-Type"), got.text, tc.status, tc.contentType, tc.text)
			}
			if to := got.header.Get("Location"); tc.status == 301 && !strings.HasPrefix(tc.text, `<a href="`+to) {
				t.Errorf("%s %s, %s: Location = %q", tc.method, tc.path, name, to)
			}
			for _, header := range []string{"Date", "X-Request-Id", "X-Content-Type-Options"} {
				if got.header.Get(header) == "" {
					t.Errorf("%s %s, %s: no %s", tc.method, tc.path, name, header)
				}
			}
			srv.Close()
		}
	}
}

func TestEachAnswerHasItsRequestID(t *testing.T) {
	srv := authsectest.NewInMemoryServer()
	srv.FailNext(1, authsectest.Answer(503, "<html>"))
	fault, a, b := ask(t, srv), ask(t, srv), ask(t, srv, "X-Request-ID", "mine")
	if id := fault.header.Get("X-Request-Id"); fault.status != 503 || id == "" || id == a.header.Get("X-Request-Id") {
		t.Errorf("request IDs = %q and %q, want two", id, a.header.Get("X-Request-Id"))
	}
	if id := b.header.Get("X-Request-Id"); id != "mine" {
		t.Errorf("request ID = %q, want the request's own", id)
	}
}

func TestServerPrintsNoToken(t *testing.T) {
	srv := authsectest.NewInMemoryServer()
	token := srv.Delegate(authsectest.ClientID, authsectest.Delegation{})
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%d"} {
		if got := fmt.Sprintf(verb, srv); strings.Contains(got, token) || !strings.Contains(got, srv.URL) {
			t.Errorf("%s prints a token, or no URL", verb)
		}
	}
}

func TestHandlerThatPanicsDropsTheConnection(t *testing.T) {
	for name, srv := range map[string]*authsectest.Server{"loopback": authsectest.NewServer(), "in memory": authsectest.NewInMemoryServer()} {
		srv.FailNext(1, http.HandlerFunc(func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }))
		if resp, err := srv.Client().Get(srv.URL + ours); err == nil {
			t.Errorf("%s: answer = %d, want an error", name, resp.StatusCode)
		}
		srv.Close()
	}
}

func TestFaultsAndLatencyAreTheEndpointsOnly(t *testing.T) {
	srv := authsectest.NewInMemoryServer()
	srv.Delegate(authsectest.ClientID, authsectest.Delegation{})
	srv.SetLatency(time.Millisecond)
	srv.FailNext(1, authsectest.Answer(500, `{"error":"Failed to connect to tenant database"}`))
	if got := get(t, srv, authsectest.KeySetPath+"?tenant_id="+authsectest.TenantID); got.status != 200 {
		t.Errorf("the key set: got %d, want 200", got.status)
	}
	ask(t, srv).check(t, 500, "Failed to connect to tenant database")
	ask(t, srv).check(t, 200, "")
	srv.Fail(authsectest.Answer(502, "<html>"))
	ask(t, srv).check(t, 502, "")
	srv.Fail(nil)
	ask(t, srv).check(t, 200, "")
	if got := srv.Fetches(); got != 4 {
		t.Errorf("Fetches = %d, want 4", got)
	}
}
