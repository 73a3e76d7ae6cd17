// Copyright 2026 The authsec Authors
// SPDX-License-Identifier: Apache-2.0

package mcp

import (
	"encoding/base64"
	"encoding/json"
	"net/http"
	"strconv"
	"strings"
	"sync"
)

// The headers of streamable HTTP.
const (
	headerSession = "Mcp-Session-Id"
	headerVersion = "Mcp-Protocol-Version"
	headerMethod  = "Mcp-Method"
	headerName    = "Mcp-Name"
	headerParam   = "Mcp-Param-"
	headerLastID  = "Last-Event-ID"
)

// codeHeaderMismatch is a server's error if a header of a request is missing or is
// not what the body says.
const codeHeaderMismatch = -32020

// mirrored returns the headers that repeat what m says in its body. The revision
// 2026-07-28 asks for them.
func mirrored(m message, params []paramHeader) http.Header {
	h := http.Header{}
	h.Set(headerVersion, m.metaVersion())
	h.Set(headerMethod, m.method)
	fields := m.named
	field := map[string]string{methodCallTool: "name", "prompts/get": "name", "resources/read": "uri"}[m.method]
	if name := text(fields[field]); name != "" {
		h.Set(headerName, headerValue(name))
	}
	for _, p := range params {
		value := fields["arguments"]
		for _, step := range p.path {
			value = object(value)[step]
		}
		if value, ok := primitive(value); ok {
			h.Set(headerParam+p.name, headerValue(value))
		}
	}
	return h
}

// primitive returns a string, an integer that JavaScript can hold, or a boolean as
// text.
func primitive(raw json.RawMessage) (string, bool) {
	const most = 1<<53 - 1
	var value any
	if json.Unmarshal(raw, &value) != nil {
		return "", false
	}
	switch value := value.(type) {
	case string:
		return value, true
	case bool:
		return strconv.FormatBool(value), true
	case float64:
		n := int64(value)
		return strconv.FormatInt(n, 10), float64(n) == value && -most <= value && value <= most
	}
	return "", false
}

// headerValue returns s as it may stand in a header: in base64 if it is not plain.
func headerValue(s string) string {
	const before, after = "=?base64?", "?="
	plain := strings.Trim(s, " \t") == s && !strings.ContainsFunc(s, func(r rune) bool { return r < ' ' || r > '~' })
	if plain && !(strings.HasPrefix(s, before) && strings.HasSuffix(s, after)) {
		return s
	}
	return before + base64.StdEncoding.EncodeToString([]byte(s)) + after
}

// paramHeader is an argument of a tool that a header repeats.
type paramHeader struct {
	name string   // of the header, after Mcp-Param-
	path []string // of the argument
}

// toolHeaders are the paramHeaders of a server's tools. It is safe for concurrent
// use.
type toolHeaders struct {
	mu     sync.Mutex
	byTool map[string][]paramHeader
}

// of returns those of the tool that m calls.
func (t *toolHeaders) of(m message) []paramHeader {
	if m.method != methodCallTool {
		return nil
	}
	name := text(m.named["name"])
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.byTool[name]
}

// learn takes in the result of tools/list.
func (t *toolHeaders) learn(result json.RawMessage) {
	var tools []struct {
		Name        string          `json:"name"`
		InputSchema json.RawMessage `json:"inputSchema"`
	}
	if json.Unmarshal(object(result)["tools"], &tools) != nil {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.byTool == nil {
		t.byTool = make(map[string][]paramHeader)
	}
	for _, tool := range tools {
		t.byTool[tool.Name] = annotated(tool.InputSchema, nil, nil)
	}
}

// annotated adds the properties with x-mcp-header to found.
func annotated(schema json.RawMessage, path []string, found []paramHeader) []paramHeader {
	for property, sub := range object(object(schema)["properties"]) {
		at := append(append([]string{}, path...), property)
		if name := text(object(sub)["x-mcp-header"]); isToken(name) {
			found = append(found, paramHeader{name, at})
		}
		found = annotated(sub, at, found)
	}
	return found
}

// isToken reports whether s may be a header's name (RFC 9110, section 5.6.2).
func isToken(s string) bool {
	return s != "" && !strings.ContainsFunc(s, func(r rune) bool {
		letter := 'a' <= r && r <= 'z' || 'A' <= r && r <= 'Z' || '0' <= r && r <= '9'
		return !letter && !strings.ContainsRune("!#$%&'*+-.^_`|~", r)
	})
}
