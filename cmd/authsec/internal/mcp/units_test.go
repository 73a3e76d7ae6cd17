// Copyright 2026 The authsec Authors
// SPDX-License-Identifier: Apache-2.0

package mcp

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"testing"
	"testing/iotest"
	"time"
)

func TestEventsAreReadAsTheStandardSays(t *testing.T) {
	stream := "\xef\xbb\xbf: comment\n\ndata: a\n\n" + // a BOM begins no field
		"data:b\r\ndata: c\r\ndata\r\n\r\n" +
		"id: 1\rdata:  d\r\revent: other\nid: 2\nretry: 1500\nretry: x\ndata: e\n\n" +
		"id: bad\x00\ndata:\n\nunknown: x\nevent: dropped\n\ndata: f\nevent\n\n" +
		"id: 9\ndata: without an end"
	for name, r := range map[string]io.Reader{"whole": strings.NewReader(stream), "one byte at a time": iotest.OneByteReader(strings.NewReader(stream))} {
		e := eventReader{r: bufio.NewReader(r), limit: 100}
		var got []string
		for {
			ev, err := e.next()
			if err != nil {
				got = append(got, err.Error())
				break
			}
			got = append(got, fmt.Sprintf("%s %q %s", ev.name, ev.data, e.lastID))
		}
		want := []string{` "a" `, ` "b\nc\n" `, ` " d" 1`, `other "e" 2`, ` "" 2`, ` "f" 2`, "unexpected EOF"}
		if fmt.Sprint(got) != fmt.Sprint(want) {
			t.Errorf("%s: got  %q\nwant %q", name, got, want)
		}
		if e.retry != 1500*time.Millisecond || e.lastID != "2" {
			t.Errorf("%s: got retry %v after %q", name, e.retry, e.lastID)
		}
	}
	for _, long := range []string{"data: " + strings.Repeat("x", 200), strings.Repeat("data: "+strings.Repeat("x", 50)+"\n", 4), "x" + strings.Repeat("x", 500)} {
		e := eventReader{r: bufio.NewReader(strings.NewReader(long)), limit: 100}
		if _, err := e.next(); err != errEventTooLong {
			t.Errorf("%.20s: got %v, want %v", long, err, errEventTooLong)
		}
	}
}

// FuzzLines: a message that is too long has the same ID and method as the one that
// is parsed, and nothing is lost at the borders of buffers.
func FuzzLines(f *testing.F) {
	for _, s := range []string{
		`{"jsonrpc":"2.0","id":1,"method":"ping"}`, `{"method":"x","params":{"id":3,"a":["id",{"id":4}]},"id":"a\"b","jsonrpc":"2.0"}`,
		`[{"jsonrpc":"2.0","id":1,"method":"ping"}]`, `{"id":{"id":1},"method":"x"}`, `{"jsonrpc":"2.0","method":"x","id":-1.5e3}`, `{"a":"\\","id":2}`, "{}", "1", `{"id":"`, `}{`, `{"params":"}","id":5,"method":"y"}`,
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		raw = bytes.TrimSpace(bytes.ReplaceAll(raw, []byte("\n"), nil))
		var o outline
		o.read(raw)
		if o.id != nil && (!json.Valid(o.id) || !isID(o.id)) {
			t.Errorf("got the ID %q", o.id)
		}
		if answer := o.tooLong(1); answer != nil && !json.Valid(answer) {
			t.Errorf("got the answer %q", answer)
		}
		m, bad := message{}, (*rpcError)(nil)
		if len(raw) > 0 {
			if m, bad = parse(raw); bad != nil && !json.Valid(bad.encode(bad.id)) {
				t.Errorf("got the error %q", bad.encode(bad.id))
			}
		}
		// Keys with escapes, duplicates and long values are not looked for.
		if len(raw) > 0 && bad == nil && m.kind == request && len(raw) < maxKept && !bytes.Contains(raw, []byte(`\u`)) &&
			bytes.Count(raw, []byte(`"id"`)) == 1 && bytes.Count(raw, []byte(`"method"`)) == 1 {
			if string(o.id) != string(m.id) || o.method != m.method {
				t.Errorf("%q: got %s and %q, want %s and %q", raw, o.id, o.method, m.id, m.method)
			}
		}
		in := bytes.Join([][]byte{raw, raw, {}}, []byte("\n"))
		lines := readLines(iotest.HalfReader(bytes.NewReader(in)), len(raw)+2, nil)
		for l := range lines {
			if l.err != nil {
				break
			}
			if l.long != nil || !bytes.Contains(raw, l.text) {
				t.Errorf("got the line %q, want %q", l.text, raw)
			}
		}
	})
}

// An event of many short lines takes as much of the memory as one of a long line.
func TestShortLinesOfAnEventAreHeld(t *testing.T) {
	line := "data: " + strings.Repeat("x", holdStep/4) + "\n"
	for n, want := range map[int]error{8: nil, 80: errTooMuch} {
		all := memory{most: 4 * holdStep}
		e := eventReader{r: bufio.NewReader(strings.NewReader(strings.Repeat(line, n) + "\n")), limit: maxMessage, memory: holding{all: &all}}
		if _, err := e.next(); err != want || all.taken.Load() < 2*holdStep {
			t.Errorf("%d lines: %v, and %d bytes are held, want %v and at least %d", n, err, all.taken.Load(), want, 2*holdStep)
		}
		if e.memory.giveBack(0); all.taken.Load() != 0 {
			t.Errorf("%d lines: %d bytes are held after it, want 0", n, all.taken.Load())
		}
	}
}

func TestLinesAreBounded(t *testing.T) {
	in := "short\n" + strings.Repeat("x", 200_000) + "\n\n  \nlast"
	var got []string
	for l := range readLines(strings.NewReader(in), 1000, nil) {
		if l.err != nil {
			got = append(got, l.err.Error())
			break
		}
		got = append(got, fmt.Sprint(string(l.text), l.long != nil))
	}
	if want := "[shortfalse true lastfalse EOF]"; fmt.Sprint(got) != want {
		t.Errorf("got %v, want %s", got, want)
	}
}

// TestWhatIsTooLong: only a request is answered.
func TestWhatIsTooLong(t *testing.T) {
	for text, want := range map[string]string{
		`{"jsonrpc":"2.0","id":1,"method":"x","params":{"result":1}}`:      "request",
		`{"jsonrpc":"2.0","id":1,"method":"x","result":1}`:                 "request",
		`{"params":["error"],"id":1,"method":"x"}`:                         "request",
		`{"jsonrpc":"2.0","method":"x","params":{"id":1}}`:                 "notification",
		`{"jsonrpc":"2.0","id":1,"result":{"method":"x"}}`:                 "response",
		`{"result":"a","id":1}`:                                            "response",
		`{"jsonrpc":"2.0","id":"a","error":{"code":1,"message":"method"}}`: "response",
		`{"jsonrpc":"2.0","id":null,"error":{}}`:                           "response",
		`[{"jsonrpc":"2.0","id":1,"result":{}}]`:                           "request",
		`{"params":"` + strings.Repeat("x", 5000):                          "request",
	} {
		var o outline
		o.read([]byte(text))
		if got := o.kind(); got != want || (o.tooLong(1) != nil) != (want == "request") {
			t.Errorf("%.80s: got %s with the answer %s, want %s", text, got, o.tooLong(1), want)
		}
	}
}
