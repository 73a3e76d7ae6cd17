// Copyright 2026 The authsec Authors
// SPDX-License-Identifier: Apache-2.0

package replay

import (
	"context"
	"errors"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

const ms = time.Millisecond

// TestNextWaitsForBase lets a Base misbehave with the first body, and checks when
// GetBody is called for the second: never while Base may use the first.
func TestNextWaitsForBase(t *testing.T) {
	reads := func(b io.ReadCloser) { b.Read(make([]byte, 1)) }
	for _, c := range []struct {
		name string
		body *fake
		base func(io.ReadCloser) // runs in a goroutine
		took time.Duration
		ok   bool
	}{
		{"closes at once", &fake{}, func(b io.ReadCloser) { b.Close() }, 0, true},
		{"closes late", &fake{}, func(b io.ReadCloser) { time.Sleep(90 * ms); b.Close() }, 90 * ms, true},
		{"never closes", &fake{}, func(io.ReadCloser) {}, 100 * ms, true},
		{"never closes, Close panics", &fake{closePanics: true}, func(io.ReadCloser) {}, 100 * ms, true},
		{"never closes, Close takes time", &fake{closeTakes: 90 * ms}, func(io.ReadCloser) {}, 190 * ms, true},
		{"never closes, Close takes too long", &fake{closeTakes: time.Hour}, func(io.ReadCloser) {}, 200 * ms, false},
		{"Close under way", &fake{closeTakes: 190 * ms}, func(b io.ReadCloser) { b.Close() }, 190 * ms, true},
		{"Close takes too long", &fake{closeTakes: time.Hour}, func(b io.ReadCloser) { b.Close() }, 200 * ms, false},
		{"closes twice", &fake{closeTakes: 50 * ms}, func(b io.ReadCloser) { go b.Close(); b.Close() }, 50 * ms, true},
		{"reads after Close", &fake{readTakes: 90 * ms}, func(b io.ReadCloser) { go reads(b); time.Sleep(ms); b.Close() }, 90 * ms, true},
		{"reads in steps", &fake{readTakes: 30 * ms}, func(b io.ReadCloser) { io.Copy(io.Discard, b) }, 120 * ms, true},
		{"reads in steps, without an end", &fake{readTakes: 30 * ms, from: endless{}}, func(b io.ReadCloser) { io.Copy(io.Discard, b) }, 120 * ms, true},
		{"a Read takes 190 ms", &fake{readTakes: 190 * ms}, reads, 190 * ms, true},
		{"a Read takes too long", &fake{readTakes: time.Hour}, reads, 200 * ms, false},
		{"a Read takes too long, Close does not end it", &fake{readTakes: time.Hour}, func(b io.ReadCloser) { go reads(b); time.Sleep(ms); b.Close() }, 200 * ms, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := c.body
				if f.from == nil {
					f.from = strings.NewReader(strings.Repeat("0", 1<<20))
				}
				var first io.ReadCloser
				opened := 0
				b := New(newRequest(f, -1, func() (io.ReadCloser, error) {
					opened++
					if f.count(&f.reading) > 0 || f.count(&f.closes) != 1 {
						t.Errorf("GetBody: got %d Reads under way and %d closes, want 0 and 1", f.reading, f.closes)
					}
					first.Close() // does not reach the body
					if n, err := first.Read(make([]byte, 1)); n != 0 || err != http.ErrBodyReadAfterClose {
						t.Errorf("Read of the body before: got %d bytes, %v, want ErrBodyReadAfterClose", n, err)
					}
					return newFake(text), nil
				}), 0)
				handed, getBody := next(t, &b)
				first = handed
				go c.base(handed)
				synctest.Wait()
				began := time.Now()
				body, _, err := b.Next(t.Context())
				if took := time.Since(began); took.Truncate(2*ms) != c.took || (err == nil) != c.ok || err != nil && !errors.Is(err, ErrNoBody) {
					t.Errorf("got %v after %v, want ok %v after %v", err, took, c.ok, c.took)
				}
				if err == nil {
					if _, err := getBody(); err == nil {
						t.Error("GetBody of the attempt before: got no error, want one")
					}
					send(t, body, text)
				} else if opened > 0 {
					t.Error("GetBody was called, want it not")
				}
				time.Sleep(2 * time.Hour)
				handed.Close()
				f.wantCloses(t, 1)
			})
		})
	}
}

