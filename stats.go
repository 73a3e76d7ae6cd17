// Copyright 2026 The authsec Authors
// SPDX-License-Identifier: Apache-2.0

package authsec

import (
	"fmt"
	"time"
)

// Stats is what a [Source] has done so far and what it holds.
type Stats struct {
	Fetches     uint64     // fetches that asked the endpoint; the retries within one are not counted
	Failures    uint64     // fetches that brought no usable token
	Renewals    uint64     // times that another token replaced one that was still good
	Rejections  uint64     // tokens that APIs rejected, one for each call of Renew
	Expiry      time.Time  // of the token in service, on the local clock; zero: no token
	LastSuccess time.Time  // when a fetch last brought a usable token; zero: never
	LastError   error      // of the latest fetch; nil: it succeeded, or there was none
	NextFetch   time.Time  // the earliest time of the next fetch, unless an API rejects the token; zero: now, or one is running
	Cache       CacheStats // zero without [Config.Cache]
}

// CacheStats is what a [Source] has done with its [Cache].
type CacheStats struct {
	Hits      uint64 // fetches that the cache answered, so that the endpoint was not asked
	Misses    uint64 // fetches that it did not answer
	Rejects   uint64 // entries that were not used: they do not decrypt, fail the checks of a token response, or are older than one seen
	Failures  uint64 // uses that failed, or took longer than CacheConfig.Timeout
	LastError error  // of the latest of these; nil: there was none
}

// Stats returns what the source has done so far. It never waits for a fetch.
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

// String returns the figures on one line, without secrets.
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
