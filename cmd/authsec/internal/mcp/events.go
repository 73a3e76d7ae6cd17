// Copyright 2026 The authsec Authors
// SPDX-License-Identifier: Apache-2.0

package mcp

import (
	"bufio"
	"bytes"
	"io"
	"strconv"
	"time"
)

// event is a server-sent event with data, or the end of the stream.
type event struct {
	name string
	data []byte
}

// eventReader reads a stream of server-sent events, as the HTML standard describes
// them, and keeps what a new connection needs to go on with the stream.
type eventReader struct {
	r      *bufio.Reader
	limit  int           // of an event's data, in bytes
	lastID string        // of the last event; "": the stream can't be resumed
	retry  time.Duration // the wait before a new connection; 0: the server said nothing
	after  bool          // the last line ended with a CR, so that an LF belongs to it
	memory holding
}

var errEventTooLong = fault("the server sent a message that is too long")

// maxEventID is how many bytes of an ID go into a header.
const maxEventID = 4 << 10

// next returns the next event with data.
func (e *eventReader) next() (event, error) {
	var ev event
	id, data := e.lastID, false
	for {
		taken := e.memory.mine
		text, err := e.line()
		if err != nil {
			return event{}, err // an event without its end does not count
		}
		if len(text) == 0 {
			e.lastID = id
			if data {
				return ev, nil
			}
			ev = event{}
			continue
		}
		name, value, _ := bytes.Cut(text, []byte(":"))
		value = bytes.TrimPrefix(value, []byte(" "))
		switch string(name) {
		case "data":
			if data {
				ev.data = append(ev.data, '\n')
			}
			data = true
			if ev.data = append(ev.data, value...); len(ev.data) > e.limit {
				return event{}, errEventTooLong
			}
			if more := len(ev.data)/holdStep*holdStep - int(e.memory.mine); more > 0 { // of short lines
				if err := e.memory.take(more); err != nil {
					return event{}, err
				}
			}
		case "event":
			ev.name = string(value)
		case "id":
			switch {
			case bytes.IndexByte(value, 0) >= 0: // ignored, as the standard says
			case len(value) > maxEventID || !fitsHeader(string(value)):
				id = ""
			default:
				id = string(value)
			}
		case "retry":
			if n, err := strconv.ParseUint(string(value), 10, 31); err == nil {
				e.retry = time.Duration(n) * time.Millisecond
			}
		}
		if string(name) != "data" {
			e.memory.giveBack(taken) // the line is not kept
		}
	}
}

// line returns the next line. It ends with CR, LF or both.
func (e *eventReader) line() ([]byte, error) {
	var text []byte
	for {
		c, err := e.r.ReadByte()
		if err != nil {
			if err == io.EOF && len(text) > 0 {
				err = io.ErrUnexpectedEOF
			}
			return nil, err
		}
		lf := e.after && c == '\n'
		e.after = c == '\r'
		switch {
		case lf:
			continue
		case c == '\r' || c == '\n':
			return text, nil
		}
		if text = append(text, c); len(text) > e.limit+64 {
			return nil, errEventTooLong
		}
		if len(text)%holdStep == 0 {
			if err := e.memory.take(holdStep); err != nil {
				return nil, err
			}
		}
	}
}
