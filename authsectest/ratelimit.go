// Copyright 2026 The authsec Authors
// SPDX-License-Identifier: Apache-2.0

package authsectest

import (
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"time"
)

// limiter counts requests by address. A request that gets a 429 does not count.
type limiter struct {
	n      int // requests in a window; 0: no limit
	window time.Duration
	served map[string][]time.Time // requests in the window
	full   map[string]time.Time   // when the stricter limit's bucket is full again
}

// The stricter limit of jwt/renew and jwt/validate: 5 requests at once, and another
// every 6 s.
const (
	strictBurst    = 5
	strictInterval = 6 * time.Second
)

// LimitRate makes the server answer 429 to more than n requests from one address in
// a sliding window, over all its paths. 0: no limit. Real servers allow 100 a
// minute. The older generation trusts any X-Forwarded-For. Requests that [Server.Fail]
// or [Server.FailNext] answer do not count.
//
// With a limit, jwt/renew and jwt/validate have a stricter one as well: 10 requests
// a minute, 5 at once.
func (s *Server) LimitRate(n int, window time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.limit = limiter{n: n, window: window, served: map[string][]time.Time{}, full: map[string]time.Time{}}
}

// overLimit counts a request. It returns the body of a 429, or nil.
func (s *Server) overLimit(r *http.Request) map[string]any {
	s.mu.Lock()
	defer s.mu.Unlock()
	l := &s.limit
	if l.n == 0 {
		return nil
	}
	now, address := time.Now(), s.address(r)
	served := slices.DeleteFunc(l.served[address], func(t time.Time) bool { return now.Sub(t) >= l.window })
	l.served[address] = served
	if len(served) >= l.n {
		return map[string]any{
			"error": "Rate limit exceeded", "limit": l.n, "window": l.window.String(),
			"message": fmt.Sprintf("Too many requests. Maximum %d requests per %v allowed. Please try again later.", l.n, l.window),
		}
	}
	l.served[address] = append(served, now)
	return nil
}

// overStrictLimit counts a request to jwt/renew or jwt/validate, and answers 429 if it
// is over the limit.
func (s *Server) overStrictLimit(w http.ResponseWriter, r *http.Request) bool {
	s.mu.Lock()
	over := false
	if l := &s.limit; l.n > 0 {
		now, address := time.Now(), s.address(r)
		full := l.full[address]
		if full.Before(now) {
			full = now
		}
		if over = full.Sub(now) > (strictBurst-1)*strictInterval; !over {
			l.full[address] = full.Add(strictInterval)
		}
	}
	s.mu.Unlock()
	if over {
		w.Header().Set("Retry-After", "60")
		writeJSON(w, http.StatusTooManyRequests, nestedError("RATE_LIMITED", "Too many requests. Please try again later."))
	}
	return over
}

// address is the address that a request counts for. mu is held.
func (s *Server) address(r *http.Request) string {
	if !s.newer() {
		first, _, _ := strings.Cut(r.Header.Get("X-Forwarded-For"), ",")
		if ip, err := netip.ParseAddr(strings.TrimSpace(first)); err == nil {
			return ip.String()
		}
	}
	host, _, err := net.SplitHostPort(r.RemoteAddr)
	if err != nil {
		return r.RemoteAddr
	}
	return host
}
