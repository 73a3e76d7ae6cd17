// Copyright 2026 The authsec Authors
// SPDX-License-Identifier: Apache-2.0

package share

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"reflect"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

func TestEntryIsReadAsItWasWritten(t *testing.T) {
	for name, keys := range map[string][][]byte{"encrypted": {newKey()}, "plaintext": nil} {
		for _, e := range []Entry{
			{},
			{Answer: []byte(`{"token":"t"}`), Answered: at(1)},
			{Failure: &Failure{Told: at(2), Status: 404, Message: "m", Details: "d", RequestID: "r", Hold: time.Minute, RetryAfter: time.Second}},
			{Answer: []byte(`{"token":"t"}`), Answered: at(1), Failure: &Failure{Told: at(2), Status: 500}},
		} {
			store := new(fakeStore)
			c, said := newCache(t, store, keys...)
			c.Write(t.Context(), e, time.Hour)
			if got, ok := c.Read(t.Context()); !ok || !reflect.DeepEqual(got, e) {
				t.Errorf("%s: got %+v, %t, want %+v", name, got, ok, e)
			}
			if shows := bytes.Contains(store.data, []byte("token")); shows != (keys == nil && e.Answer != nil) {
				t.Errorf("%s: the store sees the token: %t", name, shows)
			}
			if store.ttl != time.Hour || store.key != c.key {
				t.Errorf("%s: stored for %v under %q, want 1h under %q", name, store.ttl, store.key, c.key)
			}
			wantStrings(t, name+": faults", said.all())
			wantStrings(t, name+": reported as working", said.worked, "put", "get")
			if c.Delete(t.Context()); store.data != nil {
				t.Errorf("%s: the entry was not deleted", name)
			}
		}
	}
}

func TestReadTellsNoEntryFromOneThatCannotBeRead(t *testing.T) {
	key := newKey()
	sealed := sealerFor(t, server, agent, key)
	for _, c := range []struct {
		name string
		data []byte
		err  error
		ok   bool
	}{
		{"no entry", nil, nil, true},
		{"an entry", sealed.seal([]byte(`{}`)), nil, true},
		{"the store fails", nil, errors.New("down"), false},
		{"another's entry", sealerFor(t, server, "x", key).seal([]byte(`{}`)), nil, false},
		{"no JSON", sealed.seal([]byte(`{`)), nil, false},
		{"a member of another type", sealed.seal([]byte(`{"answered":"2026-01-01T00:00:00Z","failure":7}`)), nil, false},
		{"as long as an entry may be", sealed.seal(bytes.Join([][]byte{[]byte(`{}`), bytes.Repeat([]byte(" "), maxEntry-2-1-12-16)}, nil)), nil, true},
		{"longer", sealed.seal(bytes.Join([][]byte{[]byte(`{}`), bytes.Repeat([]byte(" "), maxEntry-2-1-12-16+1)}, nil)), nil, false},
	} {
		cache, _ := newCache(t, &fakeStore{data: c.data, fault: func(context.Context, string) error { return c.err }}, key)
		if e, ok := cache.Read(t.Context()); ok != c.ok || e.Answer != nil || e.Failure != nil || !e.Answered.IsZero() {
			t.Errorf("%s: got %+v, %t, want an empty entry, %t", c.name, e, ok, c.ok)
		}
	}
}

func TestAwaitUsesTheStoreNoMoreThanItMust(t *testing.T) {
	for _, c := range []struct {
		name     string
		data     []byte
		take     func(Entry) bool
		noLeases bool
		taken    bool
		want     string
	}{
		{"the entry is taken", []byte("\x00{}"), anything, false, true, "get"},
		{"it is not", []byte("\x00{}"), nothing, false, false, "get lease get release"},
		{"no entry", nil, nothing, false, false, "get lease get release"},
		{"a failure of the store before is no entry, but taken", nil, anything, false, true, "get"},
		{"no leases", nil, nothing, true, false, "get"},
	} {
		store := &fakeStore{data: c.data}
		var s Store = store
		if c.noLeases {
			s = struct{ Store }{store}
		}
		cache, _ := newCache(t, s)
		taken, release := cache.Await(t.Context(), time.Minute, c.take)
		release(t.Context())
		if got := strings.Join(store.took(), " "); taken != c.taken || got != c.want {
			t.Errorf("%s: got %t after %q, want %t after %q", c.name, taken, got, c.taken, c.want)
		}
		if store.leased || store.key != cache.key || strings.Contains(c.want, "lease") && store.leaseTTL != 5*time.Second {
			t.Errorf("%s: leased %t, for %v, key %q", c.name, store.leased, store.leaseTTL, store.key)
		}
	}
}

