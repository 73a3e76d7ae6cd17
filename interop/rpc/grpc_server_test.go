// Copyright 2026 The authsec Authors
// SPDX-License-Identifier: Apache-2.0

package rpc

import (
	"context"
	"errors"
	"slices"
	"strings"

	"github.com/authsec-go/authsec"
	"github.com/authsec-go/authsec/verify"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
)

// guard verifies the token of each call. It denies methods that permissions does not
// list.
type guard struct {
	verifier    *verify.Verifier
	permissions map[string][]string // by full method, "/package.Service/Method"
}

type claimsKey struct{}

// claimsOf returns the claims of the token that came with a call.
func claimsOf(ctx context.Context) (*authsec.Claims, bool) {
	claims, ok := ctx.Value(claimsKey{}).(*authsec.Claims)
	return claims, ok
}

func (g guard) unary(ctx context.Context, req any, info *grpc.UnaryServerInfo, next grpc.UnaryHandler) (any, error) {
	ctx, err := g.admit(ctx, info.FullMethod)
	if err != nil {
		return nil, err
	}
	return next(ctx, req)
}

func (g guard) stream(srv any, stream grpc.ServerStream, info *grpc.StreamServerInfo, next grpc.StreamHandler) error {
	ctx, err := g.admit(stream.Context(), info.FullMethod)
	if err != nil {
		return err
	}
	return next(srv, admitted{stream, ctx})
}

type admitted struct {
	grpc.ServerStream
	ctx context.Context
}

func (a admitted) Context() context.Context { return a.ctx }

func (g guard) admit(ctx context.Context, method string) (context.Context, error) {
	values := metadata.ValueFromIncomingContext(ctx, "authorization")
	if len(values) != 1 {
		return nil, status.Error(codes.Unauthenticated, "no bearer token")
	}
	scheme, token, _ := strings.Cut(values[0], " ")
	if !strings.EqualFold(scheme, "Bearer") {
		return nil, status.Error(codes.Unauthenticated, "no bearer token")
	}
	claims, err := g.verifier.Verify(ctx, token)
	switch {
	case errors.Is(err, verify.ErrUnavailable): // it may be good
		return nil, status.Error(codes.Unavailable, "tokens can't be verified now")
	case err != nil: // the reason is for logs, not for the caller
		return nil, status.Error(codes.Unauthenticated, "invalid token")
	}
	wanted, known := g.permissions[method]
	for _, permission := range wanted {
		known = known && slices.Contains(claims.Permissions, permission)
	}
	if !known {
		return nil, status.Error(codes.PermissionDenied, "the delegation does not permit this")
	}
	return context.WithValue(ctx, claimsKey{}, claims), nil
}
