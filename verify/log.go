// Copyright 2026 The authsec Authors
// SPDX-License-Identifier: Apache-2.0

package verify

import (
	"context"
	"log/slog"
)

// record is a log record that is written once no lock is held.
type record struct {
	level slog.Level
	msg   string
	attrs []any
}

// writeTo logs a record; a nil log is silent. A handler that panics does no harm.
func (r record) writeTo(ctx context.Context, log *slog.Logger) {
	if log == nil {
		return
	}
	defer func() { _ = recover() }()
	log.Log(ctx, r.level, r.msg, r.attrs...)
}
