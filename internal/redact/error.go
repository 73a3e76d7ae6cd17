// Copyright 2026 The authsec Authors
// SPDX-License-Identifier: Apache-2.0

package redact

import (
	"errors"
	"fmt"
	"net"
	"reflect"
	"runtime"
	"slices"
)

// maxTree is how many errors Conceal looks at in a tree before it distrusts it.
const maxTree = 100

// try calls foreign code. It returns false if that panicked.
func try[T any](f func() T) (v T, ok bool) {
	defer func() { _ = recover() }()
	return f(), true
}

// Error returns err's text, or its type if its Error method panics, as that of a
// nil pointer may. Of no error it is "".
func Error(err error) string {
	if err == nil {
		return ""
	}
	if text, ok := try(err.Error); ok {
		return text
	}
	return fmt.Sprintf("a %T whose Error method panicked", err)
}

// Panic returns what may be shown of a value that foreign code panicked with: its
// type. Only the runtime's own errors are sure to hold no secret.
func Panic(v any) string {
	if err, ok := v.(runtime.Error); ok {
		t := reflect.TypeOf(v)
		if t.Kind() == reflect.Pointer {
			t = t.Elem()
		}
		if t.PkgPath() == "runtime" {
			return Error(err)
		}
	}
	return fmt.Sprintf("%T", v)
}

// Conceal returns err if neither its text nor that of an error below it shows a
// secret, the client ID or something like a token. Otherwise it returns an error
// with err's redacted text, which hides err from everything but [errors.Is], and
// [errors.As] for an error that shows none of these, itself or below it. An error
// whose methods panic is hidden as well.
func Conceal(err error, clientID string, secrets ...string) error {
	if err == nil {
		return nil
	}
	secrets = slices.Clone(secrets)
	shows := func(err error) bool {
		left := maxTree
		return treeShows(err, &left, func(text string) bool {
			found := find(text, clientID, secrets)
			return found.short || len(found.spans) > 0 || len(tokens(text)) > 0
		})
	}
	if !shows(err) {
		return err
	}
	return &concealed{Text(Error(err), clientID, secrets...), func() error { return err }, shows}
}

// Hide returns an error with this text, through which only [errors.Is] sees err.
// It is for an error that may hold secrets that nobody here knows.
func Hide(err error, text string) error {
	return &concealed{text, func() error { return err }, func(error) bool { return true }}
}

// treeShows reports whether a text in err's tree shows a secret, or whether that
// is unknown: a method panics, or the tree has more than left errors.
func treeShows(err error, left *int, shows func(string) bool) bool {
	*left--
	text, ok := try(err.Error)
	if !ok || *left < 0 || shows(text) {
		return true
	}
	below, ok := try(func() []error {
		switch err := err.(type) {
		case interface{ Unwrap() error }:
			return []error{err.Unwrap()}
		case interface{ Unwrap() []error }:
			return err.Unwrap()
		}
		return nil
	})
	return !ok || slices.ContainsFunc(below, func(err error) bool {
		return err != nil && treeShows(err, left, shows)
	})
}

// concealed hides an error. It has no Unwrap.
type concealed struct {
	text  string
	err   func() error // a func, so that no way of printing shows what the error holds
	shows func(error) bool
}

func (c *concealed) Error() string { return c.text }

func (c *concealed) Is(target error) bool {
	is, _ := try(func() bool { return errors.Is(c.err(), target) })
	return is
}

func (c *concealed) As(target any) bool {
	as, ok := try(func() bool { return errors.As(c.err(), target) })
	if ok && !as {
		return false
	}
	v := reflect.ValueOf(target).Elem()
	if err, isError := v.Interface().(error); !ok || isError && c.shows(err) {
		v.SetZero()
		return false
	}
	return true
}

// Timeout and Temporary make it a net.Error.
func (c *concealed) Timeout() bool   { return c.ask(net.Error.Timeout) }
func (c *concealed) Temporary() bool { return c.ask(net.Error.Temporary) }

func (c *concealed) ask(method func(net.Error) bool) bool {
	var err net.Error
	is, _ := try(func() bool { return errors.As(c.err(), &err) && method(err) })
	return is
}
