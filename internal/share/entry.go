// Copyright 2026 The authsec Authors
// SPDX-License-Identifier: Apache-2.0

// Package share is what an agent's processes share: the server's latest answer
// about their delegation, encrypted, in a store that may be slow, down, full or
// lying. It knows which entries count as an answer to a fetch.
package share

import (
	"encoding/json"
	"time"
)

// Entry is what the server said last. Times are on the server's clock.
type Entry struct {
	Answer   json.RawMessage `json:"answer,omitempty"`  // the body of its last 200; none: there is no token
	Answered time.Time       `json:"answered,omitzero"` // when that was asked for
	Failure  *Failure        `json:"failure,omitempty"` // what it said since; nil: nothing
}

// Failure is an answer without a token.
type Failure struct {
	Told       time.Time     `json:"told"` // when it was asked for
	Status     int           `json:"status"`
	Message    string        `json:"message,omitempty"` // fit to print
	Details    string        `json:"details,omitempty"` // fit to print
	RequestID  string        `json:"request_id,omitempty"`
	Hold       time.Duration `json:"hold"`                  // it is cached this long, from Told on
	RetryAfter time.Duration `json:"retry_after,omitempty"` // the server accepts no request this long
}

// Last is when the server last said something.
func (e Entry) Last() time.Time {
	if e.Failure != nil && e.Failure.Told.After(e.Answered) {
		return e.Failure.Told
	}
	return e.Answered
}
