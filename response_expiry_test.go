// Copyright 2026 The authsec Authors
// SPDX-License-Identifier: Apache-2.0

package authsec_test

import (
	"context"
	"fmt"
	"net/http"
	"sync/atomic"
	"testing"
	"time"

	"github.com/authsec-go/authsec"
	"github.com/golang-jwt/jwt/v5"
)

func TestExpiryIsTheEarliestNamed(t *testing.T) {
	zone := func(hours, minutes int) *time.Location { return time.FixedZone("", hours*3600+minutes*60) }
	for _, tt := range []struct {
		claim     string
		expiresAt func(now time.Time) string
		exp       time.Duration // the JWT's, from now; 0: an opaque token
		ttl       any
		want      time.Duration // from now; 0: an error
		expired   bool          // which is ErrDelegationExpired
	}{
		{claim: "none", want: 0},
		{claim: "expires_at alone", expiresAt: func(n time.Time) string { return n.Add(time.Hour).UTC().Format(time.RFC3339) }, want: time.Hour},
		{claim: "microseconds", expiresAt: func(n time.Time) string {
			return n.Add(time.Hour + 865070*time.Microsecond).UTC().Format("2006-01-02T15:04:05.99999Z")
		}, want: time.Hour + 865070*time.Microsecond},
		{claim: "one digit", expiresAt: func(n time.Time) string {
			return n.Add(time.Hour + 500*time.Millisecond).UTC().Format("2006-01-02T15:04:05.9Z")
		}, want: time.Hour + 500*time.Millisecond},
		{claim: "twelve digits", expiresAt: func(n time.Time) string {
			return n.Add(time.Hour).UTC().Format("2006-01-02T15:04:05") + ".123456789999Z"
		}, want: time.Hour + 123456789},
		{claim: "offset ahead", expiresAt: func(n time.Time) string { return n.Add(time.Hour).In(zone(5, 30)).Format(time.RFC3339Nano) }, want: time.Hour},
		{claim: "offset behind", expiresAt: func(n time.Time) string { return n.Add(time.Hour).In(zone(-12, 0)).Format(time.RFC3339Nano) }, want: time.Hour},
		{claim: "offset zero", expiresAt: func(n time.Time) string { return n.Add(time.Hour).UTC().Format("2006-01-02T15:04:05+00:00") }, want: time.Hour},
		{claim: "exp alone", exp: 30 * time.Minute, want: 30 * time.Minute},
		{claim: "exp earlier by less than a second", expiresAt: func(n time.Time) string {
			return n.Add(time.Hour + 900*time.Millisecond).UTC().Format(time.RFC3339Nano)
		}, exp: time.Hour, want: time.Hour},
		{claim: "exp earlier", expiresAt: func(n time.Time) string { return n.Add(time.Hour).UTC().Format(time.RFC3339) }, exp: time.Minute, want: time.Minute},
		{claim: "expires_at earlier", expiresAt: func(n time.Time) string { return n.Add(time.Minute).UTC().Format(time.RFC3339) }, exp: time.Hour, want: time.Minute},
		{claim: "ttl_seconds alone", ttl: 90, want: 90 * time.Second},
		{claim: "ttl_seconds with a fraction", ttl: 1.5, want: 1500 * time.Millisecond},
		{claim: "ttl_seconds counts only without the others", expiresAt: func(n time.Time) string { return n.Add(time.Hour).UTC().Format(time.RFC3339) }, ttl: 5, want: time.Hour},
		{claim: "ttl_seconds counts only without exp", exp: time.Hour, ttl: 5, want: time.Hour},
		{claim: "ttl_seconds 0", ttl: 0, want: 0},
		{claim: "ttl_seconds negative", ttl: -5, want: 0},
		{claim: "expires_at past", expiresAt: func(n time.Time) string { return n.Add(-time.Second).UTC().Format(time.RFC3339) }, ttl: 60, want: 0, expired: true},
		{claim: "expires_at now", expiresAt: func(n time.Time) string { return n.UTC().Format(time.RFC3339) }, want: 0, expired: true},
		{claim: "exp past, within the second of expires_at", expiresAt: func(n time.Time) string { return n.Add(500 * time.Millisecond).UTC().Format(time.RFC3339Nano) }, exp: -time.Second, want: 0, expired: true},
		{claim: "expires_at past for longer", expiresAt: func(n time.Time) string { return n.Add(-3 * time.Second).UTC().Format(time.RFC3339) }, want: 0},
		{claim: "ttl_seconds in a string", ttl: "3600", want: time.Hour},
		{claim: "ttl_seconds in a string, beside expires_at", expiresAt: func(n time.Time) string { return n.Add(time.Hour).UTC().Format(time.RFC3339) }, ttl: "5", want: time.Hour},
		{claim: "exp past", expiresAt: func(n time.Time) string { return n.Add(time.Hour).UTC().Format(time.RFC3339) }, exp: -time.Minute, want: 0},
		{claim: "long past", expiresAt: func(time.Time) string { return "0002-01-01T00:00:00Z" }, want: 0},
		{claim: "Go's zero time is past, too", expiresAt: func(time.Time) string { return "0001-01-01T00:00:00Z" }, ttl: 60, want: 0},
		{claim: "1 s of life", expiresAt: func(n time.Time) string { return n.Add(time.Second).UTC().Format(time.RFC3339) }, want: time.Second},
	} {
		inBubble(t, tt.claim, func(t *testing.T) {
			now := time.Now()
			fields := map[string]any{"token": opaque}
			if tt.expiresAt != nil {
				fields["expires_at"] = tt.expiresAt(now)
			}
			if tt.ttl != nil {
				fields["ttl_seconds"] = tt.ttl
			}
			if tt.exp != 0 {
				fields["token"] = unverified(t, jwt.MapClaims{"exp": now.Add(tt.exp).Unix()})
			}
			src := endpointSource(t, answerJSON(t, fields))
			token, err := src.Token()
			if tt.want == 0 {
				if err == nil {
					t.Fatalf("a token with expiry %v, want an error", token.Expiry)
				}
				is := []string{"ErrInvalidResponse"}
				if tt.expired {
					is = []string{"ErrDelegationExpired", "ErrNotDelegated"}
				}
				checkRefusal(t, err, 200, "", is, "exp")
				return
			}
			if err != nil {
				t.Fatalf("Token: %v", err)
			}
			if got := token.Expiry.Sub(now); got != tt.want {
				t.Errorf("Expiry is %v from now, want %v", got, tt.want)
			}
			d, err := src.Delegation(context.Background())
			if want := now.Add(tt.want); err != nil || tt.ttl == nil && !d.ExpiresAt.Equal(want) {
				t.Errorf("Delegation.ExpiresAt is %v (error %v), want %v", d.ExpiresAt, err, want)
			}
		})
	}
}

