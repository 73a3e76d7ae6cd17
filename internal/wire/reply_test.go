// Copyright 2026 The authsec Authors
// SPDX-License-Identifier: Apache-2.0

package wire

import (
	"bytes"
	"errors"
	"io"
	"net/http"
	"reflect"
	"strings"
	"testing"
	"testing/iotest"
	"testing/synctest"
	"time"
)

// body is an answer's body that counts what is read, and its closing.
type body struct {
	io.Reader
	read   int
	closed int
}

func (b *body) Read(p []byte) (int, error) {
	n, err := b.Reader.Read(p)
	b.read += n
	return n, err
}

func (b *body) Close() error {
	b.closed++
	return errors.New("close failed")
}

// zeros is an endless body.
type zeros struct{}

func (zeros) Read(p []byte) (int, error) { clear(p); return len(p), nil }

func TestBodyIsReadUpToAMebibyteAndClosedOnce(t *testing.T) {
	broken := errors.New("connection reset")
	for _, c := range []struct {
		name    string
		status  int
		body    io.Reader
		want    string // of the body, cut at 20 bytes
		size    int
		tooLong bool
		err     error
	}{
		{"empty", 204, strings.NewReader(""), "", 0, false, nil},
		{"short", 200, strings.NewReader("{}"), "{}", 2, false, nil},
		{"byte by byte", 200, iotest.OneByteReader(strings.NewReader("{}")), "{}", 2, false, nil},
		{"the limit", 200, io.LimitReader(zeros{}, MaxAnswer), strings.Repeat("\x00", 20), MaxAnswer, false, nil},
		{"one byte more", 200, io.LimitReader(zeros{}, MaxAnswer+1), strings.Repeat("\x00", 20), MaxAnswer, true, nil},
		{"endless", 500, zeros{}, strings.Repeat("\x00", 20), MaxAnswer, true, nil},
		{"a byte order mark", 200, strings.NewReader("\ufeff{}"), "{}", 2, false, nil},
		{"a 200 that breaks off", 200, io.MultiReader(strings.NewReader("{"), iotest.ErrReader(broken)), "", 0, false, broken},
		{"a 404 that breaks off", 404, io.MultiReader(strings.NewReader("{"), iotest.ErrReader(broken)), "", 0, false, broken},
		{"a 503 that breaks off", 503, io.MultiReader(strings.NewReader("{"), iotest.ErrReader(broken)), "{", 1, false, nil},
		{"a 429 that breaks off", 429, iotest.ErrReader(io.ErrUnexpectedEOF), "", 0, false, nil},
	} {
		b := &body{Reader: c.body}
		r, err := ReadReply(&http.Response{StatusCode: c.status, Header: http.Header{"X": {"y"}}, Body: b}, time.Now())
		if b.closed != 1 || b.read > MaxAnswer+1 {
			t.Errorf("%s: closed %d times after %d bytes, want once after %d at most", c.name, b.closed, b.read, MaxAnswer+1)
		}
		if !errors.Is(err, c.err) || (err == nil) != (r != nil) {
			t.Errorf("%s: got %v, %v, want the error %v", c.name, r, err, c.err)
		}
		if err != nil {
			continue
		}
		if got := string(r.Body[:min(20, len(r.Body))]); got != c.want || len(r.Body) != c.size || r.TooLong != c.tooLong || r.Status != c.status || r.Header.Get("X") != "y" {
			t.Errorf("%s: got %d, %q of %d bytes, too long %t, want %d, %q of %d, %t", c.name, r.Status, got, len(r.Body), r.TooLong, c.status, c.want, c.size, c.tooLong)
		}
	}
	if r, err := ReadReply(&http.Response{StatusCode: 200}, time.Now()); err != nil || len(r.Body) != 0 {
		t.Errorf("no body: got %v, %v, want an empty one", r, err)
	}
}

func TestAgeIsReadInSeconds(t *testing.T) {
	for age, want := range map[string]time.Duration{
		"": 0, "0": 0, "7": 7 * time.Second, " 7 ": 7 * time.Second, "2147483647": 2147483647 * time.Second,
		"2147483648": 0, "-7": 0, "+7": 0, "7.5": 0, "0x7": 0, "seven": 0, "7, 8": 0,
	} {
		r, err := ReadReply(&http.Response{StatusCode: 200, Header: http.Header{"Age": {age}}}, time.Now())
		if err != nil || r.Age != want {
			t.Errorf("%q: got %v, %v, want %v", age, r.Age, err, want)
		}
	}
}

// The local clock is at 2000-01-01 in a bubble. The request took 2 s.
func TestDateTellsTheServersClockIfItHasOne(t *testing.T) {
	const second = time.Second
	at := func(year int) time.Duration {
		return time.Date(year, 12, 31, 23, 59, 59, 0, time.UTC).Sub(time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC)) + second
	}
	for _, c := range []struct {
		name, date, age string
		want            time.Duration
	}{
		{"none", "", "", 0},
		{"malformed", "yesterday", "", 0},
		{"the year 1000", "Wed, 31 Dec 1000 23:59:59 GMT", "", 0},
		{"1970, without a clock", "Thu, 01 Jan 1970 00:00:00 GMT", "", 0},
		{"2019", "Tue, 31 Dec 2019 23:59:59 GMT", "", 0},
		{"2020", "Thu, 31 Dec 2020 23:59:59 GMT", "", at(2020)},
		{"in RFC 850's form", "Thursday, 31-Dec-20 23:59:59 GMT", "", at(2020)},
		{"2199", "Tue, 31 Dec 2199 23:59:59 GMT", "", at(2199)},
		{"2200", "Wed, 31 Dec 2200 23:59:59 GMT", "", 0},
		{"9999", "Fri, 31 Dec 9999 23:59:59 GMT", "", 0},
		{"from a cache", "Thu, 31 Dec 2020 23:59:59 GMT", "60", at(2020) + 60*second},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				sent := time.Now()
				time.Sleep(2 * second)
				r, err := ReadReply(&http.Response{StatusCode: 200, Header: http.Header{"Date": {c.date}, "Age": {c.age}}, Body: io.NopCloser(slow{})}, sent)
				if err != nil || r.Ahead != c.want {
					t.Fatalf("got %v, %v, want %v", r.Ahead, err, c.want)
				}
				received := sent.Add(2 * second)
				if !r.Sent.Equal(sent) || !r.Received.Equal(received) {
					t.Errorf("got sent %v, received %v, want %v and %v, when the header came", r.Sent, r.Received, sent, received)
				}
				if want := received.Add(c.want); !r.Now().Equal(want) {
					t.Errorf("Now: got %v, want %v", r.Now(), want)
				}
				if want := sent.Add(c.want - r.Age); !r.Asked().Equal(want) {
					t.Errorf("Asked: got %v, want %v", r.Asked(), want)
				}
			})
		})
	}
}

