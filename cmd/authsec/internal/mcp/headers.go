// Copyright 2026 The authsec Authors
// SPDX-License-Identifier: Apache-2.0

package mcp

import (
	"encoding/base64"
	"encoding/json"
	"errors"
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
func mirrored(m message, tool *argument) http.Header {
	h := http.Header{}
	h.Set(headerVersion, plainValue(m.metaVersion()))
	h.Set(headerMethod, plainValue(m.method))
	fields := m.named
	field := map[string]string{methodCallTool: "name", "prompts/get": "name", "resources/read": "uri"}[m.method]
	if name := text(fields[field]); name != "" {
		h.Set(headerName, headerValue(name))
	}
	tool.mirror(fields["arguments"], h)
	return h
}

// plainValue returns s, or s in base64 if HTTP can't carry it in a header. Then the
// server says what is wrong with s.
func plainValue(s string) string {
	if fitsHeader(s) {
		return s
	}
	return headerValue(s)
}

// fitsHeader reports whether s may be a header's value (RFC 9110, section 5.5).
func fitsHeader(s string) bool {
	return !strings.ContainsFunc(s, func(r rune) bool { return r < ' ' && r != '\t' || r == 0x7f })
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

// argument says which headers repeat an argument of a tool, or all its arguments. It
// is not changed. nil: none are repeated.
type argument struct {
	header string // after Mcp-Param-; "": this one is not repeated itself
	fields map[string]*argument
}

// mirror adds the headers for an argument's value.
func (a *argument) mirror(value json.RawMessage, h http.Header) {
	if a == nil || value == nil {
		return
	}
	if a.header != "" {
		if v, ok := primitive(value); ok {
			h.Set(headerParam+a.header, headerValue(v))
		}
	}
	if len(a.fields) == 0 {
		return
	}
	values := object(value)
	for name, field := range a.fields {
		field.mirror(values[name], h)
	}
}

// schema is the part of a JSON schema that says which arguments headers repeat.
type schema struct {
	Header     json.RawMessage   `json:"x-mcp-header"`
	Properties map[string]schema `json:"properties"`
}

// The bounds of what is read of a list of tools. Headers repeat no arguments beyond
// them.
const (
	maxToolList = 16 << 20 // bytes, of a list and of all whose tools are known
	maxDepth    = 64       // of an argument in others
)

// argument returns what a schema at a depth says.
func (s schema) argument(depth int) *argument {
	var a argument
	if name := text(s.Header); depth > 0 && isToken(name) {
		a.header = name
	}
	for name, property := range s.Properties {
		if depth == maxDepth {
			break
		}
		if field := property.argument(depth + 1); field != nil {
			if a.fields == nil {
				a.fields = make(map[string]*argument)
			}
			a.fields[name] = field
		}
	}
	if a.header == "" && a.fields == nil {
		return nil
	}
	return &a
}

// toolHeaders has the arguments of a server's tools that headers repeat. It is safe
// for concurrent use.
type toolHeaders struct {
	mu     sync.Mutex // guards what follows
	byTool map[string]*argument
	size   int // of the lists that byTool is from, in bytes
}

// of returns those of the tool that m calls.
func (t *toolHeaders) of(m message) *argument {
	if m.method != methodCallTool {
		return nil
	}
	name := text(m.named["name"])
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.byTool[name]
}

// learn takes in the result of tools/list. It returns the tools' names.
func (t *toolHeaders) learn(result json.RawMessage) (names []string) {
	if len(result) > maxToolList {
		return nil
	}
	var list struct {
		Tools []struct {
			Name        string `json:"name"`
			InputSchema schema `json:"inputSchema"`
		} `json:"tools"`
	}
	var wrongType *json.UnmarshalTypeError // such as for a schema that is only true: the rest counts
	if err := json.Unmarshal(result, &list); err != nil && !errors.As(err, &wrongType) {
		return nil
	}
	found := make(map[string]*argument)
	for _, tool := range list.Tools {
		names = append(names, tool.Name)
		found[tool.Name] = tool.InputSchema.argument(0)
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.size += len(result); t.byTool == nil || t.size > maxToolList {
		t.byTool, t.size = make(map[string]*argument), len(result) // what is forgotten is learned again when it is called
	}
	for name, a := range found {
		if a == nil {
			delete(t.byTool, name)
		} else {
			t.byTool[name] = a
		}
	}
	return names
}

// isToken reports whether s may be a header's name (RFC 9110, section 5.6.2).
func isToken(s string) bool {
	return s != "" && !strings.ContainsFunc(s, func(r rune) bool {
		letter := 'a' <= r && r <= 'z' || 'A' <= r && r <= 'Z' || '0' <= r && r <= '9'
		return !letter && !strings.ContainsRune("!#$%&'*+-.^_`|~", r)
	})
}
