// Copyright 2026 The authsec Authors
// SPDX-License-Identifier: Apache-2.0

// Package otelmetrics makes OpenTelemetry metrics of an [authsec.Source].
//
//	src, err := authsec.NewSource(cfg)
//	reg, err := otelmetrics.Register(src,
//		otelmetrics.WithAttributes(attribute.String("gen_ai.agent.name", "billing")))
//	defer reg.Unregister()
//
// Each collection calls [authsec.Source.Stats] once. This adds no per-request cost.
//
//	instrument                      unit         kind     field of Stats
//	authsec.token.expiry.timestamp  s            gauge    Expiry, in seconds since 1970; 0: no token
//	authsec.token.fetches           {fetch}      counter  Fetches
//	authsec.token.fetch.failures    {failure}    counter  Failures
//	authsec.token.renewals          {renewal}    counter  Renewals
//	authsec.token.rejections        {rejection}  counter  Rejections
//	authsec.cache.lookups           {lookup}     counter  Cache.Hits and Cache.Misses, by authsec.cache.result: hit or miss
//	authsec.cache.rejects           {reject}     counter  Cache.Rejects
//	authsec.cache.failures          {failure}    counter  Cache.Failures
//
// Without a Cache, the last three are 0. With one, fetch.failures includes failures
// that another process got from the server, and that the cache passed on. Those are not
// part of fetches.
//
// The expiry is a point in time, not the time that is left: it stays correct
// between two collections. It is 0 without a token; a Source that is not observed has
// no value. An alert on a near expiry must leave out 0: the
// token of a Source that nobody calls expires and is not renewed.
//
// A Prometheus exporter gives these instruments the names that "authsec proxy" has
// under /metrics, such as authsec_token_fetches_total and
// authsec_token_expiry_timestamp_seconds.
package otelmetrics