type endless struct{}

func (endless) Read(p []byte) (int, error) { return len(p), nil }

// The response in hand is passed on, and its connection should live on.
func TestBaseKeepsABodyWhoseReadHangs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake(text)
		f.readTakes = time.Second
		b := New(newRequest(f, int64(len(text)), func() (io.ReadCloser, error) { return nil, errTest }), 0)
		body, _ := next(t, &b)
		go send(t, body, text)
		synctest.Wait()
		wantNoBody(t, &b)
		time.Sleep(time.Minute)
		f.wantCloses(t, 1)
	})
}

func TestNextEndsWithTheContext(t *testing.T) {
	for _, c := range []struct {
		name    string
		base    func(io.ReadCloser)
		timeout time.Duration
		whole   bool // Base keeps the body
	}{
		{"Base does not close", func(io.ReadCloser) {}, 30 * ms, true},
		{"Base reads", func(b io.ReadCloser) { b.Read(nil) }, 130 * ms, true},
		{"our Close hangs", func(b io.ReadCloser) {}, 130 * ms, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := newFake(text)
				f.readTakes, f.closeTakes = 10*time.Second, 10*time.Second
				b := New(newRequest(f, -1, func() (io.ReadCloser, error) {
					t.Error("GetBody was called, want it not")
					return nil, errTest
				}), 0)
				body, _ := next(t, &b)
				go c.base(body)
				synctest.Wait()
				ctx, cancel := context.WithTimeout(t.Context(), c.timeout)
				defer cancel()
				began := time.Now()
				if _, _, err := b.Next(ctx); !errors.Is(err, ErrNoBody) || time.Since(began) != c.timeout {
					t.Errorf("got %v after %v, want ErrNoBody after %v", err, time.Since(began), c.timeout)
				}
				if c.whole {
					send(t, body, text)
				}
				time.Sleep(time.Minute)
				f.wantCloses(t, 1)
			})
		})
	}
}

// net/http's HTTP/2 calls GetBody itself, and may forget the body before.
func TestBodiesThatBaseOpensAreWatched(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var bodies []*fake
		b := New(newRequest(newFake(text), -1, func() (io.ReadCloser, error) {
			bodies = append(bodies, newFake(text))
			return bodies[len(bodies)-1], nil
		}), 0)
		_, getBody := next(t, &b)
		second, err := getBody()
		if err != nil {
			t.Fatal(err)
		}
		third, _ := getBody()
		time.AfterFunc(50*ms, func() { send(t, second, text) })
		began := time.Now()
		fourth, _ := next(t, &b)
		if took := time.Since(began); took != 100*ms || len(bodies) != 3 {
			t.Errorf("got %d bodies after %v, want 3 after 100ms", len(bodies), took)
		}
		third.Close()
		bodies[0].wantCloses(t, 1)
		bodies[1].wantCloses(t, 1)
		if late, err := getBody(); late != nil || err == nil {
			t.Errorf("GetBody of the attempt before: got %v, %v, want an error", late, err)
		}
		send(t, fourth, text)
	})
}

func TestNextWaitsForAGetBodyUnderWay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		calls, opened := 0, newFake(text)
		b := New(newRequest(newFake(text), -1, func() (io.ReadCloser, error) {
			if calls++; calls > 1 {
				opened.wantCloses(t, 1)
				return newFake(text), nil
			}
			time.Sleep(150 * ms)
			return opened, nil
		}), 0)
		body, getBody := next(t, &b)
		body.Close()
		go getBody()
		synctest.Wait()
		began := time.Now()
		next(t, &b)
		if took := time.Since(began); took != 150*ms || calls != 2 {
			t.Errorf("got %d calls of GetBody after %v, want 2 after 150ms", calls, took)
		}
	})
}

