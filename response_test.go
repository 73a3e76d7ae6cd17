// Copyright 2026 The authsec Authors
// SPDX-License-Identifier: Apache-2.0

package authsec_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/authsec-go/authsec"
	"github.com/authsec-go/authsec/authsectest"
	"github.com/golang-jwt/jwt/v5"
)

// rawBody is a transport that answers 200 with a body of its own, each time.
type rawBody func() io.Reader

func (f rawBody) RoundTrip(req *http.Request) (*http.Response, error) {
	return &http.Response{StatusCode: 200, Header: http.Header{}, Body: io.NopCloser(f()), Request: req}, nil
}

func TestAnswerOfAtMostOneMebibyteIsRead(t *testing.T) {
	bubble(t, func(t *testing.T) {
		for _, tt := range []struct {
			size int
			ok   bool
		}{{1 << 20, true}, {1<<20 + 1, false}} {
			b, _ := json.Marshal(hourFields())
			body := string(b) + strings.Repeat(" ", tt.size-len(b))
			_, err := endpointSource(t, authsectest.Answer(200, body)).Token()
			if ok := err == nil; ok != tt.ok || !ok && !errors.Is(err, authsec.ErrInvalidResponse) {
				t.Errorf("%d bytes: %v, want accepted: %t", tt.size, err, tt.ok)
			}
		}
	})
}

// counting counts what is read of an endless body.
type counting struct{ n int }

func (c *counting) Read(p []byte) (int, error) {
	c.n += len(p)
	return copy(p, bytes.Repeat([]byte{' '}, len(p))), nil
}

func TestEndlessAnswerIsNotReadToItsEnd(t *testing.T) {
	bubble(t, func(t *testing.T) {
		body := new(counting)
		src := endpointSource(t, nil, func(c *authsec.Config) { c.HTTPClient.Transport = rawBody(func() io.Reader { return body }) })
		if _, err := src.Token(); !errors.Is(err, authsec.ErrInvalidResponse) {
			t.Errorf("Token: %v, want ErrInvalidResponse", err)
		}
		if body.n > 1<<20+1 {
			t.Errorf("%d bytes were read, want at most 1 MiB and one", body.n)
		}
	})
}

func TestTruncatedAnswerIsRetried(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b, _ := json.Marshal(hourFields())
		n := 0
		src := endpointSource(t, nil, func(c *authsec.Config) {
			c.Retry = authsec.RetryPolicy{}
			c.HTTPClient.Transport = rawBody(func() io.Reader {
				if n++; n == 1 {
					return io.MultiReader(bytes.NewReader(b[:len(b)/2]), brokenReader{})
				}
				return bytes.NewReader(b)
			})
		})
		if _, err := src.Token(); err != nil || n != 2 {
			t.Errorf("asked %d times, error %v, want 2 and none", n, err)
		}
	})
}

type brokenReader struct{}

func (brokenReader) Read([]byte) (int, error) { return 0, io.ErrUnexpectedEOF }

func TestMalformedAnswersAreErrors(t *testing.T) {
	for _, tt := range []struct{ claim, body, want string }{
		{"empty", "", "not a JSON object"},
		{"HTML", "<html>Welcome</html>", "check the base URL"},
		{"null", "null", "not a JSON object"},
		{"list", `[{"token":"t","ttl_seconds":9}]`, "not a JSON object"},
		{"string", `"t"`, "not a JSON object"},
		{"truncated", `{"token":"t","ttl_seconds":9`, "not a JSON object"},
		{"second object", `{"token":"t","ttl_seconds":9}{"token":"u"}`, "follows"},
		{"trailing text", `{"token":"t","ttl_seconds":9} x`, "follows"},
		{"trailing bracket", `{"token":"t","ttl_seconds":9}}`, "follows"},
		{"no token", `{"ttl_seconds":9}`, "no token"},
		{"null token", `{"token":null,"ttl_seconds":9}`, "no token"},
		{"empty token", `{"token":"","ttl_seconds":9}`, "no token"},
		{"token in another case", `{"Token":"t","ttl_seconds":9}`, "no token"},
		{"token no string", `{"token":7,"ttl_seconds":9}`, "token is not a string"},
		{"client_id no string", `{"token":"t","ttl_seconds":9,"client_id":7}`, "client_id is not a string"},
		{"status no string", `{"token":"t","ttl_seconds":9,"status":true}`, "status is not a string"},
		{"expires_at no string", `{"token":"t","ttl_seconds":9,"expires_at":1795426293}`, "expires_at is not a string"},
		{"expires_at no time", `{"token":"t","ttl_seconds":9,"expires_at":"tomorrow"}`, "expires_at is not a time"},
		{"expires_at without a zone", `{"token":"t","ttl_seconds":9,"expires_at":"2126-11-23T09:31:33"}`, "expires_at is not a time"},
		{"ttl_seconds no number", `{"token":"t","ttl_seconds":"nine"}`, "ttl_seconds is not a number"},
		{"permissions no list", `{"token":"t","ttl_seconds":9,"permissions":"a"}`, "permissions is not a list"},
		{"permissions of numbers", `{"token":"t","ttl_seconds":9,"permissions":["a",1]}`, "permissions is not a list of strings"},
		{"audience no list", `{"token":"t","ttl_seconds":9,"audience":{}}`, "audience is not a list"},
		{"audience of null", `{"token":"t","ttl_seconds":9,"audience":[null]}`, "audience is not a list of strings"},
	} {
		inBubble(t, tt.claim, func(t *testing.T) {
			_, err := endpointSource(t, authsectest.Answer(200, tt.body)).Token()
			if err == nil {
				t.Fatalf("%s: no error", tt.claim)
			}
			checkRefusal(t, err, 200, "", []string{"ErrInvalidResponse"}, "https://authsec.test/authsec/uflow/sdk/delegation-token", tt.want)
		})
	}
}

