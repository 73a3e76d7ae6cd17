// Copyright 2026 The authsec Authors
// SPDX-License-Identifier: Apache-2.0

package authsec_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/authsec-go/authsec"
	"github.com/authsec-go/authsec/authsectest"
	"golang.org/x/oauth2"
)

var _ oauth2.TokenSource = (*authsec.Source)(nil)

func TestSourceAsksOnceWhileTokenIsFresh(t *testing.T) {
	sourceBubble(t, func(t *testing.T, x *sourceFixture) {
		x.start()
		x.delegate("A", time.Hour)
		for range 55 { // the window is 5 minutes
			x.want("A")
			x.sleep(time.Minute - time.Nanosecond)
		}
		x.wantFetches(1)
	})
}

func TestSourceMakesNoRequestBeforeFirstCall(t *testing.T) {
	sourceBubble(t, func(t *testing.T, x *sourceFixture) {
		x.start()
		x.delegate("A", time.Hour)
		x.sleep(time.Hour)
		x.wantRequests(0)
	})
}

func TestThousandRequestsMakeOneFetch(t *testing.T) {
	for _, pause := range []time.Duration{0, 200 * time.Millisecond} {
		inSourceBubble(t, fmt.Sprint("pause ", pause), func(t *testing.T, x *sourceFixture) {
			x.srv.LimitRate(100, time.Minute)
			x.start()
			x.delegate("A", 5*time.Minute)
			client := &http.Client{Transport: &authsec.Transport{
				Source: x.src,
				Base:   authsectest.RoundTripper(x.srv.API(nil)),
				Hosts:  []string{"api.test"},
			}}
			for i := range 1000 {
				resp, err := client.Get("https://api.test/")
				if err != nil {
					t.Fatalf("request %d: got error %v, want none", i, err)
				}
				resp.Body.Close()
				if resp.StatusCode != http.StatusOK {
					t.Fatalf("request %d: got status %d, want 200", i, resp.StatusCode)
				}
				time.Sleep(pause)
			}
			x.wantRequests(1)
			if got := x.srv.APICalls(); got != 1000 {
				t.Errorf("calls of the API: got %d, want 1000", got)
			}
		})
	}
}

func TestSourceServesShortLivedTokenUntilExpiry(t *testing.T) {
	for _, ttl := range []time.Duration{5 * time.Second, 10 * time.Second} {
		inSourceBubble(t, ttl.String(), func(t *testing.T, x *sourceFixture) {
			x.start()
			x.delegate("A", ttl)
			for range 100 {
				x.want("A")
				x.sleep(ttl * 8 / 1000) // up to the window's begin
			}
			x.wantFetches(1)
			for range 20 {
				x.want("A")
				x.sleep(ttl/100 - time.Nanosecond)
			}
			x.want("A")
			if got := x.src.Stats().Fetches; got > 5 {
				t.Errorf("fetches: got %d, want 5 at most", got)
			}
			x.sleep(21 * time.Nanosecond)
			x.wantError(authsec.ErrDelegationExpired)
		})
	}
}

func TestSourceColdStartOfTenThousandMakesOneFetch(t *testing.T) {
	sourceBubble(t, func(t *testing.T, x *sourceFixture) {
		x.start()
		x.delegate("A", time.Hour)
		x.srv.SetLatency(time.Second)
		var wg sync.WaitGroup
		for range 10_000 {
			wg.Go(func() {
				token, err := x.src.Token()
				if err != nil || x.name(token) != "A" {
					t.Errorf("Token: got %s and error %v, want A", x.name(token), err)
				}
			})
		}
		wg.Wait()
		x.wantRequests(1)
		x.wantFetches(1)
	})
}

func TestSourceColdStartsNeverFetchTwice(t *testing.T) {
	sourceBubble(t, func(t *testing.T, x *sourceFixture) {
		x.delegate("A", time.Hour)
		for n := range 200 {
			x.start()
			var wg sync.WaitGroup
			for range 32 {
				wg.Go(func() { x.src.Token() })
			}
			wg.Wait()
			if got := x.src.Stats().Fetches; got != 1 {
				t.Fatalf("cold start %d: got %d fetches, want 1", n, got)
			}
		}
	})
}

