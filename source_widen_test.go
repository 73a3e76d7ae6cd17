// Copyright 2026 The authsec Authors
// SPDX-License-Identifier: Apache-2.0

package authsec_test

import (
	"fmt"
	"net/http"
	"testing"
	"testing/synctest"
	"time"
)

// The caller gets a 403 that says insufficient_scope at once. The token is renewed in
// the background, so that later requests have the new permissions.
func TestInsufficientScopeRenewsTheTokenInTheBackground(t *testing.T) {
	for challenge, want := range map[string]string{
		`Bearer realm="api", error="insufficient_scope", scope="users:write"`: "wide",
		`Bearer error=insufficient_scope`:                                     "wide",
		`Bearer error="invalid_token"`:                                        "narrow",
		``:                                                                    "narrow",
	} {
		sourceBubble(t, func(t *testing.T, x *sourceFixture) {
			x.start()
			x.delegate("narrow", time.Hour)
			x.want("narrow")
			x.srv.SetLatency(time.Second)
			x.delegate("wide", time.Hour)
			base := answering(outcome{status: 403, header: http.Header{"Www-Authenticate": {challenge}}})
			began := time.Now()
			resp, err := to(x.src, base).RoundTrip(get(t, api))
			if err != nil || resp.StatusCode != 403 || time.Since(began) != 0 {
				t.Fatalf("got %v, %v after %v, want the 403 at once", resp, err, time.Since(began))
			}
			checkUnread(t, resp)
			x.want("narrow")
			x.sleep(2 * time.Second)
			x.want(want)
		})
	}
}

// An API that answers every request with 403 causes as few fetches as one that rejects
// every token, and no request waits for them.
func TestInsufficientScopeIsWithinTheHostsBudget(t *testing.T) {
	sourceBubble(t, func(t *testing.T, x *sourceFixture) {
		x.start()
		x.delegate("A", 10*time.Hour)
		base := answering(outcome{status: 403, header: http.Header{"Www-Authenticate": {`Bearer error="insufficient_scope"`}}})
		tr := to(x.src, base)
		for range 600 {
			began := time.Now()
			if _, err := tr.RoundTrip(get(t, api)); err != nil || time.Since(began) != 0 {
				t.Fatalf("got %v after %v, want the 403 at once", err, time.Since(began))
			}
			x.sleep(time.Second)
		}
		if got := x.src.Stats(); got.Fetches < 10 || got.Fetches > 26 || got.Rejections != 0 { // 1, 1, 2, 4 … 30 s apart
			t.Errorf("got %d fetches and %d rejections in 10 minutes, want about 24 and 0", got.Fetches, got.Rejections)
		}
	})
}

// The renewals that an API's 403s cause do not delay one that its 401 causes.
func TestInsufficientScopeLeavesTheBudgetToRejections(t *testing.T) {
	sourceBubble(t, func(t *testing.T, x *sourceFixture) {
		x.start()
		x.delegate("A", 10*time.Hour)
		scope := http.Header{"Www-Authenticate": {`Bearer error="insufficient_scope"`}}
		base := answering(outcome{status: 403, header: scope}, outcome{status: 403, header: scope}, outcome{status: 401}, outcome{status: 200})
		tr := to(x.src, base)
		for range 2 {
			if _, err := tr.RoundTrip(get(t, api)); err != nil {
				t.Fatal(err)
			}
			synctest.Wait()
		}
		x.delegate("B", 10*time.Hour)
		if resp, err := tr.RoundTrip(get(t, api)); err != nil || resp.StatusCode != 200 {
			t.Errorf("got %v, %v, want the request replayed with another token", resp, err)
		}
		x.want("B")
	})
}

// One API rejects every token. Another's first rejection causes a fetch at once.
func TestRejectionsHaveABudgetForEachHost(t *testing.T) {
	sourceBubble(t, func(t *testing.T, x *sourceFixture) {
		x.start()
		x.delegate("A", 10*time.Hour)
		x.want("A")
		tr := to(x.src, statuses(401), hosts("*.example.com"))
		reject := func(host string) {
			if _, err := tr.RoundTrip(get(t, "https://"+host+".example.com/")); err != nil {
				t.Fatal(err)
			}
			synctest.Wait()
		}
		for range 120 {
			reject("broken")
			x.sleep(time.Second)
		}
		for i, host := range []string{"second", "third"} {
			before := x.src.Stats().Fetches
			reject(host)
			if got := x.src.Stats().Fetches - before; got != 1 {
				t.Errorf("rejection of API %d: caused %d fetches, want 1", i+2, got)
			}
			reject(host)
			if got := x.src.Stats().Fetches - before; got != 1 {
				t.Errorf("two rejections of API %d: caused %d fetches, want 1", i+2, got)
			}
		}
	})
}

// With "*" a caller may reach any number of hosts, and each may reject the token.
// The server is still asked a bounded number of times.
func TestRejectionsOfManyHostsAreBounded(t *testing.T) {
	sourceBubble(t, func(t *testing.T, x *sourceFixture) {
		x.start()
		x.delegate("A", 10*time.Hour)
		x.want("A")
		tr := to(x.src, statuses(401), hosts("*"))
		for i := range 500 {
			if _, err := tr.RoundTrip(get(t, fmt.Sprintf("https://h%d.example.org/", i))); err != nil {
				t.Fatal(err)
			}
			x.sleep(10 * time.Millisecond)
		}
		if got := x.src.Stats().Fetches; got > 40 {
			t.Errorf("500 hosts caused %d fetches in 5 s, want 40 at most", got)
		}
		x.sleep(2 * time.Minute) // the budgets are idle again
		before := x.src.Stats().Fetches
		if _, err := tr.RoundTrip(get(t, "https://later.example.org/")); err != nil {
			t.Fatal(err)
		}
		if got := x.src.Stats().Fetches - before; got != 1 {
			t.Errorf("a new host after a pause caused %d fetches, want 1", got)
		}
	})
}

// All callers of Renew share one budget. A Transport's rejections do not count in it.
func TestRenewHasItsOwnBudget(t *testing.T) {
	sourceBubble(t, func(t *testing.T, x *sourceFixture) {
		x.start()
		x.delegate("A", 10*time.Hour)
		token := x.want("A")
		tr := to(x.src, statuses(401))
		for range 60 {
			if _, err := tr.RoundTrip(get(t, api)); err != nil {
				t.Fatal(err)
			}
			x.sleep(time.Second)
		}
		before := x.src.Stats().Fetches
		for range 2 {
			if _, err := x.src.Renew(t.Context(), token); err != nil {
				t.Fatal(err)
			}
		}
		if got := x.src.Stats().Fetches - before; got != 1 {
			t.Errorf("two calls of Renew caused %d fetches, want 1", got)
		}
	})
}
