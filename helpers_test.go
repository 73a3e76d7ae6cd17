// Copyright 2026 The authsec Authors
// SPDX-License-Identifier: Apache-2.0

package authsec_test

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/authsec-go/authsec"
	"github.com/authsec-go/authsec/authsectest"
	"github.com/golang-jwt/jwt/v5"
	"golang.org/x/oauth2"
)

// bubble runs test in a bubble of testing/synctest, and moves its clock from 2000
// to 2026: a server's Date before 2020 is ignored.
func bubble(t *testing.T, test func(t *testing.T)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		time.Sleep(time.Until(time.Date(2026, 11, 23, 8, 31, 33, 0, time.UTC)))
		test(t)
	})
}

// inBubble is bubble as a sub-test.
func inBubble(t *testing.T, name string, f func(*testing.T)) {
	t.Helper()
	t.Run(name, func(t *testing.T) { bubble(t, f) })
}

func goodConfig() authsec.Config {
	return authsec.Config{BaseURL: "https://authsec.example.com", ClientID: ourID, Hosts: []string{"api.example.com"}}
}

const (
	ourID   = authsectest.ClientID
	otherID = "5c0ffee5-0000-4000-8000-00000000dead"
	opaque  = "an-opaque.token"
)

// hourFields is a minimal answer with an opaque token, good for an hour.
func hourFields() map[string]any {
	return map[string]any{"token": opaque, "expires_at": time.Now().Add(time.Hour).UTC().Format(time.RFC3339Nano)}
}

// baseFunc is an http.RoundTripper in one function.
type baseFunc func(*http.Request) (*http.Response, error)

func (f baseFunc) RoundTrip(req *http.Request) (*http.Response, error) { return f(req) }

// sourceFunc is a foreign TokenSource.
type sourceFunc func() (*oauth2.Token, error)

func (f sourceFunc) Token() (*oauth2.Token, error) { return f() }

// newSource is authsec.NewSource for a Config without a fault.
func newSource(t testing.TB, cfg authsec.Config) *authsec.Source {
	t.Helper()
	src, err := authsec.NewSource(cfg)
	if err != nil {
		t.Fatalf("NewSource: got %v, want no error", err)
	}
	return src
}

// endpointSource is a Source for ourID whose endpoint is h, in memory, and is
// asked once.
func endpointSource(t testing.TB, h http.Handler, edit ...func(*authsec.Config)) *authsec.Source {
	t.Helper()
	cfg := authsec.Config{
		BaseURL:    "https://authsec.test",
		ClientID:   ourID,
		HTTPClient: &http.Client{Transport: authsectest.RoundTripper(h)},
		Retry:      authsec.RetryPolicy{MaxAttempts: 1},
	}
	for _, f := range edit {
		f(&cfg)
	}
	return newSource(t, cfg)
}

// answerJSON answers 200 with these fields.
func answerJSON(t testing.TB, fields map[string]any) http.Handler {
	t.Helper()
	b, err := json.Marshal(fields)
	if err != nil {
		t.Fatal(err)
	}
	return authsectest.Answer(http.StatusOK, string(b))
}

// with returns a copy of base with other fields, given as name and value in turn.
func with(base map[string]any, pairs ...any) map[string]any {
	m := maps.Clone(base)
	for pair := range slices.Chunk(pairs, 2) {
		m[pair[0].(string)] = pair[1]
	}
	return m
}

func without(base map[string]any, names ...string) map[string]any {
	m := maps.Clone(base)
	for _, name := range names {
		delete(m, name)
	}
	return m
}

// unverified is a JWT that nobody verifies.
func unverified(t testing.TB, claims jwt.MapClaims) string {
	t.Helper()
	s, err := jwt.NewWithClaims(jwt.SigningMethodHS256, claims).SignedString([]byte("not verified"))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

var (
	ecKey    = sync.OnceValue(func() *ecdsa.PrivateKey { k, _ := ecdsa.GenerateKey(elliptic.P256(), rand.Reader); return k })
	ecOther  = sync.OnceValue(func() *ecdsa.PrivateKey { k, _ := ecdsa.GenerateKey(elliptic.P256(), rand.Reader); return k })
	edKey    = sync.OnceValue(func() ed25519.PrivateKey { _, k, _ := ed25519.GenerateKey(rand.Reader); return k })
	ecVerify = func(*jwt.Token) (any, error) { return &ecKey().PublicKey, nil }
)

// newAPI serves h on a loopback address until the test ends.
func newAPI(t *testing.T, h http.Handler) (url string) {
	t.Helper()
	srv := httptest.NewServer(h)
	t.Cleanup(srv.Close)
	return srv.URL
}

var sentinels = map[string]error{
	"ErrNotDelegated": authsec.ErrNotDelegated, "ErrDelegationExpired": authsec.ErrDelegationExpired, "ErrUnauthorized": authsec.ErrUnauthorized,
	"ErrInvalidClientID": authsec.ErrInvalidClientID, "ErrRateLimited": authsec.ErrRateLimited, "ErrInvalidResponse": authsec.ErrInvalidResponse, "ErrInsecureURL": authsec.ErrInsecureURL,
}

// checkRefusal checks the error of an answer of the endpoint.
func checkRefusal(t *testing.T, err error, status int, message string, is []string, texts ...string) {
	t.Helper()
	var e *authsec.Error
	if !errors.As(err, &e) {
		t.Fatalf("error is %v, a %T, want an *Error", err, err)
	}
	if e.StatusCode != status || e.Message != message {
		t.Errorf("StatusCode %d, Message %q, want %d, %q", e.StatusCode, e.Message, status, message)
	}
	for name, sentinel := range sentinels {
		if got, want := errors.Is(err, sentinel), slices.Contains(is, name); got != want {
			t.Errorf("errors.Is(err, %s) = %t, want %t; error: %v", name, got, want, err)
		}
	}
	if !strings.HasPrefix(err.Error(), "authsec: ") {
		t.Errorf("error is %q, want it to begin with the package's name", err)
	}
	for _, want := range append(texts, ourID[:8]) {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("error is %q, want %q in it", err, want)
		}
	}
	if strings.Contains(err.Error(), ourID) {
		t.Errorf("error shows the client ID in full")
	}
	var re *oauth2.RetrieveError
	if !errors.As(err, &re) {
		t.Fatalf("error %v unwraps to no *oauth2.RetrieveError", err)
	}
	want := &http.Response{StatusCode: status, Status: strings.TrimSpace(fmt.Sprintf("%d %s", status, http.StatusText(status)))}
	if !reflect.DeepEqual(re.Response, want) {
		t.Errorf("RetrieveError.Response is %+v, want %+v", re.Response, want)
	}
	if len(re.Body) > 600 || strings.Contains(string(re.Body), ourID) {
		t.Errorf("RetrieveError.Body has %d bytes, with the client ID in full: %t; want it cut and without", len(re.Body), strings.Contains(string(re.Body), ourID))
	}
	if text := re.Error(); text == "" { // it panics without a Response
		t.Error("RetrieveError.Error() is empty")
	}
}
