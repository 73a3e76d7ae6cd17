// Copyright 2026 The authsec Authors
// SPDX-License-Identifier: Apache-2.0

package authsec

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/url"
	"regexp"
	"time"

	"github.com/authsec-go/authsec/internal/redact"
	"github.com/authsec-go/authsec/internal/wire"
	"github.com/hashicorp/go-retryablehttp"
)

// RetryPolicy says how often and how fast a request is retried. The zero value has
// the defaults that each field names.
//
// A request is retried only if it has an idempotent method (RFC 9110, section 9.2.2),
// or an Idempotency-Key or X-Idempotency-Key header, and if its body, if there is
// one, can be sent again. It is retried after connection errors and after the
// transient statuses 408, 425, 429, 500, 502, 503, 504, 520 to 524 and 529. It is not
// retried after an error that the request itself causes, or a certificate that does
// not verify.
//
// The wait before a retry is random, from zero to a ceiling. The ceiling is
// MinBackoff at first and doubles each time, up to MaxBackoff. The wait is at least as
// long as a Retry-After header says (RFC 9110, section 10.2.3). If that exceeds
// MaxBackoff, or if the wait would outlast the deadline of the request's context,
// there is no retry. The caller gets the response, with its body unread, or the error
// of the last attempt.
type RetryPolicy struct {
	// MaxAttempts limits the attempts, the first one included. An attempt includes the
	// replay after a 401. 0: 4. 1: no retry.
	MaxAttempts int
	// MinBackoff is the ceiling of the first wait. 0: 200 ms, or MaxBackoff if that is
	// shorter.
	MinBackoff time.Duration
	// MaxBackoff limits every wait, also for a Retry-After. 0: 10 s, or MinBackoff if
	// that is longer.
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

// validate returns the faults of p. field is p's own name in their texts.
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

// next decides whether to make another attempt, and how long to wait before it. made
// attempts were made, and the last one ended with resp or err. retryablehttp
// classifies errors and computes the exponential backoff.
func (p RetryPolicy) next(ctx context.Context, made int, resp *http.Response, err error) (wait time.Duration, again bool) {
	switch {
	case made >= p.MaxAttempts:
		return 0, false
	case err != nil && !transientError(ctx, err):
		return 0, false
	case err == nil && !transientStatus(resp.StatusCode):
		return 0, false
	}
	ceiling := retryablehttp.DefaultBackoff(p.MinBackoff, p.MaxBackoff, made-1, nil)
	wait = rand.N(max(1, ceiling))
	if err == nil {
		after, _ := wire.RetryAfter(resp.Header)
		if after > p.MaxBackoff {
			return 0, false
		}
		wait = max(wait, after)
	}
	if deadline, ok := ctx.Deadline(); ok && time.Until(deadline) <= wait {
		return 0, false
	}
	return wait, true
}

// client returns a retryablehttp.Client for one fetch from the endpoint. transport
// makes the attempts.
func (p RetryPolicy) client(transport http.RoundTripper) *retryablehttp.Client {
	made, wait := 0, time.Duration(0)
	return &retryablehttp.Client{
		HTTPClient: &http.Client{Transport: transport},
		RetryMax:   p.MaxAttempts - 1,
		CheckRetry: func(ctx context.Context, resp *http.Response, err error) (again bool, _ error) {
			made++
			if err == nil && resp.StatusCode == http.StatusTooManyRequests {
				return false, nil // all of the agent's processes share the limit
			}
			if u, ok := err.(*url.Error); ok { // from http.Client
				err = u.Err
			}
			wait, again = p.next(ctx, made, resp, err)
			return again, nil
		},
		Backoff:      func(time.Duration, time.Duration, int, *http.Response) time.Duration { return wait },
		ErrorHandler: retryablehttp.PassthroughErrorHandler,
	}
}

// transientStatus reports whether a status is transient. The codes from 520 on come
// from proxies.
func transientStatus(status int) bool {
	switch status {
	case http.StatusRequestTimeout, http.StatusTooEarly, http.StatusTooManyRequests, http.StatusInternalServerError,
		http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout,
		520, 521, 522, 523, 524, 529:
		return true
	}
	return false
}

const maxErrorText = 8 << 10 // bytes of an error's text that are searched

// ownFault matches net/http's errors that the request itself causes.
var ownFault = regexp.MustCompile(`no Host in request URL|no Host or URL set|nil Request|nil Body|ContentLength=|invalid (header|trailer|method|Host|Trailer)|request body larger than specified|declared a Content-Length of|cannot rewind body|is not valid in HTTP/2|define Request\.GetBody`)

// transientError reports whether err is transient. retryablehttp decides: the end of
// ctx, a certificate that does not verify and an unknown scheme are not transient. It
// expects err in a *url.Error, as http.Client returns it.
func transientError(ctx context.Context, err error) (again bool) {
	defer func() {
		if recover() != nil { // err's methods are not ours
			again = false
		}
	}()
	text := redact.Error(err)
	if len(text) > maxErrorText { // it quotes an answer, whose size is the API's choice
		return ctx.Err() == nil
	}
	if ownFault.MatchString(text) {
		return false
	}
	if cert := (*tls.CertificateVerificationError)(nil); errors.As(err, &cert) {
		err = cert // retryablehttp does not unwrap errors
	}
	again, _ = retryablehttp.DefaultRetryPolicy(ctx, nil, &url.Error{Op: "Get", Err: err})
	return again
}

// idempotent reports whether req may be sent again. The methods are from RFC 9110,
// section 9.2.2; the headers are the same as in net/http.
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

// sleep waits for pause, or until early is closed. It returns false if ctx ends first.
func sleep(ctx context.Context, pause time.Duration, early <-chan struct{}) bool {
	timer := time.NewTimer(pause)
	defer timer.Stop()
	select {
	case <-early:
	case <-timer.C:
	case <-ctx.Done():
		return false
	}
	return true
}
