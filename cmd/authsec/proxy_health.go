// Copyright 2026 The authsec Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"io"
	"math"
	"net/http"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/authsec-go/authsec"
)

// readyTimeout is how long readyz waits for a token.
const readyTimeout = 3 * time.Second

// healthHandler serves probes and metrics. It gives no access to the upstream.
func (s *sidecar) healthHandler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, r *http.Request) {
		writeJSON(w, http.StatusOK, map[string]bool{"ok": true})
	})
	mux.HandleFunc("GET /readyz", s.ready)
	mux.HandleFunc("GET /metrics", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/plain; version=0.0.4; charset=utf-8")
		s.metrics.write(w)
	})
	return mux
}

// ready answers 200 if there is a good token. It gets one if there is none.
func (s *sidecar) ready(w http.ResponseWriter, r *http.Request) {
	if s.draining.Load() {
		writeJSON(w, http.StatusServiceUnavailable, problem{Code: "shutting_down", Do: "use another instance"})
		return
	}
	ctx, cancel := context.WithTimeout(r.Context(), readyTimeout)
	defer cancel()
	if _, err := s.src.TokenContext(ctx); err != nil {
		p := problem{Code: "authsec_timeout", Do: "the AuthSec server has not answered yet: check AUTHSEC_BASE_URL, and whether the server can be reached from here"}
		if ctx.Err() == nil {
			p, _ = diagnose(err)
		}
		writeJSON(w, http.StatusServiceUnavailable, p)
		return
	}
	writeJSON(w, http.StatusOK, map[string]bool{"ok": true})
}

// durations are the upper bounds of the histogram's buckets, in seconds. They are
// the defaults of Prometheus' own clients.
var durations = [...]float64{.005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10}

// classes are the labels of the request counter. The first is for requests without
// an answer, because the program had gone.
var classes = [...]string{"none", "1xx", "2xx", "3xx", "4xx", "5xx"}

// metrics counts what the proxy does.
type metrics struct {
	src       *authsec.Source
	inFlight  atomic.Int64
	requests  [len(classes)]atomic.Uint64
	brokenOff atomic.Uint64
	buckets   [len(durations) + 1]atomic.Uint64 // not cumulative; the last has no upper bound
	sum       atomic.Int64                      // of the durations, in ns
}

func newMetrics(src *authsec.Source) *metrics { return &metrics{src: src} }

// count counts a request by the status of its answer.
func (m *metrics) count(status int) {
	class := status / 100
	if class >= len(classes) {
		class = 0
	}
	m.requests[class].Add(1)
}

// observe counts one attempt, by how long it took.
func (m *metrics) observe(d time.Duration) {
	i := 0
	for i < len(durations) && d.Seconds() > durations[i] {
		i++
	}
	m.buckets[i].Add(1)
	m.sum.Add(int64(d))
}

// write writes all metrics in Prometheus' text format
// (https://prometheus.io/docs/instrumenting/exposition_formats).
func (m *metrics) write(w io.Writer) {
	head := func(name, kind, help string) {
		fmt.Fprintf(w, "# HELP %s %s\n# TYPE %[1]s %[3]s\n", name, help, kind)
	}
	number := func(f float64) string { return strconv.FormatFloat(f, 'g', -1, 64) }

	head("authsec_proxy_requests_total", "counter", "Requests, by the class of the answer's status.")
	for i, class := range classes {
		fmt.Fprintf(w, "authsec_proxy_requests_total{class=%q} %d\n", class, m.requests[i].Load())
	}
	head("authsec_proxy_requests_in_flight", "gauge", "Requests that are being served.")
	fmt.Fprintf(w, "authsec_proxy_requests_in_flight %d\n", m.inFlight.Load())

	head("authsec_proxy_answers_broken_off_total", "counter", "Answers of the upstream that broke off.")
	fmt.Fprintf(w, "authsec_proxy_answers_broken_off_total %d\n", m.brokenOff.Load())

	const duration = "authsec_proxy_upstream_duration_seconds"
	head(duration, "histogram", "Duration of each attempt, until the upstream's header came or the attempt failed.")
	var total uint64
	for i := range m.buckets {
		bound := math.Inf(1)
		if i < len(durations) {
			bound = durations[i]
		}
		total += m.buckets[i].Load()
		fmt.Fprintf(w, "%s_bucket{le=%q} %d\n", duration, number(bound), total)
	}
	fmt.Fprintf(w, "%s_sum %s\n%[1]s_count %[3]d\n", duration, number(time.Duration(m.sum.Load()).Seconds()), total)

	stats := m.src.Stats()
	expiry := 0.0
	if !stats.Expiry.IsZero() {
		expiry = float64(stats.Expiry.UnixMilli()) / 1000
	}
	head("authsec_token_expiry_timestamp_seconds", "gauge", "When the token expires, in seconds since 1970; 0 if there is none.")
	fmt.Fprintf(w, "authsec_token_expiry_timestamp_seconds %s\n", strconv.FormatFloat(expiry, 'f', -1, 64))
	for _, c := range []struct {
		name, help string
		value      uint64
	}{
		{"authsec_token_fetches_total", "Fetches that asked the AuthSec server for a token.", stats.Fetches},
		{"authsec_token_fetch_failures_total", "Fetches that brought no usable token.", stats.Failures},
		{"authsec_token_renewals_total", "Times that another token replaced one that was still good.", stats.Renewals},
		{"authsec_token_rejections_total", "Tokens that the upstream rejected.", stats.Rejections},
		{"authsec_cache_failures_total", "Uses of the cache that failed or took too long.", stats.Cache.Failures},
		{"authsec_cache_rejects_total", "Entries of the cache that were not used.", stats.Cache.Rejects},
	} {
		head(c.name, "counter", c.help)
		fmt.Fprintf(w, "%s %d\n", c.name, c.value)
	}
	const lookups = "authsec_cache_lookups_total"
	head(lookups, "counter", "Fetches that looked into the cache, by whether the cache answered them.")
	fmt.Fprintf(w, "%s{authsec_cache_result=\"hit\"} %d\n%[1]s{authsec_cache_result=\"miss\"} %[3]d\n", lookups, stats.Cache.Hits, stats.Cache.Misses)
}

// timed is a transport that measures its round trips.
type timed struct {
	http.RoundTripper
	metrics *metrics
}

func (t *timed) RoundTrip(req *http.Request) (*http.Response, error) {
	began := time.Now()
	resp, err := t.RoundTripper.RoundTrip(req)
	t.metrics.observe(time.Since(began))
	return resp, err
}
