// Copyright 2026 The authsec Authors
// SPDX-License-Identifier: Apache-2.0

package replay

import (
	"errors"
	"io"
	"net/http"
	"os"
	"strings"
	"sync"
	"testing"
	"time"
)

const text = "the body"

var errTest = errors.New("broken")

// fake is a body whose Close really closes.
type fake struct {
	from        io.Reader
	readTakes   time.Duration
	readHangs   chan struct{} // until it is closed
	closeTakes  time.Duration
	closeHangs  chan struct{}
	closeResult error
	closePanics bool

	mu      sync.Mutex
	reading int
	closes  int
	bytes   int
}

func newFake(text string) *fake { return &fake{from: strings.NewReader(text)} }

func (f *fake) Read(p []byte) (int, error) {
	f.add(&f.reading, 1)
	defer f.add(&f.reading, -1)
	time.Sleep(f.readTakes)
	if f.readHangs != nil {
		<-f.readHangs
	}
	if f.count(&f.closes) > 0 {
		return 0, os.ErrClosed
	}
	n, err := f.from.Read(p)
	f.add(&f.bytes, n)
	return n, err
}

func (f *fake) Close() error {
	time.Sleep(f.closeTakes)
	f.add(&f.closes, 1)
	if f.closeHangs != nil {
		<-f.closeHangs
	}
	if f.closePanics {
		panic("a secret")
	}
	return f.closeResult
}

func (f *fake) add(field *int, n int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	*field += n
}

func (f *fake) count(field *int) int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return *field
}

func (f *fake) wantCloses(t *testing.T, want int) {
	t.Helper()
	if got := f.count(&f.closes); got != want {
		t.Errorf("Close of the body: got %d calls, want %d", got, want)
	}
}

// readerFunc is a reader in one function.
type readerFunc func([]byte) (int, error)

func (f readerFunc) Read(p []byte) (int, error) { return f(p) }

// uncomparable is a body that == panics on.
type uncomparable struct {
	io.ReadCloser
	_ []func()
}

// newRequest returns a PUT with this body.
func newRequest(body io.ReadCloser, length int64, getBody func() (io.ReadCloser, error)) *http.Request {
	req, err := http.NewRequest(http.MethodPut, "https://api.example.com/", nil)
	if err != nil {
		panic(err)
	}
	req.Body, req.ContentLength, req.GetBody = body, length, getBody
	return req
}

// next is a Next that must succeed.
func next(t *testing.T, b *Body) (io.ReadCloser, func() (io.ReadCloser, error)) {
	t.Helper()
	body, getBody, err := b.Next(t.Context())
	if err != nil {
		t.Fatalf("Next: got error %v, want none", err)
	}
	return body, getBody
}

// wantNoBody checks that there is no other attempt.
func wantNoBody(t *testing.T, b *Body) {
	t.Helper()
	if body, _, err := b.Next(t.Context()); body != nil || !errors.Is(err, ErrNoBody) {
		t.Errorf("Next: got %v, %v, want ErrNoBody", body, err)
	}
}

// send does what a good Base does with a body.
func send(t *testing.T, body io.ReadCloser, want string) {
	t.Helper()
	got, err := io.ReadAll(body)
	if string(got) != want || err != nil {
		t.Errorf("body: got %q, %v, want %q", got, err, want)
	}
	if err := body.Close(); err != nil {
		t.Errorf("Close: got %v, want no error", err)
	}
}
