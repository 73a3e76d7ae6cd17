// Copyright 2026 The authsec Authors
// SPDX-License-Identifier: Apache-2.0

// Package agents_test uses agent frameworks with delegation tokens.
package agents_test

import (
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/authsec-go/authsec"
	"github.com/authsec-go/authsec/interop/internal/itest"
)

// billing starts an API that answers with text, and makes a Source for it.
func billing(t *testing.T, s *itest.Stack, text func() string) (*authsec.Source, *httptest.Server) {
	api := s.API(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/v1/invoices" {
			http.NotFound(w, r)
			return
		}
		w.Header().Set("Content-Type", "text/plain")
		fmt.Fprint(w, text())
	}), "billing:read")
	src, err := authsec.NewSource(s.Config(api.URL))
	if err != nil {
		t.Fatal(err)
	}
	return src, api
}

// plain is the API's answer where no attacker has changed it.
func plain() string { return "3 invoices" }

// observed returns an error if a model got one from a tool, or not the API's answer.
func observed(text string) error {
	switch {
	case strings.HasPrefix(text, "Error:"):
		return errors.New(text)
	case !strings.HasPrefix(text, "3 invoices"):
		return fmt.Errorf("the model got %q", text)
	}
	return nil
}

// checkAdvice fails the test unless the model was told that an admin must act.
func checkAdvice(t *testing.T, err error) {
	t.Helper()
	if !strings.Contains(err.Error(), "delegation") || !strings.Contains(err.Error(), "Only an admin can change that") {
		t.Errorf("without a delegation the model gets %q, want it to name the delegation and the admin", err)
	}
}
