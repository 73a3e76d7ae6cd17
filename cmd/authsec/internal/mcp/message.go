// Copyright 2026 The authsec Authors
// SPDX-License-Identifier: Apache-2.0

package mcp

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"unicode/utf8"
)

// The codes of JSON-RPC 2.0, section 5.1, that are used here.
const (
	codeParse          = -32700
	codeInvalidRequest = -32600
	codeMethodNotFound = -32601
	codeInternal       = -32603
)

// versionKey is the field of params._meta in which a request of the revision
// 2026-07-28 or a later one says its protocol version.
const versionKey = "io.modelcontextprotocol/protocolVersion"

const (
	methodInitialize  = "initialize"
	methodInitialized = "notifications/initialized"
	methodCancelled   = "notifications/cancelled"
	methodListen      = "subscriptions/listen"
	methodListTools   = "tools/list"
	methodCallTool    = "tools/call"
)

// kind is what a JSON-RPC message is.
type kind int

const (
	request kind = iota
	notification
	response
	batch
)

// message is one JSON-RPC message, or a batch of them.
type message struct {
	kind   kind
	raw    []byte                     // as it came
	id     json.RawMessage            // of a request or a response; a response may have none
	method string                     // of a request or a notification
	params json.RawMessage            // may be nil
	named  map[string]json.RawMessage // the fields of params, if that is an object
	result json.RawMessage            // of a response; nil: it is an error
	parts  []part                     // of a batch; at least one
}

// part is one element of a batch. If bad is not nil, there is no message.
type part struct {
	message
	bad *rpcError
}

// rpcError is a JSON-RPC error.
type rpcError struct {
	Code    int             `json:"code"`
	Message string          `json:"message"`
	Data    json.RawMessage `json:"data,omitempty"`
	id      json.RawMessage // of the request, if it is known
}

// parse reads one message. The error is what JSON-RPC answers. JSON is UTF-8, and
// hosts may end at bytes that are not.
func parse(raw []byte) (message, *rpcError) {
	if !utf8.Valid(raw) {
		return message{}, &rpcError{Code: codeParse, Message: parseError}
	}
	if len(raw) == 0 || raw[0] != '[' {
		return parseOne(raw)
	}
	var elements []json.RawMessage
	switch err := json.Unmarshal(raw, &elements); {
	case err != nil:
		return message{}, &rpcError{Code: codeParse, Message: parseError}
	case len(elements) == 0:
		return message{}, &rpcError{Code: codeInvalidRequest, Message: "Invalid Request: the batch is empty"}
	}
	m := message{kind: batch, raw: raw}
	for _, element := range elements {
		one, bad := parseOne(element)
		m.parts = append(m.parts, part{one, bad})
	}
	return m, nil
}

const parseError = "Parse error: this is not one line of JSON"

func parseOne(raw []byte) (message, *rpcError) {
	m := message{raw: raw}
	var fields map[string]json.RawMessage // not a struct, for which "ID" is "id"
	var syntax *json.SyntaxError
	if err := json.Unmarshal(raw, &fields); errors.As(err, &syntax) {
		return m, &rpcError{Code: codeParse, Message: parseError}
	} else if err != nil || fields == nil {
		return m, &rpcError{Code: codeInvalidRequest, Message: "Invalid Request: a message is a JSON object"}
	}
	id, hasID := fields["id"]
	hasID = hasID && isID(id)
	bad := func(text string) (message, *rpcError) {
		e := &rpcError{Code: codeInvalidRequest, Message: "Invalid Request: " + text}
		if hasID {
			e.id = id
		}
		return m, e
	}
	if string(fields["jsonrpc"]) != `"2.0"` {
		return bad(`"jsonrpc" is not "2.0"`)
	}
	method, called := fields["method"]
	result, failure := fields["result"], fields["error"]
	switch {
	case !called && result == nil && failure == nil:
		return bad(`there is no "method"`)
	case !called:
		m.kind, m.result = response, result
		if hasID {
			m.id = id
		}
		return m, nil
	case json.Unmarshal(method, &m.method) != nil || method[0] != '"':
		return bad(`"method" is not a string`)
	case fields["id"] != nil && !hasID:
		return bad(`"id" is neither a string nor a number`)
	}
	m.params = fields["params"]
	if m.params != nil && m.params[0] != '{' && m.params[0] != '[' {
		return bad(`"params" is neither an object nor an array`)
	}
	m.named = object(m.params)
	m.kind = notification
	if hasID {
		m.kind, m.id = request, id
	}
	return m, nil
}

// isID reports whether raw is a string or a number.
func isID(raw json.RawMessage) bool {
	return len(raw) > 0 && (raw[0] == '"' || raw[0] == '-' || '0' <= raw[0] && raw[0] <= '9')
}

// idKey returns the same key for all spellings of an ID. A server may spell an ID in
// another way than the host: with other escapes, or as JavaScript writes numbers.
func idKey(raw json.RawMessage) string {
	var value any
	if json.Unmarshal(raw, &value) != nil {
		return string(raw) // such as a number that is too large
	}
	return fmt.Sprintf("%T %v", value, value)
}

// requests are the requests that m is or holds.
func (m message) requests() []message {
	if m.kind == request {
		return []message{m}
	}
	var all []message
	for _, p := range m.parts {
		if p.bad == nil && p.kind == request {
			all = append(all, p.message)
		}
	}
	return all
}

// responses are the responses with an ID that m is or holds.
func (m message) responses() []message {
	var all []message
	if m.kind == response && m.id != nil {
		all = append(all, m)
	}
	for _, p := range m.parts {
		if p.bad == nil && p.kind == response && p.id != nil {
			all = append(all, p.message)
		}
	}
	return all
}

// metaVersion is the protocol version that m itself names, or "".
func (m message) metaVersion() string {
	var meta map[string]json.RawMessage
	var version string
	if json.Unmarshal(m.named["_meta"], &meta) != nil || json.Unmarshal(meta[versionKey], &version) != nil {
		return ""
	}
	return version
}

// cancels returns the ID of the request that m cancels, or nil.
func (m message) cancels() json.RawMessage {
	if m.kind != notification || m.method != methodCancelled {
		return nil
	}
	return m.named["requestId"]
}

// errorCode is the code of a response that is an error, or 0.
func (m message) errorCode() int {
	var code int
	if json.Unmarshal(object(object(m.raw)["error"])["code"], &code) != nil {
		return 0
	}
	return code
}

// object returns the fields of a JSON object. There are none if it is none.
func object(raw json.RawMessage) map[string]json.RawMessage {
	var fields map[string]json.RawMessage
	if json.Unmarshal(raw, &fields) != nil {
		return nil
	}
	return fields
}

// text returns a JSON string's value, or "".
func text(raw json.RawMessage) string {
	var s string
	if json.Unmarshal(raw, &s) != nil {
		return ""
	}
	return s
}

func (e *rpcError) Error() string { return e.Message }

// encode returns the response with e to the request with this ID. nil: null.
func (e *rpcError) encode(id json.RawMessage) []byte {
	return encodeResponse(id, "error", e)
}

func encodeResponse(id json.RawMessage, field string, value any) []byte {
	if id == nil {
		id = json.RawMessage("null")
	}
	var b bytes.Buffer
	b.WriteString(`{"jsonrpc":"2.0","id":`)
	b.Write(id)
	b.WriteString(`,"` + field + `":`)
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(value); err != nil { // no value here has a type that fails
		enc.Encode(rpcError{Code: codeInternal, Message: "Internal error"})
	}
	return append(bytes.TrimRight(b.Bytes(), "\n"), '}')
}
