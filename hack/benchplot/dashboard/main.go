// SPDX-License-Identifier: Apache-2.0

// Command dashboard draws the panels of config/prometheus/dashboard.json with the data of a run of test/monitoring. It creates
// the picture of docs/monitoring.md without a Grafana.
//
//	dashboard RUN.json PICTURE.svg|PICTURE.png
package main

import (
	"encoding/json"
	"fmt"
	"image/color"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"time"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/font"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/text"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
)

// run is the file that test/monitoring writes.
type run struct {
	From, To time.Time
	Panels   []panel
}

type panel struct {
	Type, Title string
	GridPos     struct{ X, Y, W, H int }
	FieldConfig struct {
		Defaults struct {
			Unit     string
			Mappings []struct {
				Options map[string]struct{ Text string }
			}
			Custom struct{ Stacking *struct{ Mode string } }
		}
	}
	Lines []line
}

type line struct {
	Legend string
	Points [][2]float64 // seconds since the beginning, value
}

// Grafana's grid has 24 columns, whose width depends on the window. A row is 30 pixels high.
const (
	columns = 24
	column  = vg.Length(40)
	row     = vg.Length(26)
	gap     = vg.Length(4)
)

var (
	paper = color.RGBA{R: 0xf4, G: 0xf5, B: 0xf5, A: 0xff}
	ink   = color.RGBA{R: 0x24, G: 0x29, B: 0x2e, A: 0xff}
	grid  = color.RGBA{R: 0xe2, G: 0xe4, B: 0xe6, A: 0xff}
	hues  = []color.RGBA{ // similar to Grafana's classic palette
		{R: 0x56, G: 0xa6, B: 0x4b, A: 0xff},
		{R: 0xe0, G: 0x2f, B: 0x44, A: 0xff},
		{R: 0x32, G: 0x74, B: 0xd9, A: 0xff},
		{R: 0xff, G: 0x78, B: 0x0a, A: 0xff},
		{R: 0xa3, G: 0x52, B: 0xcc, A: 0xff},
		{R: 0xe5, G: 0xac, B: 0x0e, A: 0xff},
		{R: 0x19, G: 0x9a, B: 0x9a, A: 0xff},
		{R: 0x8a, G: 0x6d, B: 0x5a, A: 0xff},
		{R: 0x70, G: 0x70, B: 0x70, A: 0xff},
		{R: 0xc4, G: 0x1d, B: 0x7f, A: 0xff},
	}
)

func main() {
	if len(os.Args) != 3 {
		fmt.Fprintln(os.Stderr, "usage: dashboard RUN.json PICTURE.svg|PICTURE.png")
		os.Exit(2)
	}
	if err := write(os.Args[1], os.Args[2]); err != nil {
		fmt.Fprintf(os.Stderr, "dashboard: %v\n", err)
		os.Exit(1)
	}
}

func write(from, to string) error {
	content, err := os.ReadFile(from)
	if err != nil {
		return fmt.Errorf("read the run: %w", err)
	}
	var r run
	if err := json.Unmarshal(content, &r); err != nil {
		return fmt.Errorf("read the run: %w", err)
	}
	if len(r.Panels) == 0 {
		return fmt.Errorf("read the run: %s has no panels", from)
	}
	rows, begin := 0, r.To.Sub(r.From).Seconds() // the time before the first sample is omitted
	for _, p := range r.Panels {
		rows = max(rows, p.GridPos.Y+p.GridPos.H)
		for _, l := range p.Lines {
			if len(l.Points) > 0 {
				begin = min(begin, l.Points[0][0])
			}
		}
	}
	width, height := columns*column, vg.Length(rows)*row
	picture, err := draw.NewFormattedCanvas(width, height, filepath.Ext(to)[1:])
	if err != nil {
		return fmt.Errorf("create the picture: %w", err)
	}
	all := draw.New(picture)
	fill(all, paper)
	for _, p := range r.Panels {
		at := p.GridPos
		left, top := vg.Length(at.X)*column, height-vg.Length(at.Y)*row
		cell := draw.Crop(all, left+gap/2, left+vg.Length(at.W)*column-gap/2-width, top-vg.Length(at.H)*row+gap/2, top-gap/2-height)
		fill(cell, color.White)
		if err := p.draw(cell, begin, r.To.Sub(r.From).Seconds()); err != nil {
			return fmt.Errorf("draw %q: %w", p.Title, err)
		}
	}
	file, err := os.Create(to)
	if err != nil {
		return fmt.Errorf("write the picture: %w", err)
	}
	defer func() { _ = file.Close() }()
	if _, err := picture.WriteTo(file); err != nil {
		return fmt.Errorf("write the picture: %w", err)
	}
	return file.Close()
}

func fill(c draw.Canvas, hue color.Color) {
	c.SetColor(hue)
	c.Fill(c.Rectangle.Path())
}

func style(size vg.Length) text.Style {
	p := plot.New()
	s := p.Title.TextStyle
	s.Font = font.From(plot.DefaultFont, size)
	s.Font.Variant = "Sans"
	s.Color = ink
	return s
}

