// Copyright 2026 The authsec Authors
// SPDX-License-Identifier: Apache-2.0

package rpc

import (
	"context"
	"errors"

	"github.com/authsec-go/authsec"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/status"
)

// dial connects to a server. tls is credentials.NewTLS(nil), in a program.
func dial(cfg authsec.Config, target string, tls credentials.TransportCredentials, opts ...grpc.DialOption) (*grpc.ClientConn, *authsec.Source, error) {
	// docs: begin grpc-client
	src, err := authsec.NewSource(cfg)
	if err != nil {
		return nil, nil, err
	}
	opts = append(opts,
		grpc.WithTransportCredentials(tls),
		grpc.WithPerRPCCredentials(bearer{src}),
		grpc.WithChainUnaryInterceptor(renewUnary(src)), // WithUnaryInterceptor would replace another one
		grpc.WithChainStreamInterceptor(renewStream(src)))
	conn, err := grpc.NewClient(target, opts...)
	// docs: end grpc-client
	return conn, src, err
}

// bearer adds the token to each call. Its wait for the token ends with the call.
type bearer struct{ src *authsec.Source }

func (b bearer) GetRequestMetadata(ctx context.Context, _ ...string) (map[string]string, error) {
	info, _ := credentials.RequestInfoFromContext(ctx)
	if err := credentials.CheckSecurityLevel(info.AuthInfo, credentials.PrivacyAndIntegrity); err != nil {
		return nil, err // the connection has no TLS
	}
	token, err := b.src.TokenContext(ctx)
	if err != nil {
		return nil, noToken(ctx, err)
	}
	return map[string]string{"authorization": token.Type() + " " + token.AccessToken}, nil
}

func (bearer) RequireTransportSecurity() bool { return true }

// noToken gives err the code of what happened. errors.Is finds the same in it as in err.
func noToken(ctx context.Context, err error) error {
	code := codes.Unavailable // a later call may get a token
	switch {
	case ctx.Err() != nil:
		code = status.FromContextError(ctx.Err()).Code()
	case errors.Is(err, authsec.ErrNotDelegated), errors.Is(err, authsec.ErrUnauthorized), errors.Is(err, authsec.ErrInvalidClientID):
		code = codes.Unauthenticated
	}
	return errors.Join(status.Error(code, "no token"), err)
}

// renewUnary makes a call once more, if the server rejects its token and the Source
// gets another.
func renewUnary(src *authsec.Source) grpc.UnaryClientInterceptor {
	return func(ctx context.Context, method string, req, reply any, conn *grpc.ClientConn, call grpc.UnaryInvoker, opts ...grpc.CallOption) error {
		token, err := src.TokenContext(ctx)
		if err != nil {
			return noToken(ctx, err)
		}
		err = call(ctx, method, req, reply, conn, opts...)
		if status.Code(err) != codes.Unauthenticated {
			return err
		}
		newer, renewErr := src.Renew(ctx, token)
		if renewErr != nil {
			return errors.Join(err, renewErr)
		}
		if newer.AccessToken == token.AccessToken {
			return err
		}
		return call(ctx, method, req, reply, conn, opts...)
	}
}

// renewStream gets another token if the server rejects that of a stream. It does not
// open the stream again: the caller can, with the other token.
func renewStream(src *authsec.Source) grpc.StreamClientInterceptor {
	return func(ctx context.Context, desc *grpc.StreamDesc, conn *grpc.ClientConn, method string, open grpc.Streamer, opts ...grpc.CallOption) (grpc.ClientStream, error) {
		token, err := src.TokenContext(ctx)
		if err != nil {
			return nil, noToken(ctx, err)
		}
		stream, err := open(ctx, desc, conn, method, opts...)
		if err != nil {
			return nil, err
		}
		return renewable{stream, func(err error) error {
			if status.Code(err) != codes.Unauthenticated {
				return err
			}
			_, renewErr := src.Renew(ctx, token)
			return errors.Join(err, renewErr)
		}}, nil
	}
}

type renewable struct {
	grpc.ClientStream
	renew func(error) error
}

func (r renewable) RecvMsg(m any) error { return r.renew(r.ClientStream.RecvMsg(m)) }
