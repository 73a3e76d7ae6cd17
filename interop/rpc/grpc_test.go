// Copyright 2026 The authsec Authors
// SPDX-License-Identifier: Apache-2.0

package rpc

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"net/http"
	"strings"
	"testing"

	"github.com/authsec-go/authsec"
	"github.com/authsec-go/authsec/authsectest"
	"github.com/authsec-go/authsec/interop/internal/itest"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	health "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
)

// service answers Check and Watch if it gets the caller's claims. Watch ends by itself.
type service struct {
	health.UnimplementedHealthServer
}

func answer(ctx context.Context) (*health.HealthCheckResponse, error) {
	if claims, ok := claimsOf(ctx); !ok || !claims.Verified || claims.ClientID != authsectest.ClientID {
		return nil, status.Error(codes.Internal, "the handler has no claims")
	}
	return &health.HealthCheckResponse{Status: health.HealthCheckResponse_SERVING}, nil
}

func (service) Check(ctx context.Context, _ *health.HealthCheckRequest) (*health.HealthCheckResponse, error) {
	return answer(ctx)
}

func (service) Watch(_ *health.HealthCheckRequest, stream health.Health_WatchServer) error {
	resp, err := answer(stream.Context())
	if err != nil {
		return err
	}
	return errors.Join(stream.Send(resp), stream.Send(resp))
}

func (service) List(ctx context.Context, _ *health.HealthListRequest) (*health.HealthListResponse, error) {
	return &health.HealthListResponse{}, nil
}

