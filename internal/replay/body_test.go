// Copyright 2026 The authsec Authors
// SPDX-License-Identifier: Apache-2.0

package replay

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"reflect"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

func TestRequestWithoutABodyCostsNothing(t *testing.T) {
	for _, none := range []io.ReadCloser{nil, http.NoBody} {
		req := newRequest(none, 0, nil)
		if n := testing.AllocsPerRun(100, func() {
			b := New(req, 1<<20)
			for i := range 3 {
				body, getBody, err := b.Next(t.Context())
				if body != none || getBody != nil || err != nil || b.Broken() != nil || b.Changed() != (i > 0) {
					t.Fatalf("attempt %d: got %v, %v, changed %v, want %v", i, body, err, b.Changed(), none)
				}
			}
			b.Close()
		}); n != 0 {
			t.Errorf("body %v: got %v allocations, want 0", none, n)
		}
	}
}

// inMemoryBodies are readers of text, after a byte that the caller has read.
func inMemoryBodies() map[string]interface {
	io.Reader
	Len() int
} {
	s, r, buf := strings.NewReader("x"+text), bytes.NewReader([]byte("x"+text)), bytes.NewBufferString("x"+text)
	s.ReadByte()
	r.ReadByte()
	buf.ReadByte()
	return map[string]interface {
		io.Reader
		Len() int
	}{"strings.Reader": s, "bytes.Reader": r, "bytes.Buffer": buf}
}

func TestBodyInMemoryIsCopied(t *testing.T) {
	for _, own := range []bool{false, true} {
		for name, reader := range inMemoryBodies() {
			t.Run(name, func(t *testing.T) {
				req := newRequest(io.NopCloser(reader), int64(len(text)), nil)
				if own {
					req.GetBody = func() (io.ReadCloser, error) { return io.NopCloser(reader), nil }
				}
				b := New(req, 1<<20)
				for i := range 3 {
					body, getBody := next(t, &b)
					if inMemory(body) == nil {
						t.Errorf("attempt %d: got a %T, want a reader that net/http knows", i, body)
					}
					if !own || i > 0 {
						for range 2 {
							another, err := getBody()
							if err != nil {
								t.Fatal(err)
							}
							send(t, another, text)
						}
					}
					if body.Read(make([]byte, 3)); i == 2 { // Base stops reading, and never closes it
						send(t, body, text[3:])
					}
					if b.Changed() != (!own || i > 0) {
						t.Errorf("attempt %d: got changed %v, want %v", i, b.Changed(), !own || i > 0)
					}
				}
			})
		}
	}
}

func TestBodyInMemoryCostsOneAllocation(t *testing.T) {
	for _, reader := range []io.Reader{strings.NewReader(text), bytes.NewReader([]byte(text))} {
		req, err := http.NewRequest(http.MethodPost, "https://api.example.com/", reader)
		if err != nil {
			t.Fatal(err)
		}
		if n := testing.AllocsPerRun(100, func() {
			b := New(req, 1<<20)
			if body, getBody, err := b.Next(t.Context()); body == nil || getBody == nil || err != nil {
				t.Fatalf("Next: got %v, %v", body, err)
			}
		}); n > 1 {
			t.Errorf("%T: got %v allocations, want at most 1", reader, n)
		}
	}
}

func TestOtherBodiesAreStreamedOnce(t *testing.T) {
	expect := func(r *http.Request) { r.Header.Set("Expect", "100-continue") }
	for _, c := range []struct {
		name   string
		buffer int64
		length int64
		edit   func(*http.Request)
	}{
		{"unknown length", 1 << 20, -1, nil},
		{"length 0, which is unknown", 1 << 20, 0, nil},
		{"too long", int64(len(text)) - 1, int64(len(text)), nil},
		{"buffering is off", -1, int64(len(text)), nil},
		{"the server is asked first", 1 << 20, int64(len(text)), expect},
	} {
		t.Run(c.name, func(t *testing.T) {
			f := newFake(text)
			for _, own := range []io.ReadCloser{f, io.NopCloser(strings.NewReader(text)), uncomparable{ReadCloser: newFake(text)}} {
				req := newRequest(own, c.length, nil)
				if c.edit != nil {
					c.edit(req)
				}
				b := New(req, c.buffer)
				body, getBody := next(t, &b)
				if reflect.TypeOf(body) != reflect.TypeOf(own) || getBody != nil || b.Changed() {
					t.Errorf("got a %T, changed %v, want the request's own %T", body, b.Changed(), own)
				}
				if own == io.ReadCloser(f) && (body != own || f.count(&f.bytes) > 0 || b.Broken() != nil) {
					t.Errorf("got %d bytes read, %v, want the body untouched", f.bytes, b.Broken())
				}
				wantNoBody(t, &b)
				b.Close() // Base has the body
				send(t, body, text)
			}
			f.wantCloses(t, 1)
		})
	}
}

func TestBodyIsReadIntoMemory(t *testing.T) {
	f := newFake(text)
	b := New(newRequest(uncomparable{ReadCloser: f}, int64(len(text)), nil), int64(len(text)))
	for i := range 3 {
		body, getBody := next(t, &b)
		f.wantCloses(t, 1) // before the request is sent
		for range 2 {
			another, err := getBody()
			if err != nil {
				t.Fatal(err)
			}
			send(t, another, text)
		}
		if inMemory(body) == nil || !b.Changed() || b.Broken() != nil {
			t.Errorf("attempt %d: got a %T, changed %v, broken %v", i, body, b.Changed(), b.Broken())
		}
		send(t, body, text)
	}
}

