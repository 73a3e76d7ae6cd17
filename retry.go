// Copyright 2026 The authsec Authors
// SPDX-License-Identifier: Apache-2.0

package authsec

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/hashicorp/go-retryablehttp"
)

// RetryPolicy says how often and how fast a request is repeated. The zero value
// has the defaults that each field names.
//
// Only what can be repeated without harm is: requests with an idempotent method
// (RFC 9110, section 9.2.2) or with an Idempotency-Key or X-Idempotency-Key
// header, whose body, if any, can be had again through GetBody. They are
// repeated on connection errors and on 429, 500, 502, 503 and 504.
//
// The wait before a repetition is drawn evenly from zero up to a ceiling, which
// is MinBackoff at first and doubles each time, up to MaxBackoff. A Retry-After
// header (RFC 9110, section 10.2.3) is obeyed: the wait is at least that long.
// Where a Retry-After exceeds MaxBackoff, or a wait would outlast the request's
// context, the response in hand is returned at once. When the attempts run out
// the caller gets the last response, its body unread, or the last error.
type RetryPolicy struct {
	// MaxAttempts counts all attempts, the first included. 0: 4. 1: no retry.
	MaxAttempts int
	// MinBackoff is the ceiling of the first wait. 0: 200 ms.
	MinBackoff time.Duration
	// MaxBackoff is the ceiling of any wait, Retry-After included. 0: 10 s.
	MaxBackoff time.Duration
}

func (p RetryPolicy) withDefaults() RetryPolicy {
	if p.MaxAttempts == 0 {
		p.MaxAttempts = 4
	}
	if p.MaxBackoff == 0 {
		p.MaxBackoff = max(10*time.Second, p.MinBackoff)
	}
	if p.MinBackoff == 0 {
		p.MinBackoff = min(200*time.Millisecond, p.MaxBackoff)
	}
	return p
}

// validate names what is wrong, with field as the policy's own name.
func (p RetryPolicy) validate(field string) error {
	var faults []error
	if p.MaxAttempts < 0 {
		faults = append(faults, fmt.Errorf("%s.MaxAttempts: %d is negative (1 means no retry, 0 the default)", field, p.MaxAttempts))
	}
	if p.MinBackoff < 0 {
		faults = append(faults, fmt.Errorf("%s.MinBackoff: %v is negative", field, p.MinBackoff))
	}
	if p.MaxBackoff < 0 {
		faults = append(faults, fmt.Errorf("%s.MaxBackoff: %v is negative", field, p.MaxBackoff))
	}
	if p.MaxBackoff > 0 && p.MinBackoff > p.MaxBackoff {
		faults = append(faults, fmt.Errorf("%s.MinBackoff: %v exceeds MaxBackoff, %v", field, p.MinBackoff, p.MaxBackoff))
	}
	return errors.Join(faults...)
}

// passing reports whether a status speaks of a fault that may pass.
func passing(status int) bool {
	switch status {
	case http.StatusTooManyRequests, http.StatusInternalServerError,
		http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout:
		return true
	}
	return false
}

// idempotent reports whether req may be sent again. The methods are those of
// RFC 9110, section 9.2.2; the headers are the ones that net/http knows.
func idempotent(req *http.Request) bool {
	switch req.Method {
	case "", http.MethodGet, http.MethodHead, http.MethodOptions, http.MethodTrace, http.MethodPut, http.MethodDelete:
		return true
	}
	for key := range req.Header {
		switch http.CanonicalHeaderKey(key) {
		case "Idempotency-Key", "X-Idempotency-Key":
			return true
		}
	}
	return false
}

// attempts is what a retry loop needs of the one whose attempts it repeats.
type attempts interface {
	// prepare makes ready for another attempt, and reports whether there can be one.
	prepare() bool
	// send makes the attempt that was prepared.
	send() (*http.Response, error)
	// abandon undoes prepare: the attempt will not be made.
	abandon()
}

// retry repeats an attempt that has been made, and whose outcome is resp or
// err, as long as the policy says so. It returns the last outcome.
//
// The loop, its classification of errors and its exponential backoff are
// retryablehttp's. Its client is given a stand-in for the request, and an
// [http.Client] that sees stand-ins for the responses: so nothing that either
// of them does to requests and responses (reading bodies into memory, following
// redirects, parsing Location, draining, closing idle connections) reaches the
// real ones, which pass through the loop untouched.
func (p RetryPolicy) retry(ctx context.Context, resp *http.Response, err error, a attempts) (*http.Response, error) {
	l := &retryLoop{policy: p, attempts: a, resp: resp, err: err}
	standIn, reqErr := retryablehttp.NewRequestWithContext(ctx, http.MethodGet, "http://stand-in.invalid/", nil)
	if reqErr != nil {
		return resp, err
	}
	client := &retryablehttp.Client{
		HTTPClient:   &http.Client{Transport: l},
		RetryMax:     p.MaxAttempts - 1,
		CheckRetry:   l.check,
		Backoff:      l.backoff,
		ErrorHandler: retryablehttp.PassthroughErrorHandler,
	}
	_, loopErr := client.Do(standIn)
	if l.waiting { // and never sent: the context ended
		a.abandon()
		if ctx.Err() != nil {
			return nil, contextError(ctx, "waiting to repeat a request")
		}
		return nil, loopErr
	}
	return l.resp, l.err
}

