// Copyright 2026 The authsec Authors
// SPDX-License-Identifier: Apache-2.0

package verify_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/authsec-go/authsec/authsectest"
	"github.com/authsec-go/authsec/verify"
	"github.com/golang-jwt/jwt/v5"
)

func check(t *testing.T, what string, v *verify.Verifier, token string, want error) {
	t.Helper()
	if _, err := v.Verify(t.Context(), token); !errors.Is(err, want) {
		t.Errorf("%s: error = %v, want %v", what, err, want)
	}
}

func checkFetches(t *testing.T, what string, a *authority, want int) {
	t.Helper()
	if got := a.count(tenant); got != want {
		t.Errorf("%s: %d fetches, want %d", what, got, want)
	}
}

// rotated is a token by the key that comes next.
func rotated() string { return sign(jwt.SigningMethodRS256, nextKey(), header(), claims()) }

// garbage is a token with a signature that no key made.
func garbage() string { return sign(jwt.SigningMethodRS256, evilKey(), header(), claims()) }

func TestOneFetchForAnyNumberOfRequests(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newAuthority()
		a.latency = time.Second
		v, token := a.verifier(t), token()
		var done sync.WaitGroup
		for range 500 {
			done.Go(func() { check(t, "a request", v, token, nil) })
		}
		done.Wait()
		checkFetches(t, "500 requests", a, 1)
	})
}

func TestOneTenantsKeysAreNotWaitedForByAnother(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newAuthority()
		v := a.verifier(t)
		check(t, "the neighbor's", v, sign(jwt.SigningMethodRS256, nextKey(), header(), claims(object{"iss": "spiffe://" + neighbor, "tenant_id": nil})), nil)
		checkFetches(t, "for a token of the neighbor's", a, 0)
		a.fail(nil, 5*time.Second)
		go v.Verify(t.Context(), token())
		synctest.Wait()
		start := time.Now()
		check(t, "the neighbor's", v, sign(jwt.SigningMethodRS256, nextKey(), header(), claims(object{"iss": "spiffe://" + neighbor, "tenant_id": nil})), nil)
		if waited := time.Since(start); waited != 0 {
			t.Errorf("it waited %v, want 0", waited)
		}
		time.Sleep(time.Minute)
	})
}

func TestOnlyConfiguredTenantsKeysAreFetched(t *testing.T) {
	a := newAuthority()
	v := a.verifier(t)
	for _, id := range []string{stranger, "../" + tenant, "", tenant + "&tenant_id=" + stranger} {
		check(t, id, v, sign(jwt.SigningMethodRS256, evilKey(), header(), claims(object{"iss": "spiffe://" + id, "tenant_id": nil})), verify.ErrInvalidToken)
	}
	if len(a.fetches) != 0 {
		t.Errorf("keys were fetched for %v, want none", a.fetches)
	}
}

// What the claims rule out costs no fetch.
func TestTokensThatCantBeGoodCauseNoFetch(t *testing.T) {
	a := newAuthority()
	v := a.verifier(t)
	for name, token := range map[string]string{
		"expired": token(object{"exp": 1}), "for another": token(object{"aud": "other"}), "crit": sign(jwt.SigningMethodRS256, key(), header(object{"crit": []string{"x"}}), claims()),
		"not allowed": sign(jwt.SigningMethodRS512, key(), header(object{"alg": "RS512"}), claims()), "no JWT": "x",
	} {
		check(t, name, v, token, verify.ErrInvalidToken)
	}
	checkFetches(t, "all of them", a, 0)
}

func TestWaitingEndsWithTheRequestsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newAuthority()
		a.latency = 8 * time.Second
		v := a.verifier(t)
		for range 2 { // the first begins the fetch, the second shares it
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			start := time.Now()
			_, err := v.Verify(ctx, token())
			cancel()
			if waited := time.Since(start); waited != time.Second || !errors.Is(err, verify.ErrUnavailable) || !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("error = %v after %v, want ErrUnavailable and DeadlineExceeded after 1s", err, waited)
			}
		}
		start := time.Now()
		check(t, "a third request", v, token(), nil) // the fetch outlived those who gave up on it
		if waited := time.Since(start); waited != 6*time.Second {
			t.Errorf("a third request waited %v, want the last 6s of the fetch", waited)
		}
		checkFetches(t, "all three", a, 1)
	})
}

func TestFailuresAreCachedForLongerAndLonger(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newAuthority()
		a.fail(authsectest.Answer(500, "{}"), 0)
		v, token := a.verifier(t), token()
		for range 10 * 60 * 10 { // 10 minutes
			check(t, "in the outage", v, token, verify.ErrUnavailable)
			time.Sleep(100 * time.Millisecond)
		}
		var waits []time.Duration
		for i := 1; i < len(a.at); i++ {
			waits = append(waits, a.at[i].Sub(a.at[i-1]))
		}
		for i, wait := range waits {
			middle := min(time.Second<<i, time.Minute)
			if wait < middle/2 || wait > middle*3/2+100*time.Millisecond {
				t.Errorf("wait %d = %v, want %v ±50 %%", i, wait, middle)
			}
		}
		if len(waits) < 10 {
			t.Errorf("%d waits in 10 minutes, want 10 or more", len(waits))
		}
		a.fail(nil, 0)
		time.Sleep(90 * time.Second)
		check(t, "after it", v, token, nil)
	})
}

