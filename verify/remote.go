// Copyright 2026 The authsec Authors
// SPDX-License-Identifier: Apache-2.0

package verify

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"net/url"
	"strings"
	"sync/atomic"
	"time"

	"github.com/authsec-go/authsec/internal/conn"
	"github.com/authsec-go/authsec/internal/redact"
	"github.com/authsec-go/authsec/internal/wire"
)

const (
	askTimeout = 10 * time.Second // of one request, with its answer's body

	minBackoff = time.Second // how long a first failure is cached; it doubles with each, ±50 %
	maxBackoff = time.Minute
	limitedFor = 30 * time.Second // after a 429 that names no Retry-After, ±50 %

	maxLeft   = 4                // calls of HTTPClient that may be left behind because they do not return
	leftEvery = 10 * time.Minute // after which there may be one more
)

// remote is the AuthSec server. It has one rate limit for key sets and checks.
type remote struct {
	wire.Server
	client  *http.Client
	timeout time.Duration             // of one request
	log     *slog.Logger              // nil: silent
	limited atomic.Pointer[time.Time] // until when the server accepts no request; nil: it accepts them
}

const limitedText = "the server accepts no more requests for now"

// limitedUntil returns until when the server accepts no request, and whether that is
// after now.
func (r *remote) limitedUntil(now time.Time) (time.Time, bool) {
	until := r.limited.Load()
	if until == nil || !now.Before(*until) {
		return time.Time{}, false
	}
	return *until, true
}

func newRemote(cfg Config, base *url.URL) *remote {
	r := &remote{
		Server:  wire.NewServer(base),
		client:  &http.Client{Transport: conn.Shared(), CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }},
		timeout: askTimeout,
		log:     cfg.Logger,
	}
	if c := cfg.HTTPClient; c != nil {
		r.client.Transport = c.Transport
		if c.Timeout > 0 {
			r.timeout = min(c.Timeout, askTimeout)
		}
	}
	return r
}

// fault is why the server could not be asked.
type fault struct {
	text string // fit to be printed
}

// ask asks the server, by POST if there is a body, which is JSON. read gets the body of
// a 200. The error is ctx's end. Every other failure is a fault. This does not show
// secret, or a part of it of more than 22 bytes. The Error methods of errors that are
// not ours are called here, where no lock is held.
func (r *remote) ask(ctx context.Context, u *url.URL, body []byte, secret string, read func([]byte) error) (*fault, error) {
	method := http.MethodGet
	if body != nil {
		method = http.MethodPost
	}
	err := func() error {
		req, err := http.NewRequestWithContext(ctx, method, u.String(), bytes.NewReader(body))
		if err != nil {
			return err
		}
		req.Header.Set("Accept", "application/json")
		if body != nil {
			req.Header.Set("Content-Type", "application/json")
		}
		resp, err := r.client.Do(req)
		if err != nil {
			return cmp.Or(errors.Unwrap(err), err) // what is in a *url.Error
		}
		defer resp.Body.Close()
		if resp.StatusCode != http.StatusOK {
			if resp.StatusCode == http.StatusTooManyRequests {
				after, _ := wire.RetryAfter(resp.Header)
				until := time.Now().Add(min(cmp.Or(after, jitter(limitedFor)), maxBackoff))
				r.limited.Store(&until)
			}
			return errors.New(strings.TrimSpace(fmt.Sprint(resp.StatusCode, " ", http.StatusText(resp.StatusCode))))
		}
		answer, err := io.ReadAll(io.LimitReader(resp.Body, wire.MaxAnswer+1))
		if err != nil {
			return err
		}
		if len(answer) > wire.MaxAnswer {
			return fmt.Errorf("the answer is longer than %d bytes", wire.MaxAnswer)
		}
		return read(bytes.TrimPrefix(answer, []byte("\ufeff"))) // a byte order mark
	}()
	switch {
	case err == nil:
		return nil, nil
	case ctx.Err() != nil: // one text for this failure, wherever it is noticed
		return nil, ctx.Err()
	}
	return &fault{method + " " + u.String() + ": " + redact.Text(redact.Error(err), "", fragments(secret)...)}, nil
}

// fragments returns a secret and its overlapping parts, so that any part of a certain
// length is found, too.
func fragments(secret string) []string {
	const step = 8
	all := []string{secret}
	for i := 0; i+2*step <= len(secret); i += step {
		all = append(all, secret[i:i+2*step])
	}
	return all
}

// unanswered is the fault of an ask that ended with a flight's error.
func (r *remote) unanswered(err error) *fault {
	if errors.Is(err, context.DeadlineExceeded) {
		return &fault{text: "no answer within " + r.timeout.String()}
	}
	return &fault{text: "Config.HTTPClient " + err.Error()}
}

// outage is why a token can't be verified for now. It is immutable.
type outage struct {
	text  string
	next  time.Time // until when it is cached; zero: it is not
	cause error     // nil: none
}

func (o *outage) Error() string        { return o.text }
func (o *outage) Is(target error) bool { return target == ErrUnavailable }
func (o *outage) Unwrap() error        { return o.cause }

// later returns the later of two times.
func later(a, b time.Time) time.Time {
	if b.After(a) {
		return b
	}
	return a
}

// jitter returns d ±50 %, so that a fleet does not ask all at once.
func jitter(d time.Duration) time.Duration { return d/2 + rand.N(d) }

// backoff returns how long a failure is cached after streak others in a row.
func backoff(streak int) time.Duration {
	return jitter(min(minBackoff<<min(streak, 10), maxBackoff))
}
