// Copyright 2026 The authsec Authors
// SPDX-License-Identifier: Apache-2.0

package authsec_test

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"reflect"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/authsec-go/authsec"
	"github.com/authsec-go/authsec/authsectest"
	"golang.org/x/oauth2"
)

func TestTransportReplacesAuthorization(t *testing.T) {
	for _, c := range []struct {
		name   string
		header http.Header
	}{
		{"none", http.Header{}},
		{"canonical", http.Header{"Authorization": {"Basic own"}}},
		{"lower case", http.Header{"authorization": {"Basic own"}}},
		{"upper case", http.Header{"AUTHORIZATION": {"Basic own"}}},
		{"many", http.Header{"Authorization": {"Basic own", "Basic own"}, "authorization": {"Basic own"}, "aUTHORIZATION": {"x"}}},
	} {
		t.Run(c.name, func(t *testing.T) {
			base := statuses(200)
			req := get(t, api)
			req.Header = c.header.Clone()
			req.Header["X-Other"] = []string{"kept"}
			if _, err := to(staticSource(), base).RoundTrip(req); err != nil {
				t.Fatal(err)
			}
			got := base.calls[0].req.Header
			if tokenIn(got) != "first" || len(got["Authorization"]) != 1 {
				t.Errorf("Authorization where the token goes: got %q, want the first token alone", tokenIn(got))
			}
			if got.Get("X-Other") != "kept" || len(got) != 2 {
				t.Errorf("other headers: got %d names, want X-Other and Authorization", len(got))
			}

			base = statuses(200)
			req.Header = c.header.Clone()
			if _, err := to(staticSource(), base, hosts("other.example.com")).RoundTrip(req); err != nil {
				t.Fatal(err)
			}
			if got := base.calls[0].req.Header; !reflect.DeepEqual(got, c.header) {
				t.Errorf("headers where the token does not go: got %q, want %q", tokenIn(got), tokenIn(c.header))
			}
		})
	}
}

func TestTransportUsesTheTokensType(t *testing.T) {
	for typ, want := range map[string]string{"": "Bearer abc", "bearer": "Bearer abc", "DPoP": "DPoP abc"} {
		base := statuses(200)
		source := oauth2.StaticTokenSource(&oauth2.Token{AccessToken: "abc", TokenType: typ})
		if _, err := to(source, base).RoundTrip(get(t, api)); err != nil {
			t.Fatal(err)
		}
		if base.calls[0].req.Header.Get("Authorization") != want {
			t.Errorf("token type %q: got another header than its own, want %q and the token", typ, strings.Fields(want)[0])
		}
	}
}

// The body can't be sent again after the 401, but the next request has the new token.
func TestTransportRenewsForTheNextRequest(t *testing.T) {
	bubble(t, func(t *testing.T) {
		srv := authsectest.NewInMemoryServer()
		srv.Delegate(authsectest.ClientID, authsectest.Delegation{})
		client, err := authsec.NewClient(srv.Config(authsectest.ClientID, api))
		if err != nil {
			t.Fatal(err)
		}
		client.Transport.(*authsec.Transport).Base = authsectest.RoundTripper(srv.API(nil))
		post := func() int {
			resp, err := client.Post(api, "text/plain", io.NopCloser(strings.NewReader("a stream")))
			if err != nil {
				t.Fatal(err)
			}
			resp.Body.Close()
			return resp.StatusCode
		}
		first := post()
		srv.Revoke(authsectest.ClientID)
		srv.Delegate(authsectest.ClientID, authsectest.Delegation{})
		second, third := post(), post()
		if first != 200 || second != 401 || third != 200 || srv.Fetches() != 2 {
			t.Errorf("got %d, %d, %d with %d fetches, want 200, 401, 200 with 2", first, second, third, srv.Fetches())
		}
	})
}

func TestTransportSurvivesARevocationWithOneFetch(t *testing.T) {
	const callers = 256
	for _, latency := range []time.Duration{0, 100 * time.Millisecond} {
		inBubble(t, fmt.Sprint("latency ", latency), func(t *testing.T) {
			srv := authsectest.NewInMemoryServer()
			srv.Delegate(authsectest.ClientID, authsectest.Delegation{})
			src := newSource(t, srv.Config(authsectest.ClientID))
			// All requests are under way with the old token before the API rejects one.
			var arrived atomic.Int32
			all := make(chan struct{})
			inner := authsectest.RoundTripper(srv.API(nil))
			base := baseFunc(func(r *http.Request) (*http.Response, error) {
				if n := arrived.Add(1); n == callers {
					close(all)
				}
				<-all
				return inner.RoundTrip(r)
			})
			if _, err := src.Token(); err != nil {
				t.Fatal(err)
			}
			srv.Revoke(authsectest.ClientID)
			srv.Delegate(authsectest.ClientID, authsectest.Delegation{})
			srv.SetLatency(latency)
			before := srv.Fetches()
			client := &http.Client{Transport: to(src, base)}
			var failures atomic.Int32
			var wg sync.WaitGroup
			for i := range callers {
				wg.Go(func() {
					var resp *http.Response
					var err error
					if i%2 == 0 {
						resp, err = client.Get(api)
					} else {
						resp, err = client.Post(api, "text/plain", strings.NewReader("the body"))
					}
					if err != nil || resp.StatusCode != 200 {
						failures.Add(1)
						return
					}
					resp.Body.Close()
				})
			}
			wg.Wait()
			if fetches := srv.Fetches() - before; fetches != 1 || failures.Load() != 0 {
				t.Errorf("got %d fetches and %d failures, want 1 and 0", fetches, failures.Load())
			}
			if n := srv.APICalls(); n != callers {
				t.Errorf("requests that the API accepted: got %d, want %d", n, callers)
			}
		})
	}
}

