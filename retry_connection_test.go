// Copyright 2026 The authsec Authors
// SPDX-License-Identifier: Apache-2.0

package authsec_test

import (
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
)

func TestRetryAfterConnectionErrors(t *testing.T) {
	var requests atomic.Int32
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if requests.Add(1) < 3 {
			panic(http.ErrAbortHandler) // ends the connection
		}
		io.Copy(w, r.Body)
	}))
	defer srv.Close()
	base := &http.Transport{DisableKeepAlives: true} // so that net/http itself does not retry
	client := &http.Client{Transport: to(staticSource(), base, hosts(srv.Listener.Addr().String()), retrying(atOnce))}
	var b bodies
	resp, err := client.Do(b.request(t.Context(), http.MethodPut, srv.URL, "the body"))
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if body, err := io.ReadAll(resp.Body); string(body) != "the body" || err != nil || requests.Load() != 3 {
		t.Errorf("got %q, %v after %d requests, want %q after 3", body, err, requests.Load(), "the body")
	}
	if opened, _ := b.counts(); opened != 3 {
		t.Errorf("bodies opened: got %d, want 3", opened)
	}
}

func TestRetryReturnsTheConnectionErrorOfAnAPIThatIsDown(t *testing.T) {
	srv := httptest.NewServer(http.NotFoundHandler())
	addr := srv.Listener.Addr().String()
	srv.Close()
	calls := 0
	base := baseFunc(func(r *http.Request) (*http.Response, error) { calls++; return http.DefaultTransport.RoundTrip(r) })
	_, err := (&http.Client{Transport: to(staticSource(), base, hosts(addr), retrying(atOnce))}).Get("http://" + addr)
	var op *net.OpError
	if !errors.As(err, &op) || op.Op != "dial" || calls != 4 { // Windows has another number than ECONNREFUSED
		t.Errorf("got %v after %d attempts, want a dial error after 4", err, calls)
	}
}

func TestNoRetryAfterCertificateErrors(t *testing.T) {
	srv := httptest.NewUnstartedServer(http.NotFoundHandler())
	srv.Config.ErrorLog = log.New(io.Discard, "", 0)
	srv.StartTLS()
	defer srv.Close()
	trusting := srv.Client().Transport.(*http.Transport)
	wrongName := trusting.Clone()
	wrongName.TLSClientConfig.ServerName = "other.example.org"
	defer wrongName.CloseIdleConnections()
	for _, c := range []struct {
		name string
		base http.RoundTripper
	}{
		{"an unknown authority", &http.Transport{}},
		{"another name", wrongName},
		{"an unknown authority, in a wrapper's words", baseFunc(func(r *http.Request) (*http.Response, error) {
			_, err := new(http.Transport).RoundTrip(r)
			return nil, fmt.Errorf("wrapper: %w", err)
		})},
	} {
		t.Run(c.name, func(t *testing.T) {
			calls := 0
			counting := baseFunc(func(r *http.Request) (*http.Response, error) { calls++; return c.base.RoundTrip(r) })
			_, err := (&http.Client{Transport: to(staticSource(), counting, hosts("*"), retrying(atOnce))}).Get(srv.URL)
			if _, ok := errors.AsType[*tls.CertificateVerificationError](err); !ok || calls != 1 {
				t.Errorf("got %v after %d attempts, want a *tls.CertificateVerificationError after 1", err, calls)
			}
		})
	}
}

func TestNoRetryOfWhatCanNotBeSent(t *testing.T) {
	for _, c := range []struct {
		name string
		url  string
		edit func(*http.Request)
	}{
		{"a foreign scheme", "ftp://api.example.com/", func(*http.Request) {}},
		{"a header's value", api, func(r *http.Request) { r.Header["X-A"] = []string{"a\nb"} }},
		{"a header's name", api, func(r *http.Request) { r.Header["X A"] = []string{"b"} }},
	} {
		t.Run(c.name, func(t *testing.T) {
			calls := 0
			base := baseFunc(func(r *http.Request) (*http.Response, error) { calls++; return http.DefaultTransport.RoundTrip(r) })
			req := get(t, c.url)
			c.edit(req)
			if _, err := to(staticSource(), base, retrying(atOnce)).RoundTrip(req); err == nil || calls != 1 {
				t.Errorf("got %v after %d attempts, want an error after 1", err, calls)
			}
		})
	}
}

