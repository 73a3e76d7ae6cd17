// Copyright 2026 The authsec Authors
// SPDX-License-Identifier: Apache-2.0

package authsec_test

import (
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/authsec-go/authsec"
	"github.com/authsec-go/authsec/authsectest"
	"github.com/authsec-go/authsec/internal/share"
	"golang.org/x/oauth2"
)

// reject has an API reject the token of that name to all processes within a
// second, and what each gets from Renew checked.
func (x *fleet) reject(name string, check func(token *oauth2.Token, err error)) {
	x.Helper()
	x.mu.Lock()
	var rejected *oauth2.Token
	for token, n := range x.names {
		if n == name {
			rejected = &oauth2.Token{AccessToken: token}
		}
	}
	x.mu.Unlock()
	var wg sync.WaitGroup
	for i, pod := range x.pods {
		wg.Go(func() {
			time.Sleep(time.Duration(i) * time.Second / time.Duration(len(x.pods)))
			token, err := pod.Renew(x.Context(), rejected)
			check(token, err)
		})
	}
	wg.Wait()
}

// gives checks that Renew gives the token of that name.
func (x *fleet) gives(name string) func(*oauth2.Token, error) {
	return func(token *oauth2.Token, err error) {
		if x.name(token) != name {
			x.Errorf("Renew: got %s, %v, want %s", x.name(token), err, name)
		}
	}
}

// failsWith checks that Renew fails so.
func (x *fleet) failsWith(target error) func(*oauth2.Token, error) {
	return func(token *oauth2.Token, err error) {
		if !errors.Is(err, target) {
			x.Errorf("Renew: got %s, %v, want %v", x.name(token), err, target)
		}
	}
}

func anyOutcome(*oauth2.Token, error) {}

// replace revokes the token, and delegates anew.
func (x *fleet) replace(name string) {
	x.srv.Revoke(authsectest.ClientID)
	x.delegateNow(name, time.Hour)
}

// refresh has one process ask the server.
func (x *fleet) refresh(pod *authsec.Source, target error) {
	x.Helper()
	if _, err := pod.Refresh(x.Context()); !errors.Is(err, target) {
		x.Fatalf("Refresh: got error %v, want %v", err, target)
	}
	synctest.Wait()
}

// wantRevoked has an API reject the first token to the first process. After that,
// neither that one nor a new one may get it.
func (x *fleet) wantRevoked() {
	x.Helper()
	p := x.pods[0]
	x.pods = x.pods[:1]
	x.reject("first", anyOutcome)
	for range 200 {
		x.sleep(time.Second)
		if token, err := p.Token(); err == nil {
			x.Fatalf("the process with the rejected token: got %s, want an error", x.name(token))
		}
	}
	x.pods = nil
	x.pod()
	if token, err := x.src.Token(); err == nil {
		x.Errorf("a new process: got %s, want an error: it is revoked", x.name(token))
	}
}

// hideThenShow is an attacker who can write to the cache, and has no key: it shows
// no entry at first, and from then on old ones.
func (x *fleet) hideThenShow(old map[string]plainEntry) {
	gets := 0
	x.cache.fault = func(op string) error {
		if op != "get" {
			return nil
		}
		if gets++; gets == 1 {
			return authsec.ErrCacheMiss
		}
		x.cache.restore(old)
		return nil
	}
}

func TestRejectedTokenIsRenewedForAllByOne(t *testing.T) {
	fleetBubble(t, func(t *testing.T, x *fleet) {
		x.warm(100)
		x.sleep(time.Minute)
		x.srv.SetLatency(100 * time.Millisecond)
		asked := x.srv.Fetches()
		x.reject("first", x.gives("first")) // the server still gives it out
		x.wantRequests(asked + 1)

		x.sleep(time.Minute)
		x.replace("second")
		x.reject("first", x.gives("second"))
		x.all("second")
		x.wantRequests(asked + 2)

		x.sleep(time.Minute)
		x.srv.Revoke(authsectest.ClientID)
		x.reject("second", x.failsWith(authsec.ErrNotDelegated))
		x.wantRequests(asked + 3)
		x.pod()
		x.each(func(pod *authsec.Source) {
			if token, err := pod.Token(); !errors.Is(err, authsec.ErrNotDelegated) {
				t.Errorf("after the revocation: got %s, %v, want ErrNotDelegated", x.name(token), err)
			}
		})
	})
}

// A rejection is not answered by an older answer of the server.
func TestRejectionAsksTheServerAgain(t *testing.T) {
	inFleetBubble(t, "right after the token came", func(t *testing.T, x *fleet) {
		x.warm(1)
		x.replace("second")
		x.reject("first", anyOutcome)
		x.all("second")
	})
	inFleetBubble(t, "a while after another process refreshed it", func(t *testing.T, x *fleet) {
		x.warm(2)
		x.sleep(time.Minute)
		x.refresh(x.pods[0], nil)
		x.sleep(5 * time.Second)
		x.replace("second")
		x.pods = x.pods[1:]
		x.reject("first", anyOutcome)
		x.all("second")
	})
	inFleetBubble(t, "after a failure that answered one rejection", func(t *testing.T, x *fleet) {
		x.warm(2, once)
		x.sleep(time.Minute)
		x.srv.FailNext(1, sourceUnavailable)
		asked := x.srv.Fetches()
		var failed atomic.Int64
		x.reject("first", func(_ *oauth2.Token, err error) {
			if err != nil {
				failed.Add(1)
			}
		})
		x.wantRequests(asked + 1)
		if failed.Load() == 0 {
			t.Error("got no failed rejection, want one at least")
		}
		x.replace("second")
		x.sleep(time.Second)
		x.reject("first", anyOutcome)
		x.all("second")
	})
}

