// Copyright 2026 The authsec Authors
// SPDX-License-Identifier: Apache-2.0

package redact

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"html"
	"net/url"
	"regexp"
	"runtime"
	"strings"
	"testing"
)

const (
	opaque = "delegated+opaque/of~the.agent_0123456789=="
	uuid   = "9b477e30-3989-4c12-926c-3945a59f761f"
)

// jwtToken looks like what AuthSec issues.
var jwtToken = base64url(`{"alg":"RS256","typ":"JWT"}`) + "." + base64url(`{"sub":"spiffe://example.org/agents/`+uuid+`","exp":1}`) + "." + base64url(strings.Repeat("signature!", 5))

func base64url(s string) string { return base64.RawURLEncoding.EncodeToString([]byte(s)) }
func base64std(s string) string { return base64.StdEncoding.EncodeToString([]byte(s)) }

// each writes every byte in the same way.
func each(format string) func(string) string {
	return func(s string) string {
		var b strings.Builder
		for _, c := range []byte(s) {
			fmt.Fprintf(&b, format, c)
		}
		return b.String()
	}
}

// lines breaks a text after every 60 bytes.
func lines(end string) func(string) string {
	return func(s string) string {
		var b strings.Builder
		for len(s) > 60 {
			b.WriteString(s[:60] + end)
			s = s[60:]
		}
		return b.String() + s
	}
}

func inJSON(s string) string {
	b, _ := json.Marshal(s)
	return string(b[1 : len(b)-1])
}

// backslashed has a backslash before each mark, as JavaScript permits it.
func backslashed(s string) string {
	return regexp.MustCompile(`[[:punct:]]`).ReplaceAllString(s, `\$0`)
}

// times encodes n times over.
func times(n int, encode func(string) string) func(string) string {
	return func(s string) string {
		for range n {
			s = encode(s)
		}
		return s
	}
}

// after encodes by each of the functions in turn.
func after(encode ...func(string) string) func(string) string {
	return func(s string) string {
		for _, f := range encode {
			s = f(s)
		}
		return s
	}
}

func within(before, after string) func(string) string {
	return func(s string) string { return before + s + after }
}

// spellings are ways in which a text may have a secret.
var spellings = map[string]func(string) string{
	"plain":                   within("", ""),
	"upper case":              strings.ToUpper,
	"lower case":              strings.ToLower,
	"query":                   url.QueryEscape,
	"percent":                 each("%%%02x"),
	"percent twice":           each("%%25%02X"),
	"percent four times":      after(each("%%%02x"), times(3, url.QueryEscape)),
	"percent six times":       after(each("%%%02x"), times(5, url.QueryEscape)),
	"all percent, thrice":     times(3, each("%%%02X")),
	"escape()":                each("%%u%04x"),
	"HTML":                    html.EscapeString,
	"HTML decimal":            each("&#%d;"),
	"HTML hex":                each("&#x%04x;"),
	"HTML unended":            each("&#%d"),
	"HTML named":              strings.NewReplacer("+", "&plus;", "/", "&sol;", "_", "&lowbar;", ".", "&period;").Replace,
	"HTML of HTML":            after(each("&#%d;"), html.EscapeString),
	"JSON":                    each(`\u%04x`),
	"HTML, long":              each("&#x%040x;"),
	"HTML, & unended":         each("&amp#%d;"),
	"JSON of JSON":            after(each(`\u%04x`), inJSON, inJSON),
	"JavaScript":              each(`\x%02x`),
	"JavaScript, braces":      each(`\u{%x}`),
	"JavaScript, long":        each(`\u{%040x}`),
	"JavaScript, marks":       backslashed,
	"JavaScript in JSON":      after(backslashed, inJSON, inJSON),
	"percent in JavaScript":   after(each("%%%02x"), backslashed, inJSON),
	"JSON of HTML":            func(s string) string { return strings.ReplaceAll(each("&#%d;")(s), "&", `\u0026`) },
	"JSON's solidus":          func(s string) string { return strings.ReplaceAll(s, "/", `\/`) },
	"one escape":              func(s string) string { return fmt.Sprintf("%%%02x%s", s[0], s[1:]) },
	"base64":                  base64std,
	"base64url":               base64url,
	"base64 of Basic":         after(within("user:", ":x"), base64std),
	"base64 of Bearer":        after(within("Bearer ", ""), base64url),
	"base64 of JSON":          after(within(`{"token":"`, `"}`), base64std),
	"base64 in a URL":         after(base64std, url.QueryEscape),
	"base64 in a path":        after(base64std, within("/a/b", "/c")),
	"base64 after 1":          after(base64std, within("x", "")),
	"base64 after 2":          after(base64std, within("xy", "")),
	"base64 after 3":          after(base64std, within("xyz", "")),
	"base64 of base64":        after(base64std, base64std),
	"base64 of base64 in all": after(within("u:", ""), base64url, within(`{"auth":"`, `"}`), base64std),
	"base64, CRLF":            after(base64std, lines("\r\n")),
	"base64, LF":              after(base64std, lines("\n")),
	"base64, indented":        after(base64std, lines("\n    ")),
	"base64, LF in JSON":      after(base64std, lines("\n"), inJSON),
	"base64, CRLF in a URL":   after(base64std, lines("\r\n"), url.QueryEscape),
	"base64, LF, in base64":   after(within("xy", "z"), base64std, lines("\n"), base64std, lines("\r\n")),
	"base64 of percent":       after(each("%%%02x"), base64std),
	"JSON of base64 of JSON":  after(each(`\u%04x`), within(`{"a":"`, `"}`), base64std, lines("\n"), inJSON),
}

