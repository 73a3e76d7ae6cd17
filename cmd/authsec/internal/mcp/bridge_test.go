// Copyright 2026 The authsec Authors
// SPDX-License-Identifier: Apache-2.0

package mcp

import (
	"context"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

const (
	callLine   = `{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"x"}}`
	cancelLine = `{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":1}}`
	resultLine = `{"jsonrpc":"2.0","id":1,"result":{}}`
)

// TestRequestEndsAfterItsCall: a server that never ends its answers holds the HTTP
// request for lateTime after the call was cancelled or answered, and no longer.
func TestRequestEndsAfterItsCall(t *testing.T) {
	for name, c := range map[string]struct{ stream, cancel, want string }{
		"cancelled":       {": hello\n\n", cancelLine, ""},
		"cancelled twice": {": hello\n\n", cancelLine + "\n" + cancelLine, ""},
		"answered":        {"data: " + resultLine + "\n\n", "", resultLine},
	} {
		t.Run(name, func(t *testing.T) {
			var ended chan struct{}
			inBubble(t, func(req *http.Request, body string) (resp *http.Response) {
				if strings.Contains(body, "tools/call") {
					resp, ended = endless(req, c.stream)
				}
				return resp
			}, func(w *bubble) {
				w.greet()
				w.send(callLine)
				if c.cancel != "" {
					if isClosed(ended, time.Hour) {
						t.Fatal("the request ended before the call was cancelled")
					}
					w.send("%s", c.cancel)
				}
				if isClosed(ended, lateTime-time.Millisecond) {
					t.Error("the request ended too early: the server could not send what belongs to the call")
				}
				if !isClosed(ended, time.Millisecond) {
					t.Errorf("the request goes on %v after the call ended", lateTime)
				}
				if got := strings.Join(w.host(), "\n"); got != c.want {
					t.Errorf("the host got %s, want %s", got, c.want)
				}
				w.b.mu.Lock()
				defer w.b.mu.Unlock()
				if n := len(w.b.inFlight); n != 0 {
					t.Errorf("%d requests are in flight, want 0", n)
				}
			})
		})
	}
}

// TestRefusalThatDoesNotEnd: the status alone says enough.
func TestRefusalThatDoesNotEnd(t *testing.T) {
	inBubble(t, func(req *http.Request, body string) *http.Response {
		if strings.Contains(body, "tools/call") {
			resp, _ := endless(req, "<html>")
			resp.StatusCode = 503
			return resp
		}
		return nil
	}, func(w *bubble) {
		w.greet()
		w.send(callLine)
		time.Sleep(refusalTime)
		if got := w.host(); len(got) != 1 || !strings.Contains(got[0], "503") {
			t.Errorf("the host got %q, want an error with the status", got)
		}
	})
}

// TestResponseAfterACancellation is passed on: the two may cross each other.
func TestResponseAfterACancellation(t *testing.T) {
	inBubble(t, func(req *http.Request, body string) *http.Response {
		if strings.Contains(body, "tools/call") {
			time.Sleep(10 * time.Second)
			return answered(200, "application/json", resultLine)
		}
		return nil
	}, func(w *bubble) {
		w.greet()
		w.send(callLine)
		w.send(cancelLine)
		time.Sleep(11 * time.Second)
		if got := w.host(); len(got) != 1 || got[0] != resultLine {
			t.Errorf("the host got %q, want the response", got)
		}
	})
}

// TestCancelledInABatch: the others of the batch still get their responses, however late.
func TestCancelledInABatch(t *testing.T) {
	const other = `[{"jsonrpc":"2.0","id":"other","result":{}}]`
	inBubble(t, func(req *http.Request, body string) *http.Response {
		if strings.Contains(body, "tools/call") {
			select {
			case <-time.After(2 * lateTime):
				return answered(200, "application/json", other)
			case <-req.Context().Done():
				return nil
			}
		}
		return nil
	}, func(w *bubble) {
		w.greet()
		w.send("%s", "["+callLine+`,{"jsonrpc":"2.0","id":"other","method":"x"}]`)
		w.send(cancelLine)
		time.Sleep(3 * lateTime)
		if got := w.host(); len(got) != 1 || got[0] != other {
			t.Errorf("the host got %q, want %s", got, other)
		}
		if n := w.server("notifications/cancelled"); n != 1 {
			t.Errorf("the server got %d cancellations, want 1", n)
		}
	})
}

// TestCancelledBeforeItIsSent: such a call never reaches the server.
func TestCancelledBeforeItIsSent(t *testing.T) {
	reached := false
	inBubble(t, func(req *http.Request, body string) *http.Response { return nil }, func(w *bubble) {
		w.greet()
		next := w.b.client.Transport
		w.b.client.Transport = roundTripFunc(func(req *http.Request) (*http.Response, error) {
			if req.ContentLength == int64(len(callLine)) { // as while a token is awaited
				select {
				case <-time.After(time.Minute):
					reached = true
				case <-req.Context().Done():
					return nil, req.Context().Err()
				}
			}
			return next.RoundTrip(req)
		})
		w.send(callLine)
		w.send(cancelLine)
		time.Sleep(2 * time.Minute)
		if reached || w.server("tools/call") > 0 {
			t.Error("the server got a call that was cancelled before it was sent")
		}
		if n := w.server("notifications/cancelled"); n != 1 {
			t.Errorf("the server got %d cancellations, want 1", n)
		}
		if got := w.host(); len(got) != 0 {
			t.Errorf("the host got %q, want nothing", got)
		}
	})
}

// TestNotificationsThatAreLost are in the log, whether the server refuses them or
// never answers.
func TestNotificationsThatAreLost(t *testing.T) {
	for name, c := range map[string]struct {
		server func(*http.Request) *http.Response
		want   string
	}{
		"refused": {func(*http.Request) *http.Response { return answered(400, "text/plain", "evil") }, "400 Bad Request"},
		"refused, with JSON-RPC": {func(*http.Request) *http.Response {
			return answered(400, "application/json", `{"jsonrpc":"2.0","id":null,"error":{"code":-32600,"message":"evil"}}`)
		}, "400 Bad Request"},
		"never answered": {func(req *http.Request) *http.Response { <-req.Context().Done(); return nil }, "it did not answer in time"},
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(req *http.Request, body string) *http.Response {
				if strings.Contains(body, "roots") {
					return c.server(req)
				}
				return nil
			}, func(w *bubble) {
				w.greet()
				w.send(`{"jsonrpc":"2.0","method":"notifications/roots/list_changed"}`)
				time.Sleep(time.Minute)
				synctest.Wait()
				log := w.log.String()
				if strings.Count(log, "did not reach the MCP server") != 1 || !strings.Contains(log, "notifications/roots/list_changed") || !strings.Contains(log, c.want) || strings.Contains(log, "evil") {
					t.Errorf("got the log %q, want %s", log, c.want)
				}
				if got := w.host(); len(got) != 0 {
					t.Errorf("the host got %q, want nothing", got)
				}
			})
		})
	}
}

