// Copyright 2026 The authsec Authors
// SPDX-License-Identifier: Apache-2.0

package wire

import (
	"encoding/json"
	"reflect"
	"testing"
	"time"
)

func TestFieldsOfEachType(t *testing.T) {
	text := func(f *Fields) any { return f.Text("x") }
	number := func(f *Fields) any { return f.Number("x") }
	list := func(f *Fields) any { return f.List("x") }
	when := func(f *Fields) any { return f.Time("x").UTC() }
	seconds := func(f *Fields) any { return f.Seconds("x") }
	moment := time.Date(2026, 11, 23, 9, 31, 33, 865070000, time.UTC)
	for _, c := range []struct {
		json  string
		read  func(*Fields) any
		want  any
		fault string
	}{
		{`{}`, text, "", ""},
		{`{"x":null}`, text, "", ""},
		{`{"x":"a"}`, text, "a", ""},
		{`{"X":"a"}`, text, "", ""},
		{`{"x":7}`, text, "", "x is not a string"},
		{`{"x":{}}`, text, "", "x is not a string"},

		{`{}`, number, 0., ""},
		{`{"x":null}`, number, 0., ""},
		{`{"x":-1.5}`, number, -1.5, ""},
		{`{"x":"7"}`, number, 0., "x is not a number"},
		{`{"x":true}`, number, 0., "x is not a number"},

		{`{}`, list, []string(nil), ""},
		{`{"x":null}`, list, []string{}, ""},
		{`{"x":[]}`, list, []string{}, ""},
		{`{"x":["a","b"]}`, list, []string{"a", "b"}, ""},
		{`{"x":"a"}`, list, []string{}, "x is not a list"},
		{`{"x":{}}`, list, []string{}, "x is not a list"},
		{`{"x":["a",1,"b"]}`, list, []string{"a", "b"}, "x is not a list of strings"},
		{`{"x":[null]}`, list, []string{}, "x is not a list of strings"},

		{`{}`, when, time.Time{}, ""},
		{`{"x":null}`, when, time.Time{}, ""},
		{`{"x":""}`, when, time.Time{}, ""},
		{`{"x":"2026-11-23T09:31:33.86507Z"}`, when, moment, ""},
		{`{"x":"2026-11-23T10:31:33.865070000+01:00"}`, when, moment, ""},
		{`{"x":"0001-01-01T00:00:00Z"}`, when, time.Time{}, ""},
		{`{"x":"2026-11-23T09:31:33"}`, when, time.Time{}, "x is not a time (RFC 3339)"},
		{`{"x":"tomorrow"}`, when, time.Time{}, "x is not a time (RFC 3339)"},
		{`{"x":1795426293}`, when, time.Time{}, "x is not a string"},

		{`{}`, seconds, time.Duration(0), ""},
		{`{"x":null}`, seconds, time.Duration(0), ""},
		{`{"x":3600}`, seconds, time.Hour, ""},
		{`{"x":0.5}`, seconds, 500 * time.Millisecond, ""},
		{`{"x":-1}`, seconds, time.Duration(0), ""},
		{`{"x":3153600000}`, seconds, MaxTTL, ""},
		{`{"x":3153600001}`, seconds, MaxTTL, ""},
		{`{"x":1e300}`, seconds, MaxTTL, ""},
		{`{"x":-1e300}`, seconds, time.Duration(0), ""},
		{`{"x":"3600"}`, seconds, time.Hour, ""},
		{`{"x":"0.5"}`, seconds, 500 * time.Millisecond, ""},
		{`{"x":"-1"}`, seconds, time.Duration(0), ""},
		{`{"x":"1e300"}`, seconds, MaxTTL, ""},
		{`{"x":"1e999"}`, seconds, time.Duration(0), "x is not a number"},
		{`{"x":"NaN"}`, seconds, time.Duration(0), "x is not a number"},
		{`{"x":"Inf"}`, seconds, time.Duration(0), "x is not a number"},
		{`{"x":"0x10"}`, seconds, time.Duration(0), "x is not a number"},
		{`{"x":"nine"}`, seconds, time.Duration(0), "x is not a number"},
		{`{"x":"1h"}`, seconds, time.Duration(0), "x is not a number"},
		{`{"x":""}`, seconds, time.Duration(0), "x is not a number"},
		{`{"x":true}`, seconds, time.Duration(0), "x is not a number"},
		{`{"x":[3600]}`, seconds, time.Duration(0), "x is not a number"},
	} {
		var f Fields
		if err := json.Unmarshal([]byte(c.json), &f.Values); err != nil {
			t.Fatal(err)
		}
		if got := c.read(&f); !reflect.DeepEqual(got, c.want) || f.Fault != c.fault {
			t.Errorf("%s: got %#v, fault %q, want %#v, %q", c.json, got, f.Fault, c.want, c.fault)
		}
	}
}

func TestFaultNamesTheFirstField(t *testing.T) {
	f := Fields{Values: map[string]any{"a": 1., "b": "b", "c": true, "d": "d"}}
	f.Text("d")
	if f.Fault != "" {
		t.Errorf("got %q, want none yet", f.Fault)
	}
	f.Text("c")
	f.Number("b")
	f.Text("a")
	f.Text("d")
	if want := "c is not a string"; f.Fault != want {
		t.Errorf("got %q, want %q", f.Fault, want)
	}
}

func TestNoObjectHasNoFields(t *testing.T) {
	var f Fields
	if f.Text("x") != "" || f.Number("x") != 0 || f.List("x") != nil || !f.Time("x").IsZero() || f.Seconds("x") != 0 || f.Fault != "" {
		t.Errorf("got something, fault %q, want nothing", f.Fault)
	}
}