func TestMalformedFieldsThatOnlyInformAreIgnored(t *testing.T) {
	for _, tt := range []struct {
		field string
		value any
	}{
		{"spiffe_id", 7}, {"tenant_id", true}, {"workspace_id", []any{}}, {"issued_at", "yesterday"}, {"updated_at", 1}, {"unknown", map[string]any{"a": 1}},
		{"client_id", nil}, {"status", nil}, {"expires_at", nil}, {"expires_at", ""}, {"client_id", ""}, {"status", ""},
	} {
		inBubble(t, fmt.Sprint(tt.field, " ", tt.value), func(t *testing.T) {
			fields := with(map[string]any{"token": opaque, "ttl_seconds": 60}, tt.field, tt.value)
			if _, err := endpointSource(t, answerJSON(t, fields)).Token(); err != nil {
				t.Errorf("%s: %v: %v, want a token", tt.field, tt.value, err)
			}
		})
	}
}

func TestNullListsAreEmptyLists(t *testing.T) {
	bubble(t, func(t *testing.T) {
		claims := unverified(t, jwt.MapClaims{"permissions": []string{"from:token"}, "aud": []string{"from-token"}})
		for _, tt := range []struct {
			claim   string
			fields  map[string]any
			want    []string
			extra   any
			wantAud []string
		}{
			{"null", with(hourFields(), "token", claims, "permissions", nil, "audience", nil), []string{}, []any{}, []string{}},
			{"empty", with(hourFields(), "token", claims, "permissions", []string{}, "audience", []string{}), []string{}, []any{}, []string{}},
			{"absent: the token's", with(hourFields(), "token", claims), []string{"from:token"}, nil, []string{"from-token"}},
			{"absent, opaque token", hourFields(), []string{}, nil, []string{}},
		} {
			src := endpointSource(t, answerJSON(t, tt.fields))
			token, err := src.Token()
			if err != nil {
				t.Fatalf("%s: %v", tt.claim, err)
			}
			if got := token.Extra("permissions"); !reflect.DeepEqual(got, tt.extra) {
				t.Errorf("%s: Extra(permissions) is %#v, want %#v", tt.claim, got, tt.extra)
			}
			if got := token.Extra("audience"); !reflect.DeepEqual(got, tt.extra) {
				t.Errorf("%s: Extra(audience) is %#v, want %#v", tt.claim, got, tt.extra)
			}
			d, err := src.Delegation(context.Background())
			if err != nil || !reflect.DeepEqual(d.Permissions, tt.want) || !reflect.DeepEqual(d.Audience, tt.wantAud) {
				t.Errorf("%s: Permissions %#v, Audience %#v (error %v), want %#v, %#v", tt.claim, d.Permissions, d.Audience, err, tt.want, tt.wantAud)
			}
		}
	})
}

func TestExtraHoldsEveryFieldOfTheAnswer(t *testing.T) {
	bubble(t, func(t *testing.T) {
		fields := with(hourFields(), "client_id", ourID, "status", "active", "spiffe_id", "spiffe://example.org/a", "tenant_id", "t-1", "ttl_seconds", 3600.0,
			"permissions", []any{"billing:read"}, "audience", []any{"api"}, "issued_at", "2026-11-23T08:31:33.865888Z",
			"new_in_v9", map[string]any{"deep": []any{1.0, nil, true}}, "zero", nil)
		token, err := endpointSource(t, answerJSON(t, fields)).Token()
		if err != nil {
			t.Fatal(err)
		}
		for name, want := range fields {
			if got := token.Extra(name); !reflect.DeepEqual(got, want) {
				t.Errorf("Extra(%s) is not what the answer has", name)
			}
		}
		if got := token.Extra("absent"); got != nil {
			t.Errorf("Extra(absent) = %v, want nil", got)
		}
	})
}

