// Copyright 2026 The authsec Authors
// SPDX-License-Identifier: Apache-2.0

package verify

import (
	"encoding/json"
	"strings"
	"testing"
)

func TestKeysWithLongNumbersAreNotParsed(t *testing.T) {
	for length, want := range map[int]int{1368: 1, 1369: 0, 1 << 19: 0} {
		key := `{"kty":"RSA","use":"sig","e":"AQAB","n":"` + strings.Repeat("_", length) + `"}`
		if length%4 == 1 {
			key = strings.Replace(key, "_", "__", 1) // no base64 has that length
		}
		if got := len(publicKeys([]json.RawMessage{[]byte(key)})); got != want {
			t.Errorf("n of %d characters: %d keys, want %d", length, got, want)
		}
	}
}
