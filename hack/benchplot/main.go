// SPDX-License-Identifier: Apache-2.0

// Command benchplot plots a run of `make bench`: a bar for each figure that has an aim, as a share of the aim. Bars that end
// left of the line reach their aim.
//
//	benchplot RUN.json...   # writes RUN.svg...
package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"image/color"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/vg"
)

// report contains the plotted fields of test/bench's Report.
type report struct {
	Version string
	Cores   int
	Results []result
}

type result struct {
	What, Unit   string
	Value, Ratio float64
	Aim          *struct {
		At           float64
		Value, Least bool
	}
}

func main() {
	if len(os.Args) < 2 {
		fmt.Fprintln(os.Stderr, "usage: benchplot RUN.json...")
		os.Exit(2)
	}
	for _, path := range os.Args[1:] {
		if err := run(path); err != nil {
			fmt.Fprintf(os.Stderr, "benchplot: %s: %v\n", path, err)
			os.Exit(1)
		}
	}
}

func run(path string) error {
	content, err := os.ReadFile(path)
	if err != nil {
		return fmt.Errorf("read the run: %w", err)
	}
	var r report
	if err := json.Unmarshal(content, &r); err != nil {
		return fmt.Errorf("read the run: %w", err)
	}
	p, bars, err := draw(r)
	if err != nil {
		return err
	}
	out := strings.TrimSuffix(path, filepath.Ext(path)) + ".svg"
	if err := p.Save(24*vg.Centimeter, vg.Length(bars+4)*0.7*vg.Centimeter, out); err != nil {
		return fmt.Errorf("write the plot: %w", err)
	}
	return nil
}

// share returns the ratio of the figure and its aim: 1 at the aim, less if the figure is better.
func (r result) share() float64 {
	measured := r.Ratio
	if r.Aim.Value {
		measured = r.Value
	}
	if r.Aim.Least {
		return r.Aim.At / measured
	}
	return measured / r.Aim.At
}

// label returns the name of a bar.
func (r result) label() string {
	aim := "≤ "
	if r.Aim.Least {
		aim = "≥ "
	}
	aim += number(r.Aim.At)
	if r.Aim.Value {
		return fmt.Sprintf("%s: %s %s (aim %s)", r.What, number(r.Value), r.Unit, aim)
	}
	return fmt.Sprintf("%s: %s of its limit (aim %s)", r.What, number(r.Ratio), aim)
}

func number(v float64) string {
	if v >= 1000 {
		return strconv.FormatFloat(v, 'f', 0, 64)
	}
	return strconv.FormatFloat(v, 'g', 3, 64)
}

// The ends of the logarithmic axis. Longer bars are clipped.
const (
	least, most = 1. / 32, 32.
)

func draw(r report) (p *plot.Plot, bars int, err error) {
	var shares plotter.Values
	var labels []string
	for _, result := range slices.Backward(r.Results) { // the first result is at the top
		if result.Aim == nil {
			continue
		}
		shares = append(shares, min(max(result.share(), least), most))
		labels = append(labels, result.label())
	}
	if len(shares) == 0 {
		return nil, 0, errors.New("the run has no figure with an aim")
	}
	p = plot.New()
	p.Title.Text = fmt.Sprintf("%s, %d cores: measured ÷ aim; bars left of the line reach their aim", r.Version, r.Cores)
	p.X.Min, p.X.Max = least, most
	p.X.Scale = plot.LogScale{}
	p.X.Tick.Marker = plot.ConstantTicks([]plot.Tick{
		{Value: 1. / 16, Label: "1/16"},
		{Value: 1. / 4, Label: "1/4"},
		{Value: 1, Label: "aim"},
		{Value: 4, Label: "4 ×"},
		{Value: 16, Label: "16 ×"},
	})
	p.NominalY(labels...)
	for i, share := range shares {
		// plotter.BarChart begins at zero, which a logarithmic axis does not have.
		bar, err := plotter.NewPolygon(plotter.XYs{
			{X: least, Y: float64(i) - 0.3},
			{X: share, Y: float64(i) - 0.3},
			{X: share, Y: float64(i) + 0.3},
			{X: least, Y: float64(i) + 0.3},
		})
		if err != nil {
			return nil, 0, fmt.Errorf("draw a bar: %w", err)
		}
		bar.Color = color.RGBA{R: 0x3b, G: 0x8e, B: 0x5a, A: 0xff}
		if share > 1 {
			bar.Color = color.RGBA{R: 0xc8, G: 0x55, B: 0x3d, A: 0xff}
		}
		bar.LineStyle.Width = 0
		p.Add(bar)
	}
	line, err := plotter.NewLine(plotter.XYs{{X: 1, Y: -0.6}, {X: 1, Y: float64(len(shares)) - 0.4}})
	if err != nil {
		return nil, 0, fmt.Errorf("draw the line: %w", err)
	}
	p.Add(line)
	return p, len(shares), nil
}
