// Copyright 2026 The authsec Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"strings"
	"testing"

	"github.com/authsec-go/authsec"
	"github.com/authsec-go/authsec/authsectest"
	"github.com/spf13/pflag"
)

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

func TestProxyHasTimeoutsThatCutNoStream(t *testing.T) {
	srv := authsectest.NewInMemoryServer()
	src, err := authsec.NewSource(srv.Config(authsectest.ClientID))
	if err != nil {
		t.Fatal(err)
	}
	f := newProxyFlags(pflag.NewFlagSet("", 0))
	f.listen, f.health = "127.0.0.1:0", "127.0.0.1:0"
	s := testSidecar(t, src)
	if err := s.listen(t.Context(), f); err != nil {
		t.Fatal(err)
	}
	defer s.ln.Close()
	defer s.healthLn.Close()
	for _, server := range []*http.Server{s.server, s.health} {
		whole := server == s.health // it has no streams
		if server.ReadHeaderTimeout <= 0 || server.IdleTimeout <= 0 || server.MaxHeaderBytes <= 0 || (server.WriteTimeout != 0) != whole || (server.ReadTimeout != 0) != whole {
			t.Errorf("time-outs of header %v, idle %v, %d header bytes, write %v, read %v, want the first three, and the others only for health",
				server.ReadHeaderTimeout, server.IdleTimeout, server.MaxHeaderBytes, server.WriteTimeout, server.ReadTimeout)
		}
	}
}
