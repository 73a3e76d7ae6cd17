// Copyright 2026 The authsec Authors
// SPDX-License-Identifier: Apache-2.0

package authsec_test

import (
	"strings"
	"testing"

	"github.com/authsec-go/authsec"
)

// A client ID with an invisible or look-alike character is an error at construction,
// which names the character.
func TestClientIDWithAForeignCharacterIsRefused(t *testing.T) {
	for char, name := range map[string]string{
		"\ufeff": "U+FEFF", "\u200b": "U+200B", "\u2013": "U+2013 '–'", "\u2011": "U+2011", "\u00a0": "U+00A0",
		"\u202e": "U+202E", "é": "U+00E9 'é'", "\x00": "U+0000", "\x7f": "U+007F", `"`: `U+0022 '"'`, "'": "U+0027", "`": "U+0060",
	} {
		for _, id := range []string{char + ourID, ourID[:9] + char + ourID[9:], ourID + char + ourID} {
			cfg := goodConfig()
			cfg.ClientID = id
			_, err := authsec.NewSource(cfg)
			if strings.TrimSpace(id) == ourID { // such as a no-break space at the end
				continue
			}
			if err == nil || !strings.Contains(err.Error(), "Config.ClientID has the character "+name) {
				t.Errorf("%+q: got %v, want the character %s named", char, err, name)
			}
			if err != nil && strings.Contains(err.Error(), ourID) {
				t.Errorf("%+q: the error shows the client ID", char)
			}
		}
	}
}
