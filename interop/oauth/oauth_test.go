// Copyright 2026 The authsec Authors
// SPDX-License-Identifier: Apache-2.0

package oauth

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/authsec-go/authsec"
	"github.com/authsec-go/authsec/interop/internal/itest"
	"github.com/spiffe/go-spiffe/v2/svid/jwtsvid"
	"golang.org/x/oauth2"
)

// way is one of the ways to authenticate.
type way struct {
	*endpoint
	api    *httptest.Server
	client *http.Client
}

// each runs a test with each way to authenticate. The servers are over TLS, which the
// default transport trusts in this module's tests.
func each(t *testing.T, test func(*testing.T, way)) {
	start := func(t *testing.T) way {
		e := newEndpoint(t)
		srv := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path == "/oauth/token" {
				e.serveToken(w, r)
				return
			}
			http.NotFound(w, r)
		}))
		t.Cleanup(srv.Close)
		e.url = srv.URL + "/oauth/token"
		api := httptest.NewTLSServer(http.HandlerFunc(e.serveAPI))
		t.Cleanup(api.Close)
		return way{endpoint: e, api: api}
	}
	hosts := func(w way) []string { return []string{w.api.Listener.Addr().String()} }
	t.Run("secret", func(t *testing.T) {
		w := start(t)
		w.client = withSecret(clientID, clientSecret, w.url, resource, []string{scope}, hosts(w))
		test(t, w)
	})
	t.Run("SVID", func(t *testing.T) {
		w := start(t)
		agent, svids, trust := startAgent(t)
		w.trust = trust
		w.client = withSVID(svids, w.url, resource, []string{scope}, hosts(w))
		test(t, w)
		if requests, _ := w.counts(); agent.count() != requests {
			t.Errorf("%d SVIDs for %d requests for a token, want one each", agent.count(), requests)
		}
	})
}

// send sends a body that the API sends back.
func (w way) send(t *testing.T, method string) (status int, err error) {
	t.Helper()
	req, err := http.NewRequestWithContext(itest.Timely(t), method, w.api.URL+"/bills", strings.NewReader("hello"))
	if err != nil {
		t.Fatal(err)
	}
	resp, err := w.client.Do(req)
	if err != nil {
		if w.hasToken(err.Error()) {
			t.Error("a token is in the text of an error")
		}
		return 0, err
	}
	defer resp.Body.Close()
	if got, err := io.ReadAll(resp.Body); resp.StatusCode == http.StatusOK && (err != nil || string(got) != "hello") {
		t.Errorf("answer: %q, %v", got, err)
	}
	return resp.StatusCode, nil
}

// want checks an answer, and how many requests there have been.
func (w way) want(t *testing.T, what, method string, status, requests, calls int) {
	t.Helper()
	got, err := w.send(t, method)
	if gotRequests, gotCalls := w.counts(); got != status || gotRequests != requests || gotCalls != calls {
		t.Errorf("%s: %d (%v), %d requests for tokens, %d calls; want %d, %d, %d", what, got, err, gotRequests, gotCalls, status, requests, calls)
	}
}

func (w way) echo() {
	w.answer = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { io.Copy(w, r.Body) })
}

func TestLifeOfAToken(t *testing.T) {
	each(t, func(t *testing.T, w way) {
		w.echo()
		w.want(t, "first", http.MethodPost, 200, 1, 1)
		w.want(t, "kept", http.MethodPost, 200, 1, 2)
		w.revoke()
		w.want(t, "replaced and sent again", http.MethodPost, 200, 2, 4)
		w.want(t, "kept", http.MethodPost, 200, 2, 5)
		w.revoke()
		w.want(t, "rejected again, within 30 s", http.MethodPost, 401, 2, 6)
		w.want(t, "and again", http.MethodPost, 401, 2, 7)
	})
}

func TestEndpointRefuses(t *testing.T) {
	each(t, func(t *testing.T, w way) {
		w.echo()
		w.disable(true)
		_, err := w.send(t, http.MethodPost)
		if e, ok := errors.AsType[*oauth2.RetrieveError](err); !ok || e.Response.StatusCode != 401 || e.ErrorCode != "invalid_client" {
			t.Errorf("error: %v, want an *oauth2.RetrieveError of invalid_client", err)
		}
		w.disable(false)
		w.want(t, "enabled", http.MethodPost, 200, 2, 1)
		w.disable(true)
		w.revoke()
		w.want(t, "disabled and revoked", http.MethodPost, 401, 3, 2)
	})
}

