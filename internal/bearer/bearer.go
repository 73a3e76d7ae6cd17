// Copyright 2026 The authsec Authors
// SPDX-License-Identifier: Apache-2.0

// Package bearer knows what a bearer token looks like (RFC 6750).
package bearer

import "strings"

// IsToken reports whether s is a b64token (RFC 6750, section 2.1).
func IsToken(s string) bool {
	s = strings.TrimRight(s, "=")
	for _, c := range []byte(s) {
		switch {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9', strings.IndexByte("-._~+/", c) >= 0:
		default:
			return false
		}
	}
	return s != ""
}
