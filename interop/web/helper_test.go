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

// newClient returns a client with the token, and its Source.
func newClient(t *testing.T, cfg authsec.Config) (*http.Client, *authsec.Source) {
	t.Helper()
	client, err := authsec.NewClient(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return client, itest.SourceOf(client)
}

// repeat answers with the request's body.
// It reads all of it first: an HTTP/1.1 proxy can't send a body and get the response at
// the same time.
func repeat(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return
	}
	w.Write(body)
}

// statusError is the status of an answer that is no 200.
type statusError int

func (e statusError) Error() string { return fmt.Sprintf("answered %d", int(e)) }

// unavailable is an API that always answers 503.
var unavailable = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
	io.Copy(io.Discard, r.Body)
	http.Error(w, "unavailable", http.StatusServiceUnavailable)
})

// retries are the policies for tests of libraries that retry themselves. The waits are
// short to save time.
var retries = []struct {
	name   string
	policy authsec.RetryPolicy
}{
	{"both", authsec.RetryPolicy{MinBackoff: time.Millisecond, MaxBackoff: time.Millisecond}},
	{"the library alone", authsec.RetryPolicy{MaxAttempts: 1}},
}
