// Copyright 2026 The authsec Authors
// SPDX-License-Identifier: Apache-2.0

package cache

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

func newKey() []byte {
	key := make([]byte, KeySize)
	rand.Read(key)
	return key
}

func TestSealedEntriesOpenOnlyWhereTheyBelong(t *testing.T) {
	a, b := newKey(), newKey()
	sealerFor := func(server, agent string, keys ...[]byte) *sealer {
		bound, _ := binding(server, agent)
		s, err := newSealer(keys, bound)
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	plain := []byte(`{"answer":{"token":"secret"}}`)
	stored := sealerFor("s", "x", a).seal(plain)
	if bytes.Contains(stored, []byte("secret")) {
		t.Error("what is stored shows what was sealed")
	}
	for _, c := range []struct {
		name string
		s    *sealer
		in   []byte
		want error
	}{
		{"the same key", sealerFor("s", "x", a), stored, nil},
		{"one of several", sealerFor("s", "x", b, a), stored, nil},
		{"another key", sealerFor("s", "x", b), stored, errNoKey},
		{"another server", sealerFor("t", "x", a), stored, errNoKey},
		{"another agent", sealerFor("s", "y", a), stored, errNoKey},
		{"server and agent cut elsewhere", sealerFor("", "sx", a), stored, errNoKey},
		{"no key", sealerFor("s", "x"), stored, errSealed},
		{"unsealed, with a key", sealerFor("s", "x", a), sealerFor("s", "x").seal(plain), errUnsealed},
		{"unsealed, without one", sealerFor("s", "x"), sealerFor("s", "x").seal(plain), nil},
		{"nothing", sealerFor("s", "x", a), nil, errUnknownForm},
		{"cut short", sealerFor("s", "x", a), stored[:5], errNoKey},
		{"another form", sealerFor("s", "x", a), append([]byte{2}, stored[1:]...), errUnknownForm},
	} {
		got, err := c.s.open(c.in)
		if !errors.Is(err, c.want) || (err == nil) != bytes.Equal(got, plain) {
			t.Errorf("%s: got %t, %v, want %v", c.name, bytes.Equal(got, plain), err, c.want)
		}
	}
	for i := range stored {
		changed := bytes.Clone(stored)
		changed[i] ^= 0x80
		if _, err := sealerFor("s", "x", a).open(changed); err == nil {
			t.Errorf("it opens with byte %d changed", i)
		}
	}
	for _, n := range []int{0, 16, 24, 31, 33} {
		if _, err := newSealer([][]byte{make([]byte, n)}, nil); err == nil {
			t.Errorf("a key of %d bytes was taken", n)
		}
	}
}

func TestKeysTellNoAgent(t *testing.T) {
	const agent = "9b477e30-3989-4c12-926c-3945a59f761f"
	_, key := binding("https://authsec.example.com", agent)
	_, other := binding("https://authsec.example.com", agent[:35]+"0")
	if len(key) != 64 || strings.Trim(key, "0123456789abcdef") != "" || strings.Contains(key, agent[:8]) || key == other {
		t.Errorf("got %s and %s, want 64 hexadecimal digits each, of the agent's own", key, other)
	}
}

// badStore does what it is told to.
type badStore struct {
	get   func(ctx context.Context) ([]byte, error)
	lease func(ctx context.Context) (func(context.Context) error, error)

	gets atomic.Int64
}

func (s *badStore) Get(ctx context.Context, _ string) ([]byte, error) {
	s.gets.Add(1)
	return s.get(ctx)
}
func (s *badStore) Put(context.Context, string, []byte, time.Duration) error { return nil }
func (s *badStore) Delete(context.Context, string) error                     { return nil }
func (s *badStore) Lease(ctx context.Context, _ string, _ time.Duration) (func(context.Context) error, error) {
	return s.lease(ctx)
}

func newTestCache(t *testing.T, store Store) (c *Cache, reports *[]string) {
	reports = new([]string)
	var mu sync.Mutex
	c, err := New(Options{
		Store: store, Server: "s", Agent: "a", Timeout: time.Second, Lease: 5 * time.Second,
		Report: func(op string, err error) {
			mu.Lock()
			defer mu.Unlock()
			if err != nil {
				*reports = append(*reports, op+": "+err.Error())
			}
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	return c, reports
}

func miss(context.Context) ([]byte, error) { return nil, ErrMiss }

func nothing(Entry) bool { return false }

// Whatever the store does, it takes no longer than the time-out.
func TestBadStoreCostsOneTimeout(t *testing.T) {
	held := func(context.Context) (func(context.Context) error, error) { return nil, ErrLeaseHeld }
	for _, c := range []struct {
		name  string
		store *badStore
		took  time.Duration
		said  string
	}{
		{"get fails", &badStore{get: func(context.Context) ([]byte, error) { return nil, errors.New("down") }}, 0, "get: down"},
		{"get panics", &badStore{get: func(context.Context) ([]byte, error) { panic("a secret") }}, 0, "get: it panicked: string"},
		{"get exits", &badStore{get: func(context.Context) ([]byte, error) { runtime.Goexit(); return nil, nil }}, 0, "get: it ended its goroutine"},
		{"get waits for its context", &badStore{get: func(ctx context.Context) ([]byte, error) { <-ctx.Done(); return nil, ctx.Err() }}, time.Second, "get: no answer within 1s"},
		{"get hangs", &badStore{get: func(context.Context) ([]byte, error) { time.Sleep(time.Hour); return nil, nil }}, time.Second, "get: no answer within 1s"},
		{"lease fails", &badStore{get: miss, lease: func(context.Context) (func(context.Context) error, error) { return nil, errors.New("full") }}, 0, "lease: full"},
		{"lease hangs", &badStore{get: miss, lease: func(context.Context) (func(context.Context) error, error) { time.Sleep(time.Hour); return nil, nil }}, time.Second, "lease: no answer within 1s"},
		{"lease has no release", &badStore{get: miss, lease: func(context.Context) (func(context.Context) error, error) { return nil, nil }}, 0, "lease: it returned no release"},
		{"lease is always held", &badStore{get: miss, lease: held}, 10 * time.Second, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				cache, reports := newTestCache(t, c.store)
				began := time.Now()
				taken, release := cache.Await(t.Context(), 10*time.Second, nothing)
				if took := time.Since(began); taken || took != c.took {
					t.Errorf("got %t after %v, want false after %v", taken, took, c.took)
				}
				release()
				if got := strings.Join(*reports, "; "); got != c.said {
					t.Errorf("reported %q, want %q", got, c.said)
				}
				time.Sleep(2 * time.Hour)
			})
		})
	}
}

// A store that does not answer is asked less and less, and again once it does.
func TestStoreThatDoesNotAnswerIsLeftAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var hangs atomic.Bool
		hangs.Store(true)
		store := &badStore{get: func(ctx context.Context) ([]byte, error) {
			if hangs.Load() {
				<-ctx.Done()
				return nil, ctx.Err()
			}
			return nil, ErrMiss
		}, lease: func(context.Context) (func(context.Context) error, error) {
			return func(context.Context) error { return nil }, nil
		}}
		cache, _ := newTestCache(t, store)
		var waited time.Duration
		for range 600 {
			began := time.Now()
			cache.Await(t.Context(), time.Second, nothing)
			waited += time.Since(began)
			time.Sleep(time.Second)
		}
		if n := store.gets.Load(); n < 10 || n > 30 || waited != time.Duration(n)*time.Second {
			t.Errorf("in 10 minutes it was asked %d times, and waited for %v: want about 20", n, waited)
		}
		hangs.Store(false)
		time.Sleep(2 * time.Minute)
		store.gets.Store(0)
		for range 10 {
			cache.Await(t.Context(), time.Second, nothing)
		}
		if n := store.gets.Load(); n != 20 { // before the lease is taken, and after
			t.Errorf("once it answers, it was asked %d times in 10 fetches, want 20", n)
		}
	})
}

