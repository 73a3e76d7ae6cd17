// Copyright 2026 The authsec Authors
// SPDX-License-Identifier: Apache-2.0

package wire

import (
	"maps"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// The rows of protocol.md, and what others answer.
func TestWhatEachFailureMeans(t *testing.T) {
	const html = "<html><body>Sign in</body></html>"
	for _, c := range []struct {
		name   string
		status int
		body   string
		want   Failure // but for its Status
	}{
		{"no client ID", 400, `{"error":"client_id is required (query param or X-Client-ID header)"}`, Failure{Kind: InvalidClientID, Message: "client_id is required (query param or X-Client-ID header)"}},
		{"not a UUID", 400, `{"error":"Invalid client_id format"}`, Failure{Kind: InvalidClientID, Message: "Invalid client_id format"}},
		{"another 400", 400, `{"error":"Bad host"}`, Failure{Kind: Elsewhere, Message: "Bad host"}},
		{"a page of 400", 400, "<html>client_id</html>", Failure{Kind: Elsewhere}},

		{"no credential", 401, `{"error":"authorization header required"}`, Failure{Kind: Unauthorized, Message: "authorization header required"}},
		{"a bad credential", 401, `{"error":"Invalid or expired token"}`, Failure{Kind: Unauthorized, Message: "Invalid or expired token"}},
		{"a revoked session", 401, `{"error":"session has been revoked"}`, Failure{Kind: Unauthorized, Message: "session has been revoked"}},
		{"a session that is not known", 401, `{"error":"session is no longer valid for this workspace"}`, Failure{Kind: SessionUnknown, Message: "session is no longer valid for this workspace"}},
		{"a 401 without a body", 401, " \n", Failure{Kind: Unauthorized}},
		{"a 401 with another object", 401, `{"error":{"code":"x","message":"No"}}`, Failure{Kind: Unauthorized, Message: "No"}},
		{"a page of 401", 401, html, Failure{Kind: Elsewhere}},
		{"a 401 that is cut short", 401, `{"error":"Inval`, Failure{Kind: Elsewhere}},
		{"a 403", 403, `{"error":"Forbidden"}`, Failure{Kind: Unauthorized, Message: "Forbidden"}},
		{"a 403 of a session", 403, `{"error":"session is no longer valid"}`, Failure{Kind: Unauthorized, Message: "session is no longer valid"}},
		{"a page of 403", 403, html, Failure{Kind: Elsewhere}},

		{"an unknown agent", 404, `{"error":"Client not found","details":"client_id … not found in tenant_mappings"}`, Failure{Kind: UnknownClient, Message: "Client not found", Details: "client_id … not found in tenant_mappings"}},
		{"no delegation", 404, `{"error":"No active delegation token found","details":"An admin must delegate"}`, Failure{Kind: NotDelegated, Message: "No active delegation token found", Details: "An admin must delegate"}},
		{"another service's 404", 404, `{"error":"Not Found"}`, Failure{Kind: Elsewhere, Message: "Not Found"}},
		{"its 404 in other words", 404, `{"error":"client not found"}`, Failure{Kind: Elsewhere, Message: "client not found"}},
		{"a nested 404", 404, `{"error":{"code":"not_found","message":"Client not found"}}`, Failure{Kind: Elsewhere, Message: "Client not found"}},
		{"a page of 404", 404, html, Failure{Kind: Elsewhere}},
		{"an empty 404", 404, "", Failure{Kind: Elsewhere}},
		{"the words of a 400 under another status", 500, `{"error":"client_id lookup failed"}`, Failure{Kind: Unavailable, Message: "client_id lookup failed"}},
		{"the words of a 404 under another status", 500, `{"error":"Client not found"}`, Failure{Kind: Unavailable, Message: "Client not found"}},
		{"the words of the other 404 under another status", 409, `{"error":"No active delegation token found"}`, Failure{Kind: Elsewhere, Message: "No active delegation token found"}},

		{"expired", 410, `{"error":"Delegation token has expired","expired_at":"2026-11-23T08:31:34.968929Z","details":"Admin must re-delegate via POST …/:id/…"}`, Failure{Kind: Expired, Message: "Delegation token has expired", Details: "Admin must re-delegate via POST …/:id/…"}},
		{"a nested 410", 410, `{"error":{"message":"Gone"}}`, Failure{Kind: Elsewhere, Message: "Gone"}},
		{"a page of 410", 410, html, Failure{Kind: Elsewhere}},
		{"an empty 410", 410, "", Failure{Kind: Elsewhere}},

		{"the server's time-out", 408, "", Failure{Kind: Unavailable}},
		{"no database", 500, `{"error":"Failed to connect to tenant database"}`, Failure{Kind: Unavailable, Message: "Failed to connect to tenant database"}},
		{"newer, no database", 500, `{"error":"Could not read delegation token"}`, Failure{Kind: Unavailable, Message: "Could not read delegation token"}},
		{"newer, a panic", 500, `{"error":"Internal server error","request_id":"r"}`, Failure{Kind: Unavailable, Message: "Internal server error"}},
		{"newer, nested", 503, `{"error":{"code":"unavailable","message":"Try again"},"details":"d"}`, Failure{Kind: Unavailable, Message: "Try again", Details: "d"}},
		{"nested, without a message", 503, `{"error":{"code":"unavailable"}}`, Failure{Kind: Unavailable}},
		{"nested, with a message of another type", 503, `{"error":{"message":7}}`, Failure{Kind: Unavailable}},
		{"fields of other types", 500, `{"error":1,"details":[],"token":{}}`, Failure{Kind: Unavailable}},
		{"a token that no text may show", 500, `{"error":"can't store t","token":"t"}`, Failure{Kind: Unavailable, Message: "can't store t", Echo: "t"}},
		{"a proxy's 502", 502, html, Failure{Kind: Unavailable}},
		{"504", 504, "", Failure{Kind: Unavailable}},
		{"599", 599, "", Failure{Kind: Unavailable}},

		{"OPTIONS", 204, "", Failure{Kind: Elsewhere}},
		{"a token under another status", 203, `{"token":"t"}`, Failure{Kind: Elsewhere, Echo: "t"}},
		{"304", 304, "", Failure{Kind: Elsewhere}},
		{"418", 418, "", Failure{Kind: Elsewhere}},
		{"no status", 0, "", Failure{Kind: Elsewhere}},
	} {
		c.want.Status, c.want.RequestID = c.status, "req-1"
		r := &Reply{Status: c.status, Header: http.Header{"X-Request-Id": {"req-1"}}, Body: []byte(c.body)}
		if got := r.Failure(); got != c.want {
			t.Errorf("%s: got %+v, want %+v", c.name, got, c.want)
		}
	}
	long := &Reply{Status: 401, Body: []byte(`{"error":"x"}`), TooLong: true}
	if got, want := long.Failure(), (Failure{Status: 401, Kind: Elsewhere}); got != want {
		t.Errorf("too long: got %+v, want %+v", got, want)
	}
}

func TestRedirectHasALocation(t *testing.T) {
	for _, c := range []struct {
		status   int
		location string
		want     Failure
	}{
		{300, "/x", Failure{Kind: Redirect, Location: "/x"}},
		{301, "https://other.example.com/?a=b", Failure{Kind: Redirect, Location: "https://other.example.com/?a=b"}},
		{307, "http://[::1/malformed", Failure{Kind: Redirect, Location: "http://[::1/malformed"}},
		{399, "/x", Failure{Kind: Redirect, Location: "/x"}},
		{302, "", Failure{Kind: Elsewhere}},
		{299, "/x", Failure{Kind: Elsewhere}},
		{400, "/x", Failure{Kind: Elsewhere}},
		{500, "/x", Failure{Kind: Unavailable}},
	} {
		c.want.Status = c.status
		if got := (&Reply{Status: c.status, Header: http.Header{"Location": {c.location}}}).Failure(); got != c.want {
			t.Errorf("%d to %q: got %+v, want %+v", c.status, c.location, got, c.want)
		}
	}
}

func TestHowLongTheServerAcceptsNoRequest(t *testing.T) {
	limited := func(window string) string {
		return `{"error":"Rate limit exceeded","limit":100,"message":"Maximum 100 requests per 1m0s allowed. Please try again later.","window":` + window + `}`
	}
	for _, c := range []struct {
		name        string
		status      int
		after, body string
		want        time.Duration
		window      time.Duration
	}{
		{"a 429 as observed", 429, "", limited(`"1m0s"`), 0, time.Minute},
		{"another window", 429, "", limited(`"10s"`), 0, 10 * time.Second},
		{"a short window", 429, "", limited(`"1ns"`), 0, 1},
		{"the longest window", 429, "", limited(`"5m"`), 0, 5 * time.Minute},
		{"a longer one", 429, "", limited(`"24h"`), 0, 5 * time.Minute},
		{"one that overflows", 429, "", limited(`"9999999h"`), 0, time.Minute},
		{"no window", 429, "", limited(`"0s"`), 0, time.Minute},
		{"a negative one", 429, "", limited(`"-1m"`), 0, time.Minute},
		{"a malformed one", 429, "", limited(`"soon"`), 0, time.Minute},
		{"a number", 429, "", limited(`60`), 0, time.Minute},
		{"null", 429, "", limited(`null`), 0, time.Minute},
		{"a page", 429, "", "<html>", 0, time.Minute},
		{"nothing", 429, "", "", 0, time.Minute},
		{"Retry-After", 429, "7", limited(`"1m0s"`), 7 * time.Second, 0},
		{"Retry-After 0", 429, "0", limited(`"1m0s"`), 0, 0},
		{"the longest Retry-After", 429, "300", "", 5 * time.Minute, 0},
		{"a longer one", 429, "301", "", 5 * time.Minute, 0},
		{"one that overflows", 429, "99999999999999999999", "", 5 * time.Minute, 0},
		{"a date that is over", 429, "Tue, 24 Nov 2026 07:59:59 GMT", limited(`"1m0s"`), 0, 0},
		{"a malformed Retry-After", 429, "soon", limited(`"30s"`), 0, 30 * time.Second},
		{"a 503 with Retry-After", 503, "7", "", 7 * time.Second, 0},
		{"a 503 without", 503, "", limited(`"1m0s"`), 0, 0},
		{"a 404 with Retry-After", 404, "7", "", 7 * time.Second, 0},
	} {
		header := http.Header{"Date": {"Tue, 24 Nov 2026 08:00:00 GMT"}}
		if c.after != "" {
			header.Set("Retry-After", c.after)
		}
		got := (&Reply{Status: c.status, Header: header, Body: []byte(c.body)}).Failure()
		if got.RetryAfter != c.want || got.Window != c.window || (got.Kind == RateLimited) != (c.status == 429) {
			t.Errorf("%s: got %v, window %v, kind %v, want %v, %v", c.name, got.RetryAfter, got.Window, got.Kind, c.want, c.window)
		}
	}
}

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

func FuzzFailure(f *testing.F) {
	for _, status := range []int{204, 301, 400, 401, 403, 404, 408, 410, 429, 500} {
		f.Add(status, []byte(`{"error":"Client not found","details":"d","window":"1m","token":"t"}`), "7", "/x", false)
		f.Add(status, []byte(`{"error":{"message":"m"}}`), "", "", true)
		f.Add(status, []byte(`<html>`), "Tue, 24 Nov 2026 08:00:00 GMT", "", false)
	}
	f.Fuzz(func(t *testing.T, status int, body []byte, after, location string, tooLong bool) {
		header := http.Header{"Retry-After": {after}, "Location": {location}, "X-Request-Id": {"r"}}
		kept := maps.Clone(header)
		got := (&Reply{Status: status, Header: header, Body: body, TooLong: tooLong}).Failure()
		if got.Status != status || got.RequestID != "r" || got.Kind < Elsewhere || got.Kind > Unavailable {
			t.Errorf("got %+v, want the status %d and a kind", got, status)
		}
		if got.RetryAfter < 0 || got.RetryAfter > MaxRetryAfter || got.Window < 0 || got.Window > MaxRetryAfter {
			t.Errorf("got %v and %v, want no more than %v", got.RetryAfter, got.Window, MaxRetryAfter)
		}
		if got.RetryAfter > 0 && got.Window > 0 || got.Window > 0 && status != 429 {
			t.Errorf("got RetryAfter %v and the window %v for %d", got.RetryAfter, got.Window, status)
		}
		if (got.Location != "") != (got.Kind == Redirect) || got.Location != "" && got.Location != location {
			t.Errorf("got the location %q with kind %d, want it with a redirect only", got.Location, got.Kind)
		}
		if tooLong && got.Message+got.Details+got.Echo != "" || !strings.Contains(string(body), `"error"`) && !strings.Contains(string(body), `\`) && got.Message != "" {
			t.Errorf("got %+v of a body that says nothing of it", got)
		}
		if !maps.EqualFunc(header, kept, func(a, b []string) bool { return a[0] == b[0] }) {
			t.Errorf("the header was changed to %v", header)
		}
	})
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
