// Copyright 2026 The authsec Authors
// SPDX-License-Identifier: Apache-2.0

package fetchtool

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"mime"
	"net/http"
	"slices"
	"strings"
)

// Request is the input of [Tool.Fetch]. It has the fields of [Tool.Schema].
type Request struct {
	// URL is a whole URL, or a path below the only permitted one.
	URL string `json:"url"`
	// Method is one of Config.Methods. "": GET.
	Method string `json:"method,omitempty"`
	// Body is the request's text. "": none.
	Body string `json:"body,omitempty"`
	// ContentType is Body's. "": application/json if it is JSON, else text/plain.
	ContentType string `json:"content_type,omitempty"`
}

// Schema returns the JSON schema of the input, as the APIs of language models
// and MCP take it: an object with "url" and, if other methods than GET are
// permitted, "method", "body" and "content_type". It is the caller's own copy.
func (t *Tool) Schema() json.RawMessage { return slices.Clone(t.schema) }

func (t *Tool) newSchema() (json.RawMessage, error) {
	text := func(description string) map[string]any {
		return map[string]any{"type": "string", "description": description}
	}
	properties := map[string]any{"url": text(t.urlHint())}
	if t.otherMethods() {
		method := text("The HTTP method. GET if it is left out.")
		method["enum"] = t.methods
		properties["method"] = method
		properties["body"] = text("The request's body, JSON or other text. Not with GET.")
		properties["content_type"] = text("The body's media type. application/json if it is left out and the body is JSON.")
	}
	return json.Marshal(map[string]any{
		"type": "object", "properties": properties, "required": []string{"url"}, "additionalProperties": false,
	})
}

// parse reads the input of Call: a URL or path as it is, or a JSON object.
func (t *Tool) parse(input string) (Request, *Error) {
	input = strings.TrimSpace(input)
	// A character of JSON is written in 6 bytes at most.
	if limit := 6*(maxURL+t.maxBody) + maxURL; len(input) > limit {
		return Request{}, fail(TooLarge, "The input has more than %d bytes. Send less.", limit)
	}
	if strings.HasPrefix(input, t.name+"(") {
		return Request{}, fail(BadInput, "The input has the tool's name around it: leave that out. %s", t.inputHint())
	}
	if !strings.HasPrefix(input, "{") {
		return Request{URL: input}, nil
	}
	dec := json.NewDecoder(strings.NewReader(input))
	var fields map[string]json.RawMessage
	if err := dec.Decode(&fields); err != nil {
		return Request{}, fail(BadInput, "The input begins with a brace and is not valid JSON: leave out the braces around a URL. %s", t.inputHint())
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return Request{}, fail(BadInput, "Something follows the input's JSON object: leave it out. %s", t.inputHint())
	}
	var req Request
	for name, raw := range fields {
		var value string
		err := json.Unmarshal(raw, &value)
		if name == "body" && err != nil { // a model may write the JSON itself, not a string of it
			value, err = string(bytes.TrimSpace(raw)), nil
		}
		switch {
		case name != "url" && !(t.otherMethods() && slices.Contains([]string{"method", "body", "content_type"}, name)):
			return Request{}, fail(BadInput, "The input has an unknown field. %s", t.inputHint())
		case err != nil:
			return Request{}, fail(BadInput, "The input's field %q is not a string. %s", name, t.inputHint())
		case name == "url":
			req.URL = value
		case name == "method":
			req.Method = value
		case name == "body":
			req.Body = value
		case name == "content_type":
			req.ContentType = value
		}
	}
	return req, nil
}

// checked returns req with its method and content type in their final form.
func (t *Tool) checked(req Request) (Request, *Error) {
	if req.Method == "" {
		req.Method = http.MethodGet
	}
	bodiless := req.Method == http.MethodGet || req.Method == http.MethodHead
	switch {
	case !slices.Contains(t.methods, req.Method):
		return req, fail(BadInput, "The method is not permitted. Permitted: %s.", strings.Join(t.methods, ", "))
	case bodiless && (req.Body != "" || req.ContentType != ""):
		return req, fail(BadInput, "A %s has no body and no content type. Leave them out, or use another method.", req.Method)
	case len(req.Body) > t.maxBody:
		return req, fail(TooLarge, "The body has %d bytes, and %d are permitted. Send less.", len(req.Body), t.maxBody)
	case req.Body == "" && req.ContentType != "":
		return req, fail(BadInput, "There is a content type, and no body. Leave it out, or send a body.")
	case req.Body == "":
		return req, nil
	case req.ContentType == "" && json.Valid([]byte(req.Body)):
		req.ContentType = "application/json"
		return req, nil
	case req.ContentType == "":
		req.ContentType = "text/plain; charset=utf-8"
		return req, nil
	}
	mediaType, params, err := mime.ParseMediaType(req.ContentType)
	// Formatted again, so that no header can hide in it; "" if it can't be formatted.
	if req.ContentType = mime.FormatMediaType(mediaType, params); err != nil || req.ContentType == "" || !textual(mediaType) {
		return req, fail(BadInput, "The content type is not one of text. Use application/json, or text/plain.")
	}
	return req, nil
}
