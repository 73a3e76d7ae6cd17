// Copyright 2026 The authsec Authors
// SPDX-License-Identifier: Apache-2.0

// Package urlpath checks and normalizes the path of a URL, so that no server reads it
// as another path than this module does.
package urlpath

import (
	"errors"
	"fmt"
	"path"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/unicode/norm"
)

// Clean returns the canonical form of an escaped path: it has no needless escapes, no
// dot segments and no empty segments. Clean refuses a path that a server could read as
// another path than this module does. Its errors go after "The URL".
func Clean(raw string) (string, error) {
	var clean, decoded strings.Builder
	for i := 0; i < len(raw); i++ {
		c, escaped := raw[i], raw[i] == '%'
		if escaped {
			if i+2 >= len(raw) {
				return "", errors.New("has a malformed escape in its path")
			}
			n, err := strconv.ParseUint(raw[i+1:i+3], 16, 8)
			if err != nil {
				return "", errors.New("has a malformed escape in its path")
			}
			if c, i = byte(n), i+2; strings.IndexByte(`./\%`, c) >= 0 {
				return "", fmt.Errorf("has %s in its path, an escape that is not permitted", raw[i-2:i+1])
			}
		}
		decoded.WriteByte(c)
		clean.WriteString(Escape(string([]byte{c}), func(c byte) bool { return plain(c) && !(escaped && reserved(c)) }))
	}
	text := decoded.String()
	normal := norm.NFKC.String(text) // some servers do that
	switch {
	case !utf8.ValidString(text):
		return "", errors.New("has escapes in its path that are not valid UTF-8")
	case strings.ContainsFunc(text, ambiguous):
		return "", errors.New("has a character in its path that servers read in several ways")
	}
	last := ""
	for segment := range strings.SplitSeq(normal, "/") {
		last = segment
		name := segment
		if i := strings.IndexAny(name, ";?#"); i >= 0 { // some servers drop what follows
			name = name[:i]
		}
		if segment != "" && segment != "." && segment != ".." && strings.Trim(name, ". ") == "" {
			return "", errors.New("has a path segment that servers could take for dots")
		}
	}
	p := path.Clean("/" + clean.String())
	if p != "/" && (last == "" || last == "." || last == "..") {
		p += "/"
	}
	return p, nil
}

// Invisible reports whether r shows nothing, or changes only how another character
// looks.
func Invisible(r rune) bool {
	const blank = '\u2800' // of Braille
	return !unicode.IsGraphic(r) || r == blank || unicode.In(r, unicode.Other_Default_Ignorable_Code_Point, unicode.Variation_Selector)
}

// ambiguous reports whether r is invisible, or becomes a dot, slash, backslash or
// percent sign where a server brings a path into Unicode's normal form NFKC.
func ambiguous(r rune) bool {
	return Invisible(r) || r >= utf8.RuneSelf && strings.ContainsAny(norm.NFKC.String(string(r)), `./\%`)
}

// Escape percent-encodes the bytes that may not stand as they are.
func Escape(s string, ok func(byte) bool) string {
	var b strings.Builder
	for _, c := range []byte(s) {
		if ok(c) {
			b.WriteByte(c)
		} else {
			fmt.Fprintf(&b, "%%%02X", c)
		}
	}
	return b.String()
}

// reserved reports whether c and its escape may differ in meaning (RFC 3986,
// section 2.2: sub-delims, and what else a path segment may hold).
func reserved(c byte) bool { return strings.IndexByte("!$&'()*+,;=:@", c) >= 0 }

// plain reports whether c may stand in a path unescaped (RFC 3986, section 3.3).
func plain(c byte) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || strings.IndexByte("-._~/", c) >= 0 || reserved(c)
}
