// Copyright 2026 The authsec Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"fmt"
	"image/color"
	"math"
	"strings"
	"time"

	"github.com/authsec-go/authsec/bench/peers"
	"gonum.org/v1/plot"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
	"gonum.org/v1/plot/vg/vgsvg"
)

// Colours for every kind of colour vision (Okabe and Ito).
var palette = []color.RGBA{
	{0xD5, 0x5E, 0x00, 255}, // authsec
	{0x00, 0x72, 0xB2, 255},
	{0x00, 0x9E, 0x73, 255},
	{0xCC, 0x79, 0xA7, 255},
	{0x56, 0xB4, 0xE9, 255},
	{0xE6, 0x9F, 0x00, 255},
	{0x55, 0x55, 0x55, 255}, // the floor
}

var renewalColor = color.RGBA{0x00, 0x72, 0xB2, 90}

// svgOf draws onto a white SVG of this size.
func svgOf(width, height vg.Length, drawing func(draw.Canvas)) ([]byte, error) {
	canvas := vgsvg.New(width, height)
	dc := draw.New(canvas)
	dc.SetColor(color.White)
	dc.Fill(dc.Rectangle.Path())
	drawing(dc)
	var b bytes.Buffer
	_, err := canvas.WriteTo(&b)
	return b.Bytes(), err
}

// plot draws the peers' time against goroutines.
func (c *contest) plot(file, title string) (plotFile, error) {
	p := plot.New()
	p.Title.Text = title + ": time of one call"
	p.X.Label.Text = "goroutines"
	p.Y.Label.Text = "ns (median)"
	p.X.Scale, p.Y.Scale = plot.LogScale{}, plot.LogScale{}
	p.X.Tick.Marker = plot.ConstantTicks{{Value: 1, Label: "1"}, {Value: 8, Label: "8"}, {Value: 64, Label: "64"}, {Value: 1024, Label: "1,024"}}
	p.Y.Tick.Marker = steps{1, 2, 5}
	p.Legend.Left = true // so that its text has room to the right, in any font
	p.Legend.Padding = vg.Points(2)
	p.Add(plotter.NewGrid())
	least, most := math.Inf(1), 0.0
	for i, peer := range c.peers {
		var line plotter.XYs
		for _, load := range loads[1:] {
			var goroutines float64
			if _, err := fmt.Sscanf(load, "goroutines=%g", &goroutines); err != nil {
				return plotFile{}, err
			}
			ns := median(c.of(peer, load).ns)
			least, most = min(least, ns), max(most, ns)
			line = append(line, plotter.XY{X: goroutines, Y: ns})
		}
		l, points, err := plotter.NewLinePoints(line)
		if err != nil {
			return plotFile{}, err
		}
		shade := palette[i%len(palette)]
		if peer.Name == peers.ReadyHeader {
			shade = palette[len(palette)-1]
			l.Dashes = []vg.Length{vg.Points(4), vg.Points(3)}
		}
		l.Color, points.Color, points.Shape = shade, shade, draw.CircleGlyph{}
		l.Width = vg.Points(1.5)
		if peer.Name == peers.AuthSec {
			l.Width = vg.Points(3)
		}
		p.Add(l, points)
		p.Legend.Add(peer.Name, l)
	}
	// Room for the legend below the lines.
	p.Y.Min, p.Y.Max = least/6, most*1.5
	svg, err := svgOf(17*vg.Centimeter, 12*vg.Centimeter, func(dc draw.Canvas) { p.Draw(draw.Crop(dc, vg.Points(6), -vg.Points(12), vg.Points(6), -vg.Points(6))) })
	return plotFile{file, "Time of one call of " + title + " against the number of goroutines, for each peer", svg}, err
}

// steps are the ticks of a logarithmic axis: these digits in each decade.
type steps []float64

func (s steps) Ticks(least, most float64) []plot.Tick {
	var ticks []plot.Tick
	for decade := math.Pow(10, math.Floor(math.Log10(least))); decade <= most; decade *= 10 {
		for _, digit := range s {
			if v := decade * digit; v >= least && v <= most {
				ticks = append(ticks, plot.Tick{Value: v, Label: fmt.Sprint(math.Round(v*1000) / 1000)})
			}
		}
	}
	return ticks
}

// plotRenewals draws the slowest request of each moment, a panel for each run. Vertical
// lines are fetches.
func plotRenewals(runs []renewal, total time.Duration) (plotFile, error) {
	const columns = 3
	bucket := total / 300
	rows := (len(runs) + columns - 1) / columns
	plots := make([][]*plot.Plot, rows)
	for i := range plots {
		plots[i] = make([]*plot.Plot, columns)
	}
	for i, r := range runs {
		p := plot.New()
		p.Title.Text = strings.Trim(r.title, "*")
		p.X.Min, p.X.Max = 0, total.Seconds()
		p.Y.Min, p.Y.Max = 0.1, 1000
		p.Y.Scale, p.Y.Tick.Marker = plot.LogScale{}, steps{1}
		p.X.Label.Text, p.Y.Label.Text = "seconds", "slowest, ms"
		for _, at := range r.fetches {
			mark, err := plotter.NewLine(plotter.XYs{{X: at.Seconds(), Y: p.Y.Min}, {X: at.Seconds(), Y: p.Y.Max}})
			if err != nil {
				return plotFile{}, err
			}
			mark.Color, mark.Width = renewalColor, vg.Points(1)
			p.Add(mark)
		}
		slowest := make([]float64, total/bucket+1)
		for _, s := range r.samples {
			b := s.at / bucket
			slowest[b] = max(slowest[b], s.took.Seconds()*1000)
		}
		var line plotter.XYs
		for b, v := range slowest {
			if v > 0 {
				line = append(line, plotter.XY{X: (time.Duration(b) * bucket).Seconds(), Y: min(max(v, p.Y.Min), p.Y.Max)})
			}
		}
		l, err := plotter.NewLine(line)
		if err != nil {
			return plotFile{}, err
		}
		l.Color, l.Width = palette[0], vg.Points(1)
		p.Add(plotter.NewGrid(), l)
		plots[i/columns][i%columns] = p
	}
	svg, err := svgOf(27*vg.Centimeter, vg.Length(rows)*7*vg.Centimeter, func(dc draw.Canvas) {
		tiles := draw.Tiles{Rows: rows, Cols: columns, PadX: vg.Points(10), PadY: vg.Points(12), PadTop: vg.Points(6), PadBottom: vg.Points(6), PadLeft: vg.Points(6), PadRight: vg.Points(12)}
		canvases := plot.Align(plots, tiles, dc)
		for i := range runs {
			plots[i/columns][i%columns].Draw(canvases[i/columns][i%columns])
		}
	})
	return plotFile{"renewal.svg", "The slowest request of each moment over time, a panel for each peer; vertical lines are fetches of the token", svg}, err
}
