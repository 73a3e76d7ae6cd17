// Copyright 2026 The authsec Authors
// SPDX-License-Identifier: Apache-2.0

package verify_test

import (
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/authsec-go/authsec/authsectest"
	"github.com/authsec-go/authsec/verify"
	"github.com/golang-jwt/jwt/v5"
)

// limited is a server of the newer generation with a real one's limits.
type limited struct {
	*authsectest.Server
	latency time.Duration

	mu             sync.Mutex // guards what follows
	asked, refused int        // requests for checks, and those of them that got a 429
}

func newLimited(latency time.Duration) *limited {
	srv := authsectest.NewInMemoryServer()
	srv.RequireCredential("c")
	srv.LimitRate(100, time.Minute)
	return &limited{Server: srv, latency: latency}
}

func (l *limited) delegate(i int) string {
	return l.Delegate(fmt.Sprintf("9b477e30-3989-4c12-926c-%012d", i), authsectest.Delegation{Audience: []string{audience}, TTL: 20 * time.Hour})
}

func (l *limited) RoundTrip(r *http.Request) (*http.Response, error) {
	time.Sleep(l.latency)
	resp, err := l.Client().Transport.RoundTrip(r)
	l.mu.Lock()
	defer l.mu.Unlock()
	if strings.HasSuffix(r.URL.Path, "/validate") {
		l.asked++
		if resp.StatusCode == http.StatusTooManyRequests {
			l.refused++
		}
	}
	return resp, err
}

// requests returns how many checks were asked for, and how many of them got a 429.
func (l *limited) requests() (asked, refused int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.asked, l.refused
}

func (l *limited) verifier(t *testing.T, check time.Duration) *verify.Verifier {
	v, err := verify.New(verify.Config{BaseURL: l.URL, Tenants: []string{authsectest.TenantID}, Audience: audience,
		HTTPClient: &http.Client{Transport: l}, RevocationCheck: check, MaxLifetime: 23 * time.Hour})
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// tokensOf returns a new token of each of n agents.
func tokensOf(n int) (tokens []string) {
	for i := range n {
		tokens = append(tokens, longLived(agent(i)))
	}
	return tokens
}

// all verifies the tokens at once, and returns how many are good.
func all(t *testing.T, v *verify.Verifier, tokens []string) (good int) {
	var mu sync.Mutex
	var done sync.WaitGroup
	for _, token := range tokens {
		done.Go(func() {
			_, err := v.Verify(t.Context(), token)
			mu.Lock()
			defer mu.Unlock()
			if err == nil {
				good++
			}
		})
	}
	done.Wait()
	return good
}

func TestOneAgentsOldTokensDoNotStopOthers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		srv := newLimited(0)
		var good, old []string
		for i := range 4 {
			good = append(good, srv.delegate(i))
		}
		for range 20 {
			old = append(old, srv.delegate(99))
		}
		v := srv.verifier(t, interval)
		for i := range 20 * 60 {
			if i%5 == 0 {
				if got := all(t, v, good); got != len(good) {
					asked, refused := srv.requests()
					t.Errorf("after %d s: %d of 4 good tokens accepted, want all; %d checks, %d of them 429", i, got, asked, refused)
				}
			}
			if i > 60 {
				all(t, v, old)
			}
			time.Sleep(time.Second)
		}
		asked, _ := srv.requests()
		if most := 20*(4+1)*2 + 4; asked > most {
			t.Errorf("%d checks in 20 minutes, want %d at most", asked, most)
		}
	})
}

// The server no longer calls them valid, so an agent does not wait for their checks.
func TestAnAgentsRevokedTokensDoNotStopItsNewOne(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		srv := newLimited(0)
		v := srv.verifier(t, interval)
		old := []string{srv.delegate(1), srv.delegate(1), srv.delegate(1)}
		srv.delegate(1)
		for range 30*60 + 30 { // between two of the checks that the agent gets
			all(t, v, old)
			time.Sleep(time.Second)
		}
		if token := srv.delegate(1); all(t, v, []string{token}) != 1 {
			t.Error("the new token is not accepted")
		}
		if asked, _ := srv.requests(); asked < 20 { // a server may take its word back
			t.Errorf("%d checks in 30 minutes, want one a minute", asked)
		}
	})
}

func TestARevokedTokenNeverWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCourt()
		v, token := c.verifier(t), longLived()
		c.revoke(token, true)
		check(t, "at first", v, token, verify.ErrInvalidToken)
		c.breakDown(nil, 9*time.Second)
		for _, idle := range []time.Duration{interval, 4 * interval, time.Hour} {
			time.Sleep(idle)
			start := time.Now()
			check(t, "later", v, token, verify.ErrInvalidToken)
			if waited := time.Since(start); waited != 0 {
				t.Errorf("after %v: a request waited %v, want 0", idle, waited)
			}
		}
		time.Sleep(10 * time.Second)
	})
}

// A token that is not checked is not remembered either: it would push out others.
func TestOneAgentsManyTokensPushOutNoOthers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCourt()
		c.publish(tenant, jwk(&ecKey().PublicKey)) // which signs fast
		named := func(i int, replaced object) string {
			return sign(jwt.SigningMethodES256, ecKey(), header(object{"alg": "ES256"}), claims(agent(i), replaced))
		}
		v := c.verifier(t, func(cfg *verify.Config) { cfg.Algorithms, cfg.RevocationCheck = []string{"ES256"}, time.Hour })
		good := named(-1, nil)
		check(t, "before", v, good, nil)
		for i := range 5000 {
			v.Verify(t.Context(), named(-2, object{"jti": fmt.Sprint(i)}))
		}
		checkChecks(t, "5000 tokens of one agent", c, 1+4)
		check(t, "after", v, good, nil)
		checkChecks(t, "the other agent's", c, 1+4)

		resp := ask(protected(v), "Bearer "+named(-2, object{"jti": "one more"}))
		if after := resp.Header.Get("Retry-After"); resp.StatusCode != 503 || after != "61" {
			t.Errorf("one more: %d with Retry-After %q, want 503 and 61", resp.StatusCode, after)
		}
		for i := range 3 { // a longer interval gives new tokens no longer wait
			time.Sleep(time.Minute)
			check(t, "a minute later", v, named(-2, object{"jti": fmt.Sprint("new", i)}), nil)
		}
	})
}

// Refused checks count for the limit of the address, which other agents share.
func TestChecksAfterARateLimitBeginWithFew(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		srv := newLimited(50 * time.Millisecond)
		var tokens []string
		for i := range 120 {
			tokens = append(tokens, srv.delegate(i))
		}
		v := srv.verifier(t, 30*time.Minute) // 4 checks a minute; the server permits 10
		neighbors, good := 0, 0
		for range 240 { // 20 minutes
			good = all(t, v, tokens)
			req, _ := http.NewRequest("GET", srv.URL+authsectest.EndpointPath+"?client_id="+authsectest.ClientID, nil)
			req.Header.Set("Authorization", "Bearer c")
			if resp, err := srv.Client().Do(req); err != nil || resp.StatusCode == http.StatusTooManyRequests {
				neighbors++
			}
			time.Sleep(5 * time.Second)
		}
		asked, refused := srv.requests()
		t.Logf("%d checks, %d of them 429; %d of 120 tokens good at the end", asked, refused, good)
		if refused > 200 || neighbors > 0 {
			t.Errorf("%d of %d checks got 429, and %d of 240 requests of an agent at the same address; want few, and 0", refused, asked, neighbors)
		}
		if good < 80 {
			t.Errorf("%d of 120 tokens are good after 20 minutes, want 80 or more", good)
		}
	})
}

