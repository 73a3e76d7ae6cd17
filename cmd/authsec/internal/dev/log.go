// Copyright 2026 The authsec Authors
// SPDX-License-Identifier: Apache-2.0

package dev

import (
	"bytes"
	"context"
	"log/slog"
	"net/http"
	"strconv"

	"github.com/authsec-go/authsec/cmd/authsec/internal/loopback"
	"github.com/authsec-go/authsec/internal/redact"
)

// maxKept is how much of an answer is kept to explain it, in bytes.
const maxKept = 64 << 10

// answer is a ResponseWriter that remembers what the log line needs.
type answer struct {
	http.ResponseWriter
	status int          // 0: there is no answer yet
	body   bytes.Buffer // its beginning, which may have a token
	note   string       // why this answer, from whoever gave it
}

// Unwrap is for http.ResponseController.
func (a *answer) Unwrap() http.ResponseWriter { return a.ResponseWriter }

// WriteHeader sends the status.
func (a *answer) WriteHeader(status int) {
	if a.status == 0 {
		a.status = status
	}
	a.ResponseWriter.WriteHeader(status)
}

func (a *answer) Write(p []byte) (int, error) {
	if a.status == 0 {
		a.status = http.StatusOK
	}
	a.body.Write(p[:min(len(p), maxKept-a.body.Len())])
	return a.ResponseWriter.Write(p)
}

// answerKey is the context key of a request's *answer.
type answerKey struct{}

// noteFor adds to the log line of the request with this context.
func noteFor(ctx context.Context, note string) {
	if a, ok := ctx.Value(answerKey{}).(*answer); ok {
		a.note = note
	}
}

// reasons is a slog.Handler that notes why a Verifier rejected a request.
type reasons struct{}

func (reasons) Enabled(_ context.Context, level slog.Level) bool { return level >= slog.LevelInfo }
func (r reasons) WithAttrs([]slog.Attr) slog.Handler             { return r }
func (r reasons) WithGroup(string) slog.Handler                  { return r }

// Handle notes the record's reason.
func (reasons) Handle(ctx context.Context, rec slog.Record) error {
	rec.Attrs(func(attr slog.Attr) bool {
		if attr.Key == "reason" {
			noteFor(ctx, attr.Value.String())
		}
		return true
	})
	return nil
}

// logged serves programs on this machine. It writes a line for each request: time,
// method, path, status, and what explain says about it.
func (s *server) logged(next http.Handler, explain func(*http.Request, *answer) string) http.Handler {
	only := loopback.Only(next, s.opts.hosts...)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		a := &answer{ResponseWriter: w}
		r = r.WithContext(context.WithValue(r.Context(), answerKey{}, a))
		only.ServeHTTP(a, r)
		status, explanation := strconv.Itoa(a.status), ""
		switch {
		case a.status != 0 && !loopback.Permits(r, s.opts.hosts...):
			explanation = webPage
		case a.status != 0:
			explanation = explain(r, a)
		case r.Context().Err() != nil:
			status, explanation = "no answer:", "the client gave up, or the command ended"
		default:
			status = strconv.Itoa(http.StatusOK)
		}
		line := r.Method + " " + r.URL.EscapedPath() + " " + status
		if explanation != "" {
			line += " " + explanation
		}
		s.log.Print(redact.Text(line, "")) // a path may have a token in it, too
	})
}