// Uses that never return are bounded.
func TestStuckUsesAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		end := make(chan struct{})
		store := &badStore{get: func(context.Context) ([]byte, error) { <-end; return nil, ErrMiss }}
		cache, _ := newTestCache(t, store)
		for range 1000 {
			cache.Await(t.Context(), time.Second, nothing)
			time.Sleep(time.Minute)
		}
		if n := store.gets.Load(); n != maxStuck {
			t.Errorf("%d uses hang, want %d", n, maxStuck)
		}
		close(end)
		synctest.Wait()
		time.Sleep(2 * time.Minute)
		cache.leaser = nil
		if cache.Await(t.Context(), time.Second, nothing); store.gets.Load() != maxStuck+1 {
			t.Error("the store is left alone although all uses have returned")
		}
	})
}

// A lease that comes too late is given back.
func TestLateLeaseIsReleased(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		released := make(chan struct{}, 1)
		store := &badStore{get: miss, lease: func(context.Context) (func(context.Context) error, error) {
			time.Sleep(90 * time.Second) // a rest lasts 1.5 s at most, so it has ended
			return func(context.Context) error { released <- struct{}{}; return nil }, nil
		}}
		cache, _ := newTestCache(t, store)
		if taken, _ := cache.Await(t.Context(), time.Minute, nothing); taken {
			t.Fatal("taken")
		}
		time.Sleep(2 * time.Minute)
		select {
		case <-released:
		default:
			t.Error("the lease was not released")
		}
	})
}

