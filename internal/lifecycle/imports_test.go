// Copyright 2026 The authsec Authors
// SPDX-License-Identifier: Apache-2.0

package lifecycle

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"maps"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// pureImports are the packages that the rules may use. They have what computes, and
// nothing that acts or tells the time; of package time, timeNames alone.
var (
	pureImports = []string{"cmp", "crypto/sha256", "encoding/hex", "math", "time"}
	timeNames   = []string{"Duration", "Time", "Nanosecond", "Microsecond", "Millisecond", "Second", "Minute", "Hour"}
)

func TestRulesArePure(t *testing.T) {
	entries, err := os.ReadDir(".")
	if err != nil {
		t.Fatal(err)
	}
	files := 0
	for _, e := range entries {
		name := e.Name()
		if !strings.HasSuffix(name, ".go") || strings.HasSuffix(name, "_test.go") {
			continue
		}
		src, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		files++
		for _, fault := range impure(t, string(src)) {
			t.Errorf("%s: got %s, want none", name, fault)
		}
	}
	if files == 0 {
		t.Error("got no files, want those of the package")
	}
}

func TestImpureCodeIsFound(t *testing.T) {
	for src, want := range map[string]string{
		`import "os"`:                               `import "os"`,
		`import t "time"; var none t.Time`:          `import "time" as t`,
		`import . "time"; var none Time`:            `import "time" as .`,
		`import "time"; var none = time.Now()`:      "time.Now",
		`import "time"; var none = time.After`:      "time.After",
		`import "time"; type x struct{time.Ticker}`: "time.Ticker",
		`func f() { go f() }`:                       "a go statement",
		`type x chan int`:                           "a channel",
		`func f() { select {} }`:                    "a channel",
		`type x struct{ f func() }`:                 "a function-typed field",
		`type x struct{ f []func() int }`:           "a function-typed field",
		`var none, count int`:                       "package variable count",
		`func init() {}`:                            "func init",
		`import "time"; const x = time.Minute`:      "",
		`func f() { var count int; _ = count }`:     "",
	} {
		if got := strings.Join(impure(t, "package x; "+src), ", "); got != want {
			t.Errorf("%s: got %q, want %q", src, got, want)
		}
	}
}

// impure lists what a file has that acts, tells the time or keeps a state.
func impure(t *testing.T, src string) []string {
	file, err := parser.ParseFile(token.NewFileSet(), "", src, parser.SkipObjectResolution)
	if err != nil {
		t.Fatalf("%s: %v", src, err)
	}
	faults := map[string]bool{}
	found := func(format string, args ...any) { faults[fmt.Sprintf(format, args...)] = true }
	for _, i := range file.Imports {
		path, _ := strconv.Unquote(i.Path.Value)
		if i.Name != nil {
			found("import %q as %s", path, i.Name.Name)
		} else if !slices.Contains(pureImports, path) {
			found("import %q", path)
		}
	}
	for _, d := range file.Decls {
		switch d := d.(type) {
		case *ast.GenDecl:
			for _, s := range d.Specs {
				if s, ok := s.(*ast.ValueSpec); ok && d.Tok == token.VAR {
					for _, name := range s.Names {
						if name.Name != "none" {
							found("package variable %s", name.Name)
						}
					}
				}
			}
		case *ast.FuncDecl:
			if d.Name.Name == "init" {
				found("func init")
			}
		}
	}
	ast.Inspect(file, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.GoStmt:
			found("a go statement")
		case *ast.ChanType, *ast.SendStmt, *ast.SelectStmt:
			found("a channel")
		case *ast.StructType:
			ast.Inspect(n, func(n ast.Node) bool {
				if _, ok := n.(*ast.FuncType); ok {
					found("a function-typed field")
				}
				return true
			})
		case *ast.SelectorExpr:
			if x, ok := n.X.(*ast.Ident); ok && x.Name == "time" && !slices.Contains(timeNames, n.Sel.Name) {
				found("time.%s", n.Sel.Name)
			}
		}
		return true
	})
	return slices.Sorted(maps.Keys(faults))
}
