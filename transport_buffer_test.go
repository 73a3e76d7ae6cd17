// Copyright 2026 The authsec Authors
// SPDX-License-Identifier: Apache-2.0

package authsec_test

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/authsec-go/authsec"
)

// Small bodies without GetBody are sent again after a 401, as BufferBodies says.
func TestBufferBodiesSaysWhichBodiesAreSentAgain(t *testing.T) {
	const text = "the body, which is 37 bytes in length"
	for _, c := range []struct {
		name   string
		buffer int64
		edit   func(*http.Request)
		again  bool
	}{
		{"default", 0, func(*http.Request) {}, true},
		{"just small enough", 37, func(*http.Request) {}, true},
		{"too long", 36, func(*http.Request) {}, false},
		{"none", -1, func(*http.Request) {}, false},
		{"Expect", 0, func(r *http.Request) { r.Header.Set("Expect", "100-continue") }, false},
		{"unknown length", 0, func(r *http.Request) { r.ContentLength = -1 }, false},
		{"GetBody, whatever BufferBodies is", -1, func(r *http.Request) {
			r.GetBody = func() (io.ReadCloser, error) { return io.NopCloser(strings.NewReader(text)), nil }
		}, true},
	} {
		for kind, open := range map[string]func() io.ReadCloser{
			"of the caller's type": func() io.ReadCloser { return track(strings.NewReader(text)) },
			"in memory":            func() io.ReadCloser { return io.NopCloser(strings.NewReader(text)) },
			"a pipe": func() io.ReadCloser {
				r, w := io.Pipe()
				go func() { io.WriteString(w, text); w.Close() }()
				return r
			},
		} {
			t.Run(c.name+", "+kind, func(t *testing.T) {
				base := statuses(401, 200)
				tr := to(renewingTo(secondToken), base, func(tr *authsec.Transport) { tr.BufferBodies = c.buffer })
				req := get(t, api)
				req.Method, req.Body, req.ContentLength = "POST", open(), int64(len(text))
				c.edit(req)
				body := req.Body
				resp, err := tr.RoundTrip(req)
				if err != nil {
					t.Fatal(err)
				}
				if got := resp.StatusCode == 200; got != c.again || len(base.calls) != map[bool]int{true: 2, false: 1}[c.again] {
					t.Errorf("got status %d after %d requests, want it sent again: %t", resp.StatusCode, len(base.calls), c.again)
				}
				for i, call := range base.calls {
					if call.body != text || call.length != req.ContentLength {
						t.Errorf("request %d: got body %q and length %d, want the caller's", i, call.body, call.length)
					}
				}
				if b, ok := body.(*trackedBody); ok && b.closes.Load() == 0 {
					t.Error("the body is open, want it closed")
				}
			})
		}
	}
}

// A faulty body is the request's own fault. The error is the same as without buffering,
// and there is no retry.
func TestFaultyBodiesAreNotRetried(t *testing.T) {
	broken := errors.New("the disk is broken")
	for name, c := range map[string]struct {
		body   io.Reader
		length int64
		want   error // nil: any
	}{
		"its own error":        {io.MultiReader(strings.NewReader("12345"), failing{broken}), 10, broken},
		"shorter than it says": {strings.NewReader("12345"), 10, nil},
		"longer than it says":  {strings.NewReader("1234567890"), 5, nil},
	} {
		for _, getBody := range []bool{true, false} {
			var sent atomic.Int32
			srv := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
				io.Copy(io.Discard, r.Body)
				sent.Add(1)
				select { // so that the client notices the fault before it has an answer
				case <-r.Context().Done():
				case <-time.After(10 * time.Second):
				}
			}))
			base := new(http.Transport)
			tr := &authsec.Transport{Source: staticSource(), Hosts: []string{"*"}, Base: base}
			req := get(t, srv.URL)
			req.Method, req.Body, req.ContentLength = "PUT", track(c.body), c.length
			if getBody {
				opened := false
				req.GetBody = func() (io.ReadCloser, error) {
					if opened = true; opened {
						t.Errorf("%s: the body was asked for again", name)
					}
					return nil, errors.New("no")
				}
			}
			began := time.Now()
			resp, err := tr.RoundTrip(req)
			if err == nil {
				resp.Body.Close()
				t.Errorf("%s: got %d, want an error", name, resp.StatusCode)
			} else if c.want != nil && !errors.Is(err, c.want) {
				t.Errorf("%s: got %v, want %v", name, err, c.want)
			}
			if n := sent.Load(); n > 1 || time.Since(began) > 5*time.Second {
				t.Errorf("%s, GetBody %t: %d attempts, want one", name, getBody, n)
			}
			base.CloseIdleConnections()
			srv.Close()
		}
	}
}

