// Copyright 2026 The authsec Authors
// SPDX-License-Identifier: Apache-2.0

package wire

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/authsec-go/authsec/internal/redact"
)

// MaxAnswer is how many bytes of an answer are read.
const MaxAnswer = 1 << 20

// Reply is an HTTP answer of the server, with its whole body.
type Reply struct {
	Status   int
	Header   http.Header
	Body     []byte
	TooLong  bool // the body had more than MaxAnswer bytes
	Sent     time.Time
	Received time.Time // when its header came, with its monotonic reading

	Ahead time.Duration // how far the server's clock is ahead of the local one
	Age   time.Duration // how long HTTP caches kept the answer (RFC 9111, section 5.1)
}

// ReadReply reads the answer to a request that was sent at this time, and closes its
// body. A body that breaks off is an error, except after a 429 or 5xx.
func ReadReply(resp *http.Response, sent time.Time) (*Reply, error) {
	r := &Reply{Status: resp.StatusCode, Header: resp.Header, Sent: sent, Received: time.Now()}
	if resp.Body != nil {
		defer resp.Body.Close()
		var err error
		r.Body, err = io.ReadAll(io.LimitReader(resp.Body, MaxAnswer+1))
		if err != nil && r.Status != http.StatusTooManyRequests && r.Status < 500 { // otherwise the status says enough
			return nil, brokenAnswer{err}
		}
	}
	if r.TooLong = len(r.Body) > MaxAnswer; r.TooLong {
		r.Body = r.Body[:MaxAnswer]
	}
	r.Body = bytes.TrimPrefix(r.Body, []byte("\ufeff")) // a byte order mark
	if seconds, err := strconv.ParseUint(strings.TrimSpace(r.Header.Get("Age")), 10, 31); err == nil {
		r.Age = time.Duration(seconds) * time.Second
	}
	date, err := http.ParseTime(r.Header.Get("Date"))
	if err == nil && date.Year() >= 2020 && date.Year() < 2200 { // otherwise the server's clock is not set
		r.Ahead = clockAhead(date, r.Age, r.Sent, r.Received)
	}
	return r, nil
}

// clockAhead returns how far the server's clock is ahead of the local one. The server's
// clock read a time in [date, date+1s) between sent and received, both minus age (RFC
// 9110, section 6.6.1). If the local clock may have read the same, clockAhead returns
// 0. Otherwise it returns the largest possible value, which gives a token the shortest
// life.
func clockAhead(date time.Time, age time.Duration, sent, received time.Time) time.Duration {
	last := received.Round(0).Add(-age)
	first := last.Add(-received.Sub(sent)) // not sent's wall clock, which may have stepped
	least, most := date.Sub(last), date.Add(time.Second).Sub(first)
	if least <= 0 && most > 0 {
		return 0
	}
	return most
}

// Now returns the time on the server's clock when the answer came.
func (r *Reply) Now() time.Time { return r.Received.Round(0).Add(r.Ahead) }

// Asked returns when the request was sent, on the server's clock. For an answer from an
// HTTP cache, it is when the cache's own request was sent. The answer may not show what
// an admin did after that.
func (r *Reply) Asked() time.Time { return r.Now().Add(-r.Age - r.Received.Sub(r.Sent)) }

// object decodes the body, which must be one JSON object. The last value of a field
// wins.
func (r *Reply) object() (Fields, error) {
	if r.TooLong {
		return Fields{}, fmt.Errorf("it is longer than %d bytes", MaxAnswer)
	}
	dec := json.NewDecoder(bytes.NewReader(r.Body))
	var m map[string]any
	if err := dec.Decode(&m); err != nil || m == nil {
		return Fields{}, errors.New("it is not a JSON object")
	}
	if _, err := dec.Token(); err != io.EOF {
		return Fields{}, errors.New("something follows its JSON object")
	}
	return Fields{Values: m}, nil
}

// brokenAnswer is an error of an answer's body, whose Error method may panic.
type brokenAnswer struct{ err error }

func (e brokenAnswer) Error() string { return "its answer broke off: " + redact.Error(e.err) }
func (e brokenAnswer) Unwrap() error { return e.err }
