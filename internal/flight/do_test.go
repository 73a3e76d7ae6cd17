// Copyright 2026 The authsec Authors
// SPDX-License-Identifier: Apache-2.0

package flight

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

const second = time.Second

type call = func(context.Context) (string, error)

// returns is a call that takes d, whatever its context says.
func returns(v string, err error, d time.Duration) call {
	return func(context.Context) (string, error) { time.Sleep(d); return v, err }
}

// hostileError is an error that nobody may touch: not its text, its Is, its Unwrap.
type hostileError struct{}

func (hostileError) Error() string   { panic("Error was called") }
func (hostileError) Is(error) bool   { panic("Is was called") }
func (hostileError) As(any) bool     { panic("As was called") }
func (hostileError) Unwrap() []error { panic("Unwrap was called") }

// fakeRuntimeError looks like one of the runtime's own errors.
type fakeRuntimeError struct{ error }

func (fakeRuntimeError) RuntimeError() {}

var errFault = errors.New("fault")

func TestDoReturnsWhatBecameOfTheCall(t *testing.T) {
	for _, tc := range []struct {
		name string
		f    call
		v    string
		err  error // nil with text: any whose text is that
		text string
		took time.Duration
	}{
		{"returns", returns("v", nil, second), "v", nil, "", second},
		{"fails", returns("", errFault, 0), "", errFault, "", 0},
		{"fails with a value", returns("v", errFault, 0), "v", errFault, "", 0},
		{"fails with a hostile error", returns("", hostileError{}, 0), "", hostileError{}, "", 0},
		{"panics", func(context.Context) (string, error) { panic("secret") }, "", nil, "panicked: string", 0},
		{"panics with a hostile error", func(context.Context) (string, error) { panic(hostileError{}) }, "", nil, "panicked: flight.hostileError", 0},
		{"panics with what looks like the runtime's", func(context.Context) (string, error) { panic(&fakeRuntimeError{errors.New("secret")}) }, "", nil, "panicked: *flight.fakeRuntimeError", 0},
		{"panics with nil", func(context.Context) (string, error) { panic(nil) }, "", nil, "panicked: panic called with nil argument", 0},
		{"runs into nil", func(context.Context) (string, error) { var p *string; return *p, nil }, "", nil, "panicked: runtime error: invalid memory address or nil pointer dereference", 0},
		{"is nil", nil, "", nil, "panicked: runtime error: invalid memory address or nil pointer dereference", 0},
		{"ends its goroutine", func(context.Context) (string, error) { runtime.Goexit(); return "v", nil }, "", ErrExited, "", 0},
		{"does not return in time", returns("v", nil, 5*second), "", context.DeadlineExceeded, "", 3 * second},
	} {
		for _, l := range []*Left{nil, {}, {Max: 1}} {
			synctest.Test(t, func(t *testing.T) {
				ctx, cancel := context.WithTimeout(t.Context(), 3*second)
				defer cancel()
				start := time.Now()
				v, err := Do(ctx, l, tc.f, nil)
				if took := time.Since(start); v != tc.v || took != tc.took {
					t.Errorf("%s: got %q after %v, want %q after %v", tc.name, v, took, tc.v, tc.took)
				}
				if p := (*PanicError)(nil); tc.text != "" {
					if p, _ = err.(*PanicError); p == nil || p.Error() != tc.text {
						t.Errorf("%s: got error %T %v, want a *PanicError %q", tc.name, err, err, tc.text)
					}
					if shown := fmt.Sprintf("%+v %#v", err, err); strings.Contains(shown, "secret") {
						t.Errorf("%s: the error shows the value: %s", tc.name, shown)
					}
				} else if err != tc.err {
					t.Errorf("%s: got error %T, want %T", tc.name, err, tc.err)
				}
				time.Sleep(10 * second) // the bubble fails if a goroutine is left
				synctest.Wait()
				if l != nil && l.Running() != 0 {
					t.Errorf("%s: got %d running, want 0", tc.name, l.Running())
				}
			})
		}
	}
}

func TestDoDoesNotCallWhenContextHasEnded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		called := false
		_, err := Do(ended(), nil, func(context.Context) (int, error) { called = true; return 0, nil }, nil)
		synctest.Wait()
		if err != context.Canceled || called {
			t.Errorf("got error %v, called %t, want %v and false", err, called, context.Canceled)
		}
	})
}

// readyContext has ended when its Done is called, and all else has come to rest.
type readyContext struct {
	context.Context
	before func()
}

func (c readyContext) Done() <-chan struct{} {
	c.before()
	synctest.Wait()
	return ended().Done()
}

