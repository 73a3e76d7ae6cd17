// Copyright 2026 The authsec Authors
// SPDX-License-Identifier: Apache-2.0

package authsectest_test

import (
	"crypto/rsa"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"math/big"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/authsec-go/authsec/authsectest"
	"github.com/golang-jwt/jwt/v5"
)

// get makes a request and decodes the answer.
func get(t *testing.T, client *http.Client, url string, header ...string) (int, map[string]any) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	resp, err := client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if resp.Header.Get("Date") == "" {
		t.Error("the answer has no Date")
	}
	var body map[string]any
	if err := json.NewDecoder(resp.Body).Decode(&body); err != nil {
		t.Fatalf("%s: %v", resp.Status, err)
	}
	return resp.StatusCode, body
}

func endpoint(srv *authsectest.Server) string {
	return srv.URL + authsectest.EndpointPath + "?client_id=" + authsectest.ClientID
}

func TestEndpointAnswersAsServersDo(t *testing.T) {
	for _, tc := range []struct {
		name   string
		setUp  func(*authsectest.Server)
		query  string
		header []string
		status int
		error  string
	}{
		{"no client ID", nil, "", nil, 400, "client_id is required (query param or X-Client-ID header)"},
		{"not a UUID", nil, "?client_id=x", nil, 400, "Invalid client_id format"},
		{"unknown agent", nil, "?client_id=" + authsectest.ClientID, nil, 404, "Client not found"},
		{"none delegated", func(s *authsectest.Server) { s.Register(authsectest.ClientID) }, "?client_id=" + authsectest.ClientID, nil, 404, "No active delegation token found"},
		{"revoked", func(s *authsectest.Server) {
			s.Delegate(authsectest.ClientID, authsectest.Delegation{})
			s.Revoke(authsectest.ClientID)
		}, "?client_id=" + authsectest.ClientID, nil, 404, "No active delegation token found"},
		{"no credential", func(s *authsectest.Server) { s.RequireCredential("c") }, "?client_id=" + authsectest.ClientID, nil, 401, "Authorization header is required or invalid"},
		{"other credential", func(s *authsectest.Server) { s.RequireCredential("c") }, "?client_id=" + authsectest.ClientID, []string{"Authorization", "Bearer d"}, 401, "Authorization header is required or invalid"},
		{"over the limit", func(s *authsectest.Server) {
			s.LimitRate(0, 0)
			s.LimitRate(1, time.Minute)
			s.Client().Get(endpoint(s))
		}, "", nil, 429, "Rate limit exceeded"},
		{"delegated", func(s *authsectest.Server) { s.Delegate(authsectest.ClientID, authsectest.Delegation{}) }, "", []string{"X-Client-ID", authsectest.ClientID}, 200, ""},
		{"delegated, newer server", func(s *authsectest.Server) {
			s.RequireCredential("c")
			s.Delegate(authsectest.ClientID, authsectest.Delegation{})
		}, "?client_id=" + strings.ToUpper(authsectest.ClientID), []string{"Authorization", "Bearer c"}, 200, ""},
		{"fault", func(s *authsectest.Server) {
			s.FailNext(1, authsectest.Answer(500, `{"error":"Failed to connect to tenant database"}`))
		}, "", nil, 500, "Failed to connect to tenant database"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			srv := authsectest.NewServer()
			defer srv.Close()
			if tc.setUp != nil {
				tc.setUp(srv)
			}
			status, body := get(t, srv.Client(), srv.URL+authsectest.EndpointPath+tc.query, tc.header...)
			if msg, _ := body["error"].(string); status != tc.status || msg != tc.error {
				t.Errorf("answer = %d %q, want %d %q", status, msg, tc.status, tc.error)
			}
		})
	}
}

func TestExpiredDelegationIs410OnceAnd404FromThenOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		srv := authsectest.NewInMemoryServer()
		srv.Delegate(authsectest.ClientID, authsectest.Delegation{TTL: time.Minute})
		for i, want := range []int{200, 410, 404, 404} {
			if status, _ := get(t, srv.Client(), endpoint(srv)); status != want {
				t.Errorf("answer %d = %d, want %d", i, status, want)
			}
			if i == 0 {
				time.Sleep(time.Minute)
			}
		}
	})
}

func TestLimitEndsWithItsWindow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		srv := authsectest.NewInMemoryServer()
		srv.Delegate(authsectest.ClientID, authsectest.Delegation{})
		srv.LimitRate(2, time.Minute)
		for i, want := range []int{200, 200, 429, 200} {
			if i == 3 {
				time.Sleep(time.Minute)
			}
			status, body := get(t, srv.Client(), endpoint(srv))
			if status != want {
				t.Errorf("answer %d = %d, want %d", i, status, want)
			}
			if status == 429 && body["window"] != "1m0s" {
				t.Errorf("window = %v, want 1m0s", body["window"])
			}
		}
	})
}

