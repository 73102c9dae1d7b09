// SPDX-License-Identifier: Apache-2.0

// Command soak plots a run of `make soak`: logins, status writes and memory over time, with the faults.
//
//	soak RUN.json...   # writes RUN.svg...
package main

import (
	"encoding/json"
	"fmt"
	"image/color"
	"os"
	"path/filepath"
	"strings"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
	"gonum.org/v1/plot/vg/vgsvg"
)

// story contains the plotted fields of test/soak's story. Times are seconds.
type story struct {
	Version    string
	Seed       uint64
	Load       float64
	Seconds    float64
	Faults     []band
	Quiet      []band
	Answers    []struct{ Passed, Refused, Away, Lost float64 } // of each second
	Samples    []sample
	Violations []string
	Broken     []float64 // times
}

type band struct {
	Kind                  string
	Begin, End, Recovered float64
}

type sample struct {
	At, Memory, Writes float64
	Replica            string
}

func main() {
	if len(os.Args) < 2 {
		fmt.Fprintln(os.Stderr, "usage: soak RUN.json...")
		os.Exit(2)
	}
	for _, path := range os.Args[1:] {
		if err := run(path); err != nil {
			fmt.Fprintf(os.Stderr, "soak: %s: %v\n", path, err)
			os.Exit(1)
		}
	}
}

func run(path string) error {
	content, err := os.ReadFile(path)
	if err != nil {
		return fmt.Errorf("read the run: %w", err)
	}
	var s story
	if err := json.Unmarshal(content, &s); err != nil {
		return fmt.Errorf("read the run: %w", err)
	}
	panels, err := s.panels()
	if err != nil {
		return err
	}
	out, err := os.Create(strings.TrimSuffix(path, filepath.Ext(path)) + ".svg")
	if err != nil {
		return fmt.Errorf("write the plot: %w", err)
	}
	if _, err := s.arrange(panels).WriteTo(out); err != nil {
		return fmt.Errorf("write the plot: %w", err)
	}
	if err := out.Close(); err != nil {
		return fmt.Errorf("write the plot: %w", err)
	}
	return nil
}

var (
	green      = color.RGBA{R: 0x3b, G: 0x8e, B: 0x5a, A: 0xff}
	orange     = color.RGBA{R: 0xd9, G: 0x90, B: 0x2f, A: 0xff}
	red        = color.RGBA{R: 0xc8, G: 0x35, B: 0x3d, A: 0xff}
	blue       = color.RGBA{R: 0x2f, G: 0x6d, B: 0xb5, A: 0xff}
	purple     = color.RGBA{R: 0x7d, G: 0x4f, B: 0xa3, A: 0xff}
	broken     = color.RGBA{R: 0xf2, G: 0xc4, B: 0xc0, A: 0xff} // during a fault
	recovering = color.RGBA{R: 0xfb, G: 0xec, B: 0xd2, A: 0xff} // from the end of a fault until recovery
	still      = color.RGBA{R: 0xdd, G: 0xea, B: 0xf7, A: 0xff} // without a fault
)

// A series is a line of a panel.
type series struct {
	name   string
	color  color.Color
	points plotter.XYs
}

// panels returns the plots, the top one first. The x axis is the time; the faults are bands in the background.
func (s *story) panels() ([]*plot.Plot, error) {
	answered := []series{{name: "accepted", color: green}, {name: "refused", color: blue}, {name: "not decided", color: orange}, {name: "no answer", color: red}}
	for second, a := range s.Answers {
		for i, n := range []float64{a.Passed, a.Refused, a.Away, a.Lost} {
			answered[i].points = append(answered[i].points, plotter.XY{X: float64(second) + 0.5, Y: n})
		}
	}
	of := func(replica string, value func(sample) float64) (points plotter.XYs) {
		for _, sample := range s.Samples {
			if sample.Replica == replica {
				points = append(points, plotter.XY{X: sample.At, Y: value(sample)})
			}
		}
		return points
	}
	memory := func(m sample) float64 { return m.Memory }
	writes := func(m sample) float64 { return m.Writes }
	var all []*plot.Plot
	for _, p := range []struct {
		title string
		lines []series
	}{
		{"logins a second", answered},
		{"status writes a second", []series{{"replica a", blue, of("a", writes)}, {"replica b", purple, of("b", writes)}}},
		{"memory, MiB", []series{{"replica a", blue, of("a", memory)}, {"replica b", purple, of("b", memory)}}},
	} {
		panel, err := s.panel(p.title, p.lines)
		if err != nil {
			return nil, err
		}
		all = append(all, panel)
	}
	s.label(all[0])
	all[len(all)-1].X.Label.Text = "seconds"
	return all, nil
}

