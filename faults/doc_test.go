// Copyright 2026 The authsec Authors
// SPDX-License-Identifier: Apache-2.0

package faults

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

var (
	testFunc = regexp.MustCompile(`(?m)^func (Test\w+)\(t \*testing\.T\)`)
	fuzzFunc = regexp.MustCompile(`(?m)^func (Fuzz\w+)\(`)
	fileName = regexp.MustCompile(`\b\w+_test\.go\b`)
	fuzzName = regexp.MustCompile("`(Fuzz\\w+)`")
)

// functions returns the names that pattern finds in the test files below a directory.
func functions(t *testing.T, dir string, pattern *regexp.Regexp) (names []string) {
	t.Helper()
	err := filepath.WalkDir(dir, func(path string, _ fs.DirEntry, err error) error {
		if err != nil || !strings.HasSuffix(path, "_test.go") {
			return err
		}
		text, err := os.ReadFile(path)
		for _, found := range pattern.FindAllStringSubmatch(string(text), -1) {
			names = append(names, found[1])
		}
		return err
	})
	if err != nil || len(names) == 0 {
		t.Fatalf("%s: got %d names, error %v; want some, none", dir, len(names), err)
	}
	slices.Sort(names)
	return names
}

func read(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// TestDocListsEveryFile: doc.go names the test files of this directory. The library's
// own, which it names as well, are in the directory above.
func TestDocListsEveryFile(t *testing.T) {
	named := fileName.FindAllString(read(t, "doc.go"), -1)
	files, err := filepath.Glob("*_test.go")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		if !slices.Contains(named, file) {
			t.Errorf("doc.go does not name %s", file)
		}
	}
	for _, file := range named {
		_, err := os.Stat(file)
		if _, above := os.Stat(filepath.Join("..", file)); err != nil && above != nil {
			t.Errorf("doc.go names %s, which does not exist", file)
		}
	}
}

// TestPageIsUpToDate: docs/faults.md has the right numbers, and the fuzz targets of all
// modules.
func TestPageIsUpToDate(t *testing.T) {
	page := read(t, "../docs/faults.md")
	for _, want := range []string{
		fmt.Sprintf("%d tests", len(functions(t, ".", testFunc))),
		fmt.Sprintf("%d wrong answers", len(badAnswers)),
	} {
		if !strings.Contains(page, want) {
			t.Errorf("docs/faults.md does not say %q", want)
		}
	}
	var named []string
	for _, found := range fuzzName.FindAllStringSubmatch(page, -1) {
		named = append(named, found[1])
	}
	slices.Sort(named)
	if want := functions(t, "..", fuzzFunc); !slices.Equal(named, want) {
		t.Errorf("docs/faults.md lists the fuzz targets %v, want %v", named, want)
	}
}