// A retryLoop is the state of one call of retry. It is used by one goroutine.
type retryLoop struct {
	policy   RetryPolicy
	attempts attempts

	resp *http.Response // the last attempt's outcome
	err  error
	made int // how many outcomes the loop has been shown

	waiting bool          // prepared, and not yet sent
	wait    time.Duration // before the next attempt
}

// RoundTrip shows the loop the outcome it was begun with, and then makes the
// attempts. What it returns is always the same stand-in for a response.
func (l *retryLoop) RoundTrip(req *http.Request) (*http.Response, error) {
	if l.made++; l.made > 1 {
		l.waiting = false
		l.resp, l.err = l.attempts.send()
	}
	return &http.Response{StatusCode: http.StatusOK, Header: http.Header{}, Body: http.NoBody, Request: req}, nil
}

// check is retryablehttp's CheckRetry. All is decided here: once it returns
// true, the response is gone.
func (l *retryLoop) check(ctx context.Context, _ *http.Response, _ error) (bool, error) {
	if l.made >= l.policy.MaxAttempts || !retryable(ctx, l.resp, l.err) {
		return false, nil
	}
	var obeyed bool
	if l.wait, obeyed = l.policy.wait(l.made-1, l.resp); !obeyed {
		return false, nil
	}
	if deadline, ok := ctx.Deadline(); ok && time.Until(deadline) <= l.wait {
		return false, nil
	}
	if !l.attempts.prepare() {
		return false, nil
	}
	l.waiting = true
	if l.resp != nil {
		discard(l.resp.Body)
	}
	return true, nil
}

func (l *retryLoop) backoff(_, _ time.Duration, _ int, _ *http.Response) time.Duration { return l.wait }

// retryable reports whether an outcome is a passing fault. Which errors are is
// retryablehttp's to say, which wants them in the form that http.Client gives
// them: not the end of ctx, and not a certificate, scheme or header that will
// be no better next time.
func retryable(ctx context.Context, resp *http.Response, err error) bool {
	if err == nil {
		return passing(resp.StatusCode)
	}
	if cert := (*tls.CertificateVerificationError)(nil); errors.As(err, &cert) {
		err = cert // it looks for this type itself, not below others
	}
	again, _ := retryablehttp.DefaultRetryPolicy(ctx, nil, &url.Error{Op: "Get", URL: "", Err: err})
	return again
}

// wait returns how long to wait after the n-th outcome, counted from 0, and
// false if the response asks for longer than the policy allows.
func (p RetryPolicy) wait(n int, resp *http.Response) (time.Duration, bool) {
	ceiling := retryablehttp.DefaultBackoff(p.MinBackoff, p.MaxBackoff, n, nil)
	wait := rand.N(max(1, ceiling))
	if resp != nil {
		if after, ok := retryAfter(resp.Header); ok {
			if after > p.MaxBackoff {
				return 0, false
			}
			wait = max(wait, after)
		}
	}
	return wait, true
}

// retryAfter reads a Retry-After header (RFC 9110, section 10.2.3), in seconds
// or as a date, which counts from the Date of the same answer, whose clock it
// was written by. It is never negative, and at most a duration's greatest value.
func retryAfter(h http.Header) (time.Duration, bool) {
	s := strings.TrimSpace(h.Get("Retry-After"))
	if s == "" {
		return 0, false
	}
	if strings.Trim(s, "0123456789") == "" {
		seconds, err := strconv.ParseInt(s, 10, 64)
		if err != nil || seconds > int64(maxDuration/time.Second) {
			return maxDuration, true
		}
		return time.Duration(seconds) * time.Second, true
	}
	at, err := http.ParseTime(s)
	if err != nil {
		return 0, false
	}
	now, err := http.ParseTime(h.Get("Date"))
	if err != nil {
		now = time.Now()
	}
	return max(0, at.Sub(now)), true
}

const maxDuration = time.Duration(1<<63 - 1)

const (
	drainBytes = 4 << 10 // of a refused answer, read so that its connection can be used again
	drainTime  = 100 * time.Millisecond
)

// discard reads what little is left of a response's body, so that its
// connection can be used again, and closes it. It waits no longer than
// drainTime, whatever the body does.
func discard(body io.ReadCloser) {
	if body == nil {
		return
	}
	if body == http.NoBody {
		body.Close()
		return
	}
	closeOnce := sync.OnceFunc(func() { body.Close() })
	drained := make(chan struct{})
	go func() {
		defer close(drained)
		io.CopyN(io.Discard, body, drainBytes)
		closeOnce()
	}()
	timer := time.NewTimer(drainTime)
	defer timer.Stop()
	select {
	case <-drained:
	case <-timer.C:
		go closeOnce() // ends the read, if the body is what net/http gives
	}
}
