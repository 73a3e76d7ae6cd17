// Copyright 2026 The authsec Authors
// SPDX-License-Identifier: Apache-2.0

package peers

import (
	"context"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/authsec-go/authsec/authsectest"
)

// TestEveryPeerDoesTheJob: the comparison is fair only if every peer does the job.
func TestEveryPeerDoesTheJob(t *testing.T) {
	srv := authsectest.NewTLSServer()
	defer srv.Close()
	want := srv.Delegate(authsectest.ClientID, authsectest.Delegation{})
	api := httptest.NewTLSServer(srv.API(nil))
	defer api.Close()
	job := Job{AuthSecURL: srv.URL, ClientID: authsectest.ClientID, Client: srv.Client(), Host: strings.TrimPrefix(api.URL, "https://")}

	for _, p := range All {
		t.Run(p.Slug(), func(t *testing.T) {
			if p.RoundTripper != nil {
				rt, err := p.RoundTripper(job, api.Client().Transport)
				if err != nil {
					t.Fatal(err)
				}
				before := srv.Fetches()
				for range 3 {
					resp, err := (&http.Client{Transport: rt}).Get(api.URL)
					if err != nil {
						t.Fatal(err)
					}
					resp.Body.Close()
					wantStatus := http.StatusOK
					if p.Name == Bare {
						wantStatus = http.StatusUnauthorized
					}
					if resp.StatusCode != wantStatus {
						t.Errorf("status: got %d, want %d", resp.StatusCode, wantStatus)
					}
				}
				if got := srv.Fetches() - before; got > 1 {
					t.Errorf("fetches for 3 requests: got %d, want 1 at most", got)
				}
			}
			if p.Token != nil {
				get, err := p.Token(job)
				if err != nil {
					t.Fatal(err)
				}
				if got, err := get(context.Background()); err != nil || got != want {
					t.Errorf("token: got another than the one delegated, or error %v", err)
				}
			}
		})
	}
}
