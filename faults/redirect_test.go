// Copyright 2026 The authsec Authors
// SPDX-License-Identifier: Apache-2.0

package faults

import (
	"net/http"
	"testing"
)

// TestTokenStaysWithItsHost: the API redirects to a stranger, and the caller sends
// requests there itself. Every test checks at its end what the stranger got.
func TestTokenStaysWithItsHost(t *testing.T) {
	t.Parallel()
	for _, w := range wires {
		t.Run(w.name, func(t *testing.T) {
			t.Parallel()
			s := newStack(t, w)
			c := s.newCaller()
			c.mustAnswer(call{redirect: true, want: KiB})
			c.mustAnswer(call{redirect: true, want: KiB, method: http.MethodPut, send: KiB})
			c.api = s.stranger.addr // for the caller's requests; the Transport's Hosts stay as they are
			for _, k := range calls {
				c.mustAnswer(k)
			}
			if got, want := s.stranger.opened.Load(), int64(1); got < want {
				t.Errorf("the stranger got %d connections, want at least %d", got, want)
			}
		})
	}
}
