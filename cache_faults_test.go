// Copyright 2026 The authsec Authors
// SPDX-License-Identifier: Apache-2.0

package authsec_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/authsec-go/authsec"
	"github.com/authsec-go/authsec/authsectest"
	"github.com/authsec-go/authsec/internal/cache"
	"golang.org/x/oauth2"
)

// hungCache answers nothing, and ends with its context, as it should.
type hungCache struct{}

func (hungCache) Get(ctx context.Context, _ string) ([]byte, error) {
	<-ctx.Done()
	return nil, ctx.Err()
}
func (hungCache) Put(ctx context.Context, _ string, _ []byte, _ time.Duration) error {
	<-ctx.Done()
	return ctx.Err()
}
func (hungCache) Delete(ctx context.Context, _ string) error { <-ctx.Done(); return ctx.Err() }

// What a cache costs is not taken from what the server has to answer.
func TestHungCacheWithShortFetchTimeout(t *testing.T) {
	for _, timeout := range []time.Duration{time.Second, 1200 * time.Millisecond} {
		t.Run(timeout.String(), func(t *testing.T) {
			fleetBubble(t, func(t *testing.T, x *fleet) {
				x.delegate("first", time.Hour)
				x.srv.SetLatency(300 * time.Millisecond)
				x.pod(func(c *authsec.Config) { c.Cache, c.FetchTimeout = hungCache{}, timeout })
				for i := range 3 {
					token, err := x.src.Token()
					if err != nil {
						t.Errorf("call %d: got %s, %v, want the first", i, x.name(token), err)
					}
					x.sleep(2 * time.Minute)
				}
			})
		})
	}
}

// Where the lease of a slow process lapses and another gets the token, the slow
// one's late failure leaves it in the cache.
func TestLateFailureDoesNotWipeANewerToken(t *testing.T) {
	for _, c := range []struct {
		name   string
		answer http.Handler
	}{
		{"429", limited}, {"503", sourceUnavailable},
	} {
		t.Run(c.name, func(t *testing.T) {
			fleetBubble(t, func(t *testing.T, x *fleet) {
				x.delegate("first", time.Hour)
				once := func(c *authsec.Config) { c.Retry.MaxAttempts = 1 }
				slow := x.pod(once, func(cfg *authsec.Config) {
					cfg.HTTPClient = &http.Client{Transport: sourceRoundTripper(func(req *http.Request) (*http.Response, error) {
						time.Sleep(8 * time.Second)
						return authsectest.RoundTripper(c.answer).RoundTrip(req)
					})}
				})
				go slow.Token()
				synctest.Wait()
				x.pod(once)
				if token, err := x.src.Token(); err != nil {
					t.Fatal(x.name(token), err)
				}
				x.sleep(10 * time.Second) // the slow one has been told by now
				x.pod(once)
				began := time.Now()
				token, err := x.src.Token()
				if x.name(token) != "first" {
					t.Errorf("a pod that begins then: got %s, %v, after %v, want the first, which was in the cache", x.name(token), err, time.Since(began))
				}
			})
		})
	}
}

// How long a pod with a token rests is no measure for one with none.
func TestRestOfAWarmProcessDoesNotHoldACold(t *testing.T) {
	fleetBubble(t, func(t *testing.T, x *fleet) {
		once := func(c *authsec.Config) { c.Retry.MaxAttempts = 1; c.RenewBefore = 4 * time.Hour }
		x.delegate("first", 8*time.Hour)
		warm := x.pod(once)
		x.want("first")
		x.cache.restore(nil) // the store began anew
		x.srv.Fail(sourceUnavailable)
		asked := x.srv.Fetches()
		for x.srv.Fetches() == asked {
			x.sleep(time.Second)
			warm.Token()
			synctest.Wait()
		}
		x.srv.Fail(nil) // a hiccup
		x.pods = nil
		x.pod(once)
		began := time.Now()
		for {
			token, err := x.src.Token()
			if err == nil {
				x.wantToken(token, "first")
				break
			}
			x.sleep(time.Second)
		}
		if took := time.Since(began); took > 65*time.Second {
			t.Errorf("a pod that began after the hiccup had its token after %v, want a minute at most", took)
		}
	})
}

