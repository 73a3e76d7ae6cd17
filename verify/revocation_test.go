// Copyright 2026 The authsec Authors
// SPDX-License-Identifier: Apache-2.0

package verify_test

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/authsec-go/authsec/authsectest"
	"github.com/authsec-go/authsec/verify"
)

const (
	validatePath = "/authsec/spiresvc/v1/jwt/validate"
	interval     = time.Minute // of the checks in these tests
)

// court is an authority whose server also says whether tokens were revoked.
type court struct {
	*authority
	mu      sync.Mutex
	revoked map[string]bool
	checks  []checked
	fault   http.Handler // of the checks
	latency time.Duration
}

// checked is a request for a check.
type checked struct {
	at   time.Time
	body map[string]any
}

func newCourt() *court { return &court{authority: newAuthority(), revoked: map[string]bool{}} }

func (c *court) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.URL.Path != validatePath {
		c.authority.ServeHTTP(w, r)
		return
	}
	request := checked{at: time.Now()}
	json.NewDecoder(r.Body).Decode(&request.body)
	token, _ := request.body["token"].(string)
	c.mu.Lock()
	c.checks = append(c.checks, request)
	fault, latency, valid := c.fault, c.latency, !c.revoked[token]
	c.mu.Unlock()
	time.Sleep(latency)
	switch {
	case fault != nil:
		fault.ServeHTTP(w, r)
	case r.Method != http.MethodPost || r.URL.RawQuery != "" || r.Header.Get("Content-Type") != "application/json":
		http.Error(w, "not as documented", http.StatusBadRequest)
	default:
		c.answer(w, token, valid)
	}
}

// answer is what AuthSec says of a token.
func (c *court) answer(w http.ResponseWriter, token string, valid bool) {
	var m object
	payload, _ := base64.RawURLEncoding.DecodeString(parts(token)[1])
	json.Unmarshal(payload, &m)
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	json.NewEncoder(w).Encode(object{"valid": valid, "spiffe_id": m["sub"], "claims": m, "expires_at": m["exp"]})
}

func (c *court) revoke(token string, revoked bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.revoked[token] = revoked
}

// breakDown makes h answer all checks, after latency.
func (c *court) breakDown(h http.Handler, latency time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.fault, c.latency = h, latency
}

func (c *court) requests() []checked {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Clone(c.checks)
}

func (c *court) verifier(t testing.TB, change ...func(*verify.Config)) *verify.Verifier {
	return c.authority.verifier(t, append([]func(*verify.Config){func(cfg *verify.Config) {
		cfg.HTTPClient = &http.Client{Transport: authsectest.RoundTripper(c)}
		cfg.RevocationCheck = interval
	}}, change...)...)
}

func checkChecks(t *testing.T, what string, c *court, want int) {
	t.Helper()
	if got := len(c.requests()); got != want {
		t.Errorf("%s: the server was asked %d times, want %d", what, got, want)
	}
}

// longLived is a token that outlives these tests.
func longLived(replaced ...object) string {
	return token(append([]object{{"exp": time.Now().Add(1000 * time.Hour).Unix()}}, replaced...)...)
}

// agent are the claims of a token of its own for each agent.
func agent(i int) object {
	return object{"jti": fmt.Sprint(i), "sub": fmt.Sprint("spiffe://example.org/agents/", i)}
}

// The whole way, with real servers.
func TestRevokedTokensAreRejected(t *testing.T) {
	c := newCourt()
	srv := httptest.NewServer(c)
	defer srv.Close()
	good, revoked := token(), token(object{"jti": "jti-2"})
	c.revoke(revoked, true)
	h := protected(c.verifier(t, func(cfg *verify.Config) { cfg.BaseURL, cfg.HTTPClient = srv.URL, nil }))
	for range 3 {
		checkAnswer(t, "a good token", ask(h, "Bearer "+good), answer{status: 200})
		checkAnswer(t, "a revoked token", ask(h, "Bearer "+revoked), badToken)
	}
	checkChecks(t, "two tokens", c, 2)
	want := map[string]any{"tenant_id": tenant, "workspace_id": tenant, "audience": audience, "token": good}
	if got := c.requests()[0].body; !maps.Equal(got, want) {
		t.Errorf("the check = %v, want %v", slices.Sorted(maps.Keys(got)), slices.Sorted(maps.Keys(want)))
	}
}