func TestSourceWaiterLeavesWithItsContextAlone(t *testing.T) {
	sourceBubble(t, func(t *testing.T, x *sourceFixture) {
		x.start()
		x.delegate("A", time.Hour)
		x.srv.SetLatency(5 * time.Second)
		began := time.Now()
		cause := errors.New("the user went away")

		var wg sync.WaitGroup
		leave := func(ctx context.Context, cancel func(), after time.Duration, targets ...error) {
			wg.Go(func() {
				defer cancel()
				token, err := x.src.TokenContext(ctx)
				for _, target := range targets {
					if !errors.Is(err, target) {
						t.Errorf("TokenContext: got %s and error %v, want one that is %v", x.name(token), err, target)
					}
				}
				x.wantWithin("time until it left", time.Since(began), after, after)
			})
			synctest.Wait()
		}
		first, cancelFirst := context.WithTimeout(t.Context(), time.Second) // the call that starts the fetch
		leave(first, cancelFirst, time.Second, context.DeadlineExceeded)
		second, cancelSecond := context.WithCancelCause(t.Context())
		leave(second, func() { cancelSecond(nil) }, 2*time.Second, context.Canceled, cause)
		wg.Go(func() {
			_, err := x.src.Delegation(first)
			if !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("Delegation: got error %v, want one that is %v", err, context.DeadlineExceeded)
			}
		})
		wg.Go(func() {
			token, err := x.src.TokenContext(t.Context())
			if err != nil || x.name(token) != "A" {
				t.Errorf("the call that stayed: got %s and error %v, want A", x.name(token), err)
			}
			x.wantWithin("time until it came", time.Since(began), 5*time.Second, 5*time.Second)
		})
		time.Sleep(2 * time.Second)
		cancelSecond(cause)
		wg.Wait()
		x.want("A")
		x.wantFetches(1)
	})
}

func TestSourceFetchGoesOnWhenAllHaveLeft(t *testing.T) {
	sourceBubble(t, func(t *testing.T, x *sourceFixture) {
		x.start()
		x.delegate("A", time.Hour)
		x.srv.SetLatency(5 * time.Second)
		x.leave(x.src.TokenContext)
		x.sleep(4 * time.Second)
		x.want("A")
		x.wantFetches(1)
	})
}

func TestSourceEndedContext(t *testing.T) {
	sourceBubble(t, func(t *testing.T, x *sourceFixture) {
		x.start()
		x.delegate("A", time.Hour)
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if token, err := x.src.TokenContext(ctx); !errors.Is(err, context.Canceled) {
			t.Errorf("with no token: got %s and error %v, want one that is %v", x.name(token), err, context.Canceled)
		}
		x.wantFetches(0)
		x.want("A")
		token, err := x.src.TokenContext(ctx)
		if err != nil || x.name(token) != "A" {
			t.Errorf("with a good token: got %s and error %v, want A", x.name(token), err)
		}
	})
}

func TestSourceServesSeveralOAuth2Clients(t *testing.T) {
	sourceBubble(t, func(t *testing.T, x *sourceFixture) {
		x.start()
		x.delegate("A", 8*time.Second) // less than what oauth2 takes for expired: it asks each time
		api := &http.Client{Transport: authsectest.RoundTripper(x.srv.API(nil))}
		ctx := context.WithValue(t.Context(), oauth2.HTTPClient, api)
		var wg sync.WaitGroup
		for range 8 {
			client := oauth2.NewClient(ctx, x.src)
			for range 4 {
				wg.Go(func() {
					for range 20 {
						resp, err := client.Get("https://api.test/")
						if err != nil {
							t.Errorf("Get: got error %v, want none", err)
							return
						}
						resp.Body.Close()
						if resp.StatusCode != http.StatusOK {
							t.Errorf("Get: got status %d, want 200", resp.StatusCode)
						}
						time.Sleep(300 * time.Millisecond)
					}
				})
			}
		}
		wg.Wait()
		x.wantFetches(1)
	})
}

