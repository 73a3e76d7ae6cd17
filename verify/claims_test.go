// Copyright 2026 The authsec Authors
// SPDX-License-Identifier: Apache-2.0

package verify_test

import (
	"slices"
	"testing"
)

// RFC 7519, section 4: claim names are exact. encoding/json would take the one
// in another case for the same if it decoded into a struct.
func TestClaimNamesAreExact(t *testing.T) {
	v := newAuthority().verifier(t)
	got, err := v.Verify(t.Context(), token(object{"ISS": "spiffe://" + stranger, "Aud": "other", "EXP": 1, "Permissions": []string{"admin:all"}, "Tenant_ID": stranger}))
	if err != nil {
		t.Fatal(err)
	}
	if got.Issuer != "spiffe://"+tenant || !slices.Equal(got.Permissions, []string{"billing:read", "users:read"}) {
		t.Errorf("iss = %q and permissions = %q, want those of the exact names", got.Issuer, got.Permissions)
	}
}
