// Copyright 2026 The authsec Authors
// SPDX-License-Identifier: Apache-2.0

package web

import (
	"fmt"
	"io"
	"net/http"
	"testing"
	"time"

	"github.com/authsec-go/authsec"
	"github.com/authsec-go/authsec/interop/internal/itest"
)

// newClient returns an authenticated client, and its source.
func newClient(t *testing.T, cfg authsec.Config) (*http.Client, *authsec.Source) {
	t.Helper()
	client, err := authsec.NewClient(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return client, itest.SourceOf(client)
}

// repeat answers with what the request brought.
func repeat(w http.ResponseWriter, r *http.Request) { io.Copy(w, r.Body) }

// statusError is an answer other than 200, for calls that count as failed then.
type statusError int

func (e statusError) Error() string { return fmt.Sprintf("answered %d", int(e)) }

// unavailable is an API that is never there.
var unavailable = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
	io.Copy(io.Discard, r.Body)
	http.Error(w, "away", http.StatusServiceUnavailable)
})

// retries are the policies that the tests of libraries with retries of their own
// run under. The waits are short, for the tests' sake.
var retries = []struct {
	name   string
	policy authsec.RetryPolicy
}{
	{"ours as well", authsec.RetryPolicy{MinBackoff: time.Millisecond, MaxBackoff: time.Millisecond}},
	{"theirs alone", authsec.RetryPolicy{MaxAttempts: 1}},
}