// An entry that could not be replaced in time is removed as well.
func TestEntryThatIsNotReplacedInTimeIsRemoved(t *testing.T) {
	fleetBubble(t, func(t *testing.T, x *fleet) {
		x.delegate("first", time.Hour)
		x.add(2)
		x.all("first")
		synctest.Wait()
		x.cache.fault = func(op string) error {
			if op == "put" {
				time.Sleep(20 * time.Second)
				return errors.New("late")
			}
			return nil
		}
		x.srv.Revoke(authsectest.ClientID)
		x.refuse("first", func(*oauth2.Token, error) {})
		x.sleep(time.Minute)
		if n := len(x.cache.all()); n != 0 {
			t.Errorf("%d entries are left, want none", n)
		}
		x.pods = nil
		x.pod()
		if token, err := x.src.Token(); err == nil {
			t.Errorf("a new pod got %s, which was withdrawn", x.name(token))
		}
	})
}

// wantWithdrawn has an API refuse the first token to the first pod, after which
// neither that one nor a new one may be given it.
func (x *fleet) wantWithdrawn() {
	x.Helper()
	p := x.pods[0]
	x.pods = x.pods[:1]
	x.refuse("first", func(*oauth2.Token, error) {})
	for range 200 {
		x.sleep(time.Second)
		if token, err := p.Token(); err == nil {
			x.Fatalf("the refused one got %s", x.name(token))
		}
	}
	x.pods = nil
	x.pod()
	if token, err := x.src.Token(); err == nil {
		x.Errorf("a new pod got %s, which API and server agree is withdrawn", x.name(token))
	}
}

// What an API refused, and the server says is no more, is not kept for others.
func TestWithdrawnTokenIsNotWrittenBack(t *testing.T) {
	fleetBubble(t, func(t *testing.T, x *fleet) {
		x.delegate("first", time.Hour)
		x.add(2)
		x.all("first")
		synctest.Wait()
		x.sleep(time.Minute)
		x.srv.Revoke(authsectest.ClientID)
		// One pod is told so while it renews, and leaves the others' token in the
		// cache; the other's API refuses it.
		if _, err := x.pods[1].Renew(t.Context(), nil); err == nil {
			t.Fatal("want an error")
		}
		x.sleep(3 * time.Second)
		x.wantWithdrawn()
	})
}

// As above, but the refused pod takes the other's failure.
func TestWithdrawnTokenIsNotWrittenBackAwaited(t *testing.T) {
	fleetBubble(t, func(t *testing.T, x *fleet) {
		x.delegate("first", time.Hour)
		x.add(2)
		x.all("first")
		synctest.Wait()
		x.sleep(time.Minute)
		x.srv.SetLatency(time.Second)
		x.srv.Revoke(authsectest.ClientID)
		go x.pods[1].Renew(t.Context(), nil)
		synctest.Wait()
		x.wantWithdrawn()
	})
}

// hideThenShow has the cache show no entry at first, and from then on old ones: by
// somebody who can write to it.
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

// Someone who can write, and has no key, hides the entry and then shows one
// from before the refusal.
func TestReplayedEntryIsNoAnswerToARefusal(t *testing.T) {
	fleetBubble(t, func(t *testing.T, x *fleet) {
		x.delegate("first", time.Hour)
		x.add(2)
		x.all("first")
		synctest.Wait()
		x.sleep(20 * time.Minute)
		if _, err := x.pods[1].Renew(t.Context(), nil); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		old := x.cache.all()
		x.sleep(20 * time.Minute)
		x.srv.Revoke(authsectest.ClientID)
		x.delegateNow("second", time.Hour)
		x.hideThenShow(old)
		x.pods = x.pods[:1]
		x.refuse("first", func(token *oauth2.Token, err error) {
			if x.name(token) != "second" {
				t.Errorf("Renew: got %s, %v, want the second: the entry is from 20 minutes before the refusal", x.name(token), err)
			}
		})
	})
}

// The same with a failure from before: the token in service is dropped.
func TestReplayedFailureIsNoAnswerToARefusal(t *testing.T) {
	fleetBubble(t, func(t *testing.T, x *fleet) {
		x.delegate("first", time.Hour)
		x.add(1)
		x.all("first")
		synctest.Wait()
		x.sleep(10 * time.Minute)
		x.stored().Write(t.Context(), cache.Entry{Failure: &cache.Failure{Told: time.Now(), Status: 404, Message: "No active delegation token found", Hold: time.Minute}}, time.Hour)
		old := x.cache.all()
		x.sleep(20 * time.Minute)
		x.hideThenShow(old)
		x.srv.Revoke(authsectest.ClientID)
		x.delegateNow("second", time.Hour)
		x.refuse("first", func(token *oauth2.Token, err error) {
			if x.name(token) != "second" {
				t.Errorf("Renew: got %s, %v, want the second: the entry is from 20 minutes before the refusal", x.name(token), err)
			}
		})
	})
}

