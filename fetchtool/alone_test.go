// Copyright 2026 The authsec Authors
// SPDX-License-Identifier: Apache-2.0

package fetchtool_test

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/authsec-go/authsec/fetchtool"
)

// wrappers are what models put around a URL; the URL stands for the X.
var wrappers = []string{
	`"X"`, `'X'`, "`X`", "``X``", "```X```", "```\nX\n```", "```json\nX\n```", "~~~\nX\n~~~", `"""X"""`, `'''X'''`, `"'X'"`, "'`X`'", `"X'`,
	"“X”", "”X”", "„X“", "‘X’", "‚X‘", "«X»", "»X«", "‹X›", "「X」", "『X』", "＂X＂", "＇X＇", "｀X｀", "´X´", "〝X〞", "❝X❞", "′X′", "″X″",
	"<X>", "(X)", "[X]", "{X}", "{{X}}", "<<X>>", "⟨X⟩", "（X）", "［X］", "｛X｝", "【X】", "＜X＞", `["X"]`, "[x](X)", "<url>X</url>", "<a href=X>",
	"*X*", "**X**", "_X_", "__X__", "~~X~~", "|X|", "$X$", "=X=", "-X-", ",X,", "*X", "#X", "# X", "- X", "> X",
	`\"X\"`, "&quot;X&quot;", "&#39;X&#39;", "&lt;X&gt;", "%22X%22", "%27X%27", "%60X%60", "%5BX%5D", "%E2%80%9CX%E2%80%9D",
	`u"X"`, `b'X'`, `url="X"`, `url='X'`, `url: X`, "GET X", "X please", "Input: X", `fetch("X")`, "fetch('X')", "secure_fetch(X)", "secure_fetch('X')", "{url: X}", "{'url': 'X'}",
}

// halves are on one side of a URL only.
var halves = []string{
	`"X`, "'X", "`X", "(X", "[X", "<X", "{X", "“X", "「X", `X"`, "X'", "X`", "X``", "X```", `C("A")/X`, "X)", "X]", "X>", "X}", "X”", "X“", "X’", "X»", "X」", `X",`, "X,", "X;", "X'\"", "X\"}", "X\")", "X&quot;",
	"X&#34;", "X&#x22;", "X&#39", "X`.", `X".`, `X"!`, `X"?`, `X":`, "X”.", "X).", "X].", "X`...",
	"-/X", "•/X", "–/X", "→/X", "=/X", "~/X", "url=/X", "path=/X", "GET/X", "POST/X", "url:/X", "GET:/X",
}

// TestWhatIsAroundAnInputIsNotSent has URLs and paths as models write them, with
// something around them, also in JSON.
func TestWhatIsAroundAnInputIsNotSent(t *testing.T) {
	for _, root := range []string{"https://api.example.com/v1", "https://api.example.com"} {
		base := new(ledger)
		s := newStack(t, base, func(c *fetchtool.Config) { c.DownstreamURLs = []string{root} })
		for _, url := range []string{"customers/42", "/customers/42", "https://api.example.com/v1/customers/42", "/customers?name=Ann", "https://api.example.com/v1/", "Customers('A')", "?q='a'"} {
			for _, wrapper := range append(wrappers, halves...) {
				input := strings.ReplaceAll(wrapper, "X", url)
				inJSON, _ := json.Marshal(map[string]string{"url": input})
				again, _ := json.Marshal(input)
				for _, input := range []string{input, string(inJSON), string(again)} {
					got := s.call(t, input)
					if !strings.HasPrefix(got, "Error: ") {
						t.Errorf("%s: got %q, want it refused", input, got)
					}
					if !strings.Contains(got, "eave") && !strings.Contains(got, "alone") {
						t.Errorf("%s: got %q, want to be told to leave out what is around it", input, got)
					}
				}
			}
		}
		for _, input := range []string{"'{\"url\":\"x\"}'", "`{\"url\":\"x\"}`", "```json\n{\"url\":\"x\"}\n```", `[{"url":"x"}]`, `({"url":"x"})`, `{"url":"x"}"`, `{{"url":"x"}}`, `{"url":"{\"url\":\"x\"}"}`, `Input: {"url":"x"}`, "secure_fetch(42)", "secure_fetch('42')"} {
			if got := s.call(t, input); !strings.HasPrefix(got, "Error: ") || !strings.Contains(got, "eave") {
				t.Errorf("%s: got %q, want to be told to leave it out", input, got)
			}
		}
		if sent := base.requests(); len(sent) > 0 {
			t.Errorf("got the requests %q, want none", sent)
		}
	}
}

