// Copyright 2026 The authsec Authors
// SPDX-License-Identifier: Apache-2.0

package fetchtool

import (
	"bytes"
	"encoding/base64"
	"html"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"
)

const (
	struckOut = "[redacted]"

	// escapeRounds is how many escapes on top of each other are undone in the
	// search for a secret, such as HTML's of JSON's of a URL's.
	escapeRounds = 3

	// maxEscape is into how many bytes an escape commonly makes one: "&#x0065;".
	maxEscape = 8

	// minSecret is the length under which text is not taken for a secret.
	minSecret = 8
)

// escapes are how URLs, HTML, JSON and JavaScript spell a character.
var escapes = regexp.MustCompile(`%[0-9A-Fa-f]{2}|&#[0-9]+;?|&#[xX][0-9A-Fa-f]+;?|&[A-Za-z]+;|\\u[0-9A-Fa-f]{4}|\\x[0-9A-Fa-f]{2}|\\/`)

func unescape(s string) string {
	switch {
	case s[0] == '&':
		return html.UnescapeString(s)
	case s == `\/`:
		return "/"
	}
	n, err := strconv.ParseUint(strings.TrimLeft(s, `%\ux`), 16, 32)
	if err != nil {
		return s
	}
	if s[0] == '\\' {
		return string(rune(n))
	}
	return string([]byte{byte(n)})
}

// span is a part of a text, from one offset up to another.
type span struct{ from, to int }

// view is a text with escapes undone. Its i-th byte stood at from[i] in the
// original, and ended before from[i+1].
type view struct {
	text []byte
	from []int
}

func newView(text string) view {
	v := view{text: []byte(text), from: make([]int, len(text)+1)}
	for i := range v.from {
		v.from[i] = i
	}
	return v
}

// unescaped undoes one round of escapes. It returns false if there are none.
func (v view) unescaped() (view, bool) {
	found := escapes.FindAllIndex(v.text, -1)
	if found == nil {
		return v, false
	}
	var out view
	last := 0
	for _, m := range append(found, []int{len(v.text), len(v.text)}) {
		out.text = append(out.text, v.text[last:m[0]]...)
		out.from = append(out.from, v.from[last:m[0]]...)
		if last = m[1]; m[0] < m[1] {
			for _, c := range []byte(unescape(string(v.text[m[0]:m[1]]))) {
				out.text = append(out.text, c)
				out.from = append(out.from, v.from[m[0]])
			}
		}
	}
	out.from = append(out.from, v.from[len(v.text)])
	return out, true
}

// find returns where in the original the needle stands. Each find is extended
// over the characters around it that tail, and head, accept.
func (v view) find(text, needle []byte, head, tail func(byte) bool) []span {
	var found []span
	for at := 0; ; {
		i := bytes.Index(text[at:], needle)
		if i < 0 {
			return found
		}
		from, to := at+i, at+i+len(needle)
		for from > 0 && head(text[from-1]) {
			from--
		}
		for to < len(text) && tail(text[to]) {
			to++
		}
		found = append(found, span{v.from[from], v.from[to]})
		at = to
	}
}

// secretsIn finds the secrets in text: as they are, in any case, under up to
// escapeRounds escapes, and within base64.
func secretsIn(text string, secrets []string) []span {
	var found []span
	v := newView(text)
	for round := 0; ; round++ {
		lower := lowerASCII(v.text)
		for _, secret := range secrets {
			if len(secret) < minSecret {
				continue
			}
			needle, tail := secret, never
			if strings.Count(secret, ".") == 2 && strings.HasPrefix(secret, "eyJ") {
				// A JWT: also with its signature cut short.
				needle, tail = secret[:strings.LastIndexByte(secret, '.')], jwtByte
			}
			found = append(found, v.find(lower, lowerASCII([]byte(needle)), never, tail)...)
			for _, inner := range base64Of(secret) {
				found = append(found, v.find(v.text, []byte(inner), base64Byte, base64Byte)...)
			}
		}
		var more bool
		if v, more = v.unescaped(); !more || round == escapeRounds {
			return found
		}
	}
}

// base64Of returns what base64 of any text around the secret has in it, for the
// three ways in which the secret can lie in groups of three bytes, and for both
// alphabets.
func base64Of(secret string) []string {
	var inner []string
	for offset := range 3 {
		padded := append(make([]byte, offset), secret...)
		padded = padded[:len(padded)/3*3]
		for _, enc := range []*base64.Encoding{base64.StdEncoding, base64.URLEncoding} {
			text := enc.EncodeToString(padded)
			text = text[(offset*8+5)/6:] // without what depends on the bytes before
			if !slices.Contains(inner, text) {
				inner = append(inner, text)
			}
		}
	}
	return inner
}

func never(byte) bool { return false }

func jwtByte(c byte) bool { return c == '.' || c == '-' || c == '_' || alphanumeric(c) }

func base64Byte(c byte) bool {
	return alphanumeric(c) || strings.IndexByte("+/-_=", c) >= 0
}

func alphanumeric(c byte) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9'
}

// lowerASCII keeps every offset as it is, unlike bytes.ToLower.
func lowerASCII(b []byte) []byte {
	lower := bytes.Clone(b)
	for i, c := range lower {
		if 'A' <= c && c <= 'Z' {
			lower[i] = c + 'a' - 'A'
		}
	}
	return lower
}

// strike returns the first limit bytes of text, less what would halve a
// character, with the secrets struck out, also one that the limit halves. cut
// reports whether there was more.
func strike(text string, secrets []string, limit int) (shown string, cut bool) {
	found := secretsIn(text, secrets)
	slices.SortFunc(found, func(a, b span) int { return a.from - b.from })
	if cut = len(text) > limit; !cut {
		limit = len(text)
	}
	for limit > 0 && limit < len(text) && !utf8.RuneStart(text[limit]) {
		limit--
	}
	var b strings.Builder
	at := 0
	for _, s := range found {
		if s.from >= limit {
			break
		}
		if s.from >= at {
			b.WriteString(text[at:s.from] + struckOut)
		}
		at = max(at, s.to)
	}
	if at < limit {
		b.WriteString(text[at:limit])
	}
	return b.String(), cut
}
