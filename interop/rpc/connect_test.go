// Copyright 2026 The authsec Authors
// SPDX-License-Identifier: Apache-2.0

package rpc

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"

	"connectrpc.com/connect"
	"github.com/authsec-go/authsec"
	"github.com/authsec-go/authsec/interop/internal/itest"
	"google.golang.org/protobuf/types/known/wrapperspb"
)

// The procedures of a service that sends its messages back.
const (
	echoOnce  = "/echo.v1.Echo/Once"  // unary
	echoTwice = "/echo.v1.Echo/Twice" // a stream from the server
	echoAll   = "/echo.v1.Echo/All"   // streams both ways
)

type (
	text       = wrapperspb.StringValue
	echoClient = connect.Client[text, text]
)

// connectClient returns a client for one procedure, as generated code does.
func connectClient(cfg authsec.Config, url string, options ...connect.ClientOption) (*echoClient, *authsec.Source, error) {
	// docs: begin connect
	client, err := authsec.NewClient(cfg)
	if err != nil {
		return nil, nil, err
	}
	echo := connect.NewClient[text, text](client, url, options...) // or NewEchoServiceClient(client, url)
	// docs: end connect
	return echo, itest.SourceOf(client), nil
}

func echo() http.Handler {
	mux := http.NewServeMux()
	mux.Handle(echoOnce, connect.NewUnaryHandler(echoOnce, func(_ context.Context, req *connect.Request[text]) (*connect.Response[text], error) {
		return connect.NewResponse(req.Msg), nil
	}))
	mux.Handle(echoTwice, connect.NewServerStreamHandler(echoTwice, func(_ context.Context, req *connect.Request[text], stream *connect.ServerStream[text]) error {
		return errors.Join(stream.Send(req.Msg), stream.Send(req.Msg))
	}))
	mux.Handle(echoAll, connect.NewBidiStreamHandler(echoAll, func(_ context.Context, stream *connect.BidiStream[text, text]) error {
		for {
			msg, err := stream.Receive()
			if errors.Is(err, io.EOF) {
				return nil
			}
			if err := errors.Join(err, stream.Send(msg)); err != nil {
				return err
			}
		}
	}))
	return mux
}

func once(t *testing.T, client *echoClient, msg string) error {
	t.Helper()
	resp, err := client.CallUnary(t.Context(), connect.NewRequest(wrapperspb.String(msg)))
	if err == nil && resp.Msg.Value != msg {
		t.Errorf("echo of %d bytes has %d", len(msg), len(resp.Msg.Value))
	}
	return err
}

func twice(t *testing.T, client *echoClient, msg string) error {
	t.Helper()
	stream, err := client.CallServerStream(t.Context(), connect.NewRequest(wrapperspb.String(msg)))
	if err != nil {
		return err
	}
	defer stream.Close()
	n := 0
	for stream.Receive() {
		if n++; stream.Msg().Value != msg {
			t.Errorf("echo of %d bytes has %d", len(msg), len(stream.Msg().Value))
		}
	}
	if stream.Err() == nil && n != 2 {
		t.Errorf("%d messages, want 2", n)
	}
	return stream.Err()
}

func all(t *testing.T, client *echoClient, msg string) error {
	t.Helper()
	stream := client.CallBidiStream(t.Context())
	defer stream.CloseResponse()
	for range 2 {
		if err := stream.Send(wrapperspb.String(msg)); err != nil && !errors.Is(err, io.EOF) {
			return err
		}
		got, err := stream.Receive()
		if err != nil {
			return err
		}
		if got.Value != msg {
			t.Errorf("echo of %d bytes has %d", len(msg), len(got.Value))
		}
	}
	return stream.CloseRequest()
}

var protocols = map[string][]connect.ClientOption{
	"Connect": nil,
	"gRPC":    {connect.WithGRPC()},
	"gRPCWeb": {connect.WithGRPCWeb()},
}