func (p panel) draw(cell draw.Canvas, begin, end float64) error {
	if p.Type == "stat" {
		return p.drawStat(cell)
	}
	plotted := plot.New()
	plotted.Title.Text = p.Title
	plotted.Title.TextStyle = style(10)
	plotted.Title.TextStyle.XAlign, plotted.Title.TextStyle.YAlign = text.XCenter, text.YTop
	plotted.Title.Padding = 4
	plotted.X.Min, plotted.X.Max = 0, end-begin
	plotted.X.Tick.Marker = plot.TickerFunc(minutes)
	plotted.Y.Min = 0
	plotted.Y.Tick.Marker = unit(p.FieldConfig.Defaults.Unit)
	for _, axis := range []*plot.Axis{&plotted.X, &plotted.Y} {
		axis.Tick.Label.Font = style(7).Font
		axis.Tick.Label.Color = ink
		axis.Color, axis.Tick.Color, axis.Tick.Length = grid, grid, 2
	}
	lines := plotter.NewGrid()
	lines.Horizontal.Color, lines.Vertical.Color = grid, grid
	plotted.Add(lines)
	below := map[float64]float64{} // of a stacked panel: the height of the lower lines
	highest := 0.
	for i, l := range p.Lines {
		stacked := p.FieldConfig.Defaults.Custom.Stacking != nil
		if stacked && !slices.ContainsFunc(l.Points, func(point [2]float64) bool { return point[1] > 0 }) {
			continue // it would hide the line below it
		}
		xys := make(plotter.XYs, 0, len(l.Points))
		for _, point := range l.Points {
			at, value := point[0]-begin, point[1]
			if stacked {
				below[at] += value
				value = below[at]
			}
			highest = max(highest, value)
			xys = append(xys, plotter.XY{X: at, Y: value})
		}
		if len(xys) == 0 {
			continue
		}
		drawn, err := plotter.NewLine(xys)
		if err != nil {
			return err
		}
		drawn.Color, drawn.Width = hues[i%len(hues)], 1.2
		plotted.Add(drawn)
	}
	plotted.Y.Max = max(highest*1.15, 1e-3)
	if highest == 0 {
		plotted.Y.Max = 1
	}
	plotted.Draw(draw.Crop(cell, 6, -10, 6+p.drawLegend(draw.Crop(cell, 10, -10, 6, 0)), -4))
	return nil
}

// drawLegend draws the names of the lines at the lower edge, in as many rows as necessary, and returns the height.
func (p panel) drawLegend(cell draw.Canvas) (height vg.Length) {
	const mark, space = vg.Length(8), vg.Length(10)
	words := style(8)
	words.XAlign, words.YAlign = text.XLeft, text.YBottom
	type entry struct {
		line int
		x    vg.Length
	}
	rows := [][]entry{nil}
	at := vg.Length(0)
	for i, l := range p.Lines {
		if len(l.Points) == 0 || l.Legend == "" {
			continue
		}
		long := mark + 3 + words.Width(l.Legend)
		if at > 0 && at+long > cell.Max.X-cell.Min.X {
			rows, at = append(rows, nil), 0
		}
		rows[len(rows)-1] = append(rows[len(rows)-1], entry{i, at})
		at += long + space
	}
	const rowHeight = vg.Length(11)
	for i, row := range rows {
		y := cell.Min.Y + vg.Length(len(rows)-1-i)*rowHeight
		for _, e := range row {
			x := cell.Min.X + e.x
			cell.StrokeLine2(draw.LineStyle{Color: hues[e.line%len(hues)], Width: 2}, x, y+4, x+mark, y+4)
			cell.FillText(words, vg.Point{X: x + mark + 3, Y: y}, p.Lines[e.line].Legend)
		}
	}
	return vg.Length(len(rows)) * rowHeight
}

// drawStat draws the last value, as text if the panel has a mapping for it.
func (p panel) drawStat(cell draw.Canvas) error {
	said := "no data"
	if len(p.Lines) > 0 && len(p.Lines[0].Points) > 0 {
		points := p.Lines[0].Points
		said = strconv.FormatFloat(points[len(points)-1][1], 'f', -1, 64)
		for _, mapping := range p.FieldConfig.Defaults.Mappings {
			if words, found := mapping.Options[said]; found {
				said = words.Text
			}
		}
	}
	title, value := style(9), style(20)
	title.XAlign, title.YAlign = text.XCenter, text.YTop
	value.XAlign, value.YAlign = text.XCenter, text.YCenter
	value.Color = hues[0]
	center := cell.Center()
	cell.FillText(title, vg.Point{X: center.X, Y: cell.Max.Y - 6}, p.Title)
	cell.FillText(value, vg.Point{X: center.X, Y: center.Y - 8}, said)
	return nil
}

// minutes returns a tick for each minute.
func minutes(_, most float64) (ticks []plot.Tick) {
	for at := 0.; at <= most; at += 60 {
		ticks = append(ticks, plot.Tick{Value: at, Label: fmt.Sprintf("%.0f min", at/60)})
	}
	return ticks
}

// unit returns a ticker with the labels of a Grafana unit.
func unit(name string) plot.TickerFunc {
	return func(least, most float64) []plot.Tick {
		ticks := plot.DefaultTicks{}.Ticks(least, most)
		for i := range ticks {
			if ticks[i].Label == "" {
				continue
			}
			value := ticks[i].Value
			switch name {
			case "s":
				ticks[i].Label = time.Duration(value * float64(time.Second)).Round(time.Millisecond).String()
			case "bytes":
				ticks[i].Label = fmt.Sprintf("%.0f MiB", value/(1<<20))
			case "reqps", "ops":
				ticks[i].Label = strconv.FormatFloat(value, 'g', 3, 64) + "/s"
			default:
				ticks[i].Label = strconv.FormatFloat(value, 'g', 3, 64)
			}
		}
		return ticks
	}
}
