// Copyright 2026 The authsec Authors
// SPDX-License-Identifier: Apache-2.0

package authsec

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/oauth2"
)

// BenchmarkTokenInRoundTrip measures how a Transport gets a token in service, beside
// x/oauth2's cache. The module bench measures the rest, and other packages.
func BenchmarkTokenInRoundTrip(b *testing.B) {
	token := strings.Repeat("s", 900)
	src, err := NewSource(Config{
		BaseURL:    "https://authsec.test",
		ClientID:   "9b477e30-3989-4c12-926c-3945a59f761f",
		HTTPClient: &http.Client{Transport: &clockFixture{token: token, expiry: time.Now().Add(time.Hour)}},
	})
	if err != nil {
		b.Fatal(err)
	}
	ctx := context.Background()
	if _, err := src.get(ctx); err != nil {
		b.Fatal(err)
	}
	reuse := oauth2.ReuseTokenSource(&oauth2.Token{AccessToken: token, Expiry: time.Now().Add(time.Hour)}, nil)

	for _, c := range []struct {
		name string
		op   func() error
	}{
		{"authsec", func() error { _, err := src.get(ctx); return err }},
		{"ReuseTokenSource", func() error { _, err := reuse.Token(); return err }},
	} {
		b.Run(c.name+"/serial", func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if err := c.op(); err != nil {
					b.Fatal(err)
				}
			}
		})
		for _, goroutines := range []int{1, 8, 64, 1024} {
			b.Run(fmt.Sprintf("%s/goroutines=%d", c.name, goroutines), func(b *testing.B) {
				b.ReportAllocs()
				var done sync.WaitGroup
				begin := make(chan struct{})
				for i := range goroutines {
					done.Go(func() {
						<-begin
						for range (b.N + i) / goroutines { // which sum up to b.N
							if err := c.op(); err != nil {
								b.Error(err)
								return
							}
						}
					})
				}
				b.ResetTimer()
				close(begin)
				done.Wait()
			})
		}
	}
}
