// Copyright 2026 The authsec Authors
// SPDX-License-Identifier: Apache-2.0

package peers

import (
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/authsec-go/authsec/authsectest"
)

// TestVerifiersJudgeAlike: no verifier is fast because it checks less.
func TestVerifiersJudgeAlike(t *testing.T) {
	srv := authsectest.NewInMemoryServer()
	delegate := func(d authsectest.Delegation) string { return "Bearer " + srv.Delegate(authsectest.ClientID, d) }
	audience, permissions := []string{Audience}, []string{Permission}
	good := delegate(authsectest.Delegation{Audience: audience, Permissions: permissions})
	for _, tc := range []struct {
		name, authorization string
		good                bool
	}{
		{"good", good, true},
		{"no permission", delegate(authsectest.Delegation{Audience: audience, Permissions: []string{"x:y"}}), false},
		{"another audience", delegate(authsectest.Delegation{Audience: []string{"x"}, Permissions: permissions}), false},
		{"expired", delegate(authsectest.Delegation{Audience: audience, Permissions: permissions, TTL: -time.Minute}), false},
		{"tampered", good[:len(good)-8] + "AAAAAAAA", false},
		{"none", "", false},
	} {
		for _, v := range Verifiers {
			h, err := v.Handler(srv)
			if err != nil {
				t.Fatal(err)
			}
			r := httptest.NewRequest(http.MethodGet, "/", nil)
			if tc.authorization != "" {
				r.Header.Set("Authorization", tc.authorization)
			}
			w := httptest.NewRecorder()
			h.ServeHTTP(w, r)
			if got := w.Code == http.StatusOK; got != tc.good {
				t.Errorf("%s, %s: %d", v.Name, tc.name, w.Code)
			}
		}
	}
}