// A patient call of a pod whose clock is ahead waits all the same.
func TestPatienceWithAWrongClock(t *testing.T) {
	const off = 5 * time.Minute // the pods' clocks are ahead of the server's
	fleetBubble(t, func(t *testing.T, x *fleet) {
		x.srv.SetLatency(200 * time.Millisecond)
		x.srv.FailNext(1, limited)
		x.delegate("first", time.Hour)
		x.add(20, patient, func(c *authsec.Config) {
			c.HTTPClient = &http.Client{Transport: sourceRoundTripper(func(req *http.Request) (*http.Response, error) {
				resp, err := x.srv.Client().Transport.RoundTrip(req)
				if err == nil {
					resp.Header.Set("Date", time.Now().Add(-off).UTC().Format(http.TimeFormat))
				}
				return resp, err
			})}
		})
		failed := 0
		x.each(func(pod *authsec.Source) {
			if token, _ := pod.Token(); x.name(token) != "first" {
				x.mu.Lock()
				failed++
				x.mu.Unlock()
			}
		})
		if failed > 0 {
			t.Errorf("%d of 20 patient calls failed, want none", failed)
		}
		if n := x.srv.Fetches(); n > 40 {
			t.Errorf("%d requests", n)
		}
	})
}

// What a store says of its failure may have the entry in it.
func TestStoresErrorDoesNotShowAnUnsealedToken(t *testing.T) {
	fleetBubble(t, func(t *testing.T, x *fleet) {
		const secret = "opaque-token-0123456789"
		x.pod(func(c *authsec.Config) {
			c.Cache, c.CacheKeys, c.StoreTokensUnsealed = talkative{}, nil, true
			c.HTTPClient = &http.Client{Transport: authsectest.RoundTripper(authsectest.Answer(200, `{"token":"`+secret+`","ttl_seconds":3600}`))}
		})
		x.src.Token()
		x.src.Flush(t.Context())
		if text := fmt.Sprint(x.src.Stats().LastCacheError); strings.Contains(text, secret) {
			t.Errorf("LastCacheError: %s", text)
		}
		for _, e := range x.log.all() {
			if strings.Contains(e.text, secret) {
				t.Errorf("log: %s", e.text)
			}
		}
	})
}

type talkative struct{}

func (talkative) Get(context.Context, string) ([]byte, error) { return nil, authsec.ErrCacheMiss }
func (talkative) Put(_ context.Context, key string, data []byte, _ time.Duration) error {
	return fmt.Errorf("SET %s %s: OOM command not allowed", key, data[1:])
}
func (talkative) Delete(context.Context, string) error { return nil }

// What was asked before an admin delegated does not answer Renew(nil).
func TestForcedRenewIsNotAnsweredByAnEarlierQuestion(t *testing.T) {
	fleetBubble(t, func(t *testing.T, x *fleet) {
		late := func(c *authsec.Config) {
			c.HTTPClient = &http.Client{Transport: sourceRoundTripper(func(req *http.Request) (*http.Response, error) {
				resp, err := x.srv.Client().Transport.RoundTrip(req)
				time.Sleep(2 * time.Second)
				return resp, err
			})}
		}
		slow := x.pod(late)
		go slow.Token() // is told that there is none
		synctest.Wait()
		x.sleep(time.Second)
		x.delegateNow("first", time.Hour)
		x.pod()
		token, err := x.src.Renew(t.Context(), nil)
		if x.name(token) != "first" {
			t.Errorf("Renew(nil): got %s, %v, want the first, which was delegated before the call", x.name(token), err)
		}
	})
}

