// Copyright 2026 The authsec Authors
// SPDX-License-Identifier: Apache-2.0

package authsec_test

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"testing"
	"time"

	"github.com/authsec-go/authsec"
	"github.com/authsec-go/authsec/authsectest"
	"golang.org/x/oauth2"
)

// The end of a request's context ends every wait of the request.
func TestTransportEndsWithTheContextAtEveryStage(t *testing.T) {
	const limit = 5 * time.Second
	type stage struct {
		name string
		tr   func(release chan struct{}) *authsec.Transport
	}
	wait := func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() }
	stages := []stage{
		{"a source's wait", func(chan struct{}) *authsec.Transport {
			return to(&renewable{token: func(ctx context.Context) (*oauth2.Token, error) { return nil, wait(ctx) }}, statuses(200))
		}},
		{"a foreign source's wait", func(release chan struct{}) *authsec.Transport {
			return to(sourceFunc(func() (*oauth2.Token, error) { <-release; return nil, errors.New("released") }), statuses(200))
		}},
		{"a source that ignores its context", func(release chan struct{}) *authsec.Transport {
			return to(&renewable{token: func(context.Context) (*oauth2.Token, error) { <-release; return nil, errors.New("released") }}, statuses(200))
		}},
		{"the endpoint's answer", func(chan struct{}) *authsec.Transport {
			srv := authsectest.NewInMemoryServer()
			srv.Delegate(authsectest.ClientID, authsectest.Delegation{})
			srv.SetLatency(9 * time.Second)
			src := newSource(t, srv.Config(authsectest.ClientID))
			return to(src, statuses(200))
		}},
		{"the base", func(chan struct{}) *authsec.Transport {
			return to(staticSource(), baseFunc(func(r *http.Request) (*http.Response, error) {
				r.Body.Close()
				return nil, wait(r.Context())
			}), retrying(authsec.RetryPolicy{}))
		}},
		{"the base, the second time", func(chan struct{}) *authsec.Transport {
			first := true
			return to(staticSource(), baseFunc(func(r *http.Request) (*http.Response, error) {
				if first {
					first = false
					return statuses(503).RoundTrip(r)
				}
				r.Body.Close()
				return nil, wait(r.Context())
			}), retrying(authsec.RetryPolicy{}))
		}},
		{"the response's body", func(chan struct{}) *authsec.Transport {
			return to(staticSource(), baseFunc(func(r *http.Request) (*http.Response, error) {
				r.Body.Close()
				return &http.Response{StatusCode: 200, Header: http.Header{}, Body: newStalled(r.Context()), Request: r}, nil
			}))
		}},
	}
	for _, s := range stages {
		for _, c := range []struct {
			name string
			want error
			do   func(*http.Client, *http.Request) (*http.Response, error)
		}{
			{"Client.Timeout", context.DeadlineExceeded, func(client *http.Client, req *http.Request) (*http.Response, error) {
				client.Timeout = limit
				return client.Do(req)
			}},
			{"deadline", context.DeadlineExceeded, func(client *http.Client, req *http.Request) (*http.Response, error) {
				ctx, cancel := context.WithTimeout(req.Context(), limit)
				context.AfterFunc(ctx, cancel)
				return client.Do(req.WithContext(ctx))
			}},
			{"cancellation", context.Canceled, func(client *http.Client, req *http.Request) (*http.Response, error) {
				ctx, cancel := context.WithCancel(req.Context())
				time.AfterFunc(limit, cancel)
				return client.Do(req.WithContext(ctx))
			}},
		} {
			inBubble(t, s.name+"/"+c.name, func(t *testing.T) {
				release := make(chan struct{})
				defer close(release)
				var b bodies
				req := b.request(t.Context(), http.MethodPut, api, "the body")
				began := time.Now()
				resp, err := c.do(&http.Client{Transport: s.tr(release)}, req)
				if err == nil {
					_, err = io.ReadAll(resp.Body)
					resp.Body.Close()
				}
				if !errors.Is(err, c.want) {
					t.Errorf("error: got %v, want %v", err, c.want)
				}
				if timeout, ok := errors.AsType[net.Error](err); c.want == context.DeadlineExceeded && (!ok || !timeout.Timeout()) {
					t.Errorf("error: got %v, want a time-out", err)
				}
				if elapsed := time.Since(began); elapsed != limit {
					t.Errorf("got an error after %v, want %v", elapsed, limit)
				}
				checkClosed(t, &b)
				time.Sleep(time.Minute) // what others may be waiting for ends by itself
			})
		}
	}
}

func TestTransportEndsWithTheContextWhileItBacksOff(t *testing.T) {
	cause := errors.New("the user went away")
	bubble(t, func(t *testing.T) {
		ctx, cancel := context.WithCancelCause(t.Context())
		time.AfterFunc(5*time.Second, func() { cancel(cause) })
		var b bodies
		base := answering(outcome{status: 503, header: http.Header{"Retry-After": {"9"}}})
		began := time.Now()
		resp, err := to(staticSource(), base, retrying(authsec.RetryPolicy{})).RoundTrip(b.request(ctx, http.MethodPut, api, "the body"))
		if resp != nil || !errors.Is(err, context.Canceled) || !errors.Is(err, cause) {
			t.Errorf("got %v, %v, want no response, context.Canceled and its cause", resp, err)
		}
		if elapsed := time.Since(began); elapsed != 5*time.Second {
			t.Errorf("got an error after %v, want 5s", elapsed)
		}
		if len(base.calls) != 1 {
			t.Errorf("requests sent: got %d, want 1", len(base.calls))
		}
		checkClosed(t, &b)
	})
}

func TestTransportReturnsThe401WhenRenewDoesNotReturn(t *testing.T) {
	bubble(t, func(t *testing.T) {
		release := make(chan struct{})
		defer close(release)
		source := &renewable{renew: func(context.Context, *oauth2.Token) (*oauth2.Token, error) {
			<-release
			return nil, errors.New("released")
		}}
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		defer cancel()
		base := statuses(401)
		began := time.Now()
		resp, err := to(source, base).RoundTrip(get(t, api).WithContext(ctx))
		if elapsed := time.Since(began); err != nil || resp != base.answers[0] || elapsed != 5*time.Second {
			t.Fatalf("got %v, %v after %v, want the 401 after 5s", resp, err, elapsed)
		}
		checkUnread(t, resp)
	})
}

// The context ends before Base has closed the body. The caller gets the answer then.
func TestTransportDoesNotWaitForTheBodyBeyondTheContext(t *testing.T) {
	bubble(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), 30*time.Millisecond)
		defer cancel()
		outcomes := statuses(401)
		var handed io.ReadCloser
		base := baseFunc(func(req *http.Request) (*http.Response, error) {
			handed, req.Body = req.Body, http.NoBody
			return outcomes.RoundTrip(req)
		})
		var b bodies
		began := time.Now()
		resp, err := to(renewingTo(secondToken), base).RoundTrip(b.request(ctx, http.MethodPost, api, "the body"))
		if err != nil {
			t.Fatal(err)
		}
		if took := time.Since(began); resp.StatusCode != http.StatusUnauthorized || took != 30*time.Millisecond {
			t.Errorf("got %d after %v, want 401 after 30ms", resp.StatusCode, took)
		}
		checkUnread(t, resp)
		if opened, _ := b.counts(); opened != 1 {
			t.Errorf("got %d bodies opened, want the first alone", opened)
		}
		handed.Close()
	})
}