func TestASecretIsFoundInEverySpelling(t *testing.T) {
	for name, spell := range spellings {
		for _, secret := range []string{opaque, jwtToken, uuid} {
			echo := spell(secret)
			text := "before <" + echo + ">, " + echo + ": after"
			got, cut := Strike(text, len(text), "another-secret", secret, "")
			if want := "before <[redacted]>, [redacted]: after"; got != want && got != strings.ReplaceAll(want, "[redacted]", "/a/[redacted]/c") && got != strings.ReplaceAll(want, "[redacted]", "[redacted]/c") || cut {
				t.Errorf("%s of %.8q: got %.200q, cut %t; want %q, not cut", name, secret, got, cut, want)
			}
			if !holds(text, secret) {
				t.Errorf("%s of %.8q: got false, want the text to hold it", name, secret)
			}
			for _, shown := range []string{Text(text, "", secret), Text(text, secret), Shorten(text, secret)} {
				if strings.Contains(shown, echo) || holds(shown, secret) {
					t.Errorf("%s of %.8q: the text %.200q still holds it", name, secret, shown)
				}
			}
		}
	}
}

// Only the secrets are struck out of a text for a model, not what looks like one.
func TestOtherTextIsNotStruckOut(t *testing.T) {
	for _, text := range []string{
		`{"jwt":"eyJhbGciOiJub25lIn0.eyJzdWIiOiJ4In0.c2ln","id":"9b477e30-0000-0000-0000-000000000000","url":"%7e\u0041&amp;\/","b":"QUJD"}`,
		"100% &c; &#; \\ \\u12 %zz %", "Bearer abcdefghijklmnopqrstuvwxyz", "delegated\nopaque\nagent", "\xff%ff\\xff", "",
	} {
		if got, cut := Strike(text, 1000, jwtToken, opaque, uuid, "", "short"); got != text || cut {
			t.Errorf("got %q, cut %t; want %q", got, cut, text)
		}
		if holds(text, jwtToken, opaque, uuid, "", "short") {
			t.Errorf("got true, want %q to hold no secret", text)
		}
	}
}

