package report

import (
	"cmp"
	"fmt"
	"html"
	"math"
	"slices"
	"strings"
	"time"
)

// A chart is SVG of these units; colours are the page's, by class.
const (
	chartWidth  = 1000
	left, right = 64, 84 // of the plot: for numbers, and for the names of lines
	laneHeight  = 22
	plotHeight  = 170
	foot        = 22 // for the seconds
)

// chart draws what is over time, all with one axis.
type chart struct {
	b        strings.Builder
	from, to time.Duration
	height   float64
}

func (c *chart) x(at time.Duration) float64 {
	f := float64(at-c.from) / float64(max(1, c.to-c.from))
	return left + min(max(f, 0), 1)*(chartWidth-left-right)
}

func (c *chart) printf(format string, args ...any) { fmt.Fprintf(&c.b, format, args...) }

func (c *chart) text(x, y float64, class, anchor, s string) {
	c.printf(`<text x="%.1f" y="%.1f" class="%s" text-anchor="%s">%s</text>`, x, y, class, anchor, html.EscapeString(s))
}

// done returns the whole chart.
func (c *chart) done(name string) string {
	return fmt.Sprintf(`<svg viewBox="0 0 %d %.0f" role="img" aria-label="%s">%s</svg>`, chartWidth, c.height, html.EscapeString(name), c.b.String())
}

// seconds draws the axis below a plot.
func (c *chart) seconds(top, bottom float64) {
	step := niceStep((c.to - c.from).Seconds() / 8)
	for s := math.Ceil(c.from.Seconds()/step) * step; s <= c.to.Seconds(); s += step {
		x := c.x(time.Duration(s * float64(time.Second)))
		c.printf(`<line x1="%.1f" x2="%.1f" y1="%.1f" y2="%.1f" class="grid"/>`, x, x, top, bottom)
		c.text(x, bottom+15, "axis", "middle", fmt.Sprintf("%g s", s))
	}
}

// niceStep is the next of 1, 2, 5, 10 ... that is not below v.
func niceStep(v float64) float64 {
	for p := math.Pow(10, math.Floor(math.Log10(max(v, 1e-3)))); ; p *= 10 {
		for _, m := range []float64{1, 2, 5} {
			if m*p >= v {
				return m * p
			}
		}
	}
}

// bands shades the times of faults behind a plot.
func (c *chart) bands(faults []Fault, top, bottom float64) {
	for _, f := range faults {
		c.printf(`<rect x="%.1f" y="%.1f" width="%.1f" height="%.1f" class="band"/>`, c.x(f.From), top, max(1.5, c.x(f.To)-c.x(f.From)), bottom-top)
	}
}

// marks draws where contradictions showed.
func (c *chart) marks(broken []time.Duration, top, bottom float64) {
	for _, at := range broken {
		if at <= c.to { // else it showed when the replicas were read
			c.printf(`<line x1="%.1f" x2="%.1f" y1="%.1f" y2="%.1f" class="broken"><title>a contradiction, %.3f s</title></line>`, c.x(at), c.x(at), top, bottom, at.Seconds())
		}
	}
}

// lanes draws a row per node with its faults.
func (f *figures) lanes() string {
	c := &chart{from: f.from, to: f.to}
	y := 4.0
	c.seconds(y, y+float64(laneHeight*len(f.plan.Nodes)))
	for _, n := range f.plan.Nodes {
		c.printf(`<line x1="%d" x2="%d" y1="%.1f" y2="%.1f" class="lane"/>`, left, chartWidth-right, y+laneHeight/2, y+laneHeight/2)
		c.text(left-10, y+laneHeight/2+4, "name", "end", n)
		for _, x := range f.faults {
			if x.Node != n {
				continue
			}
			class := "fault"
			if x.Kind == "exit" {
				class = "exit"
			}
			from, width := c.x(x.From), max(3, c.x(x.To)-c.x(x.From))
			c.printf(`<g><title>%s</title><rect x="%.1f" y="%.1f" width="%.1f" height="%d" rx="3" class="%s"/>`, html.EscapeString(x.words()), from, y+3, width, laneHeight-6, class)
			if width > float64(8*len(x.Kind)) {
				c.text(from+width/2, y+laneHeight/2+4, "on", "middle", x.Kind)
			}
			c.printf(`</g>`)
		}
		y += laneHeight
	}
	c.marks(f.broken, 4, y)
	c.height = y + foot
	return c.done("faults by node over time")
}

func (f Fault) words() string {
	s := fmt.Sprintf("%s of %s, %.1f s to %.1f s", f.Kind, f.Node, f.From.Seconds(), f.To.Seconds())
	if f.Before != "" {
		s += fmt.Sprintf("; led by %s, then %s", f.Before, orNobody(f.After))
	}
	return s
}

func orNobody(s string) string {
	if s == "" {
		return "nobody"
	}
	return s
}

// line is one series of a plot: a value for each slot, NaN where there is none.
type line struct {
	name, class string
	values      []float64
}

