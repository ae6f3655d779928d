package main

import (
	"bytes"
	"errors"
	"image/color"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strconv"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/font"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
	"gonum.org/v1/plot/vg/vgsvg"
)

// datum is a point of a series: the median of its turns, and the least and most.
type datum struct{ x, y, least, most float64 }

// seriesOf are a figure's points by series, in the order of x.
func seriesOf(r *result, figure string) (map[string][]datum, error) {
	lines := make(map[string][]datum)
	seen := make(map[string]bool)
	for _, one := range r.Runs {
		if seen[one.Side] {
			continue
		}
		seen[one.Side] = true
		name, x, err := point(one.Side)
		if err != nil {
			return nil, err
		}
		d := datum{x: x, y: r.median(one.Side, figure), least: math.NaN(), most: math.NaN()}
		for round := range r.rounds() {
			if v := r.one(one.Side, round, figure); !math.IsNaN(v) {
				if math.IsNaN(d.least) || v < d.least {
					d.least = v
				}
				if math.IsNaN(d.most) || v > d.most {
					d.most = v
				}
			}
		}
		if !math.IsNaN(d.y) && d.y > 0 {
			lines[name] = append(lines[name], d)
		}
	}
	for _, l := range lines {
		slices.SortFunc(l, func(a, b datum) int { return int(math.Copysign(1, a.x-b.x)) })
	}
	return lines, nil
}

// styles of series: colour-blind people tell them apart, and so does a printer.
var styles = map[string]struct {
	color color.Color
	shape draw.GlyphDrawer
}{
	ours:       {color.RGBA{0x00, 0x5a, 0xb5, 0xff}, draw.CircleGlyph{}},
	theirs:     {color.RGBA{0xdc, 0x6a, 0x10, 0xff}, draw.BoxGlyph{}},
	theirsSync: {color.RGBA{0x70, 0x70, 0x70, 0xff}, draw.TriangleGlyph{}},
}

// Sizes of a picture.
const (
	pictureWidth = 6.6 * vg.Inch
	panelHeight  = 2.9 * vg.Inch
)

// drawCurve writes a picture, a panel above the other.
func drawCurve(r *result, c *curve, file string) error {
	var panels [][]*plot.Plot
	for i, p := range c.panels {
		one, err := drawPanel(r, c, p, i == 0, i == len(c.panels)-1)
		if err != nil {
			return err
		}
		panels = append(panels, []*plot.Plot{one})
	}
	canvas := vgsvg.NewWith(vgsvg.UseWH(pictureWidth, panelHeight*vg.Length(len(panels))))
	dc := draw.New(canvas)
	dc.SetColor(color.White)
	dc.Fill(dc.Rectangle.Path())
	tiles := draw.Tiles{Rows: len(panels), Cols: 1, PadY: 0.12 * vg.Inch, PadTop: 4, PadBottom: 4, PadLeft: 4, PadRight: 12}
	for i, row := range plot.Align(panels, tiles, dc) {
		panels[i][0].Draw(row[0])
	}
	var b bytes.Buffer
	if _, err := canvas.WriteTo(&b); err != nil {
		return err
	}
	return errors.Join(os.MkdirAll(filepath.Dir(file), 0o755), os.WriteFile(file, b.Bytes(), 0o644))
}

func drawPanel(r *result, c *curve, p panel, top, bottom bool) (*plot.Plot, error) {
	lines, err := seriesOf(r, p.figure)
	if err != nil {
		return nil, err
	}
	x := plot.New()
	if top {
		x.Title.Text = c.title
	}
	if bottom {
		x.X.Label.Text = c.x
	}
	x.Y.Label.Text = p.title
	for _, t := range []*font.Font{&x.Title.TextStyle.Font, &x.X.Label.TextStyle.Font, &x.Y.Label.TextStyle.Font, &x.X.Tick.Label.Font, &x.Y.Tick.Label.Font, &x.Legend.TextStyle.Font} {
		t.Variant = "Sans"
	}
	x.Title.Padding = 6
	x.X.Scale = plot.LogScale{}
	grid := plotter.NewGrid()
	grid.Vertical.Color, grid.Horizontal.Color = color.Gray{0xe4}, color.Gray{0xe4}
	x.Add(grid)
	var ticks []plot.Tick
	low, high := math.Inf(1), math.Inf(-1)
	for _, name := range backward(sorted(lines)) { // ours first
		var xy plotter.XYs
		var errs plotter.YErrors
		for _, d := range lines[name] {
			xy = append(xy, plotter.XY{X: d.x, Y: d.y})
			errs = append(errs, struct{ Low, High float64 }{d.y - d.least, d.most - d.y})
			low, high = min(low, d.least), max(high, d.most)
			if !slices.ContainsFunc(ticks, func(t plot.Tick) bool { return t.Value == d.x }) {
				ticks = append(ticks, plot.Tick{Value: d.x, Label: short(d.x)})
			}
		}
		if len(xy) == 0 {
			continue
		}
		line, glyphs, err := plotter.NewLinePoints(xy)
		if err != nil {
			return nil, err
		}
		style := styles[name]
		line.Color, glyphs.Color, glyphs.Shape, glyphs.Radius, line.Width = style.color, style.color, style.shape, 2.6, 1.4
		bars, err := plotter.NewYErrorBars(struct {
			plotter.XYs
			plotter.YErrors
		}{xy, errs})
		if err != nil {
			return nil, err
		}
		bars.Color = style.color
		x.Add(line, glyphs, bars)
		x.Legend.Add(sideName(name), line, glyphs)
	}
	x.X.Tick.Marker = plot.ConstantTicks(ticks)
	if p.log && low > 0 && high > low {
		x.Y.Scale = plot.LogScale{}
		x.Y.Min, x.Y.Max = low/1.3, high*1.6
		x.Y.Tick.Marker = plot.TickerFunc(decades)
	} else {
		x.Y.Min, x.Y.Max = 0, high*1.15
		x.Y.Tick.Marker = plot.TickerFunc(func(least, most float64) []plot.Tick {
			ts := plot.DefaultTicks{}.Ticks(least, most)
			for i := range ts {
				if ts[i].Label != "" {
					ts[i].Label = number(ts[i].Value)
				}
			}
			return ts
		})
	}
	x.Legend.Top, x.Legend.Left = true, true
	x.Legend.Padding, x.Legend.XOffs, x.Legend.YOffs = 2, 6, -4
	return x, nil
}

// decades are ticks at 1, 2 and 5 times powers of ten.
func decades(least, most float64) (ts []plot.Tick) {
	for d := math.Pow(10, math.Floor(math.Log10(least))); d <= most; d *= 10 {
		for _, f := range []float64{1, 2, 5} {
			if v := d * f; v >= least && v <= most {
				ts = append(ts, plot.Tick{Value: v, Label: short(v)})
			}
		}
	}
	return ts
}

// short is a number for an axis: 64, 1k, 256k, 4M; powers of two in their own thousands.
func short(v float64) string {
	k := 1000.0
	if n := int64(v); v == math.Trunc(v) && n > 1000 && n&(n-1) == 0 {
		k = 1024
	}
	switch {
	case v >= k*k:
		return trimmed(v/(k*k)) + "M"
	case v >= k:
		return trimmed(v/k) + "k"
	}
	return trimmed(v)
}

func trimmed(v float64) string { return strconv.FormatFloat(v, 'g', 3, 64) }
