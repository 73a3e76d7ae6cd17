// Copyright 2026 The authsec Authors
// SPDX-License-Identifier: Apache-2.0

package web

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/authsec-go/authsec"
	"github.com/authsec-go/authsec/authsectest"
	"github.com/authsec-go/authsec/interop/internal/itest"
	"go.opentelemetry.io/contrib/instrumentation/net/http/otelhttp"
	"go.opentelemetry.io/otel/codes"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
)

// traceAttempts returns a client with a span for each attempt of a request.
func traceAttempts(cfg authsec.Config, options ...otelhttp.Option) (*http.Client, *authsec.Source, error) {
	// docs: begin otelhttp-attempts
	transport, err := authsec.NewTransport(cfg)
	if err != nil {
		return nil, nil, err
	}
	transport.Base = otelhttp.NewTransport(transport.Base, options...)
	client := &http.Client{Transport: transport}
	// docs: end otelhttp-attempts
	return client, itest.SourceOf(client), nil
}

// traceRequests returns a client with a span for each request.
func traceRequests(cfg authsec.Config, options ...otelhttp.Option) (*http.Client, *authsec.Source, error) {
	// docs: begin otelhttp-requests
	transport, err := authsec.NewTransport(cfg)
	if err != nil {
		return nil, nil, err
	}
	client := &http.Client{Transport: otelhttp.NewTransport(transport, options...)}
	// docs: end otelhttp-requests
	return client, transport.Source.(*authsec.Source), nil
}

// statuses returns the response statuses in the spans. 0: the span has none.
func statuses(spans []sdktrace.ReadOnlySpan) (list []int) {
	for _, span := range spans {
		status := 0
		for _, a := range span.Attributes() {
			if a.Key == "http.response.status_code" {
				status = int(a.Value.AsInt64())
			}
		}
		list = append(list, status)
	}
	return list
}

func TestOtelhttp(t *testing.T) {
	for _, tc := range []struct {
		name      string
		newClient func(authsec.Config, ...otelhttp.Option) (*http.Client, *authsec.Source, error)
		// The statuses of a call's spans if the token is
		good, replaced, rejected, none []int
	}{
		{"attempts", traceAttempts, []int{200}, []int{401, 200}, []int{401}, nil},
		{"requests", traceRequests, []int{200}, []int{200}, []int{401}, []int{0}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			stack := itest.New(t)
			api := stack.API(t, http.HandlerFunc(repeat), itest.Permissions...)
			recorder := tracetest.NewSpanRecorder()
			provider := sdktrace.NewTracerProvider(sdktrace.WithSpanProcessor(recorder))
			defer provider.Shutdown(t.Context())
			client, _, err := tc.newClient(stack.Config(api.URL), otelhttp.WithTracerProvider(provider))
			if err != nil {
				t.Fatal(err)
			}
			call := func(what string, want []int) error {
				t.Helper()
				before := len(recorder.Ended())
				err := post(t, client, api.URL)
				if got := statuses(recorder.Ended()[before:]); !slices.Equal(got, want) {
					t.Errorf("%s: spans of %v, want %v", what, got, want)
				}
				return err
			}
			if err := call("a good token", tc.good); err != nil {
				t.Fatal(err)
			}
			stack.CheckSeen(t)
			stack.Revoke()
			stack.Delegate()
			if err := call("a token that is replaced", tc.replaced); err != nil {
				t.Fatal(err)
			}
			stack.CheckSeen(t)

			client, src, err := tc.newClient(stack.Config(api.URL), otelhttp.WithTracerProvider(provider))
			if err != nil {
				t.Fatal(err)
			}
			if err := call("a good token", tc.good); err != nil {
				t.Fatal(err)
			}
			stack.Revoke()
			if err := call("a rejected token", tc.rejected); err != statusError(http.StatusUnauthorized) {
				t.Errorf("after the revocation: %v, want the API's 401", err)
			}
			stack.CheckNotDelegated(t, call("no token", tc.none))
			stack.Redelegate(t, src)
			if err := call("another token", tc.good); err != nil {
				t.Error(err)
			}

			for _, span := range recorder.Ended() {
				text := fmt.Sprintf("%v %v %v %v", span.Name(), span.Attributes(), span.Events(), span.Status())
				stack.CheckNoToken(t, text)
				if wrong := slices.Contains(statuses([]sdktrace.ReadOnlySpan{span}), 200) == (span.Status().Code == codes.Error); wrong {
					t.Errorf("span of status %v: %v", span.Status(), span.Attributes())
				}
			}
		})
	}
}

// A span has the request's URL, and the URL of a token fetch has the client ID, which is
// a secret: do not trace Config.HTTPClient, or hide the query. A nil HTTPClient has no
// tracing.
func TestOtelhttpOfTokenFetchesShowsTheClientID(t *testing.T) {
	stack := itest.New(t)
	recorder := tracetest.NewSpanRecorder()
	provider := sdktrace.NewTracerProvider(sdktrace.WithSpanProcessor(recorder))
	defer provider.Shutdown(t.Context())
	cfg := stack.Config()
	cfg.HTTPClient = &http.Client{Transport: otelhttp.NewTransport(http.DefaultTransport, otelhttp.WithTracerProvider(provider))}
	src, err := authsec.NewSource(cfg)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := src.Token(); err != nil {
		t.Fatal(err)
	}
	spans := recorder.Ended()
	if got := statuses(spans); !slices.Equal(got, []int{200}) {
		t.Fatalf("spans of %v, want one of 200", got)
	}
	text := fmt.Sprint(spans[0].Attributes(), spans[0].Events())
	stack.CheckNoToken(t, text)
	if !strings.Contains(text, authsectest.ClientID) {
		t.Error("the span does not have the client ID: remove the warning from the documentation")
	}
}
