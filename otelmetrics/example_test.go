// Copyright 2026 The authsec Authors
// SPDX-License-Identifier: Apache-2.0

package otelmetrics_test

import (
	"context"
	"fmt"
	"log"

	"github.com/authsec-go/authsec"
	"github.com/authsec-go/authsec/authsectest"
	"github.com/authsec-go/authsec/otelmetrics"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"
)

// A real program uses an exporter's reader in place of this one, and gets its
// Config from authsec.ConfigFromEnv.
func ExampleRegister() {
	srv := authsectest.NewServer()
	defer srv.Close()
	srv.Delegate(authsectest.ClientID, authsectest.Delegation{})
	reader := metric.NewManualReader()
	provider := metric.NewMeterProvider(metric.WithReader(reader))

	src, err := authsec.NewSource(srv.Config(authsectest.ClientID))
	if err != nil {
		log.Fatal(err)
	}
	reg, err := otelmetrics.Register(src,
		otelmetrics.WithMeterProvider(provider), // without it: otel.GetMeterProvider()
		otelmetrics.WithAttributes(attribute.String("gen_ai.agent.name", "billing")))
	if err != nil {
		log.Fatal(err)
	}
	defer reg.Unregister()

	if _, err := src.Token(); err != nil {
		log.Fatal(err)
	}

	var collected metricdata.ResourceMetrics
	if err := reader.Collect(context.Background(), &collected); err != nil {
		log.Fatal(err)
	}
	for _, m := range collected.ScopeMetrics[0].Metrics {
		if m.Name == "authsec.token.fetches" {
			point := m.Data.(metricdata.Sum[int64]).DataPoints[0]
			agent, _ := point.Attributes.Value("gen_ai.agent.name")
			fmt.Println(m.Name, m.Unit, agent.AsString(), point.Value)
		}
	}
	// Output: authsec.token.fetches {fetch} billing 1
}