func ended() context.Context {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	return ctx
}

func TestDoPrefersTheResultToTheEndOfContext(t *testing.T) {
	for range 50 { // select chooses at random
		synctest.Test(t, func(t *testing.T) {
			release := make(chan struct{})
			ctx := readyContext{t.Context(), func() { close(release) }}
			v, err := Do(ctx, nil, func(context.Context) (string, error) { <-release; return "v", nil }, nil)
			if v != "v" || err != nil {
				t.Fatalf("got %q, error %v, want the result", v, err)
			}
		})
	}
}

func TestLateGetsTheValueOfACallLeftBehind(t *testing.T) {
	for _, tc := range []struct {
		name string
		f    call
		want []string
	}{
		{"succeeds late", returns("v", nil, 5*second), []string{"v after 5s"}},
		{"fails late", returns("v", errFault, 5*second), nil},
		{"panics late", func(context.Context) (string, error) { time.Sleep(5 * second); panic(1) }, nil},
		{"exits late", func(context.Context) (string, error) { time.Sleep(5 * second); runtime.Goexit(); return "v", nil }, nil},
		{"succeeds in time", returns("v", nil, second), nil},
	} {
		for end, after := range map[string]func(){"returns": func() {}, "panics": func() { panic(1) }, "exits": runtime.Goexit} {
			synctest.Test(t, func(t *testing.T) {
				ctx, cancel := context.WithTimeout(t.Context(), 3*second)
				defer cancel()
				var l Left
				var got []string
				running, start := -1, time.Now()
				Do(ctx, &l, tc.f, func(v string) {
					got, running = append(got, fmt.Sprint(v, " after ", time.Since(start))), l.Running()
					after()
				})
				time.Sleep(10 * second)
				synctest.Wait()
				if fmt.Sprint(got) != fmt.Sprint(tc.want) {
					t.Errorf("%s, late %s: late got %q, want %q", tc.name, end, got, tc.want)
				}
				if len(got) > 0 && running != 0 {
					t.Errorf("%s: got %d running in late, want 0", tc.name, running)
				}
			})
		}
	}
}

func TestLeftBoundsTheCallsLeftBehind(t *testing.T) {
	for _, tc := range []struct {
		name string
		left *Left
		want string // a digit for each attempt, one a minute: how many are left behind after it; x: it was not let through
	}{
		{"zero value", &Left{}, "12345678"},
		{"at most 2", &Left{Max: 2}, "12xxxxxx"},
		{"and another every 3 minutes", &Left{Max: 2, Every: 3 * time.Minute}, "12xx3xx4"},
		{"Every without Max", &Left{Every: time.Hour}, "12345678"},
	} {
		synctest.Test(t, func(t *testing.T) {
			hang := make(chan struct{})
			got := ""
			for range tc.want {
				ctx, cancel := context.WithTimeout(t.Context(), second)
				before := tc.left.Running()
				_, err := Do(ctx, tc.left, func(context.Context) (int, error) { <-hang; return 0, nil }, nil)
				cancel()
				if errors.Is(err, ErrTooMany) {
					if want := fmt.Sprintf("has not returned from %d calls", before); err.Error() != want {
						t.Errorf("%s: got error %q, want %q", tc.name, err, want)
					}
					got += "x"
				} else {
					got += fmt.Sprint(tc.left.Running())
				}
				time.Sleep(time.Minute)
			}
			if got != tc.want {
				t.Errorf("%s: got %s, want %s", tc.name, got, tc.want)
			}
			close(hang)
			synctest.Wait()
			if _, err := Do(t.Context(), tc.left, returns("", nil, 0), nil); err != nil || tc.left.Running() != 0 {
				t.Errorf("%s: when all have returned: got error %v and %d running, want nil and 0", tc.name, err, tc.left.Running())
			}
		})
	}
}

func TestLeftLetsOneOfManyThrough(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := &Left{Max: 1, Every: time.Minute}
		hang := make(chan struct{})
		calls := make(chan int, 300)
		for range 3 {
			var all sync.WaitGroup
			for range 100 {
				all.Go(func() {
					ctx, cancel := context.WithTimeout(t.Context(), second)
					defer cancel()
					Do(ctx, l, func(context.Context) (int, error) { calls <- 1; <-hang; return 0, nil }, nil)
				})
			}
			all.Wait()
			time.Sleep(time.Minute)
		}
		// The first 100 begin before any is left behind.
		if got := len(calls); got != 102 || l.Running() != 102 {
			t.Errorf("got %d calls and %d running, want 102", got, l.Running())
		}
		close(hang)
	})
}
