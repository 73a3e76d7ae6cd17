// Copyright 2026 The authsec Authors
// SPDX-License-Identifier: Apache-2.0

package redact

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"os"
	"strings"
	"syscall"
	"testing"
)

// foreign is an error with the worst of methods.
type foreign struct {
	text  string
	below error
	panic string // the name of the method that panics, or "all"
}

func (e *foreign) may(method string) {
	if e.panic == method || e.panic == "all" {
		panic(opaque)
	}
}

func (e *foreign) Error() string   { e.may("Error"); return e.text }
func (e *foreign) Unwrap() error   { e.may("Unwrap"); return e.below }
func (e *foreign) Is(error) bool   { e.may("Is"); return false }
func (e *foreign) Timeout() bool   { e.may("Timeout"); return true }
func (e *foreign) Temporary() bool { e.may("Timeout"); return true }
func (e *foreign) As(target any) bool {
	if p, ok := target.(*secretValue); ok && e.panic == "As" {
		*p = secretValue(opaque)
	}
	e.may("As")
	return false
}

type secretValue string

func (s secretValue) Error() string { return string(s) }

type valueError struct{}

func (valueError) Error() string { return "x" }

func TestErrorGuardsForeignMethods(t *testing.T) {
	for _, c := range []struct {
		err  error
		want string
	}{
		{nil, ""},
		{io.EOF, "EOF"},
		{(*foreign)(nil), "a *redact.foreign whose Error method panicked"},
		{(*valueError)(nil), "a *redact.valueError whose Error method panicked"},
		{&foreign{panic: "Error"}, "a *redact.foreign whose Error method panicked"},
	} {
		if got := Error(c.err); got != c.want {
			t.Errorf("got %q, want %q", got, c.want)
		}
	}
}

// runtimeLike adds to an error of the runtime.
type runtimeLike struct{ *foreign }

func (runtimeLike) RuntimeError() {}

func TestOnlyThePanicsOfTheRuntimeAreShown(t *testing.T) {
	recovered := func(f func()) (v any) {
		defer func() { v = recover() }()
		f()
		return nil
	}
	var m map[string]int
	var a any = "x"
	for _, c := range []struct {
		v    any
		want string
	}{
		{opaque, "string"}, {errors.New(opaque), "*errors.errorString"}, {runtimeLike{&foreign{text: opaque}}, "redact.runtimeLike"},
		{recovered(func() { m["x"] = 1 }), "assignment to entry in nil map"},
		{recovered(func() { _ = a.(int) }), "interface conversion: interface {} is string, not int"},
		{recovered(func() { _ = []int{}[len(m)] }), "runtime error: index out of range [0] with length 0"},
		{nil, "<nil>"},
	} {
		if got := Panic(c.v); got != c.want {
			t.Errorf("got %q, want %q", got, c.want)
		}
	}
}

func TestAnErrorWithoutSecretsIsReturnedItself(t *testing.T) {
	cycle := &foreign{text: "cycle"}
	cycle.below = cycle
	for _, c := range []struct {
		err  error
		same bool
	}{
		{nil, true},
		{io.EOF, true},
		{errors.Join(io.EOF, fmt.Errorf("x: %w", io.ErrClosedPipe)), true},
		{&foreign{text: "x"}, true},
		{errors.New("e" + opaque), false},
		{errors.New(uuid), false},
		{errors.New("tiny"), false},
		{errors.New("eyJhbGciOiJub25lIn0.e30."), false},
		{&foreign{text: "x", below: errors.New(opaque)}, false},
		{errors.Join(io.EOF, &foreign{text: "x", below: &foreign{text: "y", below: errors.New(uuid)}}), false},
		{&foreign{text: "x", panic: "Error"}, false},
		{&foreign{text: "x", panic: "Unwrap"}, false},
		{(*foreign)(nil), false},
		{cycle, false},
	} {
		if got := Conceal(c.err, uuid, opaque, "tiny"); (got == c.err) != c.same || got == nil != (c.err == nil) {
			t.Errorf("%q: got the same error: %t, want %t", Error(c.err), got == c.err, c.same)
		}
	}
}

func TestAConcealedErrorShowsNothing(t *testing.T) {
	op := &net.OpError{Op: "dial", Net: "tcp", Err: os.NewSyscallError("connect", syscall.ECONNREFUSED)}
	err := Conceal(&url.Error{Op: "Get", URL: "https://x.test/?client_id=" + uuid, Err: fmt.Errorf("%s: %w", opaque, op)}, uuid, opaque)
	hidden := Hide(errors.Join(errors.New(opaque), context.Canceled, op), "nothing")
	if got, want := err.Error(), `Get "https://x.test/?client_id=9b477e30…": [redacted]: dial tcp: connect: connection refused`; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	if got := hidden.Error(); got != "nothing" {
		t.Errorf("got %q, want nothing", got)
	}
	for _, v := range []any{err, hidden, struct{ e error }{err}, &struct{ e any }{*err.(*concealed)}, []error{hidden}, *hidden.(*concealed)} {
		shown, _ := json.Marshal(v)
		for _, verb := range []string{"%v", "%+v", "%#v", "%q", "%s", "%x", "%d"} {
			shown = fmt.Appendf(shown, verb, v)
		}
		if holds(string(shown), opaque, uuid) || strings.Contains(string(shown), fmt.Sprintf("%x", opaque)) {
			t.Errorf("%T: got %q, want no secret", v, shown)
		}
	}
	if errors.Unwrap(err) != nil || errors.Unwrap(hidden) != nil {
		t.Error("got an error below, want none")
	}
}

