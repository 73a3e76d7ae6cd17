// Copyright 2026 The authsec Authors
// SPDX-License-Identifier: Apache-2.0

package flight

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// source has one flight at a time, whose call waits for flights of others.
type source struct {
	name  string
	needs []*source
	pause time.Duration // of the call, before it waits

	mu     sync.Mutex // as an owner has it
	flight *Flight[outcome]
}

func (s *source) get(ctx context.Context) (string, error) {
	s.mu.Lock()
	if s.flight == nil {
		s.flight = Start(ctx, time.Minute, nil, s.fetch, s.land, nil)
	}
	f := s.flight
	s.mu.Unlock()
	got, err := f.Wait(ctx)
	return got.v, errors.Join(err, got.err)
}

func (s *source) fetch(ctx context.Context) (string, error) {
	time.Sleep(s.pause)
	texts, errs := make([]string, len(s.needs)), make([]error, len(s.needs))
	var all sync.WaitGroup
	for i, other := range s.needs {
		all.Go(func() { texts[i], errs[i] = other.get(ctx) })
	}
	all.Wait()
	return fmt.Sprint(s.name, texts), errors.Join(errs...)
}

func (s *source) land(v string, err error) outcome {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.flight = nil
	return outcome{v, err}
}

// network makes sources a, b, c…, of which each needs those that its word names.
func network(words ...string) []*source {
	all := make([]*source, len(words))
	for i := range all {
		all[i] = &source{name: string(rune('a' + i))}
	}
	for i, word := range words {
		for _, other := range word {
			all[i].needs = append(all[i].needs, all[other-'a'])
		}
	}
	return all
}

// inFlight is how many of the sources have a flight.
func inFlight(all []*source) (n int) {
	for _, s := range all {
		s.mu.Lock()
		if s.flight != nil {
			n++
		}
		s.mu.Unlock()
	}
	return n
}

func TestCyclesEndAtOnce(t *testing.T) {
	for name, words := range map[string][]string{
		"of one": {"a"}, "of two": {"b", "a"}, "of three": {"b", "c", "a"}, "of six": {"b", "c", "d", "e", "f", "a"},
		"of one twice": {"aa"}, "over a second need": {"bc", "", "a"}, "two that share one": {"bc", "a", "a"},
		"each of each": {"abcd", "abcd", "abcd", "abcd"},
	} {
		// Started by one caller, by unrelated ones at the same moment, and one after another.
		for _, mode := range []string{"one", "all", "staggered"} {
			t.Run(name+", "+mode, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					all := network(words...)
					var callers sync.WaitGroup
					results := make([]error, len(all))
					start := time.Now()
					for i, s := range all {
						if mode == "staggered" {
							s.pause = time.Duration(1+len(all)-i) * second
						} else if mode == "one" && i > 0 {
							continue
						}
						callers.Go(func() { _, results[i] = s.get(t.Context()) })
					}
					callers.Wait()
					if took := time.Since(start); took > time.Duration(3*len(all))*second || mode != "staggered" && took != 0 {
						t.Errorf("it took %v, want no wait", took)
					}
					if !slices.ContainsFunc(results, func(err error) bool { return errors.Is(err, ErrCycle) }) {
						t.Errorf("got errors %v, want an ErrCycle", results)
					}
					synctest.Wait()
					if n := inFlight(all); n != 0 {
						t.Errorf("got %d flights at the end, want 0", n)
					}
				})
			})
		}
	}
}

func TestWaitsWithoutACycleSucceed(t *testing.T) {
	for _, tc := range []struct {
		words []string
		want  string
	}{
		{[]string{"b", ""}, "a[b[]]"},
		{[]string{"b", "c", ""}, "a[b[c[]]]"},
		{[]string{"bb", ""}, "a[b[] b[]]"},
		{[]string{"bc", "d", "d", ""}, "a[b[d[]] c[d[]]]"},
	} {
		synctest.Test(t, func(t *testing.T) {
			all := network(tc.words...)
			all[len(all)-1].pause = second
			for range 3 { // what one round recorded does not disturb the next
				var callers sync.WaitGroup
				for _, s := range all {
					callers.Go(func() {
						if got, err := s.get(t.Context()); err != nil || s == all[0] && got != tc.want {
							t.Errorf("%v: %s got %s, error %v, want %s", tc.words, s.name, got, err, tc.want)
						}
					})
				}
				callers.Wait()
			}
		})
	}
}

// trio is three flights whose calls wait for one another.
type trio struct {
	ready   chan struct{} // closed when all are there
	a, b, c *Flight[outcome]
}

// wait waits for the flight of that name as a call with ctx does, but no longer
// than most, although ctx ends.
func (x *trio) wait(ctx context.Context, name rune, most time.Duration) error {
	<-x.ready
	f := map[rune]*Flight[outcome]{'a': x.a, 'b': x.b, 'c': x.c}[name]
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), most)
	defer cancel()
	_, err := f.Wait(ctx)
	return err
}

func start(timeout time.Duration, f func(ctx context.Context) error) *Flight[outcome] {
	return Start(context.Background(), timeout, nil, func(ctx context.Context) (string, error) { return "", f(ctx) }, toOutcome, nil)
}

func TestAWaitThatIsOverIsNoPartOfACycle(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		x := trio{ready: make(chan struct{})}
		x.a = start(time.Minute, func(ctx context.Context) error {
			x.wait(ctx, 'b', second) // gives up on b, and goes on without
			time.Sleep(3 * second)
			return nil
		})
		x.b = start(time.Minute, func(ctx context.Context) error {
			time.Sleep(2 * second)
			return x.wait(ctx, 'a', time.Minute)
		})
		close(x.ready)
		if got, err := x.b.Wait(t.Context()); got.err != nil || err != nil {
			t.Errorf("got %v, error %v, want none", got, err)
		}
		if n := len(x.a.waits) + len(x.b.waits); n != 0 {
			t.Errorf("got %d waits recorded at the end, want 0", n)
		}
	})
}

// A flight that has timed out keeps nobody waiting, although its call still waits.
func TestAFlightLeftBehindIsNoPartOfACycle(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		x := trio{ready: make(chan struct{})}
		x.a = start(second, func(ctx context.Context) error { return x.wait(ctx, 'b', time.Minute) })
		x.b = start(time.Minute, func(ctx context.Context) error {
			time.Sleep(2 * second)
			return errors.Join(x.wait(ctx, 'a', 0), x.wait(ctx, 'c', time.Minute))
		})
		x.c = start(time.Minute, func(ctx context.Context) error {
			<-x.ready
			graph.Lock()
			x.c.waits = append(x.c.waits, &x.a.node) // as if c had not noticed yet that a has landed
			graph.Unlock()
			time.Sleep(5 * second)
			return nil
		})
		close(x.ready)
		if got, err := x.b.Wait(t.Context()); got.err != nil || err != nil {
			t.Errorf("got %v, error %v, want none", got, err)
		}
	})
}
