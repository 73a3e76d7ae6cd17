// Copyright 2026 The authsec Authors
// SPDX-License-Identifier: Apache-2.0

package authsectest_test

import (
	"context"
	"errors"
	"io"
	"net/http"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"

	"github.com/authsec-go/authsec/authsectest"
)

// body is a request's body, which a RoundTripper must close.
type body struct {
	io.Reader
	closed bool
}

func (b *body) Close() error { b.closed = true; return nil }

// net/http's Transport sends nothing for a request whose context has ended.
func TestCancelledRequestsAreNotServed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		served := 0
		transport := authsectest.RoundTripper(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { served++ }))
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		b := &body{Reader: strings.NewReader("x")}
		req, err := http.NewRequestWithContext(ctx, "POST", "https://api.test/", b)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := transport.RoundTrip(req); !errors.Is(err, context.Canceled) || !b.closed {
			t.Errorf("error = %v and body closed %t, want context.Canceled and true", err, b.closed)
		}
		synctest.Wait()
		if served != 0 {
			t.Error("the request was served")
		}
	})
}

func TestAClosedServerRefusesConnections(t *testing.T) {
	for name, srv := range map[string]*authsectest.Server{"loopback": authsectest.NewServer(), "TLS": authsectest.NewTLSServer(), "in memory": authsectest.NewInMemoryServer()} {
		ask(t, srv).check(t, 404, "Client not found")
		srv.Close()
		srv.Close() // does no harm
		b := &body{Reader: strings.NewReader("x")}
		req, err := http.NewRequestWithContext(t.Context(), "POST", srv.URL+renewPath, b)
		if err != nil {
			t.Fatal(err)
		}
		resp, err := srv.Client().Do(req)
		if err == nil {
			resp.Body.Close()
		}
		if err == nil || name == "in memory" && !errors.Is(err, syscall.ECONNREFUSED) || !b.closed {
			t.Errorf("%s: error = %v and body closed %t, want a refused connection and true", name, err, b.closed)
		}
		if got := srv.Fetches(); got != 1 {
			t.Errorf("%s: Fetches = %d, want 1", name, got)
		}
	}
}
