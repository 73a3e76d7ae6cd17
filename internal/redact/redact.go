// Copyright 2026 The authsec Authors
// SPDX-License-Identifier: Apache-2.0

// Package redact keeps secrets out of text. It is the one place that knows how a
// secret can look: see [Strike].
package redact

import (
	"cmp"
	"regexp"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Mark stands where a secret stood.
const Mark = "[redacted]"

const (
	maxText = 512     // bytes that Text returns
	window  = 4 << 10 // bytes of a text that Text may show before it is trimmed to maxText
	shownID = 8       // characters of a client ID that may be shown

	// maxSpelling is how many bytes an escaped byte may have: "&#x0065;" has 8, and six
	// rounds of percent-encoding make 13.
	maxSpelling = 16
	maxSecret   = 16 << 10 // bytes of the longest token
)

// tokenLike is a JWT or its beginning (`{"` in base64url is eyJ), or a bearer token.
var tokenLike = regexp.MustCompile(`eyJ[A-Za-z0-9_-]{5,}(?:\.[A-Za-z0-9_-]*)*|(?i:\b(bearer[\s:]+)[a-z0-9._~+/-]{16,}=*)`)

// Text makes foreign text fit for a line of an error or a log. It strikes out
// the secrets as [Strike] does, and everything that looks like a JWT or a bearer token.
// It shortens the client ID, replaces unprintable characters by spaces, trims
// the text and cuts it after 512 bytes.
//
// A secret of less than 8 bytes can't be told from words. If a text has one, plain or
// escaped, Mark replaces the whole text.
func Text(s, clientID string, secrets ...string) string {
	s = strings.TrimSpace(s)
	s = s[:min(len(s), window+max(Reach(secrets...), Reach(clientID)))]
	spans := find(s, needles(clientID, secrets))
	for _, m := range tokenLike.FindAllStringSubmatchIndex(s, -1) {
		spans = append(spans, span{part{max(m[0], m[3]), m[1]}, Mark})
	}
	s = replace(s, spans, window)
	s = strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return ' '
		}
		return r
	}, strings.ToValidUTF8(s, "?"))
	return Cut(strings.TrimSpace(s), maxText)
}

// Strike returns the first limit bytes of a text, without a halved character at
// their end, and with the secrets struck out. A secret that the limit halves is
// struck out, too: Strike looks at [Reach] more bytes. The result cut reports whether
// there was more.
//
// A secret is found in any case; with its characters escaped as URLs, HTML, JSON and
// JavaScript do, up to six times over; in base64, also with line breaks, and in
// base64 of base64; and in mixtures of these. Hyphens don't count. A JWT is found
// without its signature as well. Secrets of less than 8 bytes are not looked for.
func Strike(text string, limit int, secrets ...string) (shown string, cut bool) {
	long := slices.DeleteFunc(needles("", secrets), func(n needle) bool { return n.short })
	n := runeStart(text, limit)
	near := text[:min(len(text), n+Reach(secrets...))]
	return replace(near, find(near, long), n), len(text) > limit
}

// Reach is how many bytes of a text after the limit Strike needs to recognize a
// secret that the limit halves. Only the first 16 KiB of a secret count.
func Reach(secrets ...string) int {
	longest := 0
	for _, secret := range secrets {
		longest = max(longest, len(secret))
	}
	return min(longest, maxSecret) * maxSpelling
}

// ShortID returns what may be shown of a client ID: its first 8 characters, or half
// of it if it has no more than 8.
func ShortID(id string) string {
	if id == "" {
		return ""
	}
	runes := []rune(id)
	n := min(shownID, len(runes))
	if n == len(runes) {
		n /= 2
	}
	return string(runes[:n]) + "…"
}

// Shorten shortens the client ID wherever [Strike] would find it.
func Shorten(text, clientID string) string {
	return replace(text, find(text, needles(clientID, nil)), len(text))
}

// Cut returns the first n bytes of s and "…", or s if it has no more than n. It
// does not halve a character.
func Cut(s string, n int) string {
	if len(s) <= n {
		return s
	}
	return s[:runeStart(s, n)] + "…"
}

// runeStart is the greatest offset up to n at which s can be cut.
func runeStart(s string, n int) int {
	for n = min(n, len(s)); n > 0 && n < len(s) && !utf8.RuneStart(s[n]); {
		n--
	}
	return n
}

// replace returns the first limit bytes of a text with the spans replaced. If spans
// overlap, it writes only the first one's replacement.
func replace(text string, spans []span, limit int) string {
	slices.SortStableFunc(spans, func(a, b span) int { return cmp.Compare(a.from, b.from) })
	limit = runeStart(text, limit)
	var b strings.Builder
	at := 0
	for _, s := range spans {
		if s.from >= limit {
			break
		}
		if s.from >= at {
			b.WriteString(text[at:s.from] + s.with)
		}
		at = max(at, s.to)
	}
	if at < limit {
		b.WriteString(text[at:limit])
	}
	return b.String()
}
