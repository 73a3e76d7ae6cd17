// Copyright 2026 The authsec Authors
// SPDX-License-Identifier: Apache-2.0

package authsec

import (
	"context"
	"log/slog"
	"net/http"
	"net/url"
	"sync"
	"sync/atomic"

	"github.com/authsec-go/authsec/internal/hosts"
)

// maxNotices is the number of hosts whose events a Transport logs at Warn. Events of
// other hosts are logged at Debug.
const maxNotices = 100

// notices logs a Transport's events: at Warn once for each host, then at Debug.
type notices struct {
	log      *slog.Logger // nil: silent
	rejects  atomic.Int32 // len(rejected)
	mu       sync.Mutex   // guards what follows; held for a few instructions only
	withheld map[string]bool
	rejected map[string]bool // hosts that rejected a token, and have accepted none since
}

func (n *notices) tokenWithheld(ctx context.Context, u *url.URL) {
	if n.log == nil {
		return
	}
	host := hosts.Place(u)
	n.mu.Lock()
	level := once(&n.withheld, host)
	n.mu.Unlock()
	writeTo(ctx, n.log, record{level, "token withheld", []any{"host", host, "hint", "list the host in Hosts (AUTHSEC_HOSTS in the environment) if the token belongs there"}})
}

func (n *notices) tokenRejected(ctx context.Context, u *url.URL, status int, another bool) {
	if n.log == nil {
		return
	}
	host := hosts.Place(u)
	n.mu.Lock()
	level := once(&n.rejected, host)
	n.rejects.Store(int32(len(n.rejected)))
	n.mu.Unlock()
	writeTo(ctx, n.log, record{level, "token rejected", []any{"host", host, "status", status, "another_token", another}})
}

// answered notes that a host accepted the token, unless the answer is a 401 or a 5xx.
// A 5xx does not show whether the host accepted the token.
func (n *notices) answered(u *url.URL, status int) {
	if n.rejects.Load() == 0 || status == http.StatusUnauthorized || status >= 500 {
		return
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	delete(n.rejected, hosts.Place(u))
	n.rejects.Store(int32(len(n.rejected)))
}

// once adds host to a set, and returns the level for its event.
func once(set *map[string]bool, host string) slog.Level {
	if (*set)[host] || len(*set) >= maxNotices {
		return slog.LevelDebug
	}
	if *set == nil {
		*set = map[string]bool{}
	}
	(*set)[host] = true
	return slog.LevelWarn
}
