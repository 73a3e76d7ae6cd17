// Copyright 2026 The authsec Authors
// SPDX-License-Identifier: Apache-2.0

package verify_test

import (
	"errors"
	"fmt"
	"reflect"
	"runtime"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/authsec-go/authsec/verify"
	"github.com/golang-jwt/jwt/v5"
)

// mostKnown is more than the allocations for a token that is kept, and fewer than
// those for reading and verifying one (over 100).
const mostKnown = 60

// allocs verifies a good token once, and returns the number of allocations.
func allocs(t *testing.T, v *verify.Verifier, token string) int {
	t.Helper()
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	_, err := v.Verify(t.Context(), token)
	runtime.ReadMemStats(&after)
	if err != nil {
		t.Fatalf("error = %v, want none", err)
	}
	return int(after.Mallocs - before.Mallocs)
}

// wantKnown checks whether v keeps a good token.
func wantKnown(t *testing.T, v *verify.Verifier, name, token string, want bool) {
	t.Helper()
	allocs(t, v, token)
	if n := allocs(t, v, token); n < mostKnown != want {
		t.Errorf("%s: %d allocations, want it kept: %v", name, n, want)
	}
}

func TestGoodTokenIsKept(t *testing.T) {
	for size, want := range map[int]bool{0: true, 1: true, -1: false} {
		v := newAuthority().verifier(t, func(c *verify.Config) { c.CacheSize = size })
		wantKnown(t, v, fmt.Sprint("CacheSize ", size), token(), want)
	}
}

func TestLeastRecentlyUsedTokenGoes(t *testing.T) {
	v := newAuthority().verifier(t, func(c *verify.Config) { c.CacheSize = 2 })
	tokens := []string{token(object{"jti": "0"}), token(object{"jti": "1"}), token(object{"jti": "2"})}
	for _, i := range []int{0, 1, 0, 2} { // 1 goes
		allocs(t, v, tokens[i])
	}
	for _, c := range []struct {
		i    int
		want bool
	}{{0, true}, {2, true}, {1, false}} {
		if n := allocs(t, v, tokens[c.i]); n < mostKnown != c.want {
			t.Errorf("token %d: %d allocations, want it kept: %v", c.i, n, c.want)
		}
	}
}

// Garbage must not push good tokens out.
func TestOnlyGoodTokensAreKept(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v := newAuthority().verifier(t, func(c *verify.Config) { c.CacheSize, c.MaxLifetime = 1, 2*time.Hour })
		good := token()
		v.Verify(t.Context(), good)
		p := parts(good)
		now := time.Now().Unix()
		for name, bad := range map[string]string{
			"no JWT":           "x",
			"a bad signature":  joined(p[0], p[1], p[2][:20]+"AAAA"+p[2][24:]),
			"no signature":     joined(p[0], p[1], ""),
			"an attacker's":    sign(jwt.SigningMethodRS256, evilKey(), header(), claims()),
			"expired":          token(object{"exp": now - 60}),
			"another audience": token(object{"aud": "other"}),
			"another issuer":   token(object{"iss": "spiffe://" + stranger, "tenant_id": nil}),
			"too long a life":  token(object{"exp": now + 3*3600}),
		} {
			if _, err := v.Verify(t.Context(), bad); !errors.Is(err, verify.ErrInvalidToken) {
				t.Errorf("%s: error = %v, want ErrInvalidToken", name, err)
			}
			if n := allocs(t, v, good); n >= mostKnown {
				t.Errorf("after a token with %s: %d allocations, want the good one kept", name, n)
			}
		}
	})
}

// A token that is no longer good takes no other's place, however often it is sent.
func TestExpiredTokenIsNotKept(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v := newAuthority().verifier(t, func(c *verify.Config) { c.CacheSize = 2 })
		old, one, two := token(object{"exp": time.Now().Unix() + 60}), token(object{"jti": "1"}), token(object{"jti": "2"})
		allocs(t, v, old)
		time.Sleep(2 * time.Minute)
		for _, good := range []string{one, two} {
			allocs(t, v, good)
			if _, err := v.Verify(t.Context(), old); !errors.Is(err, jwt.ErrTokenExpired) {
				t.Fatalf("error = %v, want %v", err, jwt.ErrTokenExpired)
			}
		}
		for name, good := range map[string]string{"one": one, "two": two} {
			if n := allocs(t, v, good); n >= mostKnown {
				t.Errorf("token %s: %d allocations, want it kept", name, n)
			}
		}
	})
}

