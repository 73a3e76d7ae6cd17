// Copyright 2026 The authsec Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/authsec-go/authsec"
	"github.com/authsec-go/authsec/authsectest"
)

// testSidecar is a proxy that does not listen.
func testSidecar(t *testing.T, src *authsec.Source) *sidecar {
	t.Helper()
	u, err := url.Parse("https://api.example.com")
	if err != nil {
		t.Fatal(err)
	}
	return newSidecar(src, u, &proxyFlags{attempts: 1, maxConns: 9}, slog.New(slog.DiscardHandler))
}

// silentSidecar is one whose AuthSec server takes an hour to answer, in a bubble.
func silentSidecar(t *testing.T) *sidecar {
	t.Helper()
	srv := authsectest.NewInMemoryServer()
	srv.Delegate(authsectest.ClientID, authsectest.Delegation{TTL: 24 * time.Hour})
	srv.SetLatency(time.Hour)
	src, err := authsec.NewSource(srv.Config(authsectest.ClientID))
	if err != nil {
		t.Fatal(err)
	}
	return testSidecar(t, src)
}

func TestReadyzGetsATokenAndHealthzNeedsNone(t *testing.T) {
	srv, _ := agent(t)
	api := startAPI(t, srv, nil, nil)
	srv.Revoke(authsectest.ClientID)
	p := startProxy(t, api.URL)
	if status, _, _ := get(t, "http://"+p.health+"/healthz"); status != 200 || srv.Fetches() != 0 {
		t.Errorf("healthz %d with %d fetches, want 200 and none", status, srv.Fetches())
	}
	if status, _, body := get(t, "http://"+p.health+"/readyz"); status != 503 || !strings.Contains(body, "not_delegated") {
		t.Errorf("with no delegation: readyz %d, %q, want 503 and why", status, body)
	}
	if status, _, _ := get(t, "http://"+p.health+"/healthz"); status != 200 {
		t.Errorf("with no delegation: healthz %d, want 200", status)
	}
	p.stop()
	token := srv.Delegate(authsectest.ClientID, authsectest.Delegation{})
	p = startProxy(t, api.URL)
	before := srv.Fetches()
	for range 3 {
		status, _, body := get(t, "http://"+p.health+"/readyz")
		if status != 200 {
			t.Errorf("readyz %d, want 200", status)
		}
		noSecrets(t, "readyz", body, token)
	}
	if got := srv.Fetches() - before; got != 1 {
		t.Errorf("%d fetches for three readyz, want 1", got)
	}
}

func TestReadyzIsBoundedInTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, w, began := silentSidecar(t), httptest.NewRecorder(), time.Now()
		s.healthHandler().ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/readyz", nil))
		if took := time.Since(began); w.Code != 503 || took != readyTimeout {
			t.Errorf("readyz %d after %v, want 503 after %v", w.Code, took, readyTimeout)
		}
		time.Sleep(time.Minute) // the fetch ends
		synctest.Wait()
	})
}

func TestHealthListenerGivesNoAccessToTheUpstream(t *testing.T) {
	srv, _ := agent(t)
	calls := 0
	api := startAPI(t, srv, nil, func(http.ResponseWriter, *http.Request) { calls++ })
	p := startProxy(t, api.URL)
	for _, path := range []string{"/", "/x", "/healthz/x", "/metrics/../x"} {
		if status, _, _ := get(t, "http://"+p.health+path); status != 404 && status != 307 {
			t.Errorf("%s: %d, want 404", path, status)
		}
	}
	resp, err := client.Post("http://"+p.health+"/readyz", "text/plain", nil)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if resp.StatusCode != 405 || calls != 0 {
		t.Errorf("POST: %d with %d calls of the upstream, want 405 and none", resp.StatusCode, calls)
	}
}

// metricsOf reads the whole page, and returns the values of authsec_….
func metricsOf(t *testing.T, p *running) map[string]float64 {
	t.Helper()
	status, header, body := get(t, "http://"+p.health+"/metrics")
	if status != 200 || !strings.HasPrefix(header.Get("Content-Type"), "text/plain; version=0.0.4") {
		t.Fatalf("metrics: %d, %q, want 200 and Prometheus' content type", status, header.Get("Content-Type"))
	}
	values := map[string]float64{}
	for line := range strings.Lines(body) {
		if i := strings.LastIndex(line, " "); strings.HasPrefix(line, "authsec_") {
			v, err := strconv.ParseFloat(strings.TrimSpace(line[i:]), 64)
			if err != nil {
				t.Fatalf("malformed line %q", line)
			}
			values[line[:i]] = v
		}
	}
	return values
}

func TestMetricsCountWhatHappened(t *testing.T) {
	srv, _ := agent(t)
	leave, entered := make(chan bool), make(chan bool, 1)
	revoke := false
	api := startAPI(t, srv, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/hold" {
			entered <- true
			hold(r, leave)
			return
		}
		status := 200
		fmt.Sscanf(r.URL.Path, "/%d", &status)
		w.WriteHeader(status)
	}, func(http.ResponseWriter, *http.Request) {
		if revoke {
			revoke = false
			srv.Revoke(authsectest.ClientID)
			srv.Delegate(authsectest.ClientID, authsectest.Delegation{})
		}
	})
	p := startProxy(t, api.URL)
	if got := metricsOf(t, p)["authsec_token_expiry_timestamp_seconds"]; got != 0 {
		t.Errorf("expiry %v with no token, want 0", got)
	}
	for _, path := range []string{"/200", "/302", "/404", "/404", "/501"} {
		get(t, p.url+path)
	}
	revoke = true
	get(t, p.url+"/200")
	done := make(chan bool)
	go func() {
		defer close(done)
		if resp, err := client.Get(p.url + "/hold"); err == nil {
			resp.Body.Close()
		}
	}()
	arrives(t, entered)
	got := metricsOf(t, p)
	for name, want := range map[string]float64{
		`authsec_proxy_requests_total{code="200",error=""}`:         2,
		`authsec_proxy_requests_total{code="302",error=""}`:         1,
		`authsec_proxy_requests_total{code="404",error=""}`:         2,
		`authsec_proxy_requests_total{code="501",error=""}`:         1,
		`authsec_proxy_token_rejected`:                              0,
		`authsec_proxy_requests_in_flight`:                          1,
		`authsec_proxy_upstream_duration_seconds_count`:             7,
		`authsec_proxy_upstream_duration_seconds_bucket{le="+Inf"}`: 7,
		`authsec_token_fetches_total`:                               2,
		`authsec_token_fetch_failures_total`:                        0,
		`authsec_token_renewals_total`:                              1,
		`authsec_token_rejections_total`:                            1,
	} {
		if v, ok := got[name]; !ok || v != want {
			t.Errorf("%s = %v, there %v, want %v", name, v, ok, want)
		}
	}
	if sum := got["authsec_proxy_upstream_duration_seconds_sum"]; sum <= 0 || sum > patience.Seconds() {
		t.Errorf("sum of durations %v s, want some", sum)
	}
	if left := got["authsec_token_expiry_timestamp_seconds"] - float64(time.Now().Unix()); left < 3000 || left > 3700 {
		t.Errorf("the token expires in %v s, want about 3600", left)
	}
	close(leave)
	<-done
}
