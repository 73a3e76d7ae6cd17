// Copyright 2026 The authsec Authors
// SPDX-License-Identifier: Apache-2.0

package dev

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"os"
	"time"

	"github.com/authsec-go/authsec/cmd/authsec/internal/cli"
)

const (
	headerTimeout = 10 * time.Second        // for a request's header
	idleTimeout   = 2 * time.Minute         // for a connection without requests
	shutdownTime  = 1500 * time.Millisecond // for answers under way when the command ends
)

// site is a handler and where it is served.
type site struct {
	listener net.Listener
	handler  http.Handler
}

// listen opens a loopback address for a flag.
func listen(ctx context.Context, flag, address string) (net.Listener, error) {
	l, err := new(net.ListenConfig).Listen(ctx, "tcp", address)
	if err != nil {
		if sys := (*os.SyscallError)(nil); errors.As(err, &sys) {
			err = sys.Err // without the address, which is named below
		}
		return nil, cli.Advise(fmt.Errorf("can't listen on %s: %w", address, err),
			"end the program that uses this address, perhaps another authsec dev, or choose another with --"+flag)
	}
	// A hosts file can give localhost any address.
	if a, ok := l.Addr().(*net.TCPAddr); !ok || !a.IP.IsLoopback() {
		l.Close()
		return nil, cli.Usagef("--%s %s means %s here, which is not a loopback address: write 127.0.0.1", flag, address, l.Addr())
	}
	return l, nil
}

func urlOf(l net.Listener) string { return "http://" + l.Addr().String() }

// serve serves all sites until ctx ends, or until one of them fails. Then answers
// under way have a little time, unless they wait for ctx.
func serve(ctx context.Context, sites ...site) error {
	failed := make(chan error, len(sites))
	var servers []*http.Server
	for _, s := range sites {
		srv := &http.Server{
			Handler: s.handler, ReadHeaderTimeout: headerTimeout, IdleTimeout: idleTimeout,
			BaseContext: func(net.Listener) context.Context { return ctx },
			ErrorLog:    log.New(io.Discard, "", 0), // it quotes what clients send
		}
		servers = append(servers, srv)
		go func() { failed <- srv.Serve(s.listener) }()
	}
	var err error
	select {
	case <-ctx.Done():
	case err = <-failed:
	}
	closing, cancel := context.WithTimeout(context.WithoutCancel(ctx), shutdownTime)
	defer cancel()
	for _, srv := range servers {
		if srv.Shutdown(closing) != nil {
			srv.Close()
		}
	}
	return err
}
