// Copyright 2026 The authsec Authors
// SPDX-License-Identifier: Apache-2.0

package authsec_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/oauth2"
)

func TestRetryOfIdempotentRequestsOnly(t *testing.T) {
	key := func(name string) http.Header { return http.Header{name: {"k"}} }
	for _, c := range []struct {
		method string
		header http.Header
		want   int
	}{
		{"", nil, 4},
		{"GET", nil, 4},
		{"HEAD", nil, 4},
		{"OPTIONS", nil, 4},
		{"TRACE", nil, 4},
		{"PUT", nil, 4},
		{"DELETE", nil, 4},
		{"POST", nil, 1},
		{"PATCH", nil, 1},
		{"CONNECT", nil, 1},
		{"PROPFIND", nil, 1},
		{"get", nil, 1}, // methods are case-sensitive (RFC 9110, section 9.1)
		{"POST", key("Idempotency-Key"), 4},
		{"POST", key("X-Idempotency-Key"), 4},
		{"POST", key("idempotency-key"), 4},
		{"PATCH", key("X-IDEMPOTENCY-KEY"), 4},
		{"POST", key("My-Idempotency-Key"), 1},
	} {
		for _, o := range []outcome{{status: 503}, {err: syscall.ECONNRESET}} {
			t.Run(fmt.Sprint(c.method, c.header, o.status, o.err), func(t *testing.T) {
				base := answering(o)
				var b bodies
				req := b.request(t.Context(), "GET", api, "the body")
				req.Method = c.method
				for name, values := range c.header {
					req.Header[name] = values
				}
				resp, err := to(staticSource(), base, retrying(atOnce)).RoundTrip(req)
				if (err != nil) != (o.err != nil) || err == nil && resp.StatusCode != o.status {
					t.Errorf("got %v, %v, want the last outcome", resp, err)
				}
				if len(base.calls) != c.want {
					t.Errorf("attempts: got %d, want %d", len(base.calls), c.want)
				}
				if opened, closed := b.counts(); opened != c.want || closed != c.want {
					t.Errorf("bodies: got %d opened and %d closed, want %d and %[3]d", opened, closed, c.want)
				}
			})
		}
	}
}

func TestRetryAfterTransientStatusesOnly(t *testing.T) {
	transient := []int{408, 425, 429, 500, 502, 503, 504, 520, 521, 522, 523, 524, 529}
	for status := 200; status < 600; status++ {
		if status == 401 {
			continue
		}
		base := statuses(status)
		if _, err := to(staticSource(), base, retrying(atOnce)).RoundTrip(get(t, api)); err != nil {
			t.Fatalf("%d: %v", status, err)
		}
		want := 1
		if slices.Contains(transient, status) {
			want = 4
		}
		if got := len(base.calls); got != want {
			t.Errorf("attempts on a %d: got %d, want %d", status, got, want)
		}
	}
}

func TestRetryCountsAllAttempts(t *testing.T) {
	for _, c := range []struct{ max, want int }{{0, 4}, {1, 1}, {2, 2}, {7, 7}} {
		policy := atOnce
		policy.MaxAttempts = c.max
		base := statuses(503)
		if _, err := to(staticSource(), base, retrying(policy)).RoundTrip(get(t, api)); err != nil {
			t.Fatal(err)
		}
		if got := len(base.calls); got != c.want {
			t.Errorf("MaxAttempts %d: got %d attempts, want %d", c.max, got, c.want)
		}
	}
}

func TestRetryNeedsABodyThatCanBeSentAgain(t *testing.T) {
	for _, c := range []struct {
		name string
		edit func(*http.Request)
		want int
	}{
		{"GetBody", func(*http.Request) {}, 4},
		{"no body", func(r *http.Request) { r.Body, r.GetBody = nil, nil }, 4},
		{"NoBody", func(r *http.Request) { r.Body, r.GetBody = http.NoBody, nil }, 4},
		{"no GetBody", func(r *http.Request) { r.GetBody = nil }, 4}, // it is small, and so in memory
		{"no GetBody, Content-Length unknown", func(r *http.Request) { r.GetBody, r.ContentLength = nil, -1 }, 1},
		{"GetBody fails", func(r *http.Request) {
			r.GetBody = func() (io.ReadCloser, error) { return nil, errors.New("gone") }
		}, 1},
	} {
		for _, o := range []outcome{{status: 503}, {err: syscall.ECONNRESET}} {
			t.Run(fmt.Sprint(c.name, " ", o.status, o.err), func(t *testing.T) {
				base := answering(o)
				var b bodies
				req := b.request(t.Context(), "PUT", api, "the body")
				own := req.Body
				c.edit(req)
				resp, err := to(staticSource(), base, retrying(atOnce)).RoundTrip(req)
				if len(base.calls) != c.want {
					t.Errorf("attempts: got %d, want %d", len(base.calls), c.want)
				}
				if !errors.Is(err, o.err) {
					t.Errorf("error: got %v, want %v", err, o.err)
				}
				if err == nil {
					checkUnread(t, resp)
				}
				if req.Body == own {
					checkClosed(t, &b)
				}
			})
		}
	}
}