func TestFailuresAreCachedAtRandom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		waits := map[time.Duration]bool{}
		for range 20 {
			a := newAuthority()
			a.fail(authsectest.Answer(500, "{}"), 0)
			v, token := a.verifier(t), token()
			for a.count(tenant) < 2 {
				check(t, "in the outage", v, token, verify.ErrUnavailable)
				time.Sleep(10 * time.Millisecond)
			}
			waits[a.at[1].Sub(a.at[0])] = true
		}
		if len(waits) < 5 {
			t.Errorf("20 first waits have %d lengths, want 5 or more", len(waits))
		}
	})
}

func TestKeysInHandServeThroughAnOutage(t *testing.T) {
	for name, fault := range map[string]http.Handler{
		"500": authsectest.Answer(500, "{}"), "404": authsectest.Answer(404, "{}"), "a page": authsectest.Answer(200, "<html>"), "no set": authsectest.Answer(200, `{"keys":null}`),
		"no list": authsectest.Answer(200, `{"keys":{}}`), "a redirect": http.RedirectHandler("https://attacker.test/", http.StatusFound),
		"a broken connection": http.HandlerFunc(func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }),
		"no answer":           http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }),
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				a := newAuthority()
				v, token := a.verifier(t), token(object{"exp": time.Now().Add(50 * time.Hour).Unix()})
				check(t, "before", v, token, nil)
				a.fail(fault, 0)
				begun := time.Now()
				for range 48 * 60 { // two days
					time.Sleep(time.Minute)
					start := time.Now()
					check(t, "in the outage", v, token, nil)
					if waited := time.Since(start); waited != 0 {
						t.Fatalf("a request waited %v, want 0", waited)
					}
				}
				if n, most := a.count(tenant)-1, int(time.Since(begun)/(30*time.Second)); n == 0 || n > most {
					t.Errorf("%d fetches in the outage, want 1 to %d", n, most)
				}
				time.Sleep(20 * time.Second) // a fetch may be under way
				a.fail(nil, 0)
				a.publish(tenant, jwk(&nextKey().PublicKey))
				time.Sleep(time.Minute)
				check(t, "renews", v, token, nil)
				synctest.Wait()
				check(t, "after it, the key that was taken away", v, token, verify.ErrInvalidToken)
				time.Sleep(time.Minute)
			})
		})
	}
}

func TestRotationIsNoticedByTheRequestThatSeesIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newAuthority()
		v := a.verifier(t)
		check(t, "before", v, token(), nil)
		a.publish(tenant, jwk(&nextKey().PublicKey))
		a.latency = time.Second
		var done sync.WaitGroup
		for range 100 {
			done.Go(func() { check(t, "by the new key", v, rotated(), nil) })
		}
		done.Wait()
		checkFetches(t, "a rotation under 100 requests", a, 2)
		check(t, "by the old key", v, token(), verify.ErrInvalidToken)
		check(t, "by the new key, again", v, rotated(), nil)
		checkFetches(t, "the old key within 30 s", a, 2)
	})
}

// A fetch that was under way already may have been answered before the rotation.
func TestRotationDuringARenewalIsNoticed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newAuthority()
		v := a.verifier(t)
		check(t, "before", v, token(), nil)
		time.Sleep(20 * time.Minute)
		old := []object{jwk(&key().PublicKey)}
		a.fail(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, encode(object{"keys": old})) }), 2*time.Second)
		check(t, "starts the renewal", v, token(), nil)
		synctest.Wait()
		time.Sleep(time.Second)
		a.fail(nil, 0)
		a.publish(tenant, jwk(&nextKey().PublicKey))
		check(t, "by the new key", v, rotated(), nil)
		checkFetches(t, "the renewal and the one after it", a, 3)
	})
}

func TestGarbageCausesFewFetches(t *testing.T) {
	for name, working := range map[string]bool{"server works": true, "server fails": false} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				a := newAuthority()
				v, garbage, good := a.verifier(t), garbage(), token(object{"exp": time.Now().Add(3 * time.Hour).Unix()})
				check(t, "before", v, good, nil)
				want := verify.ErrInvalidToken
				if !working {
					a.fail(authsectest.Answer(503, "{}"), 0)
					// With keys that can't be renewed, a token can be accepted, but not rejected.
					want = verify.ErrUnavailable
				}
				for range 8 * 60 * 2 { // 8 minutes, in which no renewal is due that late
					check(t, "garbage", v, garbage, want)
					check(t, "beside it", v, good, nil)
					time.Sleep(500 * time.Millisecond)
				}
				for i := 2; i < len(a.at); i++ {
					// A renewal may come between two that garbage caused.
					if gap := a.at[i].Sub(a.at[i-2]); gap < 30*time.Second {
						t.Errorf("fetches %d to %d within %v, want 30s or more", i-2, i, gap)
					}
				}
				// Without an answer every 30 s. With the same keys after 30 s, 1 min, 2 min, 4 min and then 5 min.
				least, most := 14, 18
				if working {
					least, most = 5, 7
				}
				if n := a.count(tenant) - 1; n < least || n > most {
					t.Errorf("%d fetches in 8 minutes of garbage, want %d to %d", n, least, most)
				}
			})
		})
	}
}

