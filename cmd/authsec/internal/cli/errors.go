// Copyright 2026 The authsec Authors
// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strings"

	"github.com/authsec-go/authsec"
)

// UsageError says that a command was called wrongly. The program then exits with 2;
// other errors exit with 1.
type UsageError struct{ err error }

func (e *UsageError) Error() string { return e.err.Error() }
func (e *UsageError) Unwrap() error { return e.err }

// Usagef returns a UsageError with this text.
func Usagef(format string, args ...any) error { return &UsageError{fmt.Errorf(format, args...)} }

// advised is an error with advice of its own.
type advised struct {
	error
	do string
}

func (e *advised) Unwrap() error { return e.error }

// Advise returns err with advice: what the user can do about it, such as "choose
// another --listen". [Run] prints the advice below the error.
func Advise(err error, do string) error { return &advised{err, do} }

// stopped is the error of a command that had started.
type stopped struct{ error }

func (e *stopped) Unwrap() error { return e.error }

// Stopped marks err as the error of a command that had started. A command with
// [LogsErrors] logs it as "stopped", and its other errors as "not started".
func Stopped(err error) error { return &stopped{err} }

// ErrFailed ends a command that failed and has said so itself. [Run] prints nothing,
// and returns 1.
var ErrFailed = errors.New("failed")

// Advice returns what to do about an error, on one line. It returns "" if it does
// not know the error.
func Advice(err error) string {
	e := (*advised)(nil)
	switch {
	case errors.Is(err, context.Canceled): // whatever the command did just then
		return "the run was interrupted: run it again"
	case errors.As(err, &e):
		return e.do
	case errors.Is(err, authsec.ErrNotDelegated):
		return "ask an admin to delegate to this agent (AuthSec console, Trust Delegation); check AUTHSEC_AGENT_CLIENT_ID"
	case errors.Is(err, authsec.ErrUnauthorized):
		return "set AUTHSEC_API_TOKEN or AUTHSEC_API_TOKEN_FILE to a credential that this server accepts"
	case errors.Is(err, authsec.ErrInvalidClientID):
		return "set AUTHSEC_AGENT_CLIENT_ID to the client ID from the agent's page in the AuthSec console"
	case errors.Is(err, authsec.ErrRateLimited):
		return "wait two minutes and run it again; all agents behind one IP address share the server's limit"
	case errors.Is(err, authsec.ErrInsecureURL):
		return "use https in DOWNSTREAM_URL, or list its host in AUTHSEC_HOSTS with http:// before it"
	case errors.Is(err, authsec.ErrInvalidResponse):
		return "check that AUTHSEC_BASE_URL is the AuthSec server's root"
	}
	return ""
}

// exit says on w what went wrong, and returns the exit code. command is what the
// user called, such as "authsec mcp serve".
func exit(w io.Writer, command string, err error) int {
	text, do, code := explain(command, err)
	if text == "" {
		return code
	}
	text = command + ": " + text + "\n"
	if do != "" {
		text += "To do: " + do + "\n"
	}
	io.WriteString(w, text) // nobody can be told if it fails
	return code
}

// logExit is exit with a log record in JSON.
func logExit(w io.Writer, command string, err error) int {
	text, do, code := explain(command, err)
	msg := "not started"
	if errors.As(err, new(*stopped)) {
		msg = "stopped"
	}
	if text != "" {
		slog.New(slog.NewJSONHandler(w, nil)).Error(msg, "error", text, "do", do)
	}
	return code
}

// explain returns what to say about an error, each on one line, and the exit code.
// Without text there is nothing to say.
func explain(command string, err error) (text, do string, code int) {
	if err == nil {
		return "", "", 0
	}
	code, do = 1, Advice(err)
	if e := (*UsageError)(nil); errors.As(err, &e) && !errors.Is(err, context.Canceled) {
		code = 2
		if do == "" {
			do = "see " + command + " --help"
		}
	} else if errors.Is(err, ErrFailed) {
		return "", "", code
	}
	return strings.TrimSuffix(OneLine(err.Error()), "."), OneLine(do), code
}

// OneLine returns text without line breaks.
func OneLine(text string) string {
	return strings.NewReplacer("\r\n", "; ", "\n", "; ", "\r", "; ").Replace(text)
}