func TestTokensAreNotCheckedUnlessConfigured(t *testing.T) {
	c := newCourt()
	good := token()
	c.revoke(good, true)
	check(t, "a revoked token", c.verifier(t, func(cfg *verify.Config) { cfg.RevocationCheck = 0 }), good, nil)
	checkChecks(t, "without RevocationCheck", c, 0)
}

// What a Verifier rejects itself costs no request.
func TestOnlyTokensWithAGoodSignatureAreChecked(t *testing.T) {
	c := newCourt()
	v := c.verifier(t, func(cfg *verify.Config) { cfg.MaxLifetime = 2 * time.Hour })
	for name, token := range map[string]string{"garbage": garbage(), "expired": token(object{"exp": 1}), "for another": token(object{"aud": "other"}), "prolonged": longLived(), "no JWT": "x"} {
		check(t, name, v, token, verify.ErrInvalidToken)
	}
	checkChecks(t, "bad tokens", c, 0)
}

func TestOneCheckForAnyNumberOfRequests(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCourt()
		c.breakDown(nil, 2*time.Second)
		v, good, revoked := c.verifier(t), token(), token(object{"jti": "jti-2"})
		c.revoke(revoked, true)
		var done sync.WaitGroup
		for range 300 {
			done.Go(func() { check(t, "a good token", v, good, nil) })
			done.Go(func() { check(t, "a revoked token", v, revoked, verify.ErrInvalidToken) })
		}
		done.Wait()
		checkChecks(t, "300 requests with each of two tokens", c, 2)
	})
}

// Each token is checked about every interval, and no request waits for it.
func TestKnownTokensAreCheckedInTheBackground(t *testing.T) {
	for name, revoked := range map[string]bool{"good": false, "revoked": true} {
		synctest.Test(t, func(t *testing.T) {
			c := newCourt()
			v, token := c.verifier(t), longLived()
			c.revoke(token, revoked)
			want := error(nil)
			if revoked {
				want = verify.ErrInvalidToken
			}
			check(t, name, v, token, want)
			c.breakDown(nil, time.Second)
			for range 100 * 60 {
				time.Sleep(time.Second)
				start := time.Now()
				check(t, name, v, token, want)
				if waited := time.Since(start); waited != 0 {
					t.Fatalf("%s: a request waited %v, want 0", name, waited)
				}
			}
			gaps := map[time.Duration]bool{}
			for i, r := range c.requests()[1:] {
				gap := r.at.Sub(c.requests()[i].at)
				gaps[gap] = true
				if gap < interval/2 || gap > interval*3/2+3*time.Second {
					t.Errorf("%s: checks %v apart, want %v ±50 %%", name, gap, interval)
				}
			}
			if n := len(c.requests()); n < 80 || n > 130 || len(gaps) < 10 {
				t.Errorf("%s: %d checks in 100 minutes at %d distances, want about 100 at 10 or more", name, n, len(gaps))
			}
			time.Sleep(time.Minute)
		})
	}
}

func TestRevocationIsNoticedWhileATokenIsInUse(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCourt()
		v, token := c.verifier(t), longLived()
		for _, revoked := range []bool{true, false} { // a server may also take its word back
			check(t, "before", v, token, map[bool]error{true: nil, false: verify.ErrInvalidToken}[revoked])
			c.revoke(token, revoked)
			since := time.Now()
			for {
				time.Sleep(time.Second)
				if _, err := v.Verify(t.Context(), token); (err != nil) == revoked {
					break
				}
			}
			synctest.Wait()
			if took := time.Since(since); took > 3*interval {
				t.Errorf("revoked %t: noticed after %v, want %v at most", revoked, took, 3*interval)
			}
		}
	})
}

// An answer counts for three intervals, also for a token that was not used since.
func TestOldAnswersAreNotTrusted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for idle, want := range map[time.Duration]error{3*interval - 1: nil, 3 * interval: verify.ErrInvalidToken} {
			c := newCourt()
			v, token := c.verifier(t), longLived()
			check(t, "before", v, token, nil)
			c.revoke(token, true)
			time.Sleep(idle)
			check(t, "after "+idle.String(), v, token, want)
			synctest.Wait()
		}
	})
}

