// Copyright 2026 The authsec Authors
// SPDX-License-Identifier: Apache-2.0

package oauth

import (
	"context"
	"errors"
	"net/http"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/authsec-go/authsec"
	"github.com/authsec-go/authsec/authsectest"
	"github.com/spiffe/go-spiffe/v2/svid/jwtsvid"
	"golang.org/x/oauth2"
)

// fixed returns the same SVID again.
type fixed struct{ svid *jwtsvid.SVID }

func (f fixed) FetchJWTSVID(context.Context, jwtsvid.Params) (*jwtsvid.SVID, error) {
	return f.svid, nil
}

// inMemory returns a client with a secret, whose endpoint and API are in memory.
func inMemory(t *testing.T, e *endpoint) *http.Client {
	endpointClient.Transport = authsectest.RoundTripper(http.HandlerFunc(e.serveToken))
	t.Cleanup(func() { endpointClient.Transport = nil })
	client := withSecret(clientID, clientSecret, "https://authsec.test/oauth/token", resource, []string{scope}, []string{"api.test"})
	client.Transport.(*authsec.Transport).Base = authsectest.RoundTripper(http.HandlerFunc(e.serveAPI))
	return client
}

func TestTokenIsRenewedInTime(t *testing.T) {
	e := newEndpoint(t)
	client := inMemory(t, e)
	synctest.Test(t, func(t *testing.T) {
		for _, step := range []struct {
			after  time.Duration
			revoke bool
			status int
			asked  int
		}{
			{0, false, 200, 1},
			{life - 11*time.Second, false, 200, 1},
			{2 * time.Second, false, 200, 2}, // x/oauth2 renews 10 s before the expiry
			{0, true, 200, 3},
			{29 * time.Second, true, 401, 3}, // at most one in 30 s
			{time.Second, false, 200, 4},
		} {
			time.Sleep(step.after)
			if step.revoke {
				e.revoke()
			}
			resp, err := client.Get("https://api.test/")
			if err != nil {
				t.Fatal(err)
			}
			resp.Body.Close()
			if asked, _ := e.counts(); resp.StatusCode != step.status || asked != step.asked {
				t.Errorf("%+v: %d, %d requests for tokens", step, resp.StatusCode, asked)
			}
		}
	})
}

func TestManyCallsCauseOneRequest(t *testing.T) {
	e := newEndpoint(t)
	client := inMemory(t, e)
	synctest.Test(t, func(t *testing.T) {
		var calls sync.WaitGroup
		for range 50 {
			calls.Go(func() {
				resp, err := client.Get("https://api.test/")
				if err != nil {
					t.Error(err)
					return
				}
				resp.Body.Close()
			})
		}
		calls.Wait()
		if asked, called := e.counts(); asked != 1 || called != 50 {
			t.Errorf("%d requests for tokens, %d calls, want 1 and 50", asked, called)
		}
	})
}

// A call waits for a token no longer than its context, and none longer than 30 s.
func TestWaitEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		src := newTokens(func(ctx context.Context) (*oauth2.Token, error) {
			<-ctx.Done()
			return nil, ctx.Err()
		})
		go src.Token() // has the turn
		synctest.Wait()
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		began := time.Now()
		if _, err := src.TokenContext(ctx); !errors.Is(err, context.DeadlineExceeded) || time.Since(began) != time.Second {
			t.Errorf("after %v: %v, want the end of the context after 1 s", time.Since(began), err)
		}
		time.Sleep(29 * time.Second)
		synctest.Wait()
		began = time.Now()
		if _, err := src.Token(); !errors.Is(err, context.DeadlineExceeded) || time.Since(began) != 30*time.Second {
			t.Errorf("after %v: %v, want the time-out of 30 s", time.Since(began), err)
		}
	})
}
