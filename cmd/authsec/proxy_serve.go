// Copyright 2026 The authsec Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"time"

	"github.com/authsec-go/authsec/cmd/authsec/internal/cli"
	"golang.org/x/net/netutil"
)

const (
	headerTimeout  = 10 * time.Second // to read a request's header
	idleTimeout    = 2 * time.Minute  // of an idle connection
	maxHeaderBytes = 64 << 10         // of a request's header
	maxStreams     = 100              // requests at once on a connection of HTTP/2

	// Of the health address, which other machines can reach.
	healthTimeout  = 5 * time.Second  // to read a request; half of the time to answer it
	healthIdle     = 30 * time.Second // of an idle connection
	maxHealthConns = 256              // connections

	// How long connections stay open after the signal, at least and at most. Shutdown
	// closes idle connections at once, and a program may be sending a request on one at
	// that moment. So the proxy waits until no request came for half of lingerTime.
	lingerTime = 500 * time.Millisecond
	lingerMax  = 6 // times lingerTime
	lingerStep = 20 * time.Millisecond
)

// listen opens the listeners and makes their servers.
func (s *sidecar) listen(ctx context.Context, f *proxyFlags) (err error) {
	var lc net.ListenConfig
	if s.ln, err = lc.Listen(ctx, "tcp", f.listen); err != nil {
		return err
	}
	if f.health != "" {
		if s.healthLn, err = lc.Listen(ctx, "tcp", f.health); err != nil {
			s.ln.Close()
			return err
		}
		s.healthLn = netutil.LimitListener(s.healthLn, maxHealthConns)
	}
	s.names = ownNames(f.listen, s.ln.Addr(), f.hosts)
	if s.upstream.Scheme == "http" && s.names[strings.ToLower(s.upstream.Host)] {
		s.closeListeners()
		return fmt.Errorf("--upstream %s is this proxy itself", s.upstream.Host)
	}
	s.ln = netutil.LimitListener(s.ln, f.maxConns)
	newServer := func(h http.Handler, idle time.Duration) *http.Server {
		return &http.Server{
			Handler:           h,
			ReadHeaderTimeout: headerTimeout,
			IdleTimeout:       idle,
			MaxHeaderBytes:    maxHeaderBytes,
			ErrorLog:          slog.NewLogLogger(s.log.Handler(), slog.LevelWarn),

			DisableGeneralOptionsHandler: true, // the guard decides on OPTIONS *, too
		}
	}
	// The time to read a body and to write an answer is bounded part by part: see body
	// and exchange. A time for the whole would cut streams.
	s.server, s.health = newServer(s, idleTimeout), newServer(s.healthHandler(), healthIdle)
	s.server.Protocols = new(http.Protocols)
	s.server.Protocols.SetHTTP1(true)
	s.server.Protocols.SetUnencryptedHTTP2(true)
	s.server.HTTP2 = &http.HTTP2Config{MaxConcurrentStreams: maxStreams, WriteByteTimeout: writeTimeout}
	s.server.ConnState = func(_ net.Conn, state http.ConnState) {
		switch state {
		case http.StateNew:
			s.latest.Store(time.Now().UnixNano())
			s.conns.Add(1)
		case http.StateClosed, http.StateHijacked:
			s.conns.Add(-1)
		}
	}
	s.health.ReadHeaderTimeout, s.health.ReadTimeout, s.health.WriteTimeout = healthTimeout, healthTimeout, 2*healthTimeout
	return nil
}

func (s *sidecar) closeListeners() {
	s.ln.Close()
	if s.healthLn != nil {
		s.healthLn.Close()
	}
}

func (s *sidecar) close() {
	s.server.Close()
	s.health.Close()
}

// serve serves until ctx ends. Then it waits for requests in flight, at most for
// drain.
func (s *sidecar) serve(ctx context.Context) error {
	ended := make(chan error, 2)
	go func() { ended <- s.server.Serve(s.ln) }()
	health := ""
	if s.healthLn != nil {
		health = s.healthLn.Addr().String()
		go func() { ended <- s.health.Serve(s.healthLn) }()
	}
	s.log.Info("listening", "listen", s.ln.Addr().String(), "health", health, "upstream", s.upstream.Host)
	select {
	case err := <-ended:
		return cli.Stopped(cli.Advise(err, "start the proxy again"))
	case <-ctx.Done():
	}

	s.draining.Store(true)
	s.log.Info("shutting down", "in_flight", s.metrics.inFlight.Load())
	drained, cancel := context.WithTimeout(context.WithoutCancel(ctx), s.drain)
	defer cancel()
	s.awaitQuiet(drained, ended)
	if err := s.server.Shutdown(drained); err == nil {
		upgraded := make(chan struct{})
		go func() {
			s.handlers.Wait()
			close(upgraded)
		}()
		select {
		case <-upgraded:
		case <-drained.Done():
		}
	}
	if cut := s.metrics.inFlight.Load(); cut > 0 {
		s.log.Warn("requests cut off", "in_flight", cut, "drain", s.drain.String())
	}
	s.log.Info("ended")
	return nil
}

// awaitQuiet waits while programs may be sending requests that they began before the
// signal. Meanwhile each answer closes its connection.
func (s *sidecar) awaitQuiet(drained context.Context, ended <-chan error) {
	began := time.Now()
	tick := time.NewTicker(lingerStep)
	defer tick.Stop()
	for {
		select {
		case now := <-tick.C:
			conns, took := s.conns.Load(), now.Sub(began)
			quiet := now.Sub(time.Unix(0, s.latest.Load()))
			switch {
			case took >= lingerMax*s.linger:
				return
			case conns == 0 && took >= 2*lingerStep && quiet >= 2*lingerStep:
				return
			case took >= s.linger && quiet >= s.linger/2 && conns < s.maxConns: // else more may wait to be accepted
				return
			}
		case <-ended:
			return
		case <-drained.Done():
			return
		}
	}
}