// failing is a reader that fails.
type failing struct{ err error }

func (f failing) Read([]byte) (int, error) { return 0, f.err }

// Requests that net/http refuses to send are not retried.
func TestRequestsThatCannotBeSentAreNotRetried(t *testing.T) {
	for name, edit := range map[string]func(*http.Request){
		"no host":           func(r *http.Request) { r.URL.Host = "" },
		"invalid trailer":   func(r *http.Request) { r.Trailer = http.Header{"a b": {"c"}} },
		"forbidden trailer": func(r *http.Request) { r.Trailer = http.Header{"Content-Length": {"c"}} },
		"invalid method":    func(r *http.Request) { r.Method = "A B"; r.Header.Set("Idempotency-Key", "1") },
		"invalid header":    func(r *http.Request) { r.Header.Set("X", "a\nb") },
		"nil body":          func(r *http.Request) { r.ContentLength = 5 },
	} {
		srv := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
		n := 0
		base := new(http.Transport)
		tr := &authsec.Transport{Source: staticSource(), Hosts: []string{"*"}, Base: baseFunc(func(req *http.Request) (*http.Response, error) {
			n++
			return base.RoundTrip(req)
		})}
		req := get(t, srv.URL)
		if strings.Contains(name, "trailer") {
			req.Method, req.ContentLength = "PUT", -1
			req.GetBody = func() (io.ReadCloser, error) { return io.NopCloser(strings.NewReader("the body")), nil }
			req.Body, _ = req.GetBody()
		}
		edit(req)
		if resp, err := tr.RoundTrip(req); err == nil {
			resp.Body.Close()
			t.Errorf("%s: got no error, want one", name)
		}
		if n != 1 {
			t.Errorf("%s: got %d attempts, want 1", name, n)
		}
		base.CloseIdleConnections()
		srv.Close()
	}
}

// reopened is a file that GetBody opens again, as the same value: its Close closes
// it, whenever it comes.
type reopened struct {
	path string
	*os.File
}

func (r *reopened) open() (io.ReadCloser, error) {
	f, err := os.Open(r.path)
	r.File = f
	return r, err
}

// Base closes the first body late. The replay is sent whole.
func TestLateCloseDoesNotBreakTheReplay(t *testing.T) {
	bubble(t, func(t *testing.T) {
		text := strings.Repeat("0123456789", 1000)
		path := filepath.Join(t.TempDir(), "body")
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		file := &reopened{path: path}
		first, err := file.open()
		if err != nil {
			t.Fatal(err)
		}
		var bodies []string
		base := baseFunc(func(req *http.Request) (*http.Response, error) {
			if len(bodies) == 0 { // an early 401: the body is read on, and closed late
				bodies = append(bodies, "")
				body := req.Body
				go func() {
					time.Sleep(250 * time.Millisecond)
					body.Close()
				}()
				return &http.Response{StatusCode: 401, Header: http.Header{}, Body: http.NoBody}, nil
			}
			var read []byte
			for p := make([]byte, 500); ; {
				n, err := req.Body.Read(p)
				read = append(read, p[:n]...)
				if err != nil {
					break
				}
				time.Sleep(20 * time.Millisecond) // it lasts until after the late Close
			}
			bodies = append(bodies, string(read))
			req.Body.Close()
			return &http.Response{StatusCode: 200, Header: http.Header{}, Body: http.NoBody}, nil
		})
		req := get(t, api)
		req.Method, req.Body, req.GetBody, req.ContentLength = "POST", first, file.open, int64(len(text))
		resp, err := to(renewingTo(secondToken), base).RoundTrip(req)
		if err != nil || resp.StatusCode != 200 {
			t.Fatalf("got %v, %v, want 200", resp, err)
		}
		if bodies[1] != text {
			t.Errorf("the replay had %d bytes, want %d", len(bodies[1]), len(text))
		}
	})
}

