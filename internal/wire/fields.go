// Copyright 2026 The authsec Authors
// SPDX-License-Identifier: Apache-2.0

package wire

import (
	"encoding/json"
	"time"
)

// MaxTTL caps a lifetime, so that adding it to a time does not overflow.
const MaxTTL = 100 * 365 * 24 * time.Hour

// Fields reads typed members of a decoded JSON object. A member that is absent, null
// or of another type reads as zero. Another type is also a Fault.
type Fields struct {
	Values map[string]any
	Fault  string // the first member of another type, and the type it should have; "": none
}

func field[T any](f *Fields, name, want string) (v T) {
	v, ok := f.Values[name].(T)
	if !ok && f.Values[name] != nil {
		f.fail(name, want)
	}
	return v
}

func (f *Fields) fail(name, want string) {
	if f.Fault == "" {
		f.Fault = name + " is not " + want
	}
}

// Text reads a string.
func (f *Fields) Text(name string) string { return field[string](f, name, "a string") }

// Number reads a number.
func (f *Fields) Number(name string) float64 { return field[float64](f, name, "a number") }

// List reads a list of strings. It returns nil if the member is absent, and an empty
// list if it is null.
func (f *Fields) List(name string) []string {
	if _, ok := f.Values[name]; !ok {
		return nil
	}
	list := []string{}
	for _, v := range field[[]any](f, name, "a list") {
		s, ok := v.(string)
		if !ok {
			f.fail(name, "a list of strings")
			continue
		}
		list = append(list, s)
	}
	return list
}

// Time reads an RFC 3339 time.
func (f *Fields) Time(name string) time.Time {
	s := f.Text(name)
	if s == "" {
		return time.Time{}
	}
	t, err := time.Parse(time.RFC3339, s)
	if err != nil {
		f.fail(name, "a time (RFC 3339)")
	}
	return t
}

// Seconds reads a duration: a number of seconds, or a string that holds one. It returns
// at least 0 and at most MaxTTL.
func (f *Fields) Seconds(name string) time.Duration {
	n, ok := f.Values[name].(float64)
	if s, isText := f.Values[name].(string); isText {
		ok = json.Unmarshal([]byte(s), &n) == nil
	}
	if !ok && f.Values[name] != nil {
		f.fail(name, "a number")
	}
	return time.Duration(min(max(n, 0), MaxTTL.Seconds()) * float64(time.Second))
}
