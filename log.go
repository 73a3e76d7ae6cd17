// Copyright 2026 The authsec Authors
// SPDX-License-Identifier: Apache-2.0

package authsec

import (
	"context"
	"log/slog"
	"strings"
	"time"

	"github.com/authsec-go/authsec/internal/lifecycle"
)

const (
	lossEvery     = 5 * time.Minute // how often "no token" is logged again
	maxClockError = time.Minute     // a smaller error of the local clock is not logged
)

// record is a log record that is written once no lock is held.
type record struct {
	level slog.Level
	msg   string
	attrs []any
}

// writeTo logs a record. A handler that panics does no harm.
func writeTo(ctx context.Context, log *slog.Logger, r record) {
	defer func() { recover() }()
	log.Log(ctx, r.level, r.msg, r.attrs...)
}

// write logs records about the agent.
func (s *Source) write(records ...record) {
	if s.log == nil {
		return
	}
	for _, r := range records {
		r.attrs = append([]any{"agent", s.server.agent}, r.attrs...)
		writeTo(context.Background(), s.log, r)
	}
}

// landRecords returns the records of a fetch that has landed. mu is held.
func (s *Source) landRecords(now lifecycle.Moment, event lifecycle.Event, out fetched, err *Error) (records []record) {
	if s.log == nil {
		return nil
	}
	expiresIn := s.life.Token.Left(now).Round(time.Millisecond)
	switch event {
	case lifecycle.NoToken:
		records = s.loss.records(s, now, err, true)
	case lifecycle.RenewalFailed:
		records = []record{{slog.LevelWarn, "renewal failed", append(s.failureAttrs(now, err), "expires_in", expiresIn)}}
	case lifecycle.Unchanged, lifecycle.Kept:
		records = []record{{slog.LevelDebug, "token unchanged", []any{"expires_in", expiresIn}}}
	case lifecycle.Renewed, lifecycle.Fetched:
		msg := "token fetched"
		if out.grant.shared {
			msg = "token picked up"
		} else if event == lifecycle.Renewed {
			msg = "token renewed"
		}
		records = []record{{slog.LevelInfo, msg, []any{"expires_in", expiresIn}}}
		s.loss = loss{clock: s.loss.clock}
	}
	if r := out.reply; r != nil && !s.loss.clock && (r.Ahead > maxClockError || r.Ahead < -maxClockError) {
		s.loss.clock = true
		records = append(records, record{slog.LevelWarn, "local clock is wrong", []any{"behind_server_by", r.Ahead.Round(time.Second)}})
	}
	return records
}

// failureAttrs returns the attributes of a failed fetch. mu is held.
func (s *Source) failureAttrs(now lifecycle.Moment, err *Error) []any {
	attrs := []any{"error", err.Error(), "status", err.StatusCode}
	if next := s.life.NextFetch(now); next != 0 {
		attrs = append(attrs, "next_attempt", s.wallTime(now, next))
	}
	if err.RequestID != "" {
		attrs = append(attrs, "request_id", err.RequestID)
	}
	return attrs
}

// wallTime converts a time of the monotonic clock to the wall clock.
func (s *Source) wallTime(now lifecycle.Moment, mono time.Duration) time.Time {
	return time.Unix(0, int64(now.Wall+mono-now.Mono))
}

// loss records what was logged about the loss of the token. The Source's mu guards it.
type loss struct {
	logged bool // "no token" was logged, and no token has come since
	cause  cause
	at     time.Duration // monotonic
	clock  bool          // "local clock is wrong" was logged
}

// cause is equal for failures with the same reason.
type cause struct {
	status  int
	message string // the server's; without an answer the reason, without digits: these differ each time
	timeout bool
}

func causeOf(err *Error) cause {
	c := cause{err.StatusCode, err.Message, err.timeout}
	if c.status == 0 {
		c.message = strings.Map(func(r rune) rune {
			if '0' <= r && r <= '9' { // a port, a time
				return -1
			}
			return r
		}, err.reason)
	}
	return c
}

// records returns the record "no token" when the token is lost, when the cause
// changes, and every lossEvery. fetched is false for a cached failure.
func (l *loss) records(s *Source, now lifecycle.Moment, failure error, fetched bool) []record {
	if s.log == nil || l.logged && !fetched && now.Mono-l.at < lossEvery {
		return nil
	}
	err := failure.(*Error) // every cached failure is one
	c := causeOf(err)
	if l.logged && c == l.cause && now.Mono-l.at < lossEvery {
		return nil
	}
	l.logged, l.cause, l.at = true, c, now.Mono
	return []record{{slog.LevelError, "no token", s.failureAttrs(now, err)}}
}
