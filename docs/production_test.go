// Copyright 2026 The authsec Authors
// SPDX-License-Identifier: Apache-2.0

package docs_test

import (
	"context"
	"encoding/json"
	"errors"
	"expvar"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/authsec-go/authsec"
	"github.com/authsec-go/authsec/authsectest"
	"github.com/authsec-go/authsec/verify"
	"github.com/hashicorp/go-retryablehttp"
)

// newProductionClient is the page's client.
func newProductionClient(tenantID string) (*authsec.Source, *http.Client, error) {
	cfg, err := authsec.ConfigFromEnv()
	if err != nil {
		return nil, nil, err
	}
	cfg.Logger = slog.New(slog.NewJSONHandler(os.Stderr, nil)).With("component", "authsec")
	cfg.Audience = "billing-api"
	cfg.RenewBefore = 15 * time.Minute
	if cfg.Keyfunc, err = verify.Keyfunc(cfg, tenantID); err != nil {
		return nil, nil, err
	}
	transport, err := authsec.NewTransport(cfg)
	if err != nil {
		return nil, nil, err
	}
	client := &http.Client{Timeout: time.Minute, Transport: transport}
	return transport.Source.(*authsec.Source), client, nil
}

// ready is the page's readiness probe.
func ready(src *authsec.Source) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		ctx, cancel := context.WithTimeout(r.Context(), 3*time.Second)
		defer cancel()
		if _, err := src.TokenContext(ctx); err != nil {
			http.Error(w, "no token", http.StatusServiceUnavailable)
		}
	}
}

// metrics are the page's, for expvar.Publish.
func metrics(src *authsec.Source) expvar.Func {
	return func() any {
		s := src.Stats()
		return map[string]any{
			"expiry": s.Expiry, "fetches": s.Fetches, "failures": s.Failures,
			"renewals": s.Renewals, "rejections": s.Rejections, "last_success": s.LastSuccess,
			"cache_hits": s.Cache.Hits, "cache_misses": s.Cache.Misses,
			"cache_rejects": s.Cache.Rejects, "cache_failures": s.Cache.Failures,
		}
	}
}

// productionServer has an agent with a delegation for billing-api, an API, and
// the environment of production.md.
func productionServer(t *testing.T) (srv *authsectest.Server, api *httptest.Server) {
	t.Helper()
	srv = authsectest.NewServer()
	t.Cleanup(srv.Close)
	srv.Delegate(authsectest.ClientID, authsectest.Delegation{Audience: []string{"billing-api"}})
	api = httptest.NewServer(srv.API(nil))
	t.Cleanup(api.Close)
	file := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(file, []byte("credential\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	srv.RequireCredential("credential")
	t.Setenv("AUTHSEC_BASE_URL", srv.URL)
	t.Setenv("AUTHSEC_AGENT_CLIENT_ID", authsectest.ClientID)
	t.Setenv("AUTHSEC_HOSTS", "")
	t.Setenv("DOWNSTREAM_URL", api.URL)
	t.Setenv("AUTHSEC_API_TOKEN", "")
	t.Setenv("AUTHSEC_API_TOKEN_FILE", file)
	return srv, api
}

func TestProductionClient(t *testing.T) {
	srv, api := productionServer(t)
	src, client, err := newProductionClient(authsectest.TenantID)
	if err != nil {
		t.Fatal(err)
	}
	probe := func() int {
		w := httptest.NewRecorder()
		ready(src)(w, httptest.NewRequest("GET", "/readyz", nil))
		return w.Code
	}
	if got := probe(); got != http.StatusOK {
		t.Errorf("readiness: got %d, want 200", got)
	}
	resp, err := client.Get(api.URL)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		t.Errorf("got %s, want 200", resp.Status)
	}
	if left := time.Until(src.Stats().NextFetch); left < 44*time.Minute || left > 53*time.Minute {
		t.Errorf("the next fetch is in %v, want 45 to 52.5 minutes: RenewBefore is 15", left)
	}

	var shown struct {
		Expiry  time.Time
		Fetches int
	}
	if err := json.Unmarshal([]byte(metrics(src).String()), &shown); err != nil {
		t.Fatal(err)
	}
	if shown.Fetches != 1 || time.Until(shown.Expiry) < 50*time.Minute {
		t.Errorf("metrics: got %+v, want 1 fetch and an expiry in an hour", shown)
	}

	srv.Revoke(authsectest.ClientID)
	if resp, err = client.Get(api.URL); err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if resp.StatusCode != http.StatusUnauthorized {
		t.Errorf("revoked: got %s, want 401", resp.Status)
	}
	if got := probe(); got != http.StatusServiceUnavailable {
		t.Errorf("readiness of a revoked agent: got %d, want 503", got)
	}
	if _, err = client.Get(api.URL); !errors.Is(err, authsec.ErrNotDelegated) {
		t.Errorf("revoked: got error %v, want ErrNotDelegated", err)
	}
}

// The client's Timeout covers the wait for a token, too.
func TestProductionTimeout(t *testing.T) {
	srv, api := productionServer(t)
	late := make(chan struct{})
	defer close(late)
	srv.Fail(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { <-late }))
	_, client, err := newProductionClient(authsectest.TenantID)
	if err != nil {
		t.Fatal(err)
	}
	client.Timeout = 50 * time.Millisecond
	_, err = client.Get(api.URL)
	if e := (*url.Error)(nil); !errors.As(err, &e) || !e.Timeout() || !strings.Contains(err.Error(), "waiting for a token") {
		t.Errorf("got error %v, want a time-out while it waits for a token", err)
	}
}

