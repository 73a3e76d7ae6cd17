// Copyright 2026 The authsec Authors
// SPDX-License-Identifier: Apache-2.0

package fetchtool_test

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"testing/iotest"
	"testing/synctest"
	"time"

	"github.com/authsec-go/authsec/fetchtool"
)

// anyMethod permits a request that changes something, and others.
func anyMethod(c *fetchtool.Config) { c.Methods = []string{"GET", "HEAD", "POST", "DELETE"} }

// TestAnAnswerWithoutTextIsASuccess: where there is no text, its form does not matter.
func TestAnAnswerWithoutTextIsASuccess(t *testing.T) {
	for name, c := range map[string]struct {
		status  int
		headers http.Header
		want    string
	}{
		"204":              {204, nil, "204 No Content"},
		"204, a type":      {204, http.Header{"Content-Type": {"application/octet-stream"}}, "204 No Content"},
		"204, compressed":  {204, http.Header{"Content-Encoding": {"br"}}, "204 No Content"},
		"200, a type":      {200, http.Header{"Content-Type": {"image/png"}}, "200 OK"},
		"201, a character": {201, http.Header{"Content-Type": {"text/plain; charset=utf-16"}}, "201 Created"},
	} {
		s, _ := newServers(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			for name, values := range c.headers {
				w.Header()[name] = values
			}
			w.WriteHeader(c.status)
			if r.Method == "HEAD" {
				io.WriteString(w, "is not sent")
			}
		}), anyMethod)
		for _, method := range []string{"GET", "HEAD", "POST", "DELETE"} {
			got := s.call(t, `{"url":"x","method":"`+method+`"}`)
			if want := "[The API answered " + c.want + ", with no text.]"; got != want {
				t.Errorf("%s, %s: got %q, want %q", method, name, got, want)
			}
		}
	}
}

// stuck is a body that never comes to its end.
type stuck struct{ ctx context.Context }

func (s stuck) Read([]byte) (int, error) { <-s.ctx.Done(); return 0, s.ctx.Err() }

// TestTheModelReadsWhetherItsRequestWasCarriedOut: it would send a request again if it
// read of a failure alone.
func TestTheModelReadsWhetherItsRequestWasCarriedOut(t *testing.T) {
	created := func(contentType string, body func(context.Context) io.Reader) roundTrip {
		return func(req *http.Request) (*http.Response, error) {
			return &http.Response{StatusCode: 201, Request: req, Header: http.Header{"Content-Type": {contentType}}, ContentLength: -1, Body: io.NopCloser(body(req.Context()))}, nil
		}
	}
	for name, c := range map[string]struct {
		api    roundTrip
		kind   fetchtool.Kind
		status int
		advice string // of a GET
	}{
		"a PDF": {created("application/pdf", func(context.Context) io.Reader { return strings.NewReader("%PDF-") }), fetchtool.NotText, 201, "Ask for JSON or text"},
		"breaks off": {created("text/plain", func(context.Context) io.Reader {
			return io.MultiReader(strings.NewReader("half"), iotest.ErrReader(net.ErrClosed))
		}), fetchtool.Unavailable, 201, "Try again later"},
		"stuck": {created("text/plain", func(ctx context.Context) io.Reader { return stuck{ctx} }), fetchtool.TimedOut, 201, "try again later"},
		"no answer": {func(req *http.Request) (*http.Response, error) {
			<-req.Context().Done()
			return nil, req.Context().Err()
		}, fetchtool.TimedOut, 0, "try again later"},
		"no network": {func(*http.Request) (*http.Response, error) { return nil, net.ErrClosed }, fetchtool.Unavailable, 0, "Try again later"},
	} {
		synctest.Test(t, func(t *testing.T) {
			s := newStack(t, c.api, func(cfg *fetchtool.Config) { anyMethod(cfg); cfg.Timeout = time.Second })
			for _, method := range []string{"GET", "POST", "DELETE"} {
				e := s.fail(t, fetchtool.Request{URL: "x", Method: method}, c.kind)
				want := "The " + method + " succeeded (201 Created): do not send it again."
				switch {
				case method == "GET":
					want = c.advice
				case c.status == 0:
					want = "The " + method + " may have succeeded: check that before you send it again."
				}
				if !strings.Contains(e.Advice, want) || strings.Contains(e.Advice, c.advice) != (method == "GET") || e.StatusCode != c.status {
					t.Errorf("%s, %s: got the status %d, %q, want %d, %q", method, name, e.StatusCode, e.Advice, c.status, want)
				}
			}
		})
	}
}

func TestARequestThatWasNotSentMayBeSentAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		base := new(ledger)
		s := newStack(t, base, func(cfg *fetchtool.Config) { anyMethod(cfg); cfg.Timeout = time.Second })
		s.SetLatency(9 * time.Minute)
		_, err := s.tool.Fetch(t.Context(), fetchtool.Request{URL: "x", Method: "POST"})
		var e *fetchtool.Error
		if !errors.As(err, &e) || e.Kind != fetchtool.TimedOut || !strings.Contains(e.Advice, "try again later") {
			t.Errorf("got error %v, want the advice to try again", err)
		}
		if sent := base.requests(); len(sent) > 0 {
			t.Errorf("got the requests %q, want none", sent)
		}
		time.Sleep(10 * time.Minute) // AuthSec's answer has come
	})
}
