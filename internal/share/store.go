// Copyright 2026 The authsec Authors
// SPDX-License-Identifier: Apache-2.0

package share

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"syscall"
	"time"

	"github.com/authsec-go/authsec/internal/flight"
	"github.com/authsec-go/authsec/internal/redact"
)

const (
	minRest = time.Second // after the first time-out; doubles with each in a row
	maxRest = time.Minute // up to this, with ±50 % jitter

	// maxStuck is how many uses that have not returned in time may still run.
	// While there are so many, the store is not used.
	maxStuck = 4
)

// Store is the root package's Cache.
type Store interface {
	Get(ctx context.Context, key string) ([]byte, error)
	Put(ctx context.Context, key string, data []byte, ttl time.Duration) error
	Delete(ctx context.Context, key string) error
}

// Leaser is the root package's Leaser.
type Leaser interface {
	Lease(ctx context.Context, key string, ttl time.Duration) (release func(context.Context) error, err error)
}

// result is how a use of the store ended.
type result int

const (
	worked result = iota
	absent        // no entry; or no lease, since another process has it
	failed        // also: the store is not used for a while
)

// guard keeps a store from holding up or ending the process. A use that takes too
// long, panics or exits its goroutine is a failure. After a time-out the store is
// left alone for a while.
type guard struct {
	Options               // without Keys
	plaintext bool        // so an error's text may hold a token
	left      flight.Left // uses that have not returned in time

	mu       sync.Mutex     // guards what follows; not held while the store runs
	rest     time.Time      // until then the store is left alone
	timeouts map[string]int // in a row, by use
}

// errBudget ends a context of WithBudget.
var errBudget = errors.New("the time of one use is up")

// use calls f, which is the store's code. late is given what comes too late.
func use[T any](ctx context.Context, g *guard, op string, f func(context.Context) (T, error), late func(T)) (v T, r result) {
	type outcome struct {
		v      T
		result result
		fault  string
	}
	if !g.mayUse(op) {
		return v, failed
	}
	limited, cancel := context.WithTimeout(ctx, g.Timeout)
	defer cancel()
	out, err := flight.Do(limited, &g.left, func(ctx context.Context) (outcome, error) {
		v, err := f(ctx)
		// The error's methods are the store's code as well: they run here.
		switch {
		case err == nil:
			return outcome{v: v}, nil
		case op == "get" && errors.Is(err, g.Miss), op == "lease" && errors.Is(err, g.Held):
			return outcome{result: absent}, nil
		}
		return outcome{result: failed, fault: g.describe(err)}, nil
	}, func(o outcome) {
		if late != nil && o.result == worked {
			late(o.v)
		}
	})
	timedOut := errors.Is(limited.Err(), context.DeadlineExceeded)
	byCaller := ctx.Err() != nil && context.Cause(ctx) != errBudget
	switch {
	case err == nil && out.result != failed:
		g.mu.Lock()
		delete(g.timeouts, op)
		g.mu.Unlock()
		g.tell(op, "")
		return out.v, out.result
	case byCaller:
		return v, failed
	case timedOut:
		g.rests(op)
		out.fault = fmt.Sprintf("no answer within %v", g.Timeout)
	case err != nil: // of package flight
		out.fault = err.Error()
	}
	g.tell(op, out.fault)
	return v, failed
}

// tidy removes or releases something, for which the store is used even while it
// is left alone. But then nobody waits for it.
func (g *guard) tidy(ctx context.Context, op string, f func(context.Context) error) {
	run := func(ctx context.Context) {
		use(ctx, g, op, func(ctx context.Context) (struct{}, error) { return struct{}{}, f(ctx) }, nil)
	}
	if ctx.Err() == nil && !g.resting() {
		run(ctx)
		return
	}
	go run(context.WithoutCancel(ctx))
}

// describe is what may be shown of a store's error.
func (g *guard) describe(err error) string {
	var number syscall.Errno
	switch {
	case !g.plaintext:
		return redact.Text(redact.Error(err), g.Agent)
	case errors.As(err, &number):
		return number.Error()
	}
	return fmt.Sprintf("a %T, whose text is not shown, since entries are not encrypted", err)
}

func (g *guard) resting() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return time.Now().Before(g.rest)
}

// mayUse reports whether the store may be used now.
func (g *guard) mayUse(op string) bool {
	return g.left.Running() < maxStuck && (op == "delete" || op == "release" || !g.resting())
}

func (g *guard) rests(op string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	rest := min(minRest<<min(g.timeouts[op], 10), maxRest)
	g.timeouts[op]++
	g.rest = time.Now().Add(rest/2 + rand.N(rest))
}

func (g *guard) tell(op, fault string) {
	if op != "delete" { // it follows a put that failed, which was reported
		g.Report(op, fault)
	}
}