// serve starts a server behind guard that also checks for revocations.
func serve(t *testing.T, stack *itest.Stack) (target string) {
	t.Helper()
	revocations := func(ctx context.Context) error {
		for _, value := range metadata.ValueFromIncomingContext(ctx, "authorization") {
			_, token, _ := strings.Cut(value, " ")
			stack.Saw(token)
			if stack.Revoked(token) {
				return status.Error(codes.Unauthenticated, "revoked token")
			}
		}
		return nil
	}
	g := guard{verifier: stack.Verifier(t), permissions: map[string][]string{
		health.Health_Check_FullMethodName: itest.Permissions,
		health.Health_Watch_FullMethodName: itest.Permissions,
	}}
	server := grpc.NewServer(
		grpc.Creds(credentials.NewServerTLSFromCert(&stack.Serve(t, http.NotFoundHandler()).TLS.Certificates[0])),
		grpc.ChainUnaryInterceptor(func(ctx context.Context, req any, _ *grpc.UnaryServerInfo, next grpc.UnaryHandler) (any, error) {
			if err := revocations(ctx); err != nil {
				return nil, err
			}
			return next(ctx, req)
		}, g.unary),
		grpc.ChainStreamInterceptor(func(srv any, stream grpc.ServerStream, _ *grpc.StreamServerInfo, next grpc.StreamHandler) error {
			if err := revocations(stream.Context()); err != nil {
				return err
			}
			return next(srv, stream)
		}, g.stream))
	health.RegisterHealthServer(server, service{})
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error)
	go func() { done <- server.Serve(listener) }()
	t.Cleanup(func() {
		server.Stop()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return listener.Addr().String()
}

// trusted are transport credentials that trust the test's servers.
func trusted() credentials.TransportCredentials {
	return credentials.NewTLS(&tls.Config{RootCAs: http.DefaultTransport.(*http.Transport).TLSClientConfig.RootCAs})
}

// client returns a client with the interceptors.
func client(t *testing.T, stack *itest.Stack, target string) (health.HealthClient, *authsec.Source) {
	t.Helper()
	conn, src, err := dial(stack.Config(), target, trusted())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return health.NewHealthClient(conn), src
}

func check(ctx context.Context, c health.HealthClient) error {
	_, err := c.Check(ctx, &health.HealthCheckRequest{})
	return err
}

func watch(ctx context.Context, c health.HealthClient) error {
	stream, err := c.Watch(ctx, &health.HealthCheckRequest{})
	if err != nil {
		return err
	}
	for range 2 {
		if _, err := stream.Recv(); err != nil {
			return err
		}
	}
	return nil
}

func TestGRPC(t *testing.T) {
	for name, call := range map[string]func(context.Context, health.HealthClient) error{"unary": check, "stream": watch} {
		t.Run(name, func(t *testing.T) {
			stack := itest.New(t)
			c, src := client(t, stack, serve(t, stack))
			rejected, without := stack.Live(t, src, func() error { return call(t.Context(), c) })
			// The interceptors keep both errors: the server's and the Source's.
			for _, err := range []error{rejected, without} {
				if status.Code(err) != codes.Unauthenticated {
					t.Errorf("code = %v, want Unauthenticated", status.Code(err))
				}
				stack.CheckNotDelegated(t, err)
			}
		})
	}
}

func TestGRPCReplacesARejectedToken(t *testing.T) {
	stack := itest.New(t)
	target := serve(t, stack)
	t.Run("unary", func(t *testing.T) {
		c, _ := client(t, stack, target)
		stack.Replace(t, func() error { return check(t.Context(), c) })
	})
	t.Run("stream", func(t *testing.T) {
		c, _ := client(t, stack, target)
		if err := watch(t.Context(), c); err != nil {
			t.Fatal(err)
		}
		stack.Revoke()
		stack.Delegate()
		if err := watch(t.Context(), c); status.Code(err) != codes.Unauthenticated || errors.Is(err, authsec.ErrNotDelegated) {
			t.Errorf("the first stream: %v, want the server's Unauthenticated", err)
		}
		if err := watch(t.Context(), c); err != nil {
			t.Errorf("the next stream: %v", err)
		}
		stack.CheckSeen(t)
	})
}

func TestGRPCServerRejects(t *testing.T) {
	stack := itest.New(t)
	target := serve(t, stack)
	conn, err := grpc.NewClient(target, grpc.WithTransportCredentials(trusted()))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	anyone := health.NewHealthClient(conn)
	src, err := authsec.NewSource(stack.Config())
	if err != nil {
		t.Fatal(err)
	}
	token, err := src.Token()
	if err != nil {
		t.Fatal(err)
	}
	good := "Bearer " + token.AccessToken
	for _, tc := range []struct {
		name          string
		authorization []string
		want          codes.Code
	}{
		{"good", []string{good}, codes.OK},
		{"scheme in lower case", []string{"bearer " + token.AccessToken}, codes.OK},
		{"none", nil, codes.Unauthenticated},
		{"two", []string{good, good}, codes.Unauthenticated},
		{"another scheme", []string{"Basic " + token.AccessToken}, codes.Unauthenticated},
		{"not a token", []string{"Bearer x"}, codes.Unauthenticated},
		{"tampered", []string{good[:len(good)-8] + "AAAAAAAA"}, codes.Unauthenticated},
	} {
		t.Run(tc.name, func(t *testing.T) {
			ctx := t.Context()
			for _, value := range tc.authorization {
				ctx = metadata.AppendToOutgoingContext(ctx, "authorization", value)
			}
			for name, call := range map[string]func(context.Context, health.HealthClient) error{"unary": check, "stream": watch} {
				err := call(ctx, anyone)
				if status.Code(err) != tc.want {
					t.Errorf("%s: %v, want %v", name, err, tc.want)
				}
				if err != nil {
					stack.CheckNoToken(t, err.Error())
				}
			}
		})
	}

	c, src := client(t, stack, target)
	if _, err := c.List(t.Context(), &health.HealthListRequest{}); status.Code(err) != codes.PermissionDenied {
		t.Errorf("a method that is not listed: %v, want PermissionDenied", err)
	}
	stack.Permit(t, src, "billing:write")
	before := stack.Fetches()
	for name, call := range map[string]func(context.Context, health.HealthClient) error{"unary": check, "stream": watch} {
		if err := call(t.Context(), c); status.Code(err) != codes.PermissionDenied {
			t.Errorf("%s without the permission: %v, want PermissionDenied", name, err)
		}
	}
	if n := stack.Fetches() - before; n != 0 {
		t.Errorf("%d fetches after PermissionDenied, which another token does not change, want 0", n)
	}
}

// A server that can't get the keys does not call tokens invalid.
func TestGRPCServerWithoutKeys(t *testing.T) {
	stack := itest.New(t)
	token := stack.Server.Delegate(authsectest.ClientID, authsectest.Delegation{Audience: itest.Audience})
	g := guard{verifier: stack.Verifier(t)}
	stack.Close()
	ctx := metadata.NewIncomingContext(t.Context(), metadata.Pairs("authorization", "Bearer "+token))
	if _, err := g.admit(ctx, health.Health_Check_FullMethodName); status.Code(err) != codes.Unavailable {
		t.Errorf("error = %v, want Unavailable", err)
	}
}