// A slow cache costs three times CacheTimeout at most.
func TestSlowCacheCostsThreeTimeouts(t *testing.T) {
	fleetBubble(t, func(t *testing.T, x *fleet) {
		x.delegate("first", time.Hour)
		x.pod()
		x.want("first")
		entries := x.cache.all()
		x.cache.restore(nil)
		gets := 0
		x.cache.fault = func(op string) error {
			time.Sleep(990 * time.Millisecond)
			if op == "get" {
				if gets++; gets == 2 { // another process's, which came just before
					x.cache.restore(entries)
				}
			}
			return nil
		}
		x.pod()
		began := time.Now()
		token, err := x.src.Token()
		if took := time.Since(began); took > 3*time.Second {
			t.Errorf("got %s, %v, after %v, want 3s at most", x.name(token), err, took)
		}
	})
}

// A store that hangs in one of its uses is left alone for longer each time.
func TestCacheThatCannotLeaseIsLeftAloneForLonger(t *testing.T) {
	fleetBubble(t, func(t *testing.T, x *fleet) {
		leases := 0
		x.cache.fault = func(op string) error {
			if op == "lease" {
				leases++
				time.Sleep(1100 * time.Millisecond)
			}
			return nil
		}
		x.pod()
		slow := 0
		for range 30 {
			began := time.Now()
			x.src.Renew(t.Context(), nil) // 404
			if time.Since(began) >= time.Second {
				slow++
			}
			x.sleep(5 * time.Second)
		}
		if slow > 15 {
			t.Errorf("%d of 30 fetches within 3 minutes took a second for the cache, want few", slow)
		}
	})
}

// Who waited for another has all of FetchTimeout left, should the server be so slow.
func TestWaitersOfASlowServer(t *testing.T) {
	fleetBubble(t, func(t *testing.T, x *fleet) {
		x.delegate("first", time.Hour)
		x.srv.SetLatency(2200 * time.Millisecond)
		x.add(20, func(c *authsec.Config) { c.FetchTimeout = 3 * time.Second })
		x.all("first")
		t.Log(x.srv.Fetches(), "requests")
	})
}

// An entry written by a process that asked a server whose clock is ahead.
func TestTwoServersWithDifferentClocks(t *testing.T) {
	fleetBubble(t, func(t *testing.T, x *fleet) {
		ahead := func(c *authsec.Config) {
			c.HTTPClient = &http.Client{Transport: sourceRoundTripper(func(req *http.Request) (*http.Response, error) {
				resp, err := x.srv.Client().Transport.RoundTrip(req)
				if err == nil {
					resp.Header.Set("Date", time.Now().Add(10*time.Minute).UTC().Format(http.TimeFormat))
				}
				return resp, err
			})}
		}
		x.delegate("first", time.Hour)
		p := x.pod()
		x.want("first")
		x.sleep(time.Second)
		q := x.pod(ahead)
		if _, err := q.Renew(t.Context(), nil); err != nil {
			t.Fatal(err)
		}
		x.sleep(5 * time.Minute)
		x.srv.Revoke(authsectest.ClientID)
		x.delegateNow("second", time.Hour)
		x.pods = []*authsec.Source{p}
		x.refuse("first", func(token *oauth2.Token, err error) {
			if x.name(token) != "second" {
				t.Errorf("Renew: got %s, %v, want the second: the entry is 5 minutes old", x.name(token), err)
			}
		})
	})
}

