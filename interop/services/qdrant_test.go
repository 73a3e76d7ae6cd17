// Copyright 2026 The authsec Authors
// SPDX-License-Identifier: Apache-2.0

package services_test

import (
	"context"
	"crypto/tls"
	"errors"
	"net/http"
	"net/url"
	"strconv"
	"sync/atomic"
	"testing"

	"github.com/authsec-go/authsec"
	"github.com/qdrant/go-client/qdrant"
	"golang.org/x/oauth2"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/oauth"
	"google.golang.org/grpc/status"
)

// newQdrant returns a client. config has the server's host, port and TLS.
func newQdrant(config *qdrant.Config, cfg authsec.Config) (*qdrant.Client, *authsec.Transport, error) {
	// docs: begin qdrant
	src, err := authsec.NewSource(cfg)
	if err != nil {
		return nil, nil, err
	}
	config.UseTLS = true
	config.GrpcOptions = []grpc.DialOption{grpc.WithChainUnaryInterceptor(withToken(src))}
	client, err := qdrant.NewClient(config)
	// docs: end qdrant
	return client, &authsec.Transport{Source: src}, err
}

// docs: begin qdrant-interceptor

// withToken makes each call with src's token. If the server rejects it, and src gets
// another, withToken makes the call once more.
func withToken(src *authsec.Source) grpc.UnaryClientInterceptor {
	return func(ctx context.Context, method string, req, reply any, conn *grpc.ClientConn, call grpc.UnaryInvoker, opts ...grpc.CallOption) error {
		callWith := func(token *oauth2.Token) error {
			credentials := oauth.TokenSource{TokenSource: oauth2.StaticTokenSource(token)} // wants TLS
			return call(ctx, method, req, reply, conn, append(opts[:len(opts):len(opts)], grpc.PerRPCCredentials(credentials))...)
		}
		token, err := src.TokenContext(ctx)
		if err != nil {
			return err
		}
		err = callWith(token)
		if status.Code(err) != codes.Unauthenticated {
			return err
		}
		newer, renewErr := src.Renew(ctx, token)
		switch {
		case renewErr != nil:
			return errors.Join(err, renewErr)
		case newer.AccessToken == token.AccessToken:
			return err
		}
		return callWith(newer)
	}
}

// docs: end qdrant-interceptor

var qdrantLibrary = library{
	service: points(),
	connect: func(cfg authsec.Config, to string) (send, *authsec.Transport, error) {
		client, transport, err := newQdrant(qdrantConfig(to), cfg)
		return qdrantSend(client), transport, err
	},
	over: func(transport *authsec.Transport, to string, _ bool) (send, error) { // it has no retries
		config := qdrantConfig(to)
		config.UseTLS = true
		config.GrpcOptions = []grpc.DialOption{grpc.WithChainUnaryInterceptor(withToken(transport.Source.(*authsec.Source)))}
		client, err := qdrant.NewClient(config)
		return qdrantSend(client), err
	},
	is401:              func(err error) bool { return status.Code(errors.Unwrap(err)) == codes.Unauthenticated },
	notDelegatedAtOnce: true,
	replays:            true,
	attempts:           map[string]attempts{"POST": {both: 1, library: 1, transport: 1}},
}

func qdrantConfig(to string) *qdrant.Config {
	u, err := url.Parse(to)
	if err != nil {
		panic(err)
	}
	port, err := strconv.Atoi(u.Port())
	if err != nil {
		panic(err)
	}
	return &qdrant.Config{
		Host: u.Hostname(), Port: port, TLSConfig: &tls.Config{RootCAs: roots()},
		SkipCompatibilityCheck: true, // otherwise NewClient makes a call
	}
}

func qdrantSend(client *qdrant.Client) send {
	return func(ctx context.Context, _, body string) error {
		_, err := client.Upsert(ctx, &qdrant.UpsertPoints{CollectionName: "bills", Points: []*qdrant.PointStruct{{
			Id: qdrant.NewIDNum(1), Vectors: qdrant.NewVectors(1), Payload: qdrant.NewValueMap(map[string]any{"text": body}),
		}}})
		return err
	}
}

// pointsServer is a part of Qdrant.
type pointsServer struct {
	qdrant.UnimplementedPointsServer
}

func (pointsServer) Upsert(context.Context, *qdrant.UpsertPoints) (*qdrant.PointsOperationResponse, error) {
	return &qdrant.PointsOperationResponse{Result: &qdrant.UpdateResult{Status: qdrant.UpdateStatus_Completed}}, nil
}

func points() *grpc.Server {
	server := grpc.NewServer()
	qdrant.RegisterPointsServer(server, pointsServer{})
	return server
}

// WithUnaryInterceptor replaces the library's own interceptor, which adds the
// API key. WithChainUnaryInterceptor does not.
func TestQdrantKeepsItsInterceptor(t *testing.T) {
	for name, tc := range map[string]struct {
		option func(grpc.UnaryClientInterceptor) grpc.DialOption
		want   string
	}{
		"WithChainUnaryInterceptor": {func(i grpc.UnaryClientInterceptor) grpc.DialOption { return grpc.WithChainUnaryInterceptor(i) }, "key"},
		"WithUnaryInterceptor":      {grpc.WithUnaryInterceptor, ""},
	} {
		t.Run(name, func(t *testing.T) {
			ctx, s := timely(t), newStack(t)
			var key atomic.Value
			api := s.serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				key.Store(r.Header.Get("Api-Key"))
				points().ServeHTTP(w, r)
			}))
			src, err := authsec.NewSource(s.config())
			if err != nil {
				t.Fatal(err)
			}
			config := qdrantConfig(api.URL)
			config.UseTLS, config.APIKey, config.GrpcOptions = true, "key", []grpc.DialOption{tc.option(withToken(src))}
			client, err := qdrant.NewClient(config)
			if err != nil {
				t.Fatal(err)
			}
			if err := qdrantSend(client)(ctx, "", short); err != nil {
				t.Fatal(err)
			}
			if got := key.Load(); got != tc.want {
				t.Errorf("API key %q, want %q", got, tc.want)
			}
		})
	}
}
