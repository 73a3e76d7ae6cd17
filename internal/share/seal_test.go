// Copyright 2026 The authsec Authors
// SPDX-License-Identifier: Apache-2.0

package share

import (
	"bytes"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
)

func newKey() []byte {
	key := make([]byte, KeySize)
	rand.Read(key)
	return key
}

func sealerFor(t *testing.T, server, agent string, keys ...[]byte) *sealer {
	bound, _ := binding(server, agent)
	s, err := newSealer(keys, bound)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestSealedEntriesOpenOnlyWhereTheyBelong(t *testing.T) {
	a, b := newKey(), newKey()
	plain := []byte(`{"answer":{"token":"secret"}}`)
	stored := sealerFor(t, "s", "x", a).seal(plain)
	if bytes.Contains(stored, []byte("secret")) {
		t.Error("what is stored shows what was sealed")
	}
	if bytes.Equal(stored, sealerFor(t, "s", "x", a).seal(plain)) {
		t.Error("two entries are the same: the nonce is used twice")
	}
	for _, c := range []struct {
		name string
		s    *sealer
		in   []byte
		want error
	}{
		{"the same key", sealerFor(t, "s", "x", a), stored, nil},
		{"one of several", sealerFor(t, "s", "x", b, a), stored, nil},
		{"another key", sealerFor(t, "s", "x", b), stored, errNoKey},
		{"sealed with the first of several", sealerFor(t, "s", "x", b), sealerFor(t, "s", "x", b, a).seal(plain), nil},
		{"another server", sealerFor(t, "t", "x", a), stored, errNoKey},
		{"another agent", sealerFor(t, "s", "y", a), stored, errNoKey},
		{"server and agent cut elsewhere", sealerFor(t, "", "sx", a), stored, errNoKey},
		{"no key", sealerFor(t, "s", "x"), stored, errEncrypted},
		{"plaintext, with a key", sealerFor(t, "s", "x", a), sealerFor(t, "s", "x").seal(plain), errPlaintext},
		{"plaintext, without one", sealerFor(t, "s", "x"), sealerFor(t, "s", "x").seal(plain), nil},
		{"nothing", sealerFor(t, "s", "x", a), nil, errUnknownForm},
		{"nothing, without a key", sealerFor(t, "s", "x"), []byte{}, errUnknownForm},
		{"the form alone", sealerFor(t, "s", "x", a), []byte{encrypted}, errNoKey},
		{"cut short", sealerFor(t, "s", "x", a), stored[:5], errNoKey},
		{"another form", sealerFor(t, "s", "x", a), append([]byte{2}, stored[1:]...), errUnknownForm},
		{"another form, without a key", sealerFor(t, "s", "x"), []byte{'{', '}'}, errUnknownForm},
	} {
		got, err := c.s.open(c.in)
		if !errors.Is(err, c.want) || (err == nil) != bytes.Equal(got, plain) {
			t.Errorf("%s: got %q, %v, want %v", c.name, got, err, c.want)
		}
	}
	for i := range stored {
		changed := bytes.Clone(stored)
		changed[i] ^= 0x80
		if _, err := sealerFor(t, "s", "x", a).open(changed); err == nil {
			t.Errorf("it opens with byte %d changed", i)
		}
	}
}

func TestKeyHas32Bytes(t *testing.T) {
	for _, n := range []int{0, 16, 24, 31, 33} {
		_, err := New(Options{Keys: [][]byte{newKey(), make([]byte, n)}})
		if err == nil || !strings.Contains(err.Error(), "key 1 has") {
			t.Errorf("a key of %d bytes: got %v, want an error that names key 1", n, err)
		}
	}
}

func TestCacheKeepsNoKeyThatCanBePrinted(t *testing.T) {
	key := bytes.Repeat([]byte{201}, KeySize)
	c, _ := newCache(t, new(fakeStore), key)
	if shown := fmt.Sprintf("%+v", c); strings.Contains(shown, "201 201") {
		t.Errorf("got %s, want no key", shown)
	}
}

func TestKeysTellNoAgent(t *testing.T) {
	_, key := binding(server, agent)
	_, other := binding(server, agent[:35]+"0")
	_, elsewhere := binding("https://other.example.com", agent)
	if len(key) != 64 || strings.Trim(key, "0123456789abcdef") != "" || strings.Contains(key, agent[:8]) || key == other || key == elsewhere {
		t.Errorf("got %s, %s and %s, want 64 hexadecimal digits each, of the agent's own at the server", key, other, elsewhere)
	}
}

func FuzzOpen(f *testing.F) {
	bound, _ := binding(server, agent)
	sealed, _ := newSealer([][]byte{newKey()}, bound)
	plain, _ := newSealer(nil, bound)
	f.Add([]byte{}, false)
	f.Add(sealed.seal([]byte(`{}`)), true)
	f.Add(plain.seal([]byte(`null`)), false)
	f.Add(plain.seal([]byte(`{"answer":{"token":"x"},"answered":"2026-01-01T00:00:00Z","failure":{"told":"2026-01-01T00:00:00Z","status":404,"hold":1}}`)), false)
	f.Fuzz(func(t *testing.T, stored []byte, encrypted bool) {
		c := &Cache{sealer: plain}
		if encrypted {
			c.sealer = sealed
		}
		e, err := c.open(stored)
		if err != nil && (e.Answer != nil || e.Failure != nil || !e.Answered.IsZero()) {
			t.Errorf("got %+v and %v, want nothing of an entry that does not open", e, err)
		}
		if err == nil {
			e.Last()
			if _, err := json.Marshal(e); err != nil {
				t.Errorf("what was read can't be written: %v", err)
			}
		}
	})
}