// slow is an empty body that takes its time.
type slow struct{}

func (slow) Read([]byte) (int, error) { time.Sleep(time.Second); return 0, io.EOF }

func TestClockThatAgreesWithTheDateStands(t *testing.T) {
	date := time.Date(2026, 11, 24, 8, 0, 0, 0, time.UTC)
	ms := func(n int) time.Duration { return time.Duration(n) * time.Millisecond }
	for _, c := range []struct {
		name                string
		sent, received, age int // ms; sent and received after date, on the local clock
		want                int
	}{
		{"within the second", 100, 300, 0, 0},
		{"at its begin", 0, 0, 0, 0},
		{"at its end", 999, 999, 0, 0},
		{"sent in it, received after it", 999, 5000, 0, 0},
		{"sent before it, received in it", -5000, 0, 0, 0},
		{"sent before, received after it", -5000, 5000, 0, 0},
		{"the local clock just behind", -101, -1, 0, 1101},
		{"the local clock behind", -60_000, -59_000, 0, 61_000},
		{"the local clock just ahead", 1000, 1100, 0, 0},
		{"the local clock ahead", 61_000, 62_000, 0, -60_000},
		{"ahead by less than a second", 1001, 1001, 0, -1},
		{"from a cache, and agrees", 30_000, 30_100, 30_000, 0},
		{"from a cache, and behind", 20_000, 20_100, 30_000, 11_000},
	} {
		got := clockAhead(date, ms(c.age), date.Add(ms(c.sent)), date.Add(ms(c.received)))
		if got != ms(c.want) {
			t.Errorf("%s: got %v, want %v", c.name, got, ms(c.want))
		}
	}
}

func TestBodyIsOneJSONObject(t *testing.T) {
	const noObject, more = "it is not a JSON object", "something follows its JSON object"
	for _, c := range []struct {
		name, body string
		want       map[string]any
		err        string
	}{
		{"an object", `{"a":"b","n":null}`, map[string]any{"a": "b", "n": nil}, ""},
		{"an empty object", `{}`, map[string]any{}, ""},
		{"white space around", " \r\n\t{} \n", map[string]any{}, ""},
		{"a name twice", `{"a":1,"a":2}`, map[string]any{"a": 2.}, ""},
		{"names in two cases", `{"a":1,"A":2}`, map[string]any{"a": 1., "A": 2.}, ""},
		{"nothing", "", nil, noObject},
		{"white space", "  ", nil, noObject},
		{"null", "null", nil, noObject},
		{"a list", `[{"a":1}]`, nil, noObject},
		{"a string", `"a"`, nil, noObject},
		{"HTML", "<html></html>", nil, noObject},
		{"cut short", `{"a":1`, nil, noObject},
		{"a number that no float64 holds", `{"a":1e999}`, nil, noObject},
		{"nested too deeply", strings.Repeat(`{"a":`, 20000) + "1" + strings.Repeat("}", 20000), nil, noObject},
		{"two byte order marks", "\ufeff\ufeff{}", nil, noObject},
		{"another object", "{}{}", nil, more},
		{"trailing text", "{} x", nil, more},
		{"a trailing bracket", "{}}", nil, more},
		{"a trailing comma", "{},", nil, more},
		{"a trailing null byte", "{}\x00", nil, more},
		{"a megabyte", `{"a":"` + strings.Repeat("x", MaxAnswer-8) + `"}`, map[string]any{"a": strings.Repeat("x", MaxAnswer-8)}, ""},
		{"more", `{"a":"` + strings.Repeat("x", MaxAnswer-7) + `"}`, nil, "it is longer than 1048576 bytes"},
	} {
		r, err := ReadReply(&http.Response{StatusCode: 200, Body: io.NopCloser(strings.NewReader(c.body))}, time.Now())
		if err != nil {
			t.Fatal(err)
		}
		f, err := r.object()
		if got := text(err); got != c.err || !reflect.DeepEqual(f.Values, c.want) {
			t.Errorf("%s: got %.100v, %v, want %.100v, %q", c.name, f.Values, err, c.want, c.err)
		}
	}
}

func text(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

// What is shared is the body, as a part of a JSON document.
func TestBodyWithAByteOrderMarkIsJSON(t *testing.T) {
	r, err := ReadReply(&http.Response{StatusCode: 200, Body: io.NopCloser(strings.NewReader("\ufeff{}"))}, time.Now())
	if err != nil || !bytes.Equal(r.Body, []byte("{}")) {
		t.Errorf("got %q, %v, want {}", r.Body, err)
	}
}