// A rejected token is replaced at once, a second one within a second is not.
func TestProductionSecondRevocation(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		srv := authsectest.NewInMemoryServer()
		srv.Delegate(authsectest.ClientID, authsectest.Delegation{})
		src, err := authsec.NewSource(srv.Config(authsectest.ClientID))
		if err != nil {
			t.Fatal(err)
		}
		client := &http.Client{Transport: &authsec.Transport{
			Source: src,
			Base:   authsectest.RoundTripper(srv.API(nil)),
			Hosts:  []string{"billing.example.com"},
		}}
		again := func() {
			srv.Revoke(authsectest.ClientID)
			srv.Delegate(authsectest.ClientID, authsectest.Delegation{})
		}
		check := func(when string, want int) {
			t.Helper()
			resp, err := client.Get("https://billing.example.com/")
			if err != nil {
				t.Fatalf("%s: %v", when, err)
			}
			resp.Body.Close()
			if resp.StatusCode != want {
				t.Errorf("%s: got %d, want %d", when, resp.StatusCode, want)
			}
		}
		check("at first", http.StatusOK)
		again()
		check("after a revocation", http.StatusOK)
		again()
		time.Sleep(time.Second - 1)
		check("after a second within a second", http.StatusUnauthorized)
		time.Sleep(time.Nanosecond)
		check("a second after the first", http.StatusOK)
	})
}

// A client that retries, over a Transport that does: the attempts multiply.
func TestProductionRetriesMultiply(t *testing.T) {
	productionServer(t)
	var sent atomic.Int32
	api := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		sent.Add(1)
		w.WriteHeader(http.StatusServiceUnavailable)
	}))
	defer api.Close()
	cfg, err := authsec.ConfigFromEnv()
	if err != nil {
		t.Fatal(err)
	}
	src, err := authsec.NewSource(cfg)
	if err != nil {
		t.Fatal(err)
	}

	for _, c := range []struct {
		transport *authsec.Transport
		want      int32
	}{
		{&authsec.Transport{Source: src, Hosts: []string{"*"}, Retry: authsec.RetryPolicy{MinBackoff: 1, MaxBackoff: 1}}, 16},
		{onlyOnce(src, []string{"*"}), 4},
	} {
		sent.Store(0)
		client := retryablehttp.NewClient()
		client.HTTPClient = &http.Client{Transport: c.transport}
		client.Logger, client.RetryMax = nil, 3
		client.RetryWaitMin, client.RetryWaitMax = time.Millisecond, time.Millisecond
		if resp, err := client.Get(api.URL); err == nil {
			io.Copy(io.Discard, resp.Body)
			resp.Body.Close()
		}
		if got := sent.Load(); got != c.want {
			t.Errorf("a GET was sent %d times, want %d", got, c.want)
		}
	}
}

// onlyOnce is the page's Transport below a client that retries.
func onlyOnce(src *authsec.Source, hosts []string) *authsec.Transport {
	return &authsec.Transport{
		Source: src,
		Hosts:  hosts,
		Retry:  authsec.RetryPolicy{MaxAttempts: 1},
	}
}