// Newer servers give the 404 to a caller who did not delegate. That is one
// process's own trouble, and must not keep the others from the token.
func TestAnothersCredentialDoesNotStarve(t *testing.T) {
	fleetBubble(t, func(t *testing.T, x *fleet) {
		none := authsectest.Answer(404, `{"error":"No active delegation token found"}`)
		as := func(token string) func(*authsec.Config) {
			return func(c *authsec.Config) {
				c.Credential = oauth2.StaticTokenSource(&oauth2.Token{AccessToken: token})
				c.HTTPClient = &http.Client{Transport: sourceRoundTripper(func(req *http.Request) (*http.Response, error) {
					if req.Header.Get("Authorization") != "Bearer delegator" {
						return authsectest.RoundTripper(none).RoundTrip(req)
					}
					return x.transport().RoundTrip(req)
				})}
			}
		}
		x.delegate("first", 24*time.Hour)
		x.pod(as("stranger"))
		x.src.Token()
		synctest.Wait()
		good := x.pod(as("delegator"))
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

// A full store and an outage: what the others need is not deleted.
func TestFailureThatCannotBeStoredDeletesNoToken(t *testing.T) {
	for _, slow := range []bool{false, true} {
		fleetBubble(t, func(t *testing.T, x *fleet) {
			x.delegate("first", time.Hour)
			x.pod()
			x.want("first")
			x.cache.fault = func(op string) error {
				if op == "put" {
					if slow {
						time.Sleep(20 * time.Second)
					}
					return errors.New("full")
				}
				return nil
			}
			x.srv.Fail(sourceUnavailable)
			x.src.Renew(t.Context(), nil)
			x.sleep(30 * time.Second)
			x.pod()
			if token, err := x.src.Token(); err != nil {
				t.Errorf("slow %t: a new pod got %s, %v, want the first, which was in the cache", slow, x.name(token), err)
			}
		})
	}
}

// Flush takes as long as its comment says.
func TestFlushBound(t *testing.T) {
	fleetBubble(t, func(t *testing.T, x *fleet) {
		x.pod()
		x.cache.fault = func(op string) error {
			if op == "lease" {
				return nil
			}
			time.Sleep(990 * time.Millisecond)
			if op == "put" {
				return errors.New("full")
			}
			return nil
		}
		x.src.Token() // 404
		began := time.Now()
		x.src.Flush(context.Background())
		if took := time.Since(began); took > 4*time.Second {
			t.Errorf("Flush took %v, want 4s at most, as its comment says", took)
		}
	})
}

// Where a 404 is not for all, a token that was withdrawn is not kept for others
// all the same.
func TestWithdrawnTokenIsRemovedWithACredential(t *testing.T) {
	fleetBubble(t, func(t *testing.T, x *fleet) {
		x.delegate("first", time.Hour)
		x.pod(func(c *authsec.Config) {
			c.Credential = oauth2.StaticTokenSource(&oauth2.Token{AccessToken: "a"})
		})
		x.want("first")
		x.sleep(time.Minute)
		x.srv.Revoke(authsectest.ClientID)
		if _, err := x.src.Renew(t.Context(), nil); err == nil || len(x.cache.all()) != 1 {
			t.Errorf("got %v, %d entries: no API has refused it yet", err, len(x.cache.all()))
		}
		x.sleep(time.Minute)
		x.refuse("first", func(*oauth2.Token, error) {})
		synctest.Wait()
		if n := len(x.cache.all()); n != 0 {
			t.Errorf("%d entries, want none", n)
		}
	})
}

// What one process can't use may be of use to others: its failure does not replace it.
func TestEntryOfOthersIsLeft(t *testing.T) {
	for name, edit := range map[string]func(*authsec.Config){
		"another audience": func(c *authsec.Config) { c.Audience = "another" },
		"another key":      func(c *authsec.Config) { c.CacheKeys = [][]byte{cacheKey()} },
	} {
		fleetBubble(t, func(t *testing.T, x *fleet) {
			x.delegate("first", time.Hour)
			x.pod()
			x.want("first")
			x.srv.Fail(sourceUnavailable)
			x.pod(edit)
			x.src.Token()
			synctest.Wait()
			asked := x.srv.Fetches()
			x.pod()
			if token, err := x.src.Token(); x.name(token) != "first" || x.srv.Fetches() != asked {
				t.Errorf("%s: got %s, %v, want the first, from the cache", name, x.name(token), err)
			}
		})
	}
}

// The same where the process that was refused takes what another was just told,
// and ends.
func TestWithdrawnTokenIsRemovedByWhoWasRefused(t *testing.T) {
	fleetBubble(t, func(t *testing.T, x *fleet) {
		x.delegate("first", time.Hour)
		x.add(2)
		x.all("first")
		x.sleep(time.Minute)
		x.srv.Revoke(authsectest.ClientID)
		if _, err := x.pods[1].Renew(t.Context(), nil); !errors.Is(err, authsec.ErrNotDelegated) {
			t.Fatalf("got %v, want ErrNotDelegated", err)
		}
		synctest.Wait()
		asked := x.srv.Fetches()
		x.pods = x.pods[:1]
		x.refuse("first", func(token *oauth2.Token, err error) {
			if !errors.Is(err, authsec.ErrNotDelegated) {
				t.Errorf("Renew: got %s, %v, want ErrNotDelegated", x.name(token), err)
			}
		})
		x.wantRequests(asked) // it took the other's
		x.pods[0].Flush(t.Context())
		x.pod()
		if token, err := x.src.Token(); err == nil {
			t.Errorf("a process that begins then got %s, which was withdrawn", x.name(token))
		}
		x.wantRequests(asked)
	})
}
