// Copyright 2026 The authsec Authors
// SPDX-License-Identifier: Apache-2.0

package fetchtool_test

import (
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"net/http"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"unicode/utf8"

	"github.com/authsec-go/authsec/fetchtool"
)

// typed answers 200 with this Content-Type; "": with none at all.
func typed(contentType, body string) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header()["Content-Type"] = nil
		if contentType != "" {
			w.Header().Set("Content-Type", contentType)
		}
		io.WriteString(w, body)
	})
}

func TestTextIsPassedOnAndBinaryRefused(t *testing.T) {
	png := "\x89PNG\r\n\x1a\n" + strings.Repeat("\x00", 100)
	for _, c := range []struct {
		contentType, body string
		want              string // of the text; "": refused
		advice            string // of the refusal
	}{
		{"text/plain", "hello", "hello", ""},
		{"text/html; charset=utf-8", "<p>é</p>", "<p>é</p>", ""},
		{"application/json", `{"a":1}`, `{"a":1}`, ""},
		{"Application/JSON; charset=UTF-8", `{"a":1}`, `{"a":1}`, ""},
		{"application/problem+json", `{"a":1}`, `{"a":1}`, ""},
		{"application/vnd.api+json; version=1", `{"a":1}`, `{"a":1}`, ""},
		{"application/xml", `<a/>`, `<a/>`, ""},
		{"application/atom+xml", `<a/>`, `<a/>`, ""},
		{"image/svg+xml", `<svg/>`, `<svg/>`, ""},
		{"application/x-www-form-urlencoded", "a=b", "a=b", ""},
		{"application/x-ndjson", "{}\n{}", "{}\n{}", ""},
		{"nonsense", "hello", "", "nonsense, of 5 bytes"},
		{"text/csv", "a;b", "a;b", ""},
		{"text/plain; charset", "hello", "hello", ""}, // a malformed parameter
		{"", `{"a":1}`, `{"a":1}`, ""},                // sniffed
		{"", "<html></html>", "<html></html>", ""},
		{"not a type", "hello", "hello", ""},
		{"", png, "", "image/png, of 108 bytes"},
		{"image/png", png, "", "image/png, of 108 bytes"},
		{"application/octet-stream", "hello", "", "application/octet-stream, of 5 bytes"},
		{"application/pdf", "%PDF-1.7", "", "application/pdf, of 8 bytes"},
		{"application/zip", "PK\x03\x04", "", "application/zip, of 4 bytes"},
		{"multipart/form-data; boundary=x", "--x", "", "multipart/form-data, of 3 bytes"},
		{"application/" + strings.Repeat("x", 1000), "hello", "", "xxx, of 5 bytes"},
		{"text/plain", "a\x00b", "", "not text at all, of 3 bytes"},
		{"application/json", png, "", "not text at all, of 108 bytes"},
		{"text/plain; charset=utf-16", "h\x00i\x00", "", "character set"},
		{"text/plain; charset=utf-7", "+AGUAeQ-", "", "character set"},
		{"", "\xff\xfeh\x00i\x00", "", "character set"},
		// Valid UTF-8 in any case.
		{"text/plain", "a\xffb\xc3", "a\uFFFDb\uFFFD", ""},
		{"application/json; charset=utf-8", "\"\xed\xa0\x80\"", "\"\uFFFD\"", ""},
		{"text/plain", "\uFEFFhello", "hello", ""},
		{"text/plain; charset=ISO-8859-1", "caf\xe9 \x85", "café \uFFFD", ""},
		{"text/html; charset=windows-1252", "caf\xe9", "café", ""},
	} {
		s, _ := newServers(t, typed(c.contentType, c.body), nil)
		if c.want == "" {
			e := s.fail(t, fetchtool.Request{URL: "x"}, fetchtool.NotText)
			wantIn(t, e.Advice, c.advice)
			if len(e.Advice) > 500 {
				t.Errorf("%.50q: got %d bytes of advice, want it bounded", c.contentType, len(e.Advice))
			}
			continue
		}
		result, err := s.tool.Fetch(callContext(t), fetchtool.Request{URL: "x"})
		if err != nil {
			t.Errorf("%q, %q: got %v, want %q", c.contentType, c.body, err, c.want)
			continue
		}
		if result.Text != c.want || result.Cut || !utf8.ValidString(result.Text) {
			t.Errorf("%q, %q: got %q (cut: %t), want %q", c.contentType, c.body, result.Text, result.Cut, c.want)
		}
	}
}

