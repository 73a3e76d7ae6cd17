// Copyright 2026 The authsec Authors
// SPDX-License-Identifier: Apache-2.0

package fetchtool

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/authsec-go/authsec"
	"github.com/authsec-go/authsec/internal/redact"
	"github.com/authsec-go/authsec/internal/wire"
)

// Kind says what went wrong with a call.
type Kind string

// The kinds of an [Error].
const (
	BadInput          Kind = "bad input"          // the input is not as the schema says, or its method is not permitted
	TooLarge          Kind = "too large"          // the request's body, or the input
	URLRefused        Kind = "url refused"        // the URL lies below none of the permitted ones, or is ambiguous
	RedirectRefused   Kind = "redirect refused"   // a redirect led elsewhere, or there were too many
	NotDelegated      Kind = "not delegated"      // an admin must delegate to the agent
	MissingPermission Kind = "missing permission" // the delegation lacks one of Config.Permissions
	Unauthorized      Kind = "unauthorized"       // the API's 401
	Forbidden         Kind = "forbidden"          // the API's 403
	NotFound          Kind = "not found"          // the API's 404 and 410
	RateLimited       Kind = "rate limited"       // the API's 429
	BadStatus         Kind = "bad status"         // any other answer that is neither a success nor a 5xx
	Unavailable       Kind = "unavailable"        // a 5xx, no connection, a broken answer, or no token for now
	TimedOut          Kind = "timed out"          // the call took longer than Config.Timeout
	NotText           Kind = "not text"           // the answer can't be shown to a model
	Misconfigured     Kind = "misconfigured"      // AuthSec rejects the agent's client ID or credential, which a model can't repair
)

// Error is why a call brought no answer. Neither its text nor its fields hold a
// token, a client ID or the AuthSec server's URL. It unwraps to its cause. A cause from
// package authsec has the beginning of the client ID and the server's URL in its text.
// Any other cause is from net/http, without the token and the client ID.
type Error struct {
	Kind Kind
	// StatusCode is the API's. 0: it did not answer.
	StatusCode int
	// RetryAfter is the wait that the API or AuthSec asks for. 0: none.
	RetryAfter time.Duration
	// Advice says what happened and what to do, for a model.
	Advice string
	// Answer is the beginning of the API's answer, if that is text.
	Answer string

	cause func() error // a func, so that no way of printing shows what the error holds
}

func (e *Error) Error() string { return "fetchtool: " + string(e.Kind) + ": " + e.Advice }

// Unwrap returns the cause, if there is one.
func (e *Error) Unwrap() error {
	if e.cause == nil {
		return nil
	}
	return e.cause()
}

func (e *Error) causedBy(err error) *Error {
	e.cause = func() error { return err }
	return e
}

// forModel is what Call returns for the error.
func (e *Error) forModel() string {
	text := "Error: " + e.Advice
	if e.Answer != "" {
		text += "\n\nThe API's answer:\n" + e.Answer
	}
	return text
}

func fail(kind Kind, format string, args ...any) *Error {
	return &Error{Kind: kind, Advice: fmt.Sprintf(format, args...)}
}

// ended is the error of a call whose own context has ended.
func ended(ctx context.Context) error {
	err, cause := ctx.Err(), context.Cause(ctx)
	if cause == err {
		return fmt.Errorf("fetchtool: the call was given up: %w", err)
	}
	return fmt.Errorf("fetchtool: the call was given up: %w: %w", err, cause)
}

const askAdmin = "Only an admin can change that, with a trust delegation in AuthSec. Do not repeat the call; tell the user."

// sent is what a call has sent, and what is known of its success.
type sent struct {
	method string // "": nothing was sent
	status int    // of the API's success; 0: none has arrived
}

