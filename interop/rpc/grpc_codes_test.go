// Copyright 2026 The authsec Authors
// SPDX-License-Identifier: Apache-2.0

package rpc

import (
	"context"
	"errors"
	"net/http"
	"testing"
	"time"

	"github.com/authsec-go/authsec"
	"github.com/authsec-go/authsec/authsectest"
	"github.com/authsec-go/authsec/interop/internal/itest"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/credentials/oauth"
	health "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/status"
)

// hang makes the AuthSec server answer nothing until the test ends.
func hang(t *testing.T, stack *itest.Stack) {
	end := make(chan struct{})
	t.Cleanup(func() { close(end) })
	stack.Fail(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		select {
		case <-end:
		case <-r.Context().Done():
		}
	}))
}

// A call is Unauthenticated only if the agent can get no token. The end of the call's
// context keeps its code, and a transient fault is Unavailable. This holds with the
// interceptors, and with the credentials alone.
func TestGRPCCodesWithoutAToken(t *testing.T) {
	for name, tc := range map[string]struct {
		fault func(*testing.T, *itest.Stack)
		ctx   func(context.Context) (context.Context, context.CancelFunc)
		want  codes.Code
		is    error
	}{
		"no delegation":   {func(_ *testing.T, s *itest.Stack) { s.Revoke() }, nil, codes.Unauthenticated, authsec.ErrNotDelegated},
		"no credential":   {func(_ *testing.T, s *itest.Stack) { s.RequireCredential("x") }, nil, codes.Unauthenticated, authsec.ErrUnauthorized},
		"server down":     {func(_ *testing.T, s *itest.Stack) { s.Close() }, nil, codes.Unavailable, nil},
		"server's answer": {func(_ *testing.T, s *itest.Stack) { s.Fail(authsectest.Answer(200, "<html>")) }, nil, codes.Unavailable, authsec.ErrInvalidResponse},
		"rate limited": {func(_ *testing.T, s *itest.Stack) {
			s.Fail(authsectest.Answer(429, `{"error":"Rate limit exceeded"}`, "Retry-After", "60"))
		}, nil, codes.Unavailable, authsec.ErrRateLimited},
		"deadline": {hang, func(ctx context.Context) (context.Context, context.CancelFunc) {
			return context.WithTimeout(ctx, 50*time.Millisecond)
		}, codes.DeadlineExceeded, context.DeadlineExceeded},
		"canceled": {hang, func(ctx context.Context) (context.Context, context.CancelFunc) {
			ctx, cancel := context.WithCancel(ctx)
			time.AfterFunc(50*time.Millisecond, cancel)
			return ctx, cancel
		}, codes.Canceled, context.Canceled},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			stack := itest.New(t)
			target := serve(t, stack)
			cfg := stack.Config()
			cfg.Retry.MaxAttempts = 1
			tc.fault(t, stack)
			with, src, err := dial(cfg, target, trusted())
			if err != nil {
				t.Fatal(err)
			}
			defer with.Close()
			alone, err := grpc.NewClient(target, grpc.WithTransportCredentials(trusted()), grpc.WithPerRPCCredentials(bearer{src}))
			if err != nil {
				t.Fatal(err)
			}
			defer alone.Close()
			for how, conn := range map[string]*grpc.ClientConn{"interceptors": with, "credentials alone": alone} {
				for kind, call := range map[string]func(context.Context, health.HealthClient) error{"unary": check, "stream": watch} {
					ctx, cancel := context.WithCancel(t.Context())
					if tc.ctx != nil {
						ctx, cancel = tc.ctx(ctx)
					}
					err := call(ctx, health.NewHealthClient(conn))
					cancel()
					if status.Code(err) != tc.want {
						t.Errorf("%s, %s: %v, want %v: %v", how, kind, status.Code(err), tc.want, err)
					}
					if how == "interceptors" && tc.is != nil && !errors.Is(err, tc.is) {
						t.Errorf("%s, %s: errors.Is(err, %v) = false, want true: %v", how, kind, tc.is, err)
					}
				}
			}
			if n := stack.Requests(); n != 0 {
				t.Errorf("%d calls reached the server, want none", n)
			}
		})
	}
}

