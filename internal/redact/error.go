// Copyright 2026 The authsec Authors
// SPDX-License-Identifier: Apache-2.0

package redact

import (
	"errors"
	"fmt"
	"net"
	"reflect"
	"runtime"
	"strings"
)

// maxTree is how many errors of a tree Conceal searches. It hides a larger tree.
const maxTree = 100

// maxErrorText is the length of the longest text that Conceal searches. Of a longer
// text, such as an answer that net/http quotes, only the beginning is shown.
const maxErrorText = 8 << 10

// try calls code that is not ours. It returns false if that panicked.
func try[T any](f func() T) (v T, ok bool) {
	defer func() { _ = recover() }()
	return f(), true
}

// Error returns err's text, "" for a nil err, or err's type if its Error method
// panics, as that of a nil pointer may.
func Error(err error) string {
	if err == nil {
		return ""
	}
	if text, ok := try(err.Error); ok {
		return text
	}
	return fmt.Sprintf("a %T whose Error method panicked", err)
}

// Panic returns what may be shown of a value that other code panicked with: its
// type. Only the runtime's own errors are sure to hold no secret.
func Panic(v any) string {
	name := fmt.Sprintf("%T", v)
	if err, ok := v.(runtime.Error); ok && strings.HasPrefix(strings.TrimPrefix(name, "*"), "runtime.") {
		return Error(err)
	}
	return name
}

// Conceal returns err if neither its text nor that of an error below it shows a
// secret, the client ID or something like a token. Otherwise it returns an error
// with err's redacted text, which hides err. [errors.Is] still finds err and all
// errors below it. [errors.As] finds only errors that show none of these, also below.
// An error whose methods panic is hidden as well.
func Conceal(err error, clientID string, secrets ...string) error {
	if err == nil {
		return nil
	}
	needles := needles(clientID, secrets)
	shows := func(text string) bool { return tokenLike.MatchString(text) || len(find(text, needles)) > 0 }
	clean := func(err error) bool {
		clean, _ := try(func() bool {
			tree := []error{err}
			for i := 0; i < len(tree); i++ {
				if i == maxTree {
					return false
				}
				if tree[i] == nil {
					continue
				}
				if text := tree[i].Error(); len(text) > maxErrorText || shows(text) {
					return false
				}
				switch err := tree[i].(type) {
				case interface{ Unwrap() error }:
					tree = append(tree, err.Unwrap())
				case interface{ Unwrap() []error }:
					tree = append(tree, err.Unwrap()...)
				}
			}
			return true
		})
		return clean
	}
	if clean(err) {
		return err
	}
	return &concealed{Text(Error(err), clientID, secrets...), func() error { return err }, clean}
}

// Hide returns an error with this text, which hides err from all but [errors.Is]. It
// is for an error that may hold secrets that this package does not know.
func Hide(err error, text string) error {
	return &concealed{text, func() error { return err }, func(error) bool { return false }}
}

// concealed hides an error. It has no Unwrap.
type concealed struct {
	text  string
	err   func() error     // a func, so that no way of printing shows what the error holds
	clean func(error) bool // reports whether an error and all below it show no secret
}

func (c *concealed) Error() string { return c.text }

func (c *concealed) Is(target error) bool {
	is, _ := try(func() bool { return errors.Is(c.err(), target) })
	return is
}

// As uses a target of its own, so that the caller's target gets nothing that shows a
// secret.
func (c *concealed) As(target any) bool {
	found := reflect.New(reflect.TypeOf(target).Elem())
	as, _ := try(func() bool { return errors.As(c.err(), found.Interface()) })
	err, isError := found.Elem().Interface().(error)
	if !as || !isError || !c.clean(err) {
		return false
	}
	reflect.ValueOf(target).Elem().Set(found.Elem())
	return true
}

// Timeout and Temporary make it a net.Error. Both report whether err is a time-out.
func (c *concealed) Temporary() bool { return c.Timeout() }
func (c *concealed) Timeout() bool {
	var err net.Error
	is, _ := try(func() bool { return errors.As(c.err(), &err) && err.Timeout() })
	return is
}
