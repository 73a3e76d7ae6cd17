// Copyright 2026 The authsec Authors
// SPDX-License-Identifier: Apache-2.0

package authsec_test

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/authsec-go/authsec"
)

// A body of a type that can't be compared must not be compared.
func TestTransportTakesBodiesOfAnyType(t *testing.T) {
	for _, hosts := range [][]string{{"api.example.com"}, {"other.example.com"}} {
		req := get(t, api)
		req.Method, req.Body = http.MethodPut, uncomparable{Reader: strings.NewReader("x")}
		req.GetBody = func() (io.ReadCloser, error) { return uncomparable{Reader: strings.NewReader("x")}, nil }
		base := statuses(503, 200)
		tr := to(staticSource(), base, retrying(authsec.RetryPolicy{MinBackoff: 1, MaxBackoff: 1}))
		tr.Hosts = hosts
		if resp, err := tr.RoundTrip(req); err != nil || resp.StatusCode != 200 {
			t.Errorf("Hosts %q: got %v, %v, want 200", hosts, resp, err)
		}
	}
}

type uncomparable struct {
	io.Reader
	_ []int
}

func (uncomparable) Close() error { return nil }

// GetBody may rewind and return the same body. So it is not called while Base may still
// read that body.
func TestTransportWaitsForTheBodyToBeClosed(t *testing.T) {
	const never = -1
	for _, c := range []struct {
		name     string
		statuses []int
		closes   time.Duration // after the answer
		took     time.Duration
	}{
		{"a 401, closed at once", []int{401, 200}, 0, 0},
		{"a 401, closed later", []int{401, 200}, 90 * time.Millisecond, 90 * time.Millisecond},
		{"a 401, never closed", []int{401, 200}, never, 100 * time.Millisecond},
		{"a 503, closed later", []int{503, 200}, 90 * time.Millisecond, 90 * time.Millisecond},
		{"a 503, never closed", []int{503, 200}, never, 100 * time.Millisecond},
	} {
		inBubble(t, c.name, func(t *testing.T) {
			var b bodies
			var handed []io.ReadCloser
			outcomes := statuses(c.statuses...)
			base := baseFunc(func(req *http.Request) (*http.Response, error) {
				body := req.Body
				handed = append(handed, body)
				req.Body = http.NoBody // fakeBase closes the one it sees
				if c.closes != never {
					time.AfterFunc(c.closes, func() { body.Close() })
				}
				return outcomes.RoundTrip(req)
			})
			req := b.request(t.Context(), http.MethodPut, api, "the body")
			getBody := req.GetBody
			req.GetBody = func() (io.ReadCloser, error) {
				checkClosed(t, &b)
				if n, err := handed[0].Read(make([]byte, 1)); n != 0 || err == nil {
					t.Errorf("Read of the body before: got %d bytes, %v, want an error", n, err)
				}
				return getBody()
			}
			began := time.Now()
			resp, err := to(renewingTo(secondToken), base, retrying(authsec.RetryPolicy{MinBackoff: 1, MaxBackoff: 1})).RoundTrip(req)
			if err != nil {
				t.Fatal(err)
			}
			if resp.StatusCode != http.StatusOK || len(outcomes.calls) != len(c.statuses) {
				t.Errorf("got %d after %d requests, want 200 after %d", resp.StatusCode, len(outcomes.calls), len(c.statuses))
			}
			if took := time.Since(began).Round(time.Millisecond); took != c.took {
				t.Errorf("it took %v, want %v", took, c.took)
			}
			resp.Body.Close()
			time.Sleep(time.Second) // the last body is closed in the bubble, too
		})
	}
}

// Base may call GetBody itself, as net/http does if a kept connection is dead.
func TestTransportWaitsForABodyThatBaseGot(t *testing.T) {
	bubble(t, func(t *testing.T) {
		var open atomic.Int32
		getBody := func() (io.ReadCloser, error) {
			if open.Add(1) > 1 {
				t.Error("GetBody was called before Base had closed the body it had got")
			}
			return track(strings.NewReader("the body")), nil
		}
		req := get(t, api)
		req.Method, req.GetBody = http.MethodPost, getBody
		req.Body, _ = getBody()
		outcomes := statuses(401, 200)
		base := baseFunc(func(req *http.Request) (*http.Response, error) {
			req.Body.Close()
			open.Add(-1)
			body, err := req.GetBody()
			if err != nil {
				t.Error(err)
			}
			time.AfterFunc(50*time.Millisecond, func() { open.Add(-1); body.Close() })
			req.Body = http.NoBody
			return outcomes.RoundTrip(req)
		})
		resp, err := to(renewingTo(secondToken), base).RoundTrip(req)
		if err != nil || resp.StatusCode != http.StatusOK {
			t.Fatalf("got %v, %v, want 200", resp, err)
		}
		resp.Body.Close()
		time.Sleep(time.Second)
	})
}

