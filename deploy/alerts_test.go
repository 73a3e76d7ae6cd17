// Copyright 2026 The authsec Authors
// SPDX-License-Identifier: Apache-2.0

package deploy_test

import (
	"context"
	"slices"
	"testing"
	"time"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/histogram"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/promql"
	"github.com/prometheus/prometheus/promql/parser"
	"github.com/prometheus/prometheus/storage"
	"github.com/prometheus/prometheus/tsdb/chunkenc"
	"github.com/prometheus/prometheus/tsdb/chunks"
	"github.com/prometheus/prometheus/util/annotations"
)

// now is when the alerts are evaluated. Each series has one value a minute before.
var now = time.Date(2026, 5, 21, 9, 0, 0, 0, time.UTC)

const minutes = 40

// series is one with a value for each minute, the first of which is minute 0.
type series struct {
	labels []string
	value  func(minute int) float64
}

func constant(v float64) func(int) float64 { return func(int) float64 { return v } }

// growing is a counter that grows by step a minute.
func growing(step float64) func(int) float64 {
	return func(minute int) float64 { return step * float64(minute) }
}

// memory is a storage.Queryable.
type memory []series

func (m memory) Querier(from, to int64) (storage.Querier, error) {
	return &storage.MockQuerier{SelectMockFunction: func(_ bool, _ *storage.SelectHints, matchers ...*labels.Matcher) storage.SeriesSet {
		var found []storage.Series
		for _, s := range m {
			all := labels.FromStrings(slices.Concat(s.labels, []string{"namespace", "production", "pod", "a"})...)
			if slices.ContainsFunc(matchers, func(m *labels.Matcher) bool { return !m.Matches(all.Get(m.Name)) }) {
				continue
			}
			var points []chunks.Sample
			for minute := range minutes + 1 {
				if at := now.Add(time.Duration(minute-minutes) * time.Minute).UnixMilli(); at >= from && at <= to {
					points = append(points, point{at, s.value(minute)})
				}
			}
			found = append(found, storage.NewListSeries(all, points))
		}
		return &seriesSet{all: found}
	}}, nil
}

// point is a chunks.Sample.
type point struct {
	at    int64
	value float64
}

func (p point) T() int64                      { return p.at }
func (p point) ST() int64                     { return 0 }
func (p point) F() float64                    { return p.value }
func (p point) H() *histogram.Histogram       { return nil }
func (p point) FH() *histogram.FloatHistogram { return nil }
func (p point) Type() chunkenc.ValueType      { return chunkenc.ValFloat }
func (p point) Copy() chunks.Sample           { return p }

// seriesSet is a storage.SeriesSet.
type seriesSet struct {
	all  []storage.Series
	next int
}

func (s *seriesSet) Next() bool                        { s.next++; return s.next <= len(s.all) }
func (s *seriesSet) At() storage.Series                { return s.all[s.next-1] }
func (s *seriesSet) Err() error                        { return nil }
func (s *seriesSet) Warnings() annotations.Annotations { return nil }

func metric(name string, value func(int) float64, more ...string) series {
	return series{append([]string{model.MetricNameLabel, name}, more...), value}
}

