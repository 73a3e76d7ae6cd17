// Copyright 2026 The authsec Authors
// SPDX-License-Identifier: Apache-2.0

package faults

import (
	"context"
	"errors"
	"fmt"
	mathrand "math/rand/v2"
	"net/http"
	"time"

	"github.com/authsec-go/authsec"
)

// between returns a random duration.
func between(rng *mathrand.Rand, least, most time.Duration) time.Duration {
	return least + time.Duration(rng.Int64N(int64(most-least)))
}

func pick[T any](rng *mathrand.Rand, list ...T) T { return list[rng.IntN(len(list))] }

// work makes requests one after the other.
func (k *soak) work(ctx context.Context, c *caller, rng *mathrand.Rand) {
	for wait(ctx.Done(), between(rng, 0, 30*time.Millisecond)) {
		request := randomCall(rng)
		k.loaded.RLock()
		o := c.do(request)
		k.loaded.RUnlock()
		k.mu.Lock()
		k.outcomes[describe(o)]++
		k.retries += max(0, o.attempts-1)
		k.mu.Unlock()
	}
}

// randomCall returns a random request.
func randomCall(rng *mathrand.Rand) call {
	sizes := []int{0, 1, KiB, 20*KiB + 1, 200 * KiB, MiB}
	r := call{
		method:    pick(rng, http.MethodGet, http.MethodGet, http.MethodPut, http.MethodPost, http.MethodPost),
		want:      pick(rng, sizes...),
		pad:       pick(rng, 0, 0, 0, 10*KiB),
		key:       rng.IntN(3) == 0,
		noGetBody: rng.IntN(3) == 0,
		cancelled: rng.IntN(3) == 0,
		timeout:   pick(rng, 30*time.Millisecond, 200*time.Millisecond, 2*time.Second, 5*time.Second),
	}
	if r.method == http.MethodGet {
		r.redirect = rng.IntN(8) == 0
	} else {
		r.send = pick(rng, sizes...)
	}
	return r
}

// describe names an outcome's kind.
func describe(o outcome) string {
	var e *authsec.Error
	switch {
	case o.ok():
		return "answered"
	case o.status == http.StatusOK && contextEnded(o.err):
		return "context ended in the body"
	case o.status == http.StatusOK:
		return "body broke off"
	case o.status != 0:
		return fmt.Sprint("status ", o.status)
	case contextEnded(o.err) && !errors.As(o.err, &e):
		return "context ended"
	case errors.Is(o.err, authsec.ErrNotDelegated):
		return "not delegated"
	case errors.As(o.err, &e):
		return "no token"
	}
	return "no answer"
}

func contextEnded(err error) bool {
	return errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled)
}
