// Copyright 2026 The authsec Authors
// SPDX-License-Identifier: Apache-2.0

package replay

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

func TestDiscardIsBounded(t *testing.T) {
	for _, c := range []struct {
		name  string
		body  *fake
		bytes int
		took  time.Duration
	}{
		{"short", &fake{from: strings.NewReader(text)}, len(text), 0},
		{"endless", &fake{from: endless{}}, drainBytes, 0},
		{"slow", &fake{from: endless{}, readTakes: 90 * ms}, drainBytes, 90 * ms},
		{"Read hangs", &fake{readTakes: time.Hour}, 0, readTime},
		{"Close hangs", &fake{from: strings.NewReader(text), closeTakes: time.Hour}, len(text), readTime},
		{"both hang", &fake{readTakes: time.Hour, closeTakes: time.Hour}, 0, readTime},
		{"Read panics", &fake{from: readerFunc(func([]byte) (int, error) { panic("boom") })}, 0, 0},
		{"Close panics", &fake{from: strings.NewReader(text), closePanics: true}, len(text), 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				began := time.Now()
				Discard(c.body)
				if took := time.Since(began); took != c.took || c.body.count(&c.body.bytes) != c.bytes {
					t.Errorf("got %d bytes read after %v, want %d after %v", c.body.bytes, took, c.bytes, c.took)
				}
				synctest.Wait()
				if c.body.closeTakes == 0 { // even while a Read hangs
					c.body.wantCloses(t, 1)
				}
				time.Sleep(2 * time.Hour)
				c.body.wantCloses(t, 1)
			})
		})
	}
	Discard(nil)
	Discard(http.NoBody)
}

// hold holds a response with this body.
func hold(t *testing.T, body io.ReadCloser, length int64) *http.Response {
	resp := &http.Response{StatusCode: 401, Body: body, ContentLength: length}
	Hold(t.Context(), resp)
	return resp
}

func TestHeldBodyReadsAsItWould(t *testing.T) {
	repeat := func(n int) string { return strings.Repeat("0123456789abcdef", n/16+1)[:n] }
	for _, c := range []struct {
		name   string
		size   int
		length int64
		err    error // at the end
		ahead  int   // bytes that Hold reads
	}{
		{"empty", 0, 0, io.EOF, 0},
		{"short", 20, 20, io.EOF, 20},
		{"of unknown length", 20_000, -1, io.EOF, 20_000},
		{"at the limit", holdBytes, holdBytes, io.EOF, holdBytes},
		{"beyond the limit", holdBytes + 1, holdBytes + 1, io.EOF, 0},
		{"beyond the limit, of unknown length", 3 * holdBytes, -1, io.EOF, holdBytes},
		{"broken", 20, 40, errTest, 20},
		{"broken, of unknown length", 20_000, -1, errTest, 20_000},
	} {
		t.Run(c.name, func(t *testing.T) {
			want := repeat(c.size)
			f := &fake{from: io.MultiReader(strings.NewReader(want), readerFunc(func([]byte) (int, error) { return 0, c.err }))}
			resp := hold(t, f, c.length)
			if got := f.count(&f.bytes); got != c.ahead {
				t.Errorf("Hold: got %d bytes read, want %d", got, c.ahead)
			}
			got, err := io.ReadAll(resp.Body)
			if err == nil {
				err = io.EOF
			}
			if string(got) != want || err != c.err || resp.ContentLength != c.length {
				t.Errorf("got %d bytes, %v, want %d, %v", len(got), err, len(want), c.err)
			}
			if _, err := resp.Body.Read(make([]byte, 1)); err != c.err {
				t.Errorf("another Read: got %v, want %v", err, c.err)
			}
			resp.Body.Close()
			if resp.Body != io.ReadCloser(f) {
				resp.Body.Close()
				if n, err := resp.Body.Read(make([]byte, 1)); n != 0 || err == nil || err == io.EOF {
					t.Errorf("Read after Close: got %d, %v, want an error", n, err)
				}
			}
			f.wantCloses(t, 1)
		})
	}
}

