// Copyright 2026 The authsec Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

const (
	overview = "// Package p does a thing.\npackage p\n\nimport \"example.com/internal/secret\"\n\n"
	example  = "package p_test\n\nfunc Example() {\n\t// Output:\n}\n"
)

func TestCheck(t *testing.T) {
	for _, test := range []struct {
		name, code, example string
		want                string // part of the only fault; empty: none
	}{
		{"all is there", overview + "var X = 1\n", example, ""},
		{"no overview", "package p\n", example, "no overview"},
		{"no example", overview, "package p_test\n", "no example that runs"},
		{"an example that does not run", overview, "package p_test\n\nfunc Example() {}\n", "no example that runs"},
		{"a command needs no example", "// Command p does a thing.\npackage main\n", "package main\n", ""},
		{"a variable", overview + "var X = secret.X\n", example, "shows secret.X"},
		{"one of several variables", overview + "var (\n\tX = 1\n\tY = secret.Y\n)\n", example, "shows secret.Y"},
		{"a constant", overview + "const X = secret.X\n", example, "shows secret.X"},
		{"a parameter", overview + "func F(secret.T) {}\n", example, "shows secret.T"},
		{"a method's result", overview + "type T int\n\nfunc (T) F() *secret.U { return nil }\n", example, "shows secret.U"},
		{"an exported field", overview + "type T struct{ F secret.U }\n", example, "shows secret.U"},
		{"an embedded type", overview + "type T struct{ *secret.U }\n", example, "shows secret.U"},
		{"an alias", overview + "type T = secret.U\n", example, "shows secret.U"},
		{"another name of the import", strings.Replace(overview, "\"example", "s \"example", 1) + "var X = s.X\n", example, "shows s.X"},
		{"an unexported field", overview + "type T struct{ f secret.U }\n", example, ""},
		{"unexported symbols", overview + "var x = secret.X\n\ntype t = secret.T\n\nfunc f() secret.T { return 0 }\n", example, ""},
		{"a function's body", overview + "func F() { secret.F() }\n", example, ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			dir := t.TempDir()
			for name, text := range map[string]string{"p.go": test.code, "p_test.go": test.example} {
				if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			faults, err := check("example.com/p", dir)
			if err != nil {
				t.Fatal(err)
			}
			switch {
			case test.want == "" && len(faults) > 0:
				t.Errorf("got %q, want no fault", faults)
			case test.want != "" && (len(faults) != 1 || !strings.Contains(faults[0], test.want)):
				t.Errorf("got %q, want one fault with %q", faults, test.want)
			}
		})
	}
}