// A process whose token was rejected asks the server, although the cache has that token.
func TestEntryThatEqualsARejectedTokenIsAMiss(t *testing.T) {
	fleetBubble(t, func(t *testing.T, x *fleet) {
		x.warm(2)
		old := x.cache.all()
		x.sleep(time.Minute)
		x.srv.Revoke(authsectest.ClientID)
		x.reject("first", anyOutcome)
		x.sleep(2 * time.Minute)
		x.delegate("second", time.Hour)
		x.cache.restore(old) // by someone who can write to it
		x.all("second")
		if got := x.pods[0].Stats().Cache.Misses + x.pods[1].Stats().Cache.Misses; got < 2 {
			t.Errorf("misses: got %d, want 2 at least", got)
		}
	})
}

func TestReplayedEntryDoesNotAnswerARejection(t *testing.T) {
	fleetBubble(t, func(t *testing.T, x *fleet) {
		x.warm(2)
		x.sleep(20 * time.Minute)
		x.refresh(x.pods[1], nil)
		old := x.cache.all()
		x.sleep(20 * time.Minute)
		x.replace("second")
		x.hideThenShow(old)
		x.pods = x.pods[:1]
		x.reject("first", x.gives("second"))
	})
}

func TestReplayedFailureDoesNotAnswerARejection(t *testing.T) {
	fleetBubble(t, func(t *testing.T, x *fleet) {
		x.warm(1)
		x.sleep(10 * time.Minute)
		x.stored().Write(t.Context(), share.Entry{Failure: &share.Failure{Told: time.Now(), Status: 404, Message: "No active delegation token found", Hold: time.Minute}}, time.Hour)
		old := x.cache.all()
		x.sleep(20 * time.Minute)
		x.hideThenShow(old)
		x.replace("second")
		x.reject("first", x.gives("second"))
	})
}

// An API rejects the token, and the server has no delegation: the cache drops the token.
func TestRevokedTokenIsNotWrittenBack(t *testing.T) {
	fleetBubble(t, func(t *testing.T, x *fleet) {
		x.warm(2)
		x.sleep(time.Minute)
		x.srv.Revoke(authsectest.ClientID)
		// One process learns that when it renews, and leaves the others' token in the
		// cache. An API rejects it to the other process.
		x.refresh(x.pods[1], authsec.ErrNotDelegated)
		x.sleep(3 * time.Second)
		x.wantRevoked()
	})
}

// As above, but the process whose token was rejected uses another process's failure.
func TestRevokedTokenIsNotWrittenBackByAWaiter(t *testing.T) {
	fleetBubble(t, func(t *testing.T, x *fleet) {
		x.warm(2)
		x.sleep(time.Minute)
		x.srv.SetLatency(time.Second)
		x.srv.Revoke(authsectest.ClientID)
		go x.pods[1].Refresh(t.Context())
		synctest.Wait()
		x.wantRevoked()
	})
}

// With a credential, a 404 is not shared. The entry is removed all the same.
func TestRevokedTokenIsRemovedWithACredential(t *testing.T) {
	fleetBubble(t, func(t *testing.T, x *fleet) {
		x.warm(1, withCredential("a"))
		x.sleep(time.Minute)
		x.srv.Revoke(authsectest.ClientID)
		x.refresh(x.src, authsec.ErrNotDelegated)
		if n := len(x.cache.all()); n != 1 {
			t.Errorf("before a rejection: got %d entries, want 1", n)
		}
		x.sleep(time.Minute)
		x.reject("first", anyOutcome)
		synctest.Wait()
		if n := len(x.cache.all()); n != 0 {
			t.Errorf("after a rejection: got %d entries, want none", n)
		}
	})
}

// The process uses the failure that another process has just got, and drops the token
// from the cache. No process asks again.
func TestRevokedTokenIsRemovedByTheRejectedProcess(t *testing.T) {
	fleetBubble(t, func(t *testing.T, x *fleet) {
		x.warm(2)
		x.sleep(time.Minute)
		x.srv.Revoke(authsectest.ClientID)
		x.refresh(x.pods[1], authsec.ErrNotDelegated)
		asked := x.srv.Fetches()
		x.pods = x.pods[:1]
		x.reject("first", x.failsWith(authsec.ErrNotDelegated))
		x.wantRequests(asked) // it took the other's
		x.pod()
		if token, err := x.src.Token(); err == nil {
			t.Errorf("a new process: got %s, want an error: it is revoked", x.name(token))
		}
		x.wantRequests(asked)
	})
}

// The result of a fetch that another process began before Refresh does not answer it.
func TestRefreshIsNotAnsweredByAnEarlierFetch(t *testing.T) {
	fleetBubble(t, func(t *testing.T, x *fleet) {
		var latency atomic.Int64
		latency.Store(int64(2 * time.Second))
		slow := x.pod(delayed(&latency))
		go slow.Token() // which gets the answer that there is none
		synctest.Wait()
		x.sleep(time.Second)
		x.delegateNow("first", time.Hour)
		x.pod()
		x.wantRefresh("first")
	})
}

// A token that was revoked is asked for again soon, by all processes.
func TestFailureThatEndsATokenIsSharedBriefly(t *testing.T) {
	fleetBubble(t, func(t *testing.T, x *fleet) {
		x.delegate("first", time.Hour)
		x.pod()
		x.all("first")
		x.srv.Revoke(authsectest.ClientID)
		x.reject("first", x.failsWith(authsec.ErrNotDelegated))
		e, ok := x.stored().Read(x.Context())
		if !ok || e.Failure == nil || e.Failure.Hold != time.Second {
			t.Errorf("the entry is %+v, want a failure that is cached for 1s", e.Failure)
		}
	})
}
