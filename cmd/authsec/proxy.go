// Copyright 2026 The authsec Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"io"
	"log"
	"log/slog"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"sync"
	"sync/atomic"
	"time"

	"github.com/authsec-go/authsec"
	"github.com/authsec-go/authsec/cmd/authsec/internal/cli"
)

const flushInterval = 10 * time.Millisecond // after which a part of an answer of known length is sent

func proxy(ctx context.Context, f *proxyFlags, stderr io.Writer) error {
	upstream, err := f.check(ctx)
	if err != nil {
		return cli.Usagef("%w", err)
	}
	logger := newLogger(stderr, f.level)
	shared, err := f.sharedCache(ctx, logger)
	if err != nil {
		return err
	}
	src, _, err := sourceFromEnv(logger, func(cfg *authsec.Config) { cfg.Cache = shared })
	if err != nil {
		return wrongEnvironment(err)
	}
	s := newSidecar(src, upstream, f, logger)
	if err := s.listen(ctx, f); err != nil {
		return cli.Advise(err, "choose another --listen, --health or --upstream")
	}
	defer s.close()
	return s.serve(ctx)
}

// newLogger logs JSON, with durations as text such as 59m57s.
func newLogger(w io.Writer, level slog.Level) *slog.Logger {
	return slog.New(slog.NewJSONHandler(w, &slog.HandlerOptions{
		Level: level,
		ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
			if a.Value.Kind() == slog.KindDuration {
				a.Value = slog.StringValue(a.Value.Duration().Round(time.Millisecond).String())
			}
			return a
		},
	}))
}

// sidecar is a running proxy.
type sidecar struct {
	src        *authsec.Source
	upstream   *url.URL
	log        *slog.Logger
	handler    *httputil.ReverseProxy
	metrics    *metrics
	rejections rejections
	outages    outages
	draining   atomic.Bool    // it shuts down
	conns      atomic.Int64   // open connections of programs, without upgraded ones
	latest     atomic.Int64   // when a connection or a request came last
	handlers   sync.WaitGroup // running ones; Server.Shutdown does not wait for upgraded connections

	linger, drain  time.Duration
	maxConns       int64
	names          map[string]bool // accepted Host headers, in lower case
	ln, healthLn   net.Listener    // healthLn is nil without --health
	server, health *http.Server
}

func newSidecar(src *authsec.Source, upstream *url.URL, f *proxyFlags, logger *slog.Logger) *sidecar {
	s := &sidecar{src: src, upstream: upstream, log: logger, linger: lingerTime, drain: f.drain, maxConns: int64(f.maxConns)}
	s.metrics = newMetrics(src, func() bool { return s.rejections.all(time.Now()) })
	s.handler = &httputil.ReverseProxy{
		Rewrite: s.rewrite,
		Transport: &authsec.Transport{
			Source: src,
			Base:   &timed{upstreamTransport(f.upstreamTimeout), grpcTransport(f.upstreamTimeout), s.metrics},
			Hosts:  []string{hostPattern(upstream)},
			Retry:  authsec.RetryPolicy{MaxAttempts: f.attempts},
			Logger: logger,
		},
		// ReverseProxy sends events and answers of unknown length at once anyway. The
		// flush of the other answers costs a goroutine each, about a tenth of the cost
		// of a small answer.
		FlushInterval:  flushInterval,
		BufferPool:     &buffers{},
		ErrorHandler:   s.failed,
		ModifyResponse: s.answered,
		// ReverseProxy's messages may quote bytes of the upstream. Answers that broke
		// off show in the request's own log record and in a counter.
		ErrorLog: log.New(io.Discard, "", 0),
	}
	return s
}
