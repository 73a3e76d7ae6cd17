// Copyright 2026 The authsec Authors
// SPDX-License-Identifier: Apache-2.0

package authsec_test

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/authsec-go/authsec"
	"golang.org/x/oauth2"
)

func TestTransportSendsTheTokenWhereItBelongs(t *testing.T) {
	for _, c := range []struct {
		hosts  string
		method string
		url    string
		host   string // Request.Host
		want   string // "": withheld
	}{
		{"api.example.com", "GET", "https://api.example.com/", "", "first"},
		{"api.example.com", "GET", "https://API.Example.COM./", "", "first"},
		{"api.example.com", "GET", "https://api.example.com:443/", "", "first"},
		{"api.example.com", "GET", "https://api.example.com:8443/", "", ""},
		{"api.example.com", "GET", "https://api.example.com.evil.example/", "", ""},
		{"api.example.com", "GET", "https://evil.example/", "api.example.com", ""},
		{"api.example.com", "GET", "https://api.example.com/", "evil.example", "first"},
		{"api.example.com", "GET", "https://api.example.com@evil.example/", "", ""},
		{"api.example.com", "TRACE", "https://api.example.com/", "", ""},
		{"api.example.com", "CONNECT", "https://api.example.com/", "", ""},
		{"*", "TRACE", "https://api.example.com/", "", ""},
		{"*.example.com", "GET", "https://a.b.example.com/", "", "first"},
		{"*.example.com", "GET", "https://example.com/", "", ""},
		{"*", "GET", "https://anywhere.example/", "", "first"},
		{"*", "GET", "http://localhost:8080/", "", "first"},
		{"*", "GET", "http://127.0.0.1:8080/", "", "first"},
		{"[2001:db8::1]:8443", "GET", "https://[2001:db8::1]:8443/", "", "first"},
		{"http://orders.prod.svc:8080", "GET", "http://orders.prod.svc:8080/", "", "first"},
		{"http://orders.prod.svc:8080", "GET", "https://orders.prod.svc:8080/", "", ""},
		{"api.example.com", "GET", "http://other.example.com/", "", ""},
	} {
		t.Run(c.hosts+" "+c.method+" "+c.url, func(t *testing.T) {
			base := statuses(200)
			req := get(t, c.url)
			req.Method, req.Host = c.method, c.host
			if _, err := to(staticSource(), base, hosts(c.hosts)).RoundTrip(req); err != nil {
				t.Fatal(err)
			}
			if got := base.tokens(); got != c.want {
				t.Errorf("token: got %q, want %q", got, c.want)
			}
		})
	}
}

func TestTransportSendsNoTokenOverPlainHTTP(t *testing.T) {
	for _, c := range []struct{ hosts, url string }{
		{"*", "http://api.example.com/"},
		{"api.example.com", "http://api.example.com/"},
		{"*.example.com", "http://api.example.com/"},
		{"10.0.0.1:80", "http://10.0.0.1/"},
	} {
		t.Run(c.hosts+" "+c.url, func(t *testing.T) {
			base := statuses(200)
			client := &http.Client{Transport: to(sourceFunc(func() (*oauth2.Token, error) {
				t.Error("the source was asked, want nothing done")
				return nil, nil
			}), base, hosts(c.hosts))}
			_, err := client.Get(c.url)
			if _, ok := errors.AsType[*url.Error](err); !ok || !errors.Is(err, authsec.ErrInsecureURL) {
				t.Errorf("error: got %v, want ErrInsecureURL within a *url.Error", err)
			}
			if len(base.calls) != 0 {
				t.Errorf("requests sent: got %d, want 0", len(base.calls))
			}
		})
	}
}

func TestTransportLogsAWithheldToken(t *testing.T) {
	var log bytes.Buffer
	tr := to(staticSource(), statuses(200))
	tr.Logger = slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	for _, c := range []struct{ host, level string }{ // at Warn once a host
		{"other.example.com", "WARN"}, {"other.example.com", "DEBUG"}, {"third.example.com", "WARN"}, {"other.example.com", "DEBUG"},
	} {
		if _, err := tr.RoundTrip(get(t, "https://"+c.host+"/path?secret=1")); err != nil {
			t.Fatal(err)
		}
		got := log.String()
		for _, want := range []string{"level=" + c.level + ` msg="token withheld" host=` + c.host + " ", "Hosts", "AUTHSEC_HOSTS"} {
			if !strings.Contains(got, want) {
				t.Errorf("log: got %q, want %q in it", got, want)
			}
		}
		if strings.Contains(got, "secret") {
			t.Errorf("log: got %q, want the host alone", got)
		}
		log.Reset()
	}
	for i := range 200 { // 100 hosts have a warning each
		if _, err := tr.RoundTrip(get(t, fmt.Sprintf("https://h%d.example.org/", i))); err != nil {
			t.Fatal(err)
		}
	}
	if got := strings.Count(log.String(), "level=WARN"); got != 98 {
		t.Errorf("log: got %d warnings for 200 more hosts, want 98", got)
	}
	log.Reset()
	if _, err := tr.RoundTrip(get(t, api)); err != nil || log.Len() != 0 {
		t.Errorf("log where the token went: got %d bytes, %v, want none", log.Len(), err)
	}
}

