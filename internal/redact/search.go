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
)

// part is a part of a text.
type part struct{ from, to int }

// span is a part of a text, and what replaces it.
type span struct {
	part
	with string
}

// needle is what find looks for, in a text and in everything it can be decoded to.
type needle struct {
	text  []byte // folded
	with  string // what replaces it
	tail  bool   // it is a JWT without its signature; any part of the signature may follow
	short bool   // it can't be told from words, so the whole text is replaced
}

// needles returns the needles for the secrets and the client ID. Each may be "".
func needles(clientID string, secrets []string) (all []needle) {
	add := func(secret string, n needle) {
		if n.text = (&view{text: []byte(secret)}).folded().text; len(n.text) > 0 {
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
	v := &view{text: []byte(text)}
	for layer := 0; len(needles) > 0; layer++ {
		for round := 0; round == 0 || round <= maxRounds && v.unescape(); round++ {
			folded := v.folded()
			for _, n := range needles {
				if !n.short {
					spans = append(spans, folded.find(n)...)
				} else if bytes.Contains(folded.text, n.text) {
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
	at   []part // at[i] is the part of the original text that text[i] comes from; nil: it is the original
}

// part returns where v's text between two offsets comes from.
func (v *view) part(from, to int) part {
	if v.at == nil {
		return part{from, to}
	}
	return part{v.at[from].from, v.at[to-1].to}
}

func (v *view) add(at part, text ...byte) {
	for _, c := range text {
		v.text, v.at = append(v.text, c), append(v.at, at)
	}
}

// folded returns the text in lower case and without hyphens, as UUIDs may be written.
func (v *view) folded() *view {
	next := &view{make([]byte, 0, len(v.text)), make([]part, 0, len(v.text))}
	for i, c := range v.text {
		if 'A' <= c && c <= 'Z' {
			c += 'a' - 'A'
		}
		if c != '-' {
			next.add(v.part(i, i+1), c)
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
		spans = append(spans, span{v.part(from, to), n.with})
		from = to
	}
}

// introducers are the bytes with which an escape begins.
const introducers = `%&\`

// escapes are how URLs, HTML, JSON and JavaScript spell a character. In JavaScript,
// a backslash may stand before any character.
var escapes = regexp.MustCompile(`^(?:%[0-9A-Fa-f]{2}|[%\\]u[0-9A-Fa-f]{4}|\\u\{[0-9A-Fa-f]+\}|\\x[0-9A-Fa-f]{2}|(?s:\\.)|&#[0-9]+;?|&#[xX][0-9A-Fa-f]+;?|&[A-Za-z0-9]+;?)`)

var percent = strings.NewReplacer("%u", `\u`, "%", `\x`)

func unescape(s string) string {
	digits, braced := strings.CutPrefix(s, `\u{`)
	switch {
	case s[0] == '&':
		return html.UnescapeString(s)
	case braced:
		n, _ := strconv.ParseUint(strings.TrimSuffix(digits, "}"), 16, 21) // if it is too large, n is no character
		return string(rune(n))
	case len(s) == 2 && !strings.Contains("nrt", s[1:]):
		return s[1:]
	case s[0] == '%':
		s = percent.Replace(s)
	}
	if plain, err := strconv.Unquote(`"` + s + `"`); err == nil {
		return plain
	}
	return s[1:] // a backslash and what Go doesn't escape
}

// unescape undoes one round of escapes. It reports whether there were any.
func (v *view) unescape() bool {
	if !bytes.ContainsAny(v.text, introducers) {
		return false
	}
	next := new(view)
	inner := false // \\ has just become a backslash: the next round undoes what that escapes
	for i := 0; i < len(v.text); {
		plain, n := v.text[i:i+1], 1
		wasInner := inner && plain[0] != '\\'
		inner = false
		if strings.IndexByte(introducers, plain[0]) >= 0 && !wasInner {
			rest := v.text[i:] // up to where another escape begins
			if end := bytes.IndexAny(rest[min(2, len(rest)):], introducers); end >= 0 {
				rest = rest[:2+end]
			}
			if escape := string(escapes.Find(rest)); escape != "" && unescape(escape) != escape {
				plain, n = []byte(unescape(escape)), len(escape)
				inner = escape == `\\`
			}
		}
		next.add(v.part(i, i+n), plain...)
		i += n
	}
	changed := !bytes.Equal(next.text, v.text)
	*v = *next
	return changed
}

var (
	base64Run  = regexp.MustCompile(`[A-Za-z0-9+/_-](?:[A-Za-z0-9+/_-]|[\r\n]\s*)+=*`)
	ascii      = regexp.MustCompile(`[\t\r\n -~]{8,}`)
	base64Only = strings.NewReplacer("-", "+", "_", "/", "=", "", " ", "", "\t", "", "\r", "", "\n", "", "\f", "")
)

// base64 decodes everything that may be base64, also in several lines. Its beginning
// is unknown, because the text before it may look like base64, too. So each run of
// characters is decoded four times, from each of its first four characters on.
func (v *view) base64() *view {
	next := new(view)
	for _, m := range base64Run.FindAllIndex(v.text, -1) {
		at := v.part(m[0], m[1])
		run := base64Only.Replace(string(v.text[m[0]:m[1]]))
		for skip := 0; skip < 4 && len(run)-skip >= minRun; skip++ {
			plain, _ := base64.RawStdEncoding.DecodeString(run[skip:])
			for _, text := range ascii.FindAll(plain, -1) { // the rest is binary
				next.add(at, text...)
				next.add(at, 0) // keeps it apart from the next
			}
		}
	}
	return next
}
