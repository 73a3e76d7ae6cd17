// Copyright 2026 The authsec Authors
// SPDX-License-Identifier: Apache-2.0

// Package micro measures what the peers cost a request when they have a good token: over
// a base that answers at once, and for the token alone.
package micro

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/authsec-go/authsec/authsectest"
	"github.com/authsec-go/authsec/bench/peers"
)

// tokenBytes is about the length of a delegation token with a few permissions.
const tokenBytes = 900

// job uses an endpoint that gives out one token, which lives for an hour.
func job() peers.Job {
	encode := base64.RawURLEncoding.EncodeToString
	expiry := time.Now().Add(time.Hour)
	head := encode([]byte(`{"alg":"RS256","typ":"JWT"}`)) + "." + encode(fmt.Appendf(nil, `{"exp":%d}`, expiry.Unix())) + "."
	token := head + strings.Repeat("s", tokenBytes-len(head))
	answer := fmt.Sprintf(`{"token":%q,"expires_at":%q}`, token, expiry.UTC().Format(time.RFC3339))
	return peers.Job{
		AuthSecURL: "https://authsec.test",
		ClientID:   authsectest.ClientID,
		Client:     &http.Client{Transport: authsectest.RoundTripper(authsectest.Answer(200, answer))},
		Host:       "api.example.com",
	}
}

// stub is an API that answers at once.
type stub struct{ answer *http.Response }

var errNoToken = errors.New("the request came without the token")

func (s stub) RoundTrip(req *http.Request) (*http.Response, error) {
	if h := req.Header["Authorization"]; len(h) != 1 || len(h[0]) != len("Bearer ")+tokenBytes {
		return nil, errNoToken
	}
	return s.answer, nil
}

// each runs op serially, and in 1, 8, 64 and 1,024 goroutines.
func each(b *testing.B, op func() error) {
	b.Run("serial", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if err := op(); err != nil {
				b.Fatal(err)
			}
		}
	})
	for _, goroutines := range []int{1, 8, 64, 1024} {
		b.Run(fmt.Sprintf("goroutines=%d", goroutines), func(b *testing.B) {
			b.ReportAllocs()
			share(b, goroutines, op)
		})
	}
}

// share divides b.N calls of op among goroutines, which start before the timer does.
func share(b *testing.B, goroutines int, op func() error) {
	var done sync.WaitGroup
	begin := make(chan struct{})
	for i := range goroutines {
		done.Go(func() {
			<-begin
			for range (b.N + i) / goroutines { // the sum is b.N
				if err := op(); err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	b.ResetTimer()
	close(begin)
	done.Wait()
}

// BenchmarkRoundTrip measures what a peer adds to a GET with 4 headers, with retries on.
func BenchmarkRoundTrip(b *testing.B) {
	base := stub{&http.Response{StatusCode: http.StatusOK, Header: http.Header{}, Body: http.NoBody}}
	for _, p := range peers.All {
		if p.RoundTripper == nil || p.Name == peers.Bare {
			continue
		}
		rt, err := p.RoundTripper(job(), base)
		if err != nil {
			b.Fatal(err)
		}
		req, err := http.NewRequest(http.MethodGet, "https://api.example.com/customers/42?q=1", nil)
		if err != nil {
			b.Fatal(err)
		}
		req.Header = http.Header{
			"Accept": {"application/json"}, "User-Agent": {"agent/1.0"},
			"X-Request-Id": {"0123456789abcdef"}, "Traceparent": {"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"},
		}
		b.Run("peer="+p.Slug(), func(b *testing.B) {
			each(b, func() error {
				_, err := rt.RoundTrip(req)
				return err
			})
		})
	}
}

// BenchmarkToken measures a peer's cache with a good token. The floor is a copy of a
// token and nothing else.
func BenchmarkToken(b *testing.B) {
	ctx := context.Background()
	for _, p := range peers.All {
		if p.Token == nil {
			continue
		}
		get, err := p.Token(job())
		if err != nil {
			b.Fatal(err)
		}
		b.Run("peer="+p.Slug(), func(b *testing.B) {
			each(b, func() error {
				token, err := get(ctx)
				if err == nil && len(token) != tokenBytes {
					return errNoToken
				}
				return err
			})
		})
	}
}
