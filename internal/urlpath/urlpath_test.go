// Copyright 2026 The authsec Authors
// SPDX-License-Identifier: Apache-2.0

package urlpath

import "testing"

func TestCleanHasOneSpellingForAPath(t *testing.T) {
	for path, want := range map[string]string{
		"":           "/",
		"/a/../b":    "/b",
		"/a//b/.":    "/a/b/",
		"/a%62c":     "/abc",
		"/a%3Bb;c":   "/a%3Bb;c",
		"/caf%c3%a9": "/caf%C3%A9",
		"/a b":       "/a%20b",
		"/../..":     "/",
	} {
		if got, err := Clean(path); err != nil || got != want {
			t.Errorf("%q: %q, %v, want %q", path, got, err, want)
		}
	}
}

func TestCleanRefusesWhatServersReadInSeveralWays(t *testing.T) {
	for _, path := range []string{
		"/%252e%252e/x", "/%2e%2e/x", "/a%2Fb", "/a%5Cb", "/%zz", "/%2", "/..;a/x", "/.%20/x", "/...", "/%00", "/%ff",
		"/\u2024\u2024/x", "/a\u200bb", "/\uff0e\uff0e/x",
	} {
		if got, err := Clean(path); err == nil {
			t.Errorf("%q: %q, want an error", path, got)
		}
	}
}
