// Copyright 2026 The authsec Authors
// SPDX-License-Identifier: Apache-2.0

package docs_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"unicode"

	"github.com/golang-jwt/jwt/v5"
)

// entry is a text of troubleshoot.md in backticks.
type entry struct {
	text    string
	isError bool // it stands in a table's column of errors
}

var codeSpan = regexp.MustCompile("`([^`]+)`")

// entries are the texts of troubleshoot.md.
func entries(t *testing.T) []entry {
	t.Helper()
	page, err := os.ReadFile("troubleshoot.md")
	if err != nil {
		t.Fatal(err)
	}
	var list []entry
	column := -1 // of the errors, in the table at hand
	fenced := false
	for line := range strings.Lines(string(page)) {
		if strings.HasPrefix(line, "```") {
			fenced = !fenced
		}
		if fenced {
			continue
		}
		if !strings.HasPrefix(line, "|") {
			column = -1
			for _, m := range codeSpan.FindAllStringSubmatch(line, -1) {
				list = append(list, entry{m[1], false})
			}
			continue
		}
		cells := strings.Split(line, " | ")
		for i, cell := range cells {
			switch strings.Trim(cell, "| \n") {
			case "error", "message", "text":
				column = i
			}
			for _, m := range codeSpan.FindAllStringSubmatch(cell, -1) {
				list = append(list, entry{m[1], i == column})
			}
		}
	}
	return list
}

// pattern matches an entry, with anything in place of ….
func pattern(text string) *regexp.Regexp {
	return regexp.MustCompile("(?s)" + strings.ReplaceAll(regexp.QuoteMeta(text), "…", ".*"))
}

func letters(s string) (n int) {
	for _, r := range s {
		if unicode.IsLetter(r) {
			n++
		}
	}
	return n
}

// said is a string in the code.
type said struct {
	text   string // with … for its verbs, and for what is added to it
	where  string
	stands bool // it is an error or a log record, or the beginning of one
}

var verb = regexp.MustCompile(`%(\[\d+\])?[-+# 0]*[\d*]*(\.\d+)?[a-zA-Z]`)

// speakers are the functions that make errors and log records, in this
// repository's packages. The first string among their arguments is the text.
var speakers = []string{
	"New", "Errorf", "newError", "fault", "Fault", "fail", "invalid", "malformed", "contextError", "wrong", "tell", "Usagef", "say", "failure",
	"Debug", "Info", "Warn", "Error", "DebugContext", "InfoContext", "WarnContext", "ErrorContext",
}

// spoken are the variables and fields that hold a part of an error or log record.
var spoken = []string{"reason", "fault", "msg"}

// nameOf is the last part of a name.
func nameOf(e ast.Expr) string {
	switch e := e.(type) {
	case *ast.Ident:
		return e.Name
	case *ast.SelectorExpr:
		return e.Sel.Name
	}
	return ""
}

// everythingSaid returns the strings in the files of a directory that are no tests.
func everythingSaid(t *testing.T, dir string) []said {
	t.Helper()
	fset := token.NewFileSet()
	names, err := filepath.Glob(filepath.Join(root, dir, "*.go"))
	if err != nil || len(names) == 0 {
		t.Fatalf("%s: no Go files (%v)", dir, err)
	}
	var list []said
	for _, name := range names {
		if strings.HasSuffix(name, "_test.go") {
			continue
		}
		file, err := parser.ParseFile(fset, name, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		stands := func(e ast.Expr) bool {
			text, ok := literal(e)
			if ok {
				list = append(list, said{text, fset.Position(e.Pos()).String(), true})
			}
			return ok
		}
		ast.Inspect(file, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.CallExpr:
				if slices.Contains(speakers, nameOf(n.Fun)) {
					_ = slices.ContainsFunc(n.Args, stands)
				} else if nameOf(n.Fun) == "report" && len(n.Args) == 2 { // a use of the cache, and its fault
					stands(n.Args[1])
				}
			case *ast.AssignStmt:
				for i, to := range n.Lhs {
					if len(n.Lhs) == len(n.Rhs) && slices.Contains(spoken, nameOf(to)) {
						stands(n.Rhs[i])
					}
				}
			case *ast.CompositeLit: // a log record: level, message, attributes
				if len(n.Elts) == 3 && (nameOf(n.Elts[0]) == "level" || strings.HasPrefix(nameOf(n.Elts[0]), "Level")) {
					stands(n.Elts[1])
				}
			case *ast.BasicLit:
				if text, ok := literal(n); ok {
					list = append(list, said{text, fset.Position(n.Pos()).String(), strings.HasPrefix(text, "authsec: ")})
				}
			}
			return true
		})
	}
	return list
}