func TestTransportFollowsRedirectsWithoutTheToken(t *testing.T) {
	type seen struct {
		sync.Mutex
		tokens []string // "name token", of each request in turn
	}
	var log seen
	handler := func(name string) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			log.Lock()
			log.tokens = append(log.tokens, name+" "+tokenIn(r.Header))
			log.Unlock()
			if next := r.URL.Query()["to"]; len(next) > 0 {
				target, _ := url.Parse(next[0])
				target.RawQuery = url.Values{"to": next[1:]}.Encode()
				http.Redirect(w, r, target.String(), http.StatusTemporaryRedirect)
			}
		})
	}
	a, b, plain := httptest.NewTLSServer(handler("a")), httptest.NewTLSServer(handler("b")), httptest.NewServer(handler("plain"))
	defer a.Close()
	defer b.Close()
	defer plain.Close()
	roots := x509.NewCertPool()
	roots.AddCert(a.Certificate())
	roots.AddCert(b.Certificate())
	base := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots}}
	defer base.CloseIdleConnections()
	addr := func(s *httptest.Server) string { return s.Listener.Addr().String() }

	for _, c := range []struct {
		name  string
		hosts []string
		chain []string
		want  []string
	}{
		{"to another host", []string{addr(a)}, []string{a.URL, b.URL}, []string{"a first", "b "}},
		{"to another host and back", []string{addr(a)}, []string{a.URL, b.URL, a.URL}, []string{"a first", "b ", "a first"}},
		{"to another named host", []string{addr(a), addr(b)}, []string{a.URL, b.URL}, []string{"a first", "b first"}},
		{"under * on the same host", []string{"*"}, []string{a.URL, a.URL + "/x"}, []string{"a first", "a first"}},
		{"under * to another port", []string{"*"}, []string{a.URL, b.URL}, []string{"a first", "b "}},
		{"under * and back: withheld from then on", []string{"*"}, []string{a.URL, b.URL, a.URL}, []string{"a first", "b ", "a "}},
		{"from https to http", []string{addr(a), addr(plain)}, []string{a.URL, plain.URL}, []string{"a first", "plain "}},
		{"from https to http to https", []string{addr(a), addr(plain)}, []string{a.URL, plain.URL, a.URL}, []string{"a first", "plain ", "a first"}},
		{"http on loopback", []string{addr(plain)}, []string{plain.URL, plain.URL}, []string{"plain first", "plain first"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			log.tokens = nil
			client := &http.Client{Transport: to(staticSource(), base, hosts(c.hosts...))}
			resp, err := client.Post(c.chain[0]+"?"+url.Values{"to": c.chain[1:]}.Encode(), "text/plain", strings.NewReader("the body"))
			if err != nil {
				t.Fatal(err)
			}
			resp.Body.Close()
			if !slices.Equal(log.tokens, c.want) {
				t.Errorf("got %q, want %q", log.tokens, c.want)
			}
		})
	}
}

// A forward proxy goes where Request.Host says, or URL.Opaque.
func TestTransportSendsNoTokenToAProxyForAnotherHost(t *testing.T) {
	var line string
	var sent bool
	proxy := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		line, sent = r.RequestURI, r.Header.Get("Authorization") != ""
	}))
	defer proxy.Close()
	proxyURL, err := url.Parse(proxy.URL)
	if err != nil {
		t.Fatal(err)
	}
	base := &http.Transport{Proxy: http.ProxyURL(proxyURL)}
	defer base.CloseIdleConnections()
	tr := &authsec.Transport{Source: staticSource(), Hosts: []string{"http://orders.prod.svc:8080"}, Base: base}
	for _, c := range []struct {
		name string
		edit func(*http.Request)
		want bool
	}{
		{"as it is", func(*http.Request) {}, true},
		{"the same Host", func(r *http.Request) { r.Host = "Orders.prod.svc.:8080" }, true},
		{"another Host", func(r *http.Request) { r.Host = "evil.example" }, false},
		{"another port", func(r *http.Request) { r.Host = "orders.prod.svc" }, false},
		{"opaque", func(r *http.Request) { r.URL.Opaque = "//evil.example/y" }, false},
	} {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://orders.prod.svc:8080/x", nil)
		if err != nil {
			t.Fatal(err)
		}
		c.edit(req)
		resp, err := tr.RoundTrip(req)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if sent != c.want {
			t.Errorf("%s: the proxy was asked for %s, with a token %v, want %v", c.name, line, sent, c.want)
		}
	}
}
