// Copyright 2026 The authsec Authors
// SPDX-License-Identifier: Apache-2.0

package authsec_test

import (
	"math"
	"testing"
	"time"

	"github.com/authsec-go/authsec"
	"github.com/golang-jwt/jwt/v5"
)

func TestAudienceIsTrimmed(t *testing.T) {
	bubble(t, func(t *testing.T) {
		token := unverified(t, jwt.MapClaims{"exp": time.Now().Add(time.Hour).Unix(), "aud": []string{"billing-api"}})
		for audience, ok := range map[string]bool{"billing-api\n": true, " billing-api": true, "billing": false} {
			src := endpointSource(t, answerJSON(t, map[string]any{"token": token}), func(c *authsec.Config) { c.Audience = audience })
			if _, err := src.Token(); (err == nil) != ok {
				t.Errorf("%q: got %v, want a token: %t", audience, err, ok)
			}
		}
	})
}

// The longest time-outs add up to no time-out at all.
func TestLongestTimeoutsDoNotOverflow(t *testing.T) {
	for _, longest := range []time.Duration{math.MaxInt64, 1 << 62} {
		fleetBubble(t, func(t *testing.T, x *fleet) {
			x.delegate("A", time.Hour)
			x.pod(func(c *authsec.Config) { c.FetchTimeout, c.Cache.Timeout = longest, longest })
			x.all("A")
		})
	}
}

// What the caller does with its key afterwards has no effect.
func TestCacheKeysAreCopied(t *testing.T) {
	fleetBubble(t, func(t *testing.T, x *fleet) {
		x.delegate("A", time.Hour)
		mine := append([]byte(nil), x.key...)
		keys := authsec.NewCacheKeys(mine)
		clear(mine)
		x.pod()
		x.all("A")
		x.pods = nil
		x.pod(func(c *authsec.Config) { c.Cache.Keys = keys })
		x.all("A")
		x.wantRequests(1)
	})
}
