// Copyright 2026 The authsec Authors
// SPDX-License-Identifier: Apache-2.0

package authsec_test

import (
	"errors"
	"maps"
	"math"
	"net/http"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/authsec-go/authsec"
	"github.com/authsec-go/authsec/authsectest"
	"github.com/authsec-go/authsec/internal/share"
	"github.com/authsec-go/authsec/internal/wire"
	"github.com/golang-jwt/jwt/v5"
)

// An entry that fails the checks of a token response is a miss.
func TestEntriesAreCheckedAsTokenResponses(t *testing.T) {
	otherServer := authsectest.NewInMemoryServer()
	for _, c := range []struct {
		name   string
		edit   func(c *authsec.Config) // of the process that reads
		lie    string                  // what is stored, encrypted as it should be; "": the truth
		reject bool
	}{
		{"good", once, "", false},
		{"signed by another", func(c *authsec.Config) { c.Keyfunc = otherServer.Keyfunc }, "", true},
		{"not for the audience", func(c *authsec.Config) { c.Audience = "another" }, "", true},
		{"no header can hold it", once, `{"token":"a\r\nb","expires_at":"2100-01-01T00:00:00Z"}`, true},
		{"of another agent", once, `{"token":"a","client_id":"11111111-2222-3333-4444-555555555555","expires_at":"2100-01-01T00:00:00Z"}`, true},
	} {
		inFleetBubble(t, c.name, func(t *testing.T, x *fleet) {
			x.warm(1)
			if c.lie != "" {
				x.storeAnswer(time.Now(), c.lie)
			}
			asked := x.srv.Fetches()
			reader := x.pod(c.edit)
			reader.Token()
			if got := reader.Stats().Cache.Rejects > 0; got != c.reject || (x.srv.Fetches() > asked) != c.reject {
				t.Errorf("rejected: got %t, %d requests, want %t", got, x.srv.Fetches()-asked, c.reject)
			}
		})
	}
}

func TestAnotherAgentsEntryIsAMiss(t *testing.T) {
	fleetBubble(t, func(t *testing.T, x *fleet) {
		const other = "11111111-2222-4333-8444-555555555555"
		x.delegate("first", time.Hour)
		x.srv.Delegate(other, authsectest.Delegation{TTL: time.Hour})
		x.pod()
		x.want("first")
		x.pod(func(c *authsec.Config) { c.ClientID = other })
		if _, err := x.src.Token(); err != nil {
			t.Fatal(err)
		}
		entries := x.cache.all()
		if len(entries) != 2 {
			t.Fatalf("%d entries, want 2", len(entries))
		}
		keys := slices.Sorted(maps.Keys(entries))
		entries[keys[0]], entries[keys[1]] = entries[keys[1]], entries[keys[0]]
		x.cache.restore(entries)
		x.pod()
		x.want("first")
		if s := x.src.Stats(); s.Cache.Rejects != 1 || s.Cache.Hits != 0 {
			t.Errorf("got stats %+v, want one reject", s)
		}
	})
}

func TestReplayedEntryIsAMiss(t *testing.T) {
	fleetBubble(t, func(t *testing.T, x *fleet) {
		x.warm(2)
		old := x.cache.all()
		x.sleep(55 * time.Minute)
		x.delegate("second", 4*time.Minute)
		x.run(3 * time.Minute) // the renewal comes within that
		x.all("second")
		x.sleep(70 * time.Second) // by now the second has expired, and the first not yet
		x.cache.restore(old)
		asked := x.srv.Fetches()
		for _, pod := range x.pods {
			if token, err := pod.Token(); err == nil {
				t.Errorf("got %s, want the server's failure", x.name(token))
			}
		}
		if x.srv.Fetches() == asked {
			t.Error("the server was not asked")
		}
		if n := x.logged("cache entry ignored"); n == 0 {
			t.Error("nothing was logged")
		}
	})
}

// An entry may say that no request is accepted for 292 years. The waits are capped.
func TestWaitsOfAFailureAreCapped(t *testing.T) {
	const forever = time.Duration(math.MaxInt64)
	for name, c := range map[string]struct {
		failure share.Failure
		wait    time.Duration // that the error says
	}{
		"Retry-After": {share.Failure{Status: 429, Message: "Rate limit exceeded", RetryAfter: forever}, wire.MaxRetryAfter},
		"cached":      {share.Failure{Status: 500, Message: "Failed to connect to tenant database", Hold: forever}, 0},
	} {
		inFleetBubble(t, name, func(t *testing.T, x *fleet) {
			c.failure.Told = time.Now()
			x.stored().Write(t.Context(), share.Entry{Failure: &c.failure}, time.Hour)
			x.pod()
			_, err := x.src.Token()
			var e *authsec.Error
			if !errors.As(err, &e) || e.RetryAfter != c.wait {
				t.Errorf("got %v, want an error that says to wait for %v", err, c.wait)
			}
			x.sleep(30 * time.Second)
			if _, err := x.src.Token(); err == nil || x.src.Stats().Cache.Hits != 1 {
				t.Errorf("after 30 s: got %v after %d reads of the entry, want what was read once", err, x.src.Stats().Cache.Hits)
			}
			x.wantRequests(0)
		})
	}
}

