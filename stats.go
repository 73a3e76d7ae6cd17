// Copyright 2026 The authsec Authors
// SPDX-License-Identifier: Apache-2.0

package authsec

import (
	"fmt"
	"time"
)

// Stats has the counters and the present state of a [Source].
type Stats struct {
	Fetches     uint64     // fetches from the server, also if Config.Credential failed; retries are not counted
	Failures    uint64     // fetches that brought no usable token, from the server or the cache
	Renewals    uint64     // how often another token replaced a good one
	Rejections  uint64     // how often an API rejected a token: one for each call of Renew and each request with a 401
	Expiry      time.Time  // of the token in service, on the local clock; zero: no token
	LastSuccess time.Time  // when a fetch last brought a usable token; zero: never
	LastError   error      // the error of the latest fetch; nil: it succeeded, or there was no fetch
	NextFetch   time.Time  // the earliest fetch without a rejection or Refresh; zero: the next call starts it, or it is running
	Cache       CacheStats // zero without [Config.Cache]
}

// CacheStats has the counters of a [Source]'s uses of its [Cache].
type CacheStats struct {
	Hits      uint64 // fetches that got a token or a failure from the cache, and did not ask the server
	Misses    uint64 // fetches that got nothing from the cache
	Rejects   uint64 // entries that were not used: they do not decrypt, are not valid, or are older than one seen before
	Failures  uint64 // uses that failed, or took longer than CacheConfig.Timeout
	LastError error  // the error of the latest failure; nil: there was none
}

// Stats returns the counters and the present state. It never waits for a fetch.
func (s *Source) Stats() Stats {
	if !s.made() {
		return Stats{}
	}
	s.mu.Lock()
	stats := s.stats
	now := s.now()
	if s.life.Token.Good(now) {
		stats.Expiry = time.Unix(0, int64(s.life.Token.Expiry()))
	}
	if next := s.life.NextFetch(now); next > now.Mono {
		stats.NextFetch = s.wallTime(now, next)
	}
	s.mu.Unlock()
	stats.Fetches = s.server.fetches.Load()
	if c, ok := s.fetcher.(*shared); ok {
		stats.Cache = c.statsNow()
	}
	return stats
}

// String returns the statistics on one line, without secrets.
func (s Stats) String() string {
	text := fmt.Sprintf("fetches=%d failures=%d renewals=%d rejections=%d", s.Fetches, s.Failures, s.Renewals, s.Rejections)
	for _, t := range []struct {
		name string
		time time.Time
	}{{"expiry", s.Expiry}, {"last_success", s.LastSuccess}, {"next_fetch", s.NextFetch}} {
		if !t.time.IsZero() {
			text += " " + t.name + "=" + t.time.Format(time.RFC3339)
		}
	}
	if c := s.Cache; c != (CacheStats{}) {
		text += fmt.Sprintf(" cache_hits=%d cache_misses=%d cache_rejects=%d cache_failures=%d", c.Hits, c.Misses, c.Rejects, c.Failures)
	}
	if s.LastError != nil {
		text += fmt.Sprintf(" last_error=%q", s.LastError)
	}
	return text
}
