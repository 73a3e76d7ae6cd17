// Copyright 2026 The authsec Authors
// SPDX-License-Identifier: Apache-2.0

// Docview checks what pkg.go.dev will show of packages. Each line of its input is an
// import path, a space and a folder. Each package needs an overview. Each package that
// is no command needs an example that runs. The documentation of an exported symbol must
// not name an internal package, because readers can't look that up.
package main

import (
	"bufio"
	"fmt"
	"go/ast"
	"go/build"
	"go/doc"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

func main() {
	failed := false
	lines := bufio.NewScanner(os.Stdin)
	for lines.Scan() {
		path, dir, _ := strings.Cut(lines.Text(), " ")
		faults, err := check(path, dir)
		if err != nil {
			faults = append(faults, err.Error())
		}
		for _, fault := range faults {
			fmt.Printf("%s: %s\n", path, fault)
			failed = true
		}
	}
	if err := lines.Err(); err != nil {
		fmt.Println(err)
		failed = true
	}
	if failed {
		os.Exit(1)
	}
}

// check returns what is wrong with the package in a folder.
func check(path, dir string) (faults []string, err error) {
	built, err := build.ImportDir(dir, 0)
	if err != nil {
		return nil, err
	}
	fset := token.NewFileSet()
	var files []*ast.File
	parse := func(names []string) error {
		for _, name := range names {
			f, err := parser.ParseFile(fset, filepath.Join(dir, name), nil, parser.ParseComments)
			if err != nil {
				return err
			}
			files = append(files, f)
		}
		return nil
	}
	for _, names := range [][]string{built.GoFiles, built.TestGoFiles, built.XTestGoFiles} {
		if err := parse(names); err != nil {
			return nil, err
		}
	}
	internal := map[string]bool{} // the names under which files import internal packages
	for _, f := range files[:len(built.GoFiles)] {
		for name := range internalImports(f) {
			internal[name] = true
		}
	}
	examples := doc.Examples(files...)
	pkg, err := doc.NewFromFiles(fset, files, path)
	if err != nil {
		return nil, err
	}
	if pkg.Synopsis(pkg.Doc) == "" {
		faults = append(faults, "it has no overview")
	}
	if pkg.Name != "main" && !runs(examples) {
		faults = append(faults, "it has no example that runs: a function Example… with an \"Output:\" comment")
	}
	for _, node := range shown(pkg) {
		ast.Inspect(node, func(n ast.Node) bool {
			if sel, ok := n.(*ast.SelectorExpr); ok {
				if name, ok := sel.X.(*ast.Ident); ok && internal[name.Name] {
					faults = append(faults, fmt.Sprintf("%s: the documentation shows %s.%s, of an internal package", fset.Position(n.Pos()), name.Name, sel.Sel.Name))
				}
			}
			_, body := n.(*ast.BlockStmt)
			return !body
		})
	}
	return faults, nil
}

// internalImports returns the names under which a file imports internal packages.
func internalImports(f *ast.File) map[string]bool {
	names := map[string]bool{}
	for _, imp := range f.Imports {
		path, _ := strconv.Unquote(imp.Path.Value)
		if !strings.Contains("/"+path+"/", "/internal/") {
			continue
		}
		name := path[strings.LastIndex(path, "/")+1:]
		if imp.Name != nil {
			name = imp.Name.Name
		}
		names[name] = true
	}
	return names
}

func runs(examples []*doc.Example) bool {
	for _, e := range examples {
		if e.Output != "" || e.EmptyOutput {
			return true
		}
	}
	return false
}

// shown returns the declarations that the documentation shows.
func shown(pkg *doc.Package) (nodes []ast.Node) {
	values := func(list ...[]*doc.Value) {
		for _, vs := range list {
			for _, v := range vs {
				nodes = append(nodes, v.Decl)
			}
		}
	}
	funcs := func(list ...[]*doc.Func) {
		for _, fs := range list {
			for _, f := range fs {
				nodes = append(nodes, f.Decl)
			}
		}
	}
	values(pkg.Consts, pkg.Vars)
	funcs(pkg.Funcs)
	for _, t := range pkg.Types {
		nodes = append(nodes, t.Decl)
		values(t.Consts, t.Vars)
		funcs(t.Funcs, t.Methods)
	}
	return nodes
}