func TestTokenIsAB64TokenOfAtMost16KiB(t *testing.T) {
	for _, tt := range []struct {
		claim, token string
		ok           bool
	}{
		{"all of its characters", "azAZ09-._~+/==", true},
		{"one character", "a", true},
		{"16 KiB", strings.Repeat("a", 16<<10), true},
		{"a byte more", strings.Repeat("a", 16<<10+1), false},
		{"space", "a b", false},
		{"leading space", " a", false},
		{"trailing line break", "a\n", false},
		{"header injection", "a\r\nX-Admin: 1", false},
		{"NUL", "a\x00", false},
		{"comma", "a,b", false},
		{"quote", `a"b`, false},
		{"not ASCII", "aé", false},
		{"= inside", "a=b", false},
		{"= alone", "==", false},
		{"DEL", "a\x7f", false},
	} {
		inBubble(t, tt.claim, func(t *testing.T) {
			_, err := endpointSource(t, answerJSON(t, with(hourFields(), "token", tt.token))).Token()
			if ok := err == nil; ok != tt.ok {
				t.Errorf("%s: accepted: %t (%v), want %t", tt.claim, ok, err, tt.ok)
			}
			if err != nil {
				checkRefusal(t, err, 200, "", []string{"ErrInvalidResponse"}, "token")
			}
		})
	}
}

func TestAnotherAgentsTokenIsNotAccepted(t *testing.T) {
	for _, tt := range []struct {
		claim    string
		inAnswer any
		inToken  any // "opaque": no JWT
		ok       bool
	}{
		{"ours in both", ourID, ourID, true},
		{"ours in capitals", strings.ToUpper(ourID), strings.ToUpper(ourID), true},
		{"in neither", nil, nil, true},
		{"in the answer alone", ourID, nil, true},
		{"in the token alone", nil, ourID, true},
		{"opaque token", ourID, "opaque", true},
		{"another's in the answer", otherID, ourID, false},
		{"another's in the answer, opaque token", otherID, "opaque", false},
		{"another's in the token", ourID, otherID, false},
		{"another's in the token alone", nil, otherID, false},
		{"ours with something behind", ourID + "0", ourID, false},
		{"ours with white space", " " + ourID, nil, false},
	} {
		inBubble(t, tt.claim, func(t *testing.T) {
			fields := hourFields()
			if tt.inAnswer != nil {
				fields["client_id"] = tt.inAnswer
			}
			if tt.inToken != "opaque" {
				claims := jwt.MapClaims{}
				if tt.inToken != nil {
					claims["client_id"] = tt.inToken
				}
				fields["token"] = unverified(t, claims)
			}
			_, err := endpointSource(t, answerJSON(t, fields)).Token()
			if ok := err == nil; ok != tt.ok {
				t.Errorf("%s: accepted: %t (%v), want %t", tt.claim, ok, err, tt.ok)
			}
			if err != nil {
				checkRefusal(t, err, 200, "", []string{"ErrInvalidResponse"}, "another agent", "cache")
				if strings.Contains(err.Error(), otherID) {
					t.Errorf("%s: error shows the other client ID in full", tt.claim)
				}
			}
		})
	}
}

// A malformed claim is ignored. The client ID and the expiry beside it still count.
func TestMalformedClaimsDoNotHideOthers(t *testing.T) {
	for claim, odd := range map[string]any{"user_id": 5, "permissions": "billing:read", "email": []string{"a"}, "iat": "now", "tenant_id": true} {
		inBubble(t, claim, func(t *testing.T) {
			claims := jwt.MapClaims{"client_id": otherID, "exp": time.Now().Add(time.Hour).Unix(), claim: odd}
			if _, err := endpointSource(t, answerJSON(t, with(hourFields(), "token", unverified(t, claims)))).Token(); err == nil {
				t.Errorf("claim %s is %v: another agent's token was accepted", claim, odd)
			}
			exp := time.Now().Add(10 * time.Minute)
			claims = jwt.MapClaims{"client_id": ourID, "exp": exp.Unix(), claim: odd}
			token, err := endpointSource(t, answerJSON(t, with(hourFields(), "token", unverified(t, claims)))).Token()
			if err != nil || !token.Expiry.Equal(exp) {
				t.Errorf("claim %s is %v: error %v, or not the token's exp; want that", claim, odd, err)
			}
		})
	}
}

func TestOnlyAnActiveStatusIsAccepted(t *testing.T) {
	for status, want := range map[string]bool{"active": true, "": true, "revoked": false, "expired": false, "inactive": false, "pending": false} {
		inBubble(t, "status "+status, func(t *testing.T) {
			_, err := endpointSource(t, answerJSON(t, with(hourFields(), "status", status))).Token()
			if ok := err == nil; ok != want {
				t.Errorf("status %q: accepted: %t (%v), want %t", status, ok, err, want)
			}
			if err != nil {
				checkRefusal(t, err, 200, "", []string{"ErrInvalidResponse"}, "status", status, "not active")
			}
		})
	}
}