func TestLongAnswersAreCutAndSaySo(t *testing.T) {
	for _, c := range []struct {
		body string
		want string
		cut  bool
	}{
		{strings.Repeat("x", 100), strings.Repeat("x", 100), false},
		{strings.Repeat("x", 101), strings.Repeat("x", 100), true},
		{strings.Repeat("x", 99) + "é", strings.Repeat("x", 99), true}, // no half character
		{strings.Repeat("x", 98) + "é", strings.Repeat("x", 98) + "é", false},
		{strings.Repeat("é", 1e5), strings.Repeat("é", 50), true},
	} {
		for _, announced := range []bool{true, false} {
			s, _ := newServers(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				w.Header().Set("Content-Type", "text/plain")
				if announced {
					w.Header().Set("Content-Length", fmt.Sprint(len(c.body)))
				} else {
					w.(http.Flusher).Flush()
				}
				io.WriteString(w, c.body)
			}), func(cfg *fetchtool.Config) { cfg.MaxAnswer = 100 })
			result, err := s.tool.Fetch(callContext(t), fetchtool.Request{URL: "x"})
			if err != nil {
				t.Fatal(err)
			}
			if result.Text != c.want || result.Cut != c.cut {
				t.Errorf("%d bytes: got %d bytes, cut %t; want %d, %t", len(c.body), len(result.Text), result.Cut, len(c.want), c.cut)
			}
			shown := result.String()
			switch {
			case !c.cut && shown != c.want:
				t.Errorf("got %q, want the text alone", shown)
			case c.cut && announced:
				wantIn(t, shown, c.want+"\n\n[Cut here: the answer has "+fmt.Sprint(len(c.body))+" bytes", "Ask for less")
			case c.cut:
				wantIn(t, shown, c.want+"\n\n[Cut here", "Ask for less")
			}
		}
	}
}

// A character that is not UTF-8 takes more bytes in the answer than in the text.
func TestAnswerThatDecodingShortensIsCutAndSaysSo(t *testing.T) {
	body := `{"rows":"` + strings.Repeat("\xcf\xf0\xe8\xe2\xe5\xf2 12 ", 20_000) + `"}` // Windows-1251
	s := newStack(t, &ledger{handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		io.WriteString(w, body)
	})}, nil)
	r, err := s.tool.Fetch(callContext(t), fetchtool.Request{URL: "x"})
	if err != nil || !r.Cut {
		t.Errorf("got %d of %d bytes, %v, and it does not say that it was cut", len(r.Text), len(body), err)
	}
}

func TestDefaultLimitIs64KiB(t *testing.T) {
	s, _ := newServers(t, text(strings.Repeat("x", 1<<20)), nil)
	result, err := s.tool.Fetch(callContext(t), fetchtool.Request{URL: "x"})
	if err != nil {
		t.Fatal(err)
	}
	if len(result.Text) != 64<<10 || !result.Cut {
		t.Errorf("got %d bytes (cut: %t), want 65536, cut", len(result.Text), result.Cut)
	}
}

