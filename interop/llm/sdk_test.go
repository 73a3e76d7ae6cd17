// Copyright 2026 The authsec Authors
// SPDX-License-Identifier: Apache-2.0

package llm_test

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/authsec-go/authsec"
	"github.com/authsec-go/authsec/interop/internal/itest"
)

// sdk is one of the SDKs.
type sdk struct {
	gateway gateway
	key     string                          // the environment variable with a key
	reject  func(http.Handler) http.Handler // gives 401s the vendor's form; nil: any form works

	// connect makes a client in which Transport and SDK retry. once makes one in which
	// only the SDK retries.
	connect func(cfg authsec.Config, url string) (*authsec.Source, client, error)
	once    func(cfg authsec.Config, url string) (client, error)

	// rejection returns what the SDK's own error for a 401 shows of request and
	// answer. ok is false if err is no such error.
	rejection func(err error) (shown []byte, ok bool)
}

// client is a client of an SDK.
type client struct {
	ask    func(context.Context) error                                      // a POST
	model  func(context.Context) error                                      // a GET
	stream func(ctx context.Context, first func()) (text string, err error) // calls first when the first text has come
}

var sdks = map[string]sdk{"openai": openAI, "anthropic": anthropicSDK}

// each runs a test with each SDK.
func each(t *testing.T, test func(t *testing.T, ctx context.Context, s *itest.Stack, sdk sdk)) {
	for name, sdk := range sdks {
		t.Run(name, func(t *testing.T) { test(t, itest.Timely(t), itest.New(t), sdk) })
	}
}

// to makes a client for h.
func (k sdk) to(t *testing.T, s *itest.Stack, h http.Handler) (*authsec.Source, client) {
	t.Helper()
	api := s.Serve(t, h)
	src, c, err := k.connect(s.Config(api.URL), api.URL)
	if err != nil {
		t.Fatal(err)
	}
	return src, c
}

func TestLifeOfADelegation(t *testing.T) {
	each(t, func(t *testing.T, ctx context.Context, s *itest.Stack, sdk sdk) {
		api := s.Server.API(sdk.gateway, "billing:read")
		if sdk.reject != nil {
			api = sdk.reject(api)
		}
		src, c := sdk.to(t, s, api)
		rejected, without := s.Live(t, src, func() error { return c.ask(ctx) })
		shown, ok := sdk.rejection(rejected)
		if !ok {
			t.Errorf("after the revocation: %v, want the SDK's error with the status 401", rejected)
		}
		s.CheckNoToken(t, string(shown))
		s.CheckNotDelegated(t, without)
	})
}

func TestReplacesToken(t *testing.T) {
	each(t, func(t *testing.T, ctx context.Context, s *itest.Stack, sdk sdk) {
		_, c := sdk.to(t, s, s.Server.API(sdk.gateway, "billing:read"))
		s.Replace(t, func() error { return c.ask(ctx) })
	})
}

// A real key in the environment is not sent.
func TestIgnoresKey(t *testing.T) {
	each(t, func(t *testing.T, ctx context.Context, s *itest.Stack, sdk sdk) {
		t.Setenv(sdk.key, "real-key")
		_, c := sdk.to(t, s, s.Server.API(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if strings.Contains(fmt.Sprint(r.Header), "real-key") {
				t.Error("the key from the environment was sent")
			}
			sdk.gateway.ServeHTTP(w, r)
		})))
		if err := c.ask(ctx); err != nil {
			t.Fatal(err)
		}
		s.CheckSeen(t)
	})
}

// Deltas arrive while the gateway is still sending. A revocation does not end the stream.
func TestStream(t *testing.T) {
	each(t, func(t *testing.T, ctx context.Context, s *itest.Stack, sdk sdk) {
		g := sdk.gateway
		g.next = make(chan struct{})
		_, c := sdk.to(t, s, s.Server.API(g, "billing:read"))
		text, err := c.stream(ctx, func() {
			s.Revoke()
			close(g.next) // the gateway may go on
		})
		if err != nil || text != "hello" {
			t.Errorf("text %q, error %v", text, err)
		}
	})
}

// How many requests are sent to a gateway that always answers 503.
func TestAttempts(t *testing.T) {
	each(t, func(t *testing.T, ctx context.Context, s *itest.Stack, sdk sdk) {
		api := s.API(t, overloaded)
		_, both, err := sdk.connect(s.Config(api.URL), api.URL)
		if err != nil {
			t.Fatal(err)
		}
		once, err := sdk.once(s.Config(api.URL), api.URL)
		if err != nil {
			t.Fatal(err)
		}
		for _, c := range []struct {
			name string
			call func(context.Context) error
			want int
		}{
			{"GET, both retry", both.model, 12},
			{"POST, both retry", both.ask, 3},
			{"GET, the SDK retries", once.model, 3},
			{"POST, the SDK retries", once.ask, 3},
		} {
			before := s.Requests()
			if err := c.call(ctx); err == nil {
				t.Errorf("%s: no error, though the gateway always answers 503", c.name)
			}
			if got := s.Requests() - before; got != c.want {
				t.Errorf("%s: %d attempts, want %d", c.name, got, c.want)
			}
		}
	})
}

func TestDoesNotLeak(t *testing.T) {
	each(t, func(t *testing.T, ctx context.Context, s *itest.Stack, sdk sdk) {
		requests, tokens := s.Stray(t, func(cfg authsec.Config, url string) {
			_, c, err := sdk.connect(cfg, url)
			if err != nil {
				t.Fatal(err)
			}
			c.model(ctx)
		})
		if requests < 2 || tokens != 0 { // OpenAI's follows no redirect to another host
			t.Errorf("%d requests went to other hosts, %d of them with a token; want at least 2, and none with a token", requests, tokens)
		}
	})
}
