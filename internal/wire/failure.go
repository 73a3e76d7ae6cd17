// Copyright 2026 The authsec Authors
// SPDX-License-Identifier: Apache-2.0

package wire

import (
	"bytes"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// Kind is the meaning of an answer other than 200.
type Kind int

const (
	Elsewhere       Kind = iota // not from an AuthSec server: another service, a gateway's page
	Redirect                    // 3xx with a Location
	InvalidClientID             // 400: the client ID is not a UUID
	Unauthorized                // 401, 403: the caller's own credential is missing or rejected
	SessionUnknown              // 401: the caller's session has ended; also if the server's database is down
	UnknownClient               // 404: no such agent; also if the server's database is down
	NotDelegated                // 404: no delegation, or revoked; also if the server's query fails
	Expired                     // 410: the delegation has expired
	RateLimited                 // 429
	Unavailable                 // 408, 5xx: the server can't answer for now
)

// Failure is an answer other than 200.
type Failure struct {
	Status    int
	Kind      Kind
	Message   string // the field error, or error.message if error is an object
	Details   string // the field details
	RequestID string // the header X-Request-Id
	Location  string // of a redirect
	Echo      string // a token in the body, which must not be shown; "": none

	// RetryAfter is how long the server accepts no request; 0: it did not say. A 429
	// without Retry-After has a Window instead: the server counts the requests in it.
	RetryAfter time.Duration
	Window     time.Duration
}

const (
	defaultWindow = time.Minute // of a 429 that does not name one

	// MaxRetryAfter caps Failure's RetryAfter and Window.
	MaxRetryAfter = 5 * time.Minute
)

// Failure reads an answer other than 200.
func (r *Reply) Failure() Failure {
	fields, err := r.object()
	f := Failure{
		Status: r.Status, Message: fields.Text("error"), Details: fields.Text("details"), Echo: fields.Text("token"),
		RequestID: r.Header.Get("X-Request-Id"),
	}
	after, told := RetryAfter(r.Header)
	f.RetryAfter = min(after, MaxRetryAfter)
	mayBeAuthSec := err == nil || len(bytes.TrimSpace(r.Body)) == 0
	switch {
	case r.Status >= 300 && r.Status < 400 && r.Header.Get("Location") != "":
		f.Kind, f.Location = Redirect, r.Header.Get("Location")
	case r.Status == http.StatusBadRequest && strings.Contains(f.Message, "client_id"):
		f.Kind = InvalidClientID
	case r.Status == http.StatusUnauthorized && strings.HasPrefix(f.Message, "session is no longer valid"):
		f.Kind = SessionUnknown
	case (r.Status == http.StatusUnauthorized || r.Status == http.StatusForbidden) && mayBeAuthSec:
		f.Kind = Unauthorized
	case r.Status == http.StatusNotFound && f.Message == "No active delegation token found":
		f.Kind = NotDelegated
	case r.Status == http.StatusNotFound && f.Message == "Client not found":
		f.Kind = UnknownClient
	case r.Status == http.StatusGone && f.Message != "":
		f.Kind = Expired
	case r.Status == http.StatusTooManyRequests:
		f.Kind = RateLimited
		if !told {
			window, err := time.ParseDuration(fields.Text("window"))
			if err != nil || window <= 0 {
				window = defaultWindow
			}
			f.Window = min(window, MaxRetryAfter)
		}
	case r.Status >= 500 || r.Status == http.StatusRequestTimeout || r.Status == http.StatusTooEarly:
		f.Kind = Unavailable
	}
	if e, ok := fields.Values["error"].(map[string]any); ok { // from other endpoints of newer servers
		f.Message, _ = e["message"].(string)
	}
	return f
}

const maxDuration = time.Duration(1<<63 - 1)

// RetryAfter reads a Retry-After header (RFC 9110, section 10.2.3): seconds, or a date.
// A date counts from the Date of the same answer, because the same clock wrote both;
// without Date, from the local clock. after is never negative. ok is false if the
// header is missing or malformed.
func RetryAfter(h http.Header) (after time.Duration, ok bool) {
	s := strings.TrimSpace(h.Get("Retry-After"))
	if s == "" {
		return 0, false
	}
	if strings.Trim(s, "0123456789") == "" {
		seconds, err := strconv.ParseInt(s, 10, 64)
		if err != nil || seconds > int64(maxDuration/time.Second) {
			return maxDuration, true
		}
		return time.Duration(seconds) * time.Second, true
	}
	at, err := http.ParseTime(s)
	if err != nil {
		return 0, false
	}
	now, err := http.ParseTime(h.Get("Date"))
	if err != nil {
		now = time.Now()
	}
	return max(0, at.Sub(now)), true
}
