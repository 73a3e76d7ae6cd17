// Copyright 2026 The authsec Authors
// SPDX-License-Identifier: Apache-2.0

// Package share keeps the server's latest answer about an agent in a store that the
// agent's processes share, encrypted. The store may be slow, down or full, or return
// wrong data. The package also decides which entries answer a fetch.
package share

import (
	"encoding/json"
	"time"
)

// Entry has the server's latest answers. Times are on the server's clock.
type Entry struct {
	Answer   json.RawMessage `json:"answer,omitempty"`  // the body of the latest 200; empty: there is no token
	Answered time.Time       `json:"answered,omitzero"` // when Answer was asked for
	Failure  *Failure        `json:"failure,omitempty"` // a later failure; nil: there was none
}

// Failure is an answer without a token.
type Failure struct {
	Told       time.Time     `json:"told"` // when it was asked for
	Status     int           `json:"status"`
	Message    string        `json:"message,omitempty"` // fit to print
	Details    string        `json:"details,omitempty"` // fit to print
	RequestID  string        `json:"request_id,omitempty"`
	Hold       time.Duration `json:"hold"`                  // how long it is cached, from Told on
	RetryAfter time.Duration `json:"retry_after,omitempty"` // how long the server accepts no request, from Told on
}

// Last returns when the latest answer was asked for.
func (e Entry) Last() time.Time {
	if e.Failure != nil && e.Failure.Told.After(e.Answered) {
		return e.Failure.Told
	}
	return e.Answered
}