// steps is a body whose reads take time.
type steps struct {
	io.Reader
	step time.Duration
}

func (s steps) Read(p []byte) (int, error) {
	time.Sleep(s.step)
	return s.Reader.Read(p[:1])
}
func (steps) Close() error { return nil }

// A 401 comes while Base still reads the body in steps. The Transport waits for the
// Read under way, and then replays the request.
func TestReadUnderWayIsWaitedFor(t *testing.T) {
	for _, step := range []time.Duration{30 * time.Millisecond, 60 * time.Millisecond} {
		bubble(t, func(t *testing.T) {
			const text = "the body"
			open := func() (io.ReadCloser, error) {
				return steps{strings.NewReader(text), step}, nil
			}
			var last string
			n := 0
			base := baseFunc(func(req *http.Request) (*http.Response, error) {
				if n++; n == 1 {
					body := req.Body
					go func() { // it never closes it
						io.Copy(io.Discard, body)
					}()
					time.Sleep(step / 2)
					return &http.Response{StatusCode: 401, Header: http.Header{}, Body: http.NoBody}, nil
				}
				text, err := io.ReadAll(req.Body)
				req.Body.Close()
				last = string(text)
				return &http.Response{StatusCode: 200, Header: http.Header{}, Body: http.NoBody}, err
			})
			req := get(t, api)
			req.Method, req.GetBody, req.ContentLength = "POST", open, int64(len(text))
			req.Body, _ = open()
			resp, err := to(renewingTo(secondToken), base).RoundTrip(req)
			if err != nil || resp.StatusCode != 200 || last != text {
				t.Errorf("steps of %v: got %v, %v with body %q, want 200 with all of it", step, resp, err, last)
			}
			time.Sleep(time.Minute)
		})
	}
}

// hanging is a body whose Close hangs.
type hanging struct {
	io.Reader
	end chan struct{}
}

func (h hanging) Close() error { <-h.end; return nil }

// A Close that hangs blocks a request no longer than the request's context.
func TestContextEndsAWaitForClose(t *testing.T) {
	bubble(t, func(t *testing.T) {
		end := make(chan struct{})
		defer close(end)
		ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
		defer cancel()
		base := baseFunc(func(*http.Request) (*http.Response, error) {
			return &http.Response{StatusCode: 401, Header: http.Header{}, Body: http.NoBody}, nil
		})
		req := get(t, api).WithContext(ctx)
		req.Method, req.Body, req.ContentLength = "POST", hanging{strings.NewReader("the body"), end}, 8
		req.GetBody = func() (io.ReadCloser, error) { return nil, errors.New("not asked for") }
		began := time.Now()
		resp, err := to(renewingTo(secondToken), base).RoundTrip(req)
		if took := time.Since(began); err != nil || resp.StatusCode != 401 || took > 400*time.Millisecond {
			t.Errorf("got %v, %v after %v, want the 401", resp, err, took)
		}
	})
}

// A body fails, and Base returns its error. Another body would fail as well.
func TestBodysOwnErrorIsNotRetried(t *testing.T) {
	broken := errors.New("the disk is broken")
	opened := 0
	open := func() (io.ReadCloser, error) {
		opened++
		return track(io.MultiReader(strings.NewReader("12345"), failing{broken})), nil
	}
	req := get(t, api)
	req.Method, req.GetBody, req.ContentLength = "PUT", open, 10
	req.Body, _ = open()
	_, err := to(staticSource(), answering(outcome{status: 200}), retrying(atOnce)).RoundTrip(req)
	if !errors.Is(err, broken) || opened != 1 {
		t.Errorf("got %v after %d bodies, want the body's own error after 1", err, opened)
	}
}
