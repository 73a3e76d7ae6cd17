// Copyright 2026 The authsec Authors
// SPDX-License-Identifier: Apache-2.0

package authsec

import (
	"context"
	"errors"
	"fmt"
	"html"
	"net/http"
	"net/url"
	"regexp"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"golang.org/x/oauth2"
)

// Errors to be told apart with [errors.Is]. Those that a server's answer
// caused come within an [*Error].
var (
	// ErrNotDelegated: the agent has no delegation, or it ended. An admin must
	// delegate to it. The server's 404 and 410.
	ErrNotDelegated = errors.New("authsec: not delegated")

	// ErrDelegationExpired: the agent's delegation ended. The server says so
	// once (its 410), to whichever caller asks first, and then that there is
	// none; so an error that is ErrDelegationExpired is ErrNotDelegated too.
	ErrDelegationExpired = errors.New("authsec: delegation expired")

	// ErrUnauthorized: the endpoint refused the caller's own credential, or
	// wants one. The server's 401 and 403. See [Config.Credential].
	ErrUnauthorized = errors.New("authsec: unauthorized")

	// ErrInvalidClientID: the server does not accept the client ID's form. Its 400.
	ErrInvalidClientID = errors.New("authsec: invalid client ID")

	// ErrRateLimited: the server allows no more requests for now. Its 429.
	ErrRateLimited = errors.New("authsec: rate limited")

	// ErrInvalidResponse: the answer is not one that an AuthSec server gives, or
	// its token can't be used: a wrong base URL, a redirect, a proxy's page,
	// malformed JSON, another agent's token, one that has expired or whose
	// signature does not verify.
	ErrInvalidResponse = errors.New("authsec: invalid response")

	// ErrInsecureURL: a token would have gone over plain HTTP, to a host that is
	// neither this machine nor permitted by name (RFC 6750, section 5.3).
	ErrInsecureURL = errors.New("authsec: insecure URL")
)

// Error is a failure to get a token. Several callers may hold the same one:
// do not change it.
//
// When an answer came, it unwraps to an [*oauth2.RetrieveError] too. Of that
// one, Response holds only Status and StatusCode, and Body is a JSON object of
// Message and Details, or empty.
type Error struct {
	// StatusCode is the answer's. 0: no answer came.
	StatusCode int
	// Message and Details are what the server said, the fields "error" and
	// "details" of its answer, cut short and with secrets struck out.
	Message string
	Details string
	// RetryAfter is how long, from the moment of the answer, the server wants
	// not to be asked again, and a Source does not ask: its Retry-After, or, of a
	// 429 without one, once to twice its window. More than 5 minutes of either
	// count as 5. 0: it did not say.
	RetryAfter time.Duration

	text string
	// Behind a func, where no way of formatting prints what the errors hold.
	unwrap func() []error
	// noDelegation: the server said that it has no token for this agent. Not
	// so for a 404 that a server with no database gives as well.
	noDelegation bool
	told         time.Time     // when the server said it, on its clock; zero: it did not
	held         time.Duration // another process was told, and does not ask again for as long; 0: this one was
}

// Error says what failed, for which agent, and what to do.
func (e *Error) Error() string { return e.text }

// Unwrap returns the sentinel, the cause and the [*oauth2.RetrieveError], as
// far as there are such.
func (e *Error) Unwrap() []error {
	if e.unwrap == nil {
		return nil
	}
	return e.unwrap()
}

// newError makes an Error with errs, of which some may be nil, below it.
func newError(text string, errs ...error) *Error {
	var some []error
	for _, err := range errs {
		if err != nil {
			some = append(some, err)
		}
	}
	return &Error{text: text, unwrap: func() []error { return some }}
}

// answered makes e the error of an answer with this status. shown is what may
// be shown of its body.
func (e *Error) answered(status int, shown []byte) *Error {
	e.StatusCode = status
	re := &oauth2.RetrieveError{
		Response: &http.Response{StatusCode: status, Status: statusText(status)},
		Body:     shown,
	}
	below := append(e.Unwrap(), re)
	e.unwrap = func() []error { return below }
	return e
}

