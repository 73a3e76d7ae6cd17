// Copyright 2026 The authsec Authors
// SPDX-License-Identifier: Apache-2.0

package fetchtool_test

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"

	"github.com/authsec-go/authsec/fetchtool"
)

func TestInputIsReadByTheSchema(t *testing.T) {
	get, post := new(ledger), new(ledger)
	getOnly := newStack(t, get, nil)
	both := newStack(t, post, func(c *fetchtool.Config) { c.Methods = []string{"POST", "GET", "PUT", "GET"} })
	for _, c := range []struct {
		s     *stack
		base  *ledger
		input string
		want  string // "method URL|content type|body"; else what the error says
	}{
		{getOnly, get, `{"url":"x"}`, "GET https://api.example.com/v1/x||"},
		{getOnly, get, ` { "url" : "https://api.example.com/v1/x" } `, "GET https://api.example.com/v1/x||"},
		{getOnly, get, `{"url":"x","method":"GET"}`, `Write {"url": "..."} and nothing else`},
		{getOnly, get, `{"url":"x","headers":{"A":"b"}}`, `unknown field`},
		{getOnly, get, `{"URL":"x"}`, `unknown field`},
		{getOnly, get, `{"url":42}`, `"url" is not a string`},
		{getOnly, get, `{"url":null}`, `is empty`},
		{getOnly, get, `{}`, `is empty`},
		{getOnly, get, `{"url":"x"`, `not valid JSON`},
		{getOnly, get, `{"url":"x"} {}`, `Something follows`},
		{getOnly, get, `{"url":"x\ny"}`, `white space`},
		{getOnly, get, `{"url":"x\u0000"}`, `invisible character`},
		{both, post, `x`, "GET https://api.example.com/v1/x||"},
		{both, post, `{"url":"x","method":"POST","body":"{\"a\":1}"}`, `POST https://api.example.com/v1/x|application/json|{"a":1}`},
		{both, post, `{"url":"x","method":"POST","body":{"a":1}}`, `POST https://api.example.com/v1/x|application/json|{"a":1}`},
		{both, post, `{"url":"x","method":"PUT","body":"hello"}`, `PUT https://api.example.com/v1/x|text/plain; charset=utf-8|hello`},
		{both, post, `{"url":"x","method":"POST","body":"a=b","content_type":"application/x-www-form-urlencoded"}`, `POST https://api.example.com/v1/x|application/x-www-form-urlencoded|a=b`},
		{both, post, `{"url":"x","method":"POST","body":"a","content_type":"Text/Plain ;charset=utf-8"}`, `POST https://api.example.com/v1/x|text/plain; charset=utf-8|a`},
		{both, post, `{"url":"x","method":"POST"}`, `POST https://api.example.com/v1/x||`},
		{both, post, `{"url":"x","method":"PATCH","body":"a"}`, `Permitted: GET, POST, PUT.`},
		{both, post, `{"url":"x","method":["POST"]}`, `"method" is not a string`},
		{both, post, `{"url":"x","headers":"a"}`, `"content_type" if needed`},
		{both, post, strings.Repeat("x", 1<<20), `Send less`},
	} {
		before := len(c.base.requests())
		got := c.s.call(t, c.input)
		if sent := c.base.requests(); len(sent) > before {
			if got := sent[before] + "|" + c.base.bodies[before]; got != c.want {
				t.Errorf("%.100s: got the request %q, want %q", c.input, got, c.want)
			}
			continue
		}
		if !strings.HasPrefix(got, "Error: ") || !strings.Contains(got, c.want) {
			t.Errorf("%.100s: got %q, want an error with %q in it", c.input, got, c.want)
		}
	}
}

func TestSchemaIsWhatModelsTake(t *testing.T) {
	for _, c := range []struct{ methods, fields []string }{
		{nil, []string{"url"}},
		{[]string{"GET"}, []string{"url"}},
		{[]string{"POST", "GET"}, []string{"body", "content_type", "method", "url"}},
	} {
		s := newStack(t, new(ledger), func(cfg *fetchtool.Config) { cfg.Methods = c.methods })
		schema := s.tool.Schema()
		var got struct {
			Type       string
			Properties map[string]struct {
				Type, Description string
				Enum              []string
			}
			Required             []string
			AdditionalProperties *bool `json:"additionalProperties"`
		}
		if err := json.Unmarshal(schema, &got); err != nil {
			t.Fatalf("got %s, want JSON: %v", schema, err)
		}
		var fields []string
		for name, p := range got.Properties {
			fields = append(fields, name)
			if p.Type != "string" || p.Description == "" {
				t.Errorf("%s: got the type %q and the description %q, want a string that is described", name, p.Type, p.Description)
			}
		}
		slices.Sort(fields)
		if got.Type != "object" || !slices.Equal(fields, c.fields) || !slices.Equal(got.Required, []string{"url"}) || got.AdditionalProperties == nil || *got.AdditionalProperties {
			t.Errorf("got %s, want an object of %q that requires url and has no others", schema, c.fields)
		}
		if len(fields) > 1 && !slices.Equal(got.Properties["method"].Enum, []string{"GET", "POST"}) {
			t.Errorf("got the methods %q, want GET and POST", got.Properties["method"].Enum)
		}
		schema[0] = 'x'
		if !json.Valid(s.tool.Schema()) {
			t.Error("the schema is shared with the caller, want a copy")
		}
	}
}
