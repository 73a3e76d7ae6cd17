// Copyright 2026 The authsec Authors
// SPDX-License-Identifier: Apache-2.0

package authsec_test

import (
	"context"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/authsec-go/authsec"
	"github.com/authsec-go/authsec/authsectest"
)

// API and AuthSec are on one host, and share a transport with at most two connections
// to it. Two 401s that wait for a renewal would hold both connections, so their bodies
// are read first. The caller of a 401 that is not replayed still gets every byte.
func TestRejectedAnswersDoNotHoldAllConnections(t *testing.T) {
	const answer = 20 << 10
	for _, another := range []bool{true, false} { // AuthSec has another token
		authServer := authsectest.NewServer()
		defer authServer.Close()
		authServer.Delegate(authsectest.ClientID, authsectest.Delegation{})
		mux := http.NewServeMux()
		mux.Handle("/authsec/", authServer.Handler())
		var rejected atomic.Value
		rejected.Store("")
		both := make(chan struct{}, 2)
		mux.HandleFunc("/api", func(w http.ResponseWriter, r *http.Request) {
			if r.Header.Get("Authorization") != rejected.Load() {
				return
			}
			both <- struct{}{}
			for len(both) < 2 && r.Context().Err() == nil { // both requests are here
				time.Sleep(time.Millisecond)
			}
			w.WriteHeader(http.StatusUnauthorized)
			io.WriteString(w, strings.Repeat("x", answer))
		})
		srv := httptest.NewServer(mux)
		defer srv.Close()
		base := &http.Transport{MaxConnsPerHost: 2}
		defer base.CloseIdleConnections()
		cfg := authServer.Config(authsectest.ClientID, srv.URL)
		cfg.BaseURL, cfg.HTTPClient = srv.URL, &http.Client{Transport: base}
		tr, err := authsec.NewTransport(cfg)
		if err != nil {
			t.Fatal(err)
		}
		tr.Base = base
		token, err := tr.Source.Token()
		if err != nil {
			t.Fatal(err)
		}
		rejected.Store("Bearer " + token.AccessToken)
		if another {
			authServer.Delegate(authsectest.ClientID, authsectest.Delegation{})
		}
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		var wg sync.WaitGroup
		for range 2 {
			wg.Go(func() {
				req, err := http.NewRequestWithContext(ctx, "GET", srv.URL+"/api", nil)
				if err != nil {
					t.Error(err)
					return
				}
				resp, err := (&http.Client{Transport: tr}).Do(req)
				if err != nil {
					t.Errorf("another token %t: got %v, want an answer", another, err)
					return
				}
				defer resp.Body.Close()
				text, err := io.ReadAll(resp.Body)
				if want := map[bool]int{true: 200, false: 401}[another]; resp.StatusCode != want || err != nil || want == 401 && len(text) != answer {
					t.Errorf("another token %t: got %d with %d bytes, %v, want a %d with all", another, resp.StatusCode, len(text), err, want)
				}
			})
		}
		wg.Wait()
	}
}

// A caller may change the headers of a response's Request. No other request changes.
func TestRequestsShareNoHeaderValues(t *testing.T) {
	base := answering(outcome{status: 200})
	tr := to(staticSource(), base)
	for i := range 3 {
		resp, err := tr.RoundTrip(get(t, api))
		if err != nil {
			t.Fatal(err)
		}
		if got := tokenIn(base.calls[i].req.Header); got != "first" {
			t.Errorf("request %d: got token %q, want the first", i, got)
		}
		resp.Request.Header["Authorization"][0] = "Bearer changed"
	}
}