// literal is the text of an expression, with … for the parts that are not literals.
func literal(e ast.Expr) (text string, ok bool) {
	switch e := e.(type) {
	case *ast.BasicLit:
		if e.Kind != token.STRING {
			return "", false
		}
		text, err := strconv.Unquote(e.Value)
		return verb.ReplaceAllString(text, "…"), err == nil
	case *ast.BinaryExpr:
		left, ok1 := literal(e.X)
		right, ok2 := literal(e.Y)
		if e.Op != token.ADD || !ok1 && !ok2 {
			return "", false
		}
		if !ok1 {
			left = "…"
		}
		if !ok2 {
			right = "…"
		}
		return left + right, true
	case *ast.CallExpr:
		if f, isSel := e.Fun.(*ast.SelectorExpr); isSel && f.Sel.Name == "Sprintf" {
			return literal(e.Args[0])
		}
	}
	return "", false
}

var speaking = []string{
	"", "internal/flight", "internal/hosts", "internal/replay", "internal/share", "internal/urlpath", "internal/wire", "verify", "fetchtool",
	"cmd/authsec", "cmd/authsec/internal/answers", "cmd/authsec/internal/cli", "cmd/authsec/internal/dev", "cmd/authsec/internal/loopback", "cmd/authsec/internal/mcp",
}

// noToken begins the errors in the page's section "Getting a token".
const noToken = "authsec: no token for agent …: "

// unseen are texts of errors that no user sees.
var unseen = []string{
	"the body was not kept",               // of the proxy's GetBody: the Transport does not send the body again
	"it waits for itself",                 // the Source returns a text of its own
	"the server offers no stream",         // mcp connect does without it
	"the session has ended at the server", // mcp connect begins another one
	"the time of one use is up",           // a cause of a context's end
}

// TestTroubleshootHasEveryError checks that the texts in the code are on the page.
func TestTroubleshootHasEveryError(t *testing.T) {
	page := entries(t)
	checked := map[string]bool{}
	for _, dir := range speaking {
		for _, s := range everythingSaid(t, dir) {
			text := strings.Trim(strings.TrimPrefix(s.text, noToken), "… :\n")
			if !s.stands || letters(text) < 4 || slices.Contains(unseen, text) || checked[s.where] {
				continue
			}
			checked[s.where] = true
			want := pattern(text)
			if !slices.ContainsFunc(page, func(e entry) bool { return want.MatchString(e.text) }) {
				t.Errorf("%s: no entry for %q", s.where, text)
			}
		}
	}
	if len(checked) < 100 {
		t.Errorf("%d texts were checked: too few, the search for them is broken", len(checked))
	}
}

// TestTroubleshootHasNoOtherError checks that errors on the page are made of texts in
// the code.
func TestTroubleshootHasNoOtherError(t *testing.T) {
	var all strings.Builder
	for _, dir := range speaking {
		for _, s := range everythingSaid(t, dir) {
			all.WriteString(s.text + "\x00")
		}
	}
	for _, err := range []error{jwt.ErrTokenMalformed, jwt.ErrTokenUnverifiable, jwt.ErrTokenSignatureInvalid, jwt.ErrTokenInvalidAudience,
		jwt.ErrTokenExpired, jwt.ErrTokenUsedBeforeIssued, jwt.ErrTokenInvalidIssuer, jwt.ErrTokenNotValidYet, jwt.ErrTokenInvalidClaims} {
		all.WriteString(err.Error() + "\x00")
	}
	checked := 0
	for _, e := range entries(t) {
		if !e.isError {
			continue
		}
		checked++
		for piece := range strings.SplitSeq(e.text, "…") {
			if rest := made(strings.Trim(piece, " :;,.\"'[]()"), all.String()); rest != "" {
				t.Errorf("%q: the code has no text %q", e.text, rest)
			}
		}
	}
	if checked < 100 {
		t.Errorf("%d entries were checked: too few, the search for them is broken", checked)
	}
}

// made removes the longest beginning of text that is part of all, several times, and
// returns the rest.
func made(text, all string) string {
	for range 6 {
		n := len(text)
		for n > 0 && !strings.Contains(all, text[:n]) {
			n--
		}
		if n < 3 && n < len(text) {
			return text
		}
		text = text[n:]
	}
	return text
}
