// Copyright 2026 The authsec Authors
// SPDX-License-Identifier: Apache-2.0

package authsec_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"runtime"
	"runtime/metrics"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/authsec-go/authsec"
	"github.com/authsec-go/authsec/authsectest"
)

// servers runs the test against a server that speaks HTTP/1.1 and one that
// speaks HTTP/2, each with a client that sends the token there.
func servers(t *testing.T, h http.Handler, test func(t *testing.T, client *http.Client, url string)) {
	for _, version := range []int{1, 2} {
		t.Run(fmt.Sprint("HTTP/", version), func(t *testing.T) {
			srv := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if r.ProtoMajor != version || tokenIn(r.Header) != "first" {
					t.Errorf("request: got HTTP/%d with token %q, want HTTP/%d with the first", r.ProtoMajor, tokenIn(r.Header), version)
				}
				h.ServeHTTP(w, r)
			}))
			srv.EnableHTTP2 = version == 2
			srv.StartTLS()
			defer srv.Close()
			client := srv.Client()
			client.Transport = &authsec.Transport{Source: staticSource(), Base: client.Transport, Hosts: []string{srv.Listener.Addr().String()}}
			test(t, client, srv.URL)
		})
	}
}

func TestTransportStreamsServerSentEvents(t *testing.T) {
	next := make(chan struct{})
	servers(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/event-stream")
		for i := range 3 {
			fmt.Fprintf(w, "data: %d\n\n", i)
			w.(http.Flusher).Flush()
			select {
			case <-next: // only once the client has read the event
			case <-r.Context().Done():
				return
			}
		}
	}), func(t *testing.T, client *http.Client, url string) {
		ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
		defer cancel()
		resp, err := client.Do(get(t, url).WithContext(ctx))
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		events := bufio.NewReader(resp.Body)
		for i := range 3 {
			got, err := events.ReadString('\n')
			if want := fmt.Sprintf("data: %d\n", i); got != want || err != nil {
				t.Fatalf("event %d: got %q, %v, want %q", i, got, err, want)
			}
			events.ReadString('\n')
			next <- struct{}{}
		}
		if rest, err := io.ReadAll(events); len(rest) != 0 || err != nil {
			t.Errorf("after the events: got %q, %v, want the end", rest, err)
		}
	})
}

// sumBody sets the request's trailer when it has been read.
type sumBody struct {
	io.Reader
	trailer http.Header
}

func (b sumBody) Read(p []byte) (int, error) {
	n, err := b.Reader.Read(p)
	if err == io.EOF {
		b.trailer.Set("X-Sum", "42")
	}
	return n, err
}

func TestTransportPassesTrailersBothWays(t *testing.T) {
	servers(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Trailer", "X-Seen")
		io.Copy(w, r.Body)
		w.Header().Set("X-Seen", r.Trailer.Get("X-Sum"))
	}), func(t *testing.T, client *http.Client, url string) {
		req, err := http.NewRequest(http.MethodPost, url, nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Trailer = http.Header{"X-Sum": nil}
		req.Body, req.ContentLength = io.NopCloser(sumBody{strings.NewReader("the body"), req.Trailer}), -1
		resp, err := client.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		if body, err := io.ReadAll(resp.Body); string(body) != "the body" || err != nil {
			t.Errorf("body: got %q, %v, want %q", body, err, "the body")
		}
		if got := resp.Trailer.Get("X-Seen"); got != "42" {
			t.Errorf("trailer that the server saw: got %q, want %q", got, "42")
		}
	})
}

func TestTransportWaitsFor100Continue(t *testing.T) {
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/welcome" && tokenIn(r.Header) == "second" {
			io.Copy(w, r.Body)
			return
		}
		status := http.StatusExpectationFailed
		if r.URL.Path == "/welcome" {
			status = http.StatusUnauthorized
		}
		w.Header().Set("Connection", "close")
		w.WriteHeader(status)
	}))
	defer srv.Close()
	base := &http.Transport{ExpectContinueTimeout: time.Hour}
	defer base.CloseIdleConnections()
	for _, c := range []struct {
		path   string
		status int
		body   string
		opened int
		reads  []int64
	}{
		{"/unwelcome", http.StatusExpectationFailed, "", 1, []int64{0}},
		{"/welcome", http.StatusOK, "the body", 2, []int64{0, 8}}, // a 401, and then with the second token
	} {
		t.Run(c.path, func(t *testing.T) {
			var b bodies
			req := b.request(t.Context(), http.MethodPut, srv.URL+c.path, "the body")
			req.Header.Set("Expect", "100-continue")
			tr := to(renewingTo(secondToken), base, hosts(srv.Listener.Addr().String()))
			resp, err := (&http.Client{Transport: tr}).Do(req)
			if err != nil {
				t.Fatal(err)
			}
			defer resp.Body.Close()
			body, err := io.ReadAll(resp.Body)
			if resp.StatusCode != c.status || string(body) != c.body || err != nil {
				t.Errorf("got %d, %q, %v, want %d, %q", resp.StatusCode, body, err, c.status, c.body)
			}
			b.mu.Lock()
			defer b.mu.Unlock()
			var reads []int64
			for _, body := range b.opened {
				reads = append(reads, body.read.Load())
			}
			if !slices.Equal(reads, c.reads) {
				t.Errorf("bytes read of each body: got %v, want %v", reads, c.reads)
			}
		})
	}
}

