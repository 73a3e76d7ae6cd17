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

	// The store is not used while maxStuck uses that have not returned in time still
	// run.
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
	absent        // no entry, or another process has the lease
	failed        // the use failed, or the store rests
)

// guard protects the process from a bad store. A use that takes too long, panics or
// ends its goroutine is a failure. After a time-out the store rests: it is not used for
// a while.
type guard struct {
	Options               // without Keys
	plaintext bool        // entries are not encrypted, so an error's text may hold a token
	left      flight.Left // uses that have not returned in time

	mu       sync.Mutex     // guards what follows; not held while the store runs
	rest     time.Time      // until then the store rests
	timeouts map[string]int // in a row, by the use's name
}

// errBudget is the cause if a context of WithBudget ends.
var errBudget = errors.New("the time of one use is up")

// use calls f, which is the store's code. late gets the result of a call that returns
// after the time-out.
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
		// The error's methods are also the store's code, so they run within the time-out.
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

// tidy deletes an entry or releases a lease. It uses the store even while the store
// rests, but then does not wait for it.
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

// describe returns what may be shown of a store's error.
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
	if op != "delete" { // most follow a failed put, which was reported
		g.Report(op, fault)
	}
}