func TestOlderServer(t *testing.T) {
	bubble(t, func(t *testing.T) {
		srv := authsectest.NewInMemoryServer()
		ask := func(id string) (*oauth2.Token, error) {
			return newSource(t, srv.Config(id)).Token()
		}
		_, err := ask("no-uuid")
		if !errors.Is(err, authsec.ErrInvalidClientID) {
			t.Errorf("an ID that is no UUID: %v, want ErrInvalidClientID", err)
		}
		_, err = ask(ourID)
		checkRefusal(t, err, 404, "Client not found", []string{"ErrNotDelegated"})
		srv.Register(ourID)
		_, err = ask(ourID)
		checkRefusal(t, err, 404, "No active delegation token found", []string{"ErrNotDelegated"})
		want := srv.Delegate(ourID, authsectest.Delegation{TTL: time.Minute})
		token, err := ask(strings.ToUpper(ourID))
		if err != nil || token.AccessToken != want || token.Type() != "Bearer" {
			t.Errorf("delegated: another token or type than the server's, or an error: %v", err)
		}
		time.Sleep(time.Minute + time.Nanosecond)
		_, err = ask(ourID)
		checkRefusal(t, err, 410, "Delegation token has expired", []string{"ErrNotDelegated", "ErrDelegationExpired"})
		_, err = ask(ourID)
		checkRefusal(t, err, 404, "No active delegation token found", []string{"ErrNotDelegated"})
		srv.LimitRate(1, time.Minute)
		_, _ = ask(ourID)
		_, err = ask(ourID)
		checkRefusal(t, err, 429, "Rate limit exceeded", []string{"ErrRateLimited"})
	})
}

func TestNewerServer(t *testing.T) {
	srv := authsectest.NewTLSServer()
	defer srv.Close()
	want := srv.Delegate(ourID, authsectest.Delegation{})
	srv.RequireCredential("the-callers-own")
	ask := func(credential oauth2.TokenSource) (*oauth2.Token, error) {
		cfg := srv.Config(ourID)
		cfg.Credential = credential
		return newSource(t, cfg).Token()
	}
	_, err := ask(nil)
	checkRefusal(t, err, 401, "authorization header required", []string{"ErrUnauthorized"}, "set Config.Credential")
	_, err = ask(oauth2.StaticTokenSource(&oauth2.Token{AccessToken: "somebody-elses"}))
	checkRefusal(t, err, 401, "Invalid or expired token", []string{"ErrUnauthorized"}, "rejected Config.Credential")
	token, err := ask(oauth2.StaticTokenSource(&oauth2.Token{AccessToken: "the-callers-own"}))
	if err != nil || token.AccessToken != want {
		t.Errorf("with the credential: another token than the server's, or an error: %v", err)
	}
}

func TestSourceHandsOutCopies(t *testing.T) {
	bubble(t, func(t *testing.T) {
		srv := authsectest.NewInMemoryServer()
		want := srv.Delegate(ourID, authsectest.Delegation{TTL: time.Hour, Permissions: []string{"a:r", "b:r"}, Audience: []string{"authsec-api"}})
		expiry := time.Now().Add(time.Hour)
		src := newSource(t, srv.Config(ourID))
		spoil := func() {
			token, _ := src.Token()
			token.AccessToken, token.TokenType, token.Expiry, token.RefreshToken = "x", "x", time.Time{}, "x"
			d, _ := src.Delegation(context.Background())
			c, _ := d.Claims()
			c.Permissions[0], c.Audience[0], c.ClientID, c.Verified = "*:*", "x", "x", true
			d.Permissions[0], d.Audience[0] = "*:*", "x"
			d.Permissions = append(d.Permissions[:1], "*:*")
			d.ClientID, d.SPIFFEID = "x", "x"
		}
		for range 2 {
			spoil()
		}
		token, err := src.Token()
		if err != nil || token.AccessToken != want || token.Type() != "Bearer" || !token.Expiry.Equal(expiry) || token.RefreshToken != "" {
			t.Errorf("the token is not what the server gave (error %v)", err)
		}
		d, _ := src.Delegation(context.Background())
		if !slices.Equal(d.Permissions, []string{"a:r", "b:r"}) || !slices.Equal(d.Audience, []string{"authsec-api"}) || d.ClientID != ourID {
			t.Errorf("Delegation is %v, want what the server said", d)
		}
		if c, err := d.Claims(); err != nil || c.Verified || !slices.Equal(c.Permissions, []string{"a:r", "b:r"}) {
			t.Errorf("Claims are another's (error %v)", err)
		}
	})
}

func TestSourceZeroValueIsError(t *testing.T) {
	for name, src := range map[string]*authsec.Source{"nil": nil, "zero": new(authsec.Source)} {
		t.Run(name, func(t *testing.T) {
			if _, err := src.Token(); err == nil {
				t.Error("Token: got no error, want one")
			}
			if _, err := src.Refresh(t.Context()); err == nil {
				t.Error("Refresh: got no error, want one")
			}
			if got := src.Stats().Fetches; got != 0 {
				t.Errorf("Stats.Fetches: got %d, want 0", got)
			}
		})
	}
}