// Prometheus' own engine evaluates each alert, on a pod that it must report and on
// pods that it must not. How long an alert must hold ("for") is not part of this.
func TestAlertsFire(t *testing.T) {
	const (
		expiry   = "authsec_token_expiry_timestamp_seconds"
		rejected = "authsec_proxy_token_rejected"
		failures = "authsec_token_fetch_failures_total"
		requests = "authsec_proxy_requests_total"
		cache    = "authsec_cache_failures_total"
	)
	all, tested := rules(t), map[string]bool{}
	at := func(d time.Duration) func(int) float64 { return constant(float64(now.Add(d).Unix())) }
	// A gauge that is 1 for a minute of three: a proxy whose readiness comes and goes.
	flapping := func(minute int) float64 {
		if minute%3 == 0 {
			return 1
		}
		return 0
	}
	for _, tt := range []struct {
		alert  string
		series []series
		fires  bool
	}{
		{"AuthsecTokenExpiresSoon", []series{metric(expiry, at(10*time.Minute))}, true},
		{"AuthsecTokenExpiresSoon", []series{metric(expiry, at(time.Hour))}, false},
		{"AuthsecTokenExpiresSoon", []series{metric(expiry, constant(0))}, false},
		{"AuthsecNoToken", []series{metric(expiry, constant(0))}, true},
		{"AuthsecNoToken", []series{metric(expiry, at(time.Minute))}, false},
		{"AuthsecTokenRejected", []series{metric(rejected, flapping)}, true},
		{"AuthsecTokenRejected", []series{metric(rejected, constant(0))}, false},
		{"AuthsecTokenFetchesFail", []series{metric(failures, growing(0.5))}, true},
		{"AuthsecTokenFetchesFail", []series{metric(failures, constant(7))}, false},
		{"AuthsecRateLimited", []series{metric(requests, growing(1), "code", "503", "error", "rate_limited")}, true},
		{"AuthsecRateLimited", []series{metric(requests, growing(1), "code", "503", "error", "not_delegated")}, false},
		{"AuthsecUpstreamFails", []series{
			metric(requests, growing(10), "code", "502", "error", "upstream_failed"),
			metric(requests, growing(90), "code", "200", "error", ""),
		}, true},
		{"AuthsecUpstreamFails", []series{ // the API's own 502, and few failures
			metric(requests, growing(1), "code", "504", "error", "upstream_timeout"),
			metric(requests, growing(90), "code", "200", "error", ""),
			metric(requests, growing(90), "code", "502", "error", ""),
		}, false},
		{"AuthsecCacheFails", []series{metric(cache, growing(1))}, true},
		{"AuthsecCacheFails", []series{metric(cache, constant(1))}, false},
		{"AuthsecProxyDown", []series{metric("up", constant(0), "container", sidecarName)}, true},
		{"AuthsecProxyDown", []series{
			metric("up", constant(1), "container", sidecarName),
			metric("up", constant(0), "container", "other"),
		}, false},
	} {
		rule, ok := all[tt.alert]
		if !ok {
			t.Fatalf("there is no alert %s", tt.alert)
		}
		tested[tt.alert] = tested[tt.alert] || tt.fires
		got := evaluate(t, rule.Expr, tt.series)
		if fires := len(got) > 0; fires != tt.fires {
			t.Errorf("%s fires: %v, want %v", tt.alert, fires, tt.fires)
		}
		for _, sample := range got {
			if sample.Metric.Get("namespace") == "" || sample.Metric.Get("pod") == "" {
				t.Errorf("%s does not say which pod: %v", tt.alert, sample.Metric)
			}
		}
	}
	for name := range all {
		if !tested[name] {
			t.Errorf("no case above has %s fire", name)
		}
	}
}

// A single event must not fire: what an alert looks back to is shorter than the time
// for which it must hold.
func TestASingleEventFiresNoAlert(t *testing.T) {
	ranges := 0
	for name, rule := range rules(t) {
		expr, err := queryParser.ParseExpr(rule.Expr)
		if err != nil {
			t.Fatal(err)
		}
		parser.Inspect(expr, func(node parser.Node, _ []parser.Node) error {
			if m, ok := node.(*parser.MatrixSelector); ok {
				ranges++
				if m.Range >= time.Duration(rule.For) {
					t.Errorf("%s looks back %v, want less than its for, %v", name, m.Range, rule.For)
				}
			}
			return nil
		})
	}
	if ranges < 5 {
		t.Errorf("%d ranges were checked, want those of all alerts", ranges)
	}
}

func evaluate(t *testing.T, expr string, all memory) promql.Vector {
	t.Helper()
	engine := promql.NewEngine(promql.EngineOpts{MaxSamples: 100_000, Timeout: time.Minute, LookbackDelta: 5 * time.Minute})
	defer engine.Close()
	q, err := engine.NewInstantQuery(context.Background(), all, nil, expr, now)
	if err != nil {
		t.Fatal(err)
	}
	defer q.Close()
	result := q.Exec(context.Background())
	v, err := result.Vector()
	if err != nil {
		t.Fatal(err)
	}
	return slices.Clone(v)
}