func TestCallersEndIsNotTheStoresFault(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := &badStore{get: func(ctx context.Context) ([]byte, error) { <-ctx.Done(); return nil, ctx.Err() }}
		cache, reports := newTestCache(t, store)
		ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
		defer cancel()
		cache.Await(ctx, time.Minute, nothing)
		if len(*reports) != 0 || !cache.mayUse("get") {
			t.Errorf("reported %q, want nothing", *reports)
		}
	})
}

func TestWant(t *testing.T) {
	t0 := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	at := func(s int) time.Time { return t0.Add(time.Duration(s) * time.Second) }
	now := at(100)
	answer := func(said int) Entry { return Entry{Answered: at(said)} }
	failure := func(told, hold, retry int) Entry {
		return Entry{Answered: at(10), Failure: &Failure{Told: at(told), Hold: time.Duration(hold) * time.Second, RetryAfter: time.Duration(retry) * time.Second}}
	}
	cold := Want{}
	refusedCold := Want{Known: at(50), Refused: "old"}
	renewal := Want{Known: at(50), Token: "old", Within: 30 * time.Second}
	refusal := Want{Known: at(50), Token: "old", Refused: "old", Cause: "old", Within: time.Second}
	replaced := Want{Known: at(50), Token: "new", Refused: "old", Within: 30 * time.Second}
	forced := Want{Known: at(50), Token: "old", Within: 30 * time.Second, Forced: true}
	for _, c := range []struct {
		name   string
		w      Want
		waited int // s
		e      Entry
		token  string
		want   bool
	}{
		{"cold: any token", cold, 0, answer(10), "old", true},
		{"cold: the refused token, as it was", refusedCold, 0, answer(40), "old", false},
		{"cold: the refused token, given out since", refusedCold, 0, answer(99), "old", true},
		{"cold: another token, older than the last word", refusedCold, 0, answer(40), "new", true},
		{"renewal: nothing new", renewal, 0, answer(50), "old", false},
		{"renewal: another token that is older", renewal, 0, answer(40), "new", false},
		{"renewal: another token", renewal, 0, answer(51), "new", true},
		{"renewal: confirmed lately", renewal, 0, answer(80), "old", true},
		{"renewal: confirmed too long ago", renewal, 0, answer(60), "old", false},
		{"renewal: confirmed while waiting", renewal, 15, answer(60), "old", true},
		{"renewal: confirmed in the future", renewal, 15, answer(103), "old", false},
		{"renewal: the token that was refused before it", replaced, 0, answer(60), "old", false},
		{"refusal: nothing new", refusal, 0, answer(50), "old", false},
		{"refusal: another token", refusal, 0, answer(51), "new", true},
		{"refusal: confirmed lately", refusal, 0, answer(99), "old", true},
		{"refusal: confirmed before", refusal, 0, answer(98), "old", false},
		{"refusal: confirmed while waiting", refusal, 5, answer(96), "old", true},
		{"refusal: older than what is known", refusal, 15, answer(40), "older", false},
		{"forced, with no token: what there is", Want{Known: at(50), Forced: true}, 0, answer(40), "new", false},
		{"forced: another token", forced, 5, answer(94), "new", false},
		{"forced: anything while waiting", forced, 5, answer(95), "old", true},
	} {
		w := c.w
		w.Look(now, time.Duration(c.waited)*time.Second)
		if got := w.Accepts(c.e, c.token); got != c.want {
			t.Errorf("%s: got %t, want %t", c.name, got, c.want)
		}
	}
	for _, c := range []struct {
		name   string
		w      Want
		waited int
		e      Entry
		want   bool
	}{
		{"no failure", cold, 0, answer(10), false},
		{"cold: held", cold, 0, failure(90, 20, 0), true},
		{"cold: over", cold, 0, failure(90, 10, 0), false},
		{"cold: held for longer than a minute", cold, 0, failure(30, 200, 0), false},
		{"known", renewal, 0, failure(50, 200, 0), false},
		{"before the answer", cold, 0, failure(9, 200, 0), false},
		{"renewal: held", renewal, 0, failure(90, 20, 0), true},
		{"renewal: held for longer than a minute", Want{Token: "old"}, 0, failure(30, 200, 0), true},
		{"refusal: held, but told before", refusal, 0, failure(90, 20, 0), false},
		{"refusal: told just now", refusal, 0, failure(99, 20, 0), true},
		{"refusal: a wish", refusal, 0, failure(90, 20, 20), true},
		{"refusal: told while waiting", refusal, 10, failure(90, 1, 0), true},
		{"forced: held", forced, 0, failure(90, 20, 20), false},
		{"forced: told while waiting", forced, 10, failure(90, 1, 0), true},
	} {
		w := c.w
		w.Look(now, time.Duration(c.waited)*time.Second)
		if got := w.Fails(c.e, now); got != c.want {
			t.Errorf("failure, %s: got %t, want %t", c.name, got, c.want)
		}
	}
}

func FuzzOpen(f *testing.F) {
	key := newKey()
	bound, _ := binding("s", "a")
	s, _ := newSealer([][]byte{key}, bound)
	plain, _ := newSealer(nil, bound)
	f.Add([]byte{}, false)
	f.Add(s.seal([]byte(`{}`)), true)
	f.Add(plain.seal([]byte(`{"answer":{"token":"x"},"answered":"2026-01-01T00:00:00Z","failure":{"told":"2026-01-01T00:00:00Z","status":404,"hold":1}}`)), false)
	f.Fuzz(func(t *testing.T, stored []byte, sealed bool) {
		c := &Cache{sealer: plain}
		if sealed {
			c.sealer = s
		}
		e, err := c.open(stored)
		if err != nil && (e.Answer != nil || e.Failure != nil) {
			t.Error("an entry that does not open tells something")
		}
		if err == nil {
			e.Last()
			if _, err := e.encode(); err != nil {
				t.Errorf("what was read can't be written: %v", err)
			}
		}
	})
}
