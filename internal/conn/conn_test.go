// Copyright 2026 The authsec Authors
// SPDX-License-Identifier: Apache-2.0

package conn

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

func TestNewPingsAndLeavesTheDefaultAlone(t *testing.T) {
	got := New()
	if h := got.HTTP2; h == nil || h.SendPingTimeout+h.PingTimeout > 20*time.Second || h.SendPingTimeout <= 0 || h.PingTimeout <= 0 {
		t.Errorf("HTTP2: got %+v, want a dead connection closed within 20s", h)
	}
	original := http.DefaultTransport.(*http.Transport)
	if original.HTTP2 != nil && original.HTTP2.SendPingTimeout != 0 || got == original || got.Proxy == nil {
		t.Error("got http.DefaultTransport, or one with other settings, want a copy")
	}
	if Shared() != Shared() {
		t.Error("Shared: got two transports, want one")
	}
	defer func() { http.DefaultTransport = original }()
	http.DefaultTransport = other{}
	if got := New(); got.HTTP2 == nil || got.Proxy == nil || !got.ForceAttemptHTTP2 {
		t.Error("with another http.DefaultTransport: got no usable transport")
	}
	if Shared() != (other{}) {
		t.Error("Shared: got another transport than the caller's http.DefaultTransport")
	}
}

// A server whose certificate no root has signed gets no request.
func TestCertificatesAreVerified(t *testing.T) {
	requests := 0
	srv := httptest.NewUnstartedServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { requests++ }))
	srv.Config.ErrorLog = log.New(io.Discard, "", 0)
	srv.StartTLS()
	defer srv.Close()
	for name, base := range map[string]http.RoundTripper{"New": New(), "Shared": Shared()} {
		_, err := (&http.Client{Transport: base}).Get(srv.URL)
		if _, ok := errors.AsType[*tls.CertificateVerificationError](err); !ok || requests != 0 {
			t.Errorf("%s: got %v and %d requests, want a certificate that does not verify, and none", name, err, requests)
		}
	}
}

type other struct{ http.RoundTripper }

// relay passes connections on, until a flow is swallowed: then what it carries is
// lost without a word, as after a NAT has forgotten it. New ones work.
type relay struct {
	net.Listener
	to       string
	accepted atomic.Int32

	mu    sync.Mutex
	flows []*atomic.Bool // swallowed
}

func newRelay(t *testing.T, to string) *relay {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	r := &relay{Listener: l, to: to}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			in, err := l.Accept()
			if err != nil {
				return
			}
			out, err := net.Dial("tcp", to)
			if err != nil {
				in.Close()
				continue
			}
			t.Cleanup(func() { in.Close(); out.Close() })
			r.accepted.Add(1)
			swallowed := new(atomic.Bool)
			r.mu.Lock()
			r.flows = append(r.flows, swallowed)
			r.mu.Unlock()
			go pass(out, in, swallowed)
			go pass(in, out, swallowed)
		}
	}()
	return r
}

func pass(to io.Writer, from io.Reader, swallowed *atomic.Bool) {
	for p := make([]byte, 32<<10); ; {
		n, err := from.Read(p)
		if err != nil {
			return
		}
		if !swallowed.Load() {
			to.Write(p[:n])
		}
	}
}

func (r *relay) swallow() {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, f := range r.flows {
		f.Store(true)
	}
}

// One request at most is lost on a connection that dies without a word. The test
// has shorter times.
func TestDeadConnectionIsReplaced(t *testing.T) {
	srv := httptest.NewUnstartedServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	srv.EnableHTTP2 = true
	srv.StartTLS()
	defer srv.Close()
	r := newRelay(t, srv.Listener.Addr().String())
	for _, pings := range []bool{true, false} {
		base := New()
		base.TLSClientConfig = srv.Client().Transport.(*http.Transport).TLSClientConfig.Clone()
		base.HTTP2.SendPingTimeout, base.HTTP2.PingTimeout = 200*time.Millisecond, 100*time.Millisecond
		if !pings {
			base.HTTP2 = nil
		}
		send := func(patience time.Duration) error {
			ctx, cancel := context.WithTimeout(t.Context(), patience)
			defer cancel()
			req, err := http.NewRequestWithContext(ctx, "GET", "https://"+r.Addr().String()+"/", nil)
			if err != nil {
				return err
			}
			req.Host = "example.com"
			resp, err := (&http.Client{Transport: base}).Do(req)
			if err == nil {
				resp.Body.Close()
			}
			return err
		}
		if err := send(10 * time.Second); err != nil {
			t.Fatal(err)
		}
		r.swallow()
		lost := 0
		for began := time.Now(); time.Since(began) < 3*time.Second; lost++ {
			if send(time.Second) == nil {
				break
			}
		}
		if pings && lost > 1 || !pings && lost < 2 {
			t.Errorf("pings %t: %d requests were lost, want at most 1 with pings", pings, lost)
		}
		base.CloseIdleConnections()
	}
}
