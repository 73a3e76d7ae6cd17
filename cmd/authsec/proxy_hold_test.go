// Copyright 2026 The authsec Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/authsec-go/authsec"
	"github.com/authsec-go/authsec/authsectest"
)

// A request whose answer does not depend on its body is answered at once, and its
// connection does not wait for the body.
func TestARequestThatNeedsNoBodyHoldsNothing(t *testing.T) {
	srv, _ := agent(t)
	api := startAPI(t, srv, nil, nil)
	p := startProxy(t, api.URL)
	for name, tc := range map[string]struct {
		addr, request string
		status        int
	}{
		"healthz":    {p.health, "POST /healthz HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n", 405},
		"GET":        {p.health, "GET /healthz HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n", 200},
		"chunked":    {p.health, "POST /healthz HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n", 405},
		"large":      {p.health, "POST /x HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000\r\n\r\n", 404},
		"wrong host": {p.addr, "POST / HTTP/1.1\r\nHost: evil.example\r\nContent-Length: 100\r\n\r\n", 421},
		"web page":   {p.addr, "POST / HTTP/1.1\r\nHost: " + p.addr + "\r\nOrigin: null\r\nTransfer-Encoding: chunked\r\n\r\n", 403},
	} {
		began := time.Now()
		conn, r, resp := raw(t, tc.addr, tc.request)
		io.Copy(io.Discard, resp.Body)
		_, err := r.ReadByte()
		if took := time.Since(began); resp.StatusCode != tc.status || err == nil || took > 4*time.Second {
			t.Errorf("%s: %d, and after %v %v, want %d and the connection's end at once", name, resp.StatusCode, took, err, tc.status)
		}
		conn.Close()
	}
}

func TestTenThousandRequestsWithoutTheirBodiesDoNoHarm(t *testing.T) {
	srv, _ := agent(t)
	api := startAPI(t, srv, nil, nil)
	p := startProcess(t, api.URL)
	const rounds, clients = 20, 500
	for range rounds {
		var conns []net.Conn
		for range clients {
			conn, err := net.DialTimeout("tcp", p.health, patience)
			if err != nil {
				t.Fatal(err)
			}
			conn.SetDeadline(time.Now().Add(patience))
			io.WriteString(conn, "POST /healthz HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n")
			conns = append(conns, conn)
		}
		for _, conn := range conns { // none is closed by the program
			resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
			if err != nil || resp.StatusCode != 405 {
				t.Fatalf("%v, %v, want 405", resp, err)
			}
		}
		defer func() {
			for _, conn := range conns {
				conn.Close()
			}
		}()
	}
	status, _, body := get(t, "http://"+p.health+"/metrics")
	if status != 200 {
		t.Fatalf("metrics: %d, want 200", status)
	}
	for name, most := range map[string]float64{"process_resident_memory_bytes": 200 << 20, "go_goroutines": 600} {
		var v float64
		if _, text, ok := strings.Cut(body, "\n"+name+" "); ok {
			fmt.Sscan(text, &v)
		}
		if v == 0 || v > most {
			t.Errorf("%s = %v, want at most %v", name, v, most)
		}
	}
}

func TestABodyHasATimeLimitUntilTheAnswerBegins(t *testing.T) {
	for name, tc := range map[string]struct {
		header string
		after  time.Duration
		code   string
	}{
		"short":   {"Content-Length: 100", bodyTimeout, "408"},
		"long":    {"Content-Length: 100000", pauseTimeout, "408"},
		"chunked": {"Transfer-Encoding: chunked", pauseTimeout, "408"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s, ln := pipedSidecar(t)
				conn := ln.dial()
				began := time.Now()
				go io.WriteString(conn, "POST / HTTP/1.1\r\nHost: example.com\r\n"+tc.header+"\r\n\r\n")
				answer, _ := io.ReadAll(conn)
				took := time.Since(began)
				if !strings.HasPrefix(string(answer), "HTTP/1.1 "+tc.code) || took < tc.after || took > tc.after+5*time.Second {
					t.Errorf("after %v %.200q, want %s after %v", took, answer, tc.code, tc.after)
				}
				s.server.Close()
			})
		})
	}
}

func TestAProgramMayPauseOnceTheAnswerHasBegun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, ln := pipedSidecar(t)
		conn := ln.dial()
		defer conn.Close()
		go io.WriteString(conn, "POST / HTTP/1.1\r\nHost: example.com\r\nTransfer-Encoding: chunked\r\n\r\n4\r\none\n\r\n")
		r := bufio.NewReader(conn)
		resp, err := http.ReadResponse(r, nil)
		if err != nil {
			t.Fatal(err)
		}
		answer := bufio.NewReader(resp.Body)
		for range 2 {
			if line, err := answer.ReadString('\n'); line != "one\n" {
				t.Fatalf("%q, %v, want the line back", line, err)
			}
			time.Sleep(time.Hour)
			go io.WriteString(conn, "4\r\none\n\r\n")
		}
		s.server.Close()
	})
}

