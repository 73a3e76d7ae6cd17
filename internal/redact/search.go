// Copyright 2026 The authsec Authors
// SPDX-License-Identifier: Apache-2.0

package redact

import (
	"bytes"
	"encoding/base64"
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

// needle is what find looks for.
type needle struct {
	text  []byte // folded
	with  string // what replaces it
	tail  bool   // it is a JWT without its signature, of which any part may follow
	short bool   // it can't be told from words: it is replaced with the whole text
}

// needles are for the secrets and the client ID, of which each may be "".
func needles(clientID string, secrets []string) (all []needle) {
	add := func(secret string, n needle) {
		if n.text = newView(secret).folded().text; len(n.text) > 0 {
			all = append(all, n)
		}
	}
	for _, s := range secrets {
		n := needle{with: Mark, short: len(s) < minSecret}
		if n.tail = strings.HasPrefix(s, "eyJ") && strings.Count(s, ".") == 2; n.tail {
			s = s[:strings.LastIndexByte(s, '.')]
		}
		add(s, n)
	}
	add(strings.Trim(clientID, "{}"), needle{with: ShortID(clientID)})
	return all
}

// find looks for the needles in a text, and in all that can be decoded from it: it
// undoes the escapes round by round, then decodes the base64, and begins again.
func find(text string, needles []needle) (spans []span) {
	v := newView(text)
	for layer := 0; len(needles) > 0; layer++ {
		for round := 0; round == 0 || round <= maxRounds && v.unescape(); round++ {
			folded := v.folded()
			for _, n := range needles {
				if !n.short {
					spans = append(spans, folded.find(n)...)
				} else if layer == 0 && bytes.Contains(folded.text, n.text) {
					spans = append(spans, span{part{0, len(text)}, n.with})
				}
			}
		}
		if layer == maxLayers {
			break
		}
		v = v.base64()
	}
	return spans
}

// view is a text that was read from another.
type view struct {
	text []byte
	at   []part // at[i] is the part of the original text that text[i] comes from
}

func emptyView(size int) *view { return &view{make([]byte, 0, size), make([]part, 0, size)} }

func newView(text string) *view {
	v := emptyView(len(text))
	for i := range len(text) {
		v.add(part{i, i + 1}, text[i])
	}
	return v
}

func (v *view) add(at part, text ...byte) {
	for _, c := range text {
		v.text, v.at = append(v.text, c), append(v.at, at)
	}
}

// folded returns the text in lower case and without hyphens, as UUIDs may be written.
func (v *view) folded() *view {
	next := emptyView(len(v.text))
	for i, c := range v.text {
		if 'A' <= c && c <= 'Z' {
			c += 'a' - 'A'
		}
		if c != '-' {
			next.add(v.at[i], c)
		}
	}
	return next
}

func (v *view) find(n needle) (spans []span) {
	for from := 0; ; {
		i := bytes.Index(v.text[from:], n.text)
		if i < 0 {
			return spans
		}
		from += i
		to := from + len(n.text)
		if n.tail {
			to = len(v.text) - len(bytes.TrimLeft(v.text[to:], "abcdefghijklmnopqrstuvwxyz0123456789._"))
		}
		spans = append(spans, span{part{v.at[from].from, v.at[to-1].to}, n.with})
		from = to
	}
}

// escapes are how URLs, HTML, JSON and JavaScript spell a character.
var escapes = regexp.MustCompile(`^(?:%[0-9A-Fa-f]{2}|[%\\]u[0-9A-Fa-f]{4}|\\x[0-9A-Fa-f]{2}|\\[\\/"'nrt]|&#[0-9]+;?|&#[xX][0-9A-Fa-f]+;?|&[A-Za-z]+;)`)

var percent = strings.NewReplacer("%u", `\u`, "%", `\x`)

func unescape(s string) string {
	if s[0] == '&' {
		return html.UnescapeString(s)
	}
	if plain, err := strconv.Unquote(`"` + percent.Replace(s) + `"`); err == nil {
		return plain
	}
	return s[1:] // a backslash and what Go doesn't escape
}

// unescape undoes one round of escapes. It reports whether there were any.
func (v *view) unescape() bool {
	if !bytes.ContainsAny(v.text, `%&\`) {
		return false
	}
	next := emptyView(len(v.text))
	for i := 0; i < len(v.text); {
		plain, n := v.text[i:i+1], 1
		if strings.IndexByte(`%&\`, plain[0]) >= 0 {
			if escape := escapes.Find(v.text[i:min(i+maxEscape, len(v.text))]); escape != nil {
				plain, n = []byte(unescape(string(escape))), len(escape)
			}
		}
		next.add(part{v.at[i].from, v.at[i+n-1].to}, plain...)
		i += n
	}
	changed := !bytes.Equal(next.text, v.text)
	*v = *next
	return changed
}

var (
	base64Run  = regexp.MustCompile(`[A-Za-z0-9+/_-](?:[A-Za-z0-9+/_-]|[\r\n]\s*)+=*`)
	base64Only = strings.NewReplacer("-", "+", "_", "/", "=", "", " ", "", "\t", "", "\r", "", "\n", "", "\f", "")
)

// base64 decodes all that may be base64, also in lines. Where it begins is unknown,
// since what stands before it may look like base64, too. So each run of characters
// is decoded in the four ways in which it can lie in groups of four.
func (v *view) base64() *view {
	next := new(view)
	for _, m := range base64Run.FindAllIndex(v.text, -1) {
		at := part{v.at[m[0]].from, v.at[m[1]-1].to}
		run := base64Only.Replace(string(v.text[m[0]:m[1]]))
		for skip := 0; skip < 4 && len(run)-skip >= minRun; skip++ {
			plain, _ := base64.RawStdEncoding.DecodeString(run[skip:])
			next.add(at, append(plain, 0)...) // the zero keeps it apart from the next
		}
	}
	return next
}