func TestTokensVerifyAgainstTheKeySet(t *testing.T) {
	srv := authsectest.NewTLSServer()
	defer srv.Close()
	for range 2 {
		token := srv.Delegate(authsectest.ClientID, authsectest.Delegation{})
		_, body := get(t, srv.Client(), srv.URL+authsectest.KeySetPath+"?tenant_id="+authsectest.TenantID)
		key := body["keys"].([]any)[0].(map[string]any)
		n, err := base64.RawURLEncoding.DecodeString(key["n"].(string))
		if err != nil {
			t.Fatal(err)
		}
		public := &rsa.PublicKey{N: new(big.Int).SetBytes(n), E: 65537}
		parsed, err := jwt.Parse(token, func(*jwt.Token) (any, error) { return public, nil }, jwt.WithValidMethods([]string{"RS256"}))
		if err != nil {
			t.Fatalf("the key set does not verify the token: %v", err)
		}
		if kid, ok := parsed.Header["kid"]; ok {
			t.Errorf("kid = %v, want none", kid)
		}
		srv.RotateKey()
		if _, err := jwt.Parse(token, srv.Keyfunc); err == nil {
			t.Error("after RotateKey the earlier token still verifies")
		}
	}
}

func TestAPIRejectsBadTokens(t *testing.T) {
	srv := authsectest.NewServer()
	defer srv.Close()
	api := httptest.NewServer(srv.API(nil, "billing:read"))
	defer api.Close()
	const other = "0b5e9c34-6f0e-4b7c-8c1d-2f3a4b5c6d7e"
	good := srv.Delegate(authsectest.ClientID, authsectest.Delegation{Permissions: []string{"billing:read"}})
	weak := srv.Delegate(other, authsectest.Delegation{})
	const gone = "1b5e9c34-6f0e-4b7c-8c1d-2f3a4b5c6d7e"
	revoked := srv.Delegate(gone, authsectest.Delegation{Permissions: []string{"billing:read"}})
	srv.Revoke(gone)
	expired := srv.Delegate(gone, authsectest.Delegation{Permissions: []string{"billing:read"}, TTL: -time.Second})

	for _, tc := range []struct {
		name, authorization string
		want                int
	}{
		{"good", "Bearer " + good, 200},
		{"none", "", 401},
		{"not a token", "Bearer x", 401},
		{"tampered", "Bearer " + good[:len(good)-8] + "AAAAAAAA", 401},
		{"revoked", "Bearer " + revoked, 401},
		{"expired", "Bearer " + expired, 401},
		{"lacks a permission", "Bearer " + weak, 403},
	} {
		status, _ := get(t, api.Client(), api.URL, "Authorization", tc.authorization)
		if status != tc.want {
			t.Errorf("%s: %d, want %d", tc.name, status, tc.want)
		}
	}
	if got := srv.APICalls(); got != 1 {
		t.Errorf("APICalls = %d, want 1", got)
	}
}

func TestServerPrintsNoToken(t *testing.T) {
	srv := authsectest.NewInMemoryServer()
	token := srv.Delegate(authsectest.ClientID, authsectest.Delegation{})
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%d"} {
		if got := fmt.Sprintf(verb, srv); strings.Contains(got, token) || !strings.Contains(got, srv.URL) {
			t.Errorf("%s prints a token, or no URL", verb)
		}
	}
}

func TestAnotherServersTokenIsRejected(t *testing.T) {
	a, b := authsectest.NewServer(), authsectest.NewServer()
	defer a.Close()
	defer b.Close()
	token := a.Delegate(authsectest.ClientID, authsectest.Delegation{})
	api := &http.Client{Transport: authsectest.RoundTripper(b.API(nil))}
	if status, _ := get(t, api, "https://api.test/", "Authorization", "Bearer "+token); status != 401 {
		t.Errorf("answer = %d, want 401", status)
	}
}

func TestHandlerThatPanicsDropsTheConnection(t *testing.T) {
	for name, srv := range map[string]*authsectest.Server{"loopback": authsectest.NewServer(), "in memory": authsectest.NewInMemoryServer()} {
		srv.FailNext(1, http.HandlerFunc(func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }))
		if resp, err := srv.Client().Get(endpoint(srv)); err == nil {
			t.Errorf("%s: answer = %d, want an error", name, resp.StatusCode)
		}
		srv.Close()
	}
}