func TestLongBodyIsReadIntoMemory(t *testing.T) {
	long := strings.Repeat("0123456789", 10_000)
	b := New(newRequest(newFake(long), int64(len(long)), nil), 1<<20)
	for range 2 {
		body, _ := next(t, &b)
		send(t, body, long)
	}
}

func TestBodyThatCannotBeReadIsNotSent(t *testing.T) {
	failing := func(err error) *fake {
		return &fake{from: io.MultiReader(strings.NewReader("the"), readerFunc(func([]byte) (int, error) { return 0, err }))}
	}
	unclosable := newFake(text)
	unclosable.closeResult = errTest
	panicking := newFake(text)
	panicking.closePanics = true
	for _, c := range []struct {
		name string
		body *fake
		want error // nil: any
	}{
		{"an error", failing(errTest), errTest},
		{"an error like one of io.ReadFull", failing(io.ErrUnexpectedEOF), io.ErrUnexpectedEOF},
		{"a panic", &fake{from: readerFunc(func([]byte) (int, error) { panic("a secret") })}, nil},
		{"too many bytes returned", &fake{from: readerFunc(func(p []byte) (int, error) { return len(p) + 1, nil })}, nil},
		{"shorter than ContentLength", newFake(text[1:]), nil},
		{"longer than ContentLength", newFake(text + text), nil},
		{"Close fails", unclosable, errTest},
		{"Close panics", panicking, errPanicked},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := New(newRequest(c.body, int64(len(text)), nil), 1<<20)
			body, getBody, err := b.Next(t.Context())
			if body != nil || getBody != nil || err == nil || c.want != nil && !errors.Is(err, c.want) || errors.Is(err, ErrNoBody) {
				t.Fatalf("Next: got %v, %v, want error %v", body, err, c.want)
			}
			if strings.Contains(err.Error(), "secret") {
				t.Errorf("got error %v, want no secret", err)
			}
			b.Close()
			c.body.wantCloses(t, 1)
			wantNoBody(t, &b)
		})
	}
}

func TestReadingIntoMemoryEndsWithTheContext(t *testing.T) {
	for _, c := range []struct {
		name                  string
		readHangs, closeHangs bool
	}{{"Read hangs", true, false}, {"Close hangs", false, true}, {"both hang", true, true}} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				release := make(chan struct{})
				f := newFake(text)
				if c.readHangs {
					f.readHangs = release
				}
				if c.closeHangs {
					f.closeHangs = release
				}
				ctx, cancel := context.WithTimeout(t.Context(), time.Second)
				defer cancel()
				began := time.Now()
				b := New(newRequest(f, int64(len(text)), nil), 1<<20)
				body, _, err := b.Next(ctx)
				if took := time.Since(began); body != nil || !errors.Is(err, context.DeadlineExceeded) || took != time.Second {
					t.Errorf("got %v, %v after %v, want the context's error after 1s", body, err, took)
				}
				wantNoBody(t, &b)
				synctest.Wait()
				f.wantCloses(t, 1)
				close(release)
			})
		})
	}
}

func TestGetBodyThatFails(t *testing.T) {
	for _, c := range []struct {
		name    string
		getBody func() (io.ReadCloser, error)
		want    error
	}{
		{"an error", func() (io.ReadCloser, error) { return nil, errTest }, errTest},
		{"nothing", func() (io.ReadCloser, error) { return nil, nil }, ErrNoBody},
		{"a panic", func() (io.ReadCloser, error) { panic("a secret") }, ErrNoBody},
	} {
		t.Run(c.name, func(t *testing.T) {
			f := newFake(text)
			b := New(newRequest(f, int64(len(text)), c.getBody), 1<<20)
			body, getBody := next(t, &b)
			if got, err := getBody(); got != nil || err == nil || strings.Contains(err.Error(), "secret") {
				t.Errorf("Base's GetBody: got %v, %v, want an error", got, err)
			}
			send(t, body, text)
			got, _, err := b.Next(t.Context())
			if got != nil || !errors.Is(err, c.want) || !errors.Is(err, ErrNoBody) || strings.Contains(err.Error(), "secret") {
				t.Errorf("Next: got %v, %v, want %v and ErrNoBody", got, err, c.want)
			}
			b.Close()
			f.wantCloses(t, 1)
		})
	}
}

func TestGetBodyThatHangsIsLeftBehind(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		late := newFake(text)
		b := New(newRequest(newFake(text), -1, func() (io.ReadCloser, error) {
			time.Sleep(time.Minute)
			return late, nil
		}), 0)
		body, _ := next(t, &b)
		send(t, body, text)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		began := time.Now()
		if _, _, err := b.Next(ctx); !errors.Is(err, ErrNoBody) || time.Since(began) != time.Second {
			t.Errorf("got %v after %v, want ErrNoBody after 1s", err, time.Since(began))
		}
		time.Sleep(time.Hour)
		late.wantCloses(t, 1)
	})
}

func TestCloseClosesWhatIsNotSent(t *testing.T) {
	first, second := newFake(text), newFake(text)
	first.closePanics = true
	unsent := New(newRequest(first, -1, nil), 0)
	unsent.Close()
	unsent.Close()
	first.wantCloses(t, 1)

	first = newFake(text)
	b := New(newRequest(first, -1, func() (io.ReadCloser, error) { return second, nil }), 0)
	body, _ := next(t, &b)
	send(t, body, text)
	next(t, &b)
	b.Close()
	b.Close()
	first.wantCloses(t, 1)
	second.wantCloses(t, 1)
}