// A process that can't use an entry does not replace it, not even with a failure.
func TestEntryOfOthersIsLeft(t *testing.T) {
	for name, edit := range map[string]func(*authsec.Config){
		"another audience": func(c *authsec.Config) { c.Audience = "another" },
		"another key":      func(c *authsec.Config) { c.Cache.Keys = authsec.NewCacheKeys(cacheKey()) },
	} {
		inFleetBubble(t, name, func(t *testing.T, x *fleet) {
			x.warm(1)
			x.srv.Fail(sourceUnavailable)
			x.pod(edit)
			x.src.Token()
			synctest.Wait()
			asked := x.srv.Fetches()
			x.pod()
			if token, err := x.src.Token(); x.name(token) != "first" || x.srv.Fetches() != asked {
				t.Errorf("got %s, %v, want the first, from the cache", x.name(token), err)
			}
		})
	}
}

// A failure that one process may cause itself does not stop the others.
func TestOwnFailuresAreNotShared(t *testing.T) {
	for _, c := range []struct {
		name string
		edit func(c *authsec.Config)
		want error
	}{
		{"its credential is rejected", withCredential("bad"), authsec.ErrUnauthorized},
		{"it does not reach the server", through(func(*http.Request, http.RoundTripper) (*http.Response, error) { return nil, errors.New("no route") }), nil},
		{"it reaches another", answeredBy(authsectest.Answer(404, "<html>")), authsec.ErrInvalidResponse},
		{"its key does not verify", func(c *authsec.Config) {
			c.Keyfunc = func(*jwt.Token) (any, error) { return nil, errors.New("no key") }
		}, authsec.ErrInvalidResponse},
	} {
		inFleetBubble(t, c.name, func(t *testing.T, x *fleet) {
			x.srv.RequireCredential("good")
			good := withCredential("good")
			x.delegate("first", time.Hour)
			x.pod(good, c.edit)
			x.wantError(c.want)
			x.pods = nil
			x.pod(good)
			x.want("first")
		})
	}
}

// Newer servers answer 404 to a caller who did not delegate. That must not keep
// others from the token.
func TestNoDelegationForOneCredentialIsNotShared(t *testing.T) {
	fleetBubble(t, func(t *testing.T, x *fleet) {
		x.delegate("first", 24*time.Hour)
		x.pod(withCredential("stranger"), answeredBy(sourceNoDelegation))
		x.wantError(authsec.ErrNotDelegated)
		good := x.pod(withCredential("delegator"))
		began := time.Now()
		for time.Since(began) < time.Hour {
			x.pods[0].Token()
			if _, err := good.Token(); err == nil {
				break
			}
			x.sleep(100 * time.Millisecond)
		}
		if took := time.Since(began); took > time.Second {
			t.Errorf("the delegator's process has the token after %v, want it at once", took)
		}
	})
}

// A failure that is stored late does not replace a newer token of another process.
func TestLateFailureLeavesTheNewerToken(t *testing.T) {
	type roundTrip = func(req *http.Request, next http.RoundTripper) (*http.Response, error)
	for _, c := range []struct {
		name   string
		leases bool
		slow   func(x *fleet) roundTrip // the slow process's way to the server
	}{
		{"answered before", false, func(x *fleet) roundTrip {
			x.srv.FailNext(1, limited)
			return func(req *http.Request, next http.RoundTripper) (*http.Response, error) {
				resp, err := next.RoundTrip(req)
				time.Sleep(8 * time.Second)
				return resp, err
			}
		}},
		{"answered after", false, slowAnswer(limited)},
		{"its lease ended, 429", true, slowAnswer(limited)},
		{"its lease ended, 503", true, slowAnswer(sourceUnavailable)},
	} {
		inFleetBubble(t, c.name, func(t *testing.T, x *fleet) {
			store := func(cfg *authsec.Config) {
				if !c.leases {
					cfg.Cache.Store = &x.cache.plainCache
				}
			}
			x.delegate("first", time.Hour)
			slow := x.pod(once, store, through(c.slow(x)))
			go slow.Token()
			synctest.Wait()
			x.pods = nil
			x.pod(once, store)
			x.all("first")
			x.sleep(10 * time.Second) // the slow one has its failure by now
			asked := x.srv.Fetches()
			x.pod()
			x.want("first")
			x.wantRequests(asked)
		})
	}
}

// slowAnswer gives this answer after 8 s.
func slowAnswer(answer http.Handler) func(*fleet) func(*http.Request, http.RoundTripper) (*http.Response, error) {
	return func(*fleet) func(*http.Request, http.RoundTripper) (*http.Response, error) {
		return func(req *http.Request, _ http.RoundTripper) (*http.Response, error) {
			time.Sleep(8 * time.Second)
			return authsectest.RoundTripper(answer).RoundTrip(req)
		}
	}
}