func TestTransportUpgradesConnections(t *testing.T) {
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		conn, rw, err := w.(http.Hijacker).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		defer conn.Close()
		fmt.Fprintf(rw, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: echo\r\nX-Token: %s\r\n\r\n", tokenIn(r.Header))
		rw.Flush()
		for {
			line, err := rw.ReadString('\n')
			if err != nil {
				return
			}
			fmt.Fprint(rw, "echo: ", line)
			rw.Flush()
		}
	}))
	defer srv.Close()
	client := srv.Client()
	client.Transport = to(staticSource(), client.Transport, hosts(srv.Listener.Addr().String()), retrying(authsec.RetryPolicy{}))
	req := get(t, srv.URL)
	req.Header.Set("Connection", "Upgrade")
	req.Header.Set("Upgrade", "echo")
	resp, err := client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if got := resp.Header.Get("X-Token"); resp.StatusCode != http.StatusSwitchingProtocols || got != "first" {
		t.Fatalf("got %d with token %q, want 101 with the first", resp.StatusCode, got)
	}
	conn, ok := resp.Body.(io.ReadWriter)
	if !ok {
		t.Fatalf("body: got a %T, want an io.ReadWriter", resp.Body)
	}
	lines := bufio.NewReader(conn)
	for _, word := range []string{"one\n", "two\n"} {
		io.WriteString(conn, word)
		if got, err := lines.ReadString('\n'); got != "echo: "+word || err != nil {
			t.Errorf("echo: got %q, %v, want %q", got, err, "echo: "+word)
		}
	}
}

// memoryInUse is what the Go runtime holds of the system's memory.
func memoryInUse() uint64 {
	samples := []metrics.Sample{{Name: "/memory/classes/total:bytes"}, {Name: "/memory/classes/heap/released:bytes"}}
	metrics.Read(samples)
	return samples[0].Value.Uint64() - samples[1].Value.Uint64()
}

// upload is a body of so many bytes that samples the memory in use.
type upload struct{ left, sinceSample, peak int64 }

func (u *upload) Read(p []byte) (int, error) {
	if u.left == 0 {
		return 0, io.EOF
	}
	n := min(int64(len(p)), u.left)
	u.left -= n
	if u.sinceSample += n; u.sinceSample >= 4<<20 {
		u.sinceSample = 0
		u.peak = max(u.peak, int64(memoryInUse()))
	}
	return int(n), nil
}

func TestTransportStreamsAnUploadOfOneGiB(t *testing.T) {
	const size, limit = 1 << 30, 32 << 20
	authsecServer := authsectest.NewServer()
	defer authsecServer.Close()
	authsecServer.Delegate(authsectest.ClientID, authsectest.Delegation{})
	received := make(chan int64, 1)
	srv := httptest.NewServer(authsecServer.API(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		// In large pieces: the race detector counts reads, not bytes.
		n, _ := io.CopyBuffer(struct{ io.Writer }{io.Discard}, struct{ io.Reader }{r.Body}, make([]byte, 256<<10))
		received <- n
	})))
	defer srv.Close()
	client, err := authsec.NewClient(authsecServer.Config(authsectest.ClientID, srv.URL))
	if err != nil {
		t.Fatal(err)
	}
	defer client.CloseIdleConnections()
	runtime.GC()
	idle := int64(memoryInUse())
	body := &upload{left: size}
	req, err := http.NewRequest(http.MethodPut, srv.URL, body)
	if err != nil {
		t.Fatal(err)
	}
	req.ContentLength = size
	resp, err := client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		t.Fatalf("status: got %d, want 200", resp.StatusCode)
	}
	if n := <-received; n != size {
		t.Errorf("received: got %d bytes, want %d", n, size)
	}
	if over := body.peak - idle; over >= limit {
		t.Errorf("peak memory over idle: got %d bytes, want under %d", over, limit)
	}
}
