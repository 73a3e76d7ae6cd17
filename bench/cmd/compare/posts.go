// Copyright 2026 The authsec Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"slices"
	"strings"

	"github.com/authsec-go/authsec/bench/peers"
	"gonum.org/v1/plot"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
)

// duel is one kind of POST, by authsec, by x/oauth2, and by the floor.
type duel struct {
	kind                   string // such as "http2, 700 B"
	inMemory               bool
	authsec, oauth2, floor *figures
}

// measurePosts measures whole POSTs over loopback, by size, protocol and kind of body.
func measurePosts(size scale) (*findings, error) {
	dir, err := moduleDir()
	if err != nil {
		return nil, err
	}
	results, err := runBenchmarks(dir, "./micro", "^BenchmarkPost(From)?$", size)
	if err != nil {
		return nil, err
	}
	duels, err := duelsOf(results)
	if err != nil {
		return nil, err
	}
	f := &findings{
		title: "What a POST costs",
		text: fmt.Sprintf(`
Whole POSTs over loopback with their responses, one after the other on one connection: `+"`BenchmarkPost` and `BenchmarkPostFrom`"+`. The body is a bytes.Reader unless
the line names another. The floor sends the header from a constant. Ratios are medians over %d rounds, with minimum and maximum. authsec passes an os.File
without GetBody unchanged to net/http, which sends it by sendfile over plain HTTP/1.1. With GetBody, authsec wraps the file to follow how far Base has read it, because a
replay must not begin while Base still reads the file.`, size.microRounds),
		head: []string{"", "authsec, µs", "x/oauth2, µs", "of x/oauth2's time", "of the floor's time", "allocations above the floor's"},
	}
	var worstOAuth2, worstFloor float64
	var shownOAuth2, shownFloor string
	var above float64
	for _, d := range duels {
		toOAuth2, toFloor := ratios(d.authsec.ns, d.oauth2.ns), ratios(d.authsec.ns, d.floor.ns)
		more := median(d.authsec.allocs) - median(d.floor.allocs)
		f.row(d.kind, fmt.Sprintf("%.0f", median(d.authsec.ns)/1000), fmt.Sprintf("%.0f", median(d.oauth2.ns)/1000),
			spread(toOAuth2), spread(toFloor), fmt.Sprintf("%.0f", more))
		if !d.inMemory {
			continue
		}
		above = max(above, more)
		if m := median(toOAuth2); m > worstOAuth2 {
			worstOAuth2, shownOAuth2 = m, spread(toOAuth2)+" at "+d.kind
		}
		if m := median(toFloor); m > worstFloor {
			worstFloor, shownFloor = m, spread(toFloor)+" at "+d.kind
		}
	}
	f.aim(worstOAuth2 <= 1, "a body in memory: at most x/oauth2's time", "%s", shownOAuth2)
	f.aim(worstFloor <= 1.03, "a body in memory: at most 1.03 of the floor's time", "%s", shownFloor)
	f.aim(above <= 3, "a body in memory: at most 3 allocations above the floor's", "%.0f", above)
	plot, err := plotPosts(duels)
	f.plots = append(f.plots, plot)
	return f, err
}

// duelsOf groups the results of the benchmarks.
func duelsOf(results map[string]*figures) ([]duel, error) {
	var list []duel
	add := func(kind, name string, inMemory bool) error {
		d := duel{kind: kind, inMemory: inMemory}
		for _, p := range []struct {
			name string
			to   **figures
		}{{peers.AuthSec, &d.authsec}, {peers.OAuth2, &d.oauth2}, {peers.ReadyHeader, &d.floor}} {
			f := results[name+"/peer="+peers.Peer{Name: p.name}.Slug()]
			if f == nil || len(f.ns) == 0 {
				return fmt.Errorf("no figures for %s of %s", name, p.name)
			}
			*p.to = f
		}
		list = append(list, d)
		return nil
	}
	for _, protocol := range [][2]string{{"http1", "HTTP/1.1"}, {"tls", "HTTP/1.1, TLS"}, {"http2", "HTTP/2, TLS"}} {
		for _, bytes := range []int64{0, 700, 64 << 10, 1 << 20} {
			if err := add(protocol[1]+", "+bytesText(bytes), fmt.Sprintf("Post/proto=%s/bytes=%d", protocol[0], bytes), true); err != nil {
				return nil, err
			}
		}
	}
	for _, body := range []struct {
		name     string
		bytes    int64
		inMemory bool
	}{{"bytes.Buffer", 700, true}, {"strings.Reader", 700, true}, {"os.File", 1 << 20, false}, {"pipe", 1 << 20, false}} {
		if err := add("HTTP/1.1, "+bytesText(body.bytes)+" from "+withArticle(body.name), fmt.Sprintf("PostFrom/body=%s/bytes=%d", body.name, body.bytes), body.inMemory); err != nil {
			return nil, err
		}
	}
	return list, nil
}

func withArticle(name string) string {
	if strings.ContainsAny(name[:1], "aeiou") {
		return "an " + name
	}
	return "a " + name
}

// plotPosts draws the ratios of the bodies in memory.
func plotPosts(duels []duel) (plotFile, error) {
	p := plot.New()
	p.Title.Text = "A POST: authsec's time, of x/oauth2's"
	p.Y.Label.Text = "ratio (median, minimum, maximum)"
	var names []string
	var points plotter.XYs
	var bars plotter.YErrors
	for i, d := range duels {
		list := ratios(d.authsec.ns, d.oauth2.ns)
		m := median(list)
		names = append(names, strings.NewReplacer(", ", "\n", " from an os.", "\n", " from a bytes.", "\n", " from a strings.Reader", "\nstrings", " from a ", "\n").Replace(d.kind))
		points = append(points, plotter.XY{X: float64(i), Y: m})
		bars = append(bars, struct{ Low, High float64 }{m - slices.Min(list), slices.Max(list) - m})
	}
	scatter, err := plotter.NewScatter(points)
	if err != nil {
		return plotFile{}, err
	}
	scatter.Shape, scatter.Color, scatter.Radius = draw.CircleGlyph{}, palette[0], vg.Points(3)
	errorBars, err := plotter.NewYErrorBars(struct {
		plotter.XYer
		plotter.YErrorer
	}{points, bars})
	if err != nil {
		return plotFile{}, err
	}
	one, err := plotter.NewLine(plotter.XYs{{X: -0.5, Y: 1}, {X: float64(len(duels)) - 0.5, Y: 1}})
	if err != nil {
		return plotFile{}, err
	}
	one.Color, one.Dashes = palette[len(palette)-1], []vg.Length{vg.Points(4), vg.Points(3)}
	p.Add(plotter.NewGrid(), one, errorBars, scatter)
	p.NominalX(names...)
	p.Y.Min = 0
	p.Y.Max = max(p.Y.Max, 1.5)
	svg, err := svgOf(34*vg.Centimeter, 10*vg.Centimeter, func(dc draw.Canvas) { p.Draw(draw.Crop(dc, vg.Points(6), -vg.Points(12), vg.Points(6), -vg.Points(6))) })
	return plotFile{"posts.svg", "authsec's time of a POST divided by x/oauth2's, by protocol, size and kind of body", svg}, err
}