// Another text is another token, even if all of it but the spelling is the same.
func TestOnlyTheSameTextIsKnown(t *testing.T) {
	v := newAuthority().verifier(t)
	good := token()
	v.Verify(t.Context(), good)
	for _, other := range []string{good + "=", good + ".", " " + good, good[:len(good)-1], good + "\n", strings.ToUpper(good)} {
		if _, err := v.Verify(t.Context(), other); !errors.Is(err, verify.ErrInvalidToken) {
			t.Errorf("error = %v, want ErrInvalidToken", err)
		}
	}
}

func TestKnownTokenIsJudgedAtEveryRequest(t *testing.T) {
	t.Run("exp", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			v := newAuthority().verifier(t)
			good := token(object{"exp": time.Now().Unix() + 60})
			for _, c := range []struct {
				wait time.Duration
				want error
			}{{0, nil}, {60*time.Second + leeway - 1, nil}, {1, jwt.ErrTokenExpired}, {time.Minute, jwt.ErrTokenExpired}} {
				time.Sleep(c.wait)
				if _, err := v.Verify(t.Context(), good); !errors.Is(err, c.want) {
					t.Errorf("%v later: error = %v, want %v", c.wait, err, c.want)
				}
			}
		})
	})
	t.Run("keys", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			server := newAuthority()
			v := server.verifier(t)
			good := token(object{"exp": time.Now().Unix() + 3600})
			wantKnown(t, v, "before", good, true)
			server.publish(tenant, jwk(&nextKey().PublicKey))
			time.Sleep(16 * time.Minute) // renewal is due
			v.Verify(t.Context(), good)  // starts it
			synctest.Wait()
			if _, err := v.Verify(t.Context(), good); !errors.Is(err, jwt.ErrTokenSignatureInvalid) {
				t.Errorf("after the key was replaced: error = %v, want %v", err, jwt.ErrTokenSignatureInvalid)
			}
			server.publish(tenant, jwk(&key().PublicKey))
			time.Sleep(time.Minute)
			wantKnown(t, v, "with the key again", good, true)
		})
	})
	t.Run("keys of another token", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			server := newAuthority()
			v := server.verifier(t)
			good := token()
			v.Verify(t.Context(), good)
			server.publish(tenant, jwk(&nextKey().PublicKey))
			time.Sleep(time.Minute) // for what is known of keys that do not fit
			next := sign(jwt.SigningMethodRS256, nextKey(), header(), claims())
			if _, err := v.Verify(t.Context(), next); err != nil {
				t.Fatal(err)
			}
			if _, err := v.Verify(t.Context(), good); !errors.Is(err, jwt.ErrTokenSignatureInvalid) {
				t.Errorf("error = %v, want %v", err, jwt.ErrTokenSignatureInvalid)
			}
		})
	})
}

// Whoever changes the claims of one call must not change another's.
func TestClaimsAreTheCallersOwn(t *testing.T) {
	v := newAuthority().verifier(t)
	good := token()
	want, err := v.Verify(t.Context(), good)
	if err != nil {
		t.Fatal(err)
	}
	for range 3 {
		got, err := v.Verify(t.Context(), good)
		if err != nil || !reflect.DeepEqual(got, want) {
			t.Fatalf("claims = %v, %v, want %v", got, err, want)
		}
		got.Permissions[0], got.Audience[0], got.Subject, got.Verified = "admin:all", "other", "root", false
		got.Permissions = append(got.Permissions, "admin:all")
		got.ExpiresAt.Time, got.NotBefore.Time, got.IssuedAt.Time = time.Time{}, time.Time{}, time.Time{}
	}
	bare := token(object{"nbf": nil, "iat": nil, "permissions": nil})
	for range 2 {
		if got, err := v.Verify(t.Context(), bare); err != nil || got.NotBefore != nil || got.IssuedAt != nil || got.Permissions != nil || got.ExpiresAt == nil {
			t.Errorf("claims = %v, %v, want no nbf, iat and permissions", got, err)
		}
	}
}

func TestKnownTokensForManyCallers(t *testing.T) {
	server := newAuthority()
	v := server.verifier(t, func(c *verify.Config) { c.CacheSize = 3 })
	var tokens []string
	for i := range 6 {
		tokens = append(tokens, token(object{"jti": fmt.Sprint(i), "permissions": []string{fmt.Sprint(i)}}))
	}
	var wg sync.WaitGroup
	for i := range 60 {
		wg.Go(func() {
			for j := range 20 {
				n := (i + j) % len(tokens)
				got, err := v.Verify(t.Context(), tokens[n])
				if err != nil || got.ID != fmt.Sprint(n) || got.Permissions[0] != fmt.Sprint(n) {
					t.Errorf("token %d: got %v, %v", n, got, err)
					return
				}
				got.Permissions[0] = "x"
			}
		})
	}
	wg.Wait()
}