// TestCompressedBombIsBoundedAfterDecompression has 32 MiB of zeros in 32 KB.
func TestCompressedBombIsBoundedAfterDecompression(t *testing.T) {
	const size = 32 << 20
	var bomb bytes.Buffer
	z := gzip.NewWriter(&bomb)
	block := bytes.Repeat([]byte("0"), 1<<20)
	for range size / len(block) {
		z.Write(block)
	}
	z.Close()
	var compressed atomic.Bool
	s, _ := newServers(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		compressed.Store(strings.Contains(r.Header.Get("Accept-Encoding"), "gzip"))
		w.Header().Set("Content-Type", "text/plain")
		w.Header().Set("Content-Encoding", "gzip")
		w.Write(bomb.Bytes())
	}), nil)
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	result, err := s.tool.Fetch(callContext(t), fetchtool.Request{URL: "x"})
	runtime.ReadMemStats(&after)
	if err != nil {
		t.Fatal(err)
	}
	if !compressed.Load() {
		t.Fatal("the transport did not ask for gzip: nothing is tested")
	}
	if len(result.Text) != 64<<10 || !result.Cut {
		t.Errorf("got %d bytes (cut: %t), want 65536", len(result.Text), result.Cut)
	}
	if used := after.TotalAlloc - before.TotalAlloc; used > size/8 {
		t.Errorf("got %d bytes allocated for the call, want far less than the %d of the bomb", used, size)
	}
}

func TestUnknownCompressionIsRefused(t *testing.T) {
	for _, c := range []struct {
		codings []string // a header each
		refused bool
	}{
		{[]string{"br"}, true},
		{[]string{"zstd"}, true},
		{[]string{"deflate"}, true},
		{[]string{"gzip, gzip"}, true},
		{[]string{"identity", "gzip"}, true},
		{[]string{"identity, br"}, true},
		{[]string{"", "br"}, true},
		{[]string{"identity"}, false},
		{[]string{"Identity, ", "identity"}, false},
	} {
		s, _ := newServers(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Type", "text/plain")
			w.Header()["Content-Encoding"] = c.codings
			io.WriteString(w, "hello")
		}), nil)
		if !c.refused {
			if got := s.call(t, "x"); got != "hello" {
				t.Errorf("%q: got %q, want hello", c.codings, got)
			}
			continue
		}
		e := s.fail(t, fetchtool.Request{URL: "x"}, fetchtool.NotText)
		wantIn(t, e.Advice, "compressed")
	}
}

// net/http accepts headers of 10 MB.
func TestHugeContentTypeIsBounded(t *testing.T) {
	const size = 4 << 20
	header := "text/" + strings.Repeat("V", size) // costs most where secrets are looked for
	s := newStack(t, roundTrip(func(req *http.Request) (*http.Response, error) {
		return &http.Response{StatusCode: 200, Request: req, Header: http.Header{"Content-Type": {header}}, ContentLength: -1, Body: io.NopCloser(strings.NewReader("ok"))}, nil
	}), nil)
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	result, err := s.tool.Fetch(callContext(t), fetchtool.Request{URL: "x"})
	runtime.ReadMemStats(&after)
	if err != nil || result.Text != "ok" || len(result.ContentType) != 100 {
		t.Errorf("got %.200v, %v, want ok and 100 bytes of the type", result, err)
	}
	if used := after.TotalAlloc - before.TotalAlloc; used > 10*size {
		t.Errorf("got %d bytes allocated for the call, want about the %d of the header", used, size)
	}
}

func TestResponseHeadersAreNotHandedOn(t *testing.T) {
	for _, status := range []int{200, 403, 500} {
		base := &ledger{handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Type", "text/plain; x=header-value")
			w.Header().Set("X-Internal", "header-value")
			w.Header().Set("Set-Cookie", "a=header-value")
			w.WriteHeader(status)
		})}
		s := newStack(t, base, func(c *fetchtool.Config) { c.Methods = []string{"POST"} }) // not repeated
		if got := s.call(t, `{"url":"x","method":"POST"}`); strings.Contains(got, "header-value") {
			t.Errorf("%d: got %q, want no header in it", status, got)
		}
	}
}

func TestAnswerThatBreaksOffIsNoAnswer(t *testing.T) {
	s, _ := newServers(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/plain")
		w.Header().Set("Content-Length", "100")
		io.WriteString(w, "half")
	}), nil)
	e := s.fail(t, fetchtool.Request{URL: "x"}, fetchtool.Unavailable)
	if !errors.Is(e, io.ErrUnexpectedEOF) {
		t.Errorf("got the cause %v, want io.ErrUnexpectedEOF", e.Unwrap())
	}
}
