// Copyright 2026 The authsec Authors
// SPDX-License-Identifier: Apache-2.0

package redact

import (
	"bytes"
	"encoding/hex"
	"html"
	"regexp"
	"strconv"
	"strings"
)

const (
	maxRounds = 6  // of escapes on top of each other that are undone
	maxLayers = 2  // of base64 that are decoded
	minSecret = 8  // bytes, below which a secret can't be told from words
	minRun    = 11 // characters of base64 that minSecret bytes make
	maxEscape = 32 // bytes that an escape may have
)

// part is a part of a text.
type part struct{ from, to int }

// span is a part of a text, and what replaces it.
type span struct {
	part
	with string
}

// needle is one way in which a secret may stand in a text.
type needle struct {
	pattern *regexp.Regexp // for text in lower case
	with    string         // what replaces it
	word    bool           // it is too short to be looked for in base64
}

// search looks for secrets in a text, and in all that can be decoded from it.
type search struct {
	needles  []needle
	tooShort []string // secrets of less than minSecret bytes

	spans []span // where the needles are
	short bool   // one of tooShort is there
	work  int    // bytes that were looked at
}

// find looks for the secrets and the client ID, of which each may be "".
func find(text, clientID string, secrets []string) *search {
	s := new(search)
	for _, secret := range secrets {
		if len(secret) >= minSecret {
			s.add(len(text), secret, Mark)
		} else if secret != "" {
			s.tooShort = append(s.tooShort, secret)
		}
	}
	if clientID != "" {
		s.add(len(text), clientID, ShortID(clientID))
	}
	if len(s.needles)+len(s.tooShort) > 0 {
		s.walk(&view{text: []byte(text)}, maxLayers)
	}
	return s
}

// add adds the needles for a secret that a text of so many bytes can have.
func (s *search) add(size int, secret, with string) {
	add := func(length int, pattern string) {
		if length <= size { // no spelling is shorter than what it spells
			s.needles = append(s.needles, needle{regexp.MustCompile(pattern), with, len(secret) < minSecret})
		}
	}
	lower := string(lowerASCII([]byte(secret)))
	digits := strings.Trim(strings.ReplaceAll(lower, "-", ""), "{}")
	signature := strings.LastIndexByte(lower, '.')
	switch {
	case len(secret) < minSecret:
		add(len(lower), wordEdge.ReplaceAllString(quote(lower), `\b`))
		return
	case uuidDigits.MatchString(digits):
		add(len(digits), strings.Join(strings.Split(digits, ""), "-?"))
	case strings.HasPrefix(secret, "eyJ") && strings.Count(secret, ".") == 2: // a JWT
		add(signature, quote(lower[:signature])+`[a-z0-9._-]*`)
		if n := len(lower) - signature - 1; n >= minSecret {
			add(n, quote(lower[signature+1:]))
		}
	default:
		add(len(lower), quote(lower))
	}
	add(2*len(secret), hex.EncodeToString([]byte(secret)))
}

var (
	uuidDigits = regexp.MustCompile(`^[0-9a-f]{32}$`)
	wordEdge   = regexp.MustCompile(`^\b|\b$`)
)

// quote returns a pattern for s. A byte that is no UTF-8 matches any such byte.
func quote(s string) string { return regexp.QuoteMeta(string([]rune(s))) }

// walk looks into v, undoes the escapes in it round by round, and then decodes
// the base64 in it, up to so many layers.
func (s *search) walk(v *view, layers int) {
	for round := 0; ; round++ {
		s.look(v, layers == maxLayers)
		next := v.unescaped()
		if next == nil || round == maxRounds {
			break
		}
		v = next
	}
	if layers > 0 {
		if inner := v.decoded(); len(inner.text) > 0 {
			s.walk(inner, layers-1)
		}
	}
}

// look notes where in the original text the needles stand that v has.
func (s *search) look(v *view, words bool) {
	s.work += len(v.text)
	for _, secret := range s.tooShort {
		s.short = s.short || words && bytes.Contains(v.text, []byte(secret))
	}
	lower := lowerASCII(v.text)
	for _, n := range s.needles {
		if n.word && !words {
			continue
		}
		for _, m := range n.pattern.FindAllIndex(lower, -1) {
			s.spans = append(s.spans, span{s.origin(v, part{m[0], m[1]}), n.with})
		}
	}
}