func TestGarbageAtOnceCausesOneFetch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newAuthority()
		v, garbage := a.verifier(t), garbage()
		check(t, "before", v, token(), nil)
		a.fail(nil, time.Second)
		var done sync.WaitGroup
		for range 200 {
			done.Go(func() { check(t, "garbage", v, garbage, verify.ErrInvalidToken) })
		}
		done.Wait()
		checkFetches(t, "200 at once", a, 2)
	})
}

// A key that is removed from the set, because it leaked, goes out of use although no
// token causes a fetch.
func TestRemovedKeysAreNoticedWithin15Minutes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newAuthority()
		v, token := a.verifier(t), token()
		check(t, "before", v, token, nil)
		a.publish(tenant, jwk(&nextKey().PublicKey))
		a.fail(nil, 2*time.Second)
		removed, last := time.Now(), error(nil)
		for last == nil && time.Since(removed) < time.Hour {
			time.Sleep(time.Second)
			start := time.Now()
			_, last = v.Verify(t.Context(), token)
			if waited := time.Since(start); last == nil && waited != 0 {
				t.Fatalf("a request waited %v for the renewal, want 0", waited)
			}
		}
		if after := time.Since(removed); !errors.Is(last, verify.ErrInvalidToken) || after < 5*time.Minute || after > 15*time.Minute+5*time.Second {
			t.Errorf("error = %v after %v, want ErrInvalidToken after 5 to 15 minutes", last, after)
		}
		time.Sleep(time.Minute)
	})
}

// The server has one limit for all that it is asked.
func TestRetryAfterOfKeysIsKept(t *testing.T) {
	for after, least := range map[string]time.Duration{"45": 45 * time.Second, "": 15 * time.Second} {
		synctest.Test(t, func(t *testing.T) {
			a := newAuthority()
			a.fail(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if after != "" {
					w.Header().Set("Retry-After", after)
				}
				w.WriteHeader(http.StatusTooManyRequests)
			}), 0)
			v := a.verifier(t)
			neighbors := sign(jwt.SigningMethodRS256, nextKey(), header(), claims(object{"iss": "spiffe://" + neighbor, "tenant_id": neighbor}))
			for began := time.Now(); time.Since(began) < least; time.Sleep(time.Second) {
				for _, token := range []string{token(), neighbors} {
					if _, err := v.Verify(t.Context(), token); !errors.Is(err, verify.ErrUnavailable) {
						t.Fatalf("error = %v, want ErrUnavailable", err)
					}
				}
			}
			if len(a.at) != 1 {
				t.Errorf("Retry-After %q: %d requests in %v, want 1", after, len(a.at), least)
			}
			a.fail(nil, 0)
			time.Sleep(time.Minute)
			if _, err := v.Verify(t.Context(), neighbors); err != nil {
				t.Errorf("a minute later: error = %v, want none", err)
			}
		})
	}
}

func TestAnEmptySetIsBelieved(t *testing.T) {
	a := newAuthority()
	a.publish(tenant)
	a.fail(authsectest.Answer(200, `{"keys":[]}`), 0)
	check(t, "no keys", a.verifier(t), token(), verify.ErrInvalidToken)
}

// What one sender without a key can make a process ask is less than the server permits
// to an address.
func TestGarbageForManyTenantsLeavesTheServerRoom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newAuthority()
		var tenants, forged []string
		for i := range 60 {
			id := fmt.Sprintf("%08d-2222-3333-4444-555555555555", i)
			tenants = append(tenants, id)
			a.publish(id, jwk(&key().PublicKey))
			forged = append(forged, sign(jwt.SigningMethodRS256, evilKey(), header(), claims(object{"iss": "spiffe://" + id, "tenant_id": id})))
		}
		v := a.verifier(t, func(c *verify.Config) { c.Tenants = tenants })
		for range 200 {
			for _, token := range forged {
				check(t, "garbage", v, token, verify.ErrInvalidToken)
			}
			time.Sleep(3 * time.Second)
		}
		if n, most := len(a.at), 10*60; n > most {
			t.Errorf("%d fetches for 60 tenants in 10 minutes, want %d at most", n, most)
		}
		a.publish(tenants[0], jwk(&nextKey().PublicKey))
		rotated := sign(jwt.SigningMethodRS256, nextKey(), header(), claims(object{"iss": "spiffe://" + tenants[0], "tenant_id": nil}))
		time.Sleep(5 * time.Minute)
		check(t, "a rotation in it, 5 minutes later", v, rotated, nil)
	})
}
