// Copyright 2026 The authsec Authors
// SPDX-License-Identifier: Apache-2.0

// Package flight calls code that is not ours. That code may panic, end its goroutine, or
// never return. [Do] makes one call for one caller, [Start] one call for any number of
// waiters.
package flight

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/authsec-go/authsec/internal/redact"
)

// Failures of a call. Their texts follow the name of the code that was called.
var (
	// ErrExited says that the call ended its goroutine (runtime.Goexit).
	ErrExited = errors.New("ended its goroutine")

	// ErrTooMany says that [Left] did not allow the call. Errors wrap it, and say how
	// many calls have not returned.
	ErrTooMany = errors.New("has not returned from")
)

// PanicError says that the call panicked. Its text has the text of a runtime error. Of
// any other value it has only the type, because the value may be a secret.
type PanicError struct{ text string }

func (e *PanicError) Error() string { return e.text }

func panicked(v any) *PanicError { return &PanicError{"panicked: " + redact.Panic(v)} }

// Left counts calls that were left behind: they have not returned, but [Do] has. The
// zero value allows any number of them. Left is safe for concurrent use.
type Left struct {
	Max   int           // while so many calls are left behind, Do makes no further call; 0: no bound
	Every time.Duration // except one, if the last call began this long ago; 0: no exception

	mu   sync.Mutex // guards what follows
	n    int
	last time.Time // when the last call began
}

// Running returns how many calls are left behind and have not returned yet.
func (l *Left) Running() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.n
}

func (l *Left) add(n int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.n += n
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

// Do calls f in a new goroutine and returns what f returns. The wait ends with ctx. The
// error is f's own, a *[PanicError], [ErrExited], [ErrTooMany], or ctx's. If ctx has
// already ended, f is not called.
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
	results, gone := make(chan result), make(chan struct{})
	go func() {
		r := result{err: ErrExited}
		defer func() {
			if v := recover(); v != nil {
				r.err = panicked(v)
			}
			select {
			case results <- r:
			case <-gone:
				l.add(-1)
				if r.err == nil && late != nil {
					defer func() { recover() }()
					late(r.v)
				}
			}
		}()
		r.v, r.err = f(ctx)
	}()
	select {
	case r := <-results:
		return r.v, r.err
	case <-ctx.Done():
	}
	select {
	case r := <-results: // came at the same moment
		return r.v, r.err
	default:
		l.add(1)
		close(gone)
		return none, ctx.Err()
	}
}
