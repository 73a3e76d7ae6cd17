// Copyright 2026 The authsec Authors
// SPDX-License-Identifier: Apache-2.0

package mcp

import (
	"io"
	"sync/atomic"
)

// Each message of the server may have maxMessage bytes. All that are not passed on yet
// may have maxHeld bytes together, so that a hostile server with many answers at once
// does not fill the memory.
const (
	maxHeld  = 4 * maxMessage
	holdStep = 64 << 10 // events and lines of a stream that are shorter don't count
)

var errTooMuch = fault("the server sent too many long messages at once")

// memory is for the messages of a server. It is safe for concurrent use.
type memory struct {
	taken atomic.Int64 // bytes
	most  int64
}

// holding is what one answer takes of the memory.
type holding struct {
	all  *memory // nil: there is no bound
	mine int64
}

func (h *holding) take(n int) error {
	if h.all == nil {
		return nil
	}
	h.mine += int64(n)
	if h.all.taken.Add(int64(n)) > h.all.most {
		return errTooMuch
	}
	return nil
}

// giveBack gives back what was taken, but for the first rest bytes.
func (h *holding) giveBack(rest int64) {
	if h.all != nil {
		h.all.taken.Add(rest - h.mine)
		h.mine = rest
	}
}

// readAll reads a body of at most maxMessage bytes. They stay taken until giveBack.
func (h *holding) readAll(body io.Reader) ([]byte, error) {
	data, err := io.ReadAll(io.LimitReader(&heldReader{body, h}, maxMessage+1))
	if err == nil && len(data) > maxMessage {
		err = errEventTooLong
	}
	return data, err
}

type heldReader struct {
	r io.Reader
	h *holding
}

func (r *heldReader) Read(p []byte) (int, error) {
	n, err := r.r.Read(p)
	if full := r.h.take(n); full != nil {
		return n, full
	}
	return n, err
}
