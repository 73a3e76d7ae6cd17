// Copyright 2026 The authsec Authors
// SPDX-License-Identifier: Apache-2.0

package otelmetrics_test

import (
	"context"
	"errors"
	"maps"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/authsec-go/authsec"
	"github.com/authsec-go/authsec/otelmetrics"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"
	"go.opentelemetry.io/otel/metric/noop"
	sdkmetric "go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"
)

// collector is a reader and the provider that it reads.
type collector struct {
	reader   *sdkmetric.ManualReader
	provider *sdkmetric.MeterProvider
}

func newCollector() collector {
	reader := sdkmetric.NewManualReader()
	return collector{reader, sdkmetric.NewMeterProvider(sdkmetric.WithReader(reader))}
}

func (c collector) register(t *testing.T, src *authsec.Source, opts ...otelmetrics.Option) metric.Registration {
	t.Helper()
	reg, err := otelmetrics.Register(src, append(opts, otelmetrics.WithMeterProvider(c.provider))...)
	if err != nil {
		t.Fatal(err)
	}
	return reg
}

func (c collector) collect(t *testing.T) metricdata.ResourceMetrics {
	t.Helper()
	var collected metricdata.ResourceMetrics
	if err := c.reader.Collect(context.Background(), &collected); err != nil {
		t.Error(err)
	}
	return collected
}

// values returns an agent's values by the instrument's name, and the cache's result
// if there is one. "" is the agent without attributes.
func (c collector) values(t *testing.T, agent string) map[string]float64 {
	t.Helper()
	values := map[string]float64{}
	add := func(name string, attrs attribute.Set, value float64) {
		if v, _ := attrs.Value("gen_ai.agent.name"); v.AsString() != agent {
			return
		}
		if v, ok := attrs.Value("authsec.cache.result"); ok {
			name += " " + v.AsString()
		}
		if _, ok := values[name]; ok {
			t.Errorf("agent %q has %s twice", agent, name)
		}
		values[name] = value
	}
	for _, scope := range c.collect(t).ScopeMetrics {
		for _, m := range scope.Metrics {
			switch data := m.Data.(type) {
			case metricdata.Sum[int64]:
				for _, p := range data.DataPoints {
					add(m.Name, p.Attributes, float64(p.Value))
				}
			case metricdata.Gauge[float64]:
				for _, p := range data.DataPoints {
					add(m.Name, p.Attributes, p.Value)
				}
			default:
				t.Errorf("%s is a %T", m.Name, data)
			}
		}
	}
	return values
}

// check compares all values of an agent except the expiry. Those that want does
// not name must be 0.
func (c collector) check(t *testing.T, agent string, want map[string]float64) {
	t.Helper()
	all := map[string]float64{fetches: 0, failures: 0, renewals: 0, rejected: 0, hits: 0, misses: 0, rejects: 0, cacheFail: 0}
	maps.Copy(all, want)
	got := c.values(t, agent)
	delete(got, expiry)
	if !maps.Equal(got, all) {
		t.Errorf("agent %q has %v, want %v", agent, got, all)
	}
}

// memory is a Cache. Its fields may be set between uses.
type memory struct {
	mu      sync.Mutex
	entries map[string][]byte
	broken  bool
}

func (m *memory) Get(_ context.Context, key string) ([]byte, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	data, ok := m.entries[key]
	switch {
	case m.broken:
		return nil, errors.New("broken")
	case !ok:
		return nil, authsec.ErrCacheMiss
	}
	return data, nil
}

func (m *memory) Put(_ context.Context, key string, data []byte, _ time.Duration) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.broken {
		return errors.New("broken")
	}
	m.entries[key] = append([]byte(nil), data...)
	return nil
}

func (m *memory) Delete(_ context.Context, key string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.entries, key)
	return nil
}

// spoil cuts a byte off each entry, so that it does not decrypt.
func (m *memory) spoil() {
	m.mu.Lock()
	defer m.mu.Unlock()
	for key, data := range m.entries {
		m.entries[key] = data[:len(data)-1]
	}
}

func shared(store authsec.Cache) *authsec.CacheConfig {
	return &authsec.CacheConfig{Store: store, Keys: authsec.NewCacheKeys(make([]byte, 32))}
}

func newSource(t *testing.T, cfg authsec.Config) *authsec.Source {
	t.Helper()
	src, err := authsec.NewSource(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return src
}

func agentName(name string) otelmetrics.Option {
	return otelmetrics.WithAttributes(attribute.String("gen_ai.agent.name", name))
}

// failing is a provider whose meter fails for names that begin with name.
type failing struct {
	noop.MeterProvider
	name string
}

func (f failing) Meter(string, ...metric.MeterOption) metric.Meter { return failingMeter{name: f.name} }

type failingMeter struct {
	noop.Meter
	name string
}

func (m failingMeter) fault(name string) error {
	if strings.HasPrefix(name, m.name) {
		return errors.New("no " + name)
	}
	return nil
}

func (m failingMeter) Int64ObservableCounter(name string, _ ...metric.Int64ObservableCounterOption) (metric.Int64ObservableCounter, error) {
	return noop.Int64ObservableCounter{}, m.fault(name)
}

func (m failingMeter) Float64ObservableGauge(name string, _ ...metric.Float64ObservableGaugeOption) (metric.Float64ObservableGauge, error) {
	return noop.Float64ObservableGauge{}, m.fault(name)
}

func (m failingMeter) RegisterCallback(metric.Callback, ...metric.Observable) (metric.Registration, error) {
	return nil, m.fault("callback")
}
