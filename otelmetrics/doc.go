// Copyright 2026 The authsec Authors
// SPDX-License-Identifier: Apache-2.0

// Package otelmetrics has OpenTelemetry observe a Source.
//
//	src, err := authsec.NewSource(cfg)
//	reg, err := otelmetrics.Register(src,
//		otelmetrics.WithAttributes(attribute.String("gen_ai.agent.name", "billing")))
//	defer reg.Unregister()
//
// Each collection reads [authsec.Source.Stats] once. Requests do nothing for it.
//
//	instrument                      unit       kind     of Stats
//	authsec.token.expiry.timestamp  s          gauge    Expiry, in seconds since 1970; 0: no token
//	authsec.token.fetches           {fetch}    counter  Fetches
//	authsec.token.fetch.failures    {failure}  counter  Failures
//	authsec.token.renewals          {renewal}  counter  Renewals
//	authsec.token.refusals          {refusal}  counter  Refusals
//	authsec.cache.lookups           {lookup}   counter  CacheHits and CacheMisses, by authsec.cache.result: hit or miss
//	authsec.cache.rejects           {reject}   counter  CacheRejects
//	authsec.cache.failures          {failure}  counter  CacheFailures
//
// A Source without a Cache has zeros for the last three. With one, failures of
// other processes are taken from it too, so fetch.failures is no part of fetches.
//
// The expiry is a moment and not the time that is left: it stays true until it is
// looked at, however long after the collection that is. It is 0 without a token,
// so that a Source without one can be told from one that is not observed. An
// alert on an expiry that comes near leaves 0 out: a Source that nobody calls
// has no token either, in the end.
//
// A Prometheus exporter makes of the names of the token's instruments those that
// "authsec proxy" has under /metrics, such as authsec_token_fetches_total and
// authsec_token_expiry_timestamp_seconds.
package otelmetrics