// What is over the window waits, and does not fail.
func TestAHundredNewTokensAreCheckedAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCourt()
		v := c.verifier(t)
		check(t, "before", v, longLived(), nil)
		tokens := tokensOf(100)
		c.breakDown(nil, 500*time.Millisecond)
		start := time.Now()
		if got := all(t, v, tokens); got != 100 {
			t.Errorf("%d of 100 are accepted, want all", got)
		}
		if took := time.Since(start); took > 5*time.Second {
			t.Errorf("it took %v, want 5s at most", took)
		}
	})
}

// A check whose turn comes late does not ask: its answer would come too late, and the
// server would count it.
func TestOnlyChecksWithTimeLeftAsk(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCourt()
		v := c.verifier(t)
		check(t, "before", v, longLived(), nil)
		c.breakDown(nil, 6*time.Second)
		tokens := tokensOf(40)
		began := time.Now()
		good := all(t, v, tokens)
		if took := time.Since(began); took > 6*time.Second || good == 0 || good == 40 {
			t.Errorf("%d of 40 are accepted after %v, want some within 6s", good, took)
		}
		checkChecks(t, "in all", c, 1+good)
		for i := range 30 { // HTTPClient has returned from all calls
			if _, err := v.Verify(t.Context(), longLived(agent(100+i))); err != nil && strings.Contains(err.Error(), "HTTPClient") {
				t.Fatal(err)
			}
		}
	})
}

// What waits when the server refuses does not ask any more.
func TestA429EndsTheLine(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCourt()
		v := c.verifier(t)
		check(t, "before", v, longLived(), nil)
		tokens := tokensOf(100)
		c.breakDown(authsectest.Answer(429, "{}", "Retry-After", "30"), time.Second)
		start := time.Now()
		all(t, v, tokens)
		if took := time.Since(start); took != time.Second {
			t.Errorf("it took %v, want the 1s of the first answers", took)
		}
		checkChecks(t, "100 tokens", c, 1+4)
		h, next := protected(v), map[string]bool{}
		for _, token := range tokens {
			next[ask(h, "Bearer "+token).Header.Get("Retry-After")] = true
		}
		if len(next) < 10 || next["30"] || next["62"] {
			t.Errorf("Retry-After = %v, want many from 31 to 61", next)
		}
		c.breakDown(nil, time.Second)
		time.Sleep(30*time.Second - 1)
		all(t, v, tokens)
		checkChecks(t, "before Retry-After", c, 1+4)
		time.Sleep(30 * time.Second)
		go all(t, v, tokens)
		synctest.Wait()
		checkChecks(t, "after it, at once", c, 1+4+1)
		time.Sleep(time.Minute)
		if got := all(t, v, tokens); got != 100 {
			t.Errorf("%d of 100 are accepted in the end, want all", got)
		}
		time.Sleep(20 * time.Second)
	})
}

// "A revoked token is rejected after three of these intervals at the latest."
func TestAnAnswerIsAsOldAsItsRequest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCourt()
		c.breakDown(nil, 9*time.Second) // the server decides at once, and answers late
		v, token := c.verifier(t, func(cfg *verify.Config) { cfg.RevocationCheck = time.Second }), longLived()
		go check(t, "the first request", v, token, nil)
		time.Sleep(4 * time.Second)
		c.revoke(token, true)
		check(t, "a request that began 4 s after the check", v, token, verify.ErrInvalidToken)
		time.Sleep(20 * time.Second)
	})
	synctest.Test(t, func(t *testing.T) {
		c := newCourt()
		c.breakDown(nil, 9*time.Second)
		v, token := c.verifier(t, func(cfg *verify.Config) { cfg.RevocationCheck = 5 * time.Second }), longLived()
		check(t, "the first request", v, token, nil)
		time.Sleep(6*time.Second - 1)
		start := time.Now()
		check(t, "just before three intervals", v, token, nil)
		if waited := time.Since(start); waited != 0 {
			t.Errorf("it waited %v, want 0", waited)
		}
		synctest.Wait() // the server has decided again
		c.revoke(token, true)
		time.Sleep(15 * time.Second)
		check(t, "three intervals later", v, token, verify.ErrInvalidToken)
		time.Sleep(20 * time.Second)
	})
}