// origin returns the part of the original text from which a part of v was read,
// with all base64 that adjoins.
func (s *search) origin(v *view, p part) part {
	for ; v.of != nil; v = v.of {
		p = part{v.at[p.from].from, v.at[p.to-1].to}
		if !v.base64 {
			continue
		}
		if text := v.of.text; p.from < v.wide.from || p.to > v.wide.to {
			for p.from > 0 && inBase64(text[p.from-1]) {
				p.from--
			}
			for p.to < len(text) && inBase64(text[p.to]) {
				p.to++
			}
			s.work += p.to - p.from
			v.wide = p // more finds in a long line must not look through it again
		}
		p = v.wide
	}
	return p
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

// view is a text that was read from another: with escapes undone, or from base64.
type view struct {
	text   []byte
	of     *view  // nil: it is the original
	at     []part // at[i] is the part of the other text that text[i] was read from
	base64 bool
	wide   part // of the other text: the last that origin extended
}

func (v *view) add(c byte, from, to int) {
	v.text = append(v.text, c)
	v.at = append(v.at, part{from, to})
}

// escapes are how URLs, HTML, JSON and JavaScript spell a character.
var escapes = regexp.MustCompile(`^(?:%[0-9A-Fa-f]{2}|[%\\]u[0-9A-Fa-f]{4}|\\x[0-9A-Fa-f]{2}|\\[\\/"'nrt]|&#[0-9]+;?|&#[xX][0-9A-Fa-f]+;?|&[A-Za-z]+;)`)

func unescape(s string) string {
	switch {
	case s == "":
		return ""
	case s[0] == '&':
		return html.UnescapeString(s)
	case len(s) == 2: // a backslash and a character
		return strings.NewReplacer("n", "\n", "r", "\r", "t", "\t").Replace(s[1:])
	}
	n, _ := strconv.ParseUint(strings.TrimLeft(s, `%\ux`), 16, 32)
	if len(s) <= len(`\x00`) {
		return string([]byte{byte(n)})
	}
	return string(rune(n))
}

// unescaped undoes one round of escapes. It returns nil if there are none.
func (v *view) unescaped() *view {
	if !bytes.ContainsAny(v.text, `%&\`) {
		return nil
	}
	next, found := &view{of: v}, false
	for i := 0; i < len(v.text); {
		escape, plain := "", ""
		if c := v.text[i]; c == '%' || c == '&' || c == '\\' {
			escape = string(escapes.Find(v.text[i:min(i+maxEscape, len(v.text))]))
			plain = unescape(escape)
		}
		if plain == escape {
			next.add(v.text[i], i, i+1)
			i++
			continue
		}
		for _, c := range []byte(plain) {
			next.add(c, i, i+len(escape))
		}
		i += len(escape)
		found = true
	}
	if !found {
		return nil
	}
	return next
}

// sixBits are what the characters of base64 stand for, in both its alphabets; -1:
// it has no such character.
var sixBits = func() (bits [256]int8) {
	for c := range bits {
		bits[c] = int8(strings.IndexByte("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/", byte(c)))
	}
	bits['-'], bits['_'] = bits['+'], bits['/']
	return bits
}()

func inBase64(c byte) bool { return c == '=' || sixBits[c] >= 0 }

// decoded decodes all that may be base64. Where it begins is unknown, since what
// stands before it may look like base64, too. So each run of characters is
// decoded in the four ways in which it can lie in groups of four.
func (v *view) decoded() *view {
	next := &view{of: v, base64: true}
	for from := 0; from < len(v.text); from++ {
		to := v.runEnd(from)
		for skipped := 0; skipped < 4 && to-from >= minRun; skipped++ {
			next.decode(v.text[:to], from, skipped)
		}
		from = to
	}
	return next
}

// runEnd returns the end of the base64 that begins at i. Its lines may be indented.
func (v *view) runEnd(i int) int {
	for broken := false; i < len(v.text); i++ {
		switch c := v.text[i]; {
		case sixBits[c] >= 0:
			broken = false
		case c == '\r' || c == '\n':
			broken = true
		case !broken || c != ' ' && c != '\t':
			return i
		}
	}
	return i
}

// decode decodes the base64 from an offset on, less the first characters. Of the
// result it keeps ASCII of at least minSecret bytes in a row: the rest is binary.
func (v *view) decode(text []byte, from, skipped int) {
	start := len(v.text)
	end := func() {
		if len(v.text)-start < minSecret {
			v.text, v.at = v.text[:start], v.at[:start]
		} else {
			v.add(0, from, from+1) // keeps it apart from the next
		}
		start = len(v.text)
	}
	high, at, n := byte(0), 0, -skipped // the bits of the character before, its place, and how many there were
	for i := from; i < len(text); i++ {
		if sixBits[text[i]] < 0 { // a line break
			continue
		}
		low := byte(sixBits[text[i]])
		if k := n & 3; n > 0 && k > 0 {
			c := high<<(2*k) | low>>(6-2*k)
			if c < 0x7f && (c >= ' ' || c == '\n' || c == '\r' || c == '\t') {
				v.add(c, at, i+1)
			} else {
				end()
			}
		}
		high, at, n = low, i, n+1
	}
	end()
}
