// Copyright 2026 The authsec Authors
// SPDX-License-Identifier: Apache-2.0

package otelmetrics

import (
	"os"
	"strings"
	"testing"
	"time"

	"github.com/authsec-go/authsec"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"
	"go.opentelemetry.io/otel/sdk/metric/metricdata/metricdatatest"
)

// Each instrument has its own field of one Stats. Names and units are an interface
// to dashboards and alerts: they are written out here, and must not change.
func TestEachInstrumentHasItsStat(t *testing.T) {
	reads := 0
	stats := func() authsec.Stats {
		reads++
		return authsec.Stats{
			Expiry:  time.Date(2026, 5, 21, 9, 25, 36, 250_000_000, time.FixedZone("", 2*60*60)),
			Fetches: 1, Failures: 2, Renewals: 3, Rejections: 4,
			Cache: authsec.CacheStats{Hits: 5, Misses: 6, Rejects: 7, Failures: 8},
		}
	}
	reader := metric.NewManualReader()
	agent := attribute.String("gen_ai.agent.name", "billing")
	_, err := register(stats, []Option{
		WithMeterProvider(metric.NewMeterProvider(metric.WithReader(reader))),
		WithAttributes(attribute.String("gen_ai.agent.name", "overwritten"), attribute.Int("shard", 3)),
		nil,
		WithAttributes(agent),
	})
	if err != nil {
		t.Fatal(err)
	}
	if reads != 0 {
		t.Errorf("Register read the Stats %d times, want 0", reads)
	}
	var got metricdata.ResourceMetrics
	for want := 1; want <= 2; want++ {
		if err := reader.Collect(t.Context(), &got); err != nil {
			t.Fatal(err)
		}
		if reads != want {
			t.Errorf("%d collections read the Stats %d times", want, reads)
		}
	}

	point := func(n int64, more ...attribute.KeyValue) metricdata.DataPoint[int64] {
		return metricdata.DataPoint[int64]{
			Attributes: attribute.NewSet(append(more, agent, attribute.Int("shard", 3))...), Value: n,
		}
	}
	sum := func(points ...metricdata.DataPoint[int64]) metricdata.Sum[int64] {
		return metricdata.Sum[int64]{Temporality: metricdata.CumulativeTemporality, IsMonotonic: true, DataPoints: points}
	}
	result := func(s string) attribute.KeyValue { return attribute.String("authsec.cache.result", s) }
	want := []metricdata.Metrics{
		{Name: "authsec.token.expiry.timestamp", Unit: "s", Data: metricdata.Gauge[float64]{
			DataPoints: []metricdata.DataPoint[float64]{{Attributes: point(0).Attributes, Value: 1779348336.25}}}},
		{Name: "authsec.token.fetches", Unit: "{fetch}", Data: sum(point(1))},
		{Name: "authsec.token.fetch.failures", Unit: "{failure}", Data: sum(point(2))},
		{Name: "authsec.token.renewals", Unit: "{renewal}", Data: sum(point(3))},
		{Name: "authsec.token.rejections", Unit: "{rejection}", Data: sum(point(4))},
		{Name: "authsec.cache.lookups", Unit: "{lookup}", Data: sum(point(5, result("hit")), point(6, result("miss")))},
		{Name: "authsec.cache.rejects", Unit: "{reject}", Data: sum(point(7))},
		{Name: "authsec.cache.failures", Unit: "{failure}", Data: sum(point(8))},
	}
	if len(got.ScopeMetrics) != 1 || got.ScopeMetrics[0].Scope.Name != scope {
		t.Fatalf("collected the scopes %+v, want %s alone", got.ScopeMetrics, scope)
	}
	metrics := got.ScopeMetrics[0].Metrics
	if len(metrics) != len(want) {
		t.Errorf("collected %d instruments, want %d", len(metrics), len(want))
	}
	for i := range min(len(metrics), len(want)) {
		if metrics[i].Description == "" {
			t.Errorf("%s has no description", metrics[i].Name)
		}
		metrics[i].Description = ""
		metricdatatest.AssertEqual(t, want[i], metrics[i], metricdatatest.IgnoreTimestamp())
	}
}

// The table in doc.go lists all instruments in their order, and no others.
func TestDocListsInstruments(t *testing.T) {
	reader := metric.NewManualReader()
	_, err := register(func() authsec.Stats { return authsec.Stats{} }, []Option{
		WithMeterProvider(metric.NewMeterProvider(metric.WithReader(reader))),
	})
	if err != nil {
		t.Fatal(err)
	}
	var collected metricdata.ResourceMetrics
	if err := reader.Collect(t.Context(), &collected); err != nil {
		t.Fatal(err)
	}
	var want []string
	for _, m := range collected.ScopeMetrics[0].Metrics {
		kind := "counter"
		if _, ok := m.Data.(metricdata.Gauge[float64]); ok {
			kind = "gauge"
		}
		want = append(want, m.Name+" "+m.Unit+" "+kind)
	}
	text, err := os.ReadFile("doc.go")
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for line := range strings.Lines(string(text)) {
		if row, ok := strings.CutPrefix(line, "//\tauthsec."); ok {
			cells := strings.Fields(row)
			got = append(got, "authsec."+strings.Join(cells[:3], " "))
		}
	}
	if g, w := strings.Join(got, "\n"), strings.Join(want, "\n"); g != w {
		t.Errorf("doc.go lists\n%s\nwant\n%s", g, w)
	}
}
