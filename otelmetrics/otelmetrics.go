// Copyright 2026 The authsec Authors
// SPDX-License-Identifier: Apache-2.0

package otelmetrics

import (
	"context"
	"errors"
	"fmt"

	"github.com/authsec-go/authsec"
	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"
)

// scope is the instrumentation scope's name.
const scope = "github.com/authsec-go/authsec/otelmetrics"

// Option changes what [Register] does. nil changes nothing.
type Option func(*config)

type config struct {
	provider metric.MeterProvider
	attrs    []attribute.KeyValue
}

// WithMeterProvider sets the provider of the meter. nil: the global one, even if it
// is set after [Register].
func WithMeterProvider(p metric.MeterProvider) Option {
	return func(c *config) { c.provider = p }
}

// WithAttributes adds attributes to every observation. It may be used several
// times. The last value for a key wins.
//
// Give each Source of a process a different set, such as the agent's name. For
// Sources with the same set, the SDK adds up the counters and keeps only one
// expiry. Do not use the client ID: older servers give the token to anybody who
// knows it.
func WithAttributes(attrs ...attribute.KeyValue) Option {
	return func(c *config) { c.attrs = append(c.attrs, attrs...) }
}

// Register observes src with this package's instruments, until the returned
// registration's Unregister is called. It does not ask for a token. It fails if src
// is nil, if an attribute has no key, or if the meter can't make the instruments.
func Register(src *authsec.Source, opts ...Option) (metric.Registration, error) {
	if src == nil {
		return nil, errors.New("otelmetrics: Register: src is nil")
	}
	return register(src.Stats, opts)
}

func register(stats func() authsec.Stats, opts []Option) (metric.Registration, error) {
	var c config
	for _, opt := range opts {
		if opt != nil {
			opt(&c)
		}
	}
	if c.provider == nil {
		c.provider = otel.GetMeterProvider()
	}
	var faults []error
	for _, kv := range c.attrs {
		if !kv.Valid() {
			faults = append(faults, errors.New("WithAttributes: an attribute has no key"))
		}
	}
	meter := c.provider.Meter(scope)
	counter := func(name, unit, description string) metric.Int64ObservableCounter {
		i, err := meter.Int64ObservableCounter(name, metric.WithUnit(unit), metric.WithDescription(description))
		faults = append(faults, err)
		return i
	}
	expiry, err := meter.Float64ObservableGauge("authsec.token.expiry.timestamp", metric.WithUnit("s"),
		metric.WithDescription("When the token in service expires, in seconds since 1970; 0 if there is none."))
	faults = append(faults, err)
	fetches := counter("authsec.token.fetches", "{fetch}", "Fetches that asked the AuthSec server; the retries within one are not counted.")
	fetchFailures := counter("authsec.token.fetch.failures", "{failure}", "Fetches that brought no usable token.")
	renewals := counter("authsec.token.renewals", "{renewal}", "Times that another token replaced one that was still good.")
	rejections := counter("authsec.token.rejections", "{rejection}", "Tokens that an API rejected.")
	lookups := counter("authsec.cache.lookups", "{lookup}", "Fetches that looked into the cache, by whether the cache answered them.")
	rejects := counter("authsec.cache.rejects", "{reject}", "Cache entries that were not used.")
	cacheFailures := counter("authsec.cache.failures", "{failure}", "Uses of the cache that failed or took too long.")
	if err := errors.Join(faults...); err != nil {
		return nil, fmt.Errorf("otelmetrics: %w", err)
	}

	attrs := metric.WithAttributes(c.attrs...)
	hit := metric.WithAttributes(attribute.String("authsec.cache.result", "hit"))
	miss := metric.WithAttributes(attribute.String("authsec.cache.result", "miss"))
	reg, err := meter.RegisterCallback(func(_ context.Context, o metric.Observer) error {
		s := stats()
		var at float64
		if !s.Expiry.IsZero() {
			at = float64(s.Expiry.UnixMilli()) / 1000
		}
		o.ObserveFloat64(expiry, at, attrs)
		o.ObserveInt64(fetches, int64(s.Fetches), attrs)
		o.ObserveInt64(fetchFailures, int64(s.Failures), attrs)
		o.ObserveInt64(renewals, int64(s.Renewals), attrs)
		o.ObserveInt64(rejections, int64(s.Rejections), attrs)
		o.ObserveInt64(lookups, int64(s.Cache.Hits), attrs, hit)
		o.ObserveInt64(lookups, int64(s.Cache.Misses), attrs, miss)
		o.ObserveInt64(rejects, int64(s.Cache.Rejects), attrs)
		o.ObserveInt64(cacheFailures, int64(s.Cache.Failures), attrs)
		return nil
	}, expiry, fetches, fetchFailures, renewals, rejections, lookups, rejects, cacheFailures)
	if err != nil {
		return nil, fmt.Errorf("otelmetrics: %w", err)
	}
	return reg, nil
}
