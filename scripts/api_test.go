// Copyright 2026 The authsec Authors
// SPDX-License-Identifier: Apache-2.0

package scripts_test

import (
	"strings"
	"testing"
)

func TestAPI(t *testing.T) {
	s := newSmall(t)
	check := func(claim string, ok bool, want string, args ...string) {
		t.Helper()
		if out, err := s.script("api", args...); (err == nil) != ok || !strings.Contains(out, want) {
			t.Errorf("%s: got %v and:\n%s\nwant success: %v, and %q", claim, err, out, ok, want)
		}
	}
	check("without a tag", true, "no version is tagged yet")

	if out, err := s.script("release-commits", ".", "v0.1.0"); err != nil {
		t.Fatal(err, out)
	}
	check("without a change", true, "since v0.1.0")

	s.git("tag", "v0.1.0-rc.1")
	check("a pre-release of that version", true, "since v0.1.0:")

	s.write("a.go", "package authsec\n\nfunc F(int) {}\n\nfunc H() {}\n")
	check("a function more", true, "H: added", "v0.1.1")

	s.write("a.go", "package authsec\n\nfunc F(any) {}\n")
	check("another parameter", false, "F: changed from func(int) to func(any)")

	s.write("CHANGELOG.md", "## [0.1.0] - 2026-01-02\n\n- **Breaking:** nothing new.\n")
	check("an entry of an older version", false, "no entry above 0.1.0")

	s.write("CHANGELOG.md", "## [Unreleased]\n\n- **Breaking:** F takes any.\n\n## [0.1.0] - 2026-01-02\n")
	check("an entry", true, "F: changed")
	check("an entry, and a minor version", true, "F: changed", "v0.2.0")
	check("an entry, and a patch", false, "v0.1.1 must be a minor version", "v0.1.1")
}