func TestUncomparableBodiesAreWatched(t *testing.T) {
	open := func() (io.ReadCloser, error) { return uncomparable{ReadCloser: newFake(text)}, nil }
	first, _ := open()
	b := New(newRequest(first, -1, open), 0)
	for range 3 {
		body, _ := next(t, &b)
		send(t, body, text)
	}
}

func TestBrokenBodyIsNotReplayed(t *testing.T) {
	length := int64(len(text))
	failing := func(text string) io.Reader {
		return io.MultiReader(strings.NewReader(text), readerFunc(func([]byte) (int, error) { return 0, errTest }))
	}
	for _, c := range []struct {
		name   string
		from   io.Reader
		length int64
		reads  int64
		want   string // part of the error
	}{
		{"whole", strings.NewReader(text), length, 100, ""},
		{"not yet read whole", strings.NewReader(text), length, length - 1, ""},
		{"unknown length", strings.NewReader(text), -1, 100, ""},
		{"length 0, which is unknown", strings.NewReader(text), 0, 100, ""},
		{"its own error", failing("the"), length, 100, "broken"},
		{"its own error, unknown length", failing("the"), -1, 100, "broken"},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := New(newRequest(&fake{from: c.from}, c.length, func() (io.ReadCloser, error) { return newFake(text), nil }), 0)
			body, _ := next(t, &b)
			io.CopyN(io.Discard, body, c.reads)
			body.Close()
			if n, err := body.Read(make([]byte, 1)); n != 0 || err != http.ErrBodyReadAfterClose {
				t.Errorf("Read after Close: got %d bytes, %v, want ErrBodyReadAfterClose", n, err)
			}
			err := b.Broken()
			if (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) {
				t.Errorf("Broken: got %v, want an error with %q", err, c.want)
			}
			if _, _, err := b.Next(t.Context()); (err == nil) != (c.want == "") {
				t.Errorf("Next: got %v, want an error: %v", err, c.want != "")
			}
		})
	}
}

func TestReadThatCloseBreaksIsNotTheBodysFault(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake(text)
		f.readTakes = 10 * ms
		b := New(newRequest(f, -1, func() (io.ReadCloser, error) { return newFake(text), nil }), 0)
		body, _ := next(t, &b)
		go body.Read(make([]byte, 1))
		synctest.Wait()
		body.Close()
		time.Sleep(time.Second)
		if f.bytes != 0 || b.Broken() != nil {
			t.Errorf("got %d bytes read and %v, want a broken Read and no error", f.bytes, b.Broken())
		}
	})
}

// shared is one body that GetBody rewinds, without a lock.
type shared struct {
	*strings.Reader
	closes int
}

func (s *shared) Close() error { s.closes++; return nil }

// The race detector sees a use of the body that Next does not wait for.
func TestSharedBodyIsUsedByOneAttemptAtATime(t *testing.T) {
	long := strings.Repeat(text, 1000)
	for range 20 {
		s := &shared{Reader: strings.NewReader(long)}
		b := New(newRequest(s, int64(len(long)), func() (io.ReadCloser, error) {
			s.Seek(0, io.SeekStart)
			return s, nil
		}), 0)
		var wg sync.WaitGroup
		for range 3 {
			body, _ := next(t, &b)
			wg.Go(func() {
				for n, err := 1, error(nil); n > 0 && err == nil; {
					n, err = body.Read(make([]byte, 10))
				}
			})
			wg.Go(func() { time.Sleep(ms / 10); body.Close(); body.Close() })
			time.Sleep(ms / 20)
		}
		body, _ := next(t, &b)
		send(t, body, long)
		wg.Wait()
		if s.closes != 4 {
			t.Errorf("got %d closes of 4 bodies, want 4", s.closes)
		}
	}
}
