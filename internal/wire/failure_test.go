// Copyright 2026 The authsec Authors
// SPDX-License-Identifier: Apache-2.0

package wire

import (
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

func TestRetryAfterIsReadWithinBounds(t *testing.T) {
	const date = "Tue, 24 Nov 2026 08:00:00 GMT"
	for _, c := range []struct {
		name, after, date string
		want              time.Duration
		ok                bool
	}{
		{"absent", "", date, 0, false},
		{"blank", "  ", date, 0, false},
		{"seconds", "120", date, 2 * time.Minute, true},
		{"seconds amid white space", " 7 ", "", 7 * time.Second, true},
		{"zero", "0", date, 0, true},
		{"leading zeros", strings.Repeat("0", 40) + "5", date, 5 * time.Second, true},
		{"seconds that a Duration just holds", "9223372036", date, 9223372036 * time.Second, true},
		{"seconds that overflow a Duration", "9223372037", date, maxDuration, true},
		{"seconds that overflow an int64", "99999999999999999999", date, maxDuration, true},
		{"seconds of a thousand digits", strings.Repeat("9", 1000), date, maxDuration, true},
		{"negative", "-1", date, 0, false},
		{"signed", "+1", date, 0, false},
		{"a fraction", "1.5", date, 0, false},
		{"hexadecimal", "0x10", date, 0, false},
		{"foreign digits", "١", date, 0, false},
		{"text", "soon", date, 0, false},
		{"IMF-fixdate", "Tue, 24 Nov 2026 08:00:30 GMT", date, 30 * time.Second, true},
		{"RFC 850", "Tuesday, 24-Nov-26 08:00:30 GMT", date, 30 * time.Second, true},
		{"asctime", "Tue Nov 24 08:00:30 2026", date, 30 * time.Second, true},
		{"in the past", "Tue, 24 Nov 2026 07:59:59 GMT", date, 0, true},
		{"now", date, date, 0, true},
		{"the year 9999", "Fri, 31 Dec 9999 23:59:59 GMT", date, maxDuration, true},
		{"the year 1", "Mon, 01 Jan 0001 00:00:00 GMT", date, 0, true},
		{"no such day", "Tue, 31 Feb 2026 08:00:00 GMT", date, 0, false},
		{"a Date in RFC 850's form", "Tue, 24 Nov 2026 08:00:30 GMT", "Tuesday, 24-Nov-26 08:00:00 GMT", 30 * time.Second, true},
		// The local clock is at 2000-01-01 in a bubble.
		{"no Date", "Sat, 01 Jan 2000 00:00:30 GMT", "", 30 * time.Second, true},
		{"a malformed Date", "Sat, 01 Jan 2000 00:00:30 GMT", "yesterday", 30 * time.Second, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				h := http.Header{}
				if c.after != "" {
					h.Set("Retry-After", c.after)
				}
				if c.date != "" {
					h.Set("Date", c.date)
				}
				if got, ok := RetryAfter(h); got != c.want || ok != c.ok {
					t.Errorf("got %v, %v, want %v, %v", got, ok, c.want, c.ok)
				}
			})
		})
	}
}

func FuzzRetryAfter(f *testing.F) {
	for _, after := range []string{"", "0", "120", " 5 ", "9223372037", "-1", "Tue, 24 Nov 2026 08:00:30 GMT", "Tuesday, 24-Nov-26 08:00:30 GMT", "Fri, 31 Dec 9999 23:59:59 GMT"} {
		f.Add(after, "Tue, 24 Nov 2026 08:00:00 GMT")
		f.Add(after, "")
	}
	f.Fuzz(func(t *testing.T, after, date string) {
		h := http.Header{"Retry-After": {after}, "Date": {date}}
		got, ok := RetryAfter(h)
		if got < 0 || !ok && got != 0 {
			t.Errorf("Retry-After %q, Date %q: got %v, %v, want nothing negative, and zero if not ok", after, date, got, ok)
		}
	})
}
