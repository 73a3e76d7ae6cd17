// Copyright 2026 The authsec Authors
// SPDX-License-Identifier: Apache-2.0

package authsec

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strings"
	"time"

	"golang.org/x/oauth2"
)

// Test for these with [errors.Is]. An [*Error] wraps those that the server's answer
// causes.
var (
	// ErrNotDelegated means that the agent has no delegation, or that its delegation
	// has ended. An admin must delegate to it. It is AuthSec's own 404, which it also
	// answers for an unknown client ID, or AuthSec's 410.
	ErrNotDelegated = errors.New("authsec: not delegated")

	// ErrDelegationExpired means that the agent's delegation has expired: the server's
	// 410, or a token that expired within the last 2 s. The server answers 410 only
	// once, and then 404. So an ErrDelegationExpired is always an ErrNotDelegated, too.
	ErrDelegationExpired = errors.New("authsec: delegation expired")

	// ErrUnauthorized means that the endpoint rejected the caller's own credential, or
	// requires one. It is the server's 401 or 403. See [Config.Credential].
	ErrUnauthorized = errors.New("authsec: unauthorized")

	// ErrInvalidClientID means that the client ID is not a UUID. It is the server's
	// 400.
	ErrInvalidClientID = errors.New("authsec: invalid client ID")

	// ErrRateLimited means that the server accepts no more requests for now. It is
	// the server's 429. See [Error.RetryAfter].
	ErrRateLimited = errors.New("authsec: rate limited")

	// ErrInvalidResponse means that the answer is not one of an AuthSec server, or that
	// its token can't be used: a wrong base URL, a redirect, a gateway's page,
	// malformed JSON, another agent's token, an invalid signature.
	ErrInvalidResponse = errors.New("authsec: invalid response")

	// ErrInsecureURL means that a token would have gone over plain HTTP (RFC 6750,
	// section 5.3). See [Transport.Hosts] and [Config.AllowHTTP].
	ErrInsecureURL = errors.New("authsec: insecure URL")
)

// Error is a failure to get a token. Several callers may have the same *Error: do not
// change it.
//
// If the server answered, [errors.As] also finds an [*oauth2.RetrieveError] with the
// status, and with Message and Details as a JSON body. If only an admin can help,
// errors.As finds an error with the method NonRetriable: Azure's azcore then stops
// retrying.
//
// An Error never wraps [context.DeadlineExceeded] or [context.Canceled]. If the
// caller's own context ends, the caller gets another error, which wraps that
// context's error.
type Error struct {
	// StatusCode is the HTTP status of the server's answer. 0: no answer came.
	StatusCode int
	// Message and Details are the fields "error" and "details" of the answer,
	// shortened and without secrets.
	Message string
	Details string
	// RequestID is the answer's X-Request-Id. With it, the server's operator finds the
	// request in the server's log. "": the answer had none.
	RequestID string
	// RetryAfter is how long after its answer the server accepts no request. It is the
	// answer's Retry-After, at most 5 minutes. For a 429 without Retry-After it is one
	// to two of the server's rate limit windows, at random, at most 10 minutes. 0: the
	// server did not say.
	RetryAfter time.Duration

	agent   string // what may be shown of the client ID
	reason  string
	renewal bool // a good token stays in service
	timeout bool
	below   func() []error // a func, so that printing an Error does not print these
}

// Error says what failed, for which agent, and what to do.
func (e *Error) Error() string {
	if e.renewal {
		return "authsec: no new token for agent " + e.agent + ": " + e.reason
	}
	return "authsec: no token for agent " + e.agent + ": " + e.reason
}

// Timeout reports whether the server or the Credential took too long.
func (e *Error) Timeout() bool { return e.timeout }

// Temporary returns what Timeout returns. It makes an Error a [net.Error].
func (e *Error) Temporary() bool { return e.timeout }

// Unwrap returns the errors that e wraps: those of this package such as
// [ErrNotDelegated], the cause and the [*oauth2.RetrieveError]. There may be none.
func (e *Error) Unwrap() []error {
	if e.below == nil {
		return nil
	}
	return e.below()
}

// newError returns an Error that wraps errs. Some of these may be nil.
func newError(agent, reason string, errs ...error) *Error {
	e := &Error{agent: agent, reason: reason}
	e.wrap(errs...)
	return e
}

func (e *Error) wrap(errs ...error) {
	below := e.Unwrap()
	for _, err := range errs {
		if err != nil {
			below = append(below, err)
		}
	}
	e.below = func() []error { return below }
}

// answered makes e the Error of an answer with this status, and returns e.
func (e *Error) answered(status int) *Error {
	e.StatusCode = status
	var body []byte
	if e.Message != "" {
		body, _ = json.Marshal(map[string]string{"error": e.Message, "details": e.Details})
	}
	e.wrap(&oauth2.RetrieveError{
		Response: &http.Response{StatusCode: status, Status: statusText(status)},
		Body:     body,
	})
	return e
}

// duringRenewal returns a copy of e for callers that still have a good token.
func (e *Error) duringRenewal() *Error {
	c := *e
	c.renewal = true
	return &c
}

// statusText returns the status and its standard text, not the server's text.
func statusText(status int) string {
	return strings.TrimSpace(fmt.Sprintf("%d %s", status, http.StatusText(status)))
}

// nonRetriable marks, for azcore, errors that only an admin can resolve.
type nonRetriable struct{}

func (nonRetriable) Error() string { return "authsec: an admin must act before a retry can succeed" }
func (nonRetriable) NonRetriable() {}

// fetchCause is the cause of a failed fetch. It hides the end of the fetch's context:
// errors.Is must find only the end of the caller's own.
type fetchCause struct{ err error }

func (c fetchCause) Error() string { return c.err.Error() }

func (c fetchCause) Is(target error) bool {
	switch target {
	case context.DeadlineExceeded, context.Canceled:
		return false
	case ErrNotDelegated, ErrDelegationExpired, ErrUnauthorized, ErrInvalidClientID, ErrRateLimited, ErrInvalidResponse: // of a Credential that is a Source
		return false
	}
	return errors.Is(c.err, target)
}

func (c fetchCause) As(target any) bool {
	switch target.(type) {
	case **oauth2.RetrieveError, **Error: // the Credential's: callers would mistake it for this failure
		return false
	}
	return errors.As(c.err, target)
}

func isTimeout(err error) bool {
	var n net.Error
	return errors.Is(err, context.DeadlineExceeded) || errors.As(err, &n) && n.Timeout()
}

// waitError says that the caller's own context ended its wait.
type waitError struct {
	doing string
	err   error // the context's Err
	cause error // and its cause, which may be the same
}

func contextError(ctx context.Context, doing string) error {
	return &waitError{doing, ctx.Err(), context.Cause(ctx)}
}

func (e *waitError) Error() string {
	if e.cause == e.err {
		return fmt.Sprintf("authsec: %s: %v", e.doing, e.err)
	}
	return fmt.Sprintf("authsec: %s: %v: %v", e.doing, e.err, e.cause)
}

func (e *waitError) Unwrap() []error { return []error{e.err, e.cause} }

// Timeout and Temporary make it a [net.Error].
func (e *waitError) Timeout() bool   { return errors.Is(e.err, context.DeadlineExceeded) }
func (e *waitError) Temporary() bool { return e.Timeout() }