// todo tells a model what to do after a call that brought no text. A request other
// than GET and HEAD may have changed something, so it must not be sent twice. usual
// is for all other requests.
func (s sent) todo(usual string) string {
	switch {
	case s.method == "" || s.method == http.MethodGet || s.method == http.MethodHead:
		return usual
	case s.status == 0:
		return fmt.Sprintf("The %s may have succeeded: check that before you send it again.", s.method)
	}
	return fmt.Sprintf("The %s succeeded (%s): do not send it again.", s.method, statusText(s.status))
}

func statusText(code int) string {
	return strings.TrimSpace(fmt.Sprintf("%d %s", code, http.StatusText(code)))
}

// failed returns the Error for a call without a token, a connection or a whole
// answer. ctx is the call's, bounded by timeout. Errors of net/http may quote a
// malformed answer, so the secrets are removed from the cause.
func failed(ctx context.Context, timeout time.Duration, s sent, err error, secrets []string) *Error {
	var own *Error
	if errors.As(err, &own) {
		return own
	}
	var e *authsec.Error
	var out *Error
	switch {
	case ctx.Err() != nil:
		out = fail(TimedOut, "There was no whole answer within %v. %s", timeout, s.todo("Ask for less, or try again later.")).causedBy(ctx.Err())
		out.StatusCode = s.status
		return out
	case errors.Is(err, authsec.ErrNotDelegated):
		out = fail(NotDelegated, "Nothing is delegated to this agent, or its delegation has ended. %s", askAdmin)
	case errors.Is(err, authsec.ErrInvalidClientID):
		out = fail(Misconfigured, "AuthSec does not accept this agent's client ID.")
	case errors.Is(err, authsec.ErrUnauthorized):
		out = fail(Misconfigured, "AuthSec does not accept this agent's own credential, or wants one.")
	case errors.As(err, &e):
		out = fail(Unavailable, "This agent can't get its credentials for now. %s", again(e.RetryAfter))
		out.RetryAfter = e.RetryAfter
	case s.status != 0:
		out = fail(Unavailable, "The API's answer broke off. %s", s.todo("Try again later."))
		out.StatusCode = s.status
	default:
		out = fail(Unavailable, "The API could not be reached, or its answer broke off. %s", s.todo("Try again later."))
	}
	if errors.As(err, &e) {
		return out.causedBy(e) // without what net/http wraps around it
	}
	return out.causedBy(redact.Conceal(err, "", secrets...))
}

// statusError returns the Error for an answer that is no success.
func statusError(resp *http.Response) *Error {
	status := statusText(resp.StatusCode)
	var e *Error
	switch code := resp.StatusCode; {
	case code == http.StatusUnauthorized:
		e = fail(Unauthorized, "The API does not accept this agent's credentials (%s): its delegation may have been revoked. %s", status, askAdmin)
	case code == http.StatusForbidden:
		e = fail(Forbidden, "The API does not permit this to this agent (%s). %s", status, askAdmin)
	case code == http.StatusNotFound || code == http.StatusGone:
		e = fail(NotFound, "The API has nothing at this URL (%s). Check the URL.", status)
	case code == http.StatusTooManyRequests:
		after := retryAfter(resp.Header)
		e = fail(RateLimited, "The API allows no more requests for now (%s). %s", status, again(after))
		e.RetryAfter = after
	case code >= 500:
		after := retryAfter(resp.Header)
		e = fail(Unavailable, "The API is not able to answer for now (%s). %s", status, again(after))
		e.RetryAfter = after
	default:
		e = fail(BadStatus, "The API does not accept this request (%s). Change the request, or give up.", status)
	}
	e.StatusCode = resp.StatusCode
	return e
}

// again says when to try again.
func again(after time.Duration) string {
	if after <= 0 {
		return "Try again later."
	}
	return fmt.Sprintf("Try again in %v, not before.", after.Round(time.Second))
}

// maxRetryAfter caps a Retry-After.
const maxRetryAfter = 24 * time.Hour

func retryAfter(h http.Header) time.Duration {
	after, _ := wire.RetryAfter(h)
	return min(after, maxRetryAfter)
}