func (s *story) panel(title string, lines []series) (*plot.Plot, error) {
	p := plot.New()
	p.Y.Label.Text = title
	p.X.Min, p.X.Max = 0, s.Seconds
	p.Legend.Top, p.Legend.Left = true, true
	highest := 1.0
	for _, line := range lines {
		for _, point := range line.points {
			highest = max(highest, point.Y)
		}
	}
	p.Y.Min, p.Y.Max = 0, highest*1.1
	for _, quiet := range s.Quiet {
		if err := fill(p, quiet.Begin, quiet.End, still); err != nil {
			return nil, err
		}
	}
	for _, fault := range s.Faults {
		if err := fill(p, fault.Begin, fault.End, broken); err != nil {
			return nil, err
		}
		if err := fill(p, fault.End, fault.Recovered, recovering); err != nil {
			return nil, err
		}
	}
	for _, line := range lines {
		if len(line.points) == 0 {
			continue
		}
		drawn, err := plotter.NewLine(line.points)
		if err != nil {
			return nil, fmt.Errorf("draw a line: %w", err)
		}
		drawn.Color, drawn.Width = line.color, vg.Points(1.2)
		p.Add(drawn)
		p.Legend.Add(line.name, drawn)
	}
	for _, at := range s.Broken {
		line, err := plotter.NewLine(plotter.XYs{{X: at, Y: p.Y.Min}, {X: at, Y: p.Y.Max}})
		if err != nil {
			return nil, fmt.Errorf("draw a line: %w", err)
		}
		line.Width = vg.Points(2)
		p.Add(line)
	}
	return p, nil
}

// fill draws a band over the full height.
func fill(p *plot.Plot, from, to float64, with color.Color) error {
	band, err := plotter.NewPolygon(plotter.XYs{
		{X: from, Y: p.Y.Min}, {X: to, Y: p.Y.Min}, {X: to, Y: p.Y.Max}, {X: from, Y: p.Y.Max},
	})
	if err != nil {
		return fmt.Errorf("draw a band: %w", err)
	}
	band.Color, band.LineStyle.Width = with, 0
	p.Add(band)
	return nil
}

// label writes the names of the faults above a panel, at their begin.
func (s *story) label(p *plot.Plot) {
	p.Title.Text = fmt.Sprintf("%s, seed %d: faults (red), recovery (yellow), quiet points (blue)", s.Version, s.Seed)
	if len(s.Violations) > 0 {
		p.Title.Text += "; PROMISE BROKEN (black)"
	}
	names := plotter.XYLabels{}
	for _, fault := range s.Faults {
		names.XYs = append(names.XYs, plotter.XY{X: fault.Begin, Y: p.Y.Max})
		names.Labels = append(names.Labels, fault.Kind)
	}
	labels, err := plotter.NewLabels(names)
	if err != nil {
		return // impossible: there are as many names as positions
	}
	const upright = 1.0 // radians: almost vertical, so that names do not overlap
	for i := range labels.TextStyle {
		labels.TextStyle[i].Rotation = upright
		labels.TextStyle[i].Font.Size = vg.Points(8)
	}
	p.Add(labels)
	p.Title.Padding = 2.5 * vg.Centimeter // for the names
}

// arrange draws the panels one above the other, with space for the names of the faults at the top.
func (s *story) arrange(panels []*plot.Plot) *vgsvg.Canvas {
	width := vg.Length(max(28, min(120, s.Seconds/5))) * vg.Centimeter
	const height, names = 7 * vg.Centimeter, 3.5 * vg.Centimeter
	canvas := vgsvg.New(width, vg.Length(len(panels))*height+names)
	tiles := draw.Tiles{Rows: len(panels), Cols: 1, PadY: vg.Millimeter * 4}
	rows := make([][]*plot.Plot, len(panels))
	for i, p := range panels {
		rows[i] = []*plot.Plot{p}
	}
	for i, aligned := range plot.Align(rows, tiles, draw.New(canvas)) {
		panels[i].Draw(aligned[0])
	}
	return canvas
}
