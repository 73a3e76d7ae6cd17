// Copyright 2026 The authsec Authors
// SPDX-License-Identifier: Apache-2.0

package mcp

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"sync"
)

// line is a line of the standard input, or the end of it.
type line struct {
	text []byte   // without white space around it
	long *outline // not nil: the line had more bytes than the limit, and text is nil
	err  error    // io.EOF, or why there are no more lines
}

// readLines sends the lines of r that are not blank, and at last an error. It stops
// when done is closed and r has returned.
func readLines(r io.Reader, limit int, done <-chan struct{}) <-chan line {
	lines := make(chan line)
	go func() {
		b := bufio.NewReaderSize(r, 64<<10)
		for {
			l := readLine(b, limit)
			if len(l.text) == 0 && l.long == nil && l.err == nil {
				continue
			}
			select {
			case lines <- l:
			case <-done:
				return
			}
			if l.err != nil {
				return
			}
		}
	}()
	return lines
}

// readLine reads one line. It keeps at most limit bytes in memory. The text
// after the last line break of r is a line, too.
func readLine(b *bufio.Reader, limit int) (l line) {
	for {
		chunk, err := b.ReadSlice('\n')
		if l.long == nil && len(l.text)+len(chunk) > limit {
			l.long = new(outline)
			l.long.read(l.text)
			l.text = nil
		}
		if l.long != nil {
			l.long.read(chunk)
		} else {
			l.text = append(l.text, chunk...)
		}
		switch {
		case err == bufio.ErrBufferFull:
			continue
		case err != nil && (l.long != nil || len(bytes.TrimSpace(l.text)) > 0):
			err = nil // the next call returns it again
		}
		l.text = bytes.TrimSpace(bytes.TrimPrefix(bytes.TrimSpace(l.text), []byte("\uFEFF")))
		l.err = err
		return l
	}
}

// outline is what is known of a message that is too long to be kept: the fields
// "id" and "method" of its object.
type outline struct {
	depth    int
	inString bool
	escaped  bool
	key      bool   // the next string, or the present one, is a field's name
	name     []byte // the last field's name, at depth 1
	value    []byte // the beginning of its value
	id       json.RawMessage
	method   string
	response bool // it has a result or an error
}

// maxKept is how many bytes of a name or value an outline keeps.
const maxKept = 1 << 10

func (o *outline) read(text []byte) {
	for _, c := range text {
		o.readByte(c)
	}
}

func (o *outline) readByte(c byte) {
	top := o.depth == 1
	switch {
	case o.inString:
		if top && !(o.key && c == '"' && !o.escaped) {
			o.keep(c)
		}
		if o.escaped {
			o.escaped = false
		} else if c == '\\' {
			o.escaped = true
		} else if c == '"' {
			o.inString = false
		}
		return
	case c == '"':
		o.inString = true
		if o.key {
			o.name = o.name[:0]
		} else if top {
			o.keep(c)
		}
		return
	case c == '{' || c == '[':
		o.depth++
		o.key = o.depth == 1 && c == '{'
		return
	case top && c == ':':
		o.key, o.value = false, o.value[:0]
		return
	case top && (c == ',' || c == '}'):
		o.end()
		o.key = c == ','
	case top:
		o.keep(c)
	}
	if c == '}' || c == ']' {
		o.depth--
	}
}

func (o *outline) keep(c byte) {
	if o.key && len(o.name) < maxKept {
		o.name = append(o.name, c)
	} else if !o.key && len(o.value) < maxKept {
		o.value = append(o.value, c)
	}
}

// end takes in a field whose value is complete.
func (o *outline) end() {
	value := bytes.TrimSpace(o.value)
	switch string(o.name) {
	case "id":
		if json.Valid(value) && isID(value) {
			o.id = bytes.Clone(value)
		}
	case "method":
		o.method = text(value)
	case "result", "error":
		o.response = true
	}
	o.name = o.name[:0]
}

// kind is what the message is. It is a request if that can't be told.
func (o *outline) kind() string {
	switch {
	case o.method == "" && o.response:
		return "response"
	case o.method != "" && o.id == nil:
		return "notification"
	}
	return "request"
}

// tooLong is the answer to a message of more than limit bytes, or nil if it was no
// request.
func (o *outline) tooLong(limit int) []byte {
	if o.kind() != "request" {
		return nil
	}
	e := rpcError{Code: codeInvalidRequest, Message: fmt.Sprintf("Invalid Request: the message has more than %d bytes: send less at a time", limit)}
	return e.encode(o.id)
}

// lineWriter writes messages, each as one line. It is safe for concurrent use.
type lineWriter struct {
	mu     sync.Mutex
	w      io.Writer
	failed func(error) // is called with the first failure; may be nil
}

// write writes a message, which is valid JSON.
func (l *lineWriter) write(msg []byte) error {
	if bytes.ContainsAny(msg, "\r\n") {
		var b bytes.Buffer
		if err := json.Compact(&b, msg); err != nil {
			return err
		}
		msg = b.Bytes()
	}
	err := l.writeLine(append(bytes.Clone(msg), '\n'))
	if err != nil && l.failed != nil {
		l.failed(err)
	}
	return err
}

func (l *lineWriter) writeLine(text []byte) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	_, err := l.w.Write(text)
	return err
}