func TestAConcealedErrorIsStillKnown(t *testing.T) {
	op := &net.OpError{Op: "dial", Net: "tcp", Err: os.NewSyscallError("connect", syscall.ECONNREFUSED)}
	bad := &url.Error{Op: "Get", URL: uuid, Err: op}
	over := &foreign{text: "no secret itself", below: bad}
	err, hidden := Conceal(over, uuid), Hide(over, "nothing")
	for _, target := range []error{over, bad, op, syscall.ECONNREFUSED} {
		if !errors.Is(err, target) || !errors.Is(hidden, target) {
			t.Errorf("%T: got false of errors.Is, want true", target)
		}
	}
	if errors.Is(err, io.EOF) {
		t.Error("got an EOF, want none")
	}
	if got, ok := errors.AsType[*net.OpError](err); !ok || got != op {
		t.Errorf("got %v, %t; want the *net.OpError", got, ok)
	}
	gotURL, gotOver := &url.Error{Op: "mine"}, &foreign{text: "mine"}
	if errors.As(err, &gotURL) || gotURL.Op != "mine" {
		t.Errorf("got %v, want no error that shows the client ID", gotURL)
	}
	if errors.As(err, &gotOver) || gotOver.text != "mine" {
		t.Errorf("got %v, want no error that leads to one that shows the client ID", gotOver)
	}
	mine := &os.PathError{Op: "mine"}
	if errors.As(err, &mine) || mine.Op != "mine" {
		t.Errorf("got %v, want what the caller had where there is no such error", mine)
	}
	if errors.As(hidden, new(*net.OpError)) {
		t.Error("got an error out of what Hide hides, want none")
	}
	for _, c := range []struct {
		below error
		want  bool
	}{{context.DeadlineExceeded, true}, {io.EOF, false}, {&foreign{}, true}} {
		e := Conceal(fmt.Errorf("%s: %w", uuid, c.below), uuid)
		if got, ok := errors.AsType[net.Error](e); !ok || got.Timeout() != c.want {
			t.Errorf("%v: got a net.Error %t that timed out %t, want %t", c.below, ok, ok && got.Timeout(), c.want)
		}
	}
}

// The caller's slice may change afterwards.
func TestAConcealedErrorKeepsItsSecrets(t *testing.T) {
	secrets := []string{opaque}
	err := Conceal(secretValue(opaque), uuid, secrets...)
	secrets[0] = "another"
	if got, ok := errors.AsType[secretValue](err); ok {
		t.Errorf("got %q, want no error that shows the secret", got)
	}
}

// A tree that is too large to be searched is concealed, wherever its nil errors are.
func TestALargeTreeOfErrorsIsConcealed(t *testing.T) {
	for _, empty := range []int{0, maxTree - 1} {
		below := make([]error, maxTree+1)
		for i := range below {
			below[i] = errors.New("harmless")
		}
		below[empty], below[maxTree] = nil, errors.New("a-credential-of-its-own")
		if err := Conceal(tree{below}, "", "a-credential-of-its-own"); errors.As(err, new(tree)) {
			t.Errorf("nil at %d: got the error itself, want it concealed", empty)
		}
	}
}

type tree struct{ below []error }

func (tree) Error() string     { return "several" }
func (t tree) Unwrap() []error { return t.below }

func TestNothingPanicsOutOfAConcealedError(t *testing.T) {
	for _, method := range []string{"Error", "Unwrap", "Is", "As", "Timeout", "all"} {
		for _, below := range []error{&foreign{text: opaque, panic: method}, (*foreign)(nil)} {
			err := Conceal(fmt.Errorf("%w and %w", &foreign{text: opaque}, below), uuid, opaque)
			if got := fmt.Sprintf("%v %+v", err, err); holds(got, opaque) {
				t.Errorf("%s: got %q, want no secret", method, got)
			}
			errors.Is(err, io.EOF)
			value := secretValue("mine")
			if errors.As(err, &value) || holds(string(value), opaque) {
				t.Errorf("%s: got %q, want no secret", method, value)
			}
			e := err.(net.Error)
			_ = e.Timeout()
		}
	}
}
