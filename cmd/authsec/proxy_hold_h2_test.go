// Copyright 2026 The authsec Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bufio"
	"context"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// pipedClient speaks HTTP/1.1, or HTTP/2 without TLS, on pipes.
func pipedClient(ln *pipes, http2 bool) *http.Client {
	tr := &http.Transport{
		Protocols:   new(http.Protocols),
		DialContext: func(context.Context, string, string) (net.Conn, error) { return ln.dial(), nil },
		HTTP2:       &http.HTTP2Config{MaxReceiveBufferPerStream: 64 << 10},
	}
	tr.Protocols.SetHTTP1(!http2)
	tr.Protocols.SetUnencryptedHTTP2(http2)
	return &http.Client{Transport: tr}
}

func protocolName(http2 bool) string {
	if http2 {
		return "HTTP/2"
	}
	return "HTTP/1.1"
}

func TestABodyOverHTTP2HasATimeLimitUntilTheAnswerBegins(t *testing.T) {
	for name, tc := range map[string]struct {
		length int64
		after  time.Duration
	}{
		"short":   {100, bodyTimeout},
		"long":    {100000, pauseTimeout},
		"unknown": {-1, pauseTimeout},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s, ln := pipedSidecar(t)
				c := pipedClient(ln, true)
				defer c.CloseIdleConnections()
				pr, pw := io.Pipe()
				defer pw.Close()
				req, _ := http.NewRequest(http.MethodPost, "http://example.com/", pr)
				req.ContentLength = tc.length
				go io.WriteString(pw, "begun")
				began := time.Now()
				resp, err := c.Do(req)
				if err != nil {
					t.Fatal(err)
				}
				resp.Body.Close()
				if took := time.Since(began); resp.ProtoMajor != 2 || resp.StatusCode != 408 || took < tc.after || took > tc.after+5*time.Second {
					t.Errorf("%s %d after %v, want 408 after %v", resp.Proto, resp.StatusCode, took, tc.after)
				}
				s.server.Close()
			})
		})
	}
}

func TestAProgramMayPauseOverHTTP2OnceTheAnswerHasBegun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, ln := pipedSidecar(t)
		c := pipedClient(ln, true)
		defer c.CloseIdleConnections()
		pr, pw := io.Pipe()
		req, _ := http.NewRequest(http.MethodPost, "http://example.com/", pr)
		go io.WriteString(pw, "one\n")
		resp, err := c.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		answer := bufio.NewReader(resp.Body)
		for range 2 {
			if line, err := answer.ReadString('\n'); line != "one\n" {
				t.Fatalf("%q, %v, want the line back", line, err)
			}
			time.Sleep(time.Hour)
			go io.WriteString(pw, "one\n")
		}
		s.server.Close()
		pw.Close()
	})
}

func TestAnAnswerOverHTTP2MayPause(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, ln := pipedSidecar(t)
		s.handler.Transport = answering("text/event-stream", -1, func(w io.Writer) {
			for range 3 {
				io.WriteString(w, "data: 1\n\n")
				time.Sleep(2 * writeTimeout)
			}
		})
		c := pipedClient(ln, true)
		defer c.CloseIdleConnections()
		resp, err := c.Get("http://example.com/events")
		if err != nil {
			t.Fatal(err)
		}
		if got, err := io.ReadAll(resp.Body); err != nil || string(got) != strings.Repeat("data: 1\n\n", 3) {
			t.Errorf("got %q, %v, want the whole answer", got, err)
		}
		s.server.Close()
	})
}

// A program that does not read its answer holds nothing for longer than writeTimeout.
func TestAProgramThatReadsNothingHoldsNothing(t *testing.T) {
	for _, http2 := range []bool{false, true} {
		for name, length := range map[string]int{"large": 1 << 30, "little more than the client's window": 96 << 10} {
			t.Run(protocolName(http2)+" "+name, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					s, ln := pipedSidecar(t)
					s.handler.FlushInterval = 0 // its timer waits for a mutex, and so stops the bubble's clock
					s.handler.Transport = answering("application/octet-stream", length, func(w io.Writer) {
						for err, part := error(nil), make([]byte, 32<<10); err == nil && length > 0; length -= len(part) {
							_, err = w.Write(part)
						}
					})
					c := pipedClient(ln, http2)
					defer c.CloseIdleConnections()
					resp, err := c.Get("http://example.com/")
					if err != nil {
						t.Fatal(err)
					}
					for _, want := range []int64{1, 0} {
						time.Sleep(writeTimeout - time.Second)
						synctest.Wait()
						if n := s.metrics.inFlight.Load(); n != want {
							t.Errorf("%d requests are served, want %d: a part may take %v", n, want, writeTimeout)
						}
					}
					s.server.Close()
					if _, err := io.Copy(io.Discard, resp.Body); err == nil {
						t.Error("the answer looks whole")
					}
				})
			})
		}
	}
}

// answering is a transport whose answers are what write writes. length is -1 if it is
// not known.
func answering(contentType string, length int, write func(io.Writer)) http.RoundTripper {
	return roundTripper(func(req *http.Request) (*http.Response, error) {
		pr, pw := io.Pipe()
		go func() {
			write(pw)
			pw.Close()
		}()
		return &http.Response{StatusCode: 200, Header: http.Header{"Content-Type": {contentType}}, Body: pr, ContentLength: int64(length), Request: req}, nil
	})
}