func TestRetryReturnsTheLastResponseUnread(t *testing.T) {
	for _, hosts := range [][]string{{"api.example.com"}, {"other.example.com"}} {
		base := statuses(500, 502, 504, 503)
		tr := to(staticSource(), base, retrying(atOnce))
		tr.Hosts = hosts
		resp, err := (&http.Client{Transport: tr}).Get(api)
		if err != nil || resp.StatusCode != 503 || resp != base.answers[3] {
			t.Fatalf("Hosts %q: got %v, %v, want the last response", hosts, resp, err)
		}
		checkUnread(t, resp)
		for i, answer := range base.answers[:3] {
			if answer.Body.(*trackedBody).closes.Load() == 0 {
				t.Errorf("answer %d: got an open body, want it closed", i)
			}
		}
	}
}

// marked is an error that is compared by its pointer.
type marked struct{ n int }

func (m *marked) Error() string { return fmt.Sprint("broken ", m.n) }

func TestRetryReturnsTheLastErrorUnwrapped(t *testing.T) {
	var errs []*marked
	base := answering()
	for i := range 4 {
		errs = append(errs, &marked{i})
		base.outcomes = append(base.outcomes, outcome{err: errs[i]})
	}
	_, err := to(staticSource(), base, retrying(atOnce)).RoundTrip(get(t, api))
	if err != error(errs[3]) {
		t.Errorf("error: got %v, want the base's own fourth", err)
	}

	base.calls, base.answers, base.bodies = nil, nil, nil
	_, err = (&http.Client{Transport: to(staticSource(), base, retrying(atOnce))}).Get(api)
	if e, ok := errors.AsType[*url.Error](err); !ok || e.Err != error(errs[3]) {
		t.Errorf("the client's error: got %v, want the base's own fourth within a *url.Error", err)
	}
}

func TestRetryReturnsTheLastOutcomeOfAMix(t *testing.T) {
	broken := &marked{1}
	for _, c := range []struct {
		name   string
		base   *fakeBase
		status int
		err    error
	}{
		{"an error, then 200", answering(outcome{err: broken}, outcome{status: 200}), 200, nil},
		{"503, then 404", statuses(503, 404), 404, nil},
		{"errors, then 503", answering(outcome{err: broken}, outcome{err: broken}, outcome{err: broken}, outcome{status: 503}), 503, nil},
		{"503s, then an error", answering(outcome{status: 503}, outcome{status: 503}, outcome{status: 503}, outcome{err: broken}), 0, broken},
	} {
		t.Run(c.name, func(t *testing.T) {
			resp, err := to(staticSource(), c.base, retrying(atOnce)).RoundTrip(get(t, api))
			if err != c.err {
				t.Fatalf("error: got %v, want %v", err, c.err)
			}
			if err == nil && (resp.StatusCode != c.status || resp != c.base.answers[len(c.base.answers)-1]) {
				t.Errorf("got %d, want %d and the last answer", resp.StatusCode, c.status)
			}
		})
	}
}

func TestRetryTakesTheCurrentToken(t *testing.T) {
	n := 0
	source := sourceFunc(func() (*oauth2.Token, error) {
		n++
		return &oauth2.Token{AccessToken: []string{firstToken, secondToken}[min(n, 2)-1]}, nil
	})
	base := answering(outcome{status: 503}, outcome{err: syscall.ECONNRESET}, outcome{status: 200})
	if _, err := to(source, base, retrying(atOnce)).RoundTrip(get(t, api)); err != nil {
		t.Fatal(err)
	}
	if got, want := base.tokens(), "first second second"; got != want {
		t.Errorf("tokens: got %q, want %q", got, want)
	}
}

func TestNoRetryWithoutAToken(t *testing.T) {
	broken := errors.New("no token")
	for _, have := range []int{0, 1} { // tokens before the source fails
		asked := 0
		source := sourceFunc(func() (*oauth2.Token, error) {
			if asked++; asked > have {
				return nil, broken
			}
			return &oauth2.Token{AccessToken: firstToken}, nil
		})
		base := statuses(503)
		_, err := to(source, base, retrying(atOnce)).RoundTrip(get(t, api))
		if err != broken || asked != have+1 || len(base.calls) != have {
			t.Errorf("got %v, %d tokens asked for and %d requests, want %v, %d and %d", err, asked, len(base.calls), broken, have+1, have)
		}
	}
}

func TestRetryStreamsTheLastResponse(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	body := newStalled(ctx)
	base := answering(outcome{status: 503}, outcome{status: 200, body: body})
	resp, err := to(staticSource(), base, retrying(atOnce)).RoundTrip(get(t, api))
	if err != nil || resp.Body != io.ReadCloser(body) {
		t.Fatalf("got %v, %v, want the response with its own body", resp, err)
	}
}

func TestRetryPrintsNothing(t *testing.T) {
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	stderr, stdout, logged := os.Stderr, os.Stdout, log.Writer()
	os.Stderr, os.Stdout = w, w
	log.SetOutput(w)
	for _, o := range []outcome{{status: 503}, {err: syscall.ECONNRESET}} {
		to(staticSource(), answering(o), retrying(atOnce)).RoundTrip(get(t, api))
	}
	os.Stderr, os.Stdout = stderr, stdout
	log.SetOutput(logged)
	w.Close()
	if got, err := io.ReadAll(r); len(got) != 0 || err != nil {
		t.Errorf("printed: got %d bytes (%.40q), %v, want none", len(got), strings.ReplaceAll(string(got), firstToken, "…"), err)
	}
}
