// Copyright 2026 The authsec Authors
// SPDX-License-Identifier: Apache-2.0

package mcp

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"log/slog"
	"net"
	"net/http"
	"time"

	"github.com/authsec-go/authsec/cmd/authsec/internal/cli"
	"github.com/authsec-go/authsec/cmd/authsec/internal/loopback"
	"github.com/authsec-go/authsec/internal/hosts"
	"github.com/modelcontextprotocol/go-sdk/mcp"
)

// endpoint is the path of the tool's server.
const endpoint = "/mcp"

const (
	readTimeout  = 30 * time.Second // of a request
	idleTimeout  = 2 * time.Minute
	shutdownTime = 5 * time.Second
)

// checkLoopback refuses an address that other machines could reach.
func checkLoopback(addr string) error {
	host, port, err := net.SplitHostPort(addr)
	switch {
	case err != nil || port == "":
		return cli.Advise(cli.Usagef("--http %q is not an address with a port", addr), "give one such as 127.0.0.1:8080")
	case !hosts.Loopback(host):
		return cli.Advise(cli.Usagef("--http %q is not a loopback address: whoever reaches the tool can use the agent's delegation", addr), "give one such as 127.0.0.1:"+port)
	}
	return nil
}

// serveHTTP serves until ctx ends.
func serveHTTP(ctx context.Context, server *mcp.Server, addr string, limit int, logger *slog.Logger) error {
	listener, err := new(net.ListenConfig).Listen(ctx, "tcp", addr)
	if err != nil {
		return cli.Advise(err, "give another address by --http")
	}
	if tcp, ok := listener.Addr().(*net.TCPAddr); !ok || !tcp.IP.IsLoopback() { // the resolver has its own localhost
		listener.Close()
		return cli.Advise(fmt.Errorf("%s is not a loopback address on this machine", listener.Addr()), "give --http 127.0.0.1:8080")
	}
	srv := &http.Server{
		Handler:           newHandler(server, limit),
		ReadHeaderTimeout: readTimeout,
		ReadTimeout:       readTimeout,
		IdleTimeout:       idleTimeout,
		MaxHeaderBytes:    32 << 10,
		ErrorLog:          log.New(io.Discard, "", 0),
	}
	logger.Info("listening", "url", "http://"+listener.Addr().String()+endpoint)
	ended := make(chan error, 1)
	go func() { ended <- srv.Serve(listener) }()
	select {
	case err := <-ended:
		return err
	case <-ctx.Done():
	}
	within, cancel := context.WithTimeout(context.WithoutCancel(ctx), shutdownTime)
	defer cancel()
	if err := srv.Shutdown(within); errors.Is(err, context.DeadlineExceeded) {
		logger.Warn("calls were cut off at the end", "after", shutdownTime)
		srv.Close()
	}
	return nil
}

// newHandler returns the handler of the tool's server. It keeps no sessions: the tool
// has no state, and clients survive its restart.
func newHandler(server *mcp.Server, limit int) http.Handler {
	streamable := mcp.NewStreamableHTTPHandler(func(*http.Request) *mcp.Server { return server }, &mcp.StreamableHTTPOptions{
		Stateless:                    true,
		JSONResponse:                 true,
		MaxRequestBodyBytes:          int64(limit),
		PropagateRequestCancellation: true,
	})
	mux := http.NewServeMux()
	mux.Handle(endpoint, wellFormed(streamable, limit))
	return loopback.Only(mux)
}

// wellFormed answers what is not JSON-RPC as JSON-RPC does.
func wellFormed(next http.Handler, limit int) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodPost {
			next.ServeHTTP(w, r)
			return
		}
		body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, int64(limit)))
		status, bad := http.StatusBadRequest, (*rpcError)(nil)
		var long *http.MaxBytesError
		switch {
		case errors.As(err, &long):
			status = http.StatusRequestEntityTooLarge
			bad = &rpcError{Code: codeInvalidRequest, Message: fmt.Sprintf("Invalid Request: the message has more than %d bytes: send less at a time", limit)}
		case err != nil:
			// net/http would answer 200. What follows on the connection can't be told from
			// the body.
			w.Header().Set("Connection", "close")
			bad = &rpcError{Code: codeParse, Message: "Parse error: the message broke off, or is not valid HTTP"}
		default:
			_, bad = parse(bytes.TrimSpace(body))
		}
		if bad != nil {
			w.Header().Set("Content-Type", "application/json")
			w.WriteHeader(status)
			w.Write(bad.encode(bad.id))
			return
		}
		http.NewResponseController(w).SetReadDeadline(time.Time{}) // when it passes, net/http ends the request's context
		r.Body = io.NopCloser(bytes.NewReader(body))
		next.ServeHTTP(w, r)
	})
}
