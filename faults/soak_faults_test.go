// Copyright 2026 The authsec Authors
// SPDX-License-Identifier: Apache-2.0

package faults

import (
	"context"
	mathrand "math/rand/v2"
	"net/http"
	"strings"
	"time"

	"github.com/authsec-go/authsec/authsectest"
)

// inject makes one fault after the other.
func (k *soak) inject(ctx context.Context, rng *mathrand.Rand, where string, fault func(*mathrand.Rand) (string, func())) {
	for wait(ctx.Done(), between(rng, 50*time.Millisecond, 700*time.Millisecond)) {
		k.faulty.RLock()
		name, lift := fault(rng)
		k.mu.Lock()
		k.inForce[where] = name
		k.injected[where+": "+name]++
		k.mu.Unlock()
		wait(ctx.Done(), between(rng, 20*time.Millisecond, 600*time.Millisecond))
		lift()
		k.mu.Lock()
		delete(k.inForce, where)
		k.mu.Unlock()
		k.faulty.RUnlock()
	}
}

// network makes random trouble in a relay.
func (k *soak) network(rng *mathrand.Rand, r *relay) (string, func()) {
	t := trouble{
		kind:  pick(rng, latency, drip, blackHole, cut, reset, garbage),
		after: pick(rng, 0, 100, 3*KiB, 30*KiB, 300*KiB),
		delay: between(rng, time.Millisecond, 50*time.Millisecond),
	}
	if t.kind == drip {
		t.delay /= 10 // for each KiB
	}
	return string(t.kind), r.suffer(t)
}

// restart kills a server, and returns a func that starts it again.
func (k *soak) restart(h *host) func() {
	h.kill()
	return func() {
		if err := h.start(); err != nil {
			k.ledger.violate(nil, "starting a server again: %v", err)
		}
	}
}

func (k *soak) apiFault(rng *mathrand.Rand) (string, func()) {
	sometimes := func(answer http.Handler) func() {
		k.setAPIFront(func(w http.ResponseWriter, r *http.Request) {
			if mathrand.IntN(2) == 0 { // for each request; does not depend on the seed
				answer.ServeHTTP(w, r)
				return
			}
			k.serveAuthorized(w, r)
		})
		return func() { k.setAPIFront(nil) }
	}
	switch rng.IntN(10) {
	case 0:
		return "restart", k.restart(k.api)
	case 1:
		ended, err := k.api.retire()
		if err != nil {
			k.ledger.violate(nil, "starting the next server: %v", err)
		}
		return "graceful shutdown", func() { <-ended } // its error: a request took too long
	case 2:
		return "503s", sometimes(authsectest.Answer(http.StatusServiceUnavailable, strings.Repeat("x", 100*KiB)))
	case 3:
		return "429s", sometimes(authsectest.Answer(http.StatusTooManyRequests, page, "Retry-After", "0"))
	case 4:
		return "401s", sometimes(authsectest.Answer(http.StatusUnauthorized, `{"error":"invalid_token"}`))
	}
	return k.network(rng, k.toAPI)
}

func (k *soak) endpointFault(rng *mathrand.Rand) (string, func()) {
	switch rng.IntN(12) {
	case 0:
		return "restart", k.restart(k.endpoint)
	case 1, 2, 3:
		bad := pick(rng, badAnswers...)
		k.auth.Fail(bad.answer)
		return bad.name, func() { k.auth.Fail(nil) }
	case 4:
		agent := pick(rng, agents...)
		k.mu.Lock()
		k.revoked[agent] = true
		k.auth.Revoke(agent)
		k.mu.Unlock()
		return "revocation", func() {
			k.mu.Lock()
			defer k.mu.Unlock()
			delete(k.revoked, agent)
			k.delegate(agent)
		}
	}
	return k.network(rng, k.toEndpoint)
}