// sourceSkewedServer gives out one opaque token until it is down, by a clock that
// is off, through a cache perhaps.
type sourceSkewedServer struct {
	offset  time.Duration // of its clock
	age     time.Duration // of its answers
	latency time.Duration
	expiry  time.Time // by the true clock
	ttlOnly bool      // names ttl_seconds, for a token issued when the answer was, rather than expires_at
	down    atomic.Bool
}

func (s *sourceSkewedServer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	time.Sleep(s.latency / 2)
	answered := time.Now().Add(-s.age)
	w.Header().Set("Date", answered.Add(s.offset).UTC().Format(http.TimeFormat))
	if s.age > 0 {
		w.Header().Set("Age", fmt.Sprint(int(s.age.Seconds())))
	}
	w.Header().Set("Content-Type", "application/json")
	switch {
	case s.down.Load():
		w.WriteHeader(404)
		fmt.Fprint(w, `{"error":"No active delegation token found"}`)
	case s.ttlOnly:
		fmt.Fprintf(w, `{"token":"opaque","ttl_seconds":%d}`, int(s.expiry.Sub(answered).Seconds()))
	default:
		fmt.Fprintf(w, `{"token":"opaque","expires_at":%q}`, s.expiry.Add(s.offset).Format(time.RFC3339Nano))
	}
	time.Sleep(s.latency / 2)
}

func TestExpiryIsByTheServersClock(t *testing.T) {
	const ttl = 10 * time.Minute
	tests := []struct {
		name  string
		srv   sourceSkewedServer
		early time.Duration // how much too early the token may be given up
	}{
		{"clocks agree", sourceSkewedServer{}, 0},
		{"clocks agree, slow", sourceSkewedServer{latency: 2 * time.Second}, 0},
		{"server 3 h ahead", sourceSkewedServer{offset: 3 * time.Hour}, time.Second},
		{"server 3 h behind", sourceSkewedServer{offset: -3 * time.Hour}, time.Second},
		{"server 2 days ahead", sourceSkewedServer{offset: 48 * time.Hour}, time.Second},
		{"server 2 days behind", sourceSkewedServer{offset: -48 * time.Hour}, time.Second},
		{"server 3 h ahead, slow", sourceSkewedServer{offset: 3 * time.Hour, latency: 2 * time.Second}, 3 * time.Second},
		{"server 3 h behind, slow", sourceSkewedServer{offset: -3 * time.Hour, latency: 2 * time.Second}, 3 * time.Second},
		{"server 90 s ahead", sourceSkewedServer{offset: 90 * time.Second}, time.Second},
		{"server 90 s behind", sourceSkewedServer{offset: -90 * time.Second}, time.Second},
		{"server a fraction behind", sourceSkewedServer{offset: -90*time.Second + 300*time.Millisecond}, time.Second},
		{"answer aged 4 min", sourceSkewedServer{age: 4 * time.Minute}, 0},
		{"answer aged 4 min, server 3 h ahead", sourceSkewedServer{age: 4 * time.Minute, offset: 3 * time.Hour}, time.Second},
		{"answer aged 4 min, server 3 h behind", sourceSkewedServer{age: 4 * time.Minute, offset: -3 * time.Hour}, time.Second},
		{"time to live", sourceSkewedServer{ttlOnly: true, offset: 3 * time.Hour}, 0},
		{"time to live, slow", sourceSkewedServer{ttlOnly: true, offset: 3 * time.Hour, latency: 2 * time.Second}, time.Second},
		{"time to live, answer aged 4 min", sourceSkewedServer{ttlOnly: true, age: 4 * time.Minute, offset: -3 * time.Hour}, 0},
	}
	for i := range tests {
		tt := &tests[i]
		inSourceBubble(t, tt.name, func(t *testing.T, x *sourceFixture) {
			x.names["opaque"] = "A"
			tt.srv.expiry = time.Now().Add(ttl)
			x.start(answeredBy(&tt.srv))
			token, err := x.src.Token()
			if err != nil {
				t.Fatalf("Token: got error %v, want a token", err)
			}
			x.wantWithin("Expiry, after the true one", token.Expiry.Sub(tt.srv.expiry), -tt.early, 0)
			tt.srv.down.Store(true)
			x.sleep(time.Until(tt.srv.expiry) - tt.early - time.Nanosecond)
			x.want("A")
			x.sleep(time.Until(tt.srv.expiry))
			x.wantError(authsec.ErrNotDelegated)
		})
	}
}