// Most APIs answer a request that is too large before they have read it.
func TestAConnectionDoesNotWaitForABodyAfterAnEarlyAnswer(t *testing.T) {
	for _, header := range []string{"Content-Length: 100000", "Content-Length: 1000000", "Transfer-Encoding: chunked"} {
		t.Run(header, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s, ln := pipedSidecar(t)
				s.handler.Transport = roundTripper(func(req *http.Request) (*http.Response, error) {
					go io.Copy(io.Discard, req.Body) // as http.Transport does until the body ends
					synctest.Wait()                  // it waits for the body
					return &http.Response{StatusCode: 413, Header: http.Header{}, Body: http.NoBody, Request: req}, nil
				})
				conn := ln.dial()
				defer conn.Close()
				conn.SetDeadline(time.Now().Add(time.Hour))
				began := time.Now()
				go io.WriteString(conn, "POST / HTTP/1.1\r\nHost: example.com\r\n"+header+"\r\n\r\n4\r\none\n\r\n")
				answer, err := io.ReadAll(conn)
				if took := time.Since(began); !strings.HasPrefix(string(answer), "HTTP/1.1 413") || err != nil || took > 2*time.Second {
					t.Errorf("after %v %.200q, %v, want 413 and the connection's end at once", took, answer, err)
				}
				s.server.Close()
			})
		})
	}
}

// An answer of unknown length may be silent for long before it ends.
func TestAnAnswerMayPauseBeforeItsEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, ln := pipedSidecar(t)
		s.handler.Transport = roundTripper(func(req *http.Request) (*http.Response, error) {
			pr, pw := io.Pipe()
			go func() {
				io.WriteString(pw, "data: 1\n\n")
				time.Sleep(2 * writeTimeout)
				pw.Close()
			}()
			return &http.Response{StatusCode: 200, Header: http.Header{"Content-Type": {"text/event-stream"}}, Body: pr, ContentLength: -1, Request: req}, nil
		})
		conn := ln.dial()
		defer conn.Close()
		go io.WriteString(conn, "GET /v1/events HTTP/1.1\r\nHost: example.com\r\n\r\n")
		resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := io.ReadAll(resp.Body); err != nil || string(got) != "data: 1\n\n" {
			t.Errorf("got %q, %v, want the whole answer", got, err)
		}
		s.server.Close()
	})
}

// pipedSidecar is a proxy on pipes, whose upstream echoes each line of a body.
func pipedSidecar(t *testing.T) (*sidecar, *pipes) {
	t.Helper()
	srv := authsectest.NewInMemoryServer()
	srv.Delegate(authsectest.ClientID, authsectest.Delegation{TTL: 24 * time.Hour})
	src, err := authsec.NewSource(srv.Config(authsectest.ClientID))
	if err != nil {
		t.Fatal(err)
	}
	s := testSidecar(t, src)
	s.handler.Transport = roundTripper(func(req *http.Request) (*http.Response, error) {
		pr, pw := io.Pipe()
		lines := bufio.NewReader(req.Body)
		first, err := lines.ReadString('\n')
		if err != nil {
			return nil, err
		}
		go func() {
			for line := first; err == nil; line, err = lines.ReadString('\n') {
				io.WriteString(pw, line)
			}
			pw.CloseWithError(err)
		}()
		return &http.Response{StatusCode: 200, Header: http.Header{}, Body: pr, ContentLength: -1, Request: req}, nil
	})
	f := &proxyFlags{listen: "127.0.0.1:0", maxConns: 9}
	if err := s.listen(t.Context(), f); err != nil {
		t.Fatal(err)
	}
	s.ln.Close()
	s.names = map[string]bool{"example.com": true}
	ln := &pipes{make(chan net.Conn), make(chan bool)}
	go s.server.Serve(ln)
	t.Cleanup(func() { s.server.Close() })
	return s, ln
}

type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(req *http.Request) (*http.Response, error) { return f(req) }

// pipes is a listener for connections in memory.
type pipes struct {
	conns chan net.Conn
	done  chan bool
}

func (p *pipes) dial() net.Conn {
	a, b := net.Pipe()
	p.conns <- b
	return a
}

func (p *pipes) Accept() (net.Conn, error) {
	select {
	case c := <-p.conns:
		return c, nil
	case <-p.done:
		return nil, net.ErrClosed
	}
}

func (p *pipes) Close() error {
	select {
	case <-p.done:
	default:
		close(p.done)
	}
	return nil
}

func (*pipes) Addr() net.Addr { return &net.TCPAddr{} }

func TestTheNumberOfConnectionsIsBounded(t *testing.T) {
	srv, _ := agent(t)
	entered, leave := make(chan bool, 9), make(chan bool)
	api := startAPI(t, srv, func(_ http.ResponseWriter, r *http.Request) {
		entered <- true
		hold(r, leave)
	}, nil)
	p := startProxy(t, api.URL, "--max-connections", "2")
	answered := make(chan error, 3)
	for range 3 {
		go func() {
			resp, err := client.Get(p.url)
			if err == nil {
				resp.Body.Close()
			}
			answered <- err
		}()
	}
	arrives(t, entered)
	arrives(t, entered)
	select {
	case <-entered:
		t.Error("a third request is served, want two at once")
	case <-time.After(200 * time.Millisecond):
	}
	close(leave)
	for range 3 {
		if err := arrives(t, answered); err != nil {
			t.Error(err)
		}
	}
}