// TestStreamOfServerMessagesMayBeIdle: its end is no failure, and it is opened again
// soon.
func TestStreamOfServerMessagesMayBeIdle(t *testing.T) {
	var closed time.Time
	opened := 0
	inBubble(t, func(req *http.Request, body string) *http.Response {
		if req.Method != http.MethodGet {
			return nil
		}
		if gap := time.Since(closed); opened > 0 && gap > 2*firstWait {
			t.Errorf("the stream was closed for %v", gap)
		}
		opened++
		resp, _ := endless(req, "")
		stop := time.AfterFunc(time.Minute, func() { // as proxies do
			closed = time.Now()
			resp.Body.Close()
		})
		context.AfterFunc(req.Context(), func() { stop.Stop() })
		return resp
	}, func(w *bubble) {
		w.greet()
		time.Sleep(time.Hour)
		synctest.Wait()
		if opened < 50 {
			t.Errorf("the stream was opened %d times in an hour, want more than 50", opened)
		}
		if log := w.log.String(); log != "" {
			t.Errorf("got the log %q, want nothing", log)
		}
	})
}

// TestStreamOfServerMessagesIsInterrupted: one log record says so, in words of our
// own. The server does not decide that it is asked in a loop.
func TestStreamOfServerMessagesIsInterrupted(t *testing.T) {
	for name, c := range map[string]struct {
		status      int
		text        string
		least, most int    // streams in 10 minutes
		log         string // "": none
	}{
		"503":                  {503, "evil", 10, 60, "the server answered 503 Service Unavailable"},
		"it ends at once":      {200, "", 10, 60, ""},
		"it breaks off":        {200, "data: evil", 10, 60, "it closed the connection too early"},
		"it wants a loop":      {200, "retry: 1\ndata: " + resultLine + "\n\n", 100, 6001, ""},
		"an ID is no header":   {200, "retry: 1\nid: a\x01b\ndata: " + resultLine + "\n\n", 100, 6001, ""},
		"an ID is half a line": {200, "retry: 1\nid: " + strings.Repeat("x", maxEventID+1) + "\ndata: " + resultLine + "\n\n", 100, 6001, ""},
	} {
		t.Run(name, func(t *testing.T) {
			opened := 0 // the requests for the stream come one after the other
			inBubble(t, func(req *http.Request, body string) *http.Response {
				if req.Method != http.MethodGet {
					return nil
				}
				if id := req.Header.Get(headerLastID); id != "" {
					t.Errorf("the stream was opened after the event %.20q", id)
				}
				opened++
				return answered(c.status, "text/event-stream", c.text)
			}, func(w *bubble) {
				w.greet()
				go func() {
					for range w.lines { // a host reads
					}
				}()
				defer close(w.lines)
				time.Sleep(10 * time.Minute)
				w.cancel()
				synctest.Wait()
				if opened < c.least || opened > c.most {
					t.Errorf("the stream was opened %d times in 10 minutes, want %d to %d", opened, c.least, c.most)
				}
				log := w.log.String()
				if n := strings.Count(log, "interrupted"); (n == 1) != (c.log != "") || !strings.Contains(log, c.log) || strings.Contains(log, "evil") {
					t.Errorf("got the log %q, want %q once", log, c.log)
				}
			})
		})
	}
}

// TestEndOfTheInput: calls may go on for --linger, and the deletion of the session
// takes a second at most. MCP hosts wait for 2 s.
func TestEndOfTheInput(t *testing.T) {
	inBubble(t, func(req *http.Request, body string) *http.Response {
		if strings.Contains(body, "tools/call") || req.Method == http.MethodDelete {
			<-req.Context().Done()
		}
		return nil
	}, func(w *bubble) {
		w.greet()
		w.send(callLine)
		began := time.Now()
		w.in.Close()
		if err := <-w.ended; err != nil {
			t.Errorf("the bridge ended with %v", err)
		}
		if took := time.Since(began); took != defaultLinger+closing || took > 2*time.Second {
			t.Errorf("the bridge took %v to end, want %v", took, defaultLinger+closing)
		}
		if n := w.server("DELETE one"); n != 1 {
			t.Errorf("got %d requests that delete the session, want 1", n)
		}
	})
}
