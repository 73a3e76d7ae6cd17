// Copyright 2026 The authsec Authors
// SPDX-License-Identifier: Apache-2.0

package cache

import (
	"encoding/json"
	"fmt"
	"time"
)

// Entry is what an agent's processes share: what the server last said. Times are
// on the server's clock.
type Entry struct {
	Answer   json.RawMessage `json:"answer,omitempty"`  // the last good one's body; none: there is no token
	Answered time.Time       `json:"answered,omitzero"` // when that was given
	Failure  *Failure        `json:"failure,omitempty"` // what it said since; nil: nothing
}

// Failure is an answer that brought no token.
type Failure struct {
	Told       time.Time     `json:"told"` // when it was given
	Status     int           `json:"status"`
	Message    string        `json:"message,omitempty"`     // fit to be shown
	Details    string        `json:"details,omitempty"`     // the same
	Hold       time.Duration `json:"hold"`                  // for how long from Told on it is not asked again
	RetryAfter time.Duration `json:"retry_after,omitempty"` // for how long it does not want to be
}

// Last is when the server last said something.
func (e Entry) Last() time.Time {
	if e.Failure != nil && e.Failure.Told.After(e.Answered) {
		return e.Failure.Told
	}
	return e.Answered
}

func (e Entry) encode() ([]byte, error) { return json.Marshal(e) }

func decode(data []byte) (e Entry, err error) {
	if err := json.Unmarshal(data, &e); err != nil {
		return Entry{}, fmt.Errorf("what it holds can't be read")
	}
	return e, nil
}