func TestRetryLeavesTheConnectionPoolAlone(t *testing.T) {
	const workers, each = 4, 100
	var connections, requests atomic.Int32
	srv := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/down" || requests.Add(1)%20 == 0 {
			w.WriteHeader(http.StatusServiceUnavailable)
			w.Write(make([]byte, 2<<10))
			return
		}
		io.WriteString(w, "ok")
	}))
	srv.Config.ConnState = countNew(&connections)
	srv.Start()
	defer srv.Close()
	base := &http.Transport{MaxIdleConnsPerHost: workers}
	defer base.CloseIdleConnections()
	client := &http.Client{Transport: to(staticSource(), base, hosts(srv.Listener.Addr().String()), retrying(atOnce))}
	var wg sync.WaitGroup
	for range workers {
		wg.Go(func() {
			for i := range each {
				path, want := "/up", http.StatusOK
				if i%20 == 7 {
					path, want = "/down", http.StatusServiceUnavailable // to the end
				}
				resp, err := client.Get(srv.URL + path)
				if err != nil || resp.StatusCode != want {
					t.Errorf("GET %s: got %v, %v, want %d", path, resp, err, want)
					return
				}
				io.Copy(io.Discard, resp.Body)
				resp.Body.Close()
			}
		})
	}
	wg.Wait()
	// net/http dials on while another connection becomes free: a few more than workers.
	if n := connections.Load(); n > 2*workers {
		t.Errorf("connections for %d requests of %d workers: got %d, want at most %d", workers*each, workers, n, 2*workers)
	}
}

// The Transport returns redirects, and leaves following them to the caller.
func TestRetryPassesRedirectsOn(t *testing.T) {
	for _, c := range []struct {
		status   int
		location string
	}{
		{302, "https://other.example.com/"},
		{302, "://malformed%"},
		{302, ""},
		{301, "http://[::1"},
		{307, "https://other.example.com/"},
		{308, "://malformed%"},
		{304, ""},
	} {
		t.Run(fmt.Sprint(c.status, c.location), func(t *testing.T) {
			base := answering(outcome{status: 503}, outcome{status: c.status, header: http.Header{"Location": {c.location}}})
			var b bodies
			resp, err := to(staticSource(), base, retrying(atOnce)).RoundTrip(b.request(t.Context(), http.MethodPut, api, "the body"))
			if err != nil || resp != base.answers[1] {
				t.Fatalf("got %v, %v, want the redirect", resp, err)
			}
			checkUnread(t, resp)
			if opened, closed := b.counts(); opened != 2 || closed != 2 || len(base.calls) != 2 {
				t.Errorf("got %d bodies opened, %d closed, %d requests, want 2 of each", opened, closed, len(base.calls))
			}
		})
	}
}

func TestRetryLeavesRedirectsAndCookiesToTheClient(t *testing.T) {
	var requests atomic.Int32
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch n := requests.Add(1); {
		case n%2 == 1: // every other time
			http.SetCookie(w, &http.Cookie{Name: "failed", Value: "1"})
			w.WriteHeader(http.StatusServiceUnavailable)
		case r.URL.Path == "/from":
			http.SetCookie(w, &http.Cookie{Name: "session", Value: "42"})
			http.Redirect(w, r, "/to", http.StatusFound)
		default:
			fmt.Fprint(w, r.Header.Get("Cookie"), " ", tokenIn(r.Header))
		}
	}))
	defer srv.Close()
	jar, _ := cookiejar.New(nil)
	var checked []string
	client := &http.Client{
		Transport: to(staticSource(), nil, hosts(srv.Listener.Addr().String()), retrying(atOnce)),
		Jar:       jar,
		CheckRedirect: func(req *http.Request, via []*http.Request) error {
			checked = append(checked, req.URL.Path)
			return nil
		},
	}
	resp, err := client.Get(srv.URL + "/from")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if got, want := string(body), "session=42 first"; got != want || err != nil {
		t.Errorf("cookies and token after the redirect: got %q, %v, want %q", got, err, want)
	}
	if !slices.Equal(checked, []string{"/to"}) || requests.Load() != 4 {
		t.Errorf("got redirects %q checked in %d requests, want /to in 4", checked, requests.Load())
	}
}

func TestRetryKeepsContentLength(t *testing.T) {
	type seen struct {
		length   int64
		encoding []string
		body     string
	}
	var log []seen
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		log = append(log, seen{r.ContentLength, r.TransferEncoding, string(body)})
		if len(log)%2 == 1 {
			w.WriteHeader(http.StatusServiceUnavailable)
		}
	}))
	defer srv.Close()
	client := &http.Client{Transport: to(staticSource(), nil, hosts(srv.Listener.Addr().String()), retrying(atOnce))}
	for _, length := range []int64{8, -1} {
		log = nil
		var b bodies
		req := b.request(t.Context(), http.MethodPut, srv.URL, "the body")
		req.ContentLength = length
		resp, err := client.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if len(log) != 2 {
			t.Fatalf("requests: got %d, want 2", len(log))
		}
		for i, s := range log {
			if s.length != length || s.body != "the body" || (len(s.encoding) == 0) != (length > 0) {
				t.Errorf("request %d: got ContentLength %d, %q and %q, want %d and the body", i, s.length, s.encoding, s.body, length)
			}
		}
		if opened, _ := b.counts(); opened != 2 {
			t.Errorf("bodies opened: got %d, want 2", opened)
		}
	}
}