// The entry that another process stored and gave the lease back for.
func TestEntryThatCameJustBeforeTheLeaseIsTaken(t *testing.T) {
	store := new(fakeStore)
	store.fault = func(_ context.Context, op string) error {
		if op == "lease" {
			store.set([]byte("\x00{}"))
		}
		return nil
	}
	c, _ := newCache(t, store)
	looks := 0
	taken, release := c.Await(t.Context(), time.Minute, func(Entry) bool { looks++; return looks == 2 })
	if !taken || looks != 2 || !store.leased {
		t.Errorf("got %t after %d looks, leased %t, want true after 2, with the lease", taken, looks, store.leased)
	}
	if release(t.Context()); store.leased {
		t.Error("the lease was not released")
	}
}

func TestAwaitLooksForAnothersEntryWhileItHasTheLease(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := &fakeStore{leased: true, data: []byte("\x00{}")}
		c, said := newCache(t, store)
		go func() {
			time.Sleep(4 * time.Second)
			store.set([]byte("not an entry"))
			time.Sleep(4 * time.Second)
			store.set([]byte("\x00" + `{"answer":{}}`))
		}()
		began, looks := time.Now(), 0
		taken, release := c.Await(t.Context(), time.Minute, func(e Entry) bool { looks++; return e.Answer != nil })
		if took := time.Since(began); !taken || took < 8*time.Second || took > 8750*time.Millisecond {
			t.Errorf("got %t after %v, want true 0.75 s after 8 s at most", taken, took)
		}
		if looks != 3 {
			t.Errorf("take was called %d times, want 3: each entry once", looks)
		}
		store.took()
		wantStrings(t, "reported", said.all(), "open: "+errUnknownForm.Error())
		if release(t.Context()); len(store.took()) != 0 || !store.leased {
			t.Error("another's lease was released")
		}
	})
}

// The waits are 0.1 s, 0.15 s, and so on up to 0.5 s, with ±50 % jitter.
func TestWaitsBetweenLooksGrow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var looks []time.Time
		c, _ := newCache(t, &fakeStore{leased: true, fault: func(_ context.Context, op string) error {
			if op == "get" {
				looks = append(looks, time.Now())
			}
			return nil
		}})
		c.Await(t.Context(), 10*time.Second, nothing)
		want := 100 * time.Millisecond
		gaps := map[time.Duration]bool{}
		for i := 1; i < len(looks)-1; i++ { // the last one is cut by patience
			gap := looks[i].Sub(looks[i-1])
			if gap < want/2 || gap >= want*3/2 {
				t.Errorf("wait %d: %v, want %v ±50 %%", i, gap, want)
			}
			gaps[gap] = true
			want = min(want*3/2, 500*time.Millisecond)
		}
		if len(looks) < 15 || len(gaps) < len(looks)-4 {
			t.Errorf("%d looks in 10 s, %d different waits, want about 22, at random", len(looks), len(gaps))
		}
	})
}

func TestPatienceEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, _ := newCache(t, &fakeStore{leased: true})
		for _, patience := range []time.Duration{-time.Second, 0, time.Millisecond, 10 * time.Second} {
			began := time.Now()
			taken, release := c.Await(t.Context(), patience, nothing)
			if took := time.Since(began); taken || took != max(patience, 0) {
				t.Errorf("got %t after %v, want false after %v", taken, took, max(patience, 0))
			}
			release(t.Context())
		}
		ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
		defer cancel()
		began := time.Now()
		if taken, _ := c.Await(ctx, time.Minute, nothing); taken || time.Since(began) != 3*time.Second {
			t.Errorf("got %t after %v, want false when the caller's context ends, after 3s", taken, time.Since(began))
		}
	})
}