// plot draws lines over an axis of values; scale maps one to [0, 1], ticks are what
// is written beside it.
func (f *figures) plot(name string, width time.Duration, lines []line, scale func(float64) float64, ticks []float64, label func(float64) string) string {
	c := &chart{from: f.from, to: f.to, height: plotHeight + foot}
	top, bottom := 8.0, float64(plotHeight)
	y := func(v float64) float64 { return bottom - min(max(scale(v), 0), 1)*(bottom-top) }
	c.bands(f.faults, top, bottom)
	for _, t := range ticks {
		c.printf(`<line x1="%d" x2="%d" y1="%.1f" y2="%.1f" class="grid"/>`, left, chartWidth-right, y(t), y(t))
		c.text(left-8, y(t)+4, "axis", "end", label(t))
	}
	c.seconds(top, bottom)
	c.marks(f.broken, top, bottom)
	type mark struct {
		y float64
		l line
	}
	var ends []mark
	for _, l := range lines {
		var path strings.Builder
		pen, last := "M", math.NaN()
		for i, v := range l.values {
			if math.IsNaN(v) {
				pen = "M"
				continue
			}
			// A slot stands at its middle.
			fmt.Fprintf(&path, "%s%.1f %.1f", pen, c.x(f.from+width*time.Duration(i)+width/2), y(v))
			pen, last = "L", v
			if i == len(l.values)-1 || i > 0 && math.IsNaN(l.values[i-1]) && math.IsNaN(l.values[i+1]) {
				fmt.Fprintf(&path, "h0.1") // alone, it is a dot
			}
		}
		if path.Len() == 0 {
			continue
		}
		c.printf(`<path d="%s" class="line %s"/>`, path.String(), l.class)
		ends = append(ends, mark{y(last) + 4, l})
	}
	slices.SortStableFunc(ends, func(a, b mark) int { return cmp.Compare(b.y, a.y) })
	for i, e := range ends { // from below; names do not lie on each other
		if i > 0 {
			ends[i].y = min(e.y, ends[i-1].y-14)
		}
		c.text(chartWidth-right+8, ends[i].y, "label "+e.l.class, "start", e.l.name)
	}
	return c.done(name)
}

// rate draws sends a second by what became of them.
func (f *figures) rate() string {
	width, slots := f.slots()
	ok, unknown, fail := line{name: "stored", class: "ok"}, line{name: "unknown", class: "unknown"}, line{name: "refused", class: "fail"}
	highest := 1.0
	per := width.Seconds()
	for _, s := range slots {
		ok.values = append(ok.values, float64(s.ok)/per)
		unknown.values = append(unknown.values, float64(s.unknown)/per)
		fail.values = append(fail.values, float64(s.fail)/per)
		highest = max(highest, float64(s.ok)/per, float64(s.unknown)/per, float64(s.fail)/per)
	}
	step := niceStep(highest / 4)
	var ticks []float64
	for t := 0.0; t < highest+step; t += step {
		ticks = append(ticks, t)
	}
	end := ticks[len(ticks)-1]
	return f.plot("sends a second", width, []line{ok, unknown, fail}, func(v float64) float64 { return v / end }, ticks, func(v float64) string { return fmt.Sprintf("%g", v) })
}

// latency draws how long acknowledged sends took, on a scale of powers of ten.
func (f *figures) latency() string {
	width, slots := f.slots()
	median, slowest := line{name: "median", class: "median"}, line{name: "slowest", class: "slowest"}
	highest := 10.0
	ms := func(d time.Duration) float64 {
		if d == 0 {
			return math.NaN()
		}
		return float64(d) / float64(time.Millisecond)
	}
	for _, s := range slots {
		median.values = append(median.values, ms(s.median))
		slowest.values = append(slowest.values, ms(s.slowest))
		if s.ok > 0 {
			highest = max(highest, ms(s.slowest))
		}
	}
	const lowest = 0.1
	var ticks []float64
	for t := lowest; ; t *= 10 {
		ticks = append(ticks, t)
		if t >= highest {
			break
		}
	}
	span := math.Log10(ticks[len(ticks)-1] / lowest)
	return f.plot("time of acknowledged sends", width, []line{slowest, median}, func(v float64) float64 { return math.Log10(max(v, lowest)/lowest) / span }, ticks,
		func(v float64) string {
			if v >= 1000 {
				return fmt.Sprintf("%g s", v/1000)
			}
			return fmt.Sprintf("%g ms", v)
		})
}

// lagStands is how long a lag is shown for the node's when no other is known.
const lagStands = time.Second

// lag draws how far each node was behind, on a scale of powers of ten; empty: nobody asked.
func (f *figures) lag() string {
	if len(f.lags) == 0 {
		return ""
	}
	width, slots := f.slots()
	var lines []line
	highest := 10.0
	for i, n := range f.plan.Nodes {
		l := line{name: n, class: fmt.Sprintf("node%d", i%3)}
		rest, last := f.lags[n], lag{at: -time.Hour}
		for s := range slots {
			end, v := f.from+width*time.Duration(s+1), math.NaN()
			for len(rest) > 0 && rest[0].at < end {
				last, rest = rest[0], rest[1:]
				if last.at >= end-width {
					v = max(float64(last.count), zeroed(v))
				}
			}
			if math.IsNaN(v) && end-last.at <= lagStands {
				v = float64(last.count)
			}
			l.values = append(l.values, v)
			highest = max(highest, zeroed(v))
		}
		lines = append(lines, l)
	}
	ticks := []float64{0}
	for t := 1.0; ; t *= 10 {
		ticks = append(ticks, t)
		if t >= highest {
			break
		}
	}
	span := math.Log10(1 + ticks[len(ticks)-1])
	return f.plot("entries behind", width, lines, func(v float64) float64 { return math.Log10(1+v) / span }, ticks, func(v float64) string { return fmt.Sprintf("%g", v) })
}

// zeroed is v, and 0 of none.
func zeroed(v float64) float64 {
	if math.IsNaN(v) {
		return 0
	}
	return v
}
