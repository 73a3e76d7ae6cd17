// Copyright 2026 The authsec Authors
// SPDX-License-Identifier: Apache-2.0

package authsec_test

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"github.com/authsec-go/authsec"
)

// rawAPI answers each request with bytes that may hold the token it got.
func rawAPI(t *testing.T, answer func(token string) string) (url string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer conn.Close()
				req, err := http.ReadRequest(bufio.NewReader(conn))
				if err != nil {
					return
				}
				_, token, _ := strings.Cut(req.Header.Get("Authorization"), " ")
				io.WriteString(conn, answer(token))
			}()
		}
	}()
	return "http://" + l.Addr().String() + "/"
}

// net/http's errors quote malformed answers, and so a token that an API echoes.
func TestErrorsOfMalformedAnswersShowNoToken(t *testing.T) {
	for name, answer := range map[string]string{
		"a header without a colon":   "HTTP/1.1 200 OK\r\nEcho %s\r\n\r\n",
		"a header's name":            "HTTP/1.1 200 OK\r\nA %s: b\r\n\r\n",
		"Content-Length":             "HTTP/1.1 200 OK\r\nContent-Length: %s\r\n\r\n",
		"Transfer-Encoding":          "HTTP/1.1 200 OK\r\nTransfer-Encoding: %s\r\n\r\n",
		"the status":                 "HTTP/1.1 %s OK\r\n\r\n",
		"the version":                "HTTP/%s 200 OK\r\n\r\n",
		"two lengths":                "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: %s\r\n\r\n",
		"a redirect that is no URL":  "HTTP/1.1 302 Found\r\nLocation: http://[%s\r\nContent-Length: 0\r\n\r\n",
		"a scheme that nobody knows": "HTTP/1.1 302 Found\r\nLocation: %s://x\r\nContent-Length: 0\r\n\r\n",
	} {
		t.Run(name, func(t *testing.T) {
			url := rawAPI(t, func(token string) string { return fmt.Sprintf(answer, token) })
			tr := &authsec.Transport{Source: staticSource(), Hosts: []string{"*"}, Base: new(http.Transport), Retry: authsec.RetryPolicy{MaxAttempts: 1}}
			resp, err := tr.RoundTrip(get(t, url))
			if err == nil { // such as a redirect, which http.Client reads, above this Transport
				resp.Body.Close()
				return
			}
			checkFormats(t, "the error", err, map[string]string{"token": firstToken})
			for e := err; e != nil; e = errors.Unwrap(e) {
				if strings.Contains(e.Error(), firstToken) {
					t.Error("an error in the chain shows the token")
				}
			}
		})
	}
}

// quoting is an error whose text has the token.
type quoting struct {
	error
	token string
}

func (q quoting) Error() string   { return q.error.Error() + ": " + q.token }
func (q quoting) Unwrap() error   { return q.error }
func (q quoting) Timeout() bool   { return true }
func (q quoting) Temporary() bool { return true }

// errors.Is and errors.As find what a concealed error wraps. Other errors are unchanged.
func TestConcealedErrorsAreStillFound(t *testing.T) {
	op := &net.OpError{Op: "read", Err: io.ErrUnexpectedEOF}
	for _, bad := range []error{
		quoting{op, firstToken}, fmt.Errorf("a: %w", quoting{op, firstToken}), errors.Join(errors.New(firstToken), quoting{op, "x"}),
	} {
		_, err := to(staticSource(), answering(outcome{err: bad})).RoundTrip(get(t, api))
		var n net.Error
		var found *net.OpError
		if !errors.Is(err, io.ErrUnexpectedEOF) || !errors.As(err, &found) || found != op || !errors.As(err, &n) {
			t.Errorf("got %v, want what lies below it", err)
		}
		checkFormats(t, "the error", err, map[string]string{"token": firstToken})
		if u := (&url.Error{Err: err}); strings.Contains(u.Error(), firstToken) {
			t.Error("http.Client's error shows the token")
		}
	}
	plain := errors.New("a plain error")
	if _, err := to(staticSource(), answering(outcome{err: plain})).RoundTrip(get(t, api)); err != plain {
		t.Errorf("got %v, want Base's own error", err)
	}
}

