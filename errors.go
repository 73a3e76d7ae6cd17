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

// Test for these with [errors.Is]. Those that the server's answer caused come
// within an [*Error].
var (
	// ErrNotDelegated means that the agent has no delegation, or that it ended. An
	// admin must delegate to it. It is the server's 404 or 410.
	ErrNotDelegated = errors.New("authsec: not delegated")

	// ErrDelegationExpired means that the agent's delegation has expired. The
	// server says so once (its 410), to the first caller that asks, and then
	// answers that there is none. So it is always an ErrNotDelegated, too.
	ErrDelegationExpired = errors.New("authsec: delegation expired")

	// ErrUnauthorized means that the endpoint rejected the caller's own credential,
	// or wants one. It is the server's 401 or 403. See [Config.Credential].
	ErrUnauthorized = errors.New("authsec: unauthorized")

	// ErrInvalidClientID means that the server does not accept the form of the
	// client ID. It is the server's 400.
	ErrInvalidClientID = errors.New("authsec: invalid client ID")

	// ErrRateLimited means that the server accepts no more requests for now. It is
	// the server's 429. See [Error.RetryAfter].
	ErrRateLimited = errors.New("authsec: rate limited")

	// ErrInvalidResponse means that no AuthSec server answers like this, or that
	// the token can't be used: a wrong base URL, a redirect, a gateway's page,
	// malformed JSON, another agent's token, an invalid signature.
	ErrInvalidResponse = errors.New("authsec: invalid response")

	// ErrInsecureURL means that a token would have gone over plain HTTP (RFC 6750,
	// section 5.3). See [Transport.Hosts].
	ErrInsecureURL = errors.New("authsec: insecure URL")
)

// Error is a failure to get a token. Several callers may hold the same one: do
// not change it.
//
// If the server answered, it unwraps to an [*oauth2.RetrieveError], too, which
// has the status, and Message and Details as a JSON body. It unwraps to
// [context.DeadlineExceeded] only if the caller's own context ended. If only an
// admin can help, [errors.As] finds an error with the method NonRetriable, by
// which Azure's azcore stops retrying.
type Error struct {
	// StatusCode is the HTTP status of the server's answer. 0: no answer came.
	StatusCode int
	// Message and Details are the fields "error" and "details" of the answer,
	// shortened and without secrets.
	Message string
	Details string
	// RequestID is the answer's X-Request-Id, by which the server's operator finds
	// it in the server's log. "": it had none.
	RequestID string
	// RetryAfter is how long after the answer the server accepts no request: its
	// Retry-After or, for a 429 without one, once to twice its window, at random.
	// It is at most 10 minutes. 0: the server did not say.
	RetryAfter time.Duration

	agent   string // what may be shown of the client ID
	reason  string
	renewal bool // a good token is in service
	timeout bool
	below   func() []error // a func, so that no way of printing shows what the errors hold
}

// Error says what failed, for which agent, and what to do.
func (e *Error) Error() string {
	if e.renewal {
		return "authsec: no new token for agent " + e.agent + ": " + e.reason
	}
	return "authsec: no token for agent " + e.agent + ": " + e.reason
}

// Timeout reports whether the server or the Credential took too long. With
// Temporary, which reports the same, it makes an Error a [net.Error].
func (e *Error) Timeout() bool   { return e.timeout }
func (e *Error) Temporary() bool { return e.timeout }

// Unwrap returns the sentinel, the cause and the [*oauth2.RetrieveError], where
// there is one.
func (e *Error) Unwrap() []error {
	if e.below == nil {
		return nil
	}
	return e.below()
}

// newError makes an Error with errs below it. Some of these may be nil.
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

// answered makes e the error of an answer with this status.
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

// duringRenewal is e for those who still have a good token.
func (e *Error) duringRenewal() *Error {
	c := *e
	c.renewal = true
	return &c
}

// statusText is a status line's end without the server's own words.
func statusText(status int) string {
	return strings.TrimSpace(fmt.Sprintf("%d %s", status, http.StatusText(status)))
}

// nonRetriable is azcore's marker of errors that only an admin can mend.
type nonRetriable struct{}

func (nonRetriable) Error() string { return "authsec: an admin must act before a retry can succeed" }
func (nonRetriable) NonRetriable() {}

// fetchCause is the cause of a failed fetch. It is not the end of a context: that
// would look like the end of the caller's own.
type fetchCause struct{ err error }

func (c fetchCause) Error() string { return c.err.Error() }

func (c fetchCause) Is(target error) bool {
	return target != context.DeadlineExceeded && target != context.Canceled && errors.Is(c.err, target)
}

func (c fetchCause) As(target any) bool {
	switch target.(type) {
	case **oauth2.RetrieveError, **Error: // a Credential's own: not to be taken for this failure
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
