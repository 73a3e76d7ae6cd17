// Copyright 2026 The authsec Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/authsec-go/authsec"
	"github.com/authsec-go/authsec/cmd/authsec/internal/answers"
)

// hangTime decides who is to blame if a program gives up before the answer begins: the
// upstream, if the program waited at least this long.
const hangTime = time.Second

// errStatus is a failure of the upstream.
const errStatus = answers.Fault("its answer has a status below 200")

// problem is an answer of the proxy itself. It has fixed words, so no secret.
type problem struct {
	status int
	Code   string `json:"error"`
	Do     string `json:"do"`
}

// diagnose returns the answer to an error of the transport, and whether the
// upstream caused the error.
func diagnose(err error) (p problem, ofUpstream bool) {
	var e *authsec.Error
	switch {
	case errors.Is(err, authsec.ErrNotDelegated):
		return problem{http.StatusServiceUnavailable, "not_delegated", advice(err)}, false
	case errors.Is(err, authsec.ErrRateLimited):
		return problem{http.StatusServiceUnavailable, "rate_limited", "nothing: all agents behind one IP address share the AuthSec server's limit"}, false
	case errors.Is(err, authsec.ErrUnauthorized):
		return problem{http.StatusBadGateway, "unauthorized", advice(err)}, false
	case errors.Is(err, authsec.ErrInvalidClientID):
		return problem{http.StatusBadGateway, "invalid_client_id", advice(err)}, false
	case errors.Is(err, authsec.ErrInvalidResponse):
		return problem{http.StatusBadGateway, "invalid_response", advice(err)}, false
	case errors.As(err, &e) && isTimeout(err):
		return problem{http.StatusGatewayTimeout, "authsec_timeout", "the AuthSec server did not answer in time: check AUTHSEC_BASE_URL, and whether the server can be reached from here"}, false
	case errors.As(err, &e):
		return problem{http.StatusServiceUnavailable, "authsec_unavailable", "the AuthSec server gave no token: check AUTHSEC_BASE_URL, and whether the server can be reached from here"}, false
	case isTimeout(err):
		return problem{http.StatusGatewayTimeout, "upstream_timeout", "the API did not answer in time: check --upstream, and whether the API can be reached from here"}, true
	}
	return problem{http.StatusBadGateway, "upstream_failed", "the API could not be reached, or its answer was malformed or broke off: check --upstream, and whether the API can be reached from here"}, true
}

func isTimeout(err error) bool {
	if t := interface{ Timeout() bool }(nil); errors.As(err, &t) && t.Timeout() {
		return true
	}
	return errors.Is(err, context.DeadlineExceeded)
}

// again adds to a problem when the proxy asks the AuthSec server again by itself, and
// returns that time; 0: unknown.
func again(p problem, err error, nextFetch time.Time) (problem, time.Duration) {
	if p.status != http.StatusServiceUnavailable {
		return p, 0
	}
	after := retryAfter(err, nextFetch)
	if after > 0 {
		p.Do += fmt.Sprintf("; this proxy asks the AuthSec server again by itself in %d s", seconds(after))
	}
	return p, after
}

// retryAfter is the time until a token can be expected; 0: unknown.
func retryAfter(err error, nextFetch time.Time) time.Duration {
	if !nextFetch.IsZero() {
		return max(0, time.Until(nextFetch))
	}
	if e := (*authsec.Error)(nil); errors.As(err, &e) {
		return e.RetryAfter
	}
	return 0
}

// seconds rounds up.
func seconds(d time.Duration) int64 { return int64((d + time.Second - 1) / time.Second) }
