// Copyright 2026 The authsec Authors
// SPDX-License-Identifier: Apache-2.0

package oauth

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"github.com/spiffe/go-spiffe/v2/bundle/jwtbundle"
	workloadpb "github.com/spiffe/go-spiffe/v2/proto/spiffe/workload"
	"github.com/spiffe/go-spiffe/v2/workloadapi"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
)

// agent is the Workload API of a SPIFFE agent. Each SVID is another.
type agent struct {
	workloadpb.UnimplementedSpiffeWorkloadAPIServer
	key *ecdsa.PrivateKey

	mu      sync.Mutex
	fetches int // guarded by mu
}

// startAgent starts a Workload API on loopback. It returns a client of it, and the keys
// of its SVIDs.
func startAgent(t *testing.T) (*agent, *workloadapi.Client, *jwtbundle.Bundle) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	bundle := jwtbundle.New(workload.TrustDomain())
	if err := bundle.AddJWTAuthority("svid", key.Public()); err != nil {
		t.Fatal(err)
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	a, server, done := &agent{key: key}, grpc.NewServer(), make(chan error)
	workloadpb.RegisterSpiffeWorkloadAPIServer(server, a)
	go func() { done <- server.Serve(listener) }()
	t.Cleanup(func() {
		server.Stop()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	// In a program: workloadapi.New(ctx), with SPIFFE_ENDPOINT_SOCKET in the environment.
	client, err := workloadapi.New(t.Context(), workloadapi.WithAddr("tcp://"+listener.Addr().String()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { client.Close() })
	return a, client, bundle
}

func (a *agent) count() int {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.fetches
}

func (a *agent) FetchJWTSVID(ctx context.Context, req *workloadpb.JWTSVIDRequest) (*workloadpb.JWTSVIDResponse, error) {
	if values := metadata.ValueFromIncomingContext(ctx, "workload.spiffe.io"); len(values) != 1 || values[0] != "true" {
		return nil, status.Error(codes.InvalidArgument, "no security header")
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.fetches++
	now := time.Now()
	token := jwt.NewWithClaims(jwt.SigningMethodES256, jwt.MapClaims{
		"sub": workload.String(), "aud": req.Audience, "iat": now.Unix(), "exp": now.Add(5 * time.Minute).Unix(),
	})
	token.Header["kid"] = "svid"
	text, err := token.SignedString(a.key) // ECDSA's signatures have a random part
	if err != nil {
		return nil, status.Error(codes.Internal, err.Error())
	}
	return &workloadpb.JWTSVIDResponse{Svids: []*workloadpb.JWTSVID{{SpiffeId: workload.String(), Svid: text}}}, nil
}
