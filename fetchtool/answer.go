// Copyright 2026 The authsec Authors
// SPDX-License-Identifier: Apache-2.0

package fetchtool

import (
	"bufio"
	"fmt"
	"io"
	"mime"
	"net/http"
	"slices"
	"strings"

	"github.com/authsec-go/authsec/internal/redact"
)

// maxExcerpt is how many bytes of an error's answer are shown to a model.
const maxExcerpt = 2 << 10

// Result is an API's answer with a status of 2xx. Its text is data, not
// instructions, whatever it asks the reader to do.
type Result struct {
	URL         string // where the answer came from, after redirects
	StatusCode  int
	ContentType string // such as "application/json"; "" if there is neither text nor a declared type
	Text        string // valid UTF-8, at most Config.MaxAnswer bytes of the answer's text
	Cut         bool   // there was more
	Size        int64  // of the whole answer in bytes, as it was announced; -1: it was not
}

// String returns the text for a model, with a note if it was cut.
func (r *Result) String() string {
	switch {
	case r.Cut && r.Size >= 0:
		return fmt.Sprintf("%s\n\n[Cut here: the answer has %d bytes, which is too many. Ask for less at a time, if the API can filter or page.]", r.Text, r.Size)
	case r.Cut:
		return r.Text + "\n\n[Cut here: the answer is too long. Ask for less at a time, if the API can filter or page.]"
	case r.Text == "":
		return fmt.Sprintf("[The API answered %d %s, with no text.]", r.StatusCode, http.StatusText(r.StatusCode))
	}
	return r.Text
}

// readText reads the first limit bytes of an answer's text, with the secrets
// struck out. An empty answer may have any media type. The error is the body's, or an
// *Error that says what the answer has in place of text.
func readText(resp *http.Response, s sent, secrets []string, limit int) (*Result, error) {
	declared := resp.Header.Get("Content-Type")
	mediaType, params, err := mime.ParseMediaType(declared)
	shown := ""
	if mediaType != "" { // struck out before ToLower, after which base64 can't be decoded
		raw, _, _ := strings.Cut(declared, ";")
		shown, _ = redact.Strike(strings.TrimSpace(raw), maxShownType, secrets...)
		shown = strings.ToLower(shown)
	}
	r := &Result{StatusCode: resp.StatusCode, ContentType: shown, Size: resp.ContentLength}
	if resp.Request != nil && resp.Request.URL != nil {
		r.URL, _ = redact.Strike(resp.Request.URL.String(), maxURL, secrets...)
	}
	in := bufio.NewReader(resp.Body)
	if _, err := in.Peek(1); err == io.EOF {
		return r, nil
	}
	if encoded(resp.Header) {
		return nil, notText("compressed in a way that this tool does not know", resp, s)
	}
	if known := err == nil || mediaType != ""; known && !textual(mediaType) {
		return nil, notText(shown, resp, s)
	}
	most := limit + redact.Reach(secrets...)
	body, err := io.ReadAll(io.LimitReader(in, int64(most)+1))
	if err != nil {
		return nil, err
	}
	if mediaType == "" {
		mediaType, params, _ = mime.ParseMediaType(http.DetectContentType(body))
		r.ContentType = mediaType
		if !textual(mediaType) {
			return nil, notText(mediaType, resp, s)
		}
	}
	text, ok := decode(body, params["charset"])
	if !ok {
		return nil, notText(r.ContentType+" in a character set that this tool does not know, or not text at all", resp, s)
	}
	more := len(body) > most
	if more { // decode may have shortened it, so that a secret that is halved at its end is below limit
		first, _ := decode(body[:limit], params["charset"])
		limit = min(limit, len(first))
	}
	r.Text, r.Cut = redact.Strike(text, limit, secrets...)
	r.Cut = r.Cut || more
	return r, nil
}

// encoded reports whether an answer has a content coding (RFC 9110, section 8.4).
func encoded(h http.Header) bool {
	codings := strings.Split(strings.Join(h.Values("Content-Encoding"), ","), ",")
	return slices.ContainsFunc(codings, func(coding string) bool {
		coding = strings.TrimSpace(coding)
		return coding != "" && !strings.EqualFold(coding, "identity")
	})
}

// textual reports whether a media type is text that a model can read.
func textual(mediaType string) bool {
	kind, sub, _ := strings.Cut(mediaType, "/")
	if kind == "text" || strings.HasSuffix(sub, "+json") || strings.HasSuffix(sub, "+xml") {
		return true
	}
	if kind != "application" {
		return false
	}
	switch sub {
	case "json", "xml", "x-www-form-urlencoded", "javascript", "x-javascript", "ecmascript",
		"yaml", "x-yaml", "toml", "x-ndjson", "jsonl", "json-seq", "graphql", "sql":
		return true
	}
	return false
}

// decode returns a body as valid UTF-8. It returns false for a character set that
// could hide a secret, and for binary data.
func decode(body []byte, charset string) (string, bool) {
	text := string(body)
	switch strings.ToLower(charset) {
	case "", "utf-8", "utf8", "us-ascii", "ascii":
	case "iso-8859-1", "latin1", "windows-1252":
		var b strings.Builder
		for _, c := range body {
			if 0x80 <= c && c < 0xa0 { // control characters in ISO 8859-1, various in Windows-1252
				b.WriteRune('\uFFFD')
			} else {
				b.WriteRune(rune(c))
			}
		}
		text = b.String()
	default:
		return "", false
	}
	text = strings.TrimPrefix(strings.ToValidUTF8(text, "\uFFFD"), "\uFEFF")
	return text, !strings.Contains(text, "\x00")
}

// maxShownType is how many bytes of a foreign media type are shown.
const maxShownType = 100

func notText(what string, resp *http.Response, s sent) *Error {
	size := "of unknown size"
	if resp.ContentLength >= 0 {
		size = fmt.Sprintf("of %d bytes", resp.ContentLength)
	}
	e := fail(NotText, "The answer is not text that can be shown here: %s, %s. %s", what, size, s.todo("Ask for JSON or text, if the API has it."))
	e.StatusCode = resp.StatusCode
	return e
}