func TestRetriesOfTheAPI(t *testing.T) {
	each(t, func(t *testing.T, w way) {
		w.answer = http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusServiceUnavailable) })
		w.client.Transport.(*authsec.Transport).Retry = authsec.RetryPolicy{MinBackoff: time.Millisecond, MaxBackoff: time.Millisecond}
		w.want(t, "PUT", http.MethodPut, 503, 1, 4)
		w.want(t, "POST", http.MethodPost, 503, 1, 5)
	})
}

// Neither the API's nor the endpoint's redirects carry anything away.
func TestRedirects(t *testing.T) {
	each(t, func(t *testing.T, w way) {
		strayed := 0
		stranger := httptest.NewTLSServer(http.HandlerFunc(func(out http.ResponseWriter, r *http.Request) {
			strayed++
			body, _ := io.ReadAll(r.Body)
			out.Write(body)
			if w.hasToken(fmt.Sprint(r.Header, r.URL)) || strings.Contains(string(body), "assertion") {
				t.Error("a token or an assertion went to another host")
			}
		}))
		defer stranger.Close()
		w.answer = http.RedirectHandler(stranger.URL, http.StatusTemporaryRedirect)
		if status, err := w.send(t, http.MethodPost); status != 200 || strayed != 1 {
			t.Errorf("after the API's redirect: %d, %v, %d requests elsewhere, want one", status, err, strayed)
		}

		front := httptest.NewTLSServer(http.RedirectHandler(stranger.URL, http.StatusTemporaryRedirect))
		defer front.Close()
		hosts := []string{w.api.Listener.Addr().String()}
		w.client = withSecret(clientID, clientSecret, front.URL, resource, []string{scope}, hosts)
		if w.trust != nil {
			_, svids, _ := startAgent(t)
			w.client = withSVID(svids, front.URL, resource, []string{scope}, hosts)
		}
		if _, err := w.send(t, http.MethodPost); err == nil || strayed != 1 {
			t.Errorf("after the endpoint's redirect: %v, %d requests elsewhere, want an error and none", err, strayed-1)
		}
	})
}

// The endpoint checks what it is sent. Each of these is refused.
func TestEndpointChecks(t *testing.T) {
	e := newEndpoint(t)
	srv := httptest.NewTLSServer(http.HandlerFunc(e.serveToken))
	defer srv.Close()
	_, svids, trust := startAgent(t)
	e.trust, e.url = trust, srv.URL
	for name, tc := range map[string]struct {
		client *http.Client
		want   string
	}{
		"another secret":   {withSecret(clientID, "x", srv.URL, resource, []string{scope}, []string{"api.test"}), "invalid_client"},
		"another client":   {withSecret("x", clientSecret, srv.URL, resource, []string{scope}, []string{"api.test"}), "invalid_client"},
		"another resource": {withSecret(clientID, clientSecret, srv.URL, "https://x", []string{scope}, []string{"api.test"}), "invalid_target"},
		"another scope":    {withSecret(clientID, clientSecret, srv.URL, resource, []string{"x"}, []string{"api.test"}), "invalid_scope"},
		"another audience": {withSVID(svids, srv.URL+"/x", resource, []string{scope}, []string{"api.test"}), "invalid_client"},
	} {
		_, err := tc.client.Get("https://api.test/")
		if e, ok := errors.AsType[*oauth2.RetrieveError](err); !ok || e.ErrorCode != tc.want {
			t.Errorf("%s: %v, want %s", name, err, tc.want)
		}
	}

	// An SVID that is used twice.
	svid, err := svids.FetchJWTSVID(t.Context(), jwtsvid.Params{Audience: srv.URL})
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []bool{true, false} {
		_, err := withSVID(fixed{svid}, srv.URL, resource, []string{scope}, []string{"api.test"}).
			Transport.(*authsec.Transport).Source.Token()
		if (err == nil) != want {
			t.Errorf("error: %v, want the first request alone to succeed", err)
		}
	}
}