// The TokenSource of grpc's package oauth does not know the call's context.
func TestGRPCOwnTokenSourceOutlastsTheCall(t *testing.T) {
	stack := itest.New(t)
	target := serve(t, stack)
	hang(t, stack)
	cfg := stack.Config()
	cfg.FetchTimeout, cfg.Retry.MaxAttempts = time.Second, 1
	src, err := authsec.NewSource(cfg)
	if err != nil {
		t.Fatal(err)
	}
	conn, err := grpc.NewClient(target, grpc.WithTransportCredentials(trusted()),
		grpc.WithPerRPCCredentials(oauth.TokenSource{TokenSource: src}))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	began := time.Now()
	err = check(ctx, health.NewHealthClient(conn))
	if took := time.Since(began); took < 500*time.Millisecond || status.Code(err) != codes.Unauthenticated {
		t.Errorf("after %v: %v; want Unauthenticated after the fetch's 1 s: remove the sentence from the documentation", took, err)
	}
}

// The caller's own interceptors stay: those of WithUnaryInterceptor and
// WithStreamInterceptor run first.
func TestGRPCKeepsOtherInterceptors(t *testing.T) {
	stack := itest.New(t)
	var unary, streams int
	conn, _, err := dial(stack.Config(), serve(t, stack), trusted(),
		grpc.WithUnaryInterceptor(func(ctx context.Context, method string, req, reply any, conn *grpc.ClientConn, call grpc.UnaryInvoker, opts ...grpc.CallOption) error {
			unary++
			return call(ctx, method, req, reply, conn, opts...)
		}),
		grpc.WithStreamInterceptor(func(ctx context.Context, desc *grpc.StreamDesc, conn *grpc.ClientConn, method string, open grpc.Streamer, opts ...grpc.CallOption) (grpc.ClientStream, error) {
			streams++
			return open(ctx, desc, conn, method, opts...)
		}))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	c := health.NewHealthClient(conn)
	stack.Replace(t, func() error { return check(t.Context(), c) })
	if err := watch(t.Context(), c); err != nil {
		t.Fatal(err)
	}
	if unary != 2 || streams != 1 {
		t.Errorf("the caller's interceptors ran %d and %d times, want 2 and 1", unary, streams)
	}
}

// Without the interceptors a rejected token is used until it expires, or until a call of
// Renew.
func TestGRPCWithoutInterceptors(t *testing.T) {
	stack := itest.New(t)
	src, err := authsec.NewSource(stack.Config())
	if err != nil {
		t.Fatal(err)
	}
	conn, err := grpc.NewClient(serve(t, stack), grpc.WithTransportCredentials(trusted()), grpc.WithPerRPCCredentials(bearer{src}))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	c := health.NewHealthClient(conn)
	rejected, without := stack.Live(t, src, func() error { return check(t.Context(), c) })
	for _, err := range []error{rejected, without} {
		if status.Code(err) != codes.Unauthenticated || status.Convert(err).Message() != "revoked token" {
			t.Errorf("error = %v, want the server's Unauthenticated", err)
		}
	}

	// Renew makes the Source drop the token.
	stack.Revoke()
	token, err := src.Token()
	if err != nil {
		t.Fatal(err)
	}
	_, err = src.Renew(t.Context(), token)
	stack.CheckNotDelegated(t, err)
	err = check(t.Context(), c)
	if status.Code(err) != codes.Unauthenticated {
		t.Errorf("error = %v, want Unauthenticated", err)
	}
	stack.CheckNotDelegated(t, err)
}

// The credentials send no token over a connection without TLS. With grpc's insecure
// credentials, there is no connection.
func TestGRPCWantsTLS(t *testing.T) {
	stack := itest.New(t)
	conn, src, err := dial(stack.Config(), "127.0.0.1:1", insecure.NewCredentials())
	if err == nil {
		conn.Close()
		t.Error("no error for a token over plain TCP")
	}
	if got, err := (bearer{src}).GetRequestMetadata(t.Context()); err == nil || got != nil {
		t.Error("metadata for a connection of which nothing is known, want an error")
	}
	if n := stack.Fetches(); n != 0 {
		t.Errorf("%d fetches, want none", n)
	}
}
