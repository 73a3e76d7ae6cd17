// Copyright 2026 The authsec Authors
// SPDX-License-Identifier: Apache-2.0

package loopback

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

func TestOnlyProgramsOnThisMachinePass(t *testing.T) {
	next := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNoContent) })
	h := Only(next, "host.docker.internal", "dev.test:7480")
	for _, tc := range []struct {
		host    string
		headers string
		want    int
	}{
		{"127.0.0.1:7480", "", 204},
		{"127.8.0.1", "", 204},
		{"localhost:7480", "", 204},
		{"LOCALHOST:7480", "", 204},
		{"[::1]:7480", "", 204},
		{"host.docker.internal:7480", "", 204},
		{"Host.Docker.Internal", "", 204},
		{"dev.test:7480", "", 204},
		{"dev.test:7481", "", 403},
		{"", "", 403},
		{"evil.test:7480", "", 403},
		{"127.0.0.1.evil.test:7480", "", 403},
		{"localhost.evil.test", "", 403},
		{"0.0.0.0:7480", "", 403},
		{"127.0.0.1:7480", "Origin: http://127.0.0.1:7480", 204},
		{"127.0.0.1:7480", "Origin: http://127.0.0.1:3000", 403},
		{"127.0.0.1:7480", "Origin: https://127.0.0.1:7480", 403},
		{"127.0.0.1:7480", "Origin: null", 403},
		{"127.0.0.1:7480", "Origin: http://127.0.0.1:7480\nOrigin: http://evil.test", 403},
		{"evil.test:7480", "Origin: http://evil.test:7480", 403},
		{"127.0.0.1:7480", "Sec-Fetch-Site: none", 204},
		{"127.0.0.1:7480", "Sec-Fetch-Site: same-origin", 204},
		{"127.0.0.1:7480", "Sec-Fetch-Site: same-site", 403},
		{"127.0.0.1:7480", "Sec-Fetch-Site: cross-site", 403},
		{"127.0.0.1:7480", "Sec-Fetch-Site: none\nSec-Fetch-Site: cross-site", 403},
	} {
		r := httptest.NewRequest(http.MethodGet, "/", nil)
		r.Host = tc.host
		for line := range strings.SplitSeq(tc.headers, "\n") {
			if name, value, ok := strings.Cut(line, ": "); ok {
				r.Header.Add(name, value)
			}
		}
		w := httptest.NewRecorder()
		if h.ServeHTTP(w, r); w.Code != tc.want {
			t.Errorf("Host %q, %q: got %d, want %d", tc.host, tc.headers, w.Code, tc.want)
		}
	}
}
