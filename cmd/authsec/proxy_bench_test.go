// Copyright 2026 The authsec Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"sync"
	"testing"
	"time"

	"github.com/authsec-go/authsec/authsectest"
)

// BenchmarkProxy has 64 clients call through the proxy and through a bare
// ReverseProxy, in turn, and reports the ratio of their throughputs.
func BenchmarkProxy(b *testing.B) {
	srv := authsectest.NewServer()
	defer srv.Close()
	srv.Delegate(authsectest.ClientID, authsectest.Delegation{})
	api := httptest.NewServer(authsectest.Answer(200, `{"ok":true}`))
	defer api.Close()
	b.Setenv("AUTHSEC_BASE_URL", srv.URL)
	b.Setenv("AUTHSEC_AGENT_CLIENT_ID", authsectest.ClientID)
	p := startProxy(b, api.URL)
	target, _ := url.Parse(api.URL)
	bare := httptest.NewServer(&httputil.ReverseProxy{
		Rewrite:   func(r *httputil.ProxyRequest) { r.SetURL(target) },
		Transport: upstreamTransport(0),
	})
	defer bare.Close()

	const clients, portion = 64, 2048
	t := &http.Transport{MaxIdleConnsPerHost: clients}
	defer t.CloseIdleConnections()
	c := &http.Client{Transport: t, Timeout: patience}
	calls := func(url string, n int) time.Duration {
		began := time.Now()
		var wg sync.WaitGroup
		for i := range clients {
			wg.Go(func() {
				for range (n + clients - 1 - i) / clients {
					resp, err := c.Get(url)
					if err != nil {
						b.Error(err)
						return
					}
					io.Copy(io.Discard, resp.Body)
					resp.Body.Close()
				}
			})
		}
		wg.Wait()
		return time.Since(began)
	}
	calls(p.url, portion)
	calls(bare.URL, portion)
	b.ResetTimer()
	var ours, theirs time.Duration
	for left := b.N; left > 0; left -= portion {
		n := min(left, portion)
		ours += calls(p.url, n)
		theirs += calls(bare.URL, n)
	}
	b.ReportMetric(float64(theirs)/float64(ours), "of-bare")
	b.ReportMetric(float64(b.N)/ours.Seconds(), "req/s")
}
