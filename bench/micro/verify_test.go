// Copyright 2026 The authsec Authors
// SPDX-License-Identifier: Apache-2.0

package micro

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/authsec-go/authsec/authsectest"
	"github.com/authsec-go/authsec/bench/peers"
)

// status is a ResponseWriter that keeps only the status.
type status struct {
	header http.Header
	code   int
}

func (s *status) Header() http.Header         { return s.header }
func (s *status) WriteHeader(code int)        { s.code = code }
func (s *status) Write(p []byte) (int, error) { return len(p), nil }

// BenchmarkVerify measures what a request with a good token costs an API.
func BenchmarkVerify(b *testing.B) {
	srv := authsectest.NewInMemoryServer()
	token := srv.Delegate(authsectest.ClientID, authsectest.Delegation{
		Audience: []string{peers.Audience}, Permissions: []string{"billing:list", peers.Permission, "customers:read"},
	})
	r := httptest.NewRequest(http.MethodGet, "https://api.example.com/customers/42", nil)
	r.Header.Set("Authorization", "Bearer "+token)
	for _, v := range peers.Verifiers {
		h, err := v.Handler(srv)
		if err != nil {
			b.Fatal(err)
		}
		op := func() error {
			w := status{header: r.Header} // none of them changes it
			h.ServeHTTP(&w, r)
			if w.code != http.StatusOK {
				return fmt.Errorf("answered %d", w.code)
			}
			return nil
		}
		if err := op(); err != nil { // verify gets the key here
			b.Fatal(err)
		}
		b.Run("peer="+peers.Peer{Name: v.Name}.Slug(), func(b *testing.B) { each(b, op) })
	}
}
