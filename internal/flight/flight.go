// Copyright 2026 The authsec Authors
// SPDX-License-Identifier: Apache-2.0

package flight

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"
)

// Flight is one call for any number of waiters. Make one with [Start].
type Flight[R any] struct {
	node
	result  R
	err     error         // of land
	settled chan struct{} // closed when after has returned
}

// Start calls f in the background, and then land with f's result. Start returns at
// once, so its caller may hold a mutex.
//
// f's context has the values of ctx, but does not end with ctx. It ends after timeout,
// or when f returns.
//
// land converts f's result to the result for the waiters. It is called once, in the
// flight's goroutine, before any waiter returns. It gets an error of [Do], which is
// [context.DeadlineExceeded] if f did not return within timeout. If land itself panics
// or ends its goroutine, the waiters get a zero R and an error.
//
// after, which may be nil, then gets the waiters' result. No waiter waits for it.
func Start[V, R any](ctx context.Context, timeout time.Duration, l *Left, f func(context.Context) (V, error), land func(V, error) R, after func(R)) *Flight[R] {
	fl := &Flight[R]{node: node{done: make(chan struct{})}, err: ErrExited, settled: make(chan struct{})}
	ctx = context.WithValue(context.WithoutCancel(ctx), nodeKey{}, &fl.node)
	ctx, cancel := context.WithTimeout(ctx, timeout)
	go func() {
		defer close(fl.settled)
		defer func() { recover() }() // of after
		func() {
			defer func() {
				if v := recover(); v != nil {
					fl.err = panicked(v)
				}
				close(fl.done)
			}()
			v, err := Do(ctx, l, f, nil)
			cancel()
			fl.result = land(v, err)
			fl.err = nil
		}()
		if after != nil {
			after(fl.result)
		}
	}()
	return fl
}

// Settle waits until after has returned, or ctx ends.
func (f *Flight[R]) Settle(ctx context.Context) {
	select {
	case <-f.settled:
	case <-ctx.Done():
	}
}

// Wait returns the flight's result. The wait ends with ctx. The error is ctx's, or
// [ErrCycle], or says that land failed. If the flight already has a result, Wait
// returns it even if ctx has ended.
func (f *Flight[R]) Wait(ctx context.Context) (R, error) {
	var none R
	if n, ok := ctx.Value(nodeKey{}).(*node); ok {
		if !n.waitFor(&f.node) {
			return none, ErrCycle
		}
		defer n.waited(&f.node)
	}
	select {
	case <-f.done:
	case <-ctx.Done():
		select {
		case <-f.done:
		default:
			return none, ctx.Err()
		}
	}
	return f.result, f.err
}

// ErrCycle says that a flight's call waits for that same flight, directly or
// through other flights.
var ErrCycle = errors.New("it waits for itself")

// node is a flight in the graph of flights whose calls wait for others.
type node struct {
	done  chan struct{} // closed when the flight has its result
	waits []*node       // flights that its call waits for
}

// nodeKey is the key of a flight's node in the context of its call.
type nodeKey struct{}

// graph guards the waits of all nodes. If two flights begin to wait for each other, the
// one that locks it second sees the cycle.
var graph sync.Mutex

// waitFor records that n's call waits for target. It records nothing and returns
// false if target waits for n: the graph never has a cycle.
func (n *node) waitFor(target *node) bool {
	graph.Lock()
	defer graph.Unlock()
	if target.reaches(n) {
		return false
	}
	n.waits = append(n.waits, target)
	return true
}

// waited removes what waitFor recorded.
func (n *node) waited(target *node) {
	graph.Lock()
	defer graph.Unlock()
	i := slices.Index(n.waits, target)
	n.waits = slices.Delete(n.waits, i, i+1)
}

// reaches reports whether n is to, or waits for it. A flight that has its result
// keeps nobody waiting, although its call may still run.
func (n *node) reaches(to *node) bool {
	select {
	case <-n.done:
		return false
	default:
	}
	return n == to || slices.ContainsFunc(n.waits, func(next *node) bool { return next.reaches(to) })
}
