// Copyright 2026 The authsec Authors
// SPDX-License-Identifier: Apache-2.0

package fetchtool

import (
	"errors"
	"html"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"
)

const pathName = `(?:[\pL\pM\pN_]|%[89A-Fa-f][0-9A-Fa-f])+`

var (
	// addresses are IPv6 addresses, whose brackets belong to the URL.
	addresses = regexp.MustCompile(`^([A-Za-z]+://)\[[0-9A-Fa-f:.]*\]?`)

	// leading are the escapes at a text's beginning.
	leading = regexp.MustCompile(`^(?:%[0-9A-Fa-f]{2})*`)

	// numbered are HTML escapes with a number sign, which would begin a fragment.
	numbered = regexp.MustCompile(`&#(?:[0-9]+|[xX][0-9A-Fa-f]+)(?:;|$)`)

	// pathNames may have apostrophes within and parentheses after them:
	// O'Brien, Customers('ALFKI'). Letters may be escaped.
	pathNames = regexp.MustCompile(pathName + `(?:['’]` + pathName + `)*(?:\([^()/]*\))*`)

	errNotAlone = errors.New("has a quote, bracket or other mark around it or in its path: leave it out, or escape it if it belongs there")
	errBefore   = errors.New("has a word or mark before its path: leave that out, or begin with a slash if it belongs there")
)

// checkAlone refuses a URL or path with something around it, as models write it:
// quotes, brackets, backticks, a code fence, emphasis, a word. With these, the API
// would get another request than the model meant. Most of these characters may not
// stand in a path anyway (RFC 3986, section 3.3). A query may hold them, in pairs.
func checkAlone(text string) error {
	head := html.UnescapeString(text)
	escapes := leading.FindString(head)
	plain, _ := url.PathUnescape(escapes)
	head = plain + head[len(escapes):]
	first, size := utf8.DecodeRuneInString(head)
	last, _ := utf8.DecodeLastRuneInString(text)
	around := first == last && len(text) > size && !unicode.In(first, unicode.L, unicode.N) && !strings.ContainsRune("/?.", first)
	if around || encloses(first) || strings.ContainsRune("*#", first) || numbered.MatchString(text) {
		return errNotAlone
	}
	text, _, _ = strings.Cut(text, "#") // is not sent
	p, query, _ := strings.Cut(addresses.ReplaceAllString(text, "$1"), "?")
	inside := strings.Join(pathNames.FindAllString(p, -1), "")
	switch {
	case strings.ContainsFunc(pathNames.ReplaceAllString(p, ""), encloses),
		strings.ContainsFunc(strings.NewReplacer("'", "", "’", "", "(", "", ")", "").Replace(inside), encloses),
		strings.HasSuffix(text, ",") || strings.HasSuffix(text, ";"),
		closes(strings.TrimRight(query, ".!?:")): // of the model's sentence
		return errNotAlone
	case introduces(p):
		return errBefore
	case strings.ContainsFunc(text, unicode.IsSpace):
		return errors.New("has white space in it: write the URL alone, and %20 for a space that belongs to it")
	}
	return nil
}

// encloses reports whether r is a quote, a bracket or a backtick.
func encloses(r rune) bool {
	return strings.ContainsRune("<>`´＜＞｀′″‵‶", r) || '❛' <= r && r <= '❠' ||
		unicode.In(r, unicode.Quotation_Mark, unicode.Ps, unicode.Pe, unicode.Pi, unicode.Pf)
}

// introduces reports whether the first segment of a path, if it has others, is what
// models write before a path: a mark alone, a name with an equals sign, a method.
func introduces(p string) bool {
	first, _, more := strings.Cut(p, "/")
	return more && strings.Trim(first, ".") != "" &&
		(!strings.ContainsFunc(first, func(r rune) bool { return unicode.In(r, unicode.L, unicode.N) }) ||
			strings.HasSuffix(first, "=") || slices.Contains(knownMethods, first))
}

// closes reports whether a query ends with a quote or bracket that is not opened
// in it.
func closes(query string) bool {
	last, _ := utf8.DecodeLastRuneInString(query)
	if i := strings.IndexRune(")]}>", last); i >= 0 {
		return strings.Count(query, string(last)) > strings.Count(query, "([{<"[i:i+1])
	}
	n := 0
	for _, r := range query {
		if r == last || encloses(r) && min(r, last) >= utf8.RuneSelf { // such as “ and ”
			n++
		}
	}
	return last == '`' || encloses(last) && n%2 == 1
}