var calls = []struct {
	name, procedure string
	call            func(*testing.T, *echoClient, string) error
	replayed        bool // after a 401
}{
	{"unary", echoOnce, once, true},
	{"server stream", echoTwice, twice, true},
	{"both ways", echoAll, all, false},
}

func TestConnect(t *testing.T) {
	for protocol, options := range protocols {
		for _, tc := range calls {
			t.Run(protocol+"/"+tc.name, func(t *testing.T) {
				stack := itest.New(t)
				api := stack.API(t, echo(), itest.Permissions...)
				client, src, err := connectClient(stack.Config(api.URL), api.URL+tc.procedure, options...)
				if err != nil {
					t.Fatal(err)
				}
				call := func() error { return tc.call(t, client, "hello") }
				rejected, without := stack.Live(t, src, call)
				if connect.CodeOf(rejected) != connect.CodeUnauthenticated {
					t.Errorf("after the revocation: code %v, want unauthenticated", connect.CodeOf(rejected))
				}
				stack.CheckNotDelegated(t, without)
				if connect.CodeOf(without) != connect.CodeUnavailable {
					t.Errorf("without a delegation: code %v, want unavailable", connect.CodeOf(without))
				}
			})
		}
	}
}

// bases are the transports below the Transport: one with HTTP/2, and one with HTTP/1.1.
func bases(t *testing.T) map[string]http.RoundTripper {
	// With a TLSClientConfig, an http.Transport does not use HTTP/2 by default.
	http1 := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: http.DefaultTransport.(*http.Transport).TLSClientConfig.RootCAs}}
	t.Cleanup(http1.CloseIdleConnections)
	return map[string]http.RoundTripper{"HTTP1": http1, "HTTP2": nil}
}

// Connect's GetBody rewinds one body that all attempts share. So it may be called only
// after the previous attempt has closed the body. Each attempt must send all of it.
func TestConnectReplacesARejectedToken(t *testing.T) {
	for version, base := range bases(t) {
		for protocol, options := range protocols {
			for _, tc := range calls {
				if version == "HTTP1" && (tc.procedure == echoAll || protocol == "gRPC") {
					continue // needs HTTP/2
				}
				t.Run(version+"/"+protocol+"/"+tc.name, func(t *testing.T) {
					stack := itest.New(t)
					api := stack.API(t, echo(), itest.Permissions...)
					rounds := 50
					if !tc.replayed {
						rounds = 2
					}
					for round := range rounds {
						// A new Source each time: rejections make one ask less and less often.
						client, err := authsec.NewClient(stack.Config(api.URL))
						if err != nil {
							t.Fatal(err)
						}
						client.Transport.(*authsec.Transport).Base = base
						echo := connect.NewClient[text, text](client, api.URL+tc.procedure, options...)
						msg := strings.Repeat("hello ", 1+round%2*10_000) // in one frame, or in several
						if err := tc.call(t, echo, msg); err != nil {
							t.Fatalf("round %d: %v", round, err)
						}
						stack.CheckSeen(t)
						stack.Revoke()
						stack.Delegate()
						err = tc.call(t, echo, msg)
						if !tc.replayed {
							// It streams its messages, which can't be sent again. The next call has the other token.
							if connect.CodeOf(err) != connect.CodeUnauthenticated {
								t.Fatalf("round %d: %v, want the 401", round, err)
							}
							err = tc.call(t, echo, msg)
						}
						if err != nil {
							t.Fatalf("round %d, with another token: %v", round, err)
						}
						stack.CheckSeen(t)
					}
				})
			}
		}
	}
}

func TestConnectDoesNotLeak(t *testing.T) {
	itest.New(t).CheckStays(t, func(cfg authsec.Config, url string) {
		client, _, err := connectClient(cfg, url+echoOnce)
		if err != nil {
			t.Fatal(err)
		}
		client.CallUnary(t.Context(), connect.NewRequest(wrapperspb.String("hello")))
	})
}