// statusText is the status line's end without the server's own words.
func statusText(status int) string {
	return strings.TrimSpace(fmt.Sprintf("%d %s", status, http.StatusText(status)))
}

// waitError says that a context ended a wait.
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

// Timeout and Temporary are what net.Error has, by which net/http's users tell a time-out.
func (e *waitError) Timeout() bool   { return errors.Is(e.err, context.DeadlineExceeded) }
func (e *waitError) Temporary() bool { return e.Timeout() }

const (
	shownID   = 8   // characters of a client ID that may be shown
	shownText = 512 // bytes of a server's own words that may be shown
)

// shortID is what may be shown of a client ID. Of one that is no longer than
// what may be shown, half.
func shortID(id string) string {
	n := 0
	limit := shownID
	if utf8.RuneCountInString(id) <= shownID {
		limit = utf8.RuneCountInString(id) / 2
	}
	for i := range id {
		if n == limit {
			return id[:i] + "…"
		}
		n++
	}
	return id
}

const struckOut = "[redacted]"

var (
	// A JWT, or its beginning: what `{"` is in base64url.
	jwtLike    = regexp.MustCompile(`eyJ[A-Za-z0-9_-]{5,}(\.[A-Za-z0-9_-]*)*`)
	bearerLike = regexp.MustCompile(`(?i)\b(bearer)[\s:]+[A-Za-z0-9._~+/-]{16,}=*`)
)

// redact makes foreign text fit to be printed: the secrets, and whatever looks
// like a token, are struck out, client IDs shortened, control characters
// replaced, the rest cut. Text that holds a secret in some encoding is struck
// out as a whole.
func redact(text string, clientID string, secrets ...string) string {
	text = strings.ToValidUTF8(text, "?")
	for _, secret := range secrets {
		if secret != "" {
			text = strings.ReplaceAll(text, secret, struckOut)
		}
	}
	text = shorten(text, clientID)
	for _, plain := range []string{html.UnescapeString(text), unescape(text), unescape(html.UnescapeString(text))} {
		for _, secret := range append(secrets, clientID) {
			if secret != "" && containsFold(plain, secret) {
				return struckOut
			}
		}
	}
	text = jwtLike.ReplaceAllString(text, struckOut)
	text = bearerLike.ReplaceAllString(text, "$1 "+struckOut)
	text = strings.Map(func(r rune) rune {
		if unicode.IsControl(r) || !unicode.IsPrint(r) {
			return ' '
		}
		return r
	}, text)
	return cut(strings.TrimSpace(text), shownText)
}

// percentEncoded is one byte as URLs spell it (RFC 3986, section 2.1).
var percentEncoded = regexp.MustCompile(`%[0-9A-Fa-f]{2}`)

// unescape decodes what is percent-encoded, and leaves all else as it is.
func unescape(text string) string {
	return percentEncoded.ReplaceAllStringFunc(text, func(s string) string {
		b, _ := strconv.ParseUint(s[1:], 16, 8)
		return string([]byte{byte(b)})
	})
}

func containsFold(s, part string) bool {
	return strings.Contains(strings.ToLower(s), strings.ToLower(part))
}

// shorten shows the client ID's beginning only, wherever text has it: in any
// case, and as a URL spells it.
func shorten(text, clientID string) string {
	if clientID == "" {
		return text
	}
	pattern := `(?i)` + regexp.QuoteMeta(clientID)
	if escaped := url.QueryEscape(clientID); escaped != clientID {
		pattern += `|` + regexp.QuoteMeta(escaped) + `|` + regexp.QuoteMeta(url.PathEscape(clientID))
	}
	re, err := regexp.Compile(pattern)
	if err != nil { // only for an ID that no URL or header could hold
		return struckOut
	}
	return re.ReplaceAllLiteralString(text, shortID(clientID))
}

func cut(s string, n int) string {
	if len(s) <= n {
		return s
	}
	for n > 0 && !utf8.RuneStart(s[n]) {
		n--
	}
	return s[:n] + "…"
}
