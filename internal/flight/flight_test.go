// Copyright 2026 The authsec Authors
// SPDX-License-Identifier: Apache-2.0

package flight

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

type outcome struct {
	v   string
	err error
}

func (o outcome) String() string { return fmt.Sprintf("%s, %v", o.v, o.err) }

func toOutcome(v string, err error) outcome { return outcome{v, err} }

func TestFlightLandsOnceWhateverTheCallDoes(t *testing.T) {
	full := func() *Left { return &Left{Max: 1, n: 1} }
	for _, tc := range []struct {
		name    string
		timeout time.Duration
		left    *Left
		f       call
		want    string // the outcome
		took    time.Duration
	}{
		{"returns", 3 * second, nil, returns("v", nil, second), "v, <nil>", second},
		{"fails", 3 * second, nil, returns("", errFault, second), ", fault", second},
		{"fails with a value", 3 * second, nil, returns("v", errFault, 0), "v, fault", 0},
		{"panics", 3 * second, nil, func(context.Context) (string, error) { panic("secret") }, ", panicked: string", 0},
		{"exits", 3 * second, nil, func(context.Context) (string, error) { runtime.Goexit(); return "v", nil }, ", ended its goroutine", 0},
		{"returns late", 3 * second, nil, returns("v", nil, 5*second), ", context deadline exceeded", 3 * second},
		{"panics late", 3 * second, nil, func(context.Context) (string, error) { time.Sleep(5 * second); panic(1) }, ", context deadline exceeded", 3 * second},
		{"has no time", 0, nil, returns("v", nil, 0), ", context deadline exceeded", 0},
		{"is not let through", 3 * second, full(), returns("v", nil, 0), ", has not returned from 1 calls", 0},
	} {
		synctest.Test(t, func(t *testing.T) {
			landed := 0
			start := time.Now()
			f := Start(t.Context(), tc.timeout, tc.left, tc.f, func(v string, err error) outcome { landed++; return outcome{v, err} }, nil)
			got, err := f.Wait(t.Context())
			if took := time.Since(start); fmt.Sprint(got) != tc.want || err != nil || took != tc.took {
				t.Errorf("%s: got %v, error %v after %v, want %s, nil after %v", tc.name, got, err, took, tc.want, tc.took)
			}
			select {
			case <-f.done:
			default:
				t.Errorf("%s: done is open after Wait", tc.name)
			}
			time.Sleep(10 * second) // the bubble fails if a goroutine is left
			synctest.Wait()
			if again, _ := f.Wait(t.Context()); again != got || landed != 1 {
				t.Errorf("%s: landed %d times, at last with %v, want once with %v", tc.name, landed, again, got)
			}
		})
	}
}

func TestWaitersEndIfLandDoesNotReturn(t *testing.T) {
	for name, tc := range map[string]struct {
		land func(string, error) outcome
		want string
	}{
		"panics": {func(string, error) outcome { panic("secret") }, "panicked: string"},
		"exits":  {func(string, error) outcome { runtime.Goexit(); return outcome{"v", nil} }, "ended its goroutine"},
	} {
		synctest.Test(t, func(t *testing.T) {
			f := Start(t.Context(), second, nil, returns("v", nil, 0), tc.land, nil)
			if got, err := f.Wait(t.Context()); got != (outcome{}) || err == nil || err.Error() != tc.want {
				t.Errorf("land %s: got %v, error %v, want none, %s", name, got, err, tc.want)
			}
		})
	}
}

func TestStartCallsNothingItself(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var mu sync.Mutex
		locked := func(v string, err error) (string, error) { mu.Lock(); defer mu.Unlock(); return v, err }
		for _, timeout := range []time.Duration{0, second} {
			mu.Lock()
			f := Start(noCalls{}, timeout, &Left{},
				func(context.Context) (string, error) { return locked("v", nil) },
				func(v string, err error) outcome { return toOutcome(locked(v, err)) }, nil)
			mu.Unlock()
			<-f.done
		}
	})
}

// noCalls is a context that must not be used while a mutex is held.
type noCalls struct{ context.Context }

