// Copyright 2026 The authsec Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"fmt"
	"image/color"
	"time"

	"github.com/authsec-go/authsec/fleet/sim"
	"gonum.org/v1/plot"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
	"gonum.org/v1/plot/vg/vgsvg"
)

// Colours for every kind of colour vision (Okabe and Ito).
var palette = map[sim.Sharing]color.RGBA{
	sim.Nothing: {0xD5, 0x5E, 0x00, 255},
	sim.Entries: {0x00, 0x72, 0xB2, 255},
	sim.Leases:  {0x00, 0x9E, 0x73, 255},
}

// plotted are the sizes of which a plot has a panel.
var plotted = []int{100, 1000, 10_000, 1_000_000}

// decades are the ticks of a logarithmic axis.
type decades struct{}

func (decades) Ticks(least, most float64) (ticks []plot.Tick) {
	for v := 1.0; v <= most; v *= 10 {
		if v >= least {
			ticks = append(ticks, plot.Tick{Value: v, Label: count(int(v))})
		}
	}
	return ticks
}

// plots draws the requests over time of the stories, and the time that a cold
// start takes over a fleet's size. The result is by file name.
func (f *findings) plots() (map[string][]byte, error) {
	files := map[string][]byte{}
	for _, p := range []struct {
		file     string
		story    sim.Story
		from, to time.Duration // of what is shown
	}{
		{"fleet-cold.svg", sim.ColdStart, 0, 15 * time.Minute},
		{"fleet-renewal.svg", sim.Renewal, 50 * time.Minute, 75 * time.Minute},
		{"fleet-outage.svg", sim.Unavailable, 50 * time.Minute, 75 * time.Minute},
	} {
		svg, err := f.overTime(p.story, p.from, p.to)
		if err != nil {
			return nil, err
		}
		files[p.file] = svg
	}
	svg, err := f.overSize()
	files["fleet-time.svg"] = svg
	return files, err
}

// overTime draws a panel for each size.
func (f *findings) overTime(story sim.Story, from, to time.Duration) ([]byte, error) {
	const columns, bucket = 2, 10 // seconds; the busiest of them counts
	rows := (len(plotted) + columns - 1) / columns
	plots := make([][]*plot.Plot, rows)
	for i := range plots {
		plots[i] = make([]*plot.Plot, columns)
	}
	for i, size := range plotted {
		p := plot.New()
		p.Title.Text = count(size) + " processes"
		p.X.Label.Text, p.Y.Label.Text = "minutes", "requests a second"
		p.X.Min, p.X.Max, p.Y.Min, p.Y.Max = from.Minutes(), to.Minutes(), 0.8, 1
		p.Y.Scale, p.Y.Tick.Marker = plot.LogScale{}, decades{}
		p.Add(plotter.NewGrid())
		for _, sharing := range []sim.Sharing{sim.Nothing, sim.Entries, sim.Leases} {
			r := f.results[key{story, sharing, size}]
			if r == nil {
				continue
			}
			var line plotter.XYs
			for second := int(from.Seconds()); second < min(len(r.PerSecond), int(to.Seconds())); second += bucket {
				most := float64(sim.Greatest(r.PerSecond[second:min(second+bucket, len(r.PerSecond))]))
				line = append(line, plotter.XY{X: float64(second) / 60, Y: max(most, p.Y.Min)})
				p.Y.Max = max(p.Y.Max, most*2)
			}
			l, err := plotter.NewLine(line)
			if err != nil {
				return nil, fmt.Errorf("%s, %d processes: %w", story, size, err)
			}
			l.Color, l.Width = palette[sharing], vg.Points(1.5)
			p.Add(l)
			if i == 0 {
				p.Legend.Add(sharing.String(), l)
			}
		}
		p.Legend.Top, p.Legend.Padding = true, vg.Points(2)
		if i == 0 {
			p.Y.Max *= 20 // room for the legend
		}
		plots[i/columns][i%columns] = p
	}
	return svgOf(24*vg.Centimeter, vg.Length(rows)*7.5*vg.Centimeter, func(dc draw.Canvas) {
		tiles := draw.Tiles{Rows: rows, Cols: columns, PadX: vg.Points(10), PadY: vg.Points(12), PadTop: vg.Points(6), PadBottom: vg.Points(6), PadLeft: vg.Points(6), PadRight: vg.Points(12)}
		canvases := plot.Align(plots, tiles, dc)
		for i := range plotted {
			plots[i/columns][i%columns].Draw(canvases[i/columns][i%columns])
		}
	})
}

// overSize draws how long a cold start takes.
func (f *findings) overSize() ([]byte, error) {
	p := plot.New()
	p.Title.Text = "Cold start: until all have a token"
	p.X.Label.Text, p.Y.Label.Text = "processes", "seconds"
	p.X.Scale, p.Y.Scale = plot.LogScale{}, plot.LogScale{}
	p.X.Tick.Marker, p.Y.Tick.Marker = decades{}, decades{}
	p.Legend.Top, p.Legend.Left, p.Legend.Padding = true, true, vg.Points(2)
	p.Add(plotter.NewGrid())
	p.X.Min, p.X.Max = float64(f.sizes[0]), float64(f.sizes[len(f.sizes)-1])
	p.Y.Min, p.Y.Max = 1, 10
	for _, sharing := range []sim.Sharing{sim.Nothing, sim.Entries, sim.Leases} {
		var line plotter.XYs
		for _, size := range f.sizes {
			if r := f.results[key{sim.ColdStart, sharing, size}]; r != nil && r.Unserved == 0 {
				line = append(line, plotter.XY{X: float64(size), Y: r.LastWithout.Seconds()})
				p.Y.Max = max(p.Y.Max, 3*r.LastWithout.Seconds())
			}
		}
		l, points, err := plotter.NewLinePoints(line)
		if err != nil {
			return nil, err
		}
		l.Color, points.Color, points.Shape = palette[sharing], palette[sharing], draw.CircleGlyph{}
		l.Width = vg.Points(1.5)
		name := sharing.String()
		if sharing == sim.Nothing {
			name += " (above this, never all)"
		}
		p.Add(l, points)
		p.Legend.Add(name, l)
	}
	return svgOf(17*vg.Centimeter, 10*vg.Centimeter, func(dc draw.Canvas) { p.Draw(draw.Crop(dc, vg.Points(6), -vg.Points(18), vg.Points(6), -vg.Points(6))) })
}

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
