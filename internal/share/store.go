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
	missed        // Options.Miss
	held          // Options.Held
	failed        // also: the store is not used for a while
)

// guard keeps a store from holding up or ending the process. A use that takes too
// long, panics or exits its goroutine is a failure. After a time-out the store is
// left alone for a while.
type guard struct {
	timeout  time.Duration // of one use
	clientID string        // which no text may show
	secret   bool          // entries are plaintext, so an error's text may hold a token
	report   func(op, fault string)
	miss     error
	held     error
	left     flight.Left

	mu       sync.Mutex // guards what follows; not held while the store runs
	rest     time.Time  // until then the store is left alone
	timeouts map[string]int
}

// errBudget ends a context of withBudget.
var errBudget = errors.New("the time of one use is up")

// withBudget returns a context in which several uses take no longer than one may.
func (g *guard) withBudget(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeoutCause(ctx, g.timeout, errBudget)
}

// use calls f, which is the store's code. late is given what comes too late.
func use[T any](ctx context.Context, g *guard, op string, f func(context.Context) (T, error), late func(T)) (T, result) {
	type outcome struct {
		v      T
		result result
		fault  string
	}
	var none T
	if !g.mayUse(op) {
		return none, failed
	}
	limited, cancel := context.WithTimeout(ctx, g.timeout)
	defer cancel()
	out, err := flight.Do(limited, &g.left, func(ctx context.Context) (outcome, error) {
		v, err := f(ctx)
		// The error's methods are the store's code as well: they run here.
		switch {
		case err == nil:
			return outcome{v: v}, nil
		case errors.Is(err, g.miss):
			return outcome{result: missed}, nil
		case errors.Is(err, g.held):
			return outcome{result: held}, nil
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
		return none, failed
	case timedOut:
		g.rests(op)
		out.fault = fmt.Sprintf("no answer within %v", g.timeout)
	case err != nil:
		out.fault = redact.Text(redact.Error(err), g.clientID)
	}
	g.tell(op, out.fault)
	return none, failed
}

// describe is what may be shown of a store's error.
func (g *guard) describe(err error) string {
	if !g.secret {
		return redact.Text(redact.Error(err), g.clientID)
	}
	var number syscall.Errno
	if errors.As(err, &number) {
		return number.Error()
	}
	return fmt.Sprintf("a %T, whose text is not shown, since entries are not encrypted", err)
}

// mayUse reports whether the store may be used now. A delete follows a put that
// failed, and is tried at once.
func (g *guard) mayUse(op string) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.left.Running() < maxStuck && (op == "delete" || !time.Now().Before(g.rest))
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
		g.report(op, fault)
	}
}