func TestPartsOfATokenAreStruckOut(t *testing.T) {
	parts := strings.Split(jwtToken, ".")
	for name, c := range map[string]struct{ text, want string }{
		"signature cut short":  {"Bearer " + jwtToken[:len(jwtToken)-5] + "...", "Bearer [redacted]"},
		"without signature":    {parts[0] + "." + parts[1] + " x", "[redacted] x"},
		"two in a row":         {opaque + opaque, "[redacted][redacted]"},
		"invalid UTF-8 within": {"a \xff\xfe0123456\xff b", "a [redacted] b"},
		"UUID in braces":       {"{" + strings.ToUpper(uuid) + "}", "{[redacted]}"},
		"UUID without hyphens": {"x" + strings.ReplaceAll(uuid, "-", "") + "y", "x[redacted]y"},
		"UUID, other hyphens":  {"9b47-7e30-3989-4c12-926c-3945-a59f-761f-", "[redacted]-"},
		"the shortest, base64": {"<" + base64url("8 bytes!") + ">", "<[redacted]>"},
		"short ones stay":      {"tiny", "tiny"},
	} {
		if got, _ := Strike(c.text, 1000, jwtToken, opaque, uuid, "\xff\xfe0123456\xff", "8 bytes!", "tiny"); got != c.want {
			t.Errorf("%s: got %q, want %q", name, got, c.want)
		}
	}
}

// A secret may lie across the limit, and the text may end Reach bytes after it.
func TestASecretAtTheLimitIsStruckOut(t *testing.T) {
	const limit = 100
	for name, spell := range spellings {
		if name == "base64 in a path" || len(spell(opaque)) > Reach(opaque) { // what adjoins is struck out, too; or documented
			continue
		}
		for _, at := range []int{0, 1, 37, 58, 89, 90, 99, 100} {
			text := strings.Repeat(" ", at) + strings.Repeat(spell(opaque)+" ", 20)
			text = text[:min(len(text), limit+Reach(opaque))]
			got, cut := Strike(text, limit, opaque)
			want := strings.Repeat(" ", at)
			for n := at; n < limit; n += len(spell(opaque)) + 1 {
				want += "[redacted] "
			}
			if strings.TrimRight(got, " ") != strings.TrimRight(want, " ") || !cut {
				t.Fatalf("%s at %d: got %q, cut %t; want %q, cut", name, at, got, cut, want)
			}
		}
	}
	for _, secrets := range [][]string{nil, {opaque}} {
		if got, cut := Strike("aé"+opaque, 2, secrets...); got != "a" || !cut {
			t.Errorf("got %q, cut %t; want no halved character, cut", got, cut)
		}
	}
}