func TestEntryThatDoesNotOpenIsReportedAndEmpty(t *testing.T) {
	store := &fakeStore{data: []byte("\x00{}"), leased: true}
	c, said := newCache(t, store, newKey())
	looks := 0
	c.Await(t.Context(), 0, func(e Entry) bool {
		looks++
		return !reflect.DeepEqual(e, Entry{})
	})
	if looks != 1 {
		t.Errorf("take was called %d times, want 1", looks)
	}
	wantStrings(t, "reported", said.all(), "open: "+errPlaintext.Error())
}

func TestWhatIsOverIsNotStored(t *testing.T) {
	store := new(fakeStore)
	c, said := newCache(t, store)
	for _, ttl := range []time.Duration{0, -1, -time.Hour} {
		c.Write(t.Context(), Entry{}, ttl)
	}
	wantStrings(t, "uses", store.took())
	c.Write(t.Context(), Entry{}, 1)
	wantStrings(t, "uses", store.took(), "put")
	wantStrings(t, "reported", said.all())
}

// What can't be replaced is deleted, unless it would have been kept.
func TestEntryThatCannotBeReplacedIsDeleted(t *testing.T) {
	answer, failure := json.RawMessage(`{}`), &Failure{Status: 404}
	down := func(ctx context.Context) error { return errors.New("down") }
	hangs := func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() }
	for _, c := range []struct {
		name string
		e    Entry
		put  func(context.Context) error
		took time.Duration
		uses string // of the store, during Write and after it
	}{
		{"an answer", Entry{Answer: answer}, down, 0, "put delete"},
		{"a failure that ends the token", Entry{Failure: failure}, down, 0, "put delete"},
		{"a failure that leaves it", Entry{Answer: answer, Failure: failure}, down, 0, "put"},
		{"the store panics", Entry{Answer: answer}, func(context.Context) error { panic("x") }, 0, "put delete"},
		{"no JSON", Entry{Answer: json.RawMessage(`{`)}, down, 0, "delete"},
		{"the store hangs", Entry{Answer: answer}, hangs, time.Second, "put delete"},
		{"the store hangs, for a failure that leaves it", Entry{Answer: answer, Failure: failure}, hangs, time.Second, "put"},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				store := &fakeStore{data: []byte("old"), fault: func(ctx context.Context, op string) error {
					if op == "put" {
						return c.put(ctx)
					}
					return nil
				}}
				cache, _ := newCache(t, store)
				began := time.Now()
				cache.Write(t.Context(), c.e, time.Hour)
				if took := time.Since(began); took != c.took {
					t.Errorf("it took %v, want %v", took, c.took)
				}
				synctest.Wait() // the delete after a time-out runs beside the caller
				if uses := strings.Join(store.took(), " "); uses != c.uses {
					t.Errorf("the store was used for %q, want %q", uses, c.uses)
				}
				if deleted := store.data == nil; deleted != strings.Contains(c.uses, "delete") {
					t.Errorf("the entry is deleted: %t", deleted)
				}
			})
		})
	}
}

// While the store is left alone, and after the caller's end, nobody waits for
// the delete.
func TestDeleteDoesNotHoldUpTheCaller(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := &fakeStore{fault: func(ctx context.Context, op string) error { <-ctx.Done(); return ctx.Err() }}
		c, said := newCache(t, store)
		c.Read(t.Context())
		store.took()
		ended, cancel := context.WithCancel(t.Context())
		cancel()
		for name, ctx := range map[string]context.Context{"at rest": t.Context(), "at rest, and the caller has ended": ended} {
			began := time.Now()
			c.Write(ctx, Entry{Answer: json.RawMessage(`{}`)}, time.Hour)
			if took := time.Since(began); took != 0 {
				t.Errorf("%s: it took %v, want no time", name, took)
			}
			synctest.Wait()
			wantStrings(t, name, store.took(), "delete")
		}
		time.Sleep(5 * time.Minute)
		c.Write(ended, Entry{Answer: json.RawMessage(`{}`)}, time.Hour)
		synctest.Wait()
		wantStrings(t, "the caller has ended", store.took(), "delete")
		time.Sleep(5 * time.Minute)
		wantStrings(t, "reported", said.all(), "get: no answer within 1s")
	})
}
