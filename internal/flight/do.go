// Copyright 2026 The authsec Authors
// SPDX-License-Identifier: Apache-2.0

// Package flight calls code that is not ours. Such code may panic, end its
// goroutine, or never return. [Do] makes one call for one caller, [Start] one
// call for any number of waiters.
package flight

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"runtime"
	"sync"
	"time"
)

// Failures of a call. Their texts continue a sentence whose subject is the code
// that was called.
var (
	// ErrExited says that the call ended its goroutine (runtime.Goexit).
	ErrExited = errors.New("ended its goroutine")

	// ErrTooMany says that [Left] did not allow the call. Errors wrap it and add
	// how many calls have not returned.
	ErrTooMany = errors.New("has not returned from")
)

// PanicError says that the call panicked. It does not hold the value, which may
// be a secret: of the runtime's own errors it has the text, of others the type.
type PanicError struct{ text string }

func (e *PanicError) Error() string { return e.text }

func panicked(v any) *PanicError {
	text, t := fmt.Sprintf("%T", v), reflect.TypeOf(v)
	if t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	if err, ok := v.(runtime.Error); ok && t.PkgPath() == "runtime" { // other packages may implement runtime.Error, too
		text = err.Error()
	}
	return &PanicError{"panicked: " + text}
}

// Left counts calls that were left behind: [Do] has returned, they have not.
// The zero value counts only. It is safe for concurrent use.
type Left struct {
	Max   int           // no call is made while so many are left behind; 0: no bound
	Every time.Duration // but one, when the last began so long ago; 0: none

	mu   sync.Mutex // guards what follows, and whether a call is left behind
	n    int
	last time.Time // when the last call began
}

// Running returns how many calls are left behind and have not returned yet.
func (l *Left) Running() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.n
}

func (l *Left) allow(now time.Time) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.Max > 0 && l.n >= l.Max && (l.Every <= 0 || now.Sub(l.last) < l.Every) {
		return fmt.Errorf("%w %d calls", ErrTooMany, l.n)
	}
	l.last = now
	return nil
}

// Do calls f in a goroutine of its own and returns what f returns, but waits no
// longer than ctx. The error is f's own, a *[PanicError], [ErrExited],
// [ErrTooMany], or ctx's. If ctx has ended before, f is not called.
//
// A call that outlasts ctx is left behind and counted in l. A nil l sets no
// bound. If such a call succeeds after all, late gets its value; a nil late
// drops it. A panic of late is dropped.
func Do[T any](ctx context.Context, l *Left, f func(context.Context) (T, error), late func(T)) (T, error) {
	type result struct {
		v   T
		err error
	}
	var none T
	if err := ctx.Err(); err != nil {
		return none, err
	}
	if l == nil {
		l = new(Left)
	}
	if err := l.allow(time.Now()); err != nil {
		return none, err
	}
	results := make(chan result, 1)
	left := false // guarded by l.mu
	go func() {
		r := result{err: ErrExited}
		defer func() {
			if v := recover(); v != nil {
				r.err = panicked(v)
			}
			l.mu.Lock()
			gone := left
			if gone {
				l.n--
			} else {
				results <- r
			}
			l.mu.Unlock()
			if gone && r.err == nil && late != nil {
				defer func() { recover() }()
				late(r.v)
			}
		}()
		r.v, r.err = f(ctx)
	}()
	select {
	case r := <-results:
		return r.v, r.err
	case <-ctx.Done():
	}
	ended := ctx.Err()
	l.mu.Lock()
	defer l.mu.Unlock()
	select {
	case r := <-results: // came at the same moment
		return r.v, r.err
	default:
		left = true
		l.n++
		return none, ended
	}
}