// TestWhatBelongsToAURLIsSent has the same characters where they are meant.
func TestWhatBelongsToAURLIsSent(t *testing.T) {
	for input, want := range map[string]string{
		"Customers('ALFKI')":               "Customers('ALFKI')",
		"Customers('ALFKI')/Orders(7)":     "Customers('ALFKI')/Orders(7)",
		"O'Brien":                          "O'Brien",
		"rock'n'roll/O’Brien":              "rock'n'roll/O%E2%80%99Brien",
		"x/report(2)":                      "x/report(2)",
		"x?name=O'Brien&in=s":              "x?name=O'Brien&in=s",
		`x?q="a"`:                          `x?q="a"`,
		"x?q='a'":                          "x?q='a'",
		"x?ids=[1,2]":                      "x?ids=[1,2]",
		"x?filter=(a(b))":                  "x?filter=(a(b))",
		`x?q={"a":1}`:                      `x?q={"a":1}`,
		"x?q=a*":                           "x?q=a*",
		"x/%22a%22":                        "x/%22a%22",
		"x/%5Ba%5D%E2%80%9C":               "x/%5Ba%5D%E2%80%9C",
		"/%76/":                            "v/",
		"x?q=“a”":                          "x?q=%E2%80%9Ca%E2%80%9D",
		"_search":                          "_search",
		"files/*":                          "files/*",
		"Apple_Inc.":                       "Apple_Inc.",
		"x;a=b,c":                          "x;a=b,c",
		"?a?":                              "?a?",
		"/-/metrics":                       "-/metrics",
		"/GET/x":                           "GET/x",
		"get/x":                            "get/x",
		"GETS/x":                           "GETS/x",
		"./x":                              "x",
		"a=b/x":                            "a=b/x",
		"-":                                "-",
		"x?q='a'.":                         "x?q='a'.",
		"x?q=(a)!":                         "x?q=(a)!",
		"x?a=1&#part":                      "x?a=1&",
		"https://api.example.com/v1/%22x#": "%22x",
		`x#"`:                              "x",
	} {
		base := new(ledger)
		s := newStack(t, base, nil)
		sep := "/"
		if strings.HasPrefix(want, "?") {
			sep = ""
		}
		got := s.call(t, input)
		if sent := base.requests(); len(sent) != 1 || sent[0] != "GET https://api.example.com/v1"+sep+want {
			t.Errorf("%s: got the requests %q (%s), want one of %s", input, sent, got, want)
		}
	}
}

// TestWhatIsAroundAConfiguredURLIsRefused: an environment file keeps its quotes.
func TestWhatIsAroundAConfiguredURLIsRefused(t *testing.T) {
	for _, url := range []string{`"https://api.example.com/v1"`, `https://api.example.com/v1"`, `https://api.example.com"`, "<https://api.example.com/v1>", "https://api.example.com/{tenant}", "`https://api.example.com`"} {
		_, err := fetchtool.New(fetchtool.Config{DownstreamURLs: []string{url}})
		if err == nil {
			t.Fatalf("%s: got no error, want one", url)
		}
		wantIn(t, err.Error(), "DownstreamURLs[0] has a quote, bracket or other mark around it", "leave it out")
	}
}
