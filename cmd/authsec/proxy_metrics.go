// Copyright 2026 The authsec Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"net/http"
	"runtime/debug"
	"strconv"
	"sync/atomic"

	"github.com/authsec-go/authsec"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// maxScrapes is how many requests for the metrics are served at once.
const maxScrapes = 4

// metrics counts what the proxy does.
type metrics struct {
	registry  *prometheus.Registry
	inFlight  atomic.Int64
	requests  *prometheus.CounterVec
	brokenOff prometheus.Counter
	upstream  prometheus.Histogram
}

// newMetrics returns metrics with those of src. rejected reports whether the upstream
// rejects every token.
func newMetrics(src *authsec.Source, rejected func() bool) *metrics {
	m := &metrics{
		registry: prometheus.NewRegistry(),
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "authsec_proxy_requests_total",
			Help: "Requests, by the answer's status (none: there was no answer, most often because the program had gone) and by what went wrong in the proxy's own words; no error: it is the upstream's answer.",
		}, []string{"code", "error"}),
		brokenOff: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "authsec_proxy_answers_broken_off_total",
			Help: "Answers of the upstream that broke off.",
		}),
		upstream: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name:    "authsec_proxy_upstream_duration_seconds",
			Help:    "Duration of each attempt, until the upstream's header came or the attempt failed.",
			Buckets: prometheus.DefBuckets,
		}),
	}
	info, _ := debug.ReadBuildInfo()
	m.registry.MustRegister(m.requests, m.brokenOff, m.upstream, sourceMetrics{src},
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "authsec_proxy_requests_in_flight",
			Help: "Requests that are being served.",
		}, func() float64 { return float64(m.inFlight.Load()) }),
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "authsec_proxy_token_rejected",
			Help: "1 while the upstream rejects every token, otherwise 0.",
		}, func() float64 {
			if rejected() {
				return 1
			}
			return 0
		}),
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name:        "authsec_build_info",
			Help:        "Always 1; the labels say how the program was built.",
			ConstLabels: buildLabels(info),
		}, func() float64 { return 1 }),
		collectors.NewGoCollector(),
		collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}),
	)
	return m
}

// buildLabels are the labels of authsec_build_info.
func buildLabels(info *debug.BuildInfo) prometheus.Labels {
	labels := prometheus.Labels{"version": "unknown", "revision": "unknown", "goversion": "unknown"}
	if info == nil {
		return labels
	}
	labels["goversion"] = info.GoVersion
	if info.Main.Version != "" {
		labels["version"] = info.Main.Version
	}
	for _, s := range info.Settings {
		if s.Key == "vcs.revision" {
			labels["revision"] = s.Value
		}
	}
	return labels
}

// count counts a request by the status of its answer and by what went wrong.
func (m *metrics) count(status int, failure string) {
	code := "none"
	if status > 0 {
		code = strconv.Itoa(status)
	}
	m.requests.WithLabelValues(code, failure).Inc()
}

func (m *metrics) handler() http.Handler {
	return promhttp.HandlerFor(m.registry, promhttp.HandlerOpts{MaxRequestsInFlight: maxScrapes})
}

// sourceMetrics are those of a Source. Package otelmetrics has the same.
type sourceMetrics struct{ src *authsec.Source }

var (
	tokenExpiry    = describeMetric("authsec_token_expiry_timestamp_seconds", "When the token in service expires, in seconds since 1970; 0 if there is none.")
	tokenFetches   = describeMetric("authsec_token_fetches_total", "Fetches that asked the AuthSec server; the retries within one are not counted.")
	tokenFailures  = describeMetric("authsec_token_fetch_failures_total", "Fetches that brought no usable token.")
	tokenRenewals  = describeMetric("authsec_token_renewals_total", "Times that another token replaced one that was still good.")
	tokenRejected  = describeMetric("authsec_token_rejections_total", "Tokens that the upstream rejected.")
	cacheLookups   = describeMetric("authsec_cache_lookups_total", "Fetches that looked into the cache, by whether the cache answered them.", "authsec_cache_result")
	cacheRejects   = describeMetric("authsec_cache_rejects_total", "Cache entries that were not used.")
	cacheFailures  = describeMetric("authsec_cache_failures_total", "Uses of the cache that failed or took too long.")
	ofSource       = []*prometheus.Desc{tokenExpiry, tokenFetches, tokenFailures, tokenRenewals, tokenRejected, cacheLookups, cacheRejects, cacheFailures}
	describeMetric = func(name, help string, labels ...string) *prometheus.Desc {
		return prometheus.NewDesc(name, help, labels, nil)
	}
)

func (sourceMetrics) Describe(descs chan<- *prometheus.Desc) {
	for _, d := range ofSource {
		descs <- d
	}
}

func (m sourceMetrics) Collect(values chan<- prometheus.Metric) {
	s := m.src.Stats()
	expiry := 0.0
	if !s.Expiry.IsZero() {
		expiry = float64(s.Expiry.UnixMilli()) / 1000
	}
	values <- prometheus.MustNewConstMetric(tokenExpiry, prometheus.GaugeValue, expiry)
	counter := func(d *prometheus.Desc, n uint64, labels ...string) {
		values <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, float64(n), labels...)
	}
	counter(tokenFetches, s.Fetches)
	counter(tokenFailures, s.Failures)
	counter(tokenRenewals, s.Renewals)
	counter(tokenRejected, s.Rejections)
	counter(cacheLookups, s.Cache.Hits, "hit")
	counter(cacheLookups, s.Cache.Misses, "miss")
	counter(cacheRejects, s.Cache.Rejects)
	counter(cacheFailures, s.Cache.Failures)
}