// What is looked at is bounded for any text, and so is what is found.
func TestWorkIsBoundedForHostileText(t *testing.T) {
	const size = 32 << 10
	nested := after(each("%%%02x"), times(5, url.QueryEscape))("%41")
	for name, unit := range map[string]string{
		"V, whose base64 is U in all four ways": "V",
		"base64 of base64 of base64":            times(6, base64std)(opaque + "%41"),
		"percent":                               "%25",
		"nested percent":                        "%252525252525",
		"percent of percent of percent":         "%" + strings.Repeat("25", size/2),
		"backslashes":                           `\`,
		"ampersands":                            "&amp;amp;amp;",
		"numbers":                               "&#x00000000000000000000000000000000000041;",
		"a long number":                         "&#x" + strings.Repeat("0", size-10) + "41;",
		"a long name":                           "&" + strings.Repeat("a", size),
		"a long name in braces":                 `\u{` + strings.Repeat("0", size-10) + "41}",
		"secrets":                               opaque,
		"JWTs":                                  jwtToken,
		"secrets in base64 in one line":         base64std(opaque + "xxxx"),
		"base64 of many secrets":                base64std(strings.Repeat(opaque+" ", size)),
		"base64 of base64 of many secrets":      base64std(base64std(strings.Repeat(opaque+" ", size))),
		"IDs' first digits":                     "9",
		"IDs' beginnings":                       uuid[:20],
		"escapes, then base64":                  "VVVVVVVVVVVVVVVVVVVVVVVVVVVVVVVVVVV" + nested + " " + base64std(nested+base64std(nested)),
		"line breaks":                           "VVVV\n\n",
		"IDs":                                   uuid,
	} {
		text := strings.Repeat(unit, size/len(unit)+1)[:size]
		needles := needles(uuid, []string{opaque, jwtToken})
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		spans := find(text, needles)
		runtime.ReadMemStats(&after)
		// At most 7 rounds of views of 1 + 3 + 9 sizes, and as many of them folded. A
		// byte of each takes 17 bytes, and growing up to 3 times as much.
		if got, limit := after.TotalAlloc-before.TotalAlloc, uint64(2*7*(1+3+9)*17*4*size); got > limit || len(spans) > size {
			t.Errorf("%s: got %d bytes allocated and %d finds, want at most %d and %d", name, got, len(spans), limit, size)
		}
	}
}

// Of a text, Strike and Text look at no more than what may be shown, and Reach.
func TestWorkIsBoundedByWhatIsShown(t *testing.T) {
	spent := func(show func(text string), size int) uint64 {
		var before, after runtime.MemStats
		text := strings.Repeat("x ", size/2)
		runtime.ReadMemStats(&before)
		show(text)
		runtime.ReadMemStats(&after)
		return after.TotalAlloc - before.TotalAlloc
	}
	const longest = 16 << 10 // bytes of a secret that count
	for name, c := range map[string]struct {
		show   func(text string)
		looked int
	}{
		"Strike":              {func(text string) { Strike(text, 100, opaque) }, 100 + Reach(opaque)},
		"Strike, long secret": {func(text string) { Strike(text, 100, strings.Repeat("s", 1<<20)) }, 100 + Reach(opaque[:16])*longest/16},
		"Text, long secret":   {func(text string) { Text(text, "", strings.Repeat("s", 1<<20)) }, window + Reach(opaque[:16])*longest/16},
	} {
		if got, want := spent(c.show, 8<<20), spent(c.show, c.looked); got > 2*want+1<<20 {
			t.Errorf("%s: got %d bytes allocated for 8 MiB, want about the %d for %d", name, got, want, c.looked)
		}
	}
}

// holds reports whether a text has one of the secrets.
func holds(text string, secrets ...string) bool { return len(find(text, needles("", secrets))) > 0 }

// encoders may be put on top of each other in any order.
var encoders = []func(string) string{
	each("%%%02x"), each("&#%d;"), each("&#x%x;"), each(`\u%04x`), each(`\x%02x`), url.QueryEscape, inJSON, html.EscapeString, each(`\u{%x}`), backslashed, // escapes
	base64std, base64url, after(base64std, lines("\r\n")), after(base64url, lines("\n"), inJSON), // base64
}

const escapers = 10 // the first of encoders

func FuzzStrike(f *testing.F) {
	f.Add("before", "after", []byte{0, 5, 5, 5}, uint16(10))
	f.Add("a\n b%", "&amp;", []byte{13, 11, 0}, uint16(0))
	f.Add("eyJ\\", "%4", []byte{10, 3, 12, 6, 6}, uint16(5))
	f.Add("\xff&", "1", []byte{1, 7, 7, 7, 7, 7}, uint16(65535))
	f.Fuzz(func(t *testing.T, before, after string, recipe []byte, limit uint16) {
		for _, secret := range []string{opaque, jwtToken, uuid} {
			echo, rounds, layers := secret, 0, 0
			for _, c := range recipe {
				i := int(c) % len(encoders)
				if i < escapers && rounds == maxRounds-1 || i >= escapers && layers == maxLayers || len(echo) > 20<<10 {
					continue
				}
				if i < escapers {
					rounds++
				} else {
					layers++
				}
				echo = encoders[i](echo)
			}
			text := before + " " + echo + " " + after
			for _, n := range []int{len(text), int(limit)} {
				got, cut := Strike(text, n, secret)
				if strings.Contains(got, echo) || strings.Contains(strings.ToLower(got), strings.ToLower(secret)) || cut != (n < len(text)) {
					t.Fatalf("recipe %v, limit %d: got %q, cut %t", recipe, n, got, cut)
				}
			}
			if !holds(text, secret) {
				t.Fatalf("recipe %v: got false, want %q to hold it", recipe, text)
			}
			if got := Text(text, secret, "abc"); len(got) > maxText+len("…") || strings.Contains(got, echo) || strings.ToValidUTF8(got, "") != got {
				t.Fatalf("recipe %v: Text gives %q", recipe, got)
			}
		}
	})
}
