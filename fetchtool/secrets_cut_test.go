// Copyright 2026 The authsec Authors
// SPDX-License-Identifier: Apache-2.0

package fetchtool_test

import (
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/authsec-go/authsec/fetchtool"
)

// TestSecretAtTheCutIsStruckOut moves a token over the end of what is shown.
func TestSecretAtTheCutIsStruckOut(t *testing.T) {
	for _, encode := range []string{"plain", "JSON", "base64"} {
		for _, at := range []int{0, 1, 50, 90, 99, 100} {
			base := &ledger{handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				echo := encodings[encode](strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer "))
				io.WriteString(w, strings.Repeat(" ", at)+strings.Repeat(echo+" ", 20))
			})}
			s := newStack(t, base, func(c *fetchtool.Config) { c.MaxAnswer = 100 })
			result, err := s.tool.Fetch(callContext(t), fetchtool.Request{URL: "x"})
			if err != nil {
				t.Fatal(err)
			}
			want := strings.Repeat(" ", at)
			if at < 100 {
				want += "[redacted]"
			}
			if result.Text != want || !result.Cut {
				t.Errorf("%s at %d: got %d bytes, cut %t; want %q, cut", encode, at, len(result.Text), result.Cut, want)
			}
		}
	}
}

// TestATokenWhereReadingEndsIsNotShown: the tool reads 16 bytes for each one of the
// token after what it may show, and one more. There ends the token's first half.
// Decoding makes one character of the bytes before it, which are no UTF-8.
func TestATokenWhereReadingEndsIsNotShown(t *testing.T) {
	for status, limit := range map[int]int{200: 64 << 10, 403: 2 << 10} {
		for _, before := range []string{"", "text ", "\uFEFFtext "} {
			var half string
			s := newStack(t, &ledger{handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				_, token, _ := strings.Cut(r.Header.Get("Authorization"), " ")
				half = token[:len(token)/2]
				reach := 16 * len(token)
				text := before + strings.Repeat("\xc4\xe3", reach/2+50)
				text += strings.Repeat(" ", limit+reach+1-len(text)-len(half))
				w.Header().Set("Content-Type", "text/plain")
				w.WriteHeader(status)
				io.WriteString(w, text+token+" end")
			})}, func(c *fetchtool.Config) { c.Methods = []string{"POST"} })
			got := s.call(t, `{"url":"x","method":"POST"}`)
			if strings.Contains(got, half[:20]) {
				t.Errorf("%d, %q before: got the token's beginning in the text, want nothing of it", status, before)
			}
			wantIn(t, got, "Cut here")
		}
	}
}
