// Copyright 2026 The authsec Authors
// SPDX-License-Identifier: Apache-2.0

package authsec_test

import (
	"fmt"
	"testing"
	"time"
)

// A process whose clock is wrong judges an entry by the server's clock, as far as the
// process knows that clock.
func TestEntryIsJudgedByTheServersClock(t *testing.T) {
	for _, c := range []struct {
		name  string
		ahead time.Duration // of the local clock is the server's
		age   time.Duration // of the entry
		want  time.Duration // for which the token is taken to be good
	}{
		{"together", 0, 30 * time.Minute, 30 * time.Minute},
		{"the local one is ahead", -10 * time.Minute, 30 * time.Minute, 20 * time.Minute},
		{"the local one is behind, as a new entry shows", 10 * time.Minute, 0, time.Hour},
		{"the local one is behind, which an old entry hides", 10 * time.Minute, 30 * time.Minute, 40 * time.Minute},
		{"the local one is far behind, as even an old entry shows", 24 * time.Hour, 30 * time.Minute, time.Hour},
	} {
		inFleetBubble(t, c.name, func(t *testing.T, x *fleet) {
			said := time.Now().Add(c.ahead - c.age).UTC()
			x.storeAnswer(said, fmt.Sprintf(`{"token":"opaque","expires_at":%q}`, said.Add(time.Hour).Format(time.RFC3339Nano)))
			x.pod()
			token, err := x.src.Token()
			if err != nil {
				t.Fatal(err)
			}
			if got := time.Until(token.Expiry); got != c.want {
				t.Errorf("good for %v, want %v", got, c.want)
			}
			x.wantRequests(0)
		})
	}
}

// A process learns its clock's offset from the server's answer, and uses the offset
// for entries, too.
func TestClockOffsetThatTheServerShowed(t *testing.T) {
	fleetBubble(t, func(t *testing.T, x *fleet) {
		const ahead = 10 * time.Minute
		x.delegate("first", ahead+time.Minute)
		x.pod(clockAhead(ahead))
		x.want("first")
		x.sleep(2 * time.Minute)
		said := time.Now().Add(ahead - 30*time.Minute).UTC()
		x.storeAnswer(said, fmt.Sprintf(`{"token":"opaque","expires_at":%q}`, said.Add(time.Hour).Format(time.RFC3339Nano)))
		token, err := x.src.Token()
		if err != nil {
			t.Fatal(err)
		}
		x.wantWithin("good for", time.Until(token.Expiry), 30*time.Minute-2*time.Second, 30*time.Minute)
	})
}

func TestLifetimeOfAnEntryDoesNotStartAgain(t *testing.T) {
	fleetBubble(t, func(t *testing.T, x *fleet) {
		x.storeAnswer(time.Now().Add(-30*time.Minute), `{"token":"opaque","ttl_seconds":3600}`)
		x.pod()
		token, err := x.src.Token()
		if err != nil {
			t.Fatal(err)
		}
		if got := time.Until(token.Expiry); got != 30*time.Minute {
			t.Errorf("good for %v, want 30m", got)
		}
	})
}

// An entry from a server whose clock is ahead does not answer a later rejection.
func TestTwoServersWithDifferentClocks(t *testing.T) {
	fleetBubble(t, func(t *testing.T, x *fleet) {
		x.warm(1)
		x.sleep(time.Second)
		x.refresh(x.pod(clockAhead(10*time.Minute)), nil)
		x.sleep(5 * time.Minute)
		x.replace("second")
		x.pods = x.pods[:1]
		x.reject("first", x.gives("second"))
	})
}
