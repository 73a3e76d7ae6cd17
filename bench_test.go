// Copyright 2026 The authsec Authors
// SPDX-License-Identifier: Apache-2.0

package authsec_test

import (
	"encoding/base64"
	"fmt"
	"maps"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/authsec-go/authsec"
	"github.com/authsec-go/authsec/authsectest"
	"golang.org/x/oauth2"
)

// benchToken is as long as a real one: an unsigned JWT of 900 bytes.
func benchToken() string {
	encode := base64.RawURLEncoding.EncodeToString
	head := encode([]byte(`{"alg":"RS256","typ":"JWT"}`)) + "." + encode(fmt.Appendf(nil, `{"exp":%d}`, time.Now().Add(time.Hour).Unix())) + "."
	return head + strings.Repeat("s", 900-len(head))
}

// benchSource is a Source that holds a token.
func benchSource(b *testing.B) *authsec.Source {
	src, err := authsec.NewSource(authsec.Config{
		BaseURL:    "https://authsec.test",
		ClientID:   authsectest.ClientID,
		HTTPClient: &http.Client{Transport: authsectest.RoundTripper(authsectest.Answer(200, `{"token":"`+benchToken()+`"}`))},
	})
	if err != nil {
		b.Fatal(err)
	}
	if _, err := src.Token(); err != nil {
		b.Fatal(err)
	}
	return src
}

// reuseSource is x/oauth2's cache with a token in it.
func reuseSource() oauth2.TokenSource {
	token := &oauth2.Token{AccessToken: benchToken(), TokenType: "Bearer", Expiry: time.Now().Add(time.Hour)}
	return oauth2.ReuseTokenSource(token, nil)
}

// readyHeader is the least that a RoundTripper which keeps the contract can do:
// a copy of the request with a header that is ready.
type readyHeader struct {
	base   http.RoundTripper
	header []string
}

func (f readyHeader) RoundTrip(req *http.Request) (*http.Response, error) {
	req = req.WithContext(req.Context())
	req.Header = maps.Clone(req.Header)
	req.Header["Authorization"] = f.header
	return f.base.RoundTrip(req)
}

// serialAndParallel runs op in both ways.
func serialAndParallel(b *testing.B, op func(*testing.B)) {
	b.Run("serial", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			op(b)
		}
	})
	b.Run("parallel", func(b *testing.B) {
		b.ReportAllocs()
		b.RunParallel(func(pb *testing.PB) {
			for pb.Next() {
				op(b)
			}
		})
	})
}

// BenchmarkRoundTrip is what a Transport adds to a request, with retry on,
// beside x/oauth2's over its cache, and beside the floor.
func BenchmarkRoundTrip(b *testing.B) {
	answer := &http.Response{StatusCode: http.StatusOK, Header: http.Header{}, Body: http.NoBody}
	base := baseFunc(func(req *http.Request) (*http.Response, error) {
		if len(req.Header) != 5 {
			return nil, fmt.Errorf("%d headers", len(req.Header))
		}
		return answer, nil
	})
	for _, c := range []struct {
		name string
		rt   http.RoundTripper
	}{
		{"authsec", &authsec.Transport{Source: benchSource(b), Base: base, Hosts: []string{"api.example.com"}}},
		{"x-oauth2", &oauth2.Transport{Source: reuseSource(), Base: base}},
		{"floor", readyHeader{base, []string{"Bearer " + benchToken()}}},
	} {
		req, err := http.NewRequest(http.MethodGet, "https://api.example.com/customers/42?q=1", nil)
		if err != nil {
			b.Fatal(err)
		}
		req.Header = http.Header{
			"Accept": {"application/json"}, "User-Agent": {"agent/1.0"},
			"X-Request-Id": {"0123456789abcdef"}, "Traceparent": {"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"},
		}
		b.Run(c.name, func(b *testing.B) {
			serialAndParallel(b, func(b *testing.B) {
				if _, err := c.rt.RoundTrip(req); err != nil {
					b.Error(err)
				}
			})
		})
	}
}

// BenchmarkToken is what a token in service costs, beside x/oauth2's cache,
// which gives all callers the same one, and the floor, a copy.
func BenchmarkToken(b *testing.B) {
	for _, c := range []struct {
		name   string
		source oauth2.TokenSource
	}{
		{"authsec", benchSource(b)},
		{"x-oauth2", reuseSource()},
		{"floor", copying{oauth2.Token{AccessToken: benchToken(), Expiry: time.Now().Add(time.Hour)}}},
	} {
		b.Run(c.name, func(b *testing.B) {
			serialAndParallel(b, func(b *testing.B) {
				if _, err := c.source.Token(); err != nil {
					b.Error(err)
				}
			})
		})
	}
}

// copying is a source that copies a token, and nothing else.
type copying struct{ token oauth2.Token }

func (c copying) Token() (*oauth2.Token, error) { token := c.token; return &token, nil }