func TestFlightKeepsValuesOfContextButNotItsEnd(t *testing.T) {
	type key struct{}
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(context.WithValue(t.Context(), key{}, "value"), second)
		defer cancel()
		var inside context.Context
		f := Start(ctx, time.Minute, nil, func(ctx context.Context) (string, error) {
			inside = ctx
			time.Sleep(5 * second)
			if deadline, ok := ctx.Deadline(); !ok || time.Until(deadline) != 55*second {
				t.Errorf("deadline: got %v from now (%t), want 55s", time.Until(deadline), ok)
			}
			return fmt.Sprint(ctx.Value(key{}), " ", ctx.Err()), nil
		}, toOutcome, nil)
		if _, err := f.Wait(ctx); err != context.DeadlineExceeded {
			t.Errorf("Wait as its context ends: got error %v, want %v", err, context.DeadlineExceeded)
		}
		if got, _ := f.Wait(t.Context()); got.v != "value <nil>" {
			t.Errorf("in the call: got %q, want %q", got.v, "value <nil>")
		}
		if inside.Err() != context.Canceled {
			t.Errorf("its context after it: got %v, want %v", inside.Err(), context.Canceled)
		}
	})
}

func TestManyWaitersShareOneCall(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var calls, served, gaveUp atomic.Int64
		f := Start(t.Context(), time.Minute, nil, func(context.Context) (string, error) {
			time.Sleep(5 * second)
			return fmt.Sprint(calls.Add(1)), nil
		}, toOutcome, nil)
		var all sync.WaitGroup
		for i := range 1000 {
			all.Go(func() {
				start, want := time.Now(), 5*second
				ctx, cancel := context.WithTimeout(t.Context(), time.Duration(1+9*(i%2))*second)
				defer cancel()
				got, err := f.Wait(ctx)
				switch {
				case err == context.DeadlineExceeded:
					want = second
					gaveUp.Add(1)
				case err == nil && got.v == "1":
					served.Add(1)
				}
				if took := time.Since(start); took != want {
					t.Errorf("Wait took %v, want %v", took, want)
				}
			})
		}
		all.Wait()
		if served.Load() != 500 || gaveUp.Load() != 500 {
			t.Errorf("got %d served and %d that gave up, want 500 and 500", served.Load(), gaveUp.Load())
		}
	})
}

func TestFlightLeftBehindIsCounted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var l Left
		hang := make(chan struct{})
		f := Start(t.Context(), second, &l, func(context.Context) (string, error) { <-hang; return "v", nil }, toOutcome, nil)
		if got, _ := f.Wait(t.Context()); !errors.Is(got.err, context.DeadlineExceeded) || l.Running() != 1 {
			t.Errorf("got %v and %d running, want a deadline exceeded and 1", got, l.Running())
		}
		close(hang)
		synctest.Wait()
		if l.Running() != 0 {
			t.Errorf("got %d running, want 0", l.Running())
		}
	})
}

func TestWaitPrefersTheResultToTheEndOfContext(t *testing.T) {
	for range 50 { // select chooses at random
		synctest.Test(t, func(t *testing.T) {
			release := make(chan struct{})
			f := Start(t.Context(), second, nil, func(context.Context) (string, error) { <-release; return "v", nil }, toOutcome, nil)
			ctx := readyContext{t.Context(), func() { close(release) }}
			for _, ctx := range []context.Context{ctx, ended()} {
				if got, err := f.Wait(ctx); got.v != "v" || err != nil {
					t.Fatalf("got %v, error %v, want the result", got, err)
				}
			}
		})
	}
}

// Waiters are not held up by what comes after the flight, even if that hangs or
// panics. Settle waits for it.
func TestWaitersDoNotWaitForAfter(t *testing.T) {
	for name, end := range map[string]func(){"hangs": func() { time.Sleep(time.Minute) }, "panics": func() { panic("after") }, "exits": func() { runtime.Goexit() }} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var got outcome
				f := Start(t.Context(), time.Minute, nil, func(context.Context) (string, error) { return "v", nil }, toOutcome, func(o outcome) { got = o; end() })
				began := time.Now()
				if o, err := f.Wait(t.Context()); o.v != "v" || err != nil || time.Since(began) != 0 {
					t.Errorf("Wait: got %v, %v after %v, want the result at once", o, err, time.Since(began))
				}
				ctx, cancel := context.WithTimeout(t.Context(), second)
				defer cancel()
				f.Settle(ctx)
				synctest.Wait()
				if took := time.Since(began); (took == second) != (name == "hangs") || got.v != "v" {
					t.Errorf("Settle: took %v with %v", took, got)
				}
				time.Sleep(2 * time.Minute)
			})
		})
	}
}
