// Copyright 2026 The authsec Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	_ "embed"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"text/template"
	"time"

	"github.com/authsec-go/authsec/fleet/sim"
)

// pageTemplate is docs/fleet.md without its tables.
//
//go:embed fleet.md.tmpl
var pageTemplate string

func (f *findings) page() (string, error) {
	t, err := template.New("fleet.md").Funcs(template.FuncMap{
		"story": f.storyTable, "count": count, "span": span, "max": sim.Greatest,
		"none": f.of(sim.Nothing), "entries": f.of(sim.Entries), "leases": f.of(sim.Leases),
	}).Parse(pageTemplate)
	if err != nil {
		return "", err
	}
	var b strings.Builder
	err = t.Execute(&b, map[string]any{
		"Choices": f.choiceTable(), "Starts": f.startTable(), "Figures": f.figureTable(),
	})
	return b.String(), err
}

// of returns a func that gives the template one result.
func (f *findings) of(sharing sim.Sharing) func(sim.Story, int) (*sim.Result, error) {
	return func(story sim.Story, size int) (*sim.Result, error) {
		if r := f.results[key{story, sharing, size}]; r != nil {
			return r, nil
		}
		return nil, fmt.Errorf("%s with %d processes was not played", story, size)
	}
}

// storyTable has a row for each size and sharing.
func (f *findings) storyTable(story sim.Story) string {
	head := []string{"processes", "", "requests", "most in a second", "429", "calls that failed", "longest wait", "all have a token", "uses of the cache, most in a second"}
	var rows [][]string
	for _, size := range f.sizes {
		for _, sharing := range []sim.Sharing{sim.Nothing, sim.Entries, sim.Leases} {
			k := key{story, sharing, size}
			r := f.results[k]
			if r == nil {
				continue
			}
			cache := ""
			if sharing != sim.Nothing {
				cache = count(sim.Greatest(r.CachePerSecond))
			}
			rows = append(rows, []string{
				count(size), sharing.String(), count(r.Requests), count(r.Peak()), count(r.Limited), count(r.FailedCalls),
				span(r.LongestWait), served(k.scenario(), r), cache,
			})
		}
	}
	return table(head, rows)
}

// served says when all had a token again, or how many had none at the end.
func served(s sim.Scenario, r *sim.Result) string {
	if r.Unserved > 0 {
		return fmt.Sprintf("**not all**: %s without one after %s", count(r.Unserved), span(s.Length))
	}
	if r.LastWithout <= s.Spread+time.Second && s.Unlimited > 0 { // only at the start
		return "always"
	}
	return "at " + span(r.LastWithout)
}

func (f *findings) choiceTable() string {
	var rows [][]string
	for _, c := range f.choices {
		most := "about " + count(c.most)
		if !c.bounded {
			most = "more than " + count(c.most)
		}
		rows = append(rows, []string{c.way, c.admin, most})
	}
	return table([]string{"", "an admin delegates again", "processes of which none waits"}, rows)
}

func (f *findings) startTable() string {
	var rows [][]string
	for _, s := range f.starts {
		r := s.result
		rows = append(rows, []string{s.way, count(r.Requests), count(r.Limited), count(r.FailedCalls), span(r.LongestWait), "at " + span(r.LastWithout)})
	}
	return table([]string{"1,000 processes begin", "requests", "429", "calls that failed", "longest wait", "all have a token"}, rows)
}

func (f *findings) figureTable() string {
	var rows [][]string
	for _, c := range f.figures {
		pair := func(show func(*sim.Result) string) string { return show(c.Code) + " / " + show(c.Model) }
		rows = append(rows, []string{
			string(c.Story), c.Sharing.String(), count(c.Processes),
			pair(func(r *sim.Result) string { return count(r.Requests) }),
			pair(func(r *sim.Result) string { return count(r.Limited) }),
			pair(func(r *sim.Result) string { return count(r.Peak()) }),
			pair(func(r *sim.Result) string { return span(r.LongestWait) }),
			pair(func(r *sim.Result) string {
				if r.Unserved > 0 {
					return fmt.Sprintf("not all: %s without one", count(r.Unserved))
				}
				return span(r.LastWithout)
			}),
			span(c.Took),
		})
	}
	return table([]string{"", "", "processes", "requests", "429", "most in a second", "longest wait", "all have a token at", "the bubble took"}, rows)
}

func table(head []string, rows [][]string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "| %s |\n|%s", strings.Join(head, " | "), strings.Repeat("---|", len(head)))
	for _, row := range rows {
		fmt.Fprintf(&b, "\n| %s |", strings.Join(row, " | "))
	}
	return b.String()
}

// count writes 12345 as 12,345.
func count(n int) string {
	s := strconv.Itoa(n)
	for i := len(s) - 3; i > 0; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}

// span writes a duration with the digits that matter.
func span(d time.Duration) string {
	switch {
	case d < time.Second:
		return fmt.Sprintf("%d ms", d.Milliseconds())
	case d < 100*time.Second:
		return fmt.Sprintf("%.1f s", d.Seconds())
	case d < 2*time.Hour:
		return fmt.Sprintf("%.1f min", d.Minutes())
	}
	return fmt.Sprintf("%.1f h", d.Hours())
}

// The marks around the section of the page that cmd/processes writes.
const beginMark, endMark = "<!-- processes -->", "<!-- /processes -->"

// write writes the page and its plots. It keeps the section of cmd/processes.
func write(docs, text string, plots map[string][]byte) error {
	page := filepath.Join(docs, "fleet.md")
	old, err := os.ReadFile(page)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if text, err = keep(text, string(old)); err != nil {
		return err
	}
	for name, svg := range plots {
		if err := os.WriteFile(filepath.Join(docs, name), svg, 0o644); err != nil {
			return err
		}
	}
	return os.WriteFile(page, []byte(text), 0o644)
}

// keep copies the section between old's marks into text.
func keep(text, old string) (string, error) {
	before, rest, ok := strings.Cut(text, beginMark)
	_, after, ok2 := strings.Cut(rest, endMark)
	if !ok || !ok2 {
		return "", errors.New("the template has no marks for what cmd/processes writes")
	}
	kept := "\n"
	if _, oldRest, ok := strings.Cut(old, beginMark); ok {
		if section, _, ok := strings.Cut(oldRest, endMark); ok {
			kept = section
		}
	}
	return before + beginMark + kept + endMark + after, nil
}
