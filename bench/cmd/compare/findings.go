// Copyright 2026 The authsec Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/authsec-go/authsec/bench/peers"
)

// findings are the results of a section.
type findings struct {
	title string
	text  string // what was measured, in Markdown
	head  []string
	rows  [][]string
	aims  []aim
	lost  []string // where a peer is faster or smaller than authsec
	plots []plotFile
}

// aim is an aim, and whether it is met.
type aim struct {
	want string
	got  string
	met  bool
	sure bool // it does not depend on the machine's speed
}

// plotFile is a plot of the page.
type plotFile struct {
	name string // of the file
	alt  string
	svg  []byte
}

func (f *findings) row(cells ...string) { f.rows = append(f.rows, cells) }

func (f *findings) aim(met bool, want, format string, args ...any) {
	f.aims = append(f.aims, aim{want: want, got: fmt.Sprintf(format, args...), met: met})
}

// must adds an aim that does not depend on the machine. If it is missed, the command
// fails.
func (f *findings) must(met bool, want, format string, args ...any) {
	f.aim(met, want, format, args...)
	f.aims[len(f.aims)-1].sure = true
}

// rank notes the peers whose value is lower than authsec's.
func (f *findings) rank(what string, show func(float64) string, values map[string]float64) {
	own := values[peers.AuthSec]
	var ahead []string
	for _, name := range slices.Sorted(maps.Keys(values)) {
		if v := values[name]; v < own && name != peers.ReadyHeader && name != peers.Bare {
			ahead = append(ahead, name+" "+show(v))
		}
	}
	if len(ahead) > 0 {
		f.lost = append(f.lost, fmt.Sprintf("%s: authsec %s; %s", what, show(own), strings.Join(ahead, ", ")))
	}
}

func (f *findings) markdown() string {
	var b strings.Builder
	fmt.Fprintf(&b, "## %s\n\n%s\n\n", f.title, strings.TrimSpace(f.text))
	writeTable(&b, f.head, f.rows)
	if len(f.aims) > 0 {
		b.WriteString("\n")
		var rows [][]string
		for _, a := range f.aims {
			verdict := "**missed**"
			if a.met {
				verdict = "met"
			}
			rows = append(rows, []string{a.want, a.got, verdict})
		}
		writeTable(&b, []string{"aim", "measured", ""}, rows)
	}
	for _, p := range f.plots {
		fmt.Fprintf(&b, "\n![%s](%s)\n", p.alt, p.name)
	}
	return b.String()
}

func writeTable(b *strings.Builder, head []string, rows [][]string) {
	fmt.Fprintf(b, "| %s |\n|%s\n", strings.Join(head, " | "), strings.Repeat("---|", len(head)))
	for _, row := range rows {
		fmt.Fprintf(b, "| %s |\n", strings.Join(row, " | "))
	}
}

// name is a peer's name as the tables show it.
func name(p peers.Peer) string {
	if p.Name == peers.AuthSec {
		return "**" + p.Name + "**"
	}
	return p.Name
}

func median(list []float64) float64 { return quantile(list, 0.5) }

// quantile returns the q-quantile of the list, or 0 for an empty list.
func quantile(list []float64, q float64) float64 {
	if len(list) == 0 {
		return 0
	}
	sorted := slices.Sorted(slices.Values(list))
	i := int(q * float64(len(sorted)))
	return sorted[min(i, len(sorted)-1)]
}

// ratios divides each of a's rounds by b's same round.
func ratios(a, b []float64) []float64 {
	var list []float64
	for i := range min(len(a), len(b)) {
		list = append(list, a[i]/b[i])
	}
	return list
}

// spread shows the ratios' median, minimum and maximum.
func spread(list []float64) string {
	return fmt.Sprintf("%.2f (%.2f–%.2f)", median(list), slices.Min(list), slices.Max(list))
}

func ms(seconds float64) string { return fmt.Sprintf("%.2f ms", seconds*1000) }
