// Copyright 2026 The authsec Authors
// SPDX-License-Identifier: Apache-2.0

package bearer

import (
	"strings"
	"testing"
)

func TestIsToken(t *testing.T) {
	const permitted = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~+/"
	for c := range 256 {
		s := "a" + string([]byte{byte(c)}) + "b"
		if got, want := IsToken(s), strings.IndexByte(permitted, byte(c)) >= 0; got != want {
			t.Errorf("IsToken(%q) = %t, want %t", s, got, want)
		}
	}
	for s, want := range map[string]bool{"": false, "=": false, "a": true, "a==": true, "a=b": false, "=a": false} {
		if got := IsToken(s); got != want {
			t.Errorf("IsToken(%q) = %t, want %t", s, got, want)
		}
	}
}