func TestTransportGivesTheSourcesOwnError(t *testing.T) {
	bubble(t, func(t *testing.T) {
		srv := authsectest.NewInMemoryServer()
		srv.Register(authsectest.ClientID)
		client, err := authsec.NewClient(srv.Config(authsectest.ClientID, api))
		if err != nil {
			t.Fatal(err)
		}
		_, err = client.Get(api)
		if _, ok := errors.AsType[*url.Error](err); !ok || !errors.Is(err, authsec.ErrNotDelegated) {
			t.Errorf("error: got %v, want ErrNotDelegated within a *url.Error", err)
		}
		if e, ok := errors.AsType[*authsec.Error](err); !ok || e.StatusCode != http.StatusNotFound {
			t.Errorf("error: got %v, want an *authsec.Error with the 404", err)
		}
		if re, ok := errors.AsType[*oauth2.RetrieveError](err); !ok || re.Response.StatusCode != http.StatusNotFound {
			t.Errorf("error: got %v, want an *oauth2.RetrieveError with the 404", err)
		}
	})
}

func TestTransportNamesWhatIsMalformed(t *testing.T) {
	var noSource *authsec.Source
	for _, c := range []struct {
		name string
		tr   *authsec.Transport
		want []string
	}{
		{"the zero value", new(authsec.Transport), []string{"Source", "Hosts", `"api.example.com"`}},
		{"no Source", to(nil, statuses(200)), []string{"Source"}},
		{"a nil *Source", to(noSource, statuses(200)), []string{"Source"}},
		{"a zero *Source", to(new(authsec.Source), statuses(200)), []string{"Source"}},
		{"no Hosts", to(staticSource(), statuses(200), hosts()), []string{"Hosts", `"api.example.com"`, `"*"`}},
		{"a malformed host", to(staticSource(), statuses(200), hosts("api.example.com", "https://b.example.com/v1")), []string{"Hosts", "https://b.example.com/v1"}},
		{"an empty host", to(staticSource(), statuses(200), hosts("")), []string{"Hosts"}},
		{"MaxAttempts", to(staticSource(), statuses(200), retrying(authsec.RetryPolicy{MaxAttempts: -1})), []string{"Retry.MaxAttempts", "-1"}},
		{"MinBackoff", to(staticSource(), statuses(200), retrying(authsec.RetryPolicy{MinBackoff: -1})), []string{"Retry.MinBackoff"}},
		{"MaxBackoff", to(staticSource(), statuses(200), retrying(authsec.RetryPolicy{MaxBackoff: -1})), []string{"Retry.MaxBackoff"}},
		{"MinBackoff over MaxBackoff", to(staticSource(), statuses(200), retrying(authsec.RetryPolicy{MinBackoff: 2, MaxBackoff: 1})), []string{"Retry.MinBackoff", "MaxBackoff"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			for i := range 2 {
				resp, err := c.tr.RoundTrip(get(t, api))
				if err == nil || resp != nil {
					t.Fatalf("request %d: got no error, want one", i)
				}
				for _, part := range c.want {
					if !strings.Contains(err.Error(), part) {
						t.Errorf("request %d: got error %q, want %q in it", i, err, part)
					}
				}
				if strings.Count(err.Error(), "authsec: ") == 0 {
					t.Errorf("request %d: got error %q, want the package's name in it", i, err)
				}
			}
			if base, ok := c.tr.Base.(*fakeBase); ok && len(base.calls) != 0 {
				t.Errorf("requests sent: got %d, want 0", len(base.calls))
			}
		})
	}
}

func TestTransportForwardsCloseIdleConnections(t *testing.T) {
	base := statuses(200)
	client := &http.Client{Transport: to(staticSource(), base)}
	client.CloseIdleConnections()
	if base.idle != 1 {
		t.Errorf("calls that reached the base: got %d, want 1", base.idle)
	}
	// A base without the method, none at all, and a Transport with nothing set.
	to(staticSource(), baseFunc(base.RoundTrip)).CloseIdleConnections()
	to(staticSource(), nil).CloseIdleConnections()
	new(authsec.Transport).CloseIdleConnections()
	if base.idle != 1 {
		t.Errorf("calls that reached the base: got %d, want still 1", base.idle)
	}
}