// Plain HTTP to this machine is safe only without a proxy. net/http uses no proxy for
// loopback addresses and localhost, but may use one for LOCALHOST.
func TestTokenDoesNotGoToAProxyForPlainHTTP(t *testing.T) {
	var seen []string
	proxy := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		seen = append(seen, r.Host+" "+tokenIn(r.Header))
	}))
	defer proxy.Close()
	proxyURL, err := url.Parse(proxy.URL)
	if err != nil {
		t.Fatal(err)
	}
	always := &http.Transport{Proxy: http.ProxyURL(proxyURL)}
	defer always.CloseIdleConnections()
	never := statuses(200)
	for _, c := range []struct {
		base      http.RoundTripper
		url, host string
		list      string
		want      string // the token that is sent; "insecure": ErrInsecureURL
	}{
		{always, "http://LOCALHOST:9/", "", "*", "insecure"},
		{always, "http://localhost:9/", "", "*", "insecure"},
		{always, "http://127.0.0.1:9/", "", "*", "insecure"},
		{always, "http://localhost:9/", "", "http://localhost:9", "first"},
		{always, "http://localhost:9/", "elsewhere.example", "http://localhost:9", "none"},
		{always, "http://127.0.0.1:9/", "elsewhere.example", "http://127.0.0.1:9", "none"},
		{never, "http://LOCALHOST:9/", "", "*", "insecure"},
		{never, "http://localhost.:9/", "", "*", "insecure"},
		{never, "http://localhost:9/", "", "*", "first"},
		{never, "http://localhost:9/", "virtual.example", "*", "first"},
		{never, "http://[::1]:9/", "", "*", "first"},
		{new(http.Transport), "http://LOCALHOST:1/", "", "*", "refused connection"}, // it has no proxy
	} {
		seen = nil
		*never = *statuses(200)
		tr := &authsec.Transport{Source: staticSource(), Hosts: []string{c.list}, Base: c.base, Retry: authsec.RetryPolicy{MaxAttempts: 1}}
		req := get(t, c.url)
		req.Host = c.host
		_, err := tr.RoundTrip(req)
		got := "refused connection"
		switch {
		case errors.Is(err, authsec.ErrInsecureURL):
			got = "insecure"
		case err == nil && len(seen) == 1:
			_, got, _ = strings.Cut(seen[0], " ")
		case err == nil:
			got = never.calls[0].token
		}
		if got == "" {
			got = "none"
		}
		if got != c.want {
			t.Errorf("%s, Host %q, listed %q: got %s (%v), want %s", c.url, c.host, c.list, got, err, c.want)
		}
	}
}

// A path that does not begin with a slash would lead a proxy to another host.
func TestTokenDoesNotGoWhereAPathLeadsAProxy(t *testing.T) {
	for _, u := range []*url.URL{
		{Scheme: "http", Host: "orders.prod.svc:8080", Path: "@evil:80/x"},
		{Scheme: "http", Host: "orders.prod.svc:8080", Path: "/x", RawPath: "%2Fx"},
		{Scheme: "http", Host: "orders.prod.svc:8080", Opaque: "//evil:80/x"},
		{Scheme: "https", Host: "evil.example/.orders.prod.svc", Path: "/"},
		{Scheme: "https", Host: "a@b.orders.prod.svc", Path: "/"},
	} {
		base := statuses(200)
		tr := to(staticSource(), base, hosts("http://orders.prod.svc:8080", "*.orders.prod.svc", "*"))
		req := get(t, api)
		req.URL, req.Host = u, ""
		if _, err := tr.RoundTrip(req); err != nil && !errors.Is(err, authsec.ErrInsecureURL) {
			t.Errorf("%#v: got %v", u, err)
		}
		if len(base.calls) == 1 && base.calls[0].token != "" {
			t.Errorf("%#v: the token was sent", u)
		}
	}
}