func TestHoldLeavesOtherResponsesAlone(t *testing.T) {
	type upgraded struct {
		io.ReadCloser
		io.Writer
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	f := newFake(text)
	for _, c := range []struct {
		name   string
		ctx    context.Context
		body   io.ReadCloser
		length int64
	}{
		{"no body", t.Context(), nil, 0},
		{"NoBody", t.Context(), http.NoBody, 100},
		{"a long body", t.Context(), f, holdBytes + 1},
		{"the context has ended", ended, f, -1},
	} {
		resp := &http.Response{Body: c.body, ContentLength: c.length}
		if Hold(c.ctx, resp); resp.Body != c.body {
			t.Errorf("%s: got a %T, want the body as it was", c.name, resp.Body)
		}
	}
	if _, ok := hold(t, upgraded{f, io.Discard}, -1).Body.(io.Writer); !ok || f.bytes != 0 {
		t.Errorf("an upgraded connection: got %d bytes read, want it untouched", f.bytes)
	}
}

func TestHeldBodyWaitsForTheReadUnderWay(t *testing.T) {
	for _, name := range []string{"then reads", "then closes", "the context ends"} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := &fake{from: io.MultiReader(strings.NewReader("the"), strings.NewReader(" body")), readTakes: 70 * ms}
				ctx, want := t.Context(), readTime
				if name == "the context ends" {
					want = 30 * ms
					short, cancel := context.WithTimeout(ctx, want)
					defer cancel()
					ctx = short
				}
				began := time.Now()
				resp := &http.Response{Body: f, ContentLength: -1}
				Hold(ctx, resp)
				if took := time.Since(began); took != want {
					t.Errorf("Hold: it took %v, want %v", took, want)
				}
				if name == "then closes" {
					began = time.Now()
					time.AfterFunc(ms, func() { resp.Body.Close() })
					if _, err := resp.Body.Read(make([]byte, 1)); err != http.ErrBodyReadAfterClose || time.Since(began) != 40*ms {
						t.Errorf("Read: got %v after %v, want ErrBodyReadAfterClose after 40ms, when the Read under way ends", err, time.Since(began))
					}
					f.wantCloses(t, 1)
					time.Sleep(time.Second)
					return
				}
				time.Sleep(time.Minute)
				if got, limit := f.count(&f.bytes), len(text); got > limit || want < readTime && got != len("the") {
					t.Errorf("got %d bytes read while nobody reads, want the Read under way to be the last", got)
				}
				send(t, resp.Body, text)
				f.wantCloses(t, 1)
			})
		})
	}
}

func TestHeldBodyReportsAPanic(t *testing.T) {
	resp := hold(t, &fake{from: readerFunc(func([]byte) (int, error) { panic("a secret") })}, -1)
	if _, err := io.ReadAll(resp.Body); !errors.Is(err, errPanicked) {
		t.Errorf("got %v, want errPanicked", err)
	}
}

// One connection is all there is, and the rejected response is still open.
func TestHoldFreesTheConnection(t *testing.T) {
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Trailer", "X-Sum")
		w.WriteHeader(http.StatusUnauthorized)
		io.WriteString(w, text)
		w.(http.Flusher).Flush()
		w.Header().Set("X-Sum", "42")
		w.Header().Set(http.TrailerPrefix+"X-More", "43")
	}))
	defer srv.Close()
	dialed := 0
	tr := &http.Transport{MaxConnsPerHost: 1, DialContext: func(ctx context.Context, network, addr string) (net.Conn, error) {
		dialed++
		return new(net.Dialer).DialContext(ctx, network, addr)
	}}
	defer tr.CloseIdleConnections()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	var held []*http.Response
	for range 3 {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, srv.URL, nil)
		if err != nil {
			t.Fatal(err)
		}
		resp, err := tr.RoundTrip(req)
		if err != nil {
			t.Fatal(err)
		}
		Hold(ctx, resp)
		held = append(held, resp)
	}
	for _, resp := range held {
		send(t, resp.Body, text)
		if sum, more := resp.Trailer.Get("X-Sum"), resp.Trailer.Get("X-More"); sum != "42" || more != "43" {
			t.Errorf("trailers: got %q, %q, want 42, 43", sum, more)
		}
	}
	if dialed != 1 {
		t.Errorf("connections: got %d, want 1", dialed)
	}
}