func TestOutageOfChecks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCourt()
		v, known, revoked, unknown := c.verifier(t), longLived(), longLived(object{"jti": "2"}), longLived(object{"jti": "3"})
		c.revoke(revoked, true)
		check(t, "before", v, known, nil)
		check(t, "before", v, revoked, verify.ErrInvalidToken)
		c.breakDown(authsectest.Answer(503, "{}"), 0)
		for begun := time.Now(); time.Since(begun) < 3*interval; time.Sleep(time.Second) {
			check(t, "known, in the outage", v, known, nil)
			check(t, "revoked, in the outage", v, revoked, verify.ErrInvalidToken)
			check(t, "never checked, in the outage", v, unknown, verify.ErrUnavailable)
		}
		check(t, "known, after three intervals", v, known, verify.ErrUnavailable)
		check(t, "revoked, after three intervals", v, revoked, verify.ErrInvalidToken)
		resp := ask(protected(v), "Bearer "+unknown)
		if after, err := strconv.Atoi(resp.Header.Get("Retry-After")); err != nil || after < 1 || after > 91 {
			t.Errorf("Retry-After = %q, want 1 to 91", resp.Header.Get("Retry-After"))
		}
		checkAnswer(t, "never checked", resp, notJudged)
		if n := len(c.requests()); n > 3*20 { // each 1, 2, 4 … 60 s ±50 %
			t.Errorf("%d checks in 3 minutes of outage, want 60 at most", n)
		}
		c.breakDown(nil, 0)
		time.Sleep(91 * time.Second)
		check(t, "known, after it", v, known, nil)
		check(t, "never checked, after it", v, unknown, nil)
		check(t, "revoked, after it", v, revoked, verify.ErrInvalidToken)

		time.Sleep(4 * interval)
		c.breakDown(authsectest.Answer(503, "{}"), 0)
		before := len(c.requests())
		check(t, "in another outage", v, known, verify.ErrUnavailable)
		time.Sleep(1500 * time.Millisecond) // the first failure's backoff again
		check(t, "in another outage", v, known, verify.ErrUnavailable)
		checkChecks(t, "another outage", c, before+2)
	})
}

// Each token has its own failures. Otherwise a caller with a token that the server can't
// judge could lock the others out.
func TestATokensFailureIsItsOwn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCourt()
		v, poison := c.verifier(t), longLived()
		c.breakDown(authsectest.Answer(500, "{}"), 0)
		for range 20 {
			check(t, "poison", v, poison, verify.ErrUnavailable)
			time.Sleep(time.Minute)
		}
		c.breakDown(nil, 0)
		check(t, "another", v, longLived(object{"jti": "2"}), nil)
	})
}

func TestRateLimitStopsAllChecks(t *testing.T) {
	for after, most := range map[string]time.Duration{"": 45 * time.Second, "20": 20 * time.Second, "86400": time.Minute, "0": 45 * time.Second, "x": 45 * time.Second} {
		synctest.Test(t, func(t *testing.T) {
			c := newCourt()
			c.breakDown(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("Retry-After", after)
				w.WriteHeader(http.StatusTooManyRequests)
			}), 0)
			v := c.verifier(t)
			for i := range 50 {
				check(t, "limited", v, longLived(agent(i)), verify.ErrUnavailable)
			}
			checkChecks(t, "50 tokens", c, 1)
			c.breakDown(nil, 0)
			time.Sleep(most)
			check(t, "after it", v, longLived(), nil)
		})
	}
}

func TestWaitingForACheckEndsWithTheRequestsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCourt()
		c.breakDown(nil, 8*time.Second)
		v, token := c.verifier(t), token()
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		start := time.Now()
		_, err := v.Verify(ctx, token)
		if waited := time.Since(start); waited != time.Second || !errors.Is(err, verify.ErrUnavailable) || !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("error = %v after %v, want ErrUnavailable and DeadlineExceeded after 1s", err, waited)
		}
		check(t, "another request", v, token, nil)
		checkChecks(t, "both", c, 1)
	})
}

// With short intervals a check may take longer than an answer counts.
func TestChecksSlowerThanTheInterval(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCourt()
		c.breakDown(nil, 8*time.Second)
		v, token := c.verifier(t, func(cfg *verify.Config) { cfg.RevocationCheck = time.Second }), longLived()
		for range 100 {
			check(t, "slow", v, token, nil)
			time.Sleep(300 * time.Millisecond)
		}
		time.Sleep(10 * time.Second)
	})
}