func TestRoundTripMakesThreeAllocations(t *testing.T) {
	srv := authsectest.NewInMemoryServer()
	srv.Delegate(authsectest.ClientID, authsectest.Delegation{})
	src, err := authsec.NewSource(srv.Config(authsectest.ClientID))
	if err != nil {
		t.Fatal(err)
	}
	answer := &http.Response{StatusCode: 200, Body: http.NoBody}
	for name, list := range map[string]string{"a host": "api.example.com", "any host": "*", "subdomains": "*.example.com"} {
		tr := to(src, baseFunc(func(*http.Request) (*http.Response, error) { return answer, nil }), hosts(list))
		req := get(t, api)
		req.Header.Set("Accept", "application/json")
		if got := testing.AllocsPerRun(100, func() { tr.RoundTrip(req) }); got > 3 {
			t.Errorf("%s: got %v allocations, want 3", name, got)
		}
	}
}

// closing counts calls of CloseIdleConnections.
type closing struct {
	http.RoundTripper
	n int
}

func (c *closing) CloseIdleConnections() { c.n++ }

// The default client for AuthSec has idle connections, too. A client of the
// caller's own is left alone.
func TestCloseIdleConnectionsClosesTheDefaultEndpointClients(t *testing.T) {
	var open atomic.Int32
	srv := authsectest.NewServer()
	defer srv.Close()
	srv.Delegate(authsectest.ClientID, authsectest.Delegation{})
	counted := httptest.NewUnstartedServer(srv.Handler())
	counted.Config.ConnState = countOpen(&open)
	counted.Start()
	defer counted.Close()
	cfg := srv.Config(authsectest.ClientID, "https://api.example.com")
	cfg.BaseURL, cfg.HTTPClient = counted.URL, nil
	tr, err := authsec.NewTransport(cfg)
	if err != nil {
		t.Fatal(err)
	}
	base := &closing{RoundTripper: statuses(200)}
	tr.Base = base
	if _, err := tr.RoundTrip(get(t, api)); err != nil {
		t.Fatal(err)
	}
	if got := open.Load(); got != 1 {
		t.Fatalf("open connections to AuthSec: got %d, want 1", got)
	}
	tr.CloseIdleConnections()
	for deadline := time.Now().Add(5 * time.Second); open.Load() != 0 && time.Now().Before(deadline); {
		time.Sleep(time.Millisecond)
	}
	if got := open.Load(); got != 0 || base.n != 1 {
		t.Errorf("open connections to AuthSec: got %d, want 0; Base was told %d times, want 1", got, base.n)
	}

	own := &closing{RoundTripper: srv.Client().Transport}
	cfg.HTTPClient = &http.Client{Transport: own}
	if tr, err = authsec.NewTransport(cfg); err != nil {
		t.Fatal(err)
	}
	tr.Base = statuses(200)
	tr.CloseIdleConnections()
	if own.n != 0 {
		t.Errorf("the caller's own client was told %d times, want 0", own.n)
	}
}

// countOpen counts a server's open connections.
func countOpen(open *atomic.Int32) func(net.Conn, http.ConnState) {
	return func(_ net.Conn, state http.ConnState) {
		switch state {
		case http.StateNew:
			open.Add(1)
		case http.StateClosed, http.StateHijacked:
			open.Add(-1)
		}
	}
}

// http.DefaultTransport is a Transport with a nil Base, or leads to one.
func TestDefaultTransportThatLeadsBackIsAnError(t *testing.T) {
	original := http.DefaultTransport
	defer func() { http.DefaultTransport = original }()
	for name, wrap := range map[string]func(http.RoundTripper) http.RoundTripper{
		"itself":  func(rt http.RoundTripper) http.RoundTripper { return rt },
		"wrapped": func(rt http.RoundTripper) http.RoundTripper { return baseFunc(rt.RoundTrip) },
	} {
		tr := &authsec.Transport{Source: staticSource(), Hosts: []string{"api.example.com"}}
		http.DefaultTransport = wrap(tr)
		for _, url := range []string{api, "https://other.example.com/"} {
			var b bodies
			_, err := http.DefaultTransport.RoundTrip(b.request(t.Context(), "POST", url, "the body"))
			if err == nil || !strings.Contains(err.Error(), "set Base") {
				t.Errorf("%s, %s: got %v, want an error that says to set Base", name, url, err)
			}
			checkClosed(t, &b)
		}
		tr.CloseIdleConnections()
	}
}