// slowBody is a body whose Read takes time, also once it is closed.
type slowBody struct {
	takes   time.Duration
	reading atomic.Bool
}

func (b *slowBody) Read([]byte) (int, error) {
	b.reading.Store(true)
	defer b.reading.Store(false)
	time.Sleep(b.takes)
	return 0, io.EOF
}

func (b *slowBody) Close() error { return nil }

// A body that was closed may still be read: HTTP/2's transport does so. If that
// takes long, the body is not sent again, and the caller gets the answer.
func TestTransportWaitsForAReadUnderWay(t *testing.T) {
	for _, c := range []struct {
		takes  time.Duration
		closes bool
		want   int
	}{
		{90 * time.Millisecond, true, 200},
		{90 * time.Millisecond, false, 200},
		{300 * time.Millisecond, true, 401},
		{300 * time.Millisecond, false, 401},
	} {
		bubble(t, func(t *testing.T) {
			body := &slowBody{takes: c.takes}
			req := get(t, api)
			req.Method, req.Body = http.MethodPost, body
			req.GetBody = func() (io.ReadCloser, error) {
				if body.reading.Load() {
					t.Error("GetBody was called while Base read the body it had")
				}
				return http.NoBody, nil
			}
			outcomes := statuses(401, 200)
			base := baseFunc(func(req *http.Request) (*http.Response, error) {
				if body := req.Body; body != http.NoBody {
					go body.Read(make([]byte, 1))
					synctest.Wait()
					if c.closes {
						body.Close()
					}
				}
				req.Body = http.NoBody
				return outcomes.RoundTrip(req)
			})
			resp, err := to(renewingTo(secondToken), base).RoundTrip(req)
			if err != nil || resp.StatusCode != c.want {
				t.Fatalf("%+v: got %v, %v", c, resp, err)
			}
			resp.Body.Close()
			time.Sleep(time.Second)
		})
	}
}

// rewound is a body that GetBody returns again, from its beginning.
type rewound struct {
	mu   sync.Mutex
	text string
	rest string
}

func (b *rewound) Read(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.rest == "" {
		return 0, io.EOF
	}
	n := copy(p[:min(len(p), 100)], b.rest)
	b.rest = b.rest[n:]
	return n, nil
}

func (b *rewound) Close() error { return nil }

func (b *rewound) rewind() (io.ReadCloser, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.rest = b.text
	return b, nil
}

// If a server answers before it has read the body, net/http returns the answer
// while it still sends.
func TestTransportSendsARewoundBodyWhole(t *testing.T) {
	text := strings.Repeat("0123456789", 20_000)
	for _, version := range []int{1, 2} {
		t.Run(fmt.Sprint("HTTP/", version), func(t *testing.T) {
			srv := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if tokenIn(r.Header) == "first" {
					w.WriteHeader(http.StatusUnauthorized)
					return
				}
				got, err := io.ReadAll(r.Body)
				if err != nil || string(got) != text || r.ProtoMajor != version {
					w.WriteHeader(http.StatusTeapot)
				}
			}))
			srv.EnableHTTP2 = version == 2
			srv.StartTLS()
			defer srv.Close()
			tr := to(renewingTo(secondToken), srv.Client().Transport, hosts("*"))
			for range 50 {
				body := &rewound{text: text, rest: text}
				req, err := http.NewRequest(http.MethodPost, srv.URL, body)
				if err != nil {
					t.Fatal(err)
				}
				req.ContentLength, req.GetBody = int64(len(text)), body.rewind
				resp, err := tr.RoundTrip(req)
				if err != nil {
					t.Fatal(err)
				}
				resp.Body.Close()
				if resp.StatusCode != http.StatusOK {
					t.Fatalf("got %d, want 200: the body did not come whole", resp.StatusCode)
				}
			}
		})
	}
}
