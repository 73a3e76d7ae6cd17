// Copyright 2026 The authsec Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"net/http"
	"os"
	"regexp"
	"runtime/debug"
	"slices"
	"strings"
	"testing"

	"github.com/authsec-go/authsec/authsectest"
	"github.com/prometheus/client_golang/prometheus/testutil/promlint"
)

var instrument = regexp.MustCompile(`(Gauge|counter)\("(authsec\.[a-z.]+)",\s*(?:metric\.WithUnit\()?"([^"]+)"`)

// TestMetricsAreNamedAsThoseOfOtelmetrics compares with the names that Prometheus
// gives to OpenTelemetry's: dots become underscores, a unit of s is appended, and
// counters end in _total.
func TestMetricsAreNamedAsThoseOfOtelmetrics(t *testing.T) {
	source, err := os.ReadFile("../../otelmetrics/otelmetrics.go")
	if err != nil {
		t.Fatal(err)
	}
	var want []string
	for _, m := range instrument.FindAllStringSubmatch(string(source), -1) {
		name := strings.ReplaceAll(m[2], ".", "_")
		if m[3] == "s" {
			name += "_seconds"
		}
		if m[1] == "counter" {
			name += "_total"
		}
		want = append(want, name)
	}
	if len(want) != 8 {
		t.Fatalf("%d instruments found, want 8: the search is broken: %q", len(want), want)
	}
	srv, _ := agent(t)
	p := startProxy(t, startAPI(t, srv, nil, nil).URL)
	_, _, page := get(t, "http://"+p.health+"/metrics")
	var got []string
	for _, m := range regexp.MustCompile(`(?m)^# TYPE (authsec_(?:token|cache)_\S+) `).FindAllStringSubmatch(page, -1) {
		got = append(got, m[1])
	}
	slices.Sort(got)
	slices.Sort(want)
	if !slices.Equal(got, want) {
		t.Errorf("metrics %q, want those of otelmetrics, %q", got, want)
	}
	for _, attribute := range regexp.MustCompile(`attribute\.String\("([a-z.]+)", "(\w+)"\)`).FindAllStringSubmatch(string(source), -1) {
		if label := fmt.Sprintf("{%s=%q}", strings.ReplaceAll(attribute[1], ".", "_"), attribute[2]); !strings.Contains(page, "authsec_cache_lookups_total"+label) {
			t.Errorf("there is no authsec_cache_lookups_total%s", label)
		}
	}
	for _, name := range []string{
		"authsec_build_info", "authsec_proxy_answers_broken_off_total", "authsec_proxy_requests_in_flight", "authsec_proxy_token_rejected",
		"authsec_proxy_upstream_duration_seconds", "go_goroutines", "process_resident_memory_bytes", "process_open_fds",
	} {
		if !strings.Contains(page, "# TYPE "+name+" ") && !(strings.HasPrefix(name, "process_") && !strings.Contains(page, "process_")) {
			t.Errorf("there is no %s", name)
		}
	}
	problems, err := promlint.New(strings.NewReader(page)).Lint()
	for _, p := range problems {
		if strings.HasPrefix(p.Metric, "authsec_") && !strings.Contains(p.Metric, "timestamp") {
			t.Errorf("%s: %s", p.Metric, p.Text)
		}
	}
	if err != nil {
		t.Error(err)
	}
}

func TestRequestsAreCountedByStatusAndByTheProxysOwnError(t *testing.T) {
	srv, _ := agent(t)
	api := startAPI(t, srv, func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(502) }, nil)
	p := startProxy(t, api.URL)
	get(t, p.url)
	api.Close()
	get(t, p.url)
	client.Post(p.url, "", nil)
	req, _ := http.NewRequest(http.MethodGet, p.url, nil)
	req.Header.Set("Origin", "null")
	client.Do(req)
	srv.Fail(authsectest.Answer(404, `{"error":"No active delegation token found"}`))
	q := startProxy(t, "http://127.0.0.1:1")
	_, _, body := get(t, q.url)
	if !strings.Contains(body, "asks the AuthSec server again by itself in ") {
		t.Errorf("%s, want when the proxy asks again", body)
	}
	got := metricsOf(t, p)
	for name, value := range metricsOf(t, q) {
		if strings.Contains(name, "not_delegated") {
			got[name] = value
		}
	}
	for name, want := range map[string]float64{
		`{code="502",error=""}`:                1,
		`{code="502",error="upstream_failed"}`: 2,
		`{code="403",error="web_page"}`:        1,
		`{code="503",error="not_delegated"}`:   1,
	} {
		if v := got["authsec_proxy_requests_total"+name]; v != want {
			t.Errorf("%s: %v, want %v", name, v, want)
		}
	}
}

func TestBuildLabels(t *testing.T) {
	info := &debug.BuildInfo{GoVersion: "go1", Settings: []debug.BuildSetting{{Key: "vcs.revision", Value: "abc"}}}
	info.Main.Version = "v1"
	if got := fmt.Sprint(buildLabels(info)); got != "map[goversion:go1 revision:abc version:v1]" {
		t.Errorf("labels %s", got)
	}
	if got := buildLabels(nil); len(got) != 3 || got["version"] == "" {
		t.Errorf("labels without build information: %v", got)
	}
}
